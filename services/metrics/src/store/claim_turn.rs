//! Lets the claims of one account, and of one campaign, follow each other within this process before they do so in Postgres.
//!
//! A transaction that waits for the lock of a campaign holds one of few connections, and waking it takes longer than
//! most of what it does then. So it waits here for its turn, by what its account's campaigns were the last time. A hint
//! only: what is not known, or is decided by another process, the locks of the database decide.

use tokio::sync::{Mutex, MutexGuard};

use super::campaign_view::CampaignKey;

/// Queues, each for some of the accounts and campaigns: enough that those which have nothing to do with each other seldom share one.
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
    /// Waits for the turn of an account in campaigns, which lasts until the guards are dropped.
    pub(super) async fn wait(
        &self,
        account_id: Option<i32>,
        campaigns: impl Iterator<Item = CampaignKey>,
    ) -> Vec<MutexGuard<'_, ()>> {
        // Accounts have the odd ones.
        let campaigns = campaigns.map(|(_, campaign_id)| (campaign_id, 0));
        let numbers = campaigns.chain(account_id.map(|account_id| (account_id, 1)));
        let queue = |(id, odd)| (usize::try_from(id).unwrap_or(0) * 2 + odd) % self.queues.len();
        let mut queues: Vec<usize> = numbers.map(queue).collect();
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
