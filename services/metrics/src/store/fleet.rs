//! Reads all campaigns and accounts at once, for the metrics: rollups only, in one snapshot, set by set.
//!
//! `campaign/view.rs` looks up the same numbers campaign by campaign. Here scans of small tables read them, so that a scrape
//! of ten thousand campaigns is fast enough.

mod account;
mod details;
mod row;

use std::{collections::HashMap, convert::identity};

use campaign_metrics::{
    campaign::{CampaignState, LeadCounts, MessageCounts},
    schedule::{ActiveHours, local_day, parse_time_zone},
    standing::{AccountStanding, CampaignStanding, earliest, next_due},
};
use deadpool_postgres::Transaction;
use futures::{TryStreamExt as _, try_join};
use jiff::{Timestamp, ToSpan as _, civil::Date, tz::TimeZone};
use tokio_postgres::{Row, types::ToSql};

use self::account::{ACCOUNTS, PERFORMANCE, performance};
pub use self::{
    details::{CampaignAccountRow, CampaignAge, Details},
    row::{AccountRow, CampaignRow, Fleet, Messages},
};
use super::{
    account::first_recent_day,
    campaign::row::{active_windows, counts, counts_from_row},
    row::{CampaignKey, account_state, broken, campaign_state},
    transaction::{FREELY_PLANNED, Kind, Store, in_txn},
    upkeep::{Verification, verification_in_txn},
};
use crate::error::Result;

/// Counts campaigns for [`is_chosen`].
macro_rules! total {
    () => {
        "WITH total AS (SELECT count(*) AS campaigns FROM campaigns) "
    };
}

/// Whether a campaign is among the first `$1`. Sorts campaigns only if some are left out.
macro_rules! is_chosen {
    () => {
        "(SELECT campaigns <= $1 FROM total) OR (workspace_id, campaign_id) IN (
            SELECT workspace_id, campaign_id FROM campaigns
            ORDER BY state = campaign_active() DESC, updated_at DESC, workspace_id, campaign_id LIMIT $1
        )"
    };
}

const CAMPAIGNS: &str = concat!(
    total!(),
    "SELECT c.workspace_id, c.campaign_id, w.name, c.name, c.state, c.owner_uid IS NOT NULL, c.daily_limit, c.time_zone,
        nullif(c.active_windows, '{}'), (SELECT campaigns FROM total), c.claim_expiry_policy = expiry_retry(),
        c.lead_list_complete
    FROM campaigns c JOIN workspaces w USING (workspace_id) WHERE ",
    is_chosen!()
);

const COUNTERS: &str = concat!(
    total!(),
    "SELECT k.workspace_id, k.campaign_id, k.closed_claims, k.last_outcome_at, ",
    counts!(),
    " FROM campaign_counters k WHERE ",
    is_chosen!()
);

const GRANTED: &str = "SELECT workspace_id, campaign_id, granted, last_grant_at FROM campaign_claims";

/// Uncertain claims, and when the first of them expired. OFFSET 0 keeps Postgres from counting the open claims of a row twice.
const UNCERTAIN: &str = "
    SELECT workspace_id, campaign_id, account_id, sum(open)::int8, min(expires_at) FILTER (WHERE open > 0) FROM (
        SELECT workspace_id, campaign_id, account_id, expires_at, bit_count(claim_open(c)::bit(64)) AS open FROM claims c
        WHERE expires_at <= $1 OFFSET 0
    ) c GROUP BY 1, 2, 3";

const SERVING: &str = "SELECT workspace_id, campaign_id, account_id FROM campaign_accounts WHERE NOT removed";

/// Campaigns with leads that were never claimed, by account.
const NEW: &str = "SELECT workspace_id, campaign_id, account_id FROM segments WHERE lo < hi";

/// The head of `returns` of each campaign and account. The recursion probes the index once for each of them. Heads that are due
/// are checked, and so are those of accounts that do not serve: see return_head.
const RETURNS: &str = "
    WITH RECURSIVE head AS (
        (SELECT workspace_id, campaign_id, account_id, due_at, lead_no, step FROM returns ORDER BY 1, 2, 3, 4, 5, 6 LIMIT 1)
        UNION ALL
        SELECT n.workspace_id, n.campaign_id, n.account_id, n.due_at, n.lead_no, n.step FROM head h CROSS JOIN LATERAL (
            SELECT r.workspace_id, r.campaign_id, r.account_id, r.due_at, r.lead_no, r.step FROM returns r
            WHERE (r.workspace_id, r.campaign_id, r.account_id) > (h.workspace_id, h.campaign_id, h.account_id)
            ORDER BY 1, 2, 3, 4, 5, 6 LIMIT 1
        ) n
    ) SELECT h.workspace_id, h.campaign_id, h.account_id, CASE
        WHEN h.due_at > $1 AND (h.account_id = any_account() OR EXISTS (SELECT FROM campaign_accounts s
            WHERE s.workspace_id = h.workspace_id AND s.campaign_id = h.campaign_id AND s.account_id = h.account_id
                AND NOT s.removed)) THEN h.due_at
        WHEN return_waits(h.workspace_id, h.campaign_id, h.lead_no, h.step, c.steps::int4) THEN h.due_at
        ELSE return_head(h.workspace_id, h.campaign_id, h.account_id, c.steps::int4)
    END
    FROM head h JOIN campaigns c ON c.workspace_id = h.workspace_id AND c.campaign_id = h.campaign_id";

const CAMPAIGN_RESERVATIONS: &str = "
    SELECT workspace_id, campaign_id, day, sum(reserved)::int8 FROM campaign_reservations
    WHERE day BETWEEN $1 AND $2 GROUP BY 1, 2, 3";

const ACCOUNT_RESERVATIONS: &str = "
    SELECT workspace_id, account_id, day, sum(reserved)::int8 FROM account_reservations
    WHERE day BETWEEN $1 AND $2 GROUP BY 1, 2, 3";

/// Reservations by workspace, campaign or account, and local day.
type Reserved = HashMap<(i32, i32, Date), i64>;

/// What is due in each campaign, by account (0 is any): `None` for leads never claimed, or the head of `returns`.
type Due = HashMap<CampaignKey, Vec<(i32, Option<Timestamp>)>>;

/// The counts of campaigns.
struct Counts {
    counters: HashMap<CampaignKey, Counters>,
    granted: HashMap<CampaignKey, Granted>,
    /// By account.
    uncertain: HashMap<CampaignKey, Vec<Uncertain>>,
}

struct Counters {
    leads: LeadCounts,
    messages: MessageCounts,
    closed_claims: i64,
    last_outcome: Option<Timestamp>,
}

/// Claims ever granted.
struct Granted {
    claims: i64,
    last: Option<Timestamp>,
}

/// Uncertain claims of an account.
struct Uncertain {
    account: i32,
    claims: i64,
    /// When the first of them expired; `None` without any.
    oldest: Option<Timestamp>,
}

/// Rows of campaigns and accounts, and what is joined to them.
struct Settings {
    campaigns: Vec<Row>,
    serving: HashMap<CampaignKey, Vec<i32>>,
    due: Due,
    campaign_reserved: Reserved,
    accounts: Vec<Row>,
    account_reserved: Reserved,
    performance: HashMap<(i32, i32), [Messages; 2]>,
    verification: Option<Verification>,
}

impl Store {
    /// Reads up to `campaigns_max` campaigns and up to `accounts_max` accounts.
    ///
    /// Uses two connections on one snapshot, and joins the sets here: a join in the database takes twice as long.
    pub async fn fleet(&self, campaigns_max: i64, accounts_max: i64) -> Result<Fleet> {
        let now = self.clock.now();
        in_txn!(self, "fleet", Kind::Read, |txn, attempt| {
            txn.batch_execute(FREELY_PLANNED).await?;
            let snapshot: String = txn.query_one("SELECT pg_export_snapshot()", &[]).await?.get(0);
            let (counts, settings) = try_join!(
                async {
                    in_txn!(self, "fleet_settings", Kind::Read, |other, attempt| {
                        let begin = format!("SET TRANSACTION SNAPSHOT '{snapshot}'; {FREELY_PLANNED}");
                        other.batch_execute(&begin).await?;
                        counts_in_txn(&other, campaigns_max, now).await
                    })
                },
                settings_in_txn(&txn, [campaigns_max, accounts_max], now)
            )?;
            combine(&counts, &settings, now)
        })
    }
}

/// Converts rows as they arrive.
async fn read<Read, Set: Default + Extend<Read>, const PARAMS: usize>(
    txn: &Transaction<'_>,
    sql: &str,
    params: [&(dyn ToSql + Sync); PARAMS],
    convert: impl Fn(Row) -> Read,
) -> Result<Set> {
    let statement = txn.prepare_cached(sql).await?;
    let rows = txn.query_raw(&statement, params).await?;
    Ok(rows.map_ok(convert).try_collect().await?)
}

async fn counts_in_txn(txn: &Transaction<'_>, campaigns_max: i64, now: Timestamp) -> Result<Counts> {
    let counter = |row: Row| {
        let (leads, messages) = counts_from_row(&row, 4);
        (pair(&row), Counters { leads, messages, closed_claims: row.get(2), last_outcome: row.get(3) })
    };
    let granted = |row: Row| (pair(&row), Granted { claims: row.get(2), last: row.get(3) });
    let uncertain = |row: Row| (pair(&row), Uncertain { account: row.get(2), claims: row.get(3), oldest: row.get(4) });
    let (counters, granted, expired) = try_join!(
        read(txn, COUNTERS, [&campaigns_max], counter),
        read(txn, GRANTED, [], granted),
        read::<_, Vec<_>, 1>(txn, UNCERTAIN, [&now], uncertain),
    )?;
    let mut uncertain: HashMap<CampaignKey, Vec<Uncertain>> = HashMap::new();
    for (campaign, of_account) in expired {
        uncertain.entry(campaign).or_default().push(of_account);
    }
    Ok(Counts { counters, granted, uncertain })
}

async fn settings_in_txn(
    txn: &Transaction<'_>,
    [campaigns_max, accounts_max]: [i64; 2],
    now: Timestamp,
) -> Result<Settings> {
    // The local day of every zone is one of these three.
    let today = local_day(&TimeZone::UTC, now);
    let (yesterday, tomorrow) = (today.saturating_sub(1.day()), today.saturating_add(1.day()));
    let recent_from = first_recent_day(now);
    let reserved = |row: Row| ((row.get(0), row.get(1), row.get(2)), row.get(3));
    let performance = |row: Row| (pair(&row), performance(&row));
    let (campaigns, served, new, returns, campaign_reserved, accounts, account_reserved, performance) = try_join!(
        read(txn, CAMPAIGNS, [&campaigns_max], identity),
        read::<_, Vec<_>, 0>(txn, SERVING, [], |row| (pair(&row), row.get(2))),
        read::<_, Vec<_>, 0>(txn, NEW, [], |row| (pair(&row), (row.get(2), None))),
        read::<_, Vec<_>, 1>(txn, RETURNS, [&now], |row| (pair(&row), row.get(2), row.get::<_, Option<Timestamp>>(3))),
        read(txn, CAMPAIGN_RESERVATIONS, [&yesterday, &tomorrow], reserved),
        read(txn, ACCOUNTS, [&accounts_max], identity),
        read(txn, ACCOUNT_RESERVATIONS, [&yesterday, &tomorrow], reserved),
        read(txn, PERFORMANCE, [&accounts_max, &recent_from], performance),
    )?;
    let mut serving: HashMap<CampaignKey, Vec<i32>> = HashMap::new();
    for (campaign, account) in served {
        serving.entry(campaign).or_default().push(account);
    }
    let mut due = Due::new();
    let returns = returns.into_iter().filter_map(|(campaign, account, due)| Some((campaign, (account, Some(due?)))));
    for (campaign, of_account) in new.into_iter().chain(returns) {
        due.entry(campaign).or_default().push(of_account);
    }
    let verification = verification_in_txn(txn).await?;
    Ok(Settings { campaigns, serving, due, campaign_reserved, accounts, account_reserved, performance, verification })
}

fn combine(counts: &Counts, settings: &Settings, now: Timestamp) -> Result<Fleet> {
    let mut zones = Zones::default();
    let mut standings = HashMap::with_capacity(settings.accounts.len());
    let mut accounts = Vec::with_capacity(settings.accounts.len());
    for row in &settings.accounts {
        let key = pair(row);
        let time_zone = zones.get(row.get("time_zone"))?;
        let reserved = settings.account_reserved.get(&(key.0, key.1, local_day(&time_zone, now)));
        let standing = AccountStanding {
            state: account_state(row.get("state"))?,
            daily_limit: row.get("daily_limit"),
            reserved: reserved.copied().unwrap_or(0),
            time_zone,
        };
        if row.get("is_chosen") {
            let [lifetime, last_30_days] = settings.performance.get(&key).copied().unwrap_or_default();
            accounts.push(AccountRow {
                workspace: row.get("workspace"),
                account: row.get("account"),
                state: standing.state,
                lifetime,
                last_30_days,
                daily_limit: standing.daily_limit,
                reserved: standing.reserved,
            });
        }
        standings.insert(key, standing);
    }
    let total: i64 = settings.campaigns.first().map_or(0, |row| row.get(9));
    let mut campaigns = Vec::with_capacity(settings.campaigns.len());
    for row in &settings.campaigns {
        campaigns.push(campaign(row, counts, settings, &standings, &mut zones, now)?);
    }
    let omitted = total - i64::try_from(campaigns.len()).unwrap_or(0);
    let accounts_omitted = i64::try_from(settings.accounts.len() - accounts.len()).unwrap_or(i64::MAX);
    Ok(Fleet { campaigns, omitted, accounts, accounts_omitted, verification: settings.verification })
}

/// Caches zones by name. There are few, and each look-up takes a lock.
#[derive(Default)]
struct Zones(HashMap<String, TimeZone>);

impl Zones {
    fn get(&mut self, name: &str) -> Result<TimeZone> {
        if let Some(zone) = self.0.get(name) {
            return Ok(zone.clone());
        }
        let zone = parse_time_zone(name)?;
        self.0.insert(name.to_owned(), zone.clone());
        Ok(zone)
    }
}

/// The key of a campaign or account: the first two columns.
fn pair(row: &Row) -> (i32, i32) {
    (row.get(0), row.get(1))
}

fn campaign(
    row: &Row,
    counts: &Counts,
    settings: &Settings,
    standings: &HashMap<(i32, i32), AccountStanding>,
    zones: &mut Zones,
    now: Timestamp,
) -> Result<CampaignRow> {
    let key = pair(row);
    let counters = counts.counters.get(&key).ok_or_else(|| broken("a campaign without counters"))?;
    let granted = counts.granted.get(&key).ok_or_else(|| broken("a campaign without claims granted"))?;
    let serving = settings.serving.get(&key).map_or(&[][..], Vec::as_slice);
    let accounts: Vec<AccountStanding> =
        serving.iter().filter_map(|account| standings.get(&(key.0, *account))).cloned().collect();
    let windows: Option<Vec<&str>> = row.get(8);
    let active_hours =
        ActiveHours { time_zone: zones.get(row.get(7))?, windows: active_windows(&windows.unwrap_or_default())? };
    let state = campaign_state(row.get(4))?;
    let expired = counts.uncertain.get(&key).map_or(&[][..], Vec::as_slice);
    let uncertain_claims = expired.iter().map(|of_account| of_account.claims).sum();
    let day = local_day(&active_hours.time_zone, now);
    let reserved = settings.campaign_reserved.get(&(key.0, key.1, day)).copied().unwrap_or(0);
    let daily_limit: Option<i32> = row.get(6);
    let waiting = settings.due.get(&key).map_or(&[][..], Vec::as_slice);
    let is_serving = |account: i32| account == 0 || serving.contains(&account);
    let retries = state == CampaignState::Active && row.get::<_, bool>(10);
    // Steps of an account, or of any account (0).
    let due_to = |account: i32| {
        let listed =
            waiting.iter().filter(|(of, _)| [0, account].contains(of)).map(|(_, due)| due.unwrap_or(now)).min();
        let is_retried = retries && expired.iter().any(|of| of.claims > 0 && of.account == account);
        next_due(counters.leads, listed, is_retried, now)
    };
    let account_dues: Vec<Option<Timestamp>> = serving
        .iter()
        .filter(|account| standings.contains_key(&(key.0, **account)))
        .map(|account| due_to(*account))
        .collect();
    let next_due = earliest(&account_dues, due_to(0));
    let standing = CampaignStanding {
        state,
        active_hours: &active_hours,
        daily_limit,
        reserved,
        accounts: &accounts,
        account_dues: &account_dues,
        next_due,
        // Returns of an account that does not serve the campaign wait to be reassigned.
        account_removed: counters.leads.is_open()
            && waiting.iter().any(|(account, due)| due.is_some() && !is_serving(*account)),
        uncertain_claims,
    };
    let blocked = standing.blocked(now);
    Ok(CampaignRow {
        key,
        workspace: row.get(2),
        campaign: row.get(3),
        state,
        is_managed: row.get(5),
        lead_list_complete: row.get(11),
        daily_limit,
        reserved,
        lead_counts: counters.leads,
        message_counts: counters.messages,
        in_flight_claims: granted.claims - counters.closed_claims - uncertain_claims,
        uncertain_claims,
        oldest_uncertain: expired.iter().filter_map(|of_account| of_account.oldest).min(),
        last_grant: granted.last,
        last_outcome: counters.last_outcome,
        next_due,
        blocked,
    })
}
