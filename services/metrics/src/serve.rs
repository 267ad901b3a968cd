//! Wires the service and owns every long-lived task of it: the gRPC server, the admin server, the upkeep.
//!
//! The ports answer from the start; calls are UNAVAILABLE until the database was reached and migrated. A task that ends
//! or panics ends the service, so that a half-dead process is restarted instead of staying ready.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context as _;
use campaign_metrics::{FILE_DESCRIPTOR_SET, pb};
use jiff::{SignedDuration, Timestamp};
use rand::Rng as _;
use tokio::{
    net::TcpListener,
    sync::Mutex,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_postgres::Config;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Server, server::TcpIncoming};
use tonic_health::server::HealthReporter;

use crate::{
    admin::{self, Admin},
    clock::Clock,
    error::{Result, chain},
    ingest::Ingest,
    layer::CallLayer,
    rpc::Rpc,
    store::{Store, migrate},
    telemetry::Telemetry,
};

/// How long calls may take to end after a shutdown was asked for: below the 30 s that Kubernetes gives a pod.
const DRAIN: Duration = Duration::from_secs(25);
/// Longest pause between two attempts to reach the database at start.
const CONNECT_PAUSE_MAX: Duration = Duration::from_secs(5);
/// Time between two looks for results that become final: their times are days.
const UPKEEP_PAUSE: Duration = Duration::from_secs(30);
/// Between two looks at what claims expired: until then counting them reads their leads.
const SETTLE_PAUSE: Duration = Duration::from_secs(2);
/// Connections to Postgres: enough to hide commit latency, few enough for several replicas on a default server.
const POOL_SIZE: usize = 16;
/// Campaigns with series of their own.
const METRICS_CAMPAIGNS_MAX: i64 = 10_000;

/// Silence after which a connection to the database is probed, and longest wait for the acknowledgement of what was sent.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);

/// What can be set.
#[derive(Debug, Clone)]
pub struct Options {
    /// The database.
    pub database: Config,
    /// Connections to it at most.
    pub pool_size: usize,
    /// Campaigns with series of their own at most.
    pub metrics_campaigns_max: i64,
    /// Days for which outcomes are kept in the log; `None` is for ever.
    pub outcome_retention_days: Option<u32>,
}

impl Options {
    /// The defaults, with the database at `database_url`.
    pub fn new(database_url: &str) -> anyhow::Result<Self> {
        let mut database: Config = database_url.parse().context("the database URL is not valid")?;
        if database.get_application_name().is_none() {
            database.application_name("campaign-metrics-service");
        }
        if database.get_connect_timeout().is_none() {
            database.connect_timeout(Duration::from_secs(5));
        }
        // A server that vanished without a word is noticed within a minute, not after the kernel's two hours.
        database.keepalives_idle(KEEPALIVE_IDLE);
        if database.get_tcp_user_timeout().is_none() {
            database.tcp_user_timeout(KEEPALIVE_IDLE);
        }
        Ok(Self {
            database,
            pool_size: POOL_SIZE,
            metrics_campaigns_max: METRICS_CAMPAIGNS_MAX,
            outcome_retention_days: None,
        })
    }
}

/// The sockets to serve on.
#[derive(Debug)]
pub struct Listeners {
    /// For gRPC.
    pub grpc: TcpListener,
    /// For /livez, /readyz and /metrics.
    pub admin: TcpListener,
}

/// Serves until `shutdown`, then drains. Returns an error when a part of the service broke.
pub async fn run(
    options: Options,
    listeners: Listeners,
    clock: Clock,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let telemetry = Telemetry::new()?;
    let store = Store::open(options.database.clone(), options.pool_size, clock, telemetry.store_counters())?;
    let ready = Arc::new(AtomicBool::new(false));
    let (mut health, health_service) = tonic_health::server::health_reporter();
    set_health(&health, Health::NotServing).await;
    let stop = shutdown.child_token();

    let mut tasks: JoinSet<anyhow::Result<()>> = JoinSet::new();
    let admin = Admin {
        store: store.clone(),
        telemetry: telemetry.clone(),
        ready: ready.clone(),
        campaigns_max: options.metrics_campaigns_max,
        scrape: Arc::new(Mutex::new(())),
    };
    let admin_stop = stop.clone();
    tasks.spawn(async move { admin::serve(admin, listeners.admin, admin_stop).await.context("admin port") });

    let (ingest, writers) = Ingest::new(&store, telemetry.waiting());
    for writer in writers {
        // Ends once the calls have ended, so that whatever was handed in is written.
        tasks.spawn(async move {
            writer.run().await;
            Ok(())
        });
    }
    let rpc = Rpc::new(store.clone(), ingest, telemetry.clone(), stop.clone());
    let router = Server::builder()
        .layer(CallLayer { telemetry, ready: ready.clone() })
        .add_service(health_service)
        .add_service(reflection().build_v1()?)
        // Older clients ask by this name.
        .add_service(reflection().build_v1alpha()?)
        .add_service(pb::campaign_service_server::CampaignServiceServer::new(rpc.clone()))
        .add_service(pb::account_service_server::AccountServiceServer::new(rpc.clone()))
        .add_service(pb::lead_service_server::LeadServiceServer::new(rpc.clone()))
        .add_service(pb::opt_out_service_server::OptOutServiceServer::new(rpc.clone()))
        .add_service(pb::sending_service_server::SendingServiceServer::new(rpc));
    let grpc_stop = stop.clone();
    tasks.spawn(async move {
        // An answer is several small writes: each would else wait for the acknowledgement of the one before, 40 ms.
        let incoming = TcpIncoming::from(listeners.grpc).with_nodelay(Some(true));
        router.serve_with_incoming_shutdown(incoming, grpc_stop.cancelled_owned()).await.context("gRPC port")
    });

    let (upkeep_stop, upkeep_health) = (stop.clone(), health.clone());
    tasks.spawn(async move {
        upkeep_stop.run_until_cancelled(upkeep(store, options, ready, upkeep_health)).await.unwrap_or(Ok(()))
    });

    // Nothing ends by itself before the shutdown: what does is broken.
    let first = tokio::select! {
        // First, because tasks end by themselves once it happened.
        biased;
        () = stop.cancelled() => Ok(()),
        ended = tasks.join_next() => Err(broken(ended)),
    };
    tracing::info!("draining");
    set_health(&health, Health::NotServing).await;
    // Ends the streams of those who watch, once they were told: the drain would else wait for them.
    for service in SERVICES {
        health.clear_service_status(service).await;
    }
    stop.cancel();
    let drained = timeout(DRAIN, async {
        while let Some(ended) = tasks.join_next().await {
            ended.context("a task panicked")??;
        }
        anyhow::Ok(())
    });
    if let Ok(result) = drained.await {
        return first.and(result);
    }
    tracing::warn!("calls were still running after {DRAIN:?} and are cut off");
    tasks.shutdown().await;
    first
}

/// Describes every service that is served, so that grpcurl needs no .proto file.
fn reflection() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
}

fn broken(ended: Option<Result<anyhow::Result<()>, tokio::task::JoinError>>) -> anyhow::Error {
    match ended {
        Some(Ok(Err(error))) => error,
        Some(Err(error)) => anyhow::Error::new(error).context("a task panicked"),
        Some(Ok(Ok(()))) | None => anyhow::anyhow!("a task ended by itself"),
    }
}

/// What health can be asked for: the whole service, and each of its parts.
const SERVICES: [&str; 6] = [
    "",
    "campaign_metrics.v1.CampaignService",
    "campaign_metrics.v1.AccountService",
    "campaign_metrics.v1.LeadService",
    "campaign_metrics.v1.OptOutService",
    "campaign_metrics.v1.SendingService",
];

/// What health checks are told.
#[derive(Clone, Copy)]
enum Health {
    NotServing,
    Serving,
}

async fn set_health(reporter: &HealthReporter, health: Health) {
    let status = match health {
        Health::NotServing => tonic_health::ServingStatus::NotServing,
        Health::Serving => tonic_health::ServingStatus::Serving,
    };
    for service in SERVICES {
        reporter.set_service_status(service, status).await;
    }
}

/// Reaches and migrates the database, then keeps house in it. Never returns unless that is impossible.
async fn upkeep(store: Store, options: Options, ready: Arc<AtomicBool>, health: HealthReporter) -> anyhow::Result<()> {
    let mut pause = Duration::from_millis(250);
    while let Err(error) = migrate(&options.database).await {
        tracing::warn!(
            error = format!("{error:#}"),
            "waiting for Postgres at {}; trying again",
            addresses(&options.database)
        );
        sleep(jittered(pause)).await;
        pause = (pause * 2).min(CONNECT_PAUSE_MAX);
    }
    if let Err(error) = store.maintain().await {
        // Without this month's partition the log goes to the default one: no reason not to serve.
        tracing::warn!(error = chain(&error), "preparing the database failed; it is tried again later");
    }
    ready.store(true, Ordering::Release);
    set_health(&health, Health::Serving).await;
    tracing::info!("ready");
    tokio::join!(Box::pin(settle(&store)), Box::pin(keep_house(&store, &options))).0
}

/// Settles what expired of claims; now and then also what somebody else held when it did.
async fn settle(store: &Store) -> ! {
    let mut since = Timestamp::UNIX_EPOCH;
    let mut next = Instant::now() + UPKEEP_PAUSE;
    loop {
        sleep(jittered(SETTLE_PAUSE)).await;
        if Instant::now() >= next {
            since = Timestamp::UNIX_EPOCH;
            next = Instant::now() + UPKEEP_PAUSE;
        }
        let now = store.clock().now();
        let settled = store.claims_compact(since).await;
        if settled.is_ok() {
            // A claim that is committed late has hardly expired that long ago.
            since = now.saturating_sub(SignedDuration::from_mins(1)).unwrap_or(Timestamp::UNIX_EPOCH);
        }
        warn_of_failure(settled);
    }
}

async fn keep_house(store: &Store, options: &Options) -> ! {
    loop {
        sleep(jittered(UPKEEP_PAUSE)).await;
        let finalized = store.campaigns_finalize().await.map(|_| ());
        let done = [
            store.maintain().await,
            store.claims_retry().await,
            store.returns_tidy().await,
            store.campaigns_drain().await,
            match options.outcome_retention_days {
                Some(days) => store.partitions_drop(days).await,
                None => Ok(()),
            },
            finalized,
        ];
        done.into_iter().for_each(warn_of_failure);
    }
}

fn warn_of_failure(result: Result<()>) {
    if let Err(error) = result {
        tracing::warn!(error = chain(&error), "upkeep failed; it is tried again later");
    }
}

/// Half to the whole of a pause, so that replicas do not act in step.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(rand::rng().random_range(0.5..1.0))
}

/// Where the database is, without secrets.
fn addresses(database: &Config) -> String {
    let hosts = database.get_hosts().iter().map(|host| match host {
        tokio_postgres::config::Host::Tcp(host) => host.clone(),
        tokio_postgres::config::Host::Unix(path) => path.display().to_string(),
    });
    let ports = database.get_ports().iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    format!("{}:{ports}", hosts.collect::<Vec<_>>().join(","))
}
