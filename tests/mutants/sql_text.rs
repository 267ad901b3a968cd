//! Finds SQL: migrations, files beside the store, and string literals of the service.
//!
//! A text is what Postgres receives: escapes of a literal are resolved, and each byte has its offset in the file.

use std::{fs, ops::Range, path::Path, sync::Arc};

use anyhow::{Context as _, Result};
use proc_macro2::{TokenStream, TokenTree};

use crate::{
    mutant::{Change, Draft, Part},
    sql,
};

/// What a text of SQL is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A migration.
    Migration,
    /// A whole statement.
    Statement,
    /// A part of a statement, or a format string.
    Fragment,
}

/// A text of SQL.
#[derive(Debug, Clone)]
pub struct SqlText {
    pub file: String,
    pub kind: Kind,
    /// As it reaches the binary; of a format string with its places.
    pub value: String,
    /// For each byte of `value`, and its end, the offset in the file.
    source: Vec<usize>,
    /// Parts that are contiguous in the binary: the whole text, or the parts between placeholders of a format string.
    pub pieces: Vec<Range<usize>>,
    /// Pieces that no other text contains, so that finding one in a binary finds this text.
    pub own_pieces: Vec<Range<usize>>,
}

/// Shorter pieces may occur in a binary by chance.
const PIECE_MIN: usize = 16;

impl SqlText {
    fn whole(file: &str, kind: Kind, value: String) -> Self {
        let all = 0..value.len();
        Self {
            file: file.to_owned(),
            kind,
            source: (0..=value.len()).collect(),
            value,
            pieces: vec![all],
            own_pieces: Vec::new(),
        }
    }

    /// Returns the range of a part in the file.
    pub fn source(&self, range: &Range<usize>) -> Range<usize> {
        self.source[range.start]..self.source[range.end]
    }

    /// The text with an edit.
    pub fn edited(&self, range: &Range<usize>, replacement: &str) -> String {
        format!("{}{replacement}{}", &self.value[..range.start], &self.value[range.end..])
    }
}

/// The SQL of the repository, every text once.
pub fn texts(root: &Path) -> Result<Vec<Arc<SqlText>>> {
    let mut texts = Vec::new();
    for path in files(root, "services/metrics/migrations")? {
        texts.push(SqlText::whole(&path, Kind::Migration, fs::read_to_string(root.join(&path))?));
    }
    for path in files(root, "services/metrics/src")? {
        let text = fs::read_to_string(root.join(&path))?;
        let extension = Path::new(&path).extension().unwrap_or_default();
        if extension == "sql" {
            texts.push(SqlText::whole(&path, Kind::Statement, text));
        } else if extension == "rs" {
            texts.extend(literals(&path, &text).with_context(|| path.clone())?);
        }
    }
    let own: Vec<Vec<_>> = texts.iter().map(|text| own_pieces(text, &texts)).collect();
    texts.iter_mut().zip(own).for_each(|(text, own)| text.own_pieces = own);
    Ok(texts.into_iter().map(Arc::new).collect())
}

fn own_pieces(text: &SqlText, all: &[SqlText]) -> Vec<Range<usize>> {
    let is_own = |piece: &&Range<usize>| {
        let piece = &text.value[(*piece).clone()];
        let places = all.iter().flat_map(|other| other.value.match_indices(piece));
        piece.len() >= PIECE_MIN && places.take(2).count() == 1
    };
    text.pieces.iter().filter(is_own).cloned().collect()
}

/// The SQL mutants of all texts.
pub fn drafts(root: &Path, texts: &[Arc<SqlText>]) -> Result<Vec<Draft>> {
    let mut drafts = Vec::new();
    for text in texts {
        let file = fs::read_to_string(root.join(&text.file))?;
        for edit in sql::edits(&text.value) {
            // Placeholders of `format!` are not edited.
            if !text.pieces.iter().any(|piece| piece.start <= edit.range.start && edit.range.end <= piece.end) {
                continue;
            }
            let source = text.source(&edit.range);
            let line = |at: usize| file[..at].matches('\n').count() + 1;
            let lines = line(source.start)..=line(source.end);
            drafts.push(Draft {
                part: Part::Sql,
                file: text.file.clone(),
                function: String::new(),
                line_text: file.lines().nth(lines.start() - 1).unwrap_or_default().to_owned(),
                lines,
                description: edit.description,
                change: Change::Sql { text: text.clone(), range: edit.range, replacement: edit.replacement },
            });
        }
    }
    Ok(drafts)
}

fn files(root: &Path, directory: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root.join(directory))? {
        let entry = entry?;
        let path = format!("{directory}/{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            found.extend(files(root, &path)?);
        } else {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn literals(path: &str, text: &str) -> Result<Vec<SqlText>> {
    let code = text.split("\n#[cfg(test)]").next().unwrap_or_default();
    let tokens: TokenStream = code.parse().map_err(|error| anyhow::anyhow!("not Rust: {error}"))?;
    let mut found = Vec::new();
    walk(tokens, false, &mut |range, is_format| {
        let literal = SqlText::of_literal(path, &code[range.clone()], range.start, is_format);
        found.extend(literal.filter(|text| sql::is_sql(&text.value)));
    });
    Ok(found)
}

/// Calls `see` for every literal, with whether it is the first argument of a formatting macro.
fn walk(tokens: TokenStream, in_format: bool, see: &mut impl FnMut(Range<usize>, bool)) {
    let mut before = [String::new(), String::new()];
    let mut is_first = true;
    for token in tokens {
        match &token {
            TokenTree::Group(group) => {
                let is_macro = before[1] == "!" && matches!(before[0].as_str(), "format" | "write" | "writeln");
                // An attribute: `#[doc = "..."]`.
                if before[1] != "#" {
                    walk(group.stream(), is_macro, see);
                }
            }
            TokenTree::Literal(literal) => see(literal.span().byte_range(), in_format && is_first),
            _ => {}
        }
        is_first = false;
        before.rotate_left(1);
        before[1] = token.to_string();
    }
}

impl SqlText {
    /// The text of a string literal; none for other literals.
    fn of_literal(file: &str, literal: &str, at: usize, is_format: bool) -> Option<Self> {
        let quote = literal.find('"')?;
        let (value, source) = match &literal[..quote] {
            "" => unescape(&literal[1..literal.len() - 1], at + 1)?,
            raw if raw.starts_with('r') => {
                let inner = quote + 1..literal.len() - quote;
                let start = at + inner.start;
                (literal[inner.clone()].to_owned(), (start..=start + inner.len()).collect())
            }
            _ => return None,
        };
        let all = 0..value.len();
        let pieces = if is_format { pieces(&value) } else { vec![all] };
        let first = value.split_whitespace().next().unwrap_or_default();
        let is_statement = !is_format && matches!(first, "SELECT" | "INSERT" | "UPDATE" | "DELETE" | "WITH");
        let kind = if is_statement { Kind::Statement } else { Kind::Fragment };
        Some(Self { file: file.to_owned(), kind, value, source, pieces, own_pieces: Vec::new() })
    }
}

fn unescape(inner: &str, at: usize) -> Option<(String, Vec<usize>)> {
    let (mut value, mut source) = (String::new(), Vec::new());
    let mut push = |value: &mut String, character: char, place: usize| {
        value.push(character);
        source.extend(std::iter::repeat_n(at + place, character.len_utf8()));
    };
    let mut characters = inner.char_indices().peekable();
    while let Some((place, character)) = characters.next() {
        if character != '\\' {
            push(&mut value, character, place);
            continue;
        }
        match characters.next()?.1 {
            '\n' => while characters.next_if(|(_, next)| next.is_whitespace()).is_some() {},
            'n' => push(&mut value, '\n', place),
            't' => push(&mut value, '\t', place),
            same @ ('"' | '\\' | '\'') => push(&mut value, same, place),
            // Others don't occur in SQL.
            _ => return None,
        }
    }
    source.push(at + inner.len());
    Some((value, source))
}

/// Returns the parts between placeholders of a format string. `{{` and `}}` also end a part: there text and binary
/// differ.
fn pieces(value: &str) -> Vec<Range<usize>> {
    let mut pieces = Vec::new();
    let (mut start, mut in_place) = (0, false);
    let mut characters = value.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        match character {
            '{' | '}' if !in_place && characters.next_if(|(_, next)| *next == character).is_some() => {
                pieces.push(start..at);
                start = at + 2;
            }
            '{' => {
                pieces.push(start..at);
                in_place = true;
            }
            '}' => {
                start = at + 1;
                in_place = false;
            }
            _ => {}
        }
    }
    pieces.push(start..value.len());
    pieces.retain(|piece| !piece.is_empty());
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_that_another_text_holds_is_not_its_own() {
        let code = "fn f() { (\"SELECT a FROM t WHERE b = 1\", \"SELECT a FROM t WHERE b = 1 AND c\", \"WHERE c\") }";
        let texts = literals("f.rs", code).unwrap();
        let own: Vec<_> = texts.iter().map(|text| own_pieces(text, &texts).len()).collect();
        assert_eq!(own, [0, 1, 0], "a part of another one; its own; too short");
    }

    #[test]
    fn literals_are_found_with_their_places_in_the_file() {
        let code = "/// SELECT of a comment\nfn f() { let a = \"SELECT 1 \\\n     FROM t\"; format!(\"WHERE {x} = {{1}} AND b\"); }";
        let found = literals("f.rs", code).unwrap();
        let values: Vec<_> = found.iter().map(|text| text.value.as_str()).collect();
        assert_eq!(values, ["SELECT 1 FROM t", "WHERE {x} = {{1}} AND b"]);
        assert_eq!(&code[found[0].source(&(9..13))], "FROM");
        let pieces: Vec<_> = found[1].pieces.iter().map(|piece| &found[1].value[piece.clone()]).collect();
        assert_eq!(pieces, ["WHERE ", " = ", "1", " AND b"]);
        assert_eq!((found[0].kind, found[1].kind), (Kind::Statement, Kind::Fragment));
    }
}
