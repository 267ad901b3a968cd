//! Gauges of campaigns.

use campaign_metrics::{campaign::CampaignState, lead::FailureReason, not_sending::NotSending, statistics::is_certain};
use jiff::Timestamp;

use super::{
    label::reason_label,
    snapshot::Snapshot,
    text::{Text, seconds},
};
use crate::store::CampaignRow;

/// A number of a campaign.
type Number<Value> = fn(&CampaignRow) -> Value;

/// All of them.
pub const METRICS: [fn(&mut Text, &Snapshot); 15] = [
    campaign_leads,
    campaign_progress,
    campaign_messages,
    campaign_failed_messages,
    campaign_lead_facts,
    campaign_contacts,
    campaign_claims,
    campaign_state,
    campaign_not_sending,
    campaign_info,
    campaign_limits,
    campaign_times,
    campaign_lead_list,
    campaign_health,
    campaign_value,
];

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
    let metrics: [(&str, &str, Number<i64>); 3] = [
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

fn campaign_info(text: &mut Text, snapshot: &Snapshot) {
    text.metric("campaign_info", "Always 1; who manages the campaign: kubernetes or clients.");
    for (labels, row) in snapshot.campaigns() {
        text.labelled_series(labels, "managed_by", if row.is_managed { "kubernetes" } else { "clients" }, 1);
    }
}

fn campaign_limits(text: &mut Text, snapshot: &Snapshot) {
    text.metric("campaign_daily_limit", "Claims per local day at most; absent without limit.");
    for (labels, row) in snapshot.campaigns() {
        if let Some(limit) = row.daily_limit {
            text.series(labels, limit.into());
        }
    }
    text.metric(
        "campaign_daily_reserved",
        "Reserved of the daily limit on the present local day; absent without limit.",
    );
    for (labels, row) in snapshot.campaigns().filter(|(_, row)| row.daily_limit.is_some()) {
        text.series(labels, row.reserved);
    }
}

fn campaign_times(text: &mut Text, snapshot: &Snapshot) {
    let metrics: [(&str, &str, Number<Option<Timestamp>>); 4] = [
        (
            "campaign_next_due_timestamp_seconds",
            "When the next step is due, in seconds since 1970; absent when nothing waits.",
            |row| row.next_due,
        ),
        (
            "campaign_last_grant_timestamp_seconds",
            "When claims were last granted, in seconds since 1970; absent before the first grant.",
            |row| row.last_grant,
        ),
        (
            "campaign_last_outcome_timestamp_seconds",
            "When an outcome that was new was last received, in seconds since 1970; absent before the first one.",
            |row| row.last_outcome,
        ),
        (
            "campaign_oldest_uncertain_claim_timestamp_seconds",
            "When the first of the uncertain claims expired, in seconds since 1970; absent without uncertain claims.",
            |row| row.oldest_uncertain,
        ),
    ];
    for (name, help, time) in metrics {
        text.metric(name, help);
        for (labels, row) in snapshot.campaigns() {
            if let Some(at) = time(row) {
                text.fractional_series(labels, seconds(at));
            }
        }
    }
}

fn campaign_lead_list(text: &mut Text, snapshot: &Snapshot) {
    text.metric("campaign_lead_list_complete", "1 if every lead has been added, else 0.");
    for (labels, row) in snapshot.campaigns() {
        text.series(labels, row.lead_list_complete.into());
    }
}

fn campaign_health(text: &mut Text, snapshot: &Snapshot) {
    let help = "1 if the 95 % interval of the delivery rate lies wholly in its band (above 95 %, 80 to 95 %, below 80 %), \
                from 20 messages on, else 0; absent without messages.";
    text.metric("campaign_delivery_health_certain", help);
    for (labels, row) in snapshot.campaigns() {
        if let Some(band) = row.message_counts.delivery_health() {
            text.series(labels, is_certain(row.message_counts.delivery_rate(), band).into());
        }
    }
}

fn campaign_value(text: &mut Text, snapshot: &Snapshot) {
    let help = "Total value of the conversions, in the unit of those who report them; absent while it is 0.";
    text.metric("campaign_conversion_value", help);
    for (labels, row) in snapshot.campaigns().filter(|(_, row)| row.message_counts.conversion_value_micros != 0) {
        text.fractional_series(labels, micros(row.message_counts.conversion_value_micros));
    }
}

#[expect(clippy::cast_precision_loss, reason = "a double keeps more digits of a value than anybody reads")]
fn micros(value: i64) -> f64 {
    value as f64 / 1_000_000.0
}
