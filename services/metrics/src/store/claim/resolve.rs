//! Resolves uncertain claims: a person or a sender has found out whether the messages were sent.

use campaign_metrics::{
    lead::Fact,
    name::AccountName,
    sending::{ClaimId, ClaimState, LeadRef, Outcome, Verdict},
};
use tokio_postgres::Row;

use super::{
    lock::{campaigns_lock_in_txn, claims_lock_in_txn, id_index},
    release::release_in_txn,
};
use crate::{
    error::Result,
    store::{
        outcome::{LockWait, outcomes_take_in_txn},
        row::account_lock_in_txn,
        transaction::{Kind, Store, in_txn},
    },
};

/// What happened to the message of an uncertain claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolution {
    /// It was sent: it counts like a reported delivery.
    Sent,
    /// It was not sent: the step is due again, and the limits of the claim's days get their share back.
    NotSent,
}

impl Store {
    /// Resolves the claims that are uncertain. Returns for each, in order, whether it was resolved. The caller lists each
    /// once.
    pub async fn claim_resolve(
        &self,
        account: &AccountName,
        resolutions: &[(ClaimId, Resolution)],
    ) -> Result<Vec<bool>> {
        let ids: Vec<ClaimId> = resolutions.iter().map(|(id, _)| *id).collect();
        in_txn!(self, "claim_resolve", Kind::Hot, |txn, attempt| {
            let holder = account_lock_in_txn(&txn, account).await?;
            campaigns_lock_in_txn(&txn, holder.get("workspace_id"), &ids).await?;
            let now = self.clock.now();
            let rows = claims_lock_in_txn(&txn, &holder, &ids, ClaimState::Uncertain, now).await?;
            let mut resolved = vec![false; ids.len()];
            let mut not_sent: Vec<(ClaimId, &Row)> = Vec::new();
            let mut sent: Vec<(usize, Outcome)> = Vec::new();
            for row in &rows {
                let index = id_index(row);
                let (id, resolution) = resolutions[index];
                resolved[index] = true;
                match resolution {
                    Resolution::NotSent => not_sent.push((id, row)),
                    Resolution::Sent => sent.push((index, delivered(id))),
                }
            }
            if !sent.is_empty() {
                let outcomes: Vec<_> = sent.iter().map(|(_, outcome)| (&account.workspace, outcome)).collect();
                let verdicts = outcomes_take_in_txn(&txn, &outcomes, now, attempt, LockWait::Long).await?;
                for ((index, _), verdict) in sent.iter().zip(verdicts) {
                    // Final results do not change any more, and the claim stays uncertain.
                    resolved[*index] = !matches!(verdict, Verdict::Rejected(_));
                }
            }
            release_in_txn(&txn, &holder, &not_sent, now).await?;
            Ok(resolved)
        })
    }
}

fn delivered(id: ClaimId) -> Outcome {
    Outcome {
        lead: LeadRef::Key(id.key),
        fact: Fact::Delivered(id.key.step),
        reason: None,
        detail: "resolved as sent".to_owned(),
        time: None,
        value_micros: None,
    }
}
