//! Gives leads that wait for a removed account to accounts that serve the campaign.

use campaign_metrics::{
    campaign::CampaignState,
    name::{AccountName, CampaignName},
};
use deadpool_postgres::Transaction;
use tokio_postgres::types::ToSql;

use crate::{
    error::{Error, Result},
    store::{
        campaign::{
            counters::{AccountLeads, account_leads_change_in_txn},
            lock::campaign_lock_in_txn,
        },
        row::{CampaignKey, account_key_in_txn, campaign_key, campaign_state},
        transaction::{Kind, Store, in_txn},
    },
};

/// Upper bound of the rows of `returns` that one transaction moves or deletes: a second of work.
const REASSIGNED_MAX: i64 = 10_000;

/// The result of a reassignment.
#[derive(Debug, Default)]
pub struct Reassigned {
    /// Number of leads that got another account.
    pub count: i64,
    /// Whether there are more.
    pub more: bool,
}

impl Store {
    /// Gives leads that wait for a removed account evenly to accounts that serve the campaign.
    pub async fn leads_reassign(
        &self,
        campaign: &CampaignName,
        from: &AccountName,
        to: &[AccountName],
    ) -> Result<Reassigned> {
        in_txn!(self, "leads_reassign", Kind::BulkWrite, |txn, attempt| {
            let row = campaign_lock_in_txn(&txn, campaign).await?;
            if campaign_state(row.get("state"))? == CampaignState::Finished {
                let message = format!("{campaign} is FINISHED: nothing waits any more");
                return Err(Error::Precondition { reason: "CAMPAIGN_FINISHED", message, about: Vec::new() });
            }
            let campaign_key = campaign_key(&row);
            let (_, from_id) = account_key_in_txn(&txn, from).await?;
            if serves_in_txn(&txn, campaign_key, from_id).await? {
                let message = format!("{from} serves {campaign}; remove it from the campaign's accounts first");
                return Err(Error::Precondition { reason: "ACCOUNT_SERVING", message, about: Vec::new() });
            }
            let mut to_ids = Vec::with_capacity(to.len());
            for account in to {
                let (_, id) = account_key_in_txn(&txn, account).await?;
                if !serves_in_txn(&txn, campaign_key, id).await? {
                    let message =
                        format!("{account} does not serve {campaign}; add it to the campaign's accounts first");
                    return Err(Error::Precondition { reason: "ACCOUNT_NOT_SERVING", message, about: Vec::new() });
                }
                to_ids.push(id);
            }
            reassign_in_txn(&txn, campaign_key, row.get::<_, i16>("steps").into(), from_id, &to_ids).await
        })
    }
}

async fn serves_in_txn(
    txn: &Transaction<'_>,
    (workspace_id, campaign_id): CampaignKey,
    account_id: i32,
) -> Result<bool> {
    let sql = "SELECT EXISTS (SELECT FROM campaign_accounts
        WHERE workspace_id = $1 AND campaign_id = $2 AND account_id = $3 AND NOT removed)";
    Ok(txn.query_one(sql, &[&workspace_id, &campaign_id, &account_id]).await?.get(0))
}

/// Gives the leads that wait for one account to others.
///
/// Every lead that waits has a row in `returns`; a claimed lead gets it when its claim ends. A lead that has ended may still
/// have a row, and keeps its account.
async fn reassign_in_txn(
    txn: &Transaction<'_>,
    (workspace_id, campaign_id): CampaignKey,
    steps: i32,
    from_id: i32,
    to_ids: &[i32],
) -> Result<Reassigned> {
    let sql = "
        WITH listed AS MATERIALIZED (
            SELECT r.workspace_id, r.campaign_id, r.account_id, r.due_at, r.lead_no, r.step, l.account_id AS lead_account_id,
                coalesce(lead_next_step(l.mask, $6) = r.step, false) AS waits
            FROM (
                SELECT workspace_id, campaign_id, account_id, due_at, lead_no, step FROM returns
                WHERE workspace_id = $1 AND campaign_id = $2 AND account_id = $3 ORDER BY due_at, lead_no, step LIMIT $5
            ) r
            LEFT JOIN LATERAL (
                SELECT l.mask, l.account_id FROM leads l
                WHERE l.workspace_id = $1 AND l.campaign_id = $2 AND l.lead_no = r.lead_no LIMIT 1
            ) l ON true
        ), gone AS (
            -- Compares columns of `listed` only, here and below, so that no plan starts with all rows of the campaign.
            DELETE FROM returns r USING listed d
            WHERE r.workspace_id = d.workspace_id AND r.campaign_id = d.campaign_id AND r.account_id = d.account_id
                AND r.due_at = d.due_at AND r.lead_no = d.lead_no AND r.step = d.step AND (d.waits OR return_lock_outdated(r, $6))
        ), given AS MATERIALIZED (
            -- One row for each lead, at its earliest due time. A lead that has another account already keeps it.
            SELECT DISTINCT ON (lead_no) workspace_id, campaign_id, account_id, lead_no, due_at, step, coalesce(
                nullif(lead_account_id, account_id),
                ($4::int4[])[(dense_rank() OVER (ORDER BY lead_no) % cardinality($4))::int4 + 1]
            ) AS to_id
            FROM listed WHERE waits ORDER BY lead_no, due_at
        ), moved AS (
            UPDATE leads l SET account_id = g.to_id FROM given g
            WHERE l.workspace_id = g.workspace_id AND l.campaign_id = g.campaign_id AND l.lead_no = g.lead_no
                AND l.account_id = g.account_id
            RETURNING g.to_id, lead_status(l.mask, $6) AS status
        ), due AS (
            INSERT INTO returns (workspace_id, campaign_id, account_id, due_at, lead_no, step)
            SELECT workspace_id, campaign_id, to_id, due_at, lead_no, step FROM given
            ON CONFLICT DO NOTHING
        )
        SELECT to_id, status, count(*), (SELECT count(*) FROM listed) = $5 FROM moved GROUP BY to_id, status
        UNION ALL SELECT NULL, NULL, 0, (SELECT count(*) FROM listed) = $5";
    let params: &[&(dyn ToSql + Sync)] = &[&workspace_id, &campaign_id, &from_id, &to_ids, &REASSIGNED_MAX, &steps];
    let mut reassigned = Reassigned::default();
    let mut changes = AccountLeads::new();
    for row in txn.query(sql, params).await? {
        let leads: i64 = row.get(2);
        reassigned.count += leads;
        reassigned.more = row.get(3);
        if let (Some(to_id), Some(status)) = (row.get(0), row.get(1)) {
            *changes.entry((campaign_id, from_id, status)).or_default() -= leads;
            *changes.entry((campaign_id, to_id, status)).or_default() += leads;
        }
    }
    account_leads_change_in_txn(txn, workspace_id, &changes).await?;
    Ok(reassigned)
}
