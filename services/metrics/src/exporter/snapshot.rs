//! What one scrape shows.

use std::{collections::HashMap, sync::Arc, time::Duration};

use campaign_metrics::campaign::CampaignState;

use crate::store::{AccountRow, CampaignRow, Details, Fleet};

/// What a scrape read.
#[derive(Debug)]
pub struct Collected {
    /// The state of campaigns and accounts; `None` if the database can't be read.
    pub fleet: Option<Fleet>,
    /// Details of active campaigns, which can be some minutes old; `None` if none were read yet.
    pub details: Option<Arc<Details>>,
    /// How long reading took.
    pub duration: Duration,
}

/// What a scrape shows, with the labels of each campaign and account.
pub struct Snapshot {
    collected: Collected,
    campaigns: Vec<String>,
    accounts: Vec<String>,
}

impl Snapshot {
    /// Renders the labels of each campaign and account.
    pub fn new(collected: Collected) -> Self {
        let fleet = &collected.fleet;
        let campaign = |row: &CampaignRow| format!("workspace=\"{}\",campaign=\"{}\"", row.workspace, row.campaign);
        let account = |row: &AccountRow| format!("workspace=\"{}\",account=\"{}\"", row.workspace, row.account);
        Self {
            campaigns: fleet.iter().flat_map(|fleet| fleet.campaigns.iter().map(campaign)).collect(),
            accounts: fleet.iter().flat_map(|fleet| fleet.accounts.iter().map(account)).collect(),
            collected,
        }
    }

    /// Returns the state of campaigns and accounts; `None` if it can't be read.
    pub fn fleet(&self) -> Option<&Fleet> {
        self.collected.fleet.as_ref()
    }

    /// Returns how long reading took.
    pub fn duration(&self) -> Duration {
        self.collected.duration
    }

    /// Returns each campaign with its labels.
    pub fn campaigns(&self) -> impl Iterator<Item = (&str, &CampaignRow)> {
        let rows = self.fleet().into_iter().flat_map(|fleet| &fleet.campaigns);
        self.campaigns.iter().map(String::as_str).zip(rows)
    }

    /// Returns each account with its labels.
    pub fn accounts(&self) -> impl Iterator<Item = (&str, &AccountRow)> {
        let rows = self.fleet().into_iter().flat_map(|fleet| &fleet.accounts);
        self.accounts.iter().map(String::as_str).zip(rows)
    }

    /// Returns the details of active campaigns.
    pub fn details(&self) -> Option<&Details> {
        self.collected.details.as_deref()
    }

    /// Returns the labels of active campaigns, by number. A campaign of the details can have been paused or deleted since.
    pub fn active(&self) -> HashMap<(i32, i32), &str> {
        let active = self.campaigns().filter(|(_, row)| row.state == CampaignState::Active);
        active.map(|(labels, row)| (row.key, labels)).collect()
    }
}
