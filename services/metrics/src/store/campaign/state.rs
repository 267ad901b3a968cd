//! Changes a campaign's state on request or for its owner.
//!
//! A pause and a claim both lock the campaign's row, so the second one sees what the first committed. Once a pause has
//! committed, no replica grants a claim.

use campaign_metrics::{
    campaign::{Campaign, CampaignState, Hold},
    name::CampaignName,
};
use deadpool_postgres::Transaction;
use jiff::Timestamp;
use tokio_postgres::Row;

use super::{
    counters::counters_lock_in_txn,
    lock::{Actor, Attempt, campaign_lock_in_txn, campaign_note, check_actor},
    row::hold_from_row,
    view::campaign_load_in_txn,
};
use crate::{
    error::Result,
    store::{
        row::{campaign_key, campaign_state, check_etag, stored_state},
        transaction::{Kind, Store, in_txn},
    },
};

/// `finish_reason` of a requested finish.
const REQUESTED: i16 = 2;

impl Store {
    /// Changes the state of a campaign, if the transition is legal. `etag`, if given, must equal its revision.
    pub async fn campaign_set_state(
        &self,
        name: &CampaignName,
        to: CampaignState,
        etag: Option<i64>,
        actor: Actor<'_>,
    ) -> Result<Campaign> {
        in_txn!(self, "campaign_set_state", Kind::Write, |txn, attempt| {
            let now = self.clock.now();
            let row = campaign_lock_in_txn(&txn, name).await?;
            check_actor(&row, actor, Attempt::State(to))?;
            check_etag(&row, etag)?;
            state_set_in_txn(&txn, &row, to, now).await?;
            campaign_load_in_txn(&txn, campaign_key(&row), name, now).await
        })
    }
}

/// Changes the state of a locked campaign, if the transition is legal. A change ends the hold.
pub(super) async fn state_set_in_txn(
    txn: &Transaction<'_>,
    row: &Row,
    to: CampaignState,
    now: Timestamp,
) -> Result<()> {
    let from = campaign_state(row.get("state"))?;
    // A request for the state PAUSED leaves a hold alone.
    if !from.transition(to)? {
        return Ok(());
    }
    state_write_in_txn(txn, row, to, None, now).await
}

/// Writes the state of a locked campaign, and its hold.
pub(super) async fn state_write_in_txn(
    txn: &Transaction<'_>,
    row: &Row,
    to: CampaignState,
    hold: Option<&Hold>,
    now: Timestamp,
) -> Result<()> {
    let (workspace_id, campaign_id) = campaign_key(row);
    if to == CampaignState::Finished {
        // AddLeads locks the counters, then reads the state: none that saw the old one commits after this finish.
        counters_lock_in_txn(txn, (workspace_id, campaign_id)).await?;
    }
    let finished_at = (to == CampaignState::Finished).then_some(now);
    let finish_reason = finished_at.map(|_| REQUESTED);
    let sql = "UPDATE campaigns SET state = $3, finished_at = $4, finish_reason = $5, updated_at = $6, held_at = $7,
            hold_reason = $8, hold_return_state = $9, hold_generation = $10, revision = revision + 1
        WHERE workspace_id = $1 AND campaign_id = $2";
    let params: &[&(dyn tokio_postgres::types::ToSql + Sync)] = &[
        &workspace_id,
        &campaign_id,
        &stored_state(to),
        &finished_at,
        &finish_reason,
        &now,
        &hold.map(|hold| hold.place_time),
        &hold.map(|hold| hold.reason.as_str()),
        &hold.map(|hold| stored_state(hold.return_state)),
        &hold.and_then(|hold| hold.generation),
    ];
    txn.execute(sql, params).await?;
    campaign_note(row, state_change(row, to, hold)?);
    Ok(())
}

/// Says what a new state and a new hold change of a locked campaign.
fn state_change(row: &Row, to: CampaignState, hold: Option<&Hold>) -> Result<String> {
    let from = campaign_state(row.get("state"))?;
    let mut parts = Vec::new();
    if from != to {
        parts.push(format!("state {from} -> {to}"));
    }
    match (hold_from_row(row)?, hold) {
        (Some(before), Some(hold)) if before.place_time == hold.place_time => {
            if before.return_state != hold.return_state {
                parts.push(format!("state under the hold {} -> {}", before.return_state, hold.return_state));
            }
        }
        (_, Some(hold)) => parts.push(format!("hold placed for {:?}", hold.reason)),
        (Some(hold), None) => parts.push(format!("hold for {:?} lifted", hold.reason)),
        (None, None) => {}
    }
    Ok(parts.join("; "))
}
