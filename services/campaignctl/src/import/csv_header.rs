//! The beginning of a CSV file: the line `sep=;` of a spreadsheet, the delimiter, and the columns.

use std::io::BufRead;

use anyhow::{bail, ensure};
use csv::ByteRecord;

use super::{
    csv_scan::{Scanned, first_line, scan},
    record::{Names, RECORD_BYTES_MAX, check_length, is_named},
    window::Window,
};

/// First columns of a file of refused lines. An import skips them.
pub const REMARK_COLUMNS: [&str; 2] = ["line", "reason"];
/// Delimiters that are found by themselves. None of them can be part of an id.
const DELIMITERS: [u8; 3] = [b',', b';', b'\t'];

/// The columns of a file, and which of them are read.
#[derive(Debug)]
pub struct Header {
    /// What separates cells.
    pub delimiter: u8,
    /// Names of the columns as the file has them, without the blanks around them.
    pub columns: ByteRecord,
    /// Index of the column of the lead ids.
    pub id: usize,
    /// Index of the column of the account ids.
    pub account: Option<usize>,
    /// Lines up to the first record.
    pub lines: u64,
}

impl Header {
    /// Reads the lines up to the first record.
    pub fn read<R: BufRead>(window: &mut Window<R>, names: &Names, delimiter: Option<u8>) -> anyhow::Result<Self> {
        let (mut lines, mut separator) = (0, None);
        loop {
            let (text, end) = line_of(window)?;
            let line = window.rest()[..text].trim_ascii();
            ensure!(
                end > 0,
                "it is empty; its first line must name the columns: id, and account if leads are bound to accounts"
            );
            match line {
                [] => {}
                [s, e, p, b'=', found] if separator.is_none() && [s, e, p].map(u8::to_ascii_lowercase) == *b"sep" => {
                    separator = Some(*found);
                }
                // A tab is trimmed.
                [s, e, p, b'='] if separator.is_none() && [s, e, p].map(u8::to_ascii_lowercase) == *b"sep" => {
                    separator = Some(b'\t');
                }
                _ => break,
            }
            window.consume(end);
            lines += 1;
        }
        let scanned = |window: &mut Window<R>, delimiter: u8| -> anyhow::Result<Scanned> {
            loop {
                if let Some(found) = scan(window.rest(), delimiter, window.is_at_end()) {
                    return Ok(found);
                }
                check_length(lines + 1, window.rest().len(), "")?;
                window.more()?;
            }
        };
        let delimiter = if let Some(delimiter) = delimiter.or(separator) {
            delimiter
        } else {
            // The one at which the column of the ids shows, else the most frequent one.
            let mut best = (DELIMITERS[0], 0);
            for delimiter in DELIMITERS {
                let found = scanned(window, delimiter)?;
                let mut cells = found.cells.iter().map(|cell| cell.value(window.rest()));
                let has_id = cells.any(|cell| is_named(&String::from_utf8_lossy(&cell), &names.id));
                let weight = found.cells.len() + if has_id { RECORD_BYTES_MAX } else { 0 };
                best = if weight > best.1 { (delimiter, weight) } else { best };
            }
            best.0
        };
        let found = scanned(window, delimiter)?;
        ensure!(
            found.flaw.is_none(),
            "its header has a quote that is not closed, or text after a closing quote; double a quote that is part of a \
             name, and put the name in quotes"
        );
        let columns: ByteRecord =
            found.cells.iter().map(|cell| cell.value(window.rest()).trim_ascii().to_vec()).collect();
        let (id, account) = used(&columns, names, delimiter)?;
        window.consume(found.end);
        Ok(Self { delimiter, columns, id, account, lines: lines + found.lines })
    }

    /// Returns the name of a column, for people.
    pub fn name(&self, index: usize) -> String {
        String::from_utf8_lossy(&self.columns[index]).into_owned()
    }

    /// Returns the number of columns up to the last one that has a name: spreadsheets write empty cells behind it.
    pub fn named(&self) -> usize {
        self.columns.iter().rposition(|column| !column.is_empty()).map_or(0, |last| last + 1)
    }

    /// Whether a column that is not read stands before one that is. Then a delimiter too many may have moved that one.
    pub fn may_move(&self) -> bool {
        let read = self.id.max(self.account.unwrap_or_default()) + 1;
        let others = read - 1 - usize::from(self.account.is_some_and(|account| account != self.id));
        others > remark_columns(&self.columns)
    }
}

/// Returns the bytes of the first line, without and with its line break: 0 and 0 at the end of the file.
fn line_of<R: BufRead>(window: &mut Window<R>) -> anyhow::Result<(usize, usize)> {
    loop {
        if let Some(found) = first_line(window.rest(), window.is_at_end()) {
            return Ok(found);
        }
        check_length(1, window.rest().len(), "")?;
        window.more()?;
    }
}

/// Finds the columns to read.
fn used(columns: &ByteRecord, names: &Names, delimiter: u8) -> anyhow::Result<(usize, Option<usize>)> {
    let all: Vec<_> = columns.iter().map(String::from_utf8_lossy).collect();
    let seen = format!("columns seen, split at {}: {}", shown(delimiter), all.join(", "));
    let index_of = |name: &str| {
        // A column of exactly that name is meant rather than one in another case.
        let exact: Vec<usize> = (0..all.len()).filter(|index| all[*index] == name.trim()).collect();
        let any: Vec<usize> = (0..all.len()).filter(|index| is_named(&all[*index], name)).collect();
        let found = if exact.is_empty() { any } else { exact };
        ensure!(found.len() < 2, "its header names the column `{name}` twice; {seen}");
        Ok(found.first().copied())
    };
    let account = index_of(&names.account)?;
    ensure!(account.is_some() || !names.needs_account, "its header has no column `{}`; {seen}", names.account);
    if let Some(id) = index_of(&names.id)? {
        return Ok((id, account));
    }
    let hint = if columns.as_slice().contains(&0) {
        "it holds NUL characters, as UTF-16 does: name the encoding, such as --encoding utf-16le"
    } else if columns.iter().any(|column| std::str::from_utf8(column).is_err()) {
        "it is not UTF-8: name the encoding, such as --encoding windows-1252"
    } else {
        "name the column of the lead ids by --id-column"
    };
    bail!("its header has no column `{}`; {hint}; {seen}", names.id)
}

/// Returns a delimiter for people.
pub fn shown(delimiter: u8) -> String {
    match delimiter {
        b'\t' => "tabs".to_owned(),
        delimiter => format!("`{}`", char::from(delimiter)),
    }
}

/// Returns the number of remark columns at the start of a header: all of them or none.
pub fn remark_columns(columns: &ByteRecord) -> usize {
    let is_remarked = columns.iter().take(REMARK_COLUMNS.len()).eq(REMARK_COLUMNS.map(str::as_bytes));
    if is_remarked { REMARK_COLUMNS.len() } else { 0 }
}
