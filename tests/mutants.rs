//! Mutation testing: makes small mistakes in the code, one at a time, and reports those that no test notices.
//!
//! cargo-mutants lists mutants of Rust code, our own list those of SQL. All Rust mutants are compiled at once, each
//! behind a switch. SQL mutants overwrite the text in a copy of the built binaries. So the workspace is built once, and
//! a mutant costs only the tests that cover it. Results are kept in `target/mutants/results.jsonl` and not run again;
//! `target/mutants/report.md` names every missed mutant. docs/testing.md describes how to use it.

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

#[path = "mutants/binaries.rs"]
mod binaries;
#[path = "mutants/coverage.rs"]
mod coverage;
#[path = "mutants/generate.rs"]
mod generate;
mod harness;
#[path = "mutants/mutant.rs"]
mod mutant;
#[path = "mutants/results.rs"]
mod results;
#[path = "mutants/run.rs"]
mod run;
#[path = "mutants/schema.rs"]
mod schema;
#[path = "mutants/select.rs"]
mod select;
#[path = "mutants/session.rs"]
mod session;
#[path = "mutants/sites.rs"]
mod sites;
#[path = "mutants/sql.rs"]
mod sql;
#[path = "mutants/sql_text.rs"]
mod sql_text;
#[path = "mutants/sql_tokens.rs"]
mod sql_tokens;
#[path = "mutants/swaps.rs"]
mod swaps;
#[path = "mutants/switch.rs"]
mod switch;
#[path = "mutants/tree.rs"]
mod tree;

/// Puts mistakes into the code and reports which of them the tests let through.
#[derive(Debug, Clone, Parser)]
pub struct Args {
    /// Workers; each runs one mutant at a time [default: half of the processors].
    #[arg(long, env = "JOBS")]
    jobs: Option<usize>,
    /// Mutants outside of `proto/` that are drawn, evenly over files and without those that don't compile; or `all`.
    #[arg(long, env = "SAMPLE", default_value = "150")]
    sample: String,
    /// What the draw is made from.
    #[arg(long, env = "SEED", default_value_t = 16)]
    seed: u64,
    /// Only files that match one of these patterns, separated by blanks; `*` is any text.
    #[arg(long, env = "FILES", default_value = "")]
    files: String,
    /// Only lines that changed: in the working tree, or in the last commit where the working tree is clean. 1 is yes.
    #[arg(long, env = "CHANGED", default_value = "")]
    changed: String,
    /// Begin no further mutant after so many seconds.
    #[arg(long, env = "SECONDS_MAX")]
    seconds_max: Option<u64>,
    /// Run mutants again whose outcome was this: `missed`, `timeout`, `caught` or `unviable`.
    #[arg(long, env = "RETRY", default_value = "")]
    retry: String,
    /// Print what would run, and run nothing.
    #[arg(long)]
    list: bool,
    /// Write the report from what is known, and run nothing.
    #[arg(long)]
    report: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    match begin(&Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mutants: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn begin(args: &Args) -> Result<()> {
    session::run(args).await
}
