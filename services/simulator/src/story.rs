//! Tells the past of campaigns: when their messages went out, what became of them, and when. A pure function of the
//! options and of the leads.
//!
//! Of each account's leads some are contacted on each day, on some days more than on others, as people send. Messages go
//! out between 8 and 18 o'clock UTC. Bounces come up to three days later, and answers after days.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, HashMap},
};

use campaign_metrics::{
    name::AccountId,
    pb::{self, FailureReason, OutcomeKind},
    wire::timestamp,
};
use jiff::{SignedDuration, Timestamp, ToSpan as _, civil::Date, tz::TimeZone};
use rand::Rng as _;

use crate::{
    args::{Behavior, Past},
    fault::{BOUNCE_DAYS_MAX, BOUNCED_SHARE, Faults},
    play::{draws, play},
};

/// The hour at which the messages of a day begin, and the hours over which they are spread.
const BEGIN_HOUR: i64 = 8;
const HOURS: f64 = 10.0;

/// Weights of days: messages of a day are between a quarter and seven quarters of the mean.
const WEIGHTS: std::ops::Range<f64> = 0.25..1.75;

/// A campaign whose past is told.
#[derive(Debug)]
pub struct Campaign {
    /// Messages to each lead at most.
    pub steps: i32,
    /// Time from a delivery to the next message.
    pub follow_up_delay: SignedDuration,
    /// Its leads, as resource names with the ids of their accounts, in the order in which they are contacted.
    pub leads: Vec<(String, AccountId)>,
}

/// What happened to a message or a lead.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// When.
    pub time: Timestamp,
    /// What.
    pub outcome: pb::Outcome,
}

/// Tells everything that happens to messages sent before `until`, in the order of time.
pub fn tell(past: &Past, first_day: Date, behavior: &Behavior, campaigns: &[Campaign], until: Timestamp) -> Vec<Event> {
    let mut due = BinaryHeap::new();
    for (number, campaign) in campaigns.iter().enumerate() {
        for (lead, time) in first_messages(past, first_day, behavior.seed, campaign) {
            due.push(Reverse((time, number, lead, 1)));
        }
    }
    let mut sent: HashMap<(&AccountId, Date), u32> = HashMap::new();
    // When leads answered in a way after which no follow-up is sent.
    let mut ended: HashMap<(usize, usize), Timestamp> = HashMap::new();
    let mut events = Vec::new();
    while let Some(Reverse((time, number, lead, step))) = due.pop() {
        if time >= until {
            break;
        }
        if ended.get(&(number, lead)).is_some_and(|ended| *ended <= time) {
            continue;
        }
        let campaign = &campaigns[number];
        let (name, account) = &campaign.leads[lead];
        let day = time.to_zoned(TimeZone::UTC).date();
        let nth = sent.entry((account, day)).or_default();
        *nth += 1;
        let message = Message { name, step, time };
        let (is_delivered, outcomes) =
            message.outcomes(past, behavior, |draw| Faults(&past.faults).hit(account, day, *nth, draw));
        if is_delivered && step < campaign.steps {
            due.push(Reverse((time + campaign.follow_up_delay, number, lead, step + 1)));
        }
        for event in outcomes.iter().filter(|event| ends(event.outcome.kind())) {
            let first = ended.entry((number, lead)).or_insert(event.time);
            *first = event.time.min(*first);
        }
        events.extend(outcomes);
    }
    // Stable: of what happens at the same time, the message comes before its answers.
    events.sort_by_key(|event| event.time);
    events
}

/// Whether no follow-up is sent after it.
fn ends(kind: OutcomeKind) -> bool {
    matches!(kind, OutcomeKind::Replied | OutcomeKind::Converted | OutcomeKind::OptedOut)
}

/// The times of the first messages to the leads, by position.
fn first_messages(past: &Past, first_day: Date, seed: u64, campaign: &Campaign) -> Vec<(usize, Timestamp)> {
    let mut by_account: BTreeMap<&AccountId, Vec<usize>> = BTreeMap::new();
    for (lead, (_, account)) in campaign.leads.iter().enumerate() {
        by_account.entry(account).or_default().push(lead);
    }
    let mut messages = Vec::with_capacity(campaign.leads.len());
    for (account, leads) in by_account {
        let mut rest = leads.into_iter();
        for (day, count) in volumes(past.days, seed, account, rest.len()) {
            let begin = (first_day + i64::from(day).days()).to_zoned(TimeZone::UTC).map(|day| day.timestamp());
            let begin = begin.unwrap_or(Timestamp::MAX) + SignedDuration::from_hours(BEGIN_HOUR);
            for nth in 0..count {
                let hours = HOURS * (number(nth) + 0.5) / number(count);
                messages.extend(rest.next().map(|lead| (lead, begin + SignedDuration::from_secs_f64(hours * 3600.0))));
            }
        }
    }
    messages
}

/// Splits an account's leads over the days.
fn volumes(days: u16, seed: u64, account: &AccountId, leads: usize) -> Vec<(u16, usize)> {
    let weight =
        |day: u16| draws(seed, &[b"day", &day.to_be_bytes(), account.as_str().as_bytes()]).random_range(WEIGHTS);
    let weights: Vec<f64> = (0..days).map(weight).collect();
    let all: f64 = weights.iter().sum();
    let (mut until_now, mut given) = (0.0, 0);
    (0..days)
        .zip(weights)
        .map(|(day, weight)| {
            until_now += weight;
            let count = if day + 1 == days { leads } else { nearest(number(leads) * until_now / all) } - given;
            given += count;
            (day, count)
        })
        .collect()
}

/// A message of the past.
struct Message<'a> {
    name: &'a str,
    step: i32,
    time: Timestamp,
}

impl Message<'_> {
    /// Returns whether it is delivered, and what happens to it and to its lead. `hit` says for a draw which fault loses it.
    fn outcomes(
        &self,
        past: &Past,
        behavior: &Behavior,
        hit: impl FnOnce(f64) -> Option<FailureReason>,
    ) -> (bool, Vec<Event>) {
        let mut draws = draws(behavior.seed, &[b"past", &self.step.to_be_bytes(), self.name.as_bytes()]);
        let mut draw = || draws.random::<f64>();
        let (fault, bounce, delay) = (draw(), draw(), draw());
        let usual = play(behavior, self.name, self.step);
        let (result, reason, answers) = match hit(fault) {
            Some(FailureReason::InvalidLead) if bounce < BOUNCED_SHARE => {
                (OutcomeKind::Bounced, FailureReason::InvalidLead, Vec::new())
            }
            Some(reason) => (OutcomeKind::Failed, reason, Vec::new()),
            None => (usual.result, usual.reason, usual.answers),
        };
        let event = |kind: OutcomeKind, days: f64| {
            let time = self.time + SignedDuration::from_secs_f64(days * 86_400.0);
            let outcome = pb::Outcome {
                lead: self.name.to_owned(),
                kind: kind.into(),
                time: Some(timestamp(time)),
                ..pb::Outcome::default()
            };
            Event { time, outcome }
        };
        let mut of_message = event(result, if result == OutcomeKind::Bounced { delay * BOUNCE_DAYS_MAX } else { 0.0 });
        of_message.outcome.step = self.step;
        of_message.outcome.reason = reason.into();
        let mut events = vec![of_message];
        for kind in answers {
            // Machines answer within the hour. People's answers are exponentially distributed.
            let draw = draw();
            let days = if kind == OutcomeKind::AutoReplied { draw / 24.0 } else { -past.reply_days * (-draw).ln_1p() };
            events.push(event(kind, days));
        }
        (result == OutcomeKind::Delivered, events)
    }
}

#[expect(clippy::cast_precision_loss, reason = "leads of a campaign stay far below 2^53")]
fn number(count: usize) -> f64 {
    count as f64
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a part of the leads of a campaign")]
fn nearest(number: f64) -> usize {
    number.round() as usize
}

#[cfg(test)]
mod tests;
