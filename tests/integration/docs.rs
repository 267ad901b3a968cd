//! Documentation and code agree on calls, error reasons and metrics, and links lead to files that exist.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::harness::{parts::repository, service::Service, tools::grpcurl};

pub fn read(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    fs::read_to_string(repository().join(path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns all files below a directory with this extension, as paths in the repository.
fn files(directory: &str, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut directories = vec![PathBuf::from(directory)];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(repository().join(&directory)).expect("a directory of the repository") {
            let entry = entry.expect("an entry");
            let path = directory.join(entry.file_name());
            if entry.path().is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
    }
    assert!(!found.is_empty(), "no .{extension} file in {directory}");
    found
}

/// The words in backquotes.
fn quoted(text: &str) -> BTreeSet<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

#[test]
fn the_api_page_shows_every_call_of_the_contract() {
    let page = read("docs/api.md");
    let shown = quoted(&page);
    let mut calls = 0;
    for file in files("proto", "proto") {
        for line in read(&file).lines() {
            let Some(call) = line.trim_start().strip_prefix("rpc ").and_then(|rest| rest.split('(').next()) else {
                continue;
            };
            calls += 1;
            assert!(shown.contains(call), "docs/api.md does not show {call} of {}", file.display());
        }
    }
    assert!(calls > 20, "the contract has calls");
}

#[tokio::test]
async fn every_example_of_the_api_page_is_a_request_that_the_service_understands() {
    let page = read("docs/api.md");
    let served = page.split("\n## Later").next().expect("splitting gives a part");
    let service = Service::start().await;
    let (mut room, mut examples) = (String::new(), 0);
    for line in served.lines() {
        let mut words = line.split('`').skip(1).step_by(2);
        let (Some(first), example) = (words.next(), words.next().unwrap_or_default()) else { continue };
        if line.contains("Service`, served.") {
            first.clone_into(&mut room);
        }
        // A watch ends only when its reader does.
        if !line.starts_with('|') || !example.starts_with("{\"") || first == "WatchCampaigns" {
            continue;
        }
        examples += 1;
        let request: Value = serde_json::from_str(example).unwrap_or_else(|error| panic!("{example}: {error}"));
        let output = grpcurl(&service.url, &format!("campaign_metrics.v1.{room}/{first}"), &request).await.unwrap();
        // The request must be well-formed; what it names need not exist.
        let understood = ["NotFound", "FailedPrecondition", "Aborted", "AlreadyExists"];
        let is_understood = understood.iter().any(|code| output.stderr.contains(&format!("Code: {code}\n")));
        assert!(output.status.success() || is_understood, "{room}/{first} {example}:\n{}", output.stderr);
    }
    assert!(examples > 20, "found {examples} examples");
}

#[test]
fn the_api_page_lists_every_reason_of_an_error() {
    let page = read("docs/api.md");
    let shown = quoted(&page);
    let is_reason = |text: &str| {
        text.len() > 4 && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_') && !text.starts_with('_')
    };
    let mut reasons = BTreeSet::new();
    let rooms = ["services/metrics/src/rpc", "services/metrics/src/store"].map(|room| files(room, "rs")).concat();
    for file in rooms.into_iter().chain(["services/metrics/src/error.rs".into(), "proto/wire/sending.rs".into()]) {
        let text = read(&file);
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        reasons.extend(code.split('"').skip(1).step_by(2).filter(|text| is_reason(text)).map(str::to_owned));
    }
    assert!(reasons.contains("ETAG_MISMATCH") && reasons.contains("UNKNOWN_LEAD"), "found: {reasons:?}");
    let missing: Vec<_> = reasons.iter().filter(|reason| !shown.contains(reason.as_str())).collect();
    assert!(missing.is_empty(), "docs/api.md does not list {missing:?}");
}

#[test]
fn runbooks_name_every_reason_for_which_a_resource_is_not_reconciled() {
    let operating = read("docs/operating.md");
    for (constructor, page, at_least) in [
        ("transient(\"", "docs/runbooks/ReconcileErrors.md", "AccountNotFound"),
        ("terminal(\"", "docs/runbooks/ResourcesRefused.md", "InvalidSpec"),
    ] {
        let text = read(page);
        let named = quoted(&text);
        let mut reasons = BTreeSet::new();
        for code in files("controller/src", "rs").iter().map(read) {
            // Rustfmt can put the reason on the next line.
            let code: String = code.split_whitespace().collect();
            let found = code.split(constructor).skip(1).filter_map(|rest| rest.split('"').next());
            reasons.extend(found.map(str::to_owned));
        }
        assert!(reasons.contains(at_least), "found: {reasons:?}");
        for reason in reasons {
            assert!(named.contains(reason.as_str()), "{page} does not name {reason}");
            assert!(operating.contains(&reason), "docs/operating.md does not name {reason}");
        }
    }
}

/// The anchors of a page, as GitHub makes them of its headings.
fn anchors(page: &str) -> BTreeSet<String> {
    let mut is_code = false;
    let headings = page.lines().filter(|line| {
        is_code ^= line.starts_with("```");
        !is_code && line.starts_with('#')
    });
    let anchor = |heading: &str| {
        let kept = heading
            .trim_start_matches('#')
            .trim()
            .chars()
            .filter(|&letter| letter.is_alphanumeric() || " -_".contains(letter));
        kept.collect::<String>().to_lowercase().replace(' ', "-")
    };
    headings.map(anchor).collect()
}

#[test]
fn links_of_the_documentation_lead_somewhere() {
    let pages = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"].map(PathBuf::from);
    let mut checked_anchors = 0;
    for page in pages.into_iter().chain(files("docs", "md")) {
        for link in read(&page).split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.starts_with("https://") {
                continue;
            }
            let (target, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if target.is_empty() { page.clone() } else { page.with_file_name(target) };
            assert!(repository().join(&target).exists(), "{}: {link} leads nowhere", page.display());
            if !anchor.is_empty() {
                checked_anchors += 1;
                assert!(anchors(&read(&target)).contains(anchor), "{}: {link}: no such heading", page.display());
            }
        }
    }
    assert!(checked_anchors > 10, "the pages have links to headings");
}
