//! The command line of the service.

use std::{io::IsTerminal as _, net::SocketAddr, process::ExitCode};

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand, ValueEnum};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;

use crate::{
    clock::Clock,
    serve::{Listeners, Options, run},
    store::migrate,
};

/// Serves campaigns, accounts, leads, claims and outcomes over gRPC, from Postgres.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Example:\n  campaign-metrics-service serve --insecure --database-url postgres://localhost/campaigns"
)]
pub struct Cli {
    /// How log lines look; they go to standard error. RUST_LOG filters them (default `info`).
    #[arg(long, global = true, value_enum, default_value = "human")]
    log_format: LogFormat,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogFormat {
    /// For people.
    Human,
    /// One JSON object a line, for log collectors.
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until SIGTERM or SIGINT, then drain; a second signal aborts. Migrates the database first.
    Serve(Serve),
    /// Bring the database's schema up to date and exit.
    Migrate(Database),
}

#[derive(Debug, Args)]
struct Database {
    /// Postgres 15 or later, as a URL or a `key=value` string. May carry a password: prefer the environment.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: String,
}

#[derive(Debug, Args)]
struct Serve {
    #[command(flatten)]
    database: Database,
    /// Address for gRPC; port 0 takes a free one, told on standard output.
    #[arg(long, default_value = "127.0.0.1:50051")]
    listen: SocketAddr,
    /// Address for /livez, /readyz and /metrics.
    #[arg(long, default_value = "127.0.0.1:9464")]
    admin_listen: SocketAddr,
    /// Serve everyone who can reach the port. Required: this version can't authenticate callers yet.
    #[arg(long)]
    insecure: bool,
    /// Connections to the database at most, 1 or more.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..))]
    pool_size: u16,
    /// Campaigns with metrics of their own at most: active ones first, then the most recently changed.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(i64).range(1..))]
    metrics_max_campaigns: i64,
}

impl Cli {
    /// Runs the command; an error is printed with its causes.
    pub async fn run(self) -> ExitCode {
        self.start_logging();
        let result = match self.command {
            Command::Serve(serve) => serve.run().await,
            Command::Migrate(database) => match Options::new(&database.database_url) {
                Ok(options) => migrate(&options.database).await,
                Err(error) => Err(error),
            },
        };
        match result {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("error: {error:#}");
                ExitCode::FAILURE
            }
        }
    }

    fn start_logging(&self) {
        let filter = tracing_subscriber::EnvFilter::try_from_default_env()
            .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info,refinery_core=warn"));
        let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
        match self.log_format {
            LogFormat::Human => logs.with_ansi(std::io::stderr().is_terminal()).init(),
            LogFormat::Json => logs.json().init(),
        }
    }
}

impl Serve {
    async fn run(self) -> anyhow::Result<()> {
        anyhow::ensure!(
            self.insecure,
            "this version can't authenticate callers; add --insecure to serve everyone who can reach {}",
            self.listen
        );
        let mut options = Options::new(&self.database.database_url)?;
        options.pool_size = self.pool_size.into();
        options.metrics_campaigns_max = self.metrics_max_campaigns;
        let bind = async |address: SocketAddr| {
            TcpListener::bind(address).await.with_context(|| format!("listening on {address}"))
        };
        let listeners = Listeners { grpc: bind(self.listen).await?, admin: bind(self.admin_listen).await? };
        println!("listening grpc={} admin={}", listeners.grpc.local_addr()?, listeners.admin.local_addr()?);
        let shutdown = CancellationToken::new();
        let serving = run(options, listeners, Clock::system(), shutdown.clone());
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let mut signals = async || {
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        };
        tokio::pin!(serving);
        tokio::select! {
            result = &mut serving => return result,
            () = signals() => shutdown.cancel(),
        }
        tokio::select! {
            result = &mut serving => result,
            () = signals() => anyhow::bail!("aborted by a second signal"),
        }
    }
}
