//! Words: numbers, names and days for people.

use jiff::Timestamp;

use crate::{rate::Rate, statistics::Change};

/// Most names in a sentence.
const NAMES_MAX: usize = 3;

/// Renders a share, such as `12.3 %`.
pub(super) fn percent(rate: Rate) -> String {
    rate.percent().unwrap_or_else(|| "nothing".to_owned())
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
    fn a_share_of_nothing_is_told_in_words() {
        let rate = |numerator, denominator| Rate { numerator, denominator };
        assert_eq!([rate(0, 30), rate(123, 1000), rate(0, 0)].map(percent), ["0 %", "12.3 %", "nothing"]);
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
