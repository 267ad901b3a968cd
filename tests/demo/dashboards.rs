//! Shows the dashboards of the chart in the browser, with the data of the demo.
//!
//! The viewer of `charts/dashboards/render` draws them with the components of Grafana. It is no Grafana server.

use std::{
    fs,
    path::Path,
    process::Command,
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Result};

use crate::harness::{
    node::Package,
    process::{Directory, Process, Signal},
};

/// Deadline of its start: a second usually, more while the machine is busy.
const START: Duration = Duration::from_secs(30);

/// A running viewer.
pub struct Viewer {
    /// Stops at SIGTERM.
    pub process: Process,
    /// `http://127.0.0.1:PORT`.
    pub url: String,
}

/// Installs and builds the viewer if it is not yet, and starts it with its logs in `logs`.
pub async fn start(prometheus_url: &str, database_url: &str, logs: &Path) -> Result<Viewer> {
    let viewer = tokio::task::spawn_blocking(built).await??;
    let folder = viewer.path();
    let mut command = Command::new("node");
    command
        .arg("--import")
        .arg(folder.join("node_modules/tsx/dist/loader.mjs"))
        .arg(folder.join("src/server/main.ts"))
        .args(["--prometheus", prometheus_url])
        .env("DATABASE_URL", database_url);
    let mut process = Process::start("dashboards", &command, logs, Signal::TERM, Directory::Keep)?;
    let line = process.line("dashboards ", START).await?;
    let url = line.strip_prefix("dashboards ").context("the viewer says no address")?.to_owned();
    Ok(Viewer { process, url })
}

fn built() -> Result<Package> {
    let viewer = Package::installed("charts/dashboards/render")?;
    let page = changed(&viewer.path().join("dist/index.html")).unwrap_or(SystemTime::UNIX_EPOCH);
    if page < newest(viewer.path())? {
        viewer.npm(&["run", "--silent", "build"])?;
    }
    Ok(viewer)
}

fn changed(file: &Path) -> Result<SystemTime> {
    Ok(fs::metadata(file)?.modified()?)
}

/// When a source of the viewer last changed.
fn newest(folder: &Path) -> Result<SystemTime> {
    let mut newest = changed(&folder.join("package-lock.json"))?;
    for entry in fs::read_dir(folder.join("src"))?.chain(fs::read_dir(folder)?) {
        let path = entry?.path();
        if path.is_file() {
            newest = newest.max(changed(&path)?);
        }
    }
    Ok(newest)
}
