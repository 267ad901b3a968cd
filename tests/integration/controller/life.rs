//! The life cycle of a campaign through its resource: creation, pause, resume, finish, and the status.

use campaign_controller::crd::{Campaign, DesiredState, FinishReason};
use campaign_metrics::pb::{self, NotSendingReason, OutcomeKind};
use serde_json::json;
use tonic::Code;

use super::stage::{Stage, service};
use crate::{
    harness::wait::{SOON, until},
    world::{assert_refused, by_key, reasons},
};

fn is(state: DesiredState) -> impl Fn(&Campaign) -> bool {
    move |resource| {
        let status = resource.status.as_ref();
        status.is_some_and(|status| {
            status.state == Some(state) && status.observed_generation == resource.metadata.generation
        })
    }
}

#[tokio::test]
async fn a_resource_becomes_a_campaign_and_its_status_and_columns_mirror_it() {
    let service = service().await;
    let stage = Stage::start(&service.url).await;
    stage.account(&service, "ann").await;
    let spec = json!({
        "displayName": "Spring", "accounts": ["ann"], "dailyLimit": 50, "followUpDelay": "90m",
        "activeHours": {"timeZone": "Europe/Berlin", "windows": [{"startTime": "00:00", "endTime": "24:00"}]},
    });
    stage.apply("spring", &spec).await;
    for condition in ["Ready", "Synced"] {
        let wait = format!("--for=condition={condition}");
        let waited = stage.kubectl(&["wait", &wait, "campaign/spring", "--timeout=30s"]).await;
        waited.success().unwrap();
    }
    let campaign = stage.campaign(&service, "spring").await.expect("its namespace is its workspace");
    let resource = stage.synced("spring").await;
    assert_eq!(campaign.display_name, "Spring");
    assert_eq!(campaign.accounts, [format!("{}/accounts/ann", stage.workspace())]);
    assert_eq!((campaign.daily_limit, campaign.follow_up_delay.unwrap().seconds), (Some(50), 5400));
    assert_eq!(campaign.active_hours.unwrap().time_zone, "Europe/Berlin");
    let owner = campaign.owner.expect("the resource owns it");
    assert_eq!((Some(owner.uid), Some(owner.generation)), (resource.metadata.uid, resource.metadata.generation));
    let status = resource.status.expect("a status");
    assert_eq!((status.observed_generation, status.campaign_uid), (resource.metadata.generation, Some(campaign.uid)));

    stage.leads(&service, "spring", 5, false).await;
    let claims = stage.claim(&service, "ann", 4).await.claims;
    assert_eq!(claims.len(), 4);
    let kinds = [OutcomeKind::Delivered, OutcomeKind::Delivered, OutcomeKind::Failed];
    let outcomes = claims.iter().zip(kinds).map(|(claim, kind)| by_key(claim, kind));
    stage.report(&service, outcomes.collect()).await;
    let counted = stage
        .see("spring", "the counts", |resource| {
            let status = resource.status.as_ref();
            status.and_then(|status| status.counts).is_some_and(|counts| counts.sent + counts.failed == 3)
        })
        .await;
    let status = counted.status.unwrap();
    let counts = status.counts.unwrap();
    assert_eq!((counts.sent, counts.failed, counts.pending, counts.partial, counts.total), (2, 1, 2, 0, 5));
    assert_eq!(status.in_flight.unwrap().claims, 1, "one message has no outcome yet");
    let table = stage.kubectl(&["get", "campaigns", "--no-headers"]).await.success().unwrap();
    let columns: Vec<_> = table.trim().split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
    let expected = ["spring", "Active", "True", "Applied", "60.0 %", "2", "1", "2", "0", "Low?"];
    assert_eq!(columns[..columns.len() - 1], expected, "all but the age");
    let wide = stage.kubectl(&["get", "campaigns", "--no-headers", "-o", "wide"]).await.success().unwrap();
    assert!(wide.trim_end().ends_with("Sending"), "{wide}");
}

#[tokio::test]
async fn kubectl_edit_pauses_resumes_and_finishes_and_only_the_resource_may() {
    let service = service().await;
    let stage = Stage::start(&service.url).await;
    stage.account(&service, "ann").await;
    stage.apply("spring", &json!({"accounts": ["ann"]})).await;
    stage.synced("spring").await;
    stage.leads(&service, "spring", 3, false).await;
    assert_eq!(stage.claim(&service, "ann", 1).await.claims.len(), 1);

    let managed = |result: Result<pb::Campaign, _>| {
        let resource = format!("edit the Campaign resource {}/spring", stage.namespace);
        assert_refused(result, Code::FailedPrecondition, "CAMPAIGN_MANAGED", &resource);
    };
    managed(stage.pause(&service, "spring").await);
    stage.edited("spring", "state: Active", "state: Paused").await;
    stage.see("spring", "the pause", is(DesiredState::Paused)).await;
    // Read after the status, which may say so only once it is true.
    let refused = stage.claim(&service, "ann", 1).await;
    assert_eq!(refused.claims, []);
    assert_eq!(reasons(&refused), [NotSendingReason::Paused]);
    managed(stage.resume(&service, "spring").await);
    stage.condition("spring", "Sending", "False", "Paused").await;
    assert_eq!(stage.event("spring", "Paused").await, "no claim is granted any more; in flight: 1");
    assert_eq!(stage.types("spring", "Paused").await, ["Normal"]);
    stage.apply("born-paused", &json!({"state": "Paused"})).await;
    stage.synced("born-paused").await;
    let pauses = stage.controller.metric("campaign_controller_time_to_pause_seconds_count").await.unwrap();
    assert_eq!(pauses, 1, "who was never active was not paused");

    stage.edited("spring", "state: Paused", "state: Active").await;
    stage.see("spring", "the resume", is(DesiredState::Active)).await;
    assert_eq!(stage.claim(&service, "ann", 1).await.claims.len(), 1, "progress was kept");
    stage.event("spring", "Resumed").await;

    stage.edited("spring", "state: Active", "state: Finished").await;
    let finished = stage.see("spring", "the finish", is(DesiredState::Finished)).await;
    assert_eq!(finished.status.unwrap().finish_reason, Some(FinishReason::Requested));
    assert_eq!(reasons(&stage.claim(&service, "ann", 1).await), [NotSendingReason::Finished]);
    let said = stage.edit("spring", "state: Finished", "state: Active").await.refusal().unwrap();
    assert!(said.contains("is invalid"), "{said}");
    // kubectl shows the reason in the editor, whose text is not kept here.
    let patch = ["--type=merge", "-p", r#"{"spec": {"state": "Active"}}"#];
    let said = stage.kubectl(&[&["patch", "campaign", "spring"], &patch[..]].concat()).await.refusal().unwrap();
    assert!(said.contains("a finished campaign stays finished"), "{said}");
}

#[tokio::test]
async fn a_campaign_that_finished_by_itself_is_no_drift_whatever_its_spec_says() {
    let service = service().await;
    let stage = Stage::start(&service.url).await;
    stage.account(&service, "ann").await;
    stage.apply("spring", &json!({"accounts": ["ann"]})).await;
    stage.synced("spring").await;
    stage.leads(&service, "spring", 1, true).await;
    let claims = stage.claim(&service, "ann", 1).await.claims;
    stage.report(&service, vec![by_key(&claims[0], OutcomeKind::Delivered)]).await;

    let finished = stage.condition("spring", "Synced", "True", "Finished").await;
    assert_eq!(finished.spec.state, DesiredState::Active, "a spec is never written");
    let status = finished.status.unwrap();
    assert_eq!((status.state, status.finish_reason), (Some(DesiredState::Finished), Some(FinishReason::Completed)));
    assert_eq!(status.progress.unwrap().percent, "100 %");
    assert!(stage.event("spring", "Finished").await.contains("by itself"));

    let etag = stage.campaign(&service, "spring").await.unwrap().etag;
    // A reconcile without an edit of the state emits no event.
    let reconciles = stage.controller.metric("controller_runtime_reconcile_total").await.unwrap();
    stage.kubectl(&["annotate", "campaign", "spring", "example.org/note=x"]).await.success().unwrap();
    stage.controller.idle_after(reconciles + 1).await;
    assert_eq!(stage.types("spring", "Finished").await, ["Normal"]);
    // An edit of the state changes nothing, and an event tells its author.
    stage.edited("spring", "state: Active", "state: Paused").await;
    let after = stage.condition("spring", "Synced", "True", "Finished").await;
    assert_eq!(after.status.unwrap().state, Some(DesiredState::Finished));
    assert_eq!(after.spec.state, DesiredState::Paused);
    let campaign = stage.campaign(&service, "spring").await.unwrap();
    assert_eq!(campaign.state(), pb::CampaignState::Finished);
    assert_ne!(campaign.etag, etag, "its owner's generation is kept up");
    let told = async || {
        let events = stage.events("spring").await;
        let note = events.iter().filter_map(|event| event["note"].as_str());
        let told = note.filter(|note| note.contains("`state: Paused` changes nothing")).count();
        anyhow::ensure!(told == 1, "the events are {events:?}");
        Ok(())
    };
    until("the event for its author", SOON, told).await.unwrap();
    assert_eq!(stage.controller.metric("campaign_controller_drift_repairs_total").await.unwrap(), 0);
    assert_eq!(stage.controller.metric("controller_runtime_reconcile_errors_total").await.unwrap(), 0);
}
