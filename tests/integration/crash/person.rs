//! The person who resolves uncertain claims: looks up whether the message was sent, and resolves the claim.

use std::{path::Path, time::Duration};

use anyhow::Result;
use campaign_metrics::pb::{self, OutcomeKind, OutcomeVerdict, Resolution};
use tokio::time::interval;

use super::{
    WORKSPACE,
    ledger::{Grant, Ledger, Record},
    play::{Play, reported},
    replicas::{Replicas, request},
    sender::outcome,
};

/// Pause between two lists: shorter than claims are held.
const LOOK: Duration = Duration::from_millis(500);

/// Resolves the uncertain claims of accounts until it is cancelled.
pub async fn run(replicas: &Replicas, ledger: &Path, accounts: &[String], play: Play) -> Result<()> {
    let person = Person { replicas, ledger: Ledger::open(ledger)?, play };
    let mut looks = interval(LOOK);
    loop {
        for (number, account) in accounts.iter().enumerate() {
            looks.tick().await;
            person.look(account, number).await?;
        }
    }
}

struct Person<'a> {
    replicas: &'a Replicas,
    ledger: Ledger,
    play: Play,
}

impl Person<'_> {
    async fn look(&self, account: &str, number: usize) -> Result<()> {
        let list = pb::ListClaimsRequest {
            account: account.to_owned(),
            page_size: 1000,
            state: pb::ClaimState::Uncertain.into(),
            ..Default::default()
        };
        let made = self
            .replicas
            .insist(number, async |replica| replica.sending.clone().list_claims(request(list.clone())).await);
        let grants: Vec<Grant> = made.await?.claims.iter().map(Grant::from).collect();
        if grants.is_empty() {
            return Ok(());
        }
        self.ledger.write(&Record::Uncertain { grants: grants.clone() });
        let (denied, sent): (Vec<_>, Vec<_>) = grants.into_iter().partition(|grant| self.play.is_denied(grant));
        for grant in &denied {
            self.ledger.write(&Record::Denying { claim_id: grant.claim_id.clone() });
        }
        let taken = self.resolve(account, &denied, Resolution::NotSent, number).await?;
        for grant in taken {
            self.ledger.write(&Record::Denied { claim_id: grant.claim_id.clone() });
        }
        // Of the others, one half is resolved, one half gets a late outcome.
        let (by_claim, by_outcome) = sent.split_at(sent.len() / 2);
        let facts = |grants: &[&Grant]| grants.iter().map(|grant| reported(grant, OutcomeKind::Delivered)).collect();
        self.ledger.write(&Record::Reporting { facts: facts(&sent.iter().collect::<Vec<_>>()) });
        let taken = self.resolve(account, by_claim, Resolution::Sent, number).await?;
        let verdicts = taken.iter().map(|grant| {
            // The answer does not tell whether the fact was new.
            (reported(grant, OutcomeKind::Delivered), OutcomeVerdict::Duplicate.into())
        });
        self.ledger.write(&Record::Acknowledged { verdicts: verdicts.collect(), by_stream: false });
        self.report(by_outcome, number).await
    }

    /// Resolves claims. Returns those that were still uncertain.
    async fn resolve<'a>(
        &self,
        account: &str,
        grants: &'a [Grant],
        resolution: Resolution,
        number: usize,
    ) -> Result<Vec<&'a Grant>> {
        if grants.is_empty() {
            return Ok(Vec::new());
        }
        let resolutions = grants
            .iter()
            .map(|grant| pb::ClaimResolution { claim_id: grant.claim_id.clone(), resolution: resolution.into() });
        let resolve = pb::ResolveClaimsRequest { account: account.to_owned(), resolutions: resolutions.collect() };
        let made = self
            .replicas
            .insist(number, async |replica| replica.sending.clone().resolve_claims(request(resolve.clone())).await);
        let ended = made.await?.not_uncertain_claim_ids;
        Ok(grants.iter().filter(|grant| !ended.contains(&grant.claim_id)).collect())
    }

    async fn report(&self, grants: &[Grant], number: usize) -> Result<()> {
        if grants.is_empty() {
            return Ok(());
        }
        let (facts, outcomes): (Vec<_>, Vec<_>) =
            grants.iter().map(|grant| outcome(grant, reported(grant, OutcomeKind::Delivered))).unzip();
        let report = pb::ReportOutcomesRequest { parent: WORKSPACE.to_owned(), outcomes };
        let made = self
            .replicas
            .insist(number, async |replica| replica.sending.clone().report_outcomes(request(report.clone())).await);
        let verdicts = made.await?.results.into_iter().map(|result| result.verdict);
        self.ledger
            .write(&Record::Acknowledged { verdicts: facts.into_iter().zip(verdicts).collect(), by_stream: false });
        Ok(())
    }
}
