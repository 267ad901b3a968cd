//! Since when a rate is different: one change along ordered keys, found by likelihood.
//!
//! The keys are days, or for example the volumes of days. Every key but the first can be the first of the change. For
//! each, the likelihood of two rates, before and from that key on, is compared with that of one rate. Keys without
//! messages don't count.

use jiff::civil::Date;
use statrs::function::erf::erfc_inv;

use super::{
    counts::{Days, number_of, numbers, total},
    saddle_point::half_deviance,
};
use crate::rate::Rate;

/// Probability that a change is told where none is; shared among all keys that are tried.
const FALSE_CHANGE: f64 = 0.01;

/// 95 % quantile of the chi-square distribution with one degree of freedom: how far below the best a likely day can be.
const LIKELY_WITHIN: f64 = 3.841_458_820_694_124;

/// A change of a rate. The key `K` is a day unless stated otherwise.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Change<K = Date> {
    /// The most likely first day with the new rate.
    pub since: K,
    /// The earliest likely first day; not after `since`.
    pub earliest: K,
    /// The latest likely first day; not before `since`.
    pub latest: K,
    /// The rate before `since`.
    pub before: Rate,
    /// The rate from `since` on.
    pub after: Rate,
    /// Twice the logarithm of the likelihood ratio of two rates against one.
    pub likelihood_ratio: f64,
    /// What the ratio exceeds: the chi-square quantile (one degree of freedom) at 0.01 / (days - 1).
    pub threshold: f64,
}

/// Finds the change of a rate over days; `None` if the days are compatible with one rate.
///
/// Source: Worsley 1983, Biometrika 70:455.
pub fn find_change(days: &Days) -> Option<Change> {
    let ordered: Vec<_> = days.iter().map(|(&day, &rate)| (day, rate)).collect();
    find_change_along(&ordered, 1)
}

/// Finds the change of a rate along ascending keys as [`find_change`] does, with at least `least` of the denominator on
/// each side.
///
/// A lower bound keeps a change from resting on a single message.
pub fn find_change_along<K: Copy>(ordered: &[(K, Rate)], least: i64) -> Option<Change<K>> {
    let counted: Vec<_> = ordered.iter().filter(|(_, rate)| rate.denominator > 0).copied().collect();
    let all = total(counted.iter().map(|&(_, rate)| rate));
    let mut before = Rate::default();
    let mut tried = Vec::with_capacity(counted.len());
    for pair in counted.windows(2) {
        before = total([before, pair[0].1]);
        let after =
            Rate { numerator: all.numerator - before.numerator, denominator: all.denominator - before.denominator };
        if before.denominator >= least && after.denominator >= least {
            tried.push((pair[1].0, before, after, likelihood_ratio(before, after, all)));
        }
    }
    // Of equally likely keys the earliest: `max_by` returns the last of equals.
    let &(since, before, after, best) = tried.iter().rev().max_by(|a, b| a.3.total_cmp(&b.3))?;
    let threshold = chi_square_quantile(FALSE_CHANGE / number_of(tried.len()));
    let mut likely = tried.iter().filter(|key| best - key.3 <= LIKELY_WITHIN).map(|key| key.0);
    let earliest = likely.next()?;
    let latest = likely.next_back().unwrap_or(earliest);
    (best > threshold).then_some(Change { since, earliest, latest, before, after, likelihood_ratio: best, threshold })
}

/// Twice the logarithm of the likelihood ratio of two binomial rates against one.
fn likelihood_ratio(before: Rate, after: Rate, all: Rate) -> f64 {
    let Some((count, size)) = numbers(all) else { return 0.0 };
    let share = count / size;
    let halves = [before, after]
        .into_iter()
        .filter_map(numbers)
        .map(|(count, size)| half_deviance(count, size * share) + half_deviance(size - count, size * (1.0 - share)));
    2.0 * halves.sum::<f64>()
}

/// The value that a chi-square variable with one degree of freedom exceeds with probability `p`, 0 < p < 1.
///
/// It is the square of a standard normal variable, which exceeds z in absolute value with probability erfc(z / sqrt 2).
fn chi_square_quantile(p: f64) -> f64 {
    2.0 * erfc_inv(p).powi(2)
}

#[cfg(test)]
mod tests {
    use jiff::{ToSpan as _, civil::date};

    use super::*;

    fn history(rates: &[(i64, i64)]) -> Days {
        let day = |day: i64| date(2026, 1, 1) + day.days();
        (0_i64..).zip(rates).map(|(at, &(numerator, denominator))| (day(at), Rate { numerator, denominator })).collect()
    }

    #[test]
    fn a_change_has_a_day_and_both_rates() {
        let change = find_change(&history(&[(1, 50), (2, 50), (0, 0), (30, 50), (28, 50)])).unwrap();
        assert_eq!(
            (change.since, change.earliest, change.latest),
            (date(2026, 1, 4), date(2026, 1, 4), date(2026, 1, 4))
        );
        assert_eq!(change.before, Rate { numerator: 3, denominator: 100 });
        assert_eq!(change.after, Rate { numerator: 58, denominator: 100 });
        assert!(change.likelihood_ratio > change.threshold);
    }

    #[test]
    fn the_first_day_of_a_vague_change_lies_between_days() {
        let change = find_change(&history(&[(1, 50), (1, 50), (6, 50), (12, 50), (14, 50)])).unwrap();
        assert_eq!(
            (change.earliest, change.since, change.latest),
            (date(2026, 1, 3), date(2026, 1, 3), date(2026, 1, 4))
        );
    }

    #[test]
    fn a_change_along_volumes_has_enough_on_each_side() {
        let since = |first: i64, second: i64, least: i64| {
            let volumes = [(10, (1, first)), (25, (40, second))]
                .map(|(volume, (numerator, denominator))| (volume, Rate { numerator, denominator }));
            find_change_along(&volumes, least).map(|change| change.since)
        };
        assert_eq!(
            [since(43, 44, 43), since(43, 44, 44), since(44, 43, 43), since(44, 43, 44)],
            [Some(25), None, Some(25), None]
        );
    }

    #[test]
    fn nothing_and_one_day_and_one_rate_have_no_change() {
        assert_eq!(find_change(&Days::new()), None);
        assert_eq!(find_change(&history(&[(5, 10)])), None);
        assert_eq!(find_change(&history(&[(0, 0), (5, 10), (0, 0)])), None);
        assert_eq!(find_change(&history(&[(9, 9); 30])), None);
        assert_eq!(find_change(&history(&[(0, 9); 30])), None);
        assert_eq!(find_change(&history(&[(0, 1), (1, 1)])), None);
        assert_eq!(find_change(&history(&[(500_000_000, 1_000_000_000); 400])), None);
        assert_eq!(find_change(&history(&[(i64::MAX, i64::MAX); 3])), None);
    }
}
