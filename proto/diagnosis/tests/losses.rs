//! Messages that are lost: why, where, since when.

use super::*;
use FindingKind::{AccountIssues, ContentRejected, InvalidLeads, LowDelivery, RateLimiting};

/// Every account loses 1 of 100 messages a day.
const HEALTHY: [i64; 5] = [0, 1, 0, 0, 0];

#[test]
fn one_blocked_account_is_named_with_its_day() {
    let found = findings(rows(30, 5, |at, account| match (at, account) {
        (20.., 1) => sent(10, [90, 0, 0, 0, 0]),
        _ => sent(99, HEALTHY),
    }));
    assert_eq!(kinds(&found), [AccountIssues, LowDelivery]);
    let cause = &found[0];
    assert_eq!((blamed(cause), cause.severity), (vec!["b"], Severity::Warning));
    assert_eq!(cause.accounts[0].culprit.to_string(), "workspaces/w/accounts/b");
    assert_eq!((cause.accounts[0].share, cause.accounts[0].others_share), (rate(900, 1000), rate(0, 4000)));
    let change = cause.change.unwrap();
    assert_eq!((change.since, change.before, change.after), (day(20), rate(0, 2000), rate(900, 1000)));
    assert_eq!(cause.share, Some(rate(900, 5000)), "of the campaign since then");
    assert_eq!(
        cause.summary,
        "Account `b` loses 90.0 % (900 of 1000) of its messages, the others 0 % (0 of 4000), because of account \
         issues. Since 2026-06-21 it is 90.0 %, before it was 0 %."
    );
    assert_eq!(cause.action, "Check the status of `b`, and review the errors.");
    assert_eq!(found[1].share, Some(rate(4060, 5000)));
    assert_eq!(
        found[1].summary,
        "Since 2026-06-21 only 81.2 % (4060 of 5000) of the messages are delivered, before it was 99.00 %. Lost because \
         of account issues 18.0 %, invalid leads 0.80 %."
    );
}

#[test]
fn a_bad_list_has_no_culprit_and_no_day() {
    let found = findings(rows(30, 5, |at, _| sent(80 + at % 2, [0, 20 - at % 2, 0, 0, 0])));
    assert_eq!(kinds(&found), [InvalidLeads, LowDelivery]);
    assert_eq!((blamed(&found[0]).len(), found[0].change, found[0].share), (0, None, Some(rate(2925, 15_000))));
    assert_eq!(
        found[0].summary,
        "19.5 % (2925 of 15000) of the messages are lost because of invalid leads. No account stands out."
    );
    assert_eq!(found[0].action, "Refresh the lead collection.");
}

#[test]
fn several_accounts_are_named_the_worst_first() {
    let found = findings(rows(30, 6, |_, account| match account {
        4 => sent(70, [0, 0, 0, 30, 0]),
        2 => sent(50, [0, 0, 0, 50, 0]),
        _ => sent(100, [0; 5]),
    }));
    assert_eq!(kinds(&found), [ContentRejected, LowDelivery]);
    assert_eq!(blamed(&found[0]), ["c", "e"]);
    assert_eq!(
        found[0].summary,
        "2 accounts lose messages (`c` and `e`), the worst 50.0 % (1500 of 3000) of its messages, the others 6.0 % (900 \
         of 15000) of theirs, because of refused content."
    );
    assert!(found[0].action.starts_with("Review the message for spam triggers. Other accounts"), "{}", found[0].action);
}

#[test]
fn a_cause_in_all_accounts_names_the_worst_as_well() {
    let found =
        findings(rows(
            30,
            5,
            |_, account| {
                if account == 3 { sent(40, [0, 0, 0, 60, 0]) } else { sent(80, [0, 0, 0, 20, 0]) }
            },
        ));
    assert_eq!((found[0].kind, blamed(&found[0])), (ContentRejected, vec!["d"]));
    assert!(found[0].summary.ends_with("because of refused content, in all accounts and most of all in `d`."));
}

#[test]
fn a_delivery_that_is_certainly_low_is_critical() {
    let severity = |lost: i64| {
        let found = findings(rows(10, 2, |_, _| sent(100 - lost, [0, 0, 0, lost, 0])));
        found.iter().map(|finding| finding.severity).collect::<Vec<_>>()
    };
    assert_eq!(severity(17), [Severity::Warning; 2]);
    assert_eq!(severity(21), [Severity::Warning; 2], "the interval holds a fifth");
    assert_eq!(severity(23), [Severity::Critical; 2]);
}

#[test]
fn larger_losses_come_first() {
    let found = findings(rows(10, 2, |_, _| sent(80, [5, 10, 0, 7, 0])));
    assert_eq!(kinds(&found), [InvalidLeads, ContentRejected, AccountIssues, LowDelivery]);
}

#[test]
fn what_is_over_or_small_is_no_finding() {
    let over = |at: i64| if (5..15).contains(&at) { sent(40, [0, 60, 0, 0, 0]) } else { sent(99, HEALTHY) };
    assert_eq!(kinds(&findings(rows(30, 3, |at, _| over(at)))), []);
    assert_eq!(kinds(&findings(rows(30, 3, |_, _| sent(98, [0, 2, 0, 0, 0])))), [], "2 % is not certainly above 2 %");
    assert_eq!(kinds(&findings(rows(1, 1, |_, _| sent(9, [0, 9, 0, 0, 0])))), [], "18 messages are too few");
    assert_ne!(kinds(&findings(rows(1, 1, |_, _| sent(10, [0, 10, 0, 0, 0])))), []);
}

#[test]
fn late_bounces_after_the_end_are_no_rise() {
    let bounced = |count| HistoryCounts { bounced: [0, count, 0, 0, 0], ..HistoryCounts::default() };
    let found = findings(rows(30, 3, |at, _| match at {
        // Weekends, and three days after the last message.
        5 | 6 | 12 | 13 | 19 | 20 | 27.. => bounced(8),
        _ => HistoryCounts { delivered: 985, ..bounced(12) },
    }));
    assert_eq!(kinds(&found), []);
}

#[test]
fn losses_without_a_known_reason_make_the_delivery_low() {
    let found = findings(rows(10, 2, |_, _| sent(90, [0, 0, 0, 0, 10])));
    assert_eq!(kinds(&found), [LowDelivery]);
    assert_eq!(
        found[0].summary,
        "Only 90.0 % (1800 of 2000) of the messages are delivered. Lost because of other reasons 10.0 %."
    );
    // An account that loses all for other reasons is named even where the whole is healthy.
    let found = findings(rows(10, 10, |_, account| match account {
        7 => sent(5, [0, 0, 0, 0, 5]),
        _ => sent(1000, [0; 5]),
    }));
    assert_eq!((kinds(&found), blamed(&found[0])), (vec![LowDelivery], vec!["h"]));
    assert_eq!(found[0].share, Some(rate(90_050, 90_100)));
    assert!(
        found[0].summary.starts_with("Account `h` loses 50.0 % (50 of 100) of its messages"),
        "{}",
        found[0].summary
    );
}

#[test]
fn a_healthy_campaign_with_one_bad_account_has_no_low_delivery() {
    let found = findings(rows(10, 10, |_, account| match account {
        7 => sent(5, [5, 0, 0, 0, 0]),
        _ => sent(1000, [0; 5]),
    }));
    assert_eq!((kinds(&found), blamed(&found[0])), (vec![AccountIssues], vec!["h"]));
}

#[test]
fn rate_limits_show_the_volume_above_which_they_begin() {
    let volume = |at: i64, account: i64| 210 + (at * 37 + account * 53) % 400;
    let limited = |volume: i64| sent(volume.min(400), [0, 0, (volume - 400).max(0), 0, 0]);
    let found = findings(rows(30, 4, |at, account| limited(volume(at, account.try_into().unwrap()))));
    assert_eq!(kinds(&found), [RateLimiting, LowDelivery]);
    let limit = found[0].messages_per_day.unwrap();
    assert!((390..=408).contains(&limit), "{limit}");
    assert!(found[0].summary.ends_with(&format!("Messages are lost above {limit} messages a day of one account.")));
    assert_eq!(found[0].action, format!("Reduce the daily limit of the accounts to at most {limit} messages."));
}

#[test]
fn rate_limits_blame_no_account_that_sends_more_and_tell_no_day_on_which_more_was_sent() {
    let limited = |volume: i64| sent(volume.min(400), [0, 0, (volume - 400).max(0), 0, 0]);
    let volume = |at: i64, account| (if at < 20 { 350 } else { 420 }) + at + if account == 1 { 300 } else { 0 };
    let found = findings(rows(30, 4, |at, account| limited(volume(at, account))));
    assert_eq!(kinds(&found), [RateLimiting, LowDelivery]);
    for finding in &found {
        assert_eq!((blamed(finding).len(), finding.change), (0, None), "{finding:?}");
    }
    let lost = found[0].share.unwrap();
    assert_eq!(found[1].share, Some(Rate { numerator: lost.denominator - lost.numerator, ..lost }), "of the same days");
}

#[test]
fn a_slow_day_is_no_end_of_rate_limits_and_a_week_below_them_is() {
    let limited = |volume: i64| sent(volume.min(400), [0, 0, (volume - 400).max(0), 0, 0]);
    let weekly = |days| findings(rows(days, 3, |at, _| limited(if at % 7 < 5 { 500 + at } else { 150 })));
    assert_eq!(weekly(28)[0].messages_per_day, Some(150), "after a slow weekend");
    let reduced = findings(rows(28, 3, |at, _| limited(if at < 20 { 500 + at } else { 350 + at })));
    assert_eq!(kinds(&reduced), [], "nothing was limited for 8 days");
}

#[test]
fn the_volume_of_an_account_includes_other_campaigns() {
    // Each day 100 messages here; elsewhere enough that the account is above 400 on every third day.
    let is_above = |at: i64| at % 3 == 0;
    let days = rows(30, 2, |at, _| if is_above(at) { sent(70, [0, 0, 30, 0, 0]) } else { sent(100, [0; 5]) });
    let days_of_two = (0..60).map(|at| at / 2).map(|at| AccountDay {
        volume: if is_above(at) { 420 + at } else { 300 + at },
        limited: rate(if is_above(at) { 30 } else { 0 }, 100),
    });
    let facts = CampaignFacts { account_days: days_of_two.collect(), ..campaign(days.clone()) };
    let limit = |facts| diagnose_campaign(&facts, as_of()).findings[0].messages_per_day;
    assert_eq!(limit(facts), Some(329));
    assert_eq!(limit(campaign(days)), None, "every day looks alike");
}
