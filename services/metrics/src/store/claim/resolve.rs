//! Ends uncertain claims by what a person or sender found out about their messages.

use campaign_metrics::{
    lead::Fact,
    name::AccountName,
    sending::{ClaimId, LeadRef, Outcome, Verdict},
};
use tokio_postgres::Row;

use super::{
    lock::{Expiry, campaigns_lock_in_txn, claims_lock_in_txn},
    release::release_in_txn,
};
use crate::{
    error::Result,
    store::{
        outcome::outcomes_take_in_txn,
        row::account_lock_in_txn,
        transaction::{Kind, Store, in_txn},
    },
};

/// What became of an uncertain claim's message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolution {
    /// It was sent: a delivery, as if reported.
    Sent,
    /// It was not: the step is due again, the limits of the claim's days get their share back.
    NotSent,
}

impl Store {
    /// Resolves those of the claims that are uncertain. Returns for each, in order, whether it was.
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
            let rows = claims_lock_in_txn(&txn, &holder, &ids, Expiry::Past, now).await?;
            let mut resolved = vec![false; ids.len()];
            let mut not_sent: Vec<(ClaimId, &Row)> = Vec::new();
            let mut sent: Vec<(usize, Outcome)> = Vec::new();
            for row in &rows {
                let place = usize::try_from(row.get::<_, i32>("place")).unwrap_or(0);
                let (id, resolution) = resolutions[place];
                // Of an id that is listed twice the first one counts.
                if ids[..place].contains(&id) {
                    continue;
                }
                resolved[place] = true;
                match resolution {
                    Resolution::NotSent => not_sent.push((id, row)),
                    Resolution::Sent => sent.push((place, delivered(id))),
                }
            }
            if !sent.is_empty() {
                let outcomes: Vec<_> = sent.iter().map(|(_, outcome)| (&account.workspace, outcome)).collect();
                let verdicts = outcomes_take_in_txn(&txn, &outcomes, now, attempt).await?;
                for ((place, _), verdict) in sent.iter().zip(verdicts) {
                    // Results that are final change no more; the claim stays as it is.
                    resolved[*place] = !matches!(verdict, Verdict::Rejected(_));
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
