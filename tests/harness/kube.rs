//! Kubernetes: one real API server with its etcd for all tests of a run, and kubectl; each test has a namespace.
//!
//! No other part of a cluster runs: a namespace never finishes deleting, a Deployment makes no Pod, no garbage is
//! collected. What the API server does itself works: validation, CEL, RBAC, pod security, watches. A test that needs the
//! rest starts a [`Cluster::whole`], and a node for its namespace.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::OnceCell;

use super::{
    parts::{binary, part},
    postgres::free_port,
    process::{Directory, GRACE, Process, Signal},
    run::{Output, run},
};

/// On an idle machine the API server is ready 3 s after its start.
const START_MAX: Duration = Duration::from_secs(90);

/// An API server: our own, or one that runs already.
#[derive(Debug)]
pub struct Cluster {
    /// The value of KUBECONFIG for kubectl and clients.
    pub kubeconfig: PathBuf,
    parts: Option<Parts>,
}

#[derive(Debug)]
struct Parts {
    // Fields are dropped in this order: the API server before what it stores in.
    controllers: Option<Process>,
    apiserver: Process,
    etcd: Process,
}

/// The administrator's token. The API server listens on loopback only and holds only data of tests and the demo.
const TOKEN: &str = "campaign-metrics-admin";

impl Cluster {
    /// Starts etcd and an API server with their data in `directory`, and installs the CRD.
    pub async fn start(directory: &Path, then: Directory) -> Result<Self> {
        // The controller of service accounts would have to make the `default` account of each namespace first.
        Self::start_by(directory, then, &["--disable-admission-plugins", "ServiceAccount"]).await
    }

    /// Starts a cluster whose controllers run too: Deployments make Pods, Jobs end, namespaces go, Pods get tokens.
    pub async fn whole(directory: &Path, then: Directory) -> Result<Self> {
        let mut cluster = Self::start_by(directory, then, &[]).await?;
        let mut command = Command::new(part("kube-controller-manager")?);
        command
            .arg("--kubeconfig")
            .arg(&cluster.kubeconfig)
            .arg("--service-account-private-key-file")
            .arg(directory.join("apiserver.key"))
            .arg("--root-ca-file")
            .arg(directory.join("apiserver.crt"))
            // The one node sends no signs of life.
            .args(["--controllers", "*,-node-lifecycle-controller"])
            .args(["--leader-elect=false", "--secure-port=0"]);
        let controllers = Process::start("kube-controller-manager", &command, directory, Signal::TERM, then)?;
        cluster.parts.as_mut().context("it was just started")?.controllers = Some(controllers);
        Ok(cluster)
    }

    async fn start_by(directory: &Path, then: Directory, arguments: &[&str]) -> Result<Self> {
        fs::create_dir_all(directory)?;
        let (etcd, etcd_url) = start_etcd(directory, then).await?;
        let tokens = directory.join("tokens.csv");
        fs::write(&tokens, format!("{TOKEN},admin,admin,\"system:masters\"\n"))?;
        let port = free_port()?.to_string();
        // The key that the server makes for its own certificate also signs the tokens of service accounts.
        let key = directory.join("apiserver.key");
        let mut command = Command::new(part("kube-apiserver")?);
        command
            .args(["--etcd-servers", &etcd_url, "--bind-address", "127.0.0.1", "--secure-port", &port])
            .arg("--cert-dir")
            .arg(directory)
            .arg("--token-auth-file")
            .arg(&tokens)
            .args(["--service-account-issuer", "https://kubernetes.default.svc"])
            .arg("--service-account-key-file")
            .arg(&key)
            .arg("--service-account-signing-key-file")
            .arg(&key)
            .args(["--authorization-mode", "RBAC", "--service-cluster-ip-range", "10.96.0.0/24"])
            .args(arguments);
        let apiserver = Process::start("kube-apiserver", &command, directory, Signal::TERM, then)?;
        let kubeconfig = directory.join("kubeconfig");
        let mut cluster = Self { kubeconfig, parts: Some(Parts { controllers: None, apiserver, etcd }) };
        cluster.ready(directory, &port).await?;
        cluster.install_crd().await?;
        Ok(cluster)
    }

    /// Uses a cluster that runs already, by its kubeconfig, and installs the CRD.
    pub async fn existing(kubeconfig: &Path) -> Result<Self> {
        let cluster = Self { kubeconfig: kubeconfig.to_owned(), parts: None };
        cluster.install_crd().await?;
        Ok(cluster)
    }

    async fn ready(&mut self, directory: &Path, port: &str) -> Result<()> {
        let (server, authority) = (format!("https://127.0.0.1:{port}"), directory.join("apiserver.crt"));
        let kubeconfig = self.kubeconfig.clone();
        let Some(parts) = &mut self.parts else { return Ok(()) };
        let certificate = async || Ok(fs::read(&authority)?);
        parts.apiserver.ready(START_MAX, certificate).await?;
        write_kubeconfig(&kubeconfig, &server, &authority, TOKEN)?;
        let look = async || {
            let mut command = kubectl_command(&kubeconfig)?;
            command.args(["get", "--raw", "/readyz"]);
            run(command, "").await?.success()
        };
        parts.apiserver.ready(START_MAX, look).await?;
        Ok(())
    }

    async fn install_crd(&self) -> Result<()> {
        let mut command = tokio::process::Command::new(binary("campaign-controller")?);
        command.arg("crd");
        let crd = run(command, "").await?.success()?;
        self.kubectl_input(["apply", "--server-side", "-f", "-"], &crd).await?.success()?;
        let crd = "crd/campaigns.campaign-metrics.io";
        self.kubectl(["wait", "--for=condition=Established", "--timeout=30s", crd]).await?.success()?;
        Ok(())
    }

    /// Stops the API server, then etcd. A cluster that ran already keeps running.
    pub async fn stop(mut self) -> Result<()> {
        if let Some(mut parts) = self.parts.take() {
            if let Some(mut controllers) = parts.controllers.take() {
                controllers.stop(GRACE).await?;
            }
            // A graceful stop waits up to a minute for watches to end. Its data is not worth that.
            parts.apiserver.stop(Duration::from_secs(3)).await?;
            parts.etcd.stop(GRACE).await?;
        }
        Ok(())
    }

    /// The processes, if they are ours: for signals and logs.
    pub fn apiserver(&self) -> Option<&Process> {
        self.parts.as_ref().map(|parts| &parts.apiserver)
    }

    /// Host and port of the API server.
    pub fn address(&self) -> Result<(String, String)> {
        let kubeconfig = Kubeconfig::read_from(&self.kubeconfig)?;
        let cluster = kubeconfig.clusters.first().and_then(|named| named.cluster.as_ref()).context("a cluster")?;
        let server = cluster.server.as_deref().context("a server")?;
        let (host, port) = server.trim_start_matches("https://").rsplit_once(':').context("host and port")?;
        Ok((host.to_owned(), port.to_owned()))
    }

    /// Returns a client with the administrator's rights. It belongs to the runtime that makes it.
    pub async fn client(&self) -> Result<kube::Client> {
        client(&self.kubeconfig).await
    }

    /// Runs kubectl.
    pub async fn kubectl<I: IntoIterator<Item: AsRef<OsStr>>>(&self, arguments: I) -> Result<Output> {
        self.kubectl_input(arguments, "").await
    }

    /// Runs kubectl with an input, for `-f -`.
    pub async fn kubectl_input<I: IntoIterator<Item: AsRef<OsStr>>>(
        &self,
        arguments: I,
        input: &str,
    ) -> Result<Output> {
        let mut command = self.kubectl_command()?;
        command.args(arguments);
        run(command, input).await
    }

    /// kubectl to add arguments and environment to, such as a scripted EDITOR; for [`run`].
    pub fn kubectl_command(&self) -> Result<tokio::process::Command> {
        kubectl_command(&self.kubeconfig)
    }

    /// Makes a namespace for one test.
    pub async fn namespace(&self, prefix: &str) -> Result<String> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("{prefix}-{}-{number}", std::process::id());
        self.kubectl(["create", "namespace", &name]).await?.success()?;
        Ok(name)
    }

    /// Writes a kubeconfig with the rights of a service account, with a real token of it.
    pub async fn kubeconfig_of_service_account(&self, namespace: &str, account: &str, path: &Path) -> Result<()> {
        let token = self.kubectl(["create", "token", account, "-n", namespace]).await?.success()?;
        let mut kubeconfig = Kubeconfig::read_from(&self.kubeconfig)?;
        let [user] = &mut kubeconfig.auth_infos[..] else {
            anyhow::bail!("the kubeconfig has other users than the administrator");
        };
        let user = user.auth_info.as_mut().context("the administrator has a token")?;
        user.token = Some(token.trim().to_owned().into());
        fs::write(path, serde_json::to_string_pretty(&kubeconfig)?)?;
        Ok(())
    }
}

/// A client by a kubeconfig.
pub async fn client(kubeconfig: &Path) -> Result<kube::Client> {
    let config = Kubeconfig::read_from(kubeconfig)?;
    let config = kube::Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await?;
    Ok(kube::Client::try_from(config)?)
}

async fn start_etcd(directory: &Path, then: Directory) -> Result<(Process, String)> {
    let client = format!("http://127.0.0.1:{}", free_port()?);
    let peer = format!("http://127.0.0.1:{}", free_port()?);
    let mut command = Command::new(part("etcd")?);
    command
        .arg("--data-dir")
        .arg(directory.join("etcd"))
        .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
        .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
        .args(["--initial-cluster", &format!("default={peer}"), "--log-level", "warn"])
        // Only data of tests and the demo is lost when the machine crashes.
        .arg("--unsafe-no-fsync");
    let mut etcd = Process::start("etcd", &command, directory, Signal::TERM, then)?;
    let health = format!("{client}/health");
    let look = async || {
        let (status, body) = super::http::get(&health).await?;
        ensure!(status == 200, "{body}");
        Ok(())
    };
    etcd.ready(START_MAX, look).await?;
    Ok((etcd, client))
}

fn write_kubeconfig(path: &Path, server: &str, authority: &Path, token: &str) -> Result<()> {
    // A kubeconfig is YAML, and so is JSON.
    let kubeconfig = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "campaign-metrics",
        "clusters": [{"name": "campaign-metrics", "cluster": {"server": server, "certificate-authority": authority}}],
        "users": [{"name": "admin", "user": {"token": token}}],
        "contexts": [{"name": "campaign-metrics", "context": {"cluster": "campaign-metrics", "user": "admin"}}],
    });
    fs::write(path, serde_json::to_string_pretty(&kubeconfig)?)?;
    Ok(())
}

fn kubectl_command(kubeconfig: &Path) -> Result<tokio::process::Command> {
    let mut command = tokio::process::Command::new(part("kubectl")?);
    command.env("KUBECONFIG", kubeconfig);
    Ok(command)
}

/// The cluster that all tests of a run share.
pub async fn cluster() -> &'static Cluster {
    static SHARED: OnceCell<(Cluster, TempDir)> = OnceCell::const_new();
    let start = async || -> Result<(Cluster, TempDir)> {
        let directory = tempfile::Builder::new().prefix("campaign-metrics-kubernetes-").tempdir()?;
        Ok((Cluster::start(directory.path(), Directory::Remove).await?, directory))
    };
    let shared = SHARED.get_or_init(async || start().await.expect("Kubernetes starts")).await;
    &shared.0
}
