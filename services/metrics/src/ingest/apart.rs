//! Executes reports that must not share a batch, because they may have to wait for a lock that somebody holds for long.
//!
//! Each such place (a campaign whose rows are locked, the opt-outs of a workspace) has a queue of its own. One
//! transaction of a place runs at a time, and few places run at a time, so that they leave connections for others. While
//! a place has reports here, the lanes send all of its reports here: a lane waits for a locked campaign once, not with
//! every batch.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use campaign_metrics::{
    lead::Fact,
    name::{CampaignName, WorkspaceId},
    sending::{LeadRef, Outcome},
};
use futures::{StreamExt as _, stream::FuturesUnordered};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tracing::Instrument as _;

use super::job::{Job, answer, batch_span, parted};
use crate::{
    error::Error,
    store::{LockWait, Store},
};

/// Places of which a transaction runs at a time.
const PLACES: usize = 2;
/// Outcomes after which a transaction gets no more reports, like a batch of a lane.
const BATCH: usize = 2_000;

/// What a report may have to wait for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Place {
    /// A campaign that outcomes name by the number in their send keys.
    Numbered(i32),
    /// A campaign that outcomes name by its name.
    Named(CampaignName),
    /// The opt-out list of a workspace.
    OptOuts(WorkspaceId),
}

impl Place {
    /// The place of an outcome of this workspace.
    pub(super) fn of(workspace: &WorkspaceId, outcome: &Outcome) -> Self {
        match &outcome.lead {
            _ if outcome.fact == Fact::OptedOut => Self::OptOuts(workspace.clone()),
            LeadRef::Key(key) => Self::Numbered(key.campaign_number),
            LeadRef::Name(name) => Self::Named(name.campaign.clone()),
        }
    }
}

/// The sending end. Its clones share the queues.
#[derive(Clone)]
pub(super) struct Apart {
    // Unbounded: `room` limits how many outcomes wait.
    jobs: UnboundedSender<(Place, Job)>,
    /// Places that have reports here.
    places: Arc<Mutex<HashSet<Place>>>,
}

impl Apart {
    /// Creates the queues, and the writer that the caller must run. It ends when every clone was dropped.
    pub(super) fn new(store: &Store) -> (Self, ApartWriter) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let places = Arc::<Mutex<HashSet<Place>>>::default();
        let apart = Self { jobs: sender, places: places.clone() };
        (apart, ApartWriter { store: store.clone(), jobs: receiver, places, queues: HashMap::new() })
    }

    /// Takes a job. Its caller gets an error if the writer has ended.
    pub(super) fn take(&self, place: Place, job: Job) {
        self.places.lock().unwrap_or_else(PoisonError::into_inner).insert(place.clone());
        let _ = self.jobs.send((place, job));
    }

    /// Takes the jobs whose places have reports here. Returns the others.
    pub(super) fn divert(&self, batch: Vec<Job>) -> Vec<Job> {
        let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if places.is_empty() {
            return batch;
        }
        let mut others = Vec::with_capacity(batch.len());
        for job in batch {
            let mut of_job = job.report.outcomes.iter().map(|outcome| Place::of(&job.report.workspace, outcome));
            match of_job.find(|place| places.contains(place)) {
                Some(place) => drop(self.jobs.send((place, job))),
                None => others.push(job),
            }
        }
        others
    }
}

/// Executes what was sent apart.
pub struct ApartWriter {
    store: Store,
    jobs: UnboundedReceiver<(Place, Job)>,
    places: Arc<Mutex<HashSet<Place>>>,
    queues: HashMap<Place, VecDeque<Job>>,
}

impl ApartWriter {
    /// Writes until the sending end is dropped and nothing is left.
    pub async fn run(mut self) {
        let store = self.store.clone();
        // Places that wait for their turn, and the transactions that run.
        let mut waiting: VecDeque<Place> = VecDeque::new();
        let mut running = FuturesUnordered::new();
        loop {
            while running.len() < PLACES
                && let Some(place) = waiting.pop_front()
            {
                let batch = self.next_batch(&place);
                running.push(async {
                    write(&store, batch).await;
                    place
                });
            }
            tokio::select! {
                Some((place, job)) = self.jobs.recv() => {
                    if let Some(queue) = self.queues.get_mut(&place) {
                        queue.push_back(job);
                    } else {
                        self.queues.insert(place.clone(), VecDeque::from([job]));
                        waiting.push_back(place);
                    }
                }
                Some(place) = running.next() => {
                    if self.has_more(&place) {
                        waiting.push_back(place);
                    }
                }
                else => return,
            }
        }
    }

    /// Takes jobs of a place, without those whose callers have disconnected.
    fn next_batch(&mut self, place: &Place) -> Vec<Job> {
        let mut batch = Vec::new();
        let mut size = 0;
        let Some(queue) = self.queues.get_mut(place) else { return batch };
        while size < BATCH
            && let Some(job) = queue.pop_front()
        {
            if !job.verdicts.is_closed() {
                size += job.report.outcomes.len();
                batch.push(job);
            }
        }
        batch
    }

    /// Whether a place has more jobs. Forgets it otherwise: the lanes may try it again.
    fn has_more(&mut self, place: &Place) -> bool {
        // Under the lock, so that no lane sends a job to a place that was just forgotten here and is not there.
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let is_empty = self.queues.get(place).is_none_or(VecDeque::is_empty);
        if is_empty {
            self.queues.remove(place);
            places.remove(place);
        }
        !is_empty
    }
}

/// Writes the jobs of a place in one transaction, or one by one if that fails for a reason that one of them may have.
async fn write(store: &Store, batch: Vec<Job>) {
    let span = batch_span(&batch);
    let (reports, callers) = parted(batch);
    match store.outcomes_report(&reports, LockWait::Long, ()).instrument(span).await {
        Err(Error::Internal(_) | Error::Contended(_)) if reports.len() > 1 => {
            for (caller, report) in callers.into_iter().zip(reports) {
                let alone = store.outcomes_report(std::slice::from_ref(&report), LockWait::Long, ());
                let alone = alone.instrument(caller.span()).await;
                caller.answer(alone.map(|verdicts| verdicts.into_iter().flatten().collect()));
            }
        }
        verdicts => answer(callers, verdicts),
    }
}
