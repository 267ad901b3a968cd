//! The rule by which a campaign finishes by itself: its lead list is complete, it has leads, and none of them is pending or
//! partial. The removal of its last lead also finishes a complete campaign.

use deadpool_postgres::Transaction;
use jiff::Timestamp;

use crate::{changes, error::Result};

/// Whether a campaign without leads finishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum Emptied {
    /// Its last lead was just removed, so nothing is left to do.
    Finishes,
    /// It may still get leads.
    StaysOpen,
}

/// Finishes the campaigns that are complete.
///
/// Every transaction that can complete a campaign calls this after it has locked the counters. The last of several
/// concurrent ones then sees what the others committed.
pub(in crate::store) async fn campaigns_finish_in_txn(
    txn: &Transaction<'_>,
    workspace_id: i32,
    campaign_ids: &[i32],
    emptied: Emptied,
    now: Timestamp,
) -> Result<()> {
    let sql = "
        UPDATE campaigns c
        SET state = campaign_finished(), finish_reason = finish_completed(), finished_at = $3, updated_at = $3, revision = revision + 1
        FROM campaign_counters k
        WHERE c.workspace_id = $1 AND c.campaign_id = ANY ($2) AND c.state <> campaign_finished() AND c.lead_list_complete
            AND k.workspace_id = $1 AND k.campaign_id = c.campaign_id AND (k.total > 0 OR $4) AND k.pending + k.partial = 0
        RETURNING c.name, (SELECT w.name FROM workspaces w WHERE w.workspace_id = c.workspace_id)";
    let statement = txn.prepare_cached(sql).await?;
    let finished =
        txn.query(&statement, &[&workspace_id, &campaign_ids, &now, &(emptied == Emptied::Finishes)]).await?;
    for row in finished {
        let name = format!("workspaces/{}/campaigns/{}", row.get::<_, &str>(1), row.get::<_, &str>(0));
        changes::note(name, "state -> FINISHED: every lead of its complete list is done".to_owned(), None);
    }
    Ok(())
}
