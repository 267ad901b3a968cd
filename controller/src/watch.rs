//! Triggers reconciles: the Kubernetes watch of resources, and the stream of campaigns from the service.
//!
//! Neither stream ends before shutdown, since `kube` stops polling an ended stream without an error. Both reconnect
//! automatically, and list everything again after a gap. The cache keeps of `managedFields` only the time of the last edit. Status patches of the controller itself match no predicate, so they trigger no reconcile.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use campaign_metrics::{
    VERSION_HEADER,
    pb::{self, campaign_service_client::CampaignServiceClient, watch_campaigns_response::Change},
};
use futures::{Stream, TryStreamExt as _};
use jiff::Timestamp;
use kube::{
    Api, Client, ResourceExt as _,
    core::{DeserializeGuard, error_boundary::InvalidObject},
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
    crd::{Campaign, CampaignSpec},
    desired,
    edit::keep_time,
    memory::{Memory, Source},
    metrics::Metrics,
    plan,
};

/// Deadline for the service to accept the watch.
const OPEN_DEADLINE: Duration = Duration::from_secs(10);
/// Longest wait for statuses that are being written about an outage: more than the deadline of a write.
const OUTAGE_WRITES_MAX: Duration = Duration::from_secs(10);
/// Longest wait between two tries to watch the service. A try is cheap, since there is only one stream, and a success
/// wakes every resource that waits in its backoff.
const RECONNECT_MAX: Duration = Duration::from_secs(30);

/// Watches the resources. Returns their cache, and the stream of those that may need a reconcile.
pub fn resources(
    client: Client,
    namespace: Option<&str>,
    memory: Arc<Memory>,
    metrics: Arc<Metrics>,
) -> (Store<Campaign>, impl Stream<Item = watcher::Result<Campaign>> + Send + 'static) {
    // A resource that this version can't read must not end the listing of all.
    let api: Api<DeserializeGuard<Campaign>> = match namespace {
        Some(namespace) => Api::namespaced(client, namespace),
        None => Api::all(client),
    };
    let mut unreadable = Unreadable { metrics, found: BTreeMap::new() };
    let (store, writer) = store();
    // A filter by generation alone would drop the update that adds the finalizer, and a new resource would stall. A deletion
    // raises the generation.
    let predicate = predicates::generation.combine(predicates::finalizers).combine(predicates::annotations);
    let stream = watcher(api, watcher::Config::default())
        .default_backoff()
        .try_filter_map(move |event| std::future::ready(Ok(unreadable.sort_out(event))))
        .modify(keep_time)
        .inspect_ok(move |event| note(&memory, event))
        .reflect(writer)
        .applied_objects()
        .predicate_filter(predicate, PredicateConfig::default());
    (store, stream)
}

/// The resources that can't be read: those that a later version of the definition allows.
struct Unreadable {
    metrics: Arc<Metrics>,
    found: BTreeMap<String, String>,
}

impl Unreadable {
    /// Passes on an event of a resource that can be read. One that no longer can is gone for everybody else.
    fn sort_out(&mut self, event: Event<DeserializeGuard<Campaign>>) -> Option<Event<Campaign>> {
        let sorted = match event {
            Event::Init => {
                self.found.clear();
                Some(Event::Init)
            }
            Event::InitApply(DeserializeGuard(read)) => self.read(read).ok().map(Event::InitApply),
            Event::InitDone => Some(Event::InitDone),
            Event::Apply(DeserializeGuard(read)) => {
                Some(self.read(read).map_or_else(|unread| Event::Delete(*unread), Event::Apply))
            }
            Event::Delete(DeserializeGuard(read)) => {
                let resource = self.read(read).unwrap_or_else(|unread| *unread);
                self.found.remove(&name_of(&resource));
                Some(Event::Delete(resource))
            }
        };
        self.metrics.unreadable.set(self.found.len().try_into().unwrap_or(i64::MAX));
        sorted
    }

    /// Returns the resource, or as an error its metadata alone.
    fn read(&mut self, read: Result<Campaign, InvalidObject>) -> Result<Campaign, Box<Campaign>> {
        match read {
            Ok(resource) => {
                self.found.remove(&name_of(&resource));
                Ok(resource)
            }
            Err(InvalidObject { error, metadata }) => {
                let resource = Campaign { metadata, spec: CampaignSpec::default(), status: None };
                let name = name_of(&resource);
                if self.found.get(&name) != Some(&error) {
                    tracing::error!(
                        resource = name,
                        error,
                        "this version can't read the resource, and leaves it alone"
                    );
                }
                self.found.insert(name, error);
                Err(Box::new(resource))
            }
        }
    }
}

fn name_of(resource: &Campaign) -> String {
    format!("{}/{}", resource.namespace().unwrap_or_default(), resource.name_any())
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
        self.memory.service_lost();
        while !shutdown.is_cancelled() {
            let ended = tokio::select! {
                () = shutdown.cancelled() => return,
                ended = self.follow(&mut failures) => ended,
            };
            self.memory.service_lost();
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
        let changes = timeout(OPEN_DEADLINE, self.service.watch_campaigns(request))
            .await
            .map_err(|_| tonic::Status::deadline_exceeded("the watch was not accepted in time"))??;
        let version = changes.metadata().get(VERSION_HEADER).and_then(|version| version.to_str().ok());
        self.memory.serves(version.unwrap_or_default());
        let mut changes = changes.into_inner();
        let mut listed = Some(HashSet::new());
        while let Some(message) = changes.message().await? {
            match message.change {
                Some(Change::Campaign(campaign)) => {
                    let name = campaign.name.clone();
                    if campaign.owner.is_none() {
                        self.try_again(&name);
                    }
                    self.memory.observe(campaign, Source::Stream, Timestamp::now());
                    match &mut listed {
                        Some(listed) => drop(listed.insert(name)),
                        None => self.wake(&name).await,
                    }
                }
                Some(Change::Deleted(name)) => {
                    self.try_again(&name);
                    self.memory.vanished(&name);
                    self.wake(&name).await;
                }
                Some(Change::Synced(())) => {
                    *failures = 0;
                    self.memory.service_found();
                    // What was still written about the outage is overwritten by the looks that follow.
                    drop(timeout(OUTAGE_WRITES_MAX, self.memory.outage_writes.lock()).await);
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

    /// Lets a resource try again that was refused because the campaign had another owner, which it has no more.
    fn try_again(&self, campaign_name: &str) {
        let resource = desired::resource_of(campaign_name)
            .and_then(|(namespace, name)| self.store.get(&ObjectRef::new(name).within(namespace)));
        let Some(uid) = resource.and_then(|resource| resource.uid()) else { return };
        self.memory.remember(&uid, |remembered| {
            remembered.stalled.take_if(|stalled| stalled.reason == "CampaignOwned");
        });
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
