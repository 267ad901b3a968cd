//! Checks the rules of docs/architecture.md: what each module may name, and how long a file may be.
//!
//! Only code counts: comments, unit tests and test files may name anything.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::harness::parts::repository;

#[path = "layout/modules.rs"]
mod modules;

/// Maximum lines of a file before its tests. A longer file has more than one subject.
const LINES_BUDGET: usize = 400;

/// Maximum lines of a file including its tests, also of those named in [`LONGER`].
const LINES_MAX: usize = 600;

/// Files over their budget, each with its reason.
const LONGER: [(&str, &str); 0] = [];

/// All files of the repository that are not made by a build, as paths within it.
fn files(extensions: &[&str]) -> Vec<PathBuf> {
    fn walk(directory: &Path, extensions: &[&str], found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(directory).expect("a directory of the repository") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().expect("entries have names").to_string_lossy().into_owned();
            if path.is_symlink() || ["target", ".git", "node_modules"].contains(&name.as_str()) {
                continue;
            }
            if path.is_dir() {
                walk(&path, extensions, found);
            } else if extensions.iter().any(|extension| name.ends_with(extension)) {
                found.push(path.strip_prefix(repository()).expect("walked from there").to_owned());
            }
        }
    }
    let mut found = Vec::new();
    walk(repository(), extensions, &mut found);
    assert!(found.len() > 3, "the walk finds the repository");
    found
}

fn rust_files(under: &[&str]) -> Vec<PathBuf> {
    let mut found = files(&[".rs"]);
    found.retain(|path| under.iter().any(|prefix| path.starts_with(prefix)));
    assert!(!found.is_empty(), "no file under {under:?}: the rule looks at nothing");
    found
}

fn read(path: &Path) -> String {
    fs::read_to_string(repository().join(path)).expect("a file that was just listed")
}

/// The code of a file, line by line: without comments and without its tests.
fn code(path: &Path) -> Vec<(usize, String)> {
    let text = if path.ends_with("tests.rs") { String::new() } else { read(path) };
    let lines = text.lines().take_while(|line| line.trim() != "#[cfg(test)]");
    let lines = lines.map(|line| line.split("//").next().unwrap_or_default().to_owned());
    (1..).zip(lines).collect()
}

/// Returns whether a line contains the whole word.
fn names(line: &str, word: &str) -> bool {
    let inside = |other: Option<char>| other.is_some_and(|other| other.is_alphanumeric() || other == '_');
    line.match_indices(word).any(|(at, _)| {
        let (before, after) = (line[..at].chars().next_back(), line[at + word.len()..].chars().next());
        !inside(before) && !inside(after)
    })
}

fn assert_never(files: &[PathBuf], words: &[&str], why: &str) {
    let mut broken = Vec::new();
    for path in files {
        for (number, line) in code(path) {
            let found = words.iter().find(|word| names(&line, word));
            broken.extend(found.map(|word| format!("{}:{number} names `{word}`", path.display())));
        }
    }
    assert!(broken.is_empty(), "{why}:\n{}", broken.join("\n"));
}

#[test]
fn rpc_never_names_postgres() {
    let files = rust_files(&["services/metrics/src/rpc.rs", "services/metrics/src/rpc"]);
    assert_never(
        &files,
        &["tokio_postgres", "deadpool_postgres", "refinery_core"],
        "rpc parses, calls the store and renders; SQL is the store's",
    );
}

#[test]
fn the_store_never_names_the_wire() {
    let files = rust_files(&["services/metrics/src/store.rs", "services/metrics/src/store"]);
    assert_never(&files, &["tonic", "tonic_types", "pb", "prost", "prost_types"], "the store knows domain types only");
}

#[test]
fn the_domain_is_pure() {
    let mut files = rust_files(&["proto"]);
    files.retain(|path| !path.starts_with("proto/wire") && path != Path::new("proto/wire.rs"));
    let lib = files.iter().position(|path| path == Path::new("proto/lib.rs"));
    files.remove(lib.expect("the map of the crate"));
    assert_never(
        &files,
        &["tonic", "tokio", "pb", "prost", "prost_types", "now()", "std::fs", "std::net", "async"],
        "the domain does no I/O, reads no clock and knows no wire; wire.rs converts",
    );
}

#[test]
fn only_wire_converts_between_the_wire_and_the_domain() {
    let mut files = rust_files(&["services/metrics", "proto"]);
    files.retain(|path| !path.starts_with("proto/wire") && path != Path::new("proto/wire.rs"));
    let mut broken = Vec::new();
    for path in files {
        for (number, line) in code(&path) {
            let line = line.trim_start();
            let converts = line.starts_with("impl") && line.contains("From<") && names(line, "pb");
            if converts {
                broken.push(format!("{}:{number} {line}", path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "conversions belong into proto/wire.rs:\n{}", broken.join("\n"));
}

#[test]
fn the_plan_of_the_controller_does_no_io() {
    let files = rust_files(&["controller/src/plan.rs", "controller/src/plan"]);
    assert_never(
        &files,
        &["tokio", "async", "await", "Api", "Client", "now()", "rand", "std::fs", "std::net", "std::env"],
        "plan.rs is pure: desired and observed in, a step out",
    );
}

#[test]
fn contract_services_and_controller_depend_in_one_direction() {
    for (manifest, never) in [
        ("controller/Cargo.toml", &["campaign-metrics-service", "tokio-postgres"][..]),
        ("services/metrics/Cargo.toml", &["kube", "k8s-openapi", "campaign-controller"]),
        (
            "services/campaignctl/Cargo.toml",
            &["kube", "tokio-postgres", "campaign-metrics-service", "campaign-controller"],
        ),
        (
            "services/simulator/Cargo.toml",
            &["kube", "tokio-postgres", "campaign-metrics-service", "campaign-controller"],
        ),
    ] {
        let text = read(Path::new(manifest));
        let dependencies = text.split("[dev-dependencies]").next().unwrap_or_default();
        for line in dependencies.lines() {
            let name = line.split(['.', ' ', '=']).next().unwrap_or_default();
            assert!(!never.contains(&name), "{manifest} depends on {name}");
        }
    }
}

#[test]
fn no_file_is_longer_than_its_budget() {
    let mut broken = Vec::new();
    for path in files(&[".rs"]) {
        let (all, code) = (read(&path).lines().count(), code(&path).len());
        let name = path.display().to_string();
        let excused = LONGER.iter().any(|(longer, _)| *longer == name);
        if all > LINES_MAX || (code > LINES_BUDGET && !excused) {
            broken.push(format!("{name}: {all} lines of {LINES_MAX}, {code} before its tests of {LINES_BUDGET}"));
        }
    }
    assert!(broken.is_empty(), "split by subject:\n{}", broken.join("\n"));
}

#[test]
fn every_module_says_its_job_first() {
    let without: Vec<_> = files(&[".rs"]).into_iter().filter(|path| !read(path).starts_with("//! ")).collect();
    assert!(without.is_empty(), "these open without a `//!` line: {without:?}");
}

#[test]
fn no_test_file_is_left_undeclared() {
    let declared = read(Path::new("tests/integration.rs"));
    for path in rust_files(&["tests/integration"]) {
        let name = path.file_stem().expect("a file name").to_string_lossy().into_owned();
        let top = path.parent() == Some(Path::new("tests/integration"));
        assert!(!top || declared.contains(&format!("mod {name};")), "tests/integration.rs does not declare `{name}`");
    }
}

#[test]
fn nothing_names_a_place_on_one_machine() {
    // Concatenated, or this file would break its own rule.
    let places = ["work", "root", "home"].map(|name| format!("/{name}/"));
    let text =
        [".rs", ".toml", ".md", ".yaml", ".yml", ".proto", ".sql", "Makefile", "real-parts", "run", ".json", ".tpl"];
    let mut broken = Vec::new();
    for path in files(&text) {
        for (number, line) in (1..).zip(read(&path).lines()) {
            if places.iter().any(|place| line.contains(place.as_str())) {
                broken.push(format!("{}:{number}: {}", path.display(), line.trim()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn no_module_has_a_name_that_says_nothing() {
    for path in files(&[".rs"]) {
        for part in &path {
            let part = part.to_string_lossy();
            let name = part.trim_end_matches(".rs");
            assert!(
                !["utils", "util", "common", "helpers", "helper", "manager", "misc"].contains(&name),
                "{}",
                path.display()
            );
        }
    }
}
