//! Lists the Rust mutants by cargo-mutants.
//!
//! cargo-mutants skips macros. Those of [`TRANSPARENT`] take plain expressions, among them all transactions of the
//! store. So it gets a copy of the code in which they are function calls at the same places.

use std::{
    collections::HashMap,
    fs,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use crate::{
    mutant::{Change, Draft, Genre, Part},
    select::tracked,
};

#[derive(Debug, Deserialize)]
struct Listed {
    file: String,
    function: Option<Function>,
    genre: Genre,
    name: String,
    replacement: String,
    span: Span,
}

#[derive(Debug, Deserialize)]
struct Function {
    function_name: String,
    return_type: String,
}

#[derive(Debug, Deserialize)]
struct Span {
    start: Place,
    end: Place,
}

/// Both count from 1, columns in characters.
#[derive(Debug, Deserialize)]
struct Place {
    line: usize,
    column: usize,
}

/// Macros whose arguments are expressions.
const TRANSPARENT: [&str; 4] = ["in_txn!(", "try_join!(", "join!(", "ensure!("];

/// Returns the text with function calls in place of those macros.
pub fn transparent(text: &str) -> String {
    TRANSPARENT.iter().fold(text.to_owned(), |text, call| text.replace(call, &call.replace('!', "_")))
}

/// Lists the Rust mutants of the repository; `.cargo/mutants.toml` says what is left out, and why.
pub fn rust_drafts(root: &Path, directory: &Path) -> Result<Vec<Draft>> {
    let listed_in = directory.join("listed");
    for file in tracked(root)? {
        let to = listed_in.join(&file);
        fs::create_dir_all(to.parent().context("a file has a directory")?)?;
        let bytes = fs::read(root.join(&file))?;
        let is_rust = to.extension().is_some_and(|extension| extension == "rs");
        let text = String::from_utf8(bytes.clone()).ok().filter(|_| is_rust);
        fs::write(to, text.map_or(bytes, |text| transparent(&text).into_bytes()))?;
    }
    let listing = Command::new(cargo_mutants(root)?)
        .args(["mutants", "--list", "--json", "--workspace"])
        .current_dir(&listed_in)
        .output()
        .context("cargo-mutants does not start")?;
    ensure!(listing.status.success(), "cargo-mutants --list: {}", String::from_utf8_lossy(&listing.stderr));
    let listed: Vec<Listed> = serde_json::from_slice(&listing.stdout).context("the list of cargo-mutants")?;
    ensure!(!listed.is_empty(), "cargo-mutants lists nothing");
    let mut texts = HashMap::new();
    let mut drafts = Vec::new();
    for listed in listed {
        let Some(part) = Part::of(&listed.file, false) else {
            continue;
        };
        if !texts.contains_key(&listed.file) {
            texts.insert(listed.file.clone(), fs::read_to_string(root.join(&listed.file))?);
        }
        let text = &texts[&listed.file];
        let range = offset(text, &listed.span.start)?..offset(text, &listed.span.end)?;
        // `FILE:LINE:COLUMN: description`.
        let description = listed.name.split_once(": ").map_or(listed.name.as_str(), |(_, what)| what).to_owned();
        let function = listed.function.unwrap_or(Function { function_name: String::new(), return_type: String::new() });
        drafts.push(Draft {
            part,
            line_text: text.lines().nth(listed.span.start.line - 1).unwrap_or_default().to_owned(),
            lines: listed.span.start.line..=listed.span.end.line,
            file: listed.file,
            function: function.function_name,
            description,
            change: Change::Rust {
                genre: listed.genre,
                range,
                replacement: listed.replacement,
                return_type: function.return_type,
            },
        });
    }
    Ok(drafts)
}

fn cargo_mutants(root: &Path) -> Result<String> {
    let parts = Command::new(root.join("tests/real-parts")).arg("mutants").stderr(Stdio::inherit()).output()?;
    ensure!(parts.status.success(), "tests/real-parts failed; see above");
    let text = String::from_utf8(parts.stdout)?;
    let path = text.lines().find_map(|line| line.strip_prefix("cargo-mutants "));
    Ok(path.context("tests/real-parts knows no cargo-mutants")?.to_owned())
}

fn offset(text: &str, place: &Place) -> Result<usize> {
    let mut start = 0;
    for (number, line) in (1..).zip(text.split_inclusive('\n')) {
        if number == place.line {
            let column = line.char_indices().map(|(at, _)| at).chain([line.len()]).nth(place.column - 1);
            return Ok(start + column.context("a column within its line")?);
        }
        start += line.len();
    }
    anyhow::bail!("line {} is past the end", place.line)
}
