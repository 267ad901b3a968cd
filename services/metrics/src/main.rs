//! The binary of the service. The library has all of its code.

use std::process::ExitCode;

use campaign_metrics_service::args::Cli;
use clap::Parser as _;

/// docs/decisions/0018-static-images.md says what it gains.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    Cli::parse().run().await
}
