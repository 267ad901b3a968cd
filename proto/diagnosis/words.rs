//! Words: numbers, names and days for people.

use jiff::Timestamp;

use crate::{
    rate::Rate,
    statistics::{Change, MESSAGES_MIN},
};

/// Most names in a sentence.
const NAMES_MAX: usize = 3;

/// Renders a share, such as `12.3 %`. Only all is `100.0 %`, and only none is `0.0 %`.
pub(super) fn percent(rate: Rate) -> String {
    match rate.ratio() {
        None => "nothing".to_owned(),
        Some(ratio) if rate.numerator > 0 && ratio < 0.0005 => "less than 0.1 %".to_owned(),
        Some(ratio) if rate.numerator < rate.denominator && ratio > 0.9995 => "more than 99.9 %".to_owned(),
        Some(ratio) => format!("{:.1} %", 100.0 * ratio),
    }
}

/// Renders a share with its counts, such as `12.3 % (123 of 1000)`. Of few it renders the counts alone: `3 of 7`.
pub(super) fn share(rate: Rate) -> String {
    let counts = format!("{} of {}", rate.numerator, rate.denominator);
    if rate.denominator < MESSAGES_MIN { counts } else { format!("{} ({counts})", percent(rate)) }
}

/// Renders ids in backticks, such as `` `a`, `b`, `c` and 4 more ``.
pub(super) fn names<'a>(ids: impl ExactSizeIterator<Item = &'a str>) -> String {
    let count = ids.len();
    let mut shown: Vec<String> = ids.take(NAMES_MAX).map(|id| format!("`{id}`")).collect();
    let last = match count.saturating_sub(NAMES_MAX) {
        0 => shown.pop().unwrap_or_default(),
        more => format!("{more} more"),
    };
    if shown.is_empty() { last } else { format!("{} and {last}", shown.join(", ")) }
}

/// Renders the first day of a change, with the days between which it lies if they differ.
pub(super) fn since(change: &Change) -> String {
    let Change { since, earliest, latest, .. } = change;
    if earliest == latest { since.to_string() } else { format!("{since} (between {earliest} and {latest})") }
}

/// Renders a time to the minute.
pub(super) fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

/// Says when what is missing will be there.
pub(super) fn expected_by(expected: Option<Timestamp>) -> String {
    match expected {
        Some(at) => format!("the rest is expected by {}", time(at)),
        None => "as things are, the rest never comes".to_owned(),
    }
}

/// Renders a count with its noun.
pub(super) fn count(count: i64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_all_is_100_percent_and_few_have_no_percentage() {
        let rate = |numerator, denominator| Rate { numerator, denominator };
        assert_eq!(percent(rate(123, 1000)), "12.3 %");
        assert_eq!(
            [rate(0, 30), rate(1, 3000), rate(2999, 3000), rate(30, 30), rate(0, 0)].map(percent),
            ["0.0 %", "less than 0.1 %", "more than 99.9 %", "100.0 %", "nothing"]
        );
        assert_eq!(
            [rate(1, 1), rate(19, 19), rate(20, 20), rate(0, 0)].map(share),
            ["1 of 1", "19 of 19", "100.0 % (20 of 20)", "0 of 0"]
        );
    }

    #[test]
    fn three_names_are_enough() {
        let names = |ids: &[&str]| names(ids.iter().copied());
        assert_eq!(names(&[]), "");
        assert_eq!(names(&["a"]), "`a`");
        assert_eq!(names(&["a", "b"]), "`a` and `b`");
        assert_eq!(names(&["a", "b", "c"]), "`a`, `b` and `c`");
        assert_eq!(names(&["a", "b", "c", "d", "e"]), "`a`, `b`, `c` and 2 more");
    }
}
