//! Simulated days of a large and a small campaign: each alert comes within its target for its own incident, and nobody
//! is paged on clean days. promtool evaluates the rules over drawn samples.

use std::{fmt::Write as _, time::Duration};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use tokio::process::Command;

use crate::harness::{
    parts::{part, repository},
    prometheus::rule_files,
    run::run_within,
};

/// Samples of an hour and of a day, two minutes apart.
const HOUR: usize = 30;
const DAY: usize = 24 * HOUR;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    HalfLost,
    TenthLost,
    NoSender,
    Uncertain,
    DatabaseAway,
    CallsFail,
    Backlog,
    NoTarget,
    Differences,
}

/// An incident on a day, between two hours, and the alert that it has to raise: within so many minutes for the large campaign
/// and for the small one. Incidents of processes have one target.
struct Incident {
    fault: Fault,
    day: usize,
    hours: (usize, usize),
    alert: &'static str,
    within_minutes: (usize, usize),
}

const INCIDENTS: [Incident; 9] = {
    const fn of(
        fault: Fault,
        day: usize,
        hours: (usize, usize),
        alert: &'static str,
        within_minutes: (usize, usize),
    ) -> Incident {
        Incident { fault, day, hours, alert, within_minutes }
    }
    [
        of(Fault::HalfLost, 1, (9, 17), "DeliveryLow", (40, 480)),
        of(Fault::TenthLost, 3, (9, 17), "DeliveryModerate", (180, 480)),
        of(Fault::NoSender, 4, (10, 13), "CampaignStalled", (50, 50)),
        of(Fault::Uncertain, 4, (14, 17), "UncertainClaimsMany", (75, 75)),
        of(Fault::DatabaseAway, 7, (10, 11), "CollectorFailing", (15, 15)),
        of(Fault::CallsFail, 7, (13, 15), "RpcErrorBudgetBurn", (30, 30)),
        of(Fault::Backlog, 8, (10, 11), "OutcomesBacklog", (10, 10)),
        of(Fault::NoTarget, 8, (12, 13), "CampaignMetricsAbsent", (15, 15)),
        of(Fault::Differences, 8, (15, 16), "VerifyDifferences", (10, 10)),
    ]
};

fn has(fault: Fault, sample: usize) -> bool {
    INCIDENTS.iter().any(|incident| {
        let hour = sample % DAY / HOUR;
        incident.fault == fault && incident.day == sample / DAY && (incident.hours.0..incident.hours.1).contains(&hour)
    })
}

/// Samples of one series; `None` where it is missing.
type Values = Vec<Option<i64>>;

struct Series {
    text: String,
    samples: usize,
}

impl Series {
    fn add(&mut self, name: &str, labels: &str, values: impl IntoIterator<Item = Option<i64>>) {
        write!(
            self.text,
            "      - series: '{name}{{instance=\"a\",job=\"campaign-metrics\"{labels}}}'\n        values: '"
        )
        .unwrap();
        for value in values {
            match value {
                Some(value) => write!(self.text, "{value} ").unwrap(),
                None => self.text.push_str("_ "),
            }
        }
        self.text.push_str("'\n");
    }

    /// A campaign that sends so many messages on a weekday, between 8 and 18 o'clock, and a quarter of it at weekends.
    fn campaign(&mut self, name: &str, messages_a_day: f64, draw: &mut StdRng) {
        let samples = self.samples;
        let labels = |more: &str| format!(",workspace=\"acme\",campaign=\"{name}\"{more}");
        let visible = |sample: usize| !has(Fault::DatabaseAway, sample) && !has(Fault::NoTarget, sample);
        let (mut delivered, mut failed, mut bounced) = (Values::new(), Values::new(), Values::new());
        let (mut uncertain, mut since) = (Values::new(), Values::new());
        let (mut due, mut granted, mut waits) = (Values::new(), Values::new(), Values::new());
        let (mut counts, mut last_grant) = ([0_i64; 3], 0);
        let begin = INCIDENTS.iter().find(|incident| incident.fault == Fault::Uncertain).expect("is listed");
        for sample in 0..samples {
            let (hour, seconds) = (sample % DAY / HOUR, i64::try_from(sample * 120).unwrap());
            let is_open = (8..18).contains(&hour);
            let messages_now = if sample / DAY % 7 < 5 { 1.0 } else { 0.25 } * messages_a_day / 300.0;
            let is_sending = is_open && !has(Fault::NoSender, sample);
            let share = match () {
                () if has(Fault::HalfLost, sample) => 0.5,
                () if has(Fault::TenthLost, sample) => 0.12,
                () => 0.02,
            };
            if is_sending {
                last_grant = seconds;
                // A fraction of a message becomes one now and then, and paces vary by half.
                let messages = messages_now * draw.random_range(0.5..1.5);
                let whole = (0..100).take_while(|count| f64::from(count + 1) <= messages).count();
                let messages = whole + usize::from(draw.random_bool(messages.fract()));
                for _ in 0..messages {
                    let place = match draw.random_range(0.0..1.0) {
                        lost if lost < 0.8 * share => 1,
                        lost if lost < share => 2,
                        _ => 0,
                    };
                    counts[place] += 1;
                }
            }
            let shown = |value: i64| visible(sample).then_some(value);
            for (values, count) in [&mut delivered, &mut failed, &mut bounced].into_iter().zip(counts) {
                values.push(shown(count));
            }
            let is_uncertain = has(Fault::Uncertain, sample);
            uncertain.push(shown(if is_uncertain { 250 } else { 0 }));
            since.push(
                shown(i64::try_from((begin.day * DAY + begin.hours.0 * HOUR) * 120).unwrap()).filter(|_| is_uncertain),
            );
            // While open, something is always due; it stays so while nobody sends.
            let next_open = seconds / 86_400 * 86_400 + if hour < 8 { 8 * 3600 } else { 32 * 3600 };
            due.push(shown(if is_open { last_grant.max(seconds / 86_400 * 86_400 + 8 * 3600) } else { next_open }));
            granted.push(shown(last_grant));
            waits.push(shown(i64::from(!is_open)));
        }
        for (outcome, values) in [("delivered", delivered), ("failed", failed), ("bounced", bounced)] {
            self.add("campaign_metrics_campaign_messages", &labels(&format!(",outcome=\"{outcome}\"")), values);
        }
        let constant = |value: i64| (0..samples).map(move |sample| visible(sample).then_some(value));
        self.add("campaign_metrics_campaign_state", &labels(",state=\"active\""), constant(1));
        self.add("campaign_metrics_campaign_leads", &labels(",status=\"pending\""), constant(5000));
        self.add("campaign_metrics_campaign_uncertain_claims", &labels(""), uncertain);
        self.add("campaign_metrics_campaign_oldest_uncertain_claim_timestamp_seconds", &labels(""), since);
        self.add("campaign_metrics_campaign_next_due_timestamp_seconds", &labels(""), due);
        self.add("campaign_metrics_campaign_last_grant_timestamp_seconds", &labels(""), granted);
        self.add("campaign_metrics_campaign_in_flight_claims", &labels(""), constant(0));
        self.add("campaign_metrics_campaign_not_sending", &labels(",reason=\"outside_active_hours\""), waits);
    }

    fn processes(&mut self, draw: &mut StdRng) {
        let samples = self.samples;
        let there = |value: i64| (0..samples).map(move |sample| (!has(Fault::NoTarget, sample)).then_some(value));
        self.add("campaign_metrics_build_info", "", there(1));
        self.add("campaign_controller_build_info", "", (0..samples).map(|_| Some(1)));
        let during = |fault: Fault, usual: i64, then: i64| {
            (0..samples).map(move |sample| {
                (!has(Fault::NoTarget, sample)).then_some(if has(fault, sample) { then } else { usual })
            })
        };
        self.add("campaign_metrics_collector_success", "", during(Fault::DatabaseAway, 1, 0));
        self.add("campaign_metrics_verify_differences", "", during(Fault::Differences, 0, 2));
        self.add("campaign_metrics_outcomes_waiting", "", during(Fault::Backlog, 120, 30_000));
        let (mut good, mut bad) = (0, 0);
        let mut calls = [Values::new(), Values::new()];
        for sample in 0..samples {
            let is_failing = has(Fault::CallsFail, sample) || has(Fault::DatabaseAway, sample);
            // 10 calls a second, of which 3 of 100 000 fail anyway.
            let failed = draw.random_range(0..=if is_failing { 120 } else { 0 }) + i64::from(draw.random_bool(0.036));
            (good, bad) = (good + 1200 - failed, bad + failed);
            let is_scraped = !has(Fault::NoTarget, sample);
            calls[0].push(is_scraped.then_some(good));
            calls[1].push(is_scraped.then_some(bad));
        }
        for (code, values) in ["Ok", "Unavailable"].into_iter().zip(calls) {
            self.add("campaign_metrics_rpc_handled_total", &format!(",method=\"m\",code=\"{code}\""), values);
        }
    }
}

/// A question to the alerts at an hour and minute of a day, and its only right answer: how many series it gives.
fn question(page: &mut String, day: usize, minute: usize, expression: &str, answer: usize) {
    let minutes = day * 1440 + minute;
    write!(page, "      - expr: count({expression})\n        eval_time: {minutes}m\n").unwrap();
    match answer {
        0 => page.push_str("        exp_samples: []\n"),
        _ => writeln!(page, "        exp_samples: [{{labels: '{{}}', value: {answer}}}]").unwrap(),
    }
}

#[tokio::test]
async fn each_incident_raises_its_alert_in_time_and_clean_days_page_nobody() {
    let seed: u64 = std::env::var("ALERT_SEED").map_or(7, |seed| seed.parse().expect("ALERT_SEED is a number"));
    println!("ALERT_SEED={seed}");
    let mut draw = StdRng::seed_from_u64(seed);
    let days: usize = std::env::var("ALERT_DAYS").map_or(12, |days| days.parse().expect("ALERT_DAYS is a number"));
    let mut series = Series { text: String::new(), samples: days * DAY };
    series.campaign("large", 20_000.0, &mut draw);
    series.campaign("small", 300.0, &mut draw);
    series.processes(&mut draw);
    let mut page = "rule_files:\n".to_owned();
    for file in rule_files() {
        writeln!(page, "  - {}", file.display()).unwrap();
    }
    // A group reads what others recorded at the same time, so those that record come first.
    let files = rule_files().into_iter().map(|file| std::fs::read_to_string(file).unwrap()).collect::<String>();
    let mut groups: Vec<&str> = files.lines().filter_map(|line| line.trim_start().strip_prefix("- name: ")).collect();
    let recording = ["campaign-metrics-state", "campaign-metrics-ratios", "campaign-metrics-days"];
    groups.sort_by_key(|name| (recording.iter().position(|first| first == name).unwrap_or(3), name.contains("alerts")));
    write!(
        page,
        "group_eval_order: [{}]\n\
         evaluation_interval: 5m\ntests:\n  - interval: 2m\n    input_series:\n{}    promql_expr_test:\n",
        groups.join(", "),
        series.text
    )
    .unwrap();
    for Incident { day, hours, alert, within_minutes, .. } in &INCIDENTS {
        let firing = |campaign: &str| format!("ALERTS{{alertstate=\"firing\",alertname=\"{alert}\"{campaign}}}");
        question(&mut page, *day, hours.0 * 60 - 5, &firing(""), 0);
        let by_campaign = ["DeliveryLow", "DeliveryModerate", "CampaignStalled", "UncertainClaimsMany"].contains(alert);
        let (large, small) = within_minutes;
        if by_campaign {
            question(&mut page, *day, hours.0 * 60 + large, &firing(",campaign=\"large\""), 1);
            question(&mut page, *day, hours.0 * 60 + small, &firing(",campaign=\"small\""), 1);
        } else {
            let page_alone = format!("{},severity=\"page\"}}", firing("").trim_end_matches('}'));
            question(&mut page, *day, hours.0 * 60 + large, &page_alone, 1);
        }
    }
    for day in 1..days {
        // The windows of a day, and of burn rates, still hold the incident on the next one.
        let is_clean = INCIDENTS.iter().all(|incident| incident.day != day && incident.day + 1 != day);
        if is_clean {
            let paged = "count_over_time(ALERTS{alertstate=\"firing\",severity=\"page\"}[1d])";
            question(&mut page, day, 1435, paged, 0);
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("days.yaml");
    std::fs::write(&file, page).unwrap();
    let mut command = Command::new(part("promtool").unwrap());
    command.args(["test", "rules"]).arg(file).current_dir(repository());
    run_within(command, "", Duration::from_mins(10)).await.unwrap().success().unwrap();
}
