//! Postgres is away. At the start the service waits and says so; later it answers UNAVAILABLE with RetryInfo, and
//! recovers.

use campaign_metrics::pb;
use campaign_metrics_service::Clock;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::{
    harness::{
        http,
        postgres::{Server, TestDatabase, separate_server},
        service::Service,
        wait::{SOON, until},
    },
    world::{create_campaign, get, settings, try_claim},
};

fn database(server: &Server) -> TestDatabase {
    TestDatabase::without_roles(server.url("postgres"))
}

fn assert_unavailable(status: &Status) {
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    let retry = status.get_details_retry_info().expect("advice when to try again");
    assert!(retry.retry_delay.is_some(), "{status:?}");
    let said = status.message().to_lowercase();
    assert!(!said.contains("postgres://") && !said.contains("os error"), "internals stay inside: {said}");
}

async fn try_get(service: &Service) -> Result<pb::Campaign, Status> {
    let name = "workspaces/acme/campaigns/spring".to_owned();
    let request = pb::GetCampaignRequest { name };
    Ok(service.campaigns.clone().get_campaign(request).await?.into_inner())
}

#[tokio::test]
async fn a_service_without_its_database_lives_but_is_not_ready_until_it_comes() {
    let (mut server, _directory) = separate_server().await.unwrap();
    server.stop().await.unwrap();
    let service = Service::launch(&database(&server), Clock::system()).await;
    assert_eq!(service.admin("/livez").await, "ok\n");
    let (status, said) = http::get(&format!("{}/readyz", service.admin_url)).await.unwrap();
    assert_eq!((status, said.contains("database")), (503, true), "{said}");
    assert_unavailable(&try_get(&service).await.expect_err("there is nothing to read from"));

    server.start_again().await.unwrap();
    service.ready().await;
    create_campaign(&service, "spring", settings(1, &[])).await;
}

#[tokio::test]
async fn a_service_that_loses_its_database_says_so_and_recovers_by_itself() {
    let (mut server, _directory) = separate_server().await.unwrap();
    let service = Service::on(&database(&server), Clock::system()).await;
    create_campaign(&service, "spring", settings(1, &[])).await;

    server.stop().await.unwrap();
    assert_unavailable(&try_get(&service).await.expect_err("the database is away"));
    assert_unavailable(&try_claim(&service, "ann", 1).await.expect_err("nothing is granted meanwhile"));
    let (status, _) = http::get(&format!("{}/readyz", service.admin_url)).await.unwrap();
    assert_eq!(status, 503);
    assert_eq!(service.admin("/livez").await, "ok\n", "a restart would not help");
    let metrics = service.admin("/metrics").await;
    assert!(metrics.contains("\ncampaign_metrics_collector_success 0"), "{metrics}");
    assert!(!metrics.contains("campaign_metrics_campaign_leads{"), "no count is better than an old one");

    server.start_again().await.unwrap();
    service.ready().await;
    until("calls to succeed again", SOON, async || Ok(try_get(&service).await?)).await.unwrap();
    assert_eq!(get(&service, "spring").await.state(), pb::CampaignState::Active);
}
