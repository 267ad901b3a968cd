//! Triggers reconciles: the Kubernetes watch of resources, and the stream of campaigns from the service.
//!
//! Neither stream ends before shutdown, since `kube` stops polling an ended stream without an error. Both reconnect
//! automatically, and list everything again after a gap. The cache drops `managedFields`, which are four fifths of the
//! size of a resource. Status patches of the controller itself match no predicate, so they trigger no reconcile.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use campaign_metrics::pb::{self, campaign_service_client::CampaignServiceClient, watch_campaigns_response::Change};
use futures::{Stream, TryStreamExt as _};
use jiff::Timestamp;
use kube::{
    Client, ResourceExt as _,
    runtime::{
        Predicate as _, WatchStreamExt as _, predicates,
        reflector::{ObjectRef, Store, store},
        utils::PredicateConfig,
        watcher::{self, Event, watcher},
    },
};
use tokio::{sync::mpsc, time::timeout};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use crate::{
    crd::Campaign,
    desired,
    memory::{Memory, Source},
    metrics::Metrics,
    plan,
};

/// Deadline for the service to accept the watch.
const OPEN_DEADLINE: Duration = Duration::from_secs(10);
/// Longest wait between two tries to watch the service. A try is cheap, since there is only one stream, and a success
/// wakes every resource that waits in its backoff.
const RECONNECT_MAX: Duration = Duration::from_secs(30);

/// Watches the resources. Returns their cache, and the stream of those that may need a reconcile.
pub fn resources(
    client: Client,
    namespace: Option<&str>,
    memory: Arc<Memory>,
) -> (Store<Campaign>, impl Stream<Item = watcher::Result<Campaign>> + Send + 'static) {
    let api = Campaign::api(client, namespace);
    let (store, writer) = store();
    // A filter by generation alone would drop the update that adds the finalizer, and a new resource would stall. A deletion
    // raises the generation.
    let predicate = predicates::generation.combine(predicates::finalizers).combine(predicates::annotations);
    let stream = watcher(api, watcher::Config::default())
        .default_backoff()
        .modify(|resource: &mut Campaign| resource.managed_fields_mut().clear())
        .inspect_ok(move |event| note(&memory, event))
        .reflect(writer)
        .applied_objects()
        .predicate_filter(predicate, PredicateConfig::default());
    (store, stream)
}

fn note(memory: &Memory, event: &Event<Campaign>) {
    match event {
        Event::Apply(resource) => {
            if let (Some(uid), Some(generation)) = (&resource.metadata.uid, resource.metadata.generation) {
                memory.edited(uid, generation, Instant::now());
            }
        }
        Event::Delete(resource) => {
            if let Some(uid) = &resource.metadata.uid {
                memory.forget(uid);
            }
        }
        // A listing does not tell when an edit was made.
        Event::Init | Event::InitApply(_) | Event::InitDone => {}
    }
}

/// Follows the campaigns of the service while the controller runs, and names the resources to reconcile.
#[derive(Debug)]
pub struct Follower {
    /// Client of the campaign service.
    pub service: CampaignServiceClient<Channel>,
    /// `workspaces/{workspace}`, or `workspaces/-` for all workspaces.
    pub parent: String,
    /// Cache of the resources that exist.
    pub store: Store<Campaign>,
    /// Receives the observations.
    pub memory: Arc<Memory>,
    /// Receives the resources to reconcile.
    pub wake: mpsc::Sender<ObjectRef<Campaign>>,
    /// Tells whether the stream is open.
    pub metrics: Arc<Metrics>,
}

impl Follower {
    /// Runs until shutdown.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut failures = 0;
        while !shutdown.is_cancelled() {
            let ended = tokio::select! {
                () = shutdown.cancelled() => return,
                ended = self.follow(&mut failures) => ended,
            };
            self.metrics.stream_connected.set(0);
            failures += 1;
            let wait = plan::backoff(failures, rand::random()).min(RECONNECT_MAX);
            let error = ended.err().map(|status| status.to_string());
            tracing::warn!(error, retry_seconds = wait.as_secs_f64(), "the watch of the service's campaigns broke off");
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Watches until the stream breaks.
    async fn follow(&mut self, failures: &mut u32) -> Result<(), tonic::Status> {
        let request = pb::WatchCampaignsRequest { parent: self.parent.clone(), min_interval: None };
        let mut changes = timeout(OPEN_DEADLINE, self.service.watch_campaigns(request))
            .await
            .map_err(|_| tonic::Status::deadline_exceeded("the watch was not accepted in time"))??
            .into_inner();
        let mut listed = Some(HashSet::new());
        while let Some(message) = changes.message().await? {
            match message.change {
                Some(Change::Campaign(campaign)) => {
                    let name = campaign.name.clone();
                    self.memory.observe(campaign, Source::Stream, Timestamp::now());
                    match &mut listed {
                        Some(listed) => drop(listed.insert(name)),
                        None => self.wake(&name).await,
                    }
                }
                Some(Change::Deleted(name)) => {
                    self.memory.vanished(&name);
                    self.wake(&name).await;
                }
                Some(Change::Synced(())) => {
                    *failures = 0;
                    self.metrics.stream_connected.set(1);
                    if let Some(listed) = listed.take() {
                        tracing::info!(
                            campaigns = listed.len(),
                            parent = self.parent,
                            "watching the service's campaigns"
                        );
                        self.memory.keep_only(&listed);
                    }
                    // The service is reachable again, so resources that wait in their backoff are woken, too.
                    for resource in self.store.state() {
                        self.send(ObjectRef::from_obj(&*resource)).await;
                    }
                }
                None => {}
            }
        }
        Ok(())
    }

    async fn wake(&self, campaign_name: &str) {
        if let Some((namespace, name)) = desired::resource_of(campaign_name) {
            let resource = ObjectRef::new(name).within(namespace);
            // A campaign without a resource needs no reconcile.
            if self.store.get(&resource).is_some() {
                self.send(resource).await;
            }
        }
    }

    async fn send(&self, resource: ObjectRef<Campaign>) {
        // The queue is closed only when the controller has ended. Then the shutdown ends this task, too.
        if self.wake.send(resource).await.is_err() {
            tracing::debug!("the controller takes no more work");
        }
    }
}
