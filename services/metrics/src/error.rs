//! The one error of the service. A variant exists only where a caller would act differently.

use std::error::Error as StdError;

use campaign_metrics::{campaign::IllegalTransition, invalid::Invalid};

/// What can go wrong with a call.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The named resource does not exist.
    #[error("{0} does not exist")]
    NotFound(String),
    /// The named resource, or a request with this id, exists already.
    #[error("{message}")]
    AlreadyExists {
        /// Machine-readable reason.
        reason: &'static str,
        /// What exists, and the remedy.
        message: String,
    },
    /// A field is not valid.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The state of things forbids it, until somebody changes that.
    #[error("{message}")]
    Precondition {
        /// Machine-readable reason.
        reason: &'static str,
        /// What forbids it, and the remedy.
        message: String,
    },
    /// Someone was faster: read again, then repeat.
    #[error("{message}")]
    Stale {
        /// Machine-readable reason.
        reason: &'static str,
        /// What changed.
        message: String,
    },
    /// The service has no room for it now.
    #[error("{0}")]
    Exhausted(&'static str),
    /// The deadline of the call ran out.
    #[error("the deadline ran out; nothing was committed unless a repeat says so")]
    DeadlineExceeded,
    /// Others kept changing the same rows while it was run again and again.
    #[error("others change the same rows; nothing was committed, repeat it")]
    Contended(#[source] Box<dyn StdError + Send + Sync>),
    /// The database can't be reached.
    #[error("the database can't be reached")]
    Unavailable(#[source] Box<dyn StdError + Send + Sync>),
    /// A bug, or a broken database.
    #[error("internal error")]
    Internal(#[source] Box<dyn StdError + Send + Sync>),
}

impl From<IllegalTransition> for Error {
    fn from(transition: IllegalTransition) -> Self {
        Self::Precondition { reason: "ILLEGAL_TRANSITION", message: transition.to_string() }
    }
}

/// A result with the service's error.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error with all its causes, for the log.
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
