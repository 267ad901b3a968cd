//! The service's binary; see the library for everything.

use std::process::ExitCode;

use campaign_metrics_service::args::Cli;
use clap::Parser as _;

#[tokio::main]
async fn main() -> ExitCode {
    Cli::parse().run().await
}
