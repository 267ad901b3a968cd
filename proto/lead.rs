//! Leads: the facts known of one, and its status as a pure function of them.
//!
//! Facts only accumulate, so they can arrive late, twice, in any order and in parallel: the set is the same, and
//! so is everything computed from it. `services/metrics/migrations` repeats [`Facts::status`] in SQL; a test
//! compares the two.

use jiff::Timestamp;

use crate::name::{AccountName, LeadName};

/// Most steps a campaign can have: the facts of a step take one bit in each of three ranges of 16.
pub const STEPS_MAX: u8 = 16;

/// The number of a message to a lead; 1 is the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Step(u8);

impl Step {
    /// The first message.
    pub const FIRST: Self = Self(1);

    /// Makes a step of a number from 1 to [`STEPS_MAX`].
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
    /// The message of a step failed for good.
    Failed(Step),
    /// The message of a step bounced.
    Bounced(Step),
    /// The lead replied.
    Replied,
    /// The lead converted.
    Converted,
    /// A machine replied for the lead.
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

impl Fact {
    /// Place of the fact in the mask: 0-15 delivered, 16-31 failed, 32-47 bounced, then one each.
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

    /// The fact at a place of the mask.
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

    /// The step, of a fact about a message.
    pub fn step(self) -> Option<Step> {
        match self {
            Self::Delivered(step) | Self::Failed(step) | Self::Bounced(step) => Some(step),
            _ => None,
        }
    }
}

/// Why a message failed or bounced. The numbers are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FailureReason {
    /// The account: blocked, signed out.
    AccountIssue = 1,
    /// The lead can't be reached.
    InvalidLead = 2,
    /// The provider refused the rate.
    RateLimited = 3,
    /// The provider refused the content.
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
    /// Nothing delivered yet.
    Pending,
    /// Follow-ups partially sent.
    Partial,
    /// Done.
    Sent,
    /// Failed.
    Failed,
}

/// The set of facts known of a lead, as the mask that is stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Facts(pub i64);

impl Facts {
    /// Whether a fact is known.
    pub fn has(self, fact: Fact) -> bool {
        self.0 >> fact.bit() & 1 == 1
    }

    /// The set with one more fact.
    #[must_use]
    pub fn with(self, fact: Fact) -> Self {
        Self(self.0 | 1 << fact.bit())
    }

    /// Steps whose result is delivered, as bits: bit 0 is step 1.
    fn delivered(self) -> i64 {
        self.0 & !(self.0 >> BOUNCED) & STEPS_MASK
    }

    /// Steps whose result is failed or bounced, as bits.
    fn failed_or_bounced(self) -> i64 {
        ((self.0 >> FAILED & !self.0) | self.0 >> BOUNCED) & STEPS_MASK
    }

    /// The result of a step: bounced over delivered over failed.
    pub fn result(self, step: Step) -> Option<StepOutcome> {
        [
            (Fact::Bounced(step), StepOutcome::Bounced),
            (Fact::Delivered(step), StepOutcome::Delivered),
            (Fact::Failed(step), StepOutcome::Failed),
        ]
        .into_iter()
        .find_map(|(fact, outcome)| self.has(fact).then_some(outcome))
    }

    /// Status by the rules of product.md, "Lead status is a pure function of facts", in their order.
    pub fn status(self, steps: Step) -> LeadStatus {
        let all = (1_i64 << steps.0) - 1;
        let delivered = self.delivered();
        if self.has(Fact::Replied) || self.has(Fact::Converted) || delivered & all == all {
            LeadStatus::Sent
        } else if self.has(Fact::OptedOut) {
            if delivered == 0 { LeadStatus::Failed } else { LeadStatus::Sent }
        } else if self.failed_or_bounced() != 0 {
            LeadStatus::Failed
        } else if delivered != 0 {
            LeadStatus::Partial
        } else {
            LeadStatus::Pending
        }
    }

    /// The step to send next: the one after the highest delivered, while the lead is pending or partial.
    pub fn next_step(self, steps: Step) -> Option<Step> {
        let open = matches!(self.status(steps), LeadStatus::Pending | LeadStatus::Partial);
        let highest = 64 - self.delivered().leading_zeros();
        open.then(|| Step::new(i32::try_from(highest).ok()? + 1)).flatten().filter(|step| *step <= steps)
    }

    /// Whether any message was delivered and did not bounce.
    pub fn is_contacted(self) -> bool {
        self.delivered() != 0
    }
}

/// Why the steps of a lead failed and bounced: three bits for each step, the number of a [`FailureReason`].
///
/// Both are kept, so that the reason of a step is that of its strongest fact in whatever order they came.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reasons {
    /// Of failed steps.
    pub failed: i64,
    /// Of bounced steps.
    pub bounced: i64,
}

impl Reasons {
    /// The reason of a step's result; `None` when it was delivered or has none.
    pub fn of(self, step: Step, result: StepOutcome) -> Option<FailureReason> {
        let reasons = match result {
            StepOutcome::Delivered => return None,
            StepOutcome::Failed => self.failed,
            StepOutcome::Bounced => self.bounced,
        };
        FailureReason::from_number(reasons >> (3 * (step.0 - 1)) & 7)
    }
}

/// A lead as of some moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Lead {
    /// Resource name.
    pub name: LeadName,
    /// Account that sends to it.
    pub account: Option<AccountName>,
    /// Steps of its campaign.
    pub steps: Step,
    /// What is known.
    pub facts: Facts,
    /// Why its steps failed and bounced.
    pub reasons: Reasons,
    /// Latest time of any fact.
    pub last_action_time: Option<Timestamp>,
}

/// An outcome that was applied, in the trail of its lead.
#[derive(Debug, Clone, PartialEq)]
pub struct LeadOutcome {
    /// What happened.
    pub fact: Fact,
    /// Why.
    pub reason: Option<FailureReason>,
    /// For people.
    pub detail: String,
    /// When it happened.
    pub time: Timestamp,
    /// When it was taken in.
    pub receive_time: Timestamp,
    /// Whose message it was.
    pub account: Option<AccountName>,
    /// What a conversion is worth, in millionths.
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
    }
}
