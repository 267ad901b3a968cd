//! One look at the database for all streams of WatchCampaigns of this process.
//!
//! A stream says when it wants a look, and compares the look with what it sent. The looker reads when the first of them wants it,
//! and keeps the last look alone. So it takes one read however many watch, and a slow stream holds up nobody: it finds the latest
//! look when it comes back. Streams of equal interval want their looks at the same moments.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use campaign_metrics::{name::WorkspaceId, pb};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep_until},
};
use tonic::Status;

use crate::{error::Result, store::Store};

/// Campaigns of one read.
const PAGE: i64 = 1000;
/// Shortest time from the beginning of one look to that of the next, however many streams open: the least interval of a stream.
const PAUSE: Duration = Duration::from_millis(100);
/// How late a look may begin that counts as one of its moment.
const LATE_MAX: Duration = Duration::from_millis(50);

/// Campaigns by name.
pub(super) type Campaigns = BTreeMap<String, Arc<pb::Campaign>>;

/// What one look found.
#[derive(Clone)]
pub(super) struct Look {
    /// The moment for which it was made. It began then or later.
    pub(super) at: Instant,
    /// The campaigns of all workspaces that were watched when it began.
    pub(super) campaigns: Result<Arc<Campaigns>, Status>,
}

/// A watcher as the looker knows it.
struct Watcher {
    /// `None` for all workspaces.
    workspace: Option<WorkspaceId>,
    /// When it wants a look; `None` while it sends.
    due: Option<Instant>,
}

#[derive(Default)]
struct Watchers {
    next: u64,
    open: HashMap<u64, Watcher>,
}

/// Where streams say what they want. Its clones share it.
#[derive(Clone)]
pub(super) struct Looks {
    watchers: Arc<Mutex<Watchers>>,
    changed: Arc<Notify>,
    latest: watch::Receiver<Look>,
    epoch: Instant,
}

impl Looks {
    /// Creates the looker, which the caller must run, and where streams ask it.
    pub(super) fn new(store: Store) -> (Self, Looker) {
        let epoch = Instant::now();
        let (sender, latest) = watch::channel(Look { at: epoch, campaigns: Ok(Arc::default()) });
        let looks = Self { watchers: Arc::default(), changed: Arc::default(), latest, epoch };
        (looks.clone(), Looker { store, looks, sender })
    }

    /// Begins to watch the campaigns of one workspace, or of all.
    pub(super) fn open(&self, workspace: Option<WorkspaceId>) -> Open {
        let now = Instant::now();
        let mut watchers = self.lock();
        let id = watchers.next;
        watchers.next += 1;
        watchers.open.insert(id, Watcher { workspace, due: Some(now) });
        drop(watchers);
        self.changed.notify_one();
        Open { looks: self.clone(), id, due: now }
    }

    fn lock(&self) -> MutexGuard<'_, Watchers> {
        self.watchers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first moment from `from` on that is a multiple of `interval` after the start of this process.
    fn moment(&self, from: Instant, interval: Duration) -> Instant {
        let intervals = (from - self.epoch).as_nanos().div_ceil(interval.as_nanos());
        self.epoch + u32::try_from(intervals).map_or(from - self.epoch, |intervals| interval * intervals)
    }
}

/// A stream that watches, until it is dropped.
pub(super) struct Open {
    looks: Looks,
    id: u64,
    due: Instant,
}

impl Open {
    /// Waits for a look that was made for the stream's moment or later; `None` if there are no more looks.
    pub(super) async fn next(&mut self) -> Option<Look> {
        let due = self.due;
        let look = self.looks.latest.wait_for(|look| look.at >= due).await.ok()?.clone();
        self.want(None);
        Some(look)
    }

    /// Wants a look `interval` after the last one, `last`.
    pub(super) fn wait(&mut self, last: Instant, interval: Duration) {
        self.due = self.looks.moment((last + interval).max(Instant::now()), interval);
        self.want(Some(self.due));
    }

    fn want(&self, due: Option<Instant>) {
        if let Some(watcher) = self.looks.lock().open.get_mut(&self.id) {
            watcher.due = due;
        }
        self.looks.changed.notify_one();
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.looks.lock().open.remove(&self.id);
        self.looks.changed.notify_one();
    }
}

/// Reads what the streams want.
pub struct Looker {
    store: Store,
    looks: Looks,
    sender: watch::Sender<Look>,
}

impl Looker {
    /// Looks whenever a stream wants it. Ends only by being dropped.
    pub async fn run(self) -> ! {
        let mut known = Arc::<Campaigns>::default();
        let mut next = Instant::now();
        loop {
            let due = self.looks.lock().open.values().filter_map(|watcher| watcher.due).min();
            let Some(due) = due else {
                if self.looks.lock().open.is_empty() {
                    // Nobody needs the campaigns any more.
                    known = Arc::default();
                    self.sender.send_modify(|look| look.campaigns = Ok(Arc::default()));
                }
                self.looks.changed.notified().await;
                continue;
            };
            tokio::select! {
                () = sleep_until(due.max(next)) => {}
                // Another stream may want it earlier.
                () = self.looks.changed.notified() => continue,
            }
            let now = Instant::now();
            next = now + PAUSE;
            // A late look is one of its own moment, so that the next ones are not late, too.
            let at = if now - due < LATE_MAX { due } else { now };
            let campaigns = self.look(&known).await.map(Arc::new).map_err(Status::from);
            if let Ok(campaigns) = &campaigns {
                known.clone_from(campaigns);
            }
            self.sender.send_replace(Look { at, campaigns });
        }
    }

    /// Reads all campaigns that are watched. What did not change is what `known` has, so that nothing is stored twice.
    async fn look(&self, known: &Campaigns) -> Result<Campaigns> {
        let mut workspaces: Vec<Option<WorkspaceId>> =
            self.looks.lock().open.values().map(|watcher| watcher.workspace.clone()).collect();
        if workspaces.contains(&None) {
            workspaces = vec![None];
        }
        workspaces.sort_unstable_by(|one, other| {
            one.as_ref().map(WorkspaceId::as_str).cmp(&other.as_ref().map(WorkspaceId::as_str))
        });
        workspaces.dedup();
        let mut found = Campaigns::new();
        for workspace in workspaces {
            let mut last = None;
            loop {
                let after = last.as_ref().map(|name: &campaign_metrics::name::CampaignName| {
                    (name.workspace.as_str(), name.campaign.as_str())
                });
                let page = self.store.campaign_list(workspace.as_ref(), None, None, after, PAGE).await?;
                let is_last = i64::try_from(page.len()).is_ok_and(|count| count < PAGE);
                last = page.last().map(|campaign| campaign.name.clone());
                for campaign in page {
                    let campaign = pb::Campaign::from(campaign);
                    let same = known.get(&campaign.name).filter(|same| ***same == campaign).cloned();
                    found.insert(campaign.name.clone(), same.unwrap_or_else(|| Arc::new(campaign)));
                }
                if is_last {
                    break;
                }
            }
        }
        Ok(found)
    }
}
