//! What a replica does at intervals while it serves.

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use rand::Rng as _;
use tokio::time::sleep;
use uuid::Uuid;

use crate::{
    error::Result,
    outage,
    store::{Store, check_version},
};

/// Interval of the upkeep. The results that it finalizes become final after days.
const UPKEEP_PAUSE: Duration = Duration::from_secs(30);
/// Interval for compacting expired claims. Until an expired claim is compacted, counting it reads its leads.
const EXPIRY_PAUSE: Duration = Duration::from_secs(2);
/// Interval in which a replica says that it runs. Others take it for dead after a minute (`replica_runs`).
const RENEW_PAUSE: Duration = Duration::from_secs(10);

/// Says at intervals that this replica runs. Returns an error when it can't work with the schema any more.
pub(super) async fn renew(store: &Store, replica: Uuid) -> anyhow::Result<()> {
    loop {
        sleep(jittered(RENEW_PAUSE)).await;
        match store.replica_renew(replica).await {
            Ok(oldest) => check_version(oldest)?,
            Err(error) => outage::warn(&error, "this replica could not say that it runs; it is tried again"),
        }
    }
}

/// Compacts the rows of expired claims. At intervals it starts from the beginning, to catch claims that were locked
/// before.
pub(super) async fn compact_expired_claims(store: &Store) -> ! {
    let mut since = Timestamp::UNIX_EPOCH;
    let mut next = Instant::now() + UPKEEP_PAUSE;
    loop {
        sleep(jittered(EXPIRY_PAUSE)).await;
        if Instant::now() >= next {
            since = Timestamp::UNIX_EPOCH;
            next = Instant::now() + UPKEEP_PAUSE;
        }
        let now = store.clock().now();
        let compacted = store.claims_compact(since).await;
        if compacted.is_ok() {
            // The margin covers claims that are committed late.
            since = now.saturating_sub(SignedDuration::from_mins(1)).unwrap_or(Timestamp::UNIX_EPOCH);
        }
        warn_of_failure(compacted);
    }
}

/// Runs the rest of the upkeep at intervals.
pub(super) async fn maintain(store: &Store, outcome_retention_days: Option<u32>) -> ! {
    loop {
        sleep(jittered(UPKEEP_PAUSE)).await;
        let finalized = store.campaigns_finalize().await.map(|_| ());
        let done = [
            store.maintain().await,
            store.claims_retry().await,
            store.opt_outs_tell().await,
            store.leads_free().await,
            store.returns_tidy().await,
            store.campaigns_drain().await,
            store.account_days_sum().await,
            match outcome_retention_days {
                Some(days) => store.partitions_drop(days).await,
                None => Ok(()),
            },
            finalized,
        ];
        done.into_iter().for_each(warn_of_failure);
    }
}

fn warn_of_failure(result: Result<()>) {
    if let Err(error) = result {
        outage::warn(&error, "upkeep failed; it is tried again later");
    }
}

/// Returns a random time from half a pause to the whole pause, so that replicas do not act at the same time.
pub(super) fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(rand::rng().random_range(0.5..1.0))
}
