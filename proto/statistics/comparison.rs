//! Which of several campaigns is better, with a verdict that stays valid when people look every day.
//!
//! One of k is named only if it beats every other one with e >= (k - 1) / 0.05. So the probability that a wrong one is
//! ever named is at most 5 %: the test against the truly best one has to fail for that, for one of k - 1 wrong ones.
//! The strata are UTC days. Days on which only one ran say nothing, so a trend over time favours neither.
//!
//! The test compares the ratio of two rates, so it needs the rare side of them: replies and conversions, but failures
//! among deliveries. 99 % and 98 % are nearly the same share of successes, and one has twice the failures of the other.

use jiff::civil::Date;

use super::{
    counts::{Days, number, number_of, numbers, total},
    interval::{Difference, stratified_difference},
    mixture::Mixture,
};
use crate::rate::Rate;

/// Upper bound of the probability that a wrong campaign is ever named.
pub const FALSE_LEADER: f64 = 0.05;

/// What a comparison says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Verdict {
    /// The front-runner beats every other one.
    Leads,
    /// No campaign beats every other one yet.
    NoDifferenceShown {
        /// What the slowest comparison with the front-runner still needs at the present rates; `None` if one of them has
        /// no end in sight, as with equal rates.
        needed: Option<Needed>,
    },
    /// The front-runner beats every one that it met, and never met at least one.
    NeverAtTheSameTime,
}

/// What a verdict still needs if rates and pace stay as they are; within 30 % of the mean of what it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needed {
    /// Leads (for delivery: messages) of both together.
    pub leads: i64,
    /// Days on which both run.
    pub days: i64,
}

/// The front-runner against one other campaign, on the days on which both ran.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pair {
    /// Position of the other campaign in the list that was given.
    pub other: usize,
    /// Days on which both ran.
    pub shared_days: i64,
    /// Sum of the front-runner's counts on these days.
    pub front_runner_rate: Rate,
    /// Sum of the other's counts on these days.
    pub other_rate: Rate,
    /// The front-runner's rate minus the other's, each day compared with itself; `None` without a shared day.
    pub difference: Option<Difference>,
    /// ln e, the evidence for a difference; 0 without a shared day.
    pub ln_e: f64,
    /// Whether the front-runner beats this one.
    pub is_shown: bool,
    /// What is still needed; `None` if it is shown, or no end is in sight.
    pub needed: Option<Needed>,
}

/// A comparison of campaigns by one rate.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// Position of the campaign with the higher rate in most pairs; the first of equals, before those that never ran on
    /// the same day as another one.
    pub front_runner: usize,
    /// What the comparison says about it.
    pub verdict: Verdict,
    /// ln e from which a difference is shown: ln((k - 1) / 0.05).
    pub ln_threshold: f64,
    /// The front-runner against every other one, in the order of the list.
    pub pairs: Vec<Pair>,
}

/// Compares campaigns by their counts per day; `None` with fewer than two.
///
/// For response and conversion the days are those of first contact, and only days whose leads are all old enough belong
/// in them. For rates whose successes are rare. Takes O(campaigns^2 x days) additions and O(campaigns x days)
/// evaluations of the test.
pub fn compare(campaigns: &[Days]) -> Option<Comparison> {
    compare_by(campaigns, Rare::Successes)
}

/// Compares campaigns as [`compare`] does, for rates whose failures are rare, such as delivery.
///
/// Rates, differences and the front-runner are still those of the successes; the test is one of the failures.
pub fn compare_by_failures(campaigns: &[Days]) -> Option<Comparison> {
    compare_by(campaigns, Rare::Failures)
}

fn compare_by(campaigns: &[Days], rare: Rare) -> Option<Comparison> {
    if campaigns.len() < 2 {
        return None;
    }
    let campaigns: Vec<Vec<(Date, Rate)>> = campaigns.iter().map(listed).collect();
    let front_runner = front_runner(&campaigns);
    let ln_threshold = (number_of(campaigns.len() - 1) / FALSE_LEADER).ln();
    let others = campaigns.iter().enumerate().filter(|&(other, _)| other != front_runner);
    let leader = &campaigns[front_runner];
    let pairs: Vec<_> = others.map(|(other, days)| pair(leader, other, days, ln_threshold, rare)).collect();
    let verdict = if pairs.iter().all(|pair| pair.is_shown) {
        Verdict::Leads
    } else if pairs.iter().all(|pair| pair.is_shown || pair.shared_days == 0) {
        Verdict::NeverAtTheSameTime
    } else {
        let missing: Option<Vec<_>> = pairs.iter().filter(|pair| !pair.is_shown).map(|pair| pair.needed).collect();
        Verdict::NoDifferenceShown {
            needed: missing.and_then(|missing| missing.into_iter().max_by_key(|needed| (needed.days, needed.leads))),
        }
    };
    Some(Comparison { front_runner, verdict, ln_threshold, pairs })
}

/// ln e for the difference of two campaigns; 0 without a shared day. A difference is shown from ln(1 / alpha) on.
pub fn ln_e(first: &Days, second: &Days) -> f64 {
    mixture(&listed(first), &listed(second), Rare::Successes).evidence(1.0).ln_e
}

/// The days in order. Every pair walks through those of both, and a list is walked faster than a tree.
fn listed(days: &Days) -> Vec<(Date, Rate)> {
    days.iter().map(|(day, rate)| (*day, *rate)).collect()
}

/// The side of a rate that the test counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rare {
    Successes,
    Failures,
}

impl Rare {
    /// Successes or failures, and the size.
    fn counts(self, rate: Rate) -> Option<(f64, f64)> {
        let (successes, size) = numbers(rate)?;
        Some(match self {
            Self::Successes => (successes, size),
            Self::Failures => (size - successes, size),
        })
    }
}

fn front_runner(campaigns: &[Vec<(Date, Rate)>]) -> usize {
    // The pairs that it wins, then whether it met any other.
    let mut scores = vec![(0_usize, false); campaigns.len()];
    for (first, days) in campaigns.iter().enumerate() {
        for (second, others) in campaigns.iter().enumerate().skip(first + 1) {
            let Some(excess) = excess(days, others) else { continue };
            for (place, wins) in [(first, excess > 0.0), (second, excess < 0.0)] {
                scores[place].0 += usize::from(wins);
                scores[place].1 = true;
            }
        }
    }
    let best = scores.iter().copied().max().unwrap_or_default();
    scores.iter().position(|&score| score == best).unwrap_or_default()
}

/// Successes of the first beyond those expected under equal rates, each day compared with itself; its sign says which rate is
/// higher. `None` without a shared day.
fn excess(first: &[(Date, Rate)], second: &[(Date, Rate)]) -> Option<f64> {
    let excess = |(first, second): (Rate, Rate)| {
        let ((own, size), (others, others_size)) = (numbers(first)?, numbers(second)?);
        Some(own - (own + others) * size / (size + others_size))
    };
    shared(first, second).filter_map(excess).reduce(|sum, day| sum + day)
}

fn pair(front_runner: &[(Date, Rate)], other: usize, days: &[(Date, Rate)], ln_threshold: f64, rare: Rare) -> Pair {
    let mixture = mixture(front_runner, days, rare);
    let ln_e = mixture.evidence(1.0).ln_e;
    let is_shown = ln_e >= ln_threshold && excess(front_runner, days).is_some_and(|excess| excess > 0.0);
    let front_runner_rate = total(shared(front_runner, days).map(|(first, _)| first));
    let other_rate = total(shared(front_runner, days).map(|(_, second)| second));
    let shared_days = shared(front_runner, days).count();
    let leads = number(front_runner_rate.denominator) + number(other_rate.denominator);
    let needed = if is_shown { None } else { mixture.scale_to_reach(ln_threshold) }.map(|scale| {
        let more = (scale - 1.0).max(0.0);
        Needed { leads: at_least_one(more * leads), days: at_least_one(more * number_of(shared_days)) }
    });
    Pair {
        other,
        shared_days: i64::try_from(shared_days).unwrap_or(i64::MAX),
        front_runner_rate,
        other_rate,
        difference: stratified_difference(shared(front_runner, days)),
        ln_e,
        is_shown,
        needed,
    }
}

fn mixture(first: &[(Date, Rate)], second: &[(Date, Rate)], rare: Rare) -> Mixture {
    let mut mixture = Mixture::default();
    for (first, second) in shared(first, second) {
        if let (Some(first), Some(second)) = (rare.counts(first), rare.counts(second)) {
            mixture.add([first.0, second.0], [first.1, second.1]);
        }
    }
    mixture
}

/// The days on which both ran: a walk through both in order.
fn shared<'a>(first: &'a [(Date, Rate)], second: &'a [(Date, Rate)]) -> impl Iterator<Item = (Rate, Rate)> + 'a {
    let (mut firsts, mut seconds) = (first.iter().peekable(), second.iter().peekable());
    std::iter::from_fn(move || {
        loop {
            let (&&(day, first), &&(other, second)) = (firsts.peek()?, seconds.peek()?);
            if day <= other {
                firsts.next();
            }
            if other <= day {
                seconds.next();
            }
            if day == other && first.denominator > 0 && second.denominator > 0 {
                return Some((first, second));
            }
        }
    })
}

/// Rounds up to a whole number above 0.
#[expect(clippy::cast_possible_truncation, reason = "the cast saturates, far above every real count")]
fn at_least_one(count: f64) -> i64 {
    (count.ceil() as i64).max(1)
}

#[cfg(test)]
mod tests {
    use jiff::{ToSpan as _, civil::date};

    use super::*;

    /// A campaign with the same counts on each of some days from a day on.
    fn campaign(from: i64, days: i64, numerator: i64, denominator: i64) -> Days {
        (from..from + days).map(|day| (date(2026, 1, 1) + day.days(), Rate { numerator, denominator })).collect()
    }

    #[test]
    fn a_comparison_needs_two() {
        assert_eq!(compare(&[]), None);
        assert_eq!(compare(&[campaign(0, 1, 1, 2)]), None);
    }

    #[test]
    fn a_clear_difference_has_a_leader_whatever_the_order() {
        let (good, bad) = (campaign(0, 10, 12, 200), campaign(0, 10, 4, 200));
        for (order, leader) in [([good.clone(), bad.clone()], 0), ([bad, good], 1)] {
            let comparison = compare(&order).unwrap();
            assert_eq!((comparison.verdict, comparison.front_runner), (Verdict::Leads, leader));
            let pair = comparison.pairs[0];
            assert_eq!((pair.other, pair.shared_days, pair.needed), (1 - leader, 10, None));
            assert_eq!(pair.front_runner_rate, Rate { numerator: 120, denominator: 2000 });
            assert_eq!(pair.other_rate, Rate { numerator: 40, denominator: 2000 });
            assert!((pair.difference.unwrap().estimate - 0.04).abs() < 1e-12);
            assert!((comparison.ln_threshold - 20_f64.ln()).abs() < 1e-12);
        }
    }

    #[test]
    fn one_of_three_has_to_beat_both() {
        let (best, near, bad) = (campaign(0, 10, 12, 200), campaign(0, 10, 11, 200), campaign(0, 10, 4, 200));
        let comparison = compare(&[bad.clone(), best.clone(), near]).unwrap();
        assert_eq!(comparison.front_runner, 1);
        assert!((comparison.ln_threshold - 40_f64.ln()).abs() < 1e-12);
        assert_eq!(comparison.pairs.iter().map(|pair| pair.is_shown).collect::<Vec<_>>(), [true, false]);
        assert_eq!(comparison.verdict, Verdict::NoDifferenceShown { needed: comparison.pairs[1].needed });
        assert!(comparison.pairs[1].needed.unwrap().leads > 4000);
        // It beats the one, and never met the other.
        let comparison = compare(&[bad, best, campaign(50, 10, 1, 200)]).unwrap();
        assert_eq!((comparison.front_runner, comparison.verdict), (1, Verdict::NeverAtTheSameTime));
        assert_eq!((comparison.pairs[1].shared_days, comparison.pairs[1].difference), (0, None));
    }

    #[test]
    fn one_that_met_nobody_is_no_front_runner_before_those_that_met() {
        let alone = campaign(50, 10, 150, 200);
        let comparison = compare(&[alone.clone(), campaign(0, 10, 3, 200), campaign(0, 10, 3, 200)]).unwrap();
        assert_eq!((comparison.front_runner, comparison.pairs[0].shared_days), (1, 0));
        assert_eq!(comparison.verdict, Verdict::NoDifferenceShown { needed: None });
        let comparison = compare(&[alone, campaign(0, 10, 3, 200)]).unwrap();
        assert_eq!((comparison.front_runner, comparison.verdict), (0, Verdict::NeverAtTheSameTime));
    }

    #[test]
    fn rates_near_1_are_told_apart_by_their_failures() {
        let (good, bad) = (campaign(0, 10, 198, 200), campaign(0, 10, 192, 200));
        let by_successes = compare(&[bad.clone(), good.clone()]).unwrap();
        assert!(matches!(by_successes.verdict, Verdict::NoDifferenceShown { .. }), "{by_successes:?}");
        let comparison = compare_by_failures(&[bad.clone(), good.clone()]).unwrap();
        assert_eq!((comparison.verdict, comparison.front_runner), (Verdict::Leads, 1));
        // The evidence is that of the failures, and the rates are those of the successes.
        let failures = [campaign(0, 10, 2, 200), campaign(0, 10, 8, 200)];
        let pair = comparison.pairs[0];
        assert!((pair.ln_e - ln_e(&failures[0], &failures[1])).abs() < 1e-12);
        assert_eq!((pair.front_runner_rate.numerator, pair.other_rate.numerator), (1980, 1920));
        assert!(pair.difference.unwrap().estimate > 0.0);
        let poor = campaign(0, 10, 150, 200);
        let comparison = compare_by_failures(&[poor, good, bad]).unwrap();
        assert_eq!((comparison.verdict, comparison.front_runner), (Verdict::Leads, 1));
    }

    #[test]
    fn without_a_stratum_there_is_no_evidence() {
        for second in [campaign(5, 1, 1, 2), campaign(0, 1, 0, 2)] {
            let pair = compare(&[campaign(0, 1, 0, 2), second]).unwrap().pairs[0];
            assert!(pair.ln_e == 0.0 && !pair.is_shown && pair.needed.is_none(), "{pair:?}");
        }
    }

    #[test]
    fn the_slowest_pair_says_what_is_needed() {
        let comparison = compare(&[campaign(0, 5, 12, 200), campaign(0, 5, 8, 200), campaign(0, 5, 10, 200)]).unwrap();
        let needed: Vec<_> = comparison.pairs.iter().map(|pair| pair.needed.unwrap()).collect();
        assert!(needed[0].days < needed[1].days && needed[0].leads < needed[1].leads, "{needed:?}");
        assert!((needed[1].days - 1) * 400 < needed[1].leads && needed[1].leads <= needed[1].days * 400);
        assert_eq!(comparison.verdict, Verdict::NoDifferenceShown { needed: Some(needed[1]) });
        // Equal rates have no end, and one pair without an end is enough.
        let equal = compare(&[campaign(0, 5, 12, 200), campaign(0, 5, 12, 200), campaign(0, 5, 8, 200)]).unwrap();
        assert_eq!(equal.verdict, Verdict::NoDifferenceShown { needed: None });
    }

    #[test]
    fn what_is_needed_brings_the_verdict_when_it_comes_true() {
        for (first, second) in [(6, 3), (12, 11), (100, 1), (0, 1)] {
            let (first, second) = (campaign(0, 3, first, 200), campaign(0, 3, second, 200));
            let pair = compare(&[first.clone(), second.clone()]).unwrap().pairs[0];
            let Some(needed) = pair.needed else {
                assert!(pair.is_shown);
                continue;
            };
            let later = |days: &Days, more: i64| campaign(0, 3 + more, days[&date(2026, 1, 1)].numerator, 200);
            let shown = |more| compare(&[later(&first, more), later(&second, more)]).unwrap().pairs[0].is_shown;
            assert!(shown(needed.days + 1 + needed.days / 500), "{needed:?}");
            assert!(!shown(needed.days - 1 - needed.days / 500), "{needed:?}");
        }
    }

    #[test]
    fn days_without_leads_and_days_of_one_say_nothing() {
        let (mut first, second) = (campaign(0, 5, 6, 100), campaign(0, 5, 3, 100));
        let before = compare(&[first.clone(), second.clone()]);
        first.extend(campaign(5, 5, 90, 100));
        first.extend(campaign(-5, 5, 0, 0));
        assert_eq!(compare(&[first, second]), before);
    }

    #[test]
    fn a_trend_is_not_a_difference() {
        // Both fall from 10 % to 1 %; the first had most of its leads on the good days.
        let mut first = campaign(0, 5, 90, 900);
        first.extend(campaign(5, 5, 1, 100));
        let mut second = campaign(0, 5, 10, 100);
        second.extend(campaign(5, 5, 9, 900));
        assert!(ln_e(&first, &second) < 0.0);
    }

    #[test]
    fn a_small_difference_is_shown_when_there_are_leads_enough() {
        // Ratio 1.1: quadrature with nodes fixed around 0 stays at ln e = -1.6 whatever the number of leads.
        assert!(ln_e(&campaign(0, 1, 55_000, 1_000_000), &campaign(0, 1, 50_000, 1_000_000)) > 100.0);
    }

    #[test]
    fn every_edge_gives_numbers() {
        let sizes = [0, 1, 2, 1000, 1_000_000_000, i64::MAX];
        let rates: Vec<_> = sizes
            .into_iter()
            .flat_map(|of| [0, 1, of / 2, of].map(|numerator| Rate { numerator, denominator: of }))
            .chain([Rate { numerator: -5, denominator: 10 }, Rate { numerator: 5, denominator: -10 }])
            .collect();
        let day = |rate: Rate| Days::from([(date(2026, 1, 1), rate)]);
        for &first in &rates {
            for &second in &rates {
                let comparison = compare(&[day(first), day(second)]).unwrap();
                let pair = comparison.pairs[0];
                assert!(pair.ln_e.is_finite(), "{first:?} {second:?}: {pair:?}");
                let difference = pair.difference.map(|difference| (difference.estimate, difference.interval));
                assert!(difference.is_none_or(|(estimate, interval)| {
                    interval.lower <= estimate && estimate <= interval.upper && interval.lower >= -1.0 - 1e-12
                }));
                assert_eq!(pair.difference.is_none(), pair.shared_days == 0);
                assert!(pair.needed.is_none_or(|needed| needed.days > 0 && needed.leads > 0));
            }
        }
    }
}
