//! Serves ClaimSends: grants an account what it may send now, within every limit, each lead and step once.
//!
//! One transaction locks the account, then its campaigns by number. So claims of one account, and claims of one campaign, are
//! serialized; limits hold to the last message; and a claim sees every pause and suspension that committed before it.

use super::{
    candidate::{CandidateLocks, Candidates, finished_leave_in_txn},
    granter::Granter,
    optimistic::{OptimisticGrant, is_conflict},
    request::{ClaimRequest, Grant},
};
use crate::{
    error::Result,
    store::{
        hint::{cursor::CursorUpdate, recent::RecentGrant},
        outcome::telling::{Told, check_told, is_untold},
        transaction::{Kind, Store, in_txn},
    },
};

impl Store {
    /// Grants an account up to `max` claims. A repeat with the same request id returns those that are still held.
    pub async fn claim_sends(&self, ask: ClaimRequest<'_>) -> Result<Grant> {
        let asker = ask.asker();
        let recent = self.hints.recent.get(&asker);
        let optimistic = recent.as_ref().and_then(|recent| OptimisticGrant::plan(recent, ask.max, self.clock.now()));
        let mut way = "full";
        if let Some(optimistic) = optimistic {
            match self.claim_optimistic(&ask, &optimistic).await {
                Err(error) if is_conflict(&error) => way = "undone",
                granted => {
                    if granted.is_ok() {
                        self.claim_count("guess");
                    }
                    return granted;
                }
            }
        }
        let account_id = recent.as_ref().map(|recent| recent.account_id);
        let campaigns = recent.as_ref().map_or(&[][..], |recent| &recent.campaigns).iter().copied();
        let mut queued = Some(self.hints.queues.wait(account_id, campaigns).await);
        let mut granted = self.claim_full(&ask, &mut queued, Told::No).await;
        if granted.as_ref().is_err_and(is_untold) {
            self.opt_outs_tell_account(ask.account).await?;
            granted = self.claim_full(&ask, &mut queued, Told::Yes).await;
        }
        let (grant, recent, cursors) = granted?;
        if let Some(recent) = recent {
            self.hints.recent.set(asker, recent);
        }
        self.hints.cursors.set(cursors);
        self.claim_count(way);
        Ok(grant)
    }

    async fn claim_full(
        &self,
        ask: &ClaimRequest<'_>,
        queued: &mut Option<impl Send>,
        told: Told,
    ) -> Result<(Grant, Option<RecentGrant>, Vec<CursorUpdate>)> {
        in_txn!(self, "claim_sends", Kind::Hot, |txn, attempt| {
            let candidates = ask.campaign.map_or(Candidates::All, Candidates::Named);
            let (account, campaigns) = CandidateLocks::prepare(&txn, candidates).await?.lock(ask.account).await?;
            check_told(&account, told)?;
            let campaigns = finished_leave_in_txn(&txn, &account, campaigns).await?;
            // Read the clock after all waits: windows, days and expiry are those of the grant.
            let granter = Granter::new(&txn, ask, &account, self.clock.now(), rand::random())?;
            let result = granter.serve(&account, &campaigns, &self.hints.cursors).await;
            // The next call begins while this one commits. The row locks keep it from deciding before the commit.
            if result.is_ok() {
                drop(queued.take());
            }
            result
        })
    }

    /// Counts an answered claim by its way: `guess`, granted optimistically; `full`; `undone`, in full after a conflict.
    fn claim_count(&self, way: &str) {
        self.counters.claims.with_label_values(&[way]).inc();
    }
}
