//! What deleting a resource does to its campaign.

use campaign_metrics::pb::{self, OutcomeKind};
use serde_json::json;
use tonic::Code;

use super::stage::{Stage, condition, service};
use crate::world::by_key;

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
    let paused = stage.pause(&service, "spring").await.expect("nobody manages it any more");
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
