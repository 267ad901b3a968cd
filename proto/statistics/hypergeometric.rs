//! Tail of the hypergeometric distribution, by Loader's form and a recurrence.
//!
//! `statrs` sums from one end of the support with differences of logarithms of factorials. At a billion messages that is
//! a billion terms with six digits each. Here a tail begins at its largest term and ends where terms no longer count:
//! some ten standard deviations, 100 000 terms at a billion.

use super::{counts::number, saddle_point::ln_binomial};

/// Probability that `draws` of `population` items, `marked` of which are marked, hold at least `x` marked ones.
pub(super) fn upper_tail(x: i64, marked: i64, draws: i64, population: i64) -> f64 {
    let (lowest, highest) = ((draws - (population - marked)).max(0), draws.min(marked));
    if x <= lowest {
        return 1.0;
    }
    if x > highest {
        return 0.0;
    }
    // Here 0 < draws < population: with all drawn, or none, the support is one number.
    let (marked, draws, population) = (number(marked), number(draws), number(population));
    let x = number(x);
    // Terms fall on both sides of the mode; the mean is within 1 of it.
    if x > draws * marked / population {
        tail(x, 1.0, marked, draws, population)
    } else {
        (1.0 - tail(x - 1.0, -1.0, marked, draws, population)).max(0.0)
    }
}

/// Sum of probabilities from `x` in steps of `step`, 1 or -1, away from the mode.
fn tail(mut x: f64, step: f64, marked: f64, draws: f64, population: f64) -> f64 {
    let p = draws / population;
    let mut term = (ln_binomial(x, marked, p) + ln_binomial(draws - x, population - marked, p)
        - ln_binomial(draws, population, p))
    .exp();
    let mut sum = 0.0;
    while term > sum * f64::EPSILON / 16.0 {
        sum += term;
        // Ratio of the probabilities of neighbours; 0 at the end of the support.
        term *= if step > 0.0 {
            (marked - x) * (draws - x) / ((x + 1.0) * (population - marked - draws + x + 1.0))
        } else {
            x * (population - marked - draws + x) / ((marked - x + 1.0) * (draws - x + 1.0))
        };
        x += step;
    }
    sum.min(1.0)
}
