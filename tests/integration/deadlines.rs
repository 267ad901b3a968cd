//! Deadlines: a call past its deadline ends with DEADLINE_EXCEEDED, and so does its statement. The upper bound of a
//! statement without a deadline is in `wiring`.

use std::time::Duration;

use anyhow::ensure;
use campaign_metrics::pb;
use tonic::{Code, Request};

use crate::{
    harness::{service::Service, wait::until},
    world::{assert_refused, blocked, campaign_name, create_campaign, pause, settings},
};

/// Half of the statement timeout, so that the deadline is what ends the statement.
const BY_ITS_DEADLINE: Duration = Duration::from_secs(15);

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
