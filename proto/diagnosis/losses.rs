//! Lost messages: for which reason, in which accounts or in all, since when, and above which volume.

use std::{cmp::Reverse, collections::BTreeSet};

use jiff::civil::Date;

use super::{
    blame::{self, bound},
    finding::{BlamedAccount, Finding, FindingKind, Severity},
    messages::{Messages, recent_since, sum},
    party::{Party, together, without},
    regime::{Period, Regime, is_certainly_above},
    volume::{AccountDay, find_limit},
    words::{names, percent, since},
};
use crate::{lead::FailureReason, rate::Rate, statistics::Change};

/// Share of lost messages that makes a finding critical: the health is LOW, and the alert DeliveryLow wakes somebody for it.
const CRITICAL: f64 = 0.2;

/// What is diagnosed, and so what its parties are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Subject {
    /// A campaign; its parties are accounts.
    Campaign,
    /// An account; its parties are campaigns.
    Account,
}

/// Messages lost for one reason or for any.
#[derive(Debug)]
struct Loss {
    /// Lost messages of all messages, since the change.
    lost: Rate,
    /// The change of those that are blamed, or of the whole if the cause lies everywhere.
    change: Option<Change>,
    blamed: Vec<BlamedAccount>,
    /// Whether those that are not blamed certainly lose too many as well.
    is_everywhere: bool,
    whole: Regime,
}

/// Examines one reason. `None` if nothing is certain, nothing matters, or it is over.
fn examine(parties: &[Party], all: &[(Date, Messages)], reason: Option<FailureReason>, period: Period) -> Option<Loss> {
    let now = |days: &[(Date, Messages)]| period.judge(days, reason);
    let whole = now(all);
    let suspects = blame::find(parties, all, reason, period, whole.since());
    let others = without(all, suspects.differing.iter().map(|at| &parties[*at]));
    let is_everywhere = is_certainly_above(now(&others).share, bound(reason));
    if !is_everywhere && suspects.blamed.is_empty() {
        return None;
    }
    // The days of the accounts that are the cause show the change undiluted.
    let change = if is_everywhere {
        whole.change
    } else {
        now(&together(suspects.blamed.iter().map(|(at, _)| &parties[*at]))).change
    };
    Some(Loss {
        lost: sum(all, change.map(|change| change.since)).lost(reason),
        change,
        blamed: suspects.blamed.into_iter().map(|(_, blamed)| blamed).collect(),
        is_everywhere,
        whole,
    })
}

/// Returns whether a rate limit can be a finding, in the whole or given the accounts that are `suspects` of it. Only then
/// the volumes of days matter.
pub(super) fn can_be_limited<Id>(all: &[(Date, Messages)], suspects: Option<&BTreeSet<Id>>) -> bool {
    let limited = Some(FailureReason::RateLimited);
    let in_all = |period: Period| is_certainly_above(period.judge(all, limited).share, bound(limited));
    suspects.is_some() || in_all(Period::LastChange) || recent_since(all).map(Period::Since).is_some_and(in_all)
}

/// Finds the reasons for which messages are lost, the largest loss first, and whether the delivery is low.
///
/// `account_days` are the days of the accounts with their volumes over all campaigns; they matter only if messages were
/// rate limited.
pub(super) fn find(
    subject: Subject,
    parties: &[Party],
    all: &[(Date, Messages)],
    account_days: &[AccountDay],
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (reason, kind) in [
        (FailureReason::AccountIssue, FindingKind::AccountIssues),
        (FailureReason::InvalidLead, FindingKind::InvalidLeads),
        (FailureReason::RateLimited, FindingKind::RateLimiting),
        (FailureReason::ContentRejected, FindingKind::ContentRejected),
    ] {
        if sum(all, None).lost(Some(reason)).numerator == 0 {
            continue;
        }
        let limit = if kind == FindingKind::RateLimiting { find_limit(account_days.iter().copied()) } else { None };
        let period = match recent_since(all) {
            Some(recent) if limit.is_some() => Period::Since(recent),
            _ => Period::LastChange,
        };
        if let Some(mut loss) = examine(parties, all, Some(reason), period) {
            // Where every account is limited above a volume, some only send more than others.
            if limit.is_some() && loss.is_everywhere {
                loss.blamed.clear();
            }
            findings.push(of_reason(subject, parties.len(), kind, loss, limit));
        }
    }
    findings.sort_by_key(|finding| Reverse(finding.share.map(|share| share.numerator)));
    findings.extend(low_delivery(subject, parties, all, &findings));
    findings
}

fn severity(lost: Rate) -> Severity {
    if is_certainly_above(lost, CRITICAL) { Severity::Critical } else { Severity::Warning }
}

fn of_reason(subject: Subject, parties: usize, kind: FindingKind, loss: Loss, limit: Option<i64>) -> Finding {
    let cause = match kind {
        FindingKind::AccountIssues => "account issues",
        FindingKind::InvalidLeads => "invalid leads",
        FindingKind::RateLimiting => "rate limits",
        _ => "refused content",
    };
    let place = where_lost(subject, parties, cause, &loss, limit);
    let summary = match (limit, &loss.change) {
        (Some(limit), _) => format!("{place} Messages are lost above {limit} messages a day of one account."),
        (None, Some(change)) => format!(
            "{place} Since {} it is {}, before it was {}.",
            since(change),
            percent(change.after),
            percent(change.before)
        ),
        (None, None) => place,
    };
    let mut finding = Finding::new(kind, severity(loss.lost), summary, action(subject, kind, &loss, limit));
    finding.share = Some(loss.lost);
    finding.change = loss.change;
    finding.accounts = loss.blamed;
    finding.messages_per_day = limit;
    finding
}

/// Says how many messages are lost, and in which accounts or campaigns.
fn where_lost(subject: Subject, parties: usize, cause: &str, loss: &Loss, limit: Option<i64>) -> String {
    let of_all = format!("{} of the messages are lost because of {cause}", loss.lost);
    let (one, many) = nouns(subject);
    match &loss.blamed[..] {
        [] if parties > 1 && limit.is_none() => format!("{of_all}. No {one} stands out."),
        [] => format!("{of_all}."),
        blamed if loss.is_everywhere => format!("{of_all}, in all {many} and most of all in {}.", ids(blamed)),
        blamed => format!("{}, because of {cause}.", of_blamed(subject, blamed)),
    }
}

fn nouns(subject: Subject) -> (&'static str, &'static str) {
    match subject {
        Subject::Campaign => ("account", "accounts"),
        Subject::Account => ("campaign", "campaigns"),
    }
}

fn ids(blamed: &[BlamedAccount]) -> String {
    names(blamed.iter().map(|blamed| blamed.culprit.id()))
}

/// Says what those that are blamed lose, with the numbers of the worst.
fn of_blamed(subject: Subject, blamed: &[BlamedAccount]) -> String {
    let Some(worst) = blamed.first() else { return String::new() };
    let (ids, own, others) = (ids(blamed), worst.share, worst.others_share);
    match (subject, blamed.len()) {
        (Subject::Campaign, 1) => format!("Account {ids} loses {own} of its messages, the others {others}"),
        (Subject::Campaign, many) => format!(
            "{many} accounts lose messages ({ids}), the worst {own} of its messages, the others {others} of theirs"
        ),
        (Subject::Account, 1) => format!("It loses {own} of the messages of campaign {ids}, of the others {others}"),
        (Subject::Account, many) => {
            format!("It loses messages in {many} campaigns ({ids}), in the worst {own} of them, in the others {others}")
        }
    }
}

fn action(subject: Subject, kind: FindingKind, loss: &Loss, limit: Option<i64>) -> String {
    let accounts = match subject {
        Subject::Campaign if loss.blamed.is_empty() => "the accounts".to_owned(),
        Subject::Campaign => ids(&loss.blamed),
        Subject::Account => "the account".to_owned(),
    };
    match (kind, limit) {
        (FindingKind::AccountIssues, _) => format!("Check the status of {accounts}, and review the errors."),
        (FindingKind::InvalidLeads, _) if loss.blamed.is_empty() => "Refresh the lead collection.".to_owned(),
        (FindingKind::InvalidLeads, _) => match subject {
            Subject::Campaign => format!("Refresh the lead collection, first the leads of {accounts}."),
            Subject::Account => "Refresh the lead collection of these campaigns.".to_owned(),
        },
        (FindingKind::RateLimiting, Some(limit)) => {
            format!("Reduce the daily limit of {accounts} to at most {limit} messages.")
        }
        (FindingKind::RateLimiting, None) => format!("Reduce the daily limit of {accounts}."),
        _ if loss.blamed.is_empty() || subject == Subject::Account => {
            "Review the message for spam triggers.".to_owned()
        }
        _ => format!(
            "Review the message for spam triggers. Other accounts send it with fewer losses, so check the reputation of \
             {accounts} too."
        ),
    }
}

/// Finds whether the delivery rate is certainly below 95 %, or that of accounts which no reason above names.
fn low_delivery(subject: Subject, parties: &[Party], all: &[(Date, Messages)], causes: &[Finding]) -> Option<Finding> {
    // Where every account is limited above a volume, losses follow the volume of the day and of the account. Then neither a
    // day nor an account is told.
    let by_volume = causes.iter().any(|cause| cause.messages_per_day.is_some() && cause.accounts.is_empty());
    let period = match recent_since(all) {
        Some(recent) if by_volume => Period::Since(recent),
        _ => Period::LastChange,
    };
    let mut found = examine(parties, all, None, period)?;
    let is_low = is_certainly_above(found.whole.share, bound(None));
    if by_volume && (is_low || found.is_everywhere) {
        found.blamed.clear();
    }
    let named = |blamed: &BlamedAccount| {
        causes.iter().flat_map(|finding| &finding.accounts).any(|other| other.culprit == blamed.culprit)
    };
    if !is_low && !found.is_everywhere && found.blamed.iter().all(named) {
        return None;
    }
    let is_whole = is_low && !by_volume;
    let (change, lost) = if is_whole { (found.whole.change, found.whole.share) } else { (found.change, found.lost) };
    let delivered = |lost: Rate| Rate { numerator: lost.denominator - lost.numerator, ..lost };
    let summary = match &change {
        _ if !is_low && !found.is_everywhere => format!("{}.", of_blamed(subject, &found.blamed)),
        Some(change) => format!(
            "Since {} only {} of the messages are delivered, before it was {}.",
            since(change),
            delivered(lost),
            percent(delivered(change.before))
        ),
        None => format!("Only {} of the messages are delivered.", delivered(lost)),
    };
    let reasons = reasons(sum(all, change.map(|change| change.since)));
    let action = "Reduce the sending volume, check the health of the accounts, and verify the quality of the leads.";
    let mut finding =
        Finding::new(FindingKind::LowDelivery, severity(lost), format!("{summary} Lost because of {reasons}."), action);
    finding.share = Some(delivered(lost));
    finding.change =
        change.map(|change| Change { before: delivered(change.before), after: delivered(change.after), ..change });
    finding.accounts = found.blamed;
    Some(finding)
}

/// Lists the reasons with their shares, the most frequent first.
fn reasons(messages: Messages) -> String {
    let mut lost = [
        (FailureReason::AccountIssue, "account issues"),
        (FailureReason::InvalidLead, "invalid leads"),
        (FailureReason::RateLimited, "rate limits"),
        (FailureReason::ContentRejected, "refused content"),
        (FailureReason::Other, "other reasons"),
    ]
    .map(|(reason, words)| (messages.lost(Some(reason)), words));
    lost.sort_by_key(|(lost, _)| Reverse(lost.numerator));
    let shown = lost.iter().filter(|(lost, _)| lost.numerator > 0);
    shown.map(|(lost, words)| format!("{words} {}", percent(*lost))).collect::<Vec<_>>().join(", ")
}
