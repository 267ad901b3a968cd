//! Deletes a campaign. It disappears for all readers at once; upkeep removes its leads and its log later, in portions.

use campaign_metrics::name::CampaignName;
use deadpool_postgres::Transaction;
use jiff::Timestamp;

use super::lock::{Actor, Attempt, campaign_lock_in_txn, campaign_note, check_actor};
use crate::{
    error::{Error, Result},
    store::{
        row::{CampaignKey, campaign_key, campaign_state, check_etag},
        transaction::{Kind, Store, in_txn},
    },
};

impl Store {
    /// Deletes a campaign with its leads. Fails while claims are held or uncertain, unless `force` is set.
    pub async fn campaign_delete(
        &self,
        name: &CampaignName,
        etag: Option<i64>,
        force: bool,
        actor: Actor<'_>,
    ) -> Result<()> {
        in_txn!(self, "campaign_delete", Kind::Write, |txn, attempt| {
            let row = campaign_lock_in_txn(&txn, name).await?;
            check_actor(&row, actor, Attempt::Delete)?;
            check_etag(&row, etag)?;
            let (workspace_id, campaign_id) = campaign_key(&row);
            // Waits for outcomes in flight, which hold the row FOR KEY SHARE. Later outcomes find no campaign.
            txn.execute(
                "SELECT FROM campaigns WHERE workspace_id = $1 AND campaign_id = $2 FOR UPDATE",
                &[&workspace_id, &campaign_id],
            )
            .await?;
            let open = "SELECT granted - closed_claims FROM campaign_claims g JOIN campaign_counters k USING (workspace_id, campaign_id)
                WHERE workspace_id = $1 AND campaign_id = $2";
            let open: i64 = txn.query_one(open, &[&workspace_id, &campaign_id]).await?.get(0);
            if open > 0 && !force {
                return Err(Error::Precondition {
                    reason: "CLAIMS_OPEN",
                    about: Vec::new(),
                    message: format!(
                        "{name} has {open} claims held or uncertain; wait for their outcomes, release them, or set force"
                    ),
                });
            }
            campaign_note(&row, format!("state {} -> deleted", campaign_state(row.get("state"))?));
            campaign_rows_delete_in_txn(&txn, (workspace_id, campaign_id), self.clock.now()).await
        })
    }
}

/// Deletes the rows of a campaign, except for its leads and its log: [`Store::campaigns_drain`] removes those.
async fn campaign_rows_delete_in_txn(
    txn: &Transaction<'_>,
    (workspace_id, campaign_id): CampaignKey,
    now: Timestamp,
) -> Result<()> {
    let insert = "INSERT INTO deleted_campaigns (workspace_id, campaign_id, deleted_at) VALUES ($1, $2, $3)";
    txn.execute(insert, &[&workspace_id, &campaign_id, &now]).await?;
    for table in ["claims", "campaigns"] {
        let sql = format!("DELETE FROM {table} WHERE workspace_id = $1 AND campaign_id = $2");
        txn.execute(&sql, &[&workspace_id, &campaign_id]).await?;
    }
    Ok(())
}
