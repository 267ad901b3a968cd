//! The demo: the whole product on real parts, to look at, or unattended as a proof.
//!
//! It starts Postgres, a Kubernetes API server, the service and the controller, applies the Campaign resources of
//! `examples/`, imports their leads, lets senders work, and shows how every campaign is doing. With a number of seconds
//! it runs unattended: it pauses a campaign by `kubectl edit`, proves that nothing is claimed from then on, resumes it,
//! waits until all have finished, and compares four views of every count.
//! All processes that it starts end with it, even if it is killed. Everything is kept in one folder that it names.

use std::{
    io::{IsTerminal as _, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

#[path = "demo/cluster.rs"]
mod cluster;
#[path = "demo/compare.rs"]
mod compare;
#[path = "demo/dashboards.rs"]
mod dashboards;
#[path = "demo/examples.rs"]
mod examples;
#[path = "demo/folder.rs"]
mod folder;
mod harness;
#[path = "demo/pause.rs"]
mod pause;
#[path = "demo/play.rs"]
mod play;
#[path = "demo/senders.rs"]
mod senders;
#[path = "demo/stage.rs"]
mod stage;
#[path = "demo/view.rs"]
mod view;

use folder::Folder;
use stage::Stage;

/// Shows Campaign Metrics at work, on real parts, from an empty database to finished campaigns.
///
/// Needs nothing running: it starts Postgres, etcd, a Kubernetes API server, the service, the controller and two
/// senders, all on free ports of 127.0.0.1. Ctrl-C stops all of them.
#[derive(Debug, Parser)]
#[command(
    name = "demo",
    after_help = "Examples:\n  \
    make demo\n      watch, and try the commands that it prints, until Ctrl-C\n  \
    make demo DEMO_SECONDS=60\n      nobody needed: pauses, resumes, compares every count, exits non-zero when one differs\n  \
    make demo DASHBOARDS=1\n      also shows the dashboards in the browser, with live data\n  \
    cargo run --example demo -- --use-kubeconfig\n      the same with your cluster in place of one of its own"
)]
struct Args {
    /// Need nobody, and end after about so many seconds; failing if the campaigns have not finished by then.
    #[arg(long, env = "DEMO_SECONDS", value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(45..=3600))]
    seconds: Option<u64>,
    /// Use the cluster of KUBECONFIG: installs the resource definition there, and works in a new namespace `demo`.
    #[arg(long, requires = "kubeconfig")]
    use_kubeconfig: bool,
    /// The cluster that --use-kubeconfig means; not used without it.
    #[arg(long, env = "KUBECONFIG", value_name = "FILE", hide_env_values = true)]
    kubeconfig: Option<PathBuf>,
    /// Make a database on this Postgres server, in place of a server of its own; it is dropped in the end.
    #[arg(long, env = "TEST_DATABASE_URL", value_name = "URL", hide_env_values = true)]
    database_url: Option<String>,
    /// Also show the dashboards in the browser; needs Node 20 with npm, and about two minutes the first time.
    #[arg(long, env = "DASHBOARDS", value_parser = clap::builder::FalseyValueParser::new())]
    dashboards: bool,
    /// Start a Kubernetes API server with the resource definition and nothing else, until Ctrl-C: `make cluster`.
    #[arg(long, conflicts_with_all = ["seconds", "use_kubeconfig", "dashboards"])]
    only_cluster: bool,
    /// Keep everything in this folder, which must not exist yet [default: a new one among the temporary files].
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    show(&args).await.unwrap_or_else(|error| failed(&error))
}

fn failed(error: &anyhow::Error) -> ExitCode {
    println!("\n{} {error:#}", paint("FAILED", Colour::Red));
    ExitCode::FAILURE
}

async fn show(args: &Args) -> Result<ExitCode> {
    // Builds missing parts. Until then Ctrl-C ends both; signals are handled only afterwards.
    harness::parts::part("kubectl")?;
    let begun = Instant::now();
    let mut interrupts = Interrupts::new()?;
    let folder = Folder::new(args.data.as_deref())?;
    println!("Everything is kept in {}\n", folder.path().display());
    if args.only_cluster {
        return cluster::hold(folder, &mut interrupts).await;
    }

    let mut stage = None;
    let played = tokio::select! {
        played = perform(args, folder.path(), begun, &mut stage) => Some(played),
        () = interrupts.next() => None,
    };
    let code = match &played {
        Some(Ok(())) => ExitCode::SUCCESS,
        Some(Err(error)) => failed(error),
        None => ExitCode::from(130),
    };
    println!("\nStopping what was started; Ctrl-C again stops it at once");
    let stopped = tokio::select! {
        stopped = stop(stage) => stopped,
        // What still runs ends with this process.
        () = interrupts.next() => std::process::exit(130),
    };
    if code == ExitCode::SUCCESS && stopped.is_ok() {
        folder.remove()?;
        let seconds = begun.elapsed().as_secs();
        let passed = paint("PASSED", Colour::Green);
        println!("{passed} in {seconds} s; nothing is left running, and the folder is removed");
    } else {
        folder.keep();
    }
    stopped.map(|()| code)
}

async fn perform(args: &Args, folder: &Path, begun: Instant, stage: &mut Option<Stage>) -> Result<()> {
    let stage = stage.insert(Stage::start(args, folder).await?);
    examples::load(stage).await?;
    match args.seconds {
        Some(seconds) => play::unattended(stage, begun, Duration::from_secs(seconds)).await,
        None => play::until_interrupted(stage).await,
    }
}

async fn stop(stage: Option<Stage>) -> Result<()> {
    match stage {
        Some(stage) => stage.stop().await.context("not everything stopped as it should"),
        None => Ok(()),
    }
}

/// Ctrl-C, or a request to end.
struct Interrupts {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Interrupts {
    fn new() -> Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Says what is waited for, waits, and says how long it took.
async fn step<T>(what: &str, wait: impl Future<Output = Result<T>>) -> Result<T> {
    print!("{what} ... ");
    std::io::stdout().flush()?;
    let begun = Instant::now();
    let done = wait.await;
    match &done {
        Ok(_) => println!("{:.1} s", begun.elapsed().as_secs_f64()),
        Err(_) => println!("{}", paint("failed", Colour::Red)),
    }
    done
}

/// A colour of the terminal.
#[derive(Debug, Clone, Copy)]
enum Colour {
    Red,
    Green,
    Yellow,
    Bold,
}

/// Colours a text, on a terminal alone.
fn paint(text: &str, colour: Colour) -> String {
    let code = match colour {
        Colour::Red => 31,
        Colour::Green => 32,
        Colour::Yellow => 33,
        Colour::Bold => 1,
    };
    if std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none() {
        format!("\x1b[{code}m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}
