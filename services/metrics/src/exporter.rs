//! Business gauges: the state of campaigns and accounts, read from rollups at each scrape.
//!
//! Nothing is kept between scrapes, so the series of a deleted campaign disappear, and all replicas export the same.
//! When the database is unreachable, the series are left out and `campaign_metrics_collector_success` is 0.
//!
//! This module writes the text of the Prometheus exposition format itself. The client library creates an object for
//! each of about 400 000 series, which takes longer than a whole scrape may take. The text is streamed metric by
//! metric, so that the first metrics are sent while others are written.

use std::{fmt::Display, io::Write as _, sync::Arc};

use campaign_metrics::{campaign::CampaignState, lead::FailureReason, not_sending::NotSending};
use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use tokio::task::{JoinError, spawn_blocking};

use crate::store::{AccountRow, CampaignRow, Fleet, Messages};

/// Parts that may be written ahead while earlier ones are sent.
const AHEAD: usize = 2;
/// Size of a piece of text that is sent at a time, in bytes.
const PIECE_BYTES: usize = 256 << 10;
/// Upper bound of the length of a line, in bytes: two ids, a name and a number.
const LINE_BYTES_MAX: usize = 1 << 10;

/// One snapshot, with the labels of each campaign and account. It is empty if the database can't be read.
struct Snapshot {
    fleet: Option<Fleet>,
    campaigns: Vec<String>,
    accounts: Vec<String>,
}

impl Snapshot {
    fn new(fleet: Option<Fleet>) -> Self {
        let campaign = |row: &CampaignRow| format!("workspace=\"{}\",campaign=\"{}\"", row.workspace, row.campaign);
        let account = |row: &AccountRow| format!("workspace=\"{}\",account=\"{}\"", row.workspace, row.account);
        Self {
            campaigns: fleet.iter().flat_map(|fleet| fleet.campaigns.iter().map(campaign)).collect(),
            accounts: fleet.iter().flat_map(|fleet| fleet.accounts.iter().map(account)).collect(),
            fleet,
        }
    }

    fn campaigns(&self) -> impl Iterator<Item = (&str, &CampaignRow)> {
        let rows = self.fleet.iter().flat_map(|fleet| &fleet.campaigns);
        self.campaigns.iter().map(String::as_str).zip(rows)
    }

    fn accounts(&self) -> impl Iterator<Item = (&str, &AccountRow)> {
        let rows = self.fleet.iter().flat_map(|fleet| &fleet.accounts);
        self.accounts.iter().map(String::as_str).zip(rows)
    }
}

/// A number of a row.
type Number<Row, Value> = fn(&Row) -> Value;

/// Writes metrics of a snapshot.
type Metric = fn(&mut Text, &Snapshot);

/// The metrics that need a snapshot.
const METRICS: [Metric; 13] = [
    campaign_leads,
    campaign_progress,
    campaign_messages,
    campaign_failed_messages,
    campaign_lead_facts,
    campaign_contacts,
    campaign_claims,
    campaign_state,
    campaign_not_sending,
    campaign_next_due,
    campaign_info,
    account_messages,
    account_limits,
];

/// Renders the gauges of one snapshot; `None` means that the database can't be read.
pub fn render(fleet: Option<Fleet>) -> impl Stream<Item = Result<Vec<u8>, JoinError>> + use<> {
    let metrics: &[Metric] = if fleet.is_some() { &METRICS } else { &[] };
    let snapshot = Arc::new(Snapshot::new(fleet));
    // Rendering tens of megabytes would block a thread that serves calls.
    let parts = std::iter::once(&(collector as Metric)).chain(metrics).map(move |metric| {
        let snapshot = snapshot.clone();
        spawn_blocking(move || {
            let mut text = Text::default();
            metric(&mut text, &snapshot);
            text.pieces.push(text.out);
            stream::iter(text.pieces).map(Ok)
        })
    });
    stream::iter(parts).buffered(AHEAD).try_flatten()
}

/// A text in pieces. A single text of megabytes would be copied each time it grows.
#[derive(Default)]
struct Text {
    pieces: Vec<Vec<u8>>,
    out: Vec<u8>,
    name: &'static str,
}

impl Text {
    /// Completes a piece, and begins the next one.
    fn cut(&mut self) {
        self.pieces.push(std::mem::replace(&mut self.out, Vec::with_capacity(PIECE_BYTES)));
    }

    /// Begins a metric. The series that follow belong to it.
    fn metric(&mut self, name: &'static str, help: &str) {
        self.name = name;
        // Writing to memory can't fail.
        let _ = write!(self.out, "# HELP campaign_metrics_{name} {help}\n# TYPE campaign_metrics_{name} gauge\n");
    }

    /// Writes the only series of a metric.
    fn value(&mut self, value: impl Display) {
        let _ = writeln!(self.out, "campaign_metrics_{} {value}", self.name);
    }

    /// Writes one series of a campaign or account. Its labels are rendered already; ids need no escaping.
    fn series(&mut self, labels: &str, value: i64) {
        self.begin(labels);
        self.end("} ", value);
    }

    /// Writes one series of a campaign or account with a fractional value.
    fn fractional_series(&mut self, labels: &str, value: f64) {
        self.begin(labels);
        let _ = writeln!(self.out, "}} {value}");
    }

    /// Writes one series of a campaign or account with one more label.
    fn labelled_series(&mut self, labels: &str, label: &str, is: &str, value: i64) {
        self.begin(labels);
        for part in [",", label, "=\"", is] {
            self.out.extend_from_slice(part.as_bytes());
        }
        self.end("\"} ", value);
    }

    fn begin(&mut self, labels: &str) {
        if self.out.len() > PIECE_BYTES - LINE_BYTES_MAX {
            self.cut();
        }
        for part in ["campaign_metrics_", self.name, "{", labels] {
            self.out.extend_from_slice(part.as_bytes());
        }
    }

    fn end(&mut self, mark: &str, value: i64) {
        self.out.extend_from_slice(mark.as_bytes());
        self.out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
        self.out.push(b'\n');
    }
}

fn collector(text: &mut Text, snapshot: &Snapshot) {
    text.metric("collector_success", "Whether the state of campaigns could be read: 1 or 0.");
    text.value(u8::from(snapshot.fleet.is_some()));
    let Some(fleet) = &snapshot.fleet else { return };
    let help = "Campaigns left out of the other series, because there are more than --metrics-max-campaigns.";
    text.metric("campaigns_omitted", help);
    text.value(fleet.omitted);
    if let Some(verification) = fleet.verification {
        let help = "Numbers that the latest run of `verify` found to differ from the facts, and did not repair.";
        text.metric("verify_differences", help);
        text.value(verification.differences);
        text.metric(
            "verify_timestamp_seconds",
            "When `verify` last ran, in seconds since 1970; absent before its first run.",
        );
        text.value(seconds(verification.at));
    }
}

fn campaign_leads(text: &mut Text, snapshot: &Snapshot) {
    text.metric("campaign_leads", "Leads by status; they add up to all leads.");
    for (labels, row) in snapshot.campaigns() {
        let counts = row.lead_counts;
        text.labelled_series(labels, "status", "sent", counts.sent);
        text.labelled_series(labels, "status", "failed", counts.failed);
        text.labelled_series(labels, "status", "pending", counts.pending);
        text.labelled_series(labels, "status", "partial", counts.partial);
    }
}

fn campaign_progress(text: &mut Text, snapshot: &Snapshot) {
    text.metric("campaign_progress_ratio", "(sent + failed) / all leads, 0 to 1; absent without leads.");
    for (labels, row) in snapshot.campaigns() {
        if let Some(ratio) = row.lead_counts.progress().ratio() {
            text.fractional_series(labels, ratio);
        }
    }
}

fn campaign_messages(text: &mut Text, snapshot: &Snapshot) {
    text.metric("campaign_messages", "Messages by the result of their step.");
    for (labels, row) in snapshot.campaigns() {
        text.labelled_series(labels, "outcome", "delivered", row.message_counts.delivered);
        text.labelled_series(labels, "outcome", "failed", row.message_counts.failed);
        text.labelled_series(labels, "outcome", "bounced", row.message_counts.bounced);
    }
}

fn campaign_failed_messages(text: &mut Text, snapshot: &Snapshot) {
    text.metric("campaign_failed_messages", "Failed and bounced messages by reason.");
    for (labels, row) in snapshot.campaigns() {
        for (reason, count) in FailureReason::ALL.into_iter().zip(row.message_counts.by_reason) {
            text.labelled_series(labels, "reason", reason_label(reason), count);
        }
    }
}

fn campaign_lead_facts(text: &mut Text, snapshot: &Snapshot) {
    text.metric("campaign_lead_facts", "Leads by what they did, with or without a delivered message.");
    for (labels, row) in snapshot.campaigns() {
        let counts = &row.message_counts;
        text.labelled_series(labels, "fact", "replied", counts.replied);
        text.labelled_series(labels, "fact", "converted", counts.converted);
        text.labelled_series(labels, "fact", "auto_replied", counts.auto_replied);
        text.labelled_series(labels, "fact", "opted_out", counts.opted_out);
    }
}

fn campaign_contacts(text: &mut Text, snapshot: &Snapshot) {
    let metrics: [(&str, &str, Number<CampaignRow, i64>); 3] = [
        ("campaign_contacted_leads", "Leads with a delivered message.", |row| row.message_counts.contacted),
        ("campaign_replied_leads", "Leads that replied and have a delivered message.", |row| {
            row.message_counts.contacted_replied
        }),
        ("campaign_converted_leads", "Leads that converted and have a delivered message.", |row| {
            row.message_counts.contacted_converted
        }),
    ];
    for (name, help, count) in metrics {
        text.metric(name, help);
        for (labels, row) in snapshot.campaigns() {
            text.series(labels, count(row));
        }
    }
}

fn campaign_claims(text: &mut Text, snapshot: &Snapshot) {
    text.metric("campaign_in_flight_claims", "Claims held and not expired.");
    for (labels, row) in snapshot.campaigns() {
        text.series(labels, row.in_flight_claims);
    }
    text.metric("campaign_uncertain_claims", "Claims that expired without an outcome.");
    for (labels, row) in snapshot.campaigns() {
        text.series(labels, row.uncertain_claims);
    }
}

fn campaign_state(text: &mut Text, snapshot: &Snapshot) {
    text.metric("campaign_state", "1 for the state the campaign is in, else 0.");
    for (labels, row) in snapshot.campaigns() {
        for state in CampaignState::ALL {
            let label = match state {
                CampaignState::Active => "active",
                CampaignState::Paused => "paused",
                CampaignState::Finished => "finished",
            };
            text.labelled_series(labels, "state", label, i64::from(state == row.state));
        }
    }
}

fn campaign_not_sending(text: &mut Text, snapshot: &Snapshot) {
    text.metric("campaign_not_sending", "1 for each reason for which nothing can be claimed, else 0.");
    for (labels, row) in snapshot.campaigns() {
        for reason in NotSending::ALL {
            text.labelled_series(labels, "reason", reason.label(), i64::from(row.blocked.reasons.contains(&reason)));
        }
    }
}

fn campaign_next_due(text: &mut Text, snapshot: &Snapshot) {
    let help = "When the next step is due, in seconds since 1970; absent when nothing waits.";
    text.metric("campaign_next_due_timestamp_seconds", help);
    for (labels, row) in snapshot.campaigns() {
        if let Some(due) = row.next_due {
            text.fractional_series(labels, seconds(due));
        }
    }
}

fn campaign_info(text: &mut Text, snapshot: &Snapshot) {
    text.metric("campaign_info", "Always 1; who manages the campaign: kubernetes or clients.");
    for (labels, row) in snapshot.campaigns() {
        text.labelled_series(labels, "managed_by", if row.is_managed { "kubernetes" } else { "clients" }, 1);
    }
}

fn account_messages(text: &mut Text, snapshot: &Snapshot) {
    let metrics: [(&str, &str, Number<AccountRow, Messages>); 2] = [
        ("account_messages", "Messages ever, by result.", |row| row.lifetime),
        ("account_messages_30d", "Messages of the last 30 UTC days, today included, by result.", |row| {
            row.last_30_days
        }),
    ];
    for (name, help, performance) in metrics {
        text.metric(name, help);
        for (labels, row) in snapshot.accounts() {
            let counts = performance(row);
            text.labelled_series(labels, "outcome", "delivered", counts.delivered);
            text.labelled_series(labels, "outcome", "failed", counts.failed);
            text.labelled_series(labels, "outcome", "bounced", counts.bounced);
        }
    }
}

fn account_limits(text: &mut Text, snapshot: &Snapshot) {
    text.metric("account_daily_limit", "Claims per local day at most; absent without limit.");
    for (labels, row) in snapshot.accounts() {
        if let Some(limit) = row.daily_limit {
            text.series(labels, limit.into());
        }
    }
    text.metric("account_daily_reserved", "Reserved of the daily limit on the present local day.");
    for (labels, row) in snapshot.accounts() {
        text.series(labels, row.reserved);
    }
}

fn reason_label(reason: FailureReason) -> &'static str {
    match reason {
        FailureReason::AccountIssue => "account_issue",
        FailureReason::InvalidLead => "invalid_lead",
        FailureReason::RateLimited => "rate_limited",
        FailureReason::ContentRejected => "content_rejected",
        FailureReason::Other => "other",
    }
}

#[expect(clippy::cast_precision_loss, reason = "seconds since 1970 stay below 2^53 milliseconds")]
fn seconds(at: Timestamp) -> f64 {
    at.as_millisecond() as f64 / 1000.0
}
