//! Conversions of what performance is asked for, and of history, accounts of a campaign and totals of a workspace.

use jiff::{Timestamp, ToSpan as _, civil::Date, tz::TimeZone};

use super::{
    campaign::{by_reason, delivery_health},
    page_size_or, parse, rate, timestamp,
};
use crate::{
    comparison::{AGE_DEFAULT, AGES, CAMPAIGNS_MAX, CAMPAIGNS_MIN},
    history::{AGE_MAX, AgeCounts, CampaignAccount, HistoryCounts, HistoryDay, WorkspaceTotals},
    invalid::{Invalid, excerpt},
    name::{AccountId, AccountName, CampaignId, CampaignName, WorkspaceId, WorkspaceName},
    pb,
    schedule::local_day,
};

/// Most days of a history.
const HISTORY_DAYS_MAX: i32 = 400;
/// Days of a history whose first day is not given.
const HISTORY_DAYS_DEFAULT: i32 = 30;
/// Default size of a page of a history: as many sums as it can have days.
const HISTORY_PAGE_DEFAULT: i32 = HISTORY_DAYS_MAX;
/// First year of a day in a request. No fact is older.
const YEAR_MIN: i16 = 2000;

/// Parses a UTC day, `YYYY-MM-DD`; `None` if it is left out.
pub(super) fn parse_day(field: &str, text: &str) -> Result<Option<Date>, Invalid> {
    if text.is_empty() {
        return Ok(None);
    }
    // The parser of dates also takes other forms, such as a date with a time.
    let is_form = text.len() == 10
        && text
            .bytes()
            .enumerate()
            .all(|(at, byte)| if at == 4 || at == 7 { byte == b'-' } else { byte.is_ascii_digit() });
    let day = is_form.then(|| text.parse::<Date>().ok()).flatten();
    day.filter(|day| day.year() >= YEAR_MIN).map(Some).ok_or_else(|| {
        let problem =
            format!("`{}` is no UTC day of the years {YEAR_MIN} to 9999; write it as in 2026-03-02", excerpt(text));
        Invalid::new(field, problem)
    })
}

/// Parses the range of a history, both days inclusive. The last day is today by default, the first one 29 days before.
pub fn history_range(first_day: &str, last_day: &str, now: Timestamp) -> Result<(Date, Date), Invalid> {
    let first = parse_day("first_day", first_day)?;
    let last = parse_day("last_day", last_day)?.unwrap_or_else(|| local_day(&TimeZone::UTC, now));
    let first = first.unwrap_or_else(|| last.saturating_sub((HISTORY_DAYS_DEFAULT - 1).days()));
    let days = last.duration_since(first).as_hours() / 24 + 1;
    if days < 1 {
        return Err(Invalid::new(
            "first_day",
            format_args!("{first} is after the last day, {last}; choose an earlier one"),
        ));
    }
    if days > HISTORY_DAYS_MAX.into() {
        let problem = format!(
            "{first} to {last} are {days} days, at most {HISTORY_DAYS_MAX} fit in one call; ask for them in parts"
        );
        return Err(Invalid::new("first_day", problem));
    }
    Ok((first, last))
}

/// Parses the page size of a history, from 1 to 1000. 0 means 400, and larger sizes mean 1000.
pub fn history_page_size(size: i32) -> Result<i64, Invalid> {
    page_size_or(size, HISTORY_PAGE_DEFAULT)
}

/// Parses the age in days at which campaigns are compared. 0 means 7.
pub fn age_days(age: i32) -> Result<u8, Invalid> {
    match age {
        0 => Ok(AGE_DEFAULT),
        _ => AGES.into_iter().find(|known| i32::from(*known) == age).ok_or_else(|| {
            Invalid::new("age_days", format_args!("is {age}, but must be 1, 3, 7, 14 or 30; leave it out for 7"))
        }),
    }
}

/// Parses the campaigns of a comparison: 2 to 20 different ones of a workspace.
pub fn compared_campaigns(names: &[String], workspace: &WorkspaceId) -> Result<Vec<CampaignId>, Invalid> {
    if !(CAMPAIGNS_MIN..=CAMPAIGNS_MAX).contains(&names.len()) {
        let problem =
            format!("has {} entries, but {CAMPAIGNS_MIN} to {CAMPAIGNS_MAX} can be compared in one call", names.len());
        return Err(Invalid::new("campaigns", problem));
    }
    let mut campaigns = Vec::with_capacity(names.len());
    for (index, text) in names.iter().enumerate() {
        let field = format!("campaigns[{index}]");
        let CampaignName { workspace: of, campaign } = parse(&field, text)?;
        if of != *workspace {
            return Err(Invalid::new(field, "belongs to another workspace than `parent`"));
        }
        if campaigns.contains(&campaign) {
            return Err(Invalid::new(field, format_args!("`{}` is listed twice; name it once", excerpt(text))));
        }
        campaigns.push(campaign);
    }
    Ok(campaigns)
}

/// Renders counts by age: nothing if all are 0.
fn by_age(counts: AgeCounts) -> Vec<i64> {
    if counts.iter().any(|count| *count != 0) { counts.to_vec() } else { Vec::new() }
}

impl From<HistoryCounts> for pb::HistoryCounts {
    fn from(counts: HistoryCounts) -> Self {
        Self {
            delivered: counts.delivered,
            failed: by_reason(counts.failed),
            bounced: by_reason(counts.bounced),
            contacted_leads: counts.contacted,
            replied_leads_by_age: by_age(counts.replied),
            converted_leads_by_age: by_age(counts.converted),
        }
    }
}

/// Renders the name of an account; empty without an account.
fn account_name(workspace: &WorkspaceId, account: Option<AccountId>) -> String {
    account.map(|account| AccountName { workspace: workspace.clone(), account }.to_string()).unwrap_or_default()
}

/// Renders the days of a history, and the corrections, which belong to no day.
pub fn history(workspace: &WorkspaceId, rows: Vec<HistoryDay>) -> (Option<pb::HistoryCounts>, Vec<pb::HistoryDay>) {
    let (mut corrections, mut days) = (None, Vec::with_capacity(rows.len()));
    for row in rows {
        match row.day {
            None => corrections = Some(row.counts.into()),
            Some(_) => days.push(history_day(workspace, row)),
        }
    }
    (corrections, days)
}

/// Renders a day of a history.
pub fn history_day(workspace: &WorkspaceId, HistoryDay { day, account, counts }: HistoryDay) -> pb::HistoryDay {
    pb::HistoryDay {
        day: day.map(|day| day.to_string()).unwrap_or_default(),
        account: account_name(workspace, account),
        counts: Some(counts.into()),
    }
}

/// Renders an account of a campaign.
pub fn campaign_account(workspace: &WorkspaceId, of: CampaignAccount) -> pb::CampaignAccount {
    let delivery_rate = of.message_counts.performance().success_rate();
    let (delivery_health, delivery_health_certain) = delivery_health(delivery_rate);
    pb::CampaignAccount {
        account: account_name(workspace, of.account),
        serving: of.is_serving,
        suspended: of.is_suspended,
        lead_counts: Some(of.lead_counts.into()),
        delivery_rate: Some(rate(delivery_rate)),
        delivery_health,
        delivery_health_certain,
        response_rate: Some(rate(of.message_counts.response_rate(AGE_MAX))),
        conversion_rate: Some(rate(of.message_counts.conversion_rate(AGE_MAX))),
        message_counts: Some(of.message_counts.into()),
        daily_limit: of.daily_limit,
        reserved_today: of.reserved_today,
    }
}

/// Renders the totals of a workspace.
pub fn workspace_totals(workspace: WorkspaceId, as_of: Timestamp, totals: WorkspaceTotals) -> pb::WorkspaceTotals {
    let messages = totals.message_counts;
    let (delivery_health, delivery_health_certain) = delivery_health(messages.delivery_rate());
    pb::WorkspaceTotals {
        name: WorkspaceName(workspace).to_string(),
        as_of_time: Some(timestamp(as_of)),
        active_campaigns: totals.active_campaigns,
        paused_campaigns: totals.paused_campaigns,
        finished_campaigns: totals.finished_campaigns,
        active_accounts: totals.active_accounts,
        suspended_accounts: totals.suspended_accounts,
        lead_counts: Some(totals.lead_counts.into()),
        progress_ratio: totals.lead_counts.progress().ratio(),
        message_counts: Some(messages.into()),
        delivery_rate: Some(rate(messages.delivery_rate())),
        delivery_health,
        delivery_health_certain,
        response_rate: Some(rate(messages.response_rate())),
        conversion_rate: Some(rate(messages.conversion_rate())),
    }
}
