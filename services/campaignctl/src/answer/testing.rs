//! What the tests of several answers share.

use campaign_metrics::pb;

use crate::view::WIDTH;

/// A rate as the service gives it.
#[expect(clippy::unnecessary_wraps, reason = "as the fields of messages have it")]
pub fn rate(numerator: i64, denominator: i64) -> Option<pb::Rate> {
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let ratio = (denominator > 0).then(|| numerator as f64 / denominator as f64);
    Some(pb::Rate { numerator, denominator, ratio })
}

/// Checks that a text fits on a terminal.
pub fn assert_fits(text: &str) {
    let long: Vec<&str> = text.lines().filter(|line| line.chars().count() > WIDTH).collect();
    assert!(long.is_empty(), "{long:?}");
    assert!(!text.contains("NaN"), "{text}");
}
