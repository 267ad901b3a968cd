//! Removes the leads and the log of deleted campaigns: millions of rows, in portions, each in a transaction of its own.
//!
//! Each transaction locks the campaign's row of `deleted_campaigns`, and leaves the campaign to the replica that has it. Without
//! the lock, two replicas delete the same portion, and the second takes the first one's rows for the end.

use super::maintenance::MAINTENANCE_LOCK;
use crate::{
    error::Result,
    store::{
        history::{ADD_TO_HISTORY, history_columns},
        row::{CampaignKey, campaign_key},
        transaction::{Kind, Store, in_txn, whole_tables_in_txn},
    },
};

/// Rows of a deleted campaign that one transaction removes: a few tenths of a second of work.
const PORTION: i64 = 20_000;

const LOCK: &str = "SELECT FROM deleted_campaigns WHERE workspace_id = $1 AND campaign_id = $2 AND is_closed
    FOR UPDATE SKIP LOCKED";

const TABLES: [&str; 10] = [
    "returns",
    "segments",
    "conversion_values",
    "outcomes",
    "lead_ids",
    "leads",
    "account_leads",
    "campaign_reservations",
    "history",
    "history_closed",
];

impl Store {
    /// Removes what is left of deleted campaigns.
    pub async fn campaigns_drain(&self) -> Result<()> {
        let deleted: Result<Vec<CampaignKey>> = in_txn!(self, "campaigns_drain", Kind::Read, |txn, attempt| {
            let sql = "SELECT workspace_id, campaign_id FROM deleted_campaigns ORDER BY deleted_at";
            Ok(txn.query(sql, &[]).await?.iter().map(campaign_key).collect())
        });
        for campaign in deleted? {
            self.campaign_close_log(campaign).await?;
            while self.campaign_drain_portion(campaign).await? {}
        }
        Ok(())
    }

    /// Removes a portion of what is left of a deleted campaign, and the campaign itself after the last row. Returns whether there
    /// is more to do here: not if it is gone, or if another replica removes it now.
    async fn campaign_drain_portion(&self, (workspace_id, campaign_id): CampaignKey) -> Result<bool> {
        in_txn!(self, "campaign_drain_portion", Kind::Write, |txn, attempt| {
            if txn.query_opt(LOCK, &[&workspace_id, &campaign_id]).await?.is_none() {
                return Ok(false);
            }
            for table in TABLES {
                let portion = format!(
                    "DELETE FROM {table} WHERE workspace_id = $1 AND campaign_id = $2 AND (tableoid, ctid) IN (
                        SELECT tableoid, ctid FROM {table} WHERE workspace_id = $1 AND campaign_id = $2 LIMIT $3)"
                );
                if txn.execute(&portion, &[&workspace_id, &campaign_id, &PORTION]).await? > 0 {
                    return Ok(true);
                }
            }
            let end = "DELETE FROM deleted_campaigns WHERE workspace_id = $1 AND campaign_id = $2";
            txn.execute(end, &[&workspace_id, &campaign_id]).await?;
            Ok(false)
        })
    }

    /// Adds the log of a deleted campaign to `history_closed`, because the history of accounts stays.
    async fn campaign_close_log(&self, (workspace_id, campaign_id): CampaignKey) -> Result<()> {
        let keep = format!(
            "INSERT INTO history_closed AS h (workspace_id, campaign_id, account_id, day, {columns})
            SELECT workspace_id, campaign_id, account_id, day, {columns} FROM history_of_log($1, $2, NULL)
            WHERE campaign_id = all_campaigns()
            {ADD_TO_HISTORY}",
            columns = history_columns!()
        );
        let close = "UPDATE deleted_campaigns SET is_closed = true
            WHERE workspace_id = $1 AND campaign_id = $2 AND NOT is_closed";
        in_txn!(self, "campaign_close_log", Kind::Write, |txn, attempt| {
            txn.execute(MAINTENANCE_LOCK, &[]).await?;
            // A recount of millions of rows takes long. It waits for no other transaction.
            whole_tables_in_txn(&txn).await?;
            let lock = "SELECT FROM deleted_campaigns WHERE workspace_id = $1 AND campaign_id = $2 AND NOT is_closed
            FOR UPDATE SKIP LOCKED";
            if txn.query_opt(lock, &[&workspace_id, &campaign_id]).await?.is_some() {
                txn.execute(&keep, &[&workspace_id, &campaign_id]).await?;
                txn.execute(close, &[&workspace_id, &campaign_id]).await?;
            }
            Ok(())
        })
    }
}
