//! Every verdict of a comparison follows from its answer alone: a script recomputes all of them.
//!
//! `tests/data/comparison.json` is an answer, `tests/data/verdict.json` what `tests/data/verdict.py` makes of it with
//! scipy. `make update` writes the answer; run the script again after that.

use std::fs;

use campaign_metrics::{
    campaign::{CampaignState, LeadCounts},
    comparison::compare,
    history::{ComparedCampaign, ComparedDay},
    lead::Step,
    pb, wire,
};
use jiff::{Timestamp, ToSpan as _, civil::date};
use prost_reflect::{DynamicMessage, SerializeOptions};
use serde_json::Value;

use crate::harness::{
    golden::assert_golden,
    parts::repository,
    shown::reflect::{descriptor, reflect},
};

/// Largest difference between the service and the script.
const TOLERANCE: f64 = 1e-9;

/// A campaign that ran on some days from the first of March on, with other counts on each.
fn campaign(id: &str, from: i64, days: i64, replies: i64) -> ComparedCampaign {
    let row = |day: i64| {
        let contacted = 100 + 13 * (day % 5) + replies;
        ComparedDay {
            day: date(2026, 3, 1) + day.days(),
            delivered: 2 * contacted,
            failed: day % 4,
            bounced: 9 - replies / 4,
            contacted,
            replied: replies + day % 2,
            converted: (day + replies) % 3,
        }
    };
    ComparedCampaign {
        name: format!("workspaces/acme/campaigns/{id}").parse().unwrap(),
        state: CampaignState::Active,
        steps: Step::new(2).unwrap(),
        lead_counts: LeadCounts { sent: 500, failed: 20, pending: 300, partial: 80 },
        accounts: [id, "ann"].map(|id| id.parse().unwrap()).to_vec(),
        days: (from..from + days).map(row).collect(),
    }
}

/// An answer in which one campaign leads by response, and none by delivery and conversion.
fn answer() -> pb::CampaignComparison {
    let campaigns = vec![
        campaign("spring", 0, 14, 4),
        campaign("summer", 2, 12, 16),
        campaign("autumn", 7, 21, 6),
        campaign("winter", 9, 3, 3),
    ];
    let now: Timestamp = "2026-03-29T09:00:00Z".parse().unwrap();
    wire::comparison(now, compare(campaigns, 7, now))
}

/// The text of an answer in the JSON of protobuf, as grpcurl prints it. Numbers are rounded to 12 decimals, since the
/// last digits of a logarithm depend on the machine.
fn json(answer: &pb::CampaignComparison) -> String {
    fn round(value: &mut Value) {
        match value {
            Value::Number(number) => {
                let rounded = number.as_f64().map(|number| (number * 1e12).round() / 1e12);
                *value = rounded.filter(|_| number.is_f64()).map_or_else(|| value.clone(), Value::from);
            }
            Value::Array(values) => values.iter_mut().for_each(round),
            Value::Object(fields) => fields.values_mut().for_each(round),
            _ => {}
        }
    }
    let options = SerializeOptions::default();
    let mut value = reflect(answer).serialize_with_options(serde_json::value::Serializer, &options).unwrap();
    round(&mut value);
    serde_json::to_string_pretty(&value).unwrap() + "\n"
}

fn read(file: &str) -> String {
    fs::read_to_string(repository().join("tests/data").join(file)).expect("a file of the tests")
}

#[test]
fn the_answer_that_the_script_reads_is_the_one_of_today() {
    assert_golden("tests/data/comparison.json", &json(&answer()));
}

#[test]
fn a_script_recomputes_every_verdict_from_the_answer_alone() {
    let text = read("comparison.json");
    let mut deserializer = serde_json::Deserializer::from_str(&text);
    let given = DynamicMessage::deserialize(descriptor::<pb::CampaignComparison>(), &mut deserializer).unwrap();
    let answer: pb::CampaignComparison = given.transcode_to().unwrap();
    let recomputed: Value = serde_json::from_str(&read("verdict.json")).unwrap();
    let (mut compared, mut leaders) = (0, 0);
    for (verdict, of) in answer.comparisons.iter().zip(recomputed.as_array().expect("a list")) {
        assert_eq!(of["metric"], verdict.metric().as_str_name());
        let threshold = of["ln_threshold"].as_f64().unwrap();
        assert!((verdict.ln_threshold - threshold).abs() < TOLERANCE);
        for pair in &verdict.pairs {
            let is_pair = |of: &&Value| of["one"] == verdict.front_runner && of["other"] == pair.other;
            let of = of["pairs"].as_array().unwrap().iter().find(is_pair).expect("the pair");
            assert_eq!(of["shared_days"], pair.shared_days);
            let (ln_e, difference) = (of["ln_e"].as_f64().unwrap(), of["difference"].as_f64().unwrap());
            assert!((ln_e - pair.ln_e).abs() < TOLERANCE, "{} is {ln_e} by the script: {pair:?}", pair.ln_e);
            assert!((difference - pair.difference.unwrap()).abs() < TOLERANCE, "{difference}: {pair:?}");
            assert_eq!(pair.shown, ln_e >= threshold && difference > 0.0);
            compared += 1;
        }
        let leader = (verdict.verdict() == pb::ComparisonVerdict::Leads).then_some(verdict.front_runner.as_str());
        assert_eq!(of["leaders"], serde_json::json!(leader.into_iter().collect::<Vec<_>>()));
        leaders += usize::from(leader.is_some());
    }
    assert_eq!((compared, leaders), (9, 1), "three metrics of four campaigns, one of them with a leader");
}
