//! Small mistakes in SQL: textual replacements, without knowledge of their meaning.
//!
//! What can't change the behaviour of correct code is left out: comments, indexes, settings of storage, and CHECK
//! constraints. Locks are left out, too: their absence shows only in a race of two transactions, which `claims` and
//! `crash` provoke.

use std::ops::Range;

use crate::{
    sql_tokens::{Class, Token, tokens},
    swaps::{OPERATORS, SWAPS, WORDS},
};

/// An edit of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    pub range: Range<usize>,
    pub replacement: String,
    pub description: String,
}

/// Returns whether a string literal is SQL: keywords are written in capitals there, not in messages.
pub fn is_sql(value: &str) -> bool {
    const MARKS: [&str; 14] = [
        "SELECT", "INSERT", "UPDATE", "DELETE", "FROM", "WHERE", "AND", "OR", "VALUES", "ORDER", "LIMIT", "JOIN",
        "CASE", "COALESCE",
    ];
    value.contains(' ') && value.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| MARKS.contains(&word))
}

/// All edits of a text.
pub fn edits(text: &str) -> Vec<Edit> {
    let tokens = tokens(text);
    let mut edits = Vec::new();
    let mut add = |range: Range<usize>, replacement: String| {
        let was = text[range.clone()].split_whitespace().collect::<Vec<_>>().join(" ");
        let description = match (was.is_empty(), replacement.is_empty()) {
            (true, _) => format!("insert `{}`", replacement.trim()),
            (_, true) => format!("drop `{was}`"),
            _ => format!("replace `{was}` with `{replacement}`"),
        };
        edits.push(Edit { range, replacement, description });
    };
    let skipped = skipped(&tokens);
    for (index, token) in tokens.iter().enumerate() {
        if skipped[index] {
            continue;
        }
        let text_at = |place: usize| tokens.get(place).map_or("", |token| token.text);
        let before = index.checked_sub(1).map_or("", |place| tokens[place].text);
        let after = text_at(index + 1);
        match token.class {
            Class::Operator => {
                let assigns = token.text == "=" && is_assignment(&tokens, index);
                let is_star = token.text == "*"
                    && (matches!(before, "SELECT" | "." | "(" | "DISTINCT" | "RETURNING" | ",") || after == ")");
                let is_sign = token.text == "-" && matches!(before, "(" | "," | "");
                let other = OPERATORS.iter().find(|(operator, _)| *operator == token.text);
                if let Some((_, other)) = other
                    && !assigns
                    && !is_star
                    && !is_sign
                {
                    add(token.range(), (*other).to_owned());
                }
            }
            Class::Number => {
                if let Ok(number) = token.text.parse::<u64>() {
                    add(token.range(), (number + 1).to_string());
                    if number > 0 {
                        add(token.range(), (number - 1).to_string());
                    }
                }
            }
            Class::Parameter => {
                if before == "LIMIT" {
                    // With its type, or Postgres would infer another one.
                    add(token.range(), format!("{}::int8 + 1", token.text));
                }
            }
            Class::Word | Class::Quoted => {
                // After `::` it is a type.
                let named = WORDS.iter().chain(SWAPS).filter(|_| before != "::");
                for (one, other) in named {
                    let is_call = !matches!(*one, "min" | "max" | "least" | "greatest") || after == "(";
                    if token.text == *one && is_call {
                        add(token.range(), (*other).to_owned());
                    } else if token.text == *other && is_call {
                        add(token.range(), (*one).to_owned());
                    }
                }
                match token.text {
                    "AND" if !is_between(&tokens, index) => add(token.range(), "OR".to_owned()),
                    "OR" if before != "CREATE" => add(token.range(), "AND".to_owned()),
                    "NOT" if before == "IS" => add(token.at..tokens[index + 1].at, String::new()),
                    "NOT" if !matches!(after, "NULL" | "MATERIALIZED") => add(token.range(), String::new()),
                    "NULL" if before == "IS" => add(token.range(), "NOT NULL".to_owned()),
                    "DESC" => add(token.range(), String::new()),
                    "DISTINCT" if before == "SELECT" && after != "ON" => add(token.range(), String::new()),
                    "UNION" if after == "ALL" => add(tokens[index + 1].range(), String::new()),
                    "LEFT" | "FULL" if after == "JOIN" => add(token.range(), String::new()),
                    "BY" if before == "ORDER" => {
                        for end in order_ends(&tokens, index) {
                            add(end..end, " DESC".to_owned());
                        }
                    }
                    _ => {}
                }
                if matches!(token.text, "WHERE" | "AND" | "ON" | "HAVING")
                    && !is_between(&tokens, index)
                    && after != "CONFLICT"
                    && let Some(condition) = condition(&tokens, index)
                    && text[condition.clone()] != *"true"
                {
                    add(condition, "true".to_owned());
                }
            }
            Class::Mark => {}
        }
    }
    edits
}

/// Tokens that no edit touches.
fn skipped(tokens: &[Token]) -> Vec<bool> {
    let mut skipped = vec![false; tokens.len()];
    let mut skip_until_depth = None;
    let mut statement = 0;
    for index in 0..tokens.len() {
        let token = &tokens[index];
        if token.text == ";" {
            statement = index + 1;
        }
        let begins = |words: &[&str]| {
            words
                .iter()
                .enumerate()
                .all(|(place, word)| tokens.get(statement + place).is_some_and(|token| token.text == *word))
        };
        // An index is for speed, unless it is unique.
        let is_index = begins(&["CREATE", "INDEX"]) || begins(&["DROP", "INDEX"]);
        if let Some(depth) = skip_until_depth {
            skipped[index] = true;
            if token.text == ")" && token.depth == depth {
                skip_until_depth = None;
            }
            continue;
        }
        skipped[index] = is_index || matches!(token.text, "CHECK");
        let opens = tokens.get(index + 1).is_some_and(|next| next.text == "(");
        // `CHECK (...)`, `WITH (fillfactor = 60)`, `SET (autovacuum_...)`.
        if opens && matches!(token.text, "CHECK" | "WITH" | "SET") {
            skip_until_depth = Some(token.depth);
            skipped[index] = true;
        }
        // `SET LOCAL x = y`: settings of the planner, of the statement timeout.
        if begins(&["SET", "LOCAL"]) {
            skipped[index] = true;
        }
        // A type's length: `bit(64)`.
        if index >= 2
            && tokens[index - 1].text == "("
            && matches!(tokens[index - 2].text, "bit" | "numeric" | "varchar")
        {
            skipped[index] = true;
        }
    }
    skipped
}

/// `SET a = 1, b = 2`: whether this `=` assigns.
fn is_assignment(tokens: &[Token], index: usize) -> bool {
    let Some([before, target]) = index.checked_sub(2).map(|from| &tokens[from..index]) else {
        return false;
    };
    if target.class != Class::Word || !matches!(before.text, "SET" | ",") {
        return false;
    }
    let depth = tokens[index].depth;
    let around = tokens[..index].iter().rev().take_while(|token| token.depth >= depth);
    let mut clauses = around.filter(|token| token.depth == depth);
    clauses
        .find(|token| matches!(token.text, "SET" | "WHERE" | "FROM" | "SELECT"))
        .is_some_and(|token| token.text == "SET")
}

/// `x BETWEEN a AND b`: whether this AND is that of a BETWEEN.
fn is_between(tokens: &[Token], index: usize) -> bool {
    if tokens[index].text != "AND" {
        return false;
    }
    let depth = tokens[index].depth;
    for token in tokens[..index].iter().rev().filter(|token| token.depth == depth) {
        match token.text {
            "BETWEEN" => return true,
            "AND" | "OR" | "WHERE" | "ON" | "WHEN" | "SELECT" | "," => return false,
            _ => {}
        }
    }
    false
}

/// Words that end a condition, or an item of ORDER BY.
const ENDS: [&str; 24] = [
    "AND",
    "OR",
    "GROUP",
    "ORDER",
    "LIMIT",
    "OFFSET",
    "RETURNING",
    "UNION",
    "FOR",
    "ON",
    "JOIN",
    "LEFT",
    "FULL",
    "CROSS",
    "WINDOW",
    "HAVING",
    ";",
    "THEN",
    "ELSE",
    "END",
    "WHERE",
    "SET",
    "$",
    "INNER",
];

/// The condition after a WHERE, AND or ON.
fn condition(tokens: &[Token], index: usize) -> Option<Range<usize>> {
    let first = tokens.get(index + 1)?;
    let depth = tokens[index].depth;
    let mut last = None;
    for place in index + 1..tokens.len() {
        let token = &tokens[place];
        if token.depth < depth {
            break;
        }
        let ends =
            token.depth == depth && (ENDS.contains(&token.text) || token.text == ",") && !is_between(tokens, place);
        // `CASE ... END` holds words that end conditions, `DISTINCT FROM` none.
        if token.depth == depth && token.text == "CASE" {
            return None;
        }
        if ends {
            break;
        }
        last = Some(token);
    }
    let last = last?;
    Some(first.at..last.range().end)
}

/// Where the items of an ORDER BY end that name no direction.
fn order_ends(tokens: &[Token], index: usize) -> Vec<usize> {
    let depth = tokens[index].depth;
    let mut ends = Vec::new();
    let mut last: Option<&Token> = None;
    for token in tokens[index + 1..].iter().chain([&Token { class: Class::Mark, text: ";", at: 0, depth }]) {
        let is_end = token.depth < depth || token.depth == depth && (ENDS.contains(&token.text) || token.text == ",");
        if is_end {
            ends.extend(
                last.filter(|last| !matches!(last.text, "DESC" | "ASC" | "FIRST" | "LAST"))
                    .map(|last| last.range().end),
            );
            last = None;
            if token.text != "," || token.depth < depth {
                break;
            }
        } else {
            last = Some(token);
        }
    }
    ends
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edited(text: &str) -> Vec<String> {
        let apply =
            |edit: Edit| format!("{}{}{}", &text[..edit.range.start], edit.replacement, &text[edit.range.end..]);
        edits(text).into_iter().map(apply).collect()
    }

    #[test]
    fn operators_constants_columns_and_conditions_are_edited() {
        assert_eq!(
            edited("SELECT * FROM t WHERE a < 7 AND b IS NULL"),
            [
                "SELECT * FROM t WHERE true AND b IS NULL",
                "SELECT * FROM t WHERE a <= 7 AND b IS NULL",
                "SELECT * FROM t WHERE a < 8 AND b IS NULL",
                "SELECT * FROM t WHERE a < 6 AND b IS NULL",
                "SELECT * FROM t WHERE a < 7 OR b IS NULL",
                "SELECT * FROM t WHERE a < 7 AND true",
                "SELECT * FROM t WHERE a < 7 AND b IS NOT NULL",
            ]
        );
        assert_eq!(
            edited("SET replied = x & ~y"),
            ["SET converted = x & ~y", "SET replied = x | ~y", "SET replied = x & y"]
        );
    }

    #[test]
    fn orders_limits_and_calls_are_edited() {
        assert_eq!(
            edited("x ORDER BY a, b DESC LIMIT $2"),
            [
                "x ORDER BY a DESC, b DESC LIMIT $2",
                "x ORDER BY a, b  LIMIT $2",
                "x ORDER BY a, b DESC LIMIT $2::int8 + 1"
            ]
        );
        assert_eq!(edited("min(a) OVER w, min"), ["max(a) OVER w, min"]);
    }

    #[test]
    fn what_can_not_matter_is_left_alone() {
        for text in [
            "-- a < 1",
            "CREATE INDEX ON t (a) WHERE b > 1",
            "x CHECK (a >= 0 AND b = 1)",
            "WITH (fillfactor = 60)",
            "a NOT NULL",
            "x BETWEEN y AND z",
            "'a = 1'",
            "count(*)",
            "h.lead::bit(64)",
            "UPDATE t SET a = b, c = d",
        ] {
            assert_eq!(edited(text), Vec::<String>::new(), "{text}");
        }
    }
}
