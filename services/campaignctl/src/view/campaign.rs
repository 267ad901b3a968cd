//! Campaigns in tables and JSON.

use campaign_metrics::pb;
use serde::Serialize;

use super::{
    RateJson, View, duration, failure_reason, id, or_dash, percent, rate_json, rate_text, reasons, short, some_text,
    time,
};

/// A campaign in JSON.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CampaignJson<'a> {
    name: &'a str,
    uid: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    display_name: Option<&'a str>,
    state: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    finish_reason: Option<&'static str>,
    steps: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    follow_up_delay: Option<String>,
    accounts: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    active_hours: Option<ActiveHoursJson<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    daily_limit: Option<i32>,
    claim_expiry_policy: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    settle_seconds: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attribution_days: Option<i32>,
    lead_list_complete: bool,
    lead_counts: LeadCountsJson,
    #[serde(skip_serializing_if = "Option::is_none")]
    progress_ratio: Option<f64>,
    message_counts: MessageCountsJson,
    #[serde(skip_serializing_if = "Option::is_none")]
    delivery_rate: Option<RateJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delivery_health: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_rate: Option<RateJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    conversion_rate: Option<RateJson>,
    in_flight_claims: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    in_flight_until: Option<String>,
    uncertain_claims: i64,
    not_sending_reasons: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_change_time: Option<String>,
    create_time: Option<String>,
    update_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    finish_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    finalized_time: Option<String>,
    etag: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<OwnerJson<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ActiveHoursJson<'a> {
    time_zone: &'a str,
    windows: Vec<ActiveWindowJson<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ActiveWindowJson<'a> {
    days: Vec<Option<&'static str>>,
    start_time: &'a str,
    end_time: &'a str,
}

#[derive(Debug, Serialize)]
struct LeadCountsJson {
    sent: i64,
    failed: i64,
    pending: i64,
    partial: i64,
    total: i64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct MessageCountsJson {
    delivered: i64,
    failed: i64,
    bounced: i64,
    failures: Vec<ReasonCountJson>,
    contacted_leads: i64,
    replied_leads: i64,
    converted_leads: i64,
    auto_replied_leads: i64,
    opted_out_leads: i64,
    conversion_value_micros: i64,
}

#[derive(Debug, Serialize)]
struct ReasonCountJson {
    reason: Option<&'static str>,
    count: i64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct OwnerJson<'a> {
    resource: &'a str,
    uid: &'a str,
    generation: i64,
    fencing_token: i64,
}

fn state(campaign: &pb::Campaign) -> Option<&'static str> {
    short(campaign.state().as_str_name(), "CAMPAIGN_STATE_")
}

fn health(campaign: &pb::Campaign) -> Option<&'static str> {
    short(campaign.delivery_health().as_str_name(), "DELIVERY_HEALTH_")
}

fn finish_reason(campaign: &pb::Campaign) -> Option<&'static str> {
    short(campaign.finish_reason().as_str_name(), "FINISH_REASON_")
}

fn active_hours(hours: &pb::ActiveHours) -> ActiveHoursJson<'_> {
    let windows = hours.windows.iter().map(|window| ActiveWindowJson {
        days: window.days().map(|day| short(day.as_str_name(), "DAY_OF_WEEK_")).collect(),
        start_time: &window.start_time,
        end_time: &window.end_time,
    });
    ActiveHoursJson { time_zone: &hours.time_zone, windows: windows.collect() }
}

impl View for pb::Campaign {
    type Json<'a> = CampaignJson<'a>;

    const COLUMNS: &'static [&'static str] =
        &["CAMPAIGN", "STATE", "PROGRESS", "SENT", "FAILED", "PENDING", "PARTIAL", "TOTAL", "DELIVERY", "HEALTH"];

    fn row(&self) -> Vec<String> {
        let counts = self.lead_counts.unwrap_or_default();
        vec![
            id(&self.name).to_owned(),
            or_dash(state(self)),
            or_dash(percent(self.progress_ratio)),
            counts.sent.to_string(),
            counts.failed.to_string(),
            counts.pending.to_string(),
            counts.partial.to_string(),
            counts.total.to_string(),
            or_dash(self.delivery_rate.as_ref().and_then(|rate| percent(rate.ratio))),
            or_dash(health(self)),
        ]
    }

    fn details(&self) -> Vec<(&'static str, Option<String>)> {
        let leads = self.lead_counts.unwrap_or_default();
        let messages = self.message_counts.clone().unwrap_or_default();
        let because = |text: Option<&str>| text.map(|text| format!(" ({text})")).unwrap_or_default();
        let accounts: Vec<&str> = self.accounts.iter().map(|name| id(name)).collect();
        let failures: Vec<String> = messages
            .failures
            .iter()
            .map(|failure| format!("{} {}", failure.count, failure_reason(failure.reason).unwrap_or("OTHER")))
            .collect();
        let in_flight = match time(self.in_flight_until.as_ref()) {
            Some(until) => format!("{} until {until}", self.in_flight_claims),
            None => self.in_flight_claims.to_string(),
        };
        vec![
            ("Campaign", Some(self.name.clone())),
            ("Display name", some_text(&self.display_name).map(str::to_owned)),
            ("State", Some(format!("{}{}", or_dash(state(self)), because(finish_reason(self))))),
            ("Managed by", self.owner.as_ref().map(|owner| format!("Kubernetes resource {}", owner.resource))),
            ("Not sending", some_text(&reasons(&self.not_sending_reasons).join(", ")).map(str::to_owned)),
            ("Next change", time(self.next_change_time.as_ref())),
            ("Progress", percent(self.progress_ratio)),
            (
                "Leads",
                Some(format!(
                    "{} sent + {} failed + {} pending + {} partial = {}{}",
                    leads.sent,
                    leads.failed,
                    leads.pending,
                    leads.partial,
                    leads.total,
                    if self.lead_list_complete { ", list complete" } else { ", more may come" }
                )),
            ),
            (
                "Messages",
                Some(format!(
                    "{} delivered, {} failed, {} bounced{}",
                    messages.delivered,
                    messages.failed,
                    messages.bounced,
                    because(some_text(&failures.join(", ")))
                )),
            ),
            ("Delivery", rate_text(self.delivery_rate.as_ref()).map(|rate| rate + &because(health(self)))),
            ("Response", rate_text(self.response_rate.as_ref())),
            ("Conversion", rate_text(self.conversion_rate.as_ref())),
            ("In flight", Some(in_flight)),
            ("Uncertain", Some(self.uncertain_claims.to_string())),
            ("Steps", Some(self.steps.to_string())),
            ("Accounts", some_text(&accounts.join(", ")).map(str::to_owned)),
            ("Daily limit", self.daily_limit.map(|limit| limit.to_string())),
            ("Created", time(self.create_time.as_ref())),
            ("Finished", time(self.finish_time.as_ref())),
            ("Final since", time(self.finalized_time.as_ref())),
        ]
    }

    fn json(&self) -> CampaignJson<'_> {
        let leads = self.lead_counts.unwrap_or_default();
        let messages = self.message_counts.clone().unwrap_or_default();
        CampaignJson {
            name: &self.name,
            uid: &self.uid,
            display_name: some_text(&self.display_name),
            state: state(self),
            finish_reason: finish_reason(self),
            steps: self.steps,
            follow_up_delay: self.follow_up_delay.as_ref().map(duration),
            accounts: &self.accounts,
            active_hours: self.active_hours.as_ref().map(active_hours),
            daily_limit: self.daily_limit,
            claim_expiry_policy: short(self.claim_expiry_policy().as_str_name(), "CLAIM_EXPIRY_POLICY_"),
            settle_seconds: self.settle_seconds,
            attribution_days: self.attribution_days,
            lead_list_complete: self.lead_list_complete,
            lead_counts: LeadCountsJson {
                sent: leads.sent,
                failed: leads.failed,
                pending: leads.pending,
                partial: leads.partial,
                total: leads.total,
            },
            progress_ratio: self.progress_ratio,
            message_counts: MessageCountsJson {
                delivered: messages.delivered,
                failed: messages.failed,
                bounced: messages.bounced,
                failures: messages
                    .failures
                    .iter()
                    .map(|failure| ReasonCountJson { reason: failure_reason(failure.reason), count: failure.count })
                    .collect(),
                contacted_leads: messages.contacted_leads,
                replied_leads: messages.replied_leads,
                converted_leads: messages.converted_leads,
                auto_replied_leads: messages.auto_replied_leads,
                opted_out_leads: messages.opted_out_leads,
                conversion_value_micros: messages.conversion_value_micros,
            },
            delivery_rate: rate_json(self.delivery_rate.as_ref()),
            delivery_health: health(self),
            response_rate: rate_json(self.response_rate.as_ref()),
            conversion_rate: rate_json(self.conversion_rate.as_ref()),
            in_flight_claims: self.in_flight_claims,
            in_flight_until: time(self.in_flight_until.as_ref()),
            uncertain_claims: self.uncertain_claims,
            not_sending_reasons: reasons(&self.not_sending_reasons),
            next_change_time: time(self.next_change_time.as_ref()),
            create_time: time(self.create_time.as_ref()),
            update_time: time(self.update_time.as_ref()),
            finish_time: time(self.finish_time.as_ref()),
            finalized_time: time(self.finalized_time.as_ref()),
            etag: &self.etag,
            owner: self.owner.as_ref().map(|owner| OwnerJson {
                resource: &owner.resource,
                uid: &owner.uid,
                generation: owner.generation,
                fencing_token: owner.fencing_token,
            }),
        }
    }
}
