//! Waits for a condition with a deadline. Tests do this instead of sleeping.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

/// Deadline for a condition that usually holds at once. Long enough for a machine that is busy with a build.
pub const SOON: Duration = Duration::from_secs(30);

/// Pause between two attempts: short compared with the wait, long compared with an attempt.
const PAUSE: Duration = Duration::from_millis(20);

/// Repeats `look` until it succeeds. After `limit` it returns the last error, with `what` was waited for.
pub async fn until<T>(what: &str, limit: Duration, mut look: impl AsyncFnMut() -> Result<T>) -> Result<T> {
    let started = Instant::now();
    let mut last = anyhow::anyhow!("no answer");
    loop {
        let left = limit.saturating_sub(started.elapsed());
        // An attempt that the limit cuts short says less than the one before it.
        match tokio::time::timeout(left, look()).await {
            Ok(Ok(found)) => return Ok(found),
            Ok(Err(error)) => last = error,
            Err(_) => {}
        }
        if started.elapsed() + PAUSE >= limit {
            return Err(last).with_context(|| format!("waited {} s for {what}", limit.as_secs()));
        }
        tokio::time::sleep(PAUSE).await;
    }
}
