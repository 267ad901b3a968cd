//! docs/metrics.md is made from what the service and the controller serve, and tells who uses each metric. One that no
//! dashboard, rule or alert uses needs a reason here.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    sync::Arc,
    time::Duration,
};

use campaign_controller::{
    crd::{Campaign, CampaignSpec, CampaignStatus},
    metrics::Metrics,
};
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Condition, jiff};
use serde_json::Value;

use crate::{
    docs::read,
    harness::{golden::assert_golden, parts::repository, prometheus::rule_files},
    rules::{happen, replicas},
    world::fail_stream,
};

/// Metrics that no dashboard and no rule uses, and why they are served.
const UNUSED: [(&str, &str); 14] = [
    ("campaign_metrics_campaign_conversion_value", "its unit is that of those who report it, so no panel can name one"),
    (
        "campaign_metrics_campaign_delivery_health_certain",
        "of all time; dashboards and alerts judge the last hour and day",
    ),
    ("campaign_metrics_campaign_details_timestamp_seconds", "how old the series by account are, for who doubts them"),
    ("campaign_metrics_campaign_info", "joins who manages a campaign to other series"),
    (
        "campaign_metrics_campaign_last_outcome_timestamp_seconds",
        "for alerts of one's own on senders that claim and never report",
    ),
    (
        "campaign_metrics_campaign_lead_facts",
        "for panels of one's own; the funnel counts leads with a delivered message",
    ),
    (
        "campaign_metrics_campaign_lead_list_complete",
        "for alerts of one's own on lists that stay open; a diagnosis tells it",
    ),
    ("campaign_metrics_claim_calls_total", "for tuning the service"),
    ("campaign_metrics_outcome_batch_size", "for tuning senders"),
    ("campaign_metrics_rpc_in_flight", "for looking at calls that hang"),
    ("campaign_controller_unreadable_resources", "for looking after a rollback; the log names each resource"),
    ("controller_runtime_reconcile_panics_total", "for looking; the log has the text of the panic"),
    ("campaign_controller_status_writes_total", "for looking at the load of the API server"),
    ("controller_runtime_terminal_reconcile_errors_total", "conventional; the alert reads the conditions of resources"),
];

/// A family of a page of metrics.
#[derive(Default)]
struct Family {
    help: String,
    kind: String,
    /// Values of each label, in the order of their appearance.
    labels: BTreeMap<String, BTreeSet<String>>,
}

/// Labels whose values are few and fixed.
const CLOSED: [&str; 11] = [
    "status",
    "state",
    "outcome",
    "reason",
    "fact",
    "managed_by",
    "age_days",
    "verdict",
    "way",
    "result",
    "controller",
];

fn families(page: &str) -> BTreeMap<String, Family> {
    let mut families = BTreeMap::<String, Family>::new();
    for line in page.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            help.clone_into(&mut families.entry(name.to_owned()).or_default().help);
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            kind.clone_into(&mut families.entry(name.to_owned()).or_default().kind);
        } else if let Some((series, _)) = line.split_once('}') {
            let (name, labels) = series.split_once('{').expect("a series with labels");
            let of_histogram = ["_bucket", "_sum", "_count"].into_iter().find_map(|end| name.strip_suffix(end));
            let name = of_histogram.filter(|family| families.contains_key(*family)).unwrap_or(name);
            let family = families.entry(name.to_owned()).or_default();
            for (label, value) in labels.split("\",").filter_map(|pair| pair.trim_end_matches('"').split_once("=\"")) {
                if label != "le" {
                    family.labels.entry(label.to_owned()).or_default().insert(value.to_owned());
                }
            }
        }
    }
    families.retain(|name, _| !name.starts_with("process_"));
    families
}

/// A resource with one condition, for the metric of conditions.
fn resource() -> Arc<Campaign> {
    let condition = Condition {
        type_: "Synced".into(),
        status: "True".into(),
        reason: "Active".into(),
        message: String::new(),
        observed_generation: None,
        last_transition_time: k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(jiff::Timestamp::UNIX_EPOCH),
    };
    let mut campaign = Campaign::new("spring", CampaignSpec::default());
    campaign.status = Some(CampaignStatus { conditions: vec![condition], ..CampaignStatus::default() });
    Arc::new(campaign)
}

/// Whether an expression reads this metric or record.
fn reads(expression: &str, name: &str) -> bool {
    let is_part = |character: char| character.is_alphanumeric() || character == '_' || character == ':';
    let ends = ["", "_bucket", "_sum", "_count"];
    expression
        .split(|character| !is_part(character))
        .any(|word| ends.iter().any(|end| word.strip_suffix(end) == Some(name)))
}

/// Expressions of dashboards, alerts and recording rules, by who uses them.
struct Users {
    records: Vec<(String, String)>,
    alerts: Vec<(String, String)>,
    dashboards: Vec<(String, String)>,
}

impl Users {
    fn find() -> Self {
        let (mut records, mut alerts) = (Vec::new(), Vec::new());
        for file in rule_files() {
            let rules: Value = serde_yaml::from_str(&fs::read_to_string(file).unwrap()).unwrap();
            for group in rules["groups"].as_array().unwrap() {
                for rule in group["rules"].as_array().unwrap() {
                    let expression = rule["expr"].as_str().unwrap().to_owned();
                    match rule["alert"].as_str() {
                        Some(alert) => alerts.push((alert.to_owned(), expression)),
                        None => records.push((rule["record"].as_str().unwrap().to_owned(), expression)),
                    }
                }
            }
        }
        let directory = repository().join("charts/campaign-metrics/files/dashboards");
        let mut files: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        let dashboards = files.iter().map(|file| {
            let text = fs::read_to_string(file).unwrap();
            let dashboard: Value = serde_json::from_str(&text).unwrap();
            (dashboard["title"].as_str().unwrap().to_owned(), text)
        });
        Self { records, alerts, dashboards: dashboards.collect() }
    }

    /// Names of dashboards and alerts that read a metric, directly or through records.
    fn of(&self, metric: &str) -> BTreeSet<String> {
        let mut names = vec![metric.to_owned()];
        let mut seen = 0;
        while let Some(name) = names.get(seen).cloned() {
            seen += 1;
            for (record, expression) in &self.records {
                if reads(expression, &name) && !names.contains(record) {
                    names.push(record.clone());
                }
            }
        }
        let uses = |expression: &str| names.iter().any(|name| reads(expression, name));
        let dashboards = self.dashboards.iter().filter(|(_, text)| uses(text)).map(|(title, _)| format!("*{title}*"));
        let alerts = self.alerts.iter().filter(|(_, expression)| uses(expression)).map(|(alert, _)| alert.clone());
        dashboards.chain(alerts).collect()
    }
}

fn table(families: &BTreeMap<String, Family>, users: &Users, unused: &mut Vec<String>) -> String {
    let mut table = "| metric | type | labels | meaning | used by |\n|---|---|---|---|---|\n".to_owned();
    for (name, Family { help, kind, labels }) in families {
        let label = |(label, values): (&String, &BTreeSet<String>)| {
            if CLOSED.contains(&label.as_str()) && name != "campaign_controller_resources" {
                format!("{label}: {}", values.iter().cloned().collect::<Vec<_>>().join(", "))
            } else {
                label.clone()
            }
        };
        let labels = labels.iter().map(label).collect::<Vec<_>>().join("; ");
        let used = users.of(name).into_iter().collect::<Vec<_>>().join(", ");
        let reason = UNUSED.iter().find(|(unused, _)| unused == name).map(|(_, reason)| format!("nothing: {reason}"));
        match (used.is_empty(), &reason) {
            (true, None) => unused.push(name.clone()),
            (false, Some(_)) => panic!("{name} is used by {used}: take it from the list"),
            _ => {}
        }
        let used = reason.unwrap_or(used);
        writeln!(table, "| `{name}` | {kind} | {labels} | {help} | {used} |").unwrap();
    }
    table
}

#[tokio::test]
async fn the_page_of_metrics_is_made_from_what_is_served() {
    let users = Users::find();
    let (service, _other) = replicas().await;
    happen(&service).await;
    fail_stream(&service, Vec::new()).await;
    // Claims expire, and the series by account are read again.
    service.clock.advance(Duration::from_mins(6));
    let served = families(&service.admin("/metrics").await);
    let (process, state): (BTreeMap<_, _>, BTreeMap<_, _>) = served.into_iter().partition(|(_, family)| {
        family.kind != "gauge" || family.labels.contains_key("version") || family.help.is_empty()
    });
    let controller = Metrics::new(32).unwrap();
    controller.time_to_pause.observe(0.1);
    let controller = families(&controller.render(&[resource()]).unwrap());
    let mut unused = Vec::new();
    let mut page = read("tests/data/metrics.md");
    for (mark, families) in [("{state}", &state), ("{process}", &process), ("{controller}", &controller)] {
        assert!(families.len() > 5, "{mark} has metrics");
        page = page.replace(mark, table(families, &users, &mut unused).trim_end());
    }
    assert_eq!(unused, Vec::<String>::new(), "nothing uses these metrics: use them, or give the reason in UNUSED");
    assert_golden("docs/metrics.md", &page);
}
