//! Makes the results of finished campaigns final.

use crate::{
    error::Result,
    store::transaction::{Kind, Store, in_txn},
};

impl Store {
    /// Makes the results of campaigns final when their settle time has passed since their finish and since the expiry of every
    /// claim without an outcome. Returns how many.
    pub async fn campaigns_finalize(&self) -> Result<u64> {
        let sql = "
            WITH due AS (
                SELECT workspace_id, campaign_id FROM campaigns c
                WHERE state = campaign_finished() AND finalized_at IS NULL
                    AND finished_at + make_interval(secs => settle_seconds) <= $1
                    AND NOT EXISTS (
                        SELECT FROM claims h
                        WHERE h.workspace_id = c.workspace_id AND h.campaign_id = c.campaign_id
                            AND h.expires_at + make_interval(secs => c.settle_seconds) > $1 AND claim_open(h) <> 0
                    )
                ORDER BY workspace_id, campaign_id
                LIMIT 100
                FOR UPDATE
            )
            UPDATE campaigns c SET finalized_at = $1, updated_at = $1, revision = revision + 1
            FROM due WHERE c.workspace_id = due.workspace_id AND c.campaign_id = due.campaign_id";
        in_txn!(self, "campaigns_finalize", Kind::Write, |txn, attempt| {
            let now = self.clock.now();
            Ok(txn.execute(sql, &[&now]).await?)
        })
    }
}
