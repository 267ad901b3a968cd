//! Results of mutants: a line of `results.jsonl` for each run, and the report made from them.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt::Write as _,
    fs::{self, OpenOptions},
    io::Write as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::mutant::{Mutant, Part};

/// How a mutant ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// A test failed.
    Caught,
    /// None did.
    Missed,
    /// It does not compile, Postgres refuses it, or the schema is the same with it.
    Unviable,
    /// The tests took far longer than without it. A person would have stopped them.
    Timeout,
}

/// A line of the results.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    pub key: String,
    pub part: Part,
    /// As it was when this ran, for people.
    pub place: String,
    pub description: String,
    pub outcome: Outcome,
    /// The test that caught it, or why it is unviable.
    pub by: String,
    pub seconds: f64,
}

/// All that is known, by key.
#[derive(Debug)]
pub struct Results {
    path: PathBuf,
    pub known: HashMap<String, Record>,
}

impl Results {
    /// Reads what earlier runs found.
    pub fn open(directory: &Path) -> Self {
        let path = directory.join("results.jsonl");
        let text = fs::read_to_string(&path).unwrap_or_default();
        let mut known = HashMap::new();
        for line in text.lines() {
            // The last line of a run that was killed may be half of one.
            if let Ok(record) = serde_json::from_str::<Record>(line) {
                known.insert(record.key.clone(), record);
            }
        }
        Self { path, known }
    }

    /// Adds a result.
    pub fn add(&mut self, record: Record) -> Result<()> {
        let mut file = OpenOptions::new().create(true).append(true).open(&self.path).context("results.jsonl")?;
        file.write_all(format!("{}\n", serde_json::to_string(&record)?).as_bytes())?;
        self.known.insert(record.key.clone(), record);
        Ok(())
    }

    /// How it ended, where that is known.
    pub fn outcome(&self, mutant: &Mutant) -> Option<Outcome> {
        self.known.get(&mutant.key).map(|record| record.outcome)
    }

    /// The report on the mutants that the code has now.
    pub fn report(&self, mutants: &[Mutant], how: &str) -> String {
        let mut rows = BTreeMap::<Part, (usize, HashMap<Outcome, usize>)>::new();
        for mutant in mutants {
            let row = rows.entry(mutant.part).or_default();
            row.0 += 1;
            if let Some(outcome) = self.outcome(mutant) {
                *row.1.entry(outcome).or_default() += 1;
            }
        }
        let mut text = format!("# Mutants\n\n{how}\n\n");
        text.push_str("| code | mutants | caught | timeouts | missed | share caught | unviable | not run |\n");
        text.push_str("|---|---:|---:|---:|---:|---:|---:|---:|\n");
        for (part, (all, outcomes)) in rows {
            let of = |outcome| outcomes.get(&outcome).copied().unwrap_or(0);
            let (caught, timeouts) = (of(Outcome::Caught), of(Outcome::Timeout));
            let (missed, unviable) = (of(Outcome::Missed), of(Outcome::Unviable));
            let viable = caught + timeouts + missed;
            let tenths = (1000 * (caught + timeouts)).checked_div(viable);
            let share = tenths.map_or("-".to_owned(), |tenths| format!("{}.{} %", tenths / 10, tenths % 10));
            let left = all - viable - unviable;
            let _ = writeln!(
                text,
                "| {} | {all} | {caught} | {timeouts} | {missed} | {share} | {unviable} | {left} |",
                part.name()
            );
        }
        text.push_str("\nThe share is of those that compile: timeouts count as caught, unviable ones not at all.\n\n## Missed\n\n");
        let mut missed: Vec<_> =
            mutants.iter().filter(|mutant| self.outcome(mutant) == Some(Outcome::Missed)).collect();
        missed.sort_by_key(|mutant| (mutant.part, mutant.file.clone(), *mutant.lines.start()));
        for mutant in missed {
            let function = mutant.key.split(" | ").nth(1).filter(|function| !function.is_empty());
            let function = function.map_or(String::new(), |function| format!(" in `{function}`"));
            let by = self.known.get(&mutant.key).map_or("", |record| record.by.as_str());
            let why = if by.is_empty() { String::new() } else { format!(" ({by})") };
            let _ = writeln!(text, "- {}: {}{function}{why}", mutant.place(), mutant.description);
        }
        text
    }
}

/// Mutants without a switch: by key, the reason, and whether it proves that they don't compile.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Dropped {
    unviable: BTreeMap<String, String>,
    alone: HashSet<String>,
    #[serde(skip)]
    path: PathBuf,
}

impl Dropped {
    /// Reads what earlier builds found.
    pub fn open(directory: &Path) -> Result<Self> {
        let path = directory.join("without-switch.json");
        let mut dropped: Self = match fs::read_to_string(&path) {
            Ok(text) => serde_json::from_str(&text).context("without-switch.json")?,
            Err(_) => Self::default(),
        };
        dropped.path = path;
        Ok(dropped)
    }

    /// Whether the mutant has no switch.
    pub fn contains(&self, key: &str) -> bool {
        self.unviable.contains_key(key) || self.alone.contains(key)
    }

    /// The error that makes it unviable.
    pub fn unviable(&self, key: &str) -> Option<&str> {
        self.unviable.get(key).map(String::as_str)
    }

    /// Notes one that does not compile.
    pub fn add_unviable(&mut self, key: &str, code: &str) {
        self.unviable.insert(key.to_owned(), code.to_owned());
    }

    /// Notes one that must be compiled separately.
    pub fn add_alone(&mut self, key: &str) {
        self.alone.insert(key.to_owned());
    }

    /// Keeps it for the next build.
    pub fn save(&self) -> Result<()> {
        Ok(fs::write(&self.path, serde_json::to_string_pretty(self)?)?)
    }
}
