//! Accounts in tables and JSON.

use campaign_metrics::pb;
use serde::Serialize;

use super::{RateJson, View, id, or_dash, percent, rate_json, short, some_text, time};

/// An account in JSON.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AccountJson<'a> {
    name: &'a str,
    uid: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    display_name: Option<&'a str>,
    state: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    daily_limit: Option<i32>,
    time_zone: &'a str,
    reserved_today: i64,
    campaigns: &'a [String],
    lifetime: PerformanceJson,
    #[serde(rename = "last30Days")]
    last_30_days: PerformanceJson,
    create_time: Option<String>,
    update_time: Option<String>,
    etag: &'a str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PerformanceJson {
    delivered: i64,
    failed: i64,
    bounced: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    success_rate: Option<RateJson>,
}

fn performance_json(performance: Option<&pb::AccountPerformance>) -> PerformanceJson {
    let performance = performance.copied().unwrap_or_default();
    PerformanceJson {
        delivered: performance.delivered,
        failed: performance.failed,
        bounced: performance.bounced,
        success_rate: rate_json(performance.success_rate.as_ref()),
    }
}

fn performance_text(performance: Option<&pb::AccountPerformance>) -> Option<String> {
    let performance = performance?;
    let ratio = performance.success_rate.and_then(|rate| percent(rate.ratio));
    Some(format!(
        "{} delivered, {} failed, {} bounced; success {}",
        performance.delivered,
        performance.failed,
        performance.bounced,
        or_dash(ratio)
    ))
}

fn state(account: &pb::Account) -> Option<&'static str> {
    short(account.state().as_str_name(), "ACCOUNT_STATE_")
}

impl View for pb::Account {
    type Json<'a> = AccountJson<'a>;

    const COLUMNS: &'static [&'static str] =
        &["ACCOUNT", "STATE", "TODAY", "DAILY LIMIT", "ZONE", "SENT", "SENT 30 DAYS", "SUCCESS", "CAMPAIGNS"];

    fn row(&self) -> Vec<String> {
        let lifetime = self.lifetime.unwrap_or_default();
        vec![
            id(&self.name).to_owned(),
            or_dash(state(self)),
            self.reserved_today.to_string(),
            or_dash(self.daily_limit.map(|limit| limit.to_string())),
            self.time_zone.clone(),
            lifetime.delivered.to_string(),
            self.last_30_days.unwrap_or_default().delivered.to_string(),
            or_dash(lifetime.success_rate.and_then(|rate| percent(rate.ratio))),
            self.campaigns.len().to_string(),
        ]
    }

    fn details(&self) -> Vec<(&'static str, Option<String>)> {
        let campaigns: Vec<&str> = self.campaigns.iter().map(|name| id(name)).collect();
        let today = match self.daily_limit {
            Some(limit) => format!("{} of {limit}", self.reserved_today),
            None => format!("{}, no limit", self.reserved_today),
        };
        vec![
            ("Account", Some(self.name.clone())),
            ("Display name", some_text(&self.display_name).map(str::to_owned)),
            ("State", state(self).map(str::to_owned)),
            ("Used today", Some(today)),
            ("Time zone", some_text(&self.time_zone).map(str::to_owned)),
            ("Campaigns", some_text(&campaigns.join(", ")).map(str::to_owned)),
            ("Lifetime", performance_text(self.lifetime.as_ref())),
            ("Last 30 days", performance_text(self.last_30_days.as_ref())),
            ("Created", time(self.create_time.as_ref())),
        ]
    }

    fn json(&self) -> AccountJson<'_> {
        AccountJson {
            name: &self.name,
            uid: &self.uid,
            display_name: some_text(&self.display_name),
            state: state(self),
            daily_limit: self.daily_limit,
            time_zone: &self.time_zone,
            reserved_today: self.reserved_today,
            campaigns: &self.campaigns,
            lifetime: performance_json(self.lifetime.as_ref()),
            last_30_days: performance_json(self.last_30_days.as_ref()),
            create_time: time(self.create_time.as_ref()),
            update_time: time(self.update_time.as_ref()),
            etag: &self.etag,
        }
    }
}
