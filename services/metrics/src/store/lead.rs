//! Reads leads and the trail of their outcomes.

pub(super) mod add;
mod export;
pub(super) mod reassign;
mod remove;
mod snapshot;

use campaign_metrics::{
    lead::{ClaimState, Fact, Facts, FailureReason, Lead, LeadOutcome, LeadStatus, Reasons, Step},
    name::{AccountId, AccountName, CampaignName, LeadName},
};
use jiff::Timestamp;
use tokio_postgres::{Row, types::ToSql};

pub use self::export::Export;
use super::{
    row::{LEAD_ID, broken, campaign_find_in_txn, lead_no_in_txn},
    transaction::{Kind, Store, in_txn},
};
use crate::error::Result;

/// Selects the leads to list.
#[derive(Debug, Default)]
pub struct LeadFilter<'a> {
    /// Only leads of this status.
    pub status: Option<LeadStatus>,
    /// Only leads of this account.
    pub account: Option<&'a AccountId>,
    /// Only leads with a step whose result has this reason.
    pub failure_reason: Option<FailureReason>,
    /// Only leads whose last action was then or later.
    pub last_action_after: Option<Timestamp>,
    /// Only leads whose last action was earlier.
    pub last_action_before: Option<Timestamp>,
}

/// Leads with their accounts and open claims. A lead that no outcome has assigned to an account yet has the account of its
/// open claim. The callers join [`DUE`] and [`LEAD_ID`].
const LEADS: &str = "
    SELECT l.workspace_id, l.campaign_id, l.lead_no, l.mask, l.failed_reasons, l.bounced_reasons, l.last_action_at, n.steps,
        n.follow_up_delay_ms, l.account_id, h.expires_at AS claim_expires_at, a.name AS account
    FROM leads l
    JOIN campaigns n USING (workspace_id, campaign_id)
    LEFT JOIN LATERAL (
        SELECT c.account_id, c.expires_at FROM claims c
        WHERE c.workspace_id = l.workspace_id AND c.campaign_id = l.campaign_id
            -- A range and an order make Postgres use the index by block, as for the ids.
            AND c.block >= lead_block(l.lead_no) AND c.block <= lead_block(l.lead_no)
            AND has_lead(c.claimed, l.lead_no) AND NOT has_result(l.mask, c.step - 1)
        ORDER BY c.block LIMIT 1
    ) h ON true
    LEFT JOIN accounts a ON a.workspace_id = l.workspace_id AND a.account_id = coalesce(l.account_id, h.account_id)
    WHERE l.workspace_id = $1 AND l.campaign_id = $2
        -- Not forgotten: those have no id, and do not count in a page.
        AND NOT has_fact(l.mask, forgotten_bit())";

/// Joins a row of [`LEADS`] with the time at which its follow-up is due.
///
/// `returns` has no index by lead. So this looks for the row that a delivery adds: under the account of the lead, or under
/// any account, `follow_up_delay` after the delivery. A lead with one fact, a delivery, was delivered at its last action;
/// otherwise the log has the time.
const DUE: &str = "
    CROSS JOIN LATERAL (SELECT lead_next_step(l.mask, l.steps) AS next_step OFFSET 0) s
    LEFT JOIN LATERAL (
        SELECT r.due_at FROM returns r
        WHERE s.next_step > 1 AND l.claim_expires_at IS NULL
            AND r.workspace_id = l.workspace_id AND r.campaign_id = l.campaign_id
            AND r.account_id = ANY (ARRAY[coalesce(l.account_id, any_account()), any_account()])
            AND r.due_at = l.follow_up_delay_ms * interval '1 millisecond' + CASE
                WHEN l.mask & (fact_mask(forgotten_bit()) - 1) = fact_mask(s.next_step - 2) THEN l.last_action_at
                ELSE log_time(l.workspace_id, l.campaign_id, l.lead_no, s.next_step - 2)
            END
            AND r.lead_no = l.lead_no AND r.step = s.next_step
        LIMIT 1
    ) d ON true";

/// The columns of [`LEADS`] and [`DUE`] that [`lead_from_row`] reads.
const COLUMNS: &str = "l.lead_no, l.mask, l.failed_reasons, l.bounced_reasons, l.last_action_at, l.steps, l.account,
    l.claim_expires_at, d.due_at";

/// Selects leads with a step whose result has the reason `$8`.
const HAS_REASON: &str = "failed_or_bounced_steps(l.mask) <> 0 AND EXISTS (
        SELECT FROM generate_series(0, n.steps - 1) AS s (step_bit)
        WHERE $8 = CASE step_result(l.mask, s.step_bit)
            WHEN result_failed() THEN step_reason(l.failed_reasons, s.step_bit)
            WHEN result_bounced() THEN step_reason(l.bounced_reasons, s.step_bit)
        END
    )";

/// Upper bound of the leads that a page reads, whether they match or not. It keeps a page of a rare status from reading
/// millions.
const SCAN_MAX: i64 = 50_000;

impl Store {
    /// Reads a lead.
    pub async fn lead_get(&self, name: &LeadName) -> Result<Lead> {
        let sql = format!("SELECT {COLUMNS}, i.lead_id FROM ({LEADS} AND l.lead_no = $3 LIMIT 1) l {LEAD_ID} {DUE}");
        in_txn!(self, "lead_get", Kind::Read, |txn, attempt| {
            let now = self.clock.now();
            let (workspace_id, campaign_id) = campaign_find_in_txn(&txn, &name.campaign).await?;
            let lead_no = lead_no_in_txn(&txn, (workspace_id, campaign_id), name).await?;
            let statement = txn.prepare_cached(&sql).await?;
            let row = txn.query_one(&statement, &[&workspace_id, &campaign_id, &lead_no]).await?;
            lead_from_row(&row, &name.campaign, now)
        })
    }

    /// Reads up to `limit` leads after number `after`, with their numbers. Also returns the number after which to continue,
    /// if there are more.
    pub async fn lead_list(
        &self,
        campaign: &CampaignName,
        filter: &LeadFilter<'_>,
        after: i32,
        limit: i64,
    ) -> Result<(Vec<(i32, Lead)>, Option<i32>)> {
        let sql = format!(
            "SELECT {COLUMNS}, i.lead_id FROM (
                {LEADS} AND l.lead_no > $3 AND l.lead_no <= $4
                    AND ($5::int4 IS NULL OR lead_status(l.mask, n.steps) = $5) AND ($6::text IS NULL OR a.name = $6)
                    AND ($8::int8 IS NULL OR {HAS_REASON})
                    AND ($9::timestamptz IS NULL OR l.last_action_at >= $9) AND ($10::timestamptz IS NULL OR l.last_action_at < $10)
                ORDER BY l.lead_no LIMIT $7
            ) l {LEAD_ID} {DUE} ORDER BY l.lead_no"
        );
        let status = filter.status.map(|status| match status {
            LeadStatus::Pending => 1_i32,
            LeadStatus::Partial => 2,
            LeadStatus::Sent => 3,
            LeadStatus::Failed => 4,
        });
        let account = filter.account.map(AccountId::as_str);
        let reason = filter.failure_reason.map(|reason| reason as i64);
        let scan = i32::try_from(SCAN_MAX).unwrap_or(i32::MAX);
        in_txn!(self, "lead_list", Kind::Read, |txn, attempt| {
            let now = self.clock.now();
            let (workspace_id, campaign_id) = campaign_find_in_txn(&txn, campaign).await?;
            let last = "SELECT next_lead_no - 1 FROM campaign_counters WHERE workspace_id = $1 AND campaign_id = $2";
            let last: i32 = txn.query_one(last, &[&workspace_id, &campaign_id]).await?.get(0);
            let until = after.saturating_add(scan);
            let statement = txn.prepare_cached(&sql).await?;
            let params: &[&(dyn ToSql + Sync)] = &[
                &workspace_id,
                &campaign_id,
                &after,
                &until,
                &status,
                &account,
                &limit,
                &reason,
                &filter.last_action_after,
                &filter.last_action_before,
            ];
            let rows = txn.query(&statement, params).await?;
            let is_full = i64::try_from(rows.len()).is_ok_and(|count| count == limit);
            let reached = if is_full { rows.last().map_or(until, |row| row.get("lead_no")) } else { until };
            let numbered = |row: &Row| Ok((row.get("lead_no"), lead_from_row(row, campaign, now)?));
            let leads = rows.iter().map(numbered).collect::<Result<_>>()?;
            Ok((leads, (reached < last).then_some(reached)))
        })
    }

    /// Reads up to `limit` outcomes of a lead in the order of their arrival, after the first `skip`.
    pub async fn lead_outcomes(&self, name: &LeadName, skip: i64, limit: i64) -> Result<Vec<LeadOutcome>> {
        // A lead has at most 52 facts, so skipping is cheap.
        let sql = "
            SELECT o.bit, o.reason, o.detail, o.happened_at, o.received_at, a.name AS account, v.value_micros
            FROM outcomes o
            LEFT JOIN accounts a ON a.workspace_id = o.workspace_id AND a.account_id = o.account_id
            LEFT JOIN conversion_values v ON o.bit = converted_bit() AND v.workspace_id = o.workspace_id AND v.campaign_id = o.campaign_id
                AND v.lead_no = o.lead_no
            WHERE o.workspace_id = $1 AND o.campaign_id = $2 AND o.lead_no = $3
            ORDER BY o.received_at, o.batch_ordinal, o.bit OFFSET $4 LIMIT $5";
        in_txn!(self, "lead_outcomes", Kind::Read, |txn, attempt| {
            let (workspace_id, campaign_id) = campaign_find_in_txn(&txn, &name.campaign).await?;
            let lead_no = lead_no_in_txn(&txn, (workspace_id, campaign_id), name).await?;
            let params: &[&(dyn ToSql + Sync)] = &[&workspace_id, &campaign_id, &lead_no, &skip, &limit];
            txn.query(sql, params).await?.iter().map(|row| outcome_from_row(row, name)).collect()
        })
    }
}

fn account_from_row(row: &Row, campaign: &CampaignName) -> Result<Option<AccountName>> {
    let Some(account) = row.get::<_, Option<&str>>("account") else {
        return Ok(None);
    };
    Ok(Some(AccountName { workspace: campaign.workspace.clone(), account: account.parse()? }))
}

fn lead_from_row(row: &Row, campaign: &CampaignName, now: Timestamp) -> Result<Lead> {
    let claim_expires: Option<Timestamp> = row.get("claim_expires_at");
    Ok(Lead {
        name: LeadName { campaign: campaign.clone(), lead: row.get::<_, &str>("lead_id").parse()? },
        account: account_from_row(row, campaign)?,
        steps: Step::new(row.get::<_, i16>("steps").into()).ok_or_else(|| broken("steps out of range"))?,
        facts: Facts(row.get("mask")),
        reasons: Reasons { failed: row.get("failed_reasons"), bounced: row.get("bounced_reasons") },
        last_action_time: row.get("last_action_at"),
        due_time: row.get("due_at"),
        claim_state: claim_expires.map(|expires| if expires > now { ClaimState::Held } else { ClaimState::Uncertain }),
    })
}

fn outcome_from_row(row: &Row, lead: &LeadName) -> Result<LeadOutcome> {
    let bit: i16 = row.get("bit");
    let time: Timestamp = row.get("happened_at");
    Ok(LeadOutcome {
        lead: lead.clone(),
        fact: u8::try_from(bit).ok().and_then(Fact::from_bit).ok_or_else(|| broken(format!("fact bit {bit}")))?,
        reason: row.get::<_, Option<i16>>("reason").and_then(|reason| FailureReason::from_number(reason.into())),
        detail: row.get::<_, Option<String>>("detail").unwrap_or_default(),
        time,
        receive_time: row.get("received_at"),
        account: account_from_row(row, &lead.campaign)?,
        value_micros: row.get("value_micros"),
    })
}
