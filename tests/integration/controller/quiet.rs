//! Steady state: reconciles that find everything as it should be write nothing, neither here nor there.

use std::sync::Arc;

use campaign_controller::{
    crd::{Campaign, CampaignSpec},
    metrics::Metrics,
    reconcile::{Context, reconcile},
};
use campaign_metrics::pb;
use kube::{
    Api,
    api::{DeleteParams, PostParams},
    runtime::events::Recorder,
};
use serde_json::{Value, json};

use super::stage::{Controller, Stage, service};
use crate::harness::kube::cluster;

#[tokio::test]
async fn reconciles_that_find_nothing_new_write_nothing() {
    let service = service().await;
    let mut stage = Stage::start(&service.url).await;
    // It exists with its leads before, so that the first status already has the counts.
    stage.create_campaign(&service, "still", pb::Campaign { steps: 1, ..Default::default() }).await;
    stage.leads(&service, "still", 3, false).await;
    stage.apply("still", &json!({})).await;
    let settled = stage.synced("still").await;
    let campaign = stage.campaign(&service, "still").await.unwrap();

    // A new controller remembers nothing, and applies every spec once more.
    stage.controller = Controller::start(&stage.cluster.kubeconfig, &service.url, &stage.namespace).await;
    let mut reconciles = stage.controller.idle_after(1).await;
    let unchanged = stage.resource("still").await.unwrap();
    assert_eq!(unchanged.metadata.resource_version, settled.metadata.resource_version);

    let mut version = Value::Null;
    for round in 0..3 {
        let note = format!("example.org/round={round}");
        let annotate = ["annotate", "campaign", "still", "--overwrite", &note, "-o", "json"];
        let annotated = stage.kubectl(&annotate).await.success().unwrap();
        let annotated: Value = serde_json::from_str(&annotated).unwrap();
        version = annotated["metadata"]["resourceVersion"].clone();
        reconciles = stage.controller.idle_after(reconciles + 1).await;
    }
    // The streams go on: a change of another campaign comes through.
    stage.apply("marker", &json!({})).await;
    stage.synced("marker").await;
    stage.leads(&service, "marker", 1, false).await;
    stage
        .see("marker", "the count of the other campaign", |resource| {
            let status = resource.status.as_ref();
            status.and_then(|status| status.counts).is_some_and(|counts| counts.total == 1)
        })
        .await;
    let unchanged = stage.resource("still").await.unwrap();
    assert_eq!(unchanged.metadata.resource_version.unwrap(), version.as_str().unwrap());
    assert_eq!(unchanged.status, settled.status);
    assert_eq!(stage.campaign(&service, "still").await.unwrap().etag, campaign.etag, "nor in the service");
    assert_eq!(stage.events("still").await, Vec::<Value>::new());
}

#[tokio::test]
async fn a_cache_that_is_behind_fails_no_reconcile() {
    let (service, cluster) = (service().await, cluster().await);
    let namespace = cluster.namespace("behind").await.unwrap();
    let kubernetes = cluster.client().await.unwrap();
    let resources: Api<Campaign> = Api::namespaced(kubernetes.clone(), &namespace);
    let context = Arc::new(Context {
        recorder: Recorder::new(kubernetes.clone(), "tests".into()),
        kubernetes,
        service: service.campaigns.clone(),
        memory: Arc::default(),
        metrics: Arc::new(Metrics::new().unwrap()),
    });
    let mut resource = Campaign::new("spring", CampaignSpec::default());
    resource.spec.steps = 1;
    resource.spec.follow_up_delay = "1h".into();
    let created = Arc::new(resources.create(&PostParams::default(), &resource).await.unwrap());
    // The second finds the finalizer there, which its copy of the resource lacks.
    for _ in 0..2 {
        reconcile(created.clone(), context.clone()).await.unwrap();
    }
    let applied = Arc::new(resources.get("spring").await.unwrap());
    reconcile(applied, context.clone()).await.unwrap();
    resources.delete("spring", &DeleteParams::default()).await.unwrap();
    let deleted = Arc::new(resources.get("spring").await.unwrap());
    // The second finds no resource, though its copy still has the finalizer.
    for _ in 0..2 {
        reconcile(deleted.clone(), context.clone()).await.unwrap();
    }
    assert!(resources.get_opt("spring").await.unwrap().is_none());
}
