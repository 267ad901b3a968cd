//! Intervals of 95 %: of a rate, of a difference of two rates, and of a difference over shared days.
//!
//! An interval describes one look at the data. Which campaign is better is decided by [`super::compare`], whose test
//! stays valid when people look every day. So an interval can exclude 0 before a verdict is made.

use super::counts::{MESSAGES_MIN, numbers};
use crate::{campaign::DeliveryHealth, rate::Rate};

/// Quantile of the standard normal distribution that leaves 2.5 % on each side.
const Z: f64 = 1.959_963_984_540_054;

/// A closed interval of shares, or of differences of shares.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// Lower bound.
    pub lower: f64,
    /// Upper bound, not below `lower`.
    pub upper: f64,
}

/// A difference of two rates, first minus second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Difference {
    /// Best estimate, -1 to 1.
    pub estimate: f64,
    /// Its 95 % interval.
    pub interval: Interval,
}

/// Wilson's score interval of a rate, 95 %; `None` with denominator 0.
///
/// Source: Wilson 1927, J Am Stat Assoc 22:209.
pub fn wilson(rate: Rate) -> Option<Interval> {
    numbers(rate).map(|(count, size)| score(count / size, size))
}

/// Whether a delivery rate lies certainly in a band: its interval lies wholly in it, from [`MESSAGES_MIN`] messages on.
///
/// The interval alone would call 2 failures of 2 certain: it ends at 66 %.
pub fn is_certain(delivery_rate: Rate, band: DeliveryHealth) -> bool {
    delivery_rate.denominator >= MESSAGES_MIN
        && wilson(delivery_rate).is_some_and(|Interval { lower, upper }| match band {
            DeliveryHealth::High => lower > 0.95,
            DeliveryHealth::Moderate => lower >= 0.8 && upper <= 0.95,
            DeliveryHealth::Low => upper < 0.8,
        })
}

/// Newcombe's hybrid score interval (method 10) of the difference `first` - `second`, 95 %; `None` with a denominator 0.
///
/// Source: Newcombe 1998, Stat Med 17:873.
pub fn newcombe(first: Rate, second: Rate) -> Option<Difference> {
    stratified_difference([(first, second)])
}

/// Difference of two rates over strata, 95 %; `None` if no stratum has leads of both.
///
/// The estimate is that of Mantel and Haenszel: the differences of the days, weighted by `n1 n2 / (n1 + n2)`. So a trend
/// over time does not bias it, even if the campaigns grew on different days. The interval combines Wilson intervals of
/// the weighted rates as Newcombe does. Each uses the effective sample size `1 / sum(v^2 / n)`, where `v` is the weight
/// of a day and `n` its leads. With one stratum the result is Newcombe's interval.
///
/// Source: Mantel and Haenszel 1959; Zou and Donner 2008, Stat Med 27:1693, for combining intervals.
pub fn stratified_difference(strata: impl IntoIterator<Item = (Rate, Rate)>) -> Option<Difference> {
    let (mut weights, mut shares, mut squares) = (0.0, [0.0; 2], [0.0; 2]);
    for (first, second) in strata {
        let (Some(first), Some(second)) = (numbers(first), numbers(second)) else { continue };
        let weight = first.1 * second.1 / (first.1 + second.1);
        weights += weight;
        for (side, (count, size)) in [first, second].into_iter().enumerate() {
            shares[side] += weight * count / size;
            squares[side] += weight * weight / size;
        }
    }
    if weights == 0.0 {
        return None;
    }
    let [first, second] = [0, 1].map(|side| (shares[side] / weights).min(1.0));
    let [of_first, of_second] =
        [(first, 0), (second, 1)].map(|(share, side)| score(share, weights * weights / squares[side]));
    let estimate = first - second;
    Some(Difference {
        estimate,
        interval: Interval {
            lower: estimate - (first - of_first.lower).hypot(of_second.upper - second),
            upper: estimate + (of_first.upper - first).hypot(second - of_second.lower),
        },
    })
}

/// Wilson's interval of a share of a sample; the size need not be whole.
fn score(share: f64, size: f64) -> Interval {
    let scale = 1.0 + Z * Z / size;
    let centre = (share + Z * Z / (2.0 * size)) / scale;
    let half = Z * (share * (1.0 - share) / size + Z * Z / (4.0 * size * size)).sqrt() / scale;
    // At 0 and 1 the bound is exact; rounding must not put it beside the share.
    Interval {
        lower: if share <= 0.0 { 0.0 } else { (centre - half).clamp(0.0, share) },
        upper: if share >= 1.0 { 1.0 } else { (centre + half).clamp(share, 1.0) },
    }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "the edges are exact")]
mod tests {
    use super::*;

    fn rate(numerator: i64, denominator: i64) -> Rate {
        Rate { numerator, denominator }
    }

    #[test]
    fn a_rate_of_nothing_has_no_interval() {
        assert_eq!(wilson(rate(0, 0)), None);
        assert_eq!(newcombe(rate(1, 2), rate(0, 0)), None);
        assert_eq!(stratified_difference([]), None);
    }

    #[test]
    fn the_edges_are_exact() {
        assert_eq!(wilson(rate(0, 1)).unwrap().lower, 0.0);
        assert_eq!(wilson(rate(1, 1)).unwrap().upper, 1.0);
        let huge = wilson(rate(1_000_000_000, 1_000_000_000)).unwrap();
        assert!(huge.upper == 1.0 && huge.lower > 0.999_999_99 && huge.lower < 1.0, "{huge:?}");
        let all = newcombe(rate(9, 9), rate(0, 9)).unwrap();
        assert!(all.estimate == 1.0 && all.interval.upper == 1.0 && all.interval.lower > 0.4, "{all:?}");
        assert_eq!(wilson(rate(7, 5)), wilson(rate(5, 5)));
    }

    #[test]
    fn a_band_is_certain_where_the_whole_interval_lies_in_it() {
        use DeliveryHealth::{High, Low, Moderate};
        let certain = |numerator, denominator, band| is_certain(rate(numerator, denominator), band);
        assert!(!certain(0, 0, Low) && !certain(0, 2, Low), "two of two failed");
        assert!(!certain(0, 19, Low) && certain(0, 20, Low));
        assert!(!certain(2, 2, High) && !certain(20, 20, High), "20 of 20: the rate may be 84 %");
        assert!(certain(990, 1000, High) && !certain(960, 1000, High));
        assert!(certain(900, 1000, Moderate) && !certain(900, 1000, High) && !certain(900, 1000, Low));
        assert!(!certain(810, 1000, Moderate) && !certain(940, 1000, Moderate));
        assert!(!certain(790, 1000, Low) && certain(770, 1000, Low));
    }

    #[test]
    fn one_stratum_is_newcombe_and_equal_days_are_their_sum() {
        let day = (rate(30, 1000), rate(60, 1000));
        let days = stratified_difference([day; 4]).unwrap();
        let sum = newcombe(rate(120, 4000), rate(240, 4000)).unwrap();
        assert!((days.interval.lower - sum.interval.lower).abs() < 1e-12);
        assert!((days.interval.upper - sum.interval.upper).abs() < 1e-12);
        assert!((days.estimate + 0.03).abs() < 1e-12);
    }

    #[test]
    fn a_trend_is_not_a_difference() {
        // Both have 10 % on the first day and 2 % on the second, but the first campaign ran mostly on the good day.
        let days = [(rate(90, 900), rate(10, 100)), (rate(2, 100), rate(18, 900))];
        assert_eq!(stratified_difference(days).unwrap().estimate, 0.0);
        assert!(newcombe(rate(92, 1000), rate(28, 1000)).unwrap().interval.lower > 0.04);
        // A day on which only one ran says nothing.
        assert_eq!(stratified_difference([days[0], days[1], (rate(50, 50), rate(0, 0))]), stratified_difference(days));
    }
}
