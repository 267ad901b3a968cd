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

/// Rows of claims that one transaction compacts.
const COMPACTED_MAX: i64 = 1024;

impl Store {
    /// Makes the steps of expired claims due again under the policy RETRY, also those that no claim call asks for.
    pub async fn claims_retry(&self) -> Result<()> {
        let sql = "SELECT workspace_id, campaign_id FROM campaigns c
            WHERE state = campaign_active() AND claim_expiry_policy = expiry_retry() AND EXISTS (
                SELECT FROM claims h
                WHERE (h.workspace_id::int8 << 32) + h.campaign_id = (c.workspace_id::int8 << 32) + c.campaign_id
                    AND h.expires_at <= $1 AND claim_open(h) <> 0
            )
            ORDER BY workspace_id, campaign_id";
        let lock = "SELECT FROM campaigns
            WHERE workspace_id = $1 AND campaign_id = $2 AND state = campaign_active()
                AND claim_expiry_policy = expiry_retry()
            FOR NO KEY UPDATE";
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

    /// Clears the bits of closed claims in rows that expired after `since`; deletes rows in which no claim is open.
    pub async fn claims_compact(&self, since: Timestamp) -> Result<()> {
        // A row that is locked has an outcome in flight, or another replica compacts it: the next run takes it.
        let compact = "SELECT claim_compact(c) FROM (
            SELECT c FROM claims c WHERE NOT is_exact AND expires_at <= $1 AND expires_at > $2
            ORDER BY expires_at LIMIT $3 FOR NO KEY UPDATE SKIP LOCKED
        ) c";
        loop {
            let compacted: Result<usize> = in_txn!(self, "claims_compact", Kind::Hot, |txn, attempt| {
                let now = self.clock.now();
                let compact = txn.prepare_cached(compact).await?;
                Ok(txn.query(&compact, &[&now, &since, &COMPACTED_MAX]).await?.len())
            });
            if i64::try_from(compacted?) != Ok(COMPACTED_MAX) {
                return Ok(());
            }
        }
    }
}
