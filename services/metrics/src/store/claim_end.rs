//! Ends claims without an outcome: released by their holder, or expired under the policy `retry`.
//!
//! Either way the steps become due again for the same account. A release gives the reservations of its days back.

use std::collections::BTreeMap;

use campaign_metrics::{name::AccountName, sending::ClaimId};
use deadpool_postgres::Transaction;
use jiff::{Timestamp, civil::Date};
use tokio_postgres::{Row, types::ToSql};

use super::{
    Kind, Store,
    account::account_lock_in_txn,
    claim::{Expiry, claims_lock_in_txn},
    in_txn,
    reservation::{Of, reservation_add_in_txn},
};
use crate::error::Result;

/// Rows of claims that one transaction makes due again.
pub(super) const RETRIED_MAX: usize = 256;
/// Rows of claims settled by one transaction.
const SETTLED_MAX: i64 = 1024;

impl Store {
    /// Gives claims back; their steps are due again at `not_before`. Returns for each id, in order, whether it was held.
    pub async fn claim_release(
        &self,
        account: &AccountName,
        ids: &[ClaimId],
        not_before: Option<Timestamp>,
    ) -> Result<Vec<bool>> {
        in_txn!(self, Kind::Write, |txn, attempt| {
            let holder = account_lock_in_txn(&txn, account).await?;
            campaigns_lock_in_txn(&txn, holder.get("workspace_id"), ids).await?;
            let now = self.clock.now();
            let rows = claims_lock_in_txn(&txn, &holder, ids, Expiry::Ahead, now).await?;
            let mut released = vec![false; ids.len()];
            let mut held: Vec<(ClaimId, &Row)> = Vec::with_capacity(rows.len());
            for row in &rows {
                let place = usize::try_from(row.get::<_, i32>("place")).unwrap_or(0);
                // An id that is listed twice is released once.
                if !held.iter().any(|(id, _)| *id == ids[place]) {
                    held.push((ids[place], row));
                }
                released[place] = true;
            }
            release_in_txn(&txn, &holder, &held, not_before.map_or(now, |time| time.max(now))).await?;
            Ok(released)
        })
    }

    /// Makes expired claims due again where the campaign's policy says so, also those that nobody asks for.
    pub async fn claims_retry(&self) -> Result<()> {
        let sql = "SELECT workspace_id, campaign_id FROM campaigns c
            WHERE state = 1 AND claim_expiry_policy = 2 AND EXISTS (
                SELECT FROM claims h
                WHERE (h.workspace_id::int8 << 32) + h.campaign_id = (c.workspace_id::int8 << 32) + c.campaign_id
                    AND h.expires_at <= $1 AND claim_open(h) <> 0
            )
            ORDER BY workspace_id, campaign_id";
        let lock = "SELECT FROM campaigns
            WHERE workspace_id = $1 AND campaign_id = $2 AND state = 1 AND claim_expiry_policy = 2 FOR NO KEY UPDATE";
        let now = self.clock.now();
        let campaigns: Result<Vec<Row>> = in_txn!(self, Kind::Read, |txn, attempt| Ok(txn.query(sql, &[&now]).await?));
        for campaign in campaigns? {
            let (workspace_id, campaign_id): (i32, i32) = (campaign.get(0), campaign.get(1));
            loop {
                let ended: Result<usize> = in_txn!(self, Kind::Write, |txn, attempt| {
                    if txn.query_opt(lock, &[&workspace_id, &campaign_id]).await?.is_none() {
                        return Ok(0);
                    }
                    claims_retry_in_txn(&txn, workspace_id, campaign_id, now).await
                });
                if ended? == 0 {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Takes what is closed out of the rows of claims that expired after `since`, and those rows away in which nothing is left.
    pub async fn claims_settle(&self, since: Timestamp) -> Result<()> {
        // Whoever holds a row is an outcome or another process that settles: another time will do.
        let settle = "SELECT claim_settle(c) FROM (
            SELECT c FROM claims c WHERE NOT is_exact AND expires_at <= $1 AND expires_at > $2
            ORDER BY expires_at LIMIT $3 FOR NO KEY UPDATE SKIP LOCKED
        ) c";
        loop {
            let settled: Result<usize> = in_txn!(self, Kind::Hot, |txn, attempt| {
                let now = self.clock.now();
                let settle = txn.prepare_cached(settle).await?;
                Ok(txn.query(&settle, &[&now, &since, &SETTLED_MAX]).await?.len())
            });
            if i64::try_from(settled?) != Ok(SETTLED_MAX) {
                return Ok(());
            }
        }
    }
}

/// Locks the campaigns of claims, by number.
pub(super) async fn campaigns_lock_in_txn(txn: &Transaction<'_>, workspace_id: i32, ids: &[ClaimId]) -> Result<()> {
    let sql = "SELECT FROM campaigns WHERE workspace_id = $1 AND campaign_id = ANY ($2)
        ORDER BY campaign_id FOR NO KEY UPDATE";
    let campaigns: Vec<i32> = ids.iter().map(|id| id.key.campaign_number).collect();
    let statement = txn.prepare_cached(sql).await?;
    txn.query(&statement, &[&workspace_id, &campaigns]).await?;
    Ok(())
}

/// Adds to the claims of a campaign that were ever closed.
pub(super) async fn claims_closed_in_txn(
    txn: &Transaction<'_>,
    workspace_id: i32,
    campaign_id: i32,
    count: i64,
) -> Result<()> {
    let sql = "UPDATE campaign_counters SET closed_claims = closed_claims + $3, version = version + 1
        WHERE workspace_id = $1 AND campaign_id = $2";
    let statement = txn.prepare_cached(sql).await?;
    txn.execute(&statement, &[&workspace_id, &campaign_id, &count]).await?;
    Ok(())
}

/// Gives claims back: their steps are due again at `due_at`, the limits of their days get their share back.
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
    let mut days: BTreeMap<(Of, i32, Date), i64> = BTreeMap::new();
    let mut closed: BTreeMap<i32, i64> = BTreeMap::new();
    for (id, row) in held {
        let key = id.key;
        let block = (key.campaign_number, key.lead_number >> 6, i16::from(key.step.number()), id.grant);
        *blocks.entry(block).or_default() |= 1 << (key.lead_number & 63);
        *days.entry((Of::Account, account_id, row.get("account_day"))).or_default() -= 1;
        *days.entry((Of::Campaign, key.campaign_number, row.get("campaign_day"))).or_default() -= 1;
        *closed.entry(key.campaign_number).or_default() += 1;
    }
    let shrink = "UPDATE claims SET held = held & ~$6::int8
        WHERE workspace_id = $1 AND campaign_id = $2 AND block = $3 AND step = $4 AND grant_no = $5";
    let delete = "DELETE FROM claims
        WHERE workspace_id = $1 AND campaign_id = $2 AND block = $3 AND step = $4 AND grant_no = $5 AND held = 0";
    let (shrink, delete) = futures::try_join!(txn.prepare_cached(shrink), txn.prepare_cached(delete))?;
    for ((campaign_id, block, step, grant), bits) in &blocks {
        let row: [&(dyn ToSql + Sync); 6] = [&workspace_id, campaign_id, block, step, grant, bits];
        txn.execute(&shrink, &row).await?;
        txn.execute(&delete, &row[..5]).await?;
    }
    let campaigns: Vec<i32> = held.iter().map(|(id, _)| id.key.campaign_number).collect();
    let leads: Vec<i32> = held.iter().map(|(id, _)| id.key.lead_number).collect();
    let steps: Vec<i16> = held.iter().map(|(id, _)| id.key.step.number().into()).collect();
    leads_return_in_txn(txn, workspace_id, account_id, &campaigns, &leads, &steps, due_at).await?;
    for (campaign_id, count) in closed {
        claims_closed_in_txn(txn, workspace_id, campaign_id, count).await?;
    }
    for ((of, id, day), count) in days {
        reservation_add_in_txn(txn, of, workspace_id, id, day, count).await?;
    }
    Ok(())
}

/// Makes steps due again for their account, which from now on the leads themselves know. A lead that ended meanwhile goes on no
/// list: nothing would be due, and a look at the list say that something is.
async fn leads_return_in_txn(
    txn: &Transaction<'_>,
    workspace_id: i32,
    account_id: i32,
    campaigns: &[i32],
    leads: &[i32],
    steps: &[i16],
    due_at: Timestamp,
) -> Result<()> {
    // Nothing about the leads but what each row says: a plan can't begin with all leads of the workspace. Locked, because an
    // outcome that is under way may make the step due again, finds the row that is there, and adds none.
    let sql = "
        WITH back AS MATERIALIZED (
            SELECT b.*, l.mask, n.steps FROM (
                SELECT $1::int4 AS workspace_id, back.* FROM unnest($3::int4[], $4::int4[], $5::int2[]) AS back (campaign_id, lead_no, step)
                ORDER BY campaign_id, lead_no OFFSET 0
            ) b
            CROSS JOIN LATERAL (
                SELECT l.mask FROM leads l
                WHERE l.workspace_id = b.workspace_id AND l.campaign_id = b.campaign_id AND l.lead_no = b.lead_no
                FOR NO KEY UPDATE
            ) l
            CROSS JOIN LATERAL (
                SELECT n.steps::int4 FROM campaigns n
                WHERE n.workspace_id = b.workspace_id AND n.campaign_id = b.campaign_id LIMIT 1
            ) n
        ), assigned AS (
            UPDATE leads l SET account_id = $2 FROM back b
            WHERE l.workspace_id = b.workspace_id AND l.campaign_id = b.campaign_id AND l.lead_no = b.lead_no
                AND l.account_id IS DISTINCT FROM $2
        )
        INSERT INTO returns (workspace_id, campaign_id, account_id, due_at, lead_no, step)
        SELECT workspace_id, campaign_id, $2, $6, lead_no, step FROM back WHERE lead_next_step(mask, steps) = step
        ON CONFLICT DO NOTHING";
    let statement = txn.prepare_cached(sql).await?;
    let params: &[&(dyn ToSql + Sync)] = &[&workspace_id, &account_id, &campaigns, &leads, &steps, &due_at];
    txn.execute(&statement, params).await?;
    Ok(())
}

/// Makes expired claims of a campaign due again: its policy says that a second send may happen. Returns how many rows of
/// claims it went through, a bounded number at once.
pub(super) async fn claims_retry_in_txn(
    txn: &Transaction<'_>,
    workspace_id: i32,
    campaign_id: i32,
    now: Timestamp,
) -> Result<usize> {
    let end = "
        SELECT (c).account_id, (c).step, (c).block, claim_end(c) AS open FROM (
            SELECT c FROM claims c
            WHERE (workspace_id::int8 << 32) + campaign_id = ($1::int4::int8 << 32) + $2::int4 AND expires_at <= $3
                AND claim_open(c) <> 0
            ORDER BY block, step, grant_no LIMIT $4 FOR NO KEY UPDATE
        ) c";
    let most = i64::try_from(RETRIED_MAX).unwrap_or(i64::MAX);
    let end = txn.prepare_cached(end).await?;
    let ended = txn.query(&end, &[&workspace_id, &campaign_id, &now, &most]).await?;
    let mut count = 0;
    let mut by_account: BTreeMap<i32, (Vec<i32>, Vec<i16>)> = BTreeMap::new();
    for row in &ended {
        let (leads, steps) = by_account.entry(row.get("account_id")).or_default();
        let (block, open): (i32, i64) = (row.get("block"), row.get("open"));
        for place in (0..64).filter(|place| open >> place & 1 == 1) {
            leads.push(block * 64 + place);
            steps.push(row.get("step"));
            count += 1;
        }
    }
    for (account_id, (leads, steps)) in by_account {
        let campaigns = vec![campaign_id; leads.len()];
        leads_return_in_txn(txn, workspace_id, account_id, &campaigns, &leads, &steps, now).await?;
    }
    if count > 0 {
        claims_closed_in_txn(txn, workspace_id, campaign_id, count).await?;
    }
    Ok(ended.len())
}
