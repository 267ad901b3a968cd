//! Fencing: the service refuses an older generation of the resource, an older fencing token, and another owner.

use campaign_metrics::pb::{self, CampaignState, Owner};
use tonic::{Code, Status};

use super::stage::{Stage, condition, service as real_time};
use crate::{
    harness::service::Service,
    world::{assert_refused, campaign_name, create_campaign, get, settings},
};
use serde_json::json;

/// The owner that was seen last. Its two numbers differ, and neither is 0.
fn owner() -> Owner {
    Owner { resource: "acme/spring".into(), uid: "u-1".into(), generation: 5, fencing_token: 11, cluster: "c-1".into() }
}

async fn apply(service: &Service, state: CampaignState, owner: Owner) -> Result<pb::Campaign, Status> {
    let request = pb::ApplyCampaignRequest {
        campaign: Some(pb::Campaign { name: campaign_name("spring"), ..settings(2, &[]) }),
        state: state.into(),
        owner: Some(owner),
        ..Default::default()
    };
    Ok(service.campaigns.clone().apply_campaign(request).await?.into_inner())
}

async fn orphan(service: &Service, owner_uid: &str) -> Result<pb::Campaign, Status> {
    let request =
        pb::OrphanCampaignRequest { name: campaign_name("spring"), owner_uid: owner_uid.into(), ..Default::default() };
    Ok(service.campaigns.clone().orphan_campaign(request).await?.into_inner())
}

#[tokio::test]
async fn an_older_generation_and_an_older_fencing_token_are_each_refused_and_change_nothing() {
    let service = Service::start().await;
    let applied = apply(&service, CampaignState::Active, owner()).await.unwrap();
    assert_eq!(applied.owner, Some(owner()));
    let refused = [
        ("an older generation", 4, 11),
        ("an older generation of a newer leader", 4, 12),
        ("an older leader", 5, 10),
        ("a newer generation of an older leader", 6, 10),
        ("no token", 6, 0),
    ];
    for (case, generation, fencing_token) in refused {
        let result = apply(&service, CampaignState::Paused, Owner { generation, fencing_token, ..owner() }).await;
        let says = "generation 5 with fencing token 11 was seen already";
        assert!(result.is_err(), "{case} must be refused");
        assert_refused(result, Code::Aborted, "STALE_OWNER", says);
        assert_eq!(get(&service, "spring").await, applied, "{case} changes nothing");
    }
    let again = apply(&service, CampaignState::Active, owner()).await.unwrap();
    assert_eq!(again, applied, "the same generation and token again change nothing");
}

#[tokio::test]
async fn a_newer_generation_and_a_newer_fencing_token_are_each_taken_and_kept() {
    let service = Service::start().await;
    apply(&service, CampaignState::Active, owner()).await.unwrap();
    for (generation, fencing_token) in [(6, 11), (6, 12), (7, 13)] {
        let newer = Owner { generation, fencing_token, ..owner() };
        let applied = apply(&service, CampaignState::Paused, newer.clone()).await.unwrap();
        assert_eq!((applied.state(), applied.owner), (CampaignState::Paused, Some(newer)));
        // From then on the previous one is refused.
        for (generation, fencing_token) in [(generation - 1, fencing_token), (generation, fencing_token - 1)] {
            let older = apply(&service, CampaignState::Active, Owner { generation, fencing_token, ..owner() }).await;
            assert_refused(older, Code::Aborted, "STALE_OWNER", "another controller is ahead");
        }
    }
}

#[tokio::test]
async fn another_owner_is_refused_however_new_it_is_until_the_first_lets_go() {
    let service = Service::start().await;
    let applied = apply(&service, CampaignState::Active, owner()).await.unwrap();
    let other = Owner { uid: "u-2".into(), generation: 50, fencing_token: 110, cluster: "c-2".into(), ..owner() };
    let refused = apply(&service, CampaignState::Paused, other.clone()).await;
    assert_refused(refused, Code::FailedPrecondition, "CAMPAIGN_OWNED", "acme/spring");
    assert_refused(orphan(&service, "u-2").await, Code::FailedPrecondition, "CAMPAIGN_OWNED", "acme/spring");
    assert_refused(orphan(&service, "").await, Code::InvalidArgument, "INVALID_FIELD", "owner_uid");
    assert_eq!(get(&service, "spring").await, applied, "neither changes anything");

    let free = orphan(&service, "u-1").await.unwrap();
    assert_eq!((free.owner.as_ref(), free.state()), (None, CampaignState::Active), "it stays as it is");
    assert_ne!(free.etag, applied.etag);
    assert_eq!(orphan(&service, "u-1").await.unwrap(), free, "once more changes nothing");
    let taken = apply(&service, CampaignState::Paused, other.clone()).await.unwrap();
    assert_eq!(taken.owner, Some(other), "another owner may take it");
}

#[tokio::test]
async fn an_owner_without_a_generation_a_name_or_with_a_negative_token_is_refused() {
    let service = Service::start().await;
    create_campaign(&service, "spring", settings(2, &[])).await;
    let before = get(&service, "spring").await;
    for (field, bad) in [
        ("owner.generation", Owner { generation: 0, ..owner() }),
        ("owner.generation", Owner { fencing_token: -1, ..owner() }),
        ("owner.uid", Owner { uid: String::new(), ..owner() }),
        ("owner.resource", Owner { resource: String::new(), ..owner() }),
        ("owner.uid", Owner { uid: "u".repeat(513), ..owner() }),
    ] {
        let refused = apply(&service, CampaignState::Paused, bad).await;
        assert_refused(refused, Code::InvalidArgument, "INVALID_FIELD", field);
    }
    assert_eq!(get(&service, "spring").await, before);
    let longest = Owner { uid: "u".repeat(512), generation: 1, fencing_token: 0, ..owner() };
    assert_eq!(apply(&service, CampaignState::Paused, longest.clone()).await.unwrap().owner, Some(longest));
}

#[tokio::test]
async fn a_controller_with_an_older_token_leaves_the_campaign_and_says_so() {
    let service = real_time().await;
    let stage = Stage::start(&service.url).await;
    let sql = service.sql().await;
    for (name, ahead) in
        [("token", "owner_fencing_token = 1"), ("generation", "owner_generation = owner_generation + 1")]
    {
        stage.apply(name, &json!({})).await;
        stage.synced(name).await;
        let ahead = format!("UPDATE campaigns SET {ahead}, state = 2 WHERE name = $1");
        assert_eq!(sql.execute(&ahead, &[&name]).await.unwrap(), 1);
        let behind = stage.condition(name, "Synced", "False", "StaleOwner").await;
        assert_eq!(condition(&behind, "Ready").unwrap().status, "False");
        assert_eq!(condition(&behind, "Reconciling").unwrap().reason, "StaleOwner");
        assert_eq!(condition(&behind, "Stalled"), None, "the other one may be gone tomorrow");
        assert_eq!(stage.campaign(&service, name).await.unwrap().state(), CampaignState::Paused, "{name}");
    }
    assert_eq!(stage.controller.metric("campaign_controller_drift_repairs_total").await.unwrap(), 0);
}
