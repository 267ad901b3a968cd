//! Reads and extends claims. A row covers up to 64 leads; here each open bit becomes a claim.

use std::time::Duration;

use campaign_metrics::{
    account::AccountState,
    campaign::CampaignState,
    lead::Step,
    name::{AccountName, CampaignName, LeadName},
    sending::{Claim, ClaimId, ClaimState, SendKey},
};
use deadpool_postgres::Transaction;
use jiff::Timestamp;
use tokio_postgres::{Row, types::ToSql};

use super::{
    Kind, Store,
    account::{account_key_in_txn, account_lock_in_txn},
    campaign_view::{account_state, active_hours_from_row, broken, campaign_state},
    in_txn,
    lead::LEAD_ID,
};
use crate::error::Result;

/// Where a page of claims begins: after this campaign, lead and step.
pub type ClaimCursor = (i32, i32, i16);

/// Row by row, which OFFSET and LIMIT see to: where the planner is free to join, it goes through all ids of a campaign as
/// long as it takes the table for small. Those who ask add [`LEAD_ID`].
const CLAIMS: &str = "
    SELECT c.workspace_id, c.campaign_id, n.name AS campaign, n.salt, l.lead_no, c.step, c.grant_no, c.expires_at
    FROM claims c
    JOIN campaigns n USING (workspace_id, campaign_id)
    CROSS JOIN LATERAL (
        SELECT c.block * 64 + place AS lead_no FROM (SELECT claim_open(c) AS open OFFSET 0) o
        JOIN generate_series(0, 63) AS place (place) ON o.open >> place & 1 = 1
        OFFSET 0
    ) l
    WHERE (c.workspace_id::int8 << 32) + c.account_id = ($1::int4::int8 << 32) + $2::int4";

impl Store {
    /// Reads held and uncertain claims of an account by campaign and lead, after `after`, at most `limit`.
    pub async fn claim_list(
        &self,
        account: &AccountName,
        state: Option<ClaimState>,
        after: Option<ClaimCursor>,
        limit: i64,
    ) -> Result<Vec<Claim>> {
        let sql = format!(
            "SELECT l.*, i.lead_id FROM (
                {CLAIMS} AND ($3::bool IS NULL OR (c.expires_at > $4) = $3)
                    AND ($5::int4 IS NULL OR c.campaign_id >= $5 AND (c.campaign_id, l.lead_no, c.step) > ($5, $6::int4, $7::int2))
                ORDER BY c.campaign_id, l.lead_no, c.step LIMIT $8
            ) l {LEAD_ID} ORDER BY l.campaign_id, l.lead_no, l.step"
        );
        let held = state.map(|state| state == ClaimState::Held);
        let campaign = after.map(|after| after.0);
        let (lead, step) = (after.map(|after| after.1), after.map(|after| after.2));
        in_txn!(self, Kind::Read, |txn, attempt| {
            let now = self.clock.now();
            let (workspace_id, account_id) = account_key_in_txn(&txn, account).await?;
            let statement = txn.prepare_cached(&sql).await?;
            let params: &[&(dyn ToSql + Sync)] =
                &[&workspace_id, &account_id, &held, &now, &campaign, &lead, &step, &limit];
            txn.query(&statement, params).await?.iter().map(|row| claim_from_row(row, account, now)).collect()
        })
    }

    /// Extends those of the claims that are held and may still be sent. Returns for each id, in order, `Some` of the new
    /// expiry, or what it is instead.
    pub async fn claim_renew(&self, account: &AccountName, ids: &[ClaimId], hold: Duration) -> Result<Vec<Renewal>> {
        in_txn!(self, Kind::Write, |txn, attempt| {
            let holder = account_lock_in_txn(&txn, account).await?;
            let now = self.clock.now();
            let suspended = account_state(holder.get("state"))? == AccountState::Suspended;
            let rows = claims_lock_in_txn(&txn, &holder, ids, Expiry::Ahead, now).await?;
            let mut results = vec![Renewal::NotHeld; ids.len()];
            for row in &rows {
                let place = usize::try_from(row.get::<_, i32>("place")).unwrap_or(0);
                let hours = active_hours_from_row(row)?;
                let may_send = !suspended
                    && campaign_state(row.get("state"))? == CampaignState::Active
                    && hours.is_active(now)
                    && row.get::<_, i32>("next_step") == i32::from(ids[place].key.step.number());
                results[place] = if may_send {
                    let hold_end = now.checked_add(hold).unwrap_or(Timestamp::MAX);
                    Renewal::Renewed(hours.next_change(now).map_or(hold_end, |end| end.min(hold_end)))
                } else {
                    Renewal::Revoked
                };
            }
            renew_in_txn(&txn, &rows, ids, &results).await?;
            Ok(results)
        })
    }
}

/// What became of a claim that was to be extended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewal {
    /// Held until then.
    Renewed(Timestamp),
    /// Still held, but not to be sent.
    Revoked,
    /// Not held.
    NotHeld,
}

/// Extends rows of claims to the latest expiry of their renewed members: a row expires as one.
async fn renew_in_txn(txn: &Transaction<'_>, rows: &[Row], ids: &[ClaimId], results: &[Renewal]) -> Result<()> {
    let update = "UPDATE claims SET expires_at = greatest(expires_at, $6)
        WHERE workspace_id = $1 AND campaign_id = $2 AND block = $3 AND step = $4 AND grant_no = $5 AND expires_at < $6";
    let statement = txn.prepare_cached(update).await?;
    for row in rows {
        let place = usize::try_from(row.get::<_, i32>("place")).unwrap_or(0);
        if let Renewal::Renewed(until) = results[place] {
            let (key, workspace_id) = (ids[place].key, row.get::<_, i32>("workspace_id"));
            let (block, step) = (key.lead_number >> 6, i16::from(key.step.number()));
            txn.execute(&statement, &[&workspace_id, &key.campaign_number, &block, &step, &ids[place].grant, &until])
                .await?;
        }
    }
    Ok(())
}

/// Which claims are meant: those that can still expire, or those that did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expiry {
    /// Held.
    Ahead,
    /// Uncertain.
    Past,
}

/// Locks the rows of the claims; gives those that the account holds, with what decides about sending.
///
/// `place` is the index in `ids`; ids that are not held have no row.
pub(super) async fn claims_lock_in_txn(
    txn: &Transaction<'_>,
    holder: &Row,
    ids: &[ClaimId],
    expiry: Expiry,
    now: Timestamp,
) -> Result<Vec<Row>> {
    // Row by row, and locked in the order of the key: where the planner is free to join, it begins with all claims of the
    // workspace as long as it takes the table for empty.
    let lock = "
        SELECT FROM (
            SELECT * FROM unnest($2::int4[], $3::int4[], $4::int2[], $5::int8[]) AS id (campaign_id, lead_no, step, grant_no)
            ORDER BY campaign_id, lead_no >> 6, step, grant_no OFFSET 0
        ) id
        CROSS JOIN LATERAL (
            SELECT FROM claims c
            WHERE c.workspace_id = $1 AND c.campaign_id = id.campaign_id AND c.block = id.lead_no >> 6 AND c.step = id.step
                AND c.grant_no = id.grant_no
            FOR NO KEY UPDATE
        ) c";
    let find = "
        SELECT (id.place - 1)::int4 AS place, c.workspace_id, c.account_id, c.account_day, c.campaign_day,
            n.state, n.time_zone, n.active_windows, lead_next_step(l.mask, n.steps) AS next_step
        FROM unnest($3::int4[], $4::int4[], $5::int2[], $6::int8[], $7::int4[])
            WITH ORDINALITY AS id (campaign_id, lead_no, step, grant_no, salt, place)
        CROSS JOIN LATERAL (
            SELECT * FROM campaigns n WHERE n.workspace_id = $1 AND n.campaign_id = id.campaign_id LIMIT 1
        ) n
        CROSS JOIN LATERAL (
            SELECT * FROM claims c
            WHERE c.workspace_id = $1 AND c.campaign_id = id.campaign_id AND c.block = id.lead_no >> 6 AND c.step = id.step
                AND c.grant_no = id.grant_no
            LIMIT 1
        ) c
        CROSS JOIN LATERAL (
            SELECT l.mask FROM leads l
            WHERE l.workspace_id = $1 AND l.campaign_id = id.campaign_id AND l.lead_no = id.lead_no LIMIT 1
        ) l
        WHERE n.salt = id.salt AND c.account_id = $2 AND c.held >> (id.lead_no & 63) & 1 = 1
            AND step_result(l.mask, id.step - 1) = 0 AND (c.expires_at > $8) = $9
        ORDER BY c.campaign_id, c.block, c.step, c.grant_no";
    let (workspace_id, account_id): (i32, i32) = (holder.get("workspace_id"), holder.get("account_id"));
    let campaigns: Vec<i32> = ids.iter().map(|id| id.key.campaign_number).collect();
    let leads: Vec<i32> = ids.iter().map(|id| id.key.lead_number).collect();
    let steps: Vec<i16> = ids.iter().map(|id| id.key.step.number().into()).collect();
    let grants: Vec<i64> = ids.iter().map(|id| id.grant).collect();
    let salts: Vec<i32> = ids.iter().map(|id| id.key.salt).collect();
    let (lock, find) = futures::try_join!(txn.prepare_cached(lock), txn.prepare_cached(find))?;
    let locked: [&(dyn ToSql + Sync); 5] = [&workspace_id, &campaigns, &leads, &steps, &grants];
    let is_ahead = expiry == Expiry::Ahead;
    let found: [&(dyn ToSql + Sync); 9] =
        [&workspace_id, &account_id, &campaigns, &leads, &steps, &grants, &salts, &now, &is_ahead];
    // One round trip, two statements: the second sees the outcomes that the first one waited for.
    let (_, rows) = futures::try_join!(txn.query(&lock, &locked), txn.query(&find, &found))?;
    Ok(rows)
}

/// Reads the claims of one grant that are still held.
pub(super) async fn claims_of_grant_in_txn(
    txn: &Transaction<'_>,
    holder: &Row,
    account: &AccountName,
    grant_no: i64,
    now: Timestamp,
) -> Result<Vec<Claim>> {
    let sql = format!(
        "SELECT l.*, i.lead_id FROM ({CLAIMS} AND c.grant_no = $3 AND c.expires_at > $4 OFFSET 0) l {LEAD_ID}
        ORDER BY l.campaign_id, l.lead_no"
    );
    let statement = txn.prepare_cached(&sql).await?;
    let (workspace_id, account_id): (i32, i32) = (holder.get("workspace_id"), holder.get("account_id"));
    let rows = txn.query(&statement, &[&workspace_id, &account_id, &grant_no, &now]).await?;
    rows.iter().map(|row| claim_from_row(row, account, now)).collect()
}

fn claim_from_row(row: &Row, account: &AccountName, now: Timestamp) -> Result<Claim> {
    let expire_time: Timestamp = row.get("expires_at");
    let key = SendKey {
        salt: row.get("salt"),
        campaign_number: row.get("campaign_id"),
        lead_number: row.get("lead_no"),
        step: Step::new(row.get::<_, i16>("step").into()).ok_or_else(|| broken("a step out of range"))?,
    };
    let campaign =
        CampaignName { workspace: account.workspace.clone(), campaign: row.get::<_, &str>("campaign").parse()? };
    Ok(Claim {
        id: ClaimId { key, grant: row.get("grant_no") },
        lead: LeadName { campaign, lead: row.get::<_, &str>("lead_id").parse()? },
        account: account.clone(),
        expire_time,
        state: if expire_time > now { ClaimState::Held } else { ClaimState::Uncertain },
    })
}
