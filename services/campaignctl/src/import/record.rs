//! One record of a file of leads, and what all formats share: the names of columns, and the checks of their values.

use std::{collections::BTreeSet, ops::Range};

use anyhow::bail;
use campaign_metrics::{
    invalid::Invalid,
    name::{AccountId, LeadId},
    pb,
};

/// Longest record, in bytes: far longer than any lead, and soon reached after a quote that is never closed.
pub const RECORD_BYTES_MAX: usize = 1 << 20;
/// Most ignored columns that are reported: an NDJSON file can have a new one on every line.
const IGNORED_MAX: usize = 100;

/// One record of a file.
#[derive(Debug)]
pub struct Record {
    /// Line on which it begins; the first is 1.
    pub line: u64,
    /// Number of lines that it spans.
    pub lines: u64,
    /// Range of its bytes within its chunk.
    pub raw: Range<usize>,
    /// The lead, or the reason to refuse the record.
    pub lead: Result<pb::NewLead, String>,
}

/// The columns or fields to read, in any case of letters.
#[derive(Debug, Clone)]
pub struct Names {
    /// That of the lead ids.
    pub id: String,
    /// That of the account ids. Empty: there is none.
    pub account: String,
    /// Whether a file or an object without it is refused: it was named by the caller.
    pub needs_account: bool,
}

impl Default for Names {
    fn default() -> Self {
        Self { id: "id".to_owned(), account: "account".to_owned(), needs_account: false }
    }
}

/// Whether a column of a file is the one that is called `name`.
pub fn is_named(column: &str, name: &str) -> bool {
    let (column, name) = (column.trim(), name.trim());
    !name.is_empty() && (column.eq_ignore_ascii_case(name) || column.to_lowercase() == name.to_lowercase())
}

/// Ends the import when a record is longer than [`RECORD_BYTES_MAX`].
pub fn check_length(line: u64, length: usize, hint: &str) -> anyhow::Result<()> {
    if length > RECORD_BYTES_MAX {
        bail!("the record that begins on line {line} is longer than 1 MiB{hint}");
    }
    Ok(())
}

/// Returns the bytes of a value as text, or the reason to refuse its record.
pub fn parse_text<'a>(column: &str, value: &'a [u8]) -> Result<&'a str, String> {
    std::str::from_utf8(value).map_err(|error| {
        let position = error.valid_up_to() + 1;
        let byte = value[error.valid_up_to()];
        format!("{column} is not UTF-8: byte {position} of it is 0x{byte:02x}; name the encoding by --encoding")
    })
}

/// Parses a lead from its two fields without blanks around them, or returns the reason to refuse it.
pub fn parse_lead(id: &str, account: &str) -> Result<pb::NewLead, String> {
    let (id, account) = (id.trim(), account.trim());
    if id.is_empty() {
        return Err("has no id".to_owned());
    }
    let lead: LeadId = id.parse().map_err(|invalid: Invalid| format!("id {}", invalid.problem))?;
    if !account.is_empty() {
        let _: AccountId = account.parse().map_err(|invalid: Invalid| format!("account {}", invalid.problem))?;
    }
    Ok(pb::NewLead { lead_id: lead.to_string(), account_id: account.to_owned() })
}

/// Whether an id looks like a long number that a spreadsheet has rounded: `1.23457E+17`.
pub fn is_rounded(id: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let Some((digits, power)) = id.split_once(['E', 'e']) else { return false };
    let (whole, decimals) = digits.split_once('.').unwrap_or((digits, "0"));
    is_number(whole) && is_number(decimals) && power.strip_prefix('+').is_some_and(is_number)
}

/// Adds a column to those that are ignored, up to [`IGNORED_MAX`].
pub fn note_ignored(ignored: &mut BTreeSet<String>, column: &str) {
    if ignored.len() < IGNORED_MAX && !ignored.contains(column) {
        ignored.insert(column.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_number_that_was_rounded_is_known_by_its_power() {
        for id in ["1.23457E+17", "1E+15", "4.9e+05"] {
            assert!(is_rounded(id), "{id}");
        }
        for id in ["123457", "E+17", "1E+", "1.E+4", "1E17", "a1E+4", "1.2.3E+4", "ann+e@example.com", "1e-5"] {
            assert!(!is_rounded(id), "{id}");
        }
    }

    #[test]
    fn a_column_is_known_in_any_case_and_an_empty_name_names_none() {
        assert!(is_named(" E-MAIL ", "e-mail") && is_named("ÄMTER", "ämter"));
        assert!(!is_named("", "") && !is_named("email", "e-mail"));
    }
}
