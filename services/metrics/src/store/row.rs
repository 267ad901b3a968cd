//! Row look-ups by name, row locks, and the meaning of stored numbers. Every module of the store may use it; it uses none.

use campaign_metrics::{
    account::AccountState,
    campaign::CampaignState,
    name::{AccountName, CampaignName, LeadName, WorkspaceId},
};
use deadpool_postgres::Transaction;
use jiff::Timestamp;
use tokio_postgres::Row;

use crate::error::{Error, Result};

/// Internal numbers of a campaign: workspace, campaign.
pub(super) type CampaignKey = (i32, i32);

/// Reads the key of a campaign from a row.
pub(super) fn campaign_key(row: &Row) -> CampaignKey {
    (row.get("workspace_id"), row.get("campaign_id"))
}

/// Finds the number of a workspace, or creates the workspace: it exists from its first resource on.
pub(super) async fn workspace_ensure_in_txn(txn: &Transaction<'_>, name: &WorkspaceId, now: Timestamp) -> Result<i32> {
    if let Some(id) = workspace_in_txn(txn, name).await? {
        return Ok(id);
    }
    let sql = "INSERT INTO workspaces (name, created_at) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING";
    txn.execute(sql, &[&name.as_str(), &now]).await?;
    workspace_in_txn(txn, name).await?.ok_or_else(|| broken("a workspace vanished"))
}

/// Finds the number of a workspace, if it exists.
pub(super) async fn workspace_in_txn(txn: &Transaction<'_>, name: &WorkspaceId) -> Result<Option<i32>> {
    let statement = txn.prepare_cached("SELECT workspace_id FROM workspaces WHERE name = $1").await?;
    Ok(txn.query_opt(&statement, &[&name.as_str()]).await?.map(|row| row.get(0)))
}

/// Finds the key of a campaign, if it exists.
pub(super) async fn campaign_key_in_txn(txn: &Transaction<'_>, name: &CampaignName) -> Result<Option<CampaignKey>> {
    let sql = "SELECT c.workspace_id, c.campaign_id FROM campaigns c JOIN workspaces w USING (workspace_id)
        WHERE w.name = $1 AND c.name = $2";
    let statement = txn.prepare_cached(sql).await?;
    let row = txn.query_opt(&statement, &[&name.workspace.as_str(), &name.campaign.as_str()]).await?;
    Ok(row.as_ref().map(campaign_key))
}

/// Finds the key of a campaign, or fails with NotFound.
pub(super) async fn campaign_find_in_txn(txn: &Transaction<'_>, name: &CampaignName) -> Result<CampaignKey> {
    campaign_key_in_txn(txn, name).await?.ok_or_else(|| Error::NotFound(name.to_string()))
}

/// Instead of the number of an account: any account of the campaign, or none.
pub(super) const ANY_ACCOUNT: i32 = 0;

/// The number of the status pending.
pub(super) const PENDING: i32 = 1;

/// Internal numbers of an account: workspace, account.
pub(super) type AccountKey = (i32, i32);

/// Reads the key of an account from a row.
pub(super) fn account_key(row: &Row) -> AccountKey {
    (row.get("workspace_id"), row.get("account_id"))
}

/// Finds the key of an account, or fails with NotFound.
pub(super) async fn account_key_in_txn(txn: &Transaction<'_>, name: &AccountName) -> Result<AccountKey> {
    let sql = "SELECT a.workspace_id, a.account_id FROM accounts a JOIN workspaces w USING (workspace_id) WHERE w.name = $1 AND a.name = $2";
    let statement = txn.prepare_cached(sql).await?;
    let row = txn.query_opt(&statement, &[&name.workspace.as_str(), &name.account.as_str()]).await?;
    row.as_ref().map(account_key).ok_or_else(|| Error::NotFound(name.to_string()))
}

/// The columns of a row `a` of `accounts`. With `a.*`, a prepared statement would fail once a migration adds a column.
macro_rules! account_columns {
    () => {
        "a.workspace_id, a.account_id, a.name, a.uid, a.display_name, a.state, a.daily_limit, a.time_zone, a.created_at,
        a.updated_at, a.revision"
    };
}
pub(super) use account_columns;

/// Locks an account against claims, suspension and updates, and says whether opt-outs of its workspace wait. `$1` is the
/// workspace, `$2` the account.
pub(super) const ACCOUNT_LOCK: &str = concat!(
    "SELECT ",
    account_columns!(),
    ", EXISTS (SELECT FROM opt_outs_waiting o WHERE o.workspace_id = a.workspace_id) AS opt_outs_wait
    FROM accounts a JOIN workspaces w USING (workspace_id) WHERE w.name = $1 AND a.name = $2 FOR NO KEY UPDATE OF a"
);

/// Locks an account against claims, suspension and updates.
pub(super) async fn account_lock_in_txn(txn: &Transaction<'_>, name: &AccountName) -> Result<Row> {
    let statement = txn.prepare_cached(ACCOUNT_LOCK).await?;
    let row = txn.query_opt(&statement, &[&name.workspace.as_str(), &name.account.as_str()]).await?;
    row.ok_or_else(|| Error::NotFound(name.to_string()))
}

/// Finds the number of a lead. The number is the key of everything else about the lead.
///
/// A separate statement: with a join by id, the planner reads all leads of a campaign while it takes the tables for small.
pub(super) async fn lead_no_in_txn(txn: &Transaction<'_>, campaign: CampaignKey, name: &LeadName) -> Result<i32> {
    let sql = "SELECT lead_no FROM lead_ids WHERE workspace_id = $1 AND campaign_id = $2 AND lead_id = $3";
    let statement = txn.prepare_cached(sql).await?;
    let row = txn.query_opt(&statement, &[&campaign.0, &campaign.1, &name.lead.as_str()]).await?;
    Ok(row.ok_or_else(|| Error::NotFound(name.to_string()))?.get(0))
}

/// Joins a lead `l` with its id. A forgotten lead has no id, and so no row.
///
/// LATERAL looks up row by row, and ORDER BY demands the index by number. A free join, planned while the table is small, reads
/// all ids of a campaign; a look-up by another index reads them for each lead.
pub(super) const LEAD_ID: &str = "
    JOIN LATERAL (
        SELECT i.lead_no, i.lead_id FROM lead_ids i
        WHERE i.workspace_id = l.workspace_id AND i.campaign_id = l.campaign_id AND i.lead_no >= l.lead_no
        ORDER BY i.lead_no LIMIT 1
    ) i ON i.lead_no = l.lead_no";

/// Refuses a stale revision.
pub(super) fn check_etag(row: &Row, etag: Option<i64>) -> Result<()> {
    if etag.is_some_and(|etag| etag != row.get::<_, i64>("revision")) {
        let message = "the etag is not the present one: read again, then repeat".to_owned();
        return Err(Error::Stale { reason: "ETAG_MISMATCH", message });
    }
    Ok(())
}

/// Returns the block of a lead in `claims`, like the SQL function of this name.
pub(crate) fn lead_block(lead_no: i32) -> i32 {
    lead_no >> 6
}

/// Returns the bit of a lead in its block, like the SQL function of this name.
pub(super) fn lead_bit(lead_no: i32) -> i64 {
    1 << (lead_no & 63)
}

/// Index of a row's element in the arrays that its statement unnests.
pub(super) fn element_index(row: &Row) -> usize {
    usize::try_from(row.get::<_, i64>("place") - 1).unwrap_or(0)
}

/// Reads a stored state. `migrations/0001_facts.sql` names the numbers in SQL.
pub(super) fn account_state(stored: i16) -> Result<AccountState> {
    match stored {
        1 => Ok(AccountState::Active),
        2 => Ok(AccountState::Suspended),
        other => Err(broken(format!("account state {other}"))),
    }
}

/// Reads a stored state. `migrations/0001_facts.sql` names the numbers in SQL.
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

/// An error for stored data that the code never writes.
pub(super) fn broken(what: impl Into<String>) -> Error {
    Error::Internal(what.into().into())
}
