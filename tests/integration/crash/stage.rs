//! The processes of the crash test: one durable Postgres, replicas of the service, senders. Each can be killed at any
//! moment and restarted with the same port, data and ledger.

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf, process::Command, time::Duration};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

use super::{ledger::Ledger, sender::Orders};
use crate::harness::{
    daemon::Daemon,
    postgres::{Durability, Server, free_port},
    process::{Directory, GRACE, Process, Signal},
};

/// Replicas of the service, and sender processes.
const REPLICAS: usize = 2;
const SENDERS: usize = 3;

/// A process to kill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Victim {
    Service(usize),
    Sender(usize),
    Postgres,
}

pub struct Stage {
    postgres: Server,
    services: Vec<Process>,
    senders: Vec<Process>,
    ports: Vec<u16>,
    orders: Vec<Orders>,
    /// Directory of all processes; that of Postgres is inside.
    directory: TempDir,
}

impl Stage {
    /// Starts Postgres and the service, each replica on a port that it keeps.
    pub async fn start(accounts: &[String], seed: u64) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("campaign-metrics-crash-").tempdir()?;
        // Postgres runs as another user and must reach its data.
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755))?;
        let postgres = directory.path().join("postgres");
        let postgres = Server::start(&postgres, Durability::Durable, Directory::Remove).await?;
        let ports = (0..REPLICAS).map(|_| free_port()).collect::<Result<Vec<_>>>()?;
        let urls: Vec<String> = ports.iter().map(|port| format!("http://127.0.0.1:{port}")).collect();
        let orders = (0..SENDERS).map(|number| Orders {
            urls: urls.clone(),
            ledger: directory.path().join(format!("sender-{number}.jsonl")),
            accounts: accounts.to_vec(),
            seed,
        });
        let orders = orders.collect();
        let mut stage = Self { postgres, services: Vec::new(), senders: Vec::new(), ports, orders, directory };
        for number in 0..REPLICAS {
            let service = stage.service(number).await?;
            stage.services.push(service);
        }
        Ok(stage)
    }

    pub fn start_senders(&mut self) -> Result<()> {
        self.senders = (0..SENDERS).map(|number| self.sender(number)).collect::<Result<_>>()?;
        Ok(())
    }

    pub fn urls(&self) -> &[String] {
        &self.orders[0].urls
    }

    pub fn database_url(&self) -> String {
        self.postgres.url("postgres")
    }

    /// Path of a ledger of the test's own.
    pub fn ledger_path(&self, name: &str) -> PathBuf {
        self.directory.path().join(format!("{name}.jsonl"))
    }

    /// Where the senders write.
    pub fn sender_ledgers(&self) -> impl Iterator<Item = PathBuf> + '_ {
        self.orders.iter().map(|orders| orders.ledger.clone())
    }

    /// Victims to choose from, by kind.
    pub fn victims() -> [Vec<Victim>; 3] {
        [
            (0..REPLICAS).map(Victim::Service).collect(),
            (0..SENDERS).map(Victim::Sender).collect(),
            vec![Victim::Postgres],
        ]
    }

    /// Kills it without warning.
    pub async fn kill(&mut self, victim: Victim) -> Result<()> {
        match victim {
            Victim::Service(number) => kill(&mut self.services[number]).await,
            Victim::Sender(number) => kill(&mut self.senders[number]).await,
            Victim::Postgres => {
                // The immediate shutdown of Postgres: sessions end at once, nothing is flushed, and the next start
                // recovers.
                self.postgres.process().context("Postgres is not running")?.signal(Signal::QUIT)?;
                self.postgres.stop().await
            }
        }
    }

    /// Restarts it.
    pub async fn start_again(&mut self, victim: Victim) -> Result<()> {
        match victim {
            Victim::Service(number) => {
                let log = self.services[number].log();
                ensure!(!log.contains("panicked"), "the service panicked:\n{log}");
                self.services[number] = self.service(number).await?;
            }
            Victim::Sender(number) => self.senders[number] = self.sender(number)?,
            Victim::Postgres => self.postgres.start_again().await?,
        }
        Ok(())
    }

    /// Fails if a process ended without being killed.
    pub fn check(&mut self) -> Result<()> {
        for process in self.services.iter_mut().chain(&mut self.senders) {
            if let Some(status) = process.exited()? {
                anyhow::bail!("a process ended by itself with {status}:\n{}{}", process.stdout(), process.log());
            }
        }
        Ok(())
    }

    /// Ends of the logs of the service, for a test that failed.
    pub fn logs(&self) -> String {
        let ends = self.services.iter().map(|service| {
            let log = service.log();
            let lines: Vec<&str> = log.lines().collect();
            lines[lines.len().saturating_sub(30)..].join("\n")
        });
        ends.collect::<Vec<_>>().join("\n--\n")
    }

    async fn service(&self, number: usize) -> Result<Process> {
        let directory = self.directory.path().join(format!("service-{number}"));
        fs::create_dir_all(&directory)?;
        let listen = format!("127.0.0.1:{}", self.ports[number]);
        let service = Daemon::service_at(&listen, &self.database_url(), &directory, Directory::Keep).await?;
        Ok(service.process)
    }

    /// Starts this program as a sender, with its configuration in the environment.
    fn sender(&self, number: usize) -> Result<Process> {
        let orders = &self.orders[number];
        // Made here, so that it can be read before the sender has written.
        Ledger::open(&orders.ledger)?;
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args([super::TEST, "--exact", "--nocapture", "--test-threads=1"])
            .env(Orders::VARIABLE, serde_json::to_string(orders)?);
        let directory = self.directory.path();
        Process::start(&format!("sender-{number}"), &command, directory, Signal::TERM, Directory::Keep)
    }
}

async fn kill(process: &mut Process) -> Result<()> {
    process.signal(Signal::KILL)?;
    process.end(GRACE).await?;
    Ok(())
}

/// Time for the load to continue after a kill: recovery takes a second, on a busy machine ten times that.
pub const RECOVERY_MAX: Duration = Duration::from_mins(1);
