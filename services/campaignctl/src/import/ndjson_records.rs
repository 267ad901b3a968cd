//! Reads NDJSON: one object on each line, `{"id": "ann", "account": "mail-1"}`.
//!
//! In a file of refused lines, each line follows a remark: an object with only `line` and `reason`. Remarks are
//! skipped.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead, Read as _},
};

use serde::{Deserialize, de::IgnoredAny};

use super::record::{RECORD_BYTES_MAX, Record, check_length, note_ignored, parse_lead, parse_text};

#[derive(Deserialize)]
struct Line {
    id: Option<Key>,
    account: Option<Key>,
    #[serde(flatten)]
    #[expect(clippy::zero_sized_map_values, reason = "serde flattens into maps only, and the values are not ours")]
    others: BTreeMap<String, IgnoredAny>,
}

/// An id: text, or a whole number, since that has only one spelling.
#[derive(Deserialize)]
#[serde(untagged, expecting = "id and account must be text or whole numbers")]
enum Key {
    Text(String),
    Number(u64),
}

impl Key {
    fn into_text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Number(number) => number.to_string(),
        }
    }
}

/// The records of an NDJSON file.
#[derive(Debug)]
pub struct NdjsonRecords<R> {
    input: R,
    line: u64,
    read_bytes: u64,
    ignored: BTreeSet<String>,
}

impl<R: BufRead> NdjsonRecords<R> {
    /// Creates a reader at the first line.
    pub fn new(input: R) -> Self {
        Self { input, line: 0, read_bytes: 0, ignored: BTreeSet::new() }
    }

    /// Returns the number of bytes that were read from the file.
    pub fn read_bytes(&self) -> u64 {
        self.read_bytes
    }

    /// Returns the fields that an import ignores.
    pub fn into_ignored(self) -> BTreeSet<String> {
        self.ignored
    }

    /// Reads the next record, and appends its bytes to `raw`.
    pub fn next(&mut self, raw: &mut Vec<u8>) -> anyhow::Result<Option<Record>> {
        let begin = raw.len();
        loop {
            raw.truncate(begin);
            let read = self.input.by_ref().take(RECORD_BYTES_MAX as u64 + 1).read_until(b'\n', raw)?;
            if read == 0 {
                return Ok(None);
            }
            self.line += 1;
            self.read_bytes += read as u64;
            check_length(self.line, read, "; NDJSON has an object on each line")?;
            let line = raw[begin..].trim_ascii();
            if line.is_empty() {
                continue;
            }
            let Some(lead) = parse(line, &mut self.ignored).transpose() else {
                continue;
            };
            let end = begin + raw[begin..].trim_ascii_end().len();
            return Ok(Some(Record { line: self.line, lines: 1, raw: begin..end, lead }));
        }
    }
}

/// Parses a line; a remark returns `None`.
fn parse(line: &[u8], ignored: &mut BTreeSet<String>) -> Result<Option<campaign_metrics::pb::NewLead>, String> {
    let line: Line = serde_json::from_str(parse_text(line)?).map_err(|error| {
        let message = error.to_string();
        // serde_json counts lines within its input, which is one line here.
        let (message, column) = message.rsplit_once(" at line 1 column ").unwrap_or((&message, ""));
        match column {
            "" => format!("is no lead: {message}"),
            column => format!("is no lead: {message}, at character {column}"),
        }
    })?;
    let is_remark = line.id.is_none() && line.others.keys().eq(["line", "reason"]);
    if is_remark {
        return Ok(None);
    }
    for name in line.others.keys() {
        note_ignored(ignored, name);
    }
    let text = |key: Option<Key>| key.map(Key::into_text).unwrap_or_default();
    parse_lead(&text(line.id), &text(line.account)).map(Some)
}
