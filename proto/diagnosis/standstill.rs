//! What stands still: nothing is sent, claims wait for a person, a lead list is never declared complete.

use super::{
    facts::{AccountFacts, CampaignFacts},
    finding::{Finding, FindingKind, Severity},
    words::{count, time},
};
use crate::{
    account::AccountState,
    campaign::{CampaignState, ClaimExpiryPolicy},
    not_sending::NotSending,
    standing::allowance,
};

/// What a reason for not sending means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Meaning {
    severity: Severity,
    /// Whether it ends by the passage of time alone.
    ends_by_itself: bool,
    what: &'static str,
    action: &'static str,
}

impl Meaning {
    /// A reason that a person has to end.
    const fn lasting(severity: Severity, what: &'static str, action: &'static str) -> Self {
        Self { severity, ends_by_itself: false, what, action }
    }

    /// A reason that time ends. Nothing is lost until then.
    const fn passing(what: &'static str, action: &'static str) -> Self {
        Self { severity: Severity::Info, ends_by_itself: true, what, action }
    }
}

/// Says what a reason means for an active campaign. `None` for states: someone chose them.
///
/// What keeps every lead waiting for a person is critical. A limit of 0 never ends: someone chose it, or forgot it.
fn meaning(reason: NotSending, facts: &CampaignFacts) -> Option<Meaning> {
    let ends = facts.blocked.next_change.is_some();
    Some(match reason {
        NotSending::Paused | NotSending::Finished => return None,
        NotSending::OutsideActiveHours => {
            Meaning::passing("no active window is open", "Wait, or change the active hours.")
        }
        NotSending::CampaignDailyLimit if ends => Meaning::passing(
            "its daily limit is used up",
            "Wait for the next day, or raise the daily limit of the campaign.",
        ),
        NotSending::CampaignDailyLimit => {
            Meaning::lasting(Severity::Warning, "its daily limit is 0", "Raise the daily limit of the campaign.")
        }
        NotSending::AccountDailyLimit if ends => Meaning::passing(
            "the daily limits of its accounts are used up",
            "Wait for the next day, raise the daily limits of the accounts, or add an account.",
        ),
        NotSending::AccountDailyLimit => Meaning::lasting(
            Severity::Warning,
            "the daily limits of its accounts are 0",
            "Raise the daily limits of the accounts, or add an account.",
        ),
        NotSending::AccountSuspended => Meaning::lasting(
            Severity::Critical,
            "all its accounts are suspended",
            "Check the status of the accounts, then reinstate them, or add an account.",
        ),
        NotSending::NoAccountAssigned => {
            Meaning::lasting(Severity::Critical, "it has no account", "Add an account to the campaign.")
        }
        NotSending::AccountRemoved => Meaning::lasting(
            Severity::Critical,
            "leads wait for an account that no longer serves it",
            "Reassign these leads to another account, or add the account again.",
        ),
        NotSending::NoLeadDue if facts.lead_counts.total() == 0 => {
            Meaning::lasting(Severity::Info, "it has no leads", "Add leads.")
        }
        NotSending::NoLeadDue if facts.next_due.is_some() => {
            Meaning::passing("no lead is due yet", "Wait until the next steps are due, or add leads.")
        }
        // The claims in flight bring outcomes, and those make the next steps due.
        NotSending::NoLeadDue if facts.in_flight_claims > 0 => {
            Meaning::passing("every lead that is due is claimed", "Wait for the outcomes of the claims in flight.")
        }
        NotSending::NoLeadDue => Meaning::lasting(
            Severity::Warning,
            "no lead that is pending or partial becomes due",
            "Report the outcomes of the steps that these leads miss, or finish the campaign.",
        ),
        NotSending::UncertainClaims => Meaning::lasting(
            Severity::Warning,
            "claims that expired without an outcome block their leads",
            "Report the outcomes of these claims, or resolve them.",
        ),
    })
}

/// Finds why an active campaign sends nothing.
pub(super) fn not_sending(facts: &CampaignFacts) -> Option<Finding> {
    let CampaignFacts { lead_counts, blocked, .. } = facts;
    // With every lead done there is nothing to send. While the last due leads are claimed, they are being sent.
    let is_done = lead_counts.total() > 0 && !lead_counts.is_open();
    let is_sending = facts.in_flight_claims > 0 && blocked.reasons == [NotSending::NoLeadDue];
    if facts.state != CampaignState::Active || is_done || is_sending {
        return None;
    }
    // Where leads wait for a person, it goes without saying that none is due.
    let is_said = blocked.reasons.iter().any(|reason| {
        matches!(reason, NotSending::AccountRemoved | NotSending::UncertainClaims | NotSending::NoAccountAssigned)
    });
    let shown = blocked.reasons.iter().filter(|reason| !(is_said && **reason == NotSending::NoLeadDue));
    let meanings: Vec<Meaning> = shown.filter_map(|reason| meaning(*reason, facts)).collect();
    let severity = meanings.iter().map(|meaning| meaning.severity).max()?;
    let is_waiting = blocked.reasons == [NotSending::NoLeadDue];
    let change = if is_waiting { facts.next_due } else { blocked.next_change };
    let when = match change.filter(|_| meanings.iter().all(|meaning| meaning.ends_by_itself)) {
        Some(at) => format!("This changes by itself at {} at the earliest.", time(at)),
        None => "This does not change by itself.".to_owned(),
    };
    let what: Vec<_> = meanings.iter().map(|meaning| meaning.what).collect();
    let action: Vec<_> = meanings.iter().map(|meaning| meaning.action).collect();
    let summary = format!("The campaign sends nothing: {}. {when}", what.join(", and "));
    let mut finding = Finding::new(FindingKind::NotSending, severity, summary, action.join(" "));
    finding.not_sending.clone_from(&blocked.reasons);
    Some(finding)
}

/// Finds claims that wait for a person. With the policy RETRY they wait for nobody.
pub(super) fn uncertain_claims(facts: &CampaignFacts) -> Option<Finding> {
    let uncertain = facts.uncertain_claims;
    if uncertain <= 0 || facts.claim_expiry_policy == ClaimExpiryPolicy::Retry {
        return None;
    }
    // A finished campaign does not send these leads again, so nothing waits but the counts.
    let severity = if facts.state == CampaignState::Finished { Severity::Info } else { Severity::Warning };
    let summary = format!(
        "{} expired without an outcome. Whether the messages were sent is unknown, so their leads wait.",
        count(uncertain, "claim", "claims")
    );
    let action = "Report the outcomes of these claims, or resolve them as sent or not sent.";
    let mut finding = Finding::new(FindingKind::UncertainClaims, severity, summary, action);
    finding.uncertain_claims = uncertain;
    Some(finding)
}

/// Finds a campaign that stays open only because its lead list was never declared complete.
pub(super) fn lead_list_open(facts: &CampaignFacts) -> Option<Finding> {
    let leads = facts.lead_counts;
    let is_open = facts.lead_list_complete || leads.total() == 0 || leads.is_open();
    if is_open || facts.state == CampaignState::Finished {
        return None;
    }
    let summary = format!(
        "All {} are sent or failed, but the lead list was never declared complete, so the campaign stays open.",
        count(leads.total(), "lead", "leads")
    );
    let action = "Declare the lead list complete, or add more leads.";
    Some(Finding::new(FindingKind::LeadListOpen, Severity::Info, summary, action))
}

/// Finds why an account is granted nothing, whatever its campaigns could send.
pub(super) fn account_not_sending(facts: &AccountFacts) -> Option<Finding> {
    let is_used_up = allowance(facts.daily_limit, facts.reserved_today) == 0;
    let known = [
        (facts.daily_limit == Some(0)).then_some((
            NotSending::AccountDailyLimit,
            Meaning::lasting(Severity::Warning, "its daily limit is 0", "Raise its daily limit."),
        )),
        (is_used_up && facts.daily_limit != Some(0)).then_some((
            NotSending::AccountDailyLimit,
            Meaning::passing("its daily limit is used up", "Wait for the next day, or raise its daily limit."),
        )),
        // Someone suspended it. Its leads wait, and nothing is lost.
        (facts.state == AccountState::Suspended).then_some((
            NotSending::AccountSuspended,
            Meaning::lasting(
                Severity::Warning,
                "it is suspended",
                "Check its status, then reinstate it, or reassign its leads.",
            ),
        )),
        (facts.campaigns == 0).then_some((
            NotSending::NoAccountAssigned,
            Meaning::lasting(Severity::Info, "it serves no campaign", "Add it to a campaign."),
        )),
    ];
    let found: Vec<_> = known.into_iter().flatten().collect();
    let severity = found.iter().map(|(_, meaning)| meaning.severity).max()?;
    let what: Vec<_> = found.iter().map(|(_, meaning)| meaning.what).collect();
    let action: Vec<_> = found.iter().map(|(_, meaning)| meaning.action).collect();
    let when = if found.iter().all(|(_, meaning)| meaning.ends_by_itself) {
        "This changes by itself on its next local day."
    } else {
        "This does not change by itself."
    };
    let summary = format!("The account is granted nothing: {}. {when}", what.join(", and "));
    let mut finding = Finding::new(FindingKind::NotSending, severity, summary, action.join(" "));
    finding.not_sending = found.into_iter().map(|(reason, _)| reason).collect();
    Some(finding)
}
