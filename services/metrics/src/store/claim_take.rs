//! Takes due steps of one campaign for one account: steps that came back or follow up, and leads never claimed.
//!
//! The caller has locked the campaign, so nobody else takes from it. Every lead is checked against its facts: rows of
//! `returns` and `segments` say where to look, not what is true.

use campaign_metrics::{lead::Step, name::LeadId};
use deadpool_postgres::Transaction;
use jiff::Timestamp;
use tokio_postgres::Row;

use super::campaign_view::{CampaignKey, broken};
use crate::error::Result;

/// Facts that end the first step: any result, a reply, a conversion, an opt-out; an automatic reply does not.
const ENDS_FIRST_STEP: i64 = ((1 << 50) - 1) | (1 << 51);

/// Number, step and id of a lead that was taken.
pub(super) type Taken = (i32, Step, LeadId);

/// Takes up to `share` due steps, half of them from what came back while there are leads of both kinds.
pub(super) async fn take_in_txn(
    txn: &Transaction<'_>,
    key: CampaignKey,
    account_id: i32,
    steps: Step,
    share: i64,
    now: Timestamp,
) -> Result<Vec<Taken>> {
    let mut taken = Vec::new();
    take_returns_in_txn(txn, key, account_id, steps, (share + 1) / 2, now, &mut taken).await?;
    take_new_in_txn(txn, key, account_id, share - len(&taken), &mut taken).await?;
    if len(&taken) < share {
        take_returns_in_txn(txn, key, account_id, steps, share - len(&taken), now, &mut taken).await?;
    }
    Ok(taken)
}

fn len(taken: &[Taken]) -> i64 {
    i64::try_from(taken.len()).unwrap_or(i64::MAX)
}

/// Takes steps that are due again or follow up. What facts have outdated is dropped on the way; a lead that another claim
/// still has stays.
async fn take_returns_in_txn(
    txn: &Transaction<'_>,
    (workspace_id, campaign_id): CampaignKey,
    account_id: i32,
    steps: Step,
    share: i64,
    now: Timestamp,
    taken: &mut Vec<Taken>,
) -> Result<()> {
    let sql = "
        WITH due AS MATERIALIZED (
            SELECT r.account_id, r.due_at, r.lead_no, r.step
            FROM returns r
            WHERE r.workspace_id = $1 AND r.campaign_id = $2 AND r.account_id IN ($3, 0) AND r.due_at <= $4
                AND NOT EXISTS (SELECT FROM claims c WHERE c.workspace_id = $1 AND c.campaign_id = $2
                    AND c.block = r.lead_no >> 6 AND c.held >> (r.lead_no & 63) & 1 = 1)
            ORDER BY r.due_at, r.lead_no
            LIMIT $5
        ), gone AS (
            DELETE FROM returns r USING due d
            WHERE r.workspace_id = $1 AND r.campaign_id = $2 AND r.account_id = d.account_id AND r.due_at = d.due_at
                AND r.lead_no = d.lead_no AND r.step = d.step
            RETURNING r.lead_no, r.step
        )
        SELECT DISTINCT ON (g.lead_no) g.lead_no, g.step, i.lead_id, coalesce(lead_next_step(l.mask, $6) = g.step, false) AS due
        FROM gone g
        LEFT JOIN leads l ON l.workspace_id = $1 AND l.campaign_id = $2 AND l.lead_no = g.lead_no
        LEFT JOIN lead_ids i ON i.workspace_id = $1 AND i.campaign_id = $2 AND i.lead_no = g.lead_no
        ORDER BY g.lead_no, due DESC";
    let statement = txn.prepare_cached(sql).await?;
    let mut left = share;
    while left > 0 {
        let rows = txn
            .query(&statement, &[&workspace_id, &campaign_id, &account_id, &now, &left, &i32::from(steps.number())])
            .await?;
        if rows.is_empty() {
            break;
        }
        for row in rows.iter().filter(|row| row.get("due")) {
            // A step can be listed twice, as a follow-up and as a claim that came back.
            if taken.iter().any(|(lead_no, ..)| *lead_no == row.get::<_, i32>("lead_no")) {
                continue;
            }
            taken.push(taken_from_row(row, row.get("step"))?);
            left -= 1;
        }
    }
    Ok(())
}

/// Takes first steps of leads that were never claimed, the account's own before anybody's.
async fn take_new_in_txn(
    txn: &Transaction<'_>,
    (workspace_id, campaign_id): CampaignKey,
    account_id: i32,
    share: i64,
    taken: &mut Vec<Taken>,
) -> Result<()> {
    // Locked, because leads that are being added make a segment grow.
    let segment = "SELECT account_id, lo, hi FROM segments
        WHERE workspace_id = $1 AND campaign_id = $2 AND account_id IN ($3, 0)
        ORDER BY account_id DESC, lo LIMIT 1 FOR UPDATE";
    let leads = "SELECT l.lead_no, i.lead_id FROM leads l JOIN lead_ids i USING (workspace_id, campaign_id, lead_no)
        WHERE l.workspace_id = $1 AND l.campaign_id = $2 AND l.lead_no >= $3 AND l.lead_no < $4 AND l.mask & $5 = 0
        ORDER BY l.lead_no LIMIT $6";
    let (segment, leads) = futures::try_join!(txn.prepare_cached(segment), txn.prepare_cached(leads))?;
    let mut left = share;
    while left > 0 {
        let Some(row) = txn.query_opt(&segment, &[&workspace_id, &campaign_id, &account_id]).await? else {
            break;
        };
        let (segment_account, lo, hi): (i32, i32, i32) = (row.get(0), row.get(1), row.get(2));
        let rows = txn.query(&leads, &[&workspace_id, &campaign_id, &lo, &hi, &ENDS_FIRST_STEP, &left]).await?;
        for row in &rows {
            taken.push(taken_from_row(row, 1)?);
        }
        let found = i64::try_from(rows.len()).unwrap_or(i64::MAX);
        let next = match rows.last() {
            Some(last) if found == left => last.get::<_, i32>("lead_no") + 1,
            _ => hi,
        };
        left -= found;
        let rest = if next < hi {
            "UPDATE segments SET lo = $5 WHERE workspace_id = $1 AND campaign_id = $2 AND account_id = $3 AND lo = $4"
        } else {
            "DELETE FROM segments WHERE workspace_id = $1 AND campaign_id = $2 AND account_id = $3 AND lo = $4 AND $5::int4 > 0"
        };
        let rest = txn.prepare_cached(rest).await?;
        txn.execute(&rest, &[&workspace_id, &campaign_id, &segment_account, &lo, &next]).await?;
    }
    Ok(())
}

fn taken_from_row(row: &Row, step: i16) -> Result<Taken> {
    let step = Step::new(step.into()).ok_or_else(|| broken("a step out of range"))?;
    Ok((row.get("lead_no"), step, row.get::<_, &str>("lead_id").parse()?))
}
