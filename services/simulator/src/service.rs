//! Calls the service with deadlines, and retries idempotent calls while the service is unreachable.

use std::{error::Error as _, time::Duration};

use anyhow::{Context as _, anyhow};
use campaign_metrics::pb::{
    account_service_client::AccountServiceClient, campaign_service_client::CampaignServiceClient,
    lead_service_client::LeadServiceClient, sending_service_client::SendingServiceClient,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::{
    Code, Request, Response, Status,
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt as _;

/// Resources of a page: the maximum of the service.
pub(crate) const PAGE: i32 = 1000;
/// Deadline of a call: a thousand times its usual duration, and short enough to detect a service that hangs.
const CALL_MAX: Duration = Duration::from_secs(10);
/// Deadline for connecting.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// First backoff. It doubles with each retry.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// Longest backoff, so that senders continue soon after the service is reachable again.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// Longest time of retries after the stop. Outcomes that are not reported by then are lost, and the run fails.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// Interval of pings while a call is open.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// The client of the service.
#[derive(Debug, Clone)]
pub struct Service {
    server: String,
    channel: Channel,
    stop: CancellationToken,
}

impl Service {
    /// Creates a client, which connects with the first call.
    pub fn new(server: &str, stop: CancellationToken) -> anyhow::Result<Self> {
        let endpoint = Endpoint::from_shared(server.to_owned())
            .with_context(|| format!("`{server}` is no server; --server takes a URL such as http://127.0.0.1:50051"))?;
        let endpoint = endpoint.http2_keep_alive_interval(KEEP_ALIVE).keep_alive_timeout(CONNECT_MAX);
        let endpoint = endpoint.tcp_keepalive(Some(KEEP_ALIVE));
        let endpoint = endpoint.user_agent(format!("campaign-simulator/{}", campaign_metrics::VERSION))?;
        Ok(Self {
            server: server.to_owned(),
            channel: endpoint.connect_timeout(CONNECT_MAX).tcp_nodelay(true).connect_lazy(),
            stop,
        })
    }

    /// Returns the token that is cancelled when senders must stop.
    pub fn stopped(&self) -> &CancellationToken {
        &self.stop
    }

    /// Returns the client of campaigns.
    pub fn campaigns(&self) -> CampaignServiceClient<Channel> {
        CampaignServiceClient::new(self.channel.clone())
    }

    /// Returns the client of accounts.
    pub fn accounts(&self) -> AccountServiceClient<Channel> {
        AccountServiceClient::new(self.channel.clone())
    }

    /// Returns the client of leads.
    pub fn leads(&self) -> LeadServiceClient<Channel> {
        LeadServiceClient::new(self.channel.clone())
    }

    /// Returns the client of sending.
    pub fn sending(&self) -> SendingServiceClient<Channel> {
        SendingServiceClient::new(self.channel.clone())
    }

    /// Converts the error of a call into one for people.
    pub fn explain(&self, status: &Status) -> anyhow::Error {
        let reason = status.get_details_error_info().map(|info| format!(" ({})", info.reason));
        let reason = reason.unwrap_or_else(|| format!(" ({:?})", status.code()));
        let remedy = if is_transient(status) {
            "; check that the service runs there, another place is named by --server"
        } else {
            ""
        };
        anyhow!("{}: {}{reason}{remedy}", self.server, status.message())
    }

    /// Makes a call once.
    pub async fn once<M, T, F>(&self, message: M, method: impl FnOnce(Request<M>) -> F) -> Result<T, Status>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let mut request = Request::new(message);
        request.set_timeout(CALL_MAX);
        match tokio::time::timeout(CALL_MAX, method(request)).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            // The transport returns CANCELLED when the deadline of a request expires. Nothing else here cancels a call.
            Ok(Err(status)) if status.code() != Code::Cancelled => Err(status),
            _ => Err(Status::deadline_exceeded(format!("no answer within {} s", CALL_MAX.as_secs()))),
        }
    }

    /// Makes a call, and retries it until it is answered or refused, or until [`STOP_PATIENCE`] after the stop.
    pub async fn repeat<C, M, T, F>(
        &self,
        client: C,
        message: M,
        method: impl Fn(C, Request<M>) -> F,
    ) -> Result<T, Status>
    where
        C: Clone,
        M: Clone,
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let mut pause = PAUSE_MIN;
        let mut end = None;
        loop {
            let status = match self.once(message.clone(), |request| method(client.clone(), request)).await {
                Ok(answer) => {
                    if pause > PAUSE_MIN {
                        tracing::info!(server = self.server, "the service answers again");
                    }
                    return Ok(answer);
                }
                Err(status) => status,
            };
            if self.stop.is_cancelled() {
                end.get_or_insert_with(|| Instant::now() + STOP_PATIENCE);
            }
            if !is_transient(&status) || end.is_some_and(|end| Instant::now() > end) {
                return Err(status);
            }
            let advised = status.get_details_retry_info().and_then(|info| info.retry_delay);
            let wait = pause.max(advised.unwrap_or_default()).min(PAUSE_MAX);
            let wait = wait.mul_f64(rand::random_range(1.0..1.5));
            tracing::warn!(server = self.server, code = ?status.code(), message = status.message(), ?wait, "repeating a call");
            if end.is_some() {
                tokio::time::sleep(wait).await;
            } else {
                self.stop.run_until_cancelled(tokio::time::sleep(wait)).await;
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}

/// Returns whether a retry of the same call may succeed. A status with a source comes from the connection: whatever its
/// code, the service did not answer.
fn is_transient(status: &Status) -> bool {
    let code = status.code();
    matches!(code, Code::Unavailable | Code::DeadlineExceeded | Code::ResourceExhausted) || status.source().is_some()
}
