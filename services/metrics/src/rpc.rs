//! The gRPC handlers: they parse requests, call the store and render answers. They do not use SQL or Postgres.
//!
//! [`crate::layer`] handles deadlines, status metrics and trace ids.

mod account;
mod campaign;
mod export;
mod lead;
mod look;
mod opt_out;
mod page;
mod performance;
mod report;
mod sending;
mod status;
mod unread;
mod watch;

use std::{sync::Arc, time::Duration};

use campaign_metrics::invalid::Invalid;
use futures::stream::BoxStream;
use prost::Message;
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use uuid::Uuid;

use self::look::Looks;
use crate::{
    error::Result,
    ingest::Ingest,
    store::{RequestId, Store},
    telemetry::Telemetry,
};

pub use self::{look::Looker, status::unready};

/// A stream of messages for a caller.
type Messages<M> = BoxStream<'static, std::result::Result<M, Status>>;

/// Most streams of WatchCampaigns of a process. A controller opens one, a person who looks at a screen another.
const WATCHES_MAX: usize = 100;

/// Most streams of StreamOutcomes of a process. One that is not read takes some 1 MiB.
const REPORT_STREAMS_MAX: usize = 512;

/// Implements all gRPC services.
#[derive(Clone)]
pub struct Rpc {
    store: Store,
    ingest: Ingest,
    telemetry: Arc<Telemetry>,
    /// Ends streams, which would outlast a drain otherwise.
    shutdown: CancellationToken,
    /// What watches look at.
    looks: Looks,
    /// Room for watches: each keeps what it sent of every campaign.
    watches: Arc<Semaphore>,
    /// Room for streams of outcomes: each keeps what its caller did not read.
    report_streams: Arc<Semaphore>,
    /// Longest wait for the next request of StreamOutcomes, and for a caller that does not read a stream.
    stream_idle: Duration,
}

impl Rpc {
    /// Creates the handlers, and the reader for watches, which the caller must run. Outcomes go to `store` through `ingest`, and
    /// `shutdown` ends streams. A stream waits for its caller for `stream_idle` at most.
    pub fn new(
        store: Store,
        ingest: Ingest,
        telemetry: Arc<Telemetry>,
        shutdown: CancellationToken,
        stream_idle: Duration,
    ) -> (Self, Looker) {
        let watches = Arc::new(Semaphore::new(WATCHES_MAX));
        let report_streams = Arc::new(Semaphore::new(REPORT_STREAMS_MAX));
        let (looks, looker) = Looks::new(store.clone());
        (Self { store, ingest, telemetry, shutdown, looks, watches, report_streams, stream_idle }, looker)
    }
}

/// Parses the id of a request, and digests the rest of it, so that the same id with another body can be refused. An id in upper
/// case is the same as in lower case.
fn request_id<Body: Message + Clone>(
    method: &str,
    request: &Body,
    id: fn(&mut Body) -> &mut String,
) -> Result<Option<RequestId>> {
    let mut body = request.clone();
    let text = std::mem::take(id(&mut body));
    let Some(text) = campaign_metrics::wire::request_id(&text)? else {
        return Ok(None);
    };
    let id = Uuid::try_parse(text).map_err(|error| Invalid::new("request_id", error))?;
    let mut digest = Sha256::new();
    digest.update(method);
    digest.update(body.encode_to_vec());
    Ok(Some(RequestId { id, digest: digest.finalize().to_vec() }))
}

/// Refuses a batch that is empty or too large.
fn batch_size(field: &str, size: usize, most: usize) -> Result<()> {
    match size {
        0 => Err(Invalid::new(field, "must not be empty").into()),
        size if size > most => {
            let problem = format!("has {size} entries, at most {most} fit in one call; split it");
            Err(Invalid::new(field, problem).into())
        }
        _ => Ok(()),
    }
}
