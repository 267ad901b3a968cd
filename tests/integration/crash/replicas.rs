//! A client of several replicas, of which some may be away.
//!
//! A call without an answer is retried at the next replica. Errors of the service are told apart from errors of a
//! process that died.

use std::time::Duration;

use anyhow::Result;
use campaign_metrics::pb::{
    account_service_client::AccountServiceClient, campaign_service_client::CampaignServiceClient,
    lead_service_client::LeadServiceClient, sending_service_client::SendingServiceClient,
};
use tonic::{
    Code, Request, Response, Status,
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt as _;

/// Deadline of a call: a hundred times its duration on a busy machine, so that a hanging call is noticed.
pub const CALL_MAX: Duration = Duration::from_secs(10);

/// Pause after an error: short, so that a restarted process has load at once.
const PAUSE: Duration = Duration::from_millis(25);

/// The clients of one replica.
#[derive(Debug, Clone)]
pub struct Replica {
    pub campaigns: CampaignServiceClient<Channel>,
    pub accounts: AccountServiceClient<Channel>,
    pub leads: LeadServiceClient<Channel>,
    pub sending: SendingServiceClient<Channel>,
}

impl Replica {
    pub fn at(url: &str) -> Result<Self> {
        let endpoint = Endpoint::from_shared(url.to_owned())?.connect_timeout(Duration::from_secs(2)).tcp_nodelay(true);
        let channel = endpoint.connect_lazy();
        Ok(Self {
            campaigns: CampaignServiceClient::new(channel.clone()),
            accounts: AccountServiceClient::new(channel.clone()),
            leads: LeadServiceClient::new(channel.clone()),
            sending: SendingServiceClient::new(channel),
        })
    }
}

/// All of them.
#[derive(Debug, Clone)]
pub struct Replicas(pub Vec<Replica>);

impl Replicas {
    pub fn at(urls: &[String]) -> Result<Self> {
        Ok(Self(urls.iter().map(|url| Replica::at(url)).collect::<Result<_>>()?))
    }

    /// One of them; numbers go round.
    pub fn get(&self, number: usize) -> &Replica {
        &self.0[number % self.0.len()]
    }

    /// Retries a call until it is answered, beginning at replica `first`. An error of the service ends it.
    ///
    /// If no replica ever answers, the caller is killed or cancelled.
    pub async fn insist<T>(
        &self,
        first: usize,
        call: impl AsyncFn(&Replica) -> Result<Response<T>, Status>,
    ) -> Result<T, Status> {
        for number in first.. {
            match answer(call(self.get(number))).await {
                Err(status) if is_of_a_crash(&status) => pause().await,
                answered => return answered,
            }
        }
        unreachable!("the numbers do not end")
    }
}

/// Waits for an answer until the deadline.
pub async fn answer<T>(call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, Status> {
    match tokio::time::timeout(CALL_MAX, call).await {
        Ok(answered) => answered.map(Response::into_inner),
        Err(_) => Err(Status::deadline_exceeded("no answer")),
    }
}

/// Makes a request with the deadline for the service.
pub fn request<M>(message: M) -> Request<M> {
    let mut request = Request::new(message);
    request.set_timeout(CALL_MAX);
    request
}

/// A client's pause before it tries again.
pub async fn pause() {
    tokio::time::sleep(PAUSE.mul_f64(rand::random_range(0.5..1.5))).await;
}

/// Returns whether a call may fail like this because a process died: the connection broke, or the service says that its
/// database is away or that it is overloaded. Answers of the service carry an ErrorInfo. Contention does not count: the
/// store's retries resolve it.
pub fn is_of_a_crash(status: &Status) -> bool {
    let info = status.get_details_error_info();
    if info.as_ref().is_some_and(|info| info.reason == "CONTENDED") {
        return false;
    }
    let is_own = info.is_some() || status.code() == Code::Unimplemented;
    !is_own || matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded | Code::ResourceExhausted)
}
