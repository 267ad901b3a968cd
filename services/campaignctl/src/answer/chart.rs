//! Bars and sparklines of counts, in block elements or in ASCII.

use std::env;

/// What charts are drawn with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Marks {
    /// Block elements of Unicode.
    Blocks,
    /// ASCII, for terminals that show nothing else.
    Ascii,
    /// No charts: a screen reader would spell them.
    None,
}

/// One mark for each eighth of the largest value, after the mark for nothing.
const BLOCKS: [char; 9] = ['·', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const ASCII: [char; 9] = ['.', ':', '-', '=', '+', '*', '#', '%', '@'];

impl Marks {
    /// Chooses by the command line and the locale of the environment.
    pub fn choose(plain: bool) -> Self {
        if plain { Self::None } else { Self::of_locale(|name| env::var(name).ok()) }
    }

    /// The first of these variables that is set decides, as in POSIX.
    fn of_locale(variable: impl Fn(&str) -> Option<String>) -> Self {
        let set = |name: &&str| variable(name).filter(|value| !value.is_empty());
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(set).unwrap_or_default().to_ascii_lowercase();
        if locale.contains("utf-8") || locale.contains("utf8") { Self::Blocks } else { Self::Ascii }
    }

    fn levels(self) -> [char; 9] {
        if self == Self::Blocks { BLOCKS } else { ASCII }
    }

    /// Draws one mark for each value. Every value that is not zero is visible. With `max` 0 all marks say nothing.
    pub fn sparkline(self, values: &[i64], max: i64) -> String {
        let level = |value: i64| if value <= 0 { 0 } else { portion(value, max, 8).clamp(1, 8) };
        values.iter().map(|value| self.levels()[level(*value)]).collect()
    }

    /// Draws a bar of two parts. The whole has `width` marks where both parts together are `max`.
    pub fn bar(self, parts: [i64; 2], max: i64, width: usize) -> String {
        let [first, second] = if self == Self::Blocks { ["█", "░"] } else { ["#", "-"] };
        let [of_first, of_second] = parts.map(|part| part.max(0));
        let whole = portion(of_first + of_second, max, width).min(width);
        // A part that is not zero is visible, as far as there is room for both.
        let least = usize::from(of_second > 0 && whole > 1);
        let most = whole.saturating_sub(usize::from(of_first > 0));
        let tail = portion(of_second, max, width).clamp(least.min(most), most);
        first.repeat(whole - tail) + &second.repeat(tail)
    }
}

/// Returns `value / max * size`, rounded up.
fn portion(value: i64, max: i64, size: usize) -> usize {
    let (value, max) = (u128::try_from(value).unwrap_or(0), u128::try_from(max).unwrap_or(0));
    match max {
        0 => 0,
        max => usize::try_from((value * size as u128).div_ceil(max)).unwrap_or(size),
    }
}

/// Sums up neighbours so that at most `most` sums are left. Returns the sums and how many values each has; the first sum
/// can have fewer.
pub fn merge(values: &[i64], most: usize) -> (Vec<i64>, usize) {
    let size = values.len().div_ceil(most.max(1)).max(1);
    let sums: Vec<i64> = values.rchunks(size).map(|chunk| chunk.iter().sum()).collect();
    (sums.into_iter().rev().collect(), size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sparkline_has_a_mark_for_each_value_and_shows_what_is_not_zero() {
        let values = [0, 1, 125, 126, 500, 875, 1000];
        assert_eq!(Marks::Blocks.sparkline(&values, 1000), "·▁▁▂▄▇█");
        assert_eq!(Marks::Ascii.sparkline(&values, 1000), ".::-+%@");
        assert_eq!(Marks::Ascii.sparkline(&[0, 0], 0), "..");
        assert_eq!(Marks::Ascii.sparkline(&[-5, i64::MAX], i64::MAX), ".@");
    }

    #[test]
    fn a_bar_is_as_long_as_its_share_of_the_largest() {
        let bar = |parts| Marks::Ascii.bar(parts, 40, 8);
        assert_eq!(bar([40, 0]), "########");
        assert_eq!(bar([20, 20]), "####----");
        assert_eq!(bar([0, 40]), "--------");
        assert_eq!(bar([10, 0]), "##");
        assert_eq!(bar([0, 0]), "");
        assert_eq!(bar([39, 1]), "#######-", "a small part is visible");
        assert_eq!(bar([1, 39]), "#-------");
        assert_eq!(bar([1, 1]), "#", "there is room for one");
        assert_eq!(bar([0, 1]), "-");
        assert_eq!(bar([-3, 5]), "-");
        assert_eq!(Marks::Blocks.bar([5, 5], 10, 4), "██░░");
        assert_eq!(Marks::Blocks.bar([5, 5], 0, 4), "");
    }

    #[test]
    fn neighbours_are_summed_up_from_the_end() {
        assert_eq!(merge(&[1, 2, 4, 8], 4), (vec![1, 2, 4, 8], 1));
        assert_eq!(merge(&[1, 2, 4, 8, 16], 3), (vec![1, 6, 24], 2));
        assert_eq!(merge(&[], 3), (vec![], 1));
    }

    #[test]
    fn the_locale_says_whether_blocks_can_be_shown() {
        let of = |set: &[(&str, &str)]| {
            let set: Vec<(String, String)> =
                set.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            Marks::of_locale(|name| set.iter().find(|(set, _)| set == name).map(|(_, value)| value.clone()))
        };
        assert_eq!(of(&[("LANG", "de_DE.UTF-8")]), Marks::Blocks);
        assert_eq!(of(&[("LANG", "de_DE.UTF-8"), ("LC_ALL", "C")]), Marks::Ascii);
        assert_eq!(of(&[("LANG", "C"), ("LC_CTYPE", "C.utf8"), ("LC_ALL", "")]), Marks::Blocks);
        assert_eq!(of(&[("LANG", "de_DE.ISO-8859-1")]), Marks::Ascii);
        assert_eq!(of(&[]), Marks::Ascii);
        assert_eq!(Marks::choose(true), Marks::None);
    }
}
