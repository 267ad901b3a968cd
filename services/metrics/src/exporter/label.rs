//! Labels that several metrics share.

use campaign_metrics::lead::FailureReason;

/// Returns the label of a reason.
pub fn reason_label(reason: FailureReason) -> &'static str {
    match reason {
        FailureReason::AccountIssue => "account_issue",
        FailureReason::InvalidLead => "invalid_lead",
        FailureReason::RateLimited => "rate_limited",
        FailureReason::ContentRejected => "content_rejected",
        FailureReason::Other => "other",
    }
}
