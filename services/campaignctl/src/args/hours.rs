//! Parses spans of time and active hours.

use campaign_metrics::{pb, schedule::Window};

/// Parses a span of time: a whole number with its unit.
pub(super) fn span(text: &str) -> Result<prost_types::Duration, String> {
    const SECONDS_MAX: i64 = 365 * 86_400;
    let parse = || {
        let unit = match text.chars().last()? {
            'd' => 86_400,
            'h' => 3600,
            'm' => 60,
            's' => 1,
            _ => return None,
        };
        let count: i64 = text[..text.len() - 1].parse().ok()?;
        count.checked_mul(unit).filter(|seconds| (0..=SECONDS_MAX).contains(seconds))
    };
    let seconds = parse().ok_or("a span is written as 2d, 36h, 90m or 45s, up to 365d")?;
    Ok(prost_types::Duration { seconds, nanos: 0 })
}

/// The days of the week, as they are written. The place is the number of the API less one.
const DAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

/// Parses an active window: `Mon-Fri 09:00-17:00`, or `09:00-17:00` for every day.
pub(super) fn window(text: &str) -> Result<pb::ActiveWindow, String> {
    let is_written = "active hours are written as 'Mon-Fri 09:00-17:00', 'Sat,Sun 10:00-14:00' or '22:00-02:00'";
    let (days, times) = text.trim().rsplit_once(' ').unwrap_or(("", text.trim()));
    let (start, end) = times.split_once('-').ok_or(is_written)?;
    // The service checks the days by their numbers; the times are checked here by the same code.
    Window::new(&[], start, end).map_err(|invalid| format!("{invalid}; {is_written}"))?;
    let mut numbers = Vec::new();
    for part in days.split(',').map(str::trim).filter(|_| !days.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let place = |day: &str| {
            let day = day.trim().to_lowercase();
            DAYS.iter().position(|known| *known == day || known[..3] == day).ok_or(is_written)
        };
        let (mut day, last) = (place(first)?, place(last)?);
        // Friday to Monday is four days.
        while day != last {
            numbers.push(day);
            day = (day + 1) % DAYS.len();
        }
        numbers.push(last);
    }
    numbers.sort_unstable();
    numbers.dedup();
    let days = numbers.into_iter().filter_map(|day| i32::try_from(day + 1).ok()).collect();
    Ok(pb::ActiveWindow { days, start_time: start.to_owned(), end_time: end.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_a_whole_number_with_its_unit() {
        let seconds = |text| span(text).map(|span| span.seconds);
        for (text, expected) in [("2d", 172_800), ("36h", 129_600), ("90m", 5400), ("45s", 45), ("0s", 0)] {
            assert_eq!(seconds(text), Ok(expected), "{text}");
        }
        assert_eq!(seconds("365d"), Ok(365 * 86_400));
        for text in ["366d", "-1d", "1w", "2", "d", "", "1.5d", "2 d", "9223372036854775807d", "1ö"] {
            assert!(seconds(text).unwrap_err().contains("36h"), "{text}");
        }
    }

    #[test]
    fn a_window_has_days_and_two_times() {
        let parsed = |text| window(text).map(|window| (window.days, window.start_time, window.end_time));
        let times = |days: &[i32], start: &str, end: &str| Ok((days.to_vec(), start.to_owned(), end.to_owned()));
        assert_eq!(parsed("Mon-Fri 09:00-17:00"), times(&[1, 2, 3, 4, 5], "09:00", "17:00"));
        assert_eq!(parsed("sunday, SAT 10:30-14:15"), times(&[6, 7], "10:30", "14:15"));
        assert_eq!(parsed("Fri-Mon,wed 08:00-24:00"), times(&[1, 3, 5, 6, 7], "08:00", "24:00"));
        assert_eq!(parsed(" 22:00-02:00 "), times(&[], "22:00", "02:00"));
        for (text, says) in [
            ("Mon-Fri", "09:00-17:00"),
            ("Mo 09:00-17:00", "Mon-Fri"),
            ("Mon- 09:00-17:00", "Mon-Fri"),
            ("Mon 9:00-17:00", "`9:00`"),
            ("Mon 09:00-25:00", "`25:00`"),
            ("Mon 09:00-09:00", "empty"),
            ("", "09:00-17:00"),
        ] {
            assert!(parsed(text).unwrap_err().contains(says), "{text}: {:?}", parsed(text));
        }
    }
}
