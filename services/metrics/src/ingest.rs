//! Gathers the reports of all callers into few large transactions: one outcome a commit would be a tenth as fast.
//!
//! Nobody waits for a batch to fill: a writer takes what came while it was busy. What waits is bounded, and so is each
//! caller's share by its own flow control. A report that breaks its batch is run alone, so that it harms only itself.

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

use crate::{
    error::{Error, Result},
    store::{Report, Store},
};

/// Outcomes that may wait for the database: a few tenths of a second of work, and some 10 MB.
const WAITING_MAX: u32 = 32_768;
/// Outcomes after which a batch is not added to. Larger ones are hardly faster, and hold their locks longer.
const BATCH: usize = 2_000;
/// Batches that are executed at a time. Each lane has a writer, which helps in the other one while its own is empty: then one
/// executes while the other commits.
const LANES: usize = 2;
/// Outcomes that may wait before both lanes get their share of a report: below, one keeps up, and a batch costs as much as
/// fifty outcomes before it begins. Single outcomes can't be split, so they always go to their lane.
const SPREAD_MIN: usize = 1_000;

/// Where reports are handed in.
#[derive(Clone)]
pub struct Ingest {
    // Unbounded, since `room` bounds them.
    lanes: [UnboundedSender<Job>; LANES],
    room: Arc<Semaphore>,
    waiting: IntGauge,
}

/// What a lane has to do for a report, with its room.
struct Job {
    report: Report,
    verdicts: oneshot::Sender<Result<Vec<Verdict>>>,
    room: Waiting,
}

/// The jobs of a lane.
type Queue = UnboundedReceiver<Job>;

/// Room of waiting outcomes, given back when dropped.
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

/// The verdicts of a report that was handed in.
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
                // A writer ends without an answer only when the process is cut off.
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
    /// Makes the queue, and its writers, each to be run to its end; they end once every clone of the queue is gone.
    pub fn new(store: &Store, waiting: IntGauge) -> (Self, [Writer; LANES]) {
        let (first, second) = (mpsc::unbounded_channel(), mpsc::unbounded_channel());
        let lanes = [first.0, second.0];
        let queues = [first.1, second.1].map(|queue| Arc::new(Mutex::new(queue)));
        let writers = [[0, 1], [1, 0]]
            .map(|lanes| Writer { store: store.clone(), queues: lanes.map(|lane: usize| queues[lane].clone()) });
        (Self { lanes, room: Arc::new(Semaphore::new(WAITING_MAX as usize)), waiting }, writers)
    }

    /// Hands in a report at once, or refuses it for lack of room.
    pub fn submit(&self, report: Report) -> Result<Verdicts> {
        let permit = self.room.clone().try_acquire_many_owned(outcomes(&report));
        let permit =
            permit.map_err(|_| Error::Exhausted("too many outcomes wait for the database; nothing was taken"))?;
        self.enqueue(report, permit)
    }

    /// Hands in a report once there is room.
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
            jobs.send(Job { report, verdicts: sender, room }).map_err(|_| shutting_down())?;
            parts.push(Some(receiver));
        }
        Ok(Verdicts { lanes, parts })
    }
}

/// The lane of an outcome: one for all leads whose claims share a row, as far as the outcome tells. Two writers that close
/// claims of one row wait for each other until the commit.
fn lane(lead: &LeadRef) -> usize {
    let number = match lead {
        LeadRef::Key(key) => (key.campaign_number + (key.lead_number >> 6)).unsigned_abs().into(),
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
    /// Of its own lane, and of the other one.
    queues: [Arc<Mutex<Queue>>; LANES],
}

impl Writer {
    /// Writes until nobody can hand in any more, and all is written.
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

    /// Writes a batch; holds the queue until only the commit is left, for a large one until that is done, too: what follows
    /// might correct outcomes that it could not see yet, and a large batch is dear to run again.
    async fn write(&self, batch: Vec<Job>, queue: OwnedMutexGuard<Queue>) {
        let size: usize = batch.iter().map(|job| job.report.outcomes.len()).sum();
        let (until_commit, _until_end) = if size < SPREAD_MIN { (Some(queue), None) } else { (None, Some(queue)) };
        let (reports, callers): (Vec<Report>, Vec<_>) =
            batch.into_iter().map(|job| (job.report, (job.verdicts, job.room))).unzip();
        match self.store.outcomes_report(&reports, until_commit).await {
            Ok(verdicts) => {
                for ((caller, _), verdicts) in callers.into_iter().zip(verdicts) {
                    // It may have given up meanwhile; its outcomes are duplicates when it repeats them.
                    let _ = caller.send(Ok(verdicts));
                }
            }
            Err(Error::Internal(_) | Error::Contended(_)) if reports.len() > 1 => {
                for ((caller, _), report) in callers.into_iter().zip(reports) {
                    let alone = self.store.outcomes_report(std::slice::from_ref(&report), ()).await;
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

/// Waits for a turn at the queue and for a report in it, and takes those behind it; none when there can't be any more. Nothing
/// is lost when it is dropped while it waits.
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
        // Whoever gave up is not waited for, and repeats what it wants done.
        if !job.verdicts.is_closed() {
            size += job.report.outcomes.len();
            batch.push(job);
        }
    }
    Some((batch, queue))
}

/// The error of a batch, for one of its callers.
fn shared(error: &Error) -> Error {
    match error {
        Error::Exhausted(problem) => Error::Exhausted(problem),
        Error::DeadlineExceeded => Error::DeadlineExceeded,
        Error::Unavailable(source) => Error::Unavailable(source.to_string().into()),
        Error::Contended(source) => Error::Contended(source.to_string().into()),
        error => Error::Internal(crate::error::chain(error).into()),
    }
}
