//! The one folder that everything of a run is kept in: data, logs, claims.
//!
//! It is kept after a failure or an interrupt, for people to look at, and removed after a successful proof.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

/// The folder.
pub struct Folder(TempDir);

impl Folder {
    /// Makes a folder, at a path where nothing is yet or among the temporary files.
    pub fn new(path: Option<&Path>) -> Result<Self> {
        let mut builder = tempfile::Builder::new();
        // Postgres runs as another user if we are root, and must reach its data.
        builder.permissions(Permissions::from_mode(0o755));
        let folder = match path {
            None => builder.prefix("campaign-metrics-demo-").tempdir()?,
            Some(path) => {
                let path = std::path::absolute(path)?;
                let parent = path.parent().context("--data names no folder")?;
                let name = path.file_name().context("--data names no folder")?;
                fs::create_dir_all(parent)?;
                builder
                    .prefix(name)
                    .rand_bytes(0)
                    .tempdir_in(parent)
                    .context("--data must name a folder that does not exist yet")?
            }
        };
        Ok(Self(folder))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Removes it with all that is in it.
    pub fn remove(self) -> Result<()> {
        Ok(self.0.close()?)
    }

    /// Leaves it, and says how to remove it.
    pub fn keep(self) {
        let path = self.0.keep();
        println!("Data and logs stay in {0}; remove them with: rm -r {0}", path.display());
    }
}
