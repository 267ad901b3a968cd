//! The binaries as processes: their output, their end, and the controller between kubectl and the service.

use std::{path::Path, process::Command};

use anyhow::{Context as _, ensure};
use campaign_metrics::pb;
use campaign_metrics_service::Clock;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{
    daemon::Daemon,
    kube::{Cluster, cluster},
    parts::binary,
    postgres::{database, empty_database},
    process::{Directory, GRACE, Process, Signal},
    run::run,
    service::Service,
    wait::{SOON, until},
};

fn directory() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

#[tokio::test]
async fn the_service_drains_on_a_signal_and_ends_well() {
    for signal in [Signal::TERM, Signal::INT] {
        let directory = directory();
        let database = database().await;
        let mut service = Daemon::service(&database.url, directory.path(), Directory::Keep).await.unwrap();
        service.ready().await.unwrap();
        service.process.signal(signal).unwrap();
        let status = service.process.end(GRACE).await.unwrap();
        assert!(status.success(), "{signal:?}: {status}\n{}", service.process.log());
        assert_eq!(service.process.stdout().lines().count(), 1, "one line that says where it listens");
    }
}

#[tokio::test]
async fn migrating_twice_is_migrating_once() {
    let database = empty_database().await;
    for _ in 0..2 {
        let mut command = tokio::process::Command::new(binary("campaign-metrics-service").unwrap());
        command.args(["migrate", "--database-url", &database.url]);
        assert_eq!(run(command, "").await.unwrap().success().unwrap(), "the schema is up to date\n");
    }
    let migrations = "SELECT count(*) FROM refinery_schema_history";
    let count: i64 = database.connect().await.query_one(migrations, &[]).await.unwrap().get(0);
    assert!(count >= 1, "what was applied is written down");
}

/// A controller for one namespace, with the service and the resource that it works on.
struct Managed {
    cluster: &'static Cluster,
    namespace: String,
    service: Service,
    controller: Daemon,
    _directory: TempDir,
}

impl Managed {
    async fn start() -> Self {
        let cluster = cluster().await;
        let namespace = cluster.namespace("managed").await.unwrap();
        let service = Service::on(&database().await, Clock::system()).await;
        let directory = directory();
        let (kubeconfig, path) = (&cluster.kubeconfig, directory.path());
        let mut controller =
            Daemon::controller(kubeconfig, &service.url, Some(&namespace), path, Directory::Keep).await.unwrap();
        controller.ready().await.unwrap();
        let managed = Self { cluster, namespace, service, controller, _directory: directory };
        let resource = json!({
            "apiVersion": "campaign-metrics.io/v1alpha1",
            "kind": "Campaign",
            "metadata": {"name": "spring", "namespace": managed.namespace},
            "spec": {"displayName": "Spring"},
        });
        cluster.kubectl_input(["apply", "-f", "-"], &resource.to_string()).await.unwrap().success().unwrap();
        managed
    }

    /// Waits until the resource's status says what is expected of it.
    async fn status(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let get = ["get", "campaign", "spring", "-n", &self.namespace, "-o", "json"];
        let look = async || {
            let resource: Value = serde_json::from_str(&self.cluster.kubectl(get).await?.success()?)?;
            ensure!(holds(&resource), "it is {resource:#}");
            Ok(resource)
        };
        let found = until(what, SOON, look).await;
        found.unwrap_or_else(|error| panic!("{error:#}\n{}", self.controller.process.log()))
    }

    async fn campaign(&self) -> Option<pb::Campaign> {
        let name = format!("workspaces/{}/campaigns/spring", self.namespace);
        let answer = self.service.campaigns.clone().get_campaign(pb::GetCampaignRequest { name }).await;
        answer.ok().map(tonic::Response::into_inner)
    }
}

#[tokio::test]
async fn kubectl_edit_pauses_a_campaign_and_its_status_says_so_once_it_is_true() {
    let managed = Managed::start().await;
    managed.status("the first status", |resource| resource["status"]["state"] == "Active").await;
    assert_eq!(managed.campaign().await.expect("it was created").display_name, "Spring");

    let mut edit = managed.cluster.kubectl_command().unwrap();
    edit.env("KUBE_EDITOR", "sed -i 's/state: Active/state: Paused/'");
    edit.args(["edit", "campaign", "spring", "-n", &managed.namespace]);
    run(edit, "").await.unwrap().success().unwrap();
    let is_paused = |resource: &Value| {
        resource["status"]["state"] == "Paused"
            && resource["status"]["observedGeneration"] == resource["metadata"]["generation"]
    };
    managed.status("the pause", is_paused).await;
    assert_eq!(managed.campaign().await.unwrap().state(), pb::CampaignState::Paused);
}

#[tokio::test]
async fn counts_are_mirrored_into_the_resource() {
    let managed = Managed::start().await;
    managed.status("the first status", |resource| resource["status"]["state"] == "Active").await;
    let request = pb::AddLeadsRequest {
        parent: format!("workspaces/{}/campaigns/spring", managed.namespace),
        leads: vec![pb::NewLead { lead_id: "a".to_owned(), account_id: String::new() }],
        lead_list_complete: false,
    };
    managed.service.leads.clone().add_leads(futures::stream::iter([request])).await.unwrap();
    managed.status("the count", |resource| resource["status"]["counts"]["total"] == 1).await;
}

#[tokio::test]
async fn deleting_a_resource_leaves_the_campaign_without_owner() {
    let managed = Managed::start().await;
    managed.status("the first status", |resource| resource["status"]["state"] == "Active").await;
    assert!(managed.campaign().await.unwrap().owner.is_some(), "managed by the resource");
    let delete = ["delete", "campaign", "spring", "-n", &managed.namespace, "--timeout=30s"];
    managed.cluster.kubectl(delete).await.unwrap().success().unwrap();
    let owner = managed.campaign().await.context("results are kept").unwrap().owner;
    assert_eq!(owner, None);
}

#[tokio::test]
async fn the_controller_ends_well_on_a_signal() {
    let mut managed = Managed::start().await;
    let status = managed.controller.process.stop(GRACE).await.unwrap();
    assert!(status.success(), "{status}\n{}", managed.controller.process.log());
}

/// A controller that finds no service, and logs with these arguments.
async fn without_service(arguments: &[&str], directory: &Path) -> Process {
    let mut command = Command::new(binary("campaign-controller").unwrap());
    command.args(["run", "--service", "http://127.0.0.1:1", "--namespace", "default", "--admin-listen", "127.0.0.1:0"]);
    command.args(arguments).env("KUBECONFIG", &cluster().await.kubeconfig).env_remove("RUST_LOG");
    let mut process = Process::start("controller", &command, directory, Signal::TERM, Directory::Keep).unwrap();
    process.line("listening ", SOON).await.unwrap();
    process
}

/// The whole lines of a log, once there are so many that say this.
async fn logged(process: &mut Process, says: &str, count: usize) -> Vec<String> {
    let path = process.log_path();
    let look = async || {
        let log = std::fs::read_to_string(&path)?;
        let whole = log.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let lines: Vec<String> = whole.lines().map(str::to_owned).collect();
        let found = lines.iter().filter(|line| line.contains(says)).count();
        ensure!(found >= count, "{found} lines say `{says}`");
        Ok(lines)
    };
    process.ready(SOON, look).await.unwrap()
}

const BROKE_OFF: &str = "the watch of the service's campaigns broke off";

#[tokio::test]
async fn the_controller_logs_lines_for_people_unless_it_is_asked_for_json() {
    let directory = directory();
    let mut process = without_service(&[], directory.path()).await;
    for line in logged(&mut process, BROKE_OFF, 1).await {
        assert!(serde_json::from_str::<Value>(&line).is_err(), "a line for people: {line}");
        assert!(!line.contains('\x1b'), "a file has no colors: {line}");
    }
    process.stop(GRACE).await.unwrap();
    let mut process = without_service(&["--log-format", "json"], directory.path()).await;
    for line in logged(&mut process, BROKE_OFF, 1).await {
        let object: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(object["level"].is_string() && object["fields"]["message"].is_string(), "{line}");
    }
}

#[tokio::test]
async fn the_controller_waits_twice_as_long_each_time_for_a_service_that_stays_away() {
    let directory = directory();
    let mut process = without_service(&["--log-format", "json"], directory.path()).await;
    let lines = logged(&mut process, BROKE_OFF, 3).await;
    let objects = lines.iter().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let waits: Vec<f64> = objects.filter_map(|object| object["fields"]["retry_seconds"].as_f64()).collect();
    // Up to a fifth of each is taken off by chance.
    for (wait, longest) in waits.iter().zip([1.0, 2.0, 4.0]) {
        assert!((longest * 0.799..=longest).contains(wait), "waits are 1, 2 and 4 s, less a fifth: {waits:?}");
    }
}
