//! Makes steps due again for their accounts: those of released claims, and those of expired claims under the policy RETRY.

use std::collections::BTreeMap;

use deadpool_postgres::Transaction;
use jiff::{Timestamp, civil::Date};
use tokio_postgres::types::ToSql;

use crate::{
    error::Result,
    store::campaign::counters::{AccountLeads, account_leads_change_in_txn, claims_closed_in_txn},
};

/// Upper bound of the rows of claims that one transaction ends.
pub(super) const RETRIED_MAX: usize = 256;

/// Ends expired claims of a campaign and makes their steps due again. The campaign's policy accepts that a message may go
/// out twice. Returns the number of rows of claims that it ended, at most [`RETRIED_MAX`].
pub(in crate::store) async fn claims_retry_in_txn(
    txn: &Transaction<'_>,
    workspace_id: i32,
    campaign_id: i32,
    now: Timestamp,
) -> Result<usize> {
    let end = "
        SELECT (c).account_id, (c).step, (c).block, (c).account_day, (c).campaign_day, claim_delete(c) AS open FROM (
            SELECT c FROM claims c
            WHERE (workspace_id::int8 << 32) + campaign_id = ($1::int4::int8 << 32) + $2::int4 AND expires_at <= $3
                AND claim_open(c) <> 0
            ORDER BY block, step, grant_no LIMIT $4 FOR NO KEY UPDATE
        ) c";
    let rows_max = i64::try_from(RETRIED_MAX).unwrap_or(i64::MAX);
    let end = txn.prepare_cached(end).await?;
    let ended = txn.query(&end, &[&workspace_id, &campaign_id, &now, &rows_max]).await?;
    let mut count = 0;
    let mut by_account: BTreeMap<i32, Retried> = BTreeMap::new();
    for row in &ended {
        let retried = by_account.entry(row.get("account_id")).or_default();
        let (block, open): (i32, i64) = (row.get("block"), row.get("open"));
        for bit in (0..64).filter(|bit| open >> bit & 1 == 1) {
            retried.leads.push(block * 64 + bit);
            retried.steps.push(row.get("step"));
            retried.account_days.push(row.get("account_day"));
            retried.campaign_days.push(row.get("campaign_day"));
            count += 1;
        }
    }
    // Their messages may have been sent: each keeps its share of its days, also where the step is granted again.
    let keep = "
        INSERT INTO kept_reservations (workspace_id, campaign_id, lead_no, step, account_id, account_day, campaign_day)
        SELECT $1, $2, lead_no, step, $3, account_day, campaign_day
        FROM unnest($4::int4[], $5::int2[], $6::date[], $7::date[]) AS kept (lead_no, step, account_day, campaign_day)
        ON CONFLICT DO NOTHING";
    let mut assigned = AccountLeads::new();
    for (account_id, Retried { leads, steps, account_days, campaign_days }) in by_account {
        let params: [&(dyn ToSql + Sync); 7] =
            [&workspace_id, &campaign_id, &account_id, &leads, &steps, &account_days, &campaign_days];
        txn.execute(keep, &params).await?;
        let campaigns = vec![campaign_id; leads.len()];
        for (key, leads) in returns_add_in_txn(txn, workspace_id, account_id, &campaigns, &leads, &steps, now).await? {
            *assigned.entry(key).or_default() += leads;
        }
    }
    if count > 0 {
        claims_closed_in_txn(txn, workspace_id, campaign_id, count).await?;
        account_leads_change_in_txn(txn, workspace_id, &assigned).await?;
    }
    Ok(ended.len())
}

/// Claims that are retried, of one account: one element of each for each claim.
#[derive(Default)]
struct Retried {
    leads: Vec<i32>,
    steps: Vec<i16>,
    account_days: Vec<Date>,
    campaign_days: Vec<Date>,
}

/// Makes steps due again at `due_at` for the account, and assigns their leads to it: so far only the claims recorded it.
///
/// Adds no row of `returns` for a lead that has ended: the list would show a step that is not due. Returns what the leads of
/// accounts change by; the caller changes them after the counters.
pub(super) async fn returns_add_in_txn(
    txn: &Transaction<'_>,
    workspace_id: i32,
    account_id: i32,
    campaigns: &[i32],
    leads: &[i32],
    steps: &[i16],
    due_at: Timestamp,
) -> Result<AccountLeads> {
    // LATERAL looks up each lead by its key: no plan can start with all leads of the workspace. The leads are locked, because
    // an outcome in flight may make a step due again; it relies on the row that it finds here, and adds none.
    let sql = "
        WITH back AS MATERIALIZED (
            SELECT b.workspace_id, b.campaign_id, b.lead_no, b.step, l.mask, l.account_id, n.steps FROM (
                SELECT $1::int4 AS workspace_id, campaign_id, lead_no, step
                FROM unnest($3::int4[], $4::int4[], $5::int2[]) AS back (campaign_id, lead_no, step)
                ORDER BY campaign_id, lead_no OFFSET 0
            ) b
            CROSS JOIN LATERAL (
                SELECT l.mask, l.account_id FROM leads l
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
            RETURNING b.campaign_id, b.account_id, lead_status(b.mask, b.steps) AS status
        ), due AS (
            INSERT INTO returns (workspace_id, campaign_id, account_id, due_at, lead_no, step)
            SELECT workspace_id, campaign_id, $2, $6, lead_no, step FROM back WHERE lead_next_step(mask, steps) = step
            ON CONFLICT DO NOTHING
        )
        SELECT campaign_id, coalesce(account_id, 0), status, count(*) FROM assigned GROUP BY 1, 2, 3";
    let statement = txn.prepare_cached(sql).await?;
    let params: &[&(dyn ToSql + Sync)] = &[&workspace_id, &account_id, &campaigns, &leads, &steps, &due_at];
    let mut changes = AccountLeads::new();
    for row in txn.query(&statement, params).await? {
        let (campaign_id, status, leads): (i32, i32, i64) = (row.get(0), row.get(2), row.get(3));
        *changes.entry((campaign_id, row.get(1), status)).or_default() -= leads;
        *changes.entry((campaign_id, account_id, status)).or_default() += leads;
    }
    Ok(changes)
}
