//! A comparison for people: the verdict for each metric with its evidence, then what differs and what to do.

use campaign_metrics::pb::{self, ComparisonVerdict, Metric};

use crate::view::{Align, Grid, counted, id, interval, or_dash, second, share, wrap};

/// Renders a comparison.
pub fn text(comparison: &pb::CampaignComparison) -> String {
    let mut blocks = vec![wrap("", &headline(comparison))];
    blocks.extend(comparison.comparisons.iter().map(|metric| self::metric(comparison, metric)));
    if !comparison.differences.is_empty() {
        let lines: String = comparison.differences.iter().map(|difference| wrap("  - ", difference)).collect();
        blocks.push(format!("Besides the message, these differ\n{lines}"));
    }
    blocks.push(wrap("To do: ", advice(comparison)));
    blocks.join("\n")
}

/// Names who leads in what, in one sentence.
fn headline(comparison: &pb::CampaignComparison) -> String {
    let leads = |metric: &pb::MetricComparison| metric.verdict() == ComparisonVerdict::Leads;
    let parts: Vec<String> = comparison
        .comparisons
        .iter()
        .filter(|metric| leads(metric))
        .map(|metric| format!("{} leads in {}", id(&metric.front_runner), name(metric.metric())))
        .collect();
    let as_of = second(comparison.as_of_time.as_ref()).map(|time| format!(" (as of {time})")).unwrap_or_default();
    match parts.as_slice() {
        [] => format!("No campaign is certainly better than the others so far{as_of}."),
        parts => format!("{}{as_of}.", parts.join(", ")),
    }
}

fn name(metric: Metric) -> &'static str {
    match metric {
        Metric::Delivery => "delivery",
        Metric::Response => "response",
        Metric::Conversion => "conversion",
        Metric::Unspecified => "another metric",
    }
}

fn metric(comparison: &pb::CampaignComparison, metric: &pb::MetricComparison) -> String {
    let head = match metric.metric() {
        Metric::Response | Metric::Conversion => {
            format!("{} within {}", name(metric.metric()), counted(comparison.age_days.into(), "day"))
        }
        other => name(other).to_owned(),
    };
    let mut text = wrap("", &format!("{}: {}", head.to_uppercase(), metric.summary));
    text += &rates(comparison, metric.metric()).text(2);
    if !metric.pairs.is_empty() {
        text += &pairs(metric).text(2);
    }
    if let Some(needed) = needed(metric) {
        text += &wrap("  ", &needed);
    }
    text
}

/// Each campaign with its rate over all days.
fn rates(comparison: &pb::CampaignComparison, metric: Metric) -> Grid {
    let count = match metric {
        Metric::Delivery => "DELIVERED",
        Metric::Response => "REPLIED",
        Metric::Conversion => "CONVERTED",
        Metric::Unspecified => "COUNT",
    };
    let columns =
        [("CAMPAIGN", Align::Name), ("RATE", Align::Right), ("95 % INTERVAL", Align::Right), (count, Align::Right)];
    let mut grid = Grid::new(columns);
    for campaign in &comparison.campaigns {
        let rate = campaign.rates.iter().find(|rate| rate.metric() == metric);
        let counts = rate.and_then(|rate| rate.rate).unwrap_or_default();
        grid.row([
            id(&campaign.campaign).to_owned(),
            or_dash(counts.ratio.map(share)),
            or_dash(rate.and_then(|rate| interval(rate.interval.as_ref()))),
            format!("{} of {}", counts.numerator, counts.denominator),
        ]);
    }
    grid
}

/// The front-runner against each other campaign, on the days on which both ran.
fn pairs(metric: &pb::MetricComparison) -> Grid {
    let mut grid = Grid::new([
        (format!("{} AGAINST", id(&metric.front_runner)), Align::Name),
        ("DAYS".to_owned(), Align::Right),
        ("POINTS AHEAD".to_owned(), Align::Right),
        ("95 % INTERVAL".to_owned(), Align::Right),
        ("EVIDENCE".to_owned(), Align::Right),
        (String::new(), Align::Left),
    ]);
    for pair in &metric.pairs {
        let interval = pair.difference_interval.map(|of| format!("{} to {}", points(of.lower), points(of.upper)));
        grid.row([
            id(&pair.other).to_owned(),
            pair.shared_days.to_string(),
            or_dash(pair.difference.map(points)),
            or_dash(interval),
            format!("{:.2} of {:.2}", pair.ln_e, metric.ln_threshold),
            if pair.shown { "shown" } else { "" }.to_owned(),
        ]);
    }
    grid
}

/// Renders a difference of shares in percentage points, with its sign.
fn points(difference: f64) -> String {
    if difference.is_finite() { format!("{:+.2}", difference * 100.0) } else { "-".to_owned() }
}

fn needed(metric: &pb::MetricComparison) -> Option<String> {
    let unit = if metric.metric() == Metric::Delivery { "message" } else { "lead" };
    let leads = metric.needed_leads.map(|count| format!("about {}", counted(count, unit)));
    let days = metric.needed_days.map(|count| format!("about {} on which both run", counted(count, "day")));
    let all: Vec<String> = [leads, days].into_iter().flatten().collect();
    Some(format!("Still needed at the present rates: {}.", all.join(", "))).filter(|_| !all.is_empty())
}

/// What to do follows from the verdicts. Delivery comes first in what is wrong, but not in what is asked: who asks for
/// the better campaign asks for responses and conversions.
fn advice(comparison: &pb::CampaignComparison) -> &'static str {
    let any = |verdict| comparison.comparisons.iter().any(|metric| metric.verdict() == verdict);
    if any(ComparisonVerdict::Leads) {
        "The campaigns had different leads, so the lead may have other causes than the message. Look at what differs \
         before you move leads or budget."
    } else if any(ComparisonVerdict::NoDifferenceShown) {
        "Let the campaigns run, and ask again on any day: the verdict stays valid however often you look."
    } else {
        "Let the campaigns run on the same days. Only then can they be compared fairly."
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::testing::{assert_fits, rate};

    #[expect(clippy::unnecessary_wraps, reason = "as the fields of messages have it")]
    fn interval(lower: f64, upper: f64) -> Option<pb::Interval> {
        Some(pb::Interval { lower, upper })
    }

    fn compared(id: &str, replied: i64, leads: i64, of: Option<pb::Interval>) -> pb::ComparedCampaign {
        let rate = pb::ComparedRate {
            metric: Metric::Response.into(),
            rate: rate(replied, leads),
            interval: of,
            days: Vec::new(),
        };
        pb::ComparedCampaign {
            campaign: format!("workspaces/acme/campaigns/{id}"),
            rates: vec![rate],
            ..pb::ComparedCampaign::default()
        }
    }

    fn pair(other: &str, shown: bool) -> pb::ComparedPair {
        pb::ComparedPair {
            other: format!("workspaces/acme/campaigns/{other}"),
            shared_days: 12,
            difference: Some(0.0306),
            difference_interval: interval(0.0195, 0.0417),
            ln_e: 4.613,
            shown,
            ..pb::ComparedPair::default()
        }
    }

    fn response(verdict: ComparisonVerdict, pairs: Vec<pb::ComparedPair>) -> pb::MetricComparison {
        pb::MetricComparison {
            metric: Metric::Response.into(),
            verdict: verdict.into(),
            summary: "spring has more responses than every other campaign.".into(),
            front_runner: "workspaces/acme/campaigns/spring".into(),
            ln_threshold: 3.689,
            pairs,
            needed_leads: None,
            needed_days: None,
        }
    }

    fn comparison(metric: pb::MetricComparison) -> pb::CampaignComparison {
        pb::CampaignComparison {
            as_of_time: Some(prost_types::Timestamp { seconds: 1_772_448_720, nanos: 0 }),
            age_days: 7,
            campaigns: vec![
                compared("spring", 102, 1667, interval(0.0507, 0.0738)),
                compared("summer", 51, 1700, interval(0.0229, 0.0393)),
                compared("autumn", 0, 0, None),
            ],
            comparisons: vec![metric],
            differences: vec!["spring sends 3 messages to each lead, summer 2.".into()],
            ..pb::CampaignComparison::default()
        }
    }

    #[test]
    fn a_leader_is_named_first_with_counts_intervals_and_evidence() {
        let no_day =
            pb::ComparedPair { other: "workspaces/acme/campaigns/autumn".into(), ..pb::ComparedPair::default() };
        let metric = response(ComparisonVerdict::Leads, vec![pair("summer", true), no_day]);
        let text = text(&comparison(metric));
        let expected = "\
spring leads in response (as of 2026-03-02T10:52:00Z).

RESPONSE WITHIN 7 DAYS: spring has more responses than every other campaign.
  CAMPAIGN   RATE  95 % INTERVAL      REPLIED
  spring    6.1 %   5.1 to 7.4 %  102 of 1667
  summer    3.0 %   2.3 to 3.9 %   51 of 1700
  autumn        -              -       0 of 0
  spring AGAINST  DAYS  POINTS AHEAD   95 % INTERVAL      EVIDENCE
  summer            12         +3.06  +1.95 to +4.17  4.61 of 3.69  shown
  autumn             0             -               -  0.00 of 3.69

Besides the message, these differ
  - spring sends 3 messages to each lead, summer 2.

To do: The campaigns had different leads, so the lead may have other causes than
       the message. Look at what differs before you move leads or budget.
";
        assert_eq!(text, expected);
        assert_fits(&text);
    }

    #[test]
    fn without_a_verdict_the_answer_says_what_is_still_needed() {
        let mut metric = response(ComparisonVerdict::NoDifferenceShown, vec![pair("summer", false)]);
        (metric.needed_leads, metric.needed_days) = (Some(4200), Some(1));
        let text = text(&comparison(metric));
        assert!(text.starts_with("No campaign is certainly better than the others so far (as of"), "{text}");
        let needed = "  Still needed at the present rates: about 4200 leads, about 1 day on which both\n  run.\n";
        assert!(text.contains(needed), "{text}");
        assert!(text.contains("To do: Let the campaigns run, and ask again"), "{text}");
        assert_fits(&text);
    }

    #[test]
    fn campaigns_that_never_ran_together_are_to_run_on_the_same_days() {
        let text = text(&comparison(response(ComparisonVerdict::NeverAtTheSameTime, Vec::new())));
        assert!(text.contains("To do: Let the campaigns run on the same days."), "{text}");
        assert!(!text.contains("AGAINST") && !text.contains("Still needed"), "{text}");
    }

    #[test]
    fn delivery_counts_messages_and_has_no_age() {
        let mut metric = response(ComparisonVerdict::NoDifferenceShown, Vec::new());
        (metric.metric, metric.needed_leads) = (Metric::Delivery.into(), Some(1));
        let text = text(&comparison(metric));
        assert!(text.contains("\nDELIVERY: spring"), "{text}");
        assert!(text.contains("Still needed at the present rates: about 1 message.\n"), "{text}");
        assert!(text.contains("DELIVERED\n  spring       -              -     0 of 0\n"), "no rate was sent: {text}");
    }

    #[test]
    fn long_ids_fit_into_80_columns() {
        let long = format!("{}-one", "long-".repeat(40));
        let mut comparison = comparison(response(ComparisonVerdict::Leads, vec![pair(&long, true)]));
        comparison.campaigns.push(compared(&long, 9_000_000_001, 10_000_000_003, interval(0.899_991, 0.900_009)));
        comparison.comparisons[0].front_runner = "workspaces/acme/campaigns/another-rather-long-campaign-name".into();
        let text = text(&comparison);
        assert!(text.contains("..") && text.contains("-one"), "{text}");
        assert_fits(&text);
    }
}
