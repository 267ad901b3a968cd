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
        (json!({"stepz": 2}), "unknown field \"spec.stepz\""),
    ] {
        let said = refusal(cluster, &campaign(&namespace, "bad", &spec)).await;
        assert!(said.contains(says), "{spec} must be refused with `{says}`, not:\n{said}");
    }
}

#[tokio::test]
async fn a_value_with_a_wrong_format_gets_one_line_with_field_value_and_remedy() {
    let cluster = cluster().await;
    let namespace = cluster.namespace("one-line").await.unwrap();
    let delay = "must be a whole number with the unit h, m or s, at most 8760h, a year; two days are 48h, an hour and a half \
                 is 90m";
    let zone = "must be an IANA time zone such as Europe/Berlin or UTC";
    let window = |start: &str, end: &str| json!({"activeHours": {"windows": [{"startTime": start, "endTime": end}]}});
    for (spec, field, value, says) in [
        (json!({"followUpDelay": "2d"}), "followUpDelay", r#""2d": "#, delay),
        (json!({"followUpDelay": "1h30m"}), "followUpDelay", r#""1h30m": "#, delay),
        (json!({"followUpDelay": "2 business days"}), "followUpDelay", r#""2 business days": "#, delay),
        (json!({"followUpDelay": "9000h"}), "followUpDelay", r#""9000h": "#, delay),
        (json!({"activeHours": {"timeZone": "Berlin time"}}), "activeHours.timeZone", r#""Berlin time": "#, zone),
        (json!({"activeHours": {"timeZone": ""}}), "activeHours.timeZone", r#""": "#, zone),
        (
            window("9:00 AM", "17:00"),
            "activeHours.windows[0].startTime",
            r#""9:00 AM": "#,
            "must be a time HH:MM from 00:00 to 23:59, such as 09:00",
        ),
        (
            window("09:00", "5pm"),
            "activeHours.windows[0].endTime",
            r#""5pm": "#,
            "must be a time HH:MM from 00:00 to 24:00, such as 17:30",
        ),
        (
            window("09:00", "09:00"),
            "activeHours.windows[0]",
            "",
            "the window is empty; for a whole day use 00:00 to 24:00",
        ),
        (
            json!({"accounts": ["ann", "Ann Smith"]}),
            "accounts[1]",
            r#""Ann Smith": "#,
            "must be the id of an account: 1 to 128 of A-Z a-z 0-9 . _ ~ @ + -",
        ),
    ] {
        let said = refusal(cluster, &campaign(&namespace, "bad", &spec)).await;
        let line = format!("The Campaign \"bad\" is invalid: spec.{field}: Invalid value: {value}{says}\n");
        assert_eq!(said, line, "for {spec}");
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
    let columns = ["STATE", "READY", "REASON", "PROGRESS", "SENT", "FAILED", "PENDING", "PARTIAL", "HEALTH", "AGE"];
    let first: Vec<_> = table.lines().next().unwrap().split_whitespace().skip(1).collect();
    assert_eq!(first, columns);
    let explained = cluster.kubectl(["explain", "campaigns.spec.state"]).await.unwrap().success().unwrap();
    assert!(explained.contains("Paused grants no claim"), "{explained}");
}

#[tokio::test]
async fn the_columns_fit_120_characters_also_when_a_campaign_is_in_trouble() {
    let cluster = cluster().await;
    let namespace = cluster.namespace("width").await.unwrap();
    let condition = |status: &str, reason: &str| {
        json!([{"type": "Ready", "status": status, "reason": reason, "message": "m", "observedGeneration": 1,
            "lastTransitionTime": "2026-03-02T10:00:00Z"}])
    };
    let share = json!({"percent": "99.9 %", "numerator": 62_000, "denominator": 62_062});
    for (name, status) in [
        (
            "product-news",
            json!({"state": "Active", "deliveryHealth": "Moderate", "progress": share,
                "counts": {"sent": 61_234, "failed": 1_021, "pending": 10_004, "partial": 23_456, "total": 95_715},
                "conditions": condition("Unknown", "ServiceUnavailable")}),
        ),
        ("summer", json!({"conditions": condition("False", "AccountNotFound")})),
    ] {
        apply(cluster, &campaign(&namespace, name, &json!({}))).await;
        let patch = json!({"status": status}).to_string();
        let done = ["patch", "campaign", name, "-n", &namespace, "--subresource=status", "--type=merge", "-p", &patch];
        cluster.kubectl(done).await.unwrap().success().unwrap();
    }
    let table = cluster.kubectl(["get", "campaigns", "-n", &namespace]).await.unwrap().success().unwrap();
    for line in table.lines() {
        assert!(line.trim_end().len() <= 120, "{} characters:\n{table}", line.len());
    }
    let words = |number: usize| table.lines().nth(number).unwrap().split_whitespace().collect::<Vec<_>>();
    assert_eq!(words(1)[..4], ["product-news", "Active", "Unknown", "ServiceUnavailable"]);
    assert_eq!(words(2)[..3], ["summer", "False", "AccountNotFound"], "why it has no state is seen at once");
}
