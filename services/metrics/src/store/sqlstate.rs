//! Maps errors of Postgres to errors of the service. No other module reads SQLSTATEs.

use std::error::Error as StdError;

use deadpool_postgres::PoolError;
use tokio_postgres::{Error as PgError, error::SqlState};

use crate::error::Error;

/// Whether the transaction can succeed when it is run again as it is.
pub fn is_retryable(source: &(dyn StdError + Send + Sync + 'static)) -> bool {
    // A statement in the same round trip as a failed one fails with the last code, and that error can be seen first.
    let retryable = [
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::T_R_DEADLOCK_DETECTED,
        SqlState::LOCK_NOT_AVAILABLE,
        SqlState::IN_FAILED_SQL_TRANSACTION,
    ];
    source.downcast_ref::<PgError>().and_then(PgError::code).is_some_and(|code| retryable.contains(code))
}

/// Whether a lock could not be had: at once under NOWAIT, or within the lock timeout.
pub fn is_lock_unavailable(source: &(dyn StdError + Send + Sync + 'static)) -> bool {
    let error = source.downcast_ref::<PgError>();
    error.and_then(PgError::code).is_some_and(|code| *code == SqlState::LOCK_NOT_AVAILABLE)
}

/// Whether Postgres refused something for want of a privilege, here or in a cause.
pub fn is_refused(error: &(dyn StdError + 'static)) -> bool {
    std::iter::successors(Some(error), |error| (*error).source())
        .filter_map(|error| error.downcast_ref::<PgError>())
        .any(|error| error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE))
}

/// What a migration says of older replicas that run, if the error or a cause of it is that.
pub fn replicas_in_the_way(error: &(dyn StdError + 'static)) -> Option<String> {
    let mut causes = std::iter::successors(Some(error), |error| (*error).source());
    let refusal = causes.find_map(|error| error.downcast_ref::<PgError>()?.as_db_error())?;
    let is_it = *refusal.code() == SqlState::OBJECT_IN_USE;
    is_it.then(|| format!("{}. {}", refusal.message(), refusal.hint().unwrap_or_default()))
}

/// Why Postgres refuses a login, and what to do. `None` for what passes by itself.
pub fn login_refusal(code: &SqlState) -> Option<&'static str> {
    let refusals = [
        (SqlState::INVALID_PASSWORD, "Postgres refuses the role or its password; correct them in the database URL"),
        (
            SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
            "Postgres does not let this role in from here; correct the role or `sslmode` in the database URL, or pg_hba.conf \
             at the server",
        ),
        (
            SqlState::INVALID_CATALOG_NAME,
            "the database does not exist; create it, or correct its name in the database URL",
        ),
        (
            SqlState::INSUFFICIENT_PRIVILEGE,
            "this role may not connect to the database; run what `campaign-metrics-service roles` prints, or GRANT CONNECT",
        ),
    ];
    refusals.into_iter().find(|(refused, _)| refused == code).map(|(_, text)| text)
}

/// Whether the same can succeed later although nobody changes the database URL, the roles or the schema: because Postgres is
/// away, starts, is a standby, or is busy.
pub fn is_passing(error: &(dyn StdError + 'static)) -> bool {
    let mut causes = std::iter::successors(Some(error), |error| (*error).source());
    let Some(code) = causes.find_map(|error| error.downcast_ref::<PgError>()?.code()) else { return true };
    // Classes: 08 connection, 40 rollback, 53 out of resources, 55 a lock, 57 shutdown, start and cancellation, 58 an error of
    // the machine. 25006: only reads are allowed.
    let passing = ["08", "40", "53", "55", "57", "58", "25006"];
    passing.iter().any(|prefix| code.code().starts_with(prefix))
}

/// Whether the error is the violation of a unique constraint.
pub fn is_unique_violation(error: &PgError) -> bool {
    error.code() == Some(&SqlState::UNIQUE_VIOLATION)
}

impl From<PgError> for Error {
    fn from(error: PgError) -> Self {
        let Some(code) = error.code() else {
            // The server did not send this error: the connection broke, or a value did not fit its column's type.
            return if error.is_closed() || is_io(&error) {
                Self::Unavailable(error.into())
            } else {
                Self::Internal(error.into())
            };
        };
        // Class 08: connection; 57P: shutdown and start; 53: out of resources.
        match code.code() {
            "57014" => Self::DeadlineExceeded,
            code if code.starts_with("08") || code.starts_with("57P") || code.starts_with("53") => {
                Self::Unavailable(error.into())
            }
            _ => Self::Internal(error.into()),
        }
    }
}

fn is_io(error: &PgError) -> bool {
    std::error::Error::source(error).is_some_and(<dyn std::error::Error + 'static>::is::<std::io::Error>)
}

impl From<PoolError> for Error {
    fn from(error: PoolError) -> Self {
        match error {
            // Of a new connection, whatever it is: also a password that was changed.
            PoolError::Backend(error) => Self::Unavailable(error.into()),
            PoolError::Timeout(deadpool_postgres::TimeoutType::Wait) => {
                Self::Exhausted("every database connection is in use")
            }
            error => Self::Unavailable(error.into()),
        }
    }
}
