//! Releases claims at the request of their holder. Their steps become due again, and the limits of their days get their share
//! back.

use std::collections::BTreeMap;

use campaign_metrics::{
    name::AccountName,
    sending::{ClaimId, ClaimState},
};
use deadpool_postgres::Transaction;
use jiff::{Timestamp, civil::Date};
use tokio_postgres::{Row, types::ToSql};

use super::{
    lock::{campaigns_lock_in_txn, claims_lock_in_txn, id_index},
    retry::returns_add_in_txn,
};
use crate::{
    error::Result,
    store::{
        campaign::counters::{account_leads_change_in_txn, claims_closed_in_txn},
        limit::{LimitOwner, Share, reservation_add_in_txn, shares_kept_in_txn},
        row::{account_lock_in_txn, lead_bit, lead_block},
        transaction::{Kind, Store, in_txn},
    },
};

impl Store {
    /// Releases claims. Their steps are due again at `not_before`, or now. Returns for each id, in order, whether it was
    /// held. The caller lists each once.
    pub async fn claim_release(
        &self,
        account: &AccountName,
        ids: &[ClaimId],
        not_before: Option<Timestamp>,
    ) -> Result<Vec<bool>> {
        in_txn!(self, "claim_release", Kind::Sender, |txn, attempt| {
            let holder = account_lock_in_txn(&txn, account).await?;
            campaigns_lock_in_txn(&txn, holder.get("workspace_id"), ids).await?;
            let now = self.clock.now();
            let rows = claims_lock_in_txn(&txn, &holder, ids, ClaimState::Held, now).await?;
            let mut released = vec![false; ids.len()];
            let mut held: Vec<(ClaimId, &Row)> = Vec::with_capacity(rows.len());
            for row in &rows {
                let index = id_index(row);
                held.push((ids[index], row));
                released[index] = true;
            }
            release_in_txn(&txn, &holder, &held, not_before.map_or(now, |time| time.max(now))).await?;
            Ok(released)
        })
    }
}

/// Releases locked claims: their steps are due again at `due_at`, and the limits of their days get their share back.
pub(super) async fn release_in_txn(
    txn: &Transaction<'_>,
    holder: &Row,
    held: &[(ClaimId, &Row)],
    due_at: Timestamp,
) -> Result<()> {
    if held.is_empty() {
        return Ok(());
    }
    let (workspace_id, account_id): (i32, i32) = (holder.get("workspace_id"), holder.get("account_id"));
    let mut blocks: BTreeMap<(i32, i32, i16, i64), i64> = BTreeMap::new();
    let mut days: BTreeMap<(LimitOwner, i32, Date), i64> = BTreeMap::new();
    let mut closed: BTreeMap<i32, i64> = BTreeMap::new();
    let shares: Vec<Share> = held.iter().map(|(id, row)| share(workspace_id, account_id, *id, row)).collect();
    let kept = shares_kept_in_txn(txn, &shares).await?;
    for ((id, _), (share, kept)) in held.iter().zip(shares.iter().zip(kept)) {
        let key = id.key;
        let block = (key.campaign_number, lead_block(key.lead_number), i16::from(key.step.number()), id.grant);
        *blocks.entry(block).or_default() |= lead_bit(key.lead_number);
        // A share that an earlier claim keeps was not taken by this one.
        if let Some((_, day)) = share.account.filter(|_| !kept.of_account) {
            *days.entry((LimitOwner::Account, account_id, day)).or_default() -= 1;
        }
        if let Some(day) = share.campaign_day.filter(|_| !kept.of_campaign) {
            *days.entry((LimitOwner::Campaign, key.campaign_number, day)).or_default() -= 1;
        }
        *closed.entry(key.campaign_number).or_default() += 1;
    }
    let shrink = "UPDATE claims SET claimed = claimed & ~$6::int8
        WHERE workspace_id = $1 AND campaign_id = $2 AND block = $3 AND step = $4 AND grant_no = $5";
    let delete = "DELETE FROM claims
        WHERE workspace_id = $1 AND campaign_id = $2 AND block = $3 AND step = $4 AND grant_no = $5 AND claimed = 0";
    let (shrink, delete) = futures::try_join!(txn.prepare_cached(shrink), txn.prepare_cached(delete))?;
    for ((campaign_id, block, step, grant), bits) in &blocks {
        let row: [&(dyn ToSql + Sync); 6] = [&workspace_id, campaign_id, block, step, grant, bits];
        txn.execute(&shrink, &row).await?;
        txn.execute(&delete, &row[..5]).await?;
    }
    let campaigns: Vec<i32> = held.iter().map(|(id, _)| id.key.campaign_number).collect();
    let leads: Vec<i32> = held.iter().map(|(id, _)| id.key.lead_number).collect();
    let steps: Vec<i16> = held.iter().map(|(id, _)| id.key.step.number().into()).collect();
    let assigned = returns_add_in_txn(txn, workspace_id, account_id, &campaigns, &leads, &steps, due_at).await?;
    for (campaign_id, count) in closed {
        claims_closed_in_txn(txn, workspace_id, campaign_id, count).await?;
    }
    account_leads_change_in_txn(txn, workspace_id, &assigned).await?;
    for ((owner, id, day), count) in days {
        reservation_add_in_txn(txn, owner, workspace_id, id, day, count).await?;
    }
    Ok(())
}

/// The share of the limits that a claim stands for.
fn share(workspace_id: i32, account_id: i32, id: ClaimId, claim: &Row) -> Share {
    Share {
        campaign: (workspace_id, id.key.campaign_number),
        lead_no: id.key.lead_number,
        step: id.key.step.number().into(),
        account: Some((account_id, claim.get("account_day"))),
        campaign_day: Some(claim.get("campaign_day")),
    }
}
