//! Converts errors of the service to gRPC statuses, in this place only.
//!
//! Every status carries a google.rpc.ErrorInfo. An invalid field adds a BadRequest, and an error that is worth a retry
//! adds a RetryInfo. Internal errors are logged here once, with all their causes, and are never sent.

use std::{collections::HashMap, time::Duration};

use campaign_metrics::ERROR_DOMAIN;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::{
    error::{Error, chain},
    outage::DATABASE,
};

/// Advised retry delay when the database is unreachable: it recovers within seconds, or an operator is needed.
const RETRY_UNAVAILABLE: Duration = Duration::from_secs(1);
/// Advised retry delay after an overload or contention: long enough for a queue to drain.
const RETRY_EXHAUSTED: Duration = Duration::from_millis(500);

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        let mut details = ErrorDetails::new();
        let mut metadata = HashMap::new();
        let (code, reason) = match error {
            Error::NotFound(name) => {
                metadata.insert("resource".to_owned(), name);
                (Code::NotFound, "NOT_FOUND")
            }
            Error::AlreadyExists { reason, .. } => (Code::AlreadyExists, reason),
            Error::Invalid(invalid) => {
                details.add_bad_request_violation(invalid.field, invalid.problem);
                (Code::InvalidArgument, "INVALID_FIELD")
            }
            Error::Precondition { reason, about, .. } => {
                metadata.extend(about.into_iter().map(|(key, value)| (key.to_owned(), value)));
                (Code::FailedPrecondition, reason)
            }
            Error::Stale { reason, .. } => (Code::Aborted, reason),
            Error::Exhausted(_) => {
                details.set_retry_info(Some(RETRY_EXHAUSTED));
                (Code::ResourceExhausted, "OVERLOADED")
            }
            Error::DeadlineExceeded => (Code::DeadlineExceeded, "DEADLINE_EXCEEDED"),
            Error::Unread => (Code::DeadlineExceeded, "STREAM_UNREAD"),
            Error::Contended(source) => {
                tracing::warn!(error = chain(&*source), "gave up running a transaction again");
                details.set_retry_info(Some(RETRY_EXHAUSTED));
                (Code::Unavailable, "CONTENDED")
            }
            Error::Stopping => {
                details.set_retry_info(Some(RETRY_UNAVAILABLE));
                (Code::Unavailable, "SHUTTING_DOWN")
            }
            Error::Unavailable(source) => {
                DATABASE.failed(&*source);
                details.set_retry_info(Some(RETRY_UNAVAILABLE));
                (Code::Unavailable, "DATABASE_UNAVAILABLE")
            }
            Error::Internal(source) => {
                tracing::error!(error = chain(&*source), "internal error");
                (Code::Internal, "INTERNAL")
            }
        };
        details.set_error_info(reason, ERROR_DOMAIN, metadata);
        Self::with_error_details(code, message, details)
    }
}

/// Returns the status of calls before the database is reachable and migrated.
pub fn unready() -> Status {
    let mut details = ErrorDetails::new();
    details.set_error_info("NOT_READY", ERROR_DOMAIN, HashMap::new());
    details.set_retry_info(Some(RETRY_UNAVAILABLE));
    Status::with_error_details(Code::Unavailable, "the service waits for its database", details)
}

#[cfg(test)]
mod tests {
    use campaign_metrics::invalid::Invalid;

    use super::*;

    #[test]
    fn every_status_names_a_reason_and_nothing_internal_leaves() {
        let secret = || "password=hunter2".into();
        let cases = [
            (Error::NotFound("workspaces/a/campaigns/b".to_owned()), Code::NotFound),
            (Error::AlreadyExists { reason: "CAMPAIGN_EXISTS", message: "exists".to_owned() }, Code::AlreadyExists),
            (Error::Invalid(Invalid::new("steps", "must be from 1 to 16")), Code::InvalidArgument),
            (
                Error::Precondition { reason: "CAMPAIGN_MANAGED", message: "managed".to_owned(), about: Vec::new() },
                Code::FailedPrecondition,
            ),
            (
                Error::Precondition {
                    reason: "IMMUTABLE_FIELD",
                    message: "fixed".to_owned(),
                    about: vec![("field", "campaign.steps".to_owned())],
                },
                Code::FailedPrecondition,
            ),
            (Error::Stale { reason: "ETAG_MISMATCH", message: "stale".to_owned() }, Code::Aborted),
            (Error::Exhausted("busy"), Code::ResourceExhausted),
            (Error::DeadlineExceeded, Code::DeadlineExceeded),
            (Error::Unread, Code::DeadlineExceeded),
            (Error::Contended(secret()), Code::Unavailable),
            (Error::Stopping, Code::Unavailable),
            (Error::Unavailable(secret()), Code::Unavailable),
            (Error::Internal(secret()), Code::Internal),
        ];
        for (error, code) in cases {
            let status = Status::from(error);
            assert_eq!(status.code(), code);
            let info = status.get_details_error_info().expect("has an ErrorInfo");
            assert_eq!(info.domain, ERROR_DOMAIN);
            assert!(!info.reason.is_empty());
            assert!(!format!("{status:?}").contains("hunter2"), "{status:?}");
        }
    }

    #[test]
    fn bad_fields_are_named_and_retries_are_advised() {
        let status = Status::from(Error::Invalid(Invalid::new("steps", "must be from 1 to 16")));
        let violations = status.get_details_bad_request().expect("names the field").field_violations;
        assert_eq!(violations[0].field, "steps");
        for error in [Error::Unavailable("x".into()), Error::Contended("x".into()), Error::Exhausted("busy")] {
            assert!(Status::from(error).get_details_retry_info().is_some());
        }
    }
}
