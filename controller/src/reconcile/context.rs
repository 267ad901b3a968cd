//! What all reconciles share: clients and memory, the error, and the calls that more than one step makes.

use std::{sync::Arc, time::Duration};

use campaign_metrics::pb::{
    self, campaign_service_client::CampaignServiceClient, performance_service_client::PerformanceServiceClient,
};
use jiff::Timestamp;
use kube::{Api, Client, ResourceExt as _};
use tonic::{Code, transport::Channel};

use crate::{
    cluster::ClusterId,
    crd::{Campaign, CampaignStatus},
    desired,
    events::Recorder,
    memory::{Memory, Remembered, Source},
    metrics::Metrics,
    plan::{Failure, Observed},
};

/// Deadline of one call to the service: many times the duration of an apply.
const CALL_DEADLINE: Duration = Duration::from_secs(10);
/// Deadline of one reconcile: two calls, a diagnosis, one status write, and some reserve. The Kubernetes client sets no deadline.
pub const RECONCILE_DEADLINE: Duration = Duration::from_secs(30);
/// The reason to retry a reconcile.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The service refused the call, failed, or is unreachable.
    #[error("the campaign service: {0}")]
    Service(Failure),
    /// The API server refused the call, failed, or is unreachable.
    #[error("the Kubernetes API: {0}")]
    Kubernetes(#[source] Box<kube::Error>),
    /// The resource has no name, or the name of the finalizer is not valid. The API server prevents both.
    #[error("malformed resource: {0}")]
    Malformed(String),
    /// A deleted resource waits for something that ends by itself or by a person, and is looked at again after this time.
    #[error("the deletion waits")]
    Waits(Duration),
    /// The reconcile panicked.
    #[error("a panic: {0}")]
    Panic(String),
    /// The reconcile did not finish within its deadline.
    #[error("not done in {} s", RECONCILE_DEADLINE.as_secs())]
    Deadline,
}

/// The clients and state that all reconciles share.
#[derive(Clone)]
pub struct Context {
    /// Client of the API server.
    pub kubernetes: Client,
    /// Client of the campaign service.
    pub service: CampaignServiceClient<Channel>,
    /// Client that diagnoses campaigns.
    pub performance: PerformanceServiceClient<Channel>,
    /// What identifies the cluster.
    pub cluster: ClusterId,
    /// Publishes events.
    pub recorder: Recorder,
    /// State kept between reconciles.
    pub memory: Arc<Memory>,
    /// Metrics of the controller.
    pub metrics: Arc<Metrics>,
}

/// A resource as one reconcile sees it.
pub(super) struct Subject<'a> {
    /// The resource.
    pub resource: &'a Campaign,
    /// Its UID.
    pub uid: String,
    /// Its generation.
    pub generation: i64,
    /// Resource name of its campaign in the service.
    pub campaign_name: String,
    /// What the controller did about it before.
    pub remembered: Remembered,
    /// The status that was written last, by this process or an earlier one.
    pub previous: Option<CampaignStatus>,
}

/// Wraps a message in a request with the deadline of one call.
pub(super) fn request<T>(message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(CALL_DEADLINE);
    request
}

impl Context {
    /// The API of the namespace of a resource.
    pub(super) fn api(&self, resource: &Campaign) -> Api<Campaign> {
        Api::namespaced(self.kubernetes.clone(), &resource.namespace().unwrap_or_default())
    }

    /// Collects what one reconcile needs to know about a resource.
    pub(super) fn subject<'a>(&self, resource: &'a Campaign) -> Subject<'a> {
        let uid = resource.uid().unwrap_or_default();
        let remembered = self.memory.recall(&uid);
        Subject {
            resource,
            generation: resource.metadata.generation.unwrap_or_default(),
            campaign_name: desired::campaign_name(&resource.namespace().unwrap_or_default(), &resource.name_any()),
            previous: remembered.status.clone().or_else(|| resource.status.clone()),
            remembered,
            uid,
        }
    }

    /// Asks the service for a campaign, and remembers the answer.
    pub(super) async fn fetch(&self, campaign_name: &str) -> Result<Observed, Failure> {
        let get = pb::GetCampaignRequest { name: campaign_name.to_owned() };
        match self.service.clone().get_campaign(request(get)).await {
            Ok(answer) => {
                let campaign = answer.into_inner();
                self.memory.observe(campaign.clone(), Source::Answer, Timestamp::now());
                Ok(Observed::Present(Box::new(campaign)))
            }
            Err(status) if status.code() == Code::NotFound => {
                self.memory.vanished(campaign_name);
                Ok(Observed::Absent)
            }
            Err(status) => Err(failed_call("GetCampaign", &status)),
        }
    }
}

/// Logs a failed call with its full text, and turns it into a failure with a stable text for conditions.
pub(super) fn failed_call(call: &str, status: &tonic::Status) -> Failure {
    tracing::debug!(call, code = ?status.code(), message = status.message(), "a call to the service failed");
    Failure::from(status)
}
