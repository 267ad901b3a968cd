//! Handler of WatchCampaigns: it sends all campaigns, then those that changed.
//!
//! The stream keeps the last message of each campaign, and compares it with the current state at most once in each
//! interval. It queues nothing: a slow reader delays the next comparison, and then gets the latest state.

use std::{
    collections::{HashMap, HashSet},
    pin::Pin,
    time::Duration,
};

use campaign_metrics::{campaign::Campaign, name::WorkspaceId, pb};
use futures::Stream;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::{error::Result, store::Store, telemetry::InFlight};

/// The stream of WatchCampaigns.
pub type WatchStream = Pin<Box<dyn Stream<Item = Result<pb::WatchCampaignsResponse, Status>> + Send>>;

/// Campaigns of one read.
const PAGE: i64 = 1000;

struct Watch {
    store: Store,
    workspace: Option<WorkspaceId>,
    interval: Duration,
    shutdown: CancellationToken,
    /// Counts the stream as open, and takes its room.
    _open: (InFlight, OwnedSemaphorePermit),
    sent: HashMap<String, pb::Campaign>,
    synced: bool,
}

/// Watches the campaigns of one workspace or of all workspaces, until `shutdown` or until the reader disconnects.
pub fn watch(
    store: Store,
    workspace: Option<WorkspaceId>,
    interval: Duration,
    shutdown: CancellationToken,
    open: (InFlight, OwnedSemaphorePermit),
) -> WatchStream {
    let watch = Watch { store, workspace, interval, shutdown, _open: open, sent: HashMap::new(), synced: false };
    Box::pin(futures::TryStreamExt::try_flatten(futures::stream::try_unfold(watch, |mut watch| async move {
        if watch.synced {
            tokio::select! {
                () = tokio::time::sleep(watch.interval) => {}
                () = watch.shutdown.cancelled() => return Ok(None),
            }
        }
        let changes = watch.changes().await.map_err(Status::from)?;
        Ok::<_, Status>(Some((futures::stream::iter(changes.into_iter().map(Ok)), watch)))
    })))
}

impl Watch {
    async fn changes(&mut self) -> Result<Vec<pb::WatchCampaignsResponse>> {
        use pb::watch_campaigns_response::Change;
        let mut changes = Vec::new();
        let mut present = HashSet::new();
        for campaign in self.all().await? {
            let campaign = pb::Campaign::from(campaign);
            present.insert(campaign.name.clone());
            if self.sent.get(&campaign.name) != Some(&campaign) {
                self.sent.insert(campaign.name.clone(), campaign.clone());
                changes.push(Change::Campaign(campaign));
            }
        }
        let deleted: Vec<String> = self.sent.keys().filter(|name| !present.contains(*name)).cloned().collect();
        for name in deleted {
            self.sent.remove(&name);
            changes.push(Change::Deleted(name));
        }
        if !self.synced {
            self.synced = true;
            changes.push(Change::Synced(()));
        }
        Ok(changes.into_iter().map(|change| pb::WatchCampaignsResponse { change: Some(change) }).collect())
    }

    async fn all(&self) -> Result<Vec<Campaign>> {
        let mut all: Vec<Campaign> = Vec::new();
        loop {
            let last = all.last().map(|campaign| campaign.name.clone());
            let after = last.as_ref().map(|name| (name.workspace.as_str(), name.campaign.as_str()));
            let page = self.store.campaign_list(self.workspace.as_ref(), None, None, after, PAGE).await?;
            let is_last = i64::try_from(page.len()).is_ok_and(|count| count < PAGE);
            all.extend(page);
            if is_last {
                return Ok(all);
            }
        }
    }
}
