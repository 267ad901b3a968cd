//! What wakes the controller: the Kubernetes watch of resources and the service's stream of campaigns.
//!
//! Neither stream ends before shutdown: a controller silently stops polling an ended one. Both reconnect by themselves,
//! and after a gap everything is listed again. Resources are cached without `managedFields`, which are four fifths of
//! their size. Our own status patches pass no predicate, so they wake nobody.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use campaign_metrics::pb::{self, campaign_service_client::CampaignServiceClient, watch_campaigns_response::Change};
use futures::{Stream, TryStreamExt as _};
use jiff::Timestamp;
use kube::{
    Api, Client, ResourceExt as _,
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
    plan,
};

/// How long the service may take to accept the watch.
const OPEN_DEADLINE: Duration = Duration::from_secs(10);
/// Longest wait between two tries to watch the service: it is one stream in all, so trying is cheap, and every
/// resource that waits in its backoff is woken when it comes back.
const RECONNECT_MAX: Duration = Duration::from_secs(30);

/// Watches the resources: a cache of them, and the stream of those a reconcile may have something to do for.
pub fn resources(
    client: Client,
    namespace: Option<&str>,
    memory: Arc<Memory>,
) -> (Store<Campaign>, impl Stream<Item = watcher::Result<Campaign>> + Send + 'static) {
    let api: Api<Campaign> = match namespace {
        Some(namespace) => Api::namespaced(client, namespace),
        None => Api::all(client),
    };
    let (store, writer) = store();
    // The generation alone would filter out the update that adds our finalizer, and a new resource would stall.
    let predicate =
        predicates::generation.combine(predicates::finalizers).combine(predicates::annotations).combine(is_deleted);
    let stream = watcher(api, watcher::Config::default())
        .default_backoff()
        .modify(|resource: &mut Campaign| resource.managed_fields_mut().clear())
        .inspect_ok(move |event| note(&memory, event))
        .reflect(writer)
        .applied_objects()
        .predicate_filter(predicate, PredicateConfig::default());
    (store, stream)
}

#[expect(clippy::unnecessary_wraps, reason = "a predicate's signature")]
fn is_deleted(resource: &Campaign) -> Option<u64> {
    Some(u64::from(resource.metadata.deletion_timestamp.is_some()))
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
        // A listing tells nothing about when an edit was made.
        Event::Init | Event::InitApply(_) | Event::InitDone => {}
    }
}

/// Follows the service's campaigns for as long as the controller runs, and names the resources to look at.
#[derive(Debug)]
pub struct Follower {
    /// The service.
    pub service: CampaignServiceClient<Channel>,
    /// `workspaces/{workspace}`, or `workspaces/-` for all.
    pub parent: String,
    /// The resources that exist.
    pub store: Store<Campaign>,
    /// Takes what is seen.
    pub memory: Arc<Memory>,
    /// Takes the resources to look at.
    pub wake: mpsc::Sender<ObjectRef<Campaign>>,
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

    /// Watches until the stream breaks off.
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
                    if let Some(listed) = listed.take() {
                        tracing::info!(
                            campaigns = listed.len(),
                            parent = self.parent,
                            "watching the service's campaigns"
                        );
                        self.memory.keep_only(&listed);
                    }
                    // Whoever waits for the service in a backoff is woken too: it is there again.
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
            // Campaigns that no resource stands for are none of our business.
            if self.store.get(&resource).is_some() {
                self.send(resource).await;
            }
        }
    }

    async fn send(&self, resource: ObjectRef<Campaign>) {
        // Refused only when the controller has ended, and then the shutdown ends this task as well.
        if self.wake.send(resource).await.is_err() {
            tracing::debug!("the controller takes no more work");
        }
    }
}
