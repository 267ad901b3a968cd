//! Runs the Node programs of the repository: the generator of the dashboards and their viewer.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::SystemTime,
};

use anyhow::{Context as _, Result, ensure};

use super::parts::repository;

/// A folder with a package.json whose packages are installed.
#[derive(Debug)]
pub struct Package(PathBuf);

impl Package {
    /// Installs the packages that package-lock.json pins, unless they are. Progress goes to stderr.
    pub fn installed(folder: &str) -> Result<Self> {
        let package = Self(repository().join(folder));
        let changed = |file: &str| fs::metadata(package.0.join(file)).and_then(|file| file.modified());
        let installed = changed("node_modules/.package-lock.json").unwrap_or(SystemTime::UNIX_EPOCH);
        let pinned = changed("package-lock.json").context("no package-lock.json")?.max(changed("package.json")?);
        if installed < pinned {
            eprintln!("installing the packages of {folder}; this takes about a minute");
            // Scripts of packages only fetch or build what isn't needed here.
            package.npm(&["ci", "--ignore-scripts", "--no-progress", "--loglevel=error"])?;
        }
        Ok(package)
    }

    /// Runs npm in the folder, and returns what it prints to stdout.
    pub fn npm(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new("npm");
        command.args(arguments).current_dir(&self.0).stdin(Stdio::null()).stderr(Stdio::inherit());
        let output = command.output().context("Node 20 or newer with npm is needed")?;
        ensure!(output.status.success(), "npm {} failed in {}; see above", arguments.join(" "), self.0.display());
        Ok(String::from_utf8(output.stdout)?)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.0
    }
}
