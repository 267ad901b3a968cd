//! Reads campaigns as callers see them: settings, counts, claims and the reasons for which nothing is sent.
//!
//! Everything comes from rollups (counters, claims, segments, the heads of the returns), never from a scan of leads.

use campaign_metrics::{
    account::AccountState,
    campaign::{
        Campaign, CampaignSettings, CampaignState, ClaimExpiryPolicy, FinishReason, LeadCounts, MessageCounts, Owner,
    },
    lead::Step,
    name::{AccountId, CampaignName},
    schedule::{ActiveHours, Window, local_day, parse_time_zone},
    standing::{AccountStanding, CampaignStanding, next_due},
};
use deadpool_postgres::GenericClient;
use jiff::{
    SignedDuration, Timestamp, ToSpan as _,
    civil::{Date, Weekday},
    tz::TimeZone,
};
use tokio_postgres::Row;

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

/// Campaigns in one statement: one snapshot and one round trip, however busy the processors are. A row for each that exists:
/// of the workspaces `$1` and campaigns `$2`, in this order, or the one of the workspace `$3` and name `$4`. `$5` is now, `$6`
/// the first of the three days that are today anywhere.
const CAMPAIGNS: &str = concat!(
    "SELECT ",
    counts!(),
    ",
    w.name AS workspace, c.*, serving.*,
        expired.claims AS uncertain, expired.of_serving AS uncertain_of_serving, open.claims - expired.claims AS in_flight,
        -- Rows of claims that are closed lie among those in flight until they expire. Behind so many of them the next row says
        -- when, at the latest; and the first one when something may change, at the earliest.
        CASE WHEN open.claims > expired.claims THEN coalesce(
            (SELECT expires_at FROM (
                SELECT h AS claim, h.expires_at FROM claims h
                WHERE (h.workspace_id::int8 << 32) + h.campaign_id = (c.workspace_id::int8 << 32) + c.campaign_id
                    AND h.expires_at > $5 ORDER BY h.expires_at DESC LIMIT 16
            ) last WHERE claim_open(claim) <> 0 ORDER BY expires_at DESC LIMIT 1),
            (SELECT h.expires_at FROM claims h
                WHERE (h.workspace_id::int8 << 32) + h.campaign_id = (c.workspace_id::int8 << 32) + c.campaign_id
                    AND h.expires_at > $5 ORDER BY h.expires_at DESC OFFSET 16 LIMIT 1)
        ) END AS in_flight_until,
        (SELECT h.expires_at FROM claims h
            WHERE (h.workspace_id::int8 << 32) + h.campaign_id = (c.workspace_id::int8 << 32) + c.campaign_id
                AND h.expires_at > $5 AND open.claims > expired.claims ORDER BY h.expires_at LIMIT 1) AS next_expiry,
        EXISTS (
            SELECT FROM unnest(serving.account_ids || 0) AS s (account_id)
            JOIN segments n ON n.workspace_id = c.workspace_id AND n.campaign_id = c.campaign_id AND n.account_id = s.account_id
            WHERE n.lo < n.hi
        ) AS has_new,
        (
            SELECT min(first.due_at) FROM unnest(serving.account_ids || 0) AS s (account_id)
            CROSS JOIN LATERAL (
                SELECT r.due_at FROM returns r
                WHERE r.workspace_id = c.workspace_id AND r.campaign_id = c.campaign_id AND r.account_id = s.account_id
                ORDER BY r.due_at LIMIT 1
            ) first
        ) AS next_return,
        EXISTS (
            SELECT FROM campaign_accounts s
            JOIN returns r USING (workspace_id, campaign_id, account_id)
            WHERE s.workspace_id = c.workspace_id AND s.campaign_id = c.campaign_id AND s.removed
        ) AS account_removed,
        -- What is reserved matters only under a limit.
        ARRAY(
            SELECT CASE WHEN c.daily_limit IS NULL THEN 0 ELSE (
                SELECT coalesce(sum(r.reserved), 0)::int8 FROM campaign_reservations r
                WHERE r.workspace_id = c.workspace_id AND r.campaign_id = c.campaign_id AND r.day = $6::date + i
            ) END
            FROM generate_series(0, 2) AS i
        ) AS reserved,
        ARRAY(
            SELECT CASE WHEN s.daily_limit IS NULL THEN 0 ELSE (
                SELECT coalesce(sum(r.reserved), 0)::int8 FROM account_reservations r
                WHERE r.workspace_id = c.workspace_id AND r.account_id = s.account_id AND r.day = $6::date + i
            ) END
            FROM unnest(serving.account_ids, serving.account_limits) WITH ORDINALITY AS s (account_id, daily_limit, place)
            CROSS JOIN generate_series(0, 2) AS i
            ORDER BY s.place, i
        ) AS account_reserved
    FROM (
        SELECT workspace_id, campaign_id, place
        FROM unnest($1::int4[], $2::int4[]) WITH ORDINALITY AS key (workspace_id, campaign_id, place)
        UNION ALL
        SELECT n.workspace_id, n.campaign_id, 1 FROM workspaces w JOIN campaigns n USING (workspace_id)
        WHERE w.name = $3::text AND n.name = $4::text
    ) key
    JOIN campaigns c USING (workspace_id, campaign_id)
    JOIN workspaces w USING (workspace_id)
    -- The latest first: behind an old snapshot the dead versions before it are many.
    CROSS JOIN LATERAL (
        SELECT * FROM campaign_counters k WHERE k.workspace_id = c.workspace_id AND k.campaign_id = c.campaign_id
        ORDER BY k.epoch DESC LIMIT 1
    ) k
    -- What is not closed is held or uncertain; only what expired is looked at one by one.
    CROSS JOIN LATERAL (
        SELECT coalesce((
            SELECT granted FROM campaign_claims g
            WHERE g.workspace_id = c.workspace_id AND g.campaign_id = c.campaign_id ORDER BY epoch DESC LIMIT 1
        ), 0) - k.closed_claims AS claims
        OFFSET 0
    ) open
    CROSS JOIN LATERAL (
        SELECT coalesce(array_agg(account_id), '{}') AS account_ids, array_agg(name) AS account_names,
            array_agg(state) AS account_states, array_agg(daily_limit) AS account_limits, array_agg(time_zone) AS account_zones
        FROM (
            SELECT a.account_id, a.name, a.state, a.daily_limit, a.time_zone
            FROM campaign_accounts s JOIN accounts a USING (workspace_id, account_id)
            WHERE s.workspace_id = c.workspace_id AND s.campaign_id = c.campaign_id AND NOT s.removed
            ORDER BY a.name
        ) a
    ) serving
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(bits), 0)::int8 AS claims,
            coalesce(sum(bits) FILTER (WHERE account_id = ANY (serving.account_ids)), 0)::int8 AS of_serving
        FROM (
            SELECT h.account_id, bit_count(claim_open(h)::bit(64)) AS bits FROM claims h
            WHERE open.claims <> 0 AND h.expires_at <= $5
                AND (h.workspace_id::int8 << 32) + h.campaign_id = (c.workspace_id::int8 << 32) + c.campaign_id
            OFFSET 0
        ) h
    ) expired
    ORDER BY key.place"
);

/// Which campaigns to read.
#[derive(Debug, Clone, Copy)]
pub(super) enum Which<'a> {
    /// Those of these numbers, in this order.
    Keys(&'a [CampaignKey]),
    /// The one of this name.
    Name(&'a CampaignName),
}

/// Reads campaigns; those that do not exist are left out.
pub(super) async fn campaigns_load(
    client: &impl GenericClient,
    which: Which<'_>,
    now: Timestamp,
) -> Result<Vec<Campaign>> {
    let (keys, name) = match which {
        Which::Keys(keys) => (keys, None),
        Which::Name(name) => (&[][..], Some(name)),
    };
    let (workspaces, campaigns): (Vec<i32>, Vec<i32>) = keys.iter().copied().unzip();
    let workspace = name.map(|name| name.workspace.as_str());
    let campaign = name.map(|name| name.campaign.as_str());
    let first = local_day(&TimeZone::UTC, now).saturating_sub(1.day());
    let statement = client.prepare_cached(CAMPAIGNS).await?;
    let rows = client.query(&statement, &[&workspaces, &campaigns, &workspace, &campaign, &now, &first]).await?;
    rows.iter().map(|row| campaign_from_row(row, first, now)).collect()
}

/// What is reserved of the local day, of the three days from `first` on.
fn reserved_today(of_days: &[i64], first: Date, zone: &TimeZone, now: Timestamp) -> i64 {
    let day = local_day(zone, now).since(first).map_or(0, |span| span.get_days());
    usize::try_from(day).ok().and_then(|day| of_days.get(day)).copied().unwrap_or(0)
}

/// The accounts that serve a campaign, by id, with how each stands.
fn accounts_from_row(row: &Row, first: Date, now: Timestamp) -> Result<(Vec<AccountId>, Vec<AccountStanding>)> {
    let names: Vec<&str> = row.get::<_, Option<_>>("account_names").unwrap_or_default();
    let states: Vec<i16> = row.get::<_, Option<_>>("account_states").unwrap_or_default();
    let limits: Vec<Option<i32>> = row.get::<_, Option<_>>("account_limits").unwrap_or_default();
    let zones: Vec<&str> = row.get::<_, Option<_>>("account_zones").unwrap_or_default();
    let reserved: Vec<i64> = row.get("account_reserved");
    let mut ids = Vec::with_capacity(names.len());
    let mut standings = Vec::with_capacity(names.len());
    for (place, reserved) in reserved.chunks(3).enumerate() {
        let time_zone = parse_time_zone(zones[place])?;
        ids.push(names[place].parse()?);
        standings.push(AccountStanding {
            state: account_state(states[place])?,
            daily_limit: limits[place],
            reserved: reserved_today(reserved, first, &time_zone, now),
            time_zone,
        });
    }
    Ok((ids, standings))
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

fn campaign_from_row(row: &Row, first: Date, now: Timestamp) -> Result<Campaign> {
    let (lead_counts, message_counts) = counts_from_row(row, 0);
    let (accounts, standings) = accounts_from_row(row, first, now)?;
    let settings = settings_from_row(row, accounts)?;
    let state = campaign_state(row.get("state"))?;
    let uncertain_claims = row.get("uncertain");
    // What expired is handed out by whoever asks next.
    let retried = state == CampaignState::Active
        && settings.claim_expiry_policy == ClaimExpiryPolicy::Retry
        && row.get::<_, i64>("uncertain_of_serving") > 0;
    let listed = if row.get("has_new") { Some(now) } else { row.get("next_return") };
    let next_due = next_due(lead_counts, listed, retried, now);
    let standing = CampaignStanding {
        state,
        active_hours: &settings.active_hours,
        daily_limit: settings.daily_limit,
        reserved: reserved_today(&row.get::<_, Vec<i64>>("reserved"), first, &settings.active_hours.time_zone, now),
        accounts: &standings,
        next_due,
        account_removed: lead_counts.is_open() && row.get("account_removed"),
        uncertain_claims,
    };
    let mut blocked = standing.blocked(now);
    blocked.change_at(row.get("next_expiry"));
    Ok(Campaign {
        name: CampaignName {
            workspace: row.get::<_, &str>("workspace").parse()?,
            campaign: row.get::<_, &str>("name").parse()?,
        },
        uid: row.get::<_, uuid::Uuid>("uid").to_string(),
        settings,
        state,
        finish_reason: row.get::<_, Option<i16>>("finish_reason").map(|reason| match reason {
            1 => FinishReason::Completed,
            _ => FinishReason::Requested,
        }),
        lead_counts,
        message_counts,
        in_flight_claims: row.get("in_flight"),
        in_flight_until: row.get("in_flight_until"),
        uncertain_claims,
        next_due,
        blocked,
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
