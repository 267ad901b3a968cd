//! Conversions of accounts.

use super::{
    campaign::{by_reason, delivery_health},
    daily_limit, display_name, etag, fields, rate, timestamp,
};
use crate::{
    account::{Account, AccountField, AccountPerformance, AccountSettings, AccountState},
    invalid::Invalid,
    pb,
    schedule::{parse_time_zone, time_zone_name},
};

/// Parses the settings of an account.
pub fn account_settings(account: &pb::Account) -> Result<AccountSettings, Invalid> {
    let parse = || {
        Ok(AccountSettings {
            display_name: display_name(&account.display_name)?,
            daily_limit: daily_limit(account.daily_limit)?,
            time_zone: parse_time_zone(&account.time_zone).map_err(|invalid| invalid.under("time_zone"))?,
        })
    };
    parse().map_err(|invalid: Invalid| invalid.under("account"))
}

/// Parses which fields of an account an update changes.
pub fn account_fields(
    account: &pb::Account,
    mask: Option<&prost_types::FieldMask>,
) -> Result<Vec<AccountField>, Invalid> {
    let known = [
        ("display_name", AccountField::DisplayName),
        ("daily_limit", AccountField::DailyLimit),
        ("time_zone", AccountField::TimeZone),
    ];
    fields(mask, &known, |field| match field {
        AccountField::DisplayName => !account.display_name.is_empty(),
        AccountField::DailyLimit => account.daily_limit.is_some(),
        AccountField::TimeZone => !account.time_zone.is_empty(),
    })
}

fn performance(messages: AccountPerformance) -> pb::AccountPerformance {
    let (delivery_health, delivery_health_certain) = delivery_health(messages.success_rate());
    pb::AccountPerformance {
        delivered: messages.delivered,
        failed: messages.failed,
        bounced: messages.bounced,
        success_rate: Some(rate(messages.success_rate())),
        failures: by_reason(messages.by_reason),
        delivery_health,
        delivery_health_certain,
    }
}

impl From<Account> for pb::Account {
    fn from(account: Account) -> Self {
        let state = match account.state {
            AccountState::Active => pb::AccountState::Active,
            AccountState::Suspended => pb::AccountState::Suspended,
        };
        Self {
            name: account.name.to_string(),
            uid: account.uid,
            display_name: account.settings.display_name,
            state: state.into(),
            daily_limit: account.settings.daily_limit,
            time_zone: time_zone_name(&account.settings.time_zone).to_owned(),
            reserved_today: account.reserved_today,
            campaign_count: account.campaign_count,
            lifetime: Some(performance(account.lifetime)),
            last_30_days: Some(performance(account.last_30_days)),
            create_time: Some(timestamp(account.create_time)),
            update_time: Some(timestamp(account.update_time)),
            etag: etag(account.revision),
        }
    }
}
