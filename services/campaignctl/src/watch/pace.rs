//! How fast the leads of a campaign are done, and how long the rest takes. Memory is bounded.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// Distance of two samples.
const EVERY: Duration = Duration::from_mins(1);
/// Length of the period over which a pace is measured.
const PERIOD: Duration = Duration::from_hours(1);
/// A pace over less time says little.
const SHORTEST: Duration = Duration::from_mins(1);

/// The pace of one campaign.
#[derive(Debug, Clone, Default)]
pub struct Pace {
    /// Leads done at a time, a minute apart, at most an hour back.
    samples: VecDeque<(Instant, i64)>,
}

impl Pace {
    /// Takes note of the leads that are done.
    pub fn note(&mut self, now: Instant, done: i64) {
        // Leads that were removed make the count smaller. The past then says nothing about the future.
        if self.samples.back().is_some_and(|(_, before)| *before > done) {
            self.samples.clear();
        }
        if self.samples.back().is_none_or(|(at, _)| now.saturating_duration_since(*at) >= EVERY) {
            self.samples.push_back((now, done));
        }
        // The sample that begins the period is kept.
        while self.samples.get(1).is_some_and(|(at, _)| now.saturating_duration_since(*at) >= PERIOD) {
            self.samples.pop_front();
        }
    }

    /// Returns the leads done in an hour; `None` until it was measured long enough.
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    pub fn per_hour(&self, now: Instant, done: i64) -> Option<f64> {
        let (since, before) = self.samples.front()?;
        let elapsed = now.saturating_duration_since(*since);
        (elapsed >= SHORTEST).then(|| (done - before) as f64 * 3600.0 / elapsed.as_secs_f64())
    }

    /// Returns how long open leads take at this pace; `None` while nothing moves, and without open leads.
    #[expect(clippy::cast_precision_loss, reason = "a duration for people")]
    pub fn ready_in(&self, now: Instant, done: i64, open: i64) -> Option<Duration> {
        let per_hour = self.per_hour(now, done).filter(|per_hour| *per_hour > 0.0)?;
        (open > 0).then(|| Duration::try_from_secs_f64(open as f64 * 3600.0 / per_hour).ok()).flatten()
    }
}

/// Renders a duration roughly: `40 s`, `12 min`, `5 h`, `3 d`.
pub fn roughly(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minutes(count: u64) -> Duration {
        Duration::from_mins(count)
    }

    #[test]
    fn a_pace_is_measured_over_the_last_hour() {
        let start = Instant::now();
        let mut pace = Pace::default();
        assert_eq!(pace.per_hour(start, 5), None);
        pace.note(start, 100);
        assert_eq!(pace.per_hour(start + Duration::from_secs(59), 130), None, "too short");
        assert_eq!(pace.per_hour(start + minutes(2), 110), Some(300.0));
        assert_eq!(pace.ready_in(start + minutes(2), 110, 50), Some(minutes(10)));
        // Two leads a minute for three hours, then none for half an hour.
        for minute in 1..=180 {
            pace.note(start + minutes(minute), 100 + 2 * i64::try_from(minute).unwrap());
        }
        assert!(pace.samples.len() <= 62, "{}", pace.samples.len());
        assert_eq!(pace.per_hour(start + minutes(180), 460), Some(120.0));
        assert_eq!(pace.per_hour(start + minutes(210), 460).map(f64::round), Some(80.0));
    }

    #[test]
    fn nothing_that_moves_has_no_end_and_nothing_open_needs_none() {
        let start = Instant::now();
        let mut pace = Pace::default();
        pace.note(start, 100);
        let later = start + minutes(5);
        assert_eq!((pace.per_hour(later, 100), pace.ready_in(later, 100, 7)), (Some(0.0), None));
        assert_eq!(pace.ready_in(later, 150, 0), None);
        pace.note(later, 90);
        assert_eq!(pace.per_hour(later + minutes(1), 96), Some(360.0), "it begins again where leads were removed");
    }

    #[test]
    fn a_duration_is_told_roughly() {
        for (seconds, text) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (3599, "59 min"),
            (3600, "1 h"),
            (172_799, "47 h"),
            (172_800, "2 d"),
        ] {
            assert_eq!(roughly(Duration::from_secs(seconds)), text);
        }
    }
}
