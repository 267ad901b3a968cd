//! The service is away for a while. No change is lost, and the status claims nothing that the service has not
//! confirmed.

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::ensure;
use campaign_controller::crd::{Campaign, DesiredState};
use campaign_metrics::pb::{self, campaign_service_client::CampaignServiceClient};
use campaign_metrics_service::Clock;
use serde_json::json;
use tempfile::TempDir;
use tonic::{
    Status,
    transport::{Channel, Endpoint},
};

use super::stage::{Stage, condition};
use crate::harness::{
    daemon::Daemon,
    http,
    parts::binary,
    postgres::{TestDatabase, database},
    process::{Directory, GRACE, Process, Signal},
    service::Service,
    wait::{SOON, until},
};

/// A service process that can be stopped and started again at the same address.
struct Restartable {
    url: String,
    database: TestDatabase,
    directory: TempDir,
    process: Process,
    campaigns: CampaignServiceClient<Channel>,
}

impl Restartable {
    async fn start() -> Self {
        let (database, directory) = (database().await, tempfile::tempdir().unwrap());
        let daemon = Daemon::service(&database.url, directory.path(), Directory::Keep).await.unwrap();
        let url = daemon.url.expect("it serves gRPC");
        let channel = Endpoint::from_shared(url.clone()).unwrap().connect_lazy();
        Self { url, database, directory, process: daemon.process, campaigns: CampaignServiceClient::new(channel) }
    }

    async fn stop(&mut self) {
        self.process.stop(GRACE).await.unwrap();
    }

    async fn start_again(&mut self) {
        self.process = again(&self.url, &self.database.url, self.directory.path());
        self.process.line("listening ", SOON).await.unwrap();
    }

    async fn campaign(&self, name: &str) -> Result<pb::Campaign, Status> {
        let request = pb::GetCampaignRequest { name: name.to_owned() };
        Ok(self.campaigns.clone().get_campaign(request).await?.into_inner())
    }
}

fn again(url: &str, database_url: &str, directory: &Path) -> Process {
    let mut command = Command::new(binary("campaign-metrics-service").unwrap());
    let address = url.trim_start_matches("http://");
    command.args(["serve", "--insecure", "--listen", address, "--admin-listen", "127.0.0.1:0"]);
    command.env("DATABASE_URL", database_url);
    Process::start("campaign-metrics-service-again", &command, directory, Signal::TERM, Directory::Keep).unwrap()
}

#[tokio::test]
async fn edits_and_deletions_wait_for_a_service_that_is_away_and_are_done_when_it_is_back() {
    let mut service = Restartable::start().await;
    let stage = Stage::start(&service.url).await;
    stage.apply("spring", &json!({})).await;
    stage.apply("autumn", &json!({"deletionPolicy": "Delete"})).await;
    stage.apply("winter", &json!({})).await;
    for name in ["spring", "autumn", "winter"] {
        stage.synced(name).await;
    }
    service.stop().await;

    stage.edited("spring", "state: Active", "state: Paused").await;
    let unconfirmed = stage.condition("spring", "Synced", "False", "ServiceUnavailable").await;
    let status = unconfirmed.status.as_ref().unwrap();
    assert_eq!(status.state, Some(DesiredState::Active), "Paused only once the service confirmed it");
    assert_eq!(status.observed_generation, unconfirmed.metadata.generation);
    assert_eq!(condition(&unconfirmed, "Ready").unwrap().status, "Unknown");

    for name in ["autumn", "winter"] {
        let asked = stage.kubectl(&["delete", "campaign", name, "--wait=false"]).await;
        asked.success().unwrap();
        let waiting = stage.condition(name, "Ready", "Unknown", "ServiceUnavailable").await;
        let said = &condition(&waiting, "Ready").unwrap().message;
        assert!(said.contains("the deletion waits for the campaign service"), "{said}");
        assert_eq!(waiting.metadata.finalizers.unwrap(), ["campaign-metrics.io/finalizer"]);
    }
    // A person who can't wait annotates the resource. The campaign keeps an owner that no longer exists.
    let force = stage.kubectl(&["annotate", "campaign", "winter", "campaign-metrics.io/force-delete=true"]).await;
    force.success().unwrap();
    stage.gone("winter").await;
    assert!(stage.resource("autumn").await.is_some(), "the other one waits");

    service.start_again().await;
    stage.synced("spring").await;
    let paused = service.campaign(&stage.campaign_name("spring")).await.unwrap();
    assert_eq!(paused.state(), pb::CampaignState::Paused);
    stage.gone("autumn").await;
    let gone = service.campaign(&stage.campaign_name("autumn")).await.unwrap_err();
    assert_eq!(gone.code(), tonic::Code::NotFound);
    let left = service.campaign(&stage.campaign_name("winter")).await.expect("it could not be told");
    assert_eq!(left.owner.unwrap().resource, format!("{}/winter", stage.namespace));
}

/// The condition of a resource, and its status.
fn says(resource: &Campaign, kind: &str) -> (String, String) {
    condition(resource, kind).map(|found| (found.status.clone(), found.reason.clone())).unwrap_or_default()
}

#[tokio::test]
async fn ready_turns_unknown_within_a_minute_and_what_was_edited_last_first() {
    let service = Restartable::start().await;
    let stage = Stage::start(&service.url).await;
    let names: Vec<String> = (0..40).map(|number| format!("spring-{number}")).collect();
    for name in &names {
        stage.apply(name, &json!({})).await;
    }
    for name in &names {
        stage.synced(name).await;
    }
    stage.edited("spring-7", "state: Active", "state: Paused").await;
    stage.synced("spring-7").await;
    let readyz = async || http::get(&format!("{}/readyz", stage.controller.admin_url())).await.unwrap();
    assert_eq!(readyz().await, (200, "ok\n".to_owned()));

    // It hangs: nothing is closed, and nothing answers.
    service.process.signal(Signal::STOP).unwrap();
    let hangs = Instant::now();
    let told = async || {
        let (status, said) = readyz().await;
        ensure!(status == 503 && said.contains("the campaign service has not been reached"), "{status}: {said}");
        ensure!(stage.controller.metric("campaign_controller_stream_connected").await? == 0, "it is connected");
        Ok(())
    };
    until("the controller to tell", SOON, told).await.unwrap();
    let unknown = ("Unknown".to_owned(), "ServiceUnavailable".to_owned());
    let mut found = Vec::new();
    for name in &names {
        let look = |resource: &Campaign| says(resource, "Ready") == unknown && says(resource, "Sending") == unknown;
        found.push(stage.see(name, "Ready to be Unknown", look).await);
    }
    assert!(hangs.elapsed() < Duration::from_mins(1), "it took {:?}", hangs.elapsed());
    for resource in &found {
        assert_eq!(says(resource, "Synced").0, "True", "the service has it all the same");
    }
    let version = |resource: &Campaign| resource.metadata.resource_version.clone().unwrap().parse::<u64>().unwrap();
    found.sort_by_key(version);
    let place = found.iter().position(|resource| resource.metadata.name.as_deref() == Some("spring-7")).unwrap();
    // Eight are written at once.
    assert!(place < 8, "what was edited last is number {place}");
    let mut told = Vec::new();
    for name in &names {
        told.extend(stage.events(name).await.into_iter().filter(|event| event["reason"] == "ServiceUnavailable"));
    }
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0]["regarding"]["name"], "spring-7");
    assert!(told[0]["note"].as_str().unwrap().contains("all 40 Campaign resources"), "{told:?}");

    service.process.signal(Signal::CONT).unwrap();
    for name in &names {
        stage.condition(name, "Ready", "True", "Applied").await;
    }
    assert_eq!(readyz().await.0, 200);
}

#[tokio::test]
async fn changes_in_the_service_are_mirrored_again_after_it_was_away() {
    let mut service = Restartable::start().await;
    let stage = Stage::start(&service.url).await;
    stage.apply("spring", &json!({})).await;
    let before = stage.synced("spring").await;
    service.stop().await;
    service.start_again().await;

    // Orphaned through the API; only the stream of changes tells the controller.
    let request = pb::OrphanCampaignRequest {
        name: stage.campaign_name("spring"),
        owner_uid: before.metadata.uid.unwrap(),
        ..Default::default()
    };
    let orphan = async || Ok(service.campaigns.clone().orphan_campaign(request.clone()).await?);
    until("the service to be ready", SOON, orphan).await.unwrap();
    let look = async || {
        let campaign = service.campaign(&stage.campaign_name("spring")).await?;
        ensure!(campaign.owner.is_some(), "it has no owner");
        Ok(())
    };
    until("the campaign to be owned again", SOON, look).await.unwrap();
}

#[tokio::test]
async fn a_campaign_deleted_during_an_outage_is_created_again() {
    let mut service = Restartable::start().await;
    let stage = Stage::start(&service.url).await;
    stage.apply("spring", &json!({})).await;
    let before = stage.synced("spring").await;
    service.stop().await;
    // Through another replica, which the controller is not connected to.
    let replica = Service::on(&service.database, Clock::system()).await;
    let owner_uid = before.metadata.uid.unwrap();
    let delete = pb::DeleteCampaignRequest { name: stage.campaign_name("spring"), owner_uid, ..Default::default() };
    replica.campaigns.clone().delete_campaign(delete).await.unwrap();
    service.start_again().await;

    let first = before.status.unwrap().campaign_uid;
    let another = |resource: &campaign_controller::crd::Campaign| {
        resource.status.as_ref().is_some_and(|status| status.campaign_uid != first)
    };
    stage.see("spring", "another campaign", another).await;
    assert!(stage.event("spring", "DriftRepaired").await.contains("created again"));
}
