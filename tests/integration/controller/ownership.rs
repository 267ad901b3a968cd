//! Ownership: an existing campaign is adopted or left alone, and changes that bypass its resource are reverted.

use campaign_controller::crd::DesiredState;
use campaign_metrics::pb;
use serde_json::json;
use tonic::Code;

use super::stage::{Controller, Stage, condition, service};
use crate::commands::campaignctl;

#[tokio::test]
async fn a_campaign_without_owner_is_adopted_with_its_leads() {
    let service = service().await;
    let stage = Stage::start(&service.url).await;
    for account in ["ann", "bob", "eve"] {
        stage.account(&service, account).await;
    }
    let accounts = ["ann", "bob"].map(|id| format!("{}/accounts/{id}", stage.workspace())).to_vec();
    let campaign = pb::Campaign { steps: 1, accounts, daily_limit: Some(40), ..Default::default() };
    let existing = stage.create_campaign(&service, "spring", campaign).await;
    stage.leads(&service, "spring", 3, false).await;
    stage.apply("spring", &json!({"displayName": "Spring", "state": "Paused", "accounts": ["eve"]})).await;
    let adopted = stage.synced("spring").await;
    let status = adopted.status.unwrap();
    assert_eq!(status.campaign_uid, Some(existing.uid));
    assert_eq!((status.state, status.counts.unwrap().total), (Some(DesiredState::Paused), 3));
    let campaign = stage.campaign(&service, "spring").await.unwrap();
    assert_eq!(campaign.display_name, "Spring");
    assert_eq!(Some(campaign.owner.unwrap().uid), adopted.metadata.uid);
    let note = stage.event("spring", "Adopted").await;
    let replaced = "without owner, with 3 leads; replaced accounts: ann bob by eve, dailyLimit: 40 by none, state: Active by \
         Paused, displayName: none by Spring";
    assert!(note.contains(replaced), "{note}");
    assert_eq!(stage.types("spring", "Adopted").await, ["Warning"]);
    stage.apply("autumn", &json!({})).await;
    stage.synced("autumn").await;
    assert_eq!(stage.types("autumn", "Adopted").await, [""; 0], "nobody had it before");
}

#[tokio::test]
async fn a_resource_that_was_lost_and_applied_again_takes_its_campaign_over() {
    let service = service().await;
    let mut stage = Stage::start(&service.url).await;
    stage.account(&service, "ann").await;
    stage.apply("spring", &json!({"accounts": ["ann"], "adoptionPolicy": "Never"})).await;
    let lost = stage.synced("spring").await;
    stage.edited("spring", "steps: 1", "steps: 1\\n  dailyLimit: 40").await;
    stage.synced("spring").await;
    stage.leads(&service, "spring", 3, false).await;
    // Nobody cleans up after it, as after a loss of etcd.
    stage.controller.stop();
    let unfinish = ["patch", "campaign", "spring", "--type=merge", "-p", r#"{"metadata": {"finalizers": null}}"#];
    stage.kubectl(&unfinish).await.success().unwrap();
    stage.delete("spring").await;
    stage.controller = Controller::start(&stage.cluster.kubeconfig, &service.url, &stage.namespace).await;

    stage.apply("spring", &json!({"accounts": ["ann"], "state": "Paused", "adoptionPolicy": "Never"})).await;
    let again = stage.synced("spring").await;
    assert_ne!(again.metadata.uid, lost.metadata.uid);
    let campaign = stage.campaign(&service, "spring").await.unwrap();
    assert_eq!(
        (Some(&campaign.uid), campaign.state()),
        (lost.status.unwrap().campaign_uid.as_ref(), pb::CampaignState::Paused)
    );
    let owner = campaign.owner.unwrap();
    assert_eq!((Some(owner.uid), owner.generation), (again.metadata.uid, 1), "generations begin anew");
    let note = stage.event("spring", "TakenOver").await;
    assert!(
        note.contains(&format!(
            "of the resource {}/spring with the UID {}",
            stage.namespace,
            lost.metadata.uid.unwrap()
        )),
        "{note}"
    );
    assert!(note.contains("with 3 leads; replaced dailyLimit: 40 by none, state: Active by Paused"), "{note}");
}

#[tokio::test]
async fn another_cluster_is_refused_unless_the_policy_says_always() {
    let service = service().await;
    let stage = Stage::start(&service.url).await;
    let name = stage.campaign_name("spring");
    let elsewhere = pb::Owner {
        resource: format!("{}/spring", stage.namespace),
        uid: "another".into(),
        generation: 9,
        fencing_token: 3,
        cluster: "another-cluster".into(),
    };
    let request = pb::ApplyCampaignRequest {
        campaign: Some(pb::Campaign { name, steps: 1, ..Default::default() }),
        owner: Some(elsewhere.clone()),
        ..Default::default()
    };
    service.campaigns.clone().apply_campaign(request).await.unwrap();
    stage.apply("spring", &json!({})).await;
    let refused = stage.condition("spring", "Stalled", "True", "CampaignOwned").await;
    let said = &condition(&refused, "Ready").unwrap().message;
    assert!(said.contains("cluster another-cluster") && said.contains("set spec.adoptionPolicy to Always"), "{said}");
    assert_eq!(stage.campaign(&service, "spring").await.unwrap().owner, Some(elsewhere));

    stage.edited("spring", "adoptionPolicy: IfUnowned", "adoptionPolicy: Always").await;
    let taken = stage.synced("spring").await;
    let owner = stage.campaign(&service, "spring").await.unwrap().owner.unwrap();
    assert_eq!(Some(owner.uid), taken.metadata.uid);
    let read = ["get", "namespace", "kube-system", "-o", "jsonpath={.metadata.uid}"];
    assert_eq!(owner.cluster, stage.cluster.kubectl(read).await.unwrap().success().unwrap());
    assert!(stage.event("spring", "TakenOver").await.contains("with the UID another"));
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
async fn a_person_releases_a_campaign_whose_owner_is_gone_and_who_waits_for_it_takes_it_at_once() {
    let service = service().await;
    let stage = Stage::start(&service.url).await;
    let gone = pb::Owner { resource: "old/spring".into(), uid: "gone".into(), generation: 1, ..Default::default() };
    let request = pb::ApplyCampaignRequest {
        campaign: Some(pb::Campaign { name: stage.campaign_name("spring"), steps: 1, ..Default::default() }),
        owner: Some(gone),
        ..Default::default()
    };
    service.campaigns.clone().apply_campaign(request).await.unwrap();
    stage.apply("spring", &json!({})).await;
    stage.condition("spring", "Stalled", "True", "CampaignOwned").await;
    let said = campaignctl(&service.url, &stage.namespace, "campaigns orphan spring").await.success().unwrap();
    assert!(said.contains("spring is no longer managed by the Kubernetes resource old/spring"), "{said}");
    let taken = stage.synced("spring").await;
    assert_eq!(stage.campaign(&service, "spring").await.unwrap().owner.map(|owner| owner.uid), taken.metadata.uid);

    stage.create_campaign(&service, "autumn", pb::Campaign { steps: 1, ..Default::default() }).await;
    let said = campaignctl(&service.url, &stage.namespace, "campaigns orphan autumn").await.success().unwrap();
    assert_eq!(said, "autumn has no owner\n");
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
    assert!(stage.event("spring", "DriftRepaired").await.contains("created again"));
    assert_eq!(stage.controller.metric("campaign_controller_drift_repairs_total").await.unwrap(), 1);
    let direct = stage.pause(&service, "spring").await;
    assert_eq!(direct.unwrap_err().code(), Code::FailedPrecondition, "it is managed again");
}
