//! What leads and campaigns need: disk, memory, connections, and what a scrape of them costs. docs/capacity.md has a run.
//!
//! Every lead is claimed, and at most nine tenths of them get a message, so that all campaigns are still active.

use std::time::Instant;

use anyhow::{Result, ensure};

use crate::{
    direct::count,
    events::{By, Events, Order, events},
    harness::postgres::Connection,
    ingest::{messages, stream_all},
    load::Load,
    report::{Report, Target},
    scrape::{MIB, scrapes},
    stage::Stage,
};

/// Name, leads in all, and campaigns.
pub const CASES: [(&str, u32, u32); 5] = [
    ("capacity_1m_100", 1_000_000, 100),
    ("capacity_1m_10k", 1_000_000, 10_000),
    ("capacity_4m_100", 4_000_000, 100),
    ("capacity_4m_10k", 4_000_000, 10_000),
    ("capacity_16m_100", 16_000_000, 100),
];

/// Most events that are reported: beyond that only the log grows, by the same for each.
const REPORTED_MAX: usize = 4_000_000;
/// Events handed over at a time.
const PORTION: usize = 200_000;

pub async fn measure(stage: &Stage, report: &mut Report) -> Result<()> {
    // Less than the others take, so that the log does not hide what the data needs on a small disk.
    stage.set("max_wal_size", "1GB").await?;
    for (name, leads, campaigns) in CASES {
        if report.wants(name) {
            one(stage, report, name, leads, campaigns).await?;
        }
    }
    Ok(())
}

async fn one(stage: &Stage, report: &mut Report, name: &str, leads: u32, campaigns: u32) -> Result<()> {
    stage.progress.step(&format!("{name}: filling"));
    let database = stage.database_once(Load::Claimed { campaigns, leads }).await?;
    let sql = database.connect().await?;
    let mut value = |what: &str, unit, value: f64| {
        report.value(&format!("{name}_{what}"), unit, &[value], Target::None);
    };
    value("leads_mib", "MiB", disk_mib(&sql).await?);

    stage.progress.step(&format!("{name}: reporting"));
    let service = stage.service(&database).await?;
    let (per_campaign, from) = ((leads / campaigns).cast_signed(), wal_mib(&sql).await?);
    let all = events(campaigns.cast_signed(), 1, per_campaign, Order::Claimed);
    let reported = &all.events[..(all.events.len() / 10 * 9).min(REPORTED_MAX)];
    let (mut applied, mut connections, mut service_mib, mut postgres_mib) = (0, 0, 0.0_f64, 0.0_f64);
    let start = Instant::now();
    for portion in reported.chunks(PORTION) {
        let part = Events { events: portion.to_vec(), applied: 0 };
        applied += stream_all(&service, messages(&part, By::SendKey)).await?;
        connections = connections.max(connected(&sql).await?);
        service_mib = service_mib.max(service.resident_mib()?);
        postgres_mib = postgres_mib.max(stage.postgres_mib()?);
    }
    let rate = count(applied) / start.elapsed().as_secs_f64();
    ensure!(applied > reported.len() / 10 * 9, "void: {applied} applied of {}", reported.len());
    value("messages", "messages", count(applied));
    value("rate", "events/s", rate);
    value("messages_mib", "MiB", disk_mib(&sql).await?);
    value("log_mib", "MiB", log_mib(&sql).await?);
    value("wal_mib", "MiB", wal_mib(&sql).await? - from);

    let scrapes = scrapes(&service).await?;
    value("connections", "", count(usize::try_from(connections.max(connected(&sql).await?))?));
    value("service_mib", "MiB", service_mib.max(service.resident_mib()?));
    value("postgres_mib", "MiB", postgres_mib.max(stage.postgres_mib()?));
    scrapes.report(report, name);
    drop(sql);
    service.stop().await?;
    database.remove().await
}

async fn disk_mib(sql: &Connection) -> Result<f64> {
    Ok(sql.query_one("SELECT pg_database_size(current_database()) / $1::float8", &[&MIB]).await?.get(0))
}

/// The log of outcomes, which `--outcome-retention` bounds.
async fn log_mib(sql: &Connection) -> Result<f64> {
    let size = "SELECT sum(pg_total_relation_size(oid))::float8 / $1::float8 FROM pg_class
        WHERE relname LIKE 'outcomes%' AND relkind = 'r'";
    Ok(sql.query_one(size, &[&MIB]).await?.get(0))
}

/// All that was ever written to the write-ahead log.
async fn wal_mib(sql: &Connection) -> Result<f64> {
    Ok(sql.query_one("SELECT (pg_current_wal_lsn() - '0/0')::float8 / $1::float8", &[&MIB]).await?.get(0))
}

/// Connections of the service.
async fn connected(sql: &Connection) -> Result<i64> {
    let others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
        AND backend_type = 'client backend'";
    Ok(sql.query_one(others, &[]).await?.get(0))
}
