//! Gauges of active campaigns in more detail: by account, and at equal age.

use std::collections::HashMap;

use campaign_metrics::lead::FailureReason;

use super::{
    label::reason_label,
    snapshot::Snapshot,
    text::{Text, seconds},
};
use crate::store::{CampaignAccountRow, CampaignAge};

/// A number of leads of equal age.
type Count = fn(&CampaignAge) -> i64;

/// All of them.
pub const METRICS: [fn(&mut Text, &Snapshot); 3] = [campaign_details, campaign_ages, campaign_accounts];

fn campaign_details(text: &mut Text, snapshot: &Snapshot) {
    let Some(details) = snapshot.details() else { return };
    text.metric(
        "campaign_details_omitted",
        "Active campaigns without series by account and at equal age, because there are more accounts than \
         --metrics-max-campaign-accounts.",
    );
    text.value(details.omitted);
    let help =
        "When series by account and at equal age were read, in seconds since 1970; absent if they can't be read.";
    text.metric("campaign_details_timestamp_seconds", help);
    text.value(seconds(details.read_at));
}

fn campaign_ages(text: &mut Text, snapshot: &Snapshot) {
    let Some(details) = snapshot.details() else { return };
    let active = snapshot.active();
    let metrics: [(&str, &str, Count); 3] = [
        (
            "campaign_contacted_leads_at_age",
            "Leads first contacted at least age_days days ago, in the last 90 UTC days; active campaigns; absent without any.",
            |age| age.contacted,
        ),
        (
            "campaign_replied_leads_at_age",
            "Those of campaign_contacted_leads_at_age that replied within age_days days of their first contact.",
            |age| age.replied,
        ),
        (
            "campaign_converted_leads_at_age",
            "Those of campaign_contacted_leads_at_age that converted within age_days days of their first contact.",
            |age| age.converted,
        ),
    ];
    for (name, help, count) in metrics {
        text.metric(name, help);
        for age in &details.ages {
            if let Some(labels) = active.get(&age.campaign) {
                text.labelled_series(labels, "age_days", itoa::Buffer::new().format(age.days), count(age));
            }
        }
    }
}

fn campaign_accounts(text: &mut Text, snapshot: &Snapshot) {
    let Some(details) = snapshot.details() else { return };
    let rows = labelled(&details.accounts, &snapshot.active());
    text.metric(
        "campaign_account_messages_30d",
        "Messages of a campaign by account and result, of the last 30 UTC days, today included; active campaigns.",
    );
    for (labels, row) in &rows {
        let messages = row.last_30_days.performance();
        text.labelled_series(labels, "outcome", "delivered", messages.delivered);
        text.labelled_series(labels, "outcome", "failed", messages.failed);
        text.labelled_series(labels, "outcome", "bounced", messages.bounced);
    }
    text.metric(
        "campaign_account_failed_messages_30d",
        "Failed and bounced messages of a campaign by account and reason, of the last 30 UTC days, today included; active \
         campaigns.",
    );
    for (labels, row) in &rows {
        for (reason, count) in FailureReason::ALL.into_iter().zip(row.last_30_days.performance().by_reason) {
            text.labelled_series(labels, "reason", reason_label(reason), count);
        }
    }
}

/// Returns the accounts of campaigns that are still active, with their labels.
fn labelled<'a>(
    rows: &'a [CampaignAccountRow],
    active: &HashMap<(i32, i32), &str>,
) -> Vec<(String, &'a CampaignAccountRow)> {
    let labels = |row: &CampaignAccountRow| {
        active.get(&row.campaign).map(|campaign| format!("{campaign},account=\"{}\"", row.account))
    };
    rows.iter().filter_map(|row| Some((labels(row)?, row))).collect()
}
