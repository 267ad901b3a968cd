//! What a process of the crash test writes down before and after each call, so that a kill can't take it along: a file
//! of JSON lines, each appended by one write.
//!
//! A line that a kill cut short counts as never written. What is written before a call may have happened; what is
//! written after its answer did.

use std::{
    fs::{self, File, OpenOptions},
    io::{Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use campaign_metrics::pb;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A permission to send, as its holder or the list of claims told it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    pub claim_id: String,
    pub send_key: String,
    pub lead: String,
    pub step: i32,
    pub account: String,
}

impl Grant {
    /// Whether its campaign hands out again what expired.
    pub fn is_retried(&self) -> bool {
        self.lead.contains("/campaigns/retry/leads/")
    }
}

impl From<&pb::Claim> for Grant {
    fn from(claim: &pb::Claim) -> Self {
        Self {
            claim_id: claim.claim_id.clone(),
            send_key: claim.send_key.clone(),
            lead: claim.lead.clone(),
            step: claim.step,
            account: claim.account.clone(),
        }
    }
}

/// A fact that somebody reports; `step` is 0 for what is about the lead.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Reported {
    pub lead: String,
    pub step: i32,
    pub kind: i32,
}

/// One line.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Record {
    /// About to ask for claims.
    Asking { request_id: String, account: String, max_claims: i32, at: Timestamp },
    /// Claims were granted.
    Granted { request_id: String, grants: Vec<Grant>, not_sending: Vec<i32>, at: Timestamp },
    /// The same request, made once more at another replica, was answered likewise, but for claims that somebody closed.
    Repeated { request_id: String, closed: Vec<Grant> },
    /// About to report.
    Reporting { facts: Vec<Reported> },
    /// The report was answered, fact by fact.
    Acknowledged { verdicts: Vec<(Reported, i32)>, by_stream: bool },
    /// About to give claims back unsent.
    Releasing { claim_ids: Vec<String> },
    /// These were given back.
    Released { claim_ids: Vec<String> },
    /// Listed as uncertain.
    Uncertain { grants: Vec<Grant> },
    /// About to say that a message was not sent.
    Denying { claim_id: String },
    /// That was taken.
    Denied { claim_id: String },
    /// Something that must never happen.
    Wrong { what: String },
}

/// The file of one process; the next process in its place goes on with it.
#[derive(Debug)]
pub struct Ledger(File);

impl Ledger {
    pub fn open(path: &Path) -> Result<Self> {
        let mut file = OpenOptions::new().create(true).append(true).open(path)?;
        if fs::read(path)?.last().is_some_and(|last| *last != b'\n') {
            // Closes the line that a kill cut short, so that it harms no other.
            file.write_all(b"\n")?;
        }
        Ok(Self(file))
    }

    pub fn write(&self, record: &Record) {
        let mut line = serde_json::to_vec(record).expect("records are JSON");
        line.push(b'\n');
        (&self.0).write_all(&line).expect("the ledger can be written");
    }

    pub fn wrong(&self, what: String) {
        self.write(&Record::Wrong { what });
    }
}

/// Reads ledgers as they grow.
#[derive(Debug, Default)]
pub struct Reader {
    files: Vec<(PathBuf, u64)>,
    pub records: Vec<Record>,
    acknowledged: usize,
}

impl Reader {
    pub fn add(&mut self, path: PathBuf) {
        self.files.push((path, 0));
    }

    /// Reads what was added since the last look.
    pub fn read(&mut self) -> Result<()> {
        for (path, read) in &mut self.files {
            let Ok(mut file) = File::open(&*path) else { continue };
            file.seek(SeekFrom::Start(*read))?;
            let mut text = String::new();
            file.read_to_string(&mut text).with_context(|| format!("reading {}", path.display()))?;
            let whole = text.rfind('\n').map_or(0, |end| end + 1);
            *read += whole as u64;
            for record in text[..whole].lines().filter_map(|line| serde_json::from_str(line).ok()) {
                if let Record::Acknowledged { verdicts, .. } = &record {
                    self.acknowledged += verdicts.len();
                }
                self.records.push(record);
            }
        }
        Ok(())
    }

    /// Outcomes acknowledged so far.
    pub fn acknowledged(&self) -> usize {
        self.acknowledged
    }

    /// An error when anything went wrong so far.
    pub fn check(&self) -> Result<()> {
        for record in &self.records {
            if let Record::Wrong { what } = record {
                anyhow::bail!("{what}");
            }
        }
        Ok(())
    }
}

/// Reads a whole ledger: for a process that takes the place of one that was killed.
pub fn read(path: &Path) -> Result<Vec<Record>> {
    let mut reader = Reader::default();
    reader.add(path.to_owned());
    reader.read()?;
    Ok(reader.records)
}
