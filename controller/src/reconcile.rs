//! Brings the campaign of one resource to its spec: asks `plan` for the next step, takes it, and writes the status.
//!
//! It never writes the spec. It writes the status by server-side apply, and only on a change. A resource keeps its
//! finalizer until the service has released the campaign; no timeout removes it. A failed event fails no reconcile.
//!
//! The API server must allow, cluster-wide or in one namespace:
//!
//! | group | resource | verbs | for |
//! |---|---|---|---|
//! | `campaign-metrics.io` | `campaigns` | get, list, watch | the cache |
//! | `campaign-metrics.io` | `campaigns` | patch | the finalizer, nothing else |
//! | `campaign-metrics.io` | `campaigns/status` | patch | the status |
//! | core | `namespaces` | get | `kube-system`, or the one namespace: its UID |
//! | `events.k8s.io` | `events` | create, patch | the events, patched when they repeat |

use std::{any::Any, panic::AssertUnwindSafe, sync::Arc, time::Instant};

use campaign_metrics::pb;
use futures::FutureExt as _;
use jiff::Timestamp;
use kube::{
    ResourceExt as _,
    runtime::{
        controller::Action,
        finalizer::{self, finalizer},
    },
};
use tokio::time::timeout;

pub use self::{
    context::{Context, Error, RECONCILE_DEADLINE},
    outage::Outage,
};
use self::{
    context::{Subject, failed_call, request},
    write::{finalizers_changed, gone_is_fine},
};
use crate::{
    crd::{Campaign, DesiredState, FINALIZER, RECONCILE_ANNOTATION},
    desired,
    memory::{Source, Stalled},
    metrics::Outcome,
    plan::{self, Applied, Cause, Failure, Observed, Retry, Step},
};

mod context;
mod delete;
mod diagnose;
mod outage;
mod write;

/// Increases with each change of the leader. One replica runs without leader election, so it stays at 0.
const FENCING_TOKEN: i64 = 0;

/// Reconciles a resource within [`RECONCILE_DEADLINE`]. A panic is an error of this one resource.
pub async fn reconcile(resource: Arc<Campaign>, context: Arc<Context>) -> Result<Action, Error> {
    let running = context.metrics.reconcile_started();
    let reconciling = AssertUnwindSafe(timeout(RECONCILE_DEADLINE, context.reconcile(&resource)));
    let result = match reconciling.catch_unwind().await {
        Ok(result) => result.unwrap_or(Err(Error::Deadline)),
        Err(panic) => {
            context.metrics.panicked();
            Err(Error::Panic(panic_text(&*panic)))
        }
    };
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

/// Returns the text of a panic.
fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("without a text").to_owned()
}

/// Returns the wait after a failed reconcile. It grows with each consecutive failure of the same resource.
#[expect(clippy::needless_pass_by_value, reason = "the controller's signature")]
pub fn retry(resource: Arc<Campaign>, _: &Error, context: Arc<Context>) -> Action {
    let attempts = context.memory.remember(&resource.uid().unwrap_or_default(), |remembered| {
        remembered.attempts = remembered.attempts.saturating_add(1);
        remembered.attempts
    });
    Action::requeue(plan::backoff(attempts, rand::random()))
}

/// The campaign of a resource after its spec was applied, or found to be in force.
struct Converged {
    campaign: Box<pb::Campaign>,
    /// Whether drift was repaired.
    repaired: bool,
    /// The campaign that was there before the resource applied its first spec.
    before: Option<Box<pb::Campaign>>,
}

impl Context {
    async fn reconcile(&self, resource: &Arc<Campaign>) -> Result<Action, Error> {
        let deleted = resource.metadata.deletion_timestamp.is_some();
        let paused = resource.annotations().get(RECONCILE_ANNOTATION).is_some_and(|value| value == "paused");
        if paused && !deleted {
            let subject = self.subject(resource);
            // When the annotation is removed, a refused generation is tried again.
            self.memory.remember(&subject.uid, |remembered| remembered.stalled = None);
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
            Err(finalizer::Error::CleanupFailed(Error::Waits(wait))) => Ok(Action::requeue(wait)),
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

    async fn apply(&self, subject: &Subject<'_>) -> Result<Action, Error> {
        if let Some(wait) = subject.remembered.stalled_for(subject.generation, &self.memory.service_version()) {
            return Ok(Action::requeue(wait));
        }
        let cluster = self.cluster.get(&self.kubernetes).await.map_err(|error| Error::Kubernetes(Box::new(error)))?;
        match self.converge(subject, cluster).await {
            Ok(converged) => self.confirm(subject, &converged).await,
            Err(failure) => self.report(subject, failure).await,
        }
    }

    /// Follows the plan until there is a campaign to mirror.
    async fn converge(&self, subject: &Subject<'_>, cluster: String) -> Result<Converged, Failure> {
        let applied = subject.remembered.applied.as_ref();
        let observed = self.memory.observed(&subject.campaign_name, Timestamp::now());
        let mut step = plan::step(&subject.uid, subject.generation, applied, observed);
        if step == Step::Fetch {
            let observed = self.fetch(&subject.campaign_name).await?;
            step = plan::step(&subject.uid, subject.generation, applied, observed);
        }
        match step {
            Step::Mirror(campaign) => Ok(Converged { campaign, repaired: false, before: None }),
            Step::Apply(cause) => {
                // A resource that never had a campaign may find one, and its event says what was replaced.
                let is_new = subject.previous.as_ref().is_none_or(|status| status.campaign_uid.is_none());
                let before = match cause {
                    Cause::Generation if is_new => match self.fetch(&subject.campaign_name).await? {
                        Observed::Present(campaign) => Some(campaign),
                        Observed::Absent | Observed::Unknown => None,
                    },
                    Cause::Generation | Cause::Drift => None,
                };
                let campaign = self.call_apply(subject, cluster).await?;
                let repaired = cause == Cause::Drift;
                if repaired {
                    self.metrics.drift_repairs.inc();
                }
                Ok(Converged { campaign, repaired, before })
            }
            Step::Fetch => Err(Failure::from(&tonic::Status::internal("looked, and know nothing"))),
        }
    }

    async fn call_apply(&self, subject: &Subject<'_>, cluster: String) -> Result<Box<pb::Campaign>, Failure> {
        let apply = desired::apply_request(subject.resource, FENCING_TOKEN, cluster)?;
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

    /// Mirrors a campaign into the status, and schedules the next reconcile.
    async fn confirm(&self, subject: &Subject<'_>, converged: &Converged) -> Result<Action, Error> {
        let Converged { campaign, repaired, before } = converged;
        let now = Timestamp::now();
        let previous = subject.previous.as_ref();
        let (diagnosis, diagnosis_wait) = self.diagnose_if_due(subject, campaign).await;
        let mut next = plan::mirrored(previous, subject.generation, campaign, now);
        if let Some(diagnosis) = diagnosis {
            next = plan::with_diagnosis(next, &diagnosis);
        }
        let state = subject.resource.spec.state;
        let confirmed_before = subject.remembered.confirmed_state;
        let edited_state = confirmed_before.is_some_and(|before| before != state).then_some(state);
        let notices = plan::mirrored_notices(previous, &next, edited_state, *repaired);
        let counts_wait = self.write_status(subject, next).await?;
        self.memory.remember(&subject.uid, |remembered| remembered.confirmed_state = Some(state));
        let adopted = before.as_ref().and_then(|before| plan::adoption_notice(before, campaign, &subject.uid));
        self.publish(subject.resource, adopted.into_iter().chain(notices)).await;
        let look_again = self.memory.look_again_in(&subject.campaign_name, now).min(diagnosis_wait);
        Ok(Action::requeue(counts_wait.map_or(look_again, |wait| wait.min(look_again))))
    }

    /// Writes a failure into the status. A failure that only an edit can repair is retried rarely.
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
        let stalled = Stalled {
            generation: subject.generation,
            reason: failure.reason,
            since: Instant::now(),
            wait: plan::refused_wait(rand::random()),
            service_version: self.memory.service_version(),
        };
        let wait = stalled.wait;
        self.memory.remember(&subject.uid, |remembered| remembered.stalled = Some(stalled));
        Ok(Action::requeue(wait))
    }
}
