//! What waits in the queues: the outcomes of a report that are executed together.

use campaign_metrics::sending::Verdict;
use tokio::sync::oneshot;
use tracing::Span;

use super::room::Held;
use crate::{
    error::{Error, Result},
    store::Report,
    trace,
};

/// Outcomes of one report that one transaction executes, and the room that they hold.
pub(super) struct Job {
    pub(super) report: Report,
    pub(super) verdicts: oneshot::Sender<Result<Vec<Verdict>>>,
    pub(super) room: Held,
    /// From the submission to the verdicts.
    pub(super) span: Span,
}

/// The caller of a job, once its report was handed to the store.
pub(super) struct Caller {
    verdicts: oneshot::Sender<Result<Vec<Verdict>>>,
    room: Held,
    span: Span,
}

impl Caller {
    /// From the submission to the verdicts.
    pub(super) fn span(&self) -> Span {
        self.span.clone()
    }

    /// Answers. The caller may have disconnected. If it retries, its outcomes are duplicates.
    pub(super) fn answer(self, verdicts: Result<Vec<Verdict>>) {
        let _ = self.verdicts.send(verdicts);
    }
}

/// The span of a transaction that writes these jobs.
pub(super) fn batch_span(batch: &[Job]) -> Span {
    let outcomes = batch.iter().map(|job| job.report.outcomes.len()).sum();
    trace::batch(&batch.iter().map(|job| &job.span).collect::<Vec<_>>(), outcomes)
}

/// Separates reports from their callers.
pub(super) fn parted(jobs: Vec<Job>) -> (Vec<Report>, Vec<Caller>) {
    jobs.into_iter().map(|job| (job.report, Caller { verdicts: job.verdicts, room: job.room, span: job.span })).unzip()
}

/// Joins reports and callers again.
pub(super) fn joined(reports: Vec<Report>, callers: Vec<Caller>) -> Vec<Job> {
    let join = |(report, caller): (Report, Caller)| {
        let Caller { verdicts, room, span } = caller;
        Job { report, verdicts, room, span }
    };
    reports.into_iter().zip(callers).map(join).collect()
}

/// Answers every caller of a batch.
pub(super) fn answer(callers: Vec<Caller>, verdicts: Result<Vec<Vec<Verdict>>>) {
    match verdicts {
        Ok(verdicts) => {
            for (caller, verdicts) in callers.into_iter().zip(verdicts) {
                caller.answer(Ok(verdicts));
            }
        }
        Err(error) => {
            for caller in callers {
                caller.answer(Err(shared(&error)));
            }
        }
    }
}

/// Returns a copy of the error of a batch for one of its callers.
fn shared(error: &Error) -> Error {
    match error {
        Error::Exhausted(problem) => Error::Exhausted(problem),
        Error::DeadlineExceeded => Error::DeadlineExceeded,
        Error::Unavailable(source) => Error::Unavailable(source.to_string().into()),
        Error::Contended(source) => Error::Contended(source.to_string().into()),
        error => Error::Internal(crate::error::chain(error).into()),
    }
}
