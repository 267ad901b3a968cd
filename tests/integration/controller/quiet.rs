//! Steady state: reconciles that find everything as it should be write nothing, neither here nor there.

use campaign_metrics::pb;
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
    let mut reconciles = stage.controller.idle_after(1.0).await;
    let unchanged = stage.resource("still").await.unwrap();
    assert_eq!(unchanged.metadata.resource_version, settled.metadata.resource_version);

    let mut version = Value::Null;
    for round in 0..3 {
        let note = format!("example.org/round={round}");
        let annotate = ["annotate", "campaign", "still", "--overwrite", &note, "-o", "json"];
        let annotated = stage.kubectl(&annotate).await.success().unwrap();
        let annotated: Value = serde_json::from_str(&annotated).unwrap();
        version = annotated["metadata"]["resourceVersion"].clone();
        reconciles = stage.controller.idle_after(reconciles + 1.0).await;
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
async fn a_controller_that_finds_resources_at_its_start_takes_them_all_in_without_an_error() {
    let (service, cluster) = (service().await, cluster().await);
    let namespace = cluster.namespace("start").await.unwrap();
    let names: Vec<String> = (0..40).map(|number| format!("campaign-{number}")).collect();
    let resource = |name| json!({"apiVersion": "campaign-metrics.io/v1alpha1", "kind": "Campaign", "metadata": {"name": name}, "spec": {}});
    let items: Vec<Value> = names.iter().map(resource).collect();
    let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
    let created = cluster.kubectl_input(["create", "-n", &namespace, "-f", "-"], &list.to_string()).await;
    created.unwrap().success().unwrap();

    // The listing and the stream of the service both name each of them, while the cache is a moment behind.
    let stage = Stage::of(namespace, &cluster.kubeconfig, &service.url).await;
    for name in &names {
        stage.synced(name).await;
    }
    assert_eq!(stage.controller.metric("controller_runtime_reconcile_errors_total").await.unwrap(), 0.0);
}
