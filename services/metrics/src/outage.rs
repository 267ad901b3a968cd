//! The log of outages: one line when one begins, one a minute while it lasts, and one when it ends, however many calls fail
//! meanwhile.

use std::{
    error::Error as StdError,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use crate::error::{Error, chain};

/// Interval of the lines while an outage lasts.
const REPEAT: Duration = Duration::from_mins(1);
/// Time without a failure after which a success ends an outage. So calls that fail and succeed in turn are one outage.
const QUIET: Duration = Duration::from_secs(5);

/// The outages of the database.
pub static DATABASE: Outage = Outage::new("the database can't be reached", "the database can be reached again");

/// Something that can be away.
#[derive(Debug)]
pub struct Outage {
    away: &'static str,
    back: &'static str,
    /// Whether `since` is set: read without the lock, since every transaction asks.
    is_on: AtomicBool,
    since: Mutex<Option<Since>>,
}

#[derive(Debug)]
struct Since {
    begin: Instant,
    told: Instant,
    failed: Instant,
    failures: u64,
}

/// What is worth a line: how long the outage has lasted, and how much failed in it.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    lasted: Duration,
    failures: u64,
}

impl Outage {
    /// Creates one that tells `away` while it lasts, and `back` at its end.
    pub const fn new(away: &'static str, back: &'static str) -> Self {
        Self { away, back, is_on: AtomicBool::new(false), since: Mutex::new(None) }
    }

    /// Tells of a failure, if it is time.
    pub fn failed(&self, error: &dyn StdError) {
        if let Some(Told { lasted, failures }) = self.failed_at(Instant::now()) {
            tracing::warn!(error = chain(error), lasted_s = lasted.as_secs(), failures, "{}", self.away);
        }
    }

    /// Tells of the end, if an outage was on.
    pub fn succeeded(&self) {
        if !self.is_on.load(Ordering::Relaxed) {
            return;
        }
        if let Some(Told { lasted, failures }) = self.succeeded_at(Instant::now()) {
            tracing::info!(lasted_s = lasted.as_secs(), failures, "{}", self.back);
        }
    }

    fn failed_at(&self, now: Instant) -> Option<Told> {
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        self.is_on.store(true, Ordering::Relaxed);
        let is_new = since.is_none();
        let since = since.get_or_insert(Since { begin: now, told: now, failed: now, failures: 0 });
        since.failed = now;
        since.failures += 1;
        if !is_new && now.saturating_duration_since(since.told) < REPEAT {
            return None;
        }
        since.told = now;
        Some(Told { lasted: now.saturating_duration_since(since.begin), failures: since.failures })
    }

    fn succeeded_at(&self, now: Instant) -> Option<Told> {
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        if since.as_ref().is_some_and(|since| now.saturating_duration_since(since.failed) < QUIET) {
            return None;
        }
        self.is_on.store(false, Ordering::Relaxed);
        let Since { begin, failed, failures, .. } = since.take()?;
        Some(Told { lasted: failed.saturating_duration_since(begin), failures })
    }
}

/// Tells of an error of background work: of an outage of the database within its bounds.
pub fn warn(error: &Error, work: &'static str) {
    match error {
        Error::Unavailable(source) => DATABASE.failed(&**source),
        error => tracing::warn!(error = chain(error), "{work}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_told_when_it_begins_once_a_minute_and_when_it_ends() {
        let outage = Outage::new("away", "back");
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let told = |lasted, failures| Some(Told { lasted: Duration::from_secs(lasted), failures });
        assert_eq!(outage.succeeded_at(at(0)), None, "none is on");
        assert_eq!(outage.failed_at(at(0)), told(0, 1));
        assert_eq!((1..60).filter_map(|second| outage.failed_at(at(second))).count(), 0);
        assert_eq!(outage.failed_at(at(61)), told(61, 61));
        assert_eq!(outage.failed_at(at(120)), None, "59 s after the last line");
        assert_eq!(outage.succeeded_at(at(124)), None, "another call may still fail");
        assert_eq!(outage.succeeded_at(at(125)), told(120, 62));
        assert_eq!(outage.succeeded_at(at(140)), None, "it has ended");
        assert_eq!(outage.failed_at(at(141)), told(0, 1), "another one");
    }
}
