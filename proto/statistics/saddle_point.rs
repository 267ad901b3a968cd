//! Binomial probabilities that stay exact for huge counts.
//!
//! A difference of logarithms of factorials loses ten digits at a billion. Loader's form has no such difference.
//! Source: Loader 2000, "Fast and Accurate Computation of Binomial Probabilities".

use statrs::function::factorial::ln_factorial;

const LN_TAU: f64 = 1.837_877_066_409_345_3;

/// `x ln(x / mean) + mean - x`: half the deviance of a Poisson count. Not negative; 0 where both are equal.
///
/// `mean` must be above 0 unless `x` is 0.
pub(super) fn half_deviance(x: f64, mean: f64) -> f64 {
    if x == 0.0 {
        return mean;
    }
    if (x - mean).abs() >= 0.1 * (x + mean) {
        return x * (x / mean).ln() + mean - x;
    }
    // Near the mean the terms above cancel: expand in v = (x - mean) / (x + mean), |v| < 0.1.
    let v = (x - mean) / (x + mean);
    let mut sum = (x - mean) * v;
    let mut power = 2.0 * x * v;
    for odd in [3.0, 5.0, 7.0, 9.0, 11.0, 13.0, 15.0, 17.0] {
        power *= v * v;
        sum += power / odd;
    }
    sum
}

/// Logarithm of the probability of `x` successes of `n`, each with probability `p`; 0 < p < 1, 0 <= x <= n, whole.
pub(super) fn ln_binomial(x: f64, n: f64, p: f64) -> f64 {
    if x <= 0.0 {
        return n * (-p).ln_1p();
    }
    if x >= n {
        return n * p.ln();
    }
    stirling_error(n)
        - stirling_error(x)
        - stirling_error(n - x)
        - half_deviance(x, n * p)
        - half_deviance(n - x, n * (1.0 - p))
        - 0.5 * (LN_TAU + x.ln() + (-x / n).ln_1p())
}

/// `ln n!` less Stirling's formula `(n + 1/2) ln n - n + ln(2 pi) / 2`, for whole n above 0.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a whole number below 16")]
fn stirling_error(n: f64) -> f64 {
    if n < 16.0 {
        return ln_factorial(n as u64) - (n + 0.5) * n.ln() + n - 0.5 * LN_TAU;
    }
    // From 16 on five terms of the asymptotic series leave an error below 1e-15.
    let square = n * n;
    (1.0 / 12.0 - (1.0 / 360.0 - (1.0 / 1260.0 - (1.0 / 1680.0 - 1.0 / 1188.0 / square) / square) / square) / square)
        / n
}
