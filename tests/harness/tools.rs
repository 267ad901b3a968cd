//! Runs third-party tools on our output: grpcurl by reflection alone, promtool on metrics, helm on the chart.

use std::{ffi::OsStr, path::PathBuf};

use anyhow::Result;
use serde_json::Value;
use tokio::process::Command;

use super::{
    parts::{part, repository},
    run::{Output, run},
};

/// Calls an RPC (`campaign_metrics.v1.CampaignService/GetCampaign`) by reflection, without a .proto file.
///
/// `url` is that of the service. stdout is JSON; a stream gives several values.
pub async fn grpcurl(url: &str, method: &str, request: &Value) -> Result<Output> {
    let mut command = Command::new(part("grpcurl")?);
    let address = url.trim_start_matches("http://");
    command.args(["-plaintext", "-emit-defaults", "-max-time", "30", "-d", "@", address, method]);
    run(command, &request.to_string()).await
}

/// Lists the services that reflection shows, or the methods of one service.
pub async fn grpcurl_list(url: &str, service: &str) -> Result<String> {
    let mut command = Command::new(part("grpcurl")?);
    command.args(["-plaintext", "-max-time", "30", url.trim_start_matches("http://"), "list"]);
    if !service.is_empty() {
        command.arg(service);
    }
    run(command, "").await?.success()
}

/// Runs promtool on a page of metrics. Fails with its findings.
pub async fn promtool_check(metrics: &str) -> Result<()> {
    let mut command = Command::new(part("promtool")?);
    command.args(["check", "metrics"]);
    run(command, metrics).await?.success()?;
    Ok(())
}

/// Where the chart is.
pub fn chart() -> PathBuf {
    repository().join("charts/campaign-metrics")
}

/// Returns helm with directories of its own, not the user's. Set KUBECONFIG on it.
pub fn helm<I: IntoIterator<Item: AsRef<OsStr>>>(arguments: I) -> Result<Command> {
    let mut command = Command::new(part("helm")?);
    let home = std::env::temp_dir().join("campaign-metrics-helm");
    for variable in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
        command.env(variable, &home);
    }
    command.args(arguments);
    Ok(command)
}
