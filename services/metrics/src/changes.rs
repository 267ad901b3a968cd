//! The log of changes: one line at info for each change of state, settings or ownership, once it is committed.
//!
//! Code inside a transaction notes what it changes. The transaction logs its notes after the commit, so one that is rolled back
//! or run again says nothing of what did not happen. The spans of the call say who asked: method, caller, client, trace.
//! Lead ids never get into a note, since they can be personal data.

use std::{cell::RefCell, fmt::Display};

/// Longest text of a change, in bytes: a campaign may have hundreds of accounts.
const CHANGE_MAX: usize = 2_000;

tokio::task_local! {
    /// What the transaction that is running has changed.
    static NOTES: RefCell<Vec<Note>>;
}

struct Note {
    resource: String,
    change: String,
    owner: Option<String>,
}

/// Runs a transaction whose changes can be noted.
pub fn gather<F: Future>(transaction: F) -> impl Future<Output = F::Output> {
    NOTES.scope(RefCell::default(), transaction)
}

/// Notes a change of the transaction that is running: `state ACTIVE -> PAUSED`. `owner` is the Kubernetes resource that manages
/// the resource, if one does. An empty change is none.
pub fn note(resource: impl Display, change: String, owner: Option<String>) {
    if change.is_empty() {
        return;
    }
    let mut change = change;
    change.truncate(change.floor_char_boundary(CHANGE_MAX));
    // Without a transaction there is nothing that could be committed.
    let _ = NOTES.try_with(|notes| notes.borrow_mut().push(Note { resource: resource.to_string(), change, owner }));
}

/// Logs what the transaction noted. Called after its commit.
pub fn committed() {
    let notes = NOTES.try_with(RefCell::take).unwrap_or_default();
    for Note { resource, change, owner } in notes {
        tracing::info!(resource, change, owner, "changed");
    }
}

/// The change from one list of named values to another of the same names: `steps 2 -> 3; daily_limit none -> 50`.
pub fn difference(before: &[(&str, String)], after: &[(&str, String)]) -> String {
    let changed = before.iter().zip(after).filter(|((_, before), (_, after))| before != after);
    let parts: Vec<String> =
        changed.map(|((name, before), (_, after))| format!("{name} {before} -> {after}")).collect();
    parts.join("; ")
}

/// A list of named values: `steps 2; daily_limit none`.
pub fn listed(values: &[(&str, String)]) -> String {
    let parts: Vec<String> = values.iter().map(|(name, value)| format!("{name} {value}")).collect();
    parts.join("; ")
}

/// A value that may be absent.
pub fn or_none(value: Option<impl Display>) -> String {
    value.map_or_else(|| "none".to_owned(), |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_names_what_changed_from_what_to_what() {
        let before = [("steps", "2".to_owned()), ("daily_limit", or_none(None::<i32>)), ("accounts", "ann".to_owned())];
        let after = [("steps", "3".to_owned()), ("daily_limit", or_none(Some(50))), ("accounts", "ann".to_owned())];
        assert_eq!(difference(&before, &after), "steps 2 -> 3; daily_limit none -> 50");
        assert_eq!(difference(&before, &before), "");
        assert_eq!(listed(&before), "steps 2; daily_limit none; accounts ann");
    }
}
