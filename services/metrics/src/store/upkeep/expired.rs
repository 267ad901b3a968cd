//! Tidies up expired claims.

use jiff::Timestamp;
use tokio_postgres::Row;

use crate::{
    error::Result,
    store::{
        claim::claims_retry_in_txn,
        transaction::{Kind, Store, in_txn},
    },
};

/// Rows of claims settled by one transaction.
const SETTLED_MAX: i64 = 1024;

impl Store {
    /// Makes expired claims due again where the campaign's policy says so, also those that nobody asks for.
    pub async fn claims_retry(&self) -> Result<()> {
        let sql = "SELECT workspace_id, campaign_id FROM campaigns c
            WHERE state = 1 AND claim_expiry_policy = 2 AND EXISTS (
                SELECT FROM claims h
                WHERE (h.workspace_id::int8 << 32) + h.campaign_id = (c.workspace_id::int8 << 32) + c.campaign_id
                    AND h.expires_at <= $1 AND claim_open(h) <> 0
            )
            ORDER BY workspace_id, campaign_id";
        let lock = "SELECT FROM campaigns
            WHERE workspace_id = $1 AND campaign_id = $2 AND state = 1 AND claim_expiry_policy = 2 FOR NO KEY UPDATE";
        let now = self.clock.now();
        let campaigns: Result<Vec<Row>> =
            in_txn!(self, "claims_retry", Kind::Read, |txn, attempt| Ok(txn.query(sql, &[&now]).await?));
        for campaign in campaigns? {
            let (workspace_id, campaign_id): (i32, i32) = (campaign.get(0), campaign.get(1));
            loop {
                let ended: Result<usize> = in_txn!(self, "claims_retry", Kind::Write, |txn, attempt| {
                    if txn.query_opt(lock, &[&workspace_id, &campaign_id]).await?.is_none() {
                        return Ok(0);
                    }
                    claims_retry_in_txn(&txn, workspace_id, campaign_id, now).await
                });
                if ended? == 0 {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Takes what is closed out of the rows of claims that expired after `since`, and those rows away in which nothing is left.
    pub async fn claims_compact(&self, since: Timestamp) -> Result<()> {
        // Whoever holds a row is an outcome or another process that settles: another time will do.
        let settle = "SELECT claim_settle(c) FROM (
            SELECT c FROM claims c WHERE NOT is_exact AND expires_at <= $1 AND expires_at > $2
            ORDER BY expires_at LIMIT $3 FOR NO KEY UPDATE SKIP LOCKED
        ) c";
        loop {
            let settled: Result<usize> = in_txn!(self, "claims_compact", Kind::Hot, |txn, attempt| {
                let now = self.clock.now();
                let settle = txn.prepare_cached(settle).await?;
                Ok(txn.query(&settle, &[&now, &since, &SETTLED_MAX]).await?.len())
            });
            if i64::try_from(settled?) != Ok(SETTLED_MAX) {
                return Ok(());
            }
        }
    }
}
