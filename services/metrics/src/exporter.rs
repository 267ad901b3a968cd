//! Business gauges: the state of campaigns and accounts, read fresh from rollups at each scrape.
//!
//! Nothing is kept between scrapes, so a deleted campaign vanishes by itself and every replica says the same. When the
//! database is down the series are left out and `campaign_metrics_collector_success` is 0.
//!
//! The text is written at once, in Prometheus' exposition format: the library builds each of some 400 000 series as an
//! object of its own first, which takes longer than the whole scrape may.

use std::{fmt::Display, io::Write as _};

use campaign_metrics::{campaign::CampaignState, lead::FailureReason, sending::NotSending};
use jiff::Timestamp;

use crate::store::{AccountRow, CampaignRow, Fleet};

/// Room for the series of a campaign and of an account.
const CAMPAIGN_BYTES: usize = 4_500;
const ACCOUNT_BYTES: usize = 1_000;

/// The text of one scrape.
struct Text {
    out: Vec<u8>,
    name: &'static str,
}

impl Text {
    /// Begins a metric: what follows is of it.
    fn metric(&mut self, name: &'static str, help: &str) {
        self.name = name;
        // Writing to memory does not fail.
        let _ = write!(self.out, "# HELP campaign_metrics_{name} {help}\n# TYPE campaign_metrics_{name} gauge\n");
    }

    fn value(&mut self, value: impl Display) {
        let _ = writeln!(self.out, "campaign_metrics_{} {value}", self.name);
    }

    /// One series of a campaign or account, whose labels are rendered already: ids need no escapes.
    fn of(&mut self, labels: &str, value: impl Display) {
        self.begin(labels);
        let _ = writeln!(self.out, "}} {value}");
    }

    /// The same with one more label.
    fn with(&mut self, labels: &str, label: &str, is: &str, value: impl Display) {
        self.begin(labels);
        self.out.push(b',');
        self.out.extend_from_slice(label.as_bytes());
        self.out.extend_from_slice(b"=\"");
        self.out.extend_from_slice(is.as_bytes());
        let _ = writeln!(self.out, "\"}} {value}");
    }

    fn begin(&mut self, labels: &str) {
        self.out.extend_from_slice(b"campaign_metrics_");
        self.out.extend_from_slice(self.name.as_bytes());
        self.out.push(b'{');
        self.out.extend_from_slice(labels.as_bytes());
    }
}

/// Renders the gauges of one snapshot; `None` is a database that can't be read.
pub fn render(fleet: Option<&Fleet>) -> Vec<u8> {
    let size = fleet.map_or(0, |fleet| fleet.campaigns.len() * CAMPAIGN_BYTES + fleet.accounts.len() * ACCOUNT_BYTES);
    let mut text = Text { out: Vec::with_capacity(size + 4096), name: "" };
    text.metric("collector_success", "Whether the state of campaigns could be read: 1 or 0.");
    text.value(u8::from(fleet.is_some()));
    if let Some(fleet) = fleet {
        let help = "Campaigns left out of the other series, because there are more than --metrics-max-campaigns.";
        text.metric("campaigns_omitted", help);
        text.value(fleet.omitted);
        let labels = |row: &CampaignRow| format!("workspace=\"{}\",campaign=\"{}\"", row.workspace, row.campaign);
        let campaigns: Vec<(String, &CampaignRow)> = fleet.campaigns.iter().map(|row| (labels(row), row)).collect();
        campaign_counts(&mut text, &campaigns);
        campaign_states(&mut text, &campaigns);
        account_gauges(&mut text, &fleet.accounts);
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
    text.out
}

/// A number of a campaign.
type Count = fn(&CampaignRow) -> i64;
type Campaigns<'a> = [(String, &'a CampaignRow)];

fn campaign_counts(text: &mut Text, campaigns: &Campaigns<'_>) {
    text.metric("campaign_leads", "Leads by status; they add up to all leads.");
    for (labels, row) in campaigns {
        let counts = row.lead_counts;
        text.with(labels, "status", "sent", counts.sent);
        text.with(labels, "status", "failed", counts.failed);
        text.with(labels, "status", "pending", counts.pending);
        text.with(labels, "status", "partial", counts.partial);
    }
    text.metric("campaign_progress_ratio", "(sent + failed) / all leads, 0 to 1; absent without leads.");
    for (labels, row) in campaigns {
        if let Some(ratio) = row.lead_counts.progress().ratio() {
            text.of(labels, ratio);
        }
    }
    text.metric("campaign_messages", "Messages by the result of their step.");
    for (labels, row) in campaigns {
        text.with(labels, "outcome", "delivered", row.message_counts.delivered);
        text.with(labels, "outcome", "failed", row.message_counts.failed);
        text.with(labels, "outcome", "bounced", row.message_counts.bounced);
    }
    text.metric("campaign_failed_messages", "Failed and bounced messages by reason.");
    for (labels, row) in campaigns {
        for (reason, count) in FailureReason::ALL.into_iter().zip(row.message_counts.by_reason) {
            text.with(labels, "reason", reason_label(reason), count);
        }
    }
    text.metric("campaign_lead_facts", "Leads by what they did, with or without a delivered message.");
    for (labels, row) in campaigns {
        let counts = &row.message_counts;
        text.with(labels, "fact", "replied", counts.replied);
        text.with(labels, "fact", "converted", counts.converted);
        text.with(labels, "fact", "auto_replied", counts.auto_replied);
        text.with(labels, "fact", "opted_out", counts.opted_out);
    }
    let single: [(&str, &str, Count); 5] = [
        ("campaign_contacted_leads", "Leads with a delivered message.", |row| row.message_counts.contacted),
        ("campaign_replied_leads", "Leads that replied and have a delivered message.", |row| {
            row.message_counts.contacted_replied
        }),
        ("campaign_converted_leads", "Leads that converted and have a delivered message.", |row| {
            row.message_counts.contacted_converted
        }),
        ("campaign_in_flight_claims", "Claims held and not expired.", |row| row.in_flight_claims),
        ("campaign_uncertain_claims", "Claims that expired without an outcome.", |row| row.uncertain_claims),
    ];
    for (name, help, count) in single {
        text.metric(name, help);
        for (labels, row) in campaigns {
            text.of(labels, count(row));
        }
    }
}

fn campaign_states(text: &mut Text, campaigns: &Campaigns<'_>) {
    text.metric("campaign_state", "1 for the state the campaign is in, else 0.");
    for (labels, row) in campaigns {
        for state in CampaignState::ALL {
            let label = match state {
                CampaignState::Active => "active",
                CampaignState::Paused => "paused",
                CampaignState::Finished => "finished",
            };
            text.with(labels, "state", label, u8::from(state == row.state));
        }
    }
    text.metric("campaign_not_sending", "1 for each reason for which nothing can be claimed, else 0.");
    for (labels, row) in campaigns {
        for reason in NotSending::ALL {
            text.with(labels, "reason", reason.label(), u8::from(row.blocked.reasons.contains(&reason)));
        }
    }
    let help = "When the next step is due, in seconds since 1970; absent when nothing waits.";
    text.metric("campaign_next_due_timestamp_seconds", help);
    for (labels, row) in campaigns {
        if let Some(due) = row.next_due {
            text.of(labels, seconds(due));
        }
    }
    text.metric("campaign_info", "Always 1; who manages the campaign: kubernetes or clients.");
    for (labels, row) in campaigns {
        text.with(labels, "managed_by", if row.is_managed { "kubernetes" } else { "clients" }, 1);
    }
}

fn account_gauges(text: &mut Text, accounts: &[AccountRow]) {
    let labels = |row: &AccountRow| format!("workspace=\"{}\",account=\"{}\"", row.workspace, row.account);
    let accounts: Vec<(String, &AccountRow)> = accounts.iter().map(|row| (labels(row), row)).collect();
    let messages = [
        ("account_messages", "Messages ever, by result."),
        ("account_messages_30d", "Messages of the last 30 UTC days, today included, by result."),
    ];
    for (place, (name, help)) in messages.into_iter().enumerate() {
        text.metric(name, help);
        for (labels, row) in &accounts {
            let counts = if place == 0 { row.lifetime } else { row.last_30_days };
            text.with(labels, "outcome", "delivered", counts.delivered);
            text.with(labels, "outcome", "failed", counts.failed);
            text.with(labels, "outcome", "bounced", counts.bounced);
        }
    }
    text.metric("account_daily_limit", "Claims per local day at most; absent without limit.");
    for (labels, row) in &accounts {
        if let Some(limit) = row.daily_limit {
            text.of(labels, limit);
        }
    }
    text.metric("account_daily_reserved", "Reserved of the daily limit on the present local day.");
    for (labels, row) in &accounts {
        text.of(labels, row.reserved);
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
