//! Reads campaigns as callers see them: settings, counts, claims and the reasons for not sending.
//!
//! Everything comes from rollups (counters, claims, segments, the heads of returns), never from a scan of leads.

use campaign_metrics::{
    campaign::{Campaign, CampaignState, ClaimExpiryPolicy, FinishReason},
    name::{AccountId, CampaignName},
    schedule::{local_day, parse_time_zone},
    standing::{AccountStanding, CampaignStanding, earliest, next_due},
};
use deadpool_postgres::{GenericClient, Transaction};
use jiff::{Timestamp, ToSpan as _, civil::Date, tz::TimeZone};
use tokio_postgres::Row;

use super::row::{campaign_columns, counts, counts_from_row, hold_from_row, owner_from_row, settings_from_row};
use crate::{
    error::{Error, Result},
    store::{
        limit::reserved_today,
        row::{CampaignKey, account_state, campaign_state},
    },
};

/// Reads campaigns in one statement: one snapshot and one round trip, also when the processors are busy.
///
/// Returns a row for each campaign that exists: those of the workspaces `$1` with the numbers `$2`, in this order, or the one
/// of the workspace `$3` with the name `$4`. `$5` is now. `$6` is the first of the three dates that are today in some zone.
const CAMPAIGNS: &str = concat!(
    "SELECT ",
    counts!(),
    ",
    w.name AS workspace, ",
    campaign_columns!(),
    ", serving.account_ids, serving.account_names, serving.account_states, serving.account_limits, serving.account_zones,
        expired.claims AS uncertain, expired.account_ids AS uncertain_accounts, open.claims - expired.claims AS in_flight,
        -- Rows whose claims are all closed stay until they expire. So this looks for an open claim in the 16 latest rows only. If
        -- there is none, the expiry of the 17th is an upper bound. next_expiry takes the first row, open or not: a lower bound.
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
        -- When the first step of each account is due, then of any account: now for leads that were never claimed. A head of
        -- returns that is not due yet may be outdated, which makes it a lower bound.
        ARRAY(
            SELECT CASE
                WHEN EXISTS (
                    SELECT FROM segments n WHERE n.workspace_id = c.workspace_id AND n.campaign_id = c.campaign_id
                        AND n.account_id = s.account_id AND n.lo < n.hi
                ) THEN $5
                WHEN first.due_at <= $5 THEN return_head(c.workspace_id, c.campaign_id, s.account_id, c.steps::int4)
                ELSE first.due_at
            END
            FROM unnest(serving.account_ids || 0) WITH ORDINALITY AS s (account_id, place)
            LEFT JOIN LATERAL (
                SELECT r.due_at FROM returns r
                WHERE r.workspace_id = c.workspace_id AND r.campaign_id = c.campaign_id AND r.account_id = s.account_id
                ORDER BY r.due_at LIMIT 1
            ) first ON true
            ORDER BY s.place
        ) AS dues,
        EXISTS (
            SELECT FROM campaign_accounts s
            WHERE s.workspace_id = c.workspace_id AND s.campaign_id = c.campaign_id AND s.removed
                AND return_head(c.workspace_id, c.campaign_id, s.account_id, c.steps::int4) IS NOT NULL
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
        SELECT ",
    counts!(),
    ", k.closed_claims, k.epoch FROM campaign_counters k WHERE k.workspace_id = c.workspace_id AND k.campaign_id = c.campaign_id
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
            coalesce(array_agg(DISTINCT account_id) FILTER (WHERE bits > 0), '{}') AS account_ids
        FROM (
            SELECT h.account_id, bit_count(claim_open(h)::bit(64)) AS bits FROM claims h
            WHERE open.claims <> 0 AND h.expires_at <= $5
                AND (h.workspace_id::int8 << 32) + h.campaign_id = (c.workspace_id::int8 << 32) + c.campaign_id
            OFFSET 0
        ) h
    ) expired
    ORDER BY key.place"
);

/// Selects campaigns to read.
#[derive(Debug, Clone, Copy)]
pub(in crate::store) enum CampaignSelector<'a> {
    /// By their numbers, in this order.
    Keys(&'a [CampaignKey]),
    /// By its name.
    Name(&'a CampaignName),
}

/// Reads campaigns. Leaves out those that do not exist.
pub(in crate::store) async fn campaigns_load(
    client: &impl GenericClient,
    selector: CampaignSelector<'_>,
    now: Timestamp,
) -> Result<Vec<Campaign>> {
    let (keys, name) = match selector {
        CampaignSelector::Keys(keys) => (keys, None),
        CampaignSelector::Name(name) => (&[][..], Some(name)),
    };
    let (workspaces, campaigns): (Vec<i32>, Vec<i32>) = keys.iter().copied().unzip();
    let workspace = name.map(|name| name.workspace.as_str());
    let campaign = name.map(|name| name.campaign.as_str());
    let first = local_day(&TimeZone::UTC, now).saturating_sub(1.day());
    let statement = client.prepare_cached(CAMPAIGNS).await?;
    let rows = client.query(&statement, &[&workspaces, &campaigns, &workspace, &campaign, &now, &first]).await?;
    rows.iter().map(|row| campaign_from_row(row, first, now)).collect()
}

fn campaign_from_row(row: &Row, first: Date, now: Timestamp) -> Result<Campaign> {
    let (lead_counts, message_counts) = counts_from_row(row, 0);
    let (accounts, standings) = accounts_from_row(row, first, now)?;
    let settings = settings_from_row(row, accounts)?;
    let state = campaign_state(row.get("state"))?;
    let uncertain_claims = row.get("uncertain");
    // The next claim call of a serving account makes the steps of its expired claims due again.
    let retries = state == CampaignState::Active && settings.claim_expiry_policy == ClaimExpiryPolicy::Retry;
    let of_expired: Vec<i32> = if retries { row.get("uncertain_accounts") } else { Vec::new() };
    let serving: Vec<i32> = row.get("account_ids");
    let mut listed: Vec<Option<Timestamp>> = row.get("dues");
    let of_any = listed.pop().flatten();
    let due = |(account, own): (&i32, &Option<Timestamp>)| {
        next_due(lead_counts, own.iter().chain(&of_any).min().copied(), of_expired.contains(account), now)
    };
    let account_dues: Vec<Option<Timestamp>> = serving.iter().zip(&listed).map(due).collect();
    let next_due = earliest(&account_dues, next_due(lead_counts, of_any, false, now));
    let standing = CampaignStanding {
        state,
        active_hours: &settings.active_hours,
        daily_limit: settings.daily_limit,
        reserved: reserved_today(&row.get::<_, Vec<i64>>("reserved"), first, &settings.active_hours.time_zone, now),
        accounts: &standings,
        account_dues: &account_dues,
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
        hold: hold_from_row(row)?,
    })
}

/// Reads the accounts that serve a campaign, by id, and the standing of each.
fn accounts_from_row(row: &Row, first: Date, now: Timestamp) -> Result<(Vec<AccountId>, Vec<AccountStanding>)> {
    let names: Vec<&str> = row.get::<_, Option<_>>("account_names").unwrap_or_default();
    let states: Vec<i16> = row.get::<_, Option<_>>("account_states").unwrap_or_default();
    let limits: Vec<Option<i32>> = row.get::<_, Option<_>>("account_limits").unwrap_or_default();
    let zones: Vec<&str> = row.get::<_, Option<_>>("account_zones").unwrap_or_default();
    let reserved: Vec<i64> = row.get("account_reserved");
    let mut ids = Vec::with_capacity(names.len());
    let mut standings = Vec::with_capacity(names.len());
    for (index, reserved) in reserved.chunks(3).enumerate() {
        let time_zone = parse_time_zone(zones[index])?;
        ids.push(names[index].parse()?);
        standings.push(AccountStanding {
            state: account_state(states[index])?,
            daily_limit: limits[index],
            reserved: reserved_today(reserved, first, &time_zone, now),
            time_zone,
        });
    }
    Ok((ids, standings))
}

/// Reads a campaign in the transaction that has locked or created it.
pub(in crate::store) async fn campaign_load_in_txn(
    txn: &Transaction<'_>,
    key: CampaignKey,
    name: &CampaignName,
    now: Timestamp,
) -> Result<Campaign> {
    single(campaigns_load(txn, CampaignSelector::Keys(&[key]), now).await?, name)
}

/// Returns the only campaign, or NotFound if there is none.
pub(super) fn single(campaigns: Vec<Campaign>, name: &CampaignName) -> Result<Campaign> {
    campaigns.into_iter().next().ok_or_else(|| Error::NotFound(name.to_string()))
}
