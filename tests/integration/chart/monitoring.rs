//! Rules and dashboards reach the cluster as they are in the chart's files.

use std::{fs, path::Path};

use serde_json::Value;

use super::{objects_of, values};
use crate::harness::tools::chart;

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
