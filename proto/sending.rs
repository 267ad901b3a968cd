//! Sending: claims, their keys, and the outcomes that end them.

use std::{fmt, str::FromStr, time::Duration};

use jiff::Timestamp;

pub use crate::lead::ClaimState;
use crate::{
    invalid::{Invalid, excerpt},
    lead::{Fact, FailureReason, Step},
    name::{AccountName, LeadName},
};

/// Default hold of a claim.
pub const HOLD_DEFAULT: Duration = Duration::from_mins(5);
/// Longest hold of a claim.
pub const HOLD_MAX: Duration = Duration::from_hours(1);
/// Most claims of one call.
pub const CLAIMS_MAX: usize = 1000;
/// Most outcomes of one call.
pub const OUTCOMES_MAX: usize = 5000;
/// Most leads of one message of AddLeads.
pub const LEADS_MAX: usize = 5000;
/// Longest free text of an outcome, in bytes. The rest of a longer one is cut off.
pub const DETAIL_MAX: usize = 1024;
/// Largest value of a conversion, in millionths. The sum of a campaign cannot overflow before it has 900 000 of them.
pub const VALUE_MICROS_MAX: i64 = 10_000_000_000_000;
/// How far the time of an outcome may be ahead of the clock of the service.
pub const CLOCK_SKEW_MAX: Duration = Duration::from_mins(5);

/// Identifies a lead and a step permanently and globally: every claim of them has the same key, and no other lead,
/// step, campaign or installation does.
///
/// Its text is `{salt}-{campaign}-{lead}-{step}`. Each campaign draws a random salt, so that a guessed key, or the key
/// of another installation, matches nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SendKey {
    /// Random number, drawn when the campaign was created.
    pub salt: i32,
    /// Internal number of the campaign.
    pub campaign_number: i32,
    /// Internal number of the lead in its campaign.
    pub lead_number: i32,
    /// The step.
    pub step: Step,
}

impl fmt::Display for SendKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}-{}-{}-{}", self.salt, self.campaign_number, self.lead_number, self.step.number())
    }
}

impl FromStr for SendKey {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let parse = || {
            let mut parts = text.split('-');
            let salt = parts.next().and_then(|part| u32::from_str_radix(part, 16).ok())?.cast_signed();
            let mut number = || parts.next()?.parse::<i32>().ok();
            let (campaign_number, lead_number, step) = (number()?, number()?, Step::new(number()?)?);
            let key = Self { salt, campaign_number, lead_number, step };
            // Each key has one spelling: no signs, no leading zeros, no trailing text.
            (parts.next().is_none() && key.to_string() == text).then_some(key)
        };
        parse().ok_or_else(|| {
            Invalid::new("", format_args!("`{}` is no send key; pass on the one of the claim", excerpt(text)))
        })
    }
}

/// Identifies one claim: a lead and step, and the grant that contains them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClaimId {
    /// The lead and step.
    pub key: SendKey,
    /// Random number, drawn for each call that grants claims.
    pub grant: i64,
}

impl fmt::Display for ClaimId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:x}", self.key, self.grant)
    }
}

impl FromStr for ClaimId {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let parse = || {
            let (key, grant) = text.rsplit_once('-')?;
            let id = Self { key: key.parse().ok()?, grant: u64::from_str_radix(grant, 16).ok()?.cast_signed() };
            (id.to_string() == text).then_some(id)
        };
        parse().ok_or_else(|| {
            Invalid::new("", format_args!("`{}` is no claim id; pass on the one of the claim", excerpt(text)))
        })
    }
}

/// The permission to send one step to one lead.
#[derive(Debug, Clone, PartialEq)]
pub struct Claim {
    /// Its id.
    pub id: ClaimId,
    /// The lead to send to.
    pub lead: LeadName,
    /// The account that sends.
    pub account: AccountName,
    /// Time until which it is held.
    pub expire_time: Timestamp,
    /// Held or uncertain.
    pub state: ClaimState,
}

/// How an outcome names its lead.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum LeadRef {
    /// By the send key of its claim.
    Key(SendKey),
    /// By resource name.
    Name(LeadName),
}

/// What a sender reports.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The lead.
    pub lead: LeadRef,
    /// What happened.
    pub fact: Fact,
    /// Why the message failed or bounced.
    pub reason: Option<FailureReason>,
    /// Free text for people.
    pub detail: String,
    /// When it happened; `None` means the time of receipt.
    pub time: Option<Timestamp>,
    /// Value of a conversion, in millionths.
    pub value_micros: Option<i64>,
}

/// Why an outcome was rejected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rejection {
    /// No such lead or campaign.
    UnknownLead,
    /// An opt-out by a send key whose lead, or its id, was deleted.
    OptOutUnnamed,
    /// The campaign has fewer steps.
    StepOutOfRange,
    /// The campaign's results are final.
    CampaignFinal,
    /// Its time is ahead of the clock of the service.
    TimeInFuture,
    /// A field is not valid.
    Invalid(Invalid),
}

/// The result of reporting an outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// A new fact, committed.
    Applied,
    /// The fact was known already.
    Duplicate,
    /// The outcome was not taken.
    Rejected(Rejection),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_claim_ids_survive_a_round_trip_and_have_one_spelling() {
        let key = SendKey { salt: -5, campaign_number: 7, lead_number: 123, step: Step::FIRST };
        assert_eq!(key.to_string(), "fffffffb-7-123-1");
        assert_eq!(key.to_string().parse::<SendKey>().unwrap(), key);
        let id = ClaimId { key, grant: -1 };
        assert_eq!(id.to_string().parse::<ClaimId>().unwrap(), id);
        for bad in [
            "",
            "fffffffb-7-123",
            "fffffffb-7-123-17",
            "fffffffb-07-123-1",
            "FFFFFFFB-7-123-1",
            "fffffffb-7-123-1-",
            "fffffffb-+7-123-1",
            "\0",
        ] {
            assert!(bad.parse::<SendKey>().is_err(), "{bad}");
        }
    }
}
