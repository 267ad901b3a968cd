//! Moves the system clock that a binary sees, while the binary runs. libfaketime does that, so the binary under test is
//! the one that ships. Only the time of day moves: timers and deadlines of the process stay real.

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
    /// Makes a clock that shows the real time, kept in a directory of the test.
    pub fn new(directory: &Path) -> Result<Self> {
        let clock = Self { file: directory.join("clock"), ahead_seconds: AtomicU64::new(0) };
        clock.advance(Duration::ZERO)?;
        Ok(clock)
    }

    /// Moves the clock forward by whole seconds. Processes see that when they next read it.
    pub fn advance(&self, by: Duration) -> Result<()> {
        let ahead_seconds = self.ahead_seconds.fetch_add(by.as_secs(), Ordering::SeqCst) + by.as_secs();
        let next = self.file.with_extension("next");
        fs::write(&next, format!("+{ahead_seconds}"))?;
        // Replaced atomically: half a number would be a jump of the clock.
        Ok(fs::rename(next, &self.file)?)
    }

    /// Returns the time that it shows.
    pub fn now(&self) -> Timestamp {
        Timestamp::now() + Duration::from_secs(self.ahead_seconds.load(Ordering::SeqCst))
    }

    /// Makes a command use this clock.
    pub fn wind(&self, command: &mut Command) -> Result<()> {
        command
            .env("LD_PRELOAD", part("libfaketime")?)
            .env("FAKETIME_TIMESTAMP_FILE", &self.file)
            // Without caching, which lasts ten seconds by default.
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            // Shared memory would pass the clock on to child processes.
            .env("FAKETIME_DISABLE_SHM", "1");
        Ok(())
    }
}
