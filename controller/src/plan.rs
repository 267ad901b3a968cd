//! Decides the next step from the desired state of a resource and the observed campaign. Does no I/O and reads no
//! clock.
//!
//! Drift is measured against the answer of the service to the last `ApplyCampaign` of this generation. So this module
//! need not know how the service renders defaults, sorts accounts or spells time zones.

use std::time::Duration;

use campaign_metrics::pb;

use crate::crd::CampaignStatus;

mod adoption;
mod diagnosis;
mod events;
mod failure;
mod field;
mod share;
mod status;

pub use adoption::adoption_notice;
pub use diagnosis::{DIAGNOSIS_INTERVAL, Diagnosed, Judged, can_hold, diagnosis_wait, with_diagnosis};
pub use events::{Notice, Severity, deletion_notice, mirrored_notices, orphaned_notice, rejected_notice};
pub use failure::{Failure, Retry, error_reason};
pub use field::resource_field;
pub use status::{claims_wait, deletion_waits, failed, mirrored, out_of_reach, reconcile_paused, state};

/// Minimum time between two writes of counts alone. State and conditions are written at once. For counts this is fast
/// enough for people, and it limits 10 000 busy campaigns to 1 000 writes per second, which one API server can take.
pub const COUNTS_INTERVAL: Duration = Duration::from_secs(10);
/// First wait after a failure: about the time in which an API server or the service restarts.
const BACKOFF_FIRST: Duration = Duration::from_secs(1);
/// Longest wait after failures. An account that is created later is noticed within minutes, and 10 000 failing
/// resources cause about 40 calls per second.
const BACKOFF_LAST: Duration = Duration::from_mins(5);
/// Wait before a refusal that only an edit can repair is tried again all the same.
const REFUSED_WAIT: Duration = Duration::from_hours(1);
/// Random share of a wait, so that resources that failed together do not retry together.
const JITTER: f64 = 0.2;
/// Longest text of an error in a condition or event, in bytes. The API server refuses event notes over 1024 bytes.
const MESSAGE_BYTES: usize = 900;

/// The settings that the service confirmed when a generation was applied. Drift is any difference from them.
#[derive(Debug, Clone, PartialEq)]
pub struct Applied {
    /// The generation.
    pub generation: i64,
    settings: pb::Campaign,
}

impl Applied {
    /// Keeps the settings that only the resource may change.
    pub fn new(generation: i64, answer: &pb::Campaign) -> Self {
        Self { generation, settings: settings(answer) }
    }
}

/// Returns the part of a campaign that its spec determines.
fn settings(campaign: &pb::Campaign) -> pb::Campaign {
    pb::Campaign {
        // Under a hold the campaign is paused, and this is the state that its resource declared.
        state: campaign.hold.as_ref().map_or(campaign.state, |hold| hold.return_state),
        display_name: campaign.display_name.clone(),
        steps: campaign.steps,
        follow_up_delay: campaign.follow_up_delay,
        accounts: campaign.accounts.clone(),
        active_hours: campaign.active_hours.clone(),
        daily_limit: campaign.daily_limit,
        claim_expiry_policy: campaign.claim_expiry_policy,
        settle_seconds: campaign.settle_seconds,
        attribution_days: campaign.attribution_days,
        lead_list_complete: campaign.lead_list_complete,
        ..pb::Campaign::default()
    }
}

/// The observed campaign in the service.
#[derive(Debug, Clone, PartialEq)]
pub enum Observed {
    /// It was not observed, or the observation has expired.
    Unknown,
    /// It does not exist.
    Absent,
    /// It exists.
    Present(Box<pb::Campaign>),
}

/// The next step for a resource.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Get the campaign from the service.
    Fetch,
    /// Apply the spec.
    Apply(Cause),
    /// Only mirror the campaign into the status.
    Mirror(Box<pb::Campaign>),
}

/// Why the spec must be applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// This process has not applied this generation yet.
    Generation,
    /// The campaign was changed or deleted without its resource.
    Drift,
}

/// Returns the next step for a resource with the given UID and generation.
pub fn step(uid: &str, generation: i64, applied: Option<&Applied>, observed: Observed) -> Step {
    let Some(applied) = applied.filter(|applied| applied.generation == generation) else {
        return Step::Apply(Cause::Generation);
    };
    let campaign = match observed {
        Observed::Unknown => return Step::Fetch,
        Observed::Absent => return Step::Apply(Cause::Drift),
        Observed::Present(campaign) => campaign,
    };
    let owned = campaign.owner.as_ref().is_some_and(|owner| owner.uid == uid && owner.generation == generation);
    let mut found = settings(&campaign);
    // Clients may declare the lead list complete, too. A list that is open again is drift.
    found.lead_list_complete &= applied.settings.lead_list_complete;
    // A finished campaign satisfies every spec, so there is no drift to repair.
    if owned && (campaign.state() == pb::CampaignState::Finished || found == applied.settings) {
        Step::Mirror(campaign)
    } else {
        Step::Apply(Cause::Drift)
    }
}

/// Truncates a text to [`MESSAGE_BYTES`].
fn excerpt(text: &str) -> &str {
    &text[..text.floor_char_boundary(MESSAGE_BYTES)]
}

/// When to write a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Write {
    /// Nothing changed.
    Never,
    /// At once.
    Now,
    /// After this wait: only counts changed, and the last write was recent.
    After(Duration),
}

/// Decides when to write a status, given the time since the last write.
pub fn write(previous: Option<&CampaignStatus>, next: &CampaignStatus, since_last: Option<Duration>) -> Write {
    let Some(previous) = previous else { return Write::Now };
    if previous == next {
        return Write::Never;
    }
    let urgent = previous.state != next.state
        || previous.observed_generation != next.observed_generation
        || previous.campaign_uid != next.campaign_uid
        || previous.conditions != next.conditions;
    match since_last {
        Some(since) if !urgent && since < COUNTS_INTERVAL => Write::After(COUNTS_INTERVAL.saturating_sub(since)),
        _ => Write::Now,
    }
}

/// Returns the wait before a refusal that only an edit can repair is tried again. `random` is from 0 to 1.
pub fn refused_wait(random: f64) -> Duration {
    REFUSED_WAIT.mul_f64(1.0 - JITTER * random)
}

/// Returns the wait before the next try after `attempts` consecutive failures. `random` is from 0 to 1.
pub fn backoff(attempts: u32, random: f64) -> Duration {
    let doubled = BACKOFF_FIRST.saturating_mul(2_u32.saturating_pow(attempts.saturating_sub(1)));
    doubled.min(BACKOFF_LAST).mul_f64(1.0 - JITTER * random)
}

#[cfg(test)]
mod tests;
