//! Waiting for a condition, with a deadline: what tests do instead of sleeping.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

/// How long a condition may take that usually holds at once: long enough for a machine that is busy with a build.
pub const SOON: Duration = Duration::from_secs(30);

/// Time between two looks: short beside what is waited for, long beside a look.
const PAUSE: Duration = Duration::from_millis(20);

/// Looks until a look succeeds; after `limit` its last error comes back, with what was waited for.
pub async fn until<T>(what: &str, limit: Duration, mut look: impl AsyncFnMut() -> Result<T>) -> Result<T> {
    let started = Instant::now();
    let mut last = anyhow::anyhow!("no answer");
    loop {
        let left = limit.saturating_sub(started.elapsed());
        // A look that the limit cuts short says less than the one before it.
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
