//! Takes leads away: on request of the person behind one, with a campaign, or from an account that left.
//!
//! A lead without facts leaves the total. Of one with facts the counts stay, and whatever names or describes it goes. What
//! can be millions of rows goes in portions, each a transaction of its own.

use campaign_metrics::{
    campaign::CampaignState,
    name::{AccountName, CampaignName, LeadName},
};
use deadpool_postgres::Transaction;
use jiff::Timestamp;
use tokio_postgres::{Row, types::ToSql};

use super::{
    Kind, Store,
    account::account_key_in_txn,
    campaign::campaign_lock_in_txn,
    campaign_state::{campaigns_finish_in_txn, key},
    campaign_view::{CampaignKey, campaign_state},
    claim_end::claims_closed_in_txn,
    in_txn,
    lead::lead_no_in_txn,
    opt_out::opt_out_in_txn,
    partition::ONE_AT_A_TIME,
    whole_tables_in_txn,
};
use crate::error::{Error, Result};

/// Leads that one transaction reassigns or takes off a list at most: a second of work.
const REASSIGNED_MAX: i64 = 10_000;
/// Rows of a deleted campaign that one transaction removes: a few tenths of a second of work.
const PORTION: i64 = 20_000;

/// What a call of reassigning did.
#[derive(Debug, Default)]
pub struct Reassigned {
    /// Leads with another account.
    pub count: i64,
    /// Whether there are more.
    pub more: bool,
}

impl Store {
    /// Removes a lead; `force` although a claim of it is held or uncertain.
    pub async fn lead_delete(&self, name: &LeadName, force: bool) -> Result<()> {
        in_txn!(self, Kind::Hot, |txn, attempt| {
            let (workspace_id, campaign_id) = key(&campaign_lock_in_txn(&txn, &name.campaign).await?);
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

    /// Gives leads that wait for an account that left a campaign to accounts that serve it, evenly.
    pub async fn leads_reassign(
        &self,
        campaign: &CampaignName,
        from: &AccountName,
        to: &[AccountName],
    ) -> Result<Reassigned> {
        in_txn!(self, Kind::Hot, |txn, attempt| {
            let row = campaign_lock_in_txn(&txn, campaign).await?;
            if campaign_state(row.get("state"))? == CampaignState::Finished {
                let message = format!("{campaign} is FINISHED: nothing waits any more");
                return Err(Error::Precondition { reason: "CAMPAIGN_FINISHED", message });
            }
            let campaign_key = key(&row);
            let (_, from_id) = account_key_in_txn(&txn, from).await?;
            if serves_in_txn(&txn, campaign_key, from_id).await? {
                let message = format!("{from} serves {campaign}; remove it from the campaign's accounts first");
                return Err(Error::Precondition { reason: "ACCOUNT_SERVING", message });
            }
            let mut to_ids = Vec::with_capacity(to.len());
            for account in to {
                let (_, id) = account_key_in_txn(&txn, account).await?;
                if !serves_in_txn(&txn, campaign_key, id).await? {
                    let message =
                        format!("{account} does not serve {campaign}; add it to the campaign's accounts first");
                    return Err(Error::Precondition { reason: "ACCOUNT_NOT_SERVING", message });
                }
                to_ids.push(id);
            }
            reassign_in_txn(&txn, campaign_key, row.get::<_, i16>("steps").into(), from_id, &to_ids).await
        })
    }

    /// Takes leads off the lists of accounts that left a campaign where nothing is to be sent to them any more: nobody comes to
    /// find that out, and a reason for not sending would stay that is none.
    pub async fn leads_settle(&self) -> Result<()> {
        let find = "SELECT s.workspace_id, s.campaign_id, s.account_id FROM campaign_accounts s
            JOIN campaigns n ON n.workspace_id = s.workspace_id AND n.campaign_id = s.campaign_id
            CROSS JOIN LATERAL (
                SELECT r.lead_no, r.step FROM returns r
                WHERE r.workspace_id = s.workspace_id AND r.campaign_id = s.campaign_id AND r.account_id = s.account_id
                ORDER BY r.due_at, r.lead_no, r.step LIMIT 1
            ) r
            LEFT JOIN LATERAL (
                SELECT l.mask FROM leads l
                WHERE l.workspace_id = s.workspace_id AND l.campaign_id = s.campaign_id AND l.lead_no = r.lead_no LIMIT 1
            ) l ON true
            WHERE s.removed AND lead_next_step(l.mask, n.steps) IS DISTINCT FROM r.step
            ORDER BY 1, 2, 3";
        // Who claims or reassigns has it locked, and needs no help.
        let lock = "SELECT steps::int4 FROM campaigns WHERE workspace_id = $1 AND campaign_id = $2
            FOR NO KEY UPDATE SKIP LOCKED";
        let settle = "WITH over AS MATERIALIZED (
                SELECT r.* FROM (
                    SELECT * FROM returns
                    WHERE workspace_id = $1 AND campaign_id = $2 AND account_id = $3 ORDER BY due_at, lead_no, step LIMIT $5
                ) r
                LEFT JOIN LATERAL (
                    SELECT l.mask FROM leads l WHERE l.workspace_id = $1 AND l.campaign_id = $2 AND l.lead_no = r.lead_no LIMIT 1
                ) l ON true
                WHERE lead_next_step(l.mask, $4) IS DISTINCT FROM r.step
            )
            DELETE FROM returns r USING over o
            WHERE r.workspace_id = o.workspace_id AND r.campaign_id = o.campaign_id AND r.account_id = o.account_id
                AND r.due_at = o.due_at AND r.lead_no = o.lead_no AND r.step = o.step AND is_over(r, $4)";
        let lists: Result<Vec<Row>> = in_txn!(self, Kind::Read, |txn, attempt| Ok(txn.query(find, &[]).await?));
        for list in lists? {
            let (workspace_id, campaign_id, account_id): (i32, i32, i32) = (list.get(0), list.get(1), list.get(2));
            loop {
                let settled: Result<u64> = in_txn!(self, Kind::Write, |txn, attempt| {
                    let Some(campaign) = txn.query_opt(lock, &[&workspace_id, &campaign_id]).await? else {
                        return Ok(0);
                    };
                    let steps: i32 = campaign.get(0);
                    Ok(txn
                        .execute(settle, &[&workspace_id, &campaign_id, &account_id, &steps, &REASSIGNED_MAX])
                        .await?)
                });
                if settled? == 0 {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Removes what is left of deleted campaigns.
    pub async fn campaigns_drain(&self) -> Result<()> {
        let gone: Result<Vec<CampaignKey>> = in_txn!(self, Kind::Read, |txn, attempt| {
            let sql = "SELECT workspace_id, campaign_id FROM deleted_campaigns ORDER BY deleted_at";
            Ok(txn.query(sql, &[]).await?.iter().map(key).collect())
        });
        for (workspace_id, campaign_id) in gone? {
            self.campaign_close_log((workspace_id, campaign_id)).await?;
            for table in
                ["returns", "segments", "conversion_values", "outcomes", "lead_ids", "leads", "campaign_reservations"]
            {
                let portion = format!(
                    "DELETE FROM {table} WHERE workspace_id = $1 AND campaign_id = $2 AND (tableoid, ctid) IN (
                        SELECT tableoid, ctid FROM {table} WHERE workspace_id = $1 AND campaign_id = $2 LIMIT $3)"
                );
                loop {
                    let removed: Result<u64> = in_txn!(self, Kind::Write, |txn, attempt| {
                        Ok(txn.execute(&portion, &[&workspace_id, &campaign_id, &PORTION]).await?)
                    });
                    if removed? == 0 {
                        break;
                    }
                }
            }
            let done: Result<u64> = in_txn!(self, Kind::Write, |txn, attempt| {
                let sql = "DELETE FROM deleted_campaigns WHERE workspace_id = $1 AND campaign_id = $2";
                Ok(txn.execute(sql, &[&workspace_id, &campaign_id]).await?)
            });
            done?;
        }
        Ok(())
    }
}

impl Store {
    /// Keeps what the log of a deleted campaign says about the days of accounts, whose figures stay.
    async fn campaign_close_log(&self, (workspace_id, campaign_id): CampaignKey) -> Result<()> {
        let keep = "INSERT INTO account_days_closed AS c
            SELECT $1, d.* FROM account_days_of_log($1, $2, NULL) d
            ON CONFLICT (workspace_id, account_id, day) DO UPDATE SET
                delivered = c.delivered + excluded.delivered, failed = c.failed + excluded.failed,
                bounced = c.bounced + excluded.bounced";
        let close = "UPDATE deleted_campaigns SET is_closed = true
            WHERE workspace_id = $1 AND campaign_id = $2 AND NOT is_closed";
        in_txn!(self, Kind::Write, |txn, attempt| {
            txn.execute(ONE_AT_A_TIME, &[]).await?;
            // A recount of millions takes its time, and waits for nobody.
            whole_tables_in_txn(&txn).await?;
            let lock = "SELECT FROM deleted_campaigns WHERE workspace_id = $1 AND campaign_id = $2 AND NOT is_closed FOR UPDATE";
            if txn.query_opt(lock, &[&workspace_id, &campaign_id]).await?.is_some() {
                txn.execute(keep, &[&workspace_id, &campaign_id]).await?;
                txn.execute(close, &[&workspace_id, &campaign_id]).await?;
            }
            Ok(())
        })
    }
}

/// Locks a lead and takes it out of its claims. Returns how many of them were open, and its facts.
async fn claims_drop_in_txn(
    txn: &Transaction<'_>,
    lead: &[&(dyn ToSql + Sync); 3],
    lead_no: i32,
) -> Result<(i64, i64)> {
    let (block, bit) = (lead_no >> 6, 1_i64 << (lead_no & 63));
    let lock = "SELECT FROM claims WHERE workspace_id = $1 AND campaign_id = $2 AND block = $3
        ORDER BY step, grant_no FOR NO KEY UPDATE";
    txn.execute(lock, &[lead[0], lead[1], &block]).await?;
    let mask = "SELECT mask FROM leads WHERE workspace_id = $1 AND campaign_id = $2 AND lead_no = $3 FOR UPDATE";
    let mask: i64 = txn.query_one(mask, lead).await?.get(0);
    let drop = "WITH dropped AS (
            UPDATE claims SET held = held & ~$4::int8
            WHERE workspace_id = $1 AND campaign_id = $2 AND block = $3 AND held & $4 <> 0
            RETURNING step_result($5, step - 1) = 0 AS was_open
        ) SELECT count(*) FILTER (WHERE was_open) FROM dropped";
    let closed: i64 = txn.query_one(drop, &[lead[0], lead[1], &block, &bit, &mask]).await?.get(0);
    let empty = "DELETE FROM claims WHERE workspace_id = $1 AND campaign_id = $2 AND block = $3 AND held = 0";
    txn.execute(empty, &[lead[0], lead[1], &block]).await?;
    Ok((closed, mask))
}

/// Removes a lead without facts. Where it waits among `returns`, the next claim finds that it is gone.
async fn lead_drop_in_txn(txn: &Transaction<'_>, lead: &[&(dyn ToSql + Sync); 3]) -> Result<()> {
    for table in ["lead_ids", "leads"] {
        let sql = format!("DELETE FROM {table} WHERE workspace_id = $1 AND campaign_id = $2 AND lead_no = $3");
        txn.execute(&sql, lead).await?;
    }
    let count = "UPDATE campaign_counters SET total = total - 1, pending = pending - 1, version = version + 1
        WHERE workspace_id = $1 AND campaign_id = $2";
    txn.execute(count, &lead[..2]).await?;
    Ok(())
}

/// Removes whatever names or describes a lead.
async fn lead_forget_in_txn(txn: &Transaction<'_>, lead: &[&(dyn ToSql + Sync); 3]) -> Result<()> {
    for sql in [
        "UPDATE leads SET mask = mask | (1::int8 << 52) WHERE workspace_id = $1 AND campaign_id = $2 AND lead_no = $3",
        "UPDATE outcomes SET detail = NULL
            WHERE workspace_id = $1 AND campaign_id = $2 AND lead_no = $3 AND detail IS NOT NULL",
        "DELETE FROM lead_ids WHERE workspace_id = $1 AND campaign_id = $2 AND lead_no = $3",
    ] {
        txn.execute(sql, lead).await?;
    }
    Ok(())
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

/// Moves what waits for one account to others. Whatever waits has a row in `returns`: those that are claimed get theirs when the
/// claim ends. Leads that ended may have one still; they keep their account.
async fn reassign_in_txn(
    txn: &Transaction<'_>,
    (workspace_id, campaign_id): CampaignKey,
    steps: i32,
    from_id: i32,
    to_ids: &[i32],
) -> Result<Reassigned> {
    let sql = "
        WITH listed AS MATERIALIZED (
            SELECT r.*, l.account_id AS lead_account_id, coalesce(lead_next_step(l.mask, $6) = r.step, false) AS waits
            FROM (
                SELECT * FROM returns
                WHERE workspace_id = $1 AND campaign_id = $2 AND account_id = $3 ORDER BY due_at, lead_no, step LIMIT $5
            ) r
            LEFT JOIN LATERAL (
                SELECT l.mask, l.account_id FROM leads l
                WHERE l.workspace_id = $1 AND l.campaign_id = $2 AND l.lead_no = r.lead_no LIMIT 1
            ) l ON true
        ), gone AS (
            -- Here and below: nothing but what each row says, so that no plan begins with all rows of the campaign.
            DELETE FROM returns r USING listed d
            WHERE r.workspace_id = d.workspace_id AND r.campaign_id = d.campaign_id AND r.account_id = d.account_id
                AND r.due_at = d.due_at AND r.lead_no = d.lead_no AND r.step = d.step AND (d.waits OR is_over(r, $6))
        ), given AS MATERIALIZED (
            -- A lead that is listed twice goes to one account, when it was due first; one that has another account to that.
            SELECT DISTINCT ON (lead_no) workspace_id, campaign_id, account_id, lead_no, due_at, step, coalesce(
                nullif(lead_account_id, account_id),
                ($4::int4[])[(dense_rank() OVER (ORDER BY lead_no) % cardinality($4))::int4 + 1]
            ) AS to_id
            FROM listed WHERE waits ORDER BY lead_no, due_at
        ), moved AS (
            UPDATE leads l SET account_id = g.to_id FROM given g
            WHERE l.workspace_id = g.workspace_id AND l.campaign_id = g.campaign_id AND l.lead_no = g.lead_no
                AND l.account_id = g.account_id
            RETURNING l.lead_no
        ), due AS (
            INSERT INTO returns (workspace_id, campaign_id, account_id, due_at, lead_no, step)
            SELECT workspace_id, campaign_id, to_id, due_at, lead_no, step FROM given
            ON CONFLICT DO NOTHING
        )
        SELECT (SELECT count(*) FROM moved), (SELECT count(*) FROM listed) = $5";
    let params: &[&(dyn ToSql + Sync)] = &[&workspace_id, &campaign_id, &from_id, &to_ids, &REASSIGNED_MAX, &steps];
    let row = txn.query_one(sql, params).await?;
    Ok(Reassigned { count: row.get(0), more: row.get(1) })
}

/// Leaves the leads and the log of a campaign that is being deleted to [`Store::campaigns_drain`].
pub(super) async fn campaign_leave_in_txn(
    txn: &Transaction<'_>,
    (workspace_id, campaign_id): CampaignKey,
    now: Timestamp,
) -> Result<()> {
    let note = "INSERT INTO deleted_campaigns (workspace_id, campaign_id, deleted_at) VALUES ($1, $2, $3)";
    txn.execute(note, &[&workspace_id, &campaign_id, &now]).await?;
    for table in ["claims", "campaigns"] {
        let sql = format!("DELETE FROM {table} WHERE workspace_id = $1 AND campaign_id = $2");
        txn.execute(&sql, &[&workspace_id, &campaign_id]).await?;
    }
    Ok(())
}
