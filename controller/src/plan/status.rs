//! Builds the status of a resource from the answer of the service: the mirror of the campaign, and the conditions.
//!
//! Conditions contain no counts, so that they change only with their meaning. `Reconciling` and `Stalled` exist only
//! while they are True, as kstatus expects.

use campaign_metrics::pb;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::{
    Failure, Retry,
    diagnosis::can_hold,
    share::{rate, share},
};
use crate::crd::{
    CampaignStatus, Counts, DeliveryHealth, DesiredState, FORCE_DELETE_ANNOTATION, Failures, FinishReason, Hold,
    InFlight, LeadFacts, Messages, RECONCILE_ANNOTATION,
};

/// How a hold ends, for people.
pub(super) const LIFT: &str = "to end it, edit the spec, or run `campaignctl campaigns resume --override`";

/// Collects the conditions of one status, in a fixed order.
struct Conditions<'a> {
    previous: &'a [Condition],
    generation: i64,
    now: Timestamp,
    next: Vec<Condition>,
}

impl<'a> Conditions<'a> {
    fn new(previous: Option<&'a CampaignStatus>, generation: i64, now: Timestamp) -> Self {
        Self {
            previous: previous.map_or(&[], |status| &status.conditions),
            generation,
            now: whole_second(now),
            next: Vec::new(),
        }
    }

    fn set(&mut self, kind: &str, status: &str, reason: &str, message: &str) {
        let since = self
            .previous
            .iter()
            .find(|condition| condition.type_ == kind && condition.status == status)
            .map_or(Time(self.now), |condition| condition.last_transition_time.clone());
        self.next.push(Condition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message: message.to_owned(),
            observed_generation: Some(self.generation),
            last_transition_time: since,
        });
    }

    /// Keeps `Sending`, unless nothing is known about the campaign.
    fn sending_unless_silent(&mut self, failure: &Failure) {
        if failure.is_silence() && self.previous.iter().any(|condition| condition.type_ == "Sending") {
            self.set("Sending", "Unknown", failure.reason, &failure.message);
        } else {
            self.keep("Sending");
        }
    }

    fn keep(&mut self, kind: &str) {
        self.next.extend(self.previous.iter().find(|condition| condition.type_ == kind).cloned());
    }
}

/// Returns the status of a resource whose campaign the service confirmed. What the previous status has of a diagnosis of the
/// same campaign stays, unless the campaign shows that it is over.
pub fn mirrored(
    previous: Option<&CampaignStatus>,
    generation: i64,
    campaign: &pb::Campaign,
    now: Timestamp,
) -> CampaignStatus {
    let mut conditions = Conditions::new(previous, generation, now);
    let held = campaign.hold.as_ref().map(|hold| match hold.reason.as_str() {
        "" => format!("a hold keeps the campaign paused; {LIFT}"),
        reason => format!("a hold keeps the campaign paused: {reason}; {LIFT}"),
    });
    // A spec that wants the campaign paused is in force all the same.
    let deviates = |hold: &pb::Hold| hold.return_state() != pb::CampaignState::Paused;
    let (status, reason, synced) = match (campaign.state(), &held) {
        (pb::CampaignState::Finished, _) => {
            ("True", "Finished", "the campaign is finished; its state can't change any more")
        }
        (_, Some(held)) if campaign.hold.as_ref().is_some_and(deviates) => ("False", "Held", held.as_str()),
        _ => ("True", "Applied", "the service has this spec"),
    };
    conditions.set("Ready", status, reason, synced);
    conditions.set("Synced", status, reason, synced);
    if let Some(held) = &held {
        conditions.set("Held", "True", "Held", held);
    }
    sending(&mut conditions, campaign);
    delivery_healthy(&mut conditions, campaign.delivery_health());
    let counts = campaign.lead_counts.unwrap_or_default();
    let messages = campaign.message_counts.clone().unwrap_or_default();
    let delivery_health = match campaign.delivery_health() {
        pb::DeliveryHealth::Unspecified => None,
        pb::DeliveryHealth::High => Some(DeliveryHealth::High),
        pb::DeliveryHealth::Moderate => Some(DeliveryHealth::Moderate),
        pb::DeliveryHealth::Low => Some(DeliveryHealth::Low),
    };
    let known = previous.filter(|status| status.campaign_uid.as_ref() == Some(&campaign.uid));
    CampaignStatus {
        observed_generation: Some(generation),
        state: state(campaign.state()),
        hold: campaign
            .hold
            .as_ref()
            .and_then(|hold| Some(Hold { place_time: time(hold.place_time)?, reason: hold.reason.clone() })),
        finish_reason: match campaign.finish_reason() {
            pb::FinishReason::Unspecified => None,
            pb::FinishReason::Completed => Some(FinishReason::Completed),
            pb::FinishReason::Requested => Some(FinishReason::Requested),
        },
        campaign_uid: Some(campaign.uid.clone()),
        counts: Some(Counts {
            sent: counts.sent,
            failed: counts.failed,
            pending: counts.pending,
            partial: counts.partial,
            total: counts.total,
        }),
        messages: Some(Messages {
            delivered: messages.delivered,
            failed: messages.failed,
            bounced: messages.bounced,
            failures: failures(&messages.failures),
        }),
        lead_facts: Some(LeadFacts {
            replied: messages.replied_leads,
            converted: messages.converted_leads,
            auto_replied: messages.auto_replied_leads,
            opted_out: messages.opted_out_leads,
        }),
        progress: share(counts.sent + counts.failed, counts.total),
        delivery: rate(campaign.delivery_rate),
        delivery_health,
        delivery_health_certain: delivery_health.map(|_| campaign.delivery_health_certain),
        delivery_health_text: delivery_health
            .map(|health| format!("{health:?}{}", if campaign.delivery_health_certain { "" } else { "?" })),
        response: rate(campaign.response_rate),
        conversion: rate(campaign.conversion_rate),
        in_flight: Some(InFlight { claims: campaign.in_flight_claims, until: time(campaign.in_flight_until) }),
        uncertain_claims: Some(campaign.uncertain_claims),
        next_change_time: time(campaign.next_change_time),
        finish_time: time(campaign.finish_time),
        conditions: conditions.next,
        response_within_7_days: known.and_then(|status| status.response_within_7_days.clone()),
        conversion_within_7_days: known.and_then(|status| status.conversion_within_7_days.clone()),
        finding: known.and_then(|status| status.finding.clone()).filter(|finding| can_hold(finding, campaign)),
    }
}

fn failures(by_reason: &[pb::ReasonCount]) -> Failures {
    let mut failures = Failures::default();
    for reason in by_reason {
        let count = match reason.reason() {
            pb::FailureReason::AccountIssue => &mut failures.account_issue,
            pb::FailureReason::InvalidLead => &mut failures.invalid_lead,
            pb::FailureReason::RateLimited => &mut failures.rate_limited,
            pb::FailureReason::ContentRejected => &mut failures.content_rejected,
            pb::FailureReason::Unspecified | pb::FailureReason::Other => &mut failures.other,
        };
        *count += reason.count;
    }
    failures
}

/// Returns the status of a resource that could not be applied, or whose campaign could not be read.
pub fn failed(previous: Option<&CampaignStatus>, generation: i64, failure: &Failure, now: Timestamp) -> CampaignStatus {
    let mut conditions = Conditions::new(previous, generation, now);
    conditions.set("Ready", if failure.is_silence() { "Unknown" } else { "False" }, failure.reason, &failure.message);
    let synced = previous.is_some_and(|status| {
        status.observed_generation == Some(generation)
            && (status.conditions.iter()).any(|condition| condition.type_ == "Synced" && condition.status == "True")
    });
    // An unreachable service still has the spec that it confirmed. A service that refuses the spec does not have it.
    if synced && !failure.is_refusal() {
        conditions.keep("Synced");
    } else {
        conditions.set("Synced", "False", failure.reason, &failure.message);
    }
    conditions.keep("Held");
    conditions.sending_unless_silent(failure);
    conditions.keep("DeliveryHealthy");
    match failure.retry {
        Retry::Backoff => conditions.set("Reconciling", "True", failure.reason, "trying again with backoff"),
        Retry::WhenEdited => {
            conditions.set(
                "Stalled",
                "True",
                failure.reason,
                "tried again when the spec or the version of the service changes, and each hour",
            );
        }
    }
    with_conditions(previous, generation, conditions)
}

/// Returns the status of a resource while the service is away. `None` if it does not depend on the service: it says so
/// already, was refused, waits for its deletion, or is not reconciled.
pub fn out_of_reach(previous: &CampaignStatus, now: Timestamp) -> Option<CampaignStatus> {
    let of = |kind: &str| previous.conditions.iter().find(|condition| condition.type_ == kind);
    let ready = of("Ready")?;
    let is_deleting = of("Reconciling").is_some_and(|condition| condition.reason == "Deleting");
    if ready.status == "Unknown" || ready.reason == "ReconciliationPaused" || is_deleting || of("Stalled").is_some() {
        return None;
    }
    let generation = previous.observed_generation.unwrap_or_default();
    let mut conditions = Conditions::new(Some(previous), generation, now);
    let failure = Failure::away();
    conditions.set("Ready", "Unknown", failure.reason, &failure.message);
    for kind in ["Synced", "Held"] {
        conditions.keep(kind);
    }
    conditions.sending_unless_silent(&failure);
    for kind in ["DeliveryHealthy", "Reconciling"] {
        conditions.keep(kind);
    }
    Some(with_conditions(Some(previous), generation, conditions))
}

/// Returns the status of a resource whose annotation pauses its reconciliation. The campaign is unchanged.
pub fn reconcile_paused(previous: Option<&CampaignStatus>, generation: i64, now: Timestamp) -> CampaignStatus {
    let mut conditions = Conditions::new(previous, generation, now);
    let message = &format!(
        "the annotation {RECONCILE_ANNOTATION}=paused pauses the reconciliation of this resource, and counts may be old; \
         remove it to go on"
    );
    conditions.set("Ready", "False", "ReconciliationPaused", message);
    conditions.set("Synced", "Unknown", "ReconciliationPaused", message);
    for kind in ["Held", "Sending", "DeliveryHealthy"] {
        conditions.keep(kind);
    }
    with_conditions(previous, generation, conditions)
}

/// Returns the status of a deleted resource that waits for the service.
pub fn deletion_waits(
    previous: Option<&CampaignStatus>,
    generation: i64,
    failure: &Failure,
    now: Timestamp,
) -> CampaignStatus {
    let mut conditions = Conditions::new(previous, generation, now);
    let for_what = if failure.reason.starts_with("Claims") { "claims" } else { "the campaign service" };
    let message = format!(
        "the deletion waits for {for_what}: {}; the annotation {FORCE_DELETE_ANNOTATION}=true ends the wait",
        failure.message
    );
    conditions.set("Ready", if failure.is_silence() { "Unknown" } else { "False" }, failure.reason, &message);
    for kind in ["Synced", "Held", "Sending", "DeliveryHealthy"] {
        conditions.keep(kind);
    }
    conditions.set("Reconciling", "True", "Deleting", "trying again with backoff");
    with_conditions(previous, generation, conditions)
}

/// Returns the status of a deleted resource whose campaign waits for claims, and why; `None` if no claim is left.
pub fn claims_wait(
    previous: Option<&CampaignStatus>,
    generation: i64,
    campaign: &pb::Campaign,
    now: Timestamp,
) -> Option<CampaignStatus> {
    let failure = match (campaign.in_flight_claims, time(campaign.in_flight_until), campaign.uncertain_claims) {
        (in_flight @ 1.., Some(until), _) => Failure::transient(
            "ClaimsHeld",
            format!("the campaign is paused, and {in_flight} are in flight until {}", until.0),
        ),
        (_, _, uncertain @ 1..) => Failure::transient(
            "ClaimsUncertain",
            format!("{uncertain} expired without an outcome; resolve them (`campaignctl claims resolve`)"),
        ),
        _ => return None,
    };
    let waits = deletion_waits(previous, generation, &failure, now);
    Some(CampaignStatus {
        state: state(campaign.state()),
        in_flight: Some(InFlight { claims: campaign.in_flight_claims, until: time(campaign.in_flight_until) }),
        uncertain_claims: Some(campaign.uncertain_claims),
        ..waits
    })
}

fn with_conditions(previous: Option<&CampaignStatus>, generation: i64, conditions: Conditions) -> CampaignStatus {
    CampaignStatus {
        observed_generation: Some(generation),
        conditions: conditions.next,
        ..previous.cloned().unwrap_or_default()
    }
}

fn sending(conditions: &mut Conditions, campaign: &pb::Campaign) {
    let mut reasons: Vec<pb::NotSendingReason> = campaign.not_sending_reasons().collect();
    // Sorted as in the contract, so that the first reason, which the columns show, does not depend on the service.
    reasons.sort_unstable();
    if let Some(first) = reasons.first() {
        let text = |reason: &pb::NotSendingReason| match reason {
            pb::NotSendingReason::Paused if campaign.hold.is_some() => {
                format!("a hold keeps the campaign paused ({LIFT})")
            }
            _ => not_sending(*reason).1.to_owned(),
        };
        let message = reasons.iter().map(text).collect::<Vec<_>>().join("; ");
        conditions.set("Sending", "False", not_sending(*first).0, &message);
    } else {
        conditions.set("Sending", "True", "Sending", "messages can be claimed");
    }
}

/// Returns the condition reason for a reason why nothing is sent, and a text for people with the remedy.
fn not_sending(reason: pb::NotSendingReason) -> (&'static str, &'static str) {
    use pb::NotSendingReason as Reason;
    match reason {
        Reason::Unspecified => {
            ("Unknown", "the service gives a reason that this controller does not know (upgrade the controller)")
        }
        Reason::Paused => ("Paused", "the campaign is paused (set spec.state to Active to go on)"),
        Reason::Finished => ("Finished", "the campaign is finished (create another one to send more)"),
        Reason::OutsideActiveHours => (
            "OutsideActiveHours",
            "no window of spec.activeHours is open now (status.nextChangeTime has the time of the next change)",
        ),
        Reason::CampaignDailyLimit => {
            ("CampaignDailyLimit", "spec.dailyLimit is used up (wait for the next local day, or raise it)")
        }
        Reason::AccountDailyLimit => (
            "AccountDailyLimit",
            "the daily limits of all its accounts are used up (wait, raise them, or add an account to spec.accounts)",
        ),
        Reason::AccountSuspended => {
            ("AccountSuspended", "all its accounts are suspended (reinstate one, or add one to spec.accounts)")
        }
        Reason::NoAccountAssigned => ("NoAccountAssigned", "the campaign has no account (add one to spec.accounts)"),
        Reason::AccountRemoved => (
            "AccountRemoved",
            "leads wait for an account that is no longer in spec.accounts (add it again, or `campaignctl leads reassign`)",
        ),
        Reason::NoLeadDue => ("NoLeadDue", "no lead is due (add leads, or wait for follow-ups)"),
        Reason::UncertainClaims => (
            "UncertainClaims",
            "claims that expired without an outcome wait to be resolved (`campaignctl claims resolve`)",
        ),
    }
}

fn delivery_healthy(conditions: &mut Conditions, health: pb::DeliveryHealth) {
    let (status, reason, message) = match health {
        pb::DeliveryHealth::Unspecified => ("Unknown", "NoMessages", "no message has a result yet"),
        pb::DeliveryHealth::High => ("True", "High", "more than 95 % of the messages are delivered"),
        pb::DeliveryHealth::Moderate => (
            "False",
            "Moderate",
            "80 to 95 % of the messages are delivered (`campaignctl campaigns diagnose` says why)",
        ),
        pb::DeliveryHealth::Low => {
            ("False", "Low", "less than 80 % of the messages are delivered (`campaignctl campaigns diagnose` says why)")
        }
    };
    conditions.set("DeliveryHealthy", status, reason, message);
}

/// Returns a state as the resource names it.
pub fn state(state: pb::CampaignState) -> Option<DesiredState> {
    match state {
        pb::CampaignState::Unspecified => None,
        pb::CampaignState::Active => Some(DesiredState::Active),
        pb::CampaignState::Paused => Some(DesiredState::Paused),
        pb::CampaignState::Finished => Some(DesiredState::Finished),
    }
}

/// Truncates a time to the precision that Kubernetes stores, so that a status equals the one that is read back.
pub(super) fn time(time: Option<prost_types::Timestamp>) -> Option<Time> {
    time.and_then(|time| Timestamp::from_second(time.seconds).ok()).map(Time)
}

fn whole_second(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}
