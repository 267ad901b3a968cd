//! Lists, plurals and intervals in sentences for people.

use std::borrow::Borrow;

use crate::{history::ComparedCampaign, statistics::Difference};

/// Most names in a list. A comparison of twenty would fill a screen with them.
const NAMES_MAX: usize = 3;

/// The id of a campaign in backquotes.
pub(super) fn quoted(campaign: &ComparedCampaign) -> String {
    format!("`{}`", campaign.name.campaign)
}

/// Lists names: `a`, `a and b`, `a, b and c`, and `a, b, c and 17 more`.
pub(super) fn list<T: Borrow<str>>(names: &[T]) -> String {
    match names {
        [] => String::new(),
        [name] => name.borrow().to_owned(),
        [first @ .., last] if names.len() <= NAMES_MAX => format!("{} and {}", first.join(", "), last.borrow()),
        _ => format!("{} and {} more", names[..NAMES_MAX].join(", "), names.len() - NAMES_MAX),
    }
}

/// Counts things: `1 day`, `2 days`.
pub(super) fn count(number: i64, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

/// Renders a difference of shares in percentage points, with two digits of `scale`: `6.1`, `0.12`.
fn number(difference: f64, scale: f64) -> String {
    let (mut decimals, mut scale) = (1, 100.0 * scale.abs());
    if scale == 0.0 {
        return format!("{:.0}", 100.0 * difference);
    }
    while scale < 1.0 - 1e-9 && decimals < 9 {
        (decimals, scale) = (decimals + 1, 10.0 * scale);
    }
    format!("{:.decimals$}", 100.0 * difference)
}

/// Renders a difference in percentage points with its interval: `3.1 points (95 % interval 1.9 to 4.3)`.
pub(super) fn points(difference: Difference) -> String {
    let Difference { estimate, interval } = difference;
    let width = interval.upper - interval.lower;
    let [estimate, lower, upper] = [estimate, interval.lower, interval.upper].map(|share| number(share, width));
    format!("{estimate} points (95 % interval {lower} to {upper})")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::Interval;

    #[test]
    fn a_list_names_three_at_most() {
        for (names, text) in [
            (&["a"][..], "a"),
            (&["a", "b"], "a and b"),
            (&["a", "b", "c"], "a, b and c"),
            (&["a", "b", "c", "d", "e"], "a, b, c and 2 more"),
        ] {
            assert_eq!(list(names), text);
        }
    }

    #[test]
    fn points_have_the_digits_of_their_interval() {
        let told = |estimate, lower, upper| points(Difference { estimate, interval: Interval { lower, upper } });
        assert_eq!(told(0.031_4, 0.019, 0.043_4), "3.1 points (95 % interval 1.9 to 4.3)");
        assert_eq!(told(0.000_314, -0.000_19, 0.002), "0.03 points (95 % interval -0.02 to 0.20)");
        assert_eq!(told(0.0, -0.019, 0.019), "0.0 points (95 % interval -1.9 to 1.9)");
    }
}
