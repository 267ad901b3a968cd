//! Deleting a resource, and what becomes of its campaign.

use campaign_controller::crd::DesiredState;
use campaign_metrics::pb::{self, NotSendingReason, OutcomeKind};
use serde_json::json;
use tonic::Code;

use super::stage::{Stage, condition, service};
use crate::{
    harness::wait::{SOON, until},
    world::{by_key, reasons},
};

#[tokio::test]
async fn deleting_a_resource_pauses_its_campaign_and_leaves_it_to_its_users() {
    let service = service().await;
    let stage = Stage::start(&service.url).await;
    stage.account(&service, "ann").await;
    stage.apply("spring", &json!({"accounts": ["ann"]})).await;
    let resource = stage.synced("spring").await;
    stage.leads(&service, "spring", 5, false).await;
    assert_eq!(stage.claim(&service, "ann", 2).await.claims.len(), 2);
    stage.delete("spring").await;
    assert_eq!(
        reasons(&stage.claim(&service, "ann", 1).await),
        [NotSendingReason::Paused],
        "gone means that it stopped"
    );
    let campaign = stage.campaign(&service, "spring").await.expect("results are kept");
    assert_eq!((campaign.owner.as_ref(), campaign.state()), (None, pb::CampaignState::Paused));
    assert_eq!(Some(campaign.uid), resource.status.unwrap().campaign_uid, "it is the same one");
    let note = stage.event("spring", "Orphaned").await;
    assert!(note.contains("without owner; it is Paused; 2 claims are in flight until 20"), "{note}");
    let resumed = stage.resume(&service, "spring").await.expect("it is no longer managed");
    assert_eq!(resumed.state(), pb::CampaignState::Active);
}

#[tokio::test]
async fn a_campaign_that_is_handed_over_keeps_running() {
    let service = service().await;
    let stage = Stage::start(&service.url).await;
    let annotate = async |name: &str, value: &str| {
        let annotation = format!("campaign-metrics.io/keep-running={value}");
        stage.kubectl(&["annotate", "campaign", name, &annotation]).await.success().unwrap();
    };
    for (name, value, expected) in
        [("spring", "true", pb::CampaignState::Active), ("autumn", "yes", pb::CampaignState::Paused)]
    {
        stage.apply(name, &json!({})).await;
        stage.synced(name).await;
        annotate(name, value).await;
        stage.delete(name).await;
        let left = stage.campaign(&service, name).await.unwrap();
        assert_eq!((left.state(), left.owner), (expected, None), "{name}: {value}");
    }
    assert!(stage.event("spring", "Orphaned").await.ends_with("it is Active"));
    stage.apply("winter", &json!({"state": "Finished"})).await;
    stage.condition("winter", "Synced", "True", "Finished").await;
    stage.delete("winter").await;
    assert_eq!(stage.campaign(&service, "winter").await.unwrap().state(), pb::CampaignState::Finished, "for good");
}

#[tokio::test]
async fn the_policy_delete_stops_a_busy_sender_and_ends_with_its_claims() {
    let service = service().await;
    let stage = Stage::start(&service.url).await;
    stage.account(&service, "ann").await;
    stage.apply("spring", &json!({"accounts": ["ann"], "deletionPolicy": "Delete"})).await;
    stage.synced("spring").await;
    stage.leads(&service, "spring", 9, false).await;
    let claims = stage.claim(&service, "ann", 3).await.claims;

    stage.kubectl(&["delete", "campaign", "spring", "--wait=false"]).await.success().unwrap();
    let waiting = stage.condition("spring", "Ready", "False", "ClaimsHeld").await;
    let said = &condition(&waiting, "Ready").unwrap().message;
    assert!(
        said.contains("the deletion waits for claims: the campaign is paused, and 3 are in flight until 20"),
        "{said}"
    );
    assert_eq!(waiting.status.as_ref().unwrap().state, Some(DesiredState::Paused));
    assert_eq!(&stage.event("spring", "DeletionWaits").await, said);
    // A busy sender asks for more and reports what it has.
    assert_eq!(reasons(&stage.claim(&service, "ann", 9).await), [NotSendingReason::Paused]);
    stage.campaign(&service, "spring").await.expect("messages may be on their way");
    stage.report(&service, claims.iter().map(|claim| by_key(claim, OutcomeKind::Delivered)).collect()).await;
    stage.gone("spring").await;
    assert_eq!(stage.campaign(&service, "spring").await.unwrap_err().code(), Code::NotFound);
    assert_eq!(stage.types("spring", "DeletionWaits").await, ["Warning"], "a cause is told once");
    assert_eq!(
        stage.controller.metric("controller_runtime_reconcile_errors_total").await.unwrap(),
        0,
        "waiting is none"
    );
}

#[tokio::test]
async fn a_deletion_says_that_it_waits_for_a_person_once_claims_are_uncertain() {
    let service = service().await;
    let stage = Stage::start(&service.url).await;
    stage.account(&service, "ann").await;
    stage.apply("spring", &json!({"accounts": ["ann"], "deletionPolicy": "Delete"})).await;
    stage.synced("spring").await;
    stage.leads(&service, "spring", 2, false).await;
    let request = pb::ClaimSendsRequest {
        account: format!("{}/accounts/ann", stage.workspace()),
        max_claims: 1,
        hold_duration: Some(prost_types::Duration { seconds: 1, nanos: 0 }),
        ..Default::default()
    };
    let claims = service.sending.clone().claim_sends(request).await.unwrap().into_inner().claims;
    stage.kubectl(&["delete", "campaign", "spring", "--wait=false"]).await.success().unwrap();
    let waiting = stage.condition("spring", "Ready", "False", "ClaimsUncertain").await;
    let said = &condition(&waiting, "Ready").unwrap().message;
    assert!(said.contains("1 expired without an outcome; resolve them"), "{said}");
    let told = async || {
        let events = stage.events("spring").await;
        let told = events.iter().any(|event| event["note"].as_str().is_some_and(|note| note == said));
        anyhow::ensure!(told, "the events are {events:?}");
        Ok(())
    };
    until("the event", SOON, told).await.unwrap();
    let resolution =
        pb::ClaimResolution { claim_id: claims[0].claim_id.clone(), resolution: pb::Resolution::NotSent.into() };
    let account = format!("{}/accounts/ann", stage.workspace());
    let request = pb::ResolveClaimsRequest { account, resolutions: vec![resolution] };
    service.sending.clone().resolve_claims(request).await.unwrap();
    stage.gone("spring").await;
    assert_eq!(stage.campaign(&service, "spring").await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn a_forced_deletion_takes_the_campaign_although_claims_are_held() {
    let service = service().await;
    let stage = Stage::start(&service.url).await;
    stage.account(&service, "ann").await;
    stage.apply("spring", &json!({"accounts": ["ann"], "deletionPolicy": "Delete"})).await;
    stage.synced("spring").await;
    stage.leads(&service, "spring", 2, false).await;
    assert_eq!(stage.claim(&service, "ann", 1).await.claims.len(), 1);
    stage.kubectl(&["delete", "campaign", "spring", "--wait=false"]).await.success().unwrap();
    stage.condition("spring", "Ready", "False", "ClaimsHeld").await;

    let force = async |value: &str| {
        let annotation = format!("campaign-metrics.io/force-delete={value}");
        stage.kubectl(&["annotate", "campaign", "spring", "--overwrite", &annotation]).await.success().unwrap();
    };
    let reconciles = async || stage.controller.metric("controller_runtime_reconcile_total").await;
    let before = reconciles().await.unwrap();
    force("false").await;
    // A reconcile that began before the annotation may end after it. The second one has seen the annotation.
    force("no").await;
    let tried = async || {
        let reconciles = reconciles().await?;
        anyhow::ensure!(reconciles >= before + 2, "{before} reconciles before, {reconciles} now");
        Ok(())
    };
    until("the deletion to be tried again", SOON, tried).await.unwrap();
    assert!(stage.resource("spring").await.is_some(), "`false` forces nothing");
    force("true").await;
    stage.gone("spring").await;
    assert_eq!(stage.campaign(&service, "spring").await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn a_resource_whose_reconciliation_is_paused_can_be_deleted() {
    let service = service().await;
    let stage = Stage::start(&service.url).await;
    stage.apply("spring", &json!({})).await;
    stage.synced("spring").await;
    let pause = ["annotate", "campaign", "spring", "campaign-metrics.io/reconcile=paused"];
    stage.kubectl(&pause).await.success().unwrap();
    stage.condition("spring", "Ready", "False", "ReconciliationPaused").await;
    stage.delete("spring").await;
    assert_eq!(stage.campaign(&service, "spring").await.unwrap().owner, None);
}
