//! The dashboards: the checked-in ones are those that their code makes, and Grafana knows all that they use.

use std::{collections::BTreeSet, fs, path::Path};

use crate::harness::{golden::assert_golden, node::Package, parts::repository};

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
