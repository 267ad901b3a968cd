//! Deadlines: a call past its deadline ends with DEADLINE_EXCEEDED, and so does its statement. The statements of callers
//! that go away, and of a service that is killed, end too. The upper bound of a statement without a deadline is in `wiring`.

use std::time::Duration;

use anyhow::ensure;
use campaign_metrics::pb;
use futures::future::join_all;
use tokio::time::timeout;
use tonic::{Code, Request};

use crate::{
    harness::{
        daemon::Daemon,
        postgres::Connection,
        process::{Directory, Signal},
        service::Service,
        wait::until,
    },
    world::{assert_refused, blocked, campaign_name, create_campaign, get, pause, settings},
};

/// Half of the statement timeout, so that the deadline is what ends the statement.
const BY_ITS_DEADLINE: Duration = Duration::from_secs(15);
/// A third of it.
const UNBLOCKED: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_deadline_reaches_down_to_the_statement_in_postgres() {
    let service = Service::start().await;
    create_campaign(&service, "spring", settings(1, &[])).await;
    let (holder, watcher) = (service.sql().await, service.sql().await);
    holder.batch_execute("BEGIN; SELECT FROM campaigns FOR UPDATE").await.unwrap();
    let mut request = Request::new(pb::PauseCampaignRequest { name: campaign_name("spring"), ..Default::default() });
    request.metadata_mut().insert("grpc-timeout", "3S".parse().unwrap());
    let mut campaigns = service.campaigns.clone();
    let waiting = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND application_name = 'campaign-metrics campaign_set_state'
            AND wait_event_type = 'Lock'";
    let seen = async {
        blocked(&watcher, &holder, 1).await;
        watcher.query_one(waiting, &[]).await.unwrap().get::<_, i64>(0)
    };
    let (refused, seen) = tokio::join!(campaigns.pause_campaign(request), seen);
    assert_refused(refused, Code::DeadlineExceeded, "DEADLINE_EXCEEDED", "nothing was committed");
    assert_eq!(seen, 1, "the transaction shows its name while it waits");
    let gone = until("the statement to end", BY_ITS_DEADLINE, async || {
        let waiting: i64 = watcher.query_one(waiting, &[]).await?.get(0);
        ensure!(waiting == 0, "{waiting} statements wait for the lock");
        Ok(())
    });
    gone.await.expect("it ends though the lock is still held");
    holder.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(pause(&service, "spring").await.state(), pb::CampaignState::Paused, "and the service goes on");
}

/// Sessions of the service that wait for a lock.
async fn waiting(sql: &Connection) -> anyhow::Result<i64> {
    let count = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    Ok(sql.query_one(count, &[]).await?.get(0))
}

async fn nobody_waits(sql: &Connection) {
    let gone = until("the statements to end", UNBLOCKED, async || {
        let waiting = waiting(sql).await?;
        ensure!(waiting == 0, "{waiting} still wait");
        Ok(())
    });
    gone.await.expect("they end although the lock is still held");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_call_ends_in_postgres_and_hands_nobody_its_connection_before() {
    let service = Service::start().await;
    create_campaign(&service, "spring", settings(1, &[])).await;
    let (holder, watcher) = (service.sql().await, service.sql().await);
    holder.batch_execute("BEGIN; SELECT FROM campaigns FOR UPDATE").await.unwrap();
    let calls: Vec<_> = (0..6)
        .map(|_| {
            let mut campaigns = service.campaigns.clone();
            let request = pb::PauseCampaignRequest { name: campaign_name("spring"), ..Default::default() };
            tokio::spawn(async move { campaigns.pause_campaign(request).await })
        })
        .collect();
    blocked(&watcher, &holder, 6).await;
    calls.iter().for_each(tokio::task::JoinHandle::abort);
    // Their connections were all that there are for such calls.
    let next = timeout(UNBLOCKED, join_all((0..6).map(|_| get(&service, "spring")))).await;
    assert_eq!(next.expect("the next callers do not wait for those before them").len(), 6);
    nobody_waits(&watcher).await;
    holder.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(get(&service, "spring").await.state(), pb::CampaignState::Active, "nothing was committed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_statements_of_a_killed_service_end_and_another_one_goes_on() {
    let other = Service::start().await;
    create_campaign(&other, "spring", settings(1, &[])).await;
    let directory = tempfile::tempdir().expect("a directory");
    let mut daemon = Daemon::service(&other.database.url, directory.path(), Directory::Keep).await.unwrap();
    daemon.ready().await.unwrap();
    let killed = Service::of(&daemon, &other.database).expect("clients");
    let (holder, watcher) = (other.sql().await, other.sql().await);
    holder.batch_execute("BEGIN; SELECT FROM campaigns FOR UPDATE").await.unwrap();
    let request = pb::PauseCampaignRequest { name: campaign_name("spring"), ..Default::default() };
    let mut campaigns = killed.campaigns.clone();
    let killing = async {
        blocked(&watcher, &holder, 1).await;
        daemon.process.signal(Signal::KILL).unwrap();
    };
    let (lost, ()) = tokio::join!(campaigns.pause_campaign(request), killing);
    assert!(lost.is_err(), "{lost:?}");
    nobody_waits(&watcher).await;
    holder.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(pause(&other, "spring").await.state(), pb::CampaignState::Paused);
}
