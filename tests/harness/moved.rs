//! The system's clock as a binary sees it, moved by a test while the binary runs: by libfaketime, so that what runs is what
//! ships, without a switch for tests. Only the time of day moves; timers and deadlines of the process stay real.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use anyhow::Result;
use jiff::Timestamp;

use super::parts::part;

/// A clock that is ahead of the real one.
#[derive(Debug)]
pub struct MovedClock {
    file: PathBuf,
    ahead_seconds: AtomicU64,
}

impl MovedClock {
    /// A clock that goes right, kept in a directory of the test.
    pub fn new(directory: &Path) -> Result<Self> {
        let clock = Self { file: directory.join("clock"), ahead_seconds: AtomicU64::new(0) };
        clock.advance(Duration::ZERO)?;
        Ok(clock)
    }

    /// Moves it forward by whole seconds, for whoever goes by it: at their next look.
    pub fn advance(&self, by: Duration) -> Result<()> {
        let ahead_seconds = self.ahead_seconds.fetch_add(by.as_secs(), Ordering::SeqCst) + by.as_secs();
        let next = self.file.with_extension("next");
        fs::write(&next, format!("+{ahead_seconds}"))?;
        // Whole at any moment: a look at half a number would be a jump.
        Ok(fs::rename(next, &self.file)?)
    }

    /// What it shows.
    pub fn now(&self) -> Timestamp {
        Timestamp::now() + Duration::from_secs(self.ahead_seconds.load(Ordering::SeqCst))
    }

    /// Has a command go by it.
    pub fn wind(&self, command: &mut Command) -> Result<()> {
        command
            .env("LD_PRELOAD", part("libfaketime")?)
            .env("FAKETIME_TIMESTAMP_FILE", &self.file)
            // Read anew at each look, not every ten seconds.
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            // It has nothing to tell to child processes.
            .env("FAKETIME_DISABLE_SHM", "1");
        Ok(())
    }
}
