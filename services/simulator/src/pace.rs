//! The rate that all senders share.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// Unused time that may be made up: enough for a late timer, and too little for a burst.
const CREDIT_MAX: Duration = Duration::from_millis(100);

/// A rate in messages per second. Each message takes one time slot.
#[derive(Debug)]
pub struct Pace {
    slot: Duration,
    next: Mutex<Instant>,
}

impl Pace {
    /// Creates a pace that starts now.
    pub fn new(rate: f64) -> Self {
        Self { slot: Duration::from_secs_f64(1.0 / rate), next: Mutex::new(Instant::now()) }
    }

    /// Takes the slots of `count` messages, and returns when they may be sent.
    pub fn take(&self, count: u32) -> Instant {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        *next = (*next).max(now.checked_sub(CREDIT_MAX).unwrap_or(now)) + self.slot * count;
        *next
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn many_senders_together_keep_the_rate() {
        let pace = Arc::new(Pace::new(100.0));
        let started = Instant::now();
        let mut senders = tokio::task::JoinSet::new();
        for _ in 0..10 {
            let pace = pace.clone();
            senders.spawn(async move {
                for _ in 0..10 {
                    tokio::time::sleep_until(pace.take(5)).await;
                }
            });
        }
        senders.join_all().await;
        let seconds = started.elapsed().as_secs_f64();
        assert!((4.9..5.1).contains(&seconds), "500 messages at 100 per second took {seconds} s");
    }
}
