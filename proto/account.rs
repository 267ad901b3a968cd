//! Accounts: sending identities, their state and what became of their messages.

use jiff::{Timestamp, tz::TimeZone};

use crate::{
    name::{AccountName, CampaignName},
    rate::Rate,
};

/// State of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AccountState {
    /// May claim.
    Active,
    /// May not claim; keeps its leads.
    Suspended,
}

/// What a caller sets on an account.
#[derive(Debug, Clone, PartialEq)]
pub struct AccountSettings {
    /// For people.
    pub display_name: String,
    /// Claims per local day at most; `None` is no limit.
    pub daily_limit: Option<i32>,
    /// Zone of the account's days.
    pub time_zone: TimeZone,
}

/// A field of [`AccountSettings`] that an update can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccountField {
    /// `display_name`
    DisplayName,
    /// `daily_limit`
    DailyLimit,
    /// `time_zone`
    TimeZone,
}

impl AccountSettings {
    /// Takes the named fields from `new`.
    pub fn update(&mut self, new: &Self, fields: &[AccountField]) {
        for field in fields {
            match field {
                AccountField::DisplayName => self.display_name.clone_from(&new.display_name),
                AccountField::DailyLimit => self.daily_limit = new.daily_limit,
                AccountField::TimeZone => self.time_zone = new.time_zone.clone(),
            }
        }
    }
}

/// Messages of an account over some time, by result.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AccountPerformance {
    /// Delivered.
    pub delivered: i64,
    /// Failed.
    pub failed: i64,
    /// Bounced.
    pub bounced: i64,
}

impl AccountPerformance {
    /// delivered / (delivered + failed + bounced), as product.md defines it.
    pub fn success_rate(&self) -> Rate {
        Rate { numerator: self.delivered, denominator: self.delivered + self.failed + self.bounced }
    }
}

/// An account as of some moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Account {
    /// Resource name.
    pub name: AccountName,
    /// UUID.
    pub uid: String,
    /// What callers set.
    pub settings: AccountSettings,
    /// State.
    pub state: AccountState,
    /// Reserved of the daily limit on the present local day.
    pub reserved_today: i64,
    /// Campaigns it serves.
    pub campaigns: Vec<CampaignName>,
    /// Messages ever.
    pub lifetime: AccountPerformance,
    /// Messages of the last 30 UTC days, today included.
    pub last_30_days: AccountPerformance,
    /// When it was created.
    pub create_time: Timestamp,
    /// Last change of settings or state.
    pub update_time: Timestamp,
    /// Grows with each change of settings or state; the etag.
    pub revision: i64,
}
