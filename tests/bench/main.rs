//! The benchmark: the product's promises about speed, as ratios to baselines of the same run.
//!
//! It starts a Postgres of its own with durable defaults and the released service as a process, talks gRPC over real
//! sockets, repeats each case interleaved with its baseline, prints a table and writes `target/bench.json`. A run that
//! applies fewer outcomes than were generated is void. `make bench CASE=claim` runs the cases with that prefix.

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

mod answers;
mod capacity;
mod cardinality;
mod claims;
mod cycle;
mod direct;
mod events;
#[path = "../harness/mod.rs"]
mod harness;
mod import;
mod ingest;
mod leads;
mod load;
mod naive;
mod reads;
mod report;
mod scrape;
mod stage;
mod sustained;

use report::{Progress, Report, is_wanted};
use stage::Stage;

/// Measures the service against baselines on this machine.
#[derive(Debug, Parser)]
struct Arguments {
    /// Runs only the cases whose names begin so, several with commas; by default all but those of
    /// capacity, cardinality and import.
    #[arg(long, value_delimiter = ',')]
    case: Vec<String>,
    /// Given by `cargo bench`; without meaning here.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What runs together, the minutes that it takes on two processors, and the cases that it yields.
const GROUPS: [(&str, u64, &[&str]); 10] = [
    (
        "ingest",
        6,
        &[
            "ingest_stream_sender_order",
            "ingest_stream_random",
            "ingest_stream_by_lead_id",
            "ingest_floor",
            "ingest_with_history",
            "ingest_unary",
            "ingest_unary_vs_naive",
            "ingest_many_workspaces",
        ],
    ),
    ("claims", 5, &["claim_100"]),
    ("old_snapshot", 9, &["claim_100_old_snapshot"]),
    ("cycle", 3, &["claim_report_cycle"]),
    ("reads", 9, &["get_campaign_10m", "diagnose", "compare_20", "history_90d", "metrics_scrape_10k"]),
    ("leads", 3, &["leads_page", "export"]),
    ("sustained", 20, &["sustained", "memory"]),
    ("cardinality", 8, &["cardinality"]),
    ("capacity", 20, &["capacity"]),
    ("import", 10, &["import", "import_memory"]),
];

/// Groups that run only when they are asked for: they promise nothing, or take long.
const ON_REQUEST: [&str; 3] = ["cardinality", "capacity", "import"];

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let result = runtime.map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(run(&arguments.case)));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(case: &[String]) -> Result<()> {
    let case: Vec<String> = case.iter().filter(|case| !case.is_empty()).cloned().collect();
    let wanted = |cases: &[&str]| cases.iter().any(|name| is_wanted(name, &case));
    let is_left_out = |group: &str| case.is_empty() && ON_REQUEST.contains(&group);
    let groups = || GROUPS.iter().filter(|(group, _, cases)| wanted(cases) && !is_left_out(group));
    anyhow::ensure!(
        groups().next().is_some(),
        "no case begins with `{}`; there are: {}",
        case.join("`, `"),
        GROUPS.iter().flat_map(|(_, _, cases)| cases.iter().copied()).collect::<Vec<_>>().join(", ")
    );
    let progress = Progress::new(groups().map(|(_, minutes, _)| minutes).sum());
    let stage = Stage::start(progress.clone()).await?;
    let mut report = Report::new(&case, progress.clone());
    let mut failed = Vec::new();
    for (group, minutes, _) in groups() {
        let measured = match *group {
            "ingest" => ingest::measure(&stage, &mut report).await,
            "claims" => claims::measure(&stage, &mut report).await,
            "cycle" => cycle::measure(&stage, &mut report).await,
            "old_snapshot" => claims::measure_old_snapshot(&stage, &mut report).await,
            "reads" => reads::measure(&stage, &mut report).await,
            "leads" => leads::measure(&stage, &mut report).await,
            "cardinality" => cardinality::measure(&stage, &mut report).await,
            "import" => import::measure(&stage, &mut report).await,
            "capacity" => capacity::measure(&stage, &mut report).await,
            _ => sustained::measure(&stage, &mut report).await,
        };
        // The results of the other cases are kept.
        if let Err(error) = measured {
            progress.say(&format!("{group}: {error:#}"));
            failed.push(*group);
        }
        progress.done(*minutes);
    }
    stage.stop().await?;
    report.finish()?;
    anyhow::ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    Ok(())
}
