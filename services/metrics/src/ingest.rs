//! Gathers the reports of all callers into few large transactions. One commit for each outcome would be a tenth as
//! fast.
//!
//! No report waits for a batch to fill: a writer takes what arrived while it was busy. The queue is bounded, and
//! shared by workspace and caller (`room.rs`). When a batch fails, its reports are run one by one, so that only the
//! failing report is affected. A batch waits only briefly for a lock: the reports that it stopped at go on apart
//! (`apart.rs`), and so do all opt-outs, because their lock is held by imports.

mod apart;
mod job;
mod room;

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    net::SocketAddr,
    sync::Arc,
};

use campaign_metrics::{
    lead::Fact,
    sending::{LeadRef, Outcome, Verdict},
};
use prometheus::IntGauge;
use tokio::sync::{
    Mutex, OwnedMutexGuard,
    mpsc::{self, UnboundedReceiver, UnboundedSender},
    oneshot,
};
use tracing::Instrument as _;

pub use self::apart::ApartWriter;
use self::{
    apart::{Apart, Place},
    job::{Job, answer, batch_span, joined, parted},
    room::{Held, Reporter, Room},
};
use crate::{
    error::{Error, Result},
    store::{LockWait, Report, Store, is_blocked, lead_block},
    trace,
};

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
    apart: Apart,
    room: Room,
}

/// The receiving end of a lane.
type Queue = UnboundedReceiver<Job>;

/// Times that a batch looks for the reports that stopped it. Whatever stopped it after that is taken apart as well.
const SORTED_MAX: usize = 2;

/// Parts of a report: one for each lane, and the opt-outs.
const PARTS: usize = LANES + 1;
/// The part of the opt-outs.
const OPT_OUTS: u8 = 2;

/// The pending verdicts of a submitted report.
pub struct Verdicts {
    /// The part of each outcome: its lane, or [`OPT_OUTS`]. Of a byte, because answers that nobody reads hold it.
    part_of: Vec<u8>,
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
        Ok(self.part_of.into_iter().filter_map(|part| parts[usize::from(part)].next()).collect())
    }
}

fn shutting_down() -> Error {
    Error::Stopping
}

impl Ingest {
    /// Creates the queue and its writers. The caller must run each writer. They end when every clone of the queue is
    /// dropped, the one of what goes apart after the others.
    pub fn new(store: &Store, waiting: IntGauge) -> (Self, [Writer; LANES], ApartWriter) {
        let (first, second) = (mpsc::unbounded_channel(), mpsc::unbounded_channel());
        let lanes = [first.0, second.0];
        let queues = [first.1, second.1].map(|queue| Arc::new(Mutex::new(queue)));
        let (apart, apart_writer) = Apart::new(store);
        let writers = [[0, 1], [1, 0]].map(|lanes| Writer {
            store: store.clone(),
            queues: lanes.map(|lane: usize| queues[lane].clone()),
            apart: apart.clone(),
        });
        (Self { lanes, apart, room: Room::new(waiting) }, writers, apart_writer)
    }

    /// Submits a report, or refuses it if its reporter's share of the queue is full.
    pub fn submit(&self, report: Report, caller: Option<SocketAddr>) -> Result<Verdicts> {
        let room = self.room.try_take(&reporter(&report, caller), report.outcomes.len());
        let room = room.ok_or(Error::Exhausted("too many outcomes wait for the database; nothing was taken"))?;
        self.enqueue(report, room)
    }

    /// Submits a report as soon as its reporter's share of the queue has room for it.
    pub async fn submit_when_room(&self, report: Report, caller: Option<SocketAddr>) -> Result<Verdicts> {
        let room = self.room.take(&reporter(&report, caller), report.outcomes.len()).await;
        self.enqueue(report, room.ok_or_else(shutting_down)?)
    }

    fn enqueue(&self, report: Report, mut room: Held) -> Result<Verdicts> {
        let waiting = self.room.used();
        let is_spread = waiting > SPREAD_MIN || report.outcomes.len() == 1;
        let part = |outcome: &Outcome| -> u8 {
            match outcome.fact {
                Fact::OptedOut => OPT_OUTS,
                _ if is_spread => lane(&outcome.lead),
                _ => 0,
            }
        };
        let part_of: Vec<u8> = report.outcomes.iter().map(part).collect();
        let mut shares: [Vec<Outcome>; PARTS] = Default::default();
        for (outcome, part) in report.outcomes.into_iter().zip(&part_of) {
            shares[usize::from(*part)].push(outcome);
        }
        let mut parts = Vec::with_capacity(PARTS);
        for (part, outcomes) in shares.into_iter().enumerate() {
            if outcomes.is_empty() {
                parts.push(None);
                continue;
            }
            let room = room.split(outcomes.len());
            let (sender, receiver) = oneshot::channel();
            let workspace = report.workspace.clone();
            let span = trace::outcomes(outcomes.len());
            let job = Job { report: Report { workspace, outcomes }, verdicts: sender, room, span };
            match self.lanes.get(part) {
                Some(lane) => lane.send(job).map_err(|_| shutting_down())?,
                None => self.apart.take(Place::OptOuts(report.workspace.clone()), job),
            }
            parts.push(Some(receiver));
        }
        Ok(Verdicts { part_of, parts })
    }
}

/// Returns the lane of an outcome: the same for all leads whose claims share a row, as far as the outcome tells. Two
/// writers that close claims of one row would wait for each other until the commit.
fn lane(lead: &LeadRef) -> u8 {
    let number = match lead {
        // Wrapping, because the numbers of a forged key are arbitrary.
        LeadRef::Key(key) => key.campaign_number.wrapping_add(lead_block(key.lead_number)).unsigned_abs().into(),
        LeadRef::Name(name) => {
            let mut hasher = DefaultHasher::new();
            name.hash(&mut hasher);
            hasher.finish()
        }
    };
    u8::try_from(number % LANES as u64).unwrap_or(0)
}

fn reporter(report: &Report, caller: Option<SocketAddr>) -> Reporter {
    Reporter { workspace: report.workspace.clone(), caller }
}

/// Writes reports, batch by batch.
pub struct Writer {
    store: Store,
    /// Its own lane, then the other one.
    queues: [Arc<Mutex<Queue>>; LANES],
    apart: Apart,
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
            self.write(self.apart.divert(batch), queue).await;
        }
    }

    /// Writes a batch.
    ///
    /// It holds the queue until only the commit is left. For a large batch it also holds the queue during the commit:
    /// the next batch might conflict with outcomes that it can't see yet, and running a large batch again is expensive.
    async fn write(&self, batch: Vec<Job>, queue: OwnedMutexGuard<Queue>) {
        if batch.is_empty() {
            return;
        }
        let size: usize = batch.iter().map(|job| job.report.outcomes.len()).sum();
        let (until_commit, _until_end) = if size < SPREAD_MIN { (Some(queue), None) } else { (None, Some(queue)) };
        let blocked = self.try_write(batch, until_commit).await;
        if !blocked.is_empty() {
            self.write_others(blocked).await;
        }
    }

    /// Writes a batch, or its jobs one by one if that fails for a reason that one of them may have. Returns the batch if a lock
    /// stopped it.
    async fn try_write(&self, batch: Vec<Job>, until_commit: impl Send) -> Vec<Job> {
        let span = batch_span(&batch);
        let (reports, callers) = parted(batch);
        match self.store.outcomes_report(&reports, LockWait::Short, until_commit).instrument(span).await {
            Err(error) if is_blocked(&error) => return joined(reports, callers),
            Err(Error::Internal(_) | Error::Contended(_)) if reports.len() > 1 => {
                for job in joined(reports, callers) {
                    self.write_alone(job).await;
                }
            }
            verdicts => answer(callers, verdicts),
        }
        Vec::new()
    }

    /// Writes a batch that a lock stopped: takes apart the reports whose rows are locked, and writes the others.
    async fn write_others(&self, mut batch: Vec<Job>) {
        for _ in 0..SORTED_MAX {
            let (reports, callers) = parted(batch);
            // If the look itself fails, no report can be told from the others.
            let blocked = self.store.outcomes_blocked(&reports).await.unwrap_or_default();
            let mut blocked = blocked.into_iter();
            let mut others = Vec::new();
            for job in joined(reports, callers) {
                match blocked.next().flatten() {
                    Some(index) => self.take_apart(job, index),
                    None => others.push(job),
                }
            }
            if others.is_empty() {
                return;
            }
            batch = self.try_write(others, ()).await;
            if batch.is_empty() {
                return;
            }
        }
        for job in batch {
            self.take_apart(job, 0);
        }
    }

    async fn write_alone(&self, job: Job) {
        let span = job.span.clone();
        let (reports, callers) = parted(vec![job]);
        match self.store.outcomes_report(&reports, LockWait::Short, ()).instrument(span).await {
            Err(error) if is_blocked(&error) => {
                for job in joined(reports, callers) {
                    self.take_apart(job, 0);
                }
            }
            verdicts => answer(callers, verdicts),
        }
    }

    /// Sends a job to the place of one of its outcomes.
    fn take_apart(&self, job: Job, index: usize) {
        if let Some(outcome) = job.report.outcomes.get(index) {
            self.apart.take(Place::of(&job.report.workspace, outcome), job);
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
