//! The counters of a campaign: their lock, and the number of closed claims.

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
