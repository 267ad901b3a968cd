//! Queues the claims of one account, and of one campaign, within this process before they queue for row locks in Postgres.
//!
//! A transaction that waits for the row lock of a campaign occupies a connection, of which there are few, and waking it takes
//! longer than most of its work. So a call waits here first, for the campaigns that its account had the last time. That is a hint:
//! the row locks decide between processes, and for campaigns that are not known yet.

use tokio::sync::{Mutex, MutexGuard};

use crate::store::row::CampaignKey;

/// Number of queues. Accounts and campaigns are spread over them; with 256, unrelated ones rarely share a queue.
const QUEUES: usize = 256;

/// Most campaigns that a call queues for. A call for more takes so many queues that unrelated accounts wait for it. It waits
/// for the row locks instead.
const CAMPAIGNS_MAX: usize = 16;

/// The queues of this process.
#[derive(Debug)]
pub(in crate::store) struct ClaimQueues {
    queues: Vec<Mutex<()>>,
}

impl Default for ClaimQueues {
    fn default() -> Self {
        Self { queues: std::iter::repeat_with(Mutex::default).take(QUEUES).collect() }
    }
}

impl ClaimQueues {
    /// Waits until the account and the campaigns are free. They are taken until the guards are dropped.
    pub(in crate::store) async fn wait(
        &self,
        account_id: Option<i32>,
        campaigns: impl ExactSizeIterator<Item = CampaignKey>,
    ) -> Vec<MutexGuard<'_, ()>> {
        // Campaigns have the even queues, accounts the odd ones.
        let count = if campaigns.len() > CAMPAIGNS_MAX { 0 } else { campaigns.len() };
        let campaigns = campaigns.take(count).map(|(_, campaign_id)| (campaign_id, 0));
        let numbers = campaigns.chain(account_id.map(|account_id| (account_id, 1)));
        let queue = |(id, parity)| (usize::try_from(id).unwrap_or(0) * 2 + parity) % self.queues.len();
        let mut queues: Vec<usize> = numbers.map(queue).collect();
        // Every call locks in ascending order, so that no two calls deadlock.
        queues.sort_unstable();
        queues.dedup();
        let mut guards = Vec::with_capacity(queues.len());
        for queue in queues {
            guards.push(self.queues[queue].lock().await);
        }
        guards
    }
}
