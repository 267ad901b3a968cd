//! Whether leads were split between variants as intended: the mixture test over assignments.
//!
//! A split that is off points to a defect in the assignment, and then no comparison of the variants can be trusted. The
//! check may be read after every assignment.

use super::{
    counts::{number, number_of},
    mixture::Mixture,
};

/// Upper bound of the probability of a warning about a split that is as intended.
pub const FALSE_WARNING: f64 = 0.001;

/// One variant of a split.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AssignedVariant {
    /// Leads assigned to it.
    pub leads: i64,
    /// Intended share of all leads, above 0 and below 1.
    pub intended_share: f64,
    /// ln e, the evidence against the intended share.
    pub ln_e: f64,
    /// Whether to warn: ln e reaches ln(m / 0.001). m is 1 for two variants, which is one test; otherwise their number.
    pub is_off: bool,
}

/// Checks the leads assigned to each variant against its intended weight, in any unit.
///
/// `None` with fewer than two variants, or if a weight is not above 0. All leads must have been assigned by these weights.
///
/// Sources: Lindon and Malek 2022, arXiv 2011.03567; Fabijan et al., KDD 2019, for the alarm at 1 in 1000.
pub fn check_split(variants: &[(i64, f64)]) -> Option<Vec<AssignedVariant>> {
    let weights: f64 = variants.iter().map(|variant| variant.1).sum();
    if variants.len() < 2
        || !weights.is_finite()
        || variants.iter().any(|variant| variant.1.is_nan() || variant.1 <= 0.0)
    {
        return None;
    }
    let leads: f64 = variants.iter().map(|variant| number(variant.0.max(0))).sum();
    let tests = if variants.len() == 2 { 1.0 } else { number_of(variants.len()) };
    let checked = variants.iter().map(|&(own, weight)| {
        let own = own.max(0);
        let mut mixture = Mixture::default();
        mixture.add([number(own), leads - number(own)], [weight, weights - weight]);
        let ln_e = mixture.evidence(1.0).ln_e;
        AssignedVariant {
            leads: own,
            intended_share: weight / weights,
            ln_e,
            is_off: ln_e >= f64::ln(tests / FALSE_WARNING),
        }
    });
    Some(checked.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_split_needs_two_variants_with_weights() {
        for variants in
            [&[][..], &[(5, 1.0)], &[(5, 1.0), (5, 0.0)], &[(5, f64::NAN), (5, 1.0)], &[(5, f64::INFINITY); 2]]
        {
            assert_eq!(check_split(variants), None, "{variants:?}");
        }
    }

    #[test]
    fn a_warning_needs_evidence_of_1000_to_1_for_each_test() {
        let off =
            |variants: &[(i64, f64)]| check_split(variants).unwrap().iter().map(|one| one.is_off).collect::<Vec<_>>();
        assert_eq!(off(&[(0, 1.0), (0, 1.0)]), [false, false]);
        assert_eq!(off(&[(-3, 1.0), (0, 1.0)]), [false, false]);
        assert_eq!(off(&[(5050, 1.0), (4950, 1.0)]), [false, false]);
        assert_eq!(off(&[(5500, 1.0), (4500, 1.0)]), [true, true]);
        assert_eq!(off(&[(5000, 2.0), (2500, 1.0), (2500, 1.0)]), [false; 3]);
        assert_eq!(off(&[(5000, 1.0), (2500, 1.0), (2500, 1.0)]), [true; 3]);
        // Between the threshold of one test and that of three.
        let between =
            (0..10_000).find(|more| check_split(&[(3000 + more, 1.0), (6000, 2.0)]).unwrap()[0].is_off).unwrap();
        assert_eq!(off(&[(3000 + between, 1.0), (3000, 1.0), (3000, 1.0)]), [false; 3]);
    }
}
