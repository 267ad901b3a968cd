//! Metrics of the process: each counts exactly what calls over the wire did.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use anyhow::ensure;
use campaign_metrics::pb::{self, OutcomeKind, campaign_service_client::CampaignServiceClient};
use tonic::{Code, Request};

use crate::{
    harness::{
        gauges::{PROCESS, Page, series},
        postgres::{Connection, database},
        service::{Service, monday},
        wait::{SOON, until},
    },
    world::{
        WORKSPACE, add_leads, by_key, by_lead, campaign_name, claim, create_account, create_campaign, fail_stream, get,
        report, report_new, settings, try_claim,
    },
};

const GET: &str = "campaign_metrics.v1.CampaignService/GetCampaign";
const REPORT: &str = "campaign_metrics.v1.SendingService/ReportOutcomes";

async fn page(service: &Service) -> Page {
    Page::parse(&service.admin("/metrics").await).expect("a page of metrics")
}

/// Waits until a series without labels has a value.
async fn becomes(service: &Service, name: &str, expected: i64) {
    let look = async || {
        let value = page(service).await.count(name, &[]);
        ensure!(value == expected, "{name} is {value}");
        Ok(())
    };
    until(&format!("{name} to be {expected}"), SOON, look).await.unwrap();
}

/// Locks the campaigns against all writers until the connection's transaction ends.
async fn lock(sql: &Connection) {
    sql.batch_execute("BEGIN; SELECT FROM leads FOR UPDATE; SELECT FROM campaigns FOR UPDATE").await.unwrap();
}

async fn try_get(service: &Service, name: &str) -> Code {
    let request = pb::GetCampaignRequest { name: name.to_owned() };
    service.campaigns.clone().get_campaign(request).await.map_or_else(|status| status.code(), |_| Code::Ok)
}

#[tokio::test]
async fn calls_are_counted_by_method_and_code_and_timed() {
    let service = Service::start().await;
    let begun = Instant::now();
    assert!(page(&service).await.of("rpc_handled_total").is_empty(), "nothing was called yet");
    create_campaign(&service, "spring", settings(1, &[])).await;
    for _ in 0..3 {
        assert_eq!(try_get(&service, &campaign_name("spring")).await, Code::Ok);
    }
    for _ in 0..2 {
        assert_eq!(try_get(&service, &campaign_name("autumn")).await, Code::NotFound);
    }
    assert_eq!(try_get(&service, "spring").await, Code::InvalidArgument);
    // A call of a method that does not exist.
    let mut client = tonic::client::Grpc::new(
        tonic::transport::Endpoint::from_shared(service.url.clone()).unwrap().connect().await.unwrap(),
    );
    client.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<pb::GetCampaignRequest, pb::Campaign>::default();
    let path = http::uri::PathAndQuery::from_static("/ghost.v1.Ghost/Haunt");
    let unknown = client.unary(Request::new(pb::GetCampaignRequest::default()), path, codec).await;
    assert_eq!(unknown.unwrap_err().code(), Code::Unimplemented);
    // This test drives the connection, and it does not run while the service drains.
    drop(client);

    let page = page(&service).await;
    let create = "campaign_metrics.v1.CampaignService/CreateCampaign";
    // In the order of the page: by code, then by method.
    let expected = [
        (GET, "InvalidArgument", 1),
        (GET, "NotFound", 2),
        (create, "Ok", 1),
        (GET, "Ok", 3),
        ("other", "Unimplemented", 1),
    ];
    let shown: Vec<_> = page
        .of("rpc_handled_total")
        .into_iter()
        .map(|series| (series.labels["method"].as_str(), series.labels["code"].as_str(), page.values[series]))
        .collect();
    let expected = expected.map(|(method, code, calls)| (method, code, f64::from(calls)));
    assert_eq!(shown, expected, "calls by method and code");
    for (method, calls) in [(create, 1), (GET, 6), ("other", 1)] {
        let labels = [("method", method)];
        assert_eq!(page.count("rpc_duration_seconds_count", &labels), calls, "calls of {method} that were timed");
        let sum = page.value("rpc_duration_seconds_sum", &labels);
        assert!(sum > 0.0 && sum < begun.elapsed().as_secs_f64(), "{method} took {sum} s, one call after the other");
        assert_eq!(page.count("rpc_in_flight", &labels), 0, "{method} has ended");
        let bounds: Vec<i64> = ["0.001", "0.1", "30", "+Inf"]
            .map(|bound| page.count("rpc_duration_seconds_bucket", &[("method", method), ("le", bound)]))
            .into();
        assert!(bounds.is_sorted() && bounds[3] == calls, "buckets of {method} hold all below them: {bounds:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_outcomes_are_shown_while_they_wait() {
    let service = Service::start().await;
    create_account(&service, "ann", None).await;
    create_campaign(&service, "spring", settings(1, &["ann"])).await;
    add_leads(&service, "spring", 3, Some("ann"), false).await;
    let connections = |page: &Page| ["idle", "used"].map(|state| page.count("pool_connections", &[("state", state)]));
    let quiet = async || {
        let page = page(&service).await;
        let [idle, used] = connections(&page);
        ensure!(used < 1 && idle >= 1, "{idle} connections are idle and {used} used");
        ensure!(page.count("outcomes_waiting", &[]) < 1, "outcomes wait");
        Ok(())
    };
    until("nothing to be asked of the database", SOON, quiet).await.unwrap();

    let sql = service.sql().await;
    lock(&sql).await;
    let outcomes = ["l0", "l1", "l2"].map(|lead| by_lead("spring", lead, 1, OutcomeKind::Delivered)).to_vec();
    let reporting = report_new(&service, outcomes);
    let watching = async {
        becomes(&service, "outcomes_waiting", 3).await;
        // Its first connection takes a moment.
        let connected = async || {
            let [idle, used] = connections(&page(&service).await);
            ensure!(used >= 1 && idle + used <= 16, "{idle} idle and {used} used connections of 16");
            Ok(())
        };
        until("the report to have a connection", SOON, connected).await.unwrap();
        let page = page(&service).await;
        assert_eq!(page.count("rpc_in_flight", &[("method", REPORT)]), 1, "the report is not answered yet");
        for verdict in ["applied", "duplicate", "rejected"] {
            assert_eq!(page.count("outcomes_total", &[("verdict", verdict)]), 0, "nothing was decided yet");
        }
        sql.batch_execute("COMMIT").await.unwrap();
    };
    tokio::join!(reporting, watching);
    becomes(&service, "outcomes_waiting", 0).await;
    assert_eq!(page(&service).await.count("rpc_in_flight", &[("method", REPORT)]), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_wait_for_a_connection_are_shown_beside_the_most_there_can_be() {
    let clock = campaign_metrics_service::Clock::manual(monday());
    let service = Service::launch_with(&database().await, clock, |options| options.pool_size = 6).await;
    service.ready().await;
    // Claims of one account queue before they take a connection.
    let accounts = ["ann", "bob", "cat", "dee"];
    for account in accounts {
        create_account(&service, account, None).await;
    }
    let sql = service.sql().await;
    sql.batch_execute("BEGIN; SELECT FROM accounts FOR UPDATE").await.unwrap();
    let claims = futures::future::join_all(accounts.map(|account| try_claim(&service, account, 1)));
    let watching = async {
        // Half of the connections are for claims and outcomes, and one of them is for batches of outcomes.
        becomes(&service, "pool_waiters", 2).await;
        let page = page(&service).await;
        assert_eq!(page.count("pool_connections_max", &[]), 6);
        assert!(page.count("pool_connections", &[("state", "used")]) >= 2);
        sql.batch_execute("COMMIT").await.unwrap();
    };
    let (answers, ()) = tokio::join!(claims, watching);
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    becomes(&service, "pool_waiters", 0).await;
}

#[tokio::test]
async fn a_stream_that_ends_with_an_error_is_counted_although_it_began_well() {
    const STREAM: &str = "campaign_metrics.v1.SendingService/StreamOutcomes";
    let service = Service::start().await;
    create_account(&service, "ann", None).await;
    create_campaign(&service, "spring", settings(1, &["ann"])).await;
    add_leads(&service, "spring", 1, Some("ann"), false).await;
    let delivered = || vec![by_lead("spring", "l0", 1, OutcomeKind::Delivered)];
    let good = pb::StreamOutcomesRequest { parent: WORKSPACE.into(), outcomes: delivered() };
    let requests = futures::stream::iter([good]);
    let mut answers = service.sending.clone().stream_outcomes(requests).await.expect("a stream").into_inner();
    while answers.message().await.expect("it ends well").is_some() {}
    assert_eq!(fail_stream(&service, delivered()).await.code(), Code::InvalidArgument);
    assert_eq!(try_get(&service, "spring").await, Code::InvalidArgument);
    let page = page(&service).await;
    assert_eq!(page.count("rpc_handled_total", &[("method", STREAM), ("code", "Ok")]), 2, "both were opened");
    let errors: Vec<_> = page.of("rpc_stream_errors_total");
    let expected = series("rpc_stream_errors_total", &[("method", STREAM), ("code", "InvalidArgument")]);
    assert_eq!(errors, [&expected], "a call that is refused at once is no stream");
    assert_eq!(page.values[&expected].to_string(), "1");
}

#[tokio::test]
async fn a_scrape_says_how_long_it_read() {
    let service = Service::start().await;
    let begun = Instant::now();
    let duration = page(&service).await.value("collector_duration_seconds", &[]);
    assert!(duration > 0.0 && duration < begun.elapsed().as_secs_f64(), "{duration} s");
}

#[tokio::test]
async fn outcomes_are_counted_by_verdict_and_reports_by_size() {
    let service = Service::start().await;
    create_account(&service, "ann", None).await;
    create_campaign(&service, "spring", settings(1, &["ann"])).await;
    add_leads(&service, "spring", 9, Some("ann"), false).await;
    let claims = claim(&service, "ann", 8).await.claims;
    try_claim(&service, "nobody", 1).await.expect_err("the account does not exist");
    report_new(&service, claims.iter().map(|claim| by_key(claim, OutcomeKind::Delivered)).collect()).await;
    claim(&service, "ann", 1).await;
    let again = claims[..3].iter().map(|claim| by_key(claim, OutcomeKind::Delivered));
    let unknown = ["x", "y"].map(|lead| by_lead("spring", lead, 1, OutcomeKind::Delivered));
    let verdicts = report(&service, again.chain(unknown).collect()).await;
    assert_eq!(verdicts.len(), 5);
    let empty = pb::ReportOutcomesRequest { parent: WORKSPACE.into(), outcomes: Vec::new() };
    service.sending.clone().report_outcomes(empty).await.expect_err("no report is empty");

    let page = page(&service).await;
    for (verdict, count) in [("applied", 8), ("duplicate", 3), ("rejected", 2)] {
        assert_eq!(page.count("outcomes_total", &[("verdict", verdict)]), count, "outcomes that were {verdict}");
    }
    assert_eq!(page.count("outcome_batch_size_count", &[]), 2, "reports");
    assert_eq!(page.count("outcome_batch_size_sum", &[]), 13, "outcomes of all reports");
    for (bound, reports) in [("1", 0), ("5", 1), ("10", 2), ("5000", 2)] {
        assert_eq!(page.count("outcome_batch_size_bucket", &[("le", bound)]), reports, "reports of up to {bound}");
    }
    for (transaction, count) in [("campaign_create", 1), ("leads_add", 1), ("outcomes_report", 2)] {
        let labels = [("transaction", transaction)];
        assert_eq!(page.count("transaction_duration_seconds_count", &labels), count, "transactions of {transaction}");
        assert_eq!(page.count("transaction_retries_total", &labels), 0, "nothing conflicted with {transaction}");
    }
    let ways = page.of("claim_calls_total");
    assert!(ways.contains(&&series("claim_calls_total", &[("way", "full")])), "the first call looks: {ways:?}");
    let ways = ways.iter().map(|series| page.values[*series].to_string().parse::<i64>().expect("a count"));
    assert_eq!(ways.sum::<i64>(), 2, "calls of ClaimSends that were answered");
    assert_eq!(page.count("build_info", &[("version", campaign_metrics::VERSION)]), 1);
}

#[tokio::test]
async fn open_watches_are_counted_until_they_end() {
    let service = Service::start().await;
    assert_eq!(page(&service).await.count("watch_streams", &[]), 0);
    let request = pb::WatchCampaignsRequest { parent: WORKSPACE.into(), min_interval: None };
    let mut streams = Vec::new();
    for open in [1, 2] {
        // Its own connection, which ends with the stream.
        let mut client = CampaignServiceClient::connect(service.url.clone()).await.unwrap();
        streams.push((client.watch_campaigns(request.clone()).await.unwrap().into_inner(), client));
        becomes(&service, "watch_streams", open).await;
    }
    streams.pop();
    // The service notices at its next poll.
    create_campaign(&service, "spring", settings(1, &[])).await;
    becomes(&service, "watch_streams", 1).await;
    drop(streams);
    becomes(&service, "watch_streams", 0).await;
    let page = page(&service).await;
    let labels = [("method", "campaign_metrics.v1.CampaignService/WatchCampaigns"), ("code", "Ok")];
    assert_eq!(page.count("rpc_handled_total", &labels), 2, "a stream counts as handled once it is open");
}

#[tokio::test]
async fn every_metric_of_a_process_is_one_that_these_tests_read() {
    let service = Service::start().await;
    create_account(&service, "ann", None).await;
    create_campaign(&service, "spring", settings(1, &["ann"])).await;
    add_leads(&service, "spring", 1, Some("ann"), false).await;
    report_new(&service, vec![by_key(&claim(&service, "ann", 1).await.claims[0], OutcomeKind::Delivered)]).await;
    get(&service, "spring").await;
    fail_stream(&service, vec![by_lead("spring", "l0", 1, OutcomeKind::Bounced)]).await;
    let page = page(&service).await;
    let this_file = include_str!("telemetry.rs");
    for (name, kind) in PROCESS {
        assert_eq!(page.types.get(name).map(String::as_str), Some(kind), "{name}");
        let is_read = ["", "_count", "_sum"].iter().any(|ending| this_file.contains(&format!("\"{name}{ending}\"")));
        assert!(is_read, "no test reads {name}");
    }
    let own: BTreeSet<&str> = page.types.keys().filter_map(|name| name.strip_prefix("process_")).collect();
    let known = ["cpu_seconds_total", "resident_memory_bytes", "start_time_seconds", "open_fds", "threads"];
    assert!(known.iter().all(|name| own.contains(name)), "the process says how it is: {own:?}");
    let threads = page.value("process_threads", &[]);
    assert!(threads >= 2.0 && page.value("process_resident_memory_bytes", &[]) > 1e6, "{threads} threads");
    let started = Duration::from_secs_f64(page.value("process_start_time_seconds", &[]));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    // The kernel gives it in ticks since boot, and the boot time in seconds.
    let ago = (now + Duration::from_secs(2)).checked_sub(started);
    assert!(ago.is_some_and(|ago| ago < Duration::from_hours(24)), "it started {started:?} after 1970");
}
