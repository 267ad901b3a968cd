//! A worker's copies of programs and tests, in which SQL mutants overwrite SQL.
//!
//! A binary contains its SQL verbatim. A mutant overwrites it with the same number of bytes and is undone afterwards,
//! without a compiler. If that is impossible (the text is split, not unique, or the mutant too long), the mutant is
//! compiled like others without a switch.

use std::{
    collections::{BTreeMap, HashMap},
    fs::{self, File},
    ops::Range,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::{sql_text::SqlText, tree::Built};

/// The copies of a worker.
#[derive(Debug)]
pub struct Binaries {
    /// Test binaries by `PACKAGE` or `PACKAGE/TEST`, with the directory they run in.
    pub tests: BTreeMap<String, (PathBuf, PathBuf)>,
    programs: Vec<PathBuf>,
    /// File and offset of each text that was searched.
    places: HashMap<Vec<u8>, Vec<(PathBuf, u64)>>,
}

impl Binaries {
    /// Copies what was built. Tests find the programs relative to their own directory.
    pub fn copy(built: &Built, directory: &Path) -> Result<Self> {
        let tests_directory = directory.join("debug/deps");
        fs::create_dir_all(&tests_directory)?;
        let copy = |from: &Path, into: &Path| -> Result<PathBuf> {
            let to = into.join(from.file_name().context("a program has a name")?);
            fs::copy(from, &to).with_context(|| format!("can't copy {}", from.display()))?;
            Ok(to)
        };
        let mut tests = BTreeMap::new();
        for (name, (path, runs_in)) in &built.tests {
            tests.insert(name.clone(), (copy(path, &tests_directory)?, runs_in.clone()));
        }
        let programs: Result<_> = built.programs.iter().map(|path| copy(path, &directory.join("debug"))).collect();
        Ok(Self { tests, programs: programs?, places: HashMap::new() })
    }

    /// Overwrites the text of a mutant; `None` if that is impossible.
    pub fn write_over(&mut self, text: &SqlText, range: &Range<usize>, replacement: &str) -> Result<Option<Written>> {
        let piece = text.own_pieces.iter().find(|piece| piece.start <= range.start && range.end <= piece.end);
        let Some(piece) = piece else {
            return Ok(None);
        };
        let original = &text.value[piece.clone()];
        let Some(mutated) = fit(original, range.start - piece.start..range.end - piece.start, replacement) else {
            return Ok(None);
        };
        let places = self.find(original.as_bytes())?;
        if places.is_empty() {
            return Ok(None);
        }
        let written = Written { places, original: original.as_bytes().to_vec() };
        written.write(mutated.as_bytes())?;
        Ok(Some(written))
    }

    fn find(&mut self, text: &[u8]) -> Result<Vec<(PathBuf, u64)>> {
        if let Some(places) = self.places.get(text) {
            return Ok(places.clone());
        }
        let mut places = Vec::new();
        for path in self.tests.values().map(|(path, _)| path).chain(&self.programs) {
            let bytes = fs::read(path)?;
            for section in constants(&bytes).context("not a 64-bit ELF file")? {
                let found = positions(&bytes[section.clone()], text);
                places.extend(found.into_iter().map(|at| (path.clone(), (section.start + at) as u64)));
            }
        }
        self.places.insert(text.to_vec(), places.clone());
        Ok(places)
    }
}

/// A mutant that is in place.
#[derive(Debug)]
pub struct Written {
    places: Vec<(PathBuf, u64)>,
    original: Vec<u8>,
}

impl Written {
    fn write(&self, bytes: &[u8]) -> Result<()> {
        for (path, at) in &self.places {
            let file = File::options().write(true).open(path).with_context(|| path.display().to_string())?;
            file.write_all_at(bytes, *at)?;
        }
        Ok(())
    }

    /// Undoes it.
    pub fn take_back(self) -> Result<()> {
        self.write(&self.original)
    }
}

/// Where an ELF file keeps constants: what is loaded and neither code nor empty.
fn constants(file: &[u8]) -> Option<Vec<Range<usize>>> {
    let number = |at: usize, length: usize| -> Option<usize> {
        let bytes = file.get(at..at + length)?;
        Some(bytes.iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte)))
    };
    if file.get(..5)? != b"\x7fELF\x02" {
        return None;
    }
    let (table, size, count) = (number(0x28, 8)?, number(0x3a, 2)?, number(0x3c, 2)?);
    let mut sections = Vec::new();
    for section in 0..count {
        let header = table + section * size;
        let (kind, flags) = (number(header + 4, 4)?, number(header + 8, 8)?);
        let (start, length) = (number(header + 0x18, 8)?, number(header + 0x20, 8)?);
        // PROGBITS; loaded (2), not executable (4).
        if kind == 1 && flags & 2 != 0 && flags & 4 == 0 {
            sections.push(start..start + length);
        }
    }
    Some(sections)
}

fn positions(bytes: &[u8], text: &[u8]) -> Vec<usize> {
    let mut found = Vec::new();
    let mut from = 0;
    // The first byte is searched by the standard library, which is compiled with optimisations.
    while let Some(at) = bytes.get(from..).and_then(|rest| rest.split(|byte| *byte == text[0]).next().map(<[u8]>::len))
    {
        let start = from + at;
        if start + text.len() > bytes.len() {
            break;
        }
        if bytes[start..].starts_with(text) {
            found.push(start);
        }
        from = start + 1;
    }
    found
}

/// Applies an edit without changing the length: adds blanks after the edit, or removes insignificant ones.
fn fit(text: &str, range: Range<usize>, replacement: &str) -> Option<String> {
    let (before, after) = (&text[..range.start], &text[range.end..]);
    let length = before.len() + replacement.len() + after.len();
    if length <= text.len() {
        return Some(format!("{before}{replacement}{}{after}", " ".repeat(text.len() - length)));
    }
    let mut excess = length - text.len();
    let after = squeeze(after, &mut excess);
    let before = squeeze(before, &mut excess);
    (excess == 0).then(|| format!("{before}{replacement}{after}"))
}

/// Removes up to `excess` insignificant bytes: comments, and blanks beside blanks, commas and parentheses.
fn squeeze(text: &str, excess: &mut usize) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut in_quotes = false;
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        if *excess > 0 && !in_quotes {
            let line = rest.split('\n').next().unwrap_or_default();
            if rest.starts_with("--") && line.len() < rest.len() {
                let dropped = (*excess).min(line.len());
                // If the rest would begin within a character, the whole character is removed.
                if dropped == line.len() {
                    rest = &rest[dropped..];
                    *excess -= dropped;
                    continue;
                }
                let end = line.len() - dropped;
                if end >= 2 && line.is_char_boundary(end) {
                    kept.push_str(&line[..end]);
                    rest = &rest[line.len()..];
                    *excess -= dropped;
                    continue;
                }
            }
            let previous = kept.chars().next_back();
            let next = rest[character.len_utf8()..].chars().next();
            let says_nothing =
                |beside: Option<char>| beside.is_some_and(|beside| matches!(beside, ' ' | '\n' | ',' | '(' | ')'));
            // Not at an end: a format string may continue a word there.
            if character == ' '
                && previous.is_some()
                && next.is_some()
                && (says_nothing(previous) || says_nothing(next))
            {
                *excess -= 1;
                rest = &rest[1..];
                continue;
            }
        }
        if character == '\'' {
            in_quotes = !in_quotes;
        }
        if !in_quotes && rest.starts_with("--") {
            // A comment may hold a single quotation mark.
            let line = rest.split('\n').next().unwrap_or_default();
            kept.push_str(line);
            rest = &rest[line.len()..];
            continue;
        }
        kept.push(character);
        rest = &rest[character.len_utf8()..];
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edit_fits_into_the_bytes_of_its_text() {
        let fitted = |text: &str, old: &str, new: &str| {
            let at = text.find(old).unwrap();
            fit(text, at..at + old.len(), new)
        };
        assert_eq!(fitted("a <= b", "<=", "<").unwrap(), "a <  b");
        assert_eq!(fitted("SELECT f(a, b) WHERE a < b", "<", "<=").unwrap(), "SELECT f(a,b) WHERE a <= b");
        assert_eq!(fitted("a -- it's so\n  < ' , '", "<", "<=").unwrap(), "a -- it's s\n  <= ' , '");
        assert_eq!(fitted("a -- so\nIS NULL, x", "NULL", "NOT NULL").unwrap().len(), "a -- so\nIS NULL, x".len());
        assert_eq!(fitted("a<b", "<", "<="), None, "nothing can go");
    }

    #[test]
    fn every_place_of_a_text_is_found() {
        assert_eq!(positions(b"xabcxxabab", b"ab"), [1, 6, 8]);
        assert_eq!(positions(b"", b"ab"), Vec::<usize>::new());
    }
}
