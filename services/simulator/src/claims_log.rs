//! Every claim granted, as a line of JSON, written as soon as the answer came in.
//!
//! `asked` is when the grant was first asked for: a claim asked for after a pause was confirmed would prove the pause
//! broken, while one that merely arrives after it was granted before.

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

/// A file of claims, shared by all senders.
#[derive(Debug)]
pub struct ClaimsLog(Mutex<File>);

impl ClaimsLog {
    /// Opens the file; what it holds stays.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path);
        let file = file.with_context(|| format!("can't write the claims log {}", path.display()))?;
        Ok(Self(Mutex::new(file)))
    }

    /// Appends the claims of one answer, all in one write.
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
