//! Who loses messages: accounts of a campaign, or campaigns of an account, each against all others.

use std::collections::BTreeMap;

use jiff::civil::Date;

use super::{
    finding::BlamedAccount,
    messages::{recent_since, sum},
    party::{Party, together},
    regime::{Period, is_certainly_above},
};
use crate::{
    lead::FailureReason,
    rate::Rate,
    statistics::{FALSE_DISCOVERY_RATE, test_accounts, wilson},
};

/// Families of tests of one diagnosis: four reasons and all losses together, each in two periods. Every family gets this
/// part of the false discovery rate. So a healthy campaign accuses anybody with a probability of at most 5 %.
const FAMILIES: f64 = 10.0;

/// Who differs from the others.
#[derive(Debug, Default)]
pub(super) struct Suspects {
    /// Positions of the parties that lose or lost certainly more than the others.
    pub differing: Vec<usize>,
    /// Positions of those that still do, the worst first.
    pub blamed: Vec<(usize, BlamedAccount)>,
}

/// Tests every party against the rest in two periods: the time since the last change of the whole, and the recent past.
///
/// The first makes the most of the data, the second finds an account that failed since yesterday behind 89 good days. A
/// party is blamed if it differs, if its share as it is now is certainly above `bound`, and if it sent something in the
/// recent past. Messages without a known account belong to the others and are never blamed.
pub(super) fn find(
    parties: &[Party],
    reason: Option<FailureReason>,
    bound: f64,
    period: Period,
    since: Option<Date>,
) -> Suspects {
    let recent = recent_since(&together(parties));
    let mut found: BTreeMap<usize, BlamedAccount> = BTreeMap::new();
    for since in [since, recent] {
        let shares: Vec<Rate> = parties.iter().map(|party| sum(&party.days, since).lost(reason)).collect();
        for tested in test_accounts(&shares).into_iter().filter(|tested| tested.is_blamed) {
            let p_value = tested.adjusted_p_value * FAMILIES;
            let Some(culprit) = parties[tested.account].culprit.clone().filter(|_| p_value <= FALSE_DISCOVERY_RATE)
            else {
                continue;
            };
            let blamed = BlamedAccount { culprit, share: tested.own, others_share: tested.others, p_value };
            let is_clearer = found.get(&tested.account).is_none_or(|other| p_value < other.p_value);
            if is_clearer {
                found.insert(tested.account, blamed);
            }
        }
    }
    let is_now = |party: &Party| {
        is_certainly_above(period.judge(&party.days, reason).share, bound) && sum(&party.days, recent).all > 0
    };
    let mut suspects = Suspects { differing: found.keys().copied().collect(), blamed: Vec::new() };
    suspects.blamed.extend(found.into_iter().filter(|(at, _)| is_now(&parties[*at])));
    let least = |blamed: &BlamedAccount| wilson(blamed.share).map_or(0.0, |interval| interval.lower);
    suspects.blamed.sort_by(|(_, a), (_, b)| least(b).total_cmp(&least(a)));
    suspects
}

#[cfg(test)]
mod tests {
    use jiff::{ToSpan as _, civil::date};

    use super::*;
    use crate::{
        diagnosis::{finding::Culprit, messages::Messages},
        history::HistoryCounts,
    };

    /// A party that loses so many messages of each day.
    fn party(id: Option<&str>, days: &[(i64, i64)]) -> Party {
        let messages = |&(lost, all): &(i64, i64)| {
            Messages::of(&HistoryCounts {
                delivered: all - lost,
                failed: [lost, 0, 0, 0, 0],
                ..HistoryCounts::default()
            })
        };
        let culprit = id.map(|id| Culprit::Account(format!("workspaces/w/accounts/{id}").parse().unwrap()));
        let day = |at: i64| date(2026, 5, 1) + at.days();
        Party { culprit, days: (0..).zip(days).map(|(at, day_counts)| (day(at), messages(day_counts))).collect() }
    }

    fn blamed(parties: &[Party]) -> Vec<String> {
        let suspects = find(parties, Some(FailureReason::AccountIssue), 0.02, Period::LastChange, None);
        suspects.blamed.iter().map(|(_, blamed)| blamed.culprit.id().to_owned()).collect()
    }

    #[test]
    fn the_worst_comes_first() {
        let parties = [party(Some("a"), &[(20, 100)]), party(Some("b"), &[(50, 100)]), party(Some("c"), &[(1, 1000)])];
        assert_eq!(blamed(&parties), ["b", "a"]);
    }

    #[test]
    fn what_began_yesterday_is_found_behind_many_days() {
        let mut days = vec![(3, 100); 60];
        let healthy = party(Some("healthy"), &days);
        days[59] = (60, 100);
        let parties = [party(Some("new"), &days), healthy.clone(), healthy];
        let found = find(&parties, Some(FailureReason::AccountIssue), 0.02, Period::LastChange, None);
        assert_eq!(found.blamed.len(), 1);
        assert_eq!(found.blamed[0].1.share, Rate { numerator: 78, denominator: 700 }, "of seven days");
    }

    #[test]
    fn what_is_over_is_nobodys_fault_now() {
        let healthy = vec![(0, 50); 30];
        let mut repaired = healthy.clone();
        repaired[..10].fill((40, 50));
        let stopped = vec![(40, 50); 10];
        let parties = [
            party(Some("repaired"), &repaired),
            party(Some("stopped"), &stopped),
            party(Some("healthy"), &healthy),
            party(None, &healthy),
        ];
        let found = find(&parties, Some(FailureReason::AccountIssue), 0.02, Period::LastChange, None);
        assert_eq!((found.differing, found.blamed.len()), (vec![0, 1], 0));
    }

    #[test]
    fn messages_without_an_account_are_not_blamed() {
        assert!(blamed(&[party(None, &[(50, 100)]), party(Some("a"), &[(0, 100)])]).is_empty());
        assert!(blamed(&[]).is_empty());
    }

    #[test]
    fn a_difference_that_does_not_matter_blames_nobody() {
        let parties = [party(Some("a"), &[(150, 10_000)]), party(Some("b"), &[(10, 10_000)])];
        assert!(blamed(&parties).is_empty());
    }
}
