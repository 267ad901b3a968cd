//! The mixture test: evidence that two rates differ, valid however often it is read.
//!
//! Given the successes of a stratum, equal rates make the share of the first side known: w. At a log ratio of rates t,
//! the likelihood ratio of the strata is exp(L(t)), with
//! `L(t) = sum(t x1 - (x1 + x2) ln(w exp(t) + 1 - w))`. The evidence e is its mean over t ~ Normal(0, 0.5^2).
//! Under equal rates e is a supermartingale over strata, so that e reaches 1 / alpha with probability at most alpha.
//!
//! The mean is a quadrature around the mode of the integrand. Nodes fixed around 0 are 0.24 apart. With many leads the
//! integrand fits between two of them, and e stays below 1 for ratios up to 1.13, whatever the number of leads.
//!
//! Sources: Lindon and Malek 2022, arXiv 2011.03567; Hoeffding 1963, J Am Stat Assoc 58:13; Naylor and Smith 1982, Appl
//! Stat 31:214, for the quadrature.

use super::hermite::NODES;

/// Variance of the log ratio of rates: ratios from 0.4 to 2.7 are within two standard deviations.
const VARIANCE: f64 = 0.25;

/// How many times the data so far a verdict may need before it counts as out of reach.
const SCALE_MAX: f64 = 1e6;

/// One stratum, seen from its smaller side so that nothing cancels where that side is tiny.
#[derive(Debug, Clone, Copy)]
struct Stratum {
    /// Successes of the smaller side.
    successes: f64,
    /// Successes of both sides.
    of: f64,
    /// Share of the smaller side in the stratum, above 0 and at most 1/2.
    share: f64,
    /// 1 if the smaller side is the first, otherwise -1.
    sign: f64,
}

impl Stratum {
    /// The stratum's term of L at the node.
    fn ln_likelihood_ratio(self, at: Node) -> f64 {
        let growth = if self.sign > 0.0 { at.growth } else { at.decline };
        self.successes * self.sign * at.t - self.of * (self.share * growth).ln_1p()
    }

    /// First derivative of the stratum's term by t, and the negative second one.
    fn derivatives(self, at: Node) -> (f64, f64) {
        let growth = if self.sign > 0.0 { at.growth } else { at.decline };
        let expected = self.share * (growth + 1.0) / (1.0 + self.share * growth);
        (self.sign * (self.successes - self.of * expected), self.of * expected * (1.0 - expected))
    }
}

/// A log ratio of rates.
#[derive(Debug, Clone, Copy)]
struct Node {
    t: f64,
    /// exp(t) - 1.
    growth: f64,
    /// exp(-t) - 1.
    decline: f64,
}

impl Node {
    fn at(t: f64) -> Self {
        Self { t, growth: t.exp_m1(), decline: (-t).exp_m1() }
    }
}

/// Evidence for a difference.
#[derive(Debug, Clone, Copy)]
pub(super) struct Evidence {
    /// ln e.
    pub ln_e: f64,
    /// Derivative of ln e by the scale of the data: the posterior mean of L.
    pub slope: f64,
}

/// The strata of two sides.
#[derive(Debug, Clone, Default)]
pub(super) struct Mixture {
    strata: Vec<Stratum>,
}

impl Mixture {
    /// Adds a stratum: successes of each side, and the sizes of the sides (or intended shares), each above 0.
    pub(super) fn add(&mut self, successes: [f64; 2], sizes: [f64; 2]) {
        let of = successes[0] + successes[1];
        if of == 0.0 {
            return;
        }
        let side = usize::from(sizes[0] > sizes[1]);
        let share = sizes[side] / (sizes[0] + sizes[1]);
        let sign = if side == 0 { 1.0 } else { -1.0 };
        self.strata.push(Stratum { successes: successes[side], of, share, sign });
    }

    /// Successes of the first side beyond those expected under equal rates; its sign says which rate is higher.
    fn excess(&self) -> f64 {
        self.strata.iter().map(|stratum| stratum.sign * (stratum.successes - stratum.of * stratum.share)).sum()
    }

    /// The evidence from `scale` times the data: 1 for the data as they are.
    pub(super) fn evidence(&self, scale: f64) -> Evidence {
        if self.strata.is_empty() {
            return Evidence { ln_e: 0.0, slope: 0.0 };
        }
        let (mode, deviation) = self.peak(scale);
        let nodes = NODES.iter().flat_map(|&(x, ln_weight)| {
            // The node at 0 is its own negative.
            let mirrored = (x != 0.0).then_some((-x, ln_weight));
            [Some((x, ln_weight)), mirrored].into_iter().flatten()
        });
        let values: Vec<_> = nodes
            .map(|(x, ln_weight)| {
                let node = Node::at(mode + std::f64::consts::SQRT_2 * deviation * x);
                let ratio: f64 = self.strata.iter().map(|stratum| stratum.ln_likelihood_ratio(node)).sum();
                (ln_weight - node.t * node.t / (2.0 * VARIANCE) + scale * ratio, ratio)
            })
            .collect();
        let largest = values.iter().fold(f64::NEG_INFINITY, |largest, value| largest.max(value.0));
        let (mut sum, mut mean) = (0.0, 0.0);
        for (ln_value, ratio) in values {
            let value = (ln_value - largest).exp();
            sum += value;
            mean += value * ratio;
        }
        let ln_scale = 0.5 * (deviation * deviation / (VARIANCE * std::f64::consts::PI)).ln();
        Evidence { ln_e: largest + sum.ln() + ln_scale, slope: mean / sum }
    }

    /// Mode and standard deviation of the integrand, by Newton's method; the integrand is log-concave.
    fn peak(&self, scale: f64) -> (f64, f64) {
        let mut mode = 0.0;
        let mut curvature = 1.0 / VARIANCE;
        // Steps of at most 1 reach any mode that counts below 2^63 can have; a start near it takes three.
        for _ in 0..100 {
            let node = Node::at(mode);
            let mut slope = -mode / VARIANCE;
            curvature = 1.0 / VARIANCE;
            for stratum in &self.strata {
                let (first, second) = stratum.derivatives(node);
                slope += scale * first;
                curvature += scale * second;
            }
            let step = (slope / curvature).clamp(-1.0, 1.0);
            mode += step;
            // A ten-thousandth of a standard deviation: the quadrature needs no better centre.
            if step * step * curvature < 1e-8 {
                break;
            }
        }
        (mode, curvature.sqrt().recip())
    }

    /// How many times the data so far, with the same rates, bring ln e to `threshold`.
    ///
    /// `None` if no rate is higher, or a million times the data would not do.
    pub(super) fn scale_to_reach(&self, threshold: f64) -> Option<f64> {
        let excess = self.excess();
        if excess == 0.0 {
            return None;
        }
        // Start where the normal approximation of L has the threshold; it is close for small differences.
        let information: f64 =
            self.strata.iter().map(|stratum| stratum.of * stratum.share * (1.0 - stratum.share)).sum();
        let approximate = |scale: f64| {
            let spread = 1.0 + scale * information * VARIANCE;
            0.5 * ((scale * excess).powi(2) * VARIANCE / spread - spread.ln())
        };
        let mut scale = 1.0;
        while approximate(scale) < threshold {
            scale *= 1.25;
            if scale > SCALE_MAX {
                return None;
            }
        }
        // ln e is convex in the scale, so Newton's method comes from above after its first step.
        for _ in 0..50 {
            let Evidence { ln_e, slope } = self.evidence(scale);
            let next = if slope > 0.0 { (scale + (threshold - ln_e) / slope).max(scale / 4.0) } else { 2.0 * scale };
            if next > 2.0 * SCALE_MAX {
                return None;
            }
            let is_close = (next - scale).abs() < 1e-3 * scale;
            scale = next;
            if is_close {
                break;
            }
        }
        Some(scale)
    }
}
