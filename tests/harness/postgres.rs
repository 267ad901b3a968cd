//! Postgres: one server for all tests of a run, one database for each test.
//!
//! A database is a copy of a template that was migrated once, which takes some 30 ms. Services connect to it as the role
//! `campaign_metrics_app` of roles.sql, so that every test shows that its rights are enough. With `TEST_DATABASE_URL` the
//! databases are made on that server; then only one run may use it at a time, and databases of an earlier run are dropped first.
//! A test that stops Postgres starts a server of its own ([`Server`]), and so does the demo.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::{self, Command},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;
use tokio::sync::OnceCell;
use tokio_postgres::NoTls;
use tokio_util::task::AbortOnDropHandle;

use super::{
    parts::part,
    process::{Directory, GRACE, Process, Signal},
    wait::{SOON, until},
};

/// Whether commits survive a crash of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// They do not: no sync, for tests.
    Fast,
    /// They do: for data that people look at.
    Durable,
}

/// A connection with the task that drives it. Dropping it ends both.
pub struct Connection {
    client: tokio_postgres::Client,
    _driver: AbortOnDropHandle<()>,
}

impl std::ops::Deref for Connection {
    type Target = tokio_postgres::Client;

    fn deref(&self) -> &Self::Target {
        &self.client
    }
}

impl std::ops::DerefMut for Connection {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.client
    }
}

/// Connects to a database.
pub async fn connect(url: &str) -> Result<Connection> {
    let connecting = tokio::time::timeout(Duration::from_secs(10), tokio_postgres::connect(url, NoTls));
    let (client, connection) = connecting.await.context("Postgres does not answer")??;
    let driver = tokio::spawn(async move {
        // The client's next call says what is wrong with the connection.
        let _ = connection.await;
    });
    Ok(Connection { client, _driver: AbortOnDropHandle::new(driver) })
}

/// A Postgres server of our own on a loopback port. It trusts every local user.
pub struct Server {
    process: Option<Process>,
    directory: PathBuf,
    port: u16,
    durability: Durability,
    then: Directory,
}

impl Server {
    /// Starts a server with its data in `directory`, which is created if it is missing. Existing data is kept.
    pub async fn start(directory: &Path, durability: Durability, then: Directory) -> Result<Self> {
        fs::create_dir_all(directory)?;
        let mut server = Self { process: None, directory: directory.to_owned(), port: free_port()?, durability, then };
        if !server.data().exists() {
            server.initialise().await?;
        }
        // Another process may take the port before Postgres binds it; hardly five times in a row.
        for _ in 0..4 {
            match server.start_again().await {
                Err(error) if format!("{error:#}").contains("in use") => server.port = free_port()?,
                done => return done.map(|()| server),
            }
        }
        server.start_again().await?;
        Ok(server)
    }

    /// Starts the server again after a stop, with the same port and data.
    pub async fn start_again(&mut self) -> Result<()> {
        let mut command = unprivileged(&part("postgres")?);
        let port = self.port.to_string();
        command.arg("-D").arg(self.data()).args(["-h", "127.0.0.1", "-p", &port]);
        // No socket in a directory that other servers share. Connections for two services in each of many parallel
        // tests.
        command.args(["-c", "unix_socket_directories=", "-c", "max_connections=400"]);
        if self.durability == Durability::Fast {
            command.args(["-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off"]);
        }
        // INT is the fast shutdown of Postgres: it does not wait for clients.
        let mut process = Process::start("postgres", &command, &self.directory, Signal::INT, self.then)?;
        let url = self.url("postgres");
        process.ready(SOON, async || connect(&url).await).await?;
        self.process = Some(process);
        Ok(())
    }

    /// Stops it: connections break, new ones are refused.
    pub async fn stop(&mut self) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            process.stop(GRACE).await?;
        }
        Ok(())
    }

    /// Returns the URL of a database on this server. `postgres` always exists.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://campaign_metrics@127.0.0.1:{}/{database}", self.port)
    }

    /// The process, while it runs: for its pid and its log.
    pub fn process(&self) -> Option<&Process> {
        self.process.as_ref()
    }

    fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    async fn initialise(&self) -> Result<()> {
        let data = self.data();
        fs::create_dir(&data)?;
        if let Some((user, group)) = unprivileged_ids() {
            chown(&data, Some(user), Some(group))?;
        }
        let mut command = unprivileged(&part("initdb")?);
        command.args([
            "--username=campaign_metrics",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
            "-D",
        ]);
        command.arg(&data);
        let mut initdb = Process::start("initdb", &command, &self.directory, Signal::TERM, self.then)?;
        let status = initdb.end(Duration::from_mins(1)).await?;
        if !status.success() {
            // The next start would take an incomplete data directory for a complete one.
            fs::remove_dir_all(&data)?;
        }
        ensure!(status.success(), "initdb failed:\n{}", initdb.log());
        Ok(())
    }
}

/// Returns a free loopback port below the kernel's ephemeral range (which begins at 32 768), so that a stopped server
/// can bind it again.
pub fn free_port() -> Result<u16> {
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    std::iter::repeat_with(|| rand::random_range(10_000..32_000))
        .take(1000)
        .find(is_free)
        .context("no free port on 127.0.0.1")
}

/// Returns user and group for Postgres if we are root, as which it refuses to run.
fn unprivileged_ids() -> Option<(u32, u32)> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let ids = |name: &str| {
        let user: Vec<&str> =
            users.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|user| user[0] == name)?;
        Some((user.get(2)?.parse().ok()?, user.get(3)?.parse().ok()?))
    };
    // 65534 is nobody on every Linux.
    Some(ids("postgres").or_else(|| ids("nobody")).unwrap_or((65534, 65534)))
}

/// Returns a command that runs as the user of Postgres.
pub fn unprivileged(program: &Path) -> Command {
    match unprivileged_ids() {
        None => Command::new(program),
        Some((user, group)) => {
            let mut command = Command::new("setpriv");
            command
                .args([format!("--reuid={user}"), format!("--regid={group}")])
                .args(["--clear-groups", "--"])
                .arg(program);
            command
        }
    }
}

/// Starts a server for a test that stops it, with a temporary directory. Keep both.
pub async fn separate_server() -> Result<(Server, TempDir)> {
    let directory = tempfile::Builder::new().prefix("campaign-metrics-postgres-").tempdir()?;
    // Postgres runs as another user and must reach its data.
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755))?;
    let server = Server::start(directory.path(), Durability::Fast, Directory::Remove).await?;
    Ok((server, directory))
}

struct Shared {
    // Runs until this process ends.
    _server: Option<(Server, TempDir)>,
    url: String,
}

impl Shared {
    async fn start() -> Result<Self> {
        let shared = if let Ok(url) = std::env::var("TEST_DATABASE_URL") {
            Self { _server: None, url }
        } else {
            let (server, directory) = separate_server().await?;
            let url = server.url("postgres");
            Self { _server: Some((server, directory)), url }
        };
        let sql = connect(&shared.url).await?;
        let left = "SELECT datname FROM pg_database WHERE datname LIKE 'campaign\\_metrics\\_test\\_%'";
        for row in sql.query(left, &[]).await? {
            let name: String = row.get(0);
            sql.batch_execute(&format!("DROP DATABASE {name} WITH (FORCE)")).await?;
        }
        sql.batch_execute(&format!("CREATE DATABASE {TEMPLATE}")).await?;
        let template = with_database(&shared.url, TEMPLATE)?;
        connect(&template).await?.batch_execute(ROLES).await?;
        for role in [Role::Owner, Role::App, Role::Reader] {
            let role = role.name();
            sql.batch_execute(&format!("ALTER ROLE {role} PASSWORD '{role}'")).await?;
        }
        campaign_metrics_service::migrate(&Role::Owner.url(&template)).await?;
        Ok(shared)
    }
}

const TEMPLATE: &str = "campaign_metrics_test_template";

static SHARED: OnceCell<Shared> = OnceCell::const_new();

async fn shared() -> &'static Shared {
    SHARED.get_or_init(async || Shared::start().await.expect("Postgres starts")).await
}

/// The file that makes the roles of a database.
pub const ROLES: &str = include_str!("../../services/metrics/roles.sql");

/// A role that [`ROLES`] makes. On the server of the tests its password is its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It migrates.
    Owner,
    /// It serves.
    App,
    /// It reads the views of `reporting`.
    Reader,
}

impl Role {
    /// Its name in Postgres.
    pub fn name(self) -> &'static str {
        match self {
            Self::Owner => "campaign_metrics_owner",
            Self::App => "campaign_metrics_app",
            Self::Reader => "campaign_metrics_reader",
        }
    }

    /// The URL with this role instead of its own.
    pub fn url(self, url: &str) -> String {
        let (scheme, rest) = url.split_once("://").expect("a URL");
        let host = rest.split_once('@').map_or(rest, |(_, host)| host);
        format!("{scheme}://{role}:{role}@{host}", role = self.name())
    }
}

/// The URL with another database.
pub fn with_database(url: &str, database: &str) -> Result<String> {
    let wrong = || format!("TEST_DATABASE_URL must have the form postgres://USER@HOST:PORT/DATABASE, not `{url}`");
    let (scheme, rest) = url.split_once("://").with_context(wrong)?;
    let (rest, query) = rest.split_once('?').map_or((rest, None), |(rest, query)| (rest, Some(query)));
    let authority = rest.split('/').next().with_context(wrong)?;
    let query = query.map_or(String::new(), |query| format!("?{query}"));
    Ok(format!("{scheme}://{authority}/{database}{query}"))
}

/// A database of one test.
#[derive(Debug, Clone)]
pub struct TestDatabase {
    /// Its URL for a service.
    pub url: String,
    /// Its URL for the test, as a superuser.
    pub admin_url: String,
}

impl TestDatabase {
    /// A database without roles, in which the service is a superuser too.
    pub fn without_roles(url: String) -> Self {
        Self { admin_url: url.clone(), url }
    }

    /// A new connection to it, as a superuser.
    pub async fn connect(&self) -> Connection {
        connect(&self.admin_url).await.expect("the database of the test is there")
    }
}

async fn create(template: &str, rights: &str) -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!("campaign_metrics_test_{}_{number}", process::id());
    let shared = shared().await;
    let statement = format!("CREATE DATABASE {name} TEMPLATE {template}");
    // The template is in use until the backend of its last connection has exited, some ms after the connection ended.
    until("a database", SOON, async || {
        let sql = connect(&shared.url).await?;
        sql.batch_execute(&statement).await?;
        Ok(sql.batch_execute(&rights.replace("$database", &name)).await?)
    })
    .await
    .expect("a database can be made");
    with_database(&shared.url, &name).expect("the URL was good for the template")
}

/// What [`ROLES`] changes in the database itself. A copy does not have it.
const RIGHTS: &str =
    "ALTER DATABASE $database OWNER TO campaign_metrics_owner; REVOKE ALL ON DATABASE $database FROM PUBLIC;
    GRANT CONNECT ON DATABASE $database TO campaign_metrics_app, campaign_metrics_reader";

/// Makes a migrated database for one test.
pub async fn database() -> TestDatabase {
    let admin_url = create(TEMPLATE, RIGHTS).await;
    TestDatabase { url: Role::App.url(&admin_url), admin_url }
}

/// Makes an empty database for a test of the migrations.
pub async fn empty_database() -> TestDatabase {
    TestDatabase::without_roles(create("template0", "").await)
}
