//! Comparisons: each field, and every verdict recomputed from the days in the answer alone.

use std::collections::BTreeMap;

use jiff::{ToSpan as _, civil::date};

use super::*;
use crate::{
    campaign::LeadCounts,
    comparison::compare,
    history::{ComparedCampaign, ComparedDay},
};

fn now() -> Timestamp {
    "2026-04-01T00:00:00Z".parse().unwrap()
}

/// A campaign whose day numbered `from` is the first of some days, each with other counts.
fn campaign(id: &str, from: i64, days: i64, replies: i64) -> ComparedCampaign {
    let row = |day: i64| {
        let contacted = 150 + 10 * (day % 7) + replies;
        ComparedDay {
            day: date(2026, 3, 1) + day.days(),
            delivered: 2 * contacted + 1,
            failed: 10 + day,
            bounced: replies,
            contacted,
            replied: replies + day % 3,
            converted: day % 2 + replies / 4,
        }
    };
    ComparedCampaign {
        name: format!("workspaces/acme/campaigns/{id}").parse().unwrap(),
        state: CampaignState::Paused,
        steps: Step::new(3).unwrap(),
        lead_counts: LeadCounts { sent: 5, failed: 3, pending: 7, partial: 2 },
        accounts: ["ann", "bob"].map(|id| id.parse().unwrap()).to_vec(),
        days: (from..from + days).map(row).collect(),
    }
}

fn answer(campaigns: &[ComparedCampaign]) -> pb::CampaignComparison {
    comparison(now(), compare(campaigns.to_vec(), 7, now()))
}

#[test]
fn a_comparison_is_rendered_field_by_field() {
    let campaigns = [campaign("spring", 0, 10, 4), campaign("summer", 3, 9, 16), campaign("idle", 0, 0, 0)];
    let shown = answer(&campaigns);
    assert_eq!((shown.as_of_time, shown.age_days), (Some(timestamp(now())), 7));
    assert_eq!(shown.basis(), pb::ComparisonBasis::Observed);
    assert_eq!(shown.differences, compare(campaigns.to_vec(), 7, now()).differences);
    let [spring, _, idle] = &shown.campaigns[..] else { panic!("three: {shown:?}") };
    assert_eq!(
        (spring.campaign.as_str(), spring.state(), spring.steps),
        ("workspaces/acme/campaigns/spring", pb::CampaignState::Paused, 3)
    );
    assert_eq!(spring.lead_counts.unwrap().total, 17);
    assert_eq!(spring.accounts, ["workspaces/acme/accounts/ann", "workspaces/acme/accounts/bob"]);
    assert_eq!((spring.first_day.as_str(), spring.last_day.as_str()), ("2026-03-01", "2026-03-10"));
    assert_eq!((idle.first_day.as_str(), idle.last_day.as_str()), ("", ""));
    let metrics = [pb::Metric::Delivery, pb::Metric::Response, pb::Metric::Conversion];
    assert_eq!(spring.rates.iter().map(pb::ComparedRate::metric).collect::<Vec<_>>(), metrics);
    let second: Vec<_> = spring.rates.iter().map(|rate| (rate.days[1].numerator, rate.days[1].denominator)).collect();
    assert_eq!(second, [(329, 344), (5, 164), (2, 164)]);
    assert_eq!(spring.rates[1].days[1].day, "2026-03-02");
    let conversion = &spring.rates[2];
    assert_eq!(conversion.rate.unwrap().denominator, conversion.days.iter().map(|day| day.denominator).sum::<i64>());
    let interval = conversion.interval.unwrap();
    let ratio = conversion.rate.unwrap().ratio.unwrap();
    assert!(0.0 < interval.lower && interval.lower < ratio && ratio < interval.upper && interval.upper < 1.0);
    assert_eq!((idle.rates[0].interval, idle.rates[0].rate.unwrap().ratio), (None, None));
    assert_eq!(shown.comparisons.iter().map(pb::MetricComparison::metric).collect::<Vec<_>>(), metrics);

    let response = &shown.comparisons[1];
    assert_eq!(response.verdict(), pb::ComparisonVerdict::NoDifferenceShown);
    assert_eq!(response.front_runner, "workspaces/acme/campaigns/summer");
    assert_eq!((response.needed_leads, response.needed_days), (None, None), "no end is in sight while one is idle");
    let pairs: Vec<_> = response.pairs.iter().map(|pair| (pair.other.as_str(), pair.shared_days, pair.shown)).collect();
    assert_eq!(pairs, [("workspaces/acme/campaigns/spring", 7, true), ("workspaces/acme/campaigns/idle", 0, false)]);
    let [with_spring, with_idle] = &response.pairs[..] else { panic!("two: {response:?}") };
    assert!(with_spring.front_runner_rate.unwrap().ratio > with_spring.other_rate.unwrap().ratio);
    let (difference, interval) = (with_spring.difference.unwrap(), with_spring.difference_interval.unwrap());
    assert!(interval.lower < difference && difference < interval.upper && difference > 0.04, "{with_spring:?}");
    assert_eq!((with_idle.difference, with_idle.difference_interval, with_idle.ln_e), (None, None, 0.0));
    assert_eq!(with_idle.other_rate, Some(pb::Rate::default()));

    let undecided = answer(&[campaign("spring", 0, 10, 8), campaign("summer", 3, 9, 10)]);
    let response = &undecided.comparisons[1];
    assert!(response.needed_leads.unwrap() > 100 && response.needed_days.unwrap() > 1, "{response:?}");
    let never = answer(&[campaign("spring", 0, 3, 8), campaign("summer", 3, 3, 10)]);
    let response = &never.comparisons[1];
    assert_eq!(response.verdict(), pb::ComparisonVerdict::NeverAtTheSameTime);
    assert_eq!((response.front_runner.as_str(), response.pairs.len()), ("", 0));
    assert!(!response.summary.is_empty());
}

/// What the evidence counts, such as replies, and for delivery failures.
fn rare_side(metric: pb::Metric, [x1, n1, x2, n2]: [f64; 4]) -> [f64; 4] {
    if metric == pb::Metric::Delivery { [n1 - x1, n1, n2 - x2, n2] } else { [x1, n1, x2, n2] }
}

/// Successes and sizes of two campaigns on the days on which both ran.
fn shared(one: &pb::ComparedRate, other: &pb::ComparedRate) -> Vec<[f64; 4]> {
    #[expect(clippy::cast_precision_loss, reason = "hundreds")]
    let days = |rate: &pb::ComparedRate| -> BTreeMap<String, [f64; 2]> {
        rate.days.iter().map(|of| (of.day.clone(), [of.numerator as f64, of.denominator as f64])).collect()
    };
    let (ones, others) = (days(one), days(other));
    ones.iter().filter_map(|(day, [x1, n1])| others.get(day).map(|[x2, n2]| [*x1, *n1, *x2, *n2])).collect()
}

/// ln e by its definition, summed up on a fine grid.
fn ln_e(days: &[[f64; 4]]) -> f64 {
    const STEP: f64 = 0.000_5;
    let ln_f = |t: f64| {
        let day = |[x1, n1, x2, n2]: &[f64; 4]| t * x1 - (x1 + x2) * ((n1 * t.exp() + n2) / (n1 + n2)).ln();
        days.iter().map(day).sum::<f64>() - t * t / (2.0 * 0.25)
    };
    let values: Vec<f64> = (-16_000..=16_000).map(|step| ln_f(f64::from(step) * STEP)).collect();
    let largest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = values.iter().map(|value| (value - largest).exp()).sum();
    largest + (sum * STEP / (0.5 * (2.0 * std::f64::consts::PI).sqrt())).ln()
}

#[test]
fn every_verdict_follows_from_the_days_in_its_answer() {
    let fields = [
        vec![campaign("spring", 0, 14, 4), campaign("summer", 3, 18, 16)],
        vec![campaign("spring", 0, 14, 8), campaign("summer", 3, 9, 10), campaign("autumn", 5, 20, 9)],
        (0..20).map(|number| campaign(&format!("c{number}"), number / 4, 20, 3 * number)).collect(),
    ];
    let (mut compared, mut shown) = (0, 0);
    for campaigns in fields {
        let answer = answer(&campaigns);
        let of = |name: &str, metric| {
            let campaign = answer.campaigns.iter().find(|of| of.campaign == name).unwrap();
            campaign.rates.iter().find(|rate| rate.metric() == metric).unwrap()
        };
        let others = u32::try_from(answer.campaigns.len() - 1).unwrap();
        for verdict in &answer.comparisons {
            let threshold = (f64::from(others) / 0.05).ln();
            assert!((verdict.ln_threshold - threshold).abs() < 1e-12);
            let mut beaten = Vec::new();
            for pair in &verdict.pairs {
                let days = shared(of(&verdict.front_runner, verdict.metric()), of(&pair.other, verdict.metric()));
                let counted: Vec<_> = days.iter().map(|day| rare_side(verdict.metric(), *day)).collect();
                let expected = ln_e(&counted);
                assert!((pair.ln_e - expected).abs() < 1e-9, "{} is not {expected}: {pair:?}", pair.ln_e);
                assert_eq!(pair.shared_days, i64::try_from(days.len()).unwrap());
                let weights = days.iter().map(|[_, n1, _, n2]| n1 * n2 / (n1 + n2));
                let differences =
                    days.iter().zip(weights.clone()).map(|([x1, n1, x2, n2], weight)| weight * (x1 / n1 - x2 / n2));
                let difference = (!days.is_empty()).then(|| differences.sum::<f64>() / weights.sum::<f64>());
                assert_eq!(pair.difference.is_some(), difference.is_some());
                let (told, expected_difference) = (pair.difference.unwrap_or(0.0), difference.unwrap_or(0.0));
                assert!((told - expected_difference).abs() < 1e-12, "{pair:?}");
                assert_eq!(pair.shown, expected >= threshold && expected_difference > 0.0, "{pair:?}");
                beaten.push(pair.shown);
                compared += 1;
                shown += usize::from(pair.shown);
            }
            let leads = !beaten.is_empty() && beaten.iter().all(|is| *is);
            assert_eq!(verdict.verdict() == pb::ComparisonVerdict::Leads, leads, "{verdict:?}");
        }
    }
    assert!(compared > 50 && shown > 10 && shown < compared, "{shown} of {compared} pairs show a difference");
}
