//! Reading: pages, filters and the watch.

use std::time::Duration;

use campaign_metrics::pb::{
    self, CampaignState, OutcomeKind, campaign_service_client::CampaignServiceClient, watch_campaigns_response::Change,
};
use campaign_metrics_service::Clock;
use tonic::Code;

use crate::{
    harness::{
        postgres::database,
        service::{Service, monday},
    },
    world::{
        WORKSPACE, add_leads, assert_refused, by_key, by_lead, campaign_name, claim, create_account, create_campaign,
        pause, report_new, settings,
    },
};

#[tokio::test]
async fn pages_hold_everything_once_and_their_tokens_serve_only_their_query() {
    let service = Service::start().await;
    for number in 0..7 {
        create_campaign(&service, &format!("c-{number}"), settings(1, &[])).await;
    }
    pause(&service, "c-3").await;
    let mut campaigns = service.campaigns.clone();
    let mut request = pb::ListCampaignsRequest { parent: WORKSPACE.into(), page_size: 3, ..Default::default() };
    let mut names = Vec::new();
    loop {
        let page = campaigns.list_campaigns(request.clone()).await.unwrap().into_inner();
        assert!(page.campaigns.len() <= 3);
        names.extend(page.campaigns.into_iter().map(|campaign| campaign.name));
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    let expected: Vec<String> = (0..7).map(|number| campaign_name(&format!("c-{number}"))).collect();
    assert_eq!(names, expected);
    let other = pb::ListCampaignsRequest { state: CampaignState::Paused.into(), ..request.clone() };
    assert_refused(campaigns.list_campaigns(other.clone()).await, Code::InvalidArgument, "INVALID_FIELD", "page_token");
    let paused = campaigns
        .list_campaigns(pb::ListCampaignsRequest { page_token: String::new(), ..other })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(paused.campaigns.len(), 1);
    let everywhere = pb::ListCampaignsRequest { parent: "workspaces/-".into(), ..Default::default() };
    assert_eq!(campaigns.list_campaigns(everywhere).await.unwrap().into_inner().campaigns.len(), 7);
}

#[tokio::test]
async fn leads_are_listed_by_status_and_account_in_the_order_of_their_addition() {
    let service = Service::start().await;
    create_account(&service, "ann", None).await;
    create_account(&service, "bob", None).await;
    create_campaign(&service, "spring", settings(1, &["ann", "bob"])).await;
    add_leads(&service, "spring", 5, None, false).await;
    let claims = claim(&service, "bob", 2).await.claims;
    report_new(&service, vec![by_key(&claims[0], OutcomeKind::Delivered)]).await;
    let list = async |status: pb::LeadStatus, account: &str| {
        let request = pb::ListLeadsRequest {
            parent: campaign_name("spring"),
            status: status.into(),
            account: account.into(),
            page_size: 2,
            ..Default::default()
        };
        let (mut names, mut token) = (Vec::new(), String::new());
        loop {
            let request = pb::ListLeadsRequest { page_token: token, ..request.clone() };
            let page = service.leads.clone().list_leads(request).await.unwrap().into_inner();
            names
                .extend(page.leads.into_iter().map(|lead| lead.name.rsplit('/').next().unwrap_or_default().to_owned()));
            token = page.next_page_token;
            if token.is_empty() {
                return names;
            }
        }
    };
    let any = pb::LeadStatus::Unspecified;
    assert_eq!(list(any, "").await, ["l0", "l1", "l2", "l3", "l4"]);
    assert_eq!(list(pb::LeadStatus::Sent, "").await, ["l0"]);
    assert_eq!(list(pb::LeadStatus::Pending, "").await, ["l1", "l2", "l3", "l4"]);
    assert_eq!(list(any, "workspaces/acme/accounts/bob").await, ["l0", "l1"], "assigned by outcome, and by claim");
    assert_eq!(list(any, "workspaces/acme/accounts/ann").await, [""; 0]);
}

#[tokio::test]
async fn a_watch_sends_all_campaigns_then_every_change() {
    let service = Service::start().await;
    create_account(&service, "ann", None).await;
    create_campaign(&service, "spring", settings(1, &["ann"])).await;
    add_leads(&service, "spring", 1, Some("ann"), false).await;
    let min_interval = Some(prost_types::Duration { seconds: 0, nanos: 100_000_000 });
    let request = pb::WatchCampaignsRequest { parent: WORKSPACE.into(), min_interval };
    // Its own connection. Those of the harness end with the service's runtime, possibly before the end of the stream is
    // read.
    let mut client = CampaignServiceClient::connect(service.url.clone()).await.unwrap();
    let mut stream = client.watch_campaigns(request).await.unwrap().into_inner();
    let mut next = async || {
        let next = tokio::time::timeout(Duration::from_secs(20), stream.message()).await.expect("in time");
        next.unwrap().expect("the stream goes on").change.expect("a change")
    };
    let Change::Campaign(first) = next().await else { panic!("a campaign comes first") };
    assert_eq!(first.name, campaign_name("spring"));
    assert_eq!(next().await, Change::Synced(()));
    pause(&service, "spring").await;
    let Change::Campaign(paused) = next().await else { panic!("a change") };
    assert_eq!(paused.state(), CampaignState::Paused);
    report_new(&service, vec![by_lead("spring", "l0", 1, OutcomeKind::Delivered)]).await;
    let Change::Campaign(reported) = next().await else { panic!("a change") };
    assert_eq!(reported.lead_counts.unwrap().sent, 1);
    let request = pb::DeleteCampaignRequest { name: campaign_name("spring"), ..Default::default() };
    service.campaigns.clone().delete_campaign(request).await.unwrap();
    assert_eq!(next().await, Change::Deleted(campaign_name("spring")));
    service.begin_stop();
    let end = tokio::time::timeout(Duration::from_secs(20), stream.message()).await.expect("in time");
    assert_eq!(end.unwrap(), None, "a drain ends the stream");
}

#[tokio::test]
async fn a_scrape_leaves_out_what_is_paused_or_has_long_not_changed() {
    let clock = Clock::manual(monday());
    let service =
        Service::launch_with(&database().await, clock.clone(), |options| options.metrics_campaigns_max = 2).await;
    service.ready().await;
    let shown = async || -> (Vec<String>, i64) {
        let page = service.admin("/metrics").await;
        let leads = page.lines().filter(|line| line.starts_with("campaign_metrics_campaign_leads{"));
        let name = |line: &str| Some(line.split_once("campaign=\"")?.1.split_once('"')?.0.to_owned());
        let mut names: Vec<String> = leads.filter_map(name).collect();
        names.sort_unstable();
        names.dedup();
        (names, service.metric("campaign_metrics_campaigns_omitted").await)
    };
    for (id, omitted) in [("a", 0), ("b", 0), ("c", 1), ("d", 2)] {
        create_campaign(&service, id, settings(1, &[])).await;
        clock.advance(Duration::from_secs(1));
        assert_eq!(shown().await.1, omitted);
    }
    assert_eq!(shown().await, (vec!["c".into(), "d".into()], 2), "those that changed last");
    pause(&service, "d").await;
    assert_eq!(shown().await, (vec!["b".into(), "c".into()], 2), "no paused one before an active one");
    for id in ["a", "b"] {
        pause(&service, id).await;
        clock.advance(Duration::from_secs(1));
    }
    assert_eq!(shown().await, (vec!["b".into(), "c".into()], 2), "then the paused one that changed last");
}
