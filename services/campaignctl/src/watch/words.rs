//! A campaign in a few words, for the table and for lines.

use std::time::Instant;

use campaign_metrics::pb;

use super::{
    board::{Connection, Row},
    pace::roughly,
};
use crate::view::{failures, health_text, id, or_dash, reasons, second, share, short};

/// Returns the state without its prefix.
pub fn state(campaign: &pb::Campaign) -> &'static str {
    short(campaign.state().as_str_name(), "CAMPAIGN_STATE_").unwrap_or("-")
}

/// Renders the pace in leads an hour.
pub fn pace(row: &Row, now: Instant) -> String {
    or_dash(row.pace.per_hour(now, row.done_and_open().0).map(|per_hour| format!("{per_hour:.0}/h")))
}

/// Renders how long the open leads take.
pub fn ready_in(row: &Row, now: Instant) -> String {
    let (done, open) = row.done_and_open();
    or_dash(row.pace.ready_in(now, done, open).map(roughly))
}

/// Says why nothing is sent, and when that can change; `None` while something can be claimed.
pub fn why_not(campaign: &pb::Campaign) -> Option<String> {
    let reasons = reasons(&campaign.not_sending_reasons).join(", ");
    let until = second(campaign.next_change_time.as_ref()).map(|time| format!(", can change at {time}"));
    (!reasons.is_empty()).then(|| format!("nothing is sent: {reasons}{}", until.unwrap_or_default()))
}

/// Says everything about a campaign in one line, but its pace.
pub fn line(row: &Row) -> String {
    let campaign = &row.campaign;
    let leads = campaign.lead_counts.unwrap_or_default();
    let (done, _) = row.done_and_open();
    let progress = campaign.progress_ratio.map(|ratio| format!(", {} done", share(ratio))).unwrap_or_default();
    let rate = campaign.delivery_rate.as_ref();
    let delivery = rate.and_then(|rate| rate.ratio).zip(health_text(
        campaign.delivery_health(),
        campaign.delivery_health_certain,
        rate,
    ));
    let delivery = delivery.map(|(ratio, health)| format!(", delivery {} {health}", share(ratio))).unwrap_or_default();
    let failed = campaign.message_counts.as_ref().and_then(|messages| failures(&messages.failures));
    let failed = failed.map(|failed| format!(", failures: {failed}")).unwrap_or_default();
    let why = why_not(campaign).map(|why| format!("; {why}")).unwrap_or_default();
    format!(
        "{}: {}, {done} of {} leads{progress}, {} in flight{delivery}{failed}{why}",
        id(&campaign.name),
        state(campaign),
        leads.total,
        campaign.in_flight_claims
    )
}

/// Describes the connection.
pub fn connection(connection: &Connection, now: Instant) -> String {
    match connection {
        Connection::Connecting => "Connecting".to_owned(),
        Connection::Live => "Live".to_owned(),
        Connection::Lost { why, since, until } => format!(
            "Not live since {}; next attempt in {}: {why}",
            roughly(now.saturating_duration_since(*since)),
            roughly(until.saturating_duration_since(now))
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::watch::pace::Pace;

    fn row() -> Row {
        let failures = vec![pb::ReasonCount { reason: pb::FailureReason::InvalidLead.into(), count: 9 }];
        let campaign = pb::Campaign {
            name: "workspaces/acme/campaigns/spring".into(),
            state: pb::CampaignState::Active.into(),
            lead_counts: Some(pb::LeadCounts { sent: 61, failed: 11, pending: 118, partial: 20, total: 210 }),
            progress_ratio: Some(72.0 / 210.0),
            message_counts: Some(pb::MessageCounts { failures, ..pb::MessageCounts::default() }),
            delivery_rate: Some(pb::Rate { numerator: 15, denominator: 18, ratio: Some(15.0 / 18.0) }),
            delivery_health: pb::DeliveryHealth::Moderate.into(),
            in_flight_claims: 4,
            not_sending_reasons: vec![pb::NotSendingReason::AccountDailyLimit.into()],
            next_change_time: Some(prost_types::Timestamp { seconds: 1_772_492_400, nanos: 0 }),
            ..pb::Campaign::default()
        };
        Row { campaign, pace: Pace::default() }
    }

    #[test]
    fn a_line_says_everything_about_a_campaign() {
        assert_eq!(
            line(&row()),
            "spring: ACTIVE, 72 of 210 leads, 34.3 % done, 4 in flight, delivery 83.3 % MODERATE (not certain yet: \
             18 messages), failures: 9 INVALID_LEAD; nothing is sent: ACCOUNT_DAILY_LIMIT, can change at \
             2026-03-02T23:00:00Z"
        );
        let empty = pb::Campaign { name: "workspaces/acme/campaigns/new".into(), ..pb::Campaign::default() };
        assert_eq!(line(&Row { campaign: empty, pace: Pace::default() }), "new: -, 0 of 0 leads, 0 in flight");
    }

    #[test]
    fn a_pace_leads_to_an_end() {
        let (mut row, start) = (row(), Instant::now());
        assert_eq!((pace(&row, start), ready_in(&row, start)), ("-".to_owned(), "-".to_owned()));
        row.pace.note(start, 12);
        let later = start + Duration::from_mins(30);
        assert_eq!((pace(&row, later), ready_in(&row, later)), ("120/h".to_owned(), "1 h".to_owned()));
    }

    #[test]
    fn a_lost_connection_says_since_when_and_when_it_is_tried_again() {
        let now = Instant::now();
        let lost = Connection::Lost {
            why: "can't reach the service".into(),
            since: now,
            until: now + Duration::from_secs(12),
        };
        assert_eq!(
            connection(&lost, now + Duration::from_secs(5)),
            "Not live since 5 s; next attempt in 7 s: can't reach the service"
        );
        assert_eq!(connection(&Connection::Live, now), "Live");
    }
}
