//! Decides when a campaign is diagnosed again, and puts a diagnosis into the status.
//!
//! A diagnosis reads the history of a campaign, so it costs more than any other call, and campaigns change each second.

use std::time::Duration;

use campaign_metrics::pb;

use super::{excerpt, share::rate};
use crate::crd::{CampaignStatus, Finding, FindingKind, FindingSeverity};

/// Shortest time between two diagnoses, after the state, the reasons or the health of a campaign changed.
const SOONEST: Duration = Duration::from_mins(1);
/// Time until counts that changed are diagnosed, or a diagnosis that failed is tried again. 10 000 campaigns that change all
/// the time cost 17 diagnoses per second.
pub const DIAGNOSIS_INTERVAL: Duration = Duration::from_mins(10);
/// Longest time between two diagnoses. Rates at equal age change with the days alone.
const LATEST: Duration = Duration::from_hours(1);
/// Age of the rates in the status, in days.
const AGE_DAYS: i32 = 7;

/// What a diagnosis was made of, as far as the campaign shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    /// State, reasons for not sending, health and whether it is certain.
    standing: (i32, Vec<i32>, i32, bool),
    leads: Option<pb::LeadCounts>,
    messages: Option<pb::MessageCounts>,
    uncertain_claims: i64,
}

impl Judged {
    /// Keeps what changes a diagnosis.
    pub fn new(campaign: &pb::Campaign) -> Self {
        Self {
            standing: (
                campaign.state,
                campaign.not_sending_reasons.clone(),
                campaign.delivery_health,
                campaign.delivery_health_certain,
            ),
            leads: campaign.lead_counts,
            messages: campaign.message_counts.clone(),
            uncertain_claims: campaign.uncertain_claims,
        }
    }
}

/// The last diagnosis of a campaign.
#[derive(Debug, Clone)]
pub struct Diagnosed {
    /// What it was made of; `None` if it failed.
    pub judged: Option<Judged>,
    /// Whether its finding went meanwhile, because the campaign showed that it was over.
    pub is_over: bool,
}

/// Returns the time until a campaign is to be diagnosed; zero is now. The last diagnosis comes with its age.
pub fn diagnosis_wait(last: Option<(&Diagnosed, Duration)>, present: &Judged) -> Duration {
    let Some((last, age)) = last else { return Duration::ZERO };
    let interval = match &last.judged {
        Some(judged) if last.is_over || judged.standing != present.standing => SOONEST,
        Some(judged) if judged == present => LATEST,
        _ => DIAGNOSIS_INTERVAL,
    };
    interval.saturating_sub(age)
}

/// Puts a diagnosis into a status.
pub fn with_diagnosis(status: CampaignStatus, diagnosis: &pb::Diagnosis) -> CampaignStatus {
    let rates = diagnosis.rates.iter().find(|rates| rates.age_days == AGE_DAYS);
    CampaignStatus {
        response_within_7_days: rates.and_then(|rates| rate(rates.response_rate)),
        conversion_within_7_days: rates.and_then(|rates| rate(rates.conversion_rate)),
        finding: diagnosis.findings.first().map(finding),
        ..status
    }
}

/// Whether a finding of an earlier diagnosis can still hold, as far as the campaign shows it.
pub fn can_hold(finding: &Finding, campaign: &pb::Campaign) -> bool {
    match finding.kind {
        FindingKind::NotSending => {
            campaign.state() == pb::CampaignState::Active && !campaign.not_sending_reasons.is_empty()
        }
        FindingKind::UncertainClaims => campaign.uncertain_claims > 0,
        _ => true,
    }
}

fn finding(finding: &pb::Finding) -> Finding {
    Finding {
        kind: match finding.kind() {
            pb::FindingKind::Unspecified => FindingKind::Unknown,
            pb::FindingKind::AccountIssues => FindingKind::AccountIssues,
            pb::FindingKind::InvalidLeads => FindingKind::InvalidLeads,
            pb::FindingKind::RateLimiting => FindingKind::RateLimiting,
            pb::FindingKind::ContentRejected => FindingKind::ContentRejected,
            pb::FindingKind::LowDelivery => FindingKind::LowDelivery,
            pb::FindingKind::LowResponse => FindingKind::LowResponse,
            pb::FindingKind::LowConversion => FindingKind::LowConversion,
            pb::FindingKind::NotSending => FindingKind::NotSending,
            pb::FindingKind::UncertainClaims => FindingKind::UncertainClaims,
            pb::FindingKind::LeadListOpen => FindingKind::LeadListOpen,
        },
        severity: match finding.severity() {
            pb::Severity::Unspecified | pb::Severity::Info => FindingSeverity::Info,
            pb::Severity::Warning => FindingSeverity::Warning,
            pb::Severity::Critical => FindingSeverity::Critical,
        },
        summary: excerpt(&finding.summary).to_owned(),
    }
}
