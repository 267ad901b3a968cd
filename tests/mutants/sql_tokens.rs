//! Splits SQL into tokens, as far as edits need to know it.

use std::ops::Range;

/// The kind of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    Word,
    Number,
    Quoted,
    Operator,
    Parameter,
    /// `(`, `)`, `,`, `;` and others that stand alone.
    Mark,
}

/// A token, and where it is in the text.
#[derive(Debug, Clone)]
pub struct Token<'a> {
    pub class: Class,
    pub text: &'a str,
    pub at: usize,
    /// Open parentheses around it.
    pub depth: usize,
}

impl Token<'_> {
    pub fn range(&self) -> Range<usize> {
        self.at..self.at + self.text.len()
    }
}

/// Splits a text into tokens; comments are left out.
pub fn tokens(text: &str) -> Vec<Token<'_>> {
    let bytes = text.as_bytes();
    let end = |from: usize, holds: &dyn Fn(u8) -> bool| {
        from + bytes[from..].iter().position(|byte| !holds(*byte)).unwrap_or(bytes.len() - from)
    };
    let in_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80;
    let (mut tokens, mut at, mut depth) = (Vec::new(), 0, 0_usize);
    while at < bytes.len() {
        let (class, until) = match bytes[at] {
            byte if byte.is_ascii_whitespace() => {
                at += 1;
                continue;
            }
            b'-' if text[at..].starts_with("--") => {
                at = end(at, &|byte| byte != b'\n');
                continue;
            }
            b'\'' => (Class::Quoted, end(at + 1, &|byte| byte != b'\'').min(bytes.len() - 1) + 1),
            b'"' => (Class::Quoted, end(at + 1, &|byte| byte != b'"').min(bytes.len() - 1) + 1),
            b'$' if bytes.get(at + 1).is_some_and(u8::is_ascii_digit) => (Class::Parameter, end(at + 1, &in_word)),
            byte if byte.is_ascii_digit() => (Class::Number, end(at, &in_word)),
            byte if in_word(byte) => (Class::Word, end(at, &in_word)),
            byte if b"<>=+-*/&|~!#%".contains(&byte) => {
                (Class::Operator, end(at, &|byte| b"<>=|&+*/!#%~".contains(&byte)).max(at + 1))
            }
            b':' => (Class::Mark, end(at, &|byte| byte == b':')),
            _ => (Class::Mark, at + text[at..].chars().next().map_or(1, char::len_utf8)),
        };
        let token = &text[at..until];
        if token == ")" {
            depth = depth.saturating_sub(1);
        }
        tokens.push(Token { class, text: token, at, depth });
        if token == "(" {
            depth += 1;
        }
        at = until;
    }
    tokens
}
