//! Claims: against a queue by SKIP LOCKED, with many campaigns, and behind an old snapshot.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use campaign_metrics::pb::{self, sending_service_client::SendingServiceClient};
use futures::future::try_join_all;
use tonic::transport::Channel;

use crate::{
    direct::count,
    harness::postgres::connect,
    load::Load,
    report::{Report, Target},
    stage::{Database, Service, Stage},
};

const RUNS: usize = 5;
/// Leads of a claim.
const SIZE: i32 = 100;
const CLAIMERS: usize = 2;
const PENDING: u32 = 1_000_000;
const MANY: u32 = 10_000_000;
/// How long a run takes.
const RUN: Duration = Duration::from_secs(6);
const LONG_RUN: Duration = Duration::from_secs(40);

pub async fn measure(stage: &Stage, report: &mut Report) -> Result<()> {
    let (mut queue, mut one, mut twenty) = (Vec::new(), Vec::new(), Vec::new());
    for run in 0..RUNS {
        stage.progress.step(&format!("claims, run {} of {RUNS}", run + 1));
        let load = Load::Pending { leads: PENDING };
        let database = stage.database(load).await?;
        queue.push(skip_locked(&database).await?);
        database.remove().await?;
        one.push(claimed(stage, load, 2).await?);
        twenty.push(claimed(stage, Load::Twenty { leads: PENDING }, 1).await?);
    }
    report.ratio("claim_100", "leads/s", &one, &queue, Target::AtLeast(0.8));
    report.ratio("claim_100_20_campaigns", "leads/s", &twenty, &queue, Target::AtLeast(0.8));
    Ok(())
}

/// Two workers that claim from a table with a partial index, without any limit; returns leads a second.
async fn skip_locked(database: &Database) -> Result<f64> {
    let start = Instant::now();
    let workers = (0..CLAIMERS).map(|_| async {
        let mut sql = connect(&database.url).await?;
        let claim = "UPDATE queue SET state = 1, claimed_at = now() WHERE ctid = ANY (ARRAY(
                SELECT ctid FROM queue WHERE campaign = 1 AND state = 0 ORDER BY id LIMIT 100 FOR UPDATE SKIP LOCKED
            )) RETURNING id, lead_id";
        let claim = sql.prepare(claim).await?;
        let mut claimed = 0;
        while start.elapsed() < RUN {
            let txn = sql.transaction().await?;
            let rows = txn.query(&claim, &[]).await?;
            txn.commit().await?;
            claimed += rows.iter().map(|row| row.get::<_, String>(1)).filter(|lead| !lead.is_empty()).count();
            ensure!(!rows.is_empty(), "void: the queue ran dry");
        }
        anyhow::Ok(claimed)
    });
    let claimed: usize = try_join_all(workers).await?.into_iter().sum();
    Ok(count(claimed) / start.elapsed().as_secs_f64())
}

async fn claimed(stage: &Stage, load: Load, accounts: usize) -> Result<f64> {
    let database = stage.database(load).await?;
    let service = stage.service(&database).await?;
    let fifths = drain(&service, accounts, RUN).await?;
    service.stop().await?;
    database.remove().await?;
    Ok(fifths.iter().sum::<f64>() / count(fifths.len()))
}

/// Claims for some time; returns leads a second, of each fifth of it.
async fn drain(service: &Service, accounts: usize, time: Duration) -> Result<Vec<f64>> {
    let start = Instant::now();
    let claimers = (0..CLAIMERS).map(|number| async move {
        let mut sending = SendingServiceClient::new(service.channel().await?);
        let account = format!("workspaces/w1/accounts/a{}", number % accounts + 1);
        let mut fifths = vec![0_usize; 5];
        loop {
            let elapsed = start.elapsed();
            if elapsed >= time {
                return anyhow::Ok(fifths);
            }
            let claims = claim(&mut sending, &account).await?;
            ensure!(claims.len() == 100, "void: only {} leads were granted", claims.len());
            let fifth = elapsed.as_millis() * 5 / time.as_millis();
            fifths[usize::try_from(fifth)?] += claims.len();
        }
    });
    let all = try_join_all(claimers).await?;
    let fifth = time.as_secs_f64() / 5.0;
    Ok((0..5).map(|place| count(all.iter().map(|fifths| fifths[place]).sum()) / fifth).collect())
}

async fn claim(sending: &mut SendingServiceClient<Channel>, account: &str) -> Result<Vec<pb::Claim>> {
    let hold_duration = Some(prost_types::Duration { seconds: 3600, nanos: 0 });
    let request =
        pb::ClaimSendsRequest { account: account.to_owned(), max_claims: SIZE, hold_duration, ..Default::default() };
    Ok(sending.claim_sends(request).await?.into_inner().claims)
}

/// The last fifth of a long run against the first, while another session holds a snapshot from before it.
pub async fn measure_old_snapshot(stage: &Stage, report: &mut Report) -> Result<()> {
    let cases = [
        ("claim_100_old_snapshot", Load::Pending { leads: MANY }),
        ("claim_100_old_snapshot_follow_ups", Load::FollowUps { leads: MANY / 2 }),
        ("claim_100_old_snapshot_returned", Load::Returned { leads: MANY / 2 }),
    ];
    for (name, load) in cases {
        if !report.wants(name) {
            continue;
        }
        stage.progress.step(name);
        let database = stage.database(load).await?;
        let service = stage.service(&database).await?;
        let old = database.connect().await?;
        old.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM campaigns").await?;
        let fifths = drain(&service, 2, LONG_RUN).await?;
        stage.progress.say(&format!("  fifths: {fifths:.0?}"));
        old.batch_execute("COMMIT").await?;
        report.ratio(name, "leads/s", &fifths[4..], &fifths[..1], Target::AtLeast(0.8));
        drop(old);
        service.stop().await?;
        database.remove().await?;
    }
    Ok(())
}
