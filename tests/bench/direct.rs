//! Baselines without a service: the same work by the statement itself, and the log alone by COPY.

use std::time::Instant;

use anyhow::{Result, ensure};
use bytes::Bytes;
use campaign_metrics_service::store::{BY_KEY, OUTCOME_BATCH};
use futures::{SinkExt as _, future::try_join_all};
use jiff::Timestamp;
use tokio_postgres::types::ToSql;

use crate::{
    events::{Event, Events},
    harness::postgres::{Connection, connect},
    stage::Database,
};

/// Outcomes of a statement.
const BATCH: usize = 1000;
const CONNECTIONS: usize = 2;

/// The statement of a batch without the part that writes history.
pub fn without_history() -> String {
    let without = |statement: &str, from: &str, to: &str| {
        let (before, rest) = statement.split_once(from).expect("where history begins");
        let (_, after) = rest.split_once(to).expect("where history ends");
        format!("{before}{to}{after}")
    };
    let statement = without(OUTCOME_BATCH, "), contact_change AS (", "), logged AS (");
    let statement = without(&statement, "), history_changes AS (", "), due AS (");
    statement.replace("WHERE (SELECT count(*) FROM history_delta) >= 0", "")
}

/// Applies events by two connections with a statement; returns applied ones a second.
pub async fn direct(database: &Database, events: &Events, statement: &str) -> Result<f64> {
    let batches: Vec<&[Event]> = events.events.chunks(BATCH).collect();
    let connections = try_join_all((0..CONNECTIONS).map(|_| hot(database))).await?;
    let start = Instant::now();
    let runs = connections.into_iter().enumerate().map(|(number, sql)| {
        let batches: Vec<&[Event]> = batches.iter().copied().skip(number).step_by(CONNECTIONS).collect();
        async move {
            let mut writer = Writer::new(sql, statement).await?;
            let mut applied = 0;
            for batch in batches {
                applied += writer.write(batch).await?;
            }
            anyhow::Ok(applied)
        }
    });
    let applied: usize = try_join_all(runs).await?.into_iter().sum();
    let elapsed = start.elapsed().as_secs_f64();
    ensure!(applied == events.applied, "void: {applied} applied of {}", events.applied);
    Ok(count(applied) / elapsed)
}

#[expect(clippy::cast_precision_loss, reason = "counts of a run are far below 2^52")]
pub fn count(number: usize) -> f64 {
    number as f64
}

/// A connection with the settings of the service's.
async fn hot(database: &Database) -> Result<Connection> {
    let sql = connect(&database.url).await?;
    for setting in BY_KEY.split("-c ").map(str::trim).filter(|setting| !setting.is_empty()) {
        sql.batch_execute(&format!("SET {setting}")).await?;
    }
    Ok(sql)
}

struct Writer {
    sql: Connection,
    terms: tokio_postgres::Statement,
    batch: tokio_postgres::Statement,
}

impl Writer {
    async fn new(sql: Connection, statement: &str) -> Result<Self> {
        let terms = "SELECT steps, state FROM unnest($1::int4[], $2::int4[]) AS key (workspace_id, campaign_id)
            JOIN campaigns c USING (workspace_id, campaign_id) ORDER BY workspace_id, campaign_id FOR KEY SHARE OF c";
        Ok(Self { terms: sql.prepare(terms).await?, batch: sql.prepare(statement).await?, sql })
    }

    /// One transaction; returns how many were applied.
    async fn write(&mut self, events: &[Event]) -> Result<usize> {
        let mut sorted = events.to_vec();
        sorted.sort_by_key(|event| (event.workspace, event.campaign, event.lead));
        let mut keys: Vec<(i32, i32)> = sorted.iter().map(|event| (event.workspace, event.campaign)).collect();
        keys.dedup();
        let (workspaces, campaigns): (Vec<i32>, Vec<i32>) = keys.into_iter().unzip();
        // The statement takes one outcome for each lead.
        let mut rounds: Vec<Vec<Event>> = Vec::new();
        let mut nth = 0;
        for (place, event) in sorted.iter().enumerate() {
            let same = place.checked_sub(1).map(|before| sorted[before]);
            let same = same.is_some_and(|before| (before.campaign, before.lead) == (event.campaign, event.lead));
            nth = if same { nth + 1 } else { 0 };
            if rounds.len() == nth {
                rounds.push(Vec::new());
            }
            rounds[nth].push(*event);
        }
        let txn = self.sql.transaction().await?;
        txn.query(&self.terms, &[&workspaces, &campaigns]).await?;
        let mut applied = 0;
        for round in rounds {
            applied += round.len();
            let now = Timestamp::now();
            let size = round.len();
            let column = |value: fn(&Event) -> i32| round.iter().map(value).collect::<Vec<i32>>();
            let reasons: Vec<Option<i16>> = round.iter().map(|event| (event.bit > 0).then_some(3)).collect();
            let params: &[&(dyn ToSql + Sync)] = &[
                &column(|event| event.workspace),
                &column(|event| event.campaign),
                &column(|event| event.lead),
                &column(|event| event.bit),
                &vec![now; size],
                &reasons,
                &vec![None::<&str>; size],
                &vec![None::<i64>; size],
                &vec![1_i32; size],
                &vec![now; size],
                &now,
                &0_i32,
            ];
            for row in txn.query(&self.batch, params).await? {
                if row.get::<_, Option<i64>>("place").is_some() {
                    applied -= usize::from(!row.get::<_, bool>("applied"));
                }
            }
        }
        txn.commit().await?;
        Ok(applied)
    }
}

/// Copies as many rows into the log and does nothing else; returns rows a second.
pub async fn copy(database: &Database, events: &Events) -> Result<f64> {
    let now = Timestamp::now();
    let half = events.events.len().div_ceil(CONNECTIONS);
    let texts: Vec<Bytes> = events
        .events
        .chunks(half)
        .map(|events| {
            let line = |event: &Event| {
                format!(
                    "{}\t{}\t{}\t{}\t\\N\t1\t1\t{now}\t{now}\t\\N\n",
                    event.workspace, event.campaign, event.lead, event.bit
                )
            };
            Bytes::from(events.iter().map(line).collect::<String>())
        })
        .collect();
    let connections = try_join_all((0..CONNECTIONS).map(|_| connect(&database.url))).await?;
    let start = Instant::now();
    let runs = connections.iter().zip(texts).map(|(sql, text)| async move {
        let sink = sql.copy_in("COPY outcomes FROM STDIN").await?;
        let mut sink = std::pin::pin!(sink);
        for begin in (0..text.len()).step_by(1 << 16) {
            sink.send(text.slice(begin..text.len().min(begin + (1 << 16)))).await?;
        }
        anyhow::Ok(sink.finish().await?)
    });
    let rows: u64 = try_join_all(runs).await?.into_iter().sum();
    Ok(count(usize::try_from(rows)?) / start.elapsed().as_secs_f64())
}
