//! Conversions of leads.

use jiff::Timestamp;

use super::{parse_timestamp, timestamp};
use crate::{
    invalid::Invalid,
    lead::{ClaimState, Fact, FailureReason, Lead, LeadOutcome, LeadStatus, STEPS_MAX, Step, StepOutcome},
    pb,
};

impl From<FailureReason> for pb::FailureReason {
    fn from(reason: FailureReason) -> Self {
        match reason {
            FailureReason::AccountIssue => Self::AccountIssue,
            FailureReason::InvalidLead => Self::InvalidLead,
            FailureReason::RateLimited => Self::RateLimited,
            FailureReason::ContentRejected => Self::ContentRejected,
            FailureReason::Other => Self::Other,
        }
    }
}

/// Parses a status; unspecified means `None`.
pub fn parse_lead_status(status: i32) -> Result<Option<LeadStatus>, Invalid> {
    match pb::LeadStatus::try_from(status) {
        Ok(pb::LeadStatus::Unspecified) => Ok(None),
        Ok(pb::LeadStatus::Pending) => Ok(Some(LeadStatus::Pending)),
        Ok(pb::LeadStatus::Partial) => Ok(Some(LeadStatus::Partial)),
        Ok(pb::LeadStatus::Sent) => Ok(Some(LeadStatus::Sent)),
        Ok(pb::LeadStatus::Failed) => Ok(Some(LeadStatus::Failed)),
        Err(_) => Err(Invalid::new("status", "must be PENDING, PARTIAL, SENT or FAILED")),
    }
}

/// Parses a failure reason; unspecified means `None`.
pub fn parse_failure_reason(reason: i32) -> Result<Option<FailureReason>, Invalid> {
    match pb::FailureReason::try_from(reason) {
        Ok(pb::FailureReason::Unspecified) => Ok(None),
        Ok(pb::FailureReason::AccountIssue) => Ok(Some(FailureReason::AccountIssue)),
        Ok(pb::FailureReason::InvalidLead) => Ok(Some(FailureReason::InvalidLead)),
        Ok(pb::FailureReason::RateLimited) => Ok(Some(FailureReason::RateLimited)),
        Ok(pb::FailureReason::ContentRejected) => Ok(Some(FailureReason::ContentRejected)),
        Ok(pb::FailureReason::Other) => Ok(Some(FailureReason::Other)),
        Err(_) => Err(Invalid::new(
            "failure_reason",
            "must be ACCOUNT_ISSUE, INVALID_LEAD, RATE_LIMITED, CONTENT_REJECTED or OTHER",
        )),
    }
}

/// Parses the times between which the last action of a lead lies: from the first on, before the second.
pub fn parse_last_action(
    after: Option<prost_types::Timestamp>,
    before: Option<prost_types::Timestamp>,
) -> Result<(Option<Timestamp>, Option<Timestamp>), Invalid> {
    let after = after.map(|after| parse_timestamp("last_action_after", after)).transpose()?;
    let before = before.map(|before| parse_timestamp("last_action_before", before)).transpose()?;
    match (after, before) {
        (Some(after), Some(before)) if before <= after => Err(Invalid::new(
            "last_action_before",
            format_args!("is {before}, but must be later than `last_action_after`, which is {after}"),
        )),
        both => Ok(both),
    }
}

fn failure_reason(reason: Option<FailureReason>) -> i32 {
    reason.map_or(pb::FailureReason::Unspecified, Into::into).into()
}

/// Renders the kind of a fact.
fn kind(fact: Fact) -> pb::OutcomeKind {
    match fact {
        Fact::Delivered(_) => pb::OutcomeKind::Delivered,
        Fact::Failed(_) => pb::OutcomeKind::Failed,
        Fact::Bounced(_) => pb::OutcomeKind::Bounced,
        Fact::Replied => pb::OutcomeKind::Replied,
        Fact::Converted => pb::OutcomeKind::Converted,
        Fact::AutoReplied => pb::OutcomeKind::AutoReplied,
        Fact::OptedOut => pb::OutcomeKind::OptedOut,
    }
}

impl From<Lead> for pb::Lead {
    fn from(lead: Lead) -> Self {
        let result = |step: Step| {
            let outcome = lead.facts.result(step)?;
            let kind = match outcome {
                StepOutcome::Delivered => pb::OutcomeKind::Delivered,
                StepOutcome::Failed => pb::OutcomeKind::Failed,
                StepOutcome::Bounced => pb::OutcomeKind::Bounced,
            };
            let reason = lead.reasons.of_result(step, outcome);
            Some(pb::StepResult { step: step.number().into(), result: kind.into(), reason: failure_reason(reason) })
        };
        let claim_state = match lead.claim_state {
            None => pb::ClaimState::Unspecified,
            Some(ClaimState::Held) => pb::ClaimState::Held,
            Some(ClaimState::Uncertain) => pb::ClaimState::Uncertain,
        };
        let status = match lead.facts.status(lead.steps) {
            LeadStatus::Pending => pb::LeadStatus::Pending,
            LeadStatus::Partial => pb::LeadStatus::Partial,
            LeadStatus::Sent => pb::LeadStatus::Sent,
            LeadStatus::Failed => pb::LeadStatus::Failed,
        };
        Self {
            name: lead.name.to_string(),
            account: lead.account.map(|account| account.to_string()).unwrap_or_default(),
            status: status.into(),
            step_results: (1..=STEPS_MAX.into()).filter_map(Step::new).filter_map(result).collect(),
            replied: lead.facts.has(Fact::Replied),
            converted: lead.facts.has(Fact::Converted),
            auto_replied: lead.facts.has(Fact::AutoReplied),
            opted_out: lead.facts.has(Fact::OptedOut),
            last_action_time: lead.last_action_time.map(timestamp),
            next_step: lead.facts.next_step(lead.steps).map_or(0, |step| step.number().into()),
            due_time: lead.due_time.map(timestamp),
            claim_state: claim_state.into(),
        }
    }
}

impl From<LeadOutcome> for pb::LeadOutcome {
    fn from(outcome: LeadOutcome) -> Self {
        Self {
            kind: kind(outcome.fact).into(),
            step: outcome.fact.step().map_or(0, |step| step.number().into()),
            reason: failure_reason(outcome.reason),
            detail: outcome.detail,
            time: Some(timestamp(outcome.time)),
            receive_time: Some(timestamp(outcome.receive_time)),
            account: outcome.account.map(|account| account.to_string()).unwrap_or_default(),
            value_micros: outcome.value_micros,
            lead: outcome.lead.to_string(),
        }
    }
}
