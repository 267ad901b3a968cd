//! Runs the service in this process, on its own ports, with clients over real sockets.
//!
//! Each service has its own thread and runtime: a test that blocks does not stop it, and two services run in parallel.
//! Dropping a service waits for its drain. Its runtime also drives the clients' connections.

use std::{
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, ensure};
use campaign_metrics::pb::{
    account_service_client::AccountServiceClient, campaign_service_client::CampaignServiceClient,
    lead_service_client::LeadServiceClient, opt_out_service_client::OptOutServiceClient,
    performance_service_client::PerformanceServiceClient, sending_service_client::SendingServiceClient,
};
use campaign_metrics_service::{
    Clock,
    serve::{self, Listeners, Options},
    store::Store,
    telemetry::Telemetry,
};
use jiff::Timestamp;
use tokio::{net::TcpListener, runtime::Builder, sync::oneshot};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

use super::{
    daemon::Daemon,
    http,
    postgres::{Connection, TestDatabase, database},
    wait::{SOON, until},
};

/// More than the longest drain.
const DRAIN_MAX: Duration = Duration::from_secs(40);

/// The start of test clocks: a Monday at 10:00 UTC, away from clock changes.
pub fn monday() -> Timestamp {
    "2026-03-02T10:00:00Z".parse().expect("a timestamp")
}

/// A running service.
#[derive(Debug)]
pub struct Service {
    pub campaigns: CampaignServiceClient<Channel>,
    pub accounts: AccountServiceClient<Channel>,
    pub leads: LeadServiceClient<Channel>,
    pub sending: SendingServiceClient<Channel>,
    pub opt_outs: OptOutServiceClient<Channel>,
    pub performance: PerformanceServiceClient<Channel>,
    /// Where gRPC is served: `http://127.0.0.1:PORT`.
    pub url: String,
    /// Where /livez, /readyz and /metrics are.
    pub admin_url: String,
    /// The clock of the service, which tests move.
    pub clock: Clock,
    /// Its database.
    pub database: TestDatabase,
    shutdown: CancellationToken,
    thread: Option<JoinHandle<Result<()>>>,
}

struct Bound {
    grpc: std::net::SocketAddr,
    admin: std::net::SocketAddr,
    channel: Channel,
}

impl Service {
    /// Starts a service on a new database, with a stopped clock at [`monday`].
    pub async fn start() -> Self {
        Self::on(&database().await, Clock::manual(monday())).await
    }

    /// Starts a service on an existing database, and waits until it is ready.
    pub async fn on(database: &TestDatabase, clock: Clock) -> Self {
        let service = Self::launch(database, clock).await;
        service.ready().await;
        service
    }

    /// Starts a service without waiting until it is ready, for a database that is away.
    pub async fn launch(database: &TestDatabase, clock: Clock) -> Self {
        Self::launch_with(database, clock, |_| ()).await
    }

    /// Starts a service with other options than the defaults, without waiting until it is ready.
    pub async fn launch_with(database: &TestDatabase, clock: Clock, change: impl FnOnce(&mut Options)) -> Self {
        // Logs are shown with the output of a failed test. The first call installs the subscriber.
        let _ = tracing_subscriber::fmt().with_env_filter("warn").with_ansi(false).with_test_writer().try_init();
        let mut options = Options::new(&database.url).expect("the URL of a test is well-formed");
        // So that every scrape shows the present state.
        options.metrics_details_age_max = Duration::ZERO;
        change(&mut options);
        let shutdown = CancellationToken::new();
        let (bound_sender, bound) = oneshot::channel();
        let (run_clock, run_shutdown) = (clock.clone(), shutdown.clone());
        let thread = thread::spawn(move || {
            let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
            let runtime = runtime.expect("a runtime can be made");
            runtime.block_on(async {
                let grpc = TcpListener::bind("127.0.0.1:0").await?;
                let admin = TcpListener::bind("127.0.0.1:0").await?;
                let bound = Bound {
                    channel: Endpoint::from_shared(format!("http://{}", grpc.local_addr()?))?.connect_lazy(),
                    grpc: grpc.local_addr()?,
                    admin: admin.local_addr()?,
                };
                ensure!(bound_sender.send(bound).is_ok(), "the test ended");
                serve::run(options, Listeners { grpc, admin }, run_clock, run_shutdown).await
            })
        });
        let Bound { grpc, admin, channel } = bound.await.expect("the service binds");
        Self {
            campaigns: CampaignServiceClient::new(channel.clone()),
            accounts: AccountServiceClient::new(channel.clone()),
            leads: LeadServiceClient::new(channel.clone()),
            sending: SendingServiceClient::new(channel.clone()),
            opt_outs: OptOutServiceClient::new(channel.clone()),
            performance: PerformanceServiceClient::new(channel),
            url: format!("http://{grpc}"),
            admin_url: format!("http://{admin}"),
            clock,
            database: database.clone(),
            shutdown,
            thread: Some(thread),
        }
    }

    /// Returns clients of a service that runs as a separate process. The caller keeps the process.
    pub fn of(daemon: &Daemon, database: &TestDatabase) -> Result<Self> {
        let url = daemon.url.clone().context("it serves gRPC")?;
        let channel = Endpoint::from_shared(url.clone())?.connect_lazy();
        Ok(Self {
            campaigns: CampaignServiceClient::new(channel.clone()),
            accounts: AccountServiceClient::new(channel.clone()),
            leads: LeadServiceClient::new(channel.clone()),
            sending: SendingServiceClient::new(channel.clone()),
            opt_outs: OptOutServiceClient::new(channel.clone()),
            performance: PerformanceServiceClient::new(channel),
            url,
            admin_url: daemon.admin_url.clone(),
            clock: Clock::system(),
            database: database.clone(),
            shutdown: CancellationToken::new(),
            thread: None,
        })
    }

    /// Returns a store on the service's database and clock, to run upkeep at once instead of twice a minute.
    pub fn store(&self) -> Store {
        let options = Options::new(&self.database.url).expect("the URL of a test is well-formed");
        let counters = Telemetry::new().expect("counters").store_counters();
        Store::open(&options.database, 2, self.clock.clone(), counters).expect("a store")
    }

    /// Waits until /readyz says so.
    pub async fn ready(&self) {
        let look = async || {
            ensure!(self.thread.as_ref().is_some_and(|thread| !thread.is_finished()), "it ended");
            let (status, body) = http::get(&format!("{}/readyz", self.admin_url)).await?;
            ensure!(status == 200, "/readyz answers {status}: {body}");
            Ok(())
        };
        until("the service to be ready", SOON, look).await.expect("the service gets ready");
    }

    /// Returns a page of the admin port. Panics if it is missing.
    pub async fn admin(&self, path: &str) -> String {
        let (status, body) = http::get(&format!("{}{path}", self.admin_url)).await.expect("the admin port answers");
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    /// Returns the value of a metric without labels. Panics if it is missing.
    pub async fn metric(&self, name: &str) -> i64 {
        let page = self.admin("/metrics").await;
        let value = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("{name} is exported: {page}")).parse().expect("a whole number")
    }

    /// Returns the sum of a counter over its labels; 0 if it has no series yet.
    pub async fn metric_sum(&self, name: &str) -> i64 {
        let page = self.admin("/metrics").await;
        let series = page.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('{')?.split_once("} "));
        series.map(|(_, value)| value.parse::<i64>().expect("a whole number")).sum()
    }

    /// Opens a new connection to its database.
    pub async fn sql(&self) -> Connection {
        self.database.connect().await
    }

    /// Starts its drain. [`Service::stop`] and dropping wait for the end of the drain.
    pub fn begin_stop(&self) {
        self.shutdown.cancel();
    }

    /// Stops it gracefully, and returns what its `run` returned.
    pub fn stop(mut self) -> Result<()> {
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        self.shutdown.cancel();
        let Some(thread) = self.thread.take() else {
            return Ok(());
        };
        let asked = Instant::now();
        while !thread.is_finished() {
            ensure!(asked.elapsed() < DRAIN_MAX, "the service does not stop");
            thread::sleep(Duration::from_millis(5));
        }
        thread.join().map_err(|_| anyhow!("the service panicked"))?
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let ended = self.end();
        // A panic within a panic would hide the first.
        if !thread::panicking() {
            ended.expect("the service ends without an error");
        }
    }
}
