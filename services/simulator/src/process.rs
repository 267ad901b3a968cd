//! Runs the simulator as a process: log on stderr, summary on stdout, and signals that stop it.

use std::{
    io::{IsTerminal as _, stderr},
    process::ExitCode,
};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::args::Options;

/// Plays until the end or a signal, and prints the summary. A second signal aborts.
pub async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let log = tracing_subscriber::fmt().with_writer(stderr).with_ansi(stderr().is_terminal());
    log.with_target(false).init();
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let shutdown = CancellationToken::new();
    let output = options.output;
    let mut playing = std::pin::pin!(crate::run(options, shutdown.clone()));
    let summary = loop {
        tokio::select! {
            summary = &mut playing => break summary?,
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
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
