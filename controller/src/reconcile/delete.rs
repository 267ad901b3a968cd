//! Releases or deletes the campaign of a deleted resource. Both pause it first.
//!
//! A campaign that the resource does not own is unchanged. The finalizer stays until the service has answered, unless
//! an annotation forces the deletion.

use std::time::Duration;

use campaign_metrics::pb;
use jiff::Timestamp;
use kube::{ResourceExt as _, runtime::controller::Action};
use tonic::{Code, Status};

use super::context::{Context, Error, Subject, failed_call, request};
use crate::{
    crd::{CampaignStatus, DeletionPolicy, FORCE_DELETE_ANNOTATION, KEEP_RUNNING_ANNOTATION},
    memory::{LOOK_AGAIN_MIN, Source},
    plan::{self, Failure, Notice, Observed, Severity},
};

/// Longest wait before a deleted resource that waits for claims is looked at again. The service's stream tells sooner.
const LOOK_AGAIN_MAX: Duration = Duration::from_mins(1);

/// What became of the campaign of a deleted resource.
enum Released {
    /// It stays in the service without owner.
    Left(Box<pb::Campaign>),
    /// It was deleted, or it is not the resource's.
    Gone,
    /// It is paused, and waits for claims.
    Waits(Box<CampaignStatus>, Duration),
}

impl Context {
    /// Cleans up after a deleted resource. On success, the caller removes the finalizer.
    pub(super) async fn clean_up(&self, subject: &Subject<'_>) -> Result<Action, Error> {
        let previous = subject.previous.as_ref();
        let forced = is_annotated(subject, FORCE_DELETE_ANNOTATION);
        match self.release(subject, forced).await {
            Ok(Released::Left(campaign)) => {
                self.publish(subject.resource, [plan::orphaned_notice(&campaign)]).await;
            }
            Ok(Released::Gone) => {}
            Ok(Released::Waits(next, wait)) => {
                self.say_that_it_waits(subject, *next).await?;
                return Err(Error::Waits(wait));
            }
            Err(failure) if forced => {
                tracing::warn!(campaign = subject.campaign_name, %failure, "let go by force");
                let note = format!(
                    "let go by force; the service could not be told, so the campaign may still send: once it answers, run \
                     `campaignctl campaigns orphan`, then `campaignctl campaigns pause`. {failure}"
                );
                self.publish(subject.resource, [Notice::new("Rejected", Severity::Warning, note)]).await;
            }
            Err(failure) => {
                let next = plan::deletion_waits(previous, subject.generation, &failure, Timestamp::now());
                self.say_that_it_waits(subject, next).await?;
                return Err(Error::Service(failure));
            }
        }
        self.memory.forget(&subject.uid);
        self.memory.vanished(&subject.campaign_name);
        Ok(Action::await_change())
    }

    async fn say_that_it_waits(&self, subject: &Subject<'_>, next: CampaignStatus) -> Result<(), Error> {
        let notice = plan::deletion_notice(subject.previous.as_ref(), &next);
        self.write_status(subject, next).await?;
        self.publish(subject.resource, notice).await;
        Ok(())
    }

    /// Pauses, then releases or deletes the campaign in the service, if the resource owns it.
    async fn release(&self, subject: &Subject<'_>, forced: bool) -> Result<Released, Failure> {
        match subject.resource.spec.deletion_policy {
            DeletionPolicy::Orphan => {
                let orphan = pb::OrphanCampaignRequest {
                    name: subject.campaign_name.clone(),
                    owner_uid: subject.uid.clone(),
                    pause: !is_annotated(subject, KEEP_RUNNING_ANNOTATION),
                };
                let orphaned = self.service.clone().orphan_campaign(request(orphan)).await;
                Ok(ours("OrphanCampaign", orphaned)?.map_or(Released::Gone, |left| Released::Left(Box::new(left))))
            }
            DeletionPolicy::Delete => self.delete(subject, forced).await,
        }
    }

    async fn delete(&self, subject: &Subject<'_>, forced: bool) -> Result<Released, Failure> {
        let (name, owner_uid) = (subject.campaign_name.clone(), subject.uid.clone());
        let Observed::Present(mut campaign) = self.fetch(&name).await? else { return Ok(Released::Gone) };
        // A resource that was refused (other owner, not adoptable) must not delete the campaign.
        if campaign.owner.as_ref().is_none_or(|owner| owner.uid != owner_uid) {
            return Ok(Released::Gone);
        }
        if campaign.state() == pb::CampaignState::Active {
            let (name, owner_uid) = (name.clone(), owner_uid.clone());
            let pause = pb::PauseCampaignRequest { name, owner_uid, ..pb::PauseCampaignRequest::default() };
            let paused = self.service.clone().pause_campaign(request(pause)).await;
            let Some(paused) = ours("PauseCampaign", paused)? else { return Ok(Released::Gone) };
            self.memory.observe(paused.clone(), Source::Answer, Timestamp::now());
            *campaign = paused;
        }
        let now = Timestamp::now();
        let waits = plan::claims_wait(subject.previous.as_ref(), subject.generation, &campaign, now);
        if let Some(next) = waits.filter(|_| !forced) {
            let wait = self.memory.look_again_in(&name, now).clamp(LOOK_AGAIN_MIN, LOOK_AGAIN_MAX);
            return Ok(Released::Waits(Box::new(next), wait));
        }
        let delete = pb::DeleteCampaignRequest { name, etag: String::new(), force: forced, owner_uid };
        ours("DeleteCampaign", self.service.clone().delete_campaign(request(delete)).await)?;
        Ok(Released::Gone)
    }
}

/// Returns the answer to a call for a deleted resource; `None` if the campaign is gone or not the resource's.
fn ours<T>(call: &str, answer: Result<tonic::Response<T>, Status>) -> Result<Option<T>, Failure> {
    match answer {
        Ok(answer) => Ok(Some(answer.into_inner())),
        Err(status) if status.code() == Code::NotFound => Ok(None),
        Err(status) if matches!(plan::error_reason(&status).as_str(), "CAMPAIGN_OWNED" | "CAMPAIGN_NOT_OWNED") => {
            Ok(None)
        }
        Err(status) => Err(failed_call(call, &status)),
    }
}

fn is_annotated(subject: &Subject<'_>, annotation: &str) -> bool {
    subject.resource.annotations().get(annotation).is_some_and(|value| value == "true")
}
