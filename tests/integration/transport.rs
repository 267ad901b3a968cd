//! The bounds of a connection: pings, streams, watches, silence, and what a compressed request unpacks to.

use std::{collections::VecDeque, time::Duration};

use anyhow::ensure;
use campaign_metrics::pb::{
    self, OutcomeKind, OutcomeVerdict, campaign_service_client::CampaignServiceClient,
    sending_service_client::SendingServiceClient,
};
use futures::{StreamExt as _, stream, stream::FuturesUnordered};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tonic::{
    Code,
    codec::CompressionEncoding,
    transport::{Channel, Endpoint},
};

use crate::{
    harness::{
        daemon::Daemon,
        postgres::database,
        process::Directory,
        service::{Service, monday},
        wait::{SOON, until},
    },
    streams::resident,
    world::{
        WORKSPACE, add_leads, assert_refused, by_lead, campaign_name, create_account, create_campaign, get, settings,
    },
};

/// Most calls and streams on one connection; see `serve.rs`.
const STREAMS_MAX: usize = 256;
/// Most watches of a process; see `rpc.rs`.
const WATCHES_MAX: usize = 100;
/// Most streams of outcomes of a process; see `rpc.rs`.
const REPORT_STREAMS_MAX: usize = 512;

#[tokio::test]
async fn gzip_is_taken_and_a_request_that_unpacks_to_too_much_is_refused_in_little_memory() {
    let (database, directory) = (database().await, tempfile::tempdir().expect("a directory"));
    let mut daemon = Daemon::service(&database.url, directory.path(), Directory::Keep).await.unwrap();
    daemon.ready().await.unwrap();
    let service = Service::of(&daemon, &database).expect("clients");
    create_account(&service, "ann", None).await;
    create_campaign(&service, "spring", settings(1, &["ann"])).await;
    add_leads(&service, "spring", 30, None, false).await;
    let mut sending = service.sending.clone().send_compressed(CompressionEncoding::Gzip);
    let request = |leads: usize, detail_bytes: usize| {
        let outcome = |lead| pb::Outcome {
            detail: "x".repeat(detail_bytes),
            ..by_lead("spring", &format!("l{lead}"), 1, OutcomeKind::Failed)
        };
        pb::ReportOutcomesRequest { parent: WORKSPACE.into(), outcomes: (0..leads).map(outcome).collect() }
    };
    let taken = sending.report_outcomes(request(30, 100_000)).await.expect("3 MB").into_inner();
    assert!(taken.results.iter().all(|result| result.verdict() == OutcomeVerdict::Applied), "{taken:?}");
    let before = resident(daemon.process.pid());
    let bomb = request(1, 128 << 20);
    let refused = sending.report_outcomes(bomb).await.expect_err("128 MiB, sent as 128 KiB");
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    let after = resident(daemon.process.pid());
    assert!(after < before + 32, "{before} MiB before, {after} MiB after");
}

#[tokio::test]
async fn a_client_that_answers_no_ping_is_let_go() {
    let service = Service::start().await;
    let mut client = TcpStream::connect(service.url.trim_start_matches("http://")).await.unwrap();
    // The preface of HTTP/2 and empty settings: the last that this client says.
    client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let mut said = Vec::new();
    let end = tokio::time::timeout(Duration::from_secs(40), client.read_to_end(&mut said)).await;
    end.expect("the service ends the connection").expect("in order");
    let mut frames = VecDeque::from(said);
    let mut kinds = Vec::new();
    while frames.len() >= 9 {
        let head: Vec<u8> = frames.drain(..9).collect();
        kinds.push(head[3]);
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        frames.drain(..length.min(frames.len()));
    }
    assert!(kinds.contains(&6), "a PING among the frames {kinds:?}");
}

#[tokio::test]
async fn a_connection_has_a_bound_on_its_streams_and_what_is_beyond_waits() {
    let service = Service::start().await;
    let connect = async || Endpoint::from_shared(service.url.clone()).unwrap().connect().await.unwrap();
    let crowded = SendingServiceClient::new(connect().await);
    let (end, ended) = tokio::sync::watch::channel(false);
    let mut opening: FuturesUnordered<_> = (0..=STREAMS_MAX)
        .map(|_| {
            let (mut crowded, mut ended) = (crowded.clone(), ended.clone());
            let until_the_end = async move { drop(ended.wait_for(|is_ended| *is_ended).await) };
            let requests = stream::pending().take_until(Box::pin(until_the_end));
            async move { crowded.stream_outcomes(requests).await.expect("a stream").into_inner() }
        })
        .collect();
    let mut open = Vec::new();
    while open.len() < STREAMS_MAX {
        let next = tokio::time::timeout(SOON, opening.next()).await;
        open.push(next.unwrap_or_else(|_| panic!("only {} streams open", open.len())).expect("one opens"));
    }
    let mut other = CampaignServiceClient::new(connect().await);
    for _ in 0..20 {
        let list = pb::ListCampaignsRequest { parent: WORKSPACE.into(), ..Default::default() };
        let call = std::pin::pin!(other.list_campaigns(list));
        let next = futures::future::select(call, opening.next()).await;
        assert!(matches!(next, futures::future::Either::Left((Ok(_), _))), "others are served, none more is open");
    }
    end.send_replace(true);
    tokio::time::timeout(SOON, opening.next()).await.expect("the last one opens").expect("it waited");
}

#[tokio::test]
async fn a_replica_has_a_bound_on_its_watches() {
    let service = Service::start().await;
    let watch = async || {
        let request = pb::WatchCampaignsRequest { parent: WORKSPACE.into(), ..Default::default() };
        Ok(service.campaigns.clone().watch_campaigns(request).await?.into_inner())
    };
    let mut watches = Vec::new();
    for _ in 0..WATCHES_MAX {
        watches.push(watch().await.expect("a watch"));
    }
    assert_refused(watch().await, Code::ResourceExhausted, "OVERLOADED", "watches");
    watches.pop();
    until("another watch to be accepted", SOON, async || {
        let again: Result<_, tonic::Status> = watch().await;
        ensure!(again.is_ok(), "{:?}", again.err());
        Ok(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_replica_has_a_bound_on_its_streams_of_outcomes() {
    let service = Service::start().await;
    let (end, ended) = tokio::sync::watch::channel(false);
    // Each opens its stream at once, and never sends.
    let stream = async |client: &SendingServiceClient<Channel>| {
        let mut ended = ended.clone();
        let until_the_end = async move { drop(ended.wait_for(|is_ended| *is_ended).await) };
        let silent = stream::pending::<pb::StreamOutcomesRequest>().take_until(Box::pin(until_the_end));
        Ok::<_, tonic::Status>(client.clone().stream_outcomes(silent).await?.into_inner())
    };
    let mut open = Vec::new();
    for _ in 0..4 {
        let channel = Endpoint::from_shared(service.url.clone()).unwrap().connect().await.unwrap();
        let client = SendingServiceClient::new(channel);
        for _ in 0..REPORT_STREAMS_MAX / 4 {
            open.push(stream(&client).await.expect("a stream"));
        }
    }
    assert_refused(stream(&service.sending).await, Code::ResourceExhausted, "OVERLOADED", "streams of outcomes");
    end.send_replace(true);
    until("another stream to be accepted", SOON, async || {
        let again = stream(&service.sending).await;
        ensure!(again.is_ok(), "{:?}", again.err());
        Ok(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn streams_that_stay_silent_end_after_their_answers() {
    let database = database().await;
    let clock = campaign_metrics_service::Clock::manual(monday());
    let idle =
        |options: &mut campaign_metrics_service::serve::Options| options.stream_idle = Duration::from_millis(300);
    let service = Service::launch_with(&database, clock, idle).await;
    service.ready().await;
    create_account(&service, "ann", None).await;
    create_campaign(&service, "spring", settings(1, &["ann"])).await;
    add_leads(&service, "spring", 1, None, false).await;
    let outcomes = vec![by_lead("spring", "l0", 1, OutcomeKind::Delivered)];
    let request = pb::StreamOutcomesRequest { parent: WORKSPACE.into(), outcomes };
    let requests = stream::iter([request]).chain(stream::pending());
    let mut answers = service.sending.clone().stream_outcomes(requests).await.expect("a stream").into_inner();
    let first = answers.message().await.unwrap().expect("an answer");
    assert_eq!(first.results[0].verdict(), OutcomeVerdict::Applied);
    let end = tokio::time::timeout(SOON, answers.message()).await.expect("it ends");
    assert_refused(end, Code::DeadlineExceeded, "DEADLINE_EXCEEDED", "");
    let leads = vec![pb::NewLead { lead_id: "l1".into(), ..Default::default() }];
    let import = pb::AddLeadsRequest { parent: campaign_name("spring"), leads, lead_list_complete: true };
    let mut leads = service.leads.clone();
    let call = leads.add_leads(stream::iter([import]).chain(stream::pending()));
    let end = tokio::time::timeout(SOON, call).await.expect("it ends");
    assert_refused(end, Code::DeadlineExceeded, "DEADLINE_EXCEEDED", "");
    let spring = get(&service, "spring").await;
    assert_eq!(spring.lead_counts.unwrap().total, 2, "what was sent is kept");
}
