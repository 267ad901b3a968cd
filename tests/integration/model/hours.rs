//! Zones, active hours and local days of the model, found by search. The only calendar function is the local time of an
//! instant.

use campaign_metrics::pb::{ActiveHours, ActiveWindow};
use jiff::{SignedDuration, Timestamp, civil::Date, tz::TimeZone};

/// Clock changes and window edges lie on this grid in every present zone.
const GRID: SignedDuration = SignedDuration::from_mins(15);
/// Active hours repeat weekly. One more day covers a clock change.
const WEEK: i64 = 8 * 24 * 4;

/// Zones from UTC-11 to UTC+14, with half and quarter hours, and with clock changes in either half of the year.
pub const ZONES: [&str; 8] = [
    "UTC",
    "Pacific/Pago_Pago",
    "Europe/Berlin",
    "Pacific/Kiritimati",
    "America/New_York",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Pacific/Chatham",
];

/// Days of the week, 1 is Monday, with the local minutes in which the window begins and ends.
type Window = (&'static [i8], i64, i64);

/// Active hours that a campaign can have.
#[derive(Debug)]
pub struct Hours {
    pub zone: &'static str,
    windows: &'static [Window],
}

const ALL_DAYS: &[i8] = &[1, 2, 3, 4, 5, 6, 7];

pub static HOURS: [Hours; 8] = [
    Hours { zone: "UTC", windows: &[] },
    Hours { zone: "Pacific/Pago_Pago", windows: &[] },
    Hours { zone: "Europe/Berlin", windows: &[(&[1, 2, 3, 4, 5], 9 * 60, 17 * 60)] },
    // A window over midnight belongs to the day on which it begins.
    Hours { zone: "Pacific/Kiritimati", windows: &[(&[1, 3, 5, 7], 22 * 60, 2 * 60 + 30)] },
    Hours { zone: "America/New_York", windows: &[(&[6, 7], 0, 24 * 60), (&[2], 13 * 60, 14 * 60 + 15)] },
    Hours { zone: "Asia/Kathmandu", windows: &[(ALL_DAYS, 8 * 60 + 30, 12 * 60), (ALL_DAYS, 13 * 60, 18 * 60 + 45)] },
    // Within the half hour that a clock change skips or repeats.
    Hours { zone: "Australia/Lord_Howe", windows: &[(ALL_DAYS, 60 + 45, 2 * 60 + 15)] },
    Hours { zone: "Pacific/Chatham", windows: &[(ALL_DAYS, 2 * 60, 23 * 60)] },
];

fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).expect("a zone of the table")
}

pub fn local_day(zone_name: &str, at: Timestamp) -> Date {
    at.to_zoned(zone(zone_name)).date()
}

/// The next moments of the grid.
fn grid(after: Timestamp, count: i64) -> impl Iterator<Item = Timestamp> {
    let quarter = GRID.as_secs();
    let first = after.as_second().div_euclid(quarter) + 1;
    (first..first + count).map(move |number| Timestamp::from_second(number * quarter).expect("within the calendar"))
}

/// The first moment of the next local day.
pub fn next_day(zone_name: &str, at: Timestamp) -> Timestamp {
    let today = local_day(zone_name, at);
    // A day can have 25 hours.
    grid(at, 26 * 4).find(|moment| local_day(zone_name, *moment) != today).expect("every day ends")
}

impl Hours {
    pub fn is_active(&self, at: Timestamp) -> bool {
        let local = at.to_zoned(zone(self.zone));
        let minute = i64::from(local.hour()) * 60 + i64::from(local.minute());
        let today = local.weekday().to_monday_one_offset();
        let yesterday = local.weekday().previous().to_monday_one_offset();
        let holds = |(days, start, end): &Window| {
            if start < end {
                days.contains(&today) && *start <= minute && minute < *end
            } else {
                days.contains(&today) && *start <= minute || days.contains(&yesterday) && minute < *end
            }
        };
        self.windows.is_empty() || self.windows.iter().any(holds)
    }

    /// When the window ends, or the next one begins.
    pub fn next_change(&self, at: Timestamp) -> Option<Timestamp> {
        if self.windows.is_empty() {
            return None;
        }
        let now = self.is_active(at);
        grid(at, WEEK).find(|moment| self.is_active(*moment) != now)
    }

    /// As in the API.
    pub fn to_pb(&self) -> ActiveHours {
        let time = |minutes: i64| format!("{:02}:{:02}", minutes / 60, minutes % 60);
        let windows = self.windows.iter().map(|(days, start, end)| ActiveWindow {
            days: days.iter().map(|day| i32::from(*day)).collect(),
            start_time: time(*start),
            end_time: time(*end),
        });
        ActiveHours { time_zone: self.zone.to_owned(), windows: windows.collect() }
    }
}
