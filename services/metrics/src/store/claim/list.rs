//! Reads claims. A row covers up to 64 leads; each open bit becomes a claim here.

use campaign_metrics::{
    lead::Step,
    name::{AccountName, CampaignName, LeadName},
    sending::{Claim, ClaimId, ClaimState, SendKey},
};
use deadpool_postgres::Transaction;
use jiff::Timestamp;
use tokio_postgres::{Row, types::ToSql};

use crate::{
    error::Result,
    store::{
        row::{LEAD_ID, account_key_in_txn, broken},
        transaction::{Kind, Store, in_txn},
    },
};

/// Where a page of claims begins: after this campaign, lead and step.
pub type ClaimCursor = (i32, i32, i16);

/// Claims of an account, one row for each open claim. The callers join [`LEAD_ID`].
///
/// OFFSET and LIMIT force look-ups row by row. With a free choice of joins, the planner reads all ids of a campaign while it
/// takes the table for small.
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

/// The columns of [`CLAIMS`] that [`claim_from_row`] reads.
const COLUMNS: &str = "l.campaign_id, l.campaign, l.salt, l.lead_no, l.step, l.grant_no, l.expires_at";

impl Store {
    /// Reads up to `limit` held and uncertain claims of an account after `after`, by campaign and lead.
    pub async fn claim_list(
        &self,
        account: &AccountName,
        state: Option<ClaimState>,
        after: Option<ClaimCursor>,
        limit: i64,
    ) -> Result<Vec<Claim>> {
        let sql = format!(
            "SELECT {COLUMNS}, i.lead_id FROM (
                {CLAIMS} AND ($3::bool IS NULL OR (c.expires_at > $4) = $3)
                    AND ($5::int4 IS NULL OR c.campaign_id >= $5 AND (c.campaign_id, l.lead_no, c.step) > ($5, $6::int4, $7::int2))
                ORDER BY c.campaign_id, l.lead_no, c.step LIMIT $8
            ) l {LEAD_ID} ORDER BY l.campaign_id, l.lead_no, l.step"
        );
        let held = state.map(|state| state == ClaimState::Held);
        let campaign = after.map(|after| after.0);
        let (lead, step) = (after.map(|after| after.1), after.map(|after| after.2));
        in_txn!(self, "claim_list", Kind::Read, |txn, attempt| {
            let now = self.clock.now();
            let (workspace_id, account_id) = account_key_in_txn(&txn, account).await?;
            let statement = txn.prepare_cached(&sql).await?;
            let params: &[&(dyn ToSql + Sync)] =
                &[&workspace_id, &account_id, &held, &now, &campaign, &lead, &step, &limit];
            txn.query(&statement, params).await?.iter().map(|row| claim_from_row(row, account, now)).collect()
        })
    }
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
        "SELECT {COLUMNS}, i.lead_id FROM ({CLAIMS} AND c.grant_no = $3 AND c.expires_at > $4 OFFSET 0) l {LEAD_ID}
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
