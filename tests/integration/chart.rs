//! The chart: it renders as checked in, installs on a real API server, its pods keep the restricted standard, and its
//! controller has the rights that it needs and no others.

use serde_json::Value;

use crate::harness::{
    golden::assert_golden,
    kube::{Cluster, cluster},
    parts::repository,
    run::{Output, run},
    tools::{chart, helm},
};

const VALUES: [&str; 2] = ["default", "namespaced"];

fn values(name: &str) -> String {
    chart().join(format!("ci/{name}-values.yaml")).display().to_string()
}

async fn template(arguments: &[&str]) -> Output {
    let chart = chart().display().to_string();
    let fixed = ["template", "campaign-metrics", &chart, "--namespace", "campaign-metrics"];
    run(helm(fixed.iter().chain(arguments)).unwrap(), "").await.unwrap()
}

/// The objects of a rendered chart.
async fn objects(values: &str) -> Vec<Value> {
    let text = template(&["-f", values]).await.success().unwrap();
    let documents = serde_yaml::Deserializer::from_str(&text);
    let objects = documents.map(|document| serde::Deserialize::deserialize(document).expect("helm renders YAML"));
    objects.filter(|object: &Value| !object.is_null()).collect()
}

async fn install(cluster: &Cluster, namespace: &str, arguments: &[&str]) -> Output {
    let chart = chart().display().to_string();
    let fixed = ["install", "outreach", &chart, "--namespace", namespace];
    let mut command = helm(fixed.iter().chain(arguments)).unwrap();
    command.env("KUBECONFIG", &cluster.kubeconfig);
    run(command, "").await.unwrap()
}

#[tokio::test]
async fn the_chart_renders_as_checked_in() {
    for name in VALUES {
        let rendered = template(&["-f", &values(name)]).await.success().unwrap();
        assert_golden(&format!("tests/golden/chart/{name}.yaml"), &rendered);
    }
}

#[tokio::test]
async fn the_chart_refuses_what_would_not_work_and_says_what_to_do() {
    for (arguments, says) in [
        (&["--set", "insecure=true"][..], "kubectl create secret"),
        (&["--set", "database.existingSecret=x"], "--set insecure=true"),
        (&["-f", &values("default"), "--set", "service.replica=3"], "replica"),
        (&["-f", &values("default"), "--set", "service.grpcPort=70000"], "grpcPort"),
        (&["-f", &values("default"), "--set", "service.logFormat=xml"], "logFormat"),
    ] {
        let said = template(arguments).await.refusal().unwrap();
        assert!(said.contains(says), "{arguments:?} must be refused with `{says}`, not:\n{said}");
    }
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

    let mut command = helm(["uninstall", "outreach", "--namespace", &namespace]).unwrap();
    command.env("KUBECONFIG", &cluster.kubeconfig);
    run(command, "").await.unwrap().success().unwrap();
    let crd = ["get", "crd", "campaigns.campaign-metrics.io", "-o", "name"];
    cluster.kubectl(crd).await.unwrap().success().expect("the definition, and with it every resource, is kept");
}

#[tokio::test]
async fn the_pods_of_the_chart_keep_the_restricted_standard() {
    let cluster = cluster().await;
    let namespace = cluster.namespace("restricted").await.unwrap();
    let label = "pod-security.kubernetes.io/enforce=restricted";
    cluster.kubectl(["label", "namespace", &namespace, label]).await.unwrap().success().unwrap();
    let deployments: Vec<Value> =
        objects(&values("default")).await.into_iter().filter(|object| object["kind"] == "Deployment").collect();
    assert_eq!(deployments.len(), 2);
    for deployment in deployments {
        let mut pod = deployment["spec"]["template"].clone();
        pod["apiVersion"] = "v1".into();
        pod["kind"] = "Pod".into();
        pod["metadata"]["name"] = deployment["metadata"]["name"].clone();
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

#[test]
fn every_value_file_of_the_chart_has_a_golden_file() {
    let count = |directory: &str| std::fs::read_dir(repository().join(directory)).expect("it is there").count();
    assert_eq!(count("charts/campaign-metrics/ci"), VALUES.len());
    assert_eq!(count("tests/golden/chart"), VALUES.len());
}
