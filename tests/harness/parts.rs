//! Finds binaries: real parts through `tests/real-parts`, our own beside the running one.

use std::{
    collections::BTreeMap,
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

use anyhow::{Context as _, Result, ensure};

/// The root of the repository.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn ask() -> Result<BTreeMap<String, PathBuf>> {
    // It reports its progress on stderr, which goes to the terminal.
    let answer = Command::new(repository().join("tests/real-parts"))
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("tests/real-parts does not start")?;
    ensure!(answer.status.success(), "tests/real-parts failed; see above");
    let text = String::from_utf8(answer.stdout)?;
    Ok(text
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(name, path)| (name.to_owned(), path.into()))
        .collect())
}

/// Returns the path of a real part (`kubectl`, `postgres`, ...). Builds or installs it if it is missing.
pub fn part(name: &str) -> Result<PathBuf> {
    static PARTS: OnceLock<BTreeMap<String, PathBuf>> = OnceLock::new();
    let parts = match PARTS.get() {
        Some(parts) => parts,
        None => PARTS.get_or_init(|| ask().unwrap_or_else(|error| panic!("{error:#}"))),
    };
    parts.get(name).cloned().with_context(|| format!("`tests/real-parts` knows no `{name}`"))
}

/// Path of one of our own binaries.
pub fn binary(name: &str) -> Result<PathBuf> {
    // Tests run from target/debug/deps, examples from target/debug/examples.
    let directory = env::current_exe()?;
    let directory = directory.ancestors().nth(2).context("no target directory")?;
    let path = directory.join(name);
    ensure!(path.is_file(), "{} is missing: run `cargo build --workspace --bins`", path.display());
    Ok(path)
}
