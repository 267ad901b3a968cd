//! Tests of the texts of a history.

use super::*;
use crate::answer::testing::assert_fits;

fn reasons(counts: &[(pb::FailureReason, i64)]) -> Vec<pb::ReasonCount> {
    let is_some = |(_, count): &&(pb::FailureReason, i64)| *count != 0;
    let one = |&(reason, count): &(pb::FailureReason, i64)| pb::ReasonCount { reason: reason.into(), count };
    counts.iter().filter(is_some).map(one).collect()
}

fn day(day: &str, account: &str, delivered: i64, failed: i64, bounced: i64, leads: i64) -> pb::HistoryDay {
    let account = if account.is_empty() { String::new() } else { format!("workspaces/acme/accounts/{account}") };
    let mut replied = vec![0; 31];
    (replied[0], replied[30]) = (leads / 50, leads / 60);
    pb::HistoryDay {
        day: day.to_owned(),
        account,
        counts: Some(pb::HistoryCounts {
            delivered,
            failed: reasons(&[(pb::FailureReason::AccountIssue, failed)]),
            bounced: reasons(&[(pb::FailureReason::InvalidLead, bounced)]),
            contacted_leads: leads,
            converted_leads_by_age: vec![leads / 100],
            replied_leads_by_age: replied,
        }),
    }
}

/// Monday, 2026-03-02, 10:52.
const AS_OF: prost_types::Timestamp = prost_types::Timestamp { seconds: 1_772_448_720, nanos: 5_000_000 };

fn past(days: &[pb::HistoryDay]) -> Past<'_> {
    Past { command: "campaigns", id: "spring", first: None, last: None, as_of: Some(&AS_OF), days, corrections: None }
}

fn three_days() -> Vec<pb::HistoryDay> {
    vec![
        day("2026-02-24", "", 480, 1, 3, 302),
        day("2026-02-27", "", 130, 350, 0, 90),
        day("2026-03-02", "", 0, 12, 7, 0),
    ]
}

#[test]
fn every_day_is_a_line_with_its_numbers_and_a_bar() {
    let text = text(&past(&three_days()), Shown::Days, Marks::Blocks);
    let expected = "\
spring from 2026-02-01 to 2026-03-02: 983 messages, 62.1 % delivered (as of
2026-03-02T10:52:00Z).

Delivered          ·······················█··▃···  at most 480
Failed or bounced  ·······················▁··█··▁  at most 350
Leads contacted    ·······················█··▃···  at most 302

DAY         DELIVERED  FAILED  BOUNCED  LEADS  REPLIED  CONVERTED
2026-02-24        480       1        3    302       11          3  ████████████░
2026-02-27        130     350        0     90        2          0  ███░░░░░░░░░░
2026-03-02          0      12        7      0        0          0  ░
TOTAL             610     363       10    392       13          3

Failed or bounced: 363 ACCOUNT_ISSUE, 10 INVALID_LEAD

Find out why: campaignctl campaigns diagnose spring
";
    assert_eq!(text, expected);
    assert_fits(&text);
}

#[test]
fn ascii_and_plain_texts_have_the_same_numbers() {
    let days = three_days();
    let ascii = text(&past(&days), Shown::Days, Marks::Ascii);
    assert!(ascii.is_ascii() && ascii.contains("Delivered          .......................@..=..."), "{ascii}");
    assert!(ascii.contains("3  ############-\n"), "{ascii}");
    let plain = text(&past(&days), Shown::Days, Marks::None);
    assert!(plain.is_ascii() && !plain.contains("##") && !plain.contains("at most"), "{plain}");
    assert!(plain.contains("2026-02-27        130     350        0     90        2          0\n"), "{plain}");
}

#[test]
fn a_day_without_counts_is_on_the_axis_and_none_at_all_is_said() {
    let days = [day("2026-02-28", "", 1, 0, 0, 1)];
    let first = Some(Date::constant(2026, 2, 27));
    let one = Past { first, last: Some(Date::constant(2026, 3, 1)), ..past(&days) };
    let shown = text(&one, Shown::Days, Marks::Ascii);
    assert!(shown.starts_with("spring from 2026-02-27 to 2026-03-01: 1 message, 100 % delivered (as of"), "{shown}");
    assert!(shown.contains("Delivered          .@.  at most 1\n"), "{shown}");
    assert!(!shown.contains("Find out why"), "nothing failed: {shown}");

    let none = text(&past(&[]), Shown::Days, Marks::Blocks);
    assert_eq!(
        none,
        "Nothing happened in spring from 2026-02-01 to 2026-03-02 (as of\n2026-03-02T10:52:00Z).\n\n\
         Find out why: campaignctl campaigns diagnose spring\n"
    );
    let one_day = Past { last: first, ..Past { first, ..past(&[]) } };
    assert!(text(&one_day, Shown::Days, Marks::Blocks).starts_with("Nothing happened in spring on 2026-02-27 (as of"));
}

#[test]
fn every_account_is_a_line_with_its_own_sparklines() {
    let days = [
        day("2026-02-28", "ann", 300, 0, 0, 70),
        day("2026-02-28", "bob", 12, 0, 1, 4),
        day("2026-03-01", "ann", 0, 299, 0, 0),
        day("2026-03-02", "", 5, 0, 0, 5),
        day("2026-03-02", "bob", 25, 0, 0, 11),
    ];
    let past = Past { first: Some(Date::constant(2026, 2, 27)), ..past(&days) };
    let expected = "\
spring from 2026-02-27 to 2026-03-02: 642 messages, 53.3 % delivered (as of
2026-03-02T10:52:00Z).

ACCOUNT       MESSAGES  DELIVERY  LEADS  REPLIED  DELIVERED  LOST
(no account)         5     100 %      5        0  ...@       ....
ann                599    50.1 %     70        2  .@..       ..@.
bob                 38    97.4 %     15        0  .+.@       .:..
TOTAL              642    53.3 %     90        2

LOST: failed or bounced. Each mark is 1 day; every account has its own scale.

Failed or bounced: 299 ACCOUNT_ISSUE, 1 INVALID_LEAD

Find out why: campaignctl campaigns diagnose spring
";
    let shown = text(&past, Shown::Accounts, Marks::Ascii);
    assert_eq!(shown, expected);
    let plain = text(&past, Shown::Accounts, Marks::None);
    assert!(plain.contains("ann                599    50.1 %     70        2\n") && !plain.contains("LOST"), "{plain}");
}

#[test]
fn corrections_that_belong_to_no_day_are_told_apart() {
    let counts = pb::HistoryCounts {
        delivered: -3,
        bounced: reasons(&[(pb::FailureReason::InvalidLead, 2)]),
        contacted_leads: -1,
        ..pb::HistoryCounts::default()
    };
    let days = [day("2026-02-28", "", 1, 0, 0, 1)];
    let text = text(&Past { corrections: Some(&counts), ..past(&days) }, Shown::Days, Marks::Ascii);
    assert!(
        text.contains("\n\nCorrections to days") && text.ends_with(": delivered -3, bounced +2, leads -1.\n"),
        "{text}"
    );
    assert_fits(&text);
}

#[test]
fn a_year_of_large_numbers_fits_into_80_columns() {
    let first = Date::constant(2025, 1, 27);
    let name = "a.very.long.name.".repeat(6);
    let days: Vec<_> = first
        .series(1.day())
        .take(400)
        .map(|date| day(&date.to_string(), &name, 9_000_000, 800_000, 70_000, 6_000_000))
        .collect();
    let past = Past { first: Some(first), ..past(&days) };
    for marks in [Marks::Blocks, Marks::Ascii, Marks::None] {
        for shown in [Shown::Days, Shown::Accounts] {
            assert_fits(&text(&past, shown, marks));
        }
    }
    let shown = text(&past, Shown::Days, Marks::Blocks);
    assert!(shown.contains("Each mark is 10 days."), "{shown}");
    let shown = text(&past, Shown::Accounts, Marks::Blocks);
    assert!(shown.contains("Each mark is 67 days") && shown.contains("a.very.l.."), "{shown}");
}
