//! Releases or deletes the campaign of a deleted resource.
//!
//! A campaign that the resource does not own is unchanged. The finalizer stays until the service has answered, unless
//! an annotation forces the deletion.

use campaign_metrics::pb;
use jiff::Timestamp;
use kube::{ResourceExt as _, runtime::controller::Action};
use tonic::Code;

use super::context::{Context, Error, Subject, failed_call, request};
use crate::{
    crd::{DeletionPolicy, FORCE_DELETE_ANNOTATION},
    plan::{self, Failure, Notice, Observed, Severity},
};

impl Context {
    /// Cleans up after a deleted resource. On success, the caller removes the finalizer.
    pub(super) async fn clean_up(&self, subject: &Subject<'_>) -> Result<Action, Error> {
        let forced = subject.resource.annotations().get(FORCE_DELETE_ANNOTATION).is_some_and(|value| value == "true");
        match self.release(subject, forced).await {
            Ok(()) => {}
            Err(failure) if forced => {
                tracing::warn!(campaign = subject.campaign_name, %failure, "let go by force");
                let note = format!("let go by force; the service could not be told: {failure}");
                self.publish(subject.resource, [Notice::new("Rejected", Severity::Warning, note)]).await;
            }
            Err(failure) => {
                let now = Timestamp::now();
                let next = plan::deletion_waits(subject.previous.as_ref(), subject.generation, &failure, now);
                self.write_status(subject, next).await?;
                return Err(Error::Service(failure));
            }
        }
        self.memory.forget(&subject.uid);
        self.memory.vanished(&subject.campaign_name);
        Ok(Action::await_change())
    }

    /// Releases or deletes the campaign in the service, if the resource owns it.
    async fn release(&self, subject: &Subject<'_>, forced: bool) -> Result<(), Failure> {
        let name = subject.campaign_name.clone();
        let owner_uid = subject.uid.clone();
        let mut service = self.service.clone();
        let answer = match subject.resource.spec.deletion_policy {
            DeletionPolicy::Orphan => {
                let orphan = pb::OrphanCampaignRequest { name, owner_uid };
                service.orphan_campaign(request(orphan)).await.map(drop)
            }
            DeletionPolicy::Delete => {
                // A resource that was refused (other owner, not adoptable) must not delete the campaign.
                let Observed::Present(campaign) = self.fetch(&name).await? else {
                    return Ok(());
                };
                if campaign.owner.as_ref().is_none_or(|owner| owner.uid != owner_uid) {
                    return Ok(());
                }
                let delete = pb::DeleteCampaignRequest { name, etag: campaign.etag, force: forced, owner_uid };
                service.delete_campaign(request(delete)).await.map(drop)
            }
        };
        match answer {
            Err(status) if status.code() == Code::NotFound => Ok(()),
            Err(status) if plan::error_reason(&status) == "CAMPAIGN_OWNED" => Ok(()),
            answer => answer.map_err(|status| failed_call("letting go", &status)),
        }
    }
}
