//! Runs every command of docs/stop.md on real processes, each time with the parts dead that the page says are dead.

use std::{cell::RefCell, collections::BTreeSet, env, fs, path::PathBuf};

use campaign_metrics::pb::{self, CampaignState};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use crate::harness::{
    daemon::Daemon,
    kube::Cluster,
    page::blocks,
    parts::{binary, part},
    postgres::{TestDatabase, database},
    process::{Directory, Signal},
    run::{Output, run},
    service::Service,
    wait::{SOON, until},
};

const PAGE: &str = "docs/stop.md";
const WORKSPACE: &str = "acme";

/// Two replicas, a controller with its own cluster, and campaigns of which resources manage two.
struct Stage {
    database: TestDatabase,
    replicas: Vec<Daemon>,
    controller: Daemon,
    cluster: Option<Cluster>,
    directory: TempDir,
    executed: RefCell<BTreeSet<String>>,
}

impl Stage {
    async fn new() -> Self {
        let (database, directory) = (database().await, tempfile::tempdir().unwrap());
        let mut replicas = Vec::new();
        for number in 0..2 {
            let logs = directory.path().join(format!("replica-{number}"));
            fs::create_dir(&logs).unwrap();
            let mut replica = Daemon::service(&database.url, &logs, Directory::Keep).await.unwrap();
            replica.ready().await.unwrap();
            replicas.push(replica);
        }
        let cluster = Cluster::start(&directory.path().join("cluster"), Directory::Keep).await.unwrap();
        cluster.kubectl(["create", "namespace", WORKSPACE]).await.unwrap().success().unwrap();
        let url = replicas[0].url.clone().unwrap();
        let controller = Daemon::controller(&cluster.kubeconfig, &url, None, directory.path(), Directory::Keep).await;
        let stage = Self {
            controller: controller.unwrap(),
            cluster: Some(cluster),
            executed: RefCell::default(),
            database,
            replicas,
            directory,
        };
        stage.populate().await;
        stage
    }

    async fn populate(&self) {
        let service = self.service(0);
        let account = pb::CreateAccountRequest {
            parent: format!("workspaces/{WORKSPACE}"),
            account_id: "anna".into(),
            account: Some(pb::Account::default()),
            ..Default::default()
        };
        service.accounts.clone().create_account(account).await.unwrap();
        let summer = pb::CreateCampaignRequest {
            parent: format!("workspaces/{WORKSPACE}"),
            campaign_id: "summer".into(),
            campaign: Some(pb::Campaign {
                accounts: vec![format!("workspaces/{WORKSPACE}/accounts/anna")],
                ..Default::default()
            }),
            ..Default::default()
        };
        service.campaigns.clone().create_campaign(summer).await.unwrap();
        for name in ["spring", "autumn"] {
            let resource = json!({
                "apiVersion": "campaign-metrics.io/v1alpha1", "kind": "Campaign",
                "metadata": {"name": name, "namespace": WORKSPACE}, "spec": {"accounts": ["anna"]},
            });
            let applied = self.cluster().kubectl_input(["apply", "-f", "-"], &resource.to_string()).await;
            applied.unwrap().success().unwrap();
        }
        for name in ["spring", "autumn", "summer"] {
            self.is(name, CampaignState::Active).await;
            let leads = (0..9).map(|number| pb::NewLead { lead_id: format!("l{number}"), ..Default::default() });
            let add = pb::AddLeadsRequest { parent: campaign(name), leads: leads.collect(), lead_list_complete: false };
            service.leads.clone().add_leads(futures::stream::iter([add])).await.unwrap();
        }
    }

    fn cluster(&self) -> &Cluster {
        self.cluster.as_ref().expect("it runs")
    }

    fn service(&self, replica: usize) -> Service {
        Service::of(&self.replicas[replica], &self.database).unwrap()
    }

    /// Waits until a campaign is in a state, as the last replica sees it.
    async fn is(&self, name: &str, state: CampaignState) {
        let service = self.service(self.replicas.len() - 1);
        let look = async || {
            let request = pb::GetCampaignRequest { name: campaign(name) };
            let found = service.campaigns.clone().get_campaign(request).await?.into_inner().state();
            anyhow::ensure!(found == state, "{name} is {found:?}");
            Ok(())
        };
        until("the state of a campaign", SOON, look).await.unwrap();
    }

    /// The campaigns of which a claim is granted now, by each replica that runs.
    async fn sending(&self) -> Vec<String> {
        let mut found = BTreeSet::new();
        for replica in 0..self.replicas.len() {
            let request = pb::ClaimSendsRequest {
                account: format!("workspaces/{WORKSPACE}/accounts/anna"),
                max_claims: 100,
                ..Default::default()
            };
            let service = self.service(replica);
            let claims = service.sending.clone().claim_sends(request).await.unwrap().into_inner().claims;
            found.extend(claims.iter().filter_map(|claim| claim.lead.split('/').nth(3).map(str::to_owned)));
            let claim_ids: Vec<String> = claims.into_iter().map(|claim| claim.claim_id).collect();
            if !claim_ids.is_empty() {
                let account = format!("workspaces/{WORKSPACE}/accounts/anna");
                let release = pb::ReleaseClaimsRequest { account, claim_ids, ..Default::default() };
                service.sending.clone().release_claims(release).await.unwrap();
            }
        }
        found.into_iter().collect()
    }

    /// Runs a block of the page, and returns what it prints.
    async fn execute(&self, name: &str) -> String {
        let text = blocks(PAGE).remove(name).unwrap_or_else(|| panic!("{PAGE} has no block {name}"));
        self.executed.borrow_mut().insert(name.to_owned());
        let folder = |file: PathBuf| file.parent().expect("files lie somewhere").to_owned();
        let ours = [
            folder(binary("campaignctl").unwrap()),
            folder(part("kubectl").unwrap()),
            folder(part("grpcurl").unwrap()),
        ];
        let path = env::join_paths(ours.into_iter().chain(env::split_paths(&env::var_os("PATH").unwrap()))).unwrap();
        let first = self.replicas[0].url.clone().unwrap();
        let last = self.replicas[self.replicas.len() - 1].url.clone().unwrap();
        let mut command = Command::new("bash");
        command
            .args(["-euo", "pipefail", "-c", &text])
            .env("PATH", path)
            .env("WORKSPACE", WORKSPACE)
            .env("SERVICE", first.trim_start_matches("http://"))
            .env("CAMPAIGN_METRICS_SERVER", &first)
            .env("OTHER_REPLICA", last)
            .env("KUBECONFIG", self.directory.path().join("cluster/kubeconfig"));
        let output: Output = run(command, "").await.unwrap();
        output.success().unwrap_or_else(|error| panic!("{PAGE}, {name}: {error:#}"))
    }

    async fn events(&self, reason: &str) -> Vec<String> {
        let read = ["get", "events.events.k8s.io", "-n", WORKSPACE, "-o", "json"];
        let list: Value =
            serde_json::from_str(&self.cluster().kubectl(read).await.unwrap().success().unwrap()).unwrap();
        let events = list["items"].as_array().unwrap().iter().filter(|event| event["reason"] == reason);
        events.map(|event| event["regarding"]["name"].as_str().unwrap_or_default().to_owned()).collect()
    }
}

fn campaign(name: &str) -> String {
    format!("workspaces/{WORKSPACE}/campaigns/{name}")
}

#[tokio::test]
async fn every_way_to_stop_works_with_the_parts_dead_that_the_page_names() {
    let mut stage = Stage::new().await;
    assert_eq!(stage.sending().await, ["autumn", "spring", "summer"]);
    stage.execute("one").await;
    assert_eq!(stage.sending().await, ["autumn", "spring"]);
    stage.execute("edit").await;
    assert_eq!(stage.sending().await, ["autumn"]);
    let active =
        ["patch", "campaign", "spring", "-n", WORKSPACE, "--type=merge", "-p", r#"{"spec":{"state":"Active"}}"#];
    stage.cluster().kubectl(active).await.unwrap().success().unwrap();
    stage.is("spring", CampaignState::Active).await;

    // The controller is dead, and a pause of the resource would wait for ever.
    stage.controller.process.signal(Signal::KILL).unwrap();
    stage.controller.process.end(SOON).await.unwrap();
    let said = stage.execute("hold").await;
    assert!(said.contains("spring is paused and held"), "{said}");
    assert_eq!(stage.sending().await, ["autumn"]);
    // Back again, it leaves the hold and shows it.
    let url = stage.replicas[0].url.clone().unwrap();
    let again = stage.directory.path().join("again");
    fs::create_dir(&again).unwrap();
    let kubeconfig = stage.cluster().kubeconfig.clone();
    stage.controller = Daemon::controller(&kubeconfig, &url, None, &again, Directory::Keep).await.unwrap();
    let shown = ["wait", "campaign", "spring", "-n", WORKSPACE, "--for=condition=Held", "--timeout=30s"];
    stage.cluster().kubectl(shown).await.unwrap().success().unwrap();
    let told = async || {
        let events = stage.events("Held").await;
        anyhow::ensure!(events == ["spring"], "events of a hold: {events:?}");
        Ok(())
    };
    until("the event of the hold", SOON, told).await.unwrap();
    assert_eq!(stage.sending().await, ["autumn"]);
    assert_eq!(stage.execute("lift").await, "spring is active\n");
    assert_eq!(stage.sending().await, ["autumn", "spring"]);
    stage.execute("account").await;
    assert_eq!(stage.sending().await, [""; 0]);
    let reinstate =
        pb::ReinstateAccountRequest { name: format!("workspaces/{WORKSPACE}/accounts/anna"), ..Default::default() };
    stage.service(0).accounts.clone().reinstate_account(reinstate).await.unwrap();

    // The API server is dead, and with it everything that people do by resources.
    drop(stage.cluster.take());
    let said = stage.execute("workspace").await;
    assert!(said.starts_with("paused 2 campaigns; "), "{said}");
    assert_eq!(stage.sending().await, [""; 0]);
    stage.execute("all-on").await;
    assert_eq!(stage.sending().await, ["autumn", "spring"], "summer was paused without a hold");
    let said = stage.execute("everything").await;
    assert!(said.starts_with("paused 2 campaigns; "), "{said}");
    assert_eq!(stage.sending().await, [""; 0]);
    stage.execute("all-on").await;

    // One of two replicas is dead.
    let mut dead = stage.replicas.remove(0);
    dead.process.signal(Signal::KILL).unwrap();
    dead.process.end(SOON).await.unwrap();
    assert_eq!(stage.sending().await, ["autumn", "spring"]);
    stage.execute("replica").await;
    assert_eq!(stage.sending().await, [""; 0]);
    let all: BTreeSet<String> = blocks(PAGE).into_keys().collect();
    assert_eq!(*stage.executed.borrow(), all, "every block of the page is run");
}

#[tokio::test]
async fn without_override_the_managed_campaigns_are_left_out_and_listed() {
    let stage = Stage::new().await;
    let url = stage.replicas[0].url.clone().unwrap();
    let pause = async |arguments: &str| crate::commands::campaignctl(&url, WORKSPACE, arguments).await;
    let output = crate::commands::assert_exit(pause("campaigns pause --all").await, 2);
    assert!(output.stdout.starts_with("paused 1 campaign; "), "{}", output.stdout);
    for name in ["autumn", "spring"] {
        let listed = format!("not paused: {}: the campaign is managed by Kubernetes", campaign(name));
        assert!(output.stdout.contains(&listed), "{}", output.stdout);
    }
    assert_eq!(stage.sending().await, ["autumn", "spring"]);
    let json = crate::commands::assert_exit(pause("-o json campaigns pause --all --override").await, 0).stdout;
    let report: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&report["pausedCount"], &report["managedCampaigns"]), (&json!(2), &json!([])));
    let none = crate::commands::assert_exit(pause("campaigns pause --all-workspaces").await, 0).stdout;
    assert!(none.starts_with("paused 0 campaigns; no message is in flight"), "{none}");
    let refused = crate::commands::assert_exit(pause("campaigns resume spring").await, 1);
    assert!(refused.stderr.contains("edit the Campaign resource acme/spring"), "{}", refused.stderr);
}
