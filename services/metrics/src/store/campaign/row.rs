//! Maps rows of campaigns and of their counters to the domain, and back.

use campaign_metrics::{
    campaign::{CampaignSettings, CampaignState, ClaimExpiryPolicy, Hold, LeadCounts, MessageCounts, Owner},
    lead::Step,
    name::AccountId,
    schedule::{ActiveHours, Window, parse_time_zone},
};
use jiff::{SignedDuration, civil::Weekday};
use tokio_postgres::Row;

use crate::{
    error::{Error, Result},
    store::row::{broken, campaign_state},
};

/// The columns of a row `c` of `campaigns`. With `c.*`, a prepared statement would fail once a migration adds a column.
macro_rules! campaign_columns {
    () => {
        "c.workspace_id, c.campaign_id, c.name, c.uid, c.salt, c.display_name, c.state, c.finish_reason, c.steps,
        c.follow_up_delay_ms, c.time_zone, c.active_windows, c.daily_limit, c.claim_expiry_policy, c.settle_seconds,
        c.attribution_days, c.lead_list_complete, c.created_at, c.updated_at, c.finished_at, c.finalized_at, c.revision,
        c.owner_resource, c.owner_uid, c.owner_generation, c.owner_fencing_token, c.owner_cluster, c.held_at, c.hold_reason,
        c.hold_return_state, c.hold_generation"
    };
}
pub(in crate::store) use campaign_columns;

/// The columns that [`counts_from_row`] reads, of a row `k` of `campaign_counters`.
macro_rules! counts {
    () => {
        "k.sent, k.failed, k.pending, k.partial, k.delivered_messages, k.failed_messages, k.bounced_messages,
        k.account_issue, k.invalid_lead, k.rate_limited, k.content_rejected, k.other_reason, k.contacted, k.replied,
        k.converted, k.contacted_replied, k.contacted_converted, k.auto_replied, k.opted_out, k.conversion_value_micros"
    };
}
pub(in crate::store) use counts;

/// Reads the columns of [`counts`], which begin at index `first`. Reads them by index: to find each by its name makes a
/// scrape of ten thousand campaigns too slow.
pub(in crate::store) fn counts_from_row(row: &Row, first: usize) -> (LeadCounts, MessageCounts) {
    let count = |offset: usize| row.get::<_, i64>(first + offset);
    let leads = LeadCounts { sent: count(0), failed: count(1), pending: count(2), partial: count(3) };
    let messages = MessageCounts {
        delivered: count(4),
        failed: count(5),
        bounced: count(6),
        by_reason: [7, 8, 9, 10, 11].map(count),
        contacted: count(12),
        replied: count(13),
        converted: count(14),
        contacted_replied: count(15),
        contacted_converted: count(16),
        auto_replied: count(17),
        opted_out: count(18),
        conversion_value_micros: count(19),
    };
    (leads, messages)
}

pub(in crate::store) fn settings_from_row(row: &Row, accounts: Vec<AccountId>) -> Result<CampaignSettings> {
    Ok(CampaignSettings {
        display_name: row.get("display_name"),
        steps: Step::new(row.get::<_, i16>("steps").into()).ok_or_else(|| broken("steps out of range"))?,
        follow_up_delay: SignedDuration::from_millis(row.get("follow_up_delay_ms")),
        accounts,
        active_hours: active_hours_from_row(row)?,
        daily_limit: row.get("daily_limit"),
        claim_expiry_policy: match row.get::<_, i16>("claim_expiry_policy") {
            2 => ClaimExpiryPolicy::Retry,
            _ => ClaimExpiryPolicy::Hold,
        },
        settle_seconds: row.get("settle_seconds"),
        attribution_days: row.get("attribution_days"),
        lead_list_complete: row.get("lead_list_complete"),
    })
}

pub(in crate::store) fn active_hours_from_row(row: &Row) -> Result<ActiveHours> {
    let windows = active_windows(&row.get::<_, Vec<&str>>("active_windows"))?;
    Ok(ActiveHours { time_zone: parse_time_zone(row.get("time_zone"))?, windows })
}

/// Parses stored windows.
pub(in crate::store) fn active_windows(stored: &[&str]) -> Result<Vec<Window>> {
    let windows = stored.iter().map(|stored| {
        let mut parts = stored.split(' ');
        let (Some(days), Some(start), Some(end)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(broken(format!("active window {stored}")));
        };
        let days = days.bytes().map(|day| Weekday::from_monday_one_offset((day - b'0').cast_signed()));
        let days = days.collect::<Result<Vec<_>, _>>().map_err(|error| Error::Internal(error.into()))?;
        Ok(Window::new(&days, start, end)?)
    });
    windows.collect()
}

/// Formats windows for storage. `12345 09:00 17:00` is Monday to Friday from 9 to 17 h.
pub(in crate::store) fn stored_windows(hours: &ActiveHours) -> Vec<String> {
    let windows = hours.windows.iter().map(|window| {
        let days: String = window.days().map(|day| day.to_monday_one_offset().to_string()).collect();
        format!("{days} {} {}", window.start_time(), window.end_time())
    });
    windows.collect()
}

pub(in crate::store) fn stored_policy(policy: ClaimExpiryPolicy) -> i16 {
    match policy {
        ClaimExpiryPolicy::Hold => 1,
        ClaimExpiryPolicy::Retry => 2,
    }
}

pub(in crate::store) fn owner_from_row(row: &Row) -> Option<Owner> {
    Some(Owner {
        uid: row.get::<_, Option<String>>("owner_uid")?,
        resource: row.get::<_, Option<String>>("owner_resource")?,
        generation: row.get::<_, Option<i64>>("owner_generation")?,
        fencing_token: row.get::<_, Option<i64>>("owner_fencing_token")?,
        cluster: row.get::<_, Option<String>>("owner_cluster").unwrap_or_default(),
    })
}

/// Reads the hold of a campaign. What is stored of a hold ends with the pause, so a finish need not remove it.
pub(in crate::store) fn hold_from_row(row: &Row) -> Result<Option<Hold>> {
    let Some(place_time) = row.get("held_at") else { return Ok(None) };
    if campaign_state(row.get("state"))? != CampaignState::Paused {
        return Ok(None);
    }
    Ok(Some(Hold {
        place_time,
        reason: row.get("hold_reason"),
        return_state: campaign_state(row.get("hold_return_state"))?,
        generation: row.get("hold_generation"),
    }))
}
