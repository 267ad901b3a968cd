//! Deletes listed steps of accounts that left a campaign, once they are no longer due.

use tokio_postgres::Row;

use crate::{
    error::Result,
    store::transaction::{Kind, Store, in_txn},
};

/// Rows of one list that one transaction looks at: a second of work at most.
const LISTED_MAX: i64 = 10_000;

impl Store {
    /// Takes leads off the lists of accounts that left a campaign where nothing is to be sent to them any more: nobody comes to
    /// find that out, and a reason for not sending would stay that is none.
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
        // Who claims or reassigns has it locked, and needs no help.
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
        let lists: Result<Vec<Row>> =
            in_txn!(self, "returns_tidy", Kind::Read, |txn, attempt| Ok(txn.query(find, &[]).await?));
        for list in lists? {
            let (workspace_id, campaign_id, account_id): (i32, i32, i32) = (list.get(0), list.get(1), list.get(2));
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
