//! Goes on freeing the leads of accounts that left a campaign: millions of leads, in portions, each in a transaction of its own.
//!
//! The transaction that removes an account frees the first portion: see `campaign/serving.rs`.

use crate::{
    error::Result,
    store::{
        campaign::serving::{Freeing, leads_free_in_txn},
        row::{CampaignKey, campaign_key},
        transaction::{Kind, Store, in_txn},
    },
};

/// Leaves a campaign to the replica that works on it: another one would only wait for the row lock of the campaign, and keep
/// claims waiting.
const TRY_LOCK: &str = "SELECT pg_try_advisory_xact_lock(hashtext('campaign-metrics freeing'), $1)";

impl Store {
    /// Frees leads of accounts that left.
    pub async fn leads_free(&self) -> Result<()> {
        let left: Result<Vec<CampaignKey>> = in_txn!(self, "leads_free", Kind::Read, |txn, attempt| {
            let sql = "SELECT DISTINCT workspace_id, campaign_id FROM campaign_accounts WHERE removed AND free_lead IS NOT NULL
                ORDER BY workspace_id, campaign_id";
            Ok(txn.query(sql, &[]).await?.iter().map(campaign_key).collect())
        });
        for campaign in left? {
            while self.leads_free_portion(campaign).await? == Freeing::GoesOn {}
        }
        Ok(())
    }

    async fn leads_free_portion(&self, campaign: CampaignKey) -> Result<Freeing> {
        in_txn!(self, "leads_free_portion", Kind::Write, |txn, attempt| {
            if !txn.query_one(TRY_LOCK, &[&campaign.1]).await?.get::<_, bool>(0) {
                return Ok(Freeing::Done);
            }
            let lock = "SELECT FROM campaigns WHERE workspace_id = $1 AND campaign_id = $2 FOR NO KEY UPDATE";
            if txn.query_opt(lock, &[&campaign.0, &campaign.1]).await?.is_none() {
                return Ok(Freeing::Done);
            }
            leads_free_in_txn(&txn, campaign).await
        })
    }
}
