//! Plays until done or told to stop, and prints the summary.

use std::{
    io::{IsTerminal as _, stderr},
    process::ExitCode,
};

use campaign_simulator::{args::Options, run};
use clap::Parser as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> ExitCode {
    let result = play(Options::parse()).await;
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

async fn play(options: Options) -> anyhow::Result<ExitCode> {
    let log = tracing_subscriber::fmt()
        .with_writer(stderr)
        .with_ansi(stderr().is_terminal());
    log.with_target(false).init();
    let shutdown = CancellationToken::new();
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let output = options.output;
    let mut playing = std::pin::pin!(run(options, shutdown.clone()));
    let summary = loop {
        tokio::select! {
            summary = &mut playing => break summary?,
            _ = interrupt.recv() => {}, _ = terminate.recv() => {}
        }
        if shutdown.is_cancelled() {
            eprintln!("aborted: claims may be held until they expire, and outcomes may be unreported");
            return Ok(ExitCode::FAILURE);
        }
        eprintln!("stopping: releasing claims and reporting outcomes; a second signal aborts");
        shutdown.cancel();
    };
    println!("{}", summary.render(output)?);
    Ok(ExitCode::SUCCESS)
}
