//! What every case runs on: its own Postgres, a fresh database for each run, and the released service as a process.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use campaign_metrics::pb::{
    campaign_service_client::CampaignServiceClient, sending_service_client::SendingServiceClient,
};
use tempfile::TempDir;
use tonic::transport::{Channel, Endpoint};

use crate::{
    harness::{
        daemon::Daemon,
        http,
        postgres::{Connection, Durability, Server, connect},
        process::{Directory, GRACE},
        wait::{SOON, until},
    },
    load::Load,
    report::Progress,
};

/// Settings of the server for this load. Durability stays at its defaults.
const SETTINGS: [&str; 2] = ["ALTER SYSTEM SET shared_buffers = '2GB'", "ALTER SYSTEM SET max_wal_size = '8GB'"];

/// The server and the directory of the benchmark, which is removed at the end.
pub struct Stage {
    pub progress: Progress,
    server: Server,
    directory: TempDir,
}

/// A database, dropped after its run.
pub struct Database {
    pub url: String,
    name: String,
    server: String,
}

/// The service on a database.
pub struct Service {
    daemon: Daemon,
    pub url: String,
    pub admin_url: String,
}

impl Stage {
    pub async fn start(progress: Progress) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("campaign-metrics-bench-").tempdir()?;
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755))?;
        let mut server = Server::start(directory.path(), Durability::Durable, Directory::Remove).await?;
        let sql = connect(&server.url("postgres")).await?;
        for setting in SETTINGS {
            sql.batch_execute(setting).await?;
        }
        drop(sql);
        server.stop().await?;
        server.start_again().await?;
        Ok(Self { progress, server, directory })
    }

    /// Changes a setting that needs no restart.
    pub async fn set(&self, name: &str, value: &str) -> Result<()> {
        let sql = connect(&self.server.url("postgres")).await?;
        sql.batch_execute(&format!("ALTER SYSTEM SET {name} = '{value}'")).await?;
        Ok(sql.batch_execute("SELECT pg_reload_conf()").await?)
    }

    pub async fn stop(mut self) -> Result<()> {
        self.server.stop().await
    }

    /// Memory of all processes of Postgres in MiB, what they share counted once.
    pub fn postgres_mib(&self) -> Result<f64> {
        let server = self.server.process().context("Postgres runs")?.pid();
        let mut sum = 0.0;
        for entry in fs::read_dir("/proc")? {
            let directory = entry?.path();
            // Sessions end while this looks at them.
            let Ok(status) = fs::read_to_string(directory.join("status")) else { continue };
            let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
            let server = Some(server.to_string());
            if [field("Pid:"), field("PPid:")].contains(&server.as_deref()) {
                sum += kib(&directory.join("smaps_rollup"), "Pss:").unwrap_or_default() / 1024.0;
            }
        }
        Ok(sum)
    }

    /// A path in the directory of the benchmark.
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A fresh database with that load, copied from one that is generated at the first use.
    pub async fn database(&self, load: Load) -> Result<Database> {
        let url = self.server.url("postgres");
        let sql = connect(&url).await?;
        let template = load.name();
        let exists = sql.query_opt("SELECT FROM pg_database WHERE datname = $1", &[&template]).await?.is_some();
        if !exists {
            self.progress.step(&format!("generating {template}"));
            sql.batch_execute(&format!("CREATE DATABASE {template}")).await?;
            let template_url = self.server.url(&template);
            campaign_metrics_service::migrate(&template_url).await?;
            let inside = connect(&template_url).await?;
            load.generate(&inside).await?;
            inside.batch_execute("VACUUM ANALYZE").await?;
        }
        let name = format!("run_{}", rand::random::<u32>());
        // Copies files, which is faster than the log for databases of this size.
        let copy = format!("CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy");
        until("the template is free", SOON, async || Ok(sql.batch_execute(&copy).await?)).await?;
        sql.batch_execute("CHECKPOINT").await?;
        Ok(Database { url: self.server.url(&name), name, server: url })
    }

    /// A fresh database with that load, generated in place: without a template it takes half the disk.
    pub async fn database_once(&self, load: Load) -> Result<Database> {
        let url = self.server.url("postgres");
        let name = format!("run_{}", rand::random::<u32>());
        connect(&url).await?.batch_execute(&format!("CREATE DATABASE {name}")).await?;
        let database = Database { url: self.server.url(&name), name, server: url };
        campaign_metrics_service::migrate(&database.url).await?;
        let sql = database.connect().await?;
        load.generate(&sql).await?;
        sql.batch_execute("VACUUM ANALYZE").await?;
        Ok(database)
    }

    /// Starts the service on a database and waits until it is ready.
    pub async fn service(&self, database: &Database) -> Result<Service> {
        self.service_with(database, &[]).await
    }

    /// Starts the service with more arguments and waits until it is ready.
    pub async fn service_with(&self, database: &Database, arguments: &[&str]) -> Result<Service> {
        let directory = self.directory.path().join(format!("service-{}", rand::random::<u32>()));
        fs::create_dir_all(&directory)?;
        let add = |command: &mut Command| {
            command.args(arguments);
        };
        let daemon = Daemon::service_with(&database.url, add, &directory, Directory::Remove).await?;
        let url = daemon.url.clone().context("the service serves gRPC")?;
        let admin_url = daemon.admin_url.clone();
        until("the service is ready", SOON, async || {
            let (status, said) = http::get(&format!("{admin_url}/readyz")).await?;
            ensure!(status == 200, "{said}");
            Ok(())
        })
        .await?;
        Ok(Service { daemon, url, admin_url })
    }
}

impl Database {
    pub async fn connect(&self) -> Result<Connection> {
        connect(&self.url).await
    }

    pub async fn remove(self) -> Result<()> {
        let sql = connect(&self.server).await?;
        Ok(sql.batch_execute(&format!("DROP DATABASE {} WITH (FORCE)", self.name)).await?)
    }
}

impl Service {
    /// A connection of its own.
    pub async fn channel(&self) -> Result<Channel> {
        Ok(Endpoint::from_shared(self.url.clone())?.timeout(Duration::from_mins(1)).connect().await?)
    }

    pub async fn sending(&self) -> Result<SendingServiceClient<Channel>> {
        // No timeout: a stream lasts as long as its case.
        Ok(SendingServiceClient::new(Endpoint::from_shared(self.url.clone())?.connect().await?))
    }

    pub async fn campaigns(&self) -> Result<CampaignServiceClient<Channel>> {
        Ok(CampaignServiceClient::new(self.channel().await?))
    }

    /// Memory that the process holds, in MiB.
    pub fn resident_mib(&self) -> Result<f64> {
        resident_mib(self.daemon.process.pid())
    }

    pub async fn stop(mut self) -> Result<()> {
        self.daemon.process.stop(GRACE).await?;
        Ok(())
    }
}

/// Memory that a process holds, in MiB.
pub fn resident_mib(process: u32) -> Result<f64> {
    Ok(kib(Path::new(&format!("/proc/{process}/status")), "VmRSS:")? / 1024.0)
}

/// The most memory that a process has held, in MiB.
pub fn peak_mib(process: u32) -> Result<f64> {
    Ok(kib(Path::new(&format!("/proc/{process}/status")), "VmHWM:")? / 1024.0)
}

/// A number of a file of /proc, in KiB.
fn kib(file: &Path, name: &str) -> Result<f64> {
    let text = fs::read_to_string(file)?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("no {name}"))?;
    Ok(line.trim().trim_end_matches(" kB").trim().parse()?)
}
