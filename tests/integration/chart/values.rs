//! What single values do. Golden files show the rest; each value is in the table here or differs in a value file of `ci`.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{VALUES, objects, objects_of, values};
use crate::harness::tools::chart;

const SERVICE: &str = "Deployment/campaign-metrics-service";
const CONTROLLER: &str = "Deployment/campaign-metrics-controller";
const POD: &str = "/spec/template/spec";
const CONTAINER: &str = "/spec/template/spec/containers/0";

/// Values beside those that must be set, an object, a place in it, and what is there: `null` is nothing.
type Row = (&'static str, &'static str, String, Value);

fn table() -> Vec<Row> {
    [database(), pods()].concat()
}

/// Who takes the URL of the database from where, and the certificate for it.
fn database() -> Vec<Row> {
    let at = |part: &str, rest: &str| format!("{part}{rest}");
    vec![
        // The migrations take the service's role, unless they have their own.
        (
            "",
            "Job/campaign-metrics-migrations",
            at(CONTAINER, "/env/0/valueFrom/secretKeyRef"),
            json!({"name": "campaign-metrics-database", "key": "url"}),
        ),
        (
            "migrations.existingSecret=owner",
            "Job/campaign-metrics-migrations",
            at(CONTAINER, "/env/0/valueFrom/secretKeyRef"),
            json!({"name": "owner", "key": "url"}),
        ),
        (
            "migrations.existingSecret=owner",
            SERVICE,
            at(CONTAINER, "/env/0/valueFrom/secretKeyRef"),
            json!({"name": "campaign-metrics-database", "key": "url"}),
        ),
        // It reads and repairs as the service does.
        (
            "migrations.existingSecret=owner,verify.enabled=true",
            "CronJob/campaign-metrics-verify",
            "/spec/jobTemplate/spec/template/spec/containers/0/env/0/valueFrom/secretKeyRef".into(),
            json!({"name": "campaign-metrics-database", "key": "url"}),
        ),
        (
            "fullnameOverride=a2345678901234567890123456789012345678901234567890bc",
            "CronJob/a23456789012345678901234567890123456789012345-verify",
            "/metadata/namespace".into(),
            json!("campaign-metrics"),
        ),
        (
            "database.rootCertificate.existingConfigMap=authorities",
            SERVICE,
            at(POD, "/volumes/0/configMap"),
            json!({"name": "authorities", "items": [{"key": "ca.crt", "path": "ca.crt"}]}),
        ),
        (
            "database.rootCertificate.existingSecret=authority,database.rootCertificate.key=root.pem,verify.enabled=true",
            "CronJob/campaign-metrics-verify",
            "/spec/jobTemplate/spec/template/spec/volumes/0/secret".into(),
            json!({"secretName": "authority", "items": [{"key": "root.pem", "path": "ca.crt"}]}),
        ),
        (
            "database.rootCertificate.existingSecret=authority,verify.enabled=true",
            "CronJob/campaign-metrics-verify",
            "/spec/jobTemplate/spec/template/spec/containers/0/volumeMounts/0/mountPath".into(),
            json!("/etc/campaign-metrics/database"),
        ),
    ]
}

/// Everything else.
fn pods() -> Vec<Row> {
    let at = |part: &str, rest: &str| format!("{part}{rest}");
    vec![
        ("service.replicas=4", SERVICE, at("/spec", "/replicas"), json!(4)),
        // An autoscaler and a number in the Deployment would fight at each upgrade.
        ("service.autoscaling.enabled=true", SERVICE, at("/spec", "/replicas"), json!(null)),
        (
            "service.autoscaling.enabled=true",
            "HorizontalPodAutoscaler/campaign-metrics-service",
            at("/spec", "/scaleTargetRef"),
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "campaign-metrics-service"}),
        ),
        ("podSecurityContext.runAsUser=null", SERVICE, at(POD, "/securityContext/runAsUser"), json!(null)),
        ("podSecurityContext.fsGroup=7", CONTROLLER, at(POD, "/securityContext/fsGroup"), json!(7)),
        (
            "containerSecurityContext.privileged=false",
            "Job/campaign-metrics-migrations",
            at(CONTAINER, "/securityContext/privileged"),
            json!(false),
        ),
        ("controller.serviceAccount.create=false", CONTROLLER, at(POD, "/serviceAccountName"), json!("default")),
        (
            "controller.serviceAccount.create=false,controller.serviceAccount.name=robot",
            "ClusterRoleBinding/campaign-metrics-campaign-metrics-controller",
            "/subjects/0/name".into(),
            json!("robot"),
        ),
        (
            "service.image.tag=2.0,controller.image.tag=3.0",
            "Job/campaign-metrics-finalizers",
            at(CONTAINER, "/image"),
            json!("campaign-controller:3.0"),
        ),
        (
            "test.image.digest=sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
            "Pod/campaign-metrics-test",
            "/spec/containers/0/image".into(),
            json!("campaignctl@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"),
        ),
        (
            "test.image.pullPolicy=Never",
            "Pod/campaign-metrics-test",
            "/spec/containers/0/imagePullPolicy".into(),
            json!("Never"),
        ),
        // Helm reads numbers as floats, and would print 5e+06.
        (
            "service.metricsMaxCampaigns=5000000",
            SERVICE,
            at(CONTAINER, "/args/5"),
            json!("--metrics-max-campaigns=5000000"),
        ),
        (
            "monitoring.podMonitor.enabled=true,monitoring.podMonitor.interval=1m,monitoring.podMonitor.scrapeTimeout=20s",
            "PodMonitor/campaign-metrics-controller",
            "/spec/podMetricsEndpoints/0".into(),
            json!({"port": "admin", "path": "/metrics", "interval": "1m", "scrapeTimeout": "20s"}),
        ),
        (
            "monitoring.podMonitor.enabled=true,monitoring.podMonitor.labels.release=prometheus,\
                monitoring.podMonitor.relabelings[0].action=drop,monitoring.podMonitor.metricRelabelings[0].action=keep",
            "PodMonitor/campaign-metrics-service",
            "/metadata/labels/release".into(),
            json!("prometheus"),
        ),
        (
            "commonLabels.team=outreach",
            "CustomResourceDefinition/campaigns.campaign-metrics.io",
            "/metadata/labels/team".into(),
            json!("outreach"),
        ),
    ]
}

/// Values that neither the table nor a value file changes, and why.
const ELSEWHERE: [&str; 4] = [
    // `monitoring.rs` sets them, with files of its own.
    "monitoring.prometheusRule",
    "monitoring.dashboards",
    // The same template as `service.image` and `test.image`.
    "controller.image.digest",
    // Would change the names in every row.
    "fullnameOverride",
];

#[tokio::test]
async fn a_value_does_what_it_says() {
    let default = values("default");
    for (set, name, pointer, expected) in table() {
        let objects = objects(&["-f", &default, "--set", set]).await;
        let object = objects.get(name).unwrap_or_else(|| panic!("`{set}` renders no {name}: {:?}", objects.keys()));
        let found = object.pointer(&pointer).cloned().unwrap_or_default();
        assert_eq!(found, expected, "`{set}`: {name} {pointer}");
    }
    for (set, without) in [
        ("service.podDisruptionBudget.enabled=false", "PodDisruptionBudget/campaign-metrics-service"),
        ("networkPolicy.enabled=false", "NetworkPolicy/campaign-metrics-service"),
        ("crds.enabled=false", "CustomResourceDefinition/campaigns.campaign-metrics.io"),
        ("crds.enabled=false", "ClusterRole/campaign-metrics-campaign-metrics-edit"),
        ("crds.aggregateRoles=false", "ClusterRole/campaign-metrics-campaign-metrics-view"),
        ("migrations.enabled=false", "Job/campaign-metrics-migrations"),
        ("verify.enabled=false", "CronJob/campaign-metrics-verify"),
        ("controller.removeFinalizers=false", "Job/campaign-metrics-finalizers"),
        ("controller.serviceAccount.create=false", "ServiceAccount/campaign-metrics-controller"),
    ] {
        assert!(objects(&["-f", &default]).await.contains_key(without), "{without} is there by default");
        assert!(!objects(&["-f", &default, "--set", set]).await.contains_key(without), "`{set}` leaves out {without}");
    }
}

/// The paths of all values that are no objects; empty objects count as values, and so do resources.
fn leaves(path: &str, value: &Value, found: &mut Vec<(String, Value)>) {
    match value.as_object() {
        Some(fields) if !fields.is_empty() && !path.ends_with("resources") => {
            for (name, inner) in fields {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                leaves(&path, inner, found);
            }
        }
        _ => found.push((path.to_owned(), value.clone())),
    }
}

fn read(path: &str) -> Value {
    serde_yaml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn every_value_is_changed_somewhere() {
    let mut defaults = Vec::new();
    leaves("", &read(&chart().join("values.yaml").display().to_string()), &mut defaults);
    assert!(defaults.len() > 80, "{}", defaults.len());
    let table = table();
    let in_table: BTreeSet<&str> =
        table.iter().flat_map(|row| row.0.split(',')).filter_map(|set| Some(set.split_once('=')?.0)).collect();
    let files: Vec<Value> = VALUES.iter().map(|name| read(&values(name))).collect();
    let unchanged: Vec<&String> = defaults
        .iter()
        .filter(|(path, default)| {
            let pointer = format!("/{}", path.replace('.', "/"));
            let in_file = files.iter().any(|file| file.pointer(&pointer).is_some_and(|value| value != default));
            let in_table = in_table.iter().any(|set| set.starts_with(path.as_str()));
            let elsewhere = ELSEWHERE.iter().any(|other| path.starts_with(other));
            // The keys of a security context are Kubernetes' own.
            let is_security = path.contains("SecurityContext");
            !in_file && !in_table && !elsewhere && !is_security
        })
        .map(|(path, _)| path)
        .collect();
    assert!(unchanged.is_empty(), "no golden file and no row shows what these do: {unchanged:?}");
}

#[tokio::test]
async fn a_new_version_of_the_chart_alone_replaces_no_pod() {
    let directory = tempfile::tempdir().unwrap();
    let copied = directory.path().join("campaign-metrics");
    super::monitoring::copy(&chart(), &copied);
    let manifest = copied.join("Chart.yaml");
    let text = std::fs::read_to_string(&manifest).unwrap();
    let newer = text.replace("\nversion: ", "\nversion: 9").replace("description: ", "description: New. ");
    assert_ne!(newer, text);
    std::fs::write(&manifest, newer).unwrap();
    let full = values("full");
    let (old, new) = (objects(&["-f", &full]).await, objects_of(&copied, &["-f", &full]).await);
    for name in [SERVICE, CONTROLLER] {
        assert_ne!(
            old[name]["metadata"]["labels"], new[name]["metadata"]["labels"],
            "{name} shows the chart's version"
        );
        assert_eq!(old[name]["spec"], new[name]["spec"], "{name} would roll");
    }
}

#[tokio::test]
async fn an_extra_variable_replaces_the_charts_own() {
    let full = objects(&["-f", &values("full")]).await;
    let env = full[SERVICE].pointer("/spec/template/spec/containers/0/env").unwrap().as_array().unwrap();
    let filters: Vec<&Value> = env.iter().filter(|variable| variable["name"] == "RUST_LOG").collect();
    assert_eq!(filters, [&json!({"name": "RUST_LOG", "value": "warn"})]);
}
