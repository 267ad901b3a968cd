//! The connection to the service. Every call has a deadline, which the service gets and this client enforces.

use std::time::Duration;

use anyhow::Context as _;
use campaign_metrics::pb::{
    self, account_service_client::AccountServiceClient, campaign_service_client::CampaignServiceClient,
    lead_service_client::LeadServiceClient, opt_out_service_client::OptOutServiceClient,
    performance_service_client::PerformanceServiceClient, sending_service_client::SendingServiceClient,
};
use tonic::{
    Code, Request, Response, Status,
    transport::{Channel, Endpoint},
};

use crate::failure::Failure;

/// Resources of a page: the maximum of the service.
pub const PAGE: u32 = 1000;
/// Deadline of a simple call: much longer than any call takes, and short enough for a person who waits.
pub const CALL_MAX: Duration = Duration::from_secs(15);
/// Deadline for connecting: a server on the other side of the world needs less than one second.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Interval of pings while a call is open.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// Largest response: 10 000 refused leads with a sentence each take 3 MiB. 20 compared campaigns of 400 days take 2 MiB.
const RESPONSE_BYTES_MAX: usize = 16 << 20;

/// A service to call.
#[derive(Debug, Clone)]
pub struct Service {
    server: String,
    channel: Channel,
}

impl Service {
    /// Creates a client, which connects with the first call.
    pub fn new(server: &str) -> anyhow::Result<Self> {
        let endpoint = Endpoint::from_shared(server.to_owned())
            .with_context(|| format!("`{server}` is no server; --server takes a URL such as http://127.0.0.1:50051"))?;
        // A view that waits for changes must notice a connection that is gone without a word.
        let endpoint = endpoint
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(CONNECT_MAX)
            .tcp_keepalive(Some(KEEP_ALIVE));
        let endpoint = endpoint.user_agent(format!("campaignctl/{}", campaign_metrics::VERSION))?;
        let channel = endpoint.connect_timeout(CONNECT_MAX).tcp_nodelay(true).connect_lazy();
        Ok(Self { server: server.to_owned(), channel })
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
        LeadServiceClient::new(self.channel.clone()).max_decoding_message_size(RESPONSE_BYTES_MAX)
    }

    /// Returns the client of claims.
    pub fn sending(&self) -> SendingServiceClient<Channel> {
        SendingServiceClient::new(self.channel.clone())
    }

    /// Returns the client of opt-outs.
    pub fn opt_outs(&self) -> OptOutServiceClient<Channel> {
        OptOutServiceClient::new(self.channel.clone())
    }

    /// Returns the client of answers.
    pub fn performance(&self) -> PerformanceServiceClient<Channel> {
        PerformanceServiceClient::new(self.channel.clone()).max_decoding_message_size(RESPONSE_BYTES_MAX)
    }

    /// Reads a campaign, by its resource name.
    pub async fn get_campaign(&self, name: String) -> Result<pb::Campaign, Failure> {
        let mut client = self.campaigns();
        self.call(pb::GetCampaignRequest { name }, |request| client.get_campaign(request)).await
    }

    /// Makes a simple call with [`CALL_MAX`] as its deadline.
    pub async fn call<M, T, F>(&self, message: M, method: impl FnOnce(Request<M>) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let mut request = Request::new(message);
        request.set_timeout(CALL_MAX);
        self.within(CALL_MAX, method(request)).await
    }

    /// Awaits a call until its deadline.
    pub async fn within<T>(
        &self,
        deadline: Duration,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, Failure> {
        let late = || Status::deadline_exceeded(format!("no answer within {} s", deadline.as_secs()));
        let status = match tokio::time::timeout(deadline, call).await {
            Ok(Ok(response)) => return Ok(response.into_inner()),
            // The transport returns CANCELLED when the deadline of a request expires. Nothing else here cancels a call.
            Ok(Err(status)) if status.code() == Code::Cancelled => late(),
            Ok(Err(status)) => status,
            Err(_) => late(),
        };
        Err(self.failure(status))
    }

    /// Returns a failure of a call to this service.
    pub fn failure(&self, status: Status) -> Failure {
        Failure { server: self.server.clone(), status }
    }
}
