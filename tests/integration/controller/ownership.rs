//! Ownership: an existing campaign is adopted or left alone, and changes that bypass its resource are reverted.

use campaign_controller::crd::DesiredState;
use campaign_metrics::pb;
use serde_json::json;
use tonic::Code;

use super::stage::{Controller, Stage, condition, service};

#[tokio::test]
async fn a_campaign_without_owner_is_adopted_with_its_leads() {
    let service = service().await;
    let stage = Stage::start(&service.url).await;
    let existing = stage.create_campaign(&service, "spring", pb::Campaign { steps: 1, ..Default::default() }).await;
    stage.leads(&service, "spring", 3, false).await;
    stage.apply("spring", &json!({"displayName": "Spring", "state": "Paused"})).await;
    let adopted = stage.synced("spring").await;
    let status = adopted.status.unwrap();
    assert_eq!(status.campaign_uid, Some(existing.uid));
    assert_eq!((status.state, status.counts.unwrap().total), (Some(DesiredState::Paused), 3));
    let campaign = stage.campaign(&service, "spring").await.unwrap();
    assert_eq!(campaign.display_name, "Spring");
    assert_eq!(Some(campaign.owner.unwrap().uid), adopted.metadata.uid);
}

#[tokio::test]
async fn a_campaign_without_owner_is_left_alone_if_the_policy_says_never() {
    let service = service().await;
    let stage = Stage::start(&service.url).await;
    let existing = stage.create_campaign(&service, "spring", pb::Campaign { steps: 1, ..Default::default() }).await;
    stage.apply("spring", &json!({"adoptionPolicy": "Never", "deletionPolicy": "Delete"})).await;
    let refused = stage.condition("spring", "Synced", "False", "CampaignNotAdoptable").await;
    assert_eq!(condition(&refused, "Stalled").unwrap().status, "True");
    assert_eq!(stage.campaign(&service, "spring").await.unwrap(), existing);

    // A resource does not delete a campaign that it does not own.
    stage.delete("spring").await;
    assert_eq!(stage.campaign(&service, "spring").await.unwrap(), existing);

    stage.apply("spring", &json!({"adoptionPolicy": "Never"})).await;
    stage.condition("spring", "Stalled", "True", "CampaignNotAdoptable").await;
    stage.edited("spring", "adoptionPolicy: Never", "adoptionPolicy: IfUnowned").await;
    stage.synced("spring").await;
    assert!(stage.campaign(&service, "spring").await.unwrap().owner.is_some());
}

#[tokio::test]
async fn a_campaign_of_another_resource_is_refused_and_survives_the_deletion_of_this_one() {
    let service = service().await;
    let stage = Stage::start(&service.url).await;
    let other =
        pb::Owner { resource: "elsewhere/spring".into(), uid: "another".into(), generation: 1, ..Default::default() };
    let request = pb::ApplyCampaignRequest {
        campaign: Some(pb::Campaign { name: stage.campaign_name("spring"), steps: 1, ..Default::default() }),
        state: pb::CampaignState::Active.into(),
        owner: Some(other.clone()),
        ..Default::default()
    };
    service.campaigns.clone().apply_campaign(request).await.unwrap();
    for policy in ["Delete", "Orphan"] {
        stage.apply("spring", &json!({"state": "Paused", "deletionPolicy": policy})).await;
        let refused = stage.condition("spring", "Synced", "False", "CampaignOwned").await;
        assert!(condition(&refused, "Synced").unwrap().message.contains("elsewhere/spring"));
        assert_eq!(refused.status.unwrap().state, None, "it is not ours to mirror");
        stage.event("spring", "Rejected").await;
        stage.delete("spring").await;
        let campaign = stage.campaign(&service, "spring").await.unwrap();
        assert_eq!((campaign.state(), campaign.owner.as_ref()), (pb::CampaignState::Active, Some(&other)), "{policy}");
    }
}

#[tokio::test]
async fn a_change_that_bypasses_the_resource_is_reverted() {
    let service = service().await;
    let mut stage = Stage::start(&service.url).await;
    stage.apply("spring", &json!({})).await;
    let resource = stage.synced("spring").await;
    // The stream skips a change that is reverted between two polls. The stream of a new controller begins with the
    // campaign.
    stage.controller = Controller::start(&stage.cluster.kubeconfig, &service.url, &stage.namespace).await;
    stage.controller.idle_after(1).await;
    let owner_uid = resource.metadata.uid.clone().unwrap();
    let first = resource.status.unwrap().campaign_uid.unwrap();

    let delete = pb::DeleteCampaignRequest { name: stage.campaign_name("spring"), owner_uid, ..Default::default() };
    service.campaigns.clone().delete_campaign(delete).await.unwrap();
    let again = stage
        .see("spring", "another campaign", |resource| {
            let status = resource.status.as_ref();
            status.and_then(|status| status.campaign_uid.as_ref()).is_some_and(|uid| *uid != first)
        })
        .await;
    let campaign = stage.campaign(&service, "spring").await.unwrap();
    assert_eq!(again.status.unwrap().campaign_uid, Some(campaign.uid));
    assert!(stage.event("spring", "DriftRepaired").await.contains("created anew"));
    assert_eq!(stage.controller.metric("campaign_controller_drift_repairs_total").await.unwrap(), 1);
    let direct = stage.pause(&service, "spring").await;
    assert_eq!(direct.unwrap_err().code(), Code::FailedPrecondition, "it is managed again");
}
