//! Extends held claims, and tells which of them may no longer be sent.

use std::time::Duration;

use campaign_metrics::{account::AccountState, campaign::CampaignState, name::AccountName, sending::ClaimId};
use deadpool_postgres::Transaction;
use jiff::Timestamp;
use tokio_postgres::Row;

use super::lock::{Expiry, claims_lock_in_txn};
use crate::{
    error::Result,
    store::{
        campaign::row::active_hours_from_row,
        row::{account_lock_in_txn, account_state, campaign_state, lead_block},
        transaction::{Kind, Store, in_txn},
    },
};

impl Store {
    /// Extends those of the claims that are held and may still be sent. Returns for each id, in order, `Some` of the new
    /// expiry, or what it is instead.
    pub async fn claim_renew(&self, account: &AccountName, ids: &[ClaimId], hold: Duration) -> Result<Vec<Renewal>> {
        in_txn!(self, "claim_renew", Kind::Write, |txn, attempt| {
            let holder = account_lock_in_txn(&txn, account).await?;
            let now = self.clock.now();
            let suspended = account_state(holder.get("state"))? == AccountState::Suspended;
            let rows = claims_lock_in_txn(&txn, &holder, ids, Expiry::Ahead, now).await?;
            let mut results = vec![Renewal::NotHeld; ids.len()];
            for row in &rows {
                let place = usize::try_from(row.get::<_, i32>("place")).unwrap_or(0);
                let hours = active_hours_from_row(row)?;
                let may_send = !suspended
                    && campaign_state(row.get("state"))? == CampaignState::Active
                    && hours.is_active(now)
                    && row.get::<_, i32>("next_step") == i32::from(ids[place].key.step.number());
                results[place] = if may_send {
                    let hold_end = now.checked_add(hold).unwrap_or(Timestamp::MAX);
                    Renewal::Renewed(hours.next_change(now).map_or(hold_end, |end| end.min(hold_end)))
                } else {
                    Renewal::Revoked
                };
            }
            renew_in_txn(&txn, &rows, ids, &results).await?;
            Ok(results)
        })
    }
}

/// What became of a claim that was to be extended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewal {
    /// Held until then.
    Renewed(Timestamp),
    /// Still held, but not to be sent.
    Revoked,
    /// Not held.
    NotHeld,
}

/// Extends rows of claims to the latest expiry of their renewed members: a row expires as one.
async fn renew_in_txn(txn: &Transaction<'_>, rows: &[Row], ids: &[ClaimId], results: &[Renewal]) -> Result<()> {
    let update = "UPDATE claims SET expires_at = greatest(expires_at, $6)
        WHERE workspace_id = $1 AND campaign_id = $2 AND block = $3 AND step = $4 AND grant_no = $5 AND expires_at < $6";
    let statement = txn.prepare_cached(update).await?;
    for row in rows {
        let place = usize::try_from(row.get::<_, i32>("place")).unwrap_or(0);
        if let Renewal::Renewed(until) = results[place] {
            let (key, workspace_id) = (ids[place].key, row.get::<_, i32>("workspace_id"));
            let (block, step) = (lead_block(key.lead_number), i16::from(key.step.number()));
            txn.execute(&statement, &[&workspace_id, &key.campaign_number, &block, &step, &ids[place].grant, &until])
                .await?;
        }
    }
    Ok(())
}
