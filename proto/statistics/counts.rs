//! What the methods take: counts by UTC day, as numbers that can be divided.

use std::collections::BTreeMap;

use jiff::civil::Date;

use crate::rate::Rate;

/// Counts by UTC day: for response and conversion the day of first contact, for delivery the day of the result.
pub type Days = BTreeMap<Date, Rate>;

/// Fewest messages about which something can be certain: below them one message more changes the picture.
pub const MESSAGES_MIN: i64 = 20;

/// A count as a number; exact below 2^53.
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53, and above it the error is 1 in 10^16")]
pub(super) fn number(count: i64) -> f64 {
    count as f64
}

/// A number of days, accounts or campaigns.
#[expect(clippy::cast_precision_loss, reason = "such numbers stay far below 2^53")]
pub(super) fn number_of(count: usize) -> f64 {
    count as f64
}

/// Numerator and denominator as numbers; `None` without a denominator. A numerator out of range counts as the nearest.
pub(super) fn numbers(rate: Rate) -> Option<(f64, f64)> {
    (rate.denominator > 0).then(|| (number(rate.numerator.clamp(0, rate.denominator)), number(rate.denominator)))
}

/// The sum of several rates: all numerators over all denominators. Rates without a denominator add nothing.
pub(super) fn total(rates: impl IntoIterator<Item = Rate>) -> Rate {
    rates.into_iter().filter(|rate| rate.denominator > 0).fold(Rate::default(), |sum, rate| Rate {
        numerator: sum.numerator.saturating_add(rate.numerator.clamp(0, rate.denominator)),
        denominator: sum.denominator.saturating_add(rate.denominator),
    })
}
