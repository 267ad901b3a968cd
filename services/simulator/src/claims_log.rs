//! Writes every granted claim as a line of JSON, as soon as the answer arrives.
//!
//! `asked` is the time of the first request for the grant. A claim that was requested after a confirmed pause proves
//! that the pause does not work. A claim that only arrives after the pause may have been granted before it.

use std::{
    fs::{File, OpenOptions},
    io::Write as _,
    path::Path,
    sync::{Mutex, PoisonError},
};

use anyhow::Context as _;
use campaign_metrics::pb;
use jiff::Timestamp;
use serde::Serialize;

#[derive(Serialize)]
struct Line<'a> {
    time: Timestamp,
    asked: Timestamp,
    account: &'a str,
    lead: &'a str,
    step: i32,
    claim_id: &'a str,
}

/// A file of claims that all senders share.
#[derive(Debug)]
pub struct ClaimsLog(Mutex<File>);

impl ClaimsLog {
    /// Opens the file for appending.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path);
        let file = file.with_context(|| format!("can't write the claims log {}", path.display()))?;
        Ok(Self(Mutex::new(file)))
    }

    /// Appends the claims of one answer in a single write.
    pub fn append(&self, asked: Timestamp, claims: &[pb::Claim]) -> anyhow::Result<()> {
        let time = Timestamp::now();
        let mut lines = Vec::new();
        for claim in claims {
            let line = Line {
                time,
                asked,
                account: &claim.account,
                lead: &claim.lead,
                step: claim.step,
                claim_id: &claim.claim_id,
            };
            serde_json::to_writer(&mut lines, &line)?;
            lines.push(b'\n');
        }
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(&lines).context("can't write the claims log")
    }
}
