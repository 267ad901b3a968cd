//! Wires the service, and owns its long-lived tasks: the gRPC server, the admin server and the upkeep.
//!
//! The ports answer from the start. Calls return UNAVAILABLE until the database is reachable and migrated. A task that
//! ends or panics ends the service, so that a partly broken process is restarted instead of staying ready.

mod start;
mod upkeep;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use campaign_metrics::{FILE_DESCRIPTOR_SET, pb};
use tokio::{net::TcpListener, sync::Mutex, task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;
use tonic::{
    codec::CompressionEncoding,
    transport::{Server, server::TcpIncoming},
};
use tonic_health::server::HealthReporter;
use uuid::Uuid;

use self::{
    start::start,
    upkeep::{compact_expired_claims, maintain, renew},
};
use crate::{
    admin::{self, Admin, DETAILS_AGE_MAX},
    clock::Clock,
    ingest::Ingest,
    layer::CallLayer,
    outage,
    rpc::Rpc,
    store::{Database, Store},
    telemetry::{Telemetry, VERSION},
};

/// Time in which calls may finish after a shutdown request: less than the 30 s that Kubernetes gives a pod.
const DRAIN: Duration = Duration::from_secs(25);
/// Time after which a start ends that Postgres refuses. Who makes a role or a database, or changes a password, while the service
/// starts needs seconds; a person who mistyped it should not wait much longer.
const REFUSED_MAX: Duration = Duration::from_secs(15);
/// Longest time in which a replica says that it has ended. Otherwise others wait for that minute.
const END_MAX: Duration = Duration::from_secs(1);
/// Default connections to Postgres: enough to hide commit latency, and few enough for several replicas with the default
/// configuration of a server.
const POOL_SIZE: usize = 16;
/// Default number of campaigns with series of their own.
const METRICS_CAMPAIGNS_MAX: i64 = 10_000;
/// Default number of accounts with series of their own, ten each.
const METRICS_ACCOUNTS_MAX: i64 = 10_000;
/// Default number of accounts of active campaigns with series by account: eight series each, and some 0.2 s to read them.
const METRICS_CAMPAIGN_ACCOUNTS_MAX: i64 = 1_000;

/// Interval of the HTTP/2 pings on each connection, and the time in which each must be answered. So a client that vanished
/// gives back its streams within 15 s. A ping costs some bytes.
const PING_INTERVAL: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(5);
/// Most calls and streams at once on one connection. More wait in the client.
const STREAMS_MAX: u32 = 256;
/// Most bytes of requests that a stream sends ahead of what is read. A stream whose caller does not read its answers is not read
/// either, and keeps them in memory.
const STREAM_WINDOW_BYTES: u32 = 256 << 10;
/// Largest request, as it is sent and as it unpacks: the default of gRPC.
const MESSAGE_BYTES_MAX: usize = 4 << 20;

/// Longest wait for the next request of StreamOutcomes, and for a caller that does not read what a stream sends. Providers can
/// be silent for minutes, and pings notice a caller that is gone, so this ends only streams that were forgotten.
const STREAM_IDLE: Duration = Duration::from_mins(10);

/// Idle time after which the connection of a client is probed, and longest wait for the acknowledgement of sent data.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);

/// Options of the service.
#[derive(Debug, Clone)]
pub struct Options {
    /// The database.
    pub database: Database,
    /// Maximum number of connections to it.
    pub pool_size: usize,
    /// Maximum number of campaigns with series of their own.
    pub metrics_campaigns_max: i64,
    /// Maximum number of accounts with series of their own.
    pub metrics_accounts_max: i64,
    /// Maximum number of accounts of active campaigns with series by account. These campaigns also have series at equal age.
    pub metrics_campaign_accounts_max: i64,
    /// Age at which these details are read again.
    pub metrics_details_age_max: Duration,
    /// Days for which outcomes are kept in the log; `None` means forever.
    pub outcome_retention_days: Option<u32>,
    /// Longest wait for the next request of StreamOutcomes, and for a caller that does not read what a stream sends. Of AddLeads a
    /// minute, if that is less.
    pub stream_idle: Duration,
    /// Time after which a start ends that Postgres refuses.
    pub refused_max: Duration,
}

impl Options {
    /// Creates the default options for the database at `database_url`.
    pub fn new(database_url: &str) -> anyhow::Result<Self> {
        Ok(Self {
            database: Database::new(database_url)?,
            pool_size: POOL_SIZE,
            metrics_campaigns_max: METRICS_CAMPAIGNS_MAX,
            metrics_accounts_max: METRICS_ACCOUNTS_MAX,
            metrics_campaign_accounts_max: METRICS_CAMPAIGN_ACCOUNTS_MAX,
            metrics_details_age_max: DETAILS_AGE_MAX,
            outcome_retention_days: None,
            stream_idle: STREAM_IDLE,
            refused_max: REFUSED_MAX,
        })
    }
}

/// The sockets of the service.
#[derive(Debug)]
pub struct Listeners {
    /// For gRPC.
    pub grpc: TcpListener,
    /// For /livez, /readyz and /metrics.
    pub admin: TcpListener,
}

/// Serves until `shutdown`, then drains. Returns an error if a part of the service failed.
pub async fn run(
    options: Options,
    listeners: Listeners,
    clock: Clock,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let telemetry = Telemetry::new()?;
    let store = Store::open(&options.database, options.pool_size, clock, telemetry.store_counters())?;
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
        accounts_max: options.metrics_accounts_max,
        campaign_accounts_max: options.metrics_campaign_accounts_max,
        details_age_max: options.metrics_details_age_max,
        details: Arc::new(Mutex::new(None)),
    };
    let admin_stop = stop.clone();
    tasks.spawn(async move { admin::serve(admin, listeners.admin, admin_stop).await.context("admin port") });

    let (ingest, writers, apart_writer) = Ingest::new(&store, telemetry.waiting());
    for writer in writers {
        // A writer ends after the calls have ended, so that every submitted report is written.
        tasks.spawn(async move {
            writer.run().await;
            Ok(())
        });
    }
    tasks.spawn(async move {
        apart_writer.run().await;
        Ok(())
    });
    let (rpc, looker) = Rpc::new(store.clone(), ingest, telemetry.clone(), stop.clone(), options.stream_idle);
    let looker_stop = stop.clone();
    tasks.spawn(async move { looker_stop.run_until_cancelled(looker.run()).await.map_or(Ok(()), |never| never) });
    // The bound on a message holds for what it unpacks to, too.
    macro_rules! bounded {
        ($server:expr) => {
            $server.accept_compressed(CompressionEncoding::Gzip).max_decoding_message_size(MESSAGE_BYTES_MAX)
        };
    }
    let router = Server::builder()
        .http2_keepalive_interval(Some(PING_INTERVAL))
        .http2_keepalive_timeout(Some(PING_TIMEOUT))
        // Connections have no age at which they end (`max_connection_age`). With a grace, tonic 0.14 cuts open streams off without
        // a GOAWAY before. Without one, a tonic client that has a stream open loses its next call to CANCELLED. So clients
        // find an added replica by a new channel; docs/senders.md says when.
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .layer(CallLayer { telemetry, ready: ready.clone() })
        .add_service(health_service)
        .add_service(reflection().build_v1()?)
        // Older clients use this name.
        .add_service(reflection().build_v1alpha()?)
        .add_service(bounded!(pb::campaign_service_server::CampaignServiceServer::new(rpc.clone())))
        .add_service(bounded!(pb::account_service_server::AccountServiceServer::new(rpc.clone())))
        .add_service(bounded!(pb::lead_service_server::LeadServiceServer::new(rpc.clone())))
        .add_service(bounded!(pb::opt_out_service_server::OptOutServiceServer::new(rpc.clone())))
        .add_service(bounded!(pb::performance_service_server::PerformanceServiceServer::new(rpc.clone())))
        .add_service(bounded!(pb::sending_service_server::SendingServiceServer::new(rpc)));
    let grpc_stop = stop.clone();
    tasks.spawn(async move {
        // An answer consists of several small writes. Without this, each waits 40 ms for the acknowledgement of the
        // last.
        let incoming = TcpIncoming::from(listeners.grpc).with_nodelay(Some(true)).with_keepalive(Some(KEEPALIVE_IDLE));
        router.serve_with_incoming_shutdown(incoming, grpc_stop.cancelled_owned()).await.context("gRPC port")
    });

    let ending = store.clone();
    let replica = Uuid::new_v4();
    let (upkeep_stop, upkeep_health, was_ready) = (stop.clone(), health.clone(), ready.clone());
    tasks.spawn(async move {
        upkeep_stop.run_until_cancelled(upkeep(store, options, replica, ready, upkeep_health)).await.unwrap_or(Ok(()))
    });

    // No task ends before the shutdown unless it failed.
    let first = tokio::select! {
        // The shutdown comes first, since tasks end after it.
        biased;
        () = stop.cancelled() => Ok(()),
        ended = tasks.join_next() => Err(broken(ended)),
    };
    tracing::info!("draining");
    set_health(&health, Health::NotServing).await;
    // Ends the watch streams after health has changed. Otherwise the drain would wait for them.
    for service in SERVICES {
        health.clear_service_status(service).await;
    }
    stop.cancel();
    let drained = timeout(DRAIN, async {
        while let Some(ended) = tasks.join_next().await {
            ended.context("a task panicked")??;
        }
        ending.settled().await;
        anyhow::Ok(())
    });
    let result = if let Ok(result) = drained.await {
        first.and(result)
    } else {
        tracing::warn!("calls were still running after {DRAIN:?} and are cut off");
        tasks.shutdown().await;
        first
    };
    if was_ready.load(Ordering::Acquire) {
        // Without success others take this replica for running a little longer.
        let _ = timeout(END_MAX, ending.replica_end(replica)).await;
    }
    result
}

/// Describes every service for reflection, so that grpcurl needs no .proto files.
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

/// The names in health checks: the whole service, and each of its gRPC services.
const SERVICES: [&str; 7] = [
    "",
    "campaign_metrics.v1.CampaignService",
    "campaign_metrics.v1.AccountService",
    "campaign_metrics.v1.LeadService",
    "campaign_metrics.v1.OptOutService",
    "campaign_metrics.v1.PerformanceService",
    "campaign_metrics.v1.SendingService",
];

/// The answer to health checks.
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

/// Starts on the database, then runs the upkeep. Returns only when this replica can't start, or can't work with the schema that a
/// newer version has made.
async fn upkeep(
    store: Store,
    options: Options,
    replica: Uuid,
    ready: Arc<AtomicBool>,
    health: HealthReporter,
) -> anyhow::Result<()> {
    tracing::info!(version = VERSION, database = options.database.addresses(), "starting");
    start(&store, &options.database, options.refused_max, replica).await?;
    if let Err(error) = store.maintain().await {
        // Without the partition of this month, the log is written to the default partition. So serving can start.
        outage::warn(&error, "preparing the database failed; it is tried again later");
    }
    ready.store(true, Ordering::Release);
    set_health(&health, Health::Serving).await;
    tracing::info!("ready");
    let compact = Box::pin(compact_expired_claims(&store));
    let maintain = Box::pin(maintain(&store, options.outcome_retention_days));
    tokio::select! {
        outdated = renew(&store, replica) => outdated,
        never = compact => never,
        never = maintain => never,
    }
}
