//! Everything that runs behind the demo: Postgres, Kubernetes, the service, the controller, the senders.
//!
//! Started in the order in which they need each other, stopped in the reverse one.

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use campaign_metrics::pb::{
    self, campaign_service_client::CampaignServiceClient, sending_service_client::SendingServiceClient,
};
use tonic::transport::{Channel, Endpoint};

use crate::{
    Args, dashboards,
    harness::{
        daemon::Daemon,
        http,
        kube::Cluster,
        parts::{binary, part},
        postgres::{Connection, Durability, Server, connect},
        process::{Directory, GRACE, Process},
        prometheus::Prometheus,
        run::{Output, run},
        wait::SOON,
    },
    step,
};

/// Namespace of the resources, and so the workspace of the campaigns.
pub const NAMESPACE: &str = "demo";

/// Deadline of a call, far above its usual duration: a hanging service must fail the demo.
const CALL_DEADLINE: Duration = Duration::from_secs(10);

/// Between two scrapes, and two evaluations of the rules: short, so that a demo of a minute shows something.
const SCRAPE_INTERVAL: Duration = Duration::from_secs(2);

/// What runs.
pub struct Stage {
    /// In the order of their start, the daemons first.
    processes: Mutex<Vec<Process>>,
    /// How many of them must not end: the service, the controller, Prometheus, and the viewer of the dashboards if it runs.
    daemons: usize,
    cluster: Cluster,
    cluster_is_ours: bool,
    database: Database,
    campaigns: CampaignServiceClient<Channel>,
    pub sending: SendingServiceClient<Channel>,
    pub service_url: String,
    pub admin_url: String,
    /// Where Prometheus answers.
    pub prometheus_url: String,
    /// Where the dashboards are shown, if they are.
    dashboards_url: Option<String>,
    pub folder: PathBuf,
}

/// Where the service keeps its data.
enum Database {
    /// On a server of our own.
    Ours(Server),
    /// A database of our own on a server that runs already, whose URL is kept to drop it by.
    Within { server_url: String, url: String, name: String },
}

impl Stage {
    /// Starts all but the senders, which come when there are leads.
    pub async fn start(args: &Args, folder: &Path) -> Result<Self> {
        let database = match &args.database_url {
            None => {
                let data = folder.join("postgres");
                let server = Server::start(&data, Durability::Durable, Directory::Keep);
                Database::Ours(step("Starting Postgres", server).await?)
            }
            Some(url) => step("Making a database on the server of TEST_DATABASE_URL", Database::make(url)).await?,
        };
        let cluster = match &args.kubeconfig {
            Some(kubeconfig) if args.use_kubeconfig => {
                step("Installing the resource definition in your cluster", Cluster::existing(kubeconfig)).await?
            }
            _ => {
                let data = folder.join("kubernetes");
                let cluster = Cluster::start(&data, Directory::Keep);
                step("Starting etcd and the Kubernetes API server", cluster).await?
            }
        };
        let made = cluster.kubectl(["create", "namespace", NAMESPACE]).await?.success();
        made.with_context(|| format!("namespace `{NAMESPACE}` must be free for the demo"))?;

        let logs = folder.join("logs");
        std::fs::create_dir(&logs)?;
        let database_url = database.url();
        let service = Daemon::service(&database_url, &logs, Directory::Keep);
        let service = step("Starting the service", ready(service)).await?;
        let service_url = service.url.context("the service serves gRPC")?;
        let controller = Daemon::controller(&cluster.kubeconfig, &service_url, Some(NAMESPACE), &logs, Directory::Keep);
        let controller = step("Starting the controller", ready(controller)).await?;

        let jobs = [
            ("campaign-metrics", vec![service.admin_url.clone()]),
            ("campaign-controller", vec![controller.admin_url.clone()]),
        ];
        let directory = folder.join("prometheus");
        let prometheus = Prometheus::start(&directory, &jobs, SCRAPE_INTERVAL, Directory::Keep);
        let prometheus = step("Starting Prometheus with the rules of the chart", prometheus).await?;

        let mut processes = vec![service.process, controller.process, prometheus.process];
        let mut dashboards_url = None;
        if args.dashboards {
            let viewer = dashboards::start(&prometheus.url, &database_url, &logs);
            let viewer =
                step("Starting the viewer of the dashboards (installed and built the first time)", viewer).await?;
            processes.push(viewer.process);
            dashboards_url = Some(viewer.url);
        }

        let endpoint = Endpoint::from_shared(service_url.clone())?.timeout(CALL_DEADLINE);
        let channel = endpoint.connect_lazy();
        Ok(Self {
            daemons: processes.len(),
            processes: Mutex::new(processes),
            cluster,
            cluster_is_ours: !args.use_kubeconfig,
            database,
            campaigns: CampaignServiceClient::new(channel.clone()),
            sending: SendingServiceClient::new(channel),
            admin_url: service.admin_url,
            prometheus_url: prometheus.url,
            dashboards_url,
            service_url,
            folder: folder.to_owned(),
        })
    }

    fn processes(&self) -> std::sync::MutexGuard<'_, Vec<Process>> {
        // A panic can't leave the list half changed.
        self.processes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs one more process, until the stage is stopped.
    pub fn add(&self, process: Process) {
        self.processes().push(process);
    }

    /// Returns the processes that were added.
    pub fn take_added(&self) -> Vec<Process> {
        self.processes().split_off(self.daemons)
    }

    /// Fails if a required process has ended. An added process may end when its work is done.
    pub fn check(&self) -> Result<()> {
        for (place, process) in self.processes().iter_mut().enumerate() {
            if let Some(status) = process.exited()?
                && (place < self.daemons || !status.success())
            {
                bail!("a process ended by itself, with {status}; its log is {}", process.log_path().display());
            }
        }
        Ok(())
    }

    /// The campaigns as the service gives them, by id.
    pub async fn list(&self) -> Result<Vec<pb::Campaign>> {
        let request = pb::ListCampaignsRequest { parent: format!("workspaces/{NAMESPACE}"), ..Default::default() };
        Ok(self.campaigns.clone().list_campaigns(request).await?.into_inner().campaigns)
    }

    /// Runs kubectl in the namespace.
    pub async fn kubectl(&self, arguments: &[&str]) -> Result<Output> {
        self.cluster.kubectl(["--namespace", NAMESPACE].iter().chain(arguments)).await
    }

    /// kubectl in the namespace with an environment variable more.
    pub async fn kubectl_with(&self, arguments: &[&str], key: &str, value: &str) -> Result<Output> {
        let mut command = self.cluster.kubectl_command()?;
        command.args(["--namespace", NAMESPACE]).args(arguments).env(key, value);
        run(command, "").await
    }

    /// Runs our own command-line tool against the service.
    pub async fn campaignctl(&self, arguments: &[&str]) -> Result<String> {
        let mut command = tokio::process::Command::new(binary("campaignctl")?);
        command.args(["--server", &self.service_url, "--workspace", NAMESPACE]).args(arguments);
        run(command, "").await?.success()
    }

    /// A connection to the service's database, for what has to be seen past the service.
    pub async fn sql(&self) -> Result<Connection> {
        connect(&self.database.url()).await
    }

    /// Commands for a second terminal.
    pub fn commands(&self) -> Result<String> {
        let directory =
            |path: PathBuf| Ok::<_, anyhow::Error>(path.parent().context("a file lies in a folder")?.to_owned());
        let (ours, tools) = (directory(binary("campaignctl")?)?, directory(part("kubectl")?)?);
        let grpcurl = directory(part("grpcurl")?)?;
        let path = if grpcurl == tools {
            tools.display().to_string()
        } else {
            format!("{}:{}", tools.display(), grpcurl.display())
        };
        let (kubeconfig, address) = (self.cluster.kubeconfig.display(), &self.service_url["http://".len()..]);
        let (url, admin, folder) = (&self.service_url, &self.admin_url, self.folder.display());
        let prometheus = &self.prometheus_url;
        let dashboards = match &self.dashboards_url {
            Some(url) => format!("\nThe dashboards of the chart, with live data: {url}"),
            None => "\nThe dashboards of the chart, with live data: start with DASHBOARDS=1".to_owned(),
        };
        Ok(format!(
            "  export PATH={ours}:{path}:$PATH KUBECONFIG={kubeconfig}\n  \
               export CAMPAIGN_METRICS_SERVER={url} CAMPAIGN_METRICS_WORKSPACE={NAMESPACE}\n  \
               kubectl -n {NAMESPACE} get campaigns --watch\n  \
               kubectl -n {NAMESPACE} edit campaign product-news      # state: Paused, and back to Active\n  \
               kubectl -n {NAMESPACE} describe campaign product-news  # conditions and events\n  \
               campaignctl campaigns get spring-launch\n  \
               campaignctl leads list --campaign partner-outreach --status failed\n  \
               grpcurl -plaintext {address} list campaign_metrics.v1.CampaignService\n  \
               grpcurl -plaintext -d '{{\"parent\": \"workspaces/{NAMESPACE}\"}}' {address} \
               campaign_metrics.v1.CampaignService/ListCampaigns\n  \
               curl -s {admin}/metrics | grep ^campaign_metrics_campaign\n  \
               curl -s {prometheus}/api/v1/query -d 'query=workspace_campaign:delivery:ratio'\n  \
               tail -f {folder}/logs/*.log\n\
             Prometheus, with the recording rules and alerts of the chart: {prometheus}/alerts{dashboards}",
            ours = ours.display(),
        ))
    }

    /// Stops everything, and returns the first failure. Parts that ran already are left as they were.
    pub async fn stop(self) -> Result<()> {
        let mut stopped = Vec::new();
        for mut process in self.take_added() {
            stopped.push(process.stop(GRACE).await.map(drop));
        }
        if !self.cluster_is_ours {
            stopped.push(self.clear_cluster().await);
        }
        let processes = self.processes.into_inner().unwrap_or_else(PoisonError::into_inner);
        for mut process in processes.into_iter().rev() {
            stopped.push(process.stop(GRACE).await.map(drop));
        }
        stopped.push(self.cluster.stop().await);
        stopped.push(self.database.stop().await);
        stopped.into_iter().collect()
    }

    /// Removes the resources while the controller still runs to let them go, then the namespace.
    async fn clear_cluster(&self) -> Result<()> {
        self.kubectl(&["delete", "campaigns", "--all", "--timeout=30s"]).await?.success()?;
        self.kubectl(&["delete", "namespace", NAMESPACE, "--wait=false"]).await?.success()?;
        Ok(())
    }
}

impl Database {
    async fn make(server_url: &str) -> Result<Self> {
        let name = format!("campaign_metrics_demo_{}", std::process::id());
        let sql = connect(server_url).await.context("the server of TEST_DATABASE_URL")?;
        sql.batch_execute(&format!("CREATE DATABASE {name}")).await?;
        Ok(Self::Within {
            server_url: server_url.to_owned(),
            url: crate::harness::postgres::with_database(server_url, &name)?,
            name,
        })
    }

    fn url(&self) -> String {
        match self {
            Self::Ours(server) => server.url("postgres"),
            Self::Within { url, .. } => url.clone(),
        }
    }

    async fn stop(self) -> Result<()> {
        match self {
            Self::Ours(mut server) => server.stop().await,
            Self::Within { server_url, name, .. } => {
                let sql = connect(&server_url).await?;
                Ok(sql.batch_execute(&format!("DROP DATABASE {name} WITH (FORCE)")).await?)
            }
        }
    }
}

/// Waits until a daemon that is being started can do its work.
async fn ready(starting: impl Future<Output = Result<Daemon>>) -> Result<Daemon> {
    let mut daemon = starting.await?;
    let url = format!("{}/readyz", daemon.admin_url);
    let look = async || {
        let (status, body) = http::get(&url).await?;
        ensure!(status == 200, "{body}");
        Ok(())
    };
    daemon.process.ready(SOON, look).await?;
    Ok(daemon)
}
