//! The connection to the service. Every call has a deadline, which the service gets and this client enforces.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use campaign_metrics::pb::{
    self, account_service_client::AccountServiceClient, campaign_service_client::CampaignServiceClient,
    lead_service_client::LeadServiceClient, opt_out_service_client::OptOutServiceClient,
    performance_service_client::PerformanceServiceClient, sending_service_client::SendingServiceClient,
};
use tokio::time::sleep;
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
        self.call(pb::GetCampaignRequest { name }, async |request| client.get_campaign(request).await).await
    }

    /// Reads the accounts of a campaign, by its resource name, all pages as one.
    pub async fn campaign_accounts(&self, campaign: String) -> Result<pb::ListCampaignAccountsResponse, Failure> {
        let mut client = self.performance();
        let mut request = pb::ListCampaignAccountsRequest {
            parent: campaign,
            page_size: PAGE.cast_signed(),
            page_token: String::new(),
        };
        let mut whole = pb::ListCampaignAccountsResponse::default();
        loop {
            let page = self.call(request.clone(), async |request| client.list_campaign_accounts(request).await).await?;
            if request.page_token.is_empty() {
                whole = page;
            } else {
                whole.accounts.extend(page.accounts);
                whole.next_page_token = page.next_page_token;
            }
            if whole.next_page_token.is_empty() {
                return Ok(whole);
            }
            request.page_token.clone_from(&whole.next_page_token);
        }
    }

    /// Reads the accounts of a workspace, all pages.
    pub async fn list_accounts(&self, parent: String) -> Result<Vec<pb::Account>, Failure> {
        let mut client = self.accounts();
        let mut accounts = Vec::new();
        let mut request = pb::ListAccountsRequest { parent, page_size: PAGE.cast_signed(), page_token: String::new() };
        loop {
            let page = self.call(request.clone(), async |request| client.list_accounts(request).await).await?;
            accounts.extend(page.accounts);
            if page.next_page_token.is_empty() {
                return Ok(accounts);
            }
            request.page_token = page.next_page_token;
        }
    }

    /// Reads the campaigns that `request` asks for, all pages.
    pub async fn list_campaigns(&self, request: pb::ListCampaignsRequest) -> Result<Vec<pb::Campaign>, Failure> {
        let mut client = self.campaigns();
        let mut campaigns = Vec::new();
        let mut request = pb::ListCampaignsRequest { page_size: PAGE.cast_signed(), ..request };
        loop {
            let page = self.call(request.clone(), async |request| client.list_campaigns(request).await).await?;
            campaigns.extend(page.campaigns);
            if page.next_page_token.is_empty() {
                return Ok(campaigns);
            }
            request.page_token = page.next_page_token;
        }
    }

    /// Makes a simple call with [`CALL_MAX`] as its deadline, in which it is repeated while the service starts.
    pub async fn call<M: Clone, T>(
        &self,
        message: M,
        mut method: impl AsyncFnMut(Request<M>) -> Result<Response<T>, Status>,
    ) -> Result<T, Failure> {
        // Boxed, because it holds a request, which can be a whole campaign.
        Box::pin(self.once_ready(async |left| self.once(message.clone(), left, &mut method).await)).await
    }

    /// Makes a simple call once.
    pub async fn once<M, T>(
        &self,
        message: M,
        deadline: Duration,
        method: impl AsyncFnOnce(Request<M>) -> Result<Response<T>, Status>,
    ) -> Result<T, Failure> {
        let mut request = Request::new(message);
        request.set_timeout(deadline);
        self.within(deadline, method(request)).await
    }

    /// Makes a call, and repeats it while the service starts: until then it refuses all calls, and nothing was done.
    ///
    /// `call` gets what is left of [`CALL_MAX`]. The last refusal is returned when the service asks to wait for longer.
    pub async fn once_ready<T>(&self, mut call: impl AsyncFnMut(Duration) -> Result<T, Failure>) -> Result<T, Failure> {
        let started = Instant::now();
        loop {
            let failure = match call(CALL_MAX.saturating_sub(started.elapsed())).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            let Some(wait) = failure.ready_after() else { return Err(failure) };
            // So that clients that wait for the same service don't all come back at once.
            let wait = wait.mul_f64(rand::random_range(1.0..1.5));
            if started.elapsed() + wait >= CALL_MAX {
                return Err(failure);
            }
            sleep(wait).await;
        }
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
