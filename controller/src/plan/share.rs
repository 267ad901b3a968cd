//! Shares with a percentage for people.

use campaign_metrics::pb;

use crate::crd::Share;

/// Converts a rate; `None` with denominator 0.
pub(super) fn rate(rate: Option<pb::Rate>) -> Option<Share> {
    rate.and_then(|rate| share(rate.numerator, rate.denominator))
}

/// Converts a rate, and adds a percentage. It is rounded down, so that only a complete share shows 100 %.
pub(super) fn share(numerator: i64, denominator: i64) -> Option<Share> {
    let tenths = (i128::from(numerator) * 1000).checked_div(i128::from(denominator))?;
    let percent = match (tenths / 10, tenths % 10) {
        (whole, 0) => format!("{whole}%"),
        (whole, tenth) => format!("{whole}.{tenth}%"),
    };
    Some(Share { percent, numerator, denominator })
}
