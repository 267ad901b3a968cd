//! The chart on a real API server, without its controllers and without a kubelet: objects, pod security, rights.

use serde_json::Value;

use super::{objects, values};
use crate::harness::{
    kube::{Cluster, cluster},
    run::{Output, run},
    tools::{chart, helm},
};

async fn install(cluster: &Cluster, namespace: &str, arguments: &[&str]) -> Output {
    let chart = chart().display().to_string();
    // No kubelet runs here, so no Job ends: `lifecycle` tests the hooks.
    let fixed = ["install", "outreach", &chart, "--namespace", namespace, "--no-hooks"];
    let mut command = helm(fixed.iter().chain(arguments)).unwrap();
    command.env("KUBECONFIG", &cluster.kubeconfig);
    run(command, "").await.unwrap()
}

/// The pod that an object is or makes.
fn pod(object: &Value) -> Option<Value> {
    let mut pod = match object["kind"].as_str()? {
        "Pod" => object.clone(),
        "Deployment" | "Job" => object["spec"]["template"].clone(),
        "CronJob" => object["spec"]["jobTemplate"]["spec"]["template"].clone(),
        _ => return None,
    };
    pod["apiVersion"] = "v1".into();
    pod["kind"] = "Pod".into();
    pod["metadata"]["name"] = object["metadata"]["name"].clone();
    Some(pod)
}

#[tokio::test]
async fn the_chart_installs_the_definition_and_its_removal_keeps_it() {
    let cluster = cluster().await;
    let namespace = cluster.namespace("chart").await.unwrap();
    // The harness has installed the definition already; the release takes it over.
    let installed = install(cluster, &namespace, &["-f", &values("default"), "--take-ownership"]).await;
    installed.success().unwrap();
    let names = ["get", "deployments", "-n", &namespace, "-o", "name"];
    let deployments = cluster.kubectl(names).await.unwrap().success().unwrap();
    assert_eq!(deployments.lines().count(), 2, "{deployments}");

    let mut command = helm(["uninstall", "outreach", "--namespace", &namespace, "--no-hooks"]).unwrap();
    command.env("KUBECONFIG", &cluster.kubeconfig);
    run(command, "").await.unwrap().success().unwrap();
    let crd = ["get", "crd", "campaigns.campaign-metrics.io", "-o", "name"];
    cluster.kubectl(crd).await.unwrap().success().expect("the definition, and with it every resource, is kept");
}

#[tokio::test]
async fn every_pod_of_the_chart_keeps_the_restricted_standard() {
    let cluster = cluster().await;
    let namespace = cluster.namespace("restricted").await.unwrap();
    let label = "pod-security.kubernetes.io/enforce=restricted";
    cluster.kubectl(["label", "namespace", &namespace, label]).await.unwrap().success().unwrap();
    let objects = objects(&["-f", &values("default")]).await;
    let pods: Vec<Value> = objects.values().filter_map(pod).collect();
    assert_eq!(pods.len(), 6, "two Deployments, two Jobs, a CronJob and a test");
    for mut pod in pods {
        pod["metadata"]["namespace"] = namespace.as_str().into();
        let create = async |pod: &Value| cluster.kubectl_input(["create", "-f", "-"], &pod.to_string()).await.unwrap();
        create(&pod).await.success().unwrap();

        // With one more privilege the server refuses the pod, so it does check.
        pod["metadata"]["name"] = "more-rights".into();
        pod["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = true.into();
        let said = create(&pod).await.refusal().unwrap();
        assert!(said.contains("violates PodSecurity"), "{said}");
    }
}

#[tokio::test]
async fn the_controllers_account_may_do_its_work_and_nothing_else() {
    let cluster = cluster().await;
    for (name, everywhere) in [("default", "yes"), ("namespaced", "no")] {
        let namespace = cluster.namespace("rights").await.unwrap();
        let elsewhere = cluster.namespace("elsewhere").await.unwrap();
        let values = values(name);
        let set = ["-f", &values, "--set", "crds.enabled=false,fullnameOverride=outreach"];
        install(cluster, &namespace, &set).await.success().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let kubeconfig = directory.path().join("kubeconfig");
        cluster.kubeconfig_of_service_account(&namespace, "outreach-controller", &kubeconfig).await.unwrap();

        let may = async |namespace: &str, verb: &str, resource: &str| {
            let mut command = cluster.kubectl_command().unwrap();
            command.env("KUBECONFIG", &kubeconfig).args(["auth", "can-i", verb, resource, "-n", namespace]);
            run(command, "").await.unwrap().stdout.trim().to_owned()
        };
        for (verb, resource) in [
            ("list", "campaigns.campaign-metrics.io"),
            ("watch", "campaigns.campaign-metrics.io"),
            ("patch", "campaigns.campaign-metrics.io"),
            ("patch", "campaigns.campaign-metrics.io/status"),
            ("create", "events.events.k8s.io"),
        ] {
            assert_eq!(may(&namespace, verb, resource).await, "yes", "{name}: {verb} {resource}");
            assert_eq!(may(&elsewhere, verb, resource).await, everywhere, "{name}: {verb} {resource} elsewhere");
        }
        for (verb, resource) in [
            ("delete", "campaigns.campaign-metrics.io"),
            ("create", "campaigns.campaign-metrics.io"),
            ("get", "secrets"),
            ("list", "pods"),
            ("create", "roles.rbac.authorization.k8s.io"),
        ] {
            assert_eq!(may(&namespace, verb, resource).await, "no", "{name}: {verb} {resource}");
        }
    }
}
