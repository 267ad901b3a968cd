//! What goes wrong with one resource stays with that one: it can't be read, its reconcile panics, or it was refused for
//! good. And events say what happened last.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::ensure;
use campaign_controller::{
    memory::Source,
    plan::{Notice, Severity},
    reconcile::{Error, reconcile, retry},
};
use campaign_metrics::{VERSION_HEADER, pb};
use jiff::Timestamp;
use kube::Resource as _;
use serde_json::{Value, json};

use super::{
    quiet::Alone,
    stage::{Controller, service},
};
use crate::harness::{
    kube::Cluster,
    process::Directory,
    wait::{SOON, until},
};

#[tokio::test]
async fn a_resource_that_can_not_be_read_is_told_and_keeps_nobody_else_waiting() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(directory.path(), Directory::Keep).await.unwrap();
    let namespace = cluster.namespace("newer").await.unwrap();
    let service = service().await;
    // A later version of the definition knows one more state.
    let states = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/state/enum/-";
    let newer = json!([{"op": "add", "path": states, "value": "Sleeping"}]).to_string();
    let patch = ["patch", "crd", "campaigns.campaign-metrics.io", "--type=json", "-p", &newer];
    cluster.kubectl(patch).await.unwrap().success().unwrap();
    let apply = async |name: &str, state: &str| {
        let resource = json!({
            "apiVersion": "campaign-metrics.io/v1alpha1", "kind": "Campaign",
            "metadata": {"name": name, "namespace": namespace}, "spec": {"state": state},
        });
        cluster.kubectl_input(["apply", "-f", "-"], &resource.to_string()).await
    };
    // The API server takes a changed definition into use some time later.
    let taken = async || apply("spring", "Sleeping").await?.success();
    until("the newer definition to be in use", SOON, taken).await.unwrap();
    apply("autumn", "Active").await.unwrap().success().unwrap();

    let controller = Controller::start(&cluster.kubeconfig, &service.url, &namespace).await;
    let state = async |name: &str, expected: pb::CampaignState| {
        let request = pb::GetCampaignRequest { name: format!("workspaces/{namespace}/campaigns/{name}") };
        let look = async || {
            let campaign = service.campaigns.clone().get_campaign(request.clone()).await?.into_inner();
            ensure!(campaign.state() == expected, "{name} is {:?}", campaign.state());
            Ok(())
        };
        until("the state in the service", SOON, look).await.unwrap();
    };
    let unreadable = async |expected: u64| {
        let look = async || {
            let count = controller.metric("campaign_controller_unreadable_resources").await?;
            ensure!(count == expected, "{count} can't be read");
            Ok(())
        };
        until("the number of resources that can't be read", SOON, look).await.unwrap();
    };
    state("autumn", pb::CampaignState::Active).await;
    unreadable(1).await;
    apply("spring", "Active").await.unwrap().success().unwrap();
    state("spring", pb::CampaignState::Active).await;
    unreadable(0).await;
    apply("spring", "Sleeping").await.unwrap().success().unwrap();
    unreadable(1).await;
    apply("autumn", "Paused").await.unwrap().success().unwrap();
    state("autumn", pb::CampaignState::Paused).await;
    state("spring", pb::CampaignState::Active).await;
    cluster
        .kubectl(["delete", "campaign", "spring", "-n", &namespace, "--wait=false"])
        .await
        .unwrap()
        .success()
        .unwrap();
    apply("winter", "Active").await.unwrap().success().unwrap();
    state("winter", pb::CampaignState::Active).await;
    unreadable(1).await;
    let free = [
        "patch",
        "campaign",
        "spring",
        "-n",
        &namespace,
        "--type=merge",
        "-p",
        r#"{"metadata": {"finalizers": null}}"#,
    ];
    cluster.kubectl(free).await.unwrap().success().unwrap();
    unreadable(0).await;
}

impl Alone {
    /// Returns the value of a counter of the controller.
    fn count(&self, name: &str) -> u64 {
        let page = self.context.metrics.render(&[]).unwrap();
        let line = page.lines().find_map(|line| line.strip_prefix(&format!("{name}{{controller=\"campaign\"}} ")));
        line.unwrap_or_else(|| panic!("{name} is exported: {page}")).parse().unwrap()
    }
}

#[tokio::test]
async fn a_panic_is_an_error_of_one_resource_which_is_tried_again() {
    let alone = Alone::start().await;
    alone.reconcile(&alone.create().await).await;
    alone.reconcile(&alone.get().await).await;
    let campaign = alone.campaign().await;
    // The sum of these leads overflows.
    let leads = pb::LeadCounts { sent: i64::MAX, failed: 1, ..Default::default() };
    let broken = pb::Campaign { lead_counts: Some(leads), ..campaign.clone() };
    alone.context.memory.observe(broken, Source::Answer, Timestamp::now());
    let resource = alone.get().await;
    let failed = reconcile(Arc::clone(&resource), Arc::clone(&alone.context)).await.unwrap_err();
    assert!(matches!(&failed, Error::Panic(text) if text.contains("overflow")), "{failed}");
    assert_eq!(alone.count("controller_runtime_reconcile_panics_total"), 1);
    assert_eq!(alone.count("controller_runtime_reconcile_errors_total"), 1);
    assert_eq!(alone.count("controller_runtime_active_workers"), 0);
    // It backs off like every failure.
    retry(Arc::clone(&resource), &failed, Arc::clone(&alone.context));
    let uid = resource.metadata.uid.clone().unwrap();
    assert_eq!(alone.context.memory.recall(&uid).attempts, 1);
    alone.context.memory.observe(campaign, Source::Answer, Timestamp::now());
    alone.reconcile(&resource).await;
    assert_eq!(alone.context.memory.recall(&uid).attempts, 0);
}

#[tokio::test]
async fn a_refusal_for_good_is_tried_again_each_hour_and_when_the_service_changes_its_version() {
    let alone = Alone::start().await;
    let apply = pb::ApplyCampaignRequest {
        campaign: Some(pb::Campaign {
            name: format!("workspaces/{}/campaigns/spring", alone.namespace),
            steps: 1,
            ..Default::default()
        }),
        owner: Some(pb::Owner { resource: "a/b".into(), uid: "other".into(), generation: 1, ..Default::default() }),
        ..Default::default()
    };
    alone.service.campaigns.clone().apply_campaign(apply).await.unwrap();
    alone.reconcile(&alone.create().await).await;
    let resource = alone.get().await;
    let uid = resource.metadata.uid.clone().unwrap();
    let refused = || alone.count("controller_runtime_terminal_reconcile_errors_total");
    alone.reconcile(&resource).await;
    alone.reconcile(&resource).await;
    assert_eq!(refused(), 1, "not at once");
    let wait = alone.context.memory.recall(&uid).stalled.unwrap().wait;
    assert!((Duration::from_mins(45)..=Duration::from_hours(1)).contains(&wait), "{wait:?}");
    let ago = |minutes| {
        let since = Instant::now().checked_sub(Duration::from_mins(minutes)).expect("a time");
        alone.context.memory.remember(&uid, |remembered| remembered.stalled.as_mut().unwrap().since = since);
    };
    ago(45);
    alone.reconcile(&resource).await;
    assert_eq!(refused(), 1);
    ago(61);
    alone.reconcile(&resource).await;
    assert_eq!(refused(), 2, "after an hour");
    alone.context.memory.serves("9.9.9");
    for _ in 0..2 {
        alone.reconcile(&resource).await;
        assert_eq!(refused(), 3, "once for a version");
    }
    let request = pb::WatchCampaignsRequest { parent: "workspaces/-".into(), min_interval: None };
    let watch = alone.service.campaigns.clone().watch_campaigns(request).await.unwrap();
    assert_eq!(watch.metadata().get(VERSION_HEADER).unwrap(), campaign_metrics::VERSION);
}

#[tokio::test]
async fn a_repeated_event_counts_up_and_one_with_another_text_is_another() {
    let alone = Alone::start().await;
    alone.create().await;
    let reference = alone.get().await.object_ref(&());
    for note in ["first", "second", "first", "first"] {
        let notice = Notice::new("Rejected", Severity::Warning, note);
        alone.context.recorder.publish(&notice, &reference).await.unwrap();
    }
    let events = ["get", "events.events.k8s.io", "-n", &alone.namespace, "-o", "json"];
    let text = crate::harness::kube::cluster().await.kubectl(events).await.unwrap().success().unwrap();
    let list: Value = serde_json::from_str(&text).unwrap();
    let mut told: Vec<_> = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| (event["note"].as_str().unwrap(), event["series"]["count"].as_i64()))
        .collect();
    told.sort_unstable();
    assert_eq!(told, [("first", Some(3)), ("second", None)]);
}
