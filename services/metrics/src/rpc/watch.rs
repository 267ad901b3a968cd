//! Handler of WatchCampaigns: it sends all campaigns, then those that changed.
//!
//! The stream keeps the last message of each campaign, and compares it with the current state at most once in each
//! interval. It queues nothing: a slow reader delays the next comparison, and then gets the latest state. [`super::look`] reads
//! for all streams.

use std::{collections::HashMap, sync::Arc, time::Duration};

use campaign_metrics::{
    name::{WorkspaceId, WorkspaceName},
    pb,
};
use tokio::{sync::OwnedSemaphorePermit, time::Instant};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::{
    Messages,
    look::{Campaigns, Look, Looks, Open},
};
use crate::telemetry::InFlight;

struct Watch {
    looks: Open,
    /// How the names of its campaigns begin.
    prefix: String,
    interval: Duration,
    shutdown: CancellationToken,
    /// Counts the stream as open, and takes its room.
    _open: (InFlight, OwnedSemaphorePermit),
    sent: HashMap<String, Arc<pb::Campaign>>,
    synced: bool,
    /// The moment of the last look.
    last: Option<Instant>,
}

/// Watches the campaigns of one workspace or of all workspaces, until `shutdown` or until the reader disconnects.
pub fn watch(
    looks: &Looks,
    workspace: Option<WorkspaceId>,
    interval: Duration,
    shutdown: CancellationToken,
    open: (InFlight, OwnedSemaphorePermit),
) -> Messages<pb::WatchCampaignsResponse> {
    let prefix = workspace.clone().map(|workspace| format!("{}/", WorkspaceName(workspace))).unwrap_or_default();
    let looks = looks.open(workspace);
    let watch =
        Watch { looks, prefix, interval, shutdown, _open: open, sent: HashMap::new(), synced: false, last: None };
    Box::pin(futures::TryStreamExt::try_flatten(futures::stream::try_unfold(watch, |mut watch| async move {
        let Some(look) = watch.look().await else { return Ok(None) };
        let changes = watch.changes(&*look.campaigns?);
        let changes = changes.into_iter().map(|change| Ok(change.message()));
        Ok::<_, Status>(Some((futures::stream::iter(changes), watch)))
    })))
}

/// What a message says. It is made when it is sent: what waits for a slow reader takes no room of its own.
enum Change {
    Campaign(Arc<pb::Campaign>),
    Deleted(String),
    Synced,
}

impl Change {
    fn message(self) -> pb::WatchCampaignsResponse {
        use pb::watch_campaigns_response::Change;
        let change = match self {
            Self::Campaign(campaign) => Change::Campaign(Arc::unwrap_or_clone(campaign)),
            Self::Deleted(name) => Change::Deleted(name),
            Self::Synced => Change::Synced(()),
        };
        pb::WatchCampaignsResponse { change: Some(change) }
    }
}

impl Watch {
    /// Waits for the next look; `None` if there are no more.
    async fn look(&mut self) -> Option<Look> {
        if let Some(last) = self.last {
            self.looks.wait(last, self.interval);
        }
        let look = tokio::select! {
            look = self.looks.next() => look?,
            () = self.shutdown.cancelled() => return None,
        };
        self.last = Some(look.at);
        Some(look)
    }

    /// Compares what was sent with what there is.
    fn changes(&mut self, found: &Campaigns) -> Vec<Change> {
        let mut changes = Vec::new();
        let of_stream = |name: &String| name.starts_with(&self.prefix);
        for (name, campaign) in found.iter().filter(|(name, _)| of_stream(name)) {
            // A campaign that did not change is the same one in every look.
            let is_sent = |sent: &Arc<pb::Campaign>| Arc::ptr_eq(sent, campaign) || sent == campaign;
            if !self.sent.get(name).is_some_and(is_sent) {
                self.sent.insert(name.clone(), campaign.clone());
                changes.push(Change::Campaign(campaign.clone()));
            }
        }
        let gone: Vec<String> = self.sent.keys().filter(|name| !found.contains_key(*name)).cloned().collect();
        for name in gone {
            self.sent.remove(&name);
            changes.push(Change::Deleted(name));
        }
        if !self.synced {
            self.synced = true;
            changes.push(Change::Synced);
        }
        changes
    }
}
