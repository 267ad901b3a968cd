//! What the last full grants found out about each account. Optimistic grants start from it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use campaign_metrics::{
    lead::Step,
    name::{AccountName, CampaignName},
    schedule::ActiveHours,
};
use jiff::{Timestamp, tz::TimeZone};

use crate::store::row::CampaignKey;

/// Upper bound of the askers that are remembered, at about 100 bytes for each of their campaigns. The map is cleared when it is
/// full.
const ASKERS_MAX: usize = 100_000;

/// An account, and the campaign that it asked for, if any. What it found out of one campaign says nothing of the others.
pub(in crate::store) type Asker = (AccountName, Option<CampaignName>);

/// What a full grant found out about an account.
#[derive(Debug)]
pub(in crate::store) struct RecentGrant {
    pub(in crate::store) account_id: i32,
    pub(in crate::store) time_zone: TimeZone,
    /// The campaigns that it asked for and that are not finished.
    pub(in crate::store) campaigns: Vec<CampaignKey>,
    /// Those that can grant more. Empty if the account got less than it asked for.
    pub(in crate::store) open: Vec<OpenCampaign>,
    /// When it was granted, by the clock of the store, so that tests can move it.
    pub(in crate::store) since: Timestamp,
}

/// A campaign, and the settings that decide how its claims are recorded.
#[derive(Debug, Clone)]
pub(in crate::store) struct OpenCampaign {
    pub(in crate::store) key: CampaignKey,
    pub(in crate::store) steps: Step,
    pub(in crate::store) hours: ActiveHours,
}

/// The recent grants of this process.
#[derive(Debug, Default)]
pub(in crate::store) struct RecentGrants(Mutex<HashMap<Asker, Arc<RecentGrant>>>);

impl RecentGrants {
    pub(in crate::store) fn get(&self, asker: &Asker) -> Option<Arc<RecentGrant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(asker).cloned()
    }

    pub(in crate::store) fn set(&self, asker: Asker, recent: RecentGrant) {
        let mut askers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if askers.len() >= ASKERS_MAX {
            askers.clear();
        }
        askers.insert(asker, Arc::new(recent));
    }
}
