//! Parses the arguments, plays, and turns the result into an exit code.

use std::process::ExitCode;

use campaign_simulator::{args::Options, process};
use clap::Parser as _;

#[tokio::main]
async fn main() -> ExitCode {
    process::run(Options::parse()).await.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
