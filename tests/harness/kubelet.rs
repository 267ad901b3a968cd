//! A node of a cluster: runs the Pods of a namespace as processes and tells the API server how they are.
//!
//! It does the work of the scheduler (there is one node), the kubelet and the cluster's DNS. A container runs with the
//! arguments, environment, Secrets and token that its Pod has on the API server, as that Pod's user, without any
//! privilege, on a read-only file system. Its probes are called, and decide whether its Service leads to it.
//!
//! It differs from a real node in the network: a Pod's address 10.x.y.z is the loopback address 127.x.y.z, which replaces
//! 0.0.0.0 in arguments, and names of Services are lines of a hosts file.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context as _, Result};
use k8s_openapi::api::{
    core::v1::{Pod, Service},
    discovery::v1::EndpointSlice,
};
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, ListParams, PostParams},
};
use serde_json::json;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::kube::Cluster;

#[path = "kubelet/container.rs"]
mod container;
#[path = "kubelet/spec.rs"]
mod spec;

use container::Container;

/// Pause between two looks at the Pods.
const PAUSE: Duration = Duration::from_millis(100);

/// What containers did, for assertions.
#[derive(Debug, Default, Clone)]
pub struct Record {
    /// Commands of containers in the order of their starts, each with the name of its Pod.
    pub started: Vec<(String, Vec<String>)>,
    /// Containers that ended by themselves although they should run, or had to be killed, with their last words.
    pub failures: Vec<String>,
    /// What containers that run once wrote to stdout, by the name of their Pod.
    pub output: BTreeMap<String, String>,
}

/// A node that runs the Pods of one namespace.
#[derive(Debug)]
pub struct Kubelet {
    stop: CancellationToken,
    task: Option<JoinHandle<Result<()>>>,
    record: Arc<Mutex<Record>>,
}

/// What the containers of a node share.
struct Node {
    client: Client,
    namespace: String,
    /// Directory of the hosts file and of all Pods.
    directory: TempDir,
    /// Host and port of the API server, for the containers.
    apiserver: (String, String),
    record: Arc<Mutex<Record>>,
    addresses: u8,
}

impl Kubelet {
    /// Starts a node for a namespace. Stop it before the runtime ends.
    pub async fn start(cluster: &Cluster, namespace: &str) -> Result<Self> {
        let client = cluster.client().await?;
        // Endpoints lead to Pods of nodes that exist.
        let node = Node::object()?;
        Api::<k8s_openapi::api::core::v1::Node>::all(client.clone()).create(&PostParams::default(), &node).await?;
        let directory = tempfile::Builder::new().prefix("campaign-metrics-node-").tempdir()?;
        let record = Arc::new(Mutex::new(Record::default()));
        let mut node = Node {
            apiserver: cluster.address()?,
            client,
            namespace: namespace.to_owned(),
            directory,
            record: Arc::clone(&record),
            addresses: 0,
        };
        std::fs::write(node.hosts(), "127.0.0.1 localhost\n")?;
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let mut containers = BTreeMap::new();
            while !stopped.is_cancelled() {
                if let Err(error) = node.look(&mut containers).await {
                    // Whoever waits for a Pod sees this first.
                    node.note(|record| record.failures.push(format!("the node failed: {error:#}")));
                    return Err(error);
                }
                tokio::select! { () = tokio::time::sleep(PAUSE) => {}, () = stopped.cancelled() => {} }
            }
            Ok(())
        });
        Ok(Self { stop, task: Some(task), record })
    }

    /// What has happened so far.
    pub fn record(&self) -> Record {
        self.record.lock().expect("no holder panics").clone()
    }

    /// Stops the node and its containers. Fails if the node failed.
    pub async fn stop(mut self) -> Result<()> {
        self.stop.cancel();
        self.task.take().context("it was not stopped before")?.await?
    }

    /// The loopback address behind a Pod's address.
    pub fn loopback(address: &str) -> String {
        address.replacen("10.", "127.", 1)
    }
}

impl Node {
    fn object() -> Result<k8s_openapi::api::core::v1::Node> {
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": container::NODE}});
        Ok(serde_json::from_value(node)?)
    }

    fn hosts(&self) -> PathBuf {
        self.directory.path().join("hosts")
    }

    /// Brings what runs to what the API server wants.
    async fn look(&mut self, containers: &mut BTreeMap<String, Container>) -> Result<()> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let listed = pods.list(&ListParams::default()).await?.items;
        self.write_hosts().await?;
        // A Pod that was deleted by force has no time to end in.
        containers.retain(|uid, _| listed.iter().any(|pod| pod.uid().as_ref() == Some(uid)));
        for pod in listed {
            let uid = pod.uid().context("the API server gives each Pod a UID")?;
            let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
            let is_over = matches!(phase, Some("Succeeded" | "Failed"));
            match containers.get_mut(&uid) {
                Some(container) => {
                    let has_ended = container.tick(self, &pods, &pod).await?;
                    if has_ended {
                        containers.remove(&uid);
                    }
                }
                None if pod.metadata.deletion_timestamp.is_some() => self.remove(&pods, &pod).await?,
                None if !is_over => {
                    self.addresses += 1;
                    let address = format!("10.244.{}.{}", std::process::id() % 250, self.addresses);
                    containers.insert(uid, Container::start(self, &pods, &pod, &address).await?);
                }
                None => {}
            }
        }
        Ok(())
    }

    /// Confirms that a deleted Pod has ended.
    async fn remove(&self, pods: &Api<Pod>, pod: &Pod) -> Result<()> {
        let at_once = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
        match pods.delete(&pod.name_any(), &at_once).await {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            deleted => Ok(deleted.map(drop)?),
        }
    }

    /// Writes the names of Services with the addresses that are ready, as the cluster's DNS answers.
    async fn write_hosts(&self) -> Result<()> {
        let services: Api<Service> = Api::namespaced(self.client.clone(), &self.namespace);
        let slices: Api<EndpointSlice> = Api::namespaced(self.client.clone(), &self.namespace);
        let mut hosts = "127.0.0.1 localhost\n".to_owned();
        for service in services.list(&ListParams::default()).await?.items {
            let name = service.name_any();
            let of_service = ListParams::default().labels(&format!("kubernetes.io/service-name={name}"));
            for slice in slices.list(&of_service).await?.items {
                for endpoint in slice.endpoints {
                    if endpoint.conditions.is_some_and(|conditions| conditions.ready == Some(true)) {
                        for address in endpoint.addresses {
                            let address = Kubelet::loopback(&address);
                            writeln!(hosts, "{address} {name}.{}.svc", self.namespace)?;
                        }
                    }
                }
            }
        }
        // In place: the file is mounted into the containers.
        Ok(std::fs::write(self.hosts(), hosts)?)
    }

    fn note(&self, change: impl FnOnce(&mut Record)) {
        change(&mut self.record.lock().expect("no holder panics"));
    }
}
