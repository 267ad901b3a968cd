//! The counters of a campaign: their lock, the number of closed claims, and the leads of its accounts.

use std::collections::BTreeMap;

use deadpool_postgres::Transaction;

use crate::{error::Result, store::row::CampaignKey};

/// Locks the counters of a campaign. Waits for batches that are counting, so that the caller sees their counts.
pub(in crate::store) async fn counters_lock_in_txn(
    txn: &Transaction<'_>,
    (workspace_id, campaign_id): CampaignKey,
) -> Result<()> {
    let lock = "SELECT FROM campaign_counters WHERE workspace_id = $1 AND campaign_id = $2 FOR UPDATE";
    let lock = txn.prepare_cached(lock).await?;
    txn.execute(&lock, &[&workspace_id, &campaign_id]).await?;
    Ok(())
}

/// Adds to the number of claims of a campaign that were ever closed.
pub(in crate::store) async fn claims_closed_in_txn(
    txn: &Transaction<'_>,
    workspace_id: i32,
    campaign_id: i32,
    count: i64,
) -> Result<()> {
    let sql = "UPDATE campaign_counters SET closed_claims = closed_claims + $3, version = version + 1
        WHERE workspace_id = $1 AND campaign_id = $2";
    let statement = txn.prepare_cached(sql).await?;
    txn.execute(&statement, &[&workspace_id, &campaign_id, &count]).await?;
    Ok(())
}

/// Leads to add to accounts, by campaign, account (0 is none) and number of the status. A negative number takes them away.
pub(in crate::store) type AccountLeads = BTreeMap<(i32, i32, i32), i64>;

/// Changes how many leads accounts have. The order of the keys is the order of the locks.
pub(in crate::store) async fn account_leads_change_in_txn(
    txn: &Transaction<'_>,
    workspace_id: i32,
    changes: &AccountLeads,
) -> Result<()> {
    if changes.is_empty() {
        return Ok(());
    }
    let sql = "SELECT account_leads_count($1, campaign_id, account_id, status, leads)
        FROM unnest($2::int4[], $3::int4[], $4::int4[], $5::int8[]) AS change (campaign_id, account_id, status, leads)";
    let campaigns: Vec<i32> = changes.keys().map(|(campaign_id, ..)| *campaign_id).collect();
    let accounts: Vec<i32> = changes.keys().map(|(_, account_id, _)| *account_id).collect();
    let statuses: Vec<i32> = changes.keys().map(|(.., status)| *status).collect();
    let leads: Vec<i64> = changes.values().copied().collect();
    let statement = txn.prepare_cached(sql).await?;
    txn.execute(&statement, &[&workspace_id, &campaigns, &accounts, &statuses, &leads]).await?;
    Ok(())
}
