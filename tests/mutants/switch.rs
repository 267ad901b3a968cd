//! Puts all Rust mutants of a file into its text, each behind a switch that the environment turns on.
//!
//! `a < b` becomes `(if mutant(7) { a <= b } else { a < b })`, a function body begins with `if mutant(8) { return
//! Default::default(); }`, an arm gets a guard. Text is inserted on the same line, so line numbers stay. Code that runs
//! at compile time (`const`) can't be switched.

use std::{collections::HashMap, ops::Range};

use anyhow::{Context as _, Result};
use syn::visit::Visit as _;

use crate::{
    generate::transparent,
    mutant::{Change, Genre, Mutant},
    sites::{Site, Sites},
};

/// A file with switches.
#[derive(Debug, Default)]
pub struct Switched {
    pub text: String,
    /// Range of each mutant's edit in the text: a compiler error there is about this mutant.
    pub edits: Vec<(Range<usize>, u32)>,
    /// Range of each switch as a whole.
    pub wholes: Vec<(Range<usize>, u32)>,
    /// Mutants without a switch, because they run at compile time or the syntax has no place for one.
    pub without: Vec<u32>,
    /// Mutants that no compiler would take.
    pub unviable: Vec<u32>,
}

/// The function that tests a switch. It is added to the contract's crate, which all others use. With `MUTANT_TRACE` it
/// records in a file which switches are reached: a test that does not reach a switch can't notice the mutant.
pub const SWITCH: &str = r#"
/// Whether this mutant is the one that is being tested.
#[doc(hidden)]
pub fn mutant(number: u32) -> bool {
    use std::{collections::HashSet, env, fs::File, io::Write as _, sync::{LazyLock, Mutex}};
    static ACTIVE: LazyLock<u32> = LazyLock::new(|| env::var("MUTANT").ok().and_then(|text| text.parse().ok()).unwrap_or(0));
    static TRACE: LazyLock<Option<Mutex<(File, HashSet<u32>)>>> = LazyLock::new(|| {
        let file = File::options().append(true).create(true).open(env::var_os("MUTANT_TRACE")?).ok()?;
        Some(Mutex::new((file, HashSet::new())))
    });
    if let Some(trace) = &*TRACE {
        let mut trace = trace.lock().unwrap();
        if trace.1.insert(number) {
            trace.0.write_all(format!("{number}\n").as_bytes()).unwrap();
        }
    }
    *ACTIVE == number
}
"#;

/// An insertion. Of several at one place, the outermost opens first and closes last.
struct Insertion {
    at: usize,
    order: (u8, isize, u8),
    text: String,
    /// Edits within the text.
    edits: Vec<(Range<usize>, u32)>,
}

/// Puts switches for `mutants` into the text of their file.
pub fn switch(text: &str, mutants: &[&Mutant], path_of_switch: &str) -> Result<Switched> {
    let file = syn::parse_file(&transparent(text)).context("not Rust")?;
    let mut sites = Sites { text, ..Sites::default() };
    sites.visit_file(&file);
    let mut by_site = HashMap::<(Genre, usize), Vec<(u32, &str)>>::new();
    let mut switched = Switched::default();
    for mutant in mutants {
        let Change::Rust { genre, range, replacement, .. } = &mutant.change else {
            continue;
        };
        let at = (*genre, range.start);
        if let Some((_, Site::LetChain)) = sites.found.get(&at) {
            switched.unviable.push(mutant.id);
        } else if sites.found.contains_key(&at) {
            by_site.entry(at).or_default().push((mutant.id, replacement));
        } else {
            switched.without.push(mutant.id);
        }
    }
    let mut insertions = Vec::new();
    let mut wholes = Vec::new();
    for (at, edits) in by_site {
        let (whole, site) = &sites.found[&at];
        wholes.extend(edits.iter().map(|(id, _)| (whole.clone(), *id)));
        insertions.extend(insertions_of(text, whole, site, &edits, path_of_switch));
    }
    insertions.sort_by_key(|insertion| (insertion.at, insertion.order));
    let mut from = 0;
    // Lengths of the insertions, to map ranges of the original.
    let mut moved = Vec::new();
    for insertion in insertions {
        switched.text.push_str(&text[from..insertion.at]);
        from = insertion.at;
        let start = switched.text.len();
        moved.push((insertion.at, insertion.text.len()));
        switched.edits.extend(insertion.edits.into_iter().map(|(edit, id)| (start + edit.start..start + edit.end, id)));
        switched.text.push_str(&insertion.text);
    }
    switched.text.push_str(&text[from..]);
    let shift = |at: usize, until_inclusive: bool| -> usize {
        let before = moved.iter().filter(|(place, _)| *place < at || until_inclusive && *place == at);
        at + before.map(|(_, length)| length).sum::<usize>()
    };
    switched.wholes =
        wholes.into_iter().map(|(range, id)| (shift(range.start, false)..shift(range.end, true), id)).collect();
    Ok(switched)
}

fn insertions_of(text: &str, whole: &Range<usize>, site: &Site, edits: &[(u32, &str)], path: &str) -> Vec<Insertion> {
    let length = whole.len().cast_signed();
    // Closings of the inner before those of the outer, then openings of the outer before those of the inner; a body's
    // statements before the expressions that begin with it.
    // An expression can be all of a guard, or of a field: then it is the inner one.
    let inner = u8::from(matches!(site, Site::Binary(..) | Site::Unary(..)));
    let close = |text: &str| Insertion {
        at: whole.end,
        order: (0, length, 1 - inner),
        text: text.to_owned(),
        edits: Vec::new(),
    };
    let open = |text: String, edits| Insertion { at: whole.start, order: (2, -length, inner), text, edits };
    let mut opening = String::new();
    let mut places = Vec::new();
    let mut edit = |opening: &mut String, id: u32, parts: [&str; 3]| {
        opening.push_str(parts[0]);
        let start = opening.len();
        opening.push_str(parts[1]);
        places.push((start..opening.len(), id));
        opening.push_str(parts[2]);
    };
    match site {
        Site::Body => {
            for (id, replacement) in edits {
                let before = format!("if {path}({id}) {{ return ");
                edit(&mut opening, *id, [&before, replacement, "; } "]);
            }
            vec![Insertion { at: whole.start, order: (1, 0, 0), text: opening, edits: places }]
        }
        Site::Binary(left, right) => {
            opening.push('(');
            for (id, replacement) in edits {
                let mutated = format!("({}) {replacement} ({})", &text[left.clone()], &text[right.clone()]);
                // An assignment has no parentheses around the place it writes to.
                let mutated = if replacement.ends_with('=') && !matches!(*replacement, "==" | "!=" | "<=" | ">=") {
                    format!("{} {replacement} {}", &text[left.clone()], &text[right.clone()])
                } else {
                    mutated
                };
                edit(&mut opening, *id, [&format!("if {path}({id}) {{ "), &mutated, " } else "]);
            }
            opening.push_str("{ ");
            vec![open(opening, places), close(" })")]
        }
        Site::Unary(operand) => {
            opening.push('(');
            for (id, _) in edits {
                edit(&mut opening, *id, [&format!("if {path}({id}) {{ "), &text[operand.clone()], " } else "]);
            }
            opening.push_str("{ ");
            vec![open(opening, places), close(" })")]
        }
        Site::Arm(at) => {
            let off: Vec<_> = edits.iter().map(|(id, _)| format!("!{path}({id})")).collect();
            let text = format!(" if {}", off.join(" && "));
            let places = edits.iter().map(|(id, _)| (0..text.len(), *id)).collect();
            vec![Insertion { at: *at, order: (0, -1, 0), text, edits: places }]
        }
        Site::Guard => {
            opening.push('(');
            // `a || !b && (guard)`: the one that always holds comes first.
            let (holds, never): (Vec<_>, Vec<_>) = edits.iter().partition(|(_, replacement)| *replacement == "true");
            for (id, replacement) in holds.into_iter().chain(never) {
                if replacement == "true" {
                    edit(&mut opening, id, ["", &format!("{path}({id})"), " || "]);
                } else {
                    edit(&mut opening, id, ["", &format!("!{path}({id})"), " && "]);
                }
            }
            opening.push('(');
            vec![open(opening, places), close("))")]
        }
        Site::LetChain => Vec::new(),
        Site::Field(base, is_short) => {
            if *is_short {
                opening.push_str(&text[whole.clone()]);
                opening.push_str(": ");
            }
            for (id, _) in edits {
                edit(&mut opening, *id, [&format!("if {path}({id}) "), base, " else "]);
            }
            opening.push_str("{ ");
            vec![open(opening, places), close(" }")]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mutant::{Draft, Part, number};

    fn switched(text: &str, edits: &[(Genre, &str, &str)]) -> Switched {
        let drafts = edits.iter().map(|(genre, at, replacement)| Draft {
            part: Part::Proto,
            file: String::new(),
            function: String::new(),
            lines: 1..=1,
            line_text: String::new(),
            description: format!("{at} {replacement}"),
            change: Change::Rust {
                genre: *genre,
                range: text.find(at).unwrap()..text.len(),
                replacement: (*replacement).to_owned(),
                return_type: String::new(),
            },
        });
        let mutants = number(drafts.collect());
        let mut switched = switch(text, &mutants.iter().collect::<Vec<_>>(), "m").unwrap();
        for (name, mutant) in ["A", "B", "C"].iter().zip(&mutants) {
            switched.text = switched.text.replace(&format!("({})", mutant.id), &format!("({name})"));
        }
        switched
    }

    #[test]
    fn each_kind_of_edit_stands_behind_its_switch() {
        for (text, edits, expected) in [
            (
                "fn f() { a < b }",
                &[(Genre::BinaryOperator, "<", "<=")][..],
                "fn f() { (if m(A) { (a) <= (b) } else { a < b }) }",
            ),
            (
                "fn f() { a == b }",
                &[(Genre::FnValue, "a", "true"), (Genre::BinaryOperator, "==", "!=")],
                "fn f() { if m(A) { return true; } (if m(B) { (a) != (b) } else { a == b }) }",
            ),
            (
                "fn f() { x += 1; }",
                &[(Genre::BinaryOperator, "+=", "-=")],
                "fn f() { (if m(A) { x -= 1 } else { x += 1 }); }",
            ),
            (
                "fn f() { in_txn!(s, |t, n| { a < b }) }",
                &[(Genre::BinaryOperator, "<", "<=")],
                "fn f() { in_txn!(s, |t, n| { (if m(A) { (a) <= (b) } else { a < b }) }) }",
            ),
            ("fn f() { !a }", &[(Genre::UnaryOperator, "!", "")], "fn f() { (if m(A) { a } else { !a }) }"),
            (
                "fn f() { match a { 1 => b, _ => c } }",
                &[(Genre::MatchArm, "1", "")],
                "fn f() { match a { 1 if !m(A) => b, _ => c } }",
            ),
            (
                "fn f() { match a { x if x > 1 => b, _ => c } }",
                &[
                    (Genre::MatchArmGuard, "x > 1", "false"),
                    (Genre::MatchArmGuard, "x > 1", "true"),
                    (Genre::BinaryOperator, ">", "<"),
                ],
                "fn f() { match a { x if (m(B) || !m(A) && ((if m(C) { (x) < (1) } else { x > 1 }))) => b, _ => c } }",
            ),
            (
                "fn f() { S { a: b, ..d() } }",
                &[(Genre::StructField, "a:", "")],
                "fn f() { S { a: if m(A) { let whole: S = d(); whole.a } else { b }, ..d() } }",
            ),
        ] {
            assert_eq!(switched(text, edits).text, expected);
        }
    }

    #[test]
    fn what_runs_at_compile_time_has_no_switch() {
        assert_eq!(switched("const A: u8 = 1 + 2;", &[(Genre::BinaryOperator, "+", "-")]).without.len(), 1);
        assert_eq!(
            switched("fn f() { if a && let Some(b) = c {} }", &[(Genre::BinaryOperator, "&&", "||")]).unviable.len(),
            1
        );
    }
}
