//! Ten thousand campaigns and ten thousand accounts as series: what two replicas serve, and what a Prometheus with the rules of
//! the chart needs to scrape them, within different bounds. docs/capacity.md has a run.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::{
    harness::{
        http,
        process::{Directory, GRACE},
        prometheus::Prometheus,
        wait::until,
    },
    load::Load,
    report::{Report, Target},
    scrape::scrapes,
    stage::{Database, Stage, resident_mib},
};

const CAMPAIGNS: u32 = 10_000;
/// Of each of the hundred workspaces.
const ACCOUNTS: u32 = 100;

/// Name, `--metrics-max-campaigns`, `--metrics-max-campaign-accounts`, and how many campaigns are then without series of their
/// own, and without those by account. Each campaign has two accounts.
pub const CASES: [(&str, u32, u32, u32, u32); 4] = [
    ("cardinality_default", 10_000, 1_000, 0, 9_500),
    ("cardinality_no_accounts", 10_000, 0, 0, 10_000),
    ("cardinality_all_accounts", 10_000, 20_000, 0, 0),
    ("cardinality_tenth", 1_000, 1_000, 9_000, 9_500),
];

/// Between two scrapes of Prometheus.
const INTERVAL: Duration = Duration::from_secs(15);
/// Of each replica, before its memory counts.
const SCRAPES: f64 = 4.0;
const SCRAPED_BY: Duration = Duration::from_mins(3);

pub async fn measure(stage: &Stage, report: &mut Report) -> Result<()> {
    stage.progress.step("cardinality: filling");
    let database = stage.database_once(Load::Fleet { campaigns: CAMPAIGNS, accounts: ACCOUNTS }).await?;
    for case in CASES {
        if report.wants(case.0) {
            one(stage, report, &database, case).await?;
        }
    }
    database.remove().await
}

async fn one(
    stage: &Stage,
    report: &mut Report,
    database: &Database,
    (name, campaigns, accounts, omitted, details_omitted): (&str, u32, u32, u32, u32),
) -> Result<()> {
    stage.progress.step(name);
    let (campaigns, accounts) = (campaigns.to_string(), accounts.to_string());
    let bounds = ["--metrics-max-campaigns", &campaigns, "--metrics-max-campaign-accounts", &accounts];
    let replicas = [stage.service_with(database, &bounds).await?, stage.service_with(database, &bounds).await?];
    let scrapes = scrapes(&replicas[0]).await?;
    for (metric, number) in [("campaigns_omitted", omitted), ("campaign_details_omitted", details_omitted)] {
        let line = format!("campaign_metrics_{metric} {number}\n");
        let lines = || scrapes.text.lines().filter(|line| line.contains("omitted")).collect::<Vec<_>>();
        ensure!(scrapes.text.contains(&line), "void: not {line:?}: {:?}", lines());
    }
    scrapes.report(report, name);

    let urls = replicas.iter().map(|replica| replica.admin_url.clone()).collect();
    let directory = stage.file(name);
    std::fs::create_dir_all(&directory)?;
    let jobs = [("campaign-metrics", urls)];
    let mut prometheus = Prometheus::start(&directory, &jobs, INTERVAL, Directory::Remove).await?;
    until("enough scrapes", SCRAPED_BY, async || {
        let times = prometheus.query("count_over_time(up[1h])").await?;
        let enough = times.len() == replicas.len() && times.iter().all(|sample| sample.value >= SCRAPES);
        ensure!(enough, "{times:?}");
        Ok(())
    })
    .await?;
    let failed = prometheus.query("min_over_time(up[1h]) == 0").await?;
    ensure!(failed.is_empty(), "void: scrapes failed: {failed:?}");
    let mut value = |what: &str, unit, value: f64| {
        report.value(&format!("{name}_{what}"), unit, &[value], Target::None);
    };
    let longest = prometheus.query("max(max_over_time(scrape_duration_seconds[1h]))").await?;
    value("scrape_of_two_ms", "ms", longest.first().map_or(f64::NAN, |sample| sample.value * 1000.0));
    let (_, own) = http::get(&format!("{}/metrics", prometheus.url)).await?;
    value("prometheus_series", "series", sum(&own, "prometheus_tsdb_head_series"));
    value("prometheus_rules_ms", "ms", sum(&own, "prometheus_rule_group_last_duration_seconds") * 1000.0);
    value("prometheus_mib", "MiB", resident_mib(prometheus.process.pid())?);
    prometheus.process.stop(GRACE).await?;
    let [first, second] = replicas;
    value("service_mib", "MiB", first.resident_mib()?.max(second.resident_mib()?));
    first.stop().await?;
    second.stop().await
}

/// The sum of the series of a metric.
fn sum(text: &str, metric: &str) -> f64 {
    let series = text.lines().filter(|line| line.split(['{', ' ']).next() == Some(metric));
    series.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}
