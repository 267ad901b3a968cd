//! The command line of the service.

use std::{io::IsTerminal as _, net::SocketAddr, process::ExitCode};

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::{EnvFilter, Layer as _, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::{
    clock::Clock,
    serve::{Listeners, Options, run},
    store::{Store, VerifyMode, migrate},
    telemetry::Telemetry,
    trace::{self, Exporter},
};

/// Serves campaigns, accounts, leads, claims and outcomes over gRPC, from Postgres.
#[derive(Debug, Parser)]
#[command(
    version = campaign_metrics::VERSION,
    after_help = "Example:\n  campaign-metrics-service serve --insecure --database-url postgres://localhost/campaigns"
)]
pub struct Cli {
    /// Format of the log, on standard error. RUST_LOG filters it (default `info`).
    #[arg(long, global = true, value_enum, default_value = "human")]
    log_format: LogFormat,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogFormat {
    /// Lines for people.
    Human,
    /// One JSON object on each line, for log collectors.
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Migrate the database, if it needs it, and serve until SIGTERM or SIGINT, then drain. A second signal aborts.
    ///
    /// A role that may not migrate waits until `migrate` has run.
    Serve(Serve),
    /// Migrate the database to the latest schema and exit.
    Migrate(Database),
    /// Print the SQL that creates the three database roles: owner, service, reader.
    ///
    /// An administrator runs it once in the database of the service, with psql. It can run again, and before or after the
    /// first migration. Without it one role that owns the database does everything.
    Roles,
    /// Recount every campaign and the days of every account from facts, while the service runs.
    ///
    /// Prints each number that differs, and exits with 1 if there are any. The result is also a metric of the service.
    Verify(Verify),
}

#[derive(Debug, Args)]
struct Verify {
    #[command(flatten)]
    database: Database,
    /// Repair the numbers that differ, while the service runs. It recounts without holding a lock, and adds what is
    /// missing to the present numbers.
    #[arg(long)]
    repair: bool,
}

#[derive(Debug, Args)]
struct Database {
    /// Postgres 15 or later, as a URL or a `key=value` string. It may contain a password, so prefer the environment. Encrypt
    /// with `sslmode=verify-full&sslrootcert=FILE`; the modes are those of libpq.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: String,
}

#[derive(Debug, Args)]
struct Serve {
    #[command(flatten)]
    database: Database,
    /// Address for gRPC. Port 0 chooses a free port, which is printed on standard output.
    #[arg(long, default_value = "127.0.0.1:50051")]
    listen: SocketAddr,
    /// Address for /livez, /readyz and /metrics.
    #[arg(long, default_value = "127.0.0.1:9464")]
    admin_listen: SocketAddr,
    /// Serve without authentication. Required, since this version can't authenticate callers yet.
    #[arg(long)]
    insecure: bool,
    /// Maximum number of database connections, 5 or more, and one more for the readiness probe. Half of them are reserved
    /// for claims and outcomes. Of the others, a scrape uses two, and imports and exports at most half.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(5..))]
    pool_size: u16,
    /// Days for which outcomes are kept in the log, 31 or more. Older outcomes are dropped by whole months. No count
    /// changes. Default: forever.
    #[arg(long, value_name = "DAYS", env = "OUTCOME_RETENTION", value_parser = clap::value_parser!(u32).range(31..))]
    outcome_retention: Option<u32>,
    /// Maximum number of campaigns with metrics of their own: active campaigns first, then the most recently changed
    /// ones.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(i64).range(1..))]
    metrics_max_campaigns: i64,
    /// Maximum number of accounts with metrics of their own: active accounts first, then the most recently changed ones. 0
    /// leaves them out.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(i64).range(0..))]
    metrics_max_accounts: i64,
    /// Maximum number of accounts of active campaigns with metrics by account: those of the campaigns that changed most
    /// recently. These campaigns also have metrics at equal age. 0 leaves them out.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(i64).range(0..))]
    metrics_max_campaign_accounts: i64,
    /// Collector of traces that receives OTLP over gRPC, as http://HOST:PORT. Default: no traces.
    #[arg(long, value_name = "URL", env = "OTEL_EXPORTER_OTLP_ENDPOINT")]
    otlp_endpoint: Option<String>,
}

impl Cli {
    /// Runs the command. An error is printed with its causes.
    pub async fn run(self) -> ExitCode {
        let exporter = match self.start_logging() {
            Ok(exporter) => exporter,
            Err(error) => {
                eprintln!("error: {error:#}");
                return ExitCode::FAILURE;
            }
        };
        let result = match self.command {
            Command::Serve(serve) => serve.run().await,
            Command::Verify(verify) => match verify.run().await {
                Ok(0) => Ok(()),
                // The differences were printed already.
                Ok(_) => return ExitCode::FAILURE,
                Err(error) => Err(error),
            },
            Command::Roles => {
                print!("{}", include_str!("../roles.sql"));
                Ok(())
            }
            Command::Migrate(database) => match Options::new(&database.database_url) {
                // Also said if there was nothing to do, where the log says nothing.
                Ok(options) => migrate(&options.database).await.map(|()| println!("the schema is up to date")),
                Err(error) => Err(error),
            },
        };
        if let Some(exporter) = exporter {
            exporter.stop().await;
        }
        match result {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("error: {error:#}");
                ExitCode::FAILURE
            }
        }
    }

    /// Starts the log, and the export of traces if there is one.
    fn start_logging(&self) -> anyhow::Result<Option<Exporter>> {
        let exporter = match &self.command {
            // OpenTelemetry's rule: an empty variable counts as unset.
            Command::Serve(serve) => serve.otlp_endpoint.as_deref().filter(|endpoint| !endpoint.is_empty()),
            _ => None,
        };
        let exporter = exporter.map(Exporter::start).transpose()?;
        // The pool tells of each connection that an outage breaks; the service tells of the outage.
        let quiet = "info,refinery_core=warn,deadpool.postgres=error";
        let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(quiet));
        let logs = fmt::layer().with_writer(std::io::stderr);
        let logs = match self.log_format {
            LogFormat::Human => logs.with_ansi(std::io::stderr().is_terminal()).boxed(),
            LogFormat::Json => logs.json().boxed(),
        };
        tracing_subscriber::registry().with(trace::layers(logs, filter, exporter.as_ref())?).init();
        Ok(exporter)
    }
}

impl Verify {
    /// Returns how many numbers differ and were not repaired.
    async fn run(self) -> anyhow::Result<usize> {
        let options = Options::new(&self.database.database_url)?;
        migrate(&options.database).await?;
        let counters = Telemetry::new()?.store_counters();
        let store = Store::open(&options.database, 2, Clock::system(), counters)?;
        let then = if self.repair { VerifyMode::Repair } else { VerifyMode::Report };
        let list = store.verify_list().await?;
        let bar = ProgressBar::new(list.len() as u64);
        // Indicatif shows the bar on a terminal only.
        bar.set_style(ProgressStyle::with_template("{bar:40} {pos}/{len} recounted, {eta} left")?);
        let mut found = 0;
        for what in &list {
            for difference in store.verify(what, then).await? {
                found += 1;
                let repaired = if self.repair { ", repaired" } else { "" };
                bar.suspend(|| {
                    println!(
                        "{}: {} is {}, the facts say {}{repaired}",
                        difference.of, difference.number, difference.stored, difference.recounted
                    );
                });
            }
            bar.inc(1);
        }
        bar.finish_and_clear();
        store.verification_note(i64::try_from(found)?, then).await?;
        let remedy = if found > 0 && !self.repair { "; run `verify --repair` to put them right" } else { "" };
        println!("{} campaigns and workspaces recounted, {found} numbers differed{remedy}", list.len());
        Ok(if self.repair { 0 } else { found })
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
        options.metrics_accounts_max = self.metrics_max_accounts;
        options.metrics_campaign_accounts_max = self.metrics_max_campaign_accounts;
        options.outcome_retention_days = self.outcome_retention;
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
