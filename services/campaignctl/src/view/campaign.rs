//! Campaigns in tables.

use campaign_metrics::pb;

use super::{
    View, delivery_text, health_cell, id, leads_text, messages_text, or_dash, percent, rate_text, reasons, short,
    some_text, span, time,
};

fn state(campaign: &pb::Campaign) -> Option<&'static str> {
    short(campaign.state().as_str_name(), "CAMPAIGN_STATE_")
}

fn finish_reason(campaign: &pb::Campaign) -> Option<&'static str> {
    short(campaign.finish_reason().as_str_name(), "FINISH_REASON_")
}

fn hold(hold: &pb::Hold) -> String {
    let reason = some_text(&hold.reason).map(|reason| format!(": {reason}")).unwrap_or_default();
    let returns = or_dash(short(hold.return_state().as_str_name(), "CAMPAIGN_STATE_"));
    format!("since {}{reason} ({returns} when lifted)", or_dash(time(hold.place_time.as_ref())))
}

/// Renders the steps, and how far apart they are: `3, 2d apart`.
fn steps(campaign: &pb::Campaign) -> String {
    match &campaign.follow_up_delay {
        Some(delay) if campaign.steps > 1 => format!("{}, {} apart", campaign.steps, span(delay)),
        _ => campaign.steps.to_string(),
    }
}

/// Renders active hours as the flags take them, with the zone: `Mon,Tue 09:00-17:00, Sat 10:00-14:00 (Europe/Berlin)`.
fn hours(hours: &pb::ActiveHours) -> String {
    let day = |day: pb::DayOfWeek| {
        let name = short(day.as_str_name(), "DAY_OF_WEEK_").unwrap_or("-");
        format!("{}{}", &name[..1], name[1..name.len().min(3)].to_lowercase())
    };
    let window = |window: &pb::ActiveWindow| {
        let days: Vec<String> = window.days().map(day).collect();
        let is_every_day = days.is_empty() || days.len() == 7;
        let days = if is_every_day { String::new() } else { days.join(",") + " " };
        format!("{days}{}-{}", window.start_time, window.end_time)
    };
    let windows: Vec<String> = hours.windows.iter().map(window).collect();
    let windows = if windows.is_empty() { "always".to_owned() } else { windows.join(", ") };
    format!("{windows} ({})", hours.time_zone)
}

/// Renders seconds as a span.
fn seconds(seconds: i32) -> String {
    span(&prost_types::Duration { seconds: seconds.into(), nanos: 0 })
}

fn expiry(campaign: &pb::Campaign) -> Option<&'static str> {
    short(campaign.claim_expiry_policy().as_str_name(), "CLAIM_EXPIRY_POLICY_")
}

impl View for pb::Campaign {
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
            or_dash(health_cell(self.delivery_health(), self.delivery_health_certain)),
        ]
    }

    fn details(&self) -> Vec<(&'static str, Option<String>)> {
        let leads = self.lead_counts.unwrap_or_default();
        let messages = self.message_counts.clone().unwrap_or_default();
        let because = |text: Option<&str>| text.map(|text| format!(" ({text})")).unwrap_or_default();
        let accounts: Vec<&str> = self.accounts.iter().map(|name| id(name)).collect();
        let rate = self.delivery_rate.as_ref();
        let delivery = delivery_text(rate, self.delivery_health(), self.delivery_health_certain);
        let in_flight = match time(self.in_flight_until.as_ref()) {
            Some(until) => format!("{} until {until}", self.in_flight_claims),
            None => self.in_flight_claims.to_string(),
        };
        vec![
            ("Campaign", Some(self.name.clone())),
            ("Display name", some_text(&self.display_name).map(str::to_owned)),
            ("State", Some(format!("{}{}", or_dash(state(self)), because(finish_reason(self))))),
            ("Held", self.hold.as_ref().map(hold)),
            ("Managed by", self.owner.as_ref().map(|owner| format!("Kubernetes resource {}", owner.resource))),
            ("Not sending", some_text(&reasons(&self.not_sending_reasons).join(", ")).map(str::to_owned)),
            ("Next change", time(self.next_change_time.as_ref())),
            ("Progress", percent(self.progress_ratio)),
            (
                "Leads",
                Some(leads_text(leads) + if self.lead_list_complete { ", list complete" } else { ", more may come" }),
            ),
            (
                "Messages",
                Some(messages_text(messages.delivered, messages.failed, messages.bounced, &messages.failures)),
            ),
            ("Delivery", delivery),
            ("Response", rate_text(self.response_rate.as_ref())),
            ("Conversion", rate_text(self.conversion_rate.as_ref())),
            ("In flight", Some(in_flight)),
            ("Uncertain", Some(self.uncertain_claims.to_string())),
            ("Steps", Some(steps(self))),
            ("Accounts", some_text(&accounts.join(", ")).map(str::to_owned)),
            ("Active hours", self.active_hours.as_ref().map(hours)),
            ("Daily limit", self.daily_limit.map(|limit| limit.to_string())),
            ("Claim expiry", expiry(self).map(str::to_owned)),
            ("Settle time", self.settle_seconds.map(seconds)),
            ("Attribution", self.attribution_days.map(|days| format!("{days}d"))),
            ("Created", time(self.create_time.as_ref())),
            ("Finished", time(self.finish_time.as_ref())),
            ("Final since", time(self.finalized_time.as_ref())),
        ]
    }
}
