//! Parses the metrics page of the service, and derives from the API what its gauges must be.
//!
//! [`compare`] is exact in both directions: a missing series is a difference, and so is an unexpected one. A metric
//! that neither [`GAUGES`] nor [`PROCESS`] names is a difference, too. So a new metric needs a comparison.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use anyhow::{Context as _, Result, ensure};
use campaign_metrics::pb::{self, CampaignState, FailureReason, NotSendingReason as Why};
use jiff::Timestamp;

/// The prefix of our metrics.
const PREFIX: &str = "campaign_metrics_";

/// Metrics of campaigns and accounts, without prefix: [`expected`] makes every series of them.
pub const GAUGES: [&str; 22] = [
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
    "account_messages",
    "account_messages_30d",
    "account_daily_limit",
    "account_daily_reserved",
    "campaigns_omitted",
    "verify_differences",
    "verify_timestamp_seconds",
    "collector_success",
];

/// Metrics of the process without prefix, with their types. `tests/integration/telemetry.rs` reads each after real
/// calls.
pub const PROCESS: [(&str, &str); 12] = [
    ("build_info", "gauge"),
    ("claim_calls_total", "counter"),
    ("outcome_batch_size", "histogram"),
    ("outcomes_total", "counter"),
    ("outcomes_waiting", "gauge"),
    ("pool_connections", "gauge"),
    ("rpc_duration_seconds", "histogram"),
    ("rpc_handled_total", "counter"),
    ("rpc_in_flight", "gauge"),
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

/// What gauges show and the API does not.
#[derive(Debug, Clone, Default)]
pub struct Unseen {
    /// When the next step is due, by the campaign's resource name. Campaigns without a waiting step are absent.
    pub next_due: BTreeMap<String, Timestamp>,
    /// Campaigns left out.
    pub omitted: u32,
    /// VerifyMode that the latest `verify` found, and when it ran.
    pub verification: Option<(u32, Timestamp)>,
}

/// Returns every series of campaigns and accounts that a page must have while the database can be read.
pub fn expected(campaigns: &[pb::Campaign], accounts: &[pb::Account], unseen: &Unseen) -> Values {
    let mut values = Values::new();
    values.insert(series("collector_success", &[]), 1.0);
    values.insert(series("campaigns_omitted", &[]), unseen.omitted.into());
    if let Some((differences, at)) = unseen.verification {
        values.insert(series("verify_differences", &[]), differences.into());
        values.insert(series("verify_timestamp_seconds", &[]), seconds(at));
    }
    for campaign in campaigns {
        of_campaign(campaign, unseen, &mut values);
    }
    for account in accounts {
        of_account(account, &mut values);
    }
    values
}

fn of_campaign(campaign: &pb::Campaign, unseen: &Unseen, values: &mut Values) {
    let (workspace, id) = names(&campaign.name);
    let mut set = |name: &str, label: Option<(&str, &str)>, value: f64| {
        let labels = [("workspace", workspace), ("campaign", id)].into_iter().chain(label);
        values.insert(series(name, &labels.collect::<Vec<_>>()), value);
    };
    let leads = campaign.lead_counts.unwrap_or_default();
    let by_status =
        [("sent", leads.sent), ("failed", leads.failed), ("pending", leads.pending), ("partial", leads.partial)];
    for (status, count) in by_status {
        set("campaign_leads", Some(("status", status)), number(count));
    }
    for (label, state) in
        [("active", CampaignState::Active), ("paused", CampaignState::Paused), ("finished", CampaignState::Finished)]
    {
        set("campaign_state", Some(("state", label)), truth(campaign.state() == state));
    }
    if leads.total > 0 {
        set("campaign_progress_ratio", None, number(leads.sent + leads.failed) / number(leads.total));
    }
    let messages = campaign.message_counts.clone().unwrap_or_default();
    for (outcome, count) in
        [("delivered", messages.delivered), ("failed", messages.failed), ("bounced", messages.bounced)]
    {
        set("campaign_messages", Some(("outcome", outcome)), number(count));
    }
    for (label, reason) in [
        ("account_issue", FailureReason::AccountIssue),
        ("invalid_lead", FailureReason::InvalidLead),
        ("rate_limited", FailureReason::RateLimited),
        ("content_rejected", FailureReason::ContentRejected),
        ("other", FailureReason::Other),
    ] {
        let count = messages.failures.iter().find(|count| count.reason() == reason).map_or(0, |count| count.count);
        set("campaign_failed_messages", Some(("reason", label)), number(count));
    }
    for (fact, count) in [
        ("replied", messages.replied_leads),
        ("converted", messages.converted_leads),
        ("auto_replied", messages.auto_replied_leads),
        ("opted_out", messages.opted_out_leads),
    ] {
        set("campaign_lead_facts", Some(("fact", fact)), number(count));
    }
    set("campaign_contacted_leads", None, number(messages.contacted_leads));
    set("campaign_replied_leads", None, number(campaign.response_rate.unwrap_or_default().numerator));
    set("campaign_converted_leads", None, number(campaign.conversion_rate.unwrap_or_default().numerator));
    set("campaign_in_flight_claims", None, number(campaign.in_flight_claims));
    set("campaign_uncertain_claims", None, number(campaign.uncertain_claims));
    for (label, reason) in [
        ("paused", Why::Paused),
        ("finished", Why::Finished),
        ("outside_active_hours", Why::OutsideActiveHours),
        ("campaign_daily_limit", Why::CampaignDailyLimit),
        ("account_daily_limit", Why::AccountDailyLimit),
        ("account_suspended", Why::AccountSuspended),
        ("no_account_assigned", Why::NoAccountAssigned),
        ("account_removed", Why::AccountRemoved),
        ("no_lead_due", Why::NoLeadDue),
        ("uncertain_claims", Why::UncertainClaims),
    ] {
        let holds = campaign.not_sending_reasons().any(|other| other == reason);
        set("campaign_not_sending", Some(("reason", label)), truth(holds));
    }
    if let Some(due) = unseen.next_due.get(&campaign.name) {
        set("campaign_next_due_timestamp_seconds", None, seconds(*due));
    }
    let managed_by = if campaign.owner.is_some() { "kubernetes" } else { "clients" };
    set("campaign_info", Some(("managed_by", managed_by)), 1.0);
}

fn of_account(account: &pb::Account, values: &mut Values) {
    let (workspace, id) = names(&account.name);
    let mut set = |name: &str, label: Option<(&str, &str)>, value: f64| {
        let labels = [("workspace", workspace), ("account", id)].into_iter().chain(label);
        values.insert(series(name, &labels.collect::<Vec<_>>()), value);
    };
    for (name, performance) in
        [("account_messages", &account.lifetime), ("account_messages_30d", &account.last_30_days)]
    {
        let counts = performance.clone().unwrap_or_default();
        set(name, Some(("outcome", "delivered")), number(counts.delivered));
        set(name, Some(("outcome", "failed")), number(counts.failed));
        set(name, Some(("outcome", "bounced")), number(counts.bounced));
    }
    if let Some(limit) = account.daily_limit {
        set("account_daily_limit", None, limit.into());
    }
    set("account_daily_reserved", None, number(account.reserved_today));
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

/// Workspace and last id of a resource name.
fn names(name: &str) -> (&str, &str) {
    let parts: Vec<&str> = name.split('/').collect();
    (parts[1], parts[3])
}

#[expect(clippy::cast_precision_loss, reason = "counts of tests are far below 2^53")]
fn number(count: i64) -> f64 {
    count as f64
}

fn truth(holds: bool) -> f64 {
    if holds { 1.0 } else { 0.0 }
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 are far below 2^53")]
fn seconds(at: Timestamp) -> f64 {
    at.as_millisecond() as f64 / 1000.0
}
