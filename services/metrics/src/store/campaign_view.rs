//! Reads campaigns as callers see them: settings, counts, claims and the reasons for which nothing is sent.
//!
//! Everything comes from rollups (counters, claims, segments, the heads of the returns), never from a scan of leads, in a
//! few statements for any number of campaigns, all of one snapshot.

use std::collections::HashMap;

use campaign_metrics::{
    account::AccountState,
    campaign::{
        Campaign, CampaignSettings, CampaignState, ClaimExpiryPolicy, FinishReason, LeadCounts, MessageCounts, Owner,
    },
    lead::Step,
    name::{AccountId, CampaignName},
    schedule::{ActiveHours, Window, local_day, parse_time_zone},
    sending::{AccountStanding, CampaignStanding},
};
use deadpool_postgres::Transaction;
use futures::try_join;
use jiff::{
    SignedDuration, Timestamp, ToSpan as _,
    civil::{Date, Weekday},
};
use tokio_postgres::{Row, types::ToSql};

use crate::error::{Error, Result};

/// Internal numbers of a campaign: workspace, campaign.
pub(super) type CampaignKey = (i32, i32);

/// The columns that [`counts_from_row`] reads, of a row `k` of `campaign_counters`.
macro_rules! counts {
    () => {
        "k.sent, k.failed, k.pending, k.partial, k.delivered_messages, k.failed_messages, k.bounced_messages,
        k.account_issue, k.invalid_lead, k.rate_limited, k.content_rejected, k.other_reason, k.contacted, k.replied,
        k.converted, k.contacted_replied, k.contacted_converted, k.auto_replied, k.opted_out, k.conversion_value_micros"
    };
}
pub(super) use counts;

const CAMPAIGNS: &str = concat!(
    "SELECT ",
    counts!(),
    ", w.name AS workspace, c.*
    FROM unnest($1::int4[], $2::int4[]) WITH ORDINALITY AS key (workspace_id, campaign_id, place)
    JOIN campaigns c USING (workspace_id, campaign_id)
    -- The latest first: behind an old snapshot the dead versions before it are many.
    CROSS JOIN LATERAL (
        SELECT * FROM campaign_counters k WHERE k.workspace_id = c.workspace_id AND k.campaign_id = c.campaign_id
        ORDER BY k.epoch DESC LIMIT 1
    ) k
    JOIN workspaces w ON w.workspace_id = c.workspace_id
    ORDER BY key.place"
);

const ACCOUNTS: &str = "
    SELECT a.workspace_id, s.campaign_id, a.account_id, a.name, a.state, a.daily_limit, a.time_zone
    FROM unnest($1::int4[], $2::int4[]) AS key (workspace_id, campaign_id)
    JOIN campaign_accounts s USING (workspace_id, campaign_id)
    JOIN accounts a USING (workspace_id, account_id)
    WHERE NOT s.removed
    ORDER BY a.name";

const CAMPAIGN_RESERVATIONS: &str = "
    SELECT workspace_id, campaign_id, day, sum(reserved)::int8 AS reserved
    FROM unnest($1::int4[], $2::int4[]) AS key (workspace_id, campaign_id)
    JOIN campaign_reservations r USING (workspace_id, campaign_id)
    WHERE r.day BETWEEN $3 AND $4
    GROUP BY workspace_id, campaign_id, day";

const ACCOUNT_RESERVATIONS: &str = "
    SELECT workspace_id, account_id, day, sum(reserved)::int8 AS reserved
    FROM (
        SELECT DISTINCT workspace_id, account_id FROM unnest($1::int4[], $2::int4[]) AS key (workspace_id, campaign_id)
        JOIN campaign_accounts s USING (workspace_id, campaign_id)
    ) serving
    JOIN account_reservations r USING (workspace_id, account_id)
    WHERE r.day BETWEEN $3 AND $4
    GROUP BY workspace_id, account_id, day";

/// What is not closed is held or uncertain; only what expired is looked at one by one.
///
/// Rows of claims that are closed lie among those in flight until they expire; after so many of them the next row says when,
/// at the latest or earliest.
const CLAIMS: &str = "
    SELECT workspace_id, campaign_id, uncertain, open.claims - uncertain AS in_flight,
        CASE WHEN open.claims > uncertain THEN in_flight_until END AS in_flight_until,
        CASE WHEN open.claims > uncertain THEN next_expiry END AS next_expiry
    FROM unnest($1::int4[], $2::int4[]) AS key (workspace_id, campaign_id)
    CROSS JOIN LATERAL (
        SELECT (SELECT granted FROM campaign_claims g
                WHERE g.workspace_id = key.workspace_id AND g.campaign_id = key.campaign_id ORDER BY epoch DESC LIMIT 1)
            - (SELECT closed_claims FROM campaign_counters k
                WHERE k.workspace_id = key.workspace_id AND k.campaign_id = key.campaign_id ORDER BY epoch DESC LIMIT 1)
            AS claims
    ) open
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(bit_count(claim_open(c)::bit(64))), 0)::int8 AS uncertain FROM claims c
        WHERE (c.workspace_id::int8 << 32) + c.campaign_id = (key.workspace_id::int8 << 32) + key.campaign_id
            AND c.expires_at <= $3
    ) expired
    CROSS JOIN LATERAL (
        SELECT
            coalesce(
                (SELECT expires_at FROM (
                    SELECT c AS claim, c.expires_at FROM claims c
                    WHERE (c.workspace_id::int8 << 32) + c.campaign_id = (key.workspace_id::int8 << 32) + key.campaign_id
                        AND c.expires_at > $3 ORDER BY c.expires_at DESC LIMIT 64
                ) next WHERE claim_open(claim) <> 0 ORDER BY expires_at DESC LIMIT 1),
                (SELECT c.expires_at FROM claims c
                    WHERE (c.workspace_id::int8 << 32) + c.campaign_id = (key.workspace_id::int8 << 32) + key.campaign_id
                        AND c.expires_at > $3 ORDER BY c.expires_at DESC OFFSET 64 LIMIT 1)
            ) AS in_flight_until,
            coalesce(
                (SELECT expires_at FROM (
                    SELECT c AS claim, c.expires_at FROM claims c
                    WHERE (c.workspace_id::int8 << 32) + c.campaign_id = (key.workspace_id::int8 << 32) + key.campaign_id
                        AND c.expires_at > $3 ORDER BY c.expires_at LIMIT 64
                ) next WHERE claim_open(claim) <> 0 ORDER BY expires_at LIMIT 1),
                (SELECT c.expires_at FROM claims c
                    WHERE (c.workspace_id::int8 << 32) + c.campaign_id = (key.workspace_id::int8 << 32) + key.campaign_id
                        AND c.expires_at > $3 ORDER BY c.expires_at OFFSET 64 LIMIT 1)
            ) AS next_expiry
    ) ahead
    WHERE open.claims <> 0";

const DUE: &str = "
    SELECT workspace_id, campaign_id,
        EXISTS (
            SELECT FROM (
                SELECT s.account_id FROM campaign_accounts s
                WHERE s.workspace_id = key.workspace_id AND s.campaign_id = key.campaign_id AND NOT s.removed
                UNION ALL SELECT 0
            ) serving
            JOIN segments n USING (account_id)
            WHERE n.workspace_id = key.workspace_id AND n.campaign_id = key.campaign_id AND n.lo < n.hi
        ) AS has_new,
        (
            SELECT min(first.due_at) FROM (
                SELECT s.account_id FROM campaign_accounts s
                WHERE s.workspace_id = key.workspace_id AND s.campaign_id = key.campaign_id AND NOT s.removed
                UNION ALL SELECT 0
            ) serving
            CROSS JOIN LATERAL (
                SELECT r.due_at FROM returns r
                WHERE r.workspace_id = key.workspace_id AND r.campaign_id = key.campaign_id
                    AND r.account_id = serving.account_id
                ORDER BY r.due_at LIMIT 1
            ) first
        ) AS next_return,
        EXISTS (
            SELECT FROM campaign_accounts s
            JOIN returns r USING (workspace_id, campaign_id, account_id)
            WHERE s.workspace_id = key.workspace_id AND s.campaign_id = key.campaign_id AND s.removed
        ) AS account_removed
    FROM unnest($1::int4[], $2::int4[]) AS key (workspace_id, campaign_id)";

/// Reads the campaigns of `keys`, in their order; those that do not exist are left out.
pub(super) async fn campaigns_load_in_txn(
    txn: &Transaction<'_>,
    keys: &[CampaignKey],
    now: Timestamp,
) -> Result<Vec<Campaign>> {
    let (workspaces, campaigns): (Vec<i32>, Vec<i32>) = keys.iter().copied().unzip();
    let today = local_day(&jiff::tz::TimeZone::UTC, now);
    // Whatever the zone, its local day is one of these three.
    let (first, last) = (today.saturating_sub(1.day()), today.saturating_add(1.day()));
    let statements = try_join!(
        txn.prepare_cached(CAMPAIGNS),
        txn.prepare_cached(ACCOUNTS),
        txn.prepare_cached(CAMPAIGN_RESERVATIONS),
        txn.prepare_cached(ACCOUNT_RESERVATIONS),
        txn.prepare_cached(CLAIMS),
        txn.prepare_cached(DUE),
    )?;
    let keys: [&(dyn ToSql + Sync); 2] = [&workspaces, &campaigns];
    let days: [&(dyn ToSql + Sync); 4] = [&workspaces, &campaigns, &first, &last];
    let at: [&(dyn ToSql + Sync); 3] = [&workspaces, &campaigns, &now];
    // Polled together, the statements travel in one round trip.
    let (rows, accounts, campaign_reservations, account_reservations, claims, due) = try_join!(
        txn.query(&statements.0, &keys),
        txn.query(&statements.1, &keys),
        txn.query(&statements.2, &days),
        txn.query(&statements.3, &days),
        txn.query(&statements.4, &at),
        txn.query(&statements.5, &keys),
    )?;
    let account_reserved = reservations(&account_reservations);
    let campaign_reserved = reservations(&campaign_reservations);
    let mut serving: HashMap<CampaignKey, Vec<(AccountId, AccountStanding)>> = HashMap::new();
    for row in &accounts {
        let standing = account_standing(row, &account_reserved, now)?;
        let id = row.get::<_, &str>("name").parse::<AccountId>()?;
        serving.entry((row.get("workspace_id"), row.get("campaign_id"))).or_default().push((id, standing));
    }
    let claims: HashMap<CampaignKey, &Row> = claims.iter().map(|row| ((row.get(0), row.get(1)), row)).collect();
    let due: HashMap<CampaignKey, &Row> = due.iter().map(|row| ((row.get(0), row.get(1)), row)).collect();
    rows.iter()
        .map(|row| {
            let key = (row.get("workspace_id"), row.get("campaign_id"));
            let (ids, standings): (Vec<_>, Vec<_>) = serving.remove(&key).unwrap_or_default().into_iter().unzip();
            let mut campaign = campaign_from_row(row, ids)?;
            if let Some(claims) = claims.get(&key) {
                campaign.in_flight_claims = claims.get("in_flight");
                campaign.in_flight_until = claims.get("in_flight_until");
                campaign.uncertain_claims = claims.get("uncertain");
            }
            let reserved = *campaign_reserved
                .get(&(key.0, key.1, local_day(&campaign.settings.active_hours.time_zone, now)))
                .unwrap_or(&0);
            let due = due.get(&key).ok_or_else(|| broken("a campaign without due row"))?;
            campaign.next_due = if due.get("has_new") { Some(now) } else { due.get("next_return") };
            campaign.blocked = standing(&campaign, reserved, &standings, due).blocked(now);
            campaign.blocked.change_at(claims.get(&key).and_then(|claims| claims.get("next_expiry")));
            Ok(campaign)
        })
        .collect()
}

fn standing<'a>(
    campaign: &'a Campaign,
    reserved: i64,
    accounts: &'a [AccountStanding],
    due: &Row,
) -> CampaignStanding<'a> {
    CampaignStanding {
        state: campaign.state,
        active_hours: &campaign.settings.active_hours,
        daily_limit: campaign.settings.daily_limit,
        reserved,
        accounts,
        next_due: campaign.next_due,
        account_removed: due.get("account_removed"),
        uncertain_claims: campaign.uncertain_claims,
    }
}

/// Reserved of a number (of a campaign or account) by local day.
fn reservations(rows: &[Row]) -> HashMap<(i32, i32, Date), i64> {
    rows.iter().map(|row| ((row.get(0), row.get(1), row.get(2)), row.get(3))).collect()
}

fn account_standing(row: &Row, reserved: &HashMap<(i32, i32, Date), i64>, now: Timestamp) -> Result<AccountStanding> {
    let time_zone = parse_time_zone(row.get("time_zone"))?;
    let key = (row.get("workspace_id"), row.get("account_id"), local_day(&time_zone, now));
    Ok(AccountStanding {
        state: account_state(row.get("state"))?,
        daily_limit: row.get("daily_limit"),
        reserved: *reserved.get(&key).unwrap_or(&0),
        time_zone,
    })
}

/// An error for stored data that the code never writes.
pub(super) fn broken(what: impl Into<String>) -> Error {
    Error::Internal(what.into().into())
}

pub(super) fn account_state(stored: i16) -> Result<AccountState> {
    match stored {
        1 => Ok(AccountState::Active),
        2 => Ok(AccountState::Suspended),
        other => Err(broken(format!("account state {other}"))),
    }
}

pub(super) fn campaign_state(stored: i16) -> Result<CampaignState> {
    match stored {
        1 => Ok(CampaignState::Active),
        2 => Ok(CampaignState::Paused),
        3 => Ok(CampaignState::Finished),
        other => Err(broken(format!("campaign state {other}"))),
    }
}

pub(super) fn stored_state(state: CampaignState) -> i16 {
    match state {
        CampaignState::Active => 1,
        CampaignState::Paused => 2,
        CampaignState::Finished => 3,
    }
}

pub(super) fn stored_policy(policy: ClaimExpiryPolicy) -> i16 {
    match policy {
        ClaimExpiryPolicy::Hold => 1,
        ClaimExpiryPolicy::Retry => 2,
    }
}

/// Windows as they are stored: `12345 09:00 17:00`.
pub(super) fn stored_windows(hours: &ActiveHours) -> Vec<String> {
    let windows = hours.windows.iter().map(|window| {
        let days: String = window.days().map(|day| day.to_monday_one_offset().to_string()).collect();
        format!("{days} {} {}", window.start_time(), window.end_time())
    });
    windows.collect()
}

pub(super) fn active_hours_from_row(row: &Row) -> Result<ActiveHours> {
    let windows = active_windows(&row.get::<_, Vec<&str>>("active_windows"))?;
    Ok(ActiveHours { time_zone: parse_time_zone(row.get("time_zone"))?, windows })
}

/// Windows from how they are stored.
pub(super) fn active_windows(stored: &[&str]) -> Result<Vec<Window>> {
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

pub(super) fn settings_from_row(row: &Row, accounts: Vec<AccountId>) -> Result<CampaignSettings> {
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

pub(super) fn owner_from_row(row: &Row) -> Option<Owner> {
    Some(Owner {
        uid: row.get::<_, Option<String>>("owner_uid")?,
        resource: row.get::<_, Option<String>>("owner_resource")?,
        generation: row.get::<_, Option<i64>>("owner_generation")?,
        fencing_token: row.get::<_, Option<i64>>("owner_fencing_token")?,
    })
}

fn campaign_from_row(row: &Row, accounts: Vec<AccountId>) -> Result<Campaign> {
    let (lead_counts, message_counts) = counts_from_row(row, 0);
    Ok(Campaign {
        name: CampaignName {
            workspace: row.get::<_, &str>("workspace").parse()?,
            campaign: row.get::<_, &str>("name").parse()?,
        },
        uid: row.get::<_, uuid::Uuid>("uid").to_string(),
        settings: settings_from_row(row, accounts)?,
        state: campaign_state(row.get("state"))?,
        finish_reason: row.get::<_, Option<i16>>("finish_reason").map(|reason| match reason {
            1 => FinishReason::Completed,
            _ => FinishReason::Requested,
        }),
        lead_counts,
        message_counts,
        in_flight_claims: 0,
        in_flight_until: None,
        uncertain_claims: 0,
        next_due: None,
        blocked: campaign_metrics::sending::Blocked::default(),
        create_time: row.get("created_at"),
        update_time: row.get("updated_at"),
        finish_time: row.get("finished_at"),
        finalized_time: row.get("finalized_at"),
        revision: row.get("revision"),
        owner: owner_from_row(row),
    })
}

/// Reads the columns of [`counts`], which begin at `first`: by place, since a search by name for each of them takes longer
/// than a scrape of ten thousand campaigns may.
pub(super) fn counts_from_row(row: &Row, first: usize) -> (LeadCounts, MessageCounts) {
    let count = |place: usize| row.get::<_, i64>(first + place);
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
