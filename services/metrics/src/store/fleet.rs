//! Reads all campaigns and accounts at once, for the metrics: rollups only, in one snapshot, set by set.
//!
//! What [`super::campaign_view`] looks up campaign by campaign is read here by scans of small tables: a scrape of ten
//! thousand campaigns must not take longer than people wait.

use std::collections::HashMap;

use campaign_metrics::{
    account::AccountPerformance,
    campaign::{CampaignState, LeadCounts, MessageCounts},
    schedule::{local_day, parse_time_zone},
    sending::{AccountStanding, Blocked, CampaignStanding},
};
use deadpool_postgres::Transaction;
use futures::try_join;
use jiff::{Timestamp, ToSpan as _, civil::Date, tz::TimeZone};
use tokio_postgres::{Row, types::ToSql};

use super::{
    Kind, Store,
    campaign_view::{CampaignKey, account_state, active_hours_from_row, campaign_state, counts, counts_from_row},
    in_txn,
    verify::{Verification, verification_in_txn},
};
use crate::error::Result;

/// Everything the business gauges show.
#[derive(Debug)]
pub struct Fleet {
    /// Campaigns: active ones first, then the most recently changed.
    pub campaigns: Vec<CampaignRow>,
    /// Campaigns left out because there are more than were asked for.
    pub omitted: i64,
    /// Accounts.
    pub accounts: Vec<AccountRow>,
    /// The latest recount, if there was one.
    pub verification: Option<Verification>,
}

/// A campaign's gauges.
#[derive(Debug)]
pub struct CampaignRow {
    /// Workspace id.
    pub workspace: String,
    /// Campaign id.
    pub campaign: String,
    /// State.
    pub state: CampaignState,
    /// Whether a Kubernetes resource manages it.
    pub is_managed: bool,
    /// Leads by status.
    pub lead_counts: LeadCounts,
    /// Messages, and what leads did.
    pub message_counts: MessageCounts,
    /// Claims held and not expired.
    pub in_flight_claims: i64,
    /// Claims that expired without an outcome.
    pub uncertain_claims: i64,
    /// When the next step is due; `None` when nothing waits.
    pub next_due: Option<Timestamp>,
    /// Why nothing can be claimed.
    pub blocked: Blocked,
}

/// An account's gauges.
#[derive(Debug)]
pub struct AccountRow {
    /// Workspace id.
    pub workspace: String,
    /// Account id.
    pub account: String,
    /// Messages ever.
    pub lifetime: AccountPerformance,
    /// Messages of the last 30 UTC days.
    pub last_30_days: AccountPerformance,
    /// Claims per local day at most.
    pub daily_limit: Option<i32>,
    /// Reserved of it on the present local day.
    pub reserved: i64,
}

const CAMPAIGNS: &str = concat!(
    "SELECT w.name AS workspace, c.workspace_id, c.campaign_id, c.name, c.state, c.owner_uid IS NOT NULL AS is_managed,
        c.daily_limit, c.time_zone, c.active_windows, c.total_campaigns,
        g.granted - k.closed_claims AS open_claims, coalesce(u.uncertain, 0) AS uncertain, s.accounts, ",
    counts!(),
    "
    FROM (
        SELECT *, count(*) OVER () AS total_campaigns FROM campaigns ORDER BY state = 1 DESC, updated_at DESC LIMIT $1
    ) c
    JOIN workspaces w USING (workspace_id)
    JOIN campaign_counters k USING (workspace_id, campaign_id)
    JOIN campaign_claims g USING (workspace_id, campaign_id)
    LEFT JOIN (
        SELECT workspace_id, campaign_id, sum(bit_count(held::bit(64)))::int8 AS uncertain FROM claims
        WHERE expires_at <= $2 AND held <> 0 GROUP BY 1, 2
    ) u USING (workspace_id, campaign_id)
    LEFT JOIN (
        SELECT workspace_id, campaign_id, array_agg(account_id) AS accounts FROM campaign_accounts WHERE NOT removed
        GROUP BY 1, 2
    ) s USING (workspace_id, campaign_id)
    ORDER BY c.state = 1 DESC, c.updated_at DESC"
);

/// Where the counts begin among these columns.
const COUNTS_FROM: usize = 13;

/// Campaigns with leads that were never claimed, by account.
const NEW: &str = "SELECT DISTINCT workspace_id, campaign_id, account_id FROM segments WHERE lo < hi";

/// The head of the returns of each campaign and account, from one to the next by the index.
const RETURNS: &str = "
    WITH RECURSIVE head AS (
        (SELECT workspace_id, campaign_id, account_id, due_at FROM returns ORDER BY 1, 2, 3, 4 LIMIT 1)
        UNION ALL
        SELECT n.* FROM head h CROSS JOIN LATERAL (
            SELECT r.workspace_id, r.campaign_id, r.account_id, r.due_at FROM returns r
            WHERE (r.workspace_id, r.campaign_id, r.account_id) > (h.workspace_id, h.campaign_id, h.account_id)
            ORDER BY 1, 2, 3, 4 LIMIT 1
        ) n
    ) SELECT workspace_id, campaign_id, account_id, due_at FROM head";

const CAMPAIGN_RESERVATIONS: &str = "
    SELECT workspace_id, campaign_id, day, sum(reserved)::int8 FROM campaign_reservations
    WHERE day BETWEEN $1 AND $2 GROUP BY 1, 2, 3";

const ACCOUNT_RESERVATIONS: &str = "
    SELECT workspace_id, account_id, day, sum(reserved)::int8 FROM account_reservations
    WHERE day BETWEEN $1 AND $2 GROUP BY 1, 2, 3";

const ACCOUNTS: &str = "
    SELECT w.name AS workspace, a.workspace_id, a.account_id, a.name AS account, a.state, a.daily_limit, a.time_zone, d.*
    FROM accounts a JOIN workspaces w USING (workspace_id)
    LEFT JOIN (
        SELECT workspace_id AS of_workspace, account_id AS of_account,
            sum(delivered - superseded_delivered)::int8 AS delivered, sum(failed - superseded_failed)::int8 AS failed,
            sum(bounced)::int8 AS bounced,
            (sum(delivered - superseded_delivered) FILTER (WHERE day >= $1))::int8 AS delivered_30d,
            (sum(failed - superseded_failed) FILTER (WHERE day >= $1))::int8 AS failed_30d,
            (sum(bounced) FILTER (WHERE day >= $1))::int8 AS bounced_30d
        FROM account_days GROUP BY 1, 2
    ) d ON d.of_workspace = a.workspace_id AND d.of_account = a.account_id";

/// Reserved of a number (of a campaign or account) by local day.
type Reserved = HashMap<(i32, i32, Date), i64>;

/// What is due to accounts, 0 for any, of campaigns.
type Due = HashMap<CampaignKey, Vec<(i32, Option<Timestamp>)>>;

impl Store {
    /// Reads up to `campaigns_max` campaigns and all accounts.
    pub async fn fleet(&self, campaigns_max: i64) -> Result<Fleet> {
        in_txn!(self, Kind::Read, |txn, attempt| fleet_in_txn(&txn, campaigns_max, self.clock.now()).await)
    }
}

async fn fleet_in_txn(txn: &Transaction<'_>, campaigns_max: i64, now: Timestamp) -> Result<Fleet> {
    // All rows of one table with all of another: joined one by one, which the planner prefers for keys of two columns that
    // depend on each other, ten thousand campaigns took two seconds instead of a tenth of one.
    txn.batch_execute("SET LOCAL enable_nestloop = off; SET LOCAL enable_mergejoin = off; SET LOCAL jit = off").await?;
    let today = local_day(&TimeZone::UTC, now);
    // 30 UTC days, today included; and whatever the zone, its local day is one of three.
    let month_ago = today.saturating_sub(29.days());
    let (first, last) = (today.saturating_sub(1.day()), today.saturating_add(1.day()));
    let statements = try_join!(
        txn.prepare_cached(CAMPAIGNS),
        txn.prepare_cached(NEW),
        txn.prepare_cached(RETURNS),
        txn.prepare_cached(CAMPAIGN_RESERVATIONS),
        txn.prepare_cached(ACCOUNT_RESERVATIONS),
        txn.prepare_cached(ACCOUNTS),
    )?;
    let of_campaigns: [&(dyn ToSql + Sync); 2] = [&campaigns_max, &now];
    let of_days: [&(dyn ToSql + Sync); 2] = [&first, &last];
    let of_month: [&(dyn ToSql + Sync); 1] = [&month_ago];
    let (campaigns, new, returns, campaign_reserved, account_reserved, accounts) = try_join!(
        txn.query(&statements.0, &of_campaigns),
        txn.query(&statements.1, &[]),
        txn.query(&statements.2, &[]),
        txn.query(&statements.3, &of_days),
        txn.query(&statements.4, &of_days),
        txn.query(&statements.5, &of_month),
    )?;
    let total: i64 = campaigns.first().map_or(0, |row| row.get("total_campaigns"));
    let (campaign_reserved, account_reserved) = (reserved(&campaign_reserved), reserved(&account_reserved));
    let mut due = Due::new();
    for row in &new {
        due.entry((row.get(0), row.get(1))).or_default().push((row.get(2), None));
    }
    for row in &returns {
        due.entry((row.get(0), row.get(1))).or_default().push((row.get(2), Some(row.get(3))));
    }
    let mut standings = HashMap::with_capacity(accounts.len());
    let mut account_rows = Vec::with_capacity(accounts.len());
    for row in &accounts {
        let standing = standing_from_row(row, &account_reserved, now)?;
        account_rows.push(account_from_row(row, standing.reserved));
        standings.insert((row.get::<_, i32>("workspace_id"), row.get::<_, i32>("account_id")), standing);
    }
    let campaigns = campaigns
        .iter()
        .map(|row| campaign_from_row(row, &standings, &campaign_reserved, &due, now))
        .collect::<Result<Vec<_>>>()?;
    let omitted = total - i64::try_from(campaigns.len()).unwrap_or(0);
    let verification = verification_in_txn(txn).await?;
    Ok(Fleet { campaigns, omitted, accounts: account_rows, verification })
}

fn reserved(rows: &[Row]) -> Reserved {
    rows.iter().map(|row| ((row.get(0), row.get(1), row.get(2)), row.get(3))).collect()
}

fn standing_from_row(row: &Row, reserved: &Reserved, now: Timestamp) -> Result<AccountStanding> {
    let time_zone = parse_time_zone(row.get("time_zone"))?;
    let key = (row.get("workspace_id"), row.get("account_id"), local_day(&time_zone, now));
    Ok(AccountStanding {
        state: account_state(row.get("state"))?,
        daily_limit: row.get("daily_limit"),
        reserved: reserved.get(&key).copied().unwrap_or(0),
        time_zone,
    })
}

fn account_from_row(row: &Row, reserved: i64) -> AccountRow {
    let sum = |column: &str| row.get::<_, Option<i64>>(column).unwrap_or(0);
    AccountRow {
        workspace: row.get("workspace"),
        account: row.get("account"),
        lifetime: AccountPerformance { delivered: sum("delivered"), failed: sum("failed"), bounced: sum("bounced") },
        last_30_days: AccountPerformance {
            delivered: sum("delivered_30d"),
            failed: sum("failed_30d"),
            bounced: sum("bounced_30d"),
        },
        daily_limit: row.get("daily_limit"),
        reserved,
    }
}

fn campaign_from_row(
    row: &Row,
    standings: &HashMap<(i32, i32), AccountStanding>,
    reserved: &Reserved,
    due: &Due,
    now: Timestamp,
) -> Result<CampaignRow> {
    let key: CampaignKey = (row.get("workspace_id"), row.get("campaign_id"));
    let serving: Vec<i32> = row.get::<_, Option<_>>("accounts").unwrap_or_default();
    let accounts: Vec<AccountStanding> =
        serving.iter().filter_map(|account| standings.get(&(key.0, *account))).cloned().collect();
    let active_hours = active_hours_from_row(row)?;
    let state = campaign_state(row.get("state"))?;
    let uncertain_claims: i64 = row.get("uncertain");
    let daily_limit: Option<i32> = row.get("daily_limit");
    let reserved = match daily_limit {
        Some(_) => reserved.get(&(key.0, key.1, local_day(&active_hours.time_zone, now))).copied().unwrap_or(0),
        None => 0,
    };
    let waiting = due.get(&key).map_or(&[][..], Vec::as_slice);
    let is_served = |account: i32| account == 0 || serving.contains(&account);
    let next_due = waiting.iter().filter(|(account, _)| is_served(*account)).map(|(_, due)| due.unwrap_or(now)).min();
    let standing = CampaignStanding {
        state,
        active_hours: &active_hours,
        daily_limit,
        reserved,
        accounts: &accounts,
        next_due,
        // Returns of an account that does not serve the campaign wait for somebody to reassign them.
        account_removed: waiting.iter().any(|(account, due)| due.is_some() && !is_served(*account)),
        uncertain_claims,
    };
    let blocked = standing.blocked(now);
    let (lead_counts, message_counts) = counts_from_row(row, COUNTS_FROM);
    Ok(CampaignRow {
        workspace: row.get("workspace"),
        campaign: row.get("name"),
        state,
        is_managed: row.get("is_managed"),
        lead_counts,
        message_counts,
        in_flight_claims: row.get::<_, i64>("open_claims") - uncertain_claims,
        uncertain_claims,
        next_due,
        blocked,
    })
}
