//! Errors of calls, rendered for people: the problem, its place, and the remedy.

use std::{error::Error, fmt, time::Duration};

use tonic::{Code, Status};
use tonic_types::{FieldViolation, StatusExt as _};

/// A call that failed.
#[derive(Debug)]
pub struct Failure {
    /// URL of the server that was called.
    pub server: String,
    /// The status that the server or the connection returned.
    pub status: Status,
}

impl Failure {
    /// Returns whether a retry of the same call may succeed.
    pub fn is_transient(&self) -> bool {
        let code = self.status.code();
        // A status with a source comes from the connection, whatever its code: the service did not answer.
        matches!(code, Code::Unavailable | Code::DeadlineExceeded | Code::ResourceExhausted)
            || self.status.source().is_some()
    }

    /// Returns the machine-readable reason, if the service gave one.
    pub fn reason(&self) -> Option<String> {
        self.status.get_details_error_info().map(|info| info.reason)
    }

    /// Returns the problem in one line.
    pub fn brief(&self) -> String {
        let Self { server, status } = self;
        if let Some(mut cause) = status.source() {
            while let Some(deeper) = cause.source() {
                cause = deeper;
            }
            return format!("can't reach the service at {server}: {cause}");
        }
        match status.message() {
            "" => format!("the service at {server} answered {:?} and no more", status.code()),
            message => message.to_owned(),
        }
    }

    /// Returns how long the service asks to wait before a retry.
    pub fn retry_delay(&self) -> Option<Duration> {
        self.status.get_details_retry_info()?.retry_delay
    }

    /// Returns how long to wait for a service that starts: it refused the call, and did nothing.
    pub fn ready_after(&self) -> Option<Duration> {
        let is_starting = self.status.code() == Code::Unavailable && self.reason().as_deref() == Some("NOT_READY");
        if is_starting { self.retry_delay() } else { None }
    }
}

/// The commands that help where the service gives this reason. Words in capitals stand for ids.
fn commands(reason: &str) -> &'static [&'static str] {
    let found = COMMANDS.iter().find(|(known, _)| *known == reason);
    found.map(|(_, commands)| *commands).unwrap_or_default()
}

const COMMANDS: &[(&str, &[&str])] = &[
    ("ACCOUNT_EXISTS", &["accounts update ACCOUNT --help"]),
    (
        "ACCOUNT_IN_USE",
        &[
            "campaigns list --account ACCOUNT",
            "campaigns update CAMPAIGN --remove-account ACCOUNT",
            "claims list --account ACCOUNT",
            "accounts suspend ACCOUNT",
        ],
    ),
    ("ACCOUNT_NOT_FOUND", &["accounts create ACCOUNT"]),
    ("ACCOUNT_NOT_SERVING", &["campaigns update CAMPAIGN --add-account ACCOUNT"]),
    ("ACCOUNT_SERVING", &["campaigns update CAMPAIGN --remove-account ACCOUNT"]),
    ("CAMPAIGN_EXISTS", &["campaigns update CAMPAIGN --help"]),
    ("CAMPAIGN_FINISHED", &["campaigns create CAMPAIGN"]),
    ("CAMPAIGN_FULL", &["campaigns create CAMPAIGN"]),
    ("CAMPAIGN_MANAGED", &["campaigns pause CAMPAIGN --override", "campaigns orphan CAMPAIGN"]),
    ("CAMPAIGN_OWNED", &["campaigns orphan CAMPAIGN"]),
    ("CLAIMS_OPEN", &["claims list --campaign CAMPAIGN", "claims resolve --help"]),
    ("ETAG_MISMATCH", &["-o json campaigns get CAMPAIGN", "-o json accounts get ACCOUNT"]),
    ("ILLEGAL_TRANSITION", &["campaigns create CAMPAIGN"]),
];

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { server, status } = self;
        f.write_str(&self.brief())?;
        if status.source().is_some() {
            return f.write_str(
                "\n  check that it runs there; another place is named by --server or CAMPAIGN_METRICS_SERVER",
            );
        }
        let violations = status.get_details_bad_request().map(|request| request.field_violations);
        let unsaid = |violation: &FieldViolation| !status.message().contains(&violation.description);
        for violation in violations.unwrap_or_default().into_iter().filter(unsaid) {
            write!(f, "\n  field {}: {}", violation.field, violation.description)?;
        }
        if let Some(info) = status.get_details_error_info() {
            write!(f, "\n  reason: {}", info.reason)?;
            let mut metadata: Vec<_> = info.metadata.into_iter().collect();
            metadata.sort();
            for (key, value) in metadata {
                write!(f, "\n  {key}: {value}")?;
            }
        }
        for command in self.reason().as_deref().map(commands).unwrap_or_default() {
            write!(f, "\n  command: campaignctl {command}")?;
        }
        if let Some(delay) = self.retry_delay() {
            write!(f, "\n  try again in {:.1} s", delay.as_secs_f64())?;
        } else if status.code() == Code::DeadlineExceeded {
            write!(f, "\n  the service at {server} may be overloaded; look at the campaign before repeating a change")?;
        }
        Ok(())
    }
}

impl Error for Failure {}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use clap::{CommandFactory as _, error::ErrorKind};
    use tonic_types::ErrorDetails;

    use super::*;
    use crate::args::Args;

    /// Reasons that a person can't act on by a command, and why.
    const OTHERS: &[(&str, &str)] = &[
        ("REQUEST_ID_REUSED", "no command sends a request id"),
        ("CAMPAIGN_NOT_OWNED", "no command acts for an owner"),
        ("CAMPAIGN_NOT_ADOPTABLE", "no command applies"),
        ("OWNER_HAS_CAMPAIGN", "no command applies"),
        ("IMMUTABLE_FIELD", "no command applies"),
        ("STALE_OWNER", "no command applies"),
        ("EXPORT_OUTDATED", "the export is run again"),
    ];

    #[test]
    fn a_reason_of_the_api_names_a_command_that_exists_or_none_can_help() {
        let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/api.md");
        let page = std::fs::read_to_string(page).expect("the page");
        let rows = page.lines().filter(|line| {
            ["| FAILED_PRECONDITION |", "| ALREADY_EXISTS |", "| ABORTED |"].iter().any(|code| line.starts_with(code))
        });
        let mut reasons: Vec<&str> = rows.filter_map(|row| row.split('`').nth(1)).collect();
        let mut known: Vec<&str> =
            COMMANDS.iter().map(|(reason, _)| *reason).chain(OTHERS.iter().map(|(reason, _)| *reason)).collect();
        reasons.sort_unstable();
        known.sort_unstable();
        assert_eq!(reasons, known);
        for command in COMMANDS.iter().flat_map(|(_, commands)| *commands) {
            let line = format!("campaignctl {}", command.replace("CAMPAIGN", "c").replace("ACCOUNT", "a"));
            let parsed = Args::command().try_get_matches_from(line.split(' '));
            let is_help = parsed.as_ref().is_err_and(|error| error.kind() == ErrorKind::DisplayHelp);
            assert!(parsed.is_ok() || is_help, "{line}: {:?}", parsed.err());
        }
    }

    #[test]
    fn an_error_names_the_fields_the_reason_and_when_to_try_again() {
        let mut details = ErrorDetails::new();
        details
            .add_bad_request_violation("account.time_zone", "`Mars` is no zone")
            .set_error_info(
                "INVALID_ARGUMENT",
                "campaign-metrics.io",
                HashMap::from([("limit".to_owned(), "3".to_owned())]),
            )
            .set_retry_info(Some(Duration::from_millis(1500)));
        let status = Status::with_error_details(Code::InvalidArgument, "the request is not valid", details);
        let failure = Failure { server: "http://h".to_owned(), status };
        assert_eq!(
            failure.to_string(),
            "the request is not valid\n  field account.time_zone: `Mars` is no zone\n  \
             reason: INVALID_ARGUMENT\n  limit: 3\n  try again in 1.5 s"
        );
        assert!(!failure.is_transient());
    }
}
