//! Brings one resource and its campaign together: asks `plan` what to do, does it, and writes what came of it.
//!
//! The spec is never written. The status is, by server-side apply and only when something changed. A resource keeps its
//! finalizer until the service has let go of the campaign; no timeout ever removes it. An event that can't be published
//! fails nothing.
//!
//! What the API server has to allow, cluster-wide or in one namespace:
//!
//! | group | resource | verbs | for |
//! |---|---|---|---|
//! | `campaign-metrics.io` | `campaigns` | get, list, watch | the cache |
//! | `campaign-metrics.io` | `campaigns` | patch | the finalizer, nothing else |
//! | `campaign-metrics.io` | `campaigns/status` | patch | the status |
//! | `events.k8s.io` | `events` | create, patch | the events, patched when they repeat |

use std::{sync::Arc, time::Duration};

use campaign_metrics::pb::{self, campaign_service_client::CampaignServiceClient};
use jiff::Timestamp;
use kube::{
    Api, Client, ResourceExt as _,
    runtime::{
        controller::Action,
        events::Recorder,
        finalizer::{self, finalizer},
    },
};
use tokio::time::timeout;
use tonic::{Code, transport::Channel};

use crate::{
    crd::{Campaign, CampaignStatus, DesiredState, FINALIZER, RECONCILE_ANNOTATION},
    desired,
    memory::{Memory, Remembered, Source},
    metrics::{Metrics, Outcome},
    plan::{self, Applied, Cause, Failure, Retry, Seen, Step},
};

mod delete;
mod write;

use write::{finalizers_changed, gone_is_fine};

/// Reconciles at once: enough to hide the latency of both servers, few enough to leave their pools to others.
pub const CONCURRENCY: u16 = 32;
/// Deadline of one call to the service, many times what an apply takes.
const CALL_DEADLINE: Duration = Duration::from_secs(10);
/// Deadline of one reconcile: two calls, a status write, and room. The Kubernetes client has none of its own.
pub const RECONCILE_DEADLINE: Duration = Duration::from_secs(30);
/// Grows with each change of leadership. One replica runs, and nobody contends: there is one leadership, the first.
const FENCING_TOKEN: i64 = 0;

/// Why a reconcile is to be repeated.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The service refused, failed, or is away.
    #[error("the campaign service: {0}")]
    Service(Failure),
    /// The API server refused, failed, or is away.
    #[error("the Kubernetes API: {0}")]
    Kubernetes(#[source] Box<kube::Error>),
    /// The resource has no name or our finalizer no valid one; the API server lets neither happen.
    #[error("malformed resource: {0}")]
    Malformed(String),
    /// Something did not answer.
    #[error("not done in {} s", RECONCILE_DEADLINE.as_secs())]
    Deadline,
}

/// What every reconcile works with.
#[derive(Clone)]
pub struct Context {
    /// The API server.
    pub kubernetes: Client,
    /// The service.
    pub service: CampaignServiceClient<Channel>,
    /// Publishes events.
    pub recorder: Recorder,
    /// What was done and seen before.
    pub memory: Arc<Memory>,
    /// Counts.
    pub metrics: Arc<Metrics>,
}

/// A resource as one reconcile sees it.
struct Subject<'a> {
    resource: &'a Campaign,
    uid: String,
    generation: i64,
    campaign_name: String,
    remembered: Remembered,
    /// The status last written, by us or before us.
    previous: Option<CampaignStatus>,
}

/// Reconciles a resource, within the deadline.
pub async fn reconcile(resource: Arc<Campaign>, context: Arc<Context>) -> Result<Action, Error> {
    let running = context.metrics.reconcile_started();
    let result = timeout(RECONCILE_DEADLINE, context.reconcile(&resource)).await.unwrap_or(Err(Error::Deadline));
    running.finish(match &result {
        Ok(action) if *action == Action::await_change() => Outcome::Success,
        Ok(_) => Outcome::RequeueAfter,
        Err(_) => Outcome::Error,
    });
    if result.is_ok() {
        context.memory.remember(&resource.uid().unwrap_or_default(), |remembered| {
            remembered.attempts = 0;
        });
    }
    result
}

/// How long to wait after a failed reconcile: longer with each failure in a row, for each resource by itself.
#[expect(clippy::needless_pass_by_value, reason = "the controller's signature")]
pub fn retry(resource: Arc<Campaign>, _: &Error, context: Arc<Context>) -> Action {
    let attempts = context.memory.remember(&resource.uid().unwrap_or_default(), |remembered| {
        remembered.attempts = remembered.attempts.saturating_add(1);
        remembered.attempts
    });
    Action::requeue(plan::backoff(attempts, rand::random()))
}

fn request<T>(message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(CALL_DEADLINE);
    request
}

impl Context {
    async fn reconcile(&self, resource: &Arc<Campaign>) -> Result<Action, Error> {
        let deleted = resource.metadata.deletion_timestamp.is_some();
        let paused = resource.annotations().get(RECONCILE_ANNOTATION).is_some_and(|value| value == "paused");
        if paused && !deleted {
            let subject = self.subject(resource);
            // Taking the annotation off tries again, also what was refused.
            self.memory.remember(&subject.uid, |remembered| remembered.stalled_generation = None);
            let next = plan::reconcile_paused(subject.previous.as_ref(), subject.generation, Timestamp::now());
            self.write_status(&subject, next).await?;
            return Ok(Action::await_change());
        }
        let done = finalizer(&self.api(resource), FINALIZER, Arc::clone(resource), async |event| match event {
            finalizer::Event::Apply(resource) => self.apply(&self.subject(&resource)).await,
            finalizer::Event::Cleanup(resource) => self.clean_up(&self.subject(&resource)).await,
        })
        .await;
        match done {
            Ok(action) => Ok(action),
            Err(finalizer::Error::ApplyFailed(error) | finalizer::Error::CleanupFailed(error)) => Err(error),
            Err(finalizer::Error::AddFinalizer(error) | finalizer::Error::RemoveFinalizer(error))
                if finalizers_changed(&error) =>
            {
                Ok(Action::requeue(plan::backoff(1, rand::random())))
            }
            Err(finalizer::Error::AddFinalizer(error) | finalizer::Error::RemoveFinalizer(error)) => {
                gone_is_fine(error).map(|()| Action::await_change())
            }
            Err(error @ (finalizer::Error::UnnamedObject | finalizer::Error::InvalidFinalizer)) => {
                Err(Error::Malformed(error.to_string()))
            }
        }
    }

    fn subject<'a>(&self, resource: &'a Campaign) -> Subject<'a> {
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

    fn api(&self, resource: &Campaign) -> Api<Campaign> {
        Api::namespaced(self.kubernetes.clone(), &resource.namespace().unwrap_or_default())
    }

    async fn apply(&self, subject: &Subject<'_>) -> Result<Action, Error> {
        if subject.remembered.stalled_generation == Some(subject.generation) {
            return Ok(Action::await_change());
        }
        match self.bring_about(subject).await {
            Ok((campaign, repaired)) => self.confirm(subject, &campaign, repaired).await,
            Err(failure) => self.report(subject, failure).await,
        }
    }

    /// Does what the plan says until there is a campaign to mirror; tells whether drift was repaired on the way.
    async fn bring_about(&self, subject: &Subject<'_>) -> Result<(Box<pb::Campaign>, bool), Failure> {
        let applied = subject.remembered.applied.as_ref();
        let seen = self.memory.seen(&subject.campaign_name, Timestamp::now());
        let mut step = plan::step(&subject.uid, subject.generation, applied, seen);
        if step == Step::Look {
            let seen = self.look(&subject.campaign_name).await?;
            step = plan::step(&subject.uid, subject.generation, applied, seen);
        }
        match step {
            Step::Mirror(campaign) => Ok((campaign, false)),
            Step::Apply(cause) => {
                let campaign = self.call_apply(subject).await?;
                let repaired = cause == Cause::Drift;
                if repaired {
                    self.metrics.drift_repairs.inc();
                }
                Ok((campaign, repaired))
            }
            Step::Look => Err(Failure::from(&tonic::Status::internal("looked, and know nothing"))),
        }
    }

    async fn look(&self, campaign_name: &str) -> Result<Seen, Failure> {
        let get = pb::GetCampaignRequest { name: campaign_name.to_owned() };
        match self.service.clone().get_campaign(request(get)).await {
            Ok(answer) => {
                let campaign = answer.into_inner();
                self.memory.observe(campaign.clone(), Source::Answer, Timestamp::now());
                Ok(Seen::Here(Box::new(campaign)))
            }
            Err(status) if status.code() == Code::NotFound => {
                self.memory.vanished(campaign_name);
                Ok(Seen::Gone)
            }
            Err(status) => Err(failed_call("GetCampaign", &status)),
        }
    }

    async fn call_apply(&self, subject: &Subject<'_>) -> Result<Box<pb::Campaign>, Failure> {
        let apply = desired::apply_request(subject.resource, FENCING_TOKEN)?;
        let answer = self.service.clone().apply_campaign(request(apply)).await;
        let campaign = answer.map_err(|status| failed_call("ApplyCampaign", &status))?.into_inner();
        self.memory.observe(campaign.clone(), Source::Answer, Timestamp::now());
        let was_active = subject.previous.as_ref().is_some_and(|status| status.state == Some(DesiredState::Active));
        if let Some((generation, seen_at)) = subject.remembered.edit
            && generation == subject.generation
            && was_active
            && campaign.state() == pb::CampaignState::Paused
        {
            self.metrics.time_to_pause.observe(seen_at.elapsed().as_secs_f64());
        }
        self.memory.remember(&subject.uid, |remembered| {
            remembered.applied = Some(Applied::new(subject.generation, &campaign));
        });
        Ok(Box::new(campaign))
    }

    /// Mirrors a campaign into the status and says when to look again.
    async fn confirm(&self, subject: &Subject<'_>, campaign: &pb::Campaign, repaired: bool) -> Result<Action, Error> {
        let now = Timestamp::now();
        let previous = subject.previous.as_ref();
        let next = plan::mirrored(previous, subject.generation, campaign, now);
        let state = subject.resource.spec.state;
        let confirmed_before = subject.remembered.confirmed_state;
        let edited_state = confirmed_before.is_some_and(|before| before != state).then_some(state);
        let notices = plan::mirrored_notices(previous, &next, edited_state, repaired);
        let counts_wait = self.write_status(subject, next).await?;
        self.memory.remember(&subject.uid, |remembered| remembered.confirmed_state = Some(state));
        self.publish(subject.resource, notices).await;
        let look_again = self.memory.look_again_in(&subject.campaign_name, now);
        Ok(Action::requeue(counts_wait.map_or(look_again, |wait| wait.min(look_again))))
    }

    /// Writes a failure into the status; only one that an edit must mend ends the reconcile well.
    async fn report(&self, subject: &Subject<'_>, failure: Failure) -> Result<Action, Error> {
        let previous = subject.previous.as_ref();
        let next = plan::failed(previous, subject.generation, &failure, Timestamp::now());
        let notice = plan::rejected_notice(previous, &next, &failure);
        self.write_status(subject, next).await?;
        self.publish(subject.resource, notice).await;
        if failure.retry == Retry::Backoff {
            return Err(Error::Service(failure));
        }
        tracing::warn!(campaign = subject.campaign_name, %failure, "refused until the spec changes");
        self.metrics.refused();
        self.memory.remember(&subject.uid, |remembered| {
            remembered.stalled_generation = Some(subject.generation);
        });
        Ok(Action::await_change())
    }
}

/// The plan wants a cause in stable words; the log wants the real one.
fn failed_call(call: &str, status: &tonic::Status) -> Failure {
    tracing::debug!(call, code = ?status.code(), message = status.message(), "a call to the service failed");
    Failure::from(status)
}
