//! Streams whose callers stop to read, while their connections are alive: they end, and give their places back.

use std::time::Duration;

use anyhow::ensure;
use campaign_metrics::pb::{
    self, OutcomeKind, lead_service_client::LeadServiceClient, sending_service_client::SendingServiceClient,
    watch_campaigns_response::Change,
};
use campaign_metrics_service::Clock;
use futures::{StreamExt as _, stream};
use tonic::{
    Code, Status, Streaming,
    transport::{Channel, Endpoint},
};

use crate::{
    harness::{
        postgres::database,
        service::{Service, monday},
        wait::{SOON, until},
    },
    watchers::{CAMPAIGNS, first, many, next, watch},
    world::{WORKSPACE, add_leads, assert_refused, campaign_name, pause},
};

/// Requests of a stream of outcomes whose answers are more than a connection takes ahead of its reader.
const REQUESTS: usize = 100;
/// Bytes that a connection takes ahead of its reader.
const WINDOW: u32 = 65_535;

/// A service that gives up streams after half a second, with many campaigns.
async fn world() -> Service {
    let change = |options: &mut campaign_metrics_service::serve::Options| {
        options.stream_idle = Duration::from_millis(500);
    };
    let service = Service::launch_with(&database().await, Clock::manual(monday()), change).await;
    service.ready().await;
    many(&service).await;
    service
}

/// A connection of its own, which the service can't run far ahead of.
async fn connect(service: &Service) -> Channel {
    let endpoint = Endpoint::from_shared(service.url.clone()).unwrap();
    let endpoint = endpoint.initial_stream_window_size(WINDOW).initial_connection_window_size(WINDOW);
    endpoint.connect().await.expect("its port answers")
}

async fn watches(service: &Service, open: i64) {
    let what = format!("{open} open watches");
    let look = async || {
        let found = service.metric("campaign_metrics_watch_streams").await;
        ensure!(found == open, "{found} are open");
        Ok(())
    };
    until(&what, SOON, look).await.unwrap();
}

/// Waits until the service gave up a watch that was opened now. What was left unread before was then given up, too, unless the
/// machine was slow.
async fn as_long_as_the_limit(service: &Service) {
    let unread = watch(service, WORKSPACE, 3600).await;
    watches(service, 0).await;
    drop(unread);
}

/// Reads the rest of a stream: how many messages came, and the error with which it ended, if it did.
async fn rest<M>(stream: &mut Streaming<M>) -> (usize, Option<Status>) {
    let mut messages = 0;
    loop {
        match tokio::time::timeout(SOON, stream.message()).await.expect("a message, or the end") {
            Ok(Some(_)) => messages += 1,
            Ok(None) => return (messages, None),
            Err(error) => return (messages, Some(error)),
        }
    }
}

fn assert_given_up(error: Status) {
    assert_refused(Err::<(), _>(error), Code::DeadlineExceeded, "STREAM_UNREAD", "nothing of it was read");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_that_is_not_read_gives_its_place_back_and_one_with_nothing_to_say_goes_on() {
    let service = world().await;
    let mut quiet = watch(&service, WORKSPACE, 1).await;
    assert_eq!(first(&mut quiet).await.len(), CAMPAIGNS);
    let mut unread = watch(&service, WORKSPACE, 1).await;
    watches(&service, 2).await;
    watches(&service, 1).await;
    pause(&service, "c399").await;
    let Change::Campaign(changed) = next(&mut quiet).await else { panic!("a change") };
    assert_eq!(changed.name, campaign_name("c399"));
    let (messages, error) = rest(&mut unread).await;
    assert!((1..CAMPAIGNS).contains(&messages), "{messages} of {CAMPAIGNS} campaigns were sent ahead");
    assert_given_up(error.expect("it was given up"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_and_a_stream_of_outcomes_that_are_not_read_end() {
    let service = world().await;
    add_leads(&service, "c001", 5_000, None, false).await;
    let request = pb::ExportLeadsRequest { parent: campaign_name("c001") };
    let ended = until("an export to be given up", SOON, async || {
        let export = LeadServiceClient::new(connect(&service).await).export_leads(request.clone()).await?;
        let mut export = export.into_inner();
        as_long_as_the_limit(&service).await;
        let (messages, error) = rest(&mut export).await;
        ensure!(error.is_some(), "the whole export came, in {messages} messages");
        Ok(error)
    });
    assert_given_up(ended.await.unwrap().expect("an error"));

    // Keys that match nothing: their answers are long.
    let outcomes = (1..1_000).map(|lead| pb::Outcome {
        send_key: format!("00000001-1-{lead}-1"),
        kind: OutcomeKind::Delivered.into(),
        ..Default::default()
    });
    let request = pb::StreamOutcomesRequest { parent: WORKSPACE.into(), outcomes: outcomes.collect() };
    let ended = until("a stream of outcomes to be given up", SOON, async || {
        let requests = stream::iter(vec![request.clone(); REQUESTS]).chain(stream::pending());
        let answers = SendingServiceClient::new(connect(&service).await).stream_outcomes(requests).await?;
        let mut answers = answers.into_inner();
        as_long_as_the_limit(&service).await;
        let (messages, error) = rest(&mut answers).await;
        ensure!(messages < REQUESTS, "all answers came");
        Ok(error)
    });
    assert_given_up(ended.await.unwrap().expect("an error"));
}
