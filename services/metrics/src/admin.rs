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
    error::chain,
    exporter,
    store::{Store, with_deadline},
    telemetry::Telemetry,
};

/// Deadline of a scrape: it must end before the next one, usually 15 s later.
const SCRAPE_TIMEOUT: Duration = Duration::from_secs(10);
/// Deadline of the ping that decides whether the database is ready.
const PING_TIMEOUT: Duration = Duration::from_secs(1);

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
    /// Lock under which a scrape reads the database, so that concurrent scrapes run one after the other.
    pub scrape: Arc<Mutex<()>>,
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
        return (StatusCode::SERVICE_UNAVAILABLE, "waiting for the database\n");
    }
    match timeout(PING_TIMEOUT, admin.store.ping()).await {
        Ok(Ok(())) => (StatusCode::OK, "ok\n"),
        Ok(Err(_)) | Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "the database can't be reached\n"),
    }
}

async fn metrics(State(admin): State<Admin>) -> Result<([(&'static str, &'static str); 1], Body), StatusCode> {
    let read = async {
        let _lock = admin.scrape.lock().await;
        // The deadline also ends the statements, so that none occupies its connection any longer. Boxed, since the
        // future of two transactions is large.
        let fleet = Box::pin(admin.store.fleet(admin.campaigns_max));
        with_deadline(Instant::now() + SCRAPE_TIMEOUT, fleet).await
    };
    let fleet = match timeout(SCRAPE_TIMEOUT, read).await {
        Ok(Ok(fleet)) => Some(fleet),
        Ok(Err(error)) => {
            tracing::warn!(error = chain(&error), "the state of campaigns could not be read");
            None
        }
        Err(_) => {
            tracing::warn!("reading the state of campaigns took too long");
            None
        }
    };
    let mut process = Vec::new();
    let encoded = TextEncoder::new().encode(&admin.telemetry.gather(&admin.store.pool_status()), &mut process);
    encoded.map_err(|error| {
        tracing::error!(%error, "rendering metrics");
        StatusCode::INTERNAL_SERVER_ERROR
    })?;
    let text = exporter::render(fleet).chain(stream::iter([Ok(process)]));
    Ok(([("content-type", prometheus::TEXT_FORMAT)], Body::from_stream(text)))
}
