//! Runs our daemons as processes, from the binaries that ship. Use them to test what the in-process [`Service`] does
//! not have: signals, exit statuses, logs.
//!
//! [`Service`]: super::service::Service

use std::{path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};

use super::{
    http,
    moved::MovedClock,
    parts::binary,
    process::{Directory, Process, Signal},
    wait::SOON,
};

/// A running daemon that has bound its ports.
#[derive(Debug)]
pub struct Daemon {
    /// The process: for signals, its log, and its end.
    pub process: Process,
    /// Where it serves gRPC, if it does: `http://127.0.0.1:PORT`.
    pub url: Option<String>,
    /// Where /livez, /readyz and /metrics are.
    pub admin_url: String,
}

fn serve(listen: &str, database_url: &str) -> Result<Command> {
    let mut command = Command::new(binary("campaign-metrics-service")?);
    command
        .args(["serve", "--insecure", "--listen", listen, "--admin-listen", "127.0.0.1:0"])
        .env("DATABASE_URL", database_url);
    Ok(command)
}

impl Daemon {
    /// Starts the service with its logs in `directory`. It may not be ready yet: its database may be away.
    pub async fn service(database_url: &str, directory: &Path, then: Directory) -> Result<Self> {
        Self::service_at("127.0.0.1:0", database_url, directory, then).await
    }

    /// Starts the service at a given address, to replace an earlier one.
    pub async fn service_at(listen: &str, database_url: &str, directory: &Path, then: Directory) -> Result<Self> {
        let command = serve(listen, database_url)?;
        Self::start("campaign-metrics-service", &command, directory, then).await
    }

    /// Starts the service with what `change` adds to its command: arguments, environment.
    pub async fn service_with(
        database_url: &str,
        change: impl FnOnce(&mut Command),
        directory: &Path,
        then: Directory,
    ) -> Result<Self> {
        let mut command = serve("127.0.0.1:0", database_url)?;
        change(&mut command);
        Self::start("campaign-metrics-service", &command, directory, then).await
    }

    /// Starts the service with a clock that the test moves, and with more arguments.
    pub async fn service_by(
        clock: &MovedClock,
        database_url: &str,
        arguments: &[&str],
        directory: &Path,
        then: Directory,
    ) -> Result<Self> {
        let mut command = serve("127.0.0.1:0", database_url)?;
        command.args(arguments);
        clock.wind(&mut command)?;
        Self::start("campaign-metrics-service", &command, directory, then).await
    }

    /// Waits until /readyz says so.
    pub async fn ready(&mut self) -> Result<()> {
        let url = format!("{}/readyz", self.admin_url);
        let look = async || {
            let (status, body) = http::get(&url).await?;
            ensure!(status == 200, "/readyz answers {status}: {body}");
            Ok(())
        };
        self.process.ready(SOON, look).await
    }

    /// Starts the controller, for one namespace or for all, with the rights of a kubeconfig.
    pub async fn controller(
        kubeconfig: &Path,
        service_url: &str,
        namespace: Option<&str>,
        directory: &Path,
        then: Directory,
    ) -> Result<Self> {
        let mut command = Command::new(binary("campaign-controller")?);
        command.args(["run", "--service", service_url, "--admin-listen", "127.0.0.1:0"]).env("KUBECONFIG", kubeconfig);
        if let Some(namespace) = namespace {
            command.args(["--namespace", namespace]);
        }
        Self::start("campaign-controller", &command, directory, then).await
    }

    async fn start(name: &str, command: &Command, directory: &Path, then: Directory) -> Result<Self> {
        let mut process = Process::start(name, command, directory, Signal::TERM, then)?;
        let line = process.line("listening ", SOON).await?;
        let port = |name: &str| {
            let mut words = line.split(' ').filter_map(|word| word.split_once('='));
            words.find(|(key, _)| *key == name).map(|(_, address)| format!("http://{address}"))
        };
        Ok(Self {
            url: port("grpc"),
            admin_url: port("admin").with_context(|| format!("{name} says no admin port: {line}"))?,
            process,
        })
    }
}
