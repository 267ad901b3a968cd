//! What a diagnosis consists of: findings, and questions that are still open.

use std::fmt;

use jiff::Timestamp;

use super::facts::{AGES, RatesAtAge};
use crate::{
    name::{AccountName, CampaignName},
    not_sending::NotSending,
    rate::Rate,
    statistics::{Change, Interval, wilson},
};

/// What is wrong, and what can't be said yet.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Diagnosis {
    /// Findings, the most severe first. Empty if nothing is wrong as far as the data shows.
    pub findings: Vec<Finding>,
    /// What can't be said yet, because there are too few messages or leads.
    pub open_questions: Vec<OpenQuestion>,
    /// Response and conversion, one element for each of [`AGES`]; `None` for an account.
    pub rates: Option<[RatesAtAge; AGES.len()]>,
}

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FindingKind {
    /// Messages are lost because of accounts: blocked, signed out or out of quota.
    AccountIssues,
    /// Messages are lost because leads can't be reached.
    InvalidLeads,
    /// Messages are lost because the provider limits the rate.
    RateLimiting,
    /// Messages are lost because the provider refuses their content.
    ContentRejected,
    /// The delivery rate is certainly below 95 %.
    LowDelivery,
    /// Certainly fewer leads reply than elsewhere.
    LowResponse,
    /// Certainly fewer leads convert than elsewhere.
    LowConversion,
    /// Nothing can be claimed.
    NotSending,
    /// Expired claims wait for a person.
    UncertainClaims,
    /// Every lead is done, and the lead list was never declared complete.
    LeadListOpen,
}

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Nothing is lost.
    Info,
    /// Messages or replies are lost.
    Warning,
    /// More than a fifth of the messages is lost, or nothing is sent.
    Critical,
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// What is wrong.
    pub kind: FindingKind,
    /// How much it matters.
    pub severity: Severity,
    /// For people: what is wrong, with the numbers; one or two sentences.
    pub summary: String,
    /// For people: what to do; one or two sentences.
    pub action: String,
    /// The share that the finding is about. For lost messages: those with the reason / all messages, since the change if
    /// there is one. For low delivery: the delivery rate of the same period.
    pub share: Option<Rate>,
    /// The share it is compared with.
    pub reference: Option<Rate>,
    /// The accounts that are the cause, the worst first; for an account its campaigns.
    pub accounts: Vec<BlamedAccount>,
    /// Since when: the change of the accounts that are the cause, or of the whole if the cause lies everywhere.
    pub change: Option<Change>,
    /// Age of the rate, for low response and conversion.
    pub age_days: Option<usize>,
    /// Messages a day of one account above which messages are rate limited.
    pub messages_per_day: Option<i64>,
    /// Why nothing is sent.
    pub not_sending: Vec<NotSending>,
    /// Claims that wait for a person.
    pub uncertain_claims: i64,
}

impl Finding {
    /// Makes a finding without evidence.
    pub(super) fn new(kind: FindingKind, severity: Severity, summary: String, action: impl Into<String>) -> Self {
        Self {
            kind,
            severity,
            summary,
            action: action.into(),
            share: None,
            reference: None,
            accounts: Vec::new(),
            change: None,
            age_days: None,
            messages_per_day: None,
            not_sending: Vec::new(),
            uncertain_claims: 0,
        }
    }

    /// Returns the 95 % interval of `share`.
    pub fn share_interval(&self) -> Option<Interval> {
        self.share.and_then(wilson)
    }
}

/// A party that can be the cause.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Culprit {
    /// An account of a campaign.
    Account(AccountName),
    /// A campaign of an account.
    Campaign(CampaignName),
}

impl Culprit {
    /// Returns its id.
    pub fn id(&self) -> &str {
        match self {
            Self::Account(name) => name.account.as_str(),
            Self::Campaign(name) => name.campaign.as_str(),
        }
    }
}

impl fmt::Display for Culprit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Account(name) => name.fmt(f),
            Self::Campaign(name) => name.fmt(f),
        }
    }
}

/// An account that is the cause; for an account, its campaign.
#[derive(Debug, Clone, PartialEq)]
pub struct BlamedAccount {
    /// The account or campaign.
    pub culprit: Culprit,
    /// Its lost messages / its messages, in the period in which the test is clearest.
    pub share: Rate,
    /// The same of all others.
    pub others_share: Rate,
    /// Probability of so many lost messages or more if it were like the others, adjusted for all tests; 0 to 0.05.
    pub p_value: f64,
}

/// Something that can't be said yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenQuestion {
    /// The finding that can't be made or excluded yet.
    pub kind: FindingKind,
    /// For people: what is missing, and when it will be there; one sentence.
    pub summary: String,
    /// Messages or leads so far.
    pub have: i64,
    /// Messages or leads that are needed.
    pub need: i64,
    /// When enough will be there at the pace of the last 7 days; `None` if nothing moves.
    pub expected: Option<Timestamp>,
}
