//! Locks rows of claims and the campaigns of claims.

use campaign_metrics::sending::{ClaimId, ClaimState};
use deadpool_postgres::Transaction;
use jiff::Timestamp;
use tokio_postgres::{Row, types::ToSql};

use crate::error::Result;

/// Locks the rows of claims. Returns a row for each id whose claim the account has in this state, with what decides
/// whether the step may be sent.
///
/// [`id_index`] tells the id of a row.
pub(super) async fn claims_lock_in_txn(
    txn: &Transaction<'_>,
    holder: &Row,
    ids: &[ClaimId],
    state: ClaimState,
    now: Timestamp,
) -> Result<Vec<Row>> {
    // LATERAL looks up row by row and locks in key order. With a free choice of joins, the planner starts with all claims
    // of the workspace while it takes the table for empty.
    let lock = "
        SELECT FROM (
            SELECT campaign_id, lead_block(lead_no) AS block, step, grant_no
            FROM unnest($2::int4[], $3::int4[], $4::int2[], $5::int8[]) AS id (campaign_id, lead_no, step, grant_no)
            ORDER BY campaign_id, block, step, grant_no OFFSET 0
        ) id
        CROSS JOIN LATERAL (
            SELECT FROM claims c
            WHERE c.workspace_id = $1 AND c.campaign_id = id.campaign_id AND c.block = id.block AND c.step = id.step
                AND c.grant_no = id.grant_no
            FOR NO KEY UPDATE
        ) c";
    let find = "
        SELECT (id.place - 1)::int4 AS place, c.workspace_id, c.account_id, c.account_day, c.campaign_day, c.expires_at,
            EXISTS (SELECT FROM campaign_accounts s WHERE s.workspace_id = $1 AND s.campaign_id = id.campaign_id
                AND s.account_id = $2 AND NOT s.removed) AS serves,
            n.state, n.time_zone, n.active_windows, lead_next_step(l.mask, n.steps) AS next_step
        FROM unnest($3::int4[], $4::int4[], $5::int2[], $6::int8[], $7::int4[])
            WITH ORDINALITY AS id (campaign_id, lead_no, step, grant_no, salt, place)
        CROSS JOIN LATERAL (
            SELECT n.salt, n.state, n.time_zone, n.active_windows, n.steps FROM campaigns n WHERE n.workspace_id = $1 AND n.campaign_id = id.campaign_id LIMIT 1
        ) n
        CROSS JOIN LATERAL (
            SELECT c.workspace_id, c.campaign_id, c.block, c.step, c.grant_no, c.account_id, c.claimed, c.expires_at,
                c.account_day, c.campaign_day
            FROM claims c
            WHERE c.workspace_id = $1 AND c.campaign_id = id.campaign_id AND c.block = lead_block(id.lead_no)
                AND c.step = id.step AND c.grant_no = id.grant_no
            LIMIT 1
        ) c
        CROSS JOIN LATERAL (
            SELECT l.mask FROM leads l
            WHERE l.workspace_id = $1 AND l.campaign_id = id.campaign_id AND l.lead_no = id.lead_no LIMIT 1
        ) l
        WHERE n.salt = id.salt AND c.account_id = $2 AND has_lead(c.claimed, id.lead_no)
            AND NOT has_result(l.mask, id.step - 1) AND (c.expires_at > $8) = $9
        ORDER BY c.campaign_id, c.block, c.step, c.grant_no";
    let (workspace_id, account_id): (i32, i32) = (holder.get("workspace_id"), holder.get("account_id"));
    let campaigns: Vec<i32> = ids.iter().map(|id| id.key.campaign_number).collect();
    let leads: Vec<i32> = ids.iter().map(|id| id.key.lead_number).collect();
    let steps: Vec<i16> = ids.iter().map(|id| id.key.step.number().into()).collect();
    let grants: Vec<i64> = ids.iter().map(|id| id.grant).collect();
    let salts: Vec<i32> = ids.iter().map(|id| id.key.salt).collect();
    let (lock, find) = futures::try_join!(txn.prepare_cached(lock), txn.prepare_cached(find))?;
    let lock_params: [&(dyn ToSql + Sync); 5] = [&workspace_id, &campaigns, &leads, &steps, &grants];
    let is_held = state == ClaimState::Held;
    let find_params: [&(dyn ToSql + Sync); 9] =
        [&workspace_id, &account_id, &campaigns, &leads, &steps, &grants, &salts, &now, &is_held];
    // Two statements in one round trip. The second has a newer snapshot: it sees the outcomes that the first waited for.
    let (_, rows) = futures::try_join!(txn.query(&lock, &lock_params), txn.query(&find, &find_params))?;
    Ok(rows)
}

/// Index of a row's id among the ids that [`claims_lock_in_txn`] was given.
pub(super) fn id_index(row: &Row) -> usize {
    usize::try_from(row.get::<_, i32>("place")).unwrap_or(0)
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
