//! A release through its life, on a cluster with its controllers, in a namespace that enforces the restricted standard: it
//! is installed beside a definition that was applied by hand, does the whole job, is upgraded and rolled back under load,
//! and leaves nothing that hangs.
//!
//! Its pods run with what their specs say on the API server.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use campaign_metrics::pb::{
    self, account_service_client::AccountServiceClient, campaign_service_client::CampaignServiceClient,
    lead_service_client::LeadServiceClient,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::load::{Load, ready};
use crate::harness::{
    kube::Cluster,
    kubelet::Kubelet,
    page::run_blocks,
    parts::{part, repository},
    postgres::{ROLES, Role, TestDatabase, empty_database},
    process::Directory,
    run::{Output, run, run_within},
    tools::helm,
    wait::{SOON, until},
};

const NAMESPACE: &str = "outreach";
const SERVICE: &str = "campaign-metrics-service";
const PORT: u16 = 50051;
/// The whole chart, the chart of the definition, and the chart of the last version.
const CHART: &str = "charts/campaign-metrics";
const CRDS: &str = "charts/campaign-metrics-crds";
const BEFORE: &str = "tests/data/chart-before";
/// Values of the last version, whose service migrates and so is the owner.
const SET_BEFORE: &str = "insecure=true,database.existingSecret=owner";
/// Values of this version: the service may change no table.
const SET: &str = "insecure=true,database.existingSecret=app,migrations.existingSecret=owner";

/// What a Job says that may not migrate.
const OLDER: &str = "2 older replicas of the service run, of migration 5 or before";

/// A cluster with one namespace and its node.
struct Stage {
    kubelet: Kubelet,
    cluster: Cluster,
    client: kube::Client,
    _directory: TempDir,
}

impl Stage {
    async fn start() -> Self {
        let directory = tempfile::Builder::new().prefix("campaign-metrics-whole-").tempdir().unwrap();
        let cluster = Cluster::whole(directory.path(), Directory::Remove).await.unwrap();
        let namespace = json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": NAMESPACE, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
        });
        cluster.kubectl_input(["create", "-f", "-"], &namespace.to_string()).await.unwrap().success().unwrap();
        let kubelet = Kubelet::start(&cluster, NAMESPACE).await.unwrap();
        let client = cluster.client().await.unwrap();
        Self { kubelet, cluster, client, _directory: directory }
    }

    /// Makes an empty database with the three roles, and Secrets with the URLs of two of them.
    async fn new_database(&self) -> TestDatabase {
        let database = empty_database().await;
        // Roles belong to the whole server, where another test may be changing them.
        let roles = async || Ok(database.connect().await.batch_execute(ROLES).await?);
        until("the roles", SOON, roles).await.unwrap();
        for (name, role) in [("owner", Role::Owner), ("app", Role::App)] {
            self.kubectl(&["delete", "secret", name, "--ignore-not-found"]).await;
            let url = format!("--from-literal=url={}", role.url(&database.url));
            self.kubectl(&["create", "secret", "generic", name, &url]).await;
        }
        database
    }

    /// Runs helm in the namespace.
    async fn helm(&self, arguments: &[&str]) -> Output {
        let mut command = helm(arguments).unwrap();
        command.args(["--namespace", NAMESPACE]).env("KUBECONFIG", &self.cluster.kubeconfig);
        command.current_dir(repository());
        run(command, "").await.unwrap()
    }

    /// Installs or upgrades a chart, and waits until everything is ready.
    async fn release(&self, how: &[&str], chart: &str) {
        let set = if chart == BEFORE { SET_BEFORE } else { SET };
        let arguments = [how, &["campaign-metrics", chart, "--set", set, "--wait", "--timeout", "55s"]].concat();
        let output = self.helm(&arguments).await;
        let output = output.success();
        output.unwrap_or_else(|error| panic!("{error:#}\n{:?}", self.kubelet.record().failures));
    }

    async fn kubectl(&self, arguments: &[&str]) -> String {
        self.cluster.kubectl([arguments, &["-n", NAMESPACE]].concat()).await.unwrap().success().unwrap()
    }

    /// A ready pod of the service.
    async fn url(&self) -> String {
        let look = async || ready(&self.client, NAMESPACE, SERVICE, PORT).await?.pop().context("no pod is ready");
        until("a ready pod", SOON, look).await.unwrap()
    }

    /// Applies a Campaign, and waits until the controller has applied it to the service.
    async fn campaign(&self, name: &str, accounts: &[&str]) {
        let resource = json!({
            "apiVersion": "campaign-metrics.io/v1alpha1", "kind": "Campaign",
            "metadata": {"name": name, "namespace": NAMESPACE}, "spec": {"accounts": accounts},
        });
        self.cluster.kubectl_input(["apply", "-f", "-"], &resource.to_string()).await.unwrap().success().unwrap();
        self.kubectl(&["wait", "campaign", name, "--for=condition=Ready", "--timeout=40s"]).await;
    }

    async fn resource(&self, name: &str) -> Value {
        serde_json::from_str(&self.kubectl(&["get", "campaign", name, "-o", "json"]).await).unwrap()
    }

    /// Whether a person may do something in the namespace.
    async fn may(&self, person: &str, verb: &str) -> bool {
        let ask = ["auth", "can-i", verb, "campaigns.campaign-metrics.io", "-n", NAMESPACE, "--as", person];
        self.cluster.kubectl(ask).await.unwrap().stdout.trim() == "yes"
    }

    /// Starts of containers with this argument.
    fn starts(&self, argument: &str) -> usize {
        let record = self.kubelet.record();
        record.started.iter().filter(|(_, args)| args.iter().any(|arg| arg == argument)).count()
    }
}

/// A definition that was applied by hand, from an earlier version, is refused with what to do, and then taken over.
async fn installs_the_chart_of_the_last_version(stage: &Stage) {
    let older = r#"{"spec": {"names": {"kind": "Campaign", "plural": "campaigns", "shortNames": ["older"]}}}"#;
    let patch =
        ["patch", "crd", "campaigns.campaign-metrics.io", "--type=merge", "-p", older, "--field-manager=kubectl"];
    stage.cluster.kubectl(patch).await.unwrap().success().unwrap();
    let arguments = ["install", "campaign-metrics", BEFORE, "--set", SET_BEFORE];
    let said = stage.helm(&arguments).await.refusal().unwrap();
    assert!(said.contains("campaigns.campaign-metrics.io") && said.contains("ownership"), "{said}");
    stage.release(&["install", "--take-ownership", "--force-conflicts"], BEFORE).await;
    let names = ["get", "crd", "campaigns.campaign-metrics.io", "-o", "jsonpath={.spec.names.shortNames}"];
    assert_eq!(stage.cluster.kubectl(names).await.unwrap().success().unwrap(), r#"["camp"]"#, "it is the chart's now");
}

/// Two accounts, a campaign of a resource, and leads enough for the whole test.
async fn prepares_a_campaign(stage: &Stage) -> String {
    let url = stage.url().await;
    let (parent, account) = (format!("workspaces/{NAMESPACE}"), format!("workspaces/{NAMESPACE}/accounts/anna"));
    let new = pb::CreateAccountRequest {
        parent: parent.clone(),
        account_id: "anna".to_owned(),
        account: Some(pb::Account::default()),
        ..Default::default()
    };
    AccountServiceClient::connect(url.clone()).await.unwrap().create_account(new).await.unwrap();
    stage.campaign("spring", &["anna"]).await;
    let leads = (0..20).map(move |batch| pb::AddLeadsRequest {
        parent: format!("{parent}/campaigns/spring"),
        leads: (0..2000)
            .map(|number| pb::NewLead { lead_id: format!("{batch}-{number}"), ..Default::default() })
            .collect(),
        ..Default::default()
    });
    let mut client = LeadServiceClient::connect(url).await.unwrap();
    client.add_leads(futures::stream::iter(leads)).await.unwrap();
    account
}

/// Upgrades, a change of a value, and a rollback: pods are replaced one by one, and no call fails.
async fn upgrades_and_rolls_back_under_load(stage: &Stage, account: &str) {
    let load = Load::start(&stage.client, NAMESPACE, SERVICE, PORT, account);
    let all_acknowledge = || load.reaches_all(&stage.client, NAMESPACE, SERVICE, PORT);
    all_acknowledge().await;
    stage.release(&["upgrade"], CHART).await;
    all_acknowledge().await;
    assert_eq!(stage.starts("migrate"), 1, "the database was migrated once before the upgrade");
    stage.release(&["upgrade", "--set", "service.poolSize=9"], CHART).await;
    all_acknowledge().await;
    assert_eq!(stage.starts("--pool-size=9"), 2, "both pods were replaced");
    let output = stage.helm(&["rollback", "campaign-metrics", "2", "--wait", "--timeout", "55s"]).await;
    output.success().unwrap();
    all_acknowledge().await;
    let told = load.stop().await;
    assert!(told.failures.is_empty(), "{} of {} failed: {:#?}", told.failures.len(), told.applied, told.failures);
    // Each of the four rollouts has two pods.
    assert_eq!(told.by_pod.len(), 8, "{:?}", told.by_pod);

    let request = pb::GetCampaignRequest { name: format!("workspaces/{NAMESPACE}/campaigns/spring") };
    let mut client = CampaignServiceClient::connect(stage.url().await).await.unwrap();
    let counts = client.get_campaign(request).await.unwrap().into_inner().message_counts.unwrap();
    assert_eq!(counts.delivered.unsigned_abs(), told.applied, "what was acknowledged is counted");
}

/// An upgrade that can't roll: the Job is refused while older pods run, and they go on; without them it goes through.
async fn upgrades_without_older_pods(stage: &Stage, database: &TestDatabase) {
    let sql = database.connect().await;
    until("the replaced pods to have ended", SOON, async || {
        let replicas = sql.execute("UPDATE replicas SET schema_version = 5", &[]).await?;
        ensure!(replicas == 2, "{replicas} replicas say that they run");
        Ok(())
    })
    .await
    .unwrap();
    let arguments = ["upgrade", "campaign-metrics", CHART, "--set", SET, "--set", "migrations.backoffLimit=0"];
    stage.helm(&arguments).await.refusal().unwrap();
    let failures = stage.kubelet.record().failures;
    assert!(failures.len() == 1 && failures[0].contains(OLDER), "{failures:#?}");
    let pods = ready(&stage.client, NAMESPACE, SERVICE, PORT).await.unwrap();
    assert_eq!(pods.len(), 2, "the old ones go on");

    stage.kubectl(&["scale", "deployment", SERVICE, "--replicas=0"]).await;
    let selector = "app.kubernetes.io/component=service";
    stage.kubectl(&["wait", "pods", "-l", selector, "--for=delete", "--timeout=40s"]).await;
    stage.release(&["upgrade"], CHART).await;
    assert_eq!(ready(&stage.client, NAMESPACE, SERVICE, PORT).await.unwrap().len(), 2);
}

/// What a person does with kubectl, and `helm test`.
async fn does_its_job(stage: &Stage) {
    stage.helm(&["test", "campaign-metrics", "--timeout", "55s"]).await.success().unwrap();
    let record = stage.kubelet.record();
    let output = &record.output["campaign-metrics-test"];
    assert!(output.contains("spring"), "the test lists the campaign of its namespace:\n{output}");

    let bind = |person: &'static str, role: &'static str| {
        ["create", "rolebinding", person, "--clusterrole", role, "--user", person]
    };
    for (person, role) in [("vera", "view"), ("eduard", "edit"), ("adele", "admin")] {
        stage.kubectl(&bind(person, role)).await;
    }
    let aggregated = async || {
        ensure!(stage.may("eduard", "patch").await, "edit does not hold the rights of campaigns");
        ensure!(stage.may("vera", "watch").await, "view does not hold the rights of campaigns");
        ensure!(stage.may("adele", "delete").await, "admin does not hold the rights of campaigns");
        Ok(())
    };
    until("the roles to be aggregated", SOON, aggregated).await.unwrap();
    assert!(!stage.may("vera", "patch").await && !stage.may("nobody", "get").await);

    let mut edit = stage.cluster.kubectl_command().unwrap();
    edit.env("KUBE_EDITOR", "sed -i 's/state: Active/state: Paused/'");
    edit.args(["edit", "campaign", "spring", "-n", NAMESPACE, "--as", "eduard"]);
    run(edit, "").await.unwrap().success().unwrap();
    let paused = "--for=jsonpath={.status.state}=Paused";
    stage.kubectl(&["wait", "campaign", "spring", paused, "--timeout=30s"]).await;
}

/// The commands of docs/operating.md: the counts are right, then one is not and is repaired.
async fn verifies_within_the_cluster(stage: &Stage, database: &TestDatabase) {
    let blocks = run_blocks("docs/operating.md");
    let names: Vec<&str> = blocks.keys().map(String::as_str).collect();
    assert_eq!(names, ["clean", "repair", "verify"], "every block of the page is run here");
    let execute = async |block: &str| {
        let mut command = tokio::process::Command::new("bash");
        let path =
            format!("{}:{}", part("kubectl").unwrap().parent().unwrap().display(), std::env::var("PATH").unwrap());
        command.args(["-euo", "pipefail", "-c", &blocks[block]]).env("PATH", path);
        command.env("KUBECONFIG", &stage.cluster.kubeconfig).env("NAMESPACE", NAMESPACE);
        run_within(command, "", Duration::from_mins(1))
            .await
            .unwrap()
            .success()
            .unwrap_or_else(|error| panic!("{error:#}"));
    };
    let said = |job: &str| -> String {
        let output = stage.kubelet.record().output;
        output.into_iter().filter(|(pod, _)| pod.starts_with(job)).map(|(_, text)| text).collect()
    };
    execute("verify").await;
    let now = said("verify-now-");
    assert!(now.contains(" recounted, 0 numbers differed"), "{now}");

    let wrong = "UPDATE campaign_counters SET delivered_messages = delivered_messages + 3";
    assert_eq!(database.connect().await.execute(wrong, &[]).await.unwrap(), 1);
    execute("repair").await;
    let repaired = said("verify-repair-");
    assert!(repaired.contains(", repaired\n") && repaired.contains("1 numbers differed"), "{repaired}");
    execute("clean").await;
}

/// The release goes; what it leaves can be deleted.
async fn uninstalls_and_leaves_nothing_that_hangs(stage: &Stage) {
    assert_eq!(stage.resource("spring").await["metadata"]["finalizers"], json!(["campaign-metrics.io/finalizer"]));
    stage.helm(&["uninstall", "campaign-metrics", "--timeout", "55s"]).await.success().unwrap();
    assert_eq!(stage.starts("remove-finalizers"), 1);
    assert_eq!(stage.resource("spring").await["metadata"]["finalizers"], json!(null), "the resource is kept, and free");
    stage.kubectl(&["delete", "campaign", "spring", "--timeout=20s"]).await;
    let left = ["get", "all,serviceaccounts,roles,networkpolicies,poddisruptionbudgets", "-o", "name"];
    let gone = async || {
        let left = stage.kubectl(&left).await;
        let ours: Vec<&str> = left.lines().filter(|name| name.contains("campaign-metrics")).collect();
        ensure!(ours.is_empty(), "{ours:?}");
        Ok(())
    };
    until("the release to be gone", Duration::from_mins(1), gone).await.unwrap();
    let cluster_wide = ["get", "clusterroles,clusterrolebindings", "-o", "name"];
    let left = stage.cluster.kubectl(cluster_wide).await.unwrap().success().unwrap();
    assert!(!left.contains("campaign-metrics"), "{left}");
}

/// A first install, so that the Job finds an empty database. The definition comes by its own chart, which adopts the one
/// that the other chart kept. Without `keep` it goes, and the namespace with it.
async fn installs_definition_and_programs_apart(stage: &Stage) {
    let arguments = ["install", "crds", CRDS, "--take-ownership", "--force-conflicts", "--set", "keep=false"];
    stage.helm(&arguments).await.success().unwrap();
    stage.new_database().await;
    let set = ["install", "--set", "crds.enabled=false,controller.namespaced=true,service.replicas=1"];
    stage.release(&set, CHART).await;
    stage.campaign("autumn", &[]).await;
    stage.helm(&["uninstall", "campaign-metrics", "--timeout", "55s"]).await.success().unwrap();
    stage.helm(&["uninstall", "crds", "--wait", "--timeout", "55s"]).await.success().unwrap();
    let crds = stage.cluster.kubectl(["get", "crds", "-o", "name"]).await.unwrap().success().unwrap();
    assert_eq!(crds, "", "the definition is gone");
    let delete = ["delete", "namespace", NAMESPACE, "--timeout=55s"];
    stage.cluster.kubectl(delete).await.unwrap().success().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_does_its_job_from_the_install_to_the_uninstall() {
    let stage = Stage::start().await;
    let database = stage.new_database().await;
    installs_the_chart_of_the_last_version(&stage).await;
    let account = prepares_a_campaign(&stage).await;
    upgrades_and_rolls_back_under_load(&stage, &account).await;
    upgrades_without_older_pods(&stage, &database).await;
    does_its_job(&stage).await;
    verifies_within_the_cluster(&stage, &database).await;
    uninstalls_and_leaves_nothing_that_hangs(&stage).await;
    installs_definition_and_programs_apart(&stage).await;
    let failures = stage.kubelet.record().failures;
    assert!(failures.iter().all(|failure| failure.contains(OLDER)), "{failures:#?}");
    stage.kubelet.stop().await.unwrap();
    stage.cluster.stop().await.unwrap();
}
