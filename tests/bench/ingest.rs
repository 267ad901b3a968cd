//! Outcomes through the service: streams of batches, and one outcome a call.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use anyhow::{Context as _, Result, ensure};
use campaign_metrics::pb::{self, OutcomeVerdict, sending_service_client::SendingServiceClient};
use campaign_metrics_service::store::OUTCOME_BATCH;
use futures::{future::try_join_all, stream};
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};

use crate::{
    direct::{copy, count, direct, without_history},
    events::{By, Event, Events, Order, events},
    load::Load,
    naive,
    report::{Report, Target},
    stage::{Service, Stage},
};

/// Repetitions of each case and of its baseline.
const RUNS: usize = 3;
/// Leads of a run by streams, and of one by single calls: some seconds of work.
const LEADS: u32 = 400_000;
const UNARY_LEADS: u32 = 100_000;
const NAIVE_LEADS: u32 = 8_000;
const MANY_WORKSPACES: u32 = 1_000;
/// Outcomes of one message of a stream.
pub const MESSAGE: usize = 1_000;
const STREAMS: usize = 4;
const IN_FLIGHT: usize = 512;
const CHANNELS: usize = 4;

pub async fn measure(stage: &Stage, report: &mut Report) -> Result<()> {
    let load = Load::Claimed { campaigns: 1, leads: LEADS };
    let leads = LEADS.cast_signed();
    let (in_order, at_random) = (events(1, 1, leads, Order::Claimed), events(1, 1, leads, Order::Random));
    let mut values: [Vec<f64>; 13] = Default::default();
    let one = Load::Claimed { campaigns: 1, leads: UNARY_LEADS };
    let twenty = Load::Claimed { campaigns: 20, leads: UNARY_LEADS };
    let many = Load::Workspaces { workspaces: MANY_WORKSPACES, leads: UNARY_LEADS };
    let workspaces = MANY_WORKSPACES.cast_signed();
    let unary_leads = UNARY_LEADS.cast_signed();
    let [streams, floors, by_lead_id, calls, naives, spread, history] = [
        ["ingest_stream_sender_order", "ingest_stream_random"].as_slice(),
        &["ingest_floor"],
        &["ingest_stream_by_lead_id"],
        &["ingest_unary", "ingest_many_workspaces"],
        &["ingest_unary_vs_naive"],
        &["ingest_many_workspaces"],
        &["ingest_with_history"],
    ]
    .map(|cases| cases.iter().any(|name| report.wants(name)));
    for run in 0..RUNS {
        stage.progress.step(&format!("ingest, run {} of {RUNS}", run + 1));
        for (place, events) in [(0, &in_order), (2, &at_random)] {
            if streams || floors || history || (calls && place == 2) {
                values[place].push(directly(stage, load, events, OUTCOME_BATCH).await?);
            }
            if history {
                values[11 + place / 2].push(directly(stage, load, events, &without_history()).await?);
            }
            if streams || (by_lead_id && place == 2) {
                values[place + 1].push(streamed(stage, load, events, By::SendKey).await?);
            }
        }
        if by_lead_id {
            values[4].push(streamed(stage, load, &at_random, By::LeadId).await?);
        }
        if floors {
            let database = stage.database(load).await?;
            values[5].push(copy(&database, &in_order).await?);
            database.remove().await?;
        }
        if calls || naives {
            values[6].push(unary(stage, one, &events(1, 1, unary_leads, Order::Random)).await?);
        }
        if spread {
            let spread = events(workspaces, workspaces, unary_leads / workspaces, Order::Random);
            values[8].push(unary(stage, many, &spread).await?);
        }
        if naives {
            values[7].push(unary(stage, twenty, &events(20, 1, unary_leads / 20, Order::Random)).await?);
            values[9].push(naive_unary(stage, 1).await?);
            values[10].push(naive_unary(stage, 20).await?);
        }
    }
    let unit = "events/s";
    let at_least = Target::AtLeast;
    report.ratio("ingest_stream_sender_order", unit, &values[1], &values[0], at_least(0.9));
    report.ratio("ingest_stream_random", unit, &values[3], &values[2], at_least(0.9));
    report.ratio("ingest_stream_by_lead_id", unit, &values[4], &values[3], at_least(0.6));
    report.ratio("ingest_floor", unit, &values[2], &values[5], at_least(0.04));
    report.ratio("ingest_floor_sender_order", unit, &values[0], &values[5], at_least(0.1));
    report.ratio("ingest_with_history_sender_order", unit, &values[0], &values[11], at_least(0.9));
    report.ratio("ingest_with_history_random", unit, &values[2], &values[12], at_least(0.9));
    report.ratio("ingest_unary", unit, &values[6], &values[2], at_least(0.2));
    report.ratio("ingest_unary_vs_naive", unit, &values[6], &values[9], at_least(10.0));
    report.ratio("ingest_unary_vs_naive_20", unit, &values[7], &values[10], Target::None);
    report.ratio("ingest_many_workspaces", unit, &values[8], &values[6], at_least(0.5));
    Ok(())
}

/// Applies events by a statement to a fresh database; returns applied ones a second.
async fn directly(stage: &Stage, load: Load, events: &Events, statement: &str) -> Result<f64> {
    let database = stage.database(load).await?;
    let rate = direct(&database, events, statement).await?;
    database.remove().await?;
    Ok(rate)
}

/// Reports events by streams to a service on a fresh database; returns applied ones a second.
pub async fn streamed(stage: &Stage, load: Load, events: &Events, by: By) -> Result<f64> {
    let database = stage.database(load).await?;
    let service = stage.service(&database).await?;
    let requests = messages(events, by);
    let start = Instant::now();
    let applied = stream_all(&service, requests).await?;
    let elapsed = start.elapsed().as_secs_f64();
    ensure!(applied == events.applied, "void: {applied} applied of {}", events.applied);
    service.stop().await?;
    database.remove().await?;
    Ok(count(applied) / elapsed)
}

/// The messages of streams, in their order.
pub fn messages(events: &Events, by: By) -> Vec<pb::StreamOutcomesRequest> {
    events.events.chunks(MESSAGE).map(|events| message(events, by)).collect()
}

/// One message of a stream.
pub fn message(events: &[Event], by: By) -> pb::StreamOutcomesRequest {
    let outcomes = events.iter().map(|event| event.outcome(by)).collect();
    pb::StreamOutcomesRequest { parent: "workspaces/w1".into(), outcomes }
}

/// How many outcomes of a message were applied.
pub fn applied(response: &pb::StreamOutcomesResponse) -> usize {
    response.results.iter().filter(|result| result.verdict() == OutcomeVerdict::Applied).count()
}

/// Sends messages by several streams at once; returns how many outcomes were applied.
pub async fn stream_all(service: &Service, requests: Vec<pb::StreamOutcomesRequest>) -> Result<usize> {
    let mut lanes: Vec<Vec<pb::StreamOutcomesRequest>> = vec![Vec::new(); STREAMS];
    for (place, request) in requests.into_iter().enumerate() {
        lanes[place % STREAMS].push(request);
    }
    let runs = lanes.into_iter().map(|requests| async move {
        let mut sending = service.sending().await?;
        let expected = requests.len();
        let mut responses = sending.stream_outcomes(stream::iter(requests)).await?.into_inner();
        let (mut seen, mut total) = (0, 0);
        while let Some(response) = responses.message().await? {
            seen += 1;
            total += applied(&response);
        }
        ensure!(seen == expected, "{seen} of {expected} messages were answered");
        anyhow::Ok(total)
    });
    Ok(try_join_all(runs).await?.into_iter().sum())
}

async fn unary(stage: &Stage, load: Load, events: &Events) -> Result<f64> {
    let database = stage.database(load).await?;
    let service = stage.service(&database).await?;
    let rate = calls(&service.url, events, Some(events.applied)).await?;
    service.stop().await?;
    database.remove().await?;
    Ok(rate)
}

async fn naive_unary(stage: &Stage, campaigns: u32) -> Result<f64> {
    let database = stage.database(Load::Claimed { campaigns, leads: NAIVE_LEADS }).await?;
    let (address, server) = naive::serve(&database).await?;
    let leads = (NAIVE_LEADS / campaigns).cast_signed();
    let all = events(campaigns.cast_signed(), 1, leads, Order::Random);
    // It has no corrections, so the number it applies differs.
    let rate = calls(&format!("http://{address}"), &all, None).await?;
    server.abort();
    database.remove().await?;
    Ok(rate)
}

/// One outcome a call, so many calls in flight; returns applied ones a second.
async fn calls(url: &str, events: &Events, expected: Option<usize>) -> Result<f64> {
    let requests: Vec<pb::ReportOutcomesRequest> = events
        .events
        .iter()
        .map(|event| pb::ReportOutcomesRequest {
            parent: format!("workspaces/w{}", event.workspace),
            outcomes: vec![event.outcome(By::SendKey)],
        })
        .collect();
    let endpoint = Endpoint::from_shared(url.to_owned())?;
    let channels: Vec<Channel> = try_join_all((0..CHANNELS).map(|_| endpoint.connect())).await?;
    let (requests, next) = (Arc::new(requests), Arc::new(AtomicUsize::new(0)));
    let mut callers: JoinSet<Result<usize>> = JoinSet::new();
    let start = Instant::now();
    for caller in 0..IN_FLIGHT {
        let mut sending = SendingServiceClient::new(channels[caller % CHANNELS].clone());
        let (requests, next) = (requests.clone(), next.clone());
        callers.spawn(async move {
            let mut applied = 0;
            while let Some(request) = requests.get(next.fetch_add(1, Ordering::Relaxed)) {
                let response = sending.report_outcomes(request.clone()).await?.into_inner();
                let result = response.results.first().context("a verdict")?;
                applied += usize::from(result.verdict() == OutcomeVerdict::Applied);
            }
            Ok(applied)
        });
    }
    let mut applied = 0;
    while let Some(caller) = callers.join_next().await {
        applied += caller??;
    }
    let elapsed = start.elapsed().as_secs_f64();
    if let Some(expected) = expected {
        ensure!(applied == expected, "void: {applied} applied of {expected}");
    }
    Ok(count(applied) / elapsed)
}
