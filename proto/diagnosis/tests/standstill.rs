//! Nothing is sent, uncertain claims, an open lead list.

use super::*;
use crate::not_sending::NotSending;

fn later() -> Timestamp {
    "2026-07-02T06:30:00Z".parse().unwrap()
}

/// The severity, summary and action of a campaign that is blocked for these reasons.
fn blocked(
    reasons: &[NotSending],
    next_change: Option<Timestamp>,
    change: impl Fn(&mut CampaignFacts),
) -> Option<(Severity, String, String)> {
    let mut facts = campaign(Vec::new());
    facts.next_due = None;
    facts.blocked = Blocked { reasons: reasons.to_vec(), next_change };
    change(&mut facts);
    let mut findings = diagnose_campaign(&facts, as_of()).findings;
    findings.retain(|finding| finding.kind == FindingKind::NotSending);
    assert!(findings.iter().all(|finding| finding.not_sending == reasons), "{findings:?}");
    findings.pop().map(|finding| (finding.severity, finding.summary, finding.action))
}

#[test]
fn each_reason_has_its_severity_and_says_what_to_do() {
    use NotSending::{
        AccountDailyLimit, AccountRemoved, AccountSuspended, CampaignDailyLimit, NoAccountAssigned, NoLeadDue,
        OutsideActiveHours, UncertainClaims,
    };
    let at = Some(later());
    for (reasons, change, severity, what, action) in [
        (
            &[OutsideActiveHours][..],
            at,
            Severity::Info,
            "no active window is open. This changes by itself at 2026-07-02 06:30 UTC at the earliest.",
            "Wait",
        ),
        (&[CampaignDailyLimit], at, Severity::Info, "its daily limit is used up. This changes by itself", "Wait"),
        (
            &[CampaignDailyLimit],
            None,
            Severity::Warning,
            "its daily limit is 0. This does not change by itself.",
            "Raise the daily limit of the campaign.",
        ),
        (
            &[AccountDailyLimit],
            at,
            Severity::Info,
            "the daily limits of its accounts are used up. This changes",
            "Wait",
        ),
        (
            &[AccountDailyLimit],
            None,
            Severity::Warning,
            "the daily limits of its accounts are 0. This does not",
            "Raise",
        ),
        (&[AccountSuspended], at, Severity::Critical, "all its accounts are suspended. This does not change", "Check"),
        (&[NoAccountAssigned, NoLeadDue], at, Severity::Critical, "it has no account. This does not", "Add an account"),
        (
            &[AccountRemoved, NoLeadDue],
            None,
            Severity::Critical,
            "leads wait for an account that no longer serves it. This does not",
            "Reassign",
        ),
        (
            &[NoLeadDue, UncertainClaims],
            None,
            Severity::Warning,
            "claims that expired without an outcome block their leads. This does not",
            "Report",
        ),
        (
            &[NoLeadDue],
            at,
            Severity::Warning,
            "no lead that is pending or partial becomes due. This does not",
            "Report",
        ),
        (
            &[OutsideActiveHours, CampaignDailyLimit],
            at,
            Severity::Info,
            "no active window is open, and its daily limit is used up. This changes",
            "Wait, or change",
        ),
    ] {
        let (found, summary, todo) = blocked(reasons, change, |_| ()).expect("a finding");
        assert_eq!(found, severity, "{reasons:?}");
        assert!(summary.starts_with(&format!("The campaign sends nothing: {what}")), "{summary}");
        assert!(todo.starts_with(action), "{todo}");
    }
}

#[test]
fn no_lead_due_depends_on_the_leads() {
    let no_lead = [NotSending::NoLeadDue];
    let (severity, summary, _) = blocked(&no_lead, Some(as_of()), |facts| facts.next_due = Some(later())).unwrap();
    assert_eq!(severity, Severity::Info);
    assert!(summary.ends_with("no lead is due yet. This changes by itself at 2026-07-02 06:30 UTC at the earliest."));
    let (severity, summary, action) =
        blocked(&no_lead, None, |facts| facts.lead_counts = LeadCounts::default()).unwrap();
    assert_eq!((severity, action.as_str()), (Severity::Info, "Add leads."));
    assert!(summary.contains("it has no leads"), "{summary}");
    // Claims in flight are being sent. Outside of active hours nothing is.
    assert_eq!(blocked(&no_lead, None, |facts| facts.in_flight_claims = 1), None);
    let outside = [NotSending::OutsideActiveHours, NotSending::NoLeadDue];
    let (severity, summary, _) = blocked(&outside, Some(later()), |facts| facts.in_flight_claims = 1).unwrap();
    assert_eq!(severity, Severity::Info);
    assert!(summary.contains("and every lead that is due is claimed"), "{summary}");
    // With every lead done there is nothing to send.
    let done = |facts: &mut CampaignFacts| facts.lead_counts = LeadCounts { sent: 1, ..LeadCounts::default() };
    assert_eq!(blocked(&[NotSending::AccountSuspended, NotSending::NoLeadDue], None, done), None);
}

#[test]
fn a_state_that_someone_chose_is_no_finding() {
    assert_eq!(blocked(&[], None, |_| ()), None);
    for (state, reason) in
        [(CampaignState::Paused, NotSending::Paused), (CampaignState::Finished, NotSending::Finished)]
    {
        assert_eq!(blocked(&[reason, NotSending::NoAccountAssigned], None, |facts| facts.state = state), None);
    }
}

#[test]
fn uncertain_claims_wait_for_a_person_unless_they_are_retried() {
    let found = |state, policy, uncertain_claims| {
        let facts = CampaignFacts { state, claim_expiry_policy: policy, uncertain_claims, ..campaign(Vec::new()) };
        let found = diagnose_campaign(&facts, as_of()).findings;
        found.into_iter().map(|one| (one.kind, one.severity, one.uncertain_claims, one.summary)).collect::<Vec<_>>()
    };
    let [(kind, severity, count, summary)] = &found(CampaignState::Active, ClaimExpiryPolicy::Hold, 7)[..] else {
        panic!("one finding");
    };
    assert_eq!((*kind, *severity, *count), (FindingKind::UncertainClaims, Severity::Warning, 7));
    assert!(summary.starts_with("7 claims expired without an outcome."), "{summary}");
    assert!(found(CampaignState::Paused, ClaimExpiryPolicy::Hold, 1)[0].3.starts_with("1 claim expired"));
    assert_eq!(found(CampaignState::Finished, ClaimExpiryPolicy::Hold, 7)[0].1, Severity::Info);
    assert_eq!(found(CampaignState::Active, ClaimExpiryPolicy::Retry, 7), []);
    assert_eq!(found(CampaignState::Active, ClaimExpiryPolicy::Hold, 0), []);
}

#[test]
fn an_open_list_of_leads_that_are_done_is_told() {
    let kinds = |state, lead_counts, lead_list_complete| {
        let facts = CampaignFacts { state, lead_counts, lead_list_complete, ..campaign(Vec::new()) };
        kinds(&diagnose_campaign(&facts, as_of()).findings)
    };
    let done = LeadCounts { sent: 3, failed: 2, ..LeadCounts::default() };
    assert_eq!(kinds(CampaignState::Active, done, false), [FindingKind::LeadListOpen]);
    assert_eq!(kinds(CampaignState::Paused, done, false), [FindingKind::LeadListOpen]);
    assert_eq!(kinds(CampaignState::Finished, done, false), []);
    assert_eq!(kinds(CampaignState::Active, done, true), []);
    assert_eq!(kinds(CampaignState::Active, LeadCounts { partial: 1, ..done }, false), []);
    assert_eq!(kinds(CampaignState::Active, LeadCounts { pending: 1, ..done }, false), []);
    assert_eq!(kinds(CampaignState::Active, LeadCounts::default(), false), []);
}

#[test]
fn the_most_severe_comes_first() {
    use FindingKind::{InvalidLeads, LowDelivery, NotSending as Nothing, UncertainClaims};
    let mut facts = campaign(rows(10, 2, |_, _| sent(80, [0, 20, 0, 0, 0])));
    facts.uncertain_claims = 3;
    facts.blocked = Blocked { reasons: vec![NotSending::OutsideActiveHours], next_change: Some(later()) };
    let order = |facts: &CampaignFacts| kinds(&diagnose_campaign(facts, as_of()).findings);
    assert_eq!(order(&facts), [InvalidLeads, LowDelivery, UncertainClaims, Nothing]);
    facts.blocked.reasons = vec![NotSending::NoAccountAssigned];
    assert_eq!(order(&facts), [Nothing, InvalidLeads, LowDelivery, UncertainClaims]);
}
