//! Diagnoses of accounts: their parties are campaigns.

use super::*;
use crate::{name::CampaignId, not_sending::NotSending};

fn account(days: Vec<(Option<&str>, i64, HistoryCounts)>) -> AccountFacts {
    let mut by_campaign = MessagesBy::<CampaignId>::new();
    for (campaign, at, counts) in days {
        let days = by_campaign.entry(campaign.map(|id| id.parse().unwrap())).or_default();
        days.entry(day(at)).or_default().add(Messages::of(&counts));
    }
    AccountFacts {
        name: "workspaces/w/accounts/anna".parse().unwrap(),
        state: AccountState::Active,
        daily_limit: Some(500),
        reserved_today: 20,
        campaigns: 2,
        by_campaign,
    }
}

fn in_campaigns(campaigns: &[Option<&'static str>], counts: impl Fn(i64, usize) -> HistoryCounts) -> AccountFacts {
    let all = (0..30).flat_map(|at| campaigns.iter().enumerate().map(move |(index, campaign)| (at, index, *campaign)));
    account(all.map(|(at, index, campaign)| (campaign, at, counts(at, index))).collect())
}

fn found(facts: &AccountFacts) -> Vec<Finding> {
    diagnose_account(facts, as_of()).findings
}

#[test]
fn a_bad_list_is_found_in_its_campaign() {
    let facts = in_campaigns(&[Some("spring"), Some("autumn"), None], |_, campaign| match campaign {
        1 => sent(30, [0, 10, 0, 0, 0]),
        _ => sent(50, [0; 5]),
    });
    let found = found(&facts);
    assert_eq!(kinds(&found), [FindingKind::InvalidLeads, FindingKind::LowDelivery]);
    assert_eq!(found[0].accounts[0].culprit.to_string(), "workspaces/w/campaigns/autumn");
    assert_eq!(
        found[0].summary,
        "It loses 25.0 % (300 of 1200) of the messages of campaign `autumn`, of the others 0 % (0 of 3000), because of \
         invalid leads."
    );
}

#[test]
fn a_blocked_account_loses_messages_in_all_campaigns() {
    let facts = in_campaigns(&[Some("spring"), Some("autumn"), None], |at, _| match at {
        25.. => sent(1, [39, 0, 0, 0, 0]),
        _ => sent(40, [0; 5]),
    });
    let found = found(&facts);
    assert_eq!(kinds(&found), [FindingKind::AccountIssues, FindingKind::LowDelivery]);
    assert_eq!((found[0].severity, found[0].accounts.len()), (Severity::Critical, 0));
    assert_eq!(found[0].change.map(|change| change.since), Some(day(25)));
    assert!(found[0].summary.contains("No campaign stands out."), "{}", found[0].summary);
    assert_eq!(found[0].action, "Check the status of the account, and review the errors.");
}

#[test]
fn its_own_volume_shows_the_rate_limit() {
    let facts = in_campaigns(&[Some("spring"), Some("autumn")], |at, _| {
        let volume = 150 + at * 7 % 100;
        sent(volume.min(200), [0, 0, (volume - 200).max(0), 0, 0])
    });
    let found = found(&facts);
    assert_eq!(found[0].kind, FindingKind::RateLimiting);
    assert!((390..=410).contains(&found[0].messages_per_day.unwrap()), "{:?}", found[0].messages_per_day);
}

#[test]
fn an_account_that_is_granted_nothing_says_why() {
    let reasons = |change: fn(&mut AccountFacts)| {
        let mut facts = in_campaigns(&[Some("spring")], |_, _| sent(40, [0; 5]));
        change(&mut facts);
        let found = found(&facts);
        found.into_iter().map(|finding| (finding.severity, finding.not_sending, finding.summary)).collect::<Vec<_>>()
    };
    assert_eq!(reasons(|_| ()), []);
    assert_eq!(reasons(|facts| facts.daily_limit = None), []);
    let [(severity, not_sending, summary)] = &reasons(|facts| facts.reserved_today = 500)[..] else { panic!("one") };
    assert_eq!((severity, &not_sending[..]), (&Severity::Info, &[NotSending::AccountDailyLimit][..]));
    assert!(
        summary.ends_with("its daily limit is used up. This changes by itself on its next local day."),
        "{summary}"
    );
    let [(severity, _, summary)] = &reasons(|facts| facts.daily_limit = Some(0))[..] else { panic!("one") };
    assert_eq!(*severity, Severity::Warning);
    assert!(summary.ends_with("its daily limit is 0. This does not change by itself."), "{summary}");
    let [(severity, not_sending, _)] = &reasons(|facts| {
        (facts.state, facts.campaigns, facts.reserved_today) = (AccountState::Suspended, 0, 500);
    })[..] else {
        panic!("one")
    };
    assert_eq!(*severity, Severity::Warning);
    assert_eq!(
        not_sending,
        &[NotSending::AccountDailyLimit, NotSending::AccountSuspended, NotSending::NoAccountAssigned]
    );
}

#[test]
fn an_account_with_few_messages_says_how_many_are_missing() {
    let few = |facts: AccountFacts| diagnose_account(&facts, as_of());
    let never = few(account(Vec::new()));
    assert_eq!((never.findings.len(), never.open_questions.len()), (0, 1));
    assert_eq!((never.open_questions[0].have, never.open_questions[0].expected), (0, None));
    let some = || account(vec![(Some("spring"), 29, sent(7, [1, 0, 0, 0, 0]))]);
    let one = few(some()).open_questions.remove(0);
    // 8 messages in the two days up to today: 12 more take three days.
    assert_eq!((one.have, one.need, one.expected), (8, 20, "2026-07-04T12:00:00Z".parse().ok()));
    assert_eq!(
        one.summary,
        "Whether messages are lost can't be said yet: 8 of the 20 messages that are needed have a result; the rest is \
         expected by 2026-07-04 12:00 UTC."
    );
    assert_eq!(few(AccountFacts { state: AccountState::Suspended, ..some() }).open_questions[0].expected, None);
    assert_eq!(few(AccountFacts { campaigns: 0, ..some() }).open_questions[0].expected, None);
}
