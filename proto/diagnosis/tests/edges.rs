//! Empty, one-lead, never-sent, all-failed, all-replied and all-bounced campaigns.

use super::*;
use FindingKind::{InvalidLeads, LowConversion, LowDelivery, LowResponse, NotSending};

fn questions(diagnosis: &Diagnosis) -> Vec<(FindingKind, i64, i64, bool)> {
    let questions = diagnosis.open_questions.iter();
    questions.map(|open| (open.kind, open.have, open.need, open.expected.is_some())).collect()
}

fn with_leads(leads: LeadCounts, days: Vec<HistoryDay>) -> Diagnosis {
    diagnose_campaign(&CampaignFacts { lead_counts: leads, lead_list_complete: true, ..campaign(days) }, as_of())
}

#[test]
fn an_empty_campaign_has_open_questions_only() {
    let diagnosis = with_leads(LeadCounts::default(), Vec::new());
    assert_eq!(diagnosis.findings, []);
    assert_eq!(
        questions(&diagnosis),
        [(LowDelivery, 0, 20, false), (LowResponse, 0, 381, false), (LowConversion, 0, 3838, false)]
    );
    assert_eq!(
        diagnosis.open_questions[1].summary,
        "Whether too few leads reply can't be said yet: 0 of the 381 leads that are needed were first contacted at least \
         7 days ago; as things are, the rest never comes."
    );
}

#[test]
fn one_lead_says_nothing_whatever_happened() {
    let failed =
        with_leads(LeadCounts { failed: 1, ..LeadCounts::default() }, vec![row(29, "a", sent(0, [1, 0, 0, 0, 0]))]);
    let replied = with_leads(LeadCounts { sent: 1, ..LeadCounts::default() }, vec![row(0, "a", contacted(1, 1, 1))]);
    let expected = |leads| {
        let days = vec![row(29, "a", sent(0, [1, 0, 0, 0, 0]))];
        with_leads(leads, days).open_questions[0].expected
    };
    assert_eq!(expected(LeadCounts { failed: 1, ..LeadCounts::default() }), None, "no lead is left to send to");
    assert!(expected(LeadCounts { failed: 1, partial: 30, ..LeadCounts::default() }).is_some());
    for diagnosis in [failed, replied] {
        assert_eq!(diagnosis.findings, []);
        assert!(diagnosis.open_questions.iter().all(|open| open.have <= 1), "{:?}", diagnosis.open_questions);
        assert_eq!(diagnosis.open_questions.len(), 3);
    }
}

#[test]
fn a_campaign_that_never_sent_says_so() {
    let mut facts = campaign(Vec::new());
    facts.blocked.add(crate::not_sending::NotSending::NoAccountAssigned, None);
    let diagnosis = diagnose_campaign(&facts, as_of());
    assert_eq!(kinds(&diagnosis.findings), [NotSending]);
    assert_eq!(diagnosis.open_questions.len(), 3);
}

#[test]
fn all_failed_is_critical_and_blames_nobody() {
    let leads = LeadCounts { failed: 200, ..LeadCounts::default() };
    let diagnosis = with_leads(leads, rows(2, 2, |_, _| sent(0, [0, 50, 0, 0, 0])));
    assert_eq!(kinds(&diagnosis.findings), [InvalidLeads, LowDelivery]);
    for finding in &diagnosis.findings {
        assert_eq!((finding.severity, finding.accounts.len(), finding.change), (Severity::Critical, 0, None));
        let interval = finding.share_interval().unwrap();
        assert!(interval.lower.is_finite() && interval.upper <= 1.0, "{interval:?}");
    }
    assert!(diagnosis.findings[1].summary.starts_with("Only 0 % (0 of 200) of the messages are delivered."));
    assert_eq!(questions(&diagnosis), [(LowResponse, 0, 381, false), (LowConversion, 0, 3838, false)]);
}

#[test]
fn all_bounced_is_the_same() {
    let bounced = || HistoryCounts { bounced: [0, 50, 0, 0, 0], ..HistoryCounts::default() };
    let leads = LeadCounts { failed: 200, ..LeadCounts::default() };
    let diagnosis = with_leads(leads, rows(2, 2, |_, _| bounced()));
    assert_eq!(kinds(&diagnosis.findings), [InvalidLeads, LowDelivery]);
    assert_eq!(diagnosis.findings[0].share, Some(rate(200, 200)));
}

#[test]
fn all_replied_is_healthy() {
    let leads = LeadCounts { sent: 30_000, ..LeadCounts::default() };
    let diagnosis = with_leads(leads, rows(15, 2, |_, _| contacted(1000, 1000, 1000)));
    assert_eq!((diagnosis.findings, diagnosis.open_questions), (Vec::new(), Vec::new()));
    // Of the 15 days with 2000 leads each, all are 7 days old, and none is 30 days old.
    let of = |leads| {
        let rate = rate(leads, leads);
        RatesAtAge { response: rate, conversion: rate }
    };
    assert_eq!(diagnosis.rates, Some([of(30_000), of(0)]));
}
