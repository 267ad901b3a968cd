//! Gathers the reports of all callers into few large transactions. One commit for each outcome would be a tenth as
//! fast.
//!
//! No report waits for a batch to fill: a writer takes what arrived while it was busy. The queue is bounded, and flow
//! control bounds the share of each caller. When a batch fails, its reports are run one by one, so that only the
//! failing report is affected.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::Arc,
};

use campaign_metrics::sending::{LeadRef, Outcome, Verdict};
use prometheus::IntGauge;
use tokio::sync::{
    Mutex, OwnedMutexGuard, OwnedSemaphorePermit, Semaphore,
    mpsc::{self, UnboundedReceiver, UnboundedSender},
    oneshot,
};
use tracing::{Instrument as _, Span};

use crate::{
    error::{Error, Result},
    store::{Report, Store, lead_block},
    trace,
};

/// Most outcomes that may wait for the database: a few tenths of a second of work, and about 10 MB.
const WAITING_MAX: u32 = 32_768;
/// Outcomes after which a batch gets no more reports. Larger batches are hardly faster, and hold their locks longer.
const BATCH: usize = 2_000;
/// Batches that are executed at a time. Each lane has one writer. While its own lane is empty, a writer helps with the
/// other one, so that one writer executes while the other commits.
const LANES: usize = 2;
/// Waiting outcomes above which a report is split over both lanes. Below, one lane keeps up, and splitting costs more
/// than it gains, since the fixed cost of a batch equals that of fifty outcomes. A single outcome always goes to its
/// own lane.
const SPREAD_MIN: usize = 1_000;

/// The queue of reports.
#[derive(Clone)]
pub struct Ingest {
    // The channels are unbounded, since `room` bounds their content.
    lanes: [UnboundedSender<Job>; LANES],
    room: Arc<Semaphore>,
    waiting: IntGauge,
}

/// The outcomes of a report that one lane executes, and the queue capacity that they hold.
struct Job {
    report: Report,
    verdicts: oneshot::Sender<Result<Vec<Verdict>>>,
    room: Waiting,
    /// From the submission to the verdicts.
    span: Span,
}

/// The receiving end of a lane.
type Queue = UnboundedReceiver<Job>;

/// Queue capacity that waiting outcomes hold. Dropping it frees the capacity.
struct Waiting {
    _permit: Option<OwnedSemaphorePermit>,
    gauge: IntGauge,
    outcomes: i64,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.gauge.sub(self.outcomes);
    }
}

/// The pending verdicts of a submitted report.
pub struct Verdicts {
    /// The lane of each outcome.
    lanes: Vec<usize>,
    parts: Vec<Option<oneshot::Receiver<Result<Vec<Verdict>>>>>,
}

impl Verdicts {
    /// Waits for the commits.
    pub async fn wait(self) -> Result<Vec<Verdict>> {
        let mut parts = Vec::with_capacity(self.parts.len());
        for part in self.parts {
            let verdicts = match part {
                None => Vec::new(),
                // A writer ends without an answer only when the process is aborted.
                Some(part) => part.await.unwrap_or_else(|_| Err(shutting_down()))?,
            };
            parts.push(verdicts.into_iter());
        }
        Ok(self.lanes.into_iter().filter_map(|lane| parts[lane].next()).collect())
    }
}

fn shutting_down() -> Error {
    Error::Unavailable("the service is shutting down".into())
}

impl Ingest {
    /// Creates the queue and its writers. The caller must run each writer. They end when every clone of the queue is
    /// dropped.
    pub fn new(store: &Store, waiting: IntGauge) -> (Self, [Writer; LANES]) {
        let (first, second) = (mpsc::unbounded_channel(), mpsc::unbounded_channel());
        let lanes = [first.0, second.0];
        let queues = [first.1, second.1].map(|queue| Arc::new(Mutex::new(queue)));
        let writers = [[0, 1], [1, 0]]
            .map(|lanes| Writer { store: store.clone(), queues: lanes.map(|lane: usize| queues[lane].clone()) });
        (Self { lanes, room: Arc::new(Semaphore::new(WAITING_MAX as usize)), waiting }, writers)
    }

    /// Submits a report, or refuses it if the queue is full.
    pub fn submit(&self, report: Report) -> Result<Verdicts> {
        let permit = self.room.clone().try_acquire_many_owned(outcomes(&report));
        let permit =
            permit.map_err(|_| Error::Exhausted("too many outcomes wait for the database; nothing was taken"))?;
        self.enqueue(report, permit)
    }

    /// Submits a report as soon as the queue has room for it.
    pub async fn submit_when_room(&self, report: Report) -> Result<Verdicts> {
        let permit = self.room.clone().acquire_many_owned(outcomes(&report)).await;
        self.enqueue(report, permit.map_err(|error| Error::Internal(error.into()))?)
    }

    fn enqueue(&self, report: Report, mut permit: OwnedSemaphorePermit) -> Result<Verdicts> {
        let waiting = WAITING_MAX as usize - self.room.available_permits();
        let is_spread = waiting > SPREAD_MIN || report.outcomes.len() == 1;
        let lane = |outcome: &Outcome| if is_spread { lane(&outcome.lead) } else { 0 };
        let lanes: Vec<usize> = report.outcomes.iter().map(lane).collect();
        let mut shares: [Vec<Outcome>; LANES] = Default::default();
        for (outcome, lane) in report.outcomes.into_iter().zip(&lanes) {
            shares[*lane].push(outcome);
        }
        let mut parts = Vec::with_capacity(LANES);
        for (outcomes, jobs) in shares.into_iter().zip(&self.lanes) {
            if outcomes.is_empty() {
                parts.push(None);
                continue;
            }
            let count = i64::try_from(outcomes.len()).unwrap_or(i64::MAX);
            self.waiting.add(count);
            let room = Waiting { _permit: permit.split(outcomes.len()), gauge: self.waiting.clone(), outcomes: count };
            let (sender, receiver) = oneshot::channel();
            let report = Report { workspace: report.workspace.clone(), outcomes };
            let span = trace::outcomes(count);
            jobs.send(Job { report, verdicts: sender, room, span }).map_err(|_| shutting_down())?;
            parts.push(Some(receiver));
        }
        Ok(Verdicts { lanes, parts })
    }
}

/// Returns the lane of an outcome: the same for all leads whose claims share a row, as far as the outcome tells. Two
/// writers that close claims of one row would wait for each other until the commit.
fn lane(lead: &LeadRef) -> usize {
    let number = match lead {
        LeadRef::Key(key) => (key.campaign_number + lead_block(key.lead_number)).unsigned_abs().into(),
        LeadRef::Name(name) => {
            let mut hasher = DefaultHasher::new();
            name.hash(&mut hasher);
            hasher.finish()
        }
    };
    usize::try_from(number % LANES as u64).unwrap_or(0)
}

fn outcomes(report: &Report) -> u32 {
    u32::try_from(report.outcomes.len()).unwrap_or(u32::MAX)
}

/// Writes reports, batch by batch.
pub struct Writer {
    store: Store,
    /// Its own lane, then the other one.
    queues: [Arc<Mutex<Queue>>; LANES],
}

impl Writer {
    /// Writes until every clone of the queue is dropped and the queue is empty.
    pub async fn run(self) {
        let [own, other] = &self.queues;
        loop {
            let (batch, queue) = tokio::select! {
                biased;
                Some(next) = next_batch(own) => next,
                Some(next) = next_batch(other) => next,
                else => return,
            };
            self.write(batch, queue).await;
        }
    }

    /// Writes a batch.
    ///
    /// It holds the queue until only the commit is left. For a large batch it also holds the queue during the commit:
    /// the next batch might conflict with outcomes that it can't see yet, and running a large batch again is expensive.
    async fn write(&self, batch: Vec<Job>, queue: OwnedMutexGuard<Queue>) {
        let size: usize = batch.iter().map(|job| job.report.outcomes.len()).sum();
        let (until_commit, _until_end) = if size < SPREAD_MIN { (Some(queue), None) } else { (None, Some(queue)) };
        let span = trace::batch(&batch.iter().map(|job| &job.span).collect::<Vec<_>>(), size);
        let (reports, callers): (Vec<Report>, Vec<_>) =
            batch.into_iter().map(|job| (job.report, (job.verdicts, (job.room, job.span)))).unzip();
        match self.store.outcomes_report(&reports, until_commit).instrument(span).await {
            Ok(verdicts) => {
                for ((caller, _), verdicts) in callers.into_iter().zip(verdicts) {
                    // The caller may have disconnected. If it retries, its outcomes are duplicates.
                    let _ = caller.send(Ok(verdicts));
                }
            }
            Err(Error::Internal(_) | Error::Contended(_)) if reports.len() > 1 => {
                for ((caller, (_, span)), report) in callers.into_iter().zip(reports) {
                    let alone = self.store.outcomes_report(std::slice::from_ref(&report), ());
                    let alone = alone.instrument(span.clone()).await;
                    let _ = caller.send(alone.map(|verdicts| verdicts.into_iter().flatten().collect()));
                }
            }
            Err(error) => {
                for (caller, _) in callers {
                    let _ = caller.send(Err(shared(&error)));
                }
            }
        }
    }
}

/// Waits for the lock of a queue and for a report, and returns it with those that follow; `None` when the queue is
/// closed. It is cancel-safe.
async fn next_batch(queue: &Arc<Mutex<Queue>>) -> Option<(Vec<Job>, OwnedMutexGuard<Queue>)> {
    let mut queue = queue.clone().lock_owned().await;
    let mut batch = Vec::new();
    let mut size = 0;
    while size < BATCH {
        let job = match queue.try_recv() {
            Ok(job) => job,
            Err(_) if batch.is_empty() => queue.recv().await?,
            Err(_) => break,
        };
        // Skip callers that have disconnected; they will retry.
        if !job.verdicts.is_closed() {
            size += job.report.outcomes.len();
            batch.push(job);
        }
    }
    Some((batch, queue))
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
