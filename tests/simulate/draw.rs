//! Draws: binomial counts, and ages of replies.

use rand::{Rng as _, rngs::StdRng};

/// A count as a number.
#[expect(clippy::cast_precision_loss, reason = "simulated counts stay far below 2^53")]
pub fn number(count: i64) -> f64 {
    count as f64
}

/// The whole number that is nearest.
#[expect(clippy::cast_possible_truncation, reason = "simulated counts stay far below 2^53")]
pub fn nearest(number: f64) -> i64 {
    number.round() as i64
}

/// How many of `n` succeed with probability `p` each.
pub fn binomial(random: &mut StdRng, n: i64, p: f64) -> i64 {
    if p <= 0.0 || n <= 0 {
        return 0;
    }
    if p >= 1.0 {
        return n;
    }
    // Jumps from success to success: the failures between two are geometric. Takes n p steps.
    let ln_failure = (-p).ln_1p();
    let (mut at, mut count) = (0.0, 0);
    loop {
        at += (random.random::<f64>().max(f64::MIN_POSITIVE).ln() / ln_failure).floor() + 1.0;
        if at > number(n) {
            return count;
        }
        count += 1;
    }
}

/// The age of a reply in whole days, 0 to 7: exponential with this mean, given that it comes within the 7 days.
pub fn age(random: &mut StdRng, mean_days: f64) -> usize {
    let within = -(-8.0 / mean_days).exp_m1();
    let age = -mean_days * (-random.random::<f64>() * within).ln_1p();
    (0..7).find(|&day| age < f64::from(day + 1)).map_or(7, |day: u8| day.into())
}
