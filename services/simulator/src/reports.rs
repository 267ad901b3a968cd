//! Holds outcomes until they are reported, in a bounded queue ordered by due time, and reports them.
//!
//! One call reports all outcomes of a message. If a reply had its own call, it could race with the claim of the
//! follow-up that it makes needless, and two runs would differ.

use std::collections::{BTreeMap, VecDeque};

use anyhow::ensure;
use campaign_metrics::{pb, wire::timestamp};
use jiff::Timestamp;
use rand::seq::SliceRandom as _;
use tokio::time::Instant;

use crate::{
    args::Behavior,
    play::{Play, Repeat},
    service::Service,
    summary::Stats,
};

/// Most messages that may wait. Beyond this, the earliest are reported before they are due.
const WAITING_MAX: usize = 10_000;
/// Outcomes of a call, beyond which no message is added: well below the 5000 that the service accepts.
pub(crate) const CALL_OUTCOMES: usize = 1000;

/// The queue of one sender.
#[derive(Debug, Default)]
pub struct Reports {
    waiting: BTreeMap<(Instant, u64), Vec<pb::Outcome>>,
    pushed: u64,
}

impl Reports {
    /// Adds the outcomes of the message of `claim`, which is sent now.
    pub fn push(&mut self, behavior: &Behavior, claim: &pb::Claim, play: &Play, now: Instant) {
        let late = |share: f64| now + std::time::Duration::from_secs_f64(behavior.late_seconds * share);
        let due = play.late.map_or(now, late);
        let outcome = |kind: pb::OutcomeKind, reason: pb::FailureReason| pb::Outcome {
            send_key: claim.send_key.clone(),
            kind: kind.into(),
            reason: reason.into(),
            // An outcome that is reported on time needs no time, since its time of receipt is the same.
            time: play.late.map(|_| timestamp(Timestamp::now())),
            ..pb::Outcome::default()
        };
        let answers = play.answers.iter().map(|kind| outcome(*kind, pb::FailureReason::Unspecified));
        let mut outcomes: Vec<_> = [outcome(play.result, play.reason)].into_iter().chain(answers).collect();
        match play.repeat {
            Repeat::Never => {}
            Repeat::AtOnce => outcomes.extend_from_within(..),
            Repeat::Later => self.wait(due + late(1.0).duration_since(now), outcomes.clone()),
        }
        self.wait(due, outcomes);
    }

    fn wait(&mut self, due: Instant, outcomes: Vec<pb::Outcome>) {
        self.pushed += 1;
        self.waiting.insert((due, self.pushed), outcomes);
    }

    /// Returns when the next outcomes are due.
    pub fn next_due(&self) -> Option<Instant> {
        self.waiting.first_key_value().map(|((due, _), _)| *due)
    }

    /// Removes the outcomes that are due at `now`, at most those of one call; `None` when none are.
    pub fn take(&mut self, behavior: &Behavior, now: Instant) -> Option<Vec<pb::Outcome>> {
        let mut taken = VecDeque::new();
        while taken.len() < CALL_OUTCOMES {
            let is_full = self.waiting.len() > WAITING_MAX;
            let Some(first) = self.waiting.first_entry().filter(|first| is_full || first.key().0 <= now) else {
                break;
            };
            taken.extend(first.remove());
        }
        let mut taken: Vec<_> = taken.into();
        if behavior.shuffle {
            taken.shuffle(&mut rand::rng());
        }
        Some(taken).filter(|taken| !taken.is_empty())
    }

    /// Makes all outcomes due, at the end of a run.
    pub fn hurry(&mut self, now: Instant) {
        let all = std::mem::take(&mut self.waiting);
        self.waiting = all.into_iter().map(|((_, number), outcomes)| ((now, number), outcomes)).collect();
    }
}

/// Reports outcomes of a workspace in one call, and counts what became of them.
pub(crate) async fn report(
    service: &Service,
    workspace: &str,
    outcomes: Vec<pb::Outcome>,
    stats: &mut Stats,
) -> anyhow::Result<()> {
    let reported: Vec<_> = outcomes.iter().map(|outcome| (outcome.kind(), outcome.reason())).collect();
    let request = pb::ReportOutcomesRequest { parent: workspace.to_owned(), outcomes };
    let started = Instant::now();
    let answer = service
        .repeat(service.sending(), request, async |mut client, request| client.report_outcomes(request).await)
        .await;
    let answer = answer.map_err(|status| service.explain(&status))?;
    stats.report_latency.note(started.elapsed());
    ensure!(
        answer.results.len() == reported.len(),
        "the service answered {} of {} outcomes",
        answer.results.len(),
        reported.len()
    );
    for ((kind, reason), result) in reported.into_iter().zip(answer.results) {
        match result.verdict() {
            pb::OutcomeVerdict::Applied => {
                if matches!(kind, pb::OutcomeKind::Failed | pb::OutcomeKind::Bounced) {
                    let reason = reason.as_str_name().trim_start_matches("FAILURE_REASON_");
                    *stats.lost.entry(reason).or_default() += 1;
                }
                let kind = kind.as_str_name().trim_start_matches("OUTCOME_KIND_");
                *stats.applied.entry(kind).or_default() += 1;
            }
            pb::OutcomeVerdict::Duplicate => stats.duplicates += 1,
            pb::OutcomeVerdict::Rejected | pb::OutcomeVerdict::Unspecified => {
                tracing::debug!(reason = result.reason, message = result.message, "an outcome was rejected");
                *stats.rejected.entry(result.reason).or_default() += 1;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::Parser as _;

    use super::*;
    use crate::args::Options;

    fn message(late: Option<f64>, repeat: Repeat) -> Play {
        Play {
            result: pb::OutcomeKind::Delivered,
            reason: pb::FailureReason::Unspecified,
            answers: vec![pb::OutcomeKind::Replied],
            late,
            repeat,
        }
    }

    fn kinds(outcomes: Option<Vec<pb::Outcome>>) -> Vec<pb::OutcomeKind> {
        outcomes.unwrap_or_default().iter().map(pb::Outcome::kind).collect()
    }

    #[test]
    fn replies_come_with_their_delivery_and_late_ones_wait() {
        use pb::OutcomeKind::{Delivered, Replied};
        let behavior = Options::parse_from(["s", "--late-seconds", "10"]).behavior;
        let (claim, now) = (pb::Claim::default(), Instant::now());
        let mut reports = Reports::default();
        reports.push(&behavior, &claim, &message(Some(0.5), Repeat::Later), now);
        assert_eq!(reports.take(&behavior, now), None);
        assert_eq!(reports.next_due(), Some(now + Duration::from_secs(5)));
        reports.push(&behavior, &claim, &message(None, Repeat::AtOnce), now);
        assert_eq!(kinds(reports.take(&behavior, now)), [Delivered, Replied, Delivered, Replied]);
        assert_eq!(kinds(reports.take(&behavior, now + Duration::from_secs(5))), [Delivered, Replied]);
        assert_eq!(reports.take(&behavior, now + Duration::from_secs(14)), None);
        reports.hurry(now);
        assert_eq!(kinds(reports.take(&behavior, now)), [Delivered, Replied], "the repeat is not lost at the end");
    }

    #[test]
    fn the_queue_is_bounded_and_calls_are_too() {
        let behavior = Options::parse_from(["s", "--late-seconds", "1000"]).behavior;
        let (claim, now) = (pb::Claim::default(), Instant::now());
        let mut reports = Reports::default();
        for _ in 0..WAITING_MAX + 5000 {
            reports.push(&behavior, &claim, &message(Some(1.0), Repeat::Never), now);
        }
        let mut taken = 0;
        while let Some(outcomes) = reports.take(&behavior, now) {
            assert!(outcomes.len() < 5000);
            taken += outcomes.len();
        }
        assert_eq!((taken, reports.waiting.len()), (10_000, WAITING_MAX));
    }
}
