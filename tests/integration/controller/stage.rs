//! A namespace with its own controller, and shorthands to act on its campaigns through Kubernetes and through the
//! service.

use std::{
    path::Path,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, ensure};
use campaign_controller::crd::Campaign;
use campaign_metrics::pb;
use campaign_metrics_service::Clock;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Api;
use serde_json::{Value, json};
use tokio::{net::TcpListener, runtime::Builder, sync::oneshot};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::harness::{
    http,
    kube::{Cluster, client, cluster},
    postgres::database,
    run::{Output, run},
    service::Service,
    wait::{SOON, until},
};

/// Longer than a controller gives its reconciles to finish.
const DRAIN_MAX: Duration = Duration::from_secs(40);

/// Starts a service with the system clock, which the controller uses, too.
pub async fn service() -> Service {
    Service::on(&database().await, Clock::system()).await
}

/// A controller in this process, with its own thread and runtime.
pub struct Controller {
    admin_url: String,
    shutdown: CancellationToken,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Controller {
    /// Starts a controller for one namespace, with the rights of a kubeconfig.
    pub async fn start(kubeconfig: &Path, service_url: &str, namespace: &str) -> Self {
        let options =
            campaign_controller::Options { service: service_url.to_owned(), namespace: Some(namespace.to_owned()) };
        let (kubeconfig, shutdown) = (kubeconfig.to_owned(), CancellationToken::new());
        let (bound_sender, bound) = oneshot::channel();
        let run_shutdown = shutdown.clone();
        let thread = thread::spawn(move || {
            let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
            runtime.block_on(async {
                let admin = TcpListener::bind("127.0.0.1:0").await?;
                ensure!(bound_sender.send(admin.local_addr()?).is_ok(), "the test ended");
                campaign_controller::run(options, client(&kubeconfig).await?, admin, run_shutdown).await
            })
        });
        let admin = bound.await.expect("the controller binds");
        Self { admin_url: format!("http://{admin}"), shutdown, thread: Some(thread) }
    }

    /// Stops it, and waits until it has ended.
    pub fn stop(&mut self) {
        self.shutdown.cancel();
        let asked = Instant::now();
        let Some(thread) = self.thread.take() else { return };
        while !thread.is_finished() && asked.elapsed() < DRAIN_MAX {
            thread::sleep(Duration::from_millis(5));
        }
        // A panic within a panic would hide the first.
        if !thread::panicking() {
            assert!(thread.is_finished(), "the controller does not stop");
            let ended = thread.join().map_err(|_| anyhow!("the controller panicked"));
            ended.flatten().expect("the controller ends without an error");
        }
    }

    /// Where /livez, /readyz and /metrics are.
    pub fn admin_url(&self) -> &str {
        &self.admin_url
    }

    /// Sums the series of a counter.
    pub async fn metric(&self, name: &str) -> Result<u64> {
        let (_, page) = http::get(&format!("{}/metrics", self.admin_url)).await?;
        let series = page.lines().filter_map(|line| line.strip_prefix(name));
        let values = series.filter(|rest| rest.starts_with(['{', ' ']));
        values.map(|rest| Ok(rest.rsplit(' ').next().unwrap_or_default().parse::<u64>()?)).sum()
    }

    /// Waits until so many reconciles have ended and none runs; returns how many have.
    pub async fn idle_after(&self, reconciles: u64) -> u64 {
        let look = async || {
            let done = self.metric("controller_runtime_reconcile_total").await?;
            let active = self.metric("controller_runtime_active_workers").await?;
            ensure!(done >= reconciles && active == 0, "{done} ended, {active} run");
            Ok(done)
        };
        until("reconciles to end", SOON, look).await.unwrap()
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A namespace, what is in it, and its controller.
pub struct Stage {
    pub cluster: &'static Cluster,
    pub namespace: String,
    pub controller: Controller,
    resources: Api<Campaign>,
}

impl Stage {
    /// Starts a controller with all rights, for a namespace of its own.
    pub async fn start(service_url: &str) -> Self {
        let cluster = cluster().await;
        let namespace = cluster.namespace("controller").await.unwrap();
        Self::of(namespace, &cluster.kubeconfig, service_url).await
    }

    /// Starts a controller for a namespace that exists, with the rights of a kubeconfig.
    pub async fn of(namespace: String, kubeconfig: &Path, service_url: &str) -> Self {
        let cluster = cluster().await;
        Self {
            cluster,
            controller: Controller::start(kubeconfig, service_url, &namespace).await,
            resources: Api::namespaced(cluster.client().await.unwrap(), &namespace),
            namespace,
        }
    }

    /// Runs kubectl in the namespace.
    pub async fn kubectl(&self, arguments: &[&str]) -> Output {
        let namespace = ["-n", self.namespace.as_str()];
        self.cluster.kubectl(arguments.iter().chain(&namespace)).await.unwrap()
    }

    /// Applies a resource as people do.
    pub async fn apply(&self, name: &str, spec: &Value) {
        let resource = json!({
            "apiVersion": "campaign-metrics.io/v1alpha1",
            "kind": "Campaign",
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": spec,
        });
        let applied = self.cluster.kubectl_input(["apply", "-f", "-"], &resource.to_string()).await;
        applied.unwrap().success().unwrap();
    }

    /// Runs `kubectl edit` with an editor that replaces `from` by `to`.
    pub async fn edit(&self, name: &str, from: &str, to: &str) -> Output {
        // kubectl leaves the text of a refused edit in the directory for temporary files.
        let directory = tempfile::tempdir().unwrap();
        let mut edit = self.cluster.kubectl_command().unwrap();
        edit.env("KUBE_EDITOR", format!("sed -i 's/{from}/{to}/'")).env("TMPDIR", directory.path()).args([
            "edit",
            "campaign",
            name,
            "-n",
            &self.namespace,
        ]);
        run(edit, "").await.unwrap()
    }

    /// Edits like [`Stage::edit`]. Panics if the API server refuses it.
    pub async fn edited(&self, name: &str, from: &str, to: &str) {
        let said = self.edit(name, from, to).await.success().unwrap();
        assert!(said.contains("edited"), "the editor changes something: {said}");
    }

    /// Deletes a resource and waits until it is gone.
    pub async fn delete(&self, name: &str) {
        let gone = self.kubectl(&["delete", "campaign", name, "--timeout=30s"]).await;
        gone.success().unwrap();
    }

    /// Waits until a deleted resource is gone.
    pub async fn gone(&self, name: &str) {
        let resource = format!("campaign/{name}");
        let waited = self.kubectl(&["wait", "--for=delete", &resource, "--timeout=30s"]).await;
        waited.success().unwrap();
    }

    /// The resource; `None` once it is gone.
    pub async fn resource(&self, name: &str) -> Option<Campaign> {
        self.resources.get_opt(name).await.unwrap()
    }

    /// Waits until a resource is as expected.
    pub async fn see(&self, name: &str, what: &str, holds: impl Fn(&Campaign) -> bool) -> Campaign {
        let look = async || {
            let resource = self.resources.get(name).await?;
            ensure!(holds(&resource), "it is {}", serde_yaml::to_string(&resource)?);
            Ok(resource)
        };
        until(what, SOON, look).await.unwrap()
    }

    /// Waits until a condition of the present generation has this status and reason.
    pub async fn condition(&self, name: &str, kind: &str, status: &str, reason: &str) -> Campaign {
        let what = format!("{kind} to be {status} for {reason}");
        self.see(name, &what, |resource| {
            condition(resource, kind).is_some_and(|found| {
                (found.status.as_str(), found.reason.as_str()) == (status, reason)
                    && found.observed_generation == resource.metadata.generation
            })
        })
        .await
    }

    /// Waits until the service has the present spec of a resource and its status says so.
    pub async fn synced(&self, name: &str) -> Campaign {
        self.condition(name, "Synced", "True", "Applied").await
    }

    /// Waits for an event about a resource, and returns its note.
    pub async fn event(&self, name: &str, reason: &str) -> String {
        let look = async || {
            let events = self.events(name).await;
            let found = events.iter().find(|event| event["reason"] == reason);
            let note = found.with_context(|| format!("there are only {events:?}"))?["note"].as_str();
            Ok(note.context("a note")?.to_owned())
        };
        until(&format!("the event {reason}"), SOON, look).await.unwrap()
    }

    /// The types of the events about a resource that have this reason.
    pub async fn types(&self, name: &str, reason: &str) -> Vec<String> {
        let events = self.events(name).await;
        let types = events.iter().filter(|event| event["reason"] == reason).filter_map(|event| event["type"].as_str());
        types.map(str::to_owned).collect()
    }

    /// All events about a resource.
    pub async fn events(&self, name: &str) -> Vec<Value> {
        let text = self.kubectl(&["get", "events.events.k8s.io", "-o", "json"]).await.success().unwrap();
        let mut list: Value = serde_json::from_str(&text).unwrap();
        let mut events: Vec<Value> = serde_json::from_value(list["items"].take()).unwrap();
        events.retain(|event| event["regarding"]["name"] == name);
        events
    }

    /// The workspace of the namespace.
    pub fn workspace(&self) -> String {
        format!("workspaces/{}", self.namespace)
    }

    /// Resource name of the campaign of a resource.
    pub fn campaign_name(&self, name: &str) -> String {
        format!("{}/campaigns/{name}", self.workspace())
    }

    /// Reads a campaign from the service.
    pub async fn campaign(&self, service: &Service, name: &str) -> Result<pb::Campaign, Status> {
        let request = pb::GetCampaignRequest { name: self.campaign_name(name) };
        Ok(service.campaigns.clone().get_campaign(request).await?.into_inner())
    }

    /// Creates a campaign through the API.
    pub async fn create_campaign(&self, service: &Service, name: &str, campaign: pb::Campaign) -> pb::Campaign {
        let request = pb::CreateCampaignRequest {
            parent: self.workspace(),
            campaign_id: name.into(),
            campaign: Some(campaign),
            ..Default::default()
        };
        service.campaigns.clone().create_campaign(request).await.unwrap().into_inner()
    }

    /// Tries to pause a campaign through the API.
    pub async fn pause(&self, service: &Service, name: &str) -> Result<pb::Campaign, Status> {
        let name = self.campaign_name(name);
        let request = pb::PauseCampaignRequest { name, ..Default::default() };
        Ok(service.campaigns.clone().pause_campaign(request).await?.into_inner())
    }

    /// Places a hold on a campaign through the API.
    pub async fn hold(&self, service: &Service, name: &str, reason: &str) -> pb::Campaign {
        let request = pb::PauseCampaignRequest {
            name: self.campaign_name(name),
            r#override: true,
            reason: reason.into(),
            ..Default::default()
        };
        service.campaigns.clone().pause_campaign(request).await.expect("a hold is placed").into_inner()
    }

    /// Tries to resume a campaign through the API.
    pub async fn resume(&self, service: &Service, name: &str) -> Result<pb::Campaign, Status> {
        let name = self.campaign_name(name);
        let request = pb::ResumeCampaignRequest { name, ..Default::default() };
        Ok(service.campaigns.clone().resume_campaign(request).await?.into_inner())
    }

    /// Creates an account.
    pub async fn account(&self, service: &Service, id: &str) {
        let request = pb::CreateAccountRequest {
            parent: self.workspace(),
            account_id: id.into(),
            account: Some(pb::Account::default()),
            ..Default::default()
        };
        service.accounts.clone().create_account(request).await.unwrap();
    }

    /// Adds leads `l0`, `l1` and so on.
    pub async fn leads(&self, service: &Service, name: &str, count: usize, lead_list_complete: bool) {
        let lead = |number| pb::NewLead { lead_id: format!("l{number}"), account_id: String::new() };
        let request = pb::AddLeadsRequest {
            parent: self.campaign_name(name),
            leads: (0..count).map(lead).collect(),
            lead_list_complete,
        };
        let added = service.leads.clone().add_leads(futures::stream::iter([request])).await.unwrap();
        assert_eq!(added.into_inner().refused, [], "no lead is refused");
    }

    /// Claims for an account.
    pub async fn claim(&self, service: &Service, account: &str, max_claims: i32) -> pb::ClaimSendsResponse {
        let request = pb::ClaimSendsRequest {
            account: format!("{}/accounts/{account}", self.workspace()),
            max_claims,
            ..Default::default()
        };
        service.sending.clone().claim_sends(request).await.unwrap().into_inner()
    }

    /// Reports outcomes that must all be new.
    pub async fn report(&self, service: &Service, outcomes: Vec<pb::Outcome>) {
        let request = pb::ReportOutcomesRequest { parent: self.workspace(), outcomes };
        let answer = service.sending.clone().report_outcomes(request).await.unwrap();
        for result in answer.into_inner().results {
            assert_eq!(result.verdict(), pb::OutcomeVerdict::Applied, "{}", result.message);
        }
    }
}

/// A condition of a resource.
pub fn condition<'a>(resource: &'a Campaign, kind: &str) -> Option<&'a Condition> {
    resource.status.as_ref()?.conditions.iter().find(|condition| condition.type_ == kind)
}
