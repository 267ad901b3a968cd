//! Streams of WatchCampaigns share the reads of their replica, and do not wait for each other.

use campaign_metrics::pb::{
    self, CampaignState, campaign_service_client::CampaignServiceClient, watch_campaigns_response::Change,
};
use tonic::{Streaming, transport::Endpoint};

use crate::{
    harness::{service::Service, wait::SOON},
    world::{WORKSPACE, blocked, campaign_name, create_account, create_campaign, pause, settings},
};

pub type Watch = Streaming<pb::WatchCampaignsResponse>;

/// Campaigns of [`many`].
pub const CAMPAIGNS: usize = 400;

/// Creates campaigns, `c000` to `c399`, whose messages are several times what a stream that is not read lets the service send:
/// each names ten accounts with long names.
pub async fn many(service: &Service) {
    let accounts: Vec<String> = (0..10).map(|number| format!("{number}-{}", "a".repeat(120))).collect();
    for account in &accounts {
        create_account(service, account, None).await;
    }
    let accounts: Vec<&str> = accounts.iter().map(String::as_str).collect();
    for number in 0..CAMPAIGNS {
        create_campaign(service, &format!("c{number:03}"), settings(1, &accounts)).await;
    }
}

/// Opens a stream on a connection of its own.
pub async fn watch(service: &Service, parent: &str, seconds: i64) -> Watch {
    let min_interval = Some(prost_types::Duration { seconds, nanos: 0 });
    let request = pb::WatchCampaignsRequest { parent: parent.into(), min_interval };
    let endpoint = Endpoint::from_shared(service.url.clone()).unwrap().initial_stream_window_size(65_535);
    let channel = endpoint.initial_connection_window_size(65_535).connect().await.unwrap();
    CampaignServiceClient::new(channel).watch_campaigns(request).await.expect("a stream").into_inner()
}

pub async fn next(stream: &mut Watch) -> Change {
    let message = tokio::time::timeout(SOON, stream.message()).await.expect("in time");
    message.unwrap().expect("the stream goes on").change.expect("a change")
}

/// Names of the campaigns that the stream begins with.
pub async fn first(stream: &mut Watch) -> Vec<String> {
    let mut names = Vec::new();
    loop {
        match next(stream).await {
            Change::Campaign(campaign) => names.push(campaign.name),
            Change::Synced(()) => return names,
            Change::Deleted(name) => panic!("{name} was never told"),
        }
    }
}

/// Pages of campaigns that the service has read.
async fn reads(service: &Service) -> i64 {
    let name = "campaign_metrics_transaction_duration_seconds_count{transaction=\"campaign_list\"} ";
    let page = service.admin("/metrics").await;
    page.lines().find_map(|line| line.strip_prefix(name)).map_or(0, |count| count.parse().expect("a number"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_open_while_a_look_runs_share_the_next_one() {
    let service = Service::start().await;
    for id in ["autumn", "spring"] {
        create_campaign(&service, id, settings(1, &[])).await;
    }
    let other = pb::CreateCampaignRequest {
        parent: "workspaces/globex".into(),
        campaign_id: "spring".into(),
        campaign: Some(settings(1, &[])),
        ..Default::default()
    };
    let other = service.campaigns.clone().create_campaign(other).await.unwrap().into_inner().name;
    let (holder, watcher) = (service.sql().await, service.sql().await);
    holder.batch_execute("BEGIN; LOCK campaigns IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let own = [campaign_name("autumn"), campaign_name("spring")];
    let mut streams = vec![(watch(&service, WORKSPACE, 3600).await, own.to_vec())];
    blocked(&watcher, &holder, 1).await;
    for _ in 0..6 {
        streams.push((watch(&service, WORKSPACE, 3600).await, own.to_vec()));
        streams.push((watch(&service, "workspaces/globex", 3600).await, vec![other.clone()]));
        let all = [&own[..], std::slice::from_ref(&other)].concat();
        streams.push((watch(&service, "workspaces/-", 3600).await, all));
    }
    holder.batch_execute("COMMIT").await.unwrap();
    for (stream, names) in &mut streams {
        assert_eq!(first(stream).await, *names);
    }
    assert_eq!(reads(&service).await, 2, "the first stream's look, and one of all workspaces for the 18 others");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_does_not_read_holds_up_no_other_and_finds_the_latest_state() {
    let service = Service::start().await;
    many(&service).await;
    let mut slow = watch(&service, WORKSPACE, 1).await;
    let mut streams = Vec::new();
    for _ in 0..3 {
        let mut stream = watch(&service, WORKSPACE, 1).await;
        assert_eq!(first(&mut stream).await.len(), CAMPAIGNS);
        streams.push(stream);
    }
    pause(&service, "c399").await;
    for stream in &mut streams {
        let Change::Campaign(changed) = next(stream).await else { panic!("a change") };
        assert_eq!((changed.name.as_str(), changed.state()), (campaign_name("c399").as_str(), CampaignState::Paused));
    }
    let request = pb::DeleteCampaignRequest { name: campaign_name("c398"), ..Default::default() };
    service.campaigns.clone().delete_campaign(request).await.unwrap();
    for stream in &mut streams {
        assert_eq!(next(stream).await, Change::Deleted(campaign_name("c398")));
    }
    // It was told of neither, and gets what it missed.
    let told = first(&mut slow).await;
    assert_eq!(told.len(), CAMPAIGNS, "what there was when it began");
    let mut late = [next(&mut slow).await, next(&mut slow).await];
    late.sort_by_key(|change| matches!(change, Change::Deleted(_)));
    let [Change::Campaign(changed), Change::Deleted(deleted)] = late else { panic!("two changes: {late:?}") };
    assert_eq!((changed.state(), deleted), (CampaignState::Paused, campaign_name("c398")));
}
