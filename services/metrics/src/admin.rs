//! The admin port: /livez, /readyz and /metrics over plain HTTP.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{Router, body::Body, extract::State, http::StatusCode, routing::get};
use futures::{StreamExt as _, stream};
use prometheus::{Encoder as _, TextEncoder};
use tokio::{net::TcpListener, sync::Mutex, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    error::Result as StoreResult,
    exporter::{self, Collected},
    outage,
    store::{Details, Fleet, Store, with_deadline},
    telemetry::Telemetry,
};

/// Deadline of a scrape: it must end before the next one, usually 15 s later.
const SCRAPE_TIMEOUT: Duration = Duration::from_secs(10);
/// How old the details of active campaigns can be by default. Reading them takes longer than the rest of a scrape of ten
/// thousand campaigns, and sums over days of history change slowly.
pub const DETAILS_AGE_MAX: Duration = Duration::from_mins(5);
/// Deadline of the ping that decides whether the database is ready.
const PING_TIMEOUT: Duration = Duration::from_secs(1);

/// Details of active campaigns that an earlier scrape read.
#[derive(Debug, Clone)]
pub struct KnownDetails {
    read_at: Instant,
    details: Arc<Details>,
}

/// The state that the admin port serves.
#[derive(Clone)]
pub struct Admin {
    /// The database.
    pub store: Store,
    /// Metrics of this process.
    pub telemetry: Arc<Telemetry>,
    /// Whether the database is reachable and migrated.
    pub ready: Arc<AtomicBool>,
    /// Maximum number of campaigns with series of their own.
    pub campaigns_max: i64,
    /// Maximum number of accounts with series of their own.
    pub accounts_max: i64,
    /// Maximum number of accounts of active campaigns with series by account.
    pub campaign_accounts_max: i64,
    /// Age at which details of active campaigns are read again.
    pub details_age_max: Duration,
    /// The details that were read last. A scrape holds the lock while it reads the database, so that concurrent scrapes run
    /// one after the other.
    pub details: Arc<Mutex<Option<KnownDetails>>>,
}

/// Serves until `shutdown`.
pub async fn serve(admin: Admin, listener: TcpListener, shutdown: CancellationToken) -> std::io::Result<()> {
    let router = Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(admin);
    axum::serve(listener, router).with_graceful_shutdown(shutdown.cancelled_owned()).await
}

async fn readyz(State(admin): State<Admin>) -> (StatusCode, &'static str) {
    if !admin.ready.load(Ordering::Acquire) {
        return (StatusCode::SERVICE_UNAVAILABLE, "waiting for the database; the log says for what\n");
    }
    match timeout(PING_TIMEOUT, admin.store.ping()).await {
        Ok(Ok(())) => (StatusCode::OK, "ok\n"),
        Ok(Err(_)) | Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "the database can't be reached\n"),
    }
}

impl Admin {
    /// Reads what the gauges show. One scrape reads at a time.
    async fn collect(&self) -> Collected {
        let started = Instant::now();
        let mut duration = None;
        let read = async {
            let mut details = self.details.lock().await;
            let reading = Instant::now();
            // The deadline also ends the statements, so that none occupies its connection any longer.
            let read = with_deadline(started + SCRAPE_TIMEOUT, self.read(&mut details)).await;
            duration = Some(reading.elapsed());
            read
        };
        let read = match timeout(SCRAPE_TIMEOUT, read).await {
            Ok(Ok(read)) => Some(read),
            Ok(Err(error)) => {
                outage::warn(&error, "the state of campaigns could not be read");
                None
            }
            Err(_) => {
                tracing::warn!("reading the state of campaigns took too long");
                None
            }
        };
        let (fleet, details) = read.unzip();
        Collected { fleet, details, duration: duration.unwrap_or_else(|| started.elapsed()) }
    }

    async fn read(&self, known: &mut Option<KnownDetails>) -> StoreResult<(Fleet, Arc<Details>)> {
        // Boxed, since the future of two transactions is large.
        let fleet = Box::pin(self.store.fleet(self.campaigns_max, self.accounts_max)).await?;
        if let Some(known) = known
            && known.read_at.elapsed() < self.details_age_max
        {
            return Ok((fleet, known.details.clone()));
        }
        let details = Arc::new(Box::pin(self.store.fleet_details(self.campaign_accounts_max)).await?);
        *known = Some(KnownDetails { read_at: Instant::now(), details: details.clone() });
        Ok((fleet, details))
    }
}

async fn metrics(State(admin): State<Admin>) -> Result<([(&'static str, &'static str); 1], Body), StatusCode> {
    // Gathered first: reading the database takes connections, or waits for them.
    let mut process = Vec::new();
    let encoded = TextEncoder::new().encode(&admin.telemetry.gather(&admin.store.pool_status()), &mut process);
    encoded.map_err(|error| {
        tracing::error!(%error, "rendering metrics");
        StatusCode::INTERNAL_SERVER_ERROR
    })?;
    let collected = admin.collect().await;
    let text = exporter::render(collected).chain(stream::iter([Ok(process)]));
    Ok(([("content-type", prometheus::TEXT_FORMAT)], Body::from_stream(text)))
}
