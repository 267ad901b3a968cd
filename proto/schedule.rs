//! Active hours and local days: when messages may be sent, and to which day a time belongs.
//!
//! A window contains every instant whose local time is in [start, end). A window over midnight belongs to the day on
//! which it begins. Only the local time of an instant decides, so a window contains nothing of the hours that a clock
//! change skips, and both runs of the hours that it repeats.

use jiff::{
    Span, Timestamp, ToSpan as _,
    civil::{Date, DateTime, Weekday},
    tz::{AmbiguousOffset, TimeZone},
};

use crate::invalid::{Invalid, excerpt};

/// Most windows of a campaign.
pub const WINDOWS_MAX: usize = 32;
/// Minutes of a day. As the end of a window it means midnight.
const DAY_MINUTES: u16 = 24 * 60;
/// Days to look ahead for a change. The worst case is a weekly window that a clock change skips twice in a row.
const LOOK_AHEAD_DAYS: i64 = 22;

/// Days and local times at which messages may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Days on which it begins: bit 0 is Monday.
    days: u8,
    /// Minute of the day at which it begins, inclusive.
    start: u16,
    /// Minute of the day at which it ends, exclusive. An end at or before `start` is on the following day.
    end: u16,
}

/// Parses `HH:MM` into minutes since midnight, at most `last`.
fn parse_minutes(text: &str, last: u16) -> Option<u16> {
    let (hours, minutes) = text.split_once(':')?;
    let two_digits = |part: &str| {
        (part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit())).then(|| part.parse::<u16>().ok()).flatten()
    };
    let (hours, minutes) = (two_digits(hours)?, two_digits(minutes)?);
    let total = hours * 60 + minutes;
    (minutes < 60 && total <= last).then_some(total)
}

impl Window {
    /// Creates a window from the days on which it begins and two local times `HH:MM`. No days mean every day.
    pub fn new(days: &[Weekday], start: &str, end: &str) -> Result<Self, Invalid> {
        let start_minute = parse_minutes(start, DAY_MINUTES - 1).ok_or_else(|| {
            Invalid::new("start_time", format_args!("`{}` must be `HH:MM`, 00:00 to 23:59", excerpt(start)))
        })?;
        let end_minute = parse_minutes(end, DAY_MINUTES).ok_or_else(|| {
            Invalid::new("end_time", format_args!("`{}` must be `HH:MM`, 00:00 to 24:00", excerpt(end)))
        })?;
        if start_minute == end_minute {
            let problem = "equals the start, so the window is empty; for a whole day use 00:00 to 24:00";
            return Err(Invalid::new("end_time", problem));
        }
        let days = if days.is_empty() { 0x7f } else { days.iter().fold(0, |all, day| all | day_bit(*day)) };
        Ok(Self { days, start: start_minute, end: end_minute })
    }

    /// Returns the days on which the window begins, Monday first.
    pub fn days(self) -> impl Iterator<Item = Weekday> {
        (1..=7)
            .filter_map(|day| Weekday::from_monday_one_offset(day).ok())
            .filter(move |day| self.days & day_bit(*day) != 0)
    }

    /// Returns the start as `HH:MM`.
    pub fn start_time(self) -> String {
        format!("{:02}:{:02}", self.start / 60, self.start % 60)
    }

    /// Returns the end as `HH:MM`, up to `24:00`.
    pub fn end_time(self) -> String {
        format!("{:02}:{:02}", self.end / 60, self.end % 60)
    }

    fn contains(self, local: DateTime) -> bool {
        let minute = u16::from(local.hour().unsigned_abs()) * 60 + u16::from(local.minute().unsigned_abs());
        let today = self.days & day_bit(local.weekday()) != 0;
        if self.start < self.end {
            return today && (self.start..self.end).contains(&minute);
        }
        let yesterday = self.days & day_bit(local.weekday().previous()) != 0;
        (today && minute >= self.start) || (yesterday && minute < self.end)
    }
}

fn day_bit(day: Weekday) -> u8 {
    1 << day.to_monday_zero_offset()
}

/// Time zone and windows of a campaign.
#[derive(Debug, Clone, PartialEq)]
pub struct ActiveHours {
    /// Time zone of the windows and of the campaign's days.
    pub time_zone: TimeZone,
    /// The campaign is active within any of these windows. None means always.
    pub windows: Vec<Window>,
}

impl Default for ActiveHours {
    fn default() -> Self {
        Self { time_zone: TimeZone::UTC, windows: Vec::new() }
    }
}

impl ActiveHours {
    /// Returns whether messages may be sent at `at`.
    pub fn is_active(&self, at: Timestamp) -> bool {
        self.windows.is_empty() || {
            let local = self.time_zone.to_datetime(at);
            self.windows.iter().any(|window| window.contains(local))
        }
    }

    /// Returns the first time after `at` at which [`Self::is_active`] changes; `None` if it does not within three
    /// weeks.
    pub fn next_change(&self, at: Timestamp) -> Option<Timestamp> {
        if self.windows.is_empty() {
            return None;
        }
        let now = self.is_active(at);
        let limit = at.checked_add(Span::new().hours(24 * LOOK_AHEAD_DAYS)).ok()?;
        // A clock change can move local time into or out of a window without passing its edge.
        let clock_changes: Vec<Timestamp> = self
            .time_zone
            .following(at)
            .map(|change| change.timestamp())
            .take_while(|change| *change <= limit)
            .collect();
        let today = self.time_zone.to_datetime(at).date();
        let mut minutes: Vec<u16> = self.windows.iter().flat_map(|window| [window.start, window.end]).collect();
        minutes.sort_unstable();
        minutes.dedup();
        (0..LOOK_AHEAD_DAYS).find_map(|days_ahead| {
            let date = today.checked_add(days_ahead.days()).ok()?;
            let mut edges: Vec<Timestamp> = minutes.iter().flat_map(|minute| self.instants(date, *minute)).collect();
            edges.extend(clock_changes.iter().filter(|change| self.time_zone.to_datetime(**change).date() <= date));
            edges.sort_unstable();
            edges.into_iter().find(|edge| *edge > at && self.is_active(*edge) != now)
        })
    }

    /// The instants at which a local time occurs: one, or two when a clock change repeats it, or none when it skips it.
    fn instants(&self, date: Date, minute: u16) -> Vec<Timestamp> {
        let Ok(local) = date.at(0, 0, 0, 0).checked_add(i64::from(minute).minutes()) else {
            return Vec::new();
        };
        let offsets = match self.time_zone.to_ambiguous_timestamp(local).offset() {
            AmbiguousOffset::Unambiguous { offset } => vec![offset],
            AmbiguousOffset::Gap { .. } => Vec::new(),
            AmbiguousOffset::Fold { before, after } => vec![before, after],
        };
        offsets.into_iter().filter_map(|offset| offset.to_timestamp(local).ok()).collect()
    }
}

/// Names that a database of zones can have besides zones: places where no zone was chosen yet, the zone of this machine, and
/// copies of all zones.
const NO_ZONES: [&str; 5] = ["Factory", "localtime", "posixrules", "posix/", "right/"];

/// Parses an IANA time zone; empty is UTC.
pub fn parse_time_zone(text: &str) -> Result<TimeZone, Invalid> {
    if text.is_empty() || text == "UTC" {
        return Ok(TimeZone::UTC);
    }
    let unknown =
        || Invalid::new("", format_args!("`{}` is no IANA time zone; use one such as `Europe/Berlin`", excerpt(text)));
    let zone = TimeZone::get(text).map_err(|_| unknown())?;
    // The database of zones ignores case. Only the standard spelling is accepted, because other tools need it.
    let is_zone = zone.iana_name() == Some(text) && !NO_ZONES.iter().any(|name| text.starts_with(name));
    if is_zone { Ok(zone) } else { Err(unknown()) }
}

/// The IANA name of a zone made by [`parse_time_zone`].
pub fn time_zone_name(zone: &TimeZone) -> &str {
    zone.iana_name().unwrap_or("UTC")
}

/// The local day a moment belongs to.
pub fn local_day(zone: &TimeZone, at: Timestamp) -> Date {
    zone.to_datetime(at).date()
}

/// Returns the first instant of the local day after the one that contains `at`.
pub fn next_day(zone: &TimeZone, at: Timestamp) -> Option<Timestamp> {
    let tomorrow = local_day(zone, at).tomorrow().ok()?;
    Some(tomorrow.to_zoned(zone.clone()).ok()?.timestamp())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hours(zone: &str, windows: &[(&[Weekday], &str, &str)]) -> ActiveHours {
        ActiveHours {
            time_zone: parse_time_zone(zone).unwrap(),
            windows: windows.iter().map(|(days, start, end)| Window::new(days, start, end).unwrap()).collect(),
        }
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_window_holds_its_start_and_not_its_end() {
        let hours = hours("UTC", &[(&[], "09:00", "17:00")]);
        assert!(!hours.is_active(at("2026-05-04T08:59:59Z")));
        assert!(hours.is_active(at("2026-05-04T09:00:00Z")));
        assert!(!hours.is_active(at("2026-05-04T17:00:00Z")));
        assert_eq!(hours.next_change(at("2026-05-04T08:00:00Z")), Some(at("2026-05-04T09:00:00Z")));
        assert_eq!(hours.next_change(at("2026-05-04T09:00:00Z")), Some(at("2026-05-04T17:00:00Z")));
    }

    #[test]
    fn a_window_over_midnight_belongs_to_the_day_on_which_it_began() {
        // 2026-05-08 is a Friday.
        let hours = hours("UTC", &[(&[Weekday::Friday], "22:00", "02:00")]);
        assert!(hours.is_active(at("2026-05-08T23:00:00Z")));
        assert!(hours.is_active(at("2026-05-09T01:59:00Z")));
        assert!(!hours.is_active(at("2026-05-08T01:00:00Z")));
        assert!(!hours.is_active(at("2026-05-09T23:00:00Z")));
        assert_eq!(hours.next_change(at("2026-05-09T03:00:00Z")), Some(at("2026-05-15T22:00:00Z")));
    }

    #[test]
    fn skipped_hours_hold_nothing() {
        // On 2026-03-29 Berlin goes from 02:00 to 03:00 local time at 01:00 UTC.
        let hours = hours("Europe/Berlin", &[(&[], "02:15", "02:45")]);
        assert_eq!(hours.next_change(at("2026-03-28T12:00:00Z")), Some(at("2026-03-30T00:15:00Z")));
        let over = super::tests::hours("Europe/Berlin", &[(&[], "01:00", "02:30")]);
        assert_eq!(over.next_change(at("2026-03-29T00:30:00Z")), Some(at("2026-03-29T01:00:00Z")));
    }

    #[test]
    fn repeated_hours_hold_twice() {
        // On 2026-10-25 Berlin goes from 03:00 back to 02:00 local time at 01:00 UTC.
        let hours = hours("Europe/Berlin", &[(&[], "02:15", "02:45")]);
        let mut moment = at("2026-10-24T12:00:00Z");
        let changes = [
            "2026-10-25T00:15:00Z",
            "2026-10-25T00:45:00Z",
            "2026-10-25T01:15:00Z",
            "2026-10-25T01:45:00Z",
            "2026-10-26T01:15:00Z",
        ];
        for change in changes {
            moment = hours.next_change(moment).unwrap();
            assert_eq!(moment, at(change));
        }
    }

    #[test]
    fn a_window_that_a_clock_change_opens_is_seen_from_days_before() {
        // On Sunday 2026-03-29 Berlin goes from 02:00 to 03:00 local time at 01:00 UTC: the window's start is skipped.
        let hours = hours("Europe/Berlin", &[(&[Weekday::Sunday], "02:15", "03:30")]);
        assert_eq!(hours.next_change(at("2026-03-25T12:00:00Z")), Some(at("2026-03-29T01:00:00Z")));
        assert_eq!(hours.next_change(at("2026-03-29T01:00:00Z")), Some(at("2026-03-29T01:30:00Z")));
    }

    #[test]
    fn a_whole_week_never_changes_and_no_window_means_always() {
        let always = hours("UTC", &[(&[], "00:00", "24:00")]);
        assert!(always.is_active(at("2026-05-04T23:59:59Z")));
        assert_eq!(always.next_change(at("2026-05-04T10:00:00Z")), None);
        assert!(ActiveHours::default().is_active(at("2026-05-04T10:00:00Z")));
    }

    #[test]
    fn empty_windows_and_bad_times_are_refused_by_name() {
        assert_eq!(Window::new(&[], "09:00", "09:00").unwrap_err().field, "end_time");
        for bad in ["9:00", "24:00", "09:60", "-1:00", "0900", "", "09:00:00"] {
            assert_eq!(Window::new(&[], bad, "10:00").unwrap_err().field, "start_time", "{bad}");
        }
        assert_eq!(Window::new(&[], "10:00", "24:01").unwrap_err().field, "end_time");
        for bad in ["Mars/Olympus", "europe/berlin", "+02:00", "a\0", "utc", "CEST", "zone.tab", "UTC+2", " UTC"] {
            assert!(parse_time_zone(bad).is_err(), "{bad}");
        }
        for none in ["Factory", "posix/Europe/Rome", "right/Europe/Rome", "localtime", "posixrules", "Etc/Unknown"] {
            let refused = parse_time_zone(none).unwrap_err().to_string();
            assert!(refused.contains(&format!("`{none}` is no IANA time zone; use one such as")), "{refused}");
        }
    }

    #[test]
    fn every_zone_that_has_rules_of_a_place_is_taken_and_no_other_name_of_the_database() {
        let names: Vec<String> = jiff::tz::db().available().map(|name| name.to_string()).collect();
        let (zones, none): (Vec<&String>, Vec<&String>) = names.iter().partition(|name| parse_time_zone(name).is_ok());
        assert!(zones.len() > 500, "the database has zones");
        let copy = |name: &&&String| !name.starts_with("posix/") && !name.starts_with("right/");
        let none: Vec<&str> = none.iter().filter(copy).map(|name| name.as_str()).collect();
        for name in &none {
            assert!(["Factory", "localtime", "posixrules", "Etc/Unknown"].contains(name), "{name} is refused");
        }
        assert!(none.contains(&"Factory"), "{none:?}");
    }

    #[test]
    fn days_end_at_local_midnight_even_where_it_is_skipped() {
        let sao_paulo = parse_time_zone("America/Sao_Paulo").unwrap();
        // 2018-11-04 began at 01:00 there.
        assert_eq!(next_day(&sao_paulo, at("2018-11-04T00:00:00Z")), Some(at("2018-11-04T03:00:00Z")));
        let apia = parse_time_zone("Pacific/Apia").unwrap();
        let kiritimati = parse_time_zone("Pacific/Pago_Pago").unwrap();
        let moment = at("2026-05-04T10:30:00Z");
        assert_ne!(local_day(&apia, moment), local_day(&kiritimati, moment));
    }

    proptest! {
        #[test]
        fn nothing_changes_before_the_next_change(
            zone in prop::sample::select(vec!["UTC", "Europe/Berlin", "America/Sao_Paulo", "Australia/Lord_Howe", "America/New_York"]),
            windows in prop::collection::vec((0u8..127, 0u16..1440, 1u16..=1440), 1..4),
            second in 1_740_000_000_i64..1_800_000_000,
            probe in 0.0_f64..1.0,
        ) {
            let windows: Vec<Window> = windows.into_iter()
                .filter(|(_, start, end)| start != end)
                .map(|(days, start, end)| Window { days: days + 1, start, end })
                .collect();
            let hours = ActiveHours { time_zone: parse_time_zone(zone).unwrap(), windows };
            let moment = Timestamp::from_second(second).unwrap();
            if let Some(change) = hours.next_change(moment) {
                prop_assert!(change > moment);
                prop_assert_ne!(hours.is_active(change), hours.is_active(moment));
                let span = change.as_second() - moment.as_second();
                #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "picks some second between")]
                let between = Timestamp::from_second(moment.as_second() + (span as f64 * probe) as i64).unwrap();
                if between < change {
                    prop_assert_eq!(hours.is_active(between), hours.is_active(moment));
                }
            }
        }
    }
}
