//! Leads: the known facts of a lead, and its status as a pure function of them.
//!
//! Facts only accumulate. So they can arrive late, twice, in any order and in parallel: the set is the same, and so is
//! everything computed from it. `services/metrics/migrations/0001_facts.sql` has the same bits and rules in SQL; a test
//! compares the two.

use jiff::Timestamp;

use crate::name::{AccountName, LeadName};

/// Most steps of a campaign. The facts of a step take one bit in each of three ranges of 16 bits.
pub const STEPS_MAX: u8 = 16;

/// The number of a message to a lead. The first is 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Step(u8);

impl Step {
    /// The first message.
    pub const FIRST: Self = Self(1);

    /// Converts a number from 1 to [`STEPS_MAX`] into a step.
    pub fn new(number: i32) -> Option<Self> {
        u8::try_from(number).ok().filter(|number| (1..=STEPS_MAX).contains(number)).map(Self)
    }

    /// The number.
    pub fn number(self) -> u8 {
        self.0
    }
}

/// One fact about a lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fact {
    /// The message of a step was delivered.
    Delivered(Step),
    /// The message of a step failed permanently.
    Failed(Step),
    /// The message of a step bounced.
    Bounced(Step),
    /// The lead replied.
    Replied,
    /// The lead converted.
    Converted,
    /// The lead sent an automatic reply.
    AutoReplied,
    /// The lead opted out.
    OptedOut,
}

const FAILED: u8 = 16;
const BOUNCED: u8 = 32;
const REPLIED: u8 = 48;
const CONVERTED: u8 = 49;
const AUTO_REPLIED: u8 = 50;
const OPTED_OUT: u8 = 51;
const STEPS_MASK: i64 = 0xffff;

/// The bit of a lead that was forgotten on request; not a fact that anyone reports.
pub const FORGOTTEN: u8 = 52;
/// The bit of a lead that was removed while its campaign had not finished, which ended its sequence; no fact either.
pub const REMOVED: u8 = 54;

impl Fact {
    /// Returns the bit of the fact in the mask of its lead ([`Facts`] has the table).
    pub fn bit(self) -> u8 {
        match self {
            Self::Delivered(step) => step.0 - 1,
            Self::Failed(step) => FAILED + step.0 - 1,
            Self::Bounced(step) => BOUNCED + step.0 - 1,
            Self::Replied => REPLIED,
            Self::Converted => CONVERTED,
            Self::AutoReplied => AUTO_REPLIED,
            Self::OptedOut => OPTED_OUT,
        }
    }

    /// Returns the fact of a bit; `None` for bits that are no fact.
    pub fn from_bit(bit: u8) -> Option<Self> {
        Some(match bit {
            0..FAILED => Self::Delivered(Step(bit + 1)),
            FAILED..BOUNCED => Self::Failed(Step(bit - FAILED + 1)),
            BOUNCED..REPLIED => Self::Bounced(Step(bit - BOUNCED + 1)),
            REPLIED => Self::Replied,
            CONVERTED => Self::Converted,
            AUTO_REPLIED => Self::AutoReplied,
            OPTED_OUT => Self::OptedOut,
            _ => return None,
        })
    }

    /// Returns the step of a fact about a message.
    pub fn step(self) -> Option<Step> {
        match self {
            Self::Delivered(step) | Self::Failed(step) | Self::Bounced(step) => Some(step),
            _ => None,
        }
    }
}

/// Why a message failed or bounced. The numbers are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum FailureReason {
    /// A problem of the account: it is blocked or signed out.
    AccountIssue = 1,
    /// The lead can't be reached.
    InvalidLead = 2,
    /// The provider refused the message because of its rate limit.
    RateLimited = 3,
    /// The provider refused the message because of its content.
    ContentRejected = 4,
    /// Anything else.
    Other = 5,
}

impl FailureReason {
    /// All reasons, by number.
    pub const ALL: [Self; 5] =
        [Self::AccountIssue, Self::InvalidLead, Self::RateLimited, Self::ContentRejected, Self::Other];

    /// The reason of a stored number.
    pub fn from_number(number: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| *reason as i64 == number)
    }
}

/// The result of a step: its strongest fact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StepOutcome {
    /// Delivered, and not bounced.
    Delivered,
    /// Failed, and neither delivered nor bounced.
    Failed,
    /// Bounced.
    Bounced,
}

/// Status of a lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LeadStatus {
    /// Nothing is delivered yet.
    Pending,
    /// Some steps are delivered, and follow-ups remain.
    Partial,
    /// The lead is done.
    Sent,
    /// Failed.
    Failed,
}

/// The set of known facts of a lead, as the stored bit mask.
///
/// | bits | what is known |
/// |---|---|
/// | 0 to 15 | the message of step 1 (bit 0) to 16 (bit 15) was delivered |
/// | 16 to 31 | the message of step 1 (bit 16) to 16 (bit 31) failed |
/// | 32 to 47 | the message of step 1 (bit 32) to 16 (bit 47) bounced |
/// | 48 | the lead replied |
/// | 49 | the lead converted |
/// | 50 | a machine replied for the lead |
/// | 51 | the lead opted out |
/// | 52 | the lead was forgotten on request ([`FORGOTTEN`]) |
/// | 53 | the lead had an account before its latest outcome; not a fact, and only SQL uses it |
/// | 54 | the lead was removed while its campaign had not finished ([`REMOVED`]) |
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Facts(pub i64);

impl Facts {
    /// Returns whether a fact is known.
    pub fn has(self, fact: Fact) -> bool {
        self.0 >> fact.bit() & 1 == 1
    }

    /// Returns the set with one more fact.
    #[must_use]
    pub fn with(self, fact: Fact) -> Self {
        Self(self.0 | 1 << fact.bit())
    }

    /// Returns the set without one fact, as it was before that fact was known.
    #[must_use]
    pub fn without(self, fact: Fact) -> Self {
        Self(self.0 & !(1 << fact.bit()))
    }

    /// Returns the steps whose result is delivered, as bits. Bit 0 is step 1.
    fn delivered(self) -> i64 {
        self.0 & !(self.0 >> BOUNCED) & STEPS_MASK
    }

    /// Returns the steps whose result is failed or bounced, as bits. Bit 0 is step 1.
    fn failed_or_bounced(self) -> i64 {
        ((self.0 >> FAILED & !self.0) | self.0 >> BOUNCED) & STEPS_MASK
    }

    /// Returns the result of a step. Bounced is stronger than delivered, and delivered is stronger than failed.
    pub fn result(self, step: Step) -> Option<StepOutcome> {
        [
            (Fact::Bounced(step), StepOutcome::Bounced),
            (Fact::Delivered(step), StepOutcome::Delivered),
            (Fact::Failed(step), StepOutcome::Failed),
        ]
        .into_iter()
        .find_map(|(fact, outcome)| self.has(fact).then_some(outcome))
    }

    /// Returns the status of a lead in a campaign of `steps` steps. The first rule that matches decides.
    pub fn status(self, steps: Step) -> LeadStatus {
        let all = (1_i64 << steps.0) - 1;
        let delivered = self.delivered();
        if self.has(Fact::Replied) || self.has(Fact::Converted) || delivered & all == all {
            LeadStatus::Sent
        } else if self.has(Fact::OptedOut) || self.0 >> REMOVED & 1 == 1 {
            if delivered == 0 { LeadStatus::Failed } else { LeadStatus::Sent }
        } else if self.failed_or_bounced() != 0 {
            LeadStatus::Failed
        } else if delivered != 0 {
            LeadStatus::Partial
        } else {
            LeadStatus::Pending
        }
    }

    /// Returns the step to send next: the one after the highest delivered step, while the lead is pending or partial.
    pub fn next_step(self, steps: Step) -> Option<Step> {
        let open = matches!(self.status(steps), LeadStatus::Pending | LeadStatus::Partial);
        let highest = 64 - self.delivered().leading_zeros();
        open.then(|| Step::new(i32::try_from(highest).ok()? + 1)).flatten().filter(|step| *step <= steps)
    }

    /// Returns whether any message was delivered and did not bounce.
    pub fn is_contacted(self) -> bool {
        self.delivered() != 0
    }
}

/// Why the steps of a lead failed and bounced: the number of a [`FailureReason`] in three bits for each step.
///
/// Failures and bounces have separate reasons, so that the reason of a step belongs to its strongest fact, in whatever
/// order the facts arrived.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reasons {
    /// Of failed steps.
    pub failed: i64,
    /// Of bounced steps.
    pub bounced: i64,
}

impl Reasons {
    /// Returns the reason of the result of a step; `None` when it was delivered or has no reason.
    pub fn of_result(self, step: Step, result: StepOutcome) -> Option<FailureReason> {
        let reasons = match result {
            StepOutcome::Delivered => return None,
            StepOutcome::Failed => self.failed,
            StepOutcome::Bounced => self.bounced,
        };
        FailureReason::from_number(reasons >> (3 * (step.0 - 1)) & 7)
    }
}

/// State of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimState {
    /// The claim has not expired.
    Held,
    /// The claim expired without an outcome.
    Uncertain,
}

/// A lead at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Lead {
    /// Resource name.
    pub name: LeadName,
    /// The account that sends to it.
    pub account: Option<AccountName>,
    /// Number of steps of its campaign.
    pub steps: Step,
    /// The known facts.
    pub facts: Facts,
    /// Why its steps failed and bounced.
    pub reasons: Reasons,
    /// Latest time of any fact.
    pub last_action_time: Option<Timestamp>,
    /// Time from which its next step is due, if it is a follow-up and the time is known.
    pub due_time: Option<Timestamp>,
    /// Whether a claim of it is held or uncertain.
    pub claim_state: Option<ClaimState>,
}

/// An outcome that was applied, as listed for its lead.
#[derive(Debug, Clone, PartialEq)]
pub struct LeadOutcome {
    /// Resource name of the lead.
    pub lead: LeadName,
    /// What happened.
    pub fact: Fact,
    /// Why the message failed or bounced.
    pub reason: Option<FailureReason>,
    /// Free text for people.
    pub detail: String,
    /// When it happened.
    pub time: Timestamp,
    /// When the service received it.
    pub receive_time: Timestamp,
    /// The account that sent the message.
    pub account: Option<AccountName>,
    /// Value of a conversion, in millionths.
    pub value_micros: Option<i64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(number: i32) -> Step {
        Step::new(number).unwrap()
    }

    fn status(steps: i32, facts: &[Fact]) -> LeadStatus {
        facts.iter().fold(Facts::default(), |all, fact| all.with(*fact)).status(step(steps))
    }

    #[test]
    fn status_follows_the_rules_in_their_order() {
        use Fact::{Bounced, Converted, Delivered, Failed, OptedOut, Replied};
        let (one, two) = (step(1), step(2));
        assert_eq!(status(2, &[]), LeadStatus::Pending);
        assert_eq!(status(2, &[Fact::AutoReplied]), LeadStatus::Pending);
        assert_eq!(status(2, &[Delivered(one)]), LeadStatus::Partial);
        assert_eq!(status(2, &[Delivered(one), Delivered(two)]), LeadStatus::Sent);
        assert_eq!(status(2, &[Delivered(one), Failed(two)]), LeadStatus::Failed);
        assert_eq!(status(1, &[Failed(one), Delivered(one)]), LeadStatus::Sent);
        assert_eq!(status(1, &[Delivered(one), Bounced(one)]), LeadStatus::Failed);
        assert_eq!(status(2, &[Failed(one), Replied]), LeadStatus::Sent);
        assert_eq!(status(2, &[Converted]), LeadStatus::Sent);
        assert_eq!(status(2, &[OptedOut]), LeadStatus::Failed);
        assert_eq!(status(2, &[OptedOut, Delivered(one)]), LeadStatus::Sent);
        assert_eq!(status(2, &[OptedOut, Delivered(one), Bounced(one)]), LeadStatus::Failed);
        assert_eq!(status(16, &[Delivered(step(16))]), LeadStatus::Partial);
    }

    #[test]
    fn the_next_step_follows_the_highest_delivered_one() {
        let steps = step(3);
        assert_eq!(Facts::default().next_step(steps), Some(step(1)));
        assert_eq!(Facts::default().with(Fact::Delivered(step(2))).next_step(steps), Some(step(3)));
        assert_eq!(Facts::default().with(Fact::Delivered(step(3))).next_step(steps), None);
        assert_eq!(Facts::default().with(Fact::Failed(step(1))).next_step(steps), None);
        assert_eq!(Facts::default().with(Fact::OptedOut).next_step(steps), None);
    }

    #[test]
    fn every_bit_is_one_fact() {
        for bit in 0..52 {
            assert_eq!(Fact::from_bit(bit).unwrap().bit(), bit);
        }
        assert_eq!(Fact::from_bit(52), None);
    }

    #[test]
    fn a_fact_that_is_known_stays_known() {
        let once = Facts::default().with(Fact::Replied);
        assert_eq!(once.with(Fact::Replied), once);
        assert_eq!(once.with(Fact::Bounced(step(16))).without(Fact::Bounced(step(16))), once);
    }
}
