//! Conversions of diagnoses.

use jiff::Timestamp;

use super::{campaign::not_sending, rate, timestamp};
use crate::{
    diagnosis::{AGES, BlamedAccount, Diagnosis, Finding, FindingKind, OpenQuestion, RatesAtAge, Severity},
    pb,
    statistics::{Change, Interval},
};

/// Renders a diagnosis, with the time at which its facts were read.
pub fn diagnosis(as_of: Timestamp, diagnosis: Diagnosis) -> pb::Diagnosis {
    pb::Diagnosis {
        as_of_time: Some(timestamp(as_of)),
        findings: diagnosis.findings.into_iter().map(pb::Finding::from).collect(),
        open_questions: diagnosis.open_questions.into_iter().map(pb::OpenQuestion::from).collect(),
        rates: diagnosis.rates.into_iter().flat_map(|rates| AGES.into_iter().zip(rates)).map(rates_at_age).collect(),
    }
}

fn rates_at_age((age_days, rates): (usize, RatesAtAge)) -> pb::RatesAtAge {
    pb::RatesAtAge {
        age_days: i32::try_from(age_days).unwrap_or(i32::MAX),
        response_rate: Some(rate(rates.response)),
        conversion_rate: Some(rate(rates.conversion)),
    }
}

impl From<FindingKind> for pb::FindingKind {
    fn from(kind: FindingKind) -> Self {
        match kind {
            FindingKind::AccountIssues => Self::AccountIssues,
            FindingKind::InvalidLeads => Self::InvalidLeads,
            FindingKind::RateLimiting => Self::RateLimiting,
            FindingKind::ContentRejected => Self::ContentRejected,
            FindingKind::LowDelivery => Self::LowDelivery,
            FindingKind::LowResponse => Self::LowResponse,
            FindingKind::LowConversion => Self::LowConversion,
            FindingKind::NotSending => Self::NotSending,
            FindingKind::UncertainClaims => Self::UncertainClaims,
            FindingKind::LeadListOpen => Self::LeadListOpen,
        }
    }
}

impl From<Severity> for pb::Severity {
    fn from(severity: Severity) -> Self {
        match severity {
            Severity::Info => Self::Info,
            Severity::Warning => Self::Warning,
            Severity::Critical => Self::Critical,
        }
    }
}

impl From<Finding> for pb::Finding {
    fn from(finding: Finding) -> Self {
        let share_interval = finding.share_interval().map(|Interval { lower, upper }| pb::Interval { lower, upper });
        Self {
            kind: pb::FindingKind::from(finding.kind).into(),
            severity: pb::Severity::from(finding.severity).into(),
            summary: finding.summary,
            action: finding.action,
            share: finding.share.map(rate),
            share_interval,
            reference: finding.reference.map(rate),
            accounts: finding.accounts.into_iter().map(pb::BlamedAccount::from).collect(),
            change: finding.change.map(pb::ShareChange::from),
            age_days: finding.age_days.and_then(|days| i32::try_from(days).ok()).unwrap_or_default(),
            messages_per_day: finding.messages_per_day,
            not_sending_reasons: not_sending(&finding.not_sending),
            uncertain_claims: finding.uncertain_claims,
        }
    }
}

impl From<BlamedAccount> for pb::BlamedAccount {
    fn from(BlamedAccount { culprit, share, others_share, p_value }: BlamedAccount) -> Self {
        Self { account: culprit.to_string(), share: Some(rate(share)), others_share: Some(rate(others_share)), p_value }
    }
}

impl From<Change> for pb::ShareChange {
    fn from(change: Change) -> Self {
        Self {
            since_day: change.since.to_string(),
            earliest_day: change.earliest.to_string(),
            latest_day: change.latest.to_string(),
            before: Some(rate(change.before)),
            after: Some(rate(change.after)),
        }
    }
}

impl From<OpenQuestion> for pb::OpenQuestion {
    fn from(OpenQuestion { kind, summary, have, need, expected }: OpenQuestion) -> Self {
        Self { kind: pb::FindingKind::from(kind).into(), summary, have, need, expected_time: expected.map(timestamp) }
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;
    use crate::{diagnosis::Culprit, not_sending::NotSending, rate::Rate};

    fn counts(numerator: i64, denominator: i64) -> Rate {
        Rate { numerator, denominator }
    }

    #[test]
    fn a_finding_keeps_every_number() {
        let finding = Finding {
            kind: FindingKind::RateLimiting,
            severity: Severity::Warning,
            summary: "what".to_owned(),
            action: "do".to_owned(),
            share: Some(counts(11, 101)),
            reference: Some(counts(13, 103)),
            accounts: vec![BlamedAccount {
                culprit: Culprit::Account("workspaces/w/accounts/anna".parse().unwrap()),
                share: counts(17, 107),
                others_share: counts(19, 109),
                p_value: 0.03,
            }],
            change: Some(Change {
                since: date(2026, 6, 3),
                earliest: date(2026, 6, 2),
                latest: date(2026, 6, 5),
                before: counts(23, 113),
                after: counts(29, 127),
                likelihood_ratio: 20.0,
                threshold: 10.0,
            }),
            age_days: Some(30),
            messages_per_day: Some(400),
            not_sending: vec![NotSending::NoLeadDue],
            uncertain_claims: 5,
        };
        let open = OpenQuestion {
            kind: FindingKind::LowConversion,
            summary: "unknown".to_owned(),
            have: 7,
            need: 20,
            expected: Timestamp::from_second(90).ok(),
        };
        let at = |from| RatesAtAge { response: counts(from, from + 50), conversion: counts(from + 1, from + 50) };
        let whole = Diagnosis { findings: vec![finding], open_questions: vec![open], rates: Some([at(31), at(41)]) };
        let rendered = diagnosis(Timestamp::from_second(60).unwrap(), whole);
        assert_eq!(rendered.as_of_time.map(|time| time.seconds), Some(60));
        let found = &rendered.findings[0];
        assert_eq!((found.kind(), found.severity()), (pb::FindingKind::RateLimiting, pb::Severity::Warning));
        assert_eq!((found.summary.as_str(), found.action.as_str()), ("what", "do"));
        let pair = |rate: Option<pb::Rate>| rate.map(|rate| (rate.numerator, rate.denominator));
        assert_eq!((pair(found.share), pair(found.reference)), (Some((11, 101)), Some((13, 103))));
        let interval = found.share_interval.unwrap();
        assert!(interval.lower > 0.05 && interval.lower < 11.0 / 101.0 && interval.upper > 11.0 / 101.0);
        let blamed = &found.accounts[0];
        assert_eq!((blamed.account.as_str(), blamed.p_value), ("workspaces/w/accounts/anna", 0.03));
        assert_eq!((pair(blamed.share), pair(blamed.others_share)), (Some((17, 107)), Some((19, 109))));
        let change = found.change.as_ref().unwrap();
        assert_eq!(
            (change.since_day.as_str(), change.earliest_day.as_str(), change.latest_day.as_str()),
            ("2026-06-03", "2026-06-02", "2026-06-05")
        );
        assert_eq!((pair(change.before), pair(change.after)), (Some((23, 113)), Some((29, 127))));
        assert_eq!((found.age_days, found.messages_per_day, found.uncertain_claims), (30, Some(400), 5));
        assert_eq!(found.not_sending_reasons, [i32::from(pb::NotSendingReason::NoLeadDue)]);
        let open = &rendered.open_questions[0];
        assert_eq!((open.kind(), open.have, open.need), (pb::FindingKind::LowConversion, 7, 20));
        let rates = rendered.rates.iter().map(|of| (of.age_days, pair(of.response_rate), pair(of.conversion_rate)));
        let expected = [(7, Some((31, 81)), Some((32, 81))), (30, Some((41, 91)), Some((42, 91)))];
        assert_eq!(rates.collect::<Vec<_>>(), expected);
        assert_eq!((open.summary.as_str(), open.expected_time.map(|time| time.seconds)), ("unknown", Some(90)));
    }

    #[test]
    fn what_is_absent_stays_absent() {
        let finding = Finding {
            kind: FindingKind::LeadListOpen,
            severity: Severity::Info,
            summary: String::new(),
            action: String::new(),
            share: Some(Rate::default()),
            reference: None,
            accounts: Vec::new(),
            change: None,
            age_days: None,
            messages_per_day: None,
            not_sending: Vec::new(),
            uncertain_claims: 0,
        };
        let rendered = pb::Finding::from(finding);
        assert_eq!((rendered.share_interval, rendered.change, rendered.age_days), (None, None, 0));
        assert_eq!(rendered.share.unwrap().ratio, None);
    }
}
