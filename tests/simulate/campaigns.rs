//! Pairs of campaigns that run side by side for 30 days, and what a reader sees of them on each day.

use campaign_metrics::{rate::Rate, statistics::Days};
use jiff::{ToSpan as _, civil::date};
use rand::{Rng as _, rngs::StdRng};

use crate::draw::{age, binomial};

/// Days on which leads are contacted, and on each of which somebody looks.
pub const DAYS: usize = 30;

/// The age at which replies are compared, in days.
const AGE: usize = 7;

/// How a pair of campaigns behaves.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    /// Shares of leads that reply within 7 days; drawn from 1 to 8 % where `None`.
    pub rates: Option<[f64; 2]>,
    /// Whether both rates are one.
    pub is_equal: bool,
    /// Leads per day and campaign at least and at most, drawn for each day and campaign.
    pub leads: [i64; 2],
    /// Whether the rates of both move together, between 0.3 and 2 times.
    pub drifts: bool,
    /// Mean age of a reply in days; 0 is at once.
    pub reply_days: [f64; 2],
}

/// Everything that happens to two campaigns: leads of each day, and replies by day of contact and age.
#[derive(Debug)]
pub struct Pair {
    /// The campaign with the higher rate; `None` if both are equal.
    pub better: Option<usize>,
    leads: [Vec<i64>; 2],
    replies: [Vec<[i64; AGE + 1]>; 2],
}

impl Pair {
    /// Draws a pair.
    pub fn draw(kind: &Kind, random: &mut StdRng) -> Self {
        let mut rates = kind.rates.unwrap_or_else(|| [0; 2].map(|_| random.random_range(0.01..0.08)));
        if kind.is_equal {
            rates[1] = rates[0];
        }
        let phase = random.random_range(0.0..std::f64::consts::TAU);
        let drift = |day: f64| if kind.drifts { 1.15 + 0.85 * (phase + day / 5.0).sin() } else { 1.0 };
        let mut pair = Self {
            better: (!kind.is_equal).then(|| usize::from(rates[1] > rates[0])),
            leads: [Vec::new(), Vec::new()],
            replies: [Vec::new(), Vec::new()],
        };
        for day in (0..DAYS).map(|day| f64::from(u8::try_from(day).expect("30 days"))) {
            for (side, rate) in rates.into_iter().enumerate() {
                let leads = random.random_range(kind.leads[0]..=kind.leads[1]);
                let mut replies = [0; AGE + 1];
                for _ in 0..binomial(random, leads, rate * drift(day)) {
                    let late = kind.reply_days[side];
                    replies[if late > 0.0 { age(random, late) } else { 0 }] += 1;
                }
                pair.leads[side].push(leads);
                pair.replies[side].push(replies);
            }
        }
        pair
    }

    /// What is known after a day at equal age: the days whose leads are old enough.
    pub fn at_equal_age(&self, today: usize, is_late: bool) -> [Days; 2] {
        let last = if is_late { today.checked_sub(AGE) } else { Some(today) };
        self.days(|day| last.is_some_and(|last| day <= last), |_| AGE)
    }

    /// What is known after a day without regard to age: all leads, and the replies until now.
    pub fn so_far(&self, today: usize) -> [Days; 2] {
        self.days(|day| day <= today, |day| AGE.min(today - day))
    }

    fn days(&self, counts: impl Fn(usize) -> bool, oldest: impl Fn(usize) -> usize) -> [Days; 2] {
        [0, 1].map(|side| {
            let days = (0..self.leads[side].len()).filter(|&day| counts(day));
            days.map(|day| {
                let numerator = self.replies[side][day][..=oldest(day)].iter().sum();
                let denominator = self.leads[side][day];
                (date(2026, 1, 1) + i64::try_from(day).unwrap_or_default().days(), Rate { numerator, denominator })
            })
            .collect()
        })
    }
}
