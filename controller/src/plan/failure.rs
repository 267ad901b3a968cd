//! Why a spec could not be applied, in the words of the resource: its fields and its remedies, not those of the API.

use std::collections::HashMap;

use campaign_metrics::ERROR_DOMAIN;
use tonic::Code;
use tonic_types::StatusExt as _;

use super::{excerpt, field::resource_field};

/// When to retry a failed call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// With backoff.
    Backoff,
    /// After the spec has changed, and rarely in any case.
    WhenEdited,
}

/// Why the spec could not be applied, as conditions show it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {message}")]
pub struct Failure {
    /// The condition reason, in CamelCase.
    pub reason: &'static str,
    /// Text for people: what is wrong, and the remedy. It is stable while the cause is the same, so that retries do not
    /// rewrite the status.
    pub message: String,
    /// When to retry.
    pub retry: Retry,
}

impl Failure {
    /// Creates a failure that only an edit of the spec can repair.
    pub fn terminal(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), retry: Retry::WhenEdited }
    }

    /// The failure of a service that can't be reached.
    pub(super) fn away() -> Self {
        let message = "the campaign service can't be reached, or waits for its database; trying again. If this lasts, check \
                       that it runs, that the controller's --service names it, and the logs of both";
        Self::transient("ServiceUnavailable", message)
    }

    /// Returns whether nothing is known because the service did not answer.
    pub(super) fn is_silence(&self) -> bool {
        matches!(self.reason, "ServiceUnavailable" | "ServiceTimeout")
    }

    /// Returns whether the service answered and refused the spec.
    pub(super) fn is_refusal(&self) -> bool {
        self.retry == Retry::WhenEdited || matches!(self.reason, "AccountNotFound" | "Refused" | "StaleOwner")
    }

    pub(super) fn transient(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), retry: Retry::Backoff }
    }
}

impl From<&tonic::Status> for Failure {
    fn from(status: &tonic::Status) -> Self {
        let (reason, about) = error_info(status);
        let text = excerpt(status.message());
        let told = |said: Option<String>| said.map_or_else(|| text.to_owned(), |said| excerpt(&said).to_owned());
        match (status.code(), reason.as_str()) {
            (Code::InvalidArgument, _) => Self::terminal("InvalidSpec", told(invalid_fields(status))),
            (Code::FailedPrecondition, "CAMPAIGN_OWNED") => Self::terminal("CampaignOwned", told(owned(&about))),
            (Code::FailedPrecondition, "CAMPAIGN_NOT_ADOPTABLE") => {
                let message = "a campaign of this name exists without owner, and spec.adoptionPolicy is Never; set it to \
                               IfUnowned to take that campaign over, or delete that campaign";
                Self::terminal("CampaignNotAdoptable", message)
            }
            (Code::FailedPrecondition, "IMMUTABLE_FIELD") => Self::terminal("ImmutableField", told(immutable(&about))),
            (Code::FailedPrecondition, "ACCOUNT_NOT_FOUND") => {
                Self::transient("AccountNotFound", told(no_account(&about)))
            }
            (Code::FailedPrecondition, _) => Self::transient("Refused", text),
            (Code::Aborted, _) => {
                let message = "the service has a newer spec of this resource: another controller serves it, too, or the \
                               resource was restored from a backup. Stop the other controller; after a restore, delete \
                               this resource with deletionPolicy: Orphan, and apply it again";
                Self::transient("StaleOwner", message)
            }
            (Code::ResourceExhausted, _) => {
                let message =
                    "the campaign service has too much to do; trying again. If this lasts, give it more replicas";
                Self::transient("ServiceBusy", message)
            }
            // The texts of the following statuses can come from the transport and differ from call to call.
            (Code::Unauthenticated | Code::PermissionDenied, _) => {
                let message = "the campaign service refuses this controller; trying again. Check the controller's credentials \
                               and its rights at the service, and any proxy between them";
                Self::transient("AccessDenied", message)
            }
            (Code::Unavailable, _) => Self::away(),
            // An expired deadline arrives as CANCELLED when the client notices it first.
            (Code::DeadlineExceeded | Code::Cancelled, _) => {
                let message =
                    "the campaign service does not answer in time; trying again. If this lasts, look into its log";
                Self::transient("ServiceTimeout", message)
            }
            (Code::Unimplemented, _) => {
                let message = "what answers is no campaign service of this controller's version; trying again. Check the \
                               controller's --service, and upgrade the older of the two";
                Self::transient("ServiceError", message)
            }
            _ => Self::transient("ServiceError", "the campaign service failed; trying again. Its log has the cause"),
        }
    }
}

/// What an error is about, by key.
type Metadata = HashMap<String, String>;

/// Returns the `google.rpc.ErrorInfo` reason of a status of the campaign service, or an empty text.
pub fn error_reason(status: &tonic::Status) -> String {
    error_info(status).0
}

fn error_info(status: &tonic::Status) -> (String, Metadata) {
    let info = status.get_details_error_info().filter(|info| info.domain == ERROR_DOMAIN);
    info.map(|info| (info.reason, info.metadata)).unwrap_or_default()
}

/// Names each invalid field and its problem. `None` if the service names none.
fn invalid_fields(status: &tonic::Status) -> Option<String> {
    let violations = status.get_details_bad_request()?.field_violations;
    let told = violations.iter().map(|violation| match resource_field(&violation.field) {
        Some(path) => format!("{path}: {}", violation.description),
        None => format!(
            "the service does not understand this controller ({}: {}); upgrade the older of the two",
            violation.field, violation.description
        ),
    });
    Some(told.collect::<Vec<_>>().join("; "))
}

fn owned(about: &Metadata) -> Option<String> {
    let cluster = about.get("owner_cluster").map_or("not known", String::as_str);
    Some(format!(
        "the campaign belongs to the Campaign resource {} (UID {}, cluster {cluster}); if that is gone for good, set \
         spec.adoptionPolicy to Always, or run `campaignctl campaigns orphan`",
        about.get("owner")?,
        about.get("owner_uid")?
    ))
}

fn immutable(about: &Metadata) -> Option<String> {
    let (path, value) = (resource_field(about.get("field")?)?, about.get("value")?);
    let name = path.trim_start_matches("spec.");
    Some(format!(
        "{path}: the campaign exists with the value {value}, which is fixed; delete this resource with deletionPolicy: Orphan and \
         apply it again with `{name}: {value}`, or under another name"
    ))
}

fn no_account(about: &Metadata) -> Option<String> {
    let (workspace, account) = about.get("resource")?.strip_prefix("workspaces/")?.split_once("/accounts/")?;
    Some(format!(
        "spec.accounts: the account {account} does not exist; create it with `campaignctl -w {workspace} accounts create \
         {account}`, and this goes on by itself"
    ))
}
