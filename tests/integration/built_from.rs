//! The commit that a build names.

use std::{path::Path, process::Command};

#[path = "../../build/commit.rs"]
mod commit;

fn git(directory: &Path, arguments: &[&str]) -> String {
    let identity = ["-c", "user.name=nobody", "-c", "user.email=nobody@example.com"];
    let output = Command::new("git").current_dir(directory).args(identity).args(arguments).output().expect("git");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
fn a_build_names_the_commit_of_its_own_checkout_or_none() {
    let directory = tempfile::tempdir().expect("a directory");
    let root = directory.path();
    assert_eq!(commit::of(root), "unknown", "outside a checkout");
    assert_eq!(commit::log(root), None);
    git(root, &["init", "--quiet"]);
    assert_eq!(commit::of(root), "unknown", "before the first commit");
    for text in ["one", "two"] {
        git(root, &["commit", "--quiet", "--allow-empty", "--message", text]);
        let head = git(root, &["rev-parse", "HEAD"]);
        assert_eq!(commit::of(root), head[..12]);
        let log = std::fs::read_to_string(commit::log(root).expect("a log")).expect("it can be read");
        assert!(log.lines().last().is_some_and(|line| line.contains(&head)), "{log}");
    }
    let unpacked = root.join("unpacked");
    std::fs::create_dir(&unpacked).expect("a directory");
    assert_eq!(commit::of(&unpacked), "unknown", "sources from an archive, inside another repository");
    assert_eq!(commit::log(&unpacked), None);
}
