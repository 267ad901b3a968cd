//! Places holds on campaigns, and lifts them. A hold keeps a campaign paused whatever its owner declares.

use campaign_metrics::{
    campaign::{Campaign, CampaignState, Hold, Owner},
    name::CampaignName,
};
use deadpool_postgres::Transaction;
use jiff::Timestamp;
use tokio_postgres::Row;

use super::{
    lock::{Actor, Attempt, campaign_lock_in_txn, check_actor},
    row::{hold_from_row, owner_from_row},
    state::{state_set_in_txn, state_write_in_txn},
    view::campaign_load_in_txn,
};
use crate::{
    error::Result,
    store::{
        row::{campaign_key, campaign_state, check_etag},
        transaction::{Kind, Store, in_txn},
    },
};

impl Store {
    /// Pauses a campaign, whoever manages it, and places a hold on it. A second hold replaces the first.
    pub async fn campaign_hold(&self, name: &CampaignName, etag: Option<i64>, reason: &str) -> Result<Campaign> {
        in_txn!(self, "campaign_hold", Kind::Write, |txn, attempt| {
            let now = self.clock.now();
            let row = campaign_lock_in_txn(&txn, name).await?;
            check_etag(&row, etag)?;
            let state = campaign_state(row.get("state"))?;
            state.transition(CampaignState::Paused)?;
            let hold = Hold {
                place_time: now,
                reason: reason.to_owned(),
                return_state: hold_from_row(&row)?.map_or(state, |earlier| earlier.return_state),
                generation: owner_from_row(&row).map(|owner| owner.generation),
            };
            state_write_in_txn(&txn, &row, CampaignState::Paused, Some(&hold), now).await?;
            campaign_load_in_txn(&txn, campaign_key(&row), name, now).await
        })
    }

    /// Lifts the hold of a campaign, whoever manages it. Resumes a campaign without hold that no resource manages.
    pub async fn campaign_lift(&self, name: &CampaignName, etag: Option<i64>) -> Result<Campaign> {
        in_txn!(self, "campaign_lift", Kind::Write, |txn, attempt| {
            let now = self.clock.now();
            let row = campaign_lock_in_txn(&txn, name).await?;
            check_etag(&row, etag)?;
            if let Some(hold) = hold_from_row(&row)? {
                state_write_in_txn(&txn, &row, hold.return_state, None, now).await?;
            } else {
                check_actor(&row, Actor::Client, Attempt::State(CampaignState::Active))?;
                state_set_in_txn(&txn, &row, CampaignState::Active, now).await?;
            }
            campaign_load_in_txn(&txn, campaign_key(&row), name, now).await
        })
    }
}

/// Gives a locked campaign the state that its owner declares. Under a hold that the owner's generation does not lift, the
/// campaign stays paused, and the hold keeps the declared state for later. `before` is the owner until now.
pub(super) async fn declared_state_in_txn(
    txn: &Transaction<'_>,
    row: &Row,
    declared: CampaignState,
    (before, owner): (Option<&Owner>, &Owner),
    edit_time: Option<Timestamp>,
    now: Timestamp,
) -> Result<()> {
    let Some(hold) = hold_from_row(row)? else {
        // A finished campaign satisfies every state.
        if campaign_state(row.get("state"))? != CampaignState::Finished {
            state_set_in_txn(txn, row, declared, now).await?;
        }
        return Ok(());
    };
    let is_same = before.is_some_and(|before| before.uid == owner.uid);
    if is_same && hold.is_lifted_by(owner.generation, edit_time) {
        return state_write_in_txn(txn, row, declared, None, now).await;
    }
    let kept = Hold { return_state: declared, generation: Some(owner.generation), ..hold.clone() };
    if kept != hold {
        state_write_in_txn(txn, row, CampaignState::Paused, Some(&kept), now).await?;
    }
    Ok(())
}
