//! What identifies the cluster: the UID of its namespace `kube-system`. The service tells by it a resource that was created
//! again from one of another cluster.
//!
//! A controller of one namespace may not be allowed to read `kube-system`. The UID of its own namespace serves it as well,
//! until that namespace is created again.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client, ResourceExt as _};
use tokio::sync::OnceCell;

/// The identity of the cluster, read when it is first needed.
#[derive(Debug, Clone, Default)]
pub struct ClusterId {
    namespace: Option<String>,
    id: Arc<OnceCell<String>>,
}

impl ClusterId {
    /// Creates the identity for a controller of this namespace, or of all.
    pub fn new(namespace: Option<String>) -> Self {
        Self { namespace, id: Arc::default() }
    }

    /// Returns the identity; empty if the API server does not let us read it. Fails if the API server fails.
    pub async fn get(&self, client: &Client) -> kube::Result<String> {
        self.id.get_or_try_init(|| self.read(client)).await.cloned()
    }

    async fn read(&self, client: &Client) -> kube::Result<String> {
        let namespaces: Api<Namespace> = Api::all(client.clone());
        for name in std::iter::once("kube-system").chain(self.namespace.as_deref()) {
            match namespaces.get_metadata(name).await {
                Ok(namespace) => return Ok(namespace.uid().unwrap_or_default()),
                Err(kube::Error::Api(status)) if status.code == 403 => {}
                Err(error) => return Err(error),
            }
        }
        tracing::warn!("may not read the namespace kube-system: resources that are created again can't take over");
        Ok(String::new())
    }
}
