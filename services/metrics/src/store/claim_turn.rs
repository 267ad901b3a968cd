//! Lets the claims of one campaign follow each other within this process before they do so in Postgres.
//!
//! A transaction that waits for the lock of a campaign holds one of few connections, and waking it takes longer than
//! most of what it does then. So it waits here for its turn, by what its account's campaigns were the last time. A hint
//! only: what is not known, or is decided by another process, the locks of the database decide.

use tokio::sync::{Mutex, MutexGuard};

use super::campaign_view::CampaignKey;

/// Queues, each for the campaigns of a few numbers: enough that different campaigns seldom share one.
const QUEUES: usize = 256;

/// Whose turn it is.
#[derive(Debug)]
pub(super) struct Turns {
    queues: Vec<Mutex<()>>,
}

impl Default for Turns {
    fn default() -> Self {
        Self { queues: std::iter::repeat_with(Mutex::default).take(QUEUES).collect() }
    }
}

impl Turns {
    /// Waits for the turn in all of the campaigns, which lasts until the guards are dropped.
    pub(super) async fn wait(&self, campaigns: impl Iterator<Item = CampaignKey>) -> Vec<MutexGuard<'_, ()>> {
        let mut queues: Vec<usize> =
            campaigns.map(|key| usize::try_from(key.1).unwrap_or(0) % self.queues.len()).collect();
        // In the order of the queues, so that no two wait for each other.
        queues.sort_unstable();
        queues.dedup();
        let mut turn = Vec::with_capacity(queues.len());
        for queue in queues {
            turn.push(self.queues[queue].lock().await);
        }
        turn
    }
}
