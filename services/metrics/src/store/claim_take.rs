//! Takes due steps of one campaign for one account, and records their claims: one statement, `claim_take.sql`.

use campaign_metrics::{lead::Step, name::LeadId};
use deadpool_postgres::Transaction;
use jiff::{Timestamp, civil::Date};
use tokio_postgres::{Row, types::ToSql};

use super::{
    campaign_view::{CampaignKey, broken},
    claim_cursor::Cursor,
    run_again,
};
use crate::error::Result;

/// Facts that end the first step: any result, a reply, a conversion, an opt-out; an automatic reply does not.
const ENDS_FIRST_STEP: i64 = ((1 << 50) - 1) | (1 << 51);
/// One in so many claims moves the rows that every claim changes on to their next epoch: about as many versions as share
/// a page.
const CLAIMS_PER_EPOCH: u32 = 64;

/// The statement; its parameters and rows stand at its top.
pub const CLAIM_TAKE: &str = include_str!("claim_take.sql");

/// Number, step and id of a lead that was taken.
pub(super) type Taken = (i32, Step, LeadId);

/// What is to be taken, of which campaign, for whom.
pub(super) struct Take {
    pub(super) campaign: CampaignKey,
    pub(super) account_id: i32,
    pub(super) steps: Step,
    pub(super) share: i64,
    pub(super) now: Timestamp,
    pub(super) grant_no: i64,
    pub(super) expires_at: Timestamp,
    pub(super) account_day: Date,
    pub(super) campaign_day: Date,
}

impl Take {
    /// Takes up to `share` due steps from `cursor` on, and moves the cursor.
    pub(super) async fn take_in_txn(&self, txn: &Transaction<'_>, cursor: &mut Cursor) -> Result<Vec<Taken>> {
        let (workspace_id, campaign_id) = self.campaign;
        let statement = txn.prepare_cached(CLAIM_TAKE).await?;
        let mut taken = Vec::new();
        loop {
            let left = self.share - i64::try_from(taken.len()).unwrap_or(i64::MAX);
            let moves = i32::from(rand::random_ratio(1, CLAIMS_PER_EPOCH));
            // Drawn, so that neither kind starves who asks for one at a time.
            let odd = i32::from(rand::random::<bool>());
            let steps = i32::from(self.steps.number());
            let params: &[&(dyn ToSql + Sync)] = &[
                &workspace_id,
                &campaign_id,
                &self.account_id,
                &left,
                &self.now,
                &steps,
                &self.grant_no,
                &self.expires_at,
                &self.account_day,
                &self.campaign_day,
                &ENDS_FIRST_STEP,
                &cursor.due_at,
                &cursor.lo,
                &moves,
                &odd,
            ];
            let mut more = false;
            for row in txn.query(&statement, params).await? {
                if row.get::<_, Option<i32>>("lead_no").is_some() {
                    taken.push(taken_from_row(&row)?);
                    continue;
                }
                more = row.get::<_, i16>("step") == 1;
                cursor.due_at = row.get::<_, Option<Timestamp>>("due_at").unwrap_or(cursor.due_at);
                match row.get("lo") {
                    Some(lo) if lo < 0 => return Err(run_again()),
                    Some(lo) => cursor.lo = lo,
                    None => {}
                }
                if row.get("emptied") {
                    self.delete_segment_in_txn(txn, cursor.lo).await?;
                }
            }
            if !more || i64::try_from(taken.len()).is_ok_and(|count| count >= self.share) {
                return Ok(taken);
            }
        }
    }

    /// Deletes the segment that was emptied, unless leads were added to it meanwhile.
    async fn delete_segment_in_txn(&self, txn: &Transaction<'_>, lo: i32) -> Result<()> {
        let sql = "DELETE FROM segments
            WHERE workspace_id = $1 AND campaign_id = $2 AND account_id IN ($3, 0) AND lo = $4 AND hi = $4";
        let statement = txn.prepare_cached(sql).await?;
        txn.execute(&statement, &[&self.campaign.0, &self.campaign.1, &self.account_id, &lo]).await?;
        Ok(())
    }
}

fn taken_from_row(row: &Row) -> Result<Taken> {
    let step = Step::new(row.get::<_, i16>("step").into()).ok_or_else(|| broken("a step out of range"))?;
    Ok((row.get("lead_no"), step, row.get::<_, &str>("lead_id").parse()?))
}
