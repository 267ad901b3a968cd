//! Reads under load: one campaign, large and small, and the metrics of ten thousand.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use campaign_metrics::pb::{self, campaign_service_client::CampaignServiceClient};
use futures::stream;
use hdrhistogram::Histogram;
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use crate::{
    answers,
    direct::count,
    events::{By, Events, Order, events},
    harness::{http, postgres::Connection},
    ingest::{MESSAGE, applied, message, streamed},
    load::{FLEET_ACCOUNTS, Load},
    report::{Report, Target},
    stage::{Service, Stage},
};

const LARGE: u32 = 10_000_000;
const SAMPLES: u64 = 20_000;
/// Calls a second, of both kinds together.
const CALL_RATE: f64 = 400.0;
const FLEET: u32 = 10_000;
const SCRAPES: usize = 15;
const MEASURED_LEADS: u32 = 400_000;

pub async fn measure(stage: &Stage, report: &mut Report) -> Result<()> {
    if answers::CASES.iter().chain(&["get_campaign_10m"]).any(|case| report.wants(case)) {
        large(stage, report).await?;
    }
    if report.wants("metrics_scrape_10k") {
        scrape(stage, report).await?;
    }
    Ok(())
}

/// Reads of a campaign of ten million leads, beside ingest.
async fn large(stage: &Stage, report: &mut Report) -> Result<()> {
    stage.progress.step("get_campaign_10m");
    let at_random = events(1, 1, MEASURED_LEADS.cast_signed(), Order::Random);
    let load = Load::Claimed { campaigns: 1, leads: MEASURED_LEADS };
    let rate = streamed(stage, load, &at_random, By::SendKey).await?;

    let database = stage.database(Load::Large { leads: LARGE, fleet: 0 }).await?;
    let service = stage.service(&database).await?;
    let at_random = Arc::new(events(1, 1, LARGE.cast_signed(), Order::Random));
    let mut load = Beside { service: &service, events: at_random, from: 0 };
    let (reported, (large, small)) = load.sampled_at(rate / 2.0, sampled).await?;
    stage.progress.say(&format!("  beside {reported:.0} events/s, of {rate:.0} at most"));
    report.value("get_campaign_10m", "ms p99", &[p99(&large)], Target::AtMost(5.0));
    report.ratio("get_campaign_10m_vs_1k", "ms p99", &[p99(&large)], &[p99(&small)], Target::AtMost(1.5));
    let sql = database.connect().await?;
    answers::fill(&sql).await?;
    drop(sql);
    let (reported, answered) = load.sampled_at(rate / 2.0, answers::sampled).await?;
    stage.progress.say(&format!("  answers beside {reported:.0} events/s"));
    answers::report(report, &answered, &large);
    service.stop().await?;
    database.remove().await
}

pub fn p99(latencies: &Histogram<u64>) -> f64 {
    count(usize::try_from(latencies.value_at_quantile(0.99)).unwrap_or(0)) / 1000.0
}

/// Reports beside which calls are measured.
struct Beside<'a> {
    service: &'a Service,
    events: Arc<Events>,
    /// The first event that was not reported yet.
    from: usize,
}

impl Beside<'_> {
    /// The achieved rate, and what was sampled beside it.
    async fn sampled_at<'a, T>(
        &'a mut self,
        rate: f64,
        sample: impl AsyncFnOnce(&'a Service, CancellationToken) -> Result<T>,
    ) -> Result<(f64, T)> {
        let (service, stop) = (self.service, CancellationToken::new());
        let (reported, samples) = tokio::join!(self.at(rate, stop.clone()), sample(service, stop));
        Ok((reported?, samples?))
    }

    /// Reports at a rate until stopped, in messages of the measured size, by a stream that does not wait for answers.
    /// Returns the achieved rate.
    async fn at(&mut self, rate: f64, stop: CancellationToken) -> Result<f64> {
        let mut ticks = interval(Duration::from_secs_f64(count(MESSAGE) / rate).max(Duration::from_nanos(1)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let (ended, start) = (stop.clone(), Instant::now());
        let messages = stream::unfold((self.events.clone(), self.from, ticks), move |(all, from, mut ticks)| {
            let ended = ended.clone();
            async move {
                ticks.tick().await;
                let chunk = all.events.get(from..from + MESSAGE).filter(|_| !ended.is_cancelled())?;
                let message = message(chunk, By::SendKey);
                Some((message, (all, from + MESSAGE, ticks)))
            }
        });
        let mut sending = self.service.sending().await?;
        let mut responses = sending.stream_outcomes(messages).await?.into_inner();
        let mut reported = 0;
        while let Some(response) = responses.message().await? {
            reported += applied(&response);
            self.from += MESSAGE;
        }
        ensure!(stop.is_cancelled(), "void: the load ended before the samples");
        Ok(count(reported) / start.elapsed().as_secs_f64())
    }
}

/// Calls in turn at fixed times, whether or not the previous call was answered. Returns latencies in microseconds from
/// these times.
async fn sampled(service: &Service, stop: CancellationToken) -> Result<(Histogram<u64>, Histogram<u64>)> {
    let _stop = stop.drop_guard();
    let campaigns = service.campaigns().await?;
    let mut ticks = interval(Duration::from_secs_f64(1.0 / CALL_RATE));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut calls: JoinSet<Result<(u64, u64)>> = JoinSet::new();
    for number in 0..SAMPLES * 2 {
        let due = ticks.tick().await;
        let campaigns = campaigns.clone();
        calls.spawn(async move {
            let name = if number % 2 == 0 { "c1" } else { "c2" };
            get(campaigns, name).await?;
            Ok((number % 2, u64::try_from(due.elapsed().as_micros())?))
        });
    }
    let mut histograms = [Histogram::<u64>::new(3)?, Histogram::<u64>::new(3)?];
    while let Some(call) = calls.join_next().await {
        let (kind, latency) = call??;
        histograms[usize::try_from(kind)?].record(latency)?;
    }
    let [large, small] = histograms;
    Ok((large, small))
}

async fn get(mut campaigns: CampaignServiceClient<Channel>, name: &str) -> Result<pb::Campaign> {
    let request = pb::GetCampaignRequest { name: format!("workspaces/w1/campaigns/{name}") };
    Ok(campaigns.get_campaign(request).await?.into_inner())
}

async fn scrape(stage: &Stage, report: &mut Report) -> Result<()> {
    stage.progress.step("metrics_scrape_10k");
    let database = stage.database(Load::Fleet { campaigns: FLEET, accounts: FLEET_ACCOUNTS }).await?;
    let service = stage.service(&database).await?;
    let sql = database.connect().await?;
    let url = format!("{}/metrics", service.admin_url);
    http::get(&url).await?;
    let before = lead_reads(&sql).await?;
    let mut times = Vec::new();
    for number in 0..SCRAPES {
        let sent = 1_000 + number;
        let change = format!(
            "UPDATE campaign_counters SET sent = {sent}, total = {sent} + pending
            WHERE campaign_id = (SELECT max(campaign_id) FROM campaigns)"
        );
        sql.batch_execute(&change).await?;
        let start = Instant::now();
        let (status, text) = http::get(&url).await?;
        times.push(start.elapsed().as_secs_f64() * 1000.0);
        ensure!(status == 200, "{text}");
        ensure!(text.contains(&format!("status=\"sent\"}} {sent}\n")), "void: a committed change is not in the scrape");
    }
    let after = lead_reads(&sql).await?;
    ensure!(before == after, "void: leads were read: {before:?}, {after:?}");
    report.value("metrics_scrape_10k", "ms", &times, Target::AtMost(150.0));
    drop(sql);
    service.stop().await?;
    database.remove().await
}

/// Scans of the leads so far, and rows that these read.
async fn lead_reads(sql: &Connection) -> Result<(i64, i64)> {
    // Sessions report statistics at most once a second, and when they end.
    sql.batch_execute("SELECT pg_stat_force_next_flush()").await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let reads = "SELECT seq_tup_read, coalesce(idx_tup_fetch, 0) FROM pg_stat_user_tables WHERE relname = 'leads'";
    let row = sql.query_opt(reads, &[]).await?.context("statistics of the leads")?;
    Ok((row.get(0), row.get(1)))
}
