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
        let rarer = Self { numerator: *numerator.min(&(denominator - numerator)), ..*self };
        match (self.ratio(), rarer.ratio()) {
            (Some(share), Some(rarer)) if *denominator >= PERCENT_MIN => {
                write!(f, "{} % ({numerator} of {denominator})", percent(share, rarer))
            }
            _ => write!(f, "{numerator} of {denominator}"),
        }
    }
}

/// Renders a share as a number of percent, with two digits of `scale`: `6.1`, `0.12`, `99.990`.
///
/// With the rarer part as the scale, few of many never read as 0 %, and nearly all never as 100 %.
pub fn percent(share: f64, scale: f64) -> String {
    let (mut decimals, mut scale) = (1, 100.0 * scale.abs());
    if scale == 0.0 {
        return format!("{:.0}", 100.0 * share);
    }
    while scale < 1.0 - 1e-9 && decimals < 9 {
        (decimals, scale) = (decimals + 1, 10.0 * scale);
    }
    format!("{:.decimals$}", 100.0 * share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentage_has_the_digits_of_the_rarer_part_and_comes_with_its_counts() {
        for (numerator, denominator, text) in [
            (61, 1000, "6.1 % (61 of 1000)"),
            (10, 20, "50.0 % (10 of 20)"),
            (12, 10_000, "0.12 % (12 of 10000)"),
            (9999, 10_000, "99.990 % (9999 of 10000)"),
            (1, 1_000_000_000, "0.00000010 % (1 of 1000000000)"),
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
