//! Derives every series of campaigns and accounts from the API, and from what the API does not show.

use campaign_metrics::pb::{self, AccountState, CampaignState, FailureReason, NotSendingReason as Why};
use jiff::Timestamp;

use super::{
    Values, series,
    unseen::{OfCampaign, Unseen},
};

/// Returns every series of campaigns and accounts that a page must have while the database can be read.
pub fn expected(campaigns: &[pb::Campaign], accounts: &[pb::Account], unseen: &Unseen) -> Values {
    let mut values = Values::new();
    values.insert(series("collector_success", &[]), 1.0);
    values.insert(series("campaigns_omitted", &[]), unseen.omitted.into());
    values.insert(series("accounts_omitted", &[]), unseen.accounts_omitted.into());
    values.insert(series("campaign_details_omitted", &[]), unseen.details_omitted.into());
    values.insert(series("campaign_details_timestamp_seconds", &[]), seconds(unseen.now));
    if let Some((differences, at)) = unseen.verification {
        values.insert(series("verify_differences", &[]), differences.into());
        values.insert(series("verify_timestamp_seconds", &[]), seconds(at));
    }
    for campaign in campaigns {
        of_campaign(campaign, &unseen.of(&campaign.name), &mut values);
    }
    for account in accounts {
        of_account(account, &mut values);
    }
    values
}

fn of_campaign(campaign: &pb::Campaign, unseen: &OfCampaign, values: &mut Values) {
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
    for (label, count) in by_reason(&messages.failures) {
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
    for (name, at) in [
        ("campaign_next_due_timestamp_seconds", unseen.next_due),
        ("campaign_last_grant_timestamp_seconds", unseen.last_grant),
        ("campaign_last_outcome_timestamp_seconds", unseen.last_outcome),
        ("campaign_oldest_uncertain_claim_timestamp_seconds", unseen.oldest_uncertain),
    ] {
        if let Some(at) = at {
            set(name, None, seconds(at));
        }
    }
    if let Some(limit) = campaign.daily_limit {
        set("campaign_daily_limit", None, limit.into());
        set("campaign_daily_reserved", None, number(unseen.reserved));
    }
    set("campaign_lead_list_complete", None, truth(campaign.lead_list_complete));
    if campaign.delivery_rate.unwrap_or_default().denominator > 0 {
        set("campaign_delivery_health_certain", None, truth(campaign.delivery_health_certain));
    }
    if messages.conversion_value_micros != 0 {
        set("campaign_conversion_value", None, number(messages.conversion_value_micros) / 1e6);
    }
    for (days, [contacted, replied, converted]) in &unseen.at_age {
        let age = Some(("age_days", days.as_str()));
        set("campaign_contacted_leads_at_age", age, number(*contacted));
        set("campaign_replied_leads_at_age", age, number(*replied));
        set("campaign_converted_leads_at_age", age, number(*converted));
    }
    let managed_by = if campaign.owner.is_some() { "kubernetes" } else { "clients" };
    set("campaign_info", Some(("managed_by", managed_by)), 1.0);
    for (account, counts) in &unseen.accounts {
        let mut set = |name: &str, label: (&str, &str), count: i64| {
            let labels = [("workspace", workspace), ("campaign", id), ("account", account), label];
            values.insert(series(name, &labels), number(count));
        };
        let [failed, bounced] =
            [&counts.failed, &counts.bounced].map(|by_reason| by_reason.iter().map(|of| of.count).sum());
        for (outcome, count) in [("delivered", counts.delivered), ("failed", failed), ("bounced", bounced)] {
            set("campaign_account_messages_30d", ("outcome", outcome), count);
        }
        let lost = [counts.failed.clone(), counts.bounced.clone()].concat();
        for (label, count) in by_reason(&lost) {
            set("campaign_account_failed_messages_30d", ("reason", label), count);
        }
    }
}

/// Counts of each reason, with its label.
fn by_reason(counts: &[pb::ReasonCount]) -> [(&'static str, i64); 5] {
    [
        ("account_issue", FailureReason::AccountIssue),
        ("invalid_lead", FailureReason::InvalidLead),
        ("rate_limited", FailureReason::RateLimited),
        ("content_rejected", FailureReason::ContentRejected),
        ("other", FailureReason::Other),
    ]
    .map(|(label, reason)| {
        (label, counts.iter().filter(|count| count.reason() == reason).map(|count| count.count).sum())
    })
}

fn of_account(account: &pb::Account, values: &mut Values) {
    let (workspace, id) = names(&account.name);
    let mut set = |name: &str, label: Option<(&str, &str)>, value: f64| {
        let labels = [("workspace", workspace), ("account", id)].into_iter().chain(label);
        values.insert(series(name, &labels.collect::<Vec<_>>()), value);
    };
    for (label, state) in [("active", AccountState::Active), ("suspended", AccountState::Suspended)] {
        set("account_state", Some(("state", label)), truth(account.state() == state));
    }
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
