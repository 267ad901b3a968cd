//! Holds on campaigns that a resource manages: nobody but a later edit or a person ends them, and the resource shows them.

use anyhow::ensure;
use campaign_controller::crd::{Campaign, DesiredState};
use campaign_metrics::pb::{self, CampaignState, NotSendingReason};
use jiff::Timestamp;
use serde_json::json;

use super::stage::{Controller, Stage, condition, service};
use crate::{
    harness::wait::{SOON, until},
    world::reasons,
};

fn state(resource: &Campaign) -> Option<DesiredState> {
    resource.status.as_ref()?.state
}

#[tokio::test]
async fn a_hold_stops_a_managed_campaign_whatever_its_controller_does_until_the_spec_is_edited() {
    let service = service().await;
    let mut stage = Stage::start(&service.url).await;
    stage.account(&service, "ann").await;
    stage.apply("spring", &json!({"accounts": ["ann"]})).await;
    stage.synced("spring").await;
    stage.leads(&service, "spring", 5, false).await;
    assert_eq!(stage.claim(&service, "ann", 1).await.claims.len(), 1);

    let stopped = stage.hold(&service, "spring", "wrong prices").await;
    assert_eq!((stopped.state(), stopped.in_flight_claims), (CampaignState::Paused, 1));
    let hold = stopped.hold.expect("a hold");
    assert_eq!((hold.reason.as_str(), hold.return_state()), ("wrong prices", CampaignState::Active));
    let shown = stage.condition("spring", "Held", "True", "Held").await;
    assert_eq!(state(&shown), Some(DesiredState::Paused));
    assert_eq!(shown.status.as_ref().unwrap().hold.as_ref().unwrap().reason, "wrong prices");
    for kind in ["Ready", "Synced"] {
        let found = condition(&shown, kind).unwrap();
        assert_eq!((found.status.as_str(), found.reason.as_str()), ("False", "Held"), "the spec says Active");
    }
    stage.mirrored(&service, "spring").await;
    let note = stage.event("spring", "Held").await;
    assert!(note.contains("wrong prices") && note.contains("in flight: 1"), "{note}");
    assert_eq!(stage.types("spring", "Held").await, ["Warning"]);
    assert_eq!(stage.types("spring", "Paused").await, [""; 0], "one event says it");
    let table = stage.kubectl(&["get", "campaigns", "--no-headers"]).await.success().unwrap();
    assert_eq!(table.split_whitespace().take(4).collect::<Vec<_>>(), ["spring", "Paused", "False", "Held"]);

    // A new controller applies every spec once more, and an annotation is no edit of the spec.
    stage.controller = Controller::start(&stage.cluster.kubeconfig, &service.url, &stage.namespace).await;
    let reconciles = stage.controller.idle_after(1).await;
    stage.kubectl(&["annotate", "campaign", "spring", "example.org/note=x"]).await.success().unwrap();
    stage.controller.idle_after(reconciles + 1).await;
    let still = stage.campaign(&service, "spring").await.unwrap();
    assert_eq!((still.state(), still.hold.as_ref()), (CampaignState::Paused, Some(&hold)));
    assert_eq!(reasons(&stage.claim(&service, "ann", 1).await), [NotSendingReason::Paused]);
    assert_eq!(stage.controller.metric("campaign_controller_drift_repairs_total").await.unwrap(), 0);

    stage.edited("spring", "steps: 1", "steps: 1\\n  dailyLimit: 40").await;
    let lifted = stage.synced("spring").await;
    assert_eq!((state(&lifted), condition(&lifted, "Held")), (Some(DesiredState::Active), None));
    assert_eq!(stage.campaign(&service, "spring").await.unwrap().hold, None);
    assert_eq!(stage.claim(&service, "ann", 1).await.claims.len(), 1);
    stage.event("spring", "HoldLifted").await;
    assert_eq!(stage.types("spring", "DriftRepaired").await, [""; 0], "a hold is no drift");
}

#[tokio::test]
async fn an_edit_that_no_controller_saw_before_the_hold_does_not_lift_it_and_a_later_one_does() {
    let service = service().await;
    let mut stage = Stage::start(&service.url).await;
    stage.apply("spring", &json!({})).await;
    stage.synced("spring").await;
    stage.controller.stop();
    stage.edited("spring", "steps: 1", "steps: 1\\n  dailyLimit: 40").await;
    // Kubernetes keeps times of edits in whole seconds.
    let edited = Timestamp::now().as_second();
    let next_second = async || {
        ensure!(Timestamp::now().as_second() > edited, "it is still second {edited}");
        Ok(())
    };
    until("the next second", SOON, next_second).await.unwrap();
    stage.hold(&service, "spring", "").await;

    stage.controller = Controller::start(&stage.cluster.kubeconfig, &service.url, &stage.namespace).await;
    stage.condition("spring", "Synced", "False", "Held").await;
    let held = stage.campaign(&service, "spring").await.unwrap();
    assert_eq!((held.state(), held.daily_limit), (CampaignState::Paused, Some(40)), "only the state waits");
    assert!(held.hold.is_some());

    stage.edited("spring", "dailyLimit: 40", "dailyLimit: 41").await;
    stage.synced("spring").await;
    let lifted = stage.campaign(&service, "spring").await.unwrap();
    assert_eq!((lifted.state(), lifted.daily_limit, lifted.hold), (CampaignState::Active, Some(41), None));
}

#[tokio::test]
async fn a_person_lifts_a_hold_without_the_resource_and_that_is_no_drift() {
    let service = service().await;
    let stage = Stage::start(&service.url).await;
    for (name, spec) in [("spring", "Active"), ("autumn", "Paused")] {
        stage.apply(name, &json!({"state": spec})).await;
        stage.synced(name).await;
        stage.hold(&service, name, "").await;
        stage.condition(name, "Held", "True", "Held").await;
    }
    let paused = stage.resource("autumn").await.unwrap();
    assert_eq!(condition(&paused, "Synced").unwrap().reason, "Applied", "the spec wants it paused, too");
    assert!(stage.resume(&service, "spring").await.is_err(), "it is managed");
    for (name, expected) in [("spring", CampaignState::Active), ("autumn", CampaignState::Paused)] {
        let request =
            pb::ResumeCampaignRequest { name: stage.campaign_name(name), r#override: true, ..Default::default() };
        let lifted = service.campaigns.clone().resume_campaign(request).await.unwrap().into_inner();
        assert_eq!((lifted.state(), lifted.hold), (expected, None), "{name} is again as its spec says");
        stage.see(name, "no hold", |resource| condition(resource, "Held").is_none()).await;
        stage.synced(name).await;
    }
    stage.event("spring", "HoldLifted").await;
    assert_eq!(stage.controller.metric("campaign_controller_drift_repairs_total").await.unwrap(), 0);
}
