//! What the chart refuses: values that can't work, and typing errors at every depth.

use serde_json::Value;

use super::{template, values};
use crate::harness::tools::chart;

#[tokio::test]
async fn the_chart_refuses_what_would_not_work_and_says_what_to_do() {
    let default = values("default");
    for (set, says) in [
        ("service.grpcPort=70000", "grpcPort"),
        ("service.grpcPort=443", "grpcPort"),
        ("service.logFormat=xml", "logFormat"),
        ("service.poolSize=4", "poolSize"),
        ("service.outcomeRetentionDays=30", "outcomeRetentionDays"),
        ("service.metricsMaxCampaigns=0", "metricsMaxCampaigns"),
        ("service.metricsMaxAccounts=-1", "metricsMaxAccounts"),
        ("service.otlpEndpoint=https://collector:4317", "otlpEndpoint"),
        ("service.podDisruptionBudget.maxUnavailable=few", "maxUnavailable"),
        ("service.resources.limits.memory=512 MB", "memory"),
        ("service.image.digest=sha256:12", "digest"),
        ("service.podLabels.team=no blanks", "team"),
        ("service.extraArgs[0]=pool-size=5", "extraArgs"),
        ("service.tolerations[0].effect=Never", "effect"),
        ("service.topologySpreadConstraints[0].maxSkew=1", "topologyKey"),
        ("controller.serviceUrl=service:50051", "serviceUrl"),
        ("controller.serviceUrl=https://service:50051", "serviceUrl"),
        ("database.rootCertificate.existingSecret=a,database.rootCertificate.existingConfigMap=b", "set only one of"),
        ("networkPolicy.grpcFrom[0].namespace=senders", "grpcFrom"),
        ("monitoring.serviceMonitor.interval=30", "interval"),
        ("monitoring.serviceMonitor.enabled=true,monitoring.podMonitor.enabled=true", "enable one of them"),
        ("database.existingSecret=Not_A_Name", "existingSecret"),
    ] {
        let said = template(&["-f", &default, "--set", set]).await.refusal().unwrap();
        assert!(said.contains(says), "{set} must be refused with `{says}`, not:\n{said}");
    }
    for (set, says) in
        [("insecure=true", "kubectl create secret"), ("database.existingSecret=x", "--set insecure=true")]
    {
        let said = template(&["--set", set]).await.refusal().unwrap();
        assert!(said.contains(says), "{set} alone must be refused with `{says}`, not:\n{said}");
    }
}

/// Objects of the values whose keys the user chooses.
const FREE: [&str; 4] = ["Labels", "Annotations", "SecurityContext", "labels"];

/// The paths of all objects of the values whose keys the chart fixes.
fn fixed(path: &str, value: &Value, found: &mut Vec<String>) {
    let Some(fields) = value.as_object() else { return };
    let last = path.rsplit('.').next().unwrap_or_default();
    if FREE.iter().any(|free| last.ends_with(free))
        || ["annotations", "nodeSelector", "requests", "limits"].contains(&last)
    {
        return;
    }
    found.push(path.to_owned());
    for (name, inner) in fields {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        fixed(&path, inner, found);
    }
}

#[tokio::test]
async fn a_typing_error_is_refused_at_every_depth() {
    let text = std::fs::read_to_string(chart().join("values.yaml")).unwrap();
    let defaults: Value = serde_yaml::from_str(&text).unwrap();
    let mut paths = Vec::new();
    fixed("", &defaults, &mut paths);
    assert!(paths.len() > 25, "{paths:?}");
    let default = values("default");
    for path in paths {
        let wrong = if path.is_empty() { "enabeld".to_owned() } else { format!("{path}.enabeld") };
        let said = template(&["-f", &default, "--set", &format!("{wrong}=true")]).await.refusal().unwrap();
        assert!(said.contains("enabeld"), "{wrong} must be refused by its name, not:\n{said}");
    }
}
