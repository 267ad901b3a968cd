//! What the gauges show.

use campaign_metrics::{
    account::AccountState,
    campaign::{CampaignState, LeadCounts, MessageCounts},
    not_sending::Blocked,
};
use jiff::Timestamp;

use crate::store::{row::CampaignKey, upkeep::Verification};

/// Everything the business gauges show.
#[derive(Debug)]
pub struct Fleet {
    /// Campaigns.
    pub campaigns: Vec<CampaignRow>,
    /// Number of campaigns left out because there are too many. Active ones, then the latest changed, are kept first.
    pub omitted: i64,
    /// Accounts.
    pub accounts: Vec<AccountRow>,
    /// Number of accounts left out because there are too many. Active ones, then the latest changed, are kept first.
    pub accounts_omitted: i64,
    /// The latest recount, if there was one.
    pub verification: Option<Verification>,
}

/// A campaign's gauges.
#[derive(Debug)]
pub struct CampaignRow {
    /// Its number.
    pub key: CampaignKey,
    /// Workspace id.
    pub workspace: String,
    /// Campaign id.
    pub campaign: String,
    /// State.
    pub state: CampaignState,
    /// Whether a Kubernetes resource manages it.
    pub is_managed: bool,
    /// Whether every lead has been added.
    pub lead_list_complete: bool,
    /// Upper bound of the claims of a local day; `None` means no limit.
    pub daily_limit: Option<i32>,
    /// Reservations of the present local day.
    pub reserved: i64,
    /// Leads by status.
    pub lead_counts: LeadCounts,
    /// Messages, and what leads did.
    pub message_counts: MessageCounts,
    /// Claims held and not expired.
    pub in_flight_claims: i64,
    /// Claims that expired without an outcome.
    pub uncertain_claims: i64,
    /// When the first of the uncertain claims expired; `None` without any.
    pub oldest_uncertain: Option<Timestamp>,
    /// When claims were last granted; `None` before.
    pub last_grant: Option<Timestamp>,
    /// When a new outcome was last received; `None` before.
    pub last_outcome: Option<Timestamp>,
    /// When the next step is due; `None` when nothing waits.
    pub next_due: Option<Timestamp>,
    /// Why nothing can be claimed.
    pub blocked: Blocked,
}

/// An account's gauges.
#[derive(Debug)]
pub struct AccountRow {
    /// Workspace id.
    pub workspace: String,
    /// Account id.
    pub account: String,
    /// State.
    pub state: AccountState,
    /// Messages of all time.
    pub lifetime: Messages,
    /// Messages of the last 30 UTC days.
    pub last_30_days: Messages,
    /// Upper bound of the claims of a local day; `None` means no limit.
    pub daily_limit: Option<i32>,
    /// Reservations of the present local day.
    pub reserved: i64,
}

/// Messages by result.
#[derive(Debug, Clone, Copy, Default)]
pub struct Messages {
    /// Delivered.
    pub delivered: i64,
    /// Failed.
    pub failed: i64,
    /// Bounced.
    pub bounced: i64,
}
