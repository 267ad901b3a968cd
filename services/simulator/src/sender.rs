//! One sender: it claims, sends at the shared pace, and reports.
//!
//! If the answer to a claim request is lost, the sender retries with the same request id, so that no claim is lost.
//! Every claim is sent or released, and every sent message is reported, even after a stop.

use std::{collections::HashMap, sync::Arc, time::Duration};

use campaign_metrics::{pb, wire::parse_timestamp};
use jiff::Timestamp;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    args::Options,
    claims_log::ClaimsLog,
    pace::Pace,
    play::play,
    reports::{Reports, report},
    service::Service,
    summary::Stats,
};

/// Time span of the messages that are sent and reported together.
const ROUND: Duration = Duration::from_millis(100);

/// One sender of one account.
#[derive(Debug)]
pub struct Sender {
    service: Service,
    account: String,
    workspace: String,
    options: Arc<Options>,
    pace: Arc<Pace>,
    log: Option<Arc<ClaimsLog>>,
    stop: CancellationToken,
    /// Claims of one request: the messages that this sender's share of the rate sends in a second.
    max_claims: u32,
    /// Messages that are sent and reported together.
    round: usize,
    reports: Reports,
    stats: Stats,
}

impl Sender {
    /// Creates one of `count` senders.
    pub fn new(
        service: Service,
        account: &str,
        options: Arc<Options>,
        pace: Arc<Pace>,
        log: Option<Arc<ClaimsLog>>,
        count: usize,
    ) -> Self {
        let max_claims = f64::from(options.max_claims);
        let share = options.rate / f64::from(u32::try_from(count).unwrap_or(u32::MAX));
        Self {
            stop: service.stopped().clone(),
            service,
            account: account.to_owned(),
            workspace: format!("workspaces/{}", options.connection.workspace),
            max_claims: whole(share.clamp(1.0, max_claims)),
            round: whole((options.rate * ROUND.as_secs_f64()).clamp(1.0, max_claims)) as usize,
            options,
            pace,
            log,
            reports: Reports::default(),
            stats: Stats::default(),
        }
    }

    /// Plays until stopped.
    pub async fn run(mut self) -> anyhow::Result<Stats> {
        while !self.stop.is_cancelled() {
            self.report().await?;
            let (claims, next_change) = self.claim().await?;
            if claims.is_empty() {
                self.idle(next_change).await;
            } else {
                self.send(claims).await?;
            }
        }
        self.reports.hurry(Instant::now());
        self.report().await?;
        Ok(self.stats)
    }

    async fn claim(&mut self) -> anyhow::Result<(Vec<pb::Claim>, Option<Timestamp>)> {
        let request = pb::ClaimSendsRequest {
            account: self.account.clone(),
            max_claims: self.max_claims.cast_signed(),
            request_id: Uuid::new_v4().to_string(),
            hold_duration: Some(self.hold()),
            campaign: String::new(),
        };
        let (asked, started) = (Timestamp::now(), Instant::now());
        let answer = self
            .service
            .repeat(self.service.sending(), request, async |mut client, request| client.claim_sends(request).await)
            .await;
        let answer = answer.map_err(|status| self.service.explain(&status))?;
        if let Some(log) = &self.log {
            log.append(asked, &answer.claims)?;
        }
        if !answer.claims.is_empty() {
            self.stats.claim_latency.note(started.elapsed());
        }
        self.stats.claims += answer.claims.len() as u64;
        let next_change = answer.next_change_time.and_then(|at| parse_timestamp("", at).ok());
        Ok((answer.claims, next_change))
    }

    fn hold(&self) -> prost_types::Duration {
        prost_types::Duration { seconds: self.options.hold_seconds.into(), nanos: 0 }
    }

    /// Waits for the time that the service advises, for the next due report, or for the longest pause.
    async fn idle(&self, next_change: Option<Timestamp>) {
        let advised = next_change.and_then(|at| Duration::try_from(at.duration_since(Timestamp::now())).ok());
        // Jitter, so that senders that became idle together do not claim together.
        let longest = self.options.poll().mul_f64(rand::random_range(0.5..1.0));
        // A time that has just passed would cause a busy loop.
        let pause = advised.unwrap_or(longest).clamp(ROUND.min(longest), longest);
        let until = Instant::now() + pause;
        let until = self.reports.next_due().map_or(until, |due| until.min(due));
        self.stop.run_until_cancelled(tokio::time::sleep_until(until)).await;
    }

    /// Sends claims in rounds and reports after each round. After a stop, it releases claims that were not sent.
    async fn send(&mut self, mut unsent: Vec<pb::Claim>) -> anyhow::Result<()> {
        let mut held_since = Instant::now();
        while !unsent.is_empty() {
            let count = self.round.min(unsent.len());
            let messages = u32::try_from(count).unwrap_or(u32::MAX);
            let at = self.pace.take(messages);
            while held_since + self.options.hold() / 2 < at {
                if !self.sleep_until(held_since + self.options.hold() / 2).await {
                    return self.release(unsent).await;
                }
                unsent = self.renew(unsent).await?;
                held_since = Instant::now();
            }
            if !self.sleep_until(at).await {
                return self.release(unsent).await;
            }
            let now = Instant::now();
            for claim in unsent.drain(..count.min(unsent.len())) {
                let play = play(&self.options.behavior, &claim.lead, claim.step);
                self.reports.push(&self.options.behavior, &claim, &play, now);
                self.stats.messages += 1;
            }
            self.report().await?;
        }
        Ok(())
    }

    /// Sleeps. Returns false if the stop came first.
    async fn sleep_until(&self, at: Instant) -> bool {
        let slept = self.stop.run_until_cancelled(tokio::time::sleep_until(at)).await;
        slept.is_some() && !self.stop.is_cancelled()
    }

    /// Renews claims. Keeps those that may be sent, and releases those that were revoked.
    async fn renew(&mut self, claims: Vec<pb::Claim>) -> anyhow::Result<Vec<pb::Claim>> {
        let request = pb::RenewClaimsRequest {
            account: self.account.clone(),
            claim_ids: claims.iter().map(|claim| claim.claim_id.clone()).collect(),
            hold_duration: Some(self.hold()),
        };
        let answer = self
            .service
            .repeat(self.service.sending(), request, async |mut client, request| client.renew_claims(request).await)
            .await;
        let answer = answer.map_err(|status| self.service.explain(&status))?;
        let verdicts: HashMap<&str, pb::RenewVerdict> =
            answer.results.iter().map(|result| (result.claim_id.as_str(), result.verdict())).collect();
        let (mut renewed, mut revoked) = (Vec::new(), Vec::new());
        for claim in claims {
            match verdicts.get(claim.claim_id.as_str()) {
                Some(pb::RenewVerdict::Renewed) => renewed.push(claim),
                Some(pb::RenewVerdict::Revoked) => revoked.push(claim),
                _ => self.stats.not_held += 1,
            }
        }
        self.release(revoked).await?;
        Ok(renewed)
    }

    async fn release(&mut self, claims: Vec<pb::Claim>) -> anyhow::Result<()> {
        if claims.is_empty() {
            return Ok(());
        }
        let request = pb::ReleaseClaimsRequest {
            account: self.account.clone(),
            claim_ids: claims.into_iter().map(|claim| claim.claim_id).collect(),
            not_before: None,
        };
        let count = request.claim_ids.len();
        let answer = self
            .service
            .repeat(self.service.sending(), request, async |mut client, request| client.release_claims(request).await)
            .await;
        answer.map_err(|status| self.service.explain(&status))?;
        // After a retry, claims that the first try released count as not held.
        self.stats.released += count as u64;
        Ok(())
    }

    /// Reports all outcomes that are due.
    async fn report(&mut self) -> anyhow::Result<()> {
        while let Some(outcomes) = self.reports.take(&self.options.behavior, Instant::now()) {
            report(&self.service, &self.workspace, outcomes, &mut self.stats).await?;
        }
        Ok(())
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to between 1 and 1000 by the callers"
)]
fn whole(value: f64) -> u32 {
    value.ceil() as u32
}
