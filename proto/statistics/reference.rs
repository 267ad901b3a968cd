//! The methods against `reference.json`, whose values scipy, statsmodels and mpmath computed (`reference.py`).

use jiff::{ToSpan as _, civil::date};
use serde_json::Value;

use super::{Days, check_split, find_change, fisher, hermite::NODES, ln_e, newcombe, test_accounts, wilson};
use crate::rate::Rate;

fn cases(method: &str) -> Vec<Value> {
    let all: Value = serde_json::from_str(include_str!("reference.json")).unwrap();
    all[method].as_array().unwrap().clone()
}

fn float(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

/// Numerator and denominator at a position of a list.
fn rate(list: &Value, at: usize) -> Rate {
    Rate { numerator: list[at].as_i64().unwrap(), denominator: list[at + 1].as_i64().unwrap() }
}

/// Rates on consecutive days.
fn days(rates: impl IntoIterator<Item = Rate>) -> Days {
    (0_i64..).zip(rates).map(|(day, rate)| (date(2026, 1, 1) + day.days(), rate)).collect()
}

/// Both sides of a case of the mixture test.
fn sides(case: &Value) -> [Days; 2] {
    let strata = case["days"].as_array().unwrap();
    [0, 2].map(|at| days(strata.iter().map(|stratum| rate(stratum, at))))
}

/// To 1e-9, relative for values above 1.
fn assert_close(actual: f64, expected: f64, case: &Value) {
    let error = (actual - expected).abs() / expected.abs().max(1.0);
    assert!(error < 1e-9, "{actual} instead of {expected}, {error:e} off: {case}");
}

#[test]
fn intervals_of_rates() {
    for case in cases("wilson") {
        let interval = wilson(rate(&case["rate"], 0)).unwrap();
        assert_close(interval.lower, float(&case["interval"][0]), &case);
        assert_close(interval.upper, float(&case["interval"][1]), &case);
    }
}

#[test]
fn intervals_of_differences() {
    for case in cases("newcombe") {
        let [first, second] = [0, 2].map(|at| rate(&case["rates"], at));
        let difference = newcombe(first, second).unwrap();
        assert_close(difference.interval.lower, float(&case["interval"][0]), &case);
        assert_close(difference.interval.upper, float(&case["interval"][1]), &case);
        let reverse = newcombe(second, first).unwrap();
        assert_close(reverse.interval.lower, -difference.interval.upper, &case);
    }
}

#[test]
fn evidence_for_a_difference() {
    for case in cases("ln_e") {
        let [first, second] = sides(&case);
        assert_close(ln_e(&first, &second), float(&case["ln_e"]), &case);
        assert_close(ln_e(&second, &first), float(&case["ln_e"]), &case);
    }
}

#[test]
fn nodes_of_the_quadrature() {
    let reference = cases("hermite");
    assert_eq!(reference.len(), NODES.len());
    for (case, (node, ln_weight)) in reference.iter().zip(NODES) {
        assert_close(node, float(&case[0]), case);
        assert_close(ln_weight, float(&case[1]), case);
    }
}

#[test]
fn exact_tests_of_accounts() {
    for case in cases("fisher") {
        let (p, expected) = (fisher(rate(&case["rates"], 0), rate(&case["rates"], 2)), float(&case["p"]));
        assert_close(p, expected, &case);
        // Small probabilities decide after Benjamini-Hochberg, so they are compared relatively as well.
        assert!(expected < 1e-300 || (p / expected - 1.0).abs() < 1e-9, "{p} instead of {expected}: {case}");
    }
}

#[test]
fn false_discovery_rates() {
    for case in cases("blame") {
        let accounts: Vec<_> = case["accounts"].as_array().unwrap().iter().map(|account| rate(account, 0)).collect();
        let mut tested = test_accounts(&accounts);
        tested.sort_by_key(|account| account.account);
        let expected = case["adjusted"].as_array().unwrap();
        assert_eq!(tested.len(), expected.len(), "{case}");
        for (account, expected) in tested.iter().zip(expected) {
            assert_close(account.adjusted_p_value, float(expected), &case);
        }
    }
}

#[test]
fn changes() {
    let mut told = 0;
    for case in cases("change") {
        let history = days(case["days"].as_array().unwrap().iter().map(|day| rate(day, 0)));
        let change = find_change(&history);
        assert_eq!(change.is_some(), float(&case["ratio"]) > float(&case["threshold"]), "{case}");
        let Some(change) = change else { continue };
        told += 1;
        assert_close(change.likelihood_ratio, float(&case["ratio"]), &case);
        assert_close(change.threshold, float(&case["threshold"]), &case);
        for (day, name) in [(change.since, "since"), (change.earliest, "earliest"), (change.latest, "latest")] {
            assert_eq!(day, date(2026, 1, 1) + case[name].as_i64().unwrap().days(), "{name} of {case}");
        }
    }
    assert!(told >= 4, "{told} changes");
}

#[test]
fn splits() {
    for case in cases("split") {
        let [first, second] = [0, 1].map(|at| case["leads"][at].as_i64().unwrap());
        let share = float(&case["share"]);
        let checked = check_split(&[(first, share), (second, 1.0 - share)]).unwrap();
        let expected = float(&case["ln_e"]);
        for variant in checked {
            assert_close(variant.ln_e, expected, &case);
            assert_eq!(variant.is_off, expected >= 1000_f64.ln(), "{case}");
        }
    }
}
