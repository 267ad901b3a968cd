//! Who loses messages: accounts of a campaign, or campaigns of an account, each against all others.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{ToSpan as _, civil::Date};

use super::{
    finding::BlamedAccount,
    messages::{Messages, MessagesBy, recent_since, sum},
    party::Party,
    regime::{Period, is_certainly_above},
};
use crate::{
    lead::FailureReason,
    rate::Rate,
    statistics::{FALSE_DISCOVERY_RATE, TestedAccount, test_accounts, wilson},
};

/// Days over which accounts are tested against each other, at most. What an account lost earlier is no cause of what is
/// lost now, and of a thousand accounts a third of the days is read.
pub const TESTED_DAYS: i32 = 30;

/// What accounts are tested for: each reason of a finding, and all losses together.
const TESTED: [Option<FailureReason>; 5] = [
    Some(FailureReason::AccountIssue),
    Some(FailureReason::InvalidLead),
    Some(FailureReason::RateLimited),
    Some(FailureReason::ContentRejected),
    None,
];

/// Share of all messages from which a reason matters: senders of mail keep bounces below 2 %, and some accounts that lose
/// a message now and then are normal.
const MATTERS: f64 = 0.02;

/// Share of lost messages that makes the delivery low: the health is no longer HIGH.
const LOW_DELIVERY: f64 = 0.05;

/// Families of tests of one diagnosis: four reasons and all losses together, each in two periods. Every family gets this
/// part of the false discovery rate. So a healthy campaign accuses anybody with a probability of at most 5 %.
const FAMILIES: f64 = 10.0;

/// Who differs from the others.
#[derive(Debug, Default)]
pub(super) struct Suspects {
    /// Positions of the parties that lose or lost certainly more than the others, and enough to matter.
    pub differing: Vec<usize>,
    /// Positions of those that still do, the worst first.
    pub blamed: Vec<(usize, BlamedAccount)>,
}

/// The share of lost messages above which a reason, or all together, matters.
pub(super) fn bound(reason: Option<FailureReason>) -> f64 {
    if reason.is_some() { MATTERS } else { LOW_DELIVERY }
}

/// Returns the first days of the periods in which parties can be tested, given the days of all together.
pub(super) fn tested_since(all: &[(Date, Messages)]) -> BTreeSet<Date> {
    let changes = TESTED.map(|reason| Period::LastChange.judge(all, reason).since());
    changes.into_iter().chain([None]).flat_map(|since| periods(all, since)).collect()
}

/// Returns the parties that can be found to differ in any period, for each reason for which there are some.
pub(super) fn suspects<Id: Ord + Clone>(
    all: &[(Date, Messages)],
    since: &MessagesBy<Id>,
) -> BTreeMap<Option<FailureReason>, BTreeSet<Id>> {
    let mut suspects: BTreeMap<Option<FailureReason>, BTreeSet<Id>> = BTreeMap::new();
    let ids: Vec<&Option<Id>> = since.keys().collect();
    let (days, whole) = (tested_since(all), sum(all, None));
    for reason in TESTED.into_iter().filter(|reason| whole.lost(*reason).numerator > 0) {
        for day in &days {
            let share = |since: &BTreeMap<Date, Messages>| since.get(day).copied().unwrap_or_default().lost(reason);
            let shares: Vec<Rate> = since.values().map(share).collect();
            for id in clearly_worse(&shares, bound(reason)).filter_map(|(tested, _)| ids[tested.account].clone()) {
                suspects.entry(reason).or_default().insert(id);
            }
        }
    }
    suspects
}

/// Returns the first days of the two periods in which parties are tested; none without messages.
fn periods(all: &[(Date, Messages)], since: Option<Date>) -> impl Iterator<Item = Date> {
    let first = all.last().map(|(last, _)| last.saturating_sub((TESTED_DAYS - 1).days()));
    // A change before `first` is `since` < `first`; without a change, `None` is less than any day.
    [first.max(since), recent_since(all)].into_iter().flatten()
}

/// Tests everyone against the rest. Returns those that differ with a share above `bound`, with their p-values over all
/// families.
fn clearly_worse(shares: &[Rate], bound: f64) -> impl Iterator<Item = (TestedAccount, f64)> {
    let matters = move |own: Rate| own.ratio().is_some_and(|share| share > bound);
    // Mostly nobody loses enough to matter. Then tests would take a fifth of a diagnosis for nothing.
    let tested = if shares.iter().any(|own| matters(*own)) { test_accounts(shares) } else { Vec::new() };
    let tested = tested.into_iter().filter(move |tested| tested.is_blamed && matters(tested.own));
    let tested = tested.map(|tested| (tested, tested.adjusted_p_value * FAMILIES));
    tested.filter(|(_, p_value)| *p_value <= FALSE_DISCOVERY_RATE)
}

/// Tests every party against the rest in two periods: the time since the last change of the whole, of which the last
/// [`TESTED_DAYS`] count, and the recent past.
///
/// The first makes the most of the data, the second finds an account that failed since yesterday behind 29 good days. A
/// party is blamed if it differs, if its share as it is now is certainly above the bound, and if it sent something in the
/// recent past. Messages without a known account belong to the others and are never blamed.
pub(super) fn find(
    parties: &[Party],
    all: &[(Date, Messages)],
    reason: Option<FailureReason>,
    period: Period,
    since: Option<Date>,
) -> Suspects {
    let mut found: BTreeMap<usize, BlamedAccount> = BTreeMap::new();
    for since in periods(all, since) {
        let shares: Vec<Rate> = parties.iter().map(|party| party.since(since).lost(reason)).collect();
        for (tested, p_value) in clearly_worse(&shares, bound(reason)) {
            let Some(culprit) = parties[tested.account].culprit.clone() else { continue };
            let blamed = BlamedAccount { culprit, share: tested.own, others_share: tested.others, p_value };
            let is_clearer = found.get(&tested.account).is_none_or(|other| p_value < other.p_value);
            if is_clearer {
                found.insert(tested.account, blamed);
            }
        }
    }
    let is_sending = |party: &Party| recent_since(all).is_some_and(|recent| party.since(recent).all > 0);
    let is_now =
        |party: &Party| is_sending(party) && is_certainly_above(period.judge(&party.days, reason).share, bound(reason));
    let mut suspects = Suspects { differing: found.keys().copied().collect(), blamed: Vec::new() };
    suspects.blamed.extend(found.into_iter().filter(|(at, _)| is_now(&parties[*at])));
    let least = |blamed: &BlamedAccount| wilson(blamed.share).map_or(0.0, |interval| interval.lower);
    suspects.blamed.sort_by(|(_, a), (_, b)| least(b).total_cmp(&least(a)));
    suspects
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;
    use crate::{
        diagnosis::{
            finding::Culprit,
            messages::{by_day, messages_since},
            party::parties,
        },
        history::HistoryCounts,
    };

    /// Days with so many lost messages of all. `None` stands for messages without an account.
    type Days<'a> = (Option<&'a str>, &'a [(i64, i64)]);

    fn day(at: i64) -> Date {
        date(2026, 5, 1) + at.days()
    }

    /// Who differs for account issues, and who still does.
    fn found(days: &[Days]) -> Suspects {
        let messages = |&(lost, all): &(i64, i64)| {
            Messages::of(&HistoryCounts {
                delivered: all - lost,
                failed: [lost, 0, 0, 0, 0],
                ..HistoryCounts::default()
            })
        };
        let messages_of: MessagesBy<String> = days
            .iter()
            .map(|(id, days)| (id.map(str::to_owned), (0..).map(day).zip(days.iter().map(messages)).collect()))
            .collect();
        let all = by_day(messages_of.values().flatten());
        let since = messages_since(&messages_of, &tested_since(&all));
        let account = |id: &String| Culprit::Account(format!("workspaces/w/accounts/{id}").parse().unwrap());
        let suspects: BTreeSet<String> = suspects(&all, &since).into_values().flatten().collect();
        let mut known = messages_of;
        known.retain(|id, _| id.as_ref().is_some_and(|id| suspects.contains(id)));
        let parties = parties(&since, &known, account);
        find(&parties, &all, Some(FailureReason::AccountIssue), Period::LastChange, None)
    }

    fn blamed(days: &[Days]) -> Vec<String> {
        found(days).blamed.iter().map(|(_, blamed)| blamed.culprit.id().to_owned()).collect()
    }

    #[test]
    fn the_worst_comes_first() {
        assert_eq!(
            blamed(&[(Some("a"), &[(20, 100)]), (Some("b"), &[(50, 100)]), (Some("c"), &[(1, 1000)])]),
            ["b", "a"]
        );
    }

    #[test]
    fn what_began_yesterday_is_found_behind_many_days() {
        let healthy = [(3, 100); 60];
        let mut days = healthy;
        days[59] = (60, 100);
        let found = found(&[(Some("new"), &days), (Some("one"), &healthy), (Some("other"), &healthy)]);
        assert_eq!(found.blamed.len(), 1);
        assert_eq!(found.blamed[0].1.share, Rate { numerator: 78, denominator: 700 }, "of seven days");
    }

    #[test]
    fn what_was_lost_before_the_tested_days_is_nobodys_fault() {
        let healthy = [(1, 40); 60];
        let differing = |until: usize| {
            let mut days = healthy;
            days[..until].fill((30, 40));
            found(&[(Some("repaired"), &days), (Some("one"), &healthy), (Some("other"), &healthy)]).differing
        };
        assert_eq!((differing(30), differing(32)), (vec![], vec![2]));
    }

    #[test]
    fn what_is_over_is_nobodys_fault_now() {
        let healthy = [(0, 50); 30];
        let mut repaired = healthy;
        repaired[..10].fill((40, 50));
        let stopped = [(40, 50); 10];
        let found =
            found(&[(Some("a"), &repaired), (Some("b"), &stopped), (Some("healthy"), &healthy), (None, &healthy)]);
        assert_eq!((found.differing, found.blamed.len()), (vec![1, 2], 0), "the unknown account comes first");
    }

    #[test]
    fn messages_without_an_account_are_not_blamed() {
        assert!(blamed(&[(None, &[(50, 100)]), (Some("a"), &[(0, 100)])]).is_empty());
        assert!(blamed(&[]).is_empty());
    }

    #[test]
    fn a_difference_that_does_not_matter_is_none() {
        let differing = |lost| found(&[(Some("a"), &[(lost, 10_000)]), (Some("b"), &[(10, 10_000)])]).differing;
        assert_eq!((differing(200), differing(201)), (vec![], vec![0]));
    }
}
