//! Conversions of claims and outcomes.

use super::{campaign::not_sending, parse, parse_timestamp, timestamp};
use crate::{
    invalid::Invalid,
    lead::{Fact, FailureReason, Step},
    name::{LeadName, WorkspaceId},
    pb,
    sending::{Claim, ClaimState, DETAIL_MAX, LeadRef, Outcome, Rejection, SendKey, VALUE_MICROS_MAX, Verdict},
    standing::CampaignBlocked,
};

/// The year 2000, in seconds since 1970. Some clients send the year 1 or 1970 for a time that was never set, so an earlier
/// time of a fact counts as absent.
const FACT_SECONDS_MIN: i64 = 946_684_800;

/// Parses one outcome that was reported to `workspace`. A problem rejects this outcome only.
pub fn outcome(outcome: &pb::Outcome, workspace: &WorkspaceId) -> Result<Outcome, Rejection> {
    let invalid = |field: &str, problem: &str| Rejection::Invalid(Invalid::new(field, problem));
    let (lead, step) = match (outcome.send_key.as_str(), outcome.lead.as_str()) {
        ("", "") => return Err(invalid("send_key", "is required, or `lead`")),
        ("", lead) => {
            let name: LeadName = parse("lead", lead).map_err(Rejection::Invalid)?;
            if name.campaign.workspace != *workspace {
                return Err(invalid("lead", "belongs to another workspace than `parent`"));
            }
            (
                LeadRef::Name(name),
                (outcome.step != 0).then(|| Step::new(outcome.step).ok_or(Rejection::StepOutOfRange)).transpose()?,
            )
        }
        (key, "") => {
            let key: SendKey = parse("send_key", key).map_err(Rejection::Invalid)?;
            if outcome.step != 0 && outcome.step != i32::from(key.step.number()) {
                return Err(invalid("step", "differs from the one of send_key; leave it out"));
            }
            (LeadRef::Key(key), Some(key.step))
        }
        _ => return Err(invalid("lead", "must be left out where send_key is given")),
    };
    let message = |fact: fn(Step) -> Fact| step.map(fact).ok_or_else(|| invalid("step", "is required for this kind"));
    let fact = match pb::OutcomeKind::try_from(outcome.kind) {
        Ok(pb::OutcomeKind::Delivered) => message(Fact::Delivered)?,
        Ok(pb::OutcomeKind::Failed) => message(Fact::Failed)?,
        Ok(pb::OutcomeKind::Bounced) => message(Fact::Bounced)?,
        Ok(pb::OutcomeKind::Replied) => Fact::Replied,
        Ok(pb::OutcomeKind::Converted) => Fact::Converted,
        Ok(pb::OutcomeKind::AutoReplied) => Fact::AutoReplied,
        Ok(pb::OutcomeKind::OptedOut) => Fact::OptedOut,
        Ok(pb::OutcomeKind::Unspecified) | Err(_) => return Err(invalid("kind", "is required; see OutcomeKind")),
    };
    if outcome.step != 0 && fact.step().is_none() {
        return Err(invalid("step", "goes only with DELIVERED, FAILED and BOUNCED; leave it out"));
    }
    let reason = match (pb::FailureReason::try_from(outcome.reason), fact) {
        (Err(_), _) => return Err(invalid("reason", "is none of FailureReason")),
        (Ok(reason), Fact::Failed(_) | Fact::Bounced(_)) => Some(match reason {
            pb::FailureReason::AccountIssue => FailureReason::AccountIssue,
            pb::FailureReason::InvalidLead => FailureReason::InvalidLead,
            pb::FailureReason::RateLimited => FailureReason::RateLimited,
            pb::FailureReason::ContentRejected => FailureReason::ContentRejected,
            pb::FailureReason::Unspecified | pb::FailureReason::Other => FailureReason::Other,
        }),
        (Ok(pb::FailureReason::Unspecified), _) => None,
        _ => return Err(invalid("reason", "goes only with FAILED and BOUNCED; leave it out")),
    };
    match outcome.value_micros {
        Some(_) if fact != Fact::Converted => {
            return Err(invalid("value_micros", "goes only with CONVERTED; leave it out"));
        }
        Some(value) if !(0..=VALUE_MICROS_MAX).contains(&value) => {
            return Err(invalid(
                "value_micros",
                "must be from 0 to 10000000000000 (ten million); count in a larger unit",
            ));
        }
        Some(_) | None => {}
    }
    let time = outcome.time.filter(|time| time.seconds >= FACT_SECONDS_MIN);
    let time = time.map(|time| parse_timestamp("time", time)).transpose().map_err(Rejection::Invalid)?;
    Ok(Outcome { lead, fact, reason, detail: detail(&outcome.detail), time, value_micros: outcome.value_micros })
}

/// Cuts a text at [`DETAIL_MAX`] and removes control characters, which Postgres or a terminal would not take. No fact is
/// rejected for its text.
fn detail(text: &str) -> String {
    let mut text = text.replace(char::is_control, "");
    text.truncate(text.floor_char_boundary(DETAIL_MAX));
    text
}

impl From<Verdict> for pb::OutcomeResult {
    fn from(verdict: Verdict) -> Self {
        let taken = |verdict: pb::OutcomeVerdict| Self { verdict: verdict.into(), ..Self::default() };
        let rejected = |reason: &str, message: String| Self {
            verdict: pb::OutcomeVerdict::Rejected.into(),
            reason: reason.to_owned(),
            message,
        };
        match verdict {
            Verdict::Applied => taken(pb::OutcomeVerdict::Applied),
            Verdict::Duplicate => taken(pb::OutcomeVerdict::Duplicate),
            Verdict::Rejected(Rejection::UnknownLead) => {
                rejected("UNKNOWN_LEAD", "no such lead; add it first, or check the name or key".to_owned())
            }
            Verdict::Rejected(Rejection::OptOutUnnamed) => rejected(
                "UNKNOWN_LEAD",
                "the send key names no lead any more; report this opt-out by `lead`, or add its id with AddOptOuts"
                    .to_owned(),
            ),
            Verdict::Rejected(Rejection::StepOutOfRange) => {
                rejected("STEP_OUT_OF_RANGE", "step: must be from 1 to the campaign's steps".to_owned())
            }
            Verdict::Rejected(Rejection::CampaignFinal) => {
                rejected("CAMPAIGN_FINAL", "the campaign's results are final; drop this outcome".to_owned())
            }
            Verdict::Rejected(Rejection::TimeInFuture) => rejected(
                "TIME_IN_FUTURE",
                "time: lies more than 5 minutes ahead; check the sender's clock and report again".to_owned(),
            ),
            Verdict::Rejected(Rejection::Invalid(invalid)) => rejected("INVALID_OUTCOME", invalid.to_string()),
        }
    }
}

/// Parses a claim state; unspecified means `None`.
pub fn parse_claim_state(state: i32) -> Result<Option<ClaimState>, Invalid> {
    match pb::ClaimState::try_from(state) {
        Ok(pb::ClaimState::Unspecified) => Ok(None),
        Ok(pb::ClaimState::Held) => Ok(Some(ClaimState::Held)),
        Ok(pb::ClaimState::Uncertain) => Ok(Some(ClaimState::Uncertain)),
        Err(_) => Err(Invalid::new("state", "must be HELD or UNCERTAIN")),
    }
}

impl From<Claim> for pb::Claim {
    fn from(claim: Claim) -> Self {
        let state = match claim.state {
            ClaimState::Held => pb::ClaimState::Held,
            ClaimState::Uncertain => pb::ClaimState::Uncertain,
        };
        Self {
            claim_id: claim.id.to_string(),
            lead: claim.lead.to_string(),
            step: claim.id.key.step.number().into(),
            send_key: claim.id.key.to_string(),
            account: claim.account.to_string(),
            expire_time: Some(timestamp(claim.expire_time)),
            state: state.into(),
            campaign: claim.lead.campaign.to_string(),
        }
    }
}

impl From<CampaignBlocked> for pb::CampaignNotSending {
    fn from(blocked: CampaignBlocked) -> Self {
        Self {
            campaign: blocked.campaign.map(|name| name.to_string()).unwrap_or_default(),
            reasons: not_sending(&blocked.reasons),
            next_change_time: blocked.claimable_at.map(timestamp),
        }
    }
}
