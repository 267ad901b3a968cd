//! Checks the database and the API all the time: invariants of committed states hold in every snapshot.
//!
//! A check that a crash cuts short says nothing. A check that finds a violation ends the test.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, Result, ensure};
use campaign_metrics::pb;
use tokio::time::{MissedTickBehavior, interval};

use super::replicas::{Replicas, answer, is_of_a_crash, request};
use crate::harness::{
    history,
    postgres::{Connection, connect},
    recount::{Counts, LEADS, MESSAGES, of_api, recount},
};

/// Pause between two checks: several checks between two kills, without slowing down the load.
const LOOK: Duration = Duration::from_millis(200);

/// How many checks it made.
#[derive(Debug, Default)]
pub struct Looks {
    pub snapshots: usize,
    pub answers: usize,
}

/// Checks until it is cancelled; returns only with a violation.
pub async fn run(url: &str, replicas: &Replicas, campaigns: &[String], looks: &mut Looks) -> Result<()> {
    let mut times = interval(LOOK);
    times.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut sql = None;
    for number in 0.. {
        times.tick().await;
        for name in campaigns {
            looks.answers += usize::from(ask(replicas, number, name).await?);
        }
        if sql.is_none() {
            sql = connect(url).await.ok();
        }
        if let Some(connection) = &sql {
            match snapshot(connection, campaigns).await {
                Ok(()) => looks.snapshots += 1,
                Err(error) if error.downcast_ref::<tokio_postgres::Error>().is_some() => {
                    // An error that Postgres itself reports is a mistake of the check; a broken connection is not.
                    let code = error.downcast_ref::<tokio_postgres::Error>().and_then(tokio_postgres::Error::code);
                    ensure!(code.is_none_or(|code| code.code().starts_with("57P")), "{error:#}");
                    sql = None;
                }
                wrong => return wrong,
            }
        }
    }
    Ok(())
}

/// Reads a campaign over the API; false if no replica answered.
async fn ask(replicas: &Replicas, number: usize, name: &str) -> Result<bool> {
    let get = pb::GetCampaignRequest { name: name.to_owned() };
    match answer(replicas.get(number).campaigns.clone().get_campaign(request(get))).await {
        Ok(campaign) => {
            assert_sums(&campaign)?;
            Ok(true)
        }
        Err(status) if is_of_a_crash(&status) => Ok(false),
        Err(status) => Err(anyhow::anyhow!("GetCampaign: {status:?}")),
    }
}

/// Fails unless the statuses add up to the total and give the progress.
pub fn assert_sums(campaign: &pb::Campaign) -> Result<()> {
    let counts = of_api(campaign);
    let sum: i64 = LEADS[1..].iter().map(|name| counts[name]).sum();
    ensure!(sum == counts["total"], "sent + failed + pending + partial is not the total: {counts:?}");
    #[expect(clippy::cast_precision_loss, reason = "a few thousand leads")]
    let progress = (counts["total"] > 0).then(|| (counts["sent"] + counts["failed"]) as f64 / counts["total"] as f64);
    ensure!(campaign.progress_ratio == progress, "progress is {:?}, not {progress:?}", campaign.progress_ratio);
    Ok(())
}

/// Checks one snapshot of the whole database.
async fn snapshot(sql: &Connection, campaigns: &[String]) -> Result<()> {
    sql.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    for name in campaigns {
        let counted = counters(sql, name).await?;
        let recounted = recount(sql, name).await?;
        ensure!(counted == recounted, "counters of {name} are {counted:?}, its leads say {recounted:?}");
        history::check(sql, name).await?;
    }
    for (what, query) in IMPOSSIBLE {
        let found = sql.query(query, &[]).await?;
        ensure!(found.is_empty(), "{what}: {found:?}");
    }
    sql.batch_execute("ROLLBACK").await?;
    Ok(())
}

/// The counters of a campaign as they are stored: in exactly one row.
async fn counters(sql: &Connection, name: &str) -> Result<Counts> {
    let (_, campaign) = name.rsplit_once('/').context("a resource name")?;
    let names: Vec<&'static str> = LEADS.into_iter().chain(MESSAGES).collect();
    let columns: Vec<String> = names
        .iter()
        .map(|name| if *name == "other" { "k.other_reason".to_owned() } else { format!("k.{name}") })
        .collect();
    let query = format!(
        "SELECT {} FROM campaign_counters k JOIN campaigns c USING (workspace_id, campaign_id) WHERE c.name = $1",
        columns.join(", ")
    );
    let rows = sql.query(&query, &[&campaign]).await?;
    ensure!(rows.len() == 1, "{} rows of counters of {name}", rows.len());
    Ok(names.into_iter().enumerate().map(|(place, name)| (name, rows[0].get(place))).collect::<BTreeMap<_, _>>())
}

/// Queries that find violations in a snapshot. Facts from bit 51 on (opt-outs) also come from outside a campaign.
const IMPOSSIBLE: [(&str, &str); 5] = [
    (
        "a lead of which two claims are open",
        "WITH open AS MATERIALIZED (SELECT *, claim_open(c) AS open FROM claims c)
        SELECT a.campaign_id::text || ' ' || a.block FROM open a JOIN open b USING (workspace_id, campaign_id, block)
            WHERE a.open & b.open <> 0 AND (a.step, a.grant_no) < (b.step, b.grant_no)",
    ),
    (
        "a number of open claims that is not the sum of them",
        "SELECT c.name || ' ' || (g.granted - k.closed_claims) || ' ' || h.open
            FROM campaigns c
            JOIN (SELECT workspace_id, campaign_id, sum(granted) AS granted FROM campaign_claims GROUP BY 1, 2) g
                USING (workspace_id, campaign_id)
            JOIN campaign_counters k USING (workspace_id, campaign_id)
            CROSS JOIN LATERAL (SELECT coalesce(sum(bit_count(claim_open(o)::bit(64))), 0) AS open FROM claims o
                WHERE o.workspace_id = c.workspace_id AND o.campaign_id = c.campaign_id) h
            WHERE g.granted - k.closed_claims <> h.open",
    ),
    (
        "a fact that is not exactly once in the log",
        "SELECT l.campaign_id || ' ' || l.lead_no FROM leads l
            LEFT JOIN (SELECT workspace_id, campaign_id, lead_no, count(*) AS rows, bit_or(1::int8 << bit) AS mask
                FROM outcomes WHERE bit < 51 GROUP BY 1, 2, 3) o USING (workspace_id, campaign_id, lead_no)
            WHERE l.mask & ((1::int8 << 51) - 1) <> coalesce(o.mask, 0)
                OR bit_count((l.mask & ((1::int8 << 51) - 1))::bit(64)) <> coalesce(o.rows, 0)",
    ),
    (
        "an account that passed its daily limit",
        "SELECT a.name || ' ' || r.day FROM accounts a JOIN account_reservations r USING (workspace_id, account_id)
            GROUP BY a.workspace_id, a.account_id, r.day HAVING sum(r.reserved) > a.daily_limit",
    ),
    (
        "a campaign that passed its daily limit",
        "SELECT c.name || ' ' || r.day FROM campaigns c JOIN campaign_reservations r USING (workspace_id, campaign_id)
            GROUP BY c.workspace_id, c.campaign_id, r.day HAVING sum(r.reserved) > c.daily_limit",
    ),
];
