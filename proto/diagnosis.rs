//! Diagnosis: what is wrong with a campaign or an account, why, since when, and what to do.
//!
//! A pure function of facts that are sums by day. A finding has to be certain and to matter; an account is named only by an
//! exact test against the others. Where there are too few messages or leads, it says how many are missing. The
//! thresholds are constants of the modules, and docs/decisions/0016-findings-that-matter.md explains them.
//!
//! | module | finds |
//! |---|---|
//! | `losses` | reasons for which messages are lost, and low delivery |
//! | `blame`, `regime`, `volume` | in which accounts, since when, above which volume |
//! | `reactions` | low response and conversion |
//! | `standstill` | nothing is sent, uncertain claims, an open lead list |

mod blame;
mod facts;
mod finding;
mod losses;
mod messages;
mod pace;
mod party;
mod reactions;
mod regime;
mod standstill;
mod volume;
mod words;

use std::{cmp::Reverse, collections::BTreeSet};

use jiff::{Timestamp, civil::Date, tz::TimeZone};

pub use self::{
    blame::TESTED_DAYS,
    facts::{AGES, AccountFacts, CampaignFacts, HISTORY_DAYS, RatesAtAge},
    finding::{BlamedAccount, Culprit, Diagnosis, Finding, FindingKind, OpenQuestion, Severity},
    messages::{Messages, MessagesBy, messages_since},
    volume::AccountDay,
};
use self::{
    losses::Subject,
    messages::{MessageDays, by_day, sum},
    pace::Pace,
    party::parties,
};
use crate::{
    account::AccountState,
    campaign::CampaignState,
    history::HistoryDay,
    lead::FailureReason,
    name::{AccountId, AccountName, CampaignName},
    schedule::local_day,
    statistics::MESSAGES_MIN,
};

/// Returns the first days of the periods in which the accounts of a campaign are tested, given its days.
pub fn tested_since(sums: &[HistoryDay]) -> BTreeSet<Date> {
    blame::tested_since(&all_messages(sums))
}

/// What a diagnosis needs to know besides sums.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needed {
    /// Accounts that differ from the others. Their messages by day are needed.
    pub suspects: BTreeSet<AccountId>,
    /// Whether messages are rate limited, so that the volumes of days are needed.
    pub volumes: bool,
}

impl Needed {
    /// Finds what is needed, given the days of a campaign and the messages of each account in the periods of
    /// [`tested_since`].
    pub fn given(sums: &[HistoryDay], since: &MessagesBy<AccountId>) -> Self {
        let all = all_messages(sums);
        let suspects = blame::suspects(&all, since);
        let volumes = losses::can_be_limited(&all, suspects.get(&Some(FailureReason::RateLimited)));
        Self { suspects: suspects.into_values().flatten().collect(), volumes }
    }
}

/// Diagnoses a campaign at a moment, which must not be before that of the facts.
pub fn diagnose_campaign(facts: &CampaignFacts, now: Timestamp) -> Diagnosis {
    let workspace = &facts.name.workspace;
    let all = all_messages(&facts.sums);
    let parties = parties(&facts.since, &facts.by_account, |account| {
        Culprit::Account(AccountName { workspace: workspace.clone(), account: account.clone() })
    });
    let mut findings = Vec::new();
    findings.extend(standstill::not_sending(facts));
    findings.extend(losses::find(Subject::Campaign, &parties, &all, &facts.account_days));
    findings.extend(reactions::find(facts, now));
    findings.extend(standstill::uncertain_claims(facts));
    findings.extend(standstill::lead_list_open(facts));
    let is_moving = facts.state == CampaignState::Active && facts.lead_counts.is_open();
    let mut open_questions = Vec::new();
    open_questions.extend(losses_unknown(&all, is_moving, now));
    open_questions.extend(reactions::open_questions(facts, now));
    let rates = Some(reactions::rates(facts, now));
    Diagnosis { findings: most_severe_first(findings), open_questions, rates }
}

/// Diagnoses an account over all its campaigns at a moment, which must not be before that of the facts.
pub fn diagnose_account(facts: &AccountFacts, now: Timestamp) -> Diagnosis {
    let workspace = &facts.name.workspace;
    let all = by_day(facts.by_campaign.values().flatten());
    let since = messages_since(&facts.by_campaign, &blame::tested_since(&all));
    let parties = parties(&since, &facts.by_campaign, |campaign| {
        Culprit::Campaign(CampaignName { workspace: workspace.clone(), campaign: campaign.clone() })
    });
    let day = |(_, messages): &(Date, Messages)| {
        let limited = messages.lost(Some(FailureReason::RateLimited));
        AccountDay { volume: messages.all, limited }
    };
    let volumes: Vec<AccountDay> = all.iter().map(day).collect();
    let mut findings = Vec::new();
    findings.extend(standstill::account_not_sending(facts));
    findings.extend(losses::find(Subject::Account, &parties, &all, &volumes));
    let is_moving = facts.state == AccountState::Active && facts.campaigns > 0;
    Diagnosis {
        findings: most_severe_first(findings),
        open_questions: losses_unknown(&all, is_moving, now).into_iter().collect(),
        rates: None,
    }
}

/// Sorts by severity. Findings of the same severity keep their order: causes come before their effects.
fn most_severe_first(mut findings: Vec<Finding>) -> Vec<Finding> {
    findings.sort_by_key(|finding| Reverse(finding.severity));
    findings
}

/// The messages of the days of a campaign.
fn all_messages(sums: &[HistoryDay]) -> MessageDays {
    let days: Vec<_> = sums.iter().filter_map(|row| Some((row.day?, Messages::of(&row.counts)))).collect();
    by_day(days.iter().map(|(day, messages)| (day, messages)))
}

/// Returns that nothing can be said about lost messages yet, if there are too few messages.
fn losses_unknown(all: &[(Date, Messages)], is_moving: bool, now: Timestamp) -> Option<OpenQuestion> {
    let have = sum(all, None).all;
    if have >= MESSAGES_MIN {
        return None;
    }
    let counts: Vec<(Date, i64)> = all.iter().map(|(day, messages)| (*day, messages.all)).collect();
    let wait = Pace::of(&counts, local_day(&TimeZone::UTC, now)).time_for(MESSAGES_MIN - have).filter(|_| is_moving);
    let expected = wait.and_then(|wait| now.checked_add(wait).ok());
    let summary = format!(
        "Whether messages are lost can't be said yet: {have} of the {MESSAGES_MIN} messages that are needed have a \
         result; {}.",
        words::expected_by(expected)
    );
    Some(OpenQuestion { kind: FindingKind::LowDelivery, summary, have, need: MESSAGES_MIN, expected })
}

#[cfg(test)]
mod tests;
