//! Enumerates fields and rules of the resource's definition, so that tests notice a new one without a comparison.

use std::{collections::BTreeSet, sync::LazyLock};

use serde_json::Value;

/// The only version in the definition, as the controller prints it.
pub fn version() -> &'static Value {
    static DEFINITION: LazyLock<Value> = LazyLock::new(|| {
        let yaml = campaign_controller::crd::yaml().expect("the definition can be printed");
        serde_yaml::from_str(&yaml).expect("it is YAML")
    });
    let versions = DEFINITION["spec"]["versions"].as_array().expect("versions");
    let [version] = &versions[..] else { panic!("there are {} versions, and these tests know one", versions.len()) };
    version
}

/// Every node of the schema of `spec` or `status`, by path: `activeHours.windows[].days[]`.
pub fn nodes(part: &str) -> Vec<(String, &'static Value)> {
    let mut found = Vec::new();
    walk("", &version()["schema"]["openAPIV3Schema"]["properties"][part], &mut found);
    assert!(found.len() > 10, "the walk finds the {part}");
    found
}

fn walk(path: &str, node: &'static Value, found: &mut Vec<(String, &'static Value)>) {
    for (name, inner) in node["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        found.push((path.clone(), inner));
        walk(&path, inner, found);
    }
    if node["items"].is_object() {
        let path = format!("{path}[]");
        found.push((path.clone(), &node["items"]));
        walk(&path, &node["items"], found);
    }
}

/// Paths of the fields of `spec` or `status` that hold a value themselves.
pub fn leaves(part: &str) -> BTreeSet<String> {
    let inner = |node: &Value| node["properties"].is_object() || node["items"].is_object();
    nodes(part).into_iter().filter(|(_, node)| !inner(node)).map(|(path, _)| path).collect()
}
