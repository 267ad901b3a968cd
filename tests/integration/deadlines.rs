//! Deadlines: a call that takes too long ends with DEADLINE_EXCEEDED, and its statement ends with it.

use anyhow::ensure;
use campaign_metrics::pb;
use tonic::{Code, Request};

use crate::{
    harness::{
        service::Service,
        wait::{SOON, until},
    },
    world::{assert_refused, campaign_name, create_campaign, pause, settings},
};

#[tokio::test]
async fn a_deadline_reaches_down_to_the_statement_in_postgres() {
    let service = Service::start().await;
    create_campaign(&service, "spring", settings(1, &[])).await;
    let mut blocker = service.sql().await;
    let lock = blocker.transaction().await.unwrap();
    lock.execute("SELECT FROM campaigns FOR UPDATE", &[]).await.unwrap();
    let mut request = Request::new(pb::PauseCampaignRequest { name: campaign_name("spring"), ..Default::default() });
    request.metadata_mut().insert("grpc-timeout", "300m".parse().unwrap());
    let refused = service.campaigns.clone().pause_campaign(request).await;
    assert_refused(refused, Code::DeadlineExceeded, "DEADLINE_EXCEEDED", "nothing was committed");
    let sql = service.sql().await;
    let waiting = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND application_name = 'campaign-metrics-service' AND wait_event_type = 'Lock'";
    let gone = until("the statement to end", SOON, async || {
        let waiting: i64 = sql.query_one(waiting, &[]).await?.get(0);
        ensure!(waiting == 0, "{waiting} statements wait for the lock");
        Ok(())
    });
    gone.await.expect("it ends though the lock is still held");
    lock.rollback().await.unwrap();
    assert_eq!(pause(&service, "spring").await.state(), pb::CampaignState::Paused, "and the service goes on");
}
