//! The controller with the rights that the chart grants: they suffice for its work.

use campaign_controller::crd::DesiredState;
use serde_json::json;

use super::stage::{Stage, service};
use crate::harness::{
    kube::cluster,
    run::run,
    tools::{chart, helm},
};

#[tokio::test]
async fn the_charts_role_is_enough_for_the_controllers_work_in_one_namespace() {
    let (service, cluster) = (service().await, cluster().await);
    let namespace = cluster.namespace("least").await.unwrap();
    let elsewhere = cluster.namespace("beside").await.unwrap();
    let (chart, values) = (chart(), chart().join("ci/namespaced-values.yaml"));
    let mut install = helm(["install", "outreach"]).unwrap();
    install
        .args([chart.as_os_str(), "--namespace".as_ref(), namespace.as_ref()])
        .args(["-f".as_ref(), values.as_os_str()])
        .args(["--set", "crds.enabled=false,fullnameOverride=outreach"])
        .env("KUBECONFIG", &cluster.kubeconfig);
    run(install, "").await.unwrap().success().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let kubeconfig = directory.path().join("kubeconfig");
    let account = cluster.kubeconfig_of_service_account(&namespace, "outreach-controller", &kubeconfig).await;
    account.unwrap();

    let stage = Stage::of(namespace, &kubeconfig, &service.url).await;
    stage.apply("spring", &json!({})).await;
    stage.synced("spring").await;
    stage.edited("spring", "state: Active", "state: Paused").await;
    let paused = |state| state == Some(DesiredState::Paused);
    stage
        .see("spring", "the pause", |resource| resource.status.as_ref().is_some_and(|status| paused(status.state)))
        .await;
    stage.event("spring", "Paused").await;

    for (namespace, arguments) in [
        (&stage.namespace, &["get", "secrets"][..]),
        (&stage.namespace, &["get", "pods"]),
        (&stage.namespace, &["delete", "campaign", "spring"]),
        (&elsewhere, &["get", "campaigns"]),
        (&elsewhere, &["annotate", "campaign", "spring", "a=b"]),
    ] {
        let mut command = cluster.kubectl_command().unwrap();
        command.env("KUBECONFIG", &kubeconfig).args(arguments).args(["-n", namespace]);
        let said = run(command, "").await.unwrap().refusal().unwrap();
        assert!(said.contains("Forbidden"), "{arguments:?} must be forbidden, not:\n{said}");
    }
    stage.delete("spring").await;
    assert_eq!(stage.campaign(&service, "spring").await.unwrap().owner, None);
    assert_eq!(stage.controller.metric("controller_runtime_reconcile_errors_total").await.unwrap(), 0);
}
