//! Reads NDJSON: one object on each line, `{"id": "ann", "account": "mail-1"}`.
//!
//! In a file of refused lines, each line follows a remark: an object with only `line` and `reason`. Remarks are
//! skipped.

use std::{
    collections::BTreeSet,
    io::{BufRead, Read as _},
};

use super::{
    object::parse,
    record::{Names, RECORD_BYTES_MAX, Record, check_length},
};

/// The records of an NDJSON file.
#[derive(Debug)]
pub struct NdjsonRecords<R> {
    input: R,
    names: Names,
    line: u64,
    ignored: BTreeSet<String>,
}

impl<R: BufRead> NdjsonRecords<R> {
    /// Creates a reader at the first line.
    pub fn new(input: R, names: Names) -> Self {
        Self { input, names, line: 0, ignored: BTreeSet::new() }
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
            check_length(self.line, read, "; NDJSON has an object on each line")?;
            let line = raw[begin..].trim_ascii();
            if line.is_empty() {
                continue;
            }
            let Some(lead) = parse(line, &self.names, &mut self.ignored).transpose() else {
                continue;
            };
            let end = begin + raw[begin..].trim_ascii_end().len();
            return Ok(Some(Record { line: self.line, lines: 1, raw: begin..end, lead }));
        }
    }
}
