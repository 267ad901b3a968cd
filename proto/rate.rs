//! Rates: a share with the two counts it is computed from.

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
