//! Reads CSV: a header, then one record on each line, or on several lines if a cell in quotes holds line breaks.
//!
//! A record is refused where what is wrong touches a column that is read: cells that are missing, bytes that are not UTF-8.
//! Cells that are missing or too many behind those columns are no matter, nor is a row of empty cells, which spreadsheets
//! write below a table.
//!
//! A stray quote swallows the lines up to the next quote. It shows by text after that quote, by the end of the file, or by
//! the record that results: a row with too few or too many cells. Then only its first line is refused, and reading goes on
//! with the next one. The lines that were swallowed must be whole rows, so that a text with line breaks is not taken for
//! leads.

use std::{collections::BTreeSet, io::BufRead};

use campaign_metrics::{name::LeadId, pb};

use super::{
    csv_header::{Header, remark_columns, shown},
    csv_scan::{Cell, Flaw, Scanned, first_line, scan},
    record::{Names, RECORD_BYTES_MAX, Record, check_length, note_ignored, parse_lead, parse_text},
    window::Window,
};

const UNCLOSED: &str =
    "has a quote that is not closed; double a quote that is part of a text, and put the text in quotes";
const AFTER_QUOTE: &str =
    "has text after a closing quote; double a quote that is part of a text, and put the text in quotes";

/// The records of a CSV file.
#[derive(Debug)]
pub struct CsvRecords<R> {
    window: Window<R>,
    header: Header,
    /// Line on which the next record begins.
    line: u64,
    /// End of what a stray quote swallowed. Rows must be whole until one is, behind that place.
    swallowed: Option<u64>,
}

impl<R: BufRead> CsvRecords<R> {
    /// Reads the header. Without a delimiter, finds it.
    pub fn new(input: R, names: &Names, delimiter: Option<u8>) -> anyhow::Result<Self> {
        let mut window = Window::new(input);
        let header = Header::read(&mut window, names, delimiter)?;
        let line = header.lines + 1;
        Ok(Self { window, header, line, swallowed: None })
    }

    /// Returns the header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Returns the columns that an import ignores.
    pub fn into_ignored(self) -> BTreeSet<String> {
        let header = &self.header;
        let mut ignored = BTreeSet::new();
        for index in remark_columns(&header.columns)..header.columns.len() {
            if index != header.id && Some(index) != header.account {
                note_ignored(&mut ignored, &header.name(index));
            }
        }
        ignored
    }

    /// Reads the next record, and appends its bytes to `raw`.
    pub fn next(&mut self, raw: &mut Vec<u8>) -> anyhow::Result<Option<Record>> {
        loop {
            let Some(found) = self.scan()? else { return Ok(None) };
            let bytes = self.window.rest();
            let row = &bytes[..found.text];
            if found.flaw.is_none() && found.cells.iter().all(|cell| row[cell.range.clone()].trim_ascii().is_empty()) {
                self.window.consume(found.end);
                self.line += found.lines;
                continue;
            }
            let swallowed = self.window.offset() + found.end as u64;
            let (text, end, lines, lead) = match self.stray(row, &found) {
                Some(problem) => {
                    let (text, end) = first_line(bytes, true).expect("there is a line, since there is a record");
                    self.swallowed = self.swallowed.max(Some(swallowed));
                    (text, end, 1, Err(problem.to_owned()))
                }
                None => (found.text, found.end, found.lines, self.lead(row, &found)),
            };
            let begin = raw.len();
            raw.extend_from_slice(&bytes[..text]);
            if lead.is_ok() && self.swallowed.is_some_and(|until| swallowed >= until) {
                self.swallowed = None;
            }
            let line = self.line;
            self.line += lines;
            self.window.consume(end);
            return Ok(Some(Record { line, lines, raw: begin..raw.len(), lead }));
        }
    }

    /// Scans the next record. `None` at the end of the file.
    fn scan(&mut self) -> anyhow::Result<Option<Scanned>> {
        loop {
            let (bytes, is_at_end) = (self.window.rest(), self.window.is_at_end());
            if bytes.is_empty() && is_at_end {
                return Ok(None);
            }
            let found = scan(bytes, self.header.delimiter, is_at_end);
            let length = found.as_ref().map_or(bytes.len(), |found| found.end);
            if length > RECORD_BYTES_MAX {
                // Only a cell in quotes holds a line break.
                let first = first_line(bytes, is_at_end).map_or(length, |(_, end)| end);
                check_length(self.line, first, "")?;
                let (flaw, cells) = (Some(Flaw::Unclosed), Vec::new());
                return Ok(Some(Scanned { text: length, end: length, lines: 1, cells, has_loose_quote: false, flaw }));
            }
            match found {
                // The line of a flaw may go on.
                Some(found) if found.flaw.is_none() || first_line(bytes, is_at_end).is_some() => {
                    return Ok(Some(found));
                }
                _ => self.window.more()?,
            }
        }
    }

    /// Tells what shows that a record has a stray quote.
    fn stray(&self, row: &[u8], found: &Scanned) -> Option<&'static str> {
        match found.flaw {
            Some(Flaw::Unclosed) => return Some(UNCLOSED),
            Some(Flaw::AfterQuote) => return Some(AFTER_QUOTE),
            None if found.lines == 1 => return None,
            None => {}
        }
        let read = [Some(self.header.id), self.header.account];
        let holds_break = |index: usize| {
            let cell = found.cells.get(index).map(|cell| &row[cell.range.clone()]);
            cell.is_some_and(|cell| cell.iter().any(|byte| matches!(byte, b'\r' | b'\n')))
        };
        let is_torn = found.has_loose_quote
            || found.cells.len() < self.header.named()
            || self.has_surplus(row, found)
            || read.into_iter().flatten().any(holds_break);
        is_torn.then_some(UNCLOSED)
    }

    /// Whether a row has text behind the columns that have names.
    fn has_surplus(&self, row: &[u8], found: &Scanned) -> bool {
        let mut surplus = found.cells.iter().skip(self.header.named());
        surplus.any(|cell| !row[cell.range.clone()].trim_ascii().is_empty())
    }

    /// Returns the lead of a row, or the reason to refuse it.
    fn lead(&self, row: &[u8], found: &Scanned) -> Result<pb::NewLead, String> {
        let header = &self.header;
        let (count, columns, has_surplus) = (found.cells.len(), header.named(), self.has_surplus(row, found));
        let cells = if count == 1 { "cell" } else { "cells" };
        // The last line of a text has its closing quote.
        let is_closing = |cell: &Cell| !cell.is_quoted && row[cell.range.clone()].trim_ascii_end().ends_with(b"\"");
        if self.swallowed.is_some() && (count < columns || has_surplus || found.cells.iter().any(is_closing)) {
            return Err(format!(
                "follows a stray quote, and is no whole row: it has {count} {cells} where the header names {columns}, or a \
                 closing quote"
            ));
        }
        if found.lines > 1 && self.could_be_rows(row) {
            return Err(format!(
                "spans {} lines, each of which could be a row: double a quote that is part of a text, and put the text in \
                 quotes; if the text is meant to have these lines, replace its line breaks",
                found.lines
            ));
        }
        for index in [Some(header.id), header.account].into_iter().flatten() {
            if index >= count {
                return Err(format!("has {count} {cells}, and column {} is `{}`", index + 1, header.name(index)));
            }
        }
        if has_surplus && header.may_move() {
            return Err(format!(
                "has {count} cells where the header names {columns}: a delimiter too many may have moved `{}`; put a text \
                 that holds {} in quotes, or name the column of the last cell",
                header.name(header.id),
                shown(header.delimiter)
            ));
        }
        let id = found.cells[header.id].value(row);
        let account = header.account.map(|index| found.cells[index].value(row)).unwrap_or_default();
        parse_lead(parse_text("id", &id)?, parse_text("account", &account)?)
    }

    /// Whether each line of a record would be a row if no quote meant anything: two stray quotes look like one text.
    fn could_be_rows(&self, row: &[u8]) -> bool {
        let (columns, delimiter) = (self.header.named(), self.header.delimiter);
        let mut rest = row;
        while let Some((text, end)) = first_line(rest, true).filter(|_| !rest.is_empty()) {
            let cells: Vec<&[u8]> = rest[..text].split(|byte| *byte == delimiter).collect();
            let is_whole = cells.len() >= columns
                && cells[columns..].iter().all(|cell| cell.trim_ascii().is_empty())
                && columns > 1;
            let id = cells.get(self.header.id).and_then(|cell| std::str::from_utf8(cell).ok()).unwrap_or_default();
            if !is_whole || id.trim().trim_matches('"').parse::<LeadId>().is_err() {
                return false;
            }
            rest = &rest[end..];
        }
        true
    }
}

/// Whether a refused record has a stray quote: then its quotes mean nothing.
pub fn is_stray(record: &[u8], delimiter: u8) -> bool {
    scan(record, delimiter, true).is_none_or(|found| found.flaw.is_some())
}
