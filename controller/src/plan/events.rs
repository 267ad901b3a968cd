//! Decides which changes of a campaign are published as Kubernetes events.

use campaign_metrics::pb;

use super::{
    Failure, excerpt,
    status::{LIFT, state, time},
};
use crate::crd::{CampaignStatus, DesiredState, FinishReason};

/// The type of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// An expected change.
    Normal,
    /// A change that needs attention.
    Warning,
}

/// An event to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The reason, in CamelCase.
    pub reason: &'static str,
    /// The type.
    pub severity: Severity,
    /// Text for people.
    pub note: String,
}

impl Notice {
    /// Creates an event, and truncates its note to a bounded length.
    pub fn new(reason: &'static str, severity: Severity, note: impl AsRef<str>) -> Self {
        Self { reason, severity, note: excerpt(note.as_ref()).to_owned() }
    }
}

/// Returns the events to publish after the service confirmed a campaign.
///
/// `edited_state` is the desired state, if an edit just changed it. `repaired` tells whether drift was undone.
pub fn mirrored_notices(
    previous: Option<&CampaignStatus>,
    next: &CampaignStatus,
    edited_state: Option<DesiredState>,
    repaired: bool,
) -> Vec<Notice> {
    use DesiredState::{Active, Finished, Paused};
    let mut notices = Vec::new();
    let recreated =
        previous.is_some_and(|before| before.campaign_uid.is_some() && before.campaign_uid != next.campaign_uid);
    if recreated {
        let note = "the campaign was deleted in the service; created again, without leads: import them again \
                    (`campaignctl leads import`)";
        notices.push(Notice::new("DriftRepaired", Severity::Warning, note));
    } else if repaired {
        let note = "the campaign was changed without this resource; the spec was applied again: to change the campaign, edit \
                    the spec";
        notices.push(Notice::new("DriftRepaired", Severity::Warning, note));
    }
    let before = previous.and_then(|before| before.state);
    let in_flight = next.in_flight.as_ref().map_or(0, |in_flight| in_flight.claims);
    match (previous.and_then(|before| before.hold.as_ref()), &next.hold) {
        (before, Some(hold)) if before != Some(hold) => {
            let reason = if hold.reason.is_empty() { "no reason given" } else { &hold.reason };
            let note = format!("paused without this resource: {reason}; in flight: {in_flight}; {LIFT}");
            notices.push(Notice::new("Held", Severity::Warning, note));
        }
        (Some(_), None) => notices.push(Notice::new("HoldLifted", Severity::Normal, "the spec is in force again")),
        _ => {}
    }
    match (before, next.state) {
        // The event of the hold says it.
        (Some(Active), Some(Paused)) if next.hold.is_some() => {}
        (Some(Active), Some(Paused)) => {
            let note = format!("no claim is granted any more; in flight: {in_flight}");
            notices.push(Notice::new("Paused", Severity::Normal, note));
        }
        (Some(Paused), Some(Active)) => {
            notices.push(Notice::new("Resumed", Severity::Normal, "claims are granted again"));
        }
        (Some(Active | Paused), Some(Finished)) => {
            let note = match next.finish_reason {
                Some(FinishReason::Requested) => "finished by request",
                _ => "finished by itself: every lead is sent or failed",
            };
            notices.push(Notice::new("Finished", Severity::Normal, note));
        }
        (Some(Finished), Some(Finished)) => {
            if let Some(wanted @ (Active | Paused)) = edited_state {
                let note = format!(
                    "the campaign is finished for good: `state: {wanted:?}` changes nothing; create another campaign"
                );
                notices.push(Notice::new("Finished", Severity::Warning, note));
            }
        }
        _ => {}
    }
    notices
}

/// Returns the event for a refusal by the service, once for each cause. An unreachable service is not a refusal.
pub fn rejected_notice(previous: Option<&CampaignStatus>, next: &CampaignStatus, failure: &Failure) -> Option<Notice> {
    let refusal = !matches!(
        failure.reason,
        "ServiceUnavailable" | "ServiceTimeout" | "ServiceBusy" | "ServiceError" | "StaleOwner"
    );
    let cause = |status: &CampaignStatus| {
        let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready")?;
        Some((status.observed_generation, ready.reason.clone(), ready.message.clone()))
    };
    (refusal && previous.and_then(cause) != cause(next))
        .then(|| Notice::new("Rejected", Severity::Warning, failure.to_string()))
}

/// Returns the event for a deletion that waits, once for each cause.
pub fn deletion_notice(previous: Option<&CampaignStatus>, next: &CampaignStatus) -> Option<Notice> {
    let cause = |status: &CampaignStatus| {
        let is_deleting = status.conditions.iter().any(|condition| condition.reason == "Deleting");
        let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready")?;
        is_deleting.then(|| (ready.reason.clone(), ready.message.clone()))
    };
    let (reason, message) = cause(next)?;
    let is_told = previous.and_then(cause).is_some_and(|(before, _)| before == reason);
    (!is_told).then(|| Notice::new("DeletionWaits", Severity::Warning, message))
}

/// Returns the event for a campaign that its deleted resource left in the service.
pub fn orphaned_notice(campaign: &pb::Campaign) -> Notice {
    let state = state(campaign.state()).map_or("in an unknown state".to_owned(), |state| format!("{state:?}"));
    let in_flight = match (campaign.in_flight_claims, time(campaign.in_flight_until)) {
        (claims @ 1.., Some(until)) => format!("; {claims} claims are in flight until {}", until.0),
        _ => String::new(),
    };
    let note = format!("the campaign stays in the service without owner; it is {state}{in_flight}");
    Notice::new("Orphaned", Severity::Normal, note)
}
