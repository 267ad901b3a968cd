//! Takes due steps of one campaign for one account, and records their claims: by the SQL function `claim_take`.

use campaign_metrics::{lead::Step, name::LeadId};
use deadpool_postgres::Transaction;
use jiff::{Timestamp, civil::Date};
use tokio_postgres::{Row, types::ToSql};

use crate::{
    error::Result,
    store::{
        hint::cursor::Cursor,
        row::{CampaignKey, broken},
    },
};

/// Average number of takes after which the hot rows advance to their next epoch: about as many versions as share a page.
const CLAIMS_PER_EPOCH: u32 = 64;

/// Takes due steps. The SQL function documents the parameters and the columns.
const CLAIM_TAKE: &str = "
    SELECT lead_nos, steps, ids, more, next_due, next_lead, serving, reserved_of_account, reserved_of_campaign
    FROM claim_take($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)";

/// What was taken, and the state of the locked rows after it.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// Number, step and id of each lead.
    pub(super) leads: Vec<(i32, Step, LeadId)>,
    /// Whether the account is assigned to the campaign.
    pub(super) serving: bool,
    /// Reservations of the account's day and of the campaign's day, including this take. Only valid if something was
    /// taken.
    pub(super) reserved: (i64, i64),
}

/// A take: how many steps of which campaign for which account.
#[derive(Debug, PartialEq, Eq)]
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
    /// Takes up to `share` due steps from `cursor` on, and advances the cursor.
    pub(super) async fn take_in_txn(&self, txn: &Transaction<'_>, cursor: &mut Cursor) -> Result<Taken> {
        let (workspace_id, campaign_id) = self.campaign;
        let statement = txn.prepare_cached(CLAIM_TAKE).await?;
        let mut taken = Taken::default();
        loop {
            let left = self.share - i64::try_from(taken.leads.len()).unwrap_or(i64::MAX);
            let epoch_step = i32::from(rand::random_ratio(1, CLAIMS_PER_EPOCH));
            // Half of a take comes from `returns`, half from new leads. Chance decides which half is larger if `left` is odd.
            // Otherwise calls for one claim at a time would starve one kind.
            let odd_from_returns = i32::from(rand::random::<bool>());
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
                &cursor.due_at,
                &cursor.lo,
                &epoch_step,
                &odd_from_returns,
            ];
            let row = txn.query_one(&statement, params).await?;
            taken.add(&row)?;
            (cursor.due_at, cursor.lo) = (row.get("next_due"), row.get("next_lead"));
            if !row.get::<_, bool>("more") {
                return Ok(taken);
            }
        }
    }
}

impl Taken {
    fn add(&mut self, row: &Row) -> Result<()> {
        let (numbers, steps): (Vec<i32>, Vec<i16>) = (row.get("lead_nos"), row.get("steps"));
        for ((number, step), id) in numbers.into_iter().zip(steps).zip(row.get::<_, Vec<&str>>("ids")) {
            let step = Step::new(step.into()).ok_or_else(|| broken("a step out of range"))?;
            self.leads.push((number, step, id.parse()?));
        }
        self.serving = row.get("serving");
        if let (Some(account), Some(campaign)) = (row.get("reserved_of_account"), row.get("reserved_of_campaign")) {
            self.reserved = (account, campaign);
        }
        Ok(())
    }
}
