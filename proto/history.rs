//! History: what happened on each UTC day. Every rate, diagnosis and comparison is a sum over it.

use jiff::{ToSpan as _, civil::Date};

use crate::{
    account::AccountPerformance,
    campaign::{CampaignState, LeadCounts, MessageCounts},
    lead::Step,
    name::{AccountId, CampaignName},
    rate::Rate,
};

/// Largest age of a reply or conversion that history counts, in days after the first contact.
pub const AGE_MAX: usize = 30;

/// Leads by the age of their reply or conversion. The element at index A counts ages of more than A - 1 and at most A
/// days; index 0 those at or before the first contact.
pub type AgeCounts = [i64; AGE_MAX + 1];

/// Messages by result, and leads by first contact.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HistoryCounts {
    /// Messages delivered.
    pub delivered: i64,
    /// Messages that failed, by reason, in the order of `FailureReason::ALL`.
    pub failed: [i64; 5],
    /// Messages that bounced, by reason, in the same order.
    pub bounced: [i64; 5],
    /// Leads first contacted.
    pub contacted: i64,
    /// Those of them that replied, by age.
    pub replied: AgeCounts,
    /// Those of them that converted, by age.
    pub converted: AgeCounts,
}

impl HistoryCounts {
    /// Adds other counts.
    pub fn add(&mut self, other: &Self) {
        self.combine(other, |to, from| to + from);
    }

    /// Subtracts other counts.
    pub fn subtract(&mut self, other: &Self) {
        self.combine(other, |to, from| to - from);
    }

    fn combine(&mut self, other: &Self, with: impl Fn(i64, i64) -> i64) {
        let numbers =
            |to: &mut [i64], from: &[i64]| to.iter_mut().zip(from).for_each(|(to, from)| *to = with(*to, *from));
        numbers(std::slice::from_mut(&mut self.delivered), &[other.delivered]);
        numbers(std::slice::from_mut(&mut self.contacted), &[other.contacted]);
        numbers(&mut self.failed, &other.failed);
        numbers(&mut self.bounced, &other.bounced);
        numbers(&mut self.replied, &other.replied);
        numbers(&mut self.converted, &other.converted);
    }

    /// Returns the messages by result.
    pub fn performance(&self) -> AccountPerformance {
        AccountPerformance {
            delivered: self.delivered,
            failed: self.failed.iter().sum(),
            bounced: self.bounced.iter().sum(),
            by_reason: std::array::from_fn(|reason| self.failed[reason] + self.bounced[reason]),
        }
    }

    /// Returns the share of contacted leads that replied at most `age_days` days after their first contact.
    pub fn response_rate(&self, age_days: usize) -> Rate {
        Rate { numerator: within(&self.replied, age_days), denominator: self.contacted }
    }

    /// Returns the share of contacted leads that converted at most `age_days` days after their first contact.
    pub fn conversion_rate(&self, age_days: usize) -> Rate {
        Rate { numerator: within(&self.converted, age_days), denominator: self.contacted }
    }
}

fn within(counts: &AgeCounts, age_days: usize) -> i64 {
    counts.iter().take(age_days + 1).sum()
}

/// Returns the UTC day from whose start on all leads that were first contacted on `day` have reached the age.
pub fn ripe_on(day: Date, age_days: usize) -> Date {
    day.saturating_add(days_until_ripe(age_days).days())
}

/// Returns the last UTC day of first contact whose leads have all reached the age by the start of `today`.
pub fn last_ripe_day(today: Date, age_days: usize) -> Date {
    today.saturating_sub(days_until_ripe(age_days).days())
}

/// A lead that was contacted at the end of its day reaches the age at the end of the day so much later.
fn days_until_ripe(age_days: usize) -> i64 {
    i64::try_from(age_days).unwrap_or(i64::MAX).saturating_add(1)
}

/// What happened on a day, in one campaign or to one account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryDay {
    /// UTC day; `None` for corrections of days of which the outcome log no longer has the facts. Those can be negative.
    pub day: Option<Date>,
    /// The account; `None` in sums over accounts, and for messages whose account is unknown.
    pub account: Option<AccountId>,
    /// The counts.
    pub counts: HistoryCounts,
}

/// An account in a campaign, with its share of the campaign's leads and messages.
#[derive(Debug, Clone, PartialEq)]
pub struct CampaignAccount {
    /// The account; `None` for leads and messages without a known account.
    pub account: Option<AccountId>,
    /// Whether it serves the campaign.
    pub is_serving: bool,
    /// Whether it is suspended.
    pub is_suspended: bool,
    /// Leads assigned to it.
    pub lead_counts: LeadCounts,
    /// Its messages, and the leads that it contacted first.
    pub message_counts: HistoryCounts,
    /// Its daily limit over all campaigns; `None` means no limit.
    pub daily_limit: Option<i32>,
    /// The part of the limit that is reserved on its current local day.
    pub reserved_today: i64,
}

/// Sums over the campaigns of a workspace.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WorkspaceTotals {
    /// Campaigns that are active.
    pub active_campaigns: i64,
    /// Campaigns that are paused.
    pub paused_campaigns: i64,
    /// Campaigns that are finished.
    pub finished_campaigns: i64,
    /// Accounts that are active.
    pub active_accounts: i64,
    /// Accounts that are suspended.
    pub suspended_accounts: i64,
    /// Leads by status.
    pub lead_counts: LeadCounts,
    /// Messages, and what leads did.
    pub message_counts: MessageCounts,
}

/// A campaign with its history, to be compared with others.
#[derive(Debug, Clone, PartialEq)]
pub struct ComparedCampaign {
    /// Resource name.
    pub name: CampaignName,
    /// State.
    pub state: CampaignState,
    /// Maximum number of messages for each lead.
    pub steps: Step,
    /// Leads by status.
    pub lead_counts: LeadCounts,
    /// The accounts that serve it.
    pub accounts: Vec<AccountId>,
    /// The days of its history, without corrections.
    pub days: Vec<ComparedDay>,
}

/// What happened on a day in a campaign that is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ComparedDay {
    /// UTC day.
    pub day: Date,
    /// Messages that were delivered.
    pub delivered: i64,
    /// Messages that failed.
    pub failed: i64,
    /// Messages that bounced.
    pub bounced: i64,
    /// Leads that were contacted first on this day.
    pub contacted: i64,
    /// Those of them that replied within the age that is compared.
    pub replied: i64,
    /// Those that converted within this age.
    pub converted: i64,
}

impl ComparedDay {
    /// All messages.
    pub fn messages(&self) -> i64 {
        self.delivered + self.failed + self.bounced
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_at_an_age_counts_what_came_until_then() {
        let mut counts = HistoryCounts { contacted: 10, ..HistoryCounts::default() };
        (counts.replied[0], counts.replied[1], counts.replied[7], counts.replied[8], counts.converted[30]) =
            (1, 2, 3, 1, 2);
        let rate = |numerator| Rate { numerator, denominator: 10 };
        assert_eq!([0, 1, 7, 30].map(|age| counts.response_rate(age)), [1, 3, 6, 7].map(rate));
        assert_eq!([29, 30].map(|age| counts.conversion_rate(age)), [0, 2].map(rate));
    }

    #[test]
    fn counts_add_up_number_by_number() {
        let counts = |base: i64| {
            let ages = |from: i64| std::array::from_fn(|age| from + i64::try_from(age).unwrap());
            HistoryCounts {
                delivered: base,
                failed: [base + 1, base + 2, base + 3, base + 4, base + 5],
                bounced: [base + 6, base + 7, base + 8, base + 9, base + 10],
                contacted: base + 11,
                replied: ages(base + 20),
                converted: ages(base + 60),
            }
        };
        let mut sum = counts(100);
        sum.add(&counts(1000));
        assert_eq!((sum.delivered, sum.contacted, sum.failed[4], sum.bounced[0]), (1100, 1122, 1110, 1112));
        assert_eq!((sum.replied[30], sum.converted[0]), (1200, 1220));
        let messages = counts(0).performance();
        assert_eq!((messages.delivered, messages.failed, messages.bounced), (0, 15, 40));
        assert_eq!(messages.by_reason, [7, 9, 11, 13, 15]);
    }
}
