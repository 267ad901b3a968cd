//! Reads CSV: a header line, then one record on each line, or on several lines if a quoted field contains line breaks.
//!
//! It uses `csv_core` instead of the reader of `csv`, to get the bytes of each record, to bound its length, and to
//! detect a stray quote: the reader takes all lines up to the next quote as one field, and loses them. A stray quote shows
//! by text after the closing one, or is never closed. Then only the first line of the record is refused, and reading goes on
//! with the line after it.

use std::{
    collections::BTreeSet,
    io::{self, BufRead},
};

use anyhow::{bail, ensure};
use csv::ByteRecord;
use csv_core::ReadRecordResult;

use super::record::{RECORD_BYTES_MAX, Record, check_length, note_ignored, parse_lead, parse_text};

/// First columns of a file of refused lines. An import skips them.
pub const REMARK_COLUMNS: [&str; 2] = ["line", "reason"];
const UNCLOSED: &str =
    "has a quote that is not closed; double a quote that is part of a text, and put the text in quotes";
const AFTER_QUOTE: &str =
    "has text after a closing quote; double a quote that is part of a text, and put the text in quotes";

/// The records of a CSV file.
#[derive(Debug)]
pub struct CsvRecords<R> {
    input: PushBack<R>,
    parser: csv_core::Reader,
    fields: Vec<u8>,
    ends: Vec<usize>,
    /// Line on which the next record begins, or of a blank line before it.
    line: u64,
    read_bytes: u64,
    header: ByteRecord,
    id: usize,
    account: Option<usize>,
}

impl<R: BufRead> CsvRecords<R> {
    /// Reads the header.
    pub fn new(input: R) -> anyhow::Result<Self> {
        let mut records = Self {
            input: PushBack { pushed: Vec::new(), at: 0, inner: input },
            parser: csv_core::Reader::new(),
            fields: vec![0; 1024],
            ends: vec![0; 16],
            line: 1,
            read_bytes: 0,
            header: ByteRecord::new(),
            id: 0,
            account: None,
        };
        let mut raw = Vec::new();
        let Some(found) = records.parse(&mut raw)? else {
            bail!("it is empty; its first line must name the columns: id, and account if leads are bound to accounts");
        };
        if let Some(problem) = found.problem {
            bail!("its header {problem}");
        }
        records.header = (0..found.count).map(|index| records.field(index).trim_ascii()).collect();
        let seen: Vec<_> = records.header.iter().map(String::from_utf8_lossy).collect();
        let column_index = |name: &str| -> anyhow::Result<Option<usize>> {
            let mut indexes = seen.iter().enumerate().filter(|(_, column)| *column == name);
            let first = indexes.next().map(|(index, _)| index);
            ensure!(
                indexes.next().is_none(),
                "its header names the column `{name}` twice; columns seen: {}",
                seen.join(", ")
            );
            Ok(first)
        };
        let (id, account) = (column_index("id")?, column_index("account")?);
        let Some(id) = id else {
            bail!("its header has no column `id`; columns seen, split at commas: {}", seen.join(", "));
        };
        drop(seen);
        (records.id, records.account) = (id, account);
        Ok(records)
    }

    /// Returns the columns of the file.
    pub fn header(&self) -> &ByteRecord {
        &self.header
    }

    /// Returns the number of bytes that were read from the file.
    pub fn read_bytes(&self) -> u64 {
        self.read_bytes
    }

    /// Returns the columns that an import ignores.
    pub fn into_ignored(self) -> BTreeSet<String> {
        let ours = |index: usize| index == self.id || Some(index) == self.account;
        let remarks = remark_columns(&self.header);
        let mut ignored = BTreeSet::new();
        for (index, column) in self.header.iter().enumerate().skip(remarks) {
            if !ours(index) {
                note_ignored(&mut ignored, &String::from_utf8_lossy(column));
            }
        }
        ignored
    }

    /// Reads the next record, and appends its bytes to `raw`.
    pub fn next(&mut self, raw: &mut Vec<u8>) -> anyhow::Result<Option<Record>> {
        let Some(Found { line, lines, begin, end, count, problem }) = self.parse(raw)? else {
            return Ok(None);
        };
        let lead = problem.map_or_else(|| parse_text(&raw[begin..end]), |problem| Err(problem.to_owned()));
        let lead = lead.and_then(|_| {
            if count != self.header.len() {
                return Err(format!("has {count} columns where the header has {}", self.header.len()));
            }
            let field = |index: usize| std::str::from_utf8(self.field(index)).map_err(|error| error.to_string());
            parse_lead(field(self.id)?, self.account.map_or(Ok(""), field)?)
        });
        Ok(Some(Record { line, lines, raw: begin..end, lead }))
    }

    fn field(&self, index: usize) -> &[u8] {
        let begin = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.fields[begin..self.ends[index]]
    }

    /// Parses one record into `fields` and `ends`.
    fn parse(&mut self, raw: &mut Vec<u8>) -> anyhow::Result<Option<Found>> {
        let mut begin = raw.len();
        let (mut filled, mut count) = (0, 0);
        loop {
            let input = self.input.fill_buf()?;
            // At the end of the file, a line break ends the last record, except within quotes.
            let closing: &[u8] = if input.is_empty() && begin < raw.len() { b"\n" } else { b"" };
            let bytes = if closing.is_empty() { input } else { closing };
            let (result, read, written, ended) =
                self.parser.read_record(bytes, &mut self.fields[filled..], &mut self.ends[count..]);
            (filled, count) = (filled + written, count + ended);
            if closing.is_empty() {
                raw.extend_from_slice(&input[..read]);
                self.input.consume(read);
                self.read_bytes += read as u64;
            } else if matches!(result, ReadRecordResult::InputEmpty) {
                return Ok(Some(self.refuse_first_line(raw, begin, UNCLOSED)));
            }
            // Skips blank lines, and the LF of the previous line if it ends with CRLF.
            let breaks = raw[begin..].iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
            self.line += newlines(&raw[begin..begin + breaks]);
            begin += breaks;
            if begin == raw.len() && breaks > 0 {
                begin -= breaks;
                raw.truncate(begin);
            }
            // Only a quoted field contains a line break.
            if raw.len() - begin > RECORD_BYTES_MAX && raw[begin..begin + RECORD_BYTES_MAX].contains(&b'\n') {
                return Ok(Some(self.refuse_first_line(raw, begin, UNCLOSED)));
            }
            check_length(self.line, raw.len() - begin, "")?;
            match result {
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull => self.fields.resize(self.fields.len() * 2, 0),
                ReadRecordResult::OutputEndsFull => self.ends.resize(self.ends.len() * 2, 0),
                ReadRecordResult::End => return Ok(None),
                ReadRecordResult::Record => break,
            }
        }
        if is_stray(&raw[begin..]) {
            return Ok(Some(self.refuse_first_line(raw, begin, AFTER_QUOTE)));
        }
        let line = self.line;
        self.line += newlines(&raw[begin..]);
        let end = begin + without_break(&raw[begin..]).len();
        let lines = newlines(&raw[begin..end]) + 1;
        Ok(Some(Found { line, lines, begin, end, count, problem: None }))
    }

    /// Refuses the first line of a record with a stray quote. The lines after it are read again, each as a record.
    fn refuse_first_line(&mut self, raw: &mut Vec<u8>, begin: usize, problem: &'static str) -> Found {
        let first = raw[begin..].iter().position(|byte| *byte == b'\n').map_or(raw.len(), |at| begin + at + 1);
        let rest = raw.split_off(first);
        self.read_bytes -= rest.len() as u64;
        self.input.push_back(rest);
        self.parser.reset();
        let line = self.line;
        self.line += newlines(&raw[begin..]);
        let end = begin + without_break(&raw[begin..]).len();
        Found { line, lines: 1, begin, end, count: 0, problem: Some(problem) }
    }
}

/// Whether a record has a stray quote: text after a closing quote, or a quote that is not closed. A quote within a field that
/// begins without one is text.
pub fn is_stray(record: &[u8]) -> bool {
    enum Within {
        Start,
        Plain,
        Quoted,
        Closed,
    }
    let mut within = Within::Start;
    for byte in record {
        within = match (within, byte) {
            (Within::Quoted, b'"') => Within::Closed,
            // A doubled quote is part of the text.
            (Within::Start | Within::Closed, b'"') | (Within::Quoted, _) => Within::Quoted,
            (_, b',' | b'\r' | b'\n') => Within::Start,
            (Within::Closed, _) => return true,
            (Within::Start | Within::Plain, _) => Within::Plain,
        };
    }
    matches!(within, Within::Quoted)
}

/// A reader that takes back bytes which were read.
#[derive(Debug)]
struct PushBack<R> {
    pushed: Vec<u8>,
    at: usize,
    inner: R,
}

impl<R: BufRead> PushBack<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at < self.pushed.len() { Ok(&self.pushed[self.at..]) } else { self.inner.fill_buf() }
    }

    fn consume(&mut self, count: usize) {
        if self.at < self.pushed.len() {
            self.at += count;
        } else {
            self.inner.consume(count);
        }
    }

    fn push_back(&mut self, mut bytes: Vec<u8>) {
        bytes.extend_from_slice(&self.pushed[self.at..]);
        (self.pushed, self.at) = (bytes, 0);
    }
}

/// Returns the number of remark columns at the start of a header: all of them or none.
pub fn remark_columns(header: &ByteRecord) -> usize {
    let is_remarked = header.iter().take(REMARK_COLUMNS.len()).eq(REMARK_COLUMNS.map(str::as_bytes));
    if is_remarked { REMARK_COLUMNS.len() } else { 0 }
}

/// A parsed record.
struct Found {
    line: u64,
    /// Lines that it spans.
    lines: u64,
    begin: usize,
    end: usize,
    count: usize,
    /// Why it is refused: a stray quote.
    problem: Option<&'static str>,
}

fn newlines(bytes: &[u8]) -> u64 {
    bytes.iter().map(|byte| u64::from(*byte == b'\n')).sum()
}

/// Returns bytes without their trailing line break.
fn without_break(bytes: &[u8]) -> &[u8] {
    let last = bytes.iter().rposition(|byte| !matches!(byte, b'\r' | b'\n'));
    &bytes[..last.map_or(0, |index| index + 1)]
}
