//! Answers from history beside ingest: diagnosis, comparison and history of campaigns whose hundred accounts sent on each
//! of ninety days.

use std::time::Duration;

use anyhow::Result;
use campaign_metrics::pb::{
    CompareCampaignsRequest, DiagnoseCampaignRequest, QueryCampaignHistoryRequest,
    performance_service_client::PerformanceServiceClient,
};
use hdrhistogram::Histogram;
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use crate::{
    harness::postgres::Connection,
    load::add_campaigns,
    reads::p99,
    report::{Report, Target},
    stage::Service,
};

/// The cases, in the order in which calls take turns.
pub const CASES: [&str; 3] = ["diagnose", "compare_20", "history_90d"];
/// Campaigns that are compared, the one with many leads among them.
const COMPARED: u32 = 20;
/// Samples of each case.
const SAMPLES: u64 = 200;
/// Calls a second, of all kinds together: few, because people and controllers ask, not senders.
const CALL_RATE: f64 = 6.0;

/// Adds campaigns, accounts, and a past of ninety days in which each account sent for each campaign.
pub async fn fill(sql: &Connection) -> Result<()> {
    add_campaigns(sql, 1, COMPARED - 2, 1000).await?;
    sql.batch_execute(
        "INSERT INTO accounts (workspace_id, name, uid, display_name, state, daily_limit, time_zone, created_at, updated_at, revision)
        SELECT 1, 'a' || i, gen_random_uuid(), '', 1, 1000000000, 'UTC', now(), now(), 1 FROM generate_series(5, 100) i;
        INSERT INTO campaign_accounts (workspace_id, campaign_id, account_id)
        SELECT 1, campaign_id, account_id FROM campaigns, accounts ON CONFLICT DO NOTHING;
        INSERT INTO history SELECT 1, campaign_id, account_id, current_date - i,
            90 + (campaign_id * 7 + account_id * 3 + i) % 11, (account_id + i) % 3, i % 2, 0, 0, 1, 0, (campaign_id + i) % 2, 0, 0, 0, 90,
            array_fill(0, ARRAY[8]) || (3 + campaign_id % 3) || array_fill(0, ARRAY[22]), array_fill(0, ARRAY[31])
        FROM campaigns, accounts, generate_series(1, 90) i;
        INSERT INTO history SELECT 1, campaign_id, all_accounts(), day, sum(delivered), sum(failed_account_issue), sum(failed_invalid_lead),
            0, 0, sum(failed_other), 0, sum(bounced_invalid_lead), 0, 0, 0, sum(contacted),
            array_fill(0, ARRAY[8]) || sum(replied[9])::int4 || array_fill(0, ARRAY[22]), array_fill(0, ARRAY[31])
        FROM history WHERE campaign_id <> all_campaigns() AND day < current_date GROUP BY campaign_id, day;
        INSERT INTO history SELECT 1, all_campaigns(), account_id, day, sum(delivered), sum(failed_account_issue), sum(failed_invalid_lead),
            0, 0, sum(failed_other), 0, sum(bounced_invalid_lead), 0, 0, 0, sum(contacted),
            array_fill(0, ARRAY[8]) || sum(replied[9])::int4 || array_fill(0, ARRAY[22]), array_fill(0, ARRAY[31])
        FROM history WHERE campaign_id <> all_campaigns() AND account_id <> all_accounts() AND day < current_date
        GROUP BY account_id, day;
        ANALYZE",
    )
    .await?;
    Ok(())
}

/// Adds the latencies of each case to the report, and their ratio to that of reading one campaign.
pub fn report(report: &mut Report, answers: &[Histogram<u64>], campaign: &Histogram<u64>) {
    for (name, latencies) in CASES.iter().zip(answers) {
        report.value(name, "ms p99", &[p99(latencies)], Target::AtMost(20.0));
        report.ratio(&format!("{name}_vs_get"), "ms p99", &[p99(latencies)], &[p99(campaign)], Target::AtMost(3.0));
    }
}

/// Calls in turn at fixed times, whether or not the previous call was answered. Returns latencies in microseconds from
/// these times.
pub async fn sampled(service: &Service, stop: CancellationToken) -> Result<Vec<Histogram<u64>>> {
    let _stop = stop.drop_guard();
    let client = PerformanceServiceClient::new(service.channel().await?);
    let mut ticks = interval(Duration::from_secs_f64(1.0 / CALL_RATE));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut calls: JoinSet<Result<(usize, u64)>> = JoinSet::new();
    for _ in 0..SAMPLES {
        for case in 0..CASES.len() {
            let due = ticks.tick().await;
            let client = client.clone();
            calls.spawn(async move {
                ask(client, case).await?;
                Ok((case, u64::try_from(due.elapsed().as_micros())?))
            });
        }
    }
    let mut histograms = vec![Histogram::<u64>::new(3)?; CASES.len()];
    while let Some(call) = calls.join_next().await {
        let (case, latency) = call??;
        histograms[case].record(latency)?;
    }
    Ok(histograms)
}

async fn ask(mut client: PerformanceServiceClient<Channel>, case: usize) -> Result<()> {
    let campaign = |number: u32| format!("workspaces/w1/campaigns/c{number}");
    match CASES[case] {
        "diagnose" => drop(client.diagnose_campaign(DiagnoseCampaignRequest { name: campaign(1) }).await?),
        "compare_20" => {
            let campaigns = (1..=COMPARED).map(campaign).collect();
            let request = CompareCampaignsRequest { parent: "workspaces/w1".into(), campaigns, age_days: 7 };
            drop(client.compare_campaigns(request).await?);
        }
        _ => {
            let today = jiff::Zoned::now().with_time_zone(jiff::tz::TimeZone::UTC).date();
            let first_day = (today - jiff::ToSpan::days(89)).to_string();
            let request = QueryCampaignHistoryRequest { name: campaign(1), first_day, ..Default::default() };
            drop(client.query_campaign_history(request).await?);
        }
    }
    Ok(())
}
