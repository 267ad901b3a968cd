//! Totals of a workspace in tables.

use campaign_metrics::pb;

use super::{
    View, delivery_text, health_cell, id, leads_text, messages_text, or_dash, percent, rate_text, some_text, time,
};

impl View for pb::WorkspaceTotals {
    const COLUMNS: &'static [&'static str] =
        &["WORKSPACE", "ACTIVE", "PAUSED", "FINISHED", "PROGRESS", "LEADS", "DELIVERY", "HEALTH", "RESPONSE"];

    fn row(&self) -> Vec<String> {
        let leads = self.lead_counts.unwrap_or_default();
        let ratio = |rate: Option<pb::Rate>| or_dash(rate.and_then(|rate| percent(rate.ratio)));
        vec![
            id(&self.name).to_owned(),
            self.active_campaigns.to_string(),
            self.paused_campaigns.to_string(),
            self.finished_campaigns.to_string(),
            or_dash(percent(self.progress_ratio)),
            leads.total.to_string(),
            ratio(self.delivery_rate),
            or_dash(health_cell(self.delivery_health(), self.delivery_health_certain)),
            ratio(self.response_rate),
        ]
    }

    fn details(&self) -> Vec<(&'static str, Option<String>)> {
        let leads = self.lead_counts.unwrap_or_default();
        let messages = self.message_counts.clone().unwrap_or_default();
        let rate = self.delivery_rate.as_ref();
        let delivery = delivery_text(rate, self.delivery_health(), self.delivery_health_certain);
        vec![
            ("Workspace", some_text(id(&self.name)).map(str::to_owned)),
            ("As of", time(self.as_of_time.as_ref())),
            (
                "Campaigns",
                Some(format!(
                    "{} active, {} paused, {} finished",
                    self.active_campaigns, self.paused_campaigns, self.finished_campaigns
                )),
            ),
            ("Accounts", Some(format!("{} active, {} suspended", self.active_accounts, self.suspended_accounts))),
            ("Progress", percent(self.progress_ratio)),
            ("Leads", Some(leads_text(leads))),
            (
                "Messages",
                Some(messages_text(messages.delivered, messages.failed, messages.bounced, &messages.failures)),
            ),
            ("Delivery", delivery),
            ("Response", rate_text(self.response_rate.as_ref())),
            ("Conversion", rate_text(self.conversion_rate.as_ref())),
        ]
    }
}
