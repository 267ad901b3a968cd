//! Accounts in tables.

use campaign_metrics::pb;

use super::{View, health_cell, health_text, id, messages_text, or_dash, percent, short, some_text, time};

fn performance_text(performance: Option<&pb::AccountPerformance>) -> Option<String> {
    let performance = performance?;
    let rate = performance.success_rate.as_ref();
    let health = health_text(performance.delivery_health(), performance.delivery_health_certain, rate);
    Some(format!(
        "{}; success {}{}",
        messages_text(performance.delivered, performance.failed, performance.bounced, &performance.failures),
        or_dash(rate.and_then(|rate| percent(rate.ratio))),
        health.map(|health| format!(", {health}")).unwrap_or_default()
    ))
}

fn state(account: &pb::Account) -> Option<&'static str> {
    short(account.state().as_str_name(), "ACCOUNT_STATE_")
}

impl View for pb::Account {
    const COLUMNS: &'static [&'static str] =
        &["ACCOUNT", "STATE", "TODAY", "DAILY LIMIT", "ZONE", "SENT", "SENT 30 DAYS", "SUCCESS", "HEALTH", "CAMPAIGNS"];

    fn row(&self) -> Vec<String> {
        let lifetime = self.lifetime.clone().unwrap_or_default();
        vec![
            id(&self.name).to_owned(),
            or_dash(state(self)),
            self.reserved_today.to_string(),
            or_dash(self.daily_limit.map(|limit| limit.to_string())),
            self.time_zone.clone(),
            lifetime.delivered.to_string(),
            self.last_30_days.as_ref().map_or(0, |days| days.delivered).to_string(),
            or_dash(lifetime.success_rate.and_then(|rate| percent(rate.ratio))),
            or_dash(health_cell(lifetime.delivery_health(), lifetime.delivery_health_certain)),
            self.campaign_count.to_string(),
        ]
    }

    fn details(&self) -> Vec<(&'static str, Option<String>)> {
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
            ("Campaigns", Some(self.campaign_count.to_string())),
            ("Lifetime", performance_text(self.lifetime.as_ref())),
            ("Last 30 days", performance_text(self.last_30_days.as_ref())),
            ("Created", time(self.create_time.as_ref())),
        ]
    }
}
