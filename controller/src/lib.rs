//! The controller of `Campaign` resources.
//!
//! | module | holds |
//! |---|---|
//! | [`crd`] | the resource, its rules, its columns |
//! | [`desired`] | the call that applies a spec |
//! | [`events`] | publishes events |
//! | [`edit`] | when a spec was edited last |
//! | [`cluster`] | what identifies the cluster |
//! | [`plan`] | pure decisions: next step, status, events, backoff |
//! | [`reconcile`] | executes the plan; lists the RBAC rules it needs |
//! | [`watch`] | triggers reconciles: the watch of Kubernetes and the stream of the service |
//! | [`memory`] | state between reconciles |
//! | [`metrics`] | process metrics and the admin port |
//! | [`uninstall`] | what is left to do when no controller runs any more |
//! | [`args`] | the command line |
//!
//! Only this module starts tasks, and [`run`] joins every one of them.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, bail};
use campaign_metrics::pb::{
    campaign_service_client::CampaignServiceClient, performance_service_client::PerformanceServiceClient,
};
use futures::{Stream, StreamExt as _};
use kube::{
    Client,
    runtime::{
        Config, Controller,
        controller::Error as ControllerError,
        reflector::{ObjectRef, Store},
        watcher,
    },
};
use tokio::{net::TcpListener, sync::mpsc, task::JoinSet};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

use crate::{
    cluster::ClusterId, crd::Campaign, events::Recorder, memory::Memory, metrics::Metrics,
    reconcile::RECONCILE_DEADLINE,
};

pub mod args;
pub mod cluster;
pub mod crd;
pub mod desired;
pub mod edit;
pub mod events;
pub mod memory;
pub mod metrics;
pub mod plan;
pub mod reconcile;
pub mod uninstall;
pub mod watch;

/// Most reconciles at once: enough to hide the latency of both servers, few enough not to exhaust their pools.
const CONCURRENCY: u16 = 32;
/// Most resources that wait for a reconcile. A full queue makes the stream of the service wait, and loses nothing.
const WAKE_QUEUE: usize = 1024;
/// Time in which reconciles may finish after a shutdown request: their own deadline and a reserve.
const DRAIN_DEADLINE: Duration = RECONCILE_DEADLINE.saturating_add(Duration::from_secs(5));
/// Read timeout of a connection to the API server. It is longer than a watch, which the server ends after 290 s.
const KUBERNETES_SILENCE_MAX: Duration = Duration::from_mins(5);
/// Deadline for connecting to the service.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// Interval of keepalive pings to the service, since its stream can be silent for hours, and the time in which each must be
/// answered. So a service that is silently gone is noticed within 8 s.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
const KEEP_ALIVE_DEADLINE: Duration = Duration::from_secs(3);

/// Options of a controller.
#[derive(Debug, Clone)]
pub struct Options {
    /// URL of the campaign service.
    pub service: String,
    /// The namespace to watch; `None` means all namespaces.
    pub namespace: Option<String>,
}

/// Connects to Kubernetes with the configuration of kubectl, or in a pod with its service account.
pub async fn kubernetes() -> anyhow::Result<Client> {
    let mut config = kube::Config::infer()
        .await
        .context("no Kubernetes found: set KUBECONFIG, or run in a pod with a service account")?;
    config.read_timeout = Some(KUBERNETES_SILENCE_MAX);
    Client::try_from(config).context("the Kubernetes configuration can't be used")
}

/// Runs a controller until shutdown, and returns when its reconciles have finished.
///
/// If a task ends before the shutdown, the controller ends too: otherwise it would appear to run but do nothing.
pub async fn run(
    options: Options,
    kubernetes: Client,
    admin: TcpListener,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let metrics = Arc::new(Metrics::new(CONCURRENCY).context("metrics can't be registered")?);
    let memory = Arc::new(Memory::default());
    let channel = channel(&options.service)?;
    let service = CampaignServiceClient::new(channel.clone());
    let (store, resources) =
        watch::resources(kubernetes.clone(), options.namespace.as_deref(), Arc::clone(&memory), Arc::clone(&metrics));
    let (wake, woken) = mpsc::channel(WAKE_QUEUE);
    let follower = watch::Follower {
        service: service.clone(),
        parent: format!("workspaces/{}", options.namespace.as_deref().unwrap_or("-")),
        store: store.clone(),
        memory: Arc::clone(&memory),
        wake,
        metrics: Arc::clone(&metrics),
    };
    let context = Arc::new(reconcile::Context {
        cluster: ClusterId::new(options.namespace),
        recorder: Recorder::new(kubernetes.clone()),
        kubernetes,
        service,
        performance: PerformanceServiceClient::new(channel),
        memory: Arc::clone(&memory),
        metrics: Arc::clone(&metrics),
    });
    let mut tasks = JoinSet::new();
    let serving = metrics::serve(admin, metrics, store.clone(), Arc::clone(&memory), shutdown.clone());
    tasks.spawn(async { serving.await.context("the admin port failed") });
    let following = follower.run(shutdown.clone());
    tasks.spawn(async {
        following.await;
        Ok(())
    });
    let telling = reconcile::Outage::new(Arc::clone(&context), store.clone()).run(shutdown.clone());
    tasks.spawn(async {
        telling.await;
        Ok(())
    });
    tasks.spawn(control(store, resources, ReceiverStream::new(woken), context, shutdown.clone()));
    let joined = async {
        while let Some(task) = tasks.join_next().await {
            task.context("a task panicked")??;
            if !shutdown.is_cancelled() {
                bail!("a task ended before shutdown");
            }
        }
        Ok(())
    };
    let overdue = async {
        shutdown.cancelled().await;
        tokio::time::sleep(DRAIN_DEADLINE).await;
    };
    tokio::select! {
        ended = joined => ended,
        () = overdue => bail!("reconciles were still running {} s after shutdown", DRAIN_DEADLINE.as_secs()),
    }
}

/// Reconciles the resources that the watches name until shutdown, then waits for running reconciles.
async fn control(
    store: Store<Campaign>,
    resources: impl Stream<Item = watcher::Result<Campaign>> + Send + 'static,
    woken: impl Stream<Item = ObjectRef<Campaign>> + Send + 'static,
    context: Arc<reconcile::Context>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    Controller::for_stream(resources, store)
        .with_config(Config::default().concurrency(CONCURRENCY))
        .reconcile_on(woken)
        .graceful_shutdown_on(shutdown.cancelled_owned())
        .run(reconcile::reconcile, reconcile::retry, context)
        .for_each(async |done| match done {
            Ok((resource, _)) => tracing::debug!(%resource, "reconciled"),
            Err(ControllerError::ReconcilerFailed(error, resource)) => {
                tracing::warn!(%resource, %error, "reconcile failed, trying again");
            }
            // It was deleted after a watch named it.
            Err(ControllerError::ObjectNotFound(resource)) => tracing::debug!(%resource, "gone"),
            Err(error) => tracing::warn!(%error, "the watch of resources failed, trying again"),
        })
        .await;
    Ok(())
}

/// Returns a channel to the service that connects on first use, and reconnects when the connection breaks.
fn channel(service: &str) -> anyhow::Result<Channel> {
    let endpoint = Endpoint::from_shared(service.to_owned())
        .with_context(|| format!("`{service}` is no URL of a service; use one such as http://127.0.0.1:50051"))?;
    // The log of the service names it by this.
    let endpoint = endpoint.user_agent(format!("campaign-controller/{}", campaign_metrics::VERSION))?;
    Ok(endpoint
        .connect_timeout(CONNECT_DEADLINE)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE_DEADLINE)
        .keep_alive_while_idle(true)
        .tcp_keepalive(Some(KEEP_ALIVE))
        .connect_lazy())
}
