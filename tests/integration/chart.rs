//! The charts: they render as checked in, refuse what would not work, install on a real API server, and their pods do the
//! whole job there.

use std::{collections::BTreeMap, path::Path};

use serde_json::Value;

use crate::harness::{
    golden::assert_golden,
    parts::repository,
    run::{Output, run},
    tools::{chart, helm},
};

#[path = "chart/flags.rs"]
mod flags;
#[path = "chart/install.rs"]
mod install;
#[path = "chart/lifecycle.rs"]
mod lifecycle;
#[path = "chart/load.rs"]
mod load;
#[path = "chart/monitoring.rs"]
mod monitoring;
#[path = "chart/refused.rs"]
mod refused;
#[path = "chart/values.rs"]
mod values;

/// The value files of `ci`, each with a golden file.
const VALUES: [&str; 3] = ["default", "full", "namespaced"];

fn values(name: &str) -> String {
    chart().join(format!("ci/{name}-values.yaml")).display().to_string()
}

async fn template_of(chart: &Path, arguments: &[&str]) -> Output {
    let chart = chart.display().to_string();
    let fixed = ["template", "campaign-metrics", &chart, "--namespace", "campaign-metrics"];
    run(helm(fixed.iter().chain(arguments)).unwrap(), "").await.unwrap()
}

async fn template(arguments: &[&str]) -> Output {
    template_of(&chart(), arguments).await
}

/// The objects of a rendered chart by `Kind/name`.
async fn objects_of(chart: &Path, arguments: &[&str]) -> BTreeMap<String, Value> {
    let text = template_of(chart, arguments).await.success().unwrap();
    let documents = serde_yaml::Deserializer::from_str(&text);
    let objects = documents.map(|document| serde::Deserialize::deserialize(document).expect("helm renders YAML"));
    let mut found = BTreeMap::new();
    for object in objects.filter(|object: &Value| !object.is_null()) {
        let text = |value: &Value| value.as_str().expect("every object has a kind and a name").to_owned();
        let name = format!("{}/{}", text(&object["kind"]), text(&object["metadata"]["name"]));
        assert!(found.insert(name.clone(), object).is_none(), "{name} is rendered twice");
    }
    found
}

async fn objects(arguments: &[&str]) -> BTreeMap<String, Value> {
    objects_of(&chart(), arguments).await
}

#[tokio::test]
async fn the_chart_renders_as_checked_in() {
    for name in VALUES {
        let rendered = template(&["-f", &values(name)]).await.success().unwrap();
        assert_golden(&format!("tests/golden/chart/{name}.yaml"), &rendered);
    }
}

#[test]
fn every_value_file_of_the_chart_has_a_golden_file() {
    let count = |directory: &str| std::fs::read_dir(repository().join(directory)).expect("it is there").count();
    assert_eq!(count("charts/campaign-metrics/ci"), VALUES.len());
    assert_eq!(count("tests/golden/chart"), VALUES.len());
}

#[tokio::test]
async fn the_chart_of_the_definition_alone_renders_what_the_whole_chart_does() {
    let alone = repository().join("charts/campaign-metrics-crds");
    let (alone, whole) = (objects_of(&alone, &[]).await, objects(&["-f", &values("default")]).await);
    for (name, part) in [
        ("CustomResourceDefinition/campaigns.campaign-metrics.io", "spec"),
        ("CustomResourceDefinition/campaigns.campaign-metrics.io", "metadata/annotations"),
        ("ClusterRole/campaign-metrics-campaign-metrics-view", "rules"),
        ("ClusterRole/campaign-metrics-campaign-metrics-edit", "rules"),
    ] {
        let pointer = format!("/{part}");
        let (alone, whole) = (alone[name].pointer(&pointer), whole[name].pointer(&pointer));
        assert!(alone.is_some() && alone == whole, "{name} {part}: {alone:?}\n{whole:?}");
    }
    assert_eq!(alone.len(), 3, "{:?}", alone.keys());
}
