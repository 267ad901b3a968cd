//! A mutant: one small edit of one file, with a name that survives edits elsewhere in the file.

use std::{ops::Range, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{run::IN_PLACE, sql_text::SqlText};

/// What a mutant changes.
#[derive(Debug, Clone)]
pub enum Change {
    /// A place in Rust code, as cargo-mutants describes it.
    Rust {
        /// The kind of the edit, which decides how it is switched.
        genre: Genre,
        /// What is replaced, in bytes of the file.
        range: Range<usize>,
        /// By what.
        replacement: String,
        /// Return type of the function around it.
        return_type: String,
    },
    /// A place in SQL.
    Sql {
        /// The text that contains it.
        text: Arc<SqlText>,
        /// What is replaced, in bytes of the text.
        range: Range<usize>,
        /// By what.
        replacement: String,
    },
}

/// Kinds of Rust mutants, by the names that cargo-mutants gives them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Genre {
    /// A function returns a fixed value at once.
    FnValue,
    /// Another operator between the same operands.
    BinaryOperator,
    /// `!` or `-` left out.
    UnaryOperator,
    /// An arm of a match left out.
    MatchArm,
    /// The guard of an arm always holds, or never.
    MatchArmGuard,
    /// A field left to the base of its struct.
    StructField,
}

/// A row of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Part {
    #[serde(rename = "proto")]
    Proto,
    #[serde(rename = "services/metrics, Rust")]
    Service,
    #[serde(rename = "services/metrics, SQL")]
    Sql,
    #[serde(rename = "controller")]
    Controller,
    #[serde(rename = "campaignctl")]
    Campaignctl,
}

impl Part {
    /// Returns the part of a file; `None` if it is not mutated.
    pub fn of(file: &str, is_sql: bool) -> Option<Self> {
        let of_rust = [
            ("proto/", Self::Proto),
            ("services/metrics/", Self::Service),
            ("controller/", Self::Controller),
            ("services/campaignctl/", Self::Campaignctl),
        ];
        let part = of_rust.into_iter().find(|(prefix, _)| file.starts_with(prefix))?.1;
        Some(if is_sql { Self::Sql } else { part })
    }

    /// Its name in the report.
    pub fn name(self) -> &'static str {
        match self {
            Self::Proto => "proto",
            Self::Service => "services/metrics, Rust",
            Self::Sql => "services/metrics, SQL",
            Self::Controller => "controller",
            Self::Campaignctl => "campaignctl",
        }
    }
}

/// One edit.
#[derive(Debug, Clone)]
pub struct Mutant {
    /// The number of its switch, made from its key.
    pub id: u32,
    /// File, function, edit, the text of its line, and its place among equals: no line number.
    pub key: String,
    pub part: Part,
    pub file: String,
    /// Lines that the edit touches, for people and for `CHANGED`.
    pub lines: std::ops::RangeInclusive<usize>,
    pub description: String,
    pub change: Change,
}

impl Mutant {
    /// Whether it is an edit of SQL.
    pub fn is_sql(&self) -> bool {
        matches!(self.change, Change::Sql { .. })
    }

    /// Where it is, for people.
    pub fn place(&self) -> String {
        format!("{}:{}", self.file, self.lines.start())
    }
}

/// What a mutant is made from; [`number`] gives it its key.
#[derive(Debug)]
pub struct Draft {
    pub part: Part,
    pub file: String,
    pub function: String,
    pub lines: std::ops::RangeInclusive<usize>,
    /// The first line, unchanged.
    pub line_text: String,
    pub description: String,
    pub change: Change,
}

/// Gives every mutant its key and number. Equal edits on equal lines of one function are counted.
pub fn number(drafts: Vec<Draft>) -> Vec<Mutant> {
    let mut seen = std::collections::HashMap::<String, usize>::new();
    let mut mutants = Vec::with_capacity(drafts.len());
    for draft in drafts {
        let kind = if matches!(draft.change, Change::Sql { .. }) { "sql" } else { "rust" };
        let mut key =
            format!("{} {kind} | {} | {} | {}", draft.file, draft.function, draft.description, draft.line_text.trim());
        let count = seen.entry(key.clone()).or_default();
        *count += 1;
        if *count > 1 {
            key = format!("{key} | {count}");
        }
        mutants.push(Mutant {
            // The numbers before have a meaning in `run`.
            id: u32::try_from(hash(&key) >> 32).unwrap_or(u32::MAX).max(IN_PLACE + 1),
            key,
            part: draft.part,
            file: draft.file,
            lines: draft.lines,
            description: draft.description,
            change: draft.change,
        });
    }
    mutants
}

/// FNV-1a. It must never change, because keys and draws are made from it.
pub fn hash(text: &str) -> u64 {
    let mixed = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    // Its low bits alone are too regular for a draw.
    (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 16
}
