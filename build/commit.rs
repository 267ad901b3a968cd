//! Finds out from which commit the sources are. Shared by the build and its test.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// The commit of the checkout at `root`, or `unknown` if there is no checkout: sources from an archive, even one unpacked
/// inside another repository.
pub fn of(root: &Path) -> String {
    let commit = || git(root, &["rev-parse", "--short=12", "HEAD"]).filter(|commit| !commit.is_empty());
    is_root(root).then(commit).flatten().unwrap_or_else(|| "unknown".to_owned())
}

/// The file to which git appends a line when another commit is checked out or made.
pub fn log(root: &Path) -> Option<PathBuf> {
    let log = root.join(git(root, &["rev-parse", "--git-path", "logs/HEAD"])?);
    (is_root(root) && log.is_file()).then_some(log)
}

fn is_root(root: &Path) -> bool {
    git(root, &["rev-parse", "--show-prefix"]).is_some_and(|prefix| prefix.is_empty())
}

fn git(root: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").current_dir(root).args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
