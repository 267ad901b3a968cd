//! Removes a lead on request.
//!
//! A lead without facts leaves the total. The counts of a lead with facts stay; its id and every text about it are deleted.

use campaign_metrics::name::LeadName;
use deadpool_postgres::Transaction;
use tokio_postgres::types::ToSql;

use crate::{
    error::{Error, Result},
    store::{
        campaign::{
            counters::{AccountLeads, account_leads_change_in_txn, claims_closed_in_txn},
            finish::campaigns_finish_in_txn,
            lock::campaign_lock_in_txn,
        },
        outcome::opt_out::opt_out_in_txn,
        row::{PENDING, campaign_key, lead_bit, lead_block, lead_no_in_txn},
        transaction::{Kind, Store, in_txn},
    },
};

impl Store {
    /// Removes a lead. Fails while a claim of it is held or uncertain, unless `force` is set.
    pub async fn lead_delete(&self, name: &LeadName, force: bool) -> Result<()> {
        in_txn!(self, "lead_delete", Kind::Hot, |txn, attempt| {
            let (workspace_id, campaign_id) = campaign_key(&campaign_lock_in_txn(&txn, &name.campaign).await?);
            let now = self.clock.now();
            let lead_no = lead_no_in_txn(&txn, (workspace_id, campaign_id), name).await?;
            let lead: [&(dyn ToSql + Sync); 3] = [&workspace_id, &campaign_id, &lead_no];
            let (closed, mask) = claims_drop_in_txn(&txn, &lead, lead_no).await?;
            if closed > 0 && !force {
                return Err(Error::Precondition {
                    reason: "CLAIMS_OPEN",
                    message: format!(
                        "{name} has a claim held or uncertain; wait for its outcome, release or resolve it, or set force"
                    ),
                });
            }
            if mask == 0 {
                lead_drop_in_txn(&txn, &lead).await?;
            } else {
                opt_out_in_txn(&txn, &[((workspace_id, campaign_id), lead_no)], now, attempt).await?;
                lead_forget_in_txn(&txn, &lead).await?;
            }
            claims_closed_in_txn(&txn, workspace_id, campaign_id, closed).await?;
            campaigns_finish_in_txn(&txn, workspace_id, &[campaign_id], now).await
        })
    }
}

/// Locks a lead and removes it from its claims. Returns how many of these were open, and the facts of the lead.
async fn claims_drop_in_txn(
    txn: &Transaction<'_>,
    lead: &[&(dyn ToSql + Sync); 3],
    lead_no: i32,
) -> Result<(i64, i64)> {
    let (block, bit) = (lead_block(lead_no), lead_bit(lead_no));
    let lock = "SELECT FROM claims WHERE workspace_id = $1 AND campaign_id = $2 AND block = $3
        ORDER BY step, grant_no FOR NO KEY UPDATE";
    txn.execute(lock, &[lead[0], lead[1], &block]).await?;
    let mask = "SELECT mask FROM leads WHERE workspace_id = $1 AND campaign_id = $2 AND lead_no = $3 FOR UPDATE";
    let mask: i64 = txn.query_one(mask, lead).await?.get(0);
    let drop = "WITH dropped AS (
            UPDATE claims SET claimed = claimed & ~$4::int8
            WHERE workspace_id = $1 AND campaign_id = $2 AND block = $3 AND claimed & $4 <> 0
            RETURNING NOT has_result($5, step - 1) AS was_open
        ) SELECT count(*) FILTER (WHERE was_open) FROM dropped";
    let closed: i64 = txn.query_one(drop, &[lead[0], lead[1], &block, &bit, &mask]).await?.get(0);
    let empty = "DELETE FROM claims WHERE workspace_id = $1 AND campaign_id = $2 AND block = $3 AND claimed = 0";
    txn.execute(empty, &[lead[0], lead[1], &block]).await?;
    Ok((closed, mask))
}

/// Deletes a lead without facts. A row in `returns` stays, until a claim finds that its lead does not exist.
async fn lead_drop_in_txn(txn: &Transaction<'_>, lead: &[&(dyn ToSql + Sync); 3]) -> Result<()> {
    let id = "DELETE FROM lead_ids WHERE workspace_id = $1 AND campaign_id = $2 AND lead_no = $3";
    txn.execute(id, lead).await?;
    let count = "UPDATE campaign_counters SET total = total - 1, pending = pending - 1, version = version + 1
        WHERE workspace_id = $1 AND campaign_id = $2";
    txn.execute(count, &lead[..2]).await?;
    let drop = "DELETE FROM leads WHERE workspace_id = $1 AND campaign_id = $2 AND lead_no = $3
        RETURNING workspace_id, campaign_id, coalesce(account_id, 0)";
    let row = txn.query_one(drop, lead).await?;
    account_leads_change_in_txn(txn, row.get(0), &AccountLeads::from([((row.get(1), row.get(2), PENDING), -1)])).await
}

/// Marks a lead as forgotten. Deletes its id and every text about it.
async fn lead_forget_in_txn(txn: &Transaction<'_>, lead: &[&(dyn ToSql + Sync); 3]) -> Result<()> {
    for sql in [
        "UPDATE leads SET mask = mask | fact_mask(forgotten_bit()) WHERE workspace_id = $1 AND campaign_id = $2 AND lead_no = $3",
        "UPDATE outcomes SET detail = NULL
            WHERE workspace_id = $1 AND campaign_id = $2 AND lead_no = $3 AND detail IS NOT NULL",
        "DELETE FROM lead_ids WHERE workspace_id = $1 AND campaign_id = $2 AND lead_no = $3",
    ] {
        txn.execute(sql, lead).await?;
    }
    Ok(())
}
