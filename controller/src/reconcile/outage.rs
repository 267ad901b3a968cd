//! While the service is away, the status of a resource may be old. It says so within a minute: `Ready` turns Unknown, for the
//! resources that were edited last first.
//!
//! A resource that is reconciled meanwhile says it by itself. When the service is back, every resource is looked at again.

use std::{cmp::Reverse, sync::Arc, time::Duration};

use futures::StreamExt as _;
use jiff::Timestamp;
use kube::runtime::reflector::Store;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::context::Context;
use crate::{
    crd::Campaign,
    edit::edit_time,
    plan::{self, Notice, Severity},
};

/// Time that a service may be away before its resources say so: a replica that restarts is back by then. With the time in
/// which the loss of a silent connection is noticed and with [`PACE`], 10 000 resources take a minute.
const GRACE: Duration = Duration::from_secs(3);
/// Time between two looks whether the service is away.
const LOOK: Duration = Duration::from_millis(250);
/// Statuses that are written at once, each [`PACE`]: 200 in a second, which spares etcd.
const AT_ONCE: usize = 8;
const PACE: Duration = Duration::from_millis(40);
/// Deadline of one write.
const WRITE_DEADLINE: Duration = Duration::from_secs(5);

/// Tells by the resources that the service is away.
#[derive(Clone)]
pub struct Outage {
    context: Arc<Context>,
    store: Store<Campaign>,
}

impl Outage {
    /// Creates it for the resources of a cache.
    pub fn new(context: Arc<Context>, store: Store<Campaign>) -> Self {
        Self { context, store }
    }

    /// Runs until shutdown.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut told = false;
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = looks.tick() => {}
            }
            match self.context.memory.lost_for() {
                Some(lost) if lost < GRACE => {}
                Some(_) if told => {}
                Some(lost) => told = self.tell(lost, &shutdown).await,
                None => told = false,
            }
        }
    }

    /// Turns `Ready` of all resources Unknown, unless the service comes back. Returns whether it is told.
    async fn tell(&self, lost: Duration, shutdown: &CancellationToken) -> bool {
        let mut resources = self.store.state();
        if resources.is_empty() {
            return false;
        }
        // Times of edits are whole seconds. Of two in one second, an edit comes before a creation.
        resources.sort_by_cached_key(|resource| Reverse((edit_time(resource), resource.metadata.generation)));
        tracing::error!(
            resources = resources.len(),
            seconds = lost.as_secs(),
            "the campaign service can't be reached; the resources turn to Ready=Unknown"
        );
        let note = format!(
            "the campaign service can't be reached; Ready of all {} Campaign resources turns Unknown until it answers. Check that it runs, and the logs",
            resources.len()
        );
        let notice = Notice::new("ServiceUnavailable", Severity::Warning, note);
        self.context.publish(&resources[0], [notice]).await;
        let mut pace = interval(PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for part in resources.chunks(AT_ONCE) {
            pace.tick().await;
            // Whoever finds the service again waits for the writes under way before it has resources looked at.
            let _writing = self.context.memory.outage_writes.lock().await;
            if self.context.memory.lost_for().is_none() || shutdown.is_cancelled() {
                return false;
            }
            futures::stream::iter(part).for_each_concurrent(None, |resource| self.mark(resource)).await;
        }
        true
    }

    async fn mark(&self, resource: &Campaign) {
        let subject = self.context.subject(resource);
        let next = subject.previous.as_ref().and_then(|previous| plan::out_of_reach(previous, Timestamp::now()));
        let Some(next) = next else { return };
        let written = timeout(WRITE_DEADLINE, self.context.write_status(&subject, next)).await;
        if !matches!(written, Ok(Ok(_))) {
            tracing::debug!(campaign = subject.campaign_name, "could not tell that the service is away");
        }
    }
}
