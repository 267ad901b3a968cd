//! The facts of which a diagnosis is made. The store reads them in one snapshot, from sums by day.

use jiff::Timestamp;

use super::{messages::MessagesBy, volume::AccountDay};
use crate::{
    account::AccountState,
    campaign::{CampaignState, ClaimExpiryPolicy, LeadCounts},
    history::HistoryDay,
    name::{AccountId, AccountName, CampaignId, CampaignName},
    not_sending::Blocked,
    rate::Rate,
};

/// Days of history that a diagnosis reads: the latest day with history and the 89 days before it.
pub const HISTORY_DAYS: i32 = 90;

/// Ages at which response and conversion are judged, in days after the first contact.
pub const AGES: [usize; 2] = [7, 30];

/// Response and conversion of several campaigns at one age W, summed over days of first contact.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RatesAtAge {
    /// Leads that replied within W days / leads first contacted.
    pub response: Rate,
    /// Leads that converted within W days / leads first contacted. Its denominator is that of `response`.
    pub conversion: Rate,
}

/// What is known of a campaign.
#[derive(Debug, Clone, PartialEq)]
pub struct CampaignFacts {
    /// Resource name.
    pub name: CampaignName,
    /// State.
    pub state: CampaignState,
    /// Leads by status.
    pub lead_counts: LeadCounts,
    /// Whether every lead has been added.
    pub lead_list_complete: bool,
    /// Claims that are held and have not expired.
    pub in_flight_claims: i64,
    /// Claims that expired without an outcome.
    pub uncertain_claims: i64,
    /// What happens to expired claims.
    pub claim_expiry_policy: ClaimExpiryPolicy,
    /// Earliest time at which a step is due to one of its accounts; `None` when no step waits. As in `Campaign`.
    pub next_due: Option<Timestamp>,
    /// Why nothing can be claimed. As in `Campaign`.
    pub blocked: Blocked,
    /// [`HISTORY_DAYS`] days that end with the latest day with history of this campaign, which can lie long before today.
    /// Summed over accounts, in ascending order, without corrections.
    pub sums: Vec<HistoryDay>,
    /// Messages of each account in the periods that begin on the days of [`tested_since`](super::tested_since) and end with
    /// the last of `sums`.
    pub since: MessagesBy<AccountId>,
    /// Messages by day of the [`suspects`](super::Needed::suspects), of all days of `sums`.
    pub by_account: MessagesBy<AccountId>,
    /// Days of accounts that still exist, of the last [`TESTED_DAYS`](super::TESTED_DAYS). Empty unless
    /// [`volumes`](super::Needed::volumes) are needed.
    pub account_days: Vec<AccountDay>,
    /// Rates of the workspace's other campaigns together, one element for each of [`AGES`]: the 200 that were created
    /// last, in any state and not deleted, over the days of first contact of the last [`HISTORY_DAYS`] UTC days, today
    /// included, of which W + 1 days have passed since they began: day + 1 + W <= today. Zeros without other campaigns.
    pub others: [RatesAtAge; AGES.len()],
}

/// What is known of an account.
#[derive(Debug, Clone, PartialEq)]
pub struct AccountFacts {
    /// Resource name.
    pub name: AccountName,
    /// State.
    pub state: AccountState,
    /// Maximum number of claims on each local day; `None` means no limit.
    pub daily_limit: Option<i32>,
    /// The part of it that is reserved on the account's current local day.
    pub reserved_today: i64,
    /// Number of campaigns that it serves, in any state.
    pub campaigns: i64,
    /// Its messages by campaign and day: [`HISTORY_DAYS`] days that end with the latest day with history of this account.
    /// Without corrections.
    pub by_campaign: MessagesBy<CampaignId>,
}
