//! Tells leads that their id opted out, where that many campaigns have the id that one transaction would take too long.
//!
//! The transaction of the opt-out tells the first of them. The id then waits, and upkeep tells the others in portions, each in a
//! transaction of its own, campaign by campaign. What grants or renews claims tells the leads of its campaigns first.

use campaign_metrics::name::AccountName;
use deadpool_postgres::Transaction;
use tokio_postgres::Row;

use super::opt_out::{TOLD_MAX, opt_out_in_txn};
use crate::{
    error::{Error, Result},
    store::{
        row::CampaignKey,
        transaction::{Kind, Store, in_txn},
    },
};

/// Leaves a workspace to the replica that tells its leads.
const TRY_LOCK: &str = "SELECT pg_try_advisory_xact_lock(hashtext('campaign-metrics telling'), $1)";

impl Store {
    /// Tells the leads of all ids that wait.
    pub async fn opt_outs_tell(&self) -> Result<()> {
        let waiting: Result<Vec<(i32, String)>> = in_txn!(self, "opt_outs_tell", Kind::Read, |txn, attempt| {
            let sql = "SELECT workspace_id, lead_id FROM opt_outs_waiting ORDER BY workspace_id, lead_id";
            Ok(txn.query(sql, &[]).await?.iter().map(|row| (row.get(0), row.get(1))).collect())
        });
        for (workspace_id, lead_id) in waiting? {
            loop {
                let more: Result<bool> = in_txn!(self, "opt_out_tell_portion", Kind::Write, |txn, attempt| {
                    let is_ours: bool = txn.query_one(TRY_LOCK, &[&workspace_id]).await?.get(0);
                    Ok(is_ours && tell_portion_in_txn(&txn, self, (workspace_id, &lead_id), attempt).await?)
                });
                if !more? {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Tells the leads of an id that waits, until none is left.
    pub(super) async fn opt_out_tell(&self, workspace_id: i32, lead_id: &str) -> Result<()> {
        loop {
            let more: Result<bool> = in_txn!(self, "opt_out_tell", Kind::Write, |txn, attempt| {
                tell_portion_in_txn(&txn, self, (workspace_id, lead_id), attempt).await
            });
            if !more? {
                return Ok(());
            }
        }
    }

    /// Tells all leads that opted out of the campaigns that an account serves and that are not finished.
    pub(in crate::store) async fn opt_outs_tell_account(&self, account: &AccountName) -> Result<()> {
        let find = "SELECT o.workspace_id, i.campaign_id, i.lead_no
            FROM workspaces w
            JOIN accounts a ON a.workspace_id = w.workspace_id AND a.name = $2
            JOIN opt_outs_waiting o ON o.workspace_id = w.workspace_id
            CROSS JOIN LATERAL (
                SELECT campaign_id, lead_no FROM lead_ids
                WHERE workspace_id = o.workspace_id AND lead_id = o.lead_id AND campaign_id > o.told_to
                ORDER BY campaign_id OFFSET 0
            ) i
            CROSS JOIN LATERAL (
                SELECT FROM campaign_accounts s
                WHERE s.workspace_id = o.workspace_id AND s.campaign_id = i.campaign_id AND s.account_id = a.account_id LIMIT 1
            ) s
            CROSS JOIN LATERAL (
                SELECT state FROM campaigns c
                WHERE c.workspace_id = o.workspace_id AND c.campaign_id = i.campaign_id LIMIT 1
            ) c
            CROSS JOIN LATERAL (
                SELECT mask FROM leads l
                WHERE l.workspace_id = o.workspace_id AND l.campaign_id = i.campaign_id AND l.lead_no = i.lead_no LIMIT 1
            ) l
            WHERE w.name = $1 AND c.state <> campaign_finished() AND NOT has_fact(l.mask, opted_out_bit())
            LIMIT $3";
        let most = i64::try_from(TOLD_MAX).unwrap_or(i64::MAX);
        loop {
            let told: Result<usize> = in_txn!(self, "opt_outs_tell_account", Kind::Hot, |txn, attempt| {
                let find = txn.prepare_cached(find).await?;
                let rows = txn.query(&find, &[&account.workspace.as_str(), &account.account.as_str(), &most]).await?;
                let leads: Vec<(CampaignKey, i32)> =
                    rows.iter().map(|row| ((row.get(0), row.get(1)), row.get(2))).collect();
                opt_out_in_txn(&txn, &leads, self.clock().now(), attempt).await?;
                Ok(leads.len())
            });
            if told? == 0 {
                return Ok(());
            }
        }
    }
}

/// Tells the next leads of an id. Returns whether there are more.
async fn tell_portion_in_txn(
    txn: &Transaction<'_>,
    store: &Store,
    (workspace_id, lead_id): (i32, &str),
    attempt: u32,
) -> Result<bool> {
    let lock = "SELECT told_to FROM opt_outs_waiting WHERE workspace_id = $1 AND lead_id = $2 FOR UPDATE";
    let Some(waiting) = txn.query_opt(lock, &[&workspace_id, &lead_id]).await? else { return Ok(false) };
    // As for all look-ups of namesakes, the order makes Postgres use the index by id.
    let next = "SELECT campaign_id, lead_no FROM lead_ids
        WHERE workspace_id = $1 AND lead_id >= $2 AND lead_id <= $2 AND campaign_id > $3
        ORDER BY lead_id, campaign_id LIMIT $4";
    let most = i64::try_from(TOLD_MAX).unwrap_or(i64::MAX);
    let rows = txn.query(next, &[&workspace_id, &lead_id, &waiting.get::<_, i32>(0), &most]).await?;
    let leads: Vec<(CampaignKey, i32)> = rows.iter().map(|row| ((workspace_id, row.get(0)), row.get(1))).collect();
    opt_out_in_txn(txn, &leads, store.clock().now(), attempt).await?;
    let Some(last) = rows.last().filter(|_| rows.len() == TOLD_MAX) else {
        let done = "DELETE FROM opt_outs_waiting WHERE workspace_id = $1 AND lead_id = $2";
        txn.execute(done, &[&workspace_id, &lead_id]).await?;
        return Ok(false);
    };
    let told = "UPDATE opt_outs_waiting SET told_to = $3 WHERE workspace_id = $1 AND lead_id = $2";
    txn.execute(told, &[&workspace_id, &lead_id, &last.get::<_, i32>(0)]).await?;
    Ok(true)
}

/// Whether the leads of an account that opted out were told by the call that asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum Told {
    No,
    Yes,
}

/// Stops a transaction if opt-outs wait in the workspace of the locked `account`. The caller tells the leads of the account
/// first. What opts out after that does so at the same time as the call.
pub(in crate::store) fn check_told(account: &Row, told: Told) -> Result<()> {
    if told == Told::No && account.get("opt_outs_wait") {
        return Err(Error::Internal(Box::new(OptOutsWait)));
    }
    Ok(())
}

/// Whether [`check_told`] stopped the transaction.
pub(in crate::store) fn is_untold(error: &Error) -> bool {
    matches!(error, Error::Internal(source) if source.is::<OptOutsWait>())
}

#[derive(Debug, thiserror::Error)]
#[error("leads that opted out have to be told first")]
struct OptOutsWait;
