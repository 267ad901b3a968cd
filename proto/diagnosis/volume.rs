//! From which volume on an account is rate limited.
//!
//! The unit is an account on a day, not a message: limits hit many messages of one day at once, so messages of a day are
//! no independent draws.

use std::collections::BTreeMap;

use super::regime::is_rise;
use crate::{rate::Rate, statistics::find_change_along};

/// Least share of a day's messages that makes the day a limited one. It is the share from which a reason matters.
const LIMITED_SHARE_PERCENT: i64 = 2;

/// Fewest limited messages of a limited day: one of a small day can be chance.
const LIMITED_MIN: i64 = 2;

/// Fewest days below and above a limit.
const DAYS_MIN: i64 = 3;

/// An account-day counts only if the messages seen are at least this part of the account's messages of that day. With
/// fewer, the absence of failures among them says nothing.
const SEEN_DIVISOR: i64 = 10;

/// An account on a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccountDay {
    /// Messages of the account over all campaigns of the workspace, deleted ones included.
    pub volume: i64,
    /// Rate-limited messages / messages, of those that the diagnosis sees.
    pub limited: Rate,
}

/// Finds the number of messages a day of one account above which messages are rate limited: the largest volume of a day
/// below the change. `None` if limits do not depend on the volume.
pub(super) fn find_limit(days: impl IntoIterator<Item = AccountDay>) -> Option<i64> {
    let mut volumes: BTreeMap<i64, Rate> = BTreeMap::new();
    for AccountDay { volume, limited } in days {
        if limited.denominator == 0 || SEEN_DIVISOR * limited.denominator < volume {
            continue;
        }
        let is_limited =
            limited.numerator >= LIMITED_MIN && 100 * limited.numerator >= LIMITED_SHARE_PERCENT * limited.denominator;
        let days = volumes.entry(volume).or_default();
        days.numerator += i64::from(is_limited);
        days.denominator += 1;
    }
    let ordered: Vec<(i64, Rate)> = volumes.into_iter().collect();
    let change = find_change_along(&ordered, DAYS_MIN).filter(is_rise)?;
    let above = ordered.partition_point(|(volume, _)| *volume < change.since);
    above.checked_sub(1).map(|below| ordered[below].0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(volume: i64, limited: i64) -> AccountDay {
        AccountDay { volume, limited: Rate { numerator: limited, denominator: volume } }
    }

    /// Days of these volumes; above 400 messages the rest fails.
    fn above_400(volumes: impl Iterator<Item = i64>) -> Vec<AccountDay> {
        volumes.map(|volume| day(volume, (volume - 400).max(0))).collect()
    }

    #[test]
    fn failures_above_a_volume_show_it() {
        assert_eq!(find_limit(above_400((200..600).step_by(10))), Some(400));
        assert_eq!(find_limit(above_400([100, 100, 250, 300, 390, 800, 900, 1000].into_iter())), Some(390));
    }

    #[test]
    fn failures_at_every_volume_or_on_few_days_show_none() {
        assert_eq!(find_limit((200..600).step_by(10).map(|volume| day(volume, volume / 10))), None);
        assert_eq!(find_limit((200..600).step_by(10).map(|volume| day(volume, 0))), None);
        let when = |is_limited: fn(i64) -> bool| {
            find_limit((200..600).step_by(10).map(|volume| day(volume, if is_limited(volume) { 150 } else { 0 })))
        };
        assert_eq!(when(|volume| volume > 400), Some(400));
        assert_eq!(when(|volume| volume < 400), None, "a fall");
        assert_eq!(when(|volume| volume == 430), None, "one day is no rule");
        assert_eq!(find_limit([]), None);
        assert_eq!(find_limit([day(0, 0), day(1, 1)]), None);
    }

    #[test]
    fn days_of_which_little_is_seen_say_nothing() {
        let mut days = above_400((200..600).step_by(10));
        let unseen = AccountDay { volume: 590, limited: Rate { numerator: 0, denominator: 58 } };
        days.extend([unseen; 50]);
        assert_eq!(find_limit(days.clone()), Some(400));
        days.extend([AccountDay { limited: Rate { numerator: 0, denominator: 59 }, ..unseen }; 50]);
        assert_ne!(find_limit(days), Some(400));
    }

    #[test]
    fn small_limits_show_too() {
        let days =
            [8, 10, 12, 14, 16, 18, 20, 20, 19, 22, 24, 26, 28, 30, 32].map(|volume| day(volume, (volume - 20).max(0)));
        assert_eq!(find_limit(days), Some(20));
    }
}
