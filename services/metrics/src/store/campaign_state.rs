//! Changes of a campaign's state: by request, by its owner, and the finish by itself.
//!
//! A pause and a claim both lock the campaign's row, so whichever commits first is seen by the other: from the commit
//! of a pause on, no replica grants a claim.

use campaign_metrics::{
    campaign::{Campaign, CampaignState},
    name::CampaignName,
};
use deadpool_postgres::Transaction;
use jiff::Timestamp;
use tokio_postgres::Row;

use super::{
    Kind, Store,
    campaign::{Actor, campaign_lock_in_txn, check_actor, check_etag},
    campaign_view::{CampaignKey, Which, campaign_state, campaigns_load, stored_state},
    in_txn,
};
use crate::error::{Error, Result};

/// `finish_reason` of a requested finish.
const REQUESTED: i16 = 2;

impl Store {
    /// Brings a campaign into a state, if that is legal; `etag` is a revision to check.
    pub async fn campaign_set_state(
        &self,
        name: &CampaignName,
        to: CampaignState,
        etag: Option<i64>,
        actor: Actor<'_>,
    ) -> Result<Campaign> {
        in_txn!(self, Kind::Write, |txn, attempt| {
            let now = self.clock.now();
            let row = campaign_lock_in_txn(&txn, name).await?;
            check_actor(&row, actor)?;
            check_etag(&row, etag)?;
            state_set_in_txn(&txn, &row, to, now).await?;
            one(campaigns_load(&txn, Which::Keys(&[key(&row)]), now).await?, name)
        })
    }

    /// Makes the results of finished campaigns final where nothing has been held for their settling time. Returns how many.
    pub async fn campaigns_finalize(&self) -> Result<u64> {
        let sql = "
            WITH due AS (
                SELECT workspace_id, campaign_id FROM campaigns c
                WHERE state = 3 AND finalized_at IS NULL
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
        in_txn!(self, Kind::Write, |txn, attempt| {
            let now = self.clock.now();
            Ok(txn.execute(sql, &[&now]).await?)
        })
    }
}

/// Numbers of a row that has them.
pub(super) fn key(row: &Row) -> CampaignKey {
    (row.get("workspace_id"), row.get("campaign_id"))
}

/// The only element, or that the campaign does not exist.
pub(super) fn one(campaigns: Vec<Campaign>, name: &CampaignName) -> Result<Campaign> {
    campaigns.into_iter().next().ok_or_else(|| Error::NotFound(name.to_string()))
}

/// Brings a locked campaign into a state, if that is legal.
pub(super) async fn state_set_in_txn(
    txn: &Transaction<'_>,
    row: &Row,
    to: CampaignState,
    now: Timestamp,
) -> Result<()> {
    let from = campaign_state(row.get("state"))?;
    if !from.transition(to)? {
        return Ok(());
    }
    let (workspace_id, campaign_id) = key(row);
    let finished_at = (to == CampaignState::Finished).then_some(now);
    let finish_reason = finished_at.map(|_| REQUESTED);
    let sql = "UPDATE campaigns SET state = $3, finished_at = $4, finish_reason = $5, updated_at = $6, revision = revision + 1
        WHERE workspace_id = $1 AND campaign_id = $2";
    let params: &[&(dyn tokio_postgres::types::ToSql + Sync)] =
        &[&workspace_id, &campaign_id, &stored_state(to), &finished_at, &finish_reason, &now];
    txn.execute(sql, params).await?;
    Ok(())
}

/// Finishes those of the campaigns that are complete: the rule of product.md, in this one place.
///
/// Call it in every transaction that can bring a finish about, after it has locked the counters: whoever comes later
/// then sees what was committed before.
pub(super) async fn campaigns_finish_in_txn(
    txn: &Transaction<'_>,
    workspace_id: i32,
    campaign_ids: &[i32],
    now: Timestamp,
) -> Result<()> {
    let sql = "
        UPDATE campaigns c
        SET state = 3, finish_reason = 1, finished_at = $3, updated_at = $3, revision = revision + 1
        FROM campaign_counters k
        WHERE c.workspace_id = $1 AND c.campaign_id = ANY ($2) AND c.state <> 3 AND c.lead_list_complete
            AND k.workspace_id = $1 AND k.campaign_id = c.campaign_id AND k.total > 0 AND k.pending + k.partial = 0";
    let statement = txn.prepare_cached(sql).await?;
    txn.execute(&statement, &[&workspace_id, &campaign_ids, &now]).await?;
    Ok(())
}
