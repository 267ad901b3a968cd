//! How a replica starts: it migrates the database, and says that it runs.
//!
//! Most of what keeps it from that passes by itself, or is made to pass by someone else. So it tries again, and its log says what
//! it waits for. It ends where waiting can't help, and after a while where someone has to change how it is started: then who
//! started it sees the error.

use std::time::{Duration, Instant};

use tokio::time::sleep;
use uuid::Uuid;

use super::upkeep::jittered;
use crate::{
    outage::Outage,
    store::{Database, Hindrance, Store, check_version, is_passing, migrate},
};

/// First and longest backoff between two attempts.
const PAUSE_MIN: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// What a start waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
    Postgres,
    OlderReplicas,
    Migration,
    /// Someone has to change something, and may do so in time.
    Change,
    /// Waiting can't help.
    Nothing,
}

impl Wait {
    fn of(error: &anyhow::Error) -> Self {
        match error.downcast_ref() {
            Some(Hindrance::OlderReplicas(_)) => Self::OlderReplicas,
            Some(Hindrance::NotMigrated) => Self::Migration,
            Some(Hindrance::NewerSchema { .. } | Hindrance::Foreign) => Self::Nothing,
            None if is_passing(&**error) => Self::Postgres,
            Some(Hindrance::Refused(_)) | None => Self::Change,
        }
    }

    fn line(self) -> &'static str {
        match self {
            Self::Postgres => "waiting for Postgres; trying again",
            Self::OlderReplicas => "waiting until the older replicas have ended; trying again",
            Self::Migration => "waiting for the migration; trying again",
            Self::Change => "can't start like this; trying again for a while",
            Self::Nothing => "can't start",
        }
    }
}

/// Starts, as often as it takes. Returns an error at once if waiting can't help, and after `refused_max` if nothing but the same
/// refusal came in that time.
pub(super) async fn start(
    store: &Store,
    database: &Database,
    refused_max: Duration,
    replica: Uuid,
) -> anyhow::Result<()> {
    let mut pause = PAUSE_MIN;
    let mut waiting: Option<(Wait, Instant, Outage)> = None;
    while let Err(error) = attempt(store, database, replica).await {
        let wait = Wait::of(&error);
        let (_, since, told) = match &mut waiting {
            Some(same) if same.0 == wait => same,
            // The line `ready` tells its end.
            other => other.insert((wait, Instant::now(), Outage::new(wait.line(), ""))),
        };
        let left = refused_max.saturating_sub(since.elapsed());
        if wait == Wait::Nothing || wait == Wait::Change && left.is_zero() {
            return Err(error);
        }
        told.failed(&*error);
        let jittered = jittered(pause);
        sleep(if wait == Wait::Change { jittered.min(left) } else { jittered }).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
    Ok(())
}

/// Migrates the database, and says that this replica runs. No other replica may be in the way, and no newer schema.
async fn attempt(store: &Store, database: &Database, replica: Uuid) -> anyhow::Result<()> {
    migrate(database).await?;
    Ok(check_version(store.replica_renew(replica).await?)?)
}
