//! The error of a value that is not valid, with its field and the remedy.

use std::fmt;

/// A value that is not valid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct Invalid {
    /// Path of the field as in the request, `campaign.active_hours.windows[1].end_time`.
    pub field: String,
    /// The problem of the value, and the remedy.
    pub problem: String,
}

impl Invalid {
    /// Names a field and its problem, remedy included.
    pub fn new(field: impl Into<String>, problem: impl fmt::Display) -> Self {
        Self { field: field.into(), problem: problem.to_string() }
    }

    /// Prepends `prefix` to the field: `end_time` under `windows[1]` becomes `windows[1].end_time`.
    #[must_use]
    pub fn under(mut self, prefix: &str) -> Self {
        self.field = if self.field.is_empty() { prefix.to_owned() } else { format!("{prefix}.{}", self.field) };
        self
    }
}

/// Returns at most 64 characters of a value for an error, so that the size of an error is bounded.
pub(crate) fn excerpt(value: &str) -> String {
    let mut shown: String = value.chars().take(64).flat_map(char::escape_debug).collect();
    if value.chars().nth(64).is_some() {
        shown.push('…');
    }
    shown
}
