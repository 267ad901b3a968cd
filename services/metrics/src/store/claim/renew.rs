//! Extends held claims, and tells which of their steps may no longer be sent.

use std::time::Duration;

use campaign_metrics::{
    account::AccountState,
    campaign::CampaignState,
    name::AccountName,
    sending::{ClaimId, ClaimState},
};
use deadpool_postgres::Transaction;
use jiff::Timestamp;
use tokio_postgres::Row;

use super::lock::{campaigns_lock_in_txn, claims_lock_in_txn, id_index};
use crate::{
    error::Result,
    store::{
        campaign::row::active_hours_from_row,
        outcome::telling::{Told, check_told, is_untold},
        row::{account_lock_in_txn, account_state, campaign_state, lead_block},
        transaction::{Kind, Store, in_txn},
    },
};

impl Store {
    /// Extends the claims that are held and whose steps may still be sent. Returns the result for each id, in order.
    ///
    /// It locks the campaigns, as a pause does: a pause that was answered is seen, and its answer says until when the claims
    /// run.
    pub async fn claim_renew(&self, account: &AccountName, ids: &[ClaimId], hold: Duration) -> Result<Vec<Renewal>> {
        match self.claim_try_renew(account, ids, hold, Told::No).await {
            Err(error) if is_untold(&error) => {
                self.opt_outs_tell_account(account).await?;
                self.claim_try_renew(account, ids, hold, Told::Yes).await
            }
            renewed => renewed,
        }
    }

    async fn claim_try_renew(
        &self,
        account: &AccountName,
        ids: &[ClaimId],
        hold: Duration,
        told: Told,
    ) -> Result<Vec<Renewal>> {
        in_txn!(self, "claim_renew", Kind::Sender, |txn, attempt| {
            let holder = account_lock_in_txn(&txn, account).await?;
            check_told(&holder, told)?;
            campaigns_lock_in_txn(&txn, holder.get("workspace_id"), ids).await?;
            let now = self.clock.now();
            let suspended = account_state(holder.get("state"))? == AccountState::Suspended;
            let rows = claims_lock_in_txn(&txn, &holder, ids, ClaimState::Held, now).await?;
            let mut results = vec![Renewal::NotHeld; ids.len()];
            for row in &rows {
                let index = id_index(row);
                let hours = active_hours_from_row(row)?;
                let may_send = !suspended
                    && row.get::<_, bool>("serves")
                    && campaign_state(row.get("state"))? == CampaignState::Active
                    && hours.is_active(now)
                    && row.get::<_, i32>("next_step") == i32::from(ids[index].key.step.number());
                results[index] = if may_send {
                    let hold_end = now.checked_add(hold).unwrap_or(Timestamp::MAX);
                    let until = hours.next_change(now).map_or(hold_end, |end| end.min(hold_end));
                    // A shorter hold than the present one shortens nothing.
                    Renewal::Renewed(until.max(row.get("expires_at")))
                } else {
                    Renewal::Revoked
                };
            }
            renew_in_txn(&txn, &rows, ids, &results).await?;
            Ok(results)
        })
    }
}

/// The result of renewing a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewal {
    /// Held until then.
    Renewed(Timestamp),
    /// Still held, but its step must not be sent.
    Revoked,
    /// Not held.
    NotHeld,
}

/// Extends rows of claims to the latest expiry of their renewed claims: all claims of a row expire together.
async fn renew_in_txn(txn: &Transaction<'_>, rows: &[Row], ids: &[ClaimId], results: &[Renewal]) -> Result<()> {
    let update = "UPDATE claims SET expires_at = greatest(expires_at, $6)
        WHERE workspace_id = $1 AND campaign_id = $2 AND block = $3 AND step = $4 AND grant_no = $5 AND expires_at < $6";
    let statement = txn.prepare_cached(update).await?;
    for row in rows {
        let index = id_index(row);
        if let Renewal::Renewed(until) = results[index] {
            let (key, workspace_id) = (ids[index].key, row.get::<_, i32>("workspace_id"));
            let (block, step) = (lead_block(key.lead_number), i16::from(key.step.number()));
            txn.execute(&statement, &[&workspace_id, &key.campaign_number, &block, &step, &ids[index].grant, &until])
                .await?;
        }
    }
    Ok(())
}
