//! Parses the metrics page of the service, and derives from the API what its gauges must be.
//!
//! [`compare`] is exact in both directions: a missing series is a difference, and so is an unexpected one. A metric
//! that neither [`GAUGES`] nor [`PROCESS`] names is a difference, too. So a new metric needs a comparison.

pub mod expected;
pub mod unseen;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use anyhow::{Context as _, Result, ensure};

/// The prefix of our metrics.
const PREFIX: &str = "campaign_metrics_";

/// Metrics of campaigns and accounts, without prefix: [`expected::expected`] makes every series of them.
pub const GAUGES: [&str; 39] = [
    "campaign_leads",
    "campaign_state",
    "campaign_progress_ratio",
    "campaign_messages",
    "campaign_failed_messages",
    "campaign_lead_facts",
    "campaign_contacted_leads",
    "campaign_replied_leads",
    "campaign_converted_leads",
    "campaign_in_flight_claims",
    "campaign_uncertain_claims",
    "campaign_not_sending",
    "campaign_next_due_timestamp_seconds",
    "campaign_info",
    "campaign_daily_limit",
    "campaign_daily_reserved",
    "campaign_last_grant_timestamp_seconds",
    "campaign_last_outcome_timestamp_seconds",
    "campaign_oldest_uncertain_claim_timestamp_seconds",
    "campaign_lead_list_complete",
    "campaign_delivery_health_certain",
    "campaign_conversion_value",
    "campaign_contacted_leads_at_age",
    "campaign_replied_leads_at_age",
    "campaign_converted_leads_at_age",
    "campaign_account_messages_30d",
    "campaign_account_failed_messages_30d",
    "campaign_details_omitted",
    "campaign_details_timestamp_seconds",
    "account_state",
    "account_messages",
    "account_messages_30d",
    "account_daily_limit",
    "account_daily_reserved",
    "campaigns_omitted",
    "accounts_omitted",
    "verify_differences",
    "verify_timestamp_seconds",
    "collector_success",
];

/// Metrics of the process without prefix, with their types. `tests/integration/telemetry.rs` reads each after real
/// calls.
pub const PROCESS: [(&str, &str); 16] = [
    ("build_info", "gauge"),
    ("claim_calls_total", "counter"),
    ("collector_duration_seconds", "gauge"),
    ("outcome_batch_size", "histogram"),
    ("outcomes_total", "counter"),
    ("outcomes_waiting", "gauge"),
    ("pool_connections", "gauge"),
    ("pool_connections_max", "gauge"),
    ("pool_waiters", "gauge"),
    ("rpc_duration_seconds", "histogram"),
    ("rpc_handled_total", "counter"),
    ("rpc_in_flight", "gauge"),
    ("rpc_stream_errors_total", "counter"),
    ("transaction_duration_seconds", "histogram"),
    ("transaction_retries_total", "counter"),
    ("watch_streams", "gauge"),
];

/// A series: its name without prefix, and its labels.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Series {
    pub name: String,
    pub labels: BTreeMap<String, String>,
}

impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let labels: Vec<String> = self.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        write!(f, "{}{{{}}}", self.name, labels.join(", "))
    }
}

/// The values of series.
pub type Values = BTreeMap<Series, f64>;

/// A page of metrics.
#[derive(Debug, Default)]
pub struct Page {
    /// The type of each metric.
    pub types: BTreeMap<String, String>,
    /// All series.
    pub values: Values,
}

/// Names a series by its labels.
pub fn series(name: &str, labels: &[(&str, &str)]) -> Series {
    let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Series { name: name.to_owned(), labels: labels.collect() }
}

impl Page {
    /// Parses a page. Fails on a malformed line, a repeated series, and a metric without type or help.
    pub fn parse(text: &str) -> Result<Self> {
        let mut page = Self::default();
        let mut helped = BTreeSet::new();
        for line in text.lines() {
            read(line, &mut page, &mut helped).with_context(|| format!("the line `{line}`"))?;
        }
        Ok(page)
    }

    /// Returns the value of a series that must exist.
    #[track_caller]
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let wanted = series(name, labels);
        *self.values.get(&wanted).unwrap_or_else(|| panic!("there is no series {wanted}"))
    }

    /// Returns the value of a series of whole numbers.
    #[track_caller]
    pub fn count(&self, name: &str, labels: &[(&str, &str)]) -> i64 {
        let value = self.value(name, labels);
        value.to_string().parse().unwrap_or_else(|_| panic!("{} is {value}", series(name, labels)))
    }

    /// The series of a metric.
    pub fn of(&self, name: &str) -> Vec<&Series> {
        self.values.keys().filter(|series| series.name == name).collect()
    }
}

fn read(line: &str, page: &mut Page, helped: &mut BTreeSet<String>) -> Result<()> {
    let short = |name: &str| name.strip_prefix(PREFIX).unwrap_or(name).to_owned();
    if let Some(rest) = line.strip_prefix("# HELP ") {
        let (name, help) = rest.split_once(' ').context("a metric has a help")?;
        ensure!(!help.is_empty() && helped.insert(short(name)), "a metric has one help");
        return Ok(());
    }
    if let Some(rest) = line.strip_prefix("# TYPE ") {
        let (name, kind) = rest.split_once(' ').context("a metric has a type")?;
        ensure!(helped.contains(&short(name)), "its help comes before its type");
        ensure!(page.types.insert(short(name), kind.to_owned()).is_none(), "a metric has one type");
        return Ok(());
    }
    let (name, mut rest) = line.split_at(line.find(['{', ' ']).context("a name, labels and a value")?);
    let mut labels = BTreeMap::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while let Some((label, after)) = rest.split_once("=\"").filter(|_| !rest.starts_with('}')) {
            let end = after.find('"').context("a label ends")?;
            let value = &after[..end];
            ensure!(!value.contains('\\'), "ids and names of ours need no escapes");
            ensure!(labels.insert(label.to_owned(), value.to_owned()).is_none(), "a label is said once");
            rest = after[end + 1..].trim_start_matches(',');
        }
        rest = rest.strip_prefix('}').context("the labels end")?;
    }
    let value = rest.trim_start().parse().context("a value")?;
    let series = Series { name: short(name), labels };
    ensure!(page.types.contains_key(family(page, &series.name)), "its type comes before it");
    ensure!(page.values.insert(series, value).is_none(), "a series is said once");
    Ok(())
}

/// Returns the metric of a series: series of a histogram have a suffix.
fn family<'a>(page: &Page, name: &'a str) -> &'a str {
    let endings = ["_bucket", "_sum", "_count"].iter().filter_map(|ending| name.strip_suffix(ending));
    let histogram = endings.into_iter().find(|name| page.types.get(*name).is_some_and(|kind| kind == "histogram"));
    histogram.unwrap_or(name)
}

/// Returns the differences between a page and the expected series, one for each series.
pub fn compare(page: &Page, expected: &Values) -> Vec<String> {
    let mut differences = Vec::new();
    for (name, kind) in &page.types {
        let known = match PROCESS.iter().find(|(process, _)| process == name) {
            Some((_, known)) => Some(*known),
            None if GAUGES.contains(&name.as_str()) => Some("gauge"),
            // Made by the library for every process.
            None if name.starts_with("process_") => Some(kind.as_str()),
            None => None,
        };
        match known {
            None => differences.push(format!("no comparison reads the metric {name}")),
            Some(known) if known != kind => differences.push(format!("{name} is a {kind}, not a {known}")),
            Some(_) => {}
        }
    }
    let is_ours = |series: &&Series| GAUGES.contains(&series.name.as_str());
    for series in page.values.keys().filter(is_ours).chain(expected.keys()).collect::<BTreeSet<_>>() {
        match (page.values.get(series), expected.get(series)) {
            // Whole numbers are exact in both. Ratios and times are computed by the same division.
            #[expect(clippy::float_cmp, reason = "both are made of the same whole numbers by one division")]
            (Some(shown), Some(expected)) if shown == expected => {}
            (Some(shown), Some(expected)) => differences.push(format!("{series} is {shown}, not {expected}")),
            (Some(shown), None) => differences.push(format!("{series} is {shown}, and has to be absent")),
            (None, Some(expected)) => differences.push(format!("{series} is absent, not {expected}")),
            (None, None) => {}
        }
    }
    differences
}
