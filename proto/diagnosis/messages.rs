//! Messages by day: of each account of a campaign, or of each campaign of an account, and together.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{ToSpan as _, civil::Date};

use crate::{history::HistoryCounts, lead::FailureReason, rate::Rate};

/// Days of the recent past. A week holds every weekday once.
const RECENT_DAYS: i32 = 7;

/// A day is quiet if fewer messages left than on the median day divided by this: weekends, and days after the end. A slow
/// day of sending is none.
const QUIET_DIVISOR: i64 = 5;

/// Messages by what became of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Messages {
    /// All.
    pub(super) all: i64,
    /// Those that failed, by reason, in the order of `FailureReason::ALL`.
    failed: [i64; 5],
    /// Those that bounced, by reason, in the same order.
    bounced: [i64; 5],
}

/// Messages of accounts of a campaign, or of campaigns of an account, by UTC day of their result. `None` stands for those
/// whose account is unknown, or whose campaign is deleted.
pub type MessagesBy<Id> = BTreeMap<Option<Id>, BTreeMap<Date, Messages>>;

/// Adds up messages since each of some days.
pub fn messages_since<Id: Ord + Clone>(by_day: &MessagesBy<Id>, since: &BTreeSet<Date>) -> MessagesBy<Id> {
    let sums = |days: &BTreeMap<Date, Messages>| {
        since.iter().map(|since| (*since, total(days.range(since..).map(|(_, messages)| *messages)))).collect()
    };
    by_day.iter().map(|(id, days)| (id.clone(), sums(days))).collect()
}

/// Messages by UTC day of their result, in the order of days.
pub(super) type MessageDays = Vec<(Date, Messages)>;

impl Messages {
    /// Counts messages by result and reason, in the order of `FailureReason::ALL`.
    pub fn new(delivered: i64, failed: [i64; 5], bounced: [i64; 5]) -> Self {
        let all = delivered + failed.iter().sum::<i64>() + bounced.iter().sum::<i64>();
        Self { all, failed, bounced }
    }

    /// The messages of a row of history.
    pub fn of(counts: &HistoryCounts) -> Self {
        Self::new(counts.delivered, counts.failed, counts.bounced)
    }

    /// Adds other messages.
    pub fn add(&mut self, other: Self) {
        self.combine(other, |sum, one| sum + one);
    }

    /// Takes other messages away.
    pub fn subtract(&mut self, other: Self) {
        self.combine(other, |sum, one| sum - one);
    }

    fn combine(&mut self, other: Self, with: impl Fn(i64, i64) -> i64) {
        let counts = |sums: &mut [i64; 5], counts: [i64; 5]| {
            sums.iter_mut().zip(counts).for_each(|(sum, one)| *sum = with(*sum, one));
        };
        self.all = with(self.all, other.all);
        counts(&mut self.failed, other.failed);
        counts(&mut self.bounced, other.bounced);
    }

    /// Returns the share of messages that failed or bounced for a reason, or for any.
    pub fn lost(self, reason: Option<FailureReason>) -> Rate {
        Rate { numerator: of(self.failed, reason) + of(self.bounced, reason), denominator: self.all }
    }

    /// Returns the share of the lost messages that bounced.
    pub(super) fn bounced(self, reason: Option<FailureReason>) -> Rate {
        Rate { numerator: of(self.bounced, reason), denominator: self.lost(reason).numerator }
    }

    /// Messages that left on the day they count. Bounces can be days late.
    fn sent(self) -> i64 {
        self.all - of(self.bounced, None)
    }
}

/// The count of a reason, or of all.
fn of(counts: [i64; 5], reason: Option<FailureReason>) -> i64 {
    let all = FailureReason::ALL.into_iter().zip(counts);
    all.filter(|(other, _)| reason.is_none_or(|reason| reason == *other)).map(|(_, count)| count).sum()
}

/// The sum of the days from a day on, or of all.
pub(super) fn sum(days: &[(Date, Messages)], since: Option<Date>) -> Messages {
    total(days.iter().filter(|(day, _)| since.is_none_or(|since| *day >= since)).map(|(_, messages)| *messages))
}

/// The sum of some messages.
pub(super) fn total(messages: impl IntoIterator<Item = Messages>) -> Messages {
    messages.into_iter().fold(Messages::default(), |mut sum, messages| {
        sum.add(messages);
        sum
    })
}

/// Adds up messages day by day. Days without messages are left out.
pub(super) fn by_day<'a>(messages: impl IntoIterator<Item = (&'a Date, &'a Messages)>) -> MessageDays {
    let mut sums: BTreeMap<Date, Messages> = BTreeMap::new();
    for (day, messages) in messages {
        sums.entry(*day).or_default().add(*messages);
    }
    sums.into_iter().filter(|(_, messages)| messages.all > 0).collect()
}

/// The first day of the recent past, which ends with the last day of sending; `None` without messages.
pub(super) fn recent_since(days: &[(Date, Messages)]) -> Option<Date> {
    sending_days(days).last().map(|(day, _)| day.saturating_sub((RECENT_DAYS - 1).days()))
}

/// Returns the days on which messages were sent, without those on which next to nothing was.
///
/// Bounces come days after their message left. On a weekend, or after the last message, all results can be bounces: the
/// share of lost messages of such a day says nothing.
pub(super) fn sending_days(days: &[(Date, Messages)]) -> MessageDays {
    let mut volumes: Vec<i64> = days.iter().map(|(_, messages)| messages.sent()).filter(|sent| *sent > 0).collect();
    volumes.sort_unstable();
    let median = volumes.get(volumes.len() / 2).copied().unwrap_or(0);
    days.iter().filter(|(_, messages)| QUIET_DIVISOR * messages.sent() >= median).copied().collect()
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    fn messages(delivered: i64, failed: i64, bounced: i64) -> Messages {
        Messages::of(&HistoryCounts {
            delivered,
            failed: [0, 0, failed, 0, 0],
            bounced: [0, bounced, 0, 0, 0],
            ..HistoryCounts::default()
        })
    }

    fn on(days: &[(i8, Messages)]) -> MessageDays {
        days.iter().map(|&(day, messages)| (date(2026, 6, day), messages)).collect()
    }

    #[test]
    fn quiet_days_are_left_out_and_slow_days_are_not() {
        let sending =
            |days: &[(i8, Messages)]| -> Vec<i8> { sending_days(&on(days)).iter().map(|(day, _)| day.day()).collect() };
        let normal = messages(98, 2, 3);
        let bounces = messages(0, 0, 70);
        assert_eq!(sending(&[(1, normal), (2, bounces), (3, normal), (4, bounces), (5, bounces)]), [1, 3]);
        assert_eq!(sending(&[(1, normal), (2, messages(18, 2, 0)), (3, normal), (4, messages(17, 2, 9))]), [1, 2, 3]);
        assert_eq!(sending(&[(1, bounces), (2, bounces)]), [1, 2], "nothing but bounces");
        assert!(sending(&[]).is_empty());
    }

    #[test]
    fn losses_have_their_reasons() {
        let lost = messages(90, 3, 7);
        let rate = |numerator, denominator| Rate { numerator, denominator };
        assert_eq!(lost.lost(None), rate(10, 100));
        assert_eq!(lost.lost(Some(FailureReason::RateLimited)), rate(3, 100));
        assert_eq!(lost.lost(Some(FailureReason::InvalidLead)), rate(7, 100));
        assert_eq!((lost.bounced(None), lost.bounced(Some(FailureReason::RateLimited))), (rate(7, 10), rate(0, 3)));
    }

    #[test]
    fn sums_start_with_a_day() {
        let days = on(&[(1, messages(10, 1, 2)), (8, messages(20, 3, 4)), (9, messages(40, 5, 6))]);
        assert_eq!(sum(&days, None).lost(None), Rate { numerator: 21, denominator: 91 });
        assert_eq!(sum(&days, Some(date(2026, 6, 8))).lost(None), Rate { numerator: 18, denominator: 78 });
        assert_eq!(recent_since(&days), Some(date(2026, 6, 3)));
        let ended = [days, on(&[(10, messages(0, 0, 9)), (11, messages(0, 0, 9))])].concat();
        assert_eq!(recent_since(&ended), Some(date(2026, 6, 3)), "late bounces do not count");
        assert_eq!(recent_since(&[]), None);
    }
}
