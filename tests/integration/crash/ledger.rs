//! The ledger of a process of the crash test: a file of JSON lines, one before and one after each call, each appended
//! by one write. It survives a kill of the process.
//!
//! An incomplete last line does not count. A line before a call says what may have happened, a line after its answer
//! what did happen.

use std::{
    fs::{self, File, OpenOptions},
    io::{Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use campaign_metrics::pb;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A claim, as its holder or ListClaims got it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    pub claim_id: String,
    pub send_key: String,
    pub lead: String,
    pub step: i32,
    pub account: String,
}

impl Grant {
    /// Whether its campaign retries expired claims.
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

/// A reported fact; `step` is 0 for a fact about the lead.
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
    /// The request was repeated at another replica and got the same answer, except for claims closed since.
    Repeated { request_id: String, closed: Vec<Grant> },
    /// About to report.
    Reporting { facts: Vec<Reported> },
    /// The report was answered, fact by fact.
    Acknowledged { verdicts: Vec<(Reported, i32)>, by_stream: bool },
    /// About to release claims.
    Releasing { claim_ids: Vec<String> },
    /// These were released.
    Released { claim_ids: Vec<String> },
    /// Listed as uncertain.
    Uncertain { grants: Vec<Grant> },
    /// About to resolve claims as not sent.
    Denying { claim_id: String },
    /// These were resolved.
    Denied { claim_id: String },
    /// A violation that the process found.
    Wrong { what: String },
}

/// The file of one process. Its successor appends to it.
#[derive(Debug)]
pub struct Ledger(File);

impl Ledger {
    pub fn open(path: &Path) -> Result<Self> {
        let mut file = OpenOptions::new().create(true).append(true).open(path)?;
        if fs::read(path)?.last().is_some_and(|last| *last != b'\n') {
            // Ends a line that a kill cut short, so that the next line is intact.
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

    /// Reads what was added since the last call.
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

    /// Fails if a process has recorded a violation.
    pub fn check(&self) -> Result<()> {
        for record in &self.records {
            if let Record::Wrong { what } = record {
                anyhow::bail!("{what}");
            }
        }
        Ok(())
    }
}

/// Reads a whole ledger, for the successor of a killed process.
pub fn read(path: &Path) -> Result<Vec<Record>> {
    let mut reader = Reader::default();
    reader.add(path.to_owned());
    reader.read()?;
    Ok(reader.records)
}
