//! Pace: how many messages or leads come a day, and how long more of them take.

use jiff::{SignedDuration, ToSpan as _, civil::Date};

/// Days of which the pace is the mean, today included. A week holds every weekday once.
const PACE_DAYS: i32 = 7;

const DAY_SECONDS: i64 = 86_400;

/// A count over days.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pace {
    count: i64,
    days: i64,
}

impl Pace {
    /// Returns the pace of the last 7 days, or of all days since the first if that was later.
    pub fn of(counts: &[(Date, i64)], today: Date) -> Self {
        let since = today.saturating_sub((PACE_DAYS - 1).days());
        let first = counts.iter().map(|(day, _)| *day).min().unwrap_or(today);
        let days = i64::from((today - first.clamp(since, today)).get_days()) + 1;
        Self { count: counts.iter().filter(|(day, _)| *day >= since).map(|(_, count)| count).sum(), days }
    }

    /// Returns how long so many more take; `None` if nothing moves.
    pub fn time_for(self, more: i64) -> Option<SignedDuration> {
        let seconds = more.checked_mul(self.days)?.checked_mul(DAY_SECONDS)?;
        (self.count > 0).then(|| SignedDuration::from_secs(seconds / self.count))
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn the_pace_is_that_of_the_last_week_or_of_all_days() {
        let on = |day, count| (date(2026, 6, day), count);
        let today = date(2026, 6, 20);
        let hours = |counts: &[(Date, i64)], more| Pace::of(counts, today).time_for(more).map(|time| time.as_hours());
        assert_eq!(hours(&[on(1, 1000), on(13, 1000), on(14, 30), on(20, 12)], 42), Some(7 * 24));
        assert_eq!(hours(&[on(19, 30), on(20, 12)], 21), Some(24));
        assert_eq!(hours(&[on(20, 48)], 1), Some(0));
        assert_eq!(hours(&[on(13, 1000)], 1), None);
        assert_eq!(hours(&[], 1), None);
        assert_eq!(hours(&[on(21, 48)], 48), Some(24), "a day after today counts as today");
        assert_eq!(hours(&[on(20, 1)], i64::MAX), None);
    }
}
