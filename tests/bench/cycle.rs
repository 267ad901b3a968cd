//! The whole life of a campaign: four senders claim a hundred, report a hundred, until it finishes by itself.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use campaign_metrics::pb::{self, CampaignState, OutcomeKind, sending_service_client::SendingServiceClient};
use futures::future::try_join_all;

use crate::{
    direct::count,
    events::{By, Order, events},
    ingest::streamed,
    load::Load,
    report::{Report, Target},
    stage::{Service, Stage},
};

const RUNS: usize = 2;
const SENDERS: usize = 4;
const LEADS: u32 = 1_000_000;
const BASELINE_LEADS: u32 = 400_000;
/// A million leads take half a minute; beyond this something is stuck.
const LIMIT: Duration = Duration::from_mins(5);

pub async fn measure(stage: &Stage, report: &mut Report) -> Result<()> {
    let (mut cycles, mut baseline, mut first, mut last) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for run in 0..RUNS {
        stage.progress.step(&format!("cycle, run {} of {RUNS}", run + 1));
        let in_order = events(1, 1, BASELINE_LEADS.cast_signed(), Order::Claimed);
        let load = Load::Claimed { campaigns: 1, leads: BASELINE_LEADS };
        baseline.push(streamed(stage, load, &in_order, By::SendKey).await?);
        let database = stage.database(Load::Pending { leads: LEADS }).await?;
        let service = stage.service(&database).await?;
        let (rate, tenths) = run_to_the_end(&service).await?;
        cycles.push(rate);
        first.push(tenths[0]);
        last.push(tenths[9]);
        service.stop().await?;
        database.remove().await?;
    }
    report.ratio("claim_report_cycle", "leads/s", &cycles, &baseline, Target::AtLeast(0.4));
    report.ratio("claim_report_cycle_last_tenth", "leads/s", &last, &first, Target::AtLeast(0.8));
    Ok(())
}

/// Returns leads a second of the whole, and of each tenth of the leads.
async fn run_to_the_end(service: &Service) -> Result<(f64, Vec<f64>)> {
    let start = Instant::now();
    let senders = (0..SENDERS).map(|number| async move {
        let mut sending = SendingServiceClient::new(service.channel().await?);
        let account = format!("workspaces/w1/accounts/a{}", number + 1);
        let mut done: Vec<(Duration, usize)> = Vec::new();
        loop {
            ensure!(start.elapsed() < LIMIT, "stuck after {LIMIT:?}");
            let request = pb::ClaimSendsRequest { account: account.clone(), max_claims: 100, ..Default::default() };
            let claims = sending.claim_sends(request).await?.into_inner().claims;
            if claims.is_empty() {
                return anyhow::Ok(done);
            }
            let outcomes: Vec<_> = claims
                .into_iter()
                .map(|claim| pb::Outcome {
                    send_key: claim.send_key,
                    kind: OutcomeKind::Delivered.into(),
                    ..Default::default()
                })
                .collect();
            let size = outcomes.len();
            let request = pb::ReportOutcomesRequest { parent: "workspaces/w1".into(), outcomes };
            let results = sending.report_outcomes(request).await?.into_inner().results;
            ensure!(results.iter().all(|result| result.verdict() == pb::OutcomeVerdict::Applied), "void");
            done.push((start.elapsed(), size));
        }
    });
    let mut done: Vec<(Duration, usize)> = try_join_all(senders).await?.into_iter().flatten().collect();
    done.sort_unstable();
    let request = pb::GetCampaignRequest { name: "workspaces/w1/campaigns/c1".into() };
    let campaign = service.campaigns().await?.get_campaign(request).await?.into_inner();
    ensure!(campaign.state() == CampaignState::Finished, "void: it has not finished");
    let all: usize = done.iter().map(|(_, size)| size).sum();
    let (mut tenths, mut sum, mut begun) = (Vec::new(), 0, Duration::ZERO);
    for (at, size) in &done {
        sum += size;
        if sum * 10 >= all * (tenths.len() + 1) {
            tenths.push(count(all) / 10.0 / at.saturating_sub(begun).as_secs_f64());
            begun = *at;
        }
    }
    let end = done.last().map_or(Duration::ZERO, |(at, _)| *at);
    Ok((count(all) / end.as_secs_f64(), tenths))
}
