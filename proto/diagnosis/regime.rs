//! What holds now: the share since its last change.
//!
//! A problem that is over is no finding, and one that began yesterday is not diluted by 89 good days. A change is told only
//! where it stands out from how much the share varies from day to day anyway.

use jiff::civil::Date;

use super::messages::{Messages, sending_days, sum, total};
use crate::{
    lead::FailureReason,
    rate::Rate,
    statistics::{Change, MESSAGES_MIN, find_change_along, wilson},
};

/// Bounces come within so many days after their message, most of them sooner. So their share rises in the first days.
const LATE_DAYS: usize = 3;

/// Part of the lost messages that has to bounce for that: fewer late ones hardly move the share.
const LATE_PART: f64 = 0.1;

/// Median of the chi-square distribution with one degree of freedom.
const CHI_SQUARE_MEDIAN: f64 = 0.454_936_423_119_572_7;

/// A share as it is now.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Regime {
    /// Since when, if it was ever different.
    pub change: Option<Change>,
    /// The share since then.
    pub share: Rate,
}

/// Since when a share is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Period {
    /// Since its last change, or over all days.
    LastChange,
    /// Since a day. Where a share follows the volume of the day, a slow day is no end of the problem.
    Since(Date),
}

impl Period {
    /// Finds what holds now in some days.
    pub fn judge(self, days: &[(Date, Messages)], reason: Option<FailureReason>) -> Regime {
        match self {
            Self::LastChange => current(days, reason),
            Self::Since(day) => Regime { change: None, share: sum(days, Some(day)).lost(reason) },
        }
    }
}

impl Regime {
    /// The first day; `None` if it was always so.
    pub fn since(&self) -> Option<Date> {
        self.change.map(|change| change.since)
    }
}

/// Finds what holds now: the most likely change of all days, then that of the days since then, and so on. A rise after a
/// rise is the same problem getting worse, and keeps the day on which it began.
///
/// A change needs [`MESSAGES_MIN`] messages on each side. One failure of one message is no change.
fn current(days: &[(Date, Messages)], reason: Option<FailureReason>) -> Regime {
    let sending = sending_days(days);
    let mut rest: &[(Date, Messages)] = &sending;
    let mut told: Option<Change> = None;
    while let Some(change) = find_clear_change(rest, reason) {
        let from = rest.first().map(|(day, _)| *day);
        let at = rest.partition_point(|(day, _)| *day < change.since);
        let is_late = from == sending.first().map(|(day, _)| *day) && at <= LATE_DAYS && is_rise(&change);
        rest = &rest[at..];
        if is_late && sum(rest, None).bounced(reason).ratio().is_some_and(|bounced| bounced > LATE_PART) {
            continue;
        }
        if !(is_rise(&change) && told.as_ref().is_some_and(is_rise)) {
            let is_before = |day: Date| day < change.since && from.is_none_or(|from| day >= from);
            let before = days.iter().filter(|(day, _)| is_before(*day)).map(|(_, messages)| *messages);
            told = Some(Change {
                before: total(before).lost(reason),
                after: sum(days, Some(change.since)).lost(reason),
                ..change
            });
        }
    }
    Regime { change: told, share: sum(days, told.map(|change| change.since)).lost(reason) }
}

/// Finds the change of a share that stands out from its variation.
///
/// The likelihood ratio takes messages for independent. Where days vary more than that, by weekday or by the list from
/// which leads come, a ratio as large as the threshold times the dispersion can be chance.
fn find_clear_change(days: &[(Date, Messages)], reason: Option<FailureReason>) -> Option<Change> {
    let shares: Vec<(Date, Rate)> = days.iter().map(|(day, messages)| (*day, messages.lost(reason))).collect();
    let change = find_change_along(&shares, MESSAGES_MIN)?;
    (change.likelihood_ratio > change.threshold * dispersion(&shares, change.since)).then_some(change)
}

/// How much more the share varies from day to day than it would by chance; at least 1.
///
/// The median of the squared standard differences of neighbours, so that a few real changes do not count. The pair in
/// question is left out.
fn dispersion(shares: &[(Date, Rate)], since: Date) -> f64 {
    let pairs = shares.windows(2).filter(|pair| pair[1].0 != since);
    let mut squares: Vec<f64> = pairs.map(|pair| squared_difference(pair[0].1, pair[1].1)).collect();
    squares.sort_unstable_by(f64::total_cmp);
    squares.get(squares.len() / 2).map_or(1.0, |median| f64::max(1.0, median / CHI_SQUARE_MEDIAN))
}

/// The squared difference of two shares in units of its variance, were they one; 0 where both are none or all.
fn squared_difference(first: Rate, second: Rate) -> f64 {
    let both =
        Rate { numerator: first.numerator + second.numerator, denominator: first.denominator + second.denominator };
    let (Some(a), Some(b), Some(share)) = (first.ratio(), second.ratio(), both.ratio()) else { return 0.0 };
    // 1 / n1 + 1 / n2
    let parts = [first, second].map(|rate| Rate { numerator: 1, ..rate }.ratio().unwrap_or(0.0));
    let variance = share * (1.0 - share) * (parts[0] + parts[1]);
    if variance > 0.0 { (a - b).powi(2) / variance } else { 0.0 }
}

/// Whether the share is higher since the change.
pub(super) fn is_rise<K>(change: &Change<K>) -> bool {
    change.after.ratio() > change.before.ratio()
}

/// Whether a share is certainly above a bound, from [`MESSAGES_MIN`] messages on.
pub(super) fn is_certainly_above(share: Rate, bound: f64) -> bool {
    share.denominator >= MESSAGES_MIN && wilson(share).is_some_and(|interval| interval.lower > bound)
}

#[cfg(test)]
mod tests {
    use jiff::{ToSpan as _, civil::date};

    use super::{super::messages::MessageDays, *};
    use crate::history::HistoryCounts;

    fn day(at: i64) -> Date {
        date(2026, 3, 1) + at.days()
    }

    /// Days of so many messages each, given as failed ones.
    fn days(all: i64, failed: &[i64]) -> MessageDays {
        let messages = |&failed: &i64| HistoryCounts {
            delivered: all - failed,
            failed: [0, failed, 0, 0, 0],
            ..HistoryCounts::default()
        };
        (0..).zip(failed).map(|(at, failed)| (day(at), Messages::of(&messages(failed)))).collect()
    }

    fn now(failed: &[i64]) -> (Option<Date>, i64) {
        let regime = current(&days(50, failed), None);
        (regime.since(), regime.share.numerator)
    }

    #[test]
    fn without_a_change_it_was_always_so() {
        assert_eq!(now(&[3, 2, 4, 3]), (None, 12));
        assert_eq!(now(&[]), (None, 0));
        assert_eq!(current(&[], None).share, Rate::default());
    }

    #[test]
    fn what_holds_now_began_with_the_last_change() {
        assert_eq!(now(&[0, 1, 30, 31, 29]), (Some(day(2)), 90), "it rose");
        assert_eq!(now(&[0, 1, 30, 31, 29, 1, 0]), (Some(day(5)), 1), "it rose and fell");
        assert_eq!(now(&[0, 1, 20, 21, 20, 33, 34]), (Some(day(2)), 128), "it rose twice");
        assert_eq!(now(&[30, 31, 1, 0, 1, 28, 30]), (Some(day(5)), 58), "it fell and rose");
        let rose = current(&days(50, &[0, 1, 20, 21, 20, 33, 34]), None).change.unwrap();
        assert_eq!((rose.before.numerator, rose.after.numerator), (1, 128), "since it began");
    }

    #[test]
    fn a_change_needs_messages_on_each_side() {
        let mut history = days(50, &[0; 20]);
        let mut add = |at, failed| {
            let counts = HistoryCounts { failed: [0, failed, 0, 0, 0], ..HistoryCounts::default() };
            history.push((day(at), Messages::of(&counts)));
            current(&history, None).share
        };
        assert_eq!(add(20, 19), Rate { numerator: 19, denominator: 69 }, "with the day before");
        assert_eq!(add(21, 20), Rate { numerator: 39, denominator: 39 });
    }

    #[test]
    fn a_share_that_varies_by_weekday_does_not_change() {
        let week = [50, 100, 150, 200, 200];
        let weeks: Vec<i64> = week.iter().cycle().take(25).copied().collect();
        let history = days(4000, &weeks);
        let shares: Vec<_> = history.iter().map(|(day, messages)| (*day, messages.lost(None))).collect();
        assert!(find_change_along(&shares, 1).is_some(), "were messages independent");
        assert_eq!(current(&history, None).change, None);
        let mut worse = weeks;
        worse[15..].iter_mut().for_each(|failed| *failed += 1000);
        assert_eq!(current(&days(4000, &worse), None).since(), Some(day(15)));
    }

    #[test]
    fn late_bounces_are_no_rise_in_the_first_days() {
        let since = |late: i64, failed: i64, bounced: i64| {
            let counts = |at: i64| {
                let [failed, bounced] = if at < late { [0, 0] } else { [failed, bounced] };
                HistoryCounts {
                    delivered: 100,
                    failed: [0, failed, 0, 0, 0],
                    bounced: [0, bounced, 0, 0, 0],
                    ..HistoryCounts::default()
                }
            };
            let history: MessageDays = (0..20).map(|at| (day(at), Messages::of(&counts(at)))).collect();
            current(&history, None).since()
        };
        assert_eq!([2, 3, 4].map(|late| since(late, 0, 30)), [None, None, Some(day(4))]);
        assert_eq!([2, 3, 4].map(|late| since(late, 27, 3)), [2, 3, 4].map(|late| Some(day(late))));
        assert_eq!(since(3, 26, 4), None);
    }

    #[test]
    fn a_share_is_above_a_bound_only_if_its_interval_is() {
        let above = |numerator, denominator| is_certainly_above(Rate { numerator, denominator }, 0.02);
        assert!(!above(0, 0) && !above(19, 19) && above(20, 20));
        assert!(!above(25, 1000) && above(31, 1000));
    }
}
