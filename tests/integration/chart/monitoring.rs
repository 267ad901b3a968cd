//! Rules and dashboards reach the cluster as they are in the chart's files, and the Prometheus Operator knows every field.

use std::{fs, path::Path};

use serde_json::Value;

use super::{objects, objects_of, values};
use crate::harness::{kube::cluster, parts::part, tools::chart};

/// Copies the chart, so that a test can change its files.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.path().is_dir() { copy(&entry.path(), &to) } else { fs::copy(entry.path(), &to).map(drop).unwrap() }
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The files of a directory with this extension. There may be none.
fn files(directory: &Path, extension: &str) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|found| found == extension)).collect()
}

#[tokio::test]
async fn rules_and_dashboards_are_rendered_as_they_are_in_the_files() {
    let directory = tempfile::tempdir().unwrap();
    let copied = directory.path().join("campaign-metrics");
    copy(&chart(), &copied);
    // Their own templates belong to Prometheus and Grafana.
    let rule = "groups:\n- name: own\n  rules:\n  - alert: Own\n    expr: up == 0\n    annotations:\n      \
        summary: '{{ $labels.campaign }} in {{ $labels.workspace | reReplaceAll \"a\" \"b\" }}'\n";
    fs::create_dir_all(copied.join("files/rules")).unwrap();
    fs::write(copied.join("files/rules/own.yaml"), rule).unwrap();
    fs::create_dir_all(copied.join("files/dashboards")).unwrap();
    fs::write(copied.join("files/dashboards/own.json"), "{\n  \"legendFormat\": \"{{workspace}}: $x\"\n}\n").unwrap();

    let set = "monitoring.prometheusRule.enabled=true,monitoring.dashboards.enabled=true,\
        monitoring.prometheusRule.labels.release=prometheus,monitoring.dashboards.namespace=grafana";
    let objects = objects_of(&copied, &["-f", &values("default"), "--set", set]).await;
    let (mut rules, mut dashboards) = (0, 0);
    for path in files(&copied.join("files/rules"), "yaml") {
        let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
        let object = &objects[&format!("PrometheusRule/campaign-metrics-{stem}")];
        let expected: Value = serde_yaml::from_str(&read(&path)).unwrap();
        assert_eq!(object["spec"], expected, "{}", path.display());
        assert_eq!(object["metadata"]["labels"]["release"], "prometheus");
        rules += 1;
    }
    for path in files(&copied.join("files/dashboards"), "json") {
        let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
        let object = &objects[&format!("ConfigMap/campaign-metrics-dashboard-{stem}")];
        assert_eq!(object["data"][format!("{stem}.json")], read(&path).as_str(), "{}", path.display());
        assert_eq!(object["metadata"]["labels"]["grafana_dashboard"], "1");
        assert_eq!(object["metadata"]["namespace"], "grafana");
        // Helm keeps the release in a Secret, and so does the API server a ConfigMap: 1 MiB.
        assert!(read(&path).len() < 500_000, "{} is too large", path.display());
        dashboards += 1;
    }
    assert!(rules > 0 && dashboards > 0);

    let set = "monitoring.prometheusRule.enabled=true,monitoring.prometheusRule.runbooks=https://example.com/books/";
    let objects = objects_of(&chart(), &["-f", &values("default"), "--set", set]).await;
    let alerts = objects["PrometheusRule/campaign-metrics-alerts"]["spec"].to_string();
    let (here, elsewhere) = ("\"docs/runbooks/", "\"https://example.com/books/DeliveryLow.md\"");
    assert!(!alerts.contains(here) && alerts.contains(elsewhere), "{alerts}");
}

#[tokio::test]
async fn the_prometheus_operator_knows_every_field_of_monitors_and_rules() {
    let cluster = cluster().await;
    let namespace = cluster.namespace("monitoring").await.unwrap();
    let definitions = part("prometheus-operator-crds").unwrap().display().to_string();
    cluster.kubectl(["apply", "--server-side", "-f", &definitions]).await.unwrap().success().unwrap();
    let established = ["wait", "--for=condition=Established", "--timeout=30s", "-f", &definitions];
    cluster.kubectl(established).await.unwrap().success().unwrap();
    let apply = async |object: &Value| {
        let strictly = ["apply", "--server-side", "--validate=strict", "-n", &namespace, "-f", "-"];
        cluster.kubectl_input(strictly, &object.to_string()).await.unwrap()
    };

    let pods = "monitoring.podMonitor.enabled=true,monitoring.podMonitor.labels.release=prometheus,\
        monitoring.podMonitor.relabelings[0].action=labeldrop,monitoring.podMonitor.relabelings[0].regex=node,\
        monitoring.podMonitor.metricRelabelings[0].action=drop,\
        monitoring.podMonitor.metricRelabelings[0].sourceLabels[0]=__name__";
    let mut kinds = Vec::new();
    for (file, set) in [("full", "monitoring.prometheusRule.enabled=true"), ("default", pods)] {
        for (name, mut object) in objects(&["-f", &values(file), "--set", set]).await {
            if object["apiVersion"] != "monitoring.coreos.com/v1" {
                continue;
            }
            object["metadata"]["namespace"] = namespace.as_str().into();
            apply(&object).await.success().unwrap();
            kinds.push(object["kind"].as_str().unwrap().to_owned());

            // With an unknown field the server refuses it, so it does check.
            object["spec"]["intervall"] = "30s".into();
            let said = apply(&object).await.refusal().unwrap();
            assert!(said.contains("intervall"), "{name}: {said}");
        }
    }
    let of = |kind: &str| kinds.iter().filter(|found| *found == kind).count();
    assert_eq!([of("ServiceMonitor"), of("PodMonitor")], [2, 2], "{kinds:?}");
    let rules = files(&chart().join("files/rules"), "yaml").len();
    assert_eq!(of("PrometheusRule"), rules, "{kinds:?}");
}
