//! A Kubernetes API server alone, for those who run the parts by hand and have no cluster.

use std::process::ExitCode;

use anyhow::Result;

use crate::{
    Interrupts,
    folder::Folder,
    harness::{kube::Cluster, process::Directory},
    step,
};

/// Starts it, says how to reach it, and stops and removes it at Ctrl-C.
pub async fn hold(folder: Folder, interrupts: &mut Interrupts) -> Result<ExitCode> {
    let data = folder.path().join("kubernetes");
    let starting = Cluster::start(&data, Directory::Keep);
    let cluster = step("Starting etcd and a Kubernetes API server", starting).await?;
    println!("\nSet this in the terminals of kubectl and of the controller:\n");
    println!("export KUBECONFIG={}\n", cluster.kubeconfig.display());
    println!("The cluster has no nodes, so it runs no Pods. Ctrl-C stops and removes it.");
    interrupts.next().await;
    cluster.stop().await?;
    folder.remove()?;
    println!("Stopped and removed");
    Ok(ExitCode::SUCCESS)
}
