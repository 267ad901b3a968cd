//! Rates: a share with the two counts it is computed from.

use std::{fmt, iter::Sum, ops::AddAssign};

/// Fewest counts of which a text for people gives a percentage. `100 %` of one says more than is known.
const PERCENT_MIN: i64 = 20;

/// A ratio with the two counts it is computed from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rate {
    /// The count.
    pub numerator: i64,
    /// The total that it is a part of.
    pub denominator: i64,
}

impl Rate {
    /// Returns numerator / denominator; `None` when the denominator is 0.
    #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
    pub fn ratio(self) -> Option<f64> {
        (self.denominator != 0).then(|| self.numerator as f64 / self.denominator as f64)
    }

    /// Returns the ratio for people, as [`percent`] renders it; `None` when the denominator is 0.
    pub fn percent(self) -> Option<String> {
        let ratio = self.ratio()?;
        // Counts beyond 2^53 are rounded to all of them.
        let is_some = 0 < self.numerator && self.numerator < self.denominator;
        Some(percent(if is_some { ratio.min(1.0_f64.next_down()) } else { ratio }))
    }
}

impl AddAssign for Rate {
    fn add_assign(&mut self, other: Self) {
        self.numerator += other.numerator;
        self.denominator += other.denominator;
    }
}

/// All numerators over all denominators.
impl Sum for Rate {
    fn sum<I: Iterator<Item = Self>>(rates: I) -> Self {
        rates.fold(Self::default(), |mut sum, rate| {
            sum += rate;
            sum
        })
    }
}

/// For people: `6.1 % (61 of 1000)`, and `3 of 7` where the counts are too few for a percentage.
impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { numerator, denominator } = self;
        match self.percent().filter(|_| *denominator >= PERCENT_MIN) {
            Some(percent) => write!(f, "{percent} ({numerator} of {denominator})"),
            None => write!(f, "{numerator} of {denominator}"),
        }
    }
}

/// Renders a share in percent, as everything that people read shows it: `71.0 %`, near 0 and 100 with two digits: `0.12 %`.
///
/// The first of many is never `0 %`, and all but the last never `100 %`: they are `<0.01 %` and `>99.99 %`. What is not
/// a number is `-`.
pub fn percent(share: f64) -> String {
    match share {
        _ if !share.is_finite() => "-".to_owned(),
        0.0 => "0 %".to_owned(),
        1.0 => "100 %".to_owned(),
        0.0..0.000_05 => "<0.01 %".to_owned(),
        0.999_95..1.0 => ">99.99 %".to_owned(),
        0.0..0.01 | 0.99..1.0 => format!("{:.2} %", 100.0 * share),
        _ => format!("{:.1} %", 100.0 * share),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentage_is_never_0_after_the_first_and_never_100_before_the_last() {
        for (numerator, denominator, text) in [
            (0, 1_000_000, Some("0 %")),
            (1, 1_000_000, Some("<0.01 %")),
            (1, i64::MAX, Some("<0.01 %")),
            (51, 1_000_000, Some("0.01 %")),
            (42, 10_000, Some("0.42 %")),
            (312, 10_000, Some("3.1 %")),
            (1, 2, Some("50.0 %")),
            (i64::MAX / 2, i64::MAX, Some("50.0 %")),
            (98, 100, Some("98.0 %")),
            (9912, 10_000, Some("99.12 %")),
            (99_994, 100_000, Some("99.99 %")),
            (999_999, 1_000_000, Some(">99.99 %")),
            (i64::MAX - 1, i64::MAX, Some(">99.99 %")),
            (1_000_000, 1_000_000, Some("100 %")),
            (i64::MAX, i64::MAX, Some("100 %")),
            (0, 0, None),
        ] {
            assert_eq!(Rate { numerator, denominator }.percent().as_deref(), text, "{numerator} of {denominator}");
        }
        assert_eq!([f64::NAN, f64::INFINITY].map(percent), ["-", "-"]);
        assert_eq!(percent(1.0_f64.next_down()), ">99.99 %");
    }

    #[test]
    fn a_percentage_comes_with_its_counts() {
        for (numerator, denominator, text) in [
            (61, 1000, "6.1 % (61 of 1000)"),
            (10, 20, "50.0 % (10 of 20)"),
            (12, 10_000, "0.12 % (12 of 10000)"),
            (9999, 10_000, "99.99 % (9999 of 10000)"),
            (0, 500, "0 % (0 of 500)"),
            (500, 500, "100 % (500 of 500)"),
        ] {
            assert_eq!(Rate { numerator, denominator }.to_string(), text);
        }
    }

    #[test]
    fn too_few_for_a_percentage_are_told_as_counts() {
        for (numerator, denominator, text) in [(0, 0, "0 of 0"), (1, 1, "1 of 1"), (19, 19, "19 of 19")] {
            assert_eq!(Rate { numerator, denominator }.to_string(), text);
        }
    }
}
