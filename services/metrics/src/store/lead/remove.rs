//! Removes a lead on request.
//!
//! A lead without facts leaves the total. Of a lead with facts the facts stay; its id and every text about it are deleted. In a
//! campaign that has not finished its sequence ends like that of a lead that opted out, so that the campaign can finish.

use campaign_metrics::{campaign::CampaignState, name::LeadName};
use deadpool_postgres::Transaction;
use tokio_postgres::types::ToSql;

use crate::{
    error::{Error, Result},
    store::{
        campaign::{
            counters::{AccountLeads, account_leads_change_in_txn, claims_closed_in_txn},
            finish::{Emptied, campaigns_finish_in_txn},
            lock::campaign_lock_in_txn,
        },
        row::{ANY_ACCOUNT, PENDING, campaign_key, campaign_state, lead_bit, lead_block, lead_no_in_txn},
        transaction::{Kind, Store, in_txn},
    },
};

impl Store {
    /// Removes a lead. Fails while a claim of it is held or uncertain, unless `force` is set.
    pub async fn lead_delete(&self, name: &LeadName, force: bool) -> Result<()> {
        in_txn!(self, "lead_delete", Kind::Hot, |txn, attempt| {
            let campaign = campaign_lock_in_txn(&txn, &name.campaign).await?;
            let (workspace_id, campaign_id) = campaign_key(&campaign);
            let now = self.clock.now();
            let lead_no = lead_no_in_txn(&txn, (workspace_id, campaign_id), name).await?;
            let lead: [&(dyn ToSql + Sync); 3] = [&workspace_id, &campaign_id, &lead_no];
            let Dropped { closed, claim_account, mask, account } = claims_drop_in_txn(&txn, &lead, lead_no).await?;
            if closed > 0 && !force {
                return Err(Error::Precondition {
                    reason: "CLAIMS_OPEN",
                    about: Vec::new(),
                    message: format!(
                        "{name} has a claim held or uncertain; wait for its outcome, release or resolve it, or set force"
                    ),
                });
            }
            if mask == 0 {
                lead_drop_in_txn(&txn, &lead).await?;
            } else {
                let is_open = campaign_state(campaign.get("state"))? != CampaignState::Finished;
                lead_forget_in_txn(&txn, (workspace_id, campaign_id, lead_no), is_open, account, claim_account).await?;
            }
            claims_closed_in_txn(&txn, workspace_id, campaign_id, closed).await?;
            campaigns_finish_in_txn(&txn, workspace_id, &[campaign_id], Emptied::Finishes, now).await
        })
    }
}

/// What is known of a lead when its claims are dropped.
struct Dropped {
    /// Claims that were open.
    closed: i64,
    /// The account of the open claim.
    claim_account: Option<i32>,
    /// The facts of the lead.
    mask: i64,
    /// The account of the lead.
    account: Option<i32>,
}

/// Locks a lead and removes it from its claims.
async fn claims_drop_in_txn(txn: &Transaction<'_>, lead: &[&(dyn ToSql + Sync); 3], lead_no: i32) -> Result<Dropped> {
    let (block, bit) = (lead_block(lead_no), lead_bit(lead_no));
    let lock = "SELECT FROM claims WHERE workspace_id = $1 AND campaign_id = $2 AND block = $3
        ORDER BY step, grant_no FOR NO KEY UPDATE";
    txn.execute(lock, &[lead[0], lead[1], &block]).await?;
    let facts =
        "SELECT mask, account_id FROM leads WHERE workspace_id = $1 AND campaign_id = $2 AND lead_no = $3 FOR UPDATE";
    let facts = txn.query_one(facts, lead).await?;
    let (mask, account): (i64, Option<i32>) = (facts.get(0), facts.get(1));
    let drop = "WITH dropped AS (
            UPDATE claims SET claimed = claimed & ~$4::int8
            WHERE workspace_id = $1 AND campaign_id = $2 AND block = $3 AND claimed & $4 <> 0
            RETURNING account_id, NOT has_result($5, step - 1) AS was_open
        ) SELECT count(*), max(account_id) FROM dropped WHERE was_open";
    let dropped = txn.query_one(drop, &[lead[0], lead[1], &block, &bit, &mask]).await?;
    let empty = "DELETE FROM claims WHERE workspace_id = $1 AND campaign_id = $2 AND block = $3 AND claimed = 0";
    txn.execute(empty, &[lead[0], lead[1], &block]).await?;
    Ok(Dropped { closed: dropped.get(0), claim_account: dropped.get(1), mask, account })
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

/// Marks a lead as forgotten and, where `is_open`, ends its sequence. Deletes its id and every text about it. A lead without
/// `account` keeps that of its claim, which is gone now: late outcomes count for it.
async fn lead_forget_in_txn(
    txn: &Transaction<'_>,
    (workspace_id, campaign_id, lead_no): (i32, i32, i32),
    is_open: bool,
    account: Option<i32>,
    claim_account: Option<i32>,
) -> Result<()> {
    let lead: &[&(dyn ToSql + Sync); 3] = &[&workspace_id, &campaign_id, &lead_no];
    let forget = "WITH forgotten AS (
            UPDATE leads l SET account_id = coalesce(l.account_id, $4),
                mask = l.mask | fact_mask(forgotten_bit()) | CASE WHEN $5 THEN fact_mask(removed_bit()) ELSE 0 END
            FROM campaigns n
            WHERE l.workspace_id = $1 AND l.campaign_id = $2 AND l.lead_no = $3 AND n.workspace_id = $1 AND n.campaign_id = $2
            RETURNING lead_status(l.mask & (fact_mask(forgotten_bit()) - 1), n.steps) AS old_status,
                lead_status(l.mask, n.steps) AS status
        ), counted AS (
            UPDATE campaign_counters k SET version = k.version + 1,
                pending = k.pending + (f.status = status_pending())::int4 - (f.old_status = status_pending())::int4,
                partial = k.partial + (f.status = status_partial())::int4 - (f.old_status = status_partial())::int4,
                sent = k.sent + (f.status = status_sent())::int4 - (f.old_status = status_sent())::int4,
                failed = k.failed + (f.status = status_failed())::int4 - (f.old_status = status_failed())::int4
            FROM forgotten f WHERE k.workspace_id = $1 AND k.campaign_id = $2
        )
        SELECT old_status, status FROM forgotten";
    let row = txn.query_one(forget, &[lead[0], lead[1], lead[2], &claim_account, &is_open]).await?;
    let mut moved = AccountLeads::new();
    *moved.entry((campaign_id, account.unwrap_or(ANY_ACCOUNT), row.get(0))).or_default() -= 1;
    *moved.entry((campaign_id, account.or(claim_account).unwrap_or(ANY_ACCOUNT), row.get(1))).or_default() += 1;
    account_leads_change_in_txn(txn, workspace_id, &moved).await?;
    for sql in [
        "UPDATE outcomes SET detail = NULL
            WHERE workspace_id = $1 AND campaign_id = $2 AND lead_no = $3 AND detail IS NOT NULL",
        "DELETE FROM lead_ids WHERE workspace_id = $1 AND campaign_id = $2 AND lead_no = $3",
    ] {
        txn.execute(sql, lead).await?;
    }
    Ok(())
}
