//! Lets the claims of one campaign follow each other within this process before they do so in Postgres.
//!
//! A transaction that waits for the lock of a campaign holds one of few connections, and waking it takes longer than
//! most of what it does then. So it waits here for its turn, by what its account's campaigns were the last time. A hint
//! only: what is not known, or is decided by another process, the locks of the database decide.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use campaign_metrics::name::AccountName;
use tokio::sync::MutexGuard;

use super::campaign_view::CampaignKey;

/// Queues, each for the campaigns of a few numbers: enough that different campaigns seldom share one.
const QUEUES: usize = 256;
/// Accounts remembered at most, of some 200 bytes each; past it all are forgotten.
const ACCOUNTS_MAX: usize = 100_000;

/// Whose turn it is.
#[derive(Debug)]
pub(super) struct Turns {
    queues: Vec<tokio::sync::Mutex<()>>,
    known: Mutex<HashMap<AccountName, Vec<usize>>>,
}

impl Default for Turns {
    fn default() -> Self {
        let queues = std::iter::repeat_with(tokio::sync::Mutex::default).take(QUEUES).collect();
        Self { queues, known: Mutex::default() }
    }
}

impl Turns {
    /// Waits for the turn of an account in all of its campaigns, which lasts until the guards are dropped.
    pub(super) async fn wait(&self, account: &AccountName) -> Vec<MutexGuard<'_, ()>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(account).cloned();
        let mut turn = Vec::new();
        // In the order of the queues, so that no two wait for each other.
        for queue in known.unwrap_or_default() {
            turn.push(self.queues[queue].lock().await);
        }
        turn
    }

    /// Remembers the campaigns of an account.
    pub(super) fn learn(&self, account: &AccountName, campaigns: impl Iterator<Item = CampaignKey>) {
        let mut queues: Vec<usize> =
            campaigns.map(|key| usize::try_from(key.1).unwrap_or(0) % self.queues.len()).collect();
        queues.sort_unstable();
        queues.dedup();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.get(account) == Some(&queues) {
            return;
        }
        if known.len() >= ACCOUNTS_MAX {
            known.clear();
        }
        known.insert(account.clone(), queues);
    }
}
