//! Decides, from what a resource asks for and what the service says, what to do next; does no I/O and reads no clock.
//!
//! The reference for drift is the service's own answer to the last `ApplyCampaign` of this generation, so that nothing
//! here has to know how the service renders defaults, sorts accounts or spells zones.

use std::time::Duration;

use campaign_metrics::{ERROR_DOMAIN, pb};
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::crd::CampaignStatus;

mod events;
mod status;

pub use events::{Notice, Severity, mirrored_notices, rejected_notice};
pub use status::{deletion_waits, failed, mirrored, reconcile_paused};

/// Least time between two writes of counts alone: state and conditions are written at once, and for counts people look
/// at this is fast enough while 10 000 busy campaigns stay at 1 000 writes per second, what one API server takes.
pub const COUNTS_INTERVAL: Duration = Duration::from_secs(10);
/// First wait after a failure: an API server or service that restarts is back in about that time.
const BACKOFF_FIRST: Duration = Duration::from_secs(1);
/// Longest wait after failures: an account created later is noticed within a coffee break, and 10 000 failing resources
/// stay at about 40 calls per second.
const BACKOFF_LAST: Duration = Duration::from_mins(5);
/// Share of a wait that is random, so that resources that failed together do not come back together.
const JITTER: f64 = 0.2;
/// Longest text of a condition or event taken from an error; the API server refuses events with a note over 1024 bytes.
const MESSAGE_BYTES: usize = 900;

/// What the service answered when a generation was applied: the settings that must still be there.
#[derive(Debug, Clone, PartialEq)]
pub struct Applied {
    /// The generation.
    pub generation: i64,
    settings: pb::Campaign,
}

impl Applied {
    /// Keeps what may not change behind the resource's back.
    pub fn new(generation: i64, answer: &pb::Campaign) -> Self {
        Self { generation, settings: settings(answer) }
    }
}

/// The part of a campaign that its spec decides.
fn settings(campaign: &pb::Campaign) -> pb::Campaign {
    pb::Campaign {
        state: campaign.state,
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

/// What is known of the campaign in the service.
#[derive(Debug, Clone, PartialEq)]
pub enum Observed {
    /// Nothing, or nothing that still holds.
    Unknown,
    /// It does not exist.
    Absent,
    /// It is like this.
    Present(Box<pb::Campaign>),
}

/// What to do next about a resource.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Ask the service how the campaign is.
    Fetch,
    /// Bring the service to the spec.
    Apply(Cause),
    /// Only mirror what the service says into the status.
    Mirror(Box<pb::Campaign>),
}

/// Why the service has to be brought to the spec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// This generation has not been applied by this process.
    Generation,
    /// Somebody changed or deleted the campaign past its resource.
    Drift,
}

/// Chooses the next step for a resource of the given UID and generation.
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
    // Clients may declare the list complete as well. A list that is open again is drift.
    found.lead_list_complete &= applied.settings.lead_list_complete;
    // A campaign that finished satisfies every spec: there is nothing left to repair.
    if owned && (campaign.state() == pb::CampaignState::Finished || found == applied.settings) {
        Step::Mirror(campaign)
    } else {
        Step::Apply(Cause::Drift)
    }
}

/// Whether a failed call is worth repeating.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// With backoff.
    Backoff,
    /// Not before the spec changes.
    WhenEdited,
}

/// Why the service could not be brought to the spec, in the words of conditions.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {message}")]
pub struct Failure {
    /// CamelCase, as conditions want it.
    pub reason: &'static str,
    /// For people; stable while the cause is the same, so that retries do not rewrite the status.
    pub message: String,
    /// Whether to try again.
    pub retry: Retry,
}

impl Failure {
    /// A failure that only an edit of the spec can mend.
    pub fn terminal(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), retry: Retry::WhenEdited }
    }

    /// Whether the service looked at the spec and did not take it.
    fn is_refusal(&self) -> bool {
        self.retry == Retry::WhenEdited || matches!(self.reason, "AccountNotFound" | "Refused" | "StaleOwner")
    }

    fn transient(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), retry: Retry::Backoff }
    }
}

impl From<&tonic::Status> for Failure {
    fn from(status: &tonic::Status) -> Self {
        let text = excerpt(status.message());
        match (status.code(), error_reason(status).as_str()) {
            (Code::InvalidArgument, _) => Self::terminal("InvalidSpec", text),
            (Code::FailedPrecondition, "CAMPAIGN_OWNED") => Self::terminal("CampaignOwned", text),
            (Code::FailedPrecondition, "CAMPAIGN_NOT_ADOPTABLE") => Self::terminal("CampaignNotAdoptable", text),
            (Code::FailedPrecondition, "IMMUTABLE_FIELD") => Self::terminal("ImmutableField", text),
            (Code::FailedPrecondition, "ACCOUNT_NOT_FOUND") => Self::transient("AccountNotFound", text),
            (Code::FailedPrecondition, _) => Self::transient("Refused", text),
            (Code::Aborted, _) => Self::transient("StaleOwner", text),
            (Code::ResourceExhausted, _) => Self::transient("ServiceBusy", text),
            (Code::Unauthenticated | Code::PermissionDenied, _) => Self::transient("AccessDenied", text),
            // The texts below say what the transport happened to run into, which differs from try to try.
            (Code::Unavailable, _) => {
                Self::transient("ServiceUnavailable", "the campaign service can't be reached; trying again")
            }
            // An expired deadline arrives as CANCELLED when the client noticed it first.
            (Code::DeadlineExceeded | Code::Cancelled, _) => {
                Self::transient("ServiceTimeout", "the campaign service does not answer in time; trying again")
            }
            _ => Self::transient("ServiceError", "the campaign service failed; trying again, its log says more"),
        }
    }
}

/// The beginning of a text, as much as fits.
fn excerpt(text: &str) -> &str {
    &text[..text.floor_char_boundary(MESSAGE_BYTES)]
}

/// The `google.rpc.ErrorInfo` reason of a status of our service; empty without.
pub fn error_reason(status: &tonic::Status) -> String {
    status
        .get_details_error_info()
        .filter(|info| info.domain == ERROR_DOMAIN)
        .map(|info| info.reason)
        .unwrap_or_default()
}

/// Whether and when to write a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Write {
    /// Nothing changed.
    Never,
    /// At once.
    Now,
    /// Only counts changed, and they were written a moment ago.
    After(Duration),
}

/// Decides whether a status is worth a write, given how long ago the last one was.
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

/// The wait before the next try after `attempts` failures in a row; `random` is in 0 to 1.
pub fn backoff(attempts: u32, random: f64) -> Duration {
    let doubled = BACKOFF_FIRST.saturating_mul(2_u32.saturating_pow(attempts.saturating_sub(1)));
    doubled.min(BACKOFF_LAST).mul_f64(1.0 - JITTER * random)
}

#[cfg(test)]
mod tests;
