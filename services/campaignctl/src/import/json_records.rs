//! Reads a JSON array of objects, one after the other: `[{"id": "ann"}, {"id": "bob"}]`.
//!
//! An object that is no lead is refused, and reading goes on after it. An array that is not closed, or is followed by
//! anything, is told as one more record that is refused: the file may be cut off.

use std::{collections::BTreeSet, io::BufRead};

use super::{
    object::parse,
    record::{Names, RECORD_BYTES_MAX, Record, check_length},
    window::Window,
};

const CUT_OFF: &str = "the array is not closed: the file may be cut off";
const BEHIND: &str = "follows the end of the array";
const EMPTY: &str = "is empty: two commas follow each other";

/// The records of a JSON array.
#[derive(Debug)]
pub struct JsonRecords<R> {
    window: Window<R>,
    names: Names,
    line: u64,
    place: Place,
    ignored: BTreeSet<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Before,
    /// Within the array, before an element.
    Within,
    Behind,
    Ended,
}

impl<R: BufRead> JsonRecords<R> {
    /// Creates a reader before the array.
    pub fn new(input: R, names: Names) -> Self {
        let window = Window::new(input);
        Self { window, names, line: 1, place: Place::Before, ignored: BTreeSet::new() }
    }

    /// Returns the fields that an import ignores.
    pub fn into_ignored(self) -> BTreeSet<String> {
        self.ignored
    }

    /// Reads the next record, and appends its bytes to `raw`.
    pub fn next(&mut self, raw: &mut Vec<u8>) -> anyhow::Result<Option<Record>> {
        loop {
            let next = self.skip_blanks()?;
            match (self.place, next) {
                (Place::Ended, _) | (Place::Behind | Place::Before, None) => return Ok(None),
                (Place::Before, Some(_)) => {
                    // `Source` looked for the bracket.
                    self.window.consume(1);
                    self.place = Place::Within;
                }
                (Place::Within, Some(b']')) => {
                    self.window.consume(1);
                    self.place = Place::Behind;
                }
                (Place::Within, None) => {
                    self.place = Place::Ended;
                    return Ok(Some(self.refused(raw, 0, CUT_OFF)));
                }
                (Place::Behind, Some(_)) => {
                    self.place = Place::Ended;
                    let shown = self.window.rest().len().min(RECORD_BYTES_MAX);
                    return Ok(Some(self.refused(raw, shown, BEHIND)));
                }
                (Place::Within, Some(_)) => return self.element(raw).map(Some),
            }
        }
    }

    fn element(&mut self, raw: &mut Vec<u8>) -> anyhow::Result<Record> {
        let (end, is_cut_off) = loop {
            match element_end(self.window.rest()) {
                Some(end) => break (end, false),
                None if self.window.is_at_end() => break (self.window.rest().len(), true),
                None => {
                    check_length(self.line, self.window.rest().len(), "")?;
                    self.window.more()?;
                }
            }
        };
        check_length(self.line, end, "")?;
        let object = self.window.rest()[..end].trim_ascii_end();
        if object.is_empty() {
            let record = self.refused(raw, 0, EMPTY);
            self.window.consume(1);
            return Ok(record);
        }
        let (line, begin) = (self.line, raw.len());
        let lead = parse(object, &self.names, &mut self.ignored);
        let lead = lead.and_then(|lead| lead.ok_or_else(|| "has no id".to_owned()));
        if is_cut_off && lead.is_err() {
            self.place = Place::Ended;
            return Ok(self.refused(raw, end, CUT_OFF));
        }
        raw.extend_from_slice(object);
        self.skip(end);
        if self.window.rest().first() == Some(&b',') {
            self.window.consume(1);
        }
        Ok(Record { line, lines: 1, raw: begin..raw.len(), lead })
    }

    /// Consumes bytes, and counts their lines.
    fn skip(&mut self, count: usize) {
        self.line += breaks(&self.window.rest()[..count]);
        self.window.consume(count);
    }

    /// Returns the next byte that is not blank. `None` at the end of the file.
    fn skip_blanks(&mut self) -> anyhow::Result<Option<u8>> {
        loop {
            let rest = self.window.rest();
            let blanks = rest.len() - rest.trim_ascii_start().len();
            let next = rest.get(blanks).copied();
            if blanks > 0 {
                self.skip(blanks);
            }
            match next {
                None if !self.window.is_at_end() => self.window.more()?,
                next => return Ok(next),
            }
        }
    }

    fn refused(&mut self, raw: &mut Vec<u8>, length: usize, reason: &str) -> Record {
        let begin = raw.len();
        raw.extend_from_slice(self.window.rest()[..length].trim_ascii_end());
        Record { line: self.line, lines: 1, raw: begin..raw.len(), lead: Err(reason.to_owned()) }
    }
}

/// Returns where an element ends: at the comma or bracket behind it. `None` if that is not among `bytes`.
fn element_end(bytes: &[u8]) -> Option<usize> {
    let (mut depth, mut is_text, mut is_escaped) = (0_usize, false, false);
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_text => is_escaped = true,
            b'"' => is_text = !is_text,
            _ if is_text => {}
            b'{' | b'[' => depth += 1,
            b',' | b']' if depth == 0 => return Some(at),
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    None
}

fn breaks(bytes: &[u8]) -> u64 {
    let pairs = bytes.windows(2).filter(|pair| pair == b"\r\n").count();
    (bytes.iter().filter(|byte| matches!(byte, b'\r' | b'\n')).count() - pairs) as u64
}
