//! Entry point of `campaign-controller`: parses the command line, and runs the library until a signal.

use anyhow::{Context as _, bail, ensure};
use campaign_controller::{args, crd, kubernetes, run, uninstall};
use clap::Parser as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let provider = rustls::crypto::ring::default_provider().install_default();
    ensure!(provider.is_ok(), "another TLS provider is installed");
    let args = match args::Cli::parse().command {
        args::Command::Run(args) => args,
        args::Command::Crd => {
            print!("{}", crd::yaml()?);
            return Ok(());
        }
        args::Command::RemoveFinalizers(args) => {
            let removed = uninstall::remove_finalizers(kubernetes().await?, args.namespace.as_deref()).await?;
            println!("removed {removed} finalizers");
            return Ok(());
        }
    };
    args.log_format.init();
    tracing::info!(version = campaign_metrics::VERSION, service = args.service, "starting");
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
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
