//! The error of the service. A variant exists only where callers act differently.

use std::error::Error as StdError;

use campaign_metrics::{campaign::IllegalTransition, invalid::Invalid};

/// The error of a call.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The named resource does not exist.
    #[error("{0} does not exist")]
    NotFound(String),
    /// The resource, or a request with this id, exists already.
    #[error("{message}")]
    AlreadyExists {
        /// Machine-readable reason.
        reason: &'static str,
        /// Text for people: what exists, and the remedy.
        message: String,
    },
    /// A field is not valid.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The current state forbids the call, until something else changes.
    #[error("{message}")]
    Precondition {
        /// Machine-readable reason.
        reason: &'static str,
        /// Text for people: what forbids the call, and the remedy.
        message: String,
        /// What it is about, by key, for callers that say it in their own words: the metadata of `google.rpc.ErrorInfo`.
        about: Vec<(&'static str, String)>,
    },
    /// Another caller was faster. The caller must read again before a retry.
    #[error("{message}")]
    Stale {
        /// Machine-readable reason.
        reason: &'static str,
        /// Text for people: what changed.
        message: String,
    },
    /// The service is overloaded.
    #[error("{0}")]
    Exhausted(&'static str),
    /// The deadline of the call expired.
    #[error("the deadline ran out; nothing was committed unless a repeat says so")]
    DeadlineExceeded,
    /// The caller of a stream read nothing of it for too long.
    #[error("the stream ended, because nothing of it was read for too long; open another, and read what it sends")]
    Unread,
    /// The transaction was retried too often, because others kept changing the same rows.
    #[error("others change the same rows; nothing was committed, repeat it")]
    Contended(#[source] Box<dyn StdError + Send + Sync>),
    /// This replica is shutting down.
    #[error("the service is shutting down; repeat the call")]
    Stopping,
    /// The database can't be reached.
    #[error("the database can't be reached")]
    Unavailable(#[source] Box<dyn StdError + Send + Sync>),
    /// A bug, or a broken database.
    #[error("internal error")]
    Internal(#[source] Box<dyn StdError + Send + Sync>),
}

impl From<IllegalTransition> for Error {
    fn from(transition: IllegalTransition) -> Self {
        Self::Precondition { reason: "ILLEGAL_TRANSITION", message: transition.to_string(), about: Vec::new() }
    }
}

/// A result with the error of the service.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Returns an error with all its causes, for the log.
pub fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_shows_an_error_with_all_its_causes() {
        let cause = Error::Unavailable("connection refused".into());
        let error = Error::Internal(Box::new(cause));
        assert_eq!(chain(&error), "internal error: the database can't be reached: connection refused");
        assert_eq!(chain(&Error::Exhausted("busy")), "busy", "one without a cause");
    }
}
