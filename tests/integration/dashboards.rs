//! The dashboards: the checked-in ones are those that their code makes, and Grafana knows all that they use.

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use anyhow::ensure;

use crate::{
    harness::{
        daemon::Daemon,
        golden::assert_golden,
        kube::cluster,
        node::Package,
        parts::repository,
        postgres::Role,
        process::Directory,
        prometheus::Prometheus,
        wait::{SOON, until},
    },
    rules::{happen, replicas},
    world::WORKSPACE,
};
use campaign_metrics::pb;

const DASHBOARDS: &str = "charts/campaign-metrics/files/dashboards";

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).expect("the folder of dashboards");
    entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn the_dashboards_are_those_that_their_code_makes() {
    let package = Package::installed("charts/dashboards").unwrap();
    let folder = tempfile::tempdir().unwrap();
    package.npm(&["run", "--silent", "generate", "--", folder.path().to_str().unwrap()]).unwrap();
    let made = names(folder.path());
    assert_eq!(made.len(), 5, "{made:?}");
    for name in &made {
        assert_golden(&format!("{DASHBOARDS}/{name}"), &fs::read_to_string(folder.path().join(name)).unwrap());
    }
    assert_eq!(names(&repository().join(DASHBOARDS)), made, "a dashboard that no code makes");
}

#[test]
fn grafana_knows_every_unit_panel_and_link_of_the_dashboards() {
    let viewer = Package::installed("charts/dashboards/render").unwrap();
    viewer.npm(&["run", "--silent", "check"]).unwrap();
}

/// Until Prometheus has scraped what happened and evaluated rules on rules, and Node has asked everything.
const ASKED: Duration = Duration::from_mins(3);

#[tokio::test]
async fn every_query_of_the_dashboards_finds_something() {
    let (one, other) = replicas().await;
    let cluster = cluster().await;
    let namespace = cluster.namespace("dashboards").await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let controller =
        Daemon::controller(&cluster.kubeconfig, &one.url, Some(&namespace), directory.path(), Directory::Keep);
    let controller = controller.await.unwrap();
    let resource = format!(
        "{{apiVersion: campaign-metrics.io/v1alpha1, kind: Campaign, \
         metadata: {{name: autumn, namespace: {namespace}}}, spec: {{state: Paused}}}}"
    );
    cluster.kubectl_input(["apply", "-f", "-"], &resource).await.unwrap().success().unwrap();

    let jobs = [
        ("campaign-metrics", vec![one.admin_url.clone(), other.admin_url.clone()]),
        ("campaign-controller", vec![controller.admin_url.clone()]),
    ];
    let interval = Duration::from_secs(1);
    let prometheus = Prometheus::start(directory.path(), &jobs, interval, Directory::Keep).await.unwrap();
    let scraped = async || {
        let samples = prometheus.query("workspace_campaign:messages:sum{campaign=\"spring\"} == 0").await?;
        ensure!(samples.len() == 1, "{samples:?}");
        Ok(())
    };
    until("a scrape before anything happens", SOON, scraped).await.unwrap();
    happen(&one).await;
    // Numbers by account are read again after five minutes by the clock of the service.
    one.clock.advance(Duration::from_mins(6));

    // Panels of rates show the last seconds, so somebody calls all the time.
    let mut campaigns = one.campaigns.clone();
    let caller = tokio::spawn(async move {
        let mut ticks = tokio::time::interval(Duration::from_millis(200));
        loop {
            ticks.tick().await;
            let request = pb::ListCampaignsRequest { parent: WORKSPACE.into(), ..Default::default() };
            campaigns.list_campaigns(request).await.expect("a list");
        }
    });

    let (url, database) = (prometheus.url.clone(), Role::Reader.url(&one.database.admin_url));
    let ask = async || {
        let (url, database) = (url.clone(), database.clone());
        // The service of this test answers the scrapes meanwhile.
        let asked = tokio::task::spawn_blocking(move || {
            let viewer = Package::installed("charts/dashboards/render")?;
            let chosen = [
                format!("workspace={}", WORKSPACE.trim_start_matches("workspaces/")),
                "campaign=spring".into(),
                "account=ann".into(),
                "lead=l10".into(),
            ];
            let mut arguments = vec!["run", "--silent", "ask", "--", "--prometheus", &url, "--postgres", &database];
            arguments.extend(chosen.iter().flat_map(|one| ["--choose", one]));
            viewer.npm(&arguments)
        });
        let lines = asked.await??;
        ensure!(lines.lines().count() > 85, "only {} queries", lines.lines().count());
        Ok(())
    };
    until("every query finds something", ASKED, ask).await.unwrap();
    caller.abort();
    assert!(caller.await.is_err_and(|error| error.is_cancelled()), "the service answered all the time");
}
