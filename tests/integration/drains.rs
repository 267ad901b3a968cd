//! The drain of the service, and what probes see before and during it. Runs the binary that ships.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use campaign_metrics::pb::{self, OutcomeKind};
use futures::future::{join_all, try_join_all};
use tempfile::TempDir;
use tonic::{
    Code, Status, Streaming,
    transport::{Channel, Endpoint},
};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::{
    harness::{
        daemon::Daemon,
        http,
        postgres::{Server, TestDatabase, connect, database, separate_server},
        process::{Directory, GRACE, Signal},
        service::Service,
        wait::{SOON, until},
    },
    world::{add_leads, blocked, by_lead, campaign_name, create_account, create_campaign, get, report_new, settings},
};

/// The whole service, and each of its parts.
const NAMES: [&str; 7] = [
    "",
    "campaign_metrics.v1.CampaignService",
    "campaign_metrics.v1.AccountService",
    "campaign_metrics.v1.LeadService",
    "campaign_metrics.v1.OptOutService",
    "campaign_metrics.v1.PerformanceService",
    "campaign_metrics.v1.SendingService",
];

async fn channel(daemon: &Daemon) -> Result<Channel> {
    let url = daemon.url.clone().context("it serves gRPC")?;
    Ok(Endpoint::from_shared(url)?.connect().await?)
}

async fn health(daemon: &Daemon) -> HealthClient<Channel> {
    HealthClient::new(channel(daemon).await.expect("its port answers"))
}

async fn check(client: &HealthClient<Channel>, name: &str) -> Result<ServingStatus, Status> {
    let request = HealthCheckRequest { service: name.to_owned() };
    Ok(client.clone().check(request).await?.into_inner().status())
}

async fn statuses(client: &HealthClient<Channel>) -> Vec<ServingStatus> {
    try_join_all(NAMES.map(|name| check(client, name))).await.expect("each name is known")
}

async fn watch(client: &HealthClient<Channel>, name: &str) -> Streaming<HealthCheckResponse> {
    let request = HealthCheckRequest { service: name.to_owned() };
    client.clone().watch(request).await.expect("a stream").into_inner()
}

/// Reads the next status of the stream; `None` at its end.
async fn next(stream: &mut Streaming<HealthCheckResponse>) -> Option<ServingStatus> {
    let message = tokio::time::timeout(SOON, stream.message()).await.expect("the stream says something");
    message.expect("no error").map(|response| response.status())
}

async fn on(server: &Server) -> (Daemon, TempDir) {
    let directory = tempfile::tempdir().expect("a directory");
    let daemon = Daemon::service(&server.url("postgres"), directory.path(), Directory::Keep).await.unwrap();
    (daemon, directory)
}

#[tokio::test]
async fn probes_are_told_whether_the_database_was_reached_and_whether_it_is_there() {
    let (mut server, _data) = separate_server().await.unwrap();
    server.stop().await.unwrap();
    let (mut daemon, _logs) = on(&server).await;
    let page = async |daemon: &Daemon, path: &str| http::get(&format!("{}{path}", daemon.admin_url)).await.unwrap();
    let client = health(&daemon).await;
    assert_eq!(statuses(&client).await, [ServingStatus::NotServing; 7], "before the database was reached");
    assert_eq!(page(&daemon, "/livez").await, (200, "ok\n".to_owned()), "a restart would not help");
    assert_eq!(page(&daemon, "/readyz").await, (503, "waiting for the database; the log says for what\n".to_owned()));
    let unknown = check(&client, "campaign_metrics.v1.Nothing").await.expect_err("no such service");
    assert_eq!(unknown.code(), Code::NotFound);

    server.start_again().await.unwrap();
    daemon.ready().await.unwrap();
    assert_eq!(statuses(&client).await, [ServingStatus::Serving; 7], "once it is ready");
    server.stop().await.unwrap();
    let away = until("the loss of the database to be seen", SOON, async || {
        let (status, said) = page(&daemon, "/readyz").await;
        ensure!(status == 503, "/readyz answers {status}: {said}");
        Ok(said)
    });
    assert_eq!(away.await.unwrap(), "the database can't be reached\n");
    assert_eq!(page(&daemon, "/livez").await.0, 200, "a restart would not help");
    assert_eq!(
        statuses(&client).await,
        [ServingStatus::Serving; 7],
        "whether it is there now is told by /readyz alone"
    );
    server.start_again().await.unwrap();
    daemon.ready().await.unwrap();
    let status = daemon.process.stop(GRACE).await.unwrap();
    assert!(status.success(), "{status}\n{}", daemon.process.log());
}

/// Starts the binary, with a campaign for each kind of call that is blocked.
async fn busy() -> (Daemon, Service, TestDatabase, TempDir) {
    let (database, directory) = (database().await, tempfile::tempdir().expect("a directory"));
    let mut daemon = Daemon::service(&database.url, directory.path(), Directory::Keep).await.unwrap();
    daemon.ready().await.unwrap();
    let service = Service::of(&daemon, &database).expect("clients");
    create_account(&service, "ann", None).await;
    create_campaign(&service, "paused", settings(1, &[])).await;
    create_campaign(&service, "reported", settings(1, &["ann"])).await;
    add_leads(&service, "reported", 3, Some("ann"), false).await;
    (daemon, service, database, directory)
}

/// Blocks a pause of one campaign and reports about the other.
const HOLD_UP: &str = "BEGIN; SELECT FROM campaigns WHERE name = 'paused' FOR UPDATE;
    SELECT FROM campaign_counters JOIN campaigns n USING (workspace_id, campaign_id) WHERE n.name = 'reported' FOR UPDATE";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_tells_probes_and_answers_the_calls_that_are_running() {
    let (mut daemon, service, database, _directory) = busy().await;
    let (holder, watcher) = (database.connect().await, database.connect().await);
    holder.batch_execute(HOLD_UP).await.unwrap();
    let client = health(&daemon).await;
    let mut streams = join_all(NAMES.map(|name| watch(&client, name))).await;
    for stream in &mut streams {
        assert_eq!(next(stream).await, Some(ServingStatus::Serving));
    }
    let request = pb::PauseCampaignRequest { name: campaign_name("paused"), ..Default::default() };
    let mut campaigns = service.campaigns.clone();
    let pausing = tokio::spawn(async move { campaigns.pause_campaign(request).await });
    let reporting = report_new(&service, vec![by_lead("reported", "l1", 1, OutcomeKind::Delivered)]);
    let draining = async {
        blocked(&watcher, &holder, 2).await;
        daemon.process.signal(Signal::TERM).unwrap();
        for (name, stream) in NAMES.iter().zip(&mut streams) {
            assert_eq!(next(stream).await, Some(ServingStatus::NotServing), "the drain is told of `{name}`");
        }
        let refused = until("new connections to be refused", SOON, async || {
            ensure!(channel(&daemon).await.is_err(), "it still takes connections");
            Ok(())
        });
        refused.await.unwrap();
        // Long compared with a drain without calls, short compared with the longest drain.
        holder.batch_execute("SELECT pg_sleep(2); COMMIT").await.unwrap();
        // A watch does not delay the end of the service.
        for (name, stream) in NAMES.iter().zip(&mut streams) {
            assert_eq!(next(stream).await, None, "the stream about `{name}` ends");
        }
    };
    let (pausing, (), ()) = tokio::join!(pausing, reporting, draining);
    let paused = pausing.unwrap().expect("a call that was running is answered").into_inner();
    assert_eq!(paused.state(), pb::CampaignState::Paused);
    let status = daemon.process.end(GRACE).await.unwrap();
    assert!(status.success(), "{status}\n{}", daemon.process.log());
    assert!(!daemon.process.log().contains("cut off"), "nothing was cut off:\n{}", daemon.process.log());

    let next = Service::on(&database, campaign_metrics_service::Clock::system()).await;
    assert_eq!(get(&next, "paused").await.state(), pb::CampaignState::Paused);
    assert_eq!(get(&next, "reported").await.lead_counts.unwrap().sent, 1, "what was acknowledged is kept");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_ends_the_service_at_once() {
    let (mut daemon, service, database, _directory) = busy().await;
    let (holder, watcher) = (database.connect().await, database.connect().await);
    holder.batch_execute(HOLD_UP).await.unwrap();
    let request = pb::PauseCampaignRequest { name: campaign_name("paused"), ..Default::default() };
    let mut campaigns = service.campaigns.clone();
    let pausing = tokio::spawn(async move { campaigns.pause_campaign(request).await });
    blocked(&watcher, &holder, 1).await;
    daemon.process.signal(Signal::TERM).unwrap();
    let drains = until("the drain", SOON, async || {
        ensure!(daemon.process.log().contains("draining"), "{}", daemon.process.log());
        Ok(())
    });
    drains.await.unwrap();
    assert_eq!(daemon.process.exited().unwrap(), None, "it waits for the call");
    daemon.process.signal(Signal::INT).unwrap();
    let status = daemon.process.end(Duration::from_secs(10)).await.expect("it does not wait any longer");
    assert!(!status.success(), "the exit status tells: {status}");
    assert!(daemon.process.log().contains("aborted by a second signal"), "{}", daemon.process.log());
    pausing.await.unwrap().expect_err("the call was broken off");
    drop(connect(&database.url).await.expect("the database goes on"));
}
