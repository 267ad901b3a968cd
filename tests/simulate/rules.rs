//! The rules that name a campaign: this product's, and the two that are usual.

use campaign_metrics::{
    rate::Rate,
    statistics::{Days, FALSE_LEADER, Verdict, compare, ln_e},
};

use crate::draw::number;

/// Names the first (0) or the second (1) campaign, or neither.
pub type Rule = fn(&[Days; 2]) -> Option<usize>;

/// The verdict of this product.
pub fn verdict(days: &[Days; 2]) -> Option<usize> {
    // Most looks show nothing, and then what is still needed takes most of the time.
    if ln_e(&days[0], &days[1]) < (1.0 / FALSE_LEADER).ln() {
        return None;
    }
    let comparison = compare(days)?;
    (comparison.verdict == Verdict::Leads).then_some(comparison.front_runner)
}

/// A z-test of two proportions at 0.05, on the sums.
pub fn z_test(days: &[Days; 2]) -> Option<usize> {
    let [(x1, n1), (x2, n2)] = sums(days);
    let pooled = (x1 + x2) / (n1 + n2);
    let z = (x1 / n1 - x2 / n2) / (pooled * (1.0 - pooled) * (1.0 / n1 + 1.0 / n2)).sqrt();
    named(z, 1.959_963_984_540_054)
}

/// "Chance to beat above 95 %": the posterior probability under uniform priors that one rate is higher, by the normal
/// approximation of both posteriors.
pub fn chance_to_beat(days: &[Days; 2]) -> Option<usize> {
    let [first, second] = sums(days).map(|(x, n)| {
        let (a, b) = (x + 1.0, n - x + 1.0);
        (a / (a + b), a * b / ((a + b) * (a + b) * (a + b + 1.0)))
    });
    named((first.0 - second.0) / (first.1 + second.1).sqrt(), 1.644_853_626_951_472_7)
}

fn named(z: f64, limit: f64) -> Option<usize> {
    // NaN, with no leads or no successes, is above no limit.
    if z > limit {
        Some(0)
    } else if z < -limit {
        Some(1)
    } else {
        None
    }
}

fn sums(days: &[Days; 2]) -> [(f64, f64); 2] {
    days.each_ref().map(|days| {
        days.values().fold((0.0, 0.0), |(x, n), &Rate { numerator, denominator }| {
            (x + number(numerator), n + number(denominator))
        })
    })
}
