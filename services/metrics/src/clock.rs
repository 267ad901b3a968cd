//! The clock of the service: the clock of the system, or one that tests move.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;

/// The source of time for all decisions.
#[derive(Debug, Clone)]
pub struct Clock(Source);

#[derive(Debug, Clone)]
enum Source {
    System,
    /// Microseconds since 1970, shared by all clones.
    Manual(Arc<AtomicI64>),
}

impl Clock {
    /// Returns the clock of the system.
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// Returns a manual clock, which shows `start` until it is moved.
    pub fn manual(start: Timestamp) -> Self {
        Self(Source::Manual(Arc::new(AtomicI64::new(start.as_microsecond()))))
    }

    /// Moves a manual clock forward. Does nothing to the clock of the system.
    pub fn advance(&self, by: Duration) {
        if let Source::Manual(now) = &self.0 {
            now.fetch_add(i64::try_from(by.as_micros()).unwrap_or(i64::MAX), Ordering::SeqCst);
        }
    }

    /// Returns the current time in whole microseconds: the precision of Postgres, so that a stored time compares equal.
    pub fn now(&self) -> Timestamp {
        let microseconds = match &self.0 {
            Source::System => Timestamp::now().as_microsecond(),
            Source::Manual(now) => now.load(Ordering::SeqCst),
        };
        Timestamp::from_microsecond(microseconds).unwrap_or(Timestamp::MAX)
    }
}
