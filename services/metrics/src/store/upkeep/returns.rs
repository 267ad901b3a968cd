//! Deletes outdated rows of `returns` of accounts that were removed from a campaign.

use tokio_postgres::Row;

use crate::{
    error::Result,
    store::transaction::{Kind, Store, in_txn},
};

/// Upper bound of the rows that one transaction examines: at most a second of work.
const LISTED_MAX: i64 = 10_000;

impl Store {
    /// Deletes rows of `returns` of removed accounts whose steps are no longer due.
    ///
    /// No claim reads these rows, so no claim deletes them. Until they are deleted, the campaign has the reason "account
    /// removed" although no lead waits.
    pub async fn returns_tidy(&self) -> Result<()> {
        let find = "SELECT s.workspace_id, s.campaign_id, s.account_id FROM campaign_accounts s
            JOIN campaigns n ON n.workspace_id = s.workspace_id AND n.campaign_id = s.campaign_id
            CROSS JOIN LATERAL (
                SELECT r.lead_no, r.step FROM returns r
                WHERE r.workspace_id = s.workspace_id AND r.campaign_id = s.campaign_id AND r.account_id = s.account_id
                ORDER BY r.due_at, r.lead_no, r.step LIMIT 1
            ) r
            LEFT JOIN LATERAL (
                SELECT l.mask FROM leads l
                WHERE l.workspace_id = s.workspace_id AND l.campaign_id = s.campaign_id AND l.lead_no = r.lead_no LIMIT 1
            ) l ON true
            WHERE s.removed AND lead_next_step(l.mask, n.steps) IS DISTINCT FROM r.step
            ORDER BY 1, 2, 3";
        // Skips campaigns that a claim or a reassignment has locked. A later run tidies them up.
        let lock = "SELECT steps::int4 FROM campaigns WHERE workspace_id = $1 AND campaign_id = $2
            FOR NO KEY UPDATE SKIP LOCKED";
        let tidy = "WITH over AS MATERIALIZED (
                SELECT r.workspace_id, r.campaign_id, r.account_id, r.due_at, r.lead_no, r.step FROM (
                    SELECT workspace_id, campaign_id, account_id, due_at, lead_no, step FROM returns
                    WHERE workspace_id = $1 AND campaign_id = $2 AND account_id = $3 ORDER BY due_at, lead_no, step LIMIT $5
                ) r
                LEFT JOIN LATERAL (
                    SELECT l.mask FROM leads l WHERE l.workspace_id = $1 AND l.campaign_id = $2 AND l.lead_no = r.lead_no LIMIT 1
                ) l ON true
                WHERE lead_next_step(l.mask, $4) IS DISTINCT FROM r.step
            )
            DELETE FROM returns r USING over o
            WHERE r.workspace_id = o.workspace_id AND r.campaign_id = o.campaign_id AND r.account_id = o.account_id
                AND r.due_at = o.due_at AND r.lead_no = o.lead_no AND r.step = o.step AND return_lock_outdated(r, $4)";
        let campaign_accounts: Result<Vec<Row>> =
            in_txn!(self, "returns_tidy", Kind::Read, |txn, attempt| Ok(txn.query(find, &[]).await?));
        for campaign_account in campaign_accounts? {
            let (workspace_id, campaign_id, account_id): (i32, i32, i32) =
                (campaign_account.get(0), campaign_account.get(1), campaign_account.get(2));
            loop {
                let deleted: Result<u64> = in_txn!(self, "returns_tidy", Kind::Write, |txn, attempt| {
                    let Some(campaign) = txn.query_opt(lock, &[&workspace_id, &campaign_id]).await? else {
                        return Ok(0);
                    };
                    let steps: i32 = campaign.get(0);
                    Ok(txn.execute(tidy, &[&workspace_id, &campaign_id, &account_id, &steps, &LISTED_MAX]).await?)
                });
                if deleted? == 0 {
                    break;
                }
            }
        }
        Ok(())
    }
}
