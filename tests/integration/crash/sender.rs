//! A sender process: claims, "sends", and reports by calls and by streams, some outcomes twice, late, and out of order.
//!
//! Its ledger records requests, grants, reports and verdicts. The test checks the service against it; a successor
//! repeats the last request with the same id and reports what this process had sent. It never ends by itself.

use std::{path::PathBuf, time::Duration};

use anyhow::Result;
use campaign_metrics::pb::{self, OutcomeKind};
use futures::{future::join_all, stream};
use jiff::Timestamp;
use rand::{Rng as _, seq::SliceRandom as _};
use serde::{Deserialize, Serialize};
use tokio::time::{Interval, MissedTickBehavior, interval};
use tonic::Status;
use uuid::Uuid;

use super::{
    WORKSPACE,
    ledger::{self, Grant, Ledger, Record, Reported},
    play::{Fate, Play},
    replicas::{CALL_MAX, Replicas, answer, is_of_a_crash, pause, request},
};

/// Maximum claims of a request: few, so that a kill hits workers at different points.
const CLAIMS_MAX: i32 = 8;

/// How long claims are held: short enough for claims of a killed sender to become uncertain during the test.
const HOLD: prost_types::Duration = prost_types::Duration { seconds: 2, nanos: 0 };

/// Duration of sending. It sets the load so that two cores are not saturated.
const ROUND: Duration = Duration::from_millis(100);

/// The configuration of a sender process, passed in its environment.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Orders {
    pub urls: Vec<String>,
    pub ledger: PathBuf,
    /// Accounts to send for, each by a worker of its own.
    pub accounts: Vec<String>,
    pub seed: u64,
}

impl Orders {
    pub const VARIABLE: &str = "CAMPAIGN_METRICS_TEST_SENDER";

    /// Reads the configuration, if this process was started as a sender.
    pub fn of_this_process() -> Option<Self> {
        let orders = std::env::var(Self::VARIABLE).ok()?;
        Some(serde_json::from_str(&orders).expect("orders are made by the test"))
    }
}

/// Sends until it is killed.
pub async fn run(orders: Orders) -> Result<()> {
    let before = ledger::read(&orders.ledger)?;
    let ledger = Ledger::open(&orders.ledger)?;
    let worker = |(number, account): (usize, &String)| Worker {
        replicas: Replicas::at(&orders.urls).expect("URLs made by the test"),
        ledger: &ledger,
        play: Play { seed: orders.seed },
        account: account.clone(),
        number,
        waiting: Vec::new(),
        pace: {
            let mut pace = interval(ROUND);
            pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
            pace
        },
    };
    let mut workers: Vec<Worker> = orders.accounts.iter().enumerate().map(worker).collect();
    // One worker takes over the predecessor's work. The others claim meanwhile.
    workers[0].take_over(&before).await;
    join_all(workers.iter_mut().map(Worker::work)).await;
    Ok(())
}

/// An outcome to report, and the fact that it tells.
type Outcome = (Reported, pb::Outcome);

struct Worker<'a> {
    replicas: Replicas,
    ledger: &'a Ledger,
    play: Play,
    account: String,
    /// Which replica is next, and of whom this worker is one.
    number: usize,
    waiting: Vec<Outcome>,
    pace: Interval,
}

impl Worker<'_> {
    async fn work(&mut self) {
        loop {
            self.pace.tick().await;
            let ask = pb::ClaimSendsRequest {
                account: self.account.clone(),
                max_claims: rand::random_range(1..=CLAIMS_MAX),
                request_id: Uuid::new_v4().to_string(),
                hold_duration: Some(HOLD),
                ..Default::default()
            };
            self.ledger.write(&Record::Asking {
                request_id: ask.request_id.clone(),
                account: ask.account.clone(),
                max_claims: ask.max_claims,
                at: Timestamp::now(),
            });
            let claims = self.claim(ask).await;
            self.send(&claims).await;
            self.report().await;
        }
    }

    /// Continues where a killed process ended.
    async fn take_over(&mut self, before: &[Record]) {
        let mut unanswered = std::collections::BTreeMap::new();
        let mut done = std::collections::BTreeSet::new();
        let mut granted: Vec<&Grant> = Vec::new();
        for record in before {
            match record {
                Record::Asking { request_id, account, max_claims, .. } => {
                    unanswered.insert(request_id, (account, *max_claims));
                }
                Record::Granted { request_id, grants, .. } => {
                    unanswered.remove(request_id);
                    granted.extend(grants);
                }
                Record::Acknowledged { verdicts, .. } => done.extend(verdicts.iter().map(|(fact, _)| fact)),
                _ => {}
            }
        }
        for grant in granted {
            if self.play.fate(grant) == Fate::Reported && self.play.is_remembered(grant) {
                let facts = self.play.facts(grant).into_iter().filter(|fact| !done.contains(fact));
                self.waiting.extend(facts.map(|fact| outcome(grant, fact)));
            }
        }
        for (request_id, (account, max_claims)) in unanswered {
            let (request_id, account) = (request_id.clone(), account.clone());
            let hold_duration = Some(HOLD);
            let ask = pb::ClaimSendsRequest { account, max_claims, request_id, hold_duration, ..Default::default() };
            let claims = self.claim(ask).await;
            self.send(&claims).await;
        }
    }

    /// Claims, retrying until there is an answer; sometimes repeats the request at another replica.
    async fn claim(&mut self, ask: pb::ClaimSendsRequest) -> Vec<pb::Claim> {
        let call = async |number: usize| {
            let made = self
                .replicas
                .insist(number, async |replica| replica.sending.clone().claim_sends(request(ask.clone())).await);
            made.await.inspect_err(|status| self.ledger.wrong(format!("ClaimSends: {status:?}")))
        };
        let Ok(answer) = call(self.number).await else { return Vec::new() };
        self.ledger.write(&Record::Granted {
            request_id: ask.request_id.clone(),
            grants: answer.claims.iter().map(Grant::from).collect(),
            not_sending: answer.not_sending.iter().flat_map(|why| why.reasons.clone()).collect(),
            at: Timestamp::now(),
        });
        if !answer.claims.is_empty()
            && rand::random_bool(0.2)
            && let Ok(again) = call(self.number + 1).await
        {
            self.compare(&ask.request_id, &answer.claims, &again.claims);
        }
        answer.claims
    }

    /// Checks that a repeated request returns the same claims, as far as they are still held. If the campaign retries
    /// expired claims, an outcome of an older claim also closes the newer one.
    fn compare(&self, request_id: &str, first: &[pb::Claim], again: &[pb::Claim]) {
        let is_past = |time: Option<prost_types::Timestamp>| {
            let time = time.and_then(|time| Timestamp::new(time.seconds, time.nanos).ok());
            time.is_some_and(|time| time <= Timestamp::now())
        };
        let is_in = |claims: &[pb::Claim], claim: &pb::Claim| claims.iter().any(|one| one.claim_id == claim.claim_id);
        let lost = first.iter().filter(|claim| !is_in(again, claim) && !is_past(claim.expire_time)).map(Grant::from);
        let (closed, lost): (Vec<Grant>, Vec<Grant>) = lost.partition(Grant::is_retried);
        let new = again.iter().filter(|claim| !is_in(first, claim)).count();
        if lost.len() + new > 0 {
            self.ledger
                .wrong(format!("request {request_id}: the repeat lacks {} claims and has {new} others", lost.len()));
        }
        self.ledger.write(&Record::Repeated { request_id: request_id.to_owned(), closed });
    }

    async fn send(&mut self, claims: &[pb::Claim]) {
        let mut back = Vec::new();
        for grant in claims.iter().map(Grant::from) {
            match self.play.fate(&grant) {
                Fate::Lost => {}
                Fate::Released => back.push(grant.claim_id),
                Fate::Reported => {
                    let facts = self.play.facts(&grant).into_iter();
                    self.waiting.extend(facts.map(|fact| outcome(&grant, fact)));
                }
            }
        }
        if back.is_empty() {
            return;
        }
        self.ledger.write(&Record::Releasing { claim_ids: back.clone() });
        let release =
            pb::ReleaseClaimsRequest { account: claims[0].account.clone(), claim_ids: back.clone(), not_before: None };
        let made = self.replicas.insist(self.number, async |replica| {
            replica.sending.clone().release_claims(request(release.clone())).await
        });
        match made.await {
            Ok(answer) => {
                back.retain(|id| !answer.not_held_claim_ids.contains(id));
                self.ledger.write(&Record::Released { claim_ids: back });
            }
            Err(status) => self.ledger.wrong(format!("ReleaseClaims: {status:?}")),
        }
    }

    /// Reports most of what waits, in random order, some of it twice. What is not acknowledged keeps waiting.
    async fn report(&mut self) {
        let batches = {
            let mut random = rand::rng();
            let twice: Vec<Outcome> = self.waiting.iter().filter(|_| random.random_bool(0.1)).cloned().collect();
            self.waiting.extend(twice);
            self.waiting.shuffle(&mut random);
            let late = self.waiting.len() / random.random_range(4..20);
            let now = self.waiting.split_off(late);
            now.chunks(random.random_range(4..12)).map(<[_]>::to_vec).collect::<Vec<_>>()
        };
        if batches.is_empty() {
            return;
        }
        for batch in &batches {
            self.ledger.write(&Record::Reporting { facts: batch.iter().map(|(fact, _)| fact.clone()).collect() });
        }
        let answered = if rand::random_bool(0.5) { self.stream(&batches).await } else { self.call(&batches).await };
        let (acknowledged, result) = answered;
        self.waiting.extend(batches[acknowledged..].concat());
        if let Err(status) = result {
            if !is_of_a_crash(&status) {
                self.ledger.wrong(format!("reporting: {status:?}"));
            }
            self.number += 1;
            pause().await;
        }
    }

    /// Reports batches by calls; returns how many were acknowledged.
    async fn call(&self, batches: &[Vec<Outcome>]) -> (usize, Result<(), Status>) {
        let mut sending = self.replicas.get(self.number).sending.clone();
        for (done, batch) in batches.iter().enumerate() {
            let outcomes = batch.iter().map(|(_, outcome)| outcome.clone()).collect();
            let report = pb::ReportOutcomesRequest { parent: WORKSPACE.to_owned(), outcomes };
            match answer(sending.report_outcomes(request(report))).await {
                Ok(response) => self.acknowledge(batch, &response.results, false),
                Err(status) => return (done, Err(status)),
            }
        }
        (batches.len(), Ok(()))
    }

    /// The same by one stream, on which every message is sent before the first is answered.
    async fn stream(&self, batches: &[Vec<Outcome>]) -> (usize, Result<(), Status>) {
        let mut sending = self.replicas.get(self.number).sending.clone();
        let message = |batch: &Vec<Outcome>| pb::StreamOutcomesRequest {
            parent: WORKSPACE.to_owned(),
            outcomes: batch.iter().map(|(_, outcome)| outcome.clone()).collect(),
        };
        let messages: Vec<_> = batches.iter().map(message).collect();
        let mut done = 0;
        let made = tokio::time::timeout(CALL_MAX, async {
            let mut responses = sending.stream_outcomes(request(stream::iter(messages))).await?.into_inner();
            while let Some(response) = responses.message().await? {
                self.acknowledge(&batches[done], &response.results, true);
                done += 1;
            }
            Ok(())
        });
        let result = made.await.unwrap_or_else(|_| Err(Status::deadline_exceeded("no response")));
        if result.is_ok() && done < batches.len() {
            self.ledger.wrong(format!("a stream ended well after {done} of {} responses", batches.len()));
        }
        (done, result)
    }

    fn acknowledge(&self, batch: &[Outcome], results: &[pb::OutcomeResult], by_stream: bool) {
        if results.len() != batch.len() {
            self.ledger.wrong(format!("{} verdicts about {} outcomes", results.len(), batch.len()));
        }
        let verdicts = batch.iter().zip(results).map(|((fact, _), result)| (fact.clone(), result.verdict));
        self.ledger.write(&Record::Acknowledged { verdicts: verdicts.collect(), by_stream });
        for ((fact, _), result) in batch.iter().zip(results) {
            if result.verdict() == pb::OutcomeVerdict::Rejected {
                self.ledger.wrong(format!("{fact:?} was rejected: {} {}", result.reason, result.message));
            }
        }
    }
}

/// The outcome that tells a fact: now by the key of the claim, now by lead and step.
pub fn outcome(grant: &Grant, fact: Reported) -> Outcome {
    let kind = OutcomeKind::try_from(fact.kind).expect("a kind of the contract");
    let mut outcome = pb::Outcome { kind: fact.kind, ..Default::default() };
    if rand::random() {
        outcome.send_key.clone_from(&grant.send_key);
    } else {
        (outcome.lead, outcome.step) = (fact.lead.clone(), fact.step);
    }
    if matches!(kind, OutcomeKind::Failed | OutcomeKind::Bounced) {
        outcome.reason = pb::FailureReason::InvalidLead.into();
    }
    (fact, outcome)
}
