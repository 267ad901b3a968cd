//! Leads of a large campaign: pages far behind the first, and the export as CSV.

use std::{path::Path, time::Instant};

use anyhow::{Context as _, Result, ensure};
use campaign_metrics::pb::{self, LeadStatus, lead_service_client::LeadServiceClient};
use campaignctl::args::Args;
use clap::Parser as _;
use hdrhistogram::Histogram;
use tokio::process::Command;
use tonic::transport::Channel;

use crate::{
    direct::count,
    harness::{parts::part, run::run},
    load::Load,
    reads::p99,
    report::{Report, Target},
    stage::{Database, Service, Stage},
};

/// Half of them are partial: the page 10 000 of the partial ones begins at lead 2 000 000.
const LEADS: u32 = 2_100_000;
const PAGE: i32 = 100;
/// Leads before the page 10 000.
const BEFORE: u32 = 999_900;
/// Calls of each page.
const CALLS: usize = 3_000;
const EXPORTS: usize = 5;

/// What psql copies: the columns of the export, by the functions that the service has in Rust.
const COPY: &str = r"\copy (
    SELECT 'workspaces/w1/campaigns/c1/leads/' || i.lead_id, 'workspaces/w1/accounts/' || a.name,
        CASE lead_status(l.mask, 2) WHEN 1 THEN 'PENDING' WHEN 2 THEN 'PARTIAL' WHEN 3 THEN 'SENT' ELSE 'FAILED' END,
        step_result(l.mask, 0) || ';' || step_result(l.mask, 1), has_fact(l.mask, 48), has_fact(l.mask, 49),
        has_fact(l.mask, 50), has_fact(l.mask, 51), l.last_action_at, lead_next_step(l.mask, 2), NULL, NULL
    FROM leads l JOIN lead_ids i USING (workspace_id, campaign_id, lead_no)
    LEFT JOIN accounts a ON a.workspace_id = l.workspace_id AND a.account_id = l.account_id
    WHERE l.workspace_id = 1 AND l.campaign_id = 1 ORDER BY l.lead_no
) TO 'FILE' CSV HEADER";

pub async fn measure(stage: &Stage, report: &mut Report) -> Result<()> {
    let database = stage.database(Load::Told { leads: LEADS }).await?;
    let service = stage.service(&database).await?;
    if report.wants("leads_page") {
        stage.progress.step("leads_page");
        pages(&service, report).await?;
    }
    if report.wants("export") {
        stage.progress.step("export");
        export(stage, &database, &service, report).await?;
    }
    service.stop().await?;
    database.remove().await
}

async fn pages(service: &Service, report: &mut Report) -> Result<()> {
    let mut client = LeadServiceClient::new(service.channel().await?);
    let parent = "workspaces/w1/campaigns/c1".to_owned();
    let any = pb::ListLeadsRequest { parent, page_size: PAGE, ..Default::default() };
    let partial = pb::ListLeadsRequest {
        status: LeadStatus::Partial.into(),
        account: "workspaces/w1/accounts/a2".to_owned(),
        ..any.clone()
    };
    for (name, first) in [("leads_page", any), ("leads_page_filtered", partial)] {
        let far = pb::ListLeadsRequest { page_token: token(&mut client, &first).await?, ..first.clone() };
        let mut latencies = [Histogram::<u64>::new(3)?, Histogram::<u64>::new(3)?];
        for call in 0..CALLS * 2 {
            let request = if call % 2 == 0 { &first } else { &far };
            let start = Instant::now();
            let page = client.list_leads(request.clone()).await?.into_inner();
            latencies[call % 2].record(u64::try_from(start.elapsed().as_micros())?)?;
            ensure!(page.leads.len() == usize::try_from(PAGE)?, "void: a page has {} leads", page.leads.len());
        }
        let [first, far] = latencies.map(|latencies| p99(&latencies));
        report.ratio(name, "ms p99", &[far], &[first], Target::AtMost(1.3));
    }
    Ok(())
}

/// Walks to the page 10 000 in the largest pages.
async fn token(client: &mut LeadServiceClient<Channel>, first: &pb::ListLeadsRequest) -> Result<String> {
    let (mut read, mut page_token) = (0, String::new());
    while read < BEFORE {
        let page_size = i32::try_from((BEFORE - read).min(1000))?;
        let request = pb::ListLeadsRequest { page_size, page_token, ..first.clone() };
        let page = client.list_leads(request).await?.into_inner();
        ensure!(!page.next_page_token.is_empty(), "void: the list ends before its page 10 000");
        read += u32::try_from(page.leads.len())?;
        page_token = page.next_page_token;
    }
    Ok(page_token)
}

async fn export(stage: &Stage, database: &Database, service: &Service, report: &mut Report) -> Result<()> {
    let (ours, theirs) = (stage.file("export.csv"), stage.file("copy.csv"));
    let (mut exported, mut copied) = (Vec::new(), Vec::new());
    // The first pair warms the caches.
    for round in 0..=EXPORTS {
        let start = Instant::now();
        let file = ours.to_str().context("a path of the benchmark")?;
        let arguments = ["campaignctl", "--server", &service.url, "-w", "w1", "leads", "export", "c1", "--file", file];
        campaignctl::run(Args::try_parse_from(arguments)?).await?;
        let elapsed = start.elapsed();
        let rate = rows(&ours)? / elapsed.as_secs_f64();
        let start = Instant::now();
        let mut psql = Command::new(part("pg_dump")?.with_file_name("psql"));
        psql.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", &database.url]);
        let file = theirs.to_str().context("a path of the benchmark")?;
        run(psql, &COPY.replace('\n', " ").replace("FILE", file)).await?.success()?;
        let elapsed = start.elapsed();
        let base = rows(&theirs)? / elapsed.as_secs_f64();
        if round > 0 {
            exported.push(rate);
            copied.push(base);
        }
    }
    report.ratio("export", "leads/s", &exported, &copied, Target::AtLeast(0.5));
    Ok(())
}

/// Counts the rows of a file, which has all leads.
fn rows(file: &Path) -> Result<f64> {
    let lines = std::fs::read_to_string(file)?.lines().count();
    ensure!(lines == usize::try_from(LEADS)? + 1, "void: {} has {lines} lines", file.display());
    Ok(count(lines - 1))
}
