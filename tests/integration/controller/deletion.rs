//! Deleting a resource, and what becomes of its campaign.

use campaign_metrics::pb::{self, OutcomeKind};
use serde_json::json;
use tonic::Code;

use super::stage::{Stage, condition, service};
use crate::{
    harness::wait::{SOON, until},
    world::by_key,
};

#[tokio::test]
async fn deleting_a_resource_leaves_its_campaign_to_its_users() {
    let service = service().await;
    let stage = Stage::start(&service.url).await;
    stage.apply("spring", &json!({})).await;
    let resource = stage.synced("spring").await;
    stage.delete("spring").await;
    let campaign = stage.campaign(&service, "spring").await.expect("results are kept");
    assert_eq!(campaign.owner, None);
    assert_eq!(Some(campaign.uid), resource.status.unwrap().campaign_uid, "it is the same one");
    let paused = stage.pause(&service, "spring").await.expect("it is no longer managed");
    assert_eq!(paused.state(), pb::CampaignState::Paused);
}

#[tokio::test]
async fn the_policy_delete_deletes_the_campaign_but_not_under_a_sender() {
    let service = service().await;
    let stage = Stage::start(&service.url).await;
    stage.account(&service, "ann").await;
    stage.apply("spring", &json!({"accounts": ["ann"], "deletionPolicy": "Delete"})).await;
    stage.synced("spring").await;
    stage.leads(&service, "spring", 2, false).await;
    let claims = stage.claim(&service, "ann", 1).await.claims;

    let asked = stage.kubectl(&["delete", "campaign", "spring", "--wait=false"]).await;
    asked.success().unwrap();
    let waiting = stage.condition("spring", "Ready", "False", "Refused").await;
    let said = &condition(&waiting, "Ready").unwrap().message;
    assert!(said.contains("1 claims held or uncertain"), "{said}");
    stage.campaign(&service, "spring").await.expect("a message may be on its way");

    stage.report(&service, vec![by_key(&claims[0], OutcomeKind::Delivered)]).await;
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
    stage.condition("spring", "Ready", "False", "Refused").await;

    let force = async |value: &str| {
        let annotation = format!("campaign-metrics.io/force-delete={value}");
        stage.kubectl(&["annotate", "campaign", "spring", "--overwrite", &annotation]).await.success().unwrap();
    };
    force("false").await;
    let errors = async || stage.controller.metric("controller_runtime_reconcile_errors_total").await;
    let before = errors().await.unwrap();
    // A reconcile that began before the annotation may end after it. The second one has seen the annotation.
    let tried = async || {
        let errors = errors().await?;
        anyhow::ensure!(errors >= before + 2, "{before} errors before, {errors} now");
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
