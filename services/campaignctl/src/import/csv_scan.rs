//! Finds the end and the cells of one CSV record. Pure: it reads nothing and decides nothing.
//!
//! A record ends at LF, CRLF or CR outside of quotes. A cell that begins with a quote ends at the next quote that is not
//! doubled; blanks may follow that. In any other cell a quote is text. Unlike the parser of `csv`, it tells where quotes are
//! not as they should be, and how many lines a record has, whatever ends them.

use std::{borrow::Cow, ops::Range};

/// A cell of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    /// The bytes of its text within the record, without the quotes around it.
    pub range: Range<usize>,
    /// Whether it stands in quotes.
    pub is_quoted: bool,
}

impl Cell {
    /// Returns its text; doubled quotes become one.
    pub fn value<'a>(&self, record: &'a [u8]) -> Cow<'a, [u8]> {
        let text = &record[self.range.clone()];
        if !self.is_quoted || !text.contains(&b'"') {
            return Cow::Borrowed(text);
        }
        let mut value = Vec::with_capacity(text.len());
        let mut was_quote = false;
        for byte in text {
            // Every second quote of a row.
            was_quote = *byte == b'"' && !was_quote;
            if *byte != b'"' || was_quote {
                value.push(*byte);
            }
        }
        Cow::Owned(value)
    }
}

/// What is wrong with the quotes of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// A cell begins with a quote that is not closed.
    Unclosed,
    /// Text follows a closing quote.
    AfterQuote,
}

/// A scanned record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scanned {
    /// Its bytes without the line break at its end.
    pub text: usize,
    /// Its bytes with that line break. With a flaw: the bytes up to the flaw.
    pub end: usize,
    /// Its lines: more than 1 if a cell in quotes holds line breaks.
    pub lines: u64,
    /// Its cells. With a flaw: those before it.
    pub cells: Vec<Cell>,
    /// Whether a cell that does not begin with a quote holds one.
    pub has_loose_quote: bool,
    /// What is wrong with its quotes.
    pub flaw: Option<Flaw>,
}

/// Scans the record at the beginning of `bytes`. Returns `None` if more bytes are needed: it does not end in `bytes`, and
/// `is_at_end` says that more follow.
pub fn scan(bytes: &[u8], delimiter: u8, is_at_end: bool) -> Option<Scanned> {
    enum Within {
        Start,
        Plain,
        Quoted,
        /// Behind a quote: the closing one, or the first of two.
        Closed(usize),
        /// Behind the blanks after a closing quote.
        Padding(usize),
    }
    let mut found = Scanned { text: 0, end: 0, lines: 1, cells: Vec::new(), has_loose_quote: false, flaw: None };
    let (mut within, mut begin, mut at) = (Within::Start, 0, 0);
    while let Some(byte) = bytes.get(at) {
        let is_break = matches!(byte, b'\r' | b'\n');
        within = match (within, *byte) {
            (Within::Quoted, b'"') => Within::Closed(at),
            (Within::Quoted, _) => {
                if is_break {
                    let width = break_width(bytes, at, is_at_end)?;
                    at += width - 1;
                    found.lines += 1;
                }
                Within::Quoted
            }
            (Within::Start, b'"') => {
                begin = at + 1;
                Within::Quoted
            }
            (Within::Closed(_), b'"') => Within::Quoted,
            (within, byte) if is_break || byte == delimiter => {
                found.cells.push(match within {
                    Within::Closed(end) | Within::Padding(end) => Cell { range: begin..end, is_quoted: true },
                    _ => Cell { range: begin..at, is_quoted: false },
                });
                if is_break {
                    (found.text, found.end) = (at, at + break_width(bytes, at, is_at_end)?);
                    return Some(found);
                }
                begin = at + 1;
                Within::Start
            }
            (Within::Closed(end) | Within::Padding(end), b' ' | b'\t') => Within::Padding(end),
            (Within::Closed(_) | Within::Padding(_), _) => {
                (found.text, found.end, found.flaw) = (at, at, Some(Flaw::AfterQuote));
                return Some(found);
            }
            (Within::Start | Within::Plain, byte) => {
                found.has_loose_quote |= byte == b'"';
                Within::Plain
            }
        };
        at += 1;
    }
    if !is_at_end {
        return None;
    }
    (found.text, found.end) = (bytes.len(), bytes.len());
    match within {
        Within::Quoted => found.flaw = Some(Flaw::Unclosed),
        Within::Closed(end) | Within::Padding(end) => found.cells.push(Cell { range: begin..end, is_quoted: true }),
        Within::Start | Within::Plain => found.cells.push(Cell { range: begin..bytes.len(), is_quoted: false }),
    }
    Some(found)
}

/// Returns the bytes of the first line, without and with its line break. `None` if more bytes are needed.
pub fn first_line(bytes: &[u8], is_at_end: bool) -> Option<(usize, usize)> {
    match bytes.iter().position(|byte| matches!(byte, b'\r' | b'\n')) {
        Some(at) => Some((at, at + break_width(bytes, at, is_at_end)?)),
        None if is_at_end => Some((bytes.len(), bytes.len())),
        None => None,
    }
}

/// Returns the bytes of the line break at `at`: 2 for CRLF. `None` if the next byte is needed.
fn break_width(bytes: &[u8], at: usize, is_at_end: bool) -> Option<usize> {
    match (bytes[at], bytes.get(at + 1)) {
        (b'\r', Some(b'\n')) => Some(2),
        (b'\r', None) if !is_at_end => None,
        _ => Some(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells(record: &str) -> Vec<String> {
        let found = scan(record.as_bytes(), b',', true).unwrap();
        assert_eq!(found.flaw, None, "{record:?}");
        found.cells.iter().map(|cell| String::from_utf8(cell.value(record.as_bytes()).into()).unwrap()).collect()
    }

    #[test]
    fn cells_are_split_at_the_delimiter_and_quotes_are_taken_off() {
        assert_eq!(cells("a,b"), ["a", "b"]);
        assert_eq!(cells(",\n"), ["", ""]);
        assert_eq!(cells("\n"), [""]);
        assert_eq!(cells("\"a,\"\"b\"\"\",\"\"\"\",\"\"\r\n"), ["a,\"b\"", "\"", ""]);
        assert_eq!(cells("5\" pipe, \"x\",\"y\" \t,z"), ["5\" pipe", " \"x\"", "y", "z"]);
    }

    #[test]
    fn lines_are_counted_whatever_ends_them() {
        for (record, lines, text, end) in [
            ("a\nb", 1, 1, 2),
            ("a\r\nb", 1, 1, 3),
            ("a\rb", 1, 1, 2),
            ("\"a\nb\"\nc", 2, 5, 6),
            ("\"a\r\nb\"\r\nc", 2, 6, 8),
            ("\"a\rb\"\rc", 2, 5, 6),
            ("\"a\r\rb\n\r\"", 5, 8, 8),
        ] {
            let found = scan(record.as_bytes(), b',', true).unwrap();
            assert_eq!((found.lines, found.text, found.end), (lines, text, end), "{record:?}");
        }
    }

    #[test]
    fn a_record_that_may_go_on_needs_more_bytes() {
        for begun in ["", "a", "a\r", "\"a\n", "\"a\"", "\"a\r"] {
            assert_eq!(scan(begun.as_bytes(), b',', false), None, "{begun:?}");
        }
        assert_eq!(scan(b"a\n", b',', false).unwrap().end, 2);
        assert_eq!(first_line(b"a\r", false), None);
        assert_eq!((first_line(b"a\r", true), first_line(b"a\r\nb", false)), (Some((1, 2)), Some((1, 3))));
    }

    #[test]
    fn stray_quotes_are_told_with_their_place() {
        let flaw = |record: &str| {
            let found = scan(record.as_bytes(), b';', true).unwrap();
            (found.flaw, found.end)
        };
        assert_eq!(flaw("a;\"5 pipe\nb"), (Some(Flaw::Unclosed), 11));
        assert_eq!(flaw("a;\"x\"y"), (Some(Flaw::AfterQuote), 5));
        assert_eq!(flaw("a;\"x\" y"), (Some(Flaw::AfterQuote), 6));
        assert_eq!(flaw("a;\"x\";y"), (None, 7));
        assert!(scan(b"a\"b,c", b',', true).unwrap().has_loose_quote);
        assert!(!scan(b"\"a\"\"b\",c", b',', true).unwrap().has_loose_quote);
    }
}
