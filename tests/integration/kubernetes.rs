//! The resource on a real API server, through kubectl: its defaults, and what it refuses.

use serde_json::{Value, json};

use crate::harness::kube::{Cluster, cluster};

fn campaign(namespace: &str, name: &str, spec: &Value) -> String {
    let campaign = json!({
        "apiVersion": "campaign-metrics.io/v1alpha1",
        "kind": "Campaign",
        "metadata": {"namespace": namespace, "name": name},
        "spec": spec,
    });
    campaign.to_string()
}

async fn apply(cluster: &Cluster, campaign: &str) {
    cluster.kubectl_input(["apply", "-f", "-"], campaign).await.unwrap().success().unwrap();
}

/// Returns the API server's refusal of a change. Panics if it accepts the change.
async fn refusal(cluster: &Cluster, campaign: &str) -> String {
    cluster.kubectl_input(["apply", "-f", "-"], campaign).await.unwrap().refusal().unwrap()
}

#[tokio::test]
async fn the_least_campaign_is_taken_and_completed_with_defaults() {
    let cluster = cluster().await;
    let namespace = cluster.namespace("defaults").await.unwrap();
    apply(cluster, &campaign(&namespace, "least", &json!({}))).await;
    let read = ["get", "campaigns", "least", "-n", &namespace, "-o", "json"];
    let text = cluster.kubectl(read).await.unwrap().success().unwrap();
    let spec = serde_json::from_str::<Value>(&text).unwrap()["spec"].clone();
    assert_eq!(spec["state"], "Active");
    assert_eq!(spec["steps"], 1);
    assert_eq!(spec["deletionPolicy"], "Orphan", "deleting a resource must not destroy results by surprise");
}

#[tokio::test]
async fn what_can_never_be_valid_is_refused_with_a_reason() {
    let cluster = cluster().await;
    let namespace = cluster.namespace("refused").await.unwrap();
    for (spec, says) in [
        (json!({"state": "Sleeping"}), "spec.state: Unsupported value"),
        (json!({"steps": 0}), "spec.steps"),
        (json!({"steps": 17}), "spec.steps"),
        (json!({"dailyLimit": -1}), "spec.dailyLimit"),
        (json!({"followUpDelay": "soon"}), "spec.followUpDelay"),
        (json!({"followUpDelay": "9000h"}), "at most 8760h"),
        (json!({"accounts": ["with space"]}), "spec.accounts[0]"),
        (json!({"activeHours": {"timeZone": "../etc"}}), "spec.activeHours.timeZone"),
        (json!({"activeHours": {"windows": [{"startTime": "9:00", "endTime": "17:00"}]}}), "startTime"),
        (json!({"activeHours": {"windows": [{"startTime": "09:00", "endTime": "09:00"}]}}), "the window is empty"),
        (json!({"stepz": 2}), "unknown field \"spec.stepz\""),
    ] {
        let said = refusal(cluster, &campaign(&namespace, "bad", &spec)).await;
        assert!(said.contains(says), "{spec} must be refused with `{says}`, not:\n{said}");
    }
}

#[tokio::test]
async fn what_is_fixed_stays() {
    let cluster = cluster().await;
    let namespace = cluster.namespace("fixed").await.unwrap();
    apply(cluster, &campaign(&namespace, "one", &json!({"steps": 2, "leadListComplete": true}))).await;
    for (spec, says) in [
        (json!({"steps": 3, "leadListComplete": true}), "steps are fixed"),
        (json!({"steps": 2, "leadListComplete": false}), "stays complete"),
    ] {
        let said = refusal(cluster, &campaign(&namespace, "one", &spec)).await;
        assert!(said.contains(says), "{said}");
    }
}

#[tokio::test]
async fn a_finished_campaign_is_never_active_or_paused_again() {
    let cluster = cluster().await;
    let namespace = cluster.namespace("finished").await.unwrap();
    apply(cluster, &campaign(&namespace, "done", &json!({}))).await;
    let patch = async |state: &str| {
        let patch = json!({"spec": {"state": state}}).to_string();
        cluster.kubectl(["patch", "campaign", "done", "-n", &namespace, "--type=merge", "-p", &patch]).await.unwrap()
    };
    for state in ["Paused", "Active", "Finished"] {
        patch(state).await.success().unwrap();
    }
    for state in ["Active", "Paused"] {
        let said = patch(state).await.refusal().unwrap();
        assert!(said.contains("a finished campaign stays finished"), "{said}");
    }
}

#[tokio::test]
async fn kubectl_shows_the_columns_and_knows_the_short_name() {
    let cluster = cluster().await;
    let namespace = cluster.namespace("columns").await.unwrap();
    apply(cluster, &campaign(&namespace, "spring", &json!({}))).await;
    let table = cluster.kubectl(["get", "camp", "-n", &namespace]).await.unwrap().success().unwrap();
    let columns =
        ["STATE", "PROGRESS", "SENT", "FAILED", "PENDING", "PARTIAL", "TOTAL", "DELIVERY", "HEALTH", "HELD", "AGE"];
    let first: Vec<_> = table.lines().next().unwrap().split_whitespace().skip(1).collect();
    assert_eq!(first, columns);
    let explained = cluster.kubectl(["explain", "campaigns.spec.state"]).await.unwrap().success().unwrap();
    assert!(explained.contains("Paused grants no claim"), "{explained}");
}
