//! The rules of the product for one campaign, in memory and as plainly as they can be said: what the service is held to.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp, civil::Date, tz::TimeZone};

/// A fact, by kind and step; step 0 is about the lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Delivered,
    Failed,
    Bounced,
    Replied,
    Converted,
    AutoReplied,
    OptedOut,
}

pub type Fact = (Kind, usize);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Pending,
    Partial,
    Sent,
    Failed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Active,
    Paused,
    Finished,
}

/// Follow-ups come an hour after what they follow.
pub const DELAY: SignedDuration = SignedDuration::from_hours(1);
pub const HOLD: SignedDuration = SignedDuration::from_mins(30);

#[derive(Debug, Clone)]
pub struct Claim {
    pub id: String,
    pub send_key: String,
    pub account: usize,
    pub step: usize,
    pub expires: Timestamp,
    pub day: Date,
}

#[derive(Debug, Clone, Default)]
pub struct Lead {
    pub facts: BTreeMap<Fact, Timestamp>,
    pub account: Option<usize>,
    pub claim: Option<Claim>,
    /// Before that a released step is not due.
    pub not_before: Option<Timestamp>,
    pub is_gone: bool,
}

#[derive(Debug, Clone, Default)]
pub struct Account {
    pub is_suspended: bool,
    pub limit: Option<i32>,
    pub reserved: BTreeMap<Date, i64>,
}

#[derive(Debug, Clone)]
pub struct Model {
    pub now: Timestamp,
    pub steps: usize,
    pub state: State,
    pub is_complete: bool,
    pub limit: Option<i32>,
    pub reserved: BTreeMap<Date, i64>,
    pub accounts: Vec<Account>,
    pub leads: Vec<Lead>,
    /// Whether a lead that waited to be claimed ever stopped waiting by something else: the service may look for it once more.
    pub has_stale_waits: bool,
}

pub fn day(at: Timestamp) -> Date {
    at.to_zoned(TimeZone::UTC).date()
}

impl Lead {
    fn has(&self, kind: Kind, step: usize) -> bool {
        self.facts.contains_key(&(kind, step))
    }

    /// A step's result is its strongest fact: bounced over delivered over failed.
    pub fn result(&self, step: usize) -> Option<Kind> {
        [Kind::Bounced, Kind::Delivered, Kind::Failed].into_iter().find(|kind| self.has(*kind, step))
    }

    fn delivered(&self, steps: usize) -> BTreeSet<usize> {
        (1..=steps).filter(|step| self.result(*step) == Some(Kind::Delivered)).collect()
    }

    pub fn status(&self, steps: usize) -> Status {
        let delivered = self.delivered(steps);
        let fails = |step| matches!(self.result(step), Some(Kind::Failed | Kind::Bounced));
        if self.has(Kind::Replied, 0) || self.has(Kind::Converted, 0) || delivered.len() == steps {
            Status::Sent
        } else if self.has(Kind::OptedOut, 0) {
            if delivered.is_empty() { Status::Failed } else { Status::Sent }
        } else if (1..=steps).any(fails) {
            Status::Failed
        } else if delivered.is_empty() {
            Status::Pending
        } else {
            Status::Partial
        }
    }

    /// Until when this lead waits for its next step, be it past or ahead.
    pub fn waits_until(&self) -> Option<Timestamp> {
        let follows = self.facts.iter().filter(|((kind, _), _)| *kind == Kind::Delivered).map(|(_, at)| *at + DELAY);
        follows.chain(self.not_before).max()
    }

    /// The step that may be sent now to this lead by an account, if any.
    pub fn due(&self, steps: usize, account: usize, now: Timestamp) -> Option<usize> {
        let is_open = matches!(self.status(steps), Status::Pending | Status::Partial);
        let is_mine = self.account.is_none_or(|mine| mine == account);
        if self.is_gone || !is_open || self.claim.is_some() || !is_mine {
            return None;
        }
        let last = self.delivered(steps).last().copied();
        let step = last.map_or(1, |step| step + 1);
        let follows = last.is_none_or(|step| self.facts[&(Kind::Delivered, step)] + DELAY <= now);
        let is_back = self.not_before.is_none_or(|time| time <= now);
        (step <= steps && follows && is_back).then_some(step)
    }
}

impl Model {
    /// How much a daily limit leaves.
    fn room(limit: Option<i32>, reserved: &BTreeMap<Date, i64>, day: Date) -> i64 {
        limit.map_or(i64::MAX, |limit| (i64::from(limit) - reserved.get(&day).copied().unwrap_or(0)).max(0))
    }

    /// How many claims an account is granted of so many asked for.
    pub fn granted(&self, account: usize, max: i64) -> i64 {
        let asks = &self.accounts[account];
        if self.state != State::Active || asks.is_suspended {
            return 0;
        }
        let due = self.leads.iter().filter(|lead| lead.due(self.steps, account, self.now).is_some()).count();
        let today = day(self.now);
        let room = Self::room(self.limit, &self.reserved, today).min(Self::room(asks.limit, &asks.reserved, today));
        max.min(room).min(i64::try_from(due).unwrap_or(i64::MAX))
    }

    /// Whether there is no account that may claim nothing.
    pub fn all_may_claim(&self) -> bool {
        let room = |account: &Account| Self::room(account.limit, &account.reserved, day(self.now));
        self.accounts.iter().all(|account| !account.is_suspended && room(account) > 0)
    }

    /// When an account is granted something next, if nobody does anything.
    pub fn claimable_at(&self, account: usize) -> Option<Timestamp> {
        let tomorrow = day(self.now).tomorrow().unwrap().to_zoned(TimeZone::UTC).unwrap().timestamp();
        let mut moments: Vec<Timestamp> = self.leads.iter().filter_map(Lead::waits_until).collect();
        moments.push(tomorrow);
        moments.retain(|moment| *moment > self.now);
        moments.sort_unstable();
        moments.into_iter().find(|moment| Self { now: *moment, ..self.clone() }.granted(account, 1) > 0)
    }

    pub fn claim(&mut self, lead: usize, claim: Claim) {
        *self.reserved.entry(claim.day).or_default() += 1;
        *self.accounts[claim.account].reserved.entry(claim.day).or_default() += 1;
        self.leads[lead].not_before = None;
        self.leads[lead].claim = Some(claim);
    }

    /// Takes in a fact; false when it is known.
    pub fn report(&mut self, lead: usize, fact: Fact, at: Timestamp) -> bool {
        let lead = &mut self.leads[lead];
        self.has_stale_waits |= lead.claim.is_none();
        let (kind, step) = fact;
        if lead.facts.contains_key(&fact) {
            return false;
        }
        let had_result = step > 0 && lead.result(step).is_some();
        let closes = matches!(kind, Kind::Delivered | Kind::Failed | Kind::Bounced)
            && lead.claim.as_ref().is_some_and(|claim| claim.step == step);
        if closes {
            let claim = lead.claim.take();
            lead.account = lead.account.or(claim.map(|claim| claim.account));
        } else if step > 0 && !had_result {
            // Sent without a claim: it counts on its own day, and is never refused.
            *self.reserved.entry(day(at)).or_default() += 1;
            if let Some(account) = lead.account {
                *self.accounts[account].reserved.entry(day(at)).or_default() += 1;
            }
        }
        lead.facts.insert(fact, at);
        if kind == Kind::Delivered {
            lead.not_before = None;
        }
        self.finish_if_complete();
        true
    }

    /// A claim goes back unsent: its step is due again, the limits of its day get their share back.
    pub fn give_back(&mut self, lead: usize, not_before: Timestamp) {
        let Some(claim) = self.leads[lead].claim.take() else { return };
        *self.reserved.entry(claim.day).or_default() -= 1;
        *self.accounts[claim.account].reserved.entry(claim.day).or_default() -= 1;
        self.leads[lead].account = Some(claim.account);
        self.leads[lead].not_before = Some(not_before);
    }

    /// Removes a lead, or forgets one with facts.
    pub fn delete(&mut self, lead: usize) {
        self.has_stale_waits |= self.leads[lead].claim.is_none();
        if self.leads[lead].facts.is_empty() {
            self.leads.remove(lead);
        } else {
            self.leads[lead].facts.insert((Kind::OptedOut, 0), self.now);
            self.leads[lead].is_gone = true;
        }
        self.finish_if_complete();
    }

    pub fn finish_if_complete(&mut self) {
        let (pending, partial, ..) = self.counts();
        if self.state != State::Finished && self.is_complete && !self.leads.is_empty() && pending + partial == 0 {
            self.state = State::Finished;
        }
    }

    /// Leads pending, partial, sent, failed.
    pub fn counts(&self) -> (i64, i64, i64, i64) {
        let count = |status| {
            let of_status = self.leads.iter().filter(|lead| lead.status(self.steps) == status);
            i64::try_from(of_status.count()).unwrap_or(i64::MAX)
        };
        (count(Status::Pending), count(Status::Partial), count(Status::Sent), count(Status::Failed))
    }

    /// Messages delivered, failed, bounced; leads that replied and that opted out.
    pub fn messages(&self) -> [i64; 5] {
        let mut sums = [0; 5];
        for lead in &self.leads {
            for step in 1..=self.steps {
                match lead.result(step) {
                    Some(Kind::Delivered) => sums[0] += 1,
                    Some(Kind::Failed) => sums[1] += 1,
                    Some(Kind::Bounced) => sums[2] += 1,
                    _ => {}
                }
            }
            sums[3] += i64::from(lead.has(Kind::Replied, 0));
            sums[4] += i64::from(lead.has(Kind::OptedOut, 0));
        }
        sums
    }

    /// Claims held and uncertain.
    pub fn claims(&self) -> (i64, i64) {
        let claims = self.leads.iter().filter_map(|lead| lead.claim.as_ref());
        claims.fold(
            (0, 0),
            |(held, uncertain), claim| {
                if claim.expires > self.now { (held + 1, uncertain) } else { (held, uncertain + 1) }
            },
        )
    }
}
