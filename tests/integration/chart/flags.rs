//! Every flag of the daemons is a value of the chart.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{objects, values};
use crate::harness::{parts::binary, run::run};

/// The long flags of a command, by its help.
async fn flags(program: &str, command: &str) -> BTreeSet<String> {
    let mut help = tokio::process::Command::new(binary(program).unwrap());
    help.args([command, "--help"]);
    let help = run(help, "").await.unwrap().success().unwrap();
    let lines = help.lines().filter_map(|line| line.trim_start().trim_start_matches("-h, ").strip_prefix("--"));
    let flags = lines.map(|line| line.split([' ', '=', '[']).next().unwrap_or_default().to_owned());
    flags.filter(|flag| !["help", "version"].contains(&flag.as_str())).collect()
}

/// The flags that a container is started with; variables count as their flags.
fn given(object: &Value) -> BTreeSet<String> {
    let container = &object["spec"]["template"]["spec"]["containers"][0];
    let args = container["args"].as_array().expect("a container with arguments").iter().filter_map(Value::as_str);
    let args = args.filter_map(|arg| arg.strip_prefix("--")?.split('=').next().map(str::to_owned));
    let env = container["env"].as_array().into_iter().flatten().filter_map(|variable| variable["name"].as_str());
    args.chain(env.map(|name| name.to_lowercase().replace('_', "-"))).collect()
}

#[tokio::test]
async fn every_flag_of_the_daemons_is_a_value() {
    let full = values("full");
    let objects = objects(&["-f", &full, "--set", "controller.namespaced=true"]).await;
    for (program, command, object) in [
        ("campaign-metrics-service", "serve", "Deployment/campaign-metrics-service"),
        ("campaign-metrics-service", "migrate", "Job/campaign-metrics-migrations"),
        ("campaign-controller", "run", "Deployment/campaign-metrics-controller"),
        ("campaign-controller", "remove-finalizers", "Job/campaign-metrics-finalizers"),
    ] {
        let (flags, given) = (flags(program, command).await, given(&objects[object]));
        assert!(!flags.is_empty(), "{program} {command} has flags");
        let missing: Vec<_> = flags.difference(&given).collect();
        assert!(missing.is_empty(), "no value gives {missing:?} of `{program} {command}`; given: {given:?}");
    }
}
