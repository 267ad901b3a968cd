//! Shares with a percentage for people.

use campaign_metrics::{pb, rate::Rate};

use crate::crd::Share;

/// Converts a rate; `None` with denominator 0.
pub(super) fn rate(rate: Option<pb::Rate>) -> Option<Share> {
    rate.and_then(|rate| share(rate.numerator, rate.denominator))
}

/// Converts a rate, and adds its percentage.
pub(super) fn share(numerator: i64, denominator: i64) -> Option<Share> {
    let percent = Rate { numerator, denominator }.percent()?;
    Some(Share { percent, numerator, denominator })
}
