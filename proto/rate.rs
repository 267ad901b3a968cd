//! Rates: a share with the two counts it is computed from.

/// A share, with what it is made of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rate {
    /// Counted.
    pub numerator: i64,
    /// Out of.
    pub denominator: i64,
}

impl Rate {
    /// numerator / denominator; `None` when the denominator is 0.
    #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
    pub fn ratio(self) -> Option<f64> {
        (self.denominator != 0).then(|| self.numerator as f64 / self.denominator as f64)
    }
}
