//! Writes statuses and events to Kubernetes.

use std::time::{Duration, Instant};

use kube::{
    Resource as _, ResourceExt as _,
    api::{Patch, PatchParams},
};
use tokio::time::timeout;

use super::context::{Context, Error, Subject};
use crate::{
    crd::{Campaign, CampaignStatus},
    plan::{self, Notice, Write},
};

/// Deadline of one event.
const EVENT_DEADLINE: Duration = Duration::from_secs(5);
/// Field manager of the status.
const FIELD_MANAGER: &str = "campaign-controller";

impl Context {
    /// Writes the status if it changed enough. `Some` is the wait until changed counts may be written.
    pub(super) async fn write_status(
        &self,
        subject: &Subject<'_>,
        next: CampaignStatus,
    ) -> Result<Option<Duration>, Error> {
        let since_last = subject.remembered.written.map(|written| written.elapsed());
        match plan::write(subject.previous.as_ref(), &next, since_last) {
            Write::Never => return Ok(None),
            Write::After(wait) => return Ok(Some(wait)),
            Write::Now => {}
        }
        let patch = serde_json::json!({
            "apiVersion": Campaign::api_version(&()),
            "kind": Campaign::kind(&()),
            // The UID prevents a write to a new resource with the same name.
            "metadata": {"name": subject.resource.name_any(), "uid": subject.uid},
            "status": next,
        });
        let written = self
            .api(subject.resource)
            .patch_status(
                &subject.resource.name_any(),
                &PatchParams::apply(FIELD_MANAGER).force(),
                &Patch::Apply(&patch),
            )
            .await;
        match written {
            Ok(_) => {
                self.metrics.status_writes.inc();
                self.memory.remember(&subject.uid, |remembered| {
                    remembered.status = Some(next);
                    remembered.written = Some(Instant::now());
                });
            }
            Err(error) => gone_is_fine(error)?,
        }
        Ok(None)
    }

    /// Publishes events. A failed event is logged and dropped.
    pub(super) async fn publish(&self, resource: &Campaign, notices: impl IntoIterator<Item = Notice>) {
        let reference = resource.object_ref(&());
        for notice in notices {
            let error = match timeout(EVENT_DEADLINE, self.recorder.publish(&notice, &reference)).await {
                Ok(Ok(())) => continue,
                Ok(Err(error)) => error.to_string(),
                Err(_) => "not published in time".to_owned(),
            };
            tracing::warn!(event = notice.reason, error, "an event was lost");
        }
    }
}

/// Ignores the error of a patch whose resource no longer exists, or was replaced by a new one with the same name.
pub(super) fn gone_is_fine(error: kube::Error) -> Result<(), Error> {
    match &error {
        kube::Error::Api(status) if status.code == 404 || status.code == 409 => Ok(()),
        _ => Err(Error::Kubernetes(Box::new(error))),
    }
}

/// Returns whether a patch of the finalizers failed its test operation, because the cache lags behind the resource.
///
/// Unlike the error for an invalid resource, the error of a failed test has no causes.
pub(super) fn finalizers_changed(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else { return false };
    status.code == 422 && status.details.as_ref().is_none_or(|details| details.causes.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn refused(code: u16, details: &Value) -> kube::Error {
        let status = json!({"status": "Failure", "code": code, "message": "refused", "details": details});
        kube::Error::Api(serde_json::from_value(status).expect("a status of Kubernetes"))
    }

    #[test]
    fn only_a_patch_that_failed_its_own_test_means_other_finalizers() {
        assert!(finalizers_changed(&refused(422, &Value::Null)));
        assert!(finalizers_changed(&refused(422, &json!({"name": "spring"}))));
        let invalid = json!({"causes": [{"field": "spec.steps", "message": "is 17"}]});
        assert!(!finalizers_changed(&refused(422, &invalid)), "the resource itself is invalid");
        for code in [403, 404, 409, 500] {
            assert!(!finalizers_changed(&refused(code, &Value::Null)), "{code}");
        }
        assert!(!finalizers_changed(&kube::Error::TlsRequired), "nothing was answered");
    }

    #[test]
    fn a_patch_of_a_resource_that_is_gone_or_has_a_successor_is_no_error() {
        for code in [404, 409] {
            assert!(gone_is_fine(refused(code, &Value::Null)).is_ok(), "{code}");
        }
        for code in [403, 422, 500] {
            assert!(gone_is_fine(refused(code, &Value::Null)).is_err(), "{code}");
        }
    }
}
