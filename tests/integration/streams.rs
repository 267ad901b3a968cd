//! StreamOutcomes: answers in order and after the commit, bounded queues, and an end that tells what was not taken.

use std::time::Duration;

use anyhow::ensure;
use campaign_metrics::pb::{self, OutcomeKind, OutcomeVerdict, sending_service_client::SendingServiceClient};
use futures::{StreamExt as _, stream};
use tonic::{Code, Status, Streaming, transport::Endpoint};
use tonic_types::StatusExt as _;

use crate::{
    harness::{
        daemon::Daemon,
        postgres::database,
        process::Directory,
        recount::assert_counts,
        service::Service,
        wait::{SOON, until},
    },
    world::{WORKSPACE, add_leads, assert_refused, by_lead, claim, create_account, create_campaign, get, settings},
};

fn request(outcomes: Vec<pb::Outcome>) -> pb::StreamOutcomesRequest {
    pb::StreamOutcomesRequest { parent: WORKSPACE.into(), outcomes }
}

async fn open(
    service: &Service,
    requests: impl stream::Stream<Item = pb::StreamOutcomesRequest> + Send + 'static,
) -> Streaming<pb::StreamOutcomesResponse> {
    service.sending.clone().stream_outcomes(requests).await.expect("a stream").into_inner()
}

async fn waiting(service: &Service) -> i64 {
    service.metric("campaign_metrics_outcomes_waiting").await
}

async fn waits(service: &Service, outcomes: i64) {
    let what = format!("{outcomes} outcomes wait");
    until(&what, SOON, async || {
        let waiting = waiting(service).await;
        anyhow::ensure!(waiting == outcomes, "{waiting} wait");
        Ok(())
    })
    .await
    .unwrap();
}

async fn world(leads: usize) -> Service {
    let service = Service::start().await;
    create_account(&service, "ann", None).await;
    create_campaign(&service, "spring", settings(1, &["ann"])).await;
    add_leads(&service, "spring", leads, None, true).await;
    service
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_answers_every_request_in_order_and_outcome_by_outcome() {
    let service = world(2_000).await;
    while claim(&service, "ann", 1_000).await.claims.len() == 1_000 {}
    // Each request has ten new leads, an unknown one, and a duplicate.
    let requests: Vec<_> = (0..200)
        .map(|number| {
            let mut outcomes: Vec<_> = (0..10)
                .map(|lead| by_lead("spring", &format!("l{}", number * 10 + lead), 1, OutcomeKind::Delivered))
                .collect();
            outcomes.insert(number % 10, by_lead("spring", &format!("nobody{number}"), 1, OutcomeKind::Delivered));
            outcomes.push(by_lead("spring", &format!("l{}", number * 10), 1, OutcomeKind::Delivered));
            request(outcomes)
        })
        .collect();
    let responses: Vec<_> =
        open(&service, stream::iter(requests)).await.map(|response| response.unwrap()).collect().await;
    assert_eq!(responses.len(), 200, "one response for each request");
    for (number, response) in responses.iter().enumerate() {
        let verdicts: Vec<_> = response.results.iter().map(pb::OutcomeResult::verdict).collect();
        let mut expected = vec![OutcomeVerdict::Applied; 10];
        expected.insert(number % 10, OutcomeVerdict::Rejected);
        expected.push(OutcomeVerdict::Duplicate);
        assert_eq!(verdicts, expected, "response {number}");
    }
    let campaign = get(&service, "spring").await;
    assert_eq!(campaign.state(), pb::CampaignState::Finished, "the last outcome finished it");
    let sql = service.sql().await;
    assert_counts(&sql, &campaign).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_queue_is_bounded_and_callers_beyond_it_are_told_when_to_retry() {
    let service = world(40_000).await;
    let sql = service.sql().await;
    // Nothing can commit while the counters are locked.
    sql.batch_execute("BEGIN; SELECT FROM campaign_counters FOR UPDATE").await.unwrap();

    let requests: Vec<_> = (0..1_000)
        .map(|lead| request(vec![by_lead("spring", &format!("l{lead}"), 1, OutcomeKind::Delivered)]))
        .collect();
    let responses = open(&service, stream::iter(requests)).await;
    waits(&service, 64).await;

    let report = |first: usize| {
        let outcomes =
            (first..first + 5_000).map(|lead| by_lead("spring", &format!("l{lead}"), 1, OutcomeKind::Delivered));
        let request = pb::ReportOutcomesRequest { parent: WORKSPACE.into(), outcomes: outcomes.collect() };
        let mut sending = service.sending.clone();
        async move { Ok::<_, Status>(sending.report_outcomes(request).await?.into_inner().results) }
    };
    // The queue has room for six of these beside the stream, not for seven.
    let reports: Vec<_> = (1..7).map(|number| tokio::spawn(report(number * 5_000))).collect();
    waits(&service, 30_064).await;
    let refused = report(35_000).await;
    let delay = refused.as_ref().unwrap_err().get_details_retry_info().and_then(|info| info.retry_delay);
    assert!(delay.is_some_and(|delay| delay > Duration::ZERO), "{refused:?}");
    assert_refused(refused, Code::ResourceExhausted, "OVERLOADED", "nothing was taken");

    sql.batch_execute("COMMIT").await.unwrap();
    for report in reports {
        let results = report.await.unwrap().expect("what waited is taken");
        assert!(results.iter().all(|result| result.verdict() == OutcomeVerdict::Applied));
    }
    assert_eq!(responses.count().await, 1_000);
    assert_eq!(waiting(&service).await, 0);
    let campaign = get(&service, "spring").await;
    assert_eq!(campaign.lead_counts.as_ref().map(|counts| counts.sent), Some(31_000));
    assert_counts(&sql, &campaign).await;
}

#[tokio::test]
async fn a_request_that_cannot_be_read_ends_its_stream_after_the_answers_before_it() {
    let service = world(2).await;
    let good = request(vec![by_lead("spring", "l0", 1, OutcomeKind::Delivered)]);
    let mut responses = open(&service, stream::iter([good.clone(), request(Vec::new()), good.clone()])).await;
    let first = responses.message().await.unwrap().expect("an answer");
    assert_eq!(first.results[0].verdict(), OutcomeVerdict::Applied);
    assert_refused(responses.message().await, Code::InvalidArgument, "INVALID_FIELD", "must not be empty");

    let nowhere = pb::StreamOutcomesRequest { parent: "acme".into(), ..good };
    let mut responses = open(&service, stream::iter([nowhere])).await;
    assert_refused(responses.message().await, Code::InvalidArgument, "INVALID_FIELD", "parent");
}

/// Resident memory of a process, in MiB.
pub fn resident(pid: u32) -> usize {
    let pages = std::fs::read_to_string(format!("/proc/{pid}/statm")).expect("it runs");
    pages.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).expect("a number") / 256
}

/// Sockets that a process has open.
fn sockets(pid: u32) -> usize {
    let files = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs");
    let target = |file: std::io::Result<std::fs::DirEntry>| std::fs::read_link(file.ok()?.path()).ok();
    files.filter_map(target).filter(|target| target.to_string_lossy().starts_with("socket:")).count()
}

/// Opens forty streams, each on a connection of its own, that send what they can and read nothing.
async fn unread(url: String) -> Vec<Streaming<pb::StreamOutcomesResponse>> {
    // Keys that match nothing: their answers are long.
    let outcomes = (1..1_000).map(|lead| pb::Outcome {
        send_key: format!("00000001-1-{lead}-1"),
        kind: OutcomeKind::Delivered.into(),
        ..Default::default()
    });
    let outcomes: Vec<_> = outcomes.collect();
    let mut streams = Vec::new();
    for _ in 0..40 {
        let endpoint = Endpoint::from_shared(url.clone()).unwrap().initial_stream_window_size(65_535);
        let channel = endpoint.initial_connection_window_size(65_535).connect().await.unwrap();
        let requests = stream::repeat(request(outcomes.clone())).take(100);
        let answers = SendingServiceClient::new(channel).stream_outcomes(requests).await.expect("a stream");
        streams.push(answers.into_inner());
    }
    streams
}

/// More memory than forty streams may take that do not read, in MiB. What they sent would take several times as much.
const UNREAD_MAX: usize = 80;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forty_streams_that_do_not_read_take_bounded_memory_and_leave_it_to_the_next_ones() {
    let (database, directory) = (database().await, tempfile::tempdir().expect("a directory"));
    let mut daemon = Daemon::service(&database.url, directory.path(), Directory::Keep).await.unwrap();
    daemon.ready().await.unwrap();
    let service = Service::of(&daemon, &database).expect("clients");
    let pid = daemon.process.pid();
    let before = resident(pid);
    for round in 1..=2 {
        // A client that drops its stream while it can't send keeps it open. The connections end with their runtime.
        let client = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let streams = client.spawn(unread(service.url.clone())).await.unwrap();
        // All that the service reads ahead is answered, and nobody takes the answers.
        let mut quiet = 0;
        let stands = until("the streams to stand", SOON, async || {
            let transactions = "campaign_metrics_transaction_duration_seconds_count{transaction=\"outcomes_report\"} ";
            let page = service.admin("/metrics").await;
            let batches = page.lines().find_map(|line| line.strip_prefix(transactions)).map(str::to_owned);
            ensure!(batches.is_some(), "no batch yet");
            quiet = if waiting(&service).await == 0 { quiet + 1 } else { 0 };
            ensure!(quiet > 20, "outcomes wait");
            Ok(())
        });
        stands.await.unwrap();
        let full = resident(pid);
        eprintln!("round {round}: {before} MiB before, {full} MiB with the streams");
        assert!(full < before + UNREAD_MAX, "round {round}: {before} MiB before, {full} MiB with the streams");
        drop(streams);
        client.shutdown_background();
        until("the connections to end", SOON, async || {
            let open = sockets(pid);
            ensure!(open < 40, "{open} sockets are open");
            Ok(())
        })
        .await
        .unwrap();
    }
}
