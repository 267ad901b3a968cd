//! Simulations of the statistics: how often each rule names a wrong campaign, and whether the promises of a comparison hold.
//!
//! `make simulate` prints the tables of docs/decisions/0014-answers-by-statistics.md and of
//! docs/decisions/0016-findings-that-matter.md for a seed. `cargo test` runs the same code on fewer campaigns. Nothing
//! here starts a service: it draws counts and asks `campaign_metrics::statistics` and `campaign_metrics::diagnosis`.

use std::{process::ExitCode, time::Instant};

use clap::Parser;

#[path = "simulate/campaigns.rs"]
mod campaigns;
#[path = "simulate/draw.rs"]
mod draw;
#[path = "simulate/faults.rs"]
mod faults;
#[path = "simulate/findings.rs"]
mod findings;
#[path = "simulate/rules.rs"]
mod rules;
#[path = "simulate/tables.rs"]
mod tables;

/// Simulates campaigns and prints how often each rule is wrong.
#[derive(Debug, Clone, Copy, Parser)]
pub struct Args {
    /// What all draws are made from; the same seed prints the same tables.
    #[arg(long, env = "SEED", default_value_t = 18)]
    seed: u64,
    /// Pairs of campaigns a row.
    #[arg(long, env = "PAIRS", default_value_t = 10_000)]
    pairs: u32,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let started = Instant::now();
    println!("seed {}, {} pairs a row, 30 days with a look after each\n", args.seed, args.pairs);
    for table in [tables::wrong, tables::right, tables::needed, tables::others, findings::faults, findings::healthy] {
        println!("{}", table(args));
    }
    eprintln!("took {:.0} s", started.elapsed().as_secs_f64());
    ExitCode::SUCCESS
}
