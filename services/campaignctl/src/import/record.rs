//! One record of a file of leads, and the checks that both formats share.

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

/// Ends the import when a record is longer than [`RECORD_BYTES_MAX`].
pub fn check_length(line: u64, length: usize, hint: &str) -> anyhow::Result<()> {
    if length > RECORD_BYTES_MAX {
        bail!("the record that begins on line {line} is longer than 1 MiB{hint}");
    }
    Ok(())
}

/// Returns the bytes of a record as text, or the reason to refuse it: it is not UTF-8, or it contains a NUL.
pub fn parse_text(raw: &[u8]) -> Result<&str, String> {
    let text = std::str::from_utf8(raw).map_err(|error| {
        let position = error.valid_up_to() + 1;
        format!("is not UTF-8: byte {position} of it is 0x{:02x}", raw[error.valid_up_to()])
    })?;
    match text.find('\0') {
        Some(position) => Err(format!("holds a NUL, as byte {} of it", position + 1)),
        None => Ok(text),
    }
}

/// Parses a lead from its two fields, or returns the reason to refuse it.
pub fn parse_lead(id: &str, account: &str) -> Result<pb::NewLead, String> {
    if id.is_empty() {
        return Err("has no id".to_owned());
    }
    let lead: LeadId = id.parse().map_err(|invalid: Invalid| format!("id {}", invalid.problem))?;
    if !account.is_empty() {
        let _: AccountId = account.parse().map_err(|invalid: Invalid| format!("account {}", invalid.problem))?;
    }
    Ok(pb::NewLead { lead_id: lead.to_string(), account_id: account.to_owned() })
}

/// Adds a column to those that are ignored, up to [`IGNORED_MAX`].
pub fn note_ignored(ignored: &mut BTreeSet<String>, column: &str) {
    if ignored.len() < IGNORED_MAX && !ignored.contains(column) {
        ignored.insert(column.to_owned());
    }
}
