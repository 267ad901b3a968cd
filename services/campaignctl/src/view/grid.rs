//! Text of at most [`WIDTH`] columns: tables with numbers to the right, and wrapped sentences.

use std::iter;

/// Columns of a terminal that every answer fits in.
pub const WIDTH: usize = 80;
/// A name is not shortened below this, even if the table then gets too wide.
const NAME_MIN: usize = 12;
/// Blanks between columns.
const GAP: usize = 2;

/// How a column is aligned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// To the left.
    Left,
    /// To the right, for numbers.
    Right,
    /// To the left. The middle is left out if the table would be too wide.
    Name,
}

/// A table.
#[derive(Debug)]
pub struct Grid {
    columns: Vec<(String, Align)>,
    rows: Vec<Vec<String>>,
}

impl Grid {
    /// Creates a table without rows from the heads of its columns.
    pub fn new<S: Into<String>>(columns: impl IntoIterator<Item = (S, Align)>) -> Self {
        Self { columns: columns.into_iter().map(|(head, align)| (head.into(), align)).collect(), rows: Vec::new() }
    }

    /// Adds a row, with one cell for each column.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        // A control character in a name must not break the table.
        self.rows.push(cells.into_iter().map(|cell| cell.replace(char::is_control, " ")).collect());
    }

    /// Renders the table, indented by a number of blanks. Every line ends with a line break.
    pub fn text(&self, indent: usize) -> String {
        let widest = |(place, (head, _)): (usize, &(String, Align))| {
            let cells = self.rows.iter().filter_map(|row| row.get(place)).map(|cell| length(cell));
            cells.chain([length(head)]).max().unwrap_or_default()
        };
        let mut widths: Vec<usize> = self.columns.iter().enumerate().map(widest).collect();
        let all = indent + widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1);
        if let Some(name) = self.columns.iter().position(|(_, align)| *align == Align::Name) {
            widths[name] = widths[name].min(widths[name].saturating_sub(all.saturating_sub(WIDTH)).max(NAME_MIN));
        }
        let heads: Vec<String> = self.columns.iter().map(|(head, _)| head.clone()).collect();
        let mut text = String::new();
        for row in iter::once(&heads).chain(&self.rows) {
            let cells = self.columns.iter().zip(row).zip(&widths).map(|(((_, align), cell), &width)| match align {
                Align::Left => format!("{cell:width$}"),
                Align::Right => format!("{cell:>width$}"),
                Align::Name => format!("{:width$}", elide(cell, width)),
            });
            let line = format!("{:indent$}{}", "", cells.collect::<Vec<_>>().join(&" ".repeat(GAP)));
            text += line.trim_end();
            text.push('\n');
        }
        text
    }
}

fn length(text: &str) -> usize {
    text.chars().count()
}

/// Leaves out the middle of a text that is too long: ids often differ at the beginning or at the end.
fn elide(text: &str, width: usize) -> String {
    const DOTS: &str = "..";
    let length = length(text);
    if length <= width {
        return text.to_owned();
    }
    let kept = width.saturating_sub(DOTS.len());
    let (first, last) = (kept.div_ceil(2), kept / 2);
    text.chars().take(first).chain(DOTS.chars()).chain(text.chars().skip(length - last)).collect()
}

/// Wraps a text at blanks so that it fits in [`WIDTH`]. The first line begins with `head`, the others are indented as
/// far as `head` is long. Every line ends with a line break. A word that is too long stays whole.
pub fn wrap(head: &str, text: &str) -> String {
    let indent = length(head);
    let (mut wrapped, mut line) = (String::new(), head.to_owned());
    let mut is_begun = false;
    for word in text.split_whitespace() {
        let word = word.replace(char::is_control, "");
        if is_begun && length(&line) + 1 + length(&word) > WIDTH {
            wrapped += line.trim_end();
            wrapped.push('\n');
            line = " ".repeat(indent);
            is_begun = false;
        }
        if is_begun {
            line.push(' ');
        }
        line += &word;
        is_begun = true;
    }
    wrapped + line.trim_end() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_under_each_other_and_long_names_lose_their_middle() {
        let mut grid = Grid::new([("ACCOUNT", Align::Name), ("SENT", Align::Right), ("NOTE", Align::Left)]);
        grid.row(["ann".to_owned(), "7".to_owned(), "x".to_owned()]);
        grid.row([format!("first-{}-last", "o".repeat(90)), "31000".to_owned(), String::new()]);
        let text = grid.text(2);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0].split_whitespace().collect::<Vec<_>>(), ["ACCOUNT", "SENT", "NOTE"]);
        assert!(lines[1].starts_with("  ann   ") && lines[1].ends_with("    7  x"), "{text}");
        assert!(lines[2].starts_with("  first-o") && lines[2].contains("..") && lines[2].contains("-last  31000"));
        assert!(lines.iter().all(|line| line.chars().count() <= WIDTH), "{text}");
        assert_eq!(lines[2].find("31000"), lines[1].find("    7"), "{text}");
    }

    #[test]
    fn a_name_keeps_enough_to_be_told_apart() {
        let mut grid = Grid::new([("ACCOUNT", Align::Name), ("WIDE", Align::Right)]);
        grid.row(["a-very-long-name-of-an-account".to_owned(), "9".repeat(75)]);
        assert!(grid.text(0).lines().nth(1).unwrap().starts_with("a-ver..count"), "{}", grid.text(0));
    }

    #[test]
    fn a_control_character_does_not_break_a_table() {
        let mut grid = Grid::new([("A", Align::Left), ("B", Align::Left)]);
        grid.row(["x\ny\u{1b}[2J".to_owned(), "z".to_owned()]);
        assert_eq!(grid.text(0), "A         B\nx y [2J  z\n".replace("A         B", "A        B"));
    }

    #[test]
    fn sentences_are_wrapped_under_their_head() {
        let text = wrap("To do: ", &"check the account ".repeat(12));
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines.len() == 3 && lines[0].starts_with("To do: check"), "{text}");
        assert!(lines[1..].iter().all(|line| line.starts_with("       ") && !line.starts_with("        ")), "{text}");
        assert!(lines.iter().all(|line| line.len() <= WIDTH), "{text}");
        assert_eq!(lines.join(" ").matches("check").count(), 12);
        let long = "w".repeat(100);
        assert_eq!(wrap("", &format!("a {long} b")), format!("a\n{long}\nb\n"));
        assert_eq!(wrap("Head", ""), "Head\n");
    }
}
