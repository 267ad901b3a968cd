//! A lead of the model: what was reported of it, and everything that the rules derive from that.
//!
//! Derived values are not stored: results, status and times are computed from the trail each time.

use std::collections::{BTreeMap, BTreeSet};

use campaign_metrics::pb::{FailureReason, LeadStatus, OutcomeKind};
use jiff::{SignedDuration, Timestamp, civil::Date};

use super::hours::local_day;

/// What happened, and of which step; step 0 is about the lead.
pub type Fact = (OutcomeKind, usize);

/// An outcome that was applied, as the trail of a lead shows it.
#[derive(Debug, Clone)]
pub struct Entry {
    pub fact: Fact,
    pub reason: FailureReason,
    pub detail: String,
    pub at: Timestamp,
    pub received: Timestamp,
    /// Place of the account that it counts for.
    pub account: Option<usize>,
    pub value_micros: Option<i64>,
}

#[derive(Debug, Clone)]
pub struct Claim {
    pub id: String,
    pub account: usize,
    pub step: usize,
    pub expires: Timestamp,
    /// The local days whose limits it uses: the account's and the campaign's.
    pub days: (Date, Date),
    /// Claims with the same number were granted together.
    pub grant: usize,
}

#[derive(Debug, Clone, Default)]
pub struct Lead {
    /// The caller's id; `None` once it was forgotten.
    pub id: Option<String>,
    /// Whether it was removed before its campaign finished, which ended it.
    pub is_removed: bool,
    pub trail: Vec<Entry>,
    /// The account that was given with the lead, or that an ended claim gave it.
    pub account: Option<usize>,
    pub claim: Option<Claim>,
    /// Due time of the next step; `None` before anything was claimed or delivered.
    pub due_at: Option<Timestamp>,
    /// Steps whose claims expired and were retried, with the account and the days whose shares they keep.
    pub kept: BTreeSet<(usize, usize, Date, Date)>,
    /// Send keys of claims, by step.
    pub keys: BTreeMap<usize, String>,
}

/// A message: who sent it, the UTC day on which it counts, its result.
#[derive(Debug, Clone, Copy)]
pub struct Message {
    pub account: Option<usize>,
    pub day: Date,
    pub result: OutcomeKind,
    pub reason: FailureReason,
}

/// The largest age of a reply or conversion that is counted, in days.
pub const AGE_MAX: i64 = 30;

/// The first contact of a lead: its earliest delivered message that did not bounce.
#[derive(Debug, Clone, Copy)]
pub struct Contact {
    /// Who sent that message.
    pub account: Option<usize>,
    pub at: Timestamp,
    /// The age of the reply, if it is counted.
    pub replied: Option<usize>,
    /// The age of the conversion, if it is counted.
    pub converted: Option<usize>,
}

impl Contact {
    pub fn day(&self) -> Date {
        local_day("UTC", self.at)
    }

    /// The moment at which it is so many days old.
    pub fn aged(&self, days: i64) -> Timestamp {
        self.at + SignedDuration::from_hours(24 * days)
    }

    /// The first whole number of days after which something had happened; none after the largest age.
    fn age(&self, at: Timestamp) -> Option<usize> {
        (0..=AGE_MAX).position(|days| at <= self.aged(days))
    }
}

impl Lead {
    fn entry(&self, fact: Fact) -> Option<&Entry> {
        self.trail.iter().find(|entry| entry.fact == fact)
    }

    pub fn has(&self, kind: OutcomeKind, step: usize) -> bool {
        self.entry((kind, step)).is_some()
    }

    /// The result of a step, its strongest fact: bounced over delivered over failed.
    fn result_entry(&self, step: usize) -> Option<&Entry> {
        let strongest = [OutcomeKind::Bounced, OutcomeKind::Delivered, OutcomeKind::Failed];
        strongest.into_iter().find_map(|kind| self.entry((kind, step)))
    }

    pub fn result(&self, step: usize) -> Option<OutcomeKind> {
        self.result_entry(step).map(|entry| entry.fact.0)
    }

    /// Why a step failed or bounced.
    pub fn reason(&self, step: usize) -> FailureReason {
        self.result_entry(step).map_or(FailureReason::Unspecified, |entry| entry.reason)
    }

    fn delivered(&self, steps: usize) -> impl DoubleEndedIterator<Item = usize> {
        (1..=steps).filter(|step| self.result(*step) == Some(OutcomeKind::Delivered))
    }

    /// The account of the message of a step: that of its first outcome.
    fn sender(&self, step: usize) -> Option<usize> {
        self.trail.iter().find(|entry| entry.fact.1 == step)?.account
    }

    /// The first contact; of messages delivered at the same time, the one of the lowest step.
    pub fn contact(&self, steps: usize) -> Option<Contact> {
        let delivered = self.delivered(steps).filter_map(|step| self.entry((OutcomeKind::Delivered, step)));
        let first = delivered.min_by_key(|entry| (entry.at, entry.fact.1))?;
        let contact = Contact { account: self.sender(first.fact.1), at: first.at, replied: None, converted: None };
        let age = |kind| self.entry((kind, 0)).and_then(|entry| contact.age(entry.at));
        Some(Contact { replied: age(OutcomeKind::Replied), converted: age(OutcomeKind::Converted), ..contact })
    }

    pub fn is_contacted(&self, steps: usize) -> bool {
        self.delivered(steps).next().is_some()
    }

    /// Lead status is a pure function of facts: docs/concepts.md, "Lead status".
    pub fn status(&self, steps: usize) -> LeadStatus {
        let delivered = self.delivered(steps).count();
        let fails = |step| matches!(self.result(step), Some(OutcomeKind::Failed | OutcomeKind::Bounced));
        if self.has(OutcomeKind::Replied, 0) || self.has(OutcomeKind::Converted, 0) || delivered == steps {
            LeadStatus::Sent
        } else if self.has(OutcomeKind::OptedOut, 0) || self.is_removed {
            if delivered > 0 { LeadStatus::Sent } else { LeadStatus::Failed }
        } else if (1..=steps).any(fails) {
            LeadStatus::Failed
        } else if delivered > 0 {
            LeadStatus::Partial
        } else {
            LeadStatus::Pending
        }
    }

    pub fn is_open(&self, steps: usize) -> bool {
        matches!(self.status(steps), LeadStatus::Pending | LeadStatus::Partial)
    }

    /// The next step, due or not: the one after the highest delivered one. A forgotten lead has none; it can be open only
    /// in a campaign that has finished.
    pub fn next_step(&self, steps: usize) -> Option<usize> {
        let next = self.delivered(steps).next_back().map_or(1, |last| last + 1);
        (self.id.is_some() && self.is_open(steps) && next <= steps).then_some(next)
    }

    /// The time of the delivery of the highest delivered step.
    pub fn last_delivery(&self, steps: usize) -> Option<Timestamp> {
        let last = self.delivered(steps).next_back()?;
        self.entry((OutcomeKind::Delivered, last)).map(|entry| entry.at)
    }

    /// When a follow-up is due, if nothing but the delivery before it and the present delay says so.
    pub fn follow_up_due(&self, steps: usize, delay: SignedDuration) -> Option<Timestamp> {
        let waits = self.claim.is_none() && self.next_step(steps).is_some();
        let due = self.last_delivery(steps)? + delay;
        (waits && self.due_at == Some(due)).then_some(due)
    }

    /// The latest time of any fact.
    pub fn last_action(&self) -> Option<Timestamp> {
        self.trail.iter().map(|entry| entry.at).max()
    }

    /// The account that its messages count for unless an outcome or claim says otherwise.
    pub fn shown_account(&self) -> Option<usize> {
        self.account.or(self.claim.as_ref().map(|claim| claim.account))
    }

    /// Each message once, under its step's result, for the account of its first outcome, on the day of its result.
    pub fn messages(&self, steps: usize) -> impl Iterator<Item = Message> {
        (1..=steps).filter_map(|step| {
            let result = self.result_entry(step)?;
            Some(Message {
                account: self.sender(step),
                day: local_day("UTC", result.at),
                result: result.fact.0,
                reason: result.reason,
            })
        })
    }
}
