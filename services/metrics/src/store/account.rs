//! Accounts: creation, reading, settings, state, deletion.
//!
//! A suspension and a claim both lock the account's row, so the account is granted nothing once a suspension has committed.

use std::collections::HashMap;

use campaign_metrics::{
    account::{Account, AccountField, AccountSettings, AccountState},
    history::HistoryCounts,
    name::{AccountName, WorkspaceId},
    schedule::{local_day, parse_time_zone, time_zone_name},
};
use deadpool_postgres::Transaction;
use futures::try_join;
use jiff::{Timestamp, ToSpan as _, civil::Date, tz::TimeZone};
use tokio_postgres::{Row, types::ToSql};
use uuid::Uuid;

use super::{
    history::{message_sums, messages_from_row},
    limit::{LimitOwner, zone_change_in_txn},
    request::{RequestId, RequestStatus, request_record_in_txn},
    row::{
        account_columns, account_key, account_key_in_txn, account_lock_in_txn, account_state, check_etag,
        workspace_ensure_in_txn, workspace_in_txn,
    },
    transaction::{Kind, Store, in_txn},
};
use crate::{
    changes,
    error::{Error, Result},
};

/// An account to create.
#[derive(Debug)]
pub struct NewAccount<'a> {
    /// Resource name.
    pub name: &'a AccountName,
    /// Settings.
    pub settings: &'a AccountSettings,
    /// Makes a repeat return the account that the first call created.
    pub request: Option<&'a RequestId>,
}

impl Store {
    /// Creates an account.
    pub async fn account_create(&self, new: NewAccount<'_>) -> Result<Account> {
        let insert = "
            INSERT INTO accounts (workspace_id, name, uid, display_name, state, daily_limit, time_zone, created_at, updated_at, revision)
            VALUES ($1, $2, $3, $4, 1, $5, $6, $7, $7, 1) ON CONFLICT (workspace_id, name) DO NOTHING";
        in_txn!(self, "account_create", Kind::Write, |txn, attempt| {
            let now = self.clock.now();
            let workspace_id = workspace_ensure_in_txn(&txn, &new.name.workspace, now).await?;
            let request = request_record_in_txn(&txn, workspace_id, new.request, None, now).await?;
            let AccountSettings { display_name, daily_limit, time_zone } = new.settings;
            let zone = time_zone_name(time_zone);
            let params: &[&(dyn ToSql + Sync)] =
                &[&workspace_id, &new.name.account.as_str(), &Uuid::now_v7(), display_name, daily_limit, &zone, &now];
            if request == RequestStatus::New && txn.execute(insert, params).await? == 0 {
                let message = format!("{} exists; choose another id, or update it", new.name);
                return Err(Error::AlreadyExists { reason: "ACCOUNT_EXISTS", message });
            }
            if request == RequestStatus::New {
                changes::note(new.name, format!("created; {}", changes::listed(&named(new.settings))), None);
            }
            account_load_in_txn(&txn, new.name, now).await
        })
    }

    /// Reads an account.
    pub async fn account_get(&self, name: &AccountName) -> Result<Account> {
        in_txn!(self, "account_get", Kind::Read, |txn, attempt| account_load_in_txn(&txn, name, self.clock.now()).await)
    }

    /// Reads up to `limit` accounts of a workspace after `after`, by id.
    pub async fn account_list(&self, workspace: &WorkspaceId, after: Option<&str>, limit: i64) -> Result<Vec<Account>> {
        let sql = "SELECT account_id FROM accounts WHERE workspace_id = $1 AND ($2::text IS NULL OR name > $2) ORDER BY name LIMIT $3";
        in_txn!(self, "account_list", Kind::Read, |txn, attempt| {
            let Some(workspace_id) = workspace_in_txn(&txn, workspace).await? else {
                return Ok(Vec::new());
            };
            let rows = txn.query(sql, &[&workspace_id, &after, &limit]).await?;
            let ids: Vec<i32> = rows.iter().map(|row| row.get(0)).collect();
            accounts_load_in_txn(&txn, workspace, workspace_id, &ids, self.clock.now()).await
        })
    }

    /// Changes the named settings of an account. `etag`, if given, must equal its revision.
    pub async fn account_update(
        &self,
        name: &AccountName,
        new: &AccountSettings,
        fields: &[AccountField],
        etag: Option<i64>,
    ) -> Result<Account> {
        let update = "UPDATE accounts SET display_name = $3, daily_limit = $4, time_zone = $5, updated_at = $6, revision = revision + 1
            WHERE workspace_id = $1 AND account_id = $2";
        in_txn!(self, "account_update", Kind::Write, |txn, attempt| {
            let now = self.clock.now();
            let row = account_lock_in_txn(&txn, name).await?;
            check_etag(&row, etag)?;
            let before = settings_from_row(&row)?;
            let mut settings = before.clone();
            settings.update(new, fields);
            let (workspace_id, account_id) = account_key(&row);
            let zones = (&before.time_zone, &settings.time_zone);
            zone_change_in_txn(&txn, LimitOwner::Account, (workspace_id, account_id), zones, now).await?;
            let zone = time_zone_name(&settings.time_zone);
            let params: &[&(dyn ToSql + Sync)] =
                &[&workspace_id, &account_id, &settings.display_name, &settings.daily_limit, &zone, &now];
            txn.execute(update, params).await?;
            changes::note(name, changes::difference(&named(&before), &named(&settings)), None);
            account_load_in_txn(&txn, name, now).await
        })
    }

    /// Suspends or reinstates an account.
    pub async fn account_set_state(&self, name: &AccountName, to: AccountState, etag: Option<i64>) -> Result<Account> {
        let update = "UPDATE accounts SET state = $3, updated_at = $4, revision = revision + 1
            WHERE workspace_id = $1 AND account_id = $2 AND state <> $3";
        let stored: i16 = match to {
            AccountState::Active => 1,
            AccountState::Suspended => 2,
        };
        in_txn!(self, "account_set_state", Kind::Write, |txn, attempt| {
            let now = self.clock.now();
            let row = account_lock_in_txn(&txn, name).await?;
            check_etag(&row, etag)?;
            let (workspace_id, account_id) = account_key(&row);
            txn.execute(update, &[&workspace_id, &account_id, &stored, &now]).await?;
            let state = |state| [("state", state_name(state))];
            changes::note(name, changes::difference(&state(account_state(row.get("state"))?), &state(to)), None);
            account_load_in_txn(&txn, name, now).await
        })
    }

    /// Deletes an account that nothing needs any more.
    ///
    /// Campaigns that are finished do not need it: they stay finished, and their leads, counts and history stay, as those
    /// of no account. No campaign is locked for that.
    pub async fn account_delete(&self, name: &AccountName, etag: Option<i64>) -> Result<()> {
        in_txn!(self, "account_delete", Kind::Write, |txn, attempt| {
            let row = account_lock_in_txn(&txn, name).await?;
            check_etag(&row, etag)?;
            let (workspace_id, account_id) = account_key(&row);
            txn.execute(
                "SELECT FROM accounts WHERE workspace_id = $1 AND account_id = $2 FOR UPDATE",
                &[&workspace_id, &account_id],
            )
            .await?;
            account_unused_in_txn(&txn, (workspace_id, account_id), name).await?;
            for table in
                ["campaign_accounts", "history_of_accounts", "account_totals", "account_reservations", "accounts"]
            {
                let sql = format!("DELETE FROM {table} WHERE workspace_id = $1 AND account_id = $2");
                txn.execute(&sql, &[&workspace_id, &account_id]).await?;
            }
            changes::note(name, format!("state {} -> deleted", state_name(account_state(row.get("state"))?)), None);
            Ok(())
        })
    }
}

/// Refuses an account that a campaign needs which is not finished, or whose claims are open.
async fn account_unused_in_txn(
    txn: &Transaction<'_>,
    (workspace_id, account_id): (i32, i32),
    name: &AccountName,
) -> Result<()> {
    let uses = "
        SELECT
            (SELECT c.name FROM campaign_accounts s JOIN campaigns c USING (workspace_id, campaign_id)
                WHERE s.workspace_id = $1 AND s.account_id = $2 AND NOT s.removed AND c.state <> campaign_finished()
                ORDER BY c.name LIMIT 1) AS serves,
            (SELECT c.name FROM account_leads l JOIN campaigns c USING (workspace_id, campaign_id)
                WHERE l.workspace_id = $1 AND l.account_id = $2 AND c.state <> campaign_finished()
                    AND l.pending + l.partial + l.sent + l.failed > 0
                ORDER BY c.name LIMIT 1) AS has_leads,
            EXISTS (SELECT FROM claims c
                WHERE (workspace_id::int8 << 32) + account_id = ($1::int4::int8 << 32) + $2::int4 AND claim_open(c) <> 0)
                AS has_claims";
    let row = txn.query_one(uses, &[&workspace_id, &account_id]).await?;
    let campaign = |column| {
        let id = row.get::<_, Option<&str>>(column)?;
        Some(format!("workspaces/{}/campaigns/{id}, which is not finished", name.workspace))
    };
    let use_and_remedy = if let Some(campaign) = campaign("serves") {
        format!("serves {campaign}; remove it from that campaign or finish the campaign")
    } else if let Some(campaign) = campaign("has_leads") {
        format!("has leads in {campaign}; reassign those that are open and finish the campaign")
    } else if row.get("has_claims") {
        "has claims that are held or uncertain; report their outcomes or resolve them".to_owned()
    } else {
        return Ok(());
    };
    let message = format!("{name} {use_and_remedy}, or suspend it instead");
    Err(Error::Precondition { reason: "ACCOUNT_IN_USE", message, about: Vec::new() })
}

/// The settings by the names of the API, as texts.
fn named(settings: &AccountSettings) -> [(&'static str, String); 3] {
    [
        ("display_name", format!("{:?}", settings.display_name)),
        ("daily_limit", changes::or_none(settings.daily_limit)),
        ("time_zone", time_zone_name(&settings.time_zone).to_owned()),
    ]
}

/// The name of a state in the API, but for its prefix.
fn state_name(state: AccountState) -> String {
    format!("{state:?}").to_uppercase()
}

/// The first of the last 30 UTC days, today included.
pub(super) fn first_recent_day(now: Timestamp) -> Date {
    local_day(&TimeZone::UTC, now).saturating_sub(29.days())
}

pub(super) async fn account_load_in_txn(txn: &Transaction<'_>, name: &AccountName, now: Timestamp) -> Result<Account> {
    let (workspace_id, account_id) = account_key_in_txn(txn, name).await?;
    let accounts = accounts_load_in_txn(txn, &name.workspace, workspace_id, &[account_id], now).await?;
    accounts.into_iter().next().ok_or_else(|| Error::NotFound(name.to_string()))
}

async fn accounts_load_in_txn(
    txn: &Transaction<'_>,
    workspace: &WorkspaceId,
    workspace_id: i32,
    ids: &[i32],
    now: Timestamp,
) -> Result<Vec<Account>> {
    let today = local_day(&TimeZone::UTC, now);
    let (first, last) = (today.saturating_sub(1.day()), today.saturating_add(1.day()));
    let recent_from = first_recent_day(now);
    let accounts = concat!(
        "SELECT ",
        account_columns!(),
        " FROM accounts a WHERE a.workspace_id = $1 AND a.account_id = ANY ($2) ORDER BY a.name"
    );
    let campaigns =
        "SELECT s.account_id, count(*) FROM campaign_accounts s JOIN campaigns c USING (workspace_id, campaign_id)
        WHERE s.workspace_id = $1 AND s.account_id = ANY ($2) AND NOT s.removed GROUP BY s.account_id";
    let reserved = "SELECT account_id, day, sum(reserved)::int8 AS reserved FROM account_reservations
        WHERE workspace_id = $1 AND account_id = ANY ($2) AND day BETWEEN $3 AND $4 GROUP BY account_id, day";
    let days = concat!(
        "SELECT account_id, coalesce(day >= $3, false) AS recent, ",
        message_sums!(),
        " FROM account_messages WHERE workspace_id = $1 AND account_id = ANY ($2) GROUP BY 1, 2"
    );
    let statements = try_join!(
        txn.prepare_cached(accounts),
        txn.prepare_cached(campaigns),
        txn.prepare_cached(reserved),
        txn.prepare_cached(days),
    )?;
    let keys: [&(dyn ToSql + Sync); 2] = [&workspace_id, &ids];
    let reserved_params: [&(dyn ToSql + Sync); 4] = [&workspace_id, &ids, &first, &last];
    let days_params: [&(dyn ToSql + Sync); 3] = [&workspace_id, &ids, &recent_from];
    let (accounts, campaigns, reserved, days) = try_join!(
        txn.query(&statements.0, &keys),
        txn.query(&statements.1, &keys),
        txn.query(&statements.2, &reserved_params),
        txn.query(&statements.3, &days_params),
    )?;
    let campaigns: HashMap<i32, i64> = campaigns.iter().map(|row| (row.get(0), row.get(1))).collect();
    let reserved: HashMap<(i32, Date), i64> =
        reserved.iter().map(|row| ((row.get(0), row.get(1)), row.get(2))).collect();
    let mut performance: HashMap<i32, (HistoryCounts, HistoryCounts)> = HashMap::new();
    for row in &days {
        let (lifetime, recent) = performance.entry(row.get(0)).or_default();
        let counts = messages_from_row(row, 2);
        lifetime.add(&counts);
        if row.get("recent") {
            recent.add(&counts);
        }
    }
    let account = |row: &Row| {
        let account_id = row.get("account_id");
        let settings = settings_from_row(row)?;
        let [lifetime, last_30_days] = performance
            .get(&account_id)
            .map_or_else(Default::default, |(lifetime, recent)| [lifetime, recent].map(HistoryCounts::performance));
        Ok(Account {
            name: AccountName { workspace: workspace.clone(), account: row.get::<_, &str>("name").parse()? },
            uid: row.get::<_, Uuid>("uid").to_string(),
            state: account_state(row.get("state"))?,
            reserved_today: *reserved.get(&(account_id, local_day(&settings.time_zone, now))).unwrap_or(&0),
            campaign_count: campaigns.get(&account_id).copied().unwrap_or_default(),
            lifetime,
            last_30_days,
            create_time: row.get("created_at"),
            update_time: row.get("updated_at"),
            revision: row.get("revision"),
            settings,
        })
    };
    accounts.iter().map(account).collect()
}

fn settings_from_row(row: &Row) -> Result<AccountSettings> {
    Ok(AccountSettings {
        display_name: row.get("display_name"),
        daily_limit: row.get("daily_limit"),
        time_zone: parse_time_zone(row.get("time_zone"))?,
    })
}
