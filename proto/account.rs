//! Accounts: sending identities, their state, and the results of their messages.

use jiff::{Timestamp, tz::TimeZone};

use crate::{campaign::DeliveryHealth, name::AccountName, rate::Rate};

/// State of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AccountState {
    /// The account may claim.
    Active,
    /// The account may not claim. It keeps its leads.
    Suspended,
}

/// The settings of an account.
#[derive(Debug, Clone, PartialEq)]
pub struct AccountSettings {
    /// Name for people.
    pub display_name: String,
    /// Maximum number of claims on each local day; `None` means no limit.
    pub daily_limit: Option<i32>,
    /// Time zone of the account's days.
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
    /// Copies the named fields from `new`.
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

/// Messages of an account over a period, by result.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AccountPerformance {
    /// Delivered.
    pub delivered: i64,
    /// Failed.
    pub failed: i64,
    /// Bounced.
    pub bounced: i64,
    /// Failed and bounced messages by reason, in the order of `FailureReason::ALL`.
    pub by_reason: [i64; 5],
}

impl AccountPerformance {
    /// Returns delivered / (delivered + failed + bounced).
    pub fn success_rate(&self) -> Rate {
        Rate { numerator: self.delivered, denominator: self.delivered + self.failed + self.bounced }
    }

    /// Returns the band of the success rate; `None` without messages.
    pub fn delivery_health(&self) -> Option<DeliveryHealth> {
        DeliveryHealth::of(self.success_rate())
    }
}

/// An account at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Account {
    /// Resource name.
    pub name: AccountName,
    /// UUID.
    pub uid: String,
    /// The settings.
    pub settings: AccountSettings,
    /// State.
    pub state: AccountState,
    /// The part of the daily limit that is reserved on the current local day.
    pub reserved_today: i64,
    /// The number of campaigns that it serves.
    pub campaign_count: i64,
    /// Messages since its creation.
    pub lifetime: AccountPerformance,
    /// Messages of the last 30 UTC days, including today.
    pub last_30_days: AccountPerformance,
    /// Time of its creation.
    pub create_time: Timestamp,
    /// Time of the last change of settings or state.
    pub update_time: Timestamp,
    /// Increases with each change of settings or state. The etag is made from it.
    pub revision: i64,
}
