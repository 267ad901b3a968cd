//! Traces go from a client through the service to its transactions, as a real OpenTelemetry collector receives them. A
//! collector that is away costs nothing.

use std::{
    collections::BTreeMap,
    fs,
    net::TcpListener,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use campaign_metrics::pb::{self, OutcomeKind};
use futures::{TryStreamExt as _, stream};
use tempfile::TempDir;
use tonic::{Request, metadata::MetadataValue};

use crate::{
    harness::{
        daemon::Daemon,
        parts::part,
        postgres::{database, free_port},
        process::{Directory, GRACE, Process, Signal},
        service::Service,
        wait::{SOON, until},
    },
    world::{WORKSPACE, add_leads, by_lead, campaign_name, create_account, create_campaign, settings},
};

/// A span as the collector received it.
#[derive(Debug, Clone)]
struct Span {
    trace: String,
    id: String,
    parent: String,
    name: String,
    kind: String,
    status: String,
    attributes: BTreeMap<String, String>,
    links: usize,
}

/// Parses the spans of the collector's log, which its debug exporter writes.
fn spans(log: &str) -> Vec<Span> {
    let span = |text: &str| {
        let value = |name: &str| {
            let line =
                text.lines().find_map(|line| line.trim_start().strip_prefix(name)?.trim_start().strip_prefix(':'));
            line.unwrap_or_default().trim().to_owned()
        };
        let attribute = |line: &str| {
            let (name, value) = line.trim_start().strip_prefix("-> ")?.split_once(": ")?;
            Some((name.to_owned(), value.split_once('(')?.1.trim_end_matches(')').to_owned()))
        };
        Span {
            trace: value("Trace ID"),
            id: value("ID"),
            parent: value("Parent ID"),
            name: value("Name"),
            kind: value("Kind"),
            status: value("Status code"),
            attributes: text.lines().filter_map(attribute).collect(),
            links: text.matches("SpanLink #").count(),
        }
    };
    // What follows the last span of a portion has no attributes of a span.
    log.split("\nSpan #").skip(1).map(|text| span(text.split("\n\t{").next().unwrap_or(text))).collect()
}

/// A collector, and a service that sends to it.
struct Stage {
    collector: Process,
    daemon: Daemon,
    service: Service,
    _directory: TempDir,
}

fn collector(directory: &TempDir, port: u16) -> Process {
    let config = directory.path().join("collector.yaml");
    let text = format!(
        "receivers: {{otlp: {{protocols: {{grpc: {{endpoint: '127.0.0.1:{port}'}}}}}}}}
exporters: {{debug: {{verbosity: detailed}}}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines: {{traces: {{receivers: [otlp], exporters: [debug]}}}}
"
    );
    fs::write(&config, text).unwrap();
    let mut command = Command::new(part("otel-collector").unwrap());
    command.arg("--config").arg(&config);
    Process::start("otel-collector", &command, directory.path(), Signal::TERM, Directory::Keep).unwrap()
}

/// Starts a service that sends its spans to a port.
async fn service(directory: &TempDir, port: u16, delay_ms: u32) -> (Daemon, Service) {
    let endpoint = format!("http://127.0.0.1:{port}");
    let delay = delay_ms.to_string();
    let environment = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()), ("OTEL_BSP_SCHEDULE_DELAY", delay.as_str())];
    service_with(directory, "info,campaign_metrics_service::layer=debug", &environment).await
}

async fn service_with(directory: &TempDir, log: &str, environment: &[(&str, &str)]) -> (Daemon, Service) {
    let database = database().await;
    let change = |command: &mut Command| {
        command.args(["--log-format", "json"]).env("RUST_LOG", log).envs(environment.iter().copied());
    };
    let mut daemon = Daemon::service_with(&database.url, change, directory.path(), Directory::Keep).await.unwrap();
    daemon.ready().await.unwrap();
    let service = Service::of(&daemon, &database).unwrap();
    (daemon, service)
}

impl Stage {
    async fn new(delay_ms: u32) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let port = free_port().unwrap();
        let mut collector = collector(&directory, port);
        collector.ready(SOON, async || Ok(tokio::net::TcpStream::connect(("127.0.0.1", port)).await?)).await.unwrap();
        let (daemon, service) = service(&directory, port, delay_ms).await;
        create_account(&service, "ann", None).await;
        create_campaign(&service, "spring", settings(1, &["ann"])).await;
        add_leads(&service, "spring", 9, None, false).await;
        Self { collector, daemon, service, _directory: directory }
    }

    /// Waits for a span of a trace with this name.
    async fn span(&self, trace: &str, name: &str) -> Span {
        let look = async || {
            let spans = spans(&self.collector.log());
            let found = spans.iter().find(|span| span.trace == trace && span.name == name).cloned();
            found.with_context(|| format!("spans of {trace}: {:#?}", spans.iter().filter(|span| span.trace == trace)))
        };
        until(&format!("a span {name}"), SOON, look).await.unwrap()
    }
}

const GET: &str = "campaign_metrics.v1.CampaignService/GetCampaign";
const REPORT: &str = "campaign_metrics.v1.SendingService/ReportOutcomes";

/// The traces of the calls of GetCampaign that a log names.
fn logged(log: &str) -> Vec<&str> {
    let lines = log.lines().filter(|line| line.contains("\"handled\"") && line.contains(GET));
    lines.filter_map(|line| line.split("\"trace_id\":\"").nth(1)?.split('"').next()).collect()
}

/// A request in a trace of its own.
fn traced<T>(message: T, trace: &str, flags: &str) -> Request<T> {
    let mut request = Request::new(message);
    let parent: MetadataValue<_> = format!("00-{trace}-00f067aa0ba902b7-{flags}").parse().unwrap();
    request.metadata_mut().insert("traceparent", parent);
    request
}

/// Reports of callers that do not want their traces.
const UNSAMPLED: usize = 5;

fn get_request() -> pb::GetCampaignRequest {
    pb::GetCampaignRequest { name: campaign_name("spring") }
}

fn report_request(lead: usize) -> pb::ReportOutcomesRequest {
    let outcomes = vec![by_lead("spring", &format!("l{lead}"), 1, OutcomeKind::Delivered)];
    pb::ReportOutcomesRequest { parent: WORKSPACE.into(), outcomes }
}

#[tokio::test]
async fn a_trace_goes_from_the_client_to_the_transactions() {
    let stage = Stage::new(50).await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    stage.service.campaigns.clone().get_campaign(traced(get_request(), trace, "01")).await.unwrap();
    let call = stage.span(trace, GET).await;
    assert_eq!((call.parent.as_str(), call.kind.as_str()), ("00f067aa0ba902b7", "Server"));
    assert_eq!(call.attributes["rpc.response.status_code"], "OK");
    let transaction = stage.span(trace, "campaign_get").await;
    assert_eq!((&transaction.parent, transaction.kind.as_str()), (&call.id, "Client"));
    assert_eq!(transaction.attributes["db.system.name"], "postgresql");
    assert_eq!(stage.span(trace, "connection").await.parent, transaction.id);

    let trace = "7777777777777777777777777777777a";
    let list = pb::ListCampaignsRequest { parent: WORKSPACE.into(), ..Default::default() };
    stage.service.campaigns.clone().list_campaigns(traced(list, trace, "01")).await.unwrap();
    let call = stage.span(trace, "campaign_metrics.v1.CampaignService/ListCampaigns").await;
    let transaction = stage.span(trace, "campaign_list").await;
    assert_eq!(transaction.parent, call.id);
    assert_eq!(stage.span(trace, "connection").await.parent, transaction.id);

    let trace = "0af7651916cd43dd8448eb211c80319c";
    let gone = pb::GetCampaignRequest { name: campaign_name("gone") };
    stage.service.campaigns.clone().get_campaign(traced(gone, trace, "01")).await.unwrap_err();
    let call = stage.span(trace, GET).await;
    assert_eq!((call.attributes["rpc.response.status_code"].as_str(), call.status.as_str()), ("NOT_FOUND", "Unset"));

    // The caller does not want this one.
    let unsampled = "11111111111111111111111111111111";
    stage.service.campaigns.clone().get_campaign(traced(get_request(), unsampled, "00")).await.unwrap();

    // Logs name the trace, also one that begins here.
    stage.service.campaigns.clone().get_campaign(get_request()).await.unwrap();
    let log = stage.daemon.process.log();
    let ids = logged(&log);
    let begun = ids.last().expect("the call is in the log");
    assert!(ids.contains(&trace) && ids.contains(&unsampled), "{ids:?}");
    assert_eq!(stage.span(begun, GET).await.parent, "", "nothing is above it");
    assert!(spans(&stage.collector.log()).iter().all(|span| span.trace != unsampled));
    assert!(stage.collector.log().contains("service.name: Str(campaign-metrics-service)"));
}

#[tokio::test]
async fn a_stream_belongs_to_its_call() {
    let stage = Stage::new(50).await;
    let trace = "5b8aa5a2d2c872e8321cf37308d69df2";
    let message = pb::StreamOutcomesRequest { parent: WORKSPACE.into(), outcomes: report_request(3).outcomes };
    let mut sending = stage.service.sending.clone();
    let answers = sending.stream_outcomes(traced(stream::iter([message]), trace, "01")).await.unwrap();
    let answers: Vec<_> = answers.into_inner().try_collect().await.unwrap();
    assert_eq!(answers.len(), 1);
    let call = stage.span(trace, "campaign_metrics.v1.SendingService/StreamOutcomes").await;
    assert_eq!(call.attributes["rpc.response.status_code"], "OK");
    let outcomes = stage.span(trace, "outcomes").await;
    assert_eq!(outcomes.parent, call.id);
    let batch = stage.span(trace, "batch").await;
    assert_eq!(batch.parent, outcomes.id);
    assert_eq!(stage.span(trace, "outcomes_report").await.parent, batch.id);

    // A stream that fails after its headers says so.
    let trace = "6e0c63257de34c926f9efcd03927272e";
    let message = pb::StreamOutcomesRequest { parent: "nothing".into(), outcomes: Vec::new() };
    let answers = sending.stream_outcomes(traced(stream::iter([message]), trace, "01")).await.unwrap();
    let failed = answers.into_inner().try_collect::<Vec<_>>().await.unwrap_err();
    assert_eq!(failed.code(), tonic::Code::InvalidArgument);
    let call = stage.span(trace, "campaign_metrics.v1.SendingService/StreamOutcomes").await;
    assert_eq!(call.attributes["rpc.response.status_code"], "INVALID_ARGUMENT");
}

#[tokio::test]
async fn outcomes_that_share_a_transaction_are_in_the_trace_of_the_first_and_linked_to_the_others() {
    let stage = Stage::new(50).await;
    // Reports wait behind this lock, and then share a transaction.
    let sql = stage.service.sql().await;
    sql.batch_execute("BEGIN; SELECT FROM leads FOR UPDATE").await.unwrap();
    let trace = |lead: usize| format!("{:032x}", 0xabc0 + lead);
    let mut calls = tokio::task::JoinSet::new();
    // One after the other, so that the first ones are first in their batches: their callers want no trace.
    for lead in 0..9 {
        let (mut sending, id) = (stage.service.sending.clone(), trace(lead));
        let flags = if lead < UNSAMPLED { "00" } else { "01" };
        calls.spawn(async move { sending.report_outcomes(traced(report_request(lead), &id, flags)).await.unwrap() });
        let waiting = async || {
            let waiting = stage.service.metric("campaign_metrics_outcomes_waiting").await;
            ensure!(waiting == i64::try_from(lead)? + 1, "{waiting} wait");
            Ok(())
        };
        until("the report to wait", SOON, waiting).await.unwrap();
    }
    sql.batch_execute("ROLLBACK").await.unwrap();
    calls.join_all().await;
    let mut batches = BTreeMap::new();
    for lead in UNSAMPLED..9 {
        let call = stage.span(&trace(lead), REPORT).await;
        let outcomes = stage.span(&trace(lead), "outcomes").await;
        assert_eq!(outcomes.parent, call.id);
        let log = spans(&stage.collector.log());
        batches.extend(log.iter().filter(|span| span.name == "batch").map(|span| (span.id.clone(), span.clone())));
    }
    let reports = batches.values().map(|batch| 1 + batch.links).sum::<usize>();
    assert_eq!(reports, 9 - UNSAMPLED, "each sampled report leads to one batch: {batches:#?}");
    let largest = batches.values().max_by_key(|batch| batch.links).unwrap();
    assert!(largest.links > 0, "{largest:?}");
    let shared = |batch: &Span| batch.attributes["reports"].parse::<usize>().unwrap();
    assert!(
        batches.values().any(|batch| shared(batch) > batch.links + 1),
        "unsampled ones are in it too: {batches:#?}"
    );
    let transaction = stage.span(&largest.trace, "outcomes_report").await;
    assert_eq!(transaction.parent, largest.id);
}

#[tokio::test]
async fn what_is_left_is_sent_at_the_end() {
    let mut stage = Stage::new(600_000).await;
    let trace = "22222222222222222222222222222222";
    stage.service.campaigns.clone().get_campaign(traced(get_request(), trace, "01")).await.unwrap();
    assert!(spans(&stage.collector.log()).iter().all(|span| span.trace != trace), "it waits in the queue");
    assert!(stage.daemon.process.stop(GRACE).await.unwrap().success());
    stage.span(trace, GET).await;
}

#[tokio::test]
async fn without_a_collector_the_log_names_the_trace_and_shows_no_span_of_it() {
    for log in ["debug", "warn,campaign_metrics_service::layer=debug"] {
        let directory = tempfile::tempdir().unwrap();
        // An empty variable counts as unset.
        let environment = [("OTEL_EXPORTER_OTLP_ENDPOINT", "")];
        let (daemon, service) = service_with(&directory, log, &environment).await;
        create_campaign(&service, "spring", settings(1, &[])).await;
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        service.campaigns.clone().get_campaign(traced(get_request(), trace, "01")).await.unwrap();
        let log = daemon.process.log();
        assert_eq!(logged(&log), [trace]);
        for span in ["call", "transaction", "connection"] {
            assert!(!log.contains(&format!("\"name\":\"{span}\"")), "the log shows a span {span}");
        }
    }
}

/// Calls while the collector is away, and stops. Returns how long both took.
async fn without_collector(port: u16) -> Result<(Duration, Duration)> {
    let directory = tempfile::tempdir()?;
    let (mut daemon, service) = service(&directory, port, 10).await;
    create_campaign(&service, "spring", settings(1, &[])).await;
    let begun = Instant::now();
    // More spans than the queue holds.
    for _ in 0..1000 {
        service.campaigns.clone().get_campaign(get_request()).await?;
    }
    let called = begun.elapsed();
    let begun = Instant::now();
    let status = daemon.process.stop(GRACE).await?;
    ensure!(status.success(), "{status}\n{}", daemon.process.log());
    let log = daemon.process.log();
    let count = |what: &str| log.lines().filter(|line| line.contains(what)).count();
    let told = count("traces can't be sent and are lost");
    ensure!(told <= 1, "the outage is one line, however many exports fail:\n{log}");
    ensure!(told + count("the last spans could not be sent") > 0, "{log}");
    ensure!(count("BatchSpanProcessor.ExportError") == 0, "the library tells of each failure:\n{log}");
    Ok((called, begun.elapsed()))
}

#[tokio::test]
async fn a_collector_that_is_away_or_does_not_answer_holds_nothing_up() {
    // It takes connections, and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = free_port().unwrap();
    let (silent, closed) =
        tokio::join!(without_collector(silent.local_addr().unwrap().port()), without_collector(closed));
    for (called, stopped) in [silent.unwrap(), closed.unwrap()] {
        assert!(called < Duration::from_secs(20), "a thousand calls took {called:?}");
        assert!(stopped < Duration::from_secs(8), "the end took {stopped:?}");
    }
}
