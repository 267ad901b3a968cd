//! Asks the service for the diagnosis of a campaign, now and then.
//!
//! A failed diagnosis fails no reconcile: an older service has none, and the rest of the status is worth more.

use std::time::{Duration, Instant};

use campaign_metrics::pb;

use super::context::{Context, Subject};
use crate::{
    crd::CampaignStatus,
    memory::LOOK_AGAIN_MIN,
    plan::{DIAGNOSIS_INTERVAL, Diagnosed, Judged, can_hold, diagnosis_wait, state},
};

/// Deadline of a diagnosis. It takes milliseconds, and the status waits for it.
const DEADLINE: Duration = Duration::from_secs(5);

impl Context {
    /// Diagnoses a campaign if it is time to. Also returns the time until it is to be diagnosed again.
    pub(super) async fn diagnose_if_due(
        &self,
        subject: &Subject<'_>,
        campaign: &pb::Campaign,
    ) -> (Option<pb::Diagnosis>, Duration) {
        let present = Judged::new(campaign);
        let previous = subject.previous.as_ref();
        let mut diagnosed = subject.remembered.diagnosed.clone();
        if diagnosed.is_none() && previous.is_some_and(is_diagnosed) {
            // What an earlier process judged is not known, so it may be out of date. Those of a new process spread over the
            // interval, because they are all resources.
            let at = Instant::now().checked_sub(DIAGNOSIS_INTERVAL.mul_f64(rand::random()));
            diagnosed = at.map(|at| (at, Diagnosed { judged: None, is_over: false }));
        }
        if let Some((_, diagnosed)) = &mut diagnosed
            && previous.and_then(|status| status.finding.as_ref()).is_some_and(|finding| !can_hold(finding, campaign))
        {
            diagnosed.is_over = true;
        }
        let wait = diagnosis_wait(diagnosed.as_ref().map(|(at, last)| (last, at.elapsed())), &present);
        self.remember(subject, diagnosed);
        if !wait.is_zero() {
            return (None, wait);
        }
        // A state that changed is written first.
        let was = previous.and_then(|status| status.state);
        if was.is_some() && was != state(campaign.state()) {
            return (None, LOOK_AGAIN_MIN);
        }
        let mut request = tonic::Request::new(pb::DiagnoseCampaignRequest { name: subject.campaign_name.clone() });
        request.set_timeout(DEADLINE);
        let answer = self.performance.clone().diagnose_campaign(request).await;
        let diagnosis = match answer {
            Ok(answer) => Some(answer.into_inner()),
            Err(status) => {
                tracing::debug!(campaign = subject.campaign_name, %status, "no diagnosis");
                None
            }
        };
        let judged = diagnosis.is_some().then(|| present.clone());
        let diagnosed = Diagnosed { judged, is_over: false };
        let wait = diagnosis_wait(Some((&diagnosed, Duration::ZERO)), &present);
        self.remember(subject, Some((Instant::now(), diagnosed)));
        (diagnosis, wait)
    }

    fn remember(&self, subject: &Subject<'_>, diagnosed: Option<(Instant, Diagnosed)>) {
        self.memory.remember(&subject.uid, |remembered| remembered.diagnosed = diagnosed);
    }
}

/// Whether a status says something of a campaign, so that an earlier process has diagnosed it.
fn is_diagnosed(status: &CampaignStatus) -> bool {
    status.campaign_uid.is_some()
}
