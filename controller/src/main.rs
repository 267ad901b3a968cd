//! Entry point of `campaign-controller`: parses the command line, and runs the library until a signal.

use anyhow::{Context as _, bail, ensure};
use campaign_controller::{args, crd, kubernetes, run};
use clap::Parser as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args::Command::Run(args) = args::Cli::parse().command else {
        print!("{}", crd::yaml()?);
        return Ok(());
    };
    args.log_format.init();
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let provider = rustls::crypto::ring::default_provider().install_default();
    ensure!(provider.is_ok(), "another TLS provider is installed");
    let admin = tokio::net::TcpListener::bind(args.admin_listen).await;
    let admin = admin.with_context(|| format!("can't listen on --admin-listen {}", args.admin_listen))?;
    println!("listening admin={}", admin.local_addr()?);
    let shutdown = CancellationToken::new();
    let running = run(args.options(), kubernetes().await?, admin, shutdown.clone());
    let mut running = std::pin::pin!(running);
    tokio::select! { ended = &mut running => return ended, _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
    tracing::info!("shutting down; a second signal aborts");
    shutdown.cancel();
    tokio::select! { ended = running => return ended, _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
    bail!("aborted by a second signal")
}
