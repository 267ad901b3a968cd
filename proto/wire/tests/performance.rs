//! What performance is asked for, at every bound, and the rendering of history, accounts and totals field by field.

use jiff::civil::Date;

use super::{super::performance::parse_day, *};
use crate::{
    account::AccountPerformance,
    campaign::LeadCounts,
    history::{AGE_MAX, AgeCounts, CampaignAccount, HistoryCounts, HistoryDay, WorkspaceTotals},
    name::CampaignId,
};

fn now() -> Timestamp {
    "2026-03-02T10:00:00Z".parse().unwrap()
}

fn day(text: &str) -> Date {
    text.parse().unwrap()
}

#[test]
fn a_day_is_written_in_one_form_and_lies_in_the_years_2000_to_9999() {
    for text in ["2000-01-01", "2024-02-29", "2026-03-02", "9999-12-31"] {
        assert_eq!(parse_day("last_day", text).unwrap(), Some(day(text)));
    }
    assert_eq!(parse_day("last_day", "").unwrap(), None);
    for bad in [
        "1999-12-31",
        "0000-01-01",
        "2026-02-29",
        "2026-13-01",
        "2026-00-01",
        "2026-01-00",
        "2026-3-2",
        "20260302",
        "2026-03-02 ",
        " 2026-03-02",
        "2026-03-02T00:00",
        "2026/03/02",
        "2026-W10-1",
        "-026-03-02",
        "+026-03-02",
        "10000-01-01",
        "today",
        "2026-03-é",
        "２026-03-02",
    ] {
        let invalid = parse_day("first_day", bad).expect_err(bad);
        assert_eq!(invalid.field, "first_day");
        let says = format!("`{bad}` is no UTC day of the years 2000 to 9999; write it as in 2026-03-02");
        assert_eq!(invalid.problem, says);
    }
    let long = parse_day("first_day", &"9".repeat(1000)).expect_err("it is refused").to_string();
    assert!(long.len() < 200, "the size of an error is bounded: {long}");
}

#[test]
fn a_history_has_30_days_by_default_and_400_at_most() {
    for (first, last, expected) in [
        ("", "", ("2026-02-01", "2026-03-02")),
        ("", "2024-03-01", ("2024-02-01", "2024-03-01")),
        ("2026-03-02", "", ("2026-03-02", "2026-03-02")),
        ("2025-01-27", "", ("2025-01-27", "2026-03-02")),
        ("2023-01-01", "2024-02-04", ("2023-01-01", "2024-02-04")),
        ("2027-01-01", "2027-01-01", ("2027-01-01", "2027-01-01")),
        ("", "2000-01-01", ("1999-12-03", "2000-01-01")),
        ("9999-12-31", "9999-12-31", ("9999-12-31", "9999-12-31")),
    ] {
        let (from, to) = history_range(first, last, now()).unwrap();
        assert_eq!((from, to), (day(expected.0), day(expected.1)), "{first} {last}");
    }
    let days = |(first, last): (Date, Date)| (last - first).get_days() + 1;
    assert_eq!(days(history_range("2023-01-01", "2024-02-04", now()).unwrap()), 400);
    for (first, last, names, says) in [
        ("2026-03-03", "", "first_day", "2026-03-03 is after the last day, 2026-03-02; choose an earlier one"),
        ("2026-03-02", "2026-03-01", "first_day", "2026-03-02 is after the last day, 2026-03-01"),
        ("2025-01-26", "", "first_day", "2025-01-26 to 2026-03-02 are 401 days, at most 400 fit in one call"),
        (
            "2000-01-01",
            "9999-12-31",
            "first_day",
            "are 2921940 days, at most 400 fit in one call; ask for them in parts",
        ),
        ("x", "y", "first_day", "`x` is no UTC day"),
        ("", "2026-02-30", "last_day", "`2026-02-30` is no UTC day"),
    ] {
        let invalid = history_range(first, last, now()).expect_err(first);
        assert!(invalid.field == names && invalid.problem.contains(says), "{first} {last}: {invalid}");
    }
}

#[test]
fn sizes_ages_and_campaigns_to_compare_end_at_their_bounds() {
    for (asked, taken) in [(0, 400), (1, 1), (400, 400), (1000, 1000), (1001, 1000), (i32::MAX, 1000)] {
        assert_eq!(history_page_size(asked).unwrap(), taken);
    }
    let invalid = history_page_size(-1).expect_err("it is refused");
    assert_eq!(invalid.to_string(), "page_size: must not be negative; leave it out for 400");
    assert_eq!(page_size(-1).expect_err("it is refused").problem, "must not be negative; leave it out for 100");

    for (asked, taken) in [(0, 7), (1, 1), (3, 3), (7, 7), (14, 14), (30, 30)] {
        assert_eq!(age_days(asked).unwrap(), taken);
    }
    for bad in [-1, 2, 8, 29, 31, 256 + 7, i32::MIN, i32::MAX] {
        assert_eq!(field(age_days(bad)), "age_days", "{bad}");
    }
    assert!(age_days(2).expect_err("it is refused").problem.contains("is 2, but must be 1, 3, 7, 14 or 30"));

    let names = |count: usize| (0..count).map(|number| format!("workspaces/acme/campaigns/c{number}")).collect();
    let compared = |names: Vec<String>| compared_campaigns(&names, &workspace());
    let ids = |ids: Vec<CampaignId>| ids.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(ids(compared(names(2)).unwrap()), ["c0", "c1"]);
    assert_eq!(compared(names(20)).unwrap().len(), 20);
    for count in [0, 1, 21] {
        let says = format!("campaigns: has {count} entries, but 2 to 20 can be compared in one call");
        assert_eq!(compared(names(count)).expect_err("it is refused").to_string(), says);
    }
    for (bad, says) in [
        ("c1", "campaigns[1]: `c1` must have the form `workspaces/{workspace}/campaigns/{campaign}`"),
        ("", "campaigns[1]: is required"),
        ("workspaces/acme/accounts/c1", "campaigns[1]: `workspaces/acme/accounts/c1` must have the form"),
        ("workspaces/acme/campaigns/C1", "campaigns[1]: `C1` must be 1 to 253"),
        ("workspaces/other/campaigns/c1", "campaigns[1]: belongs to another workspace than `parent`"),
        ("workspaces/acme/campaigns/c0", "campaigns[1]: `workspaces/acme/campaigns/c0` is listed twice; name it once"),
    ] {
        let refused = compared(vec!["workspaces/acme/campaigns/c0".to_owned(), bad.to_owned()]);
        let invalid = refused.expect_err(bad).to_string();
        assert!(invalid.starts_with(says), "{invalid}");
    }
}

/// Counts that differ from each other, and from those of another base.
fn counts(base: i64) -> HistoryCounts {
    let ages = |from: i64| -> AgeCounts { std::array::from_fn(|age| from + i64::try_from(age).unwrap()) };
    HistoryCounts {
        delivered: base,
        failed: [base + 1, 0, base + 3, base + 4, base + 5],
        bounced: [0, base + 7, base + 8, base + 9, base + 10],
        contacted: base + 11,
        replied: ages(base + 20),
        converted: ages(base + 60),
    }
}

fn reasons(counts: &[pb::ReasonCount]) -> Vec<(pb::FailureReason, i64)> {
    counts.iter().map(|of| (of.reason(), of.count)).collect()
}

#[test]
fn counts_of_a_day_are_rendered_field_by_field() {
    use pb::FailureReason::{AccountIssue, ContentRejected, InvalidLead, Other, RateLimited};
    let shown = pb::HistoryCounts::from(counts(100));
    assert_eq!((shown.delivered, shown.contacted_leads), (100, 111));
    let failed = [(AccountIssue, 101), (RateLimited, 103), (ContentRejected, 104), (Other, 105)];
    assert_eq!(reasons(&shown.failed), failed, "reasons of nothing are left out");
    let bounced = [(InvalidLead, 107), (RateLimited, 108), (ContentRejected, 109), (Other, 110)];
    assert_eq!(reasons(&shown.bounced), bounced);
    assert_eq!(shown.replied_leads_by_age, (120..=150).collect::<Vec<_>>());
    assert_eq!(shown.converted_leads_by_age, (160..=190).collect::<Vec<_>>());
    assert_eq!(pb::HistoryCounts::from(HistoryCounts::default()), pb::HistoryCounts::default());
    let mut late = HistoryCounts::default();
    late.replied[AGE_MAX] = -1;
    let shown = pb::HistoryCounts::from(late);
    assert_eq!((shown.replied_leads_by_age.len(), shown.replied_leads_by_age[30]), (31, -1));
    assert_eq!(shown.converted_leads_by_age, [0; 0]);
}

#[test]
fn days_keep_their_order_and_corrections_are_set_apart() {
    let row = |day: Option<Date>, account: &str, base| HistoryDay {
        day,
        account: account.parse().ok(),
        counts: counts(base),
    };
    let (first, second) = (Some(day("2026-03-01")), Some(day("2026-03-02")));
    let rows = vec![row(None, "", 500), row(first, "", 100), row(first, "ann", 200), row(second, "ann", 300)];
    let (corrections, days) = history(&workspace(), rows.clone());
    assert_eq!(corrections, Some(counts(500).into()));
    let shown: Vec<_> =
        days.iter().map(|of| (of.day.as_str(), of.account.as_str(), of.counts.as_ref().unwrap().delivered)).collect();
    let ann = "workspaces/acme/accounts/ann";
    assert_eq!(shown, [("2026-03-01", "", 100), ("2026-03-01", ann, 200), ("2026-03-02", ann, 300)]);
    assert_eq!(history(&workspace(), rows[1..].to_vec()).0, None);
    assert_eq!(history(&workspace(), vec![]), (None, vec![]));
}

/// Messages with so many delivered of a hundred times `size`.
fn messages(delivered: i64, size: i64) -> HistoryCounts {
    HistoryCounts {
        delivered: delivered * size,
        failed: [0, (100 - delivered) * size, 0, 0, 0],
        ..HistoryCounts::default()
    }
}

#[test]
fn health_is_certain_with_the_interval_in_its_band_wherever_it_is_shown() {
    use pb::DeliveryHealth::{High, Low, Moderate, Unspecified};
    let leads = LeadCounts { sent: 5, failed: 3, pending: 7, partial: 2 };
    let two = HistoryCounts { failed: [2, 0, 0, 0, 0], ..HistoryCounts::default() };
    for (counts, health, certain) in [
        (HistoryCounts::default(), Unspecified, false),
        (two, Low, false),
        (messages(99, 10), High, true),
        (messages(96, 10), High, false),
        (messages(90, 10), Moderate, true),
        (messages(81, 10), Moderate, false),
        (messages(70, 10), Low, true),
        (messages(79, 10), Low, false),
    ] {
        let AccountPerformance { delivered, failed, bounced, .. } = counts.performance();
        let of_campaign = MessageCounts { delivered, failed, bounced, ..MessageCounts::default() };
        let expected = (i32::from(health), certain);
        let account = campaign_account(&workspace(), campaign_account_of(None, counts.clone()));
        assert_eq!((account.delivery_health, account.delivery_health_certain), expected, "of a campaign");
        let totals = WorkspaceTotals { message_counts: of_campaign, lead_counts: leads, ..WorkspaceTotals::default() };
        let totals = workspace_totals(workspace(), now(), totals);
        assert_eq!((totals.delivery_health, totals.delivery_health_certain), expected, "of a workspace");
        let campaign = pb::Campaign::from(campaign(of_campaign));
        assert_eq!((campaign.delivery_health, campaign.delivery_health_certain), expected, "of a campaign");
        let account = pb::Account::from(account_with(counts.performance(), AccountPerformance::default()));
        let [lifetime, recent] = [account.lifetime, account.last_30_days].map(Option::unwrap);
        assert_eq!((lifetime.delivery_health, lifetime.delivery_health_certain), expected, "of an account, lifetime");
        assert_eq!((recent.delivery_health, recent.delivery_health_certain), (Unspecified.into(), false));
    }
}

fn campaign(message_counts: MessageCounts) -> crate::campaign::Campaign {
    crate::campaign::Campaign {
        name: "workspaces/acme/campaigns/spring".parse().unwrap(),
        uid: String::new(),
        settings: settings(|_| ()).unwrap(),
        state: CampaignState::Active,
        finish_reason: None,
        lead_counts: LeadCounts::default(),
        message_counts,
        in_flight_claims: 0,
        in_flight_until: None,
        uncertain_claims: 0,
        next_due: None,
        blocked: crate::not_sending::Blocked { reasons: Vec::new(), next_change: None },
        create_time: now(),
        update_time: now(),
        finish_time: None,
        finalized_time: None,
        revision: 1,
        owner: None,
        hold: None,
    }
}

fn account_with(lifetime: AccountPerformance, last_30_days: AccountPerformance) -> crate::account::Account {
    crate::account::Account {
        name: "workspaces/acme/accounts/ann".parse().unwrap(),
        uid: String::new(),
        settings: account_settings(&pb::Account::default()).unwrap(),
        state: crate::account::AccountState::Active,
        reserved_today: 0,
        campaign_count: 0,
        lifetime,
        last_30_days,
        create_time: now(),
        update_time: now(),
        revision: 1,
    }
}

#[test]
fn an_account_shows_its_failures_by_reason() {
    use pb::FailureReason::{AccountIssue, ContentRejected, InvalidLead, Other, RateLimited};
    let of = |by_reason| AccountPerformance { delivered: 9, failed: 8, bounced: 7, by_reason };
    let account = pb::Account::from(account_with(of([1, 2, 3, 4, 5]), of([0, 0, 6, 0, 9])));
    let [lifetime, recent] = [account.lifetime, account.last_30_days].map(|of| reasons(&of.unwrap().failures));
    assert_eq!(lifetime, [(AccountIssue, 1), (InvalidLead, 2), (RateLimited, 3), (ContentRejected, 4), (Other, 5)]);
    assert_eq!(recent, [(RateLimited, 6), (Other, 9)]);
}

fn campaign_account_of(account: Option<&str>, message_counts: HistoryCounts) -> CampaignAccount {
    CampaignAccount {
        account: account.map(|id| id.parse().unwrap()),
        is_serving: true,
        is_suspended: false,
        lead_counts: LeadCounts { sent: 5, failed: 3, pending: 7, partial: 2 },
        message_counts,
        daily_limit: Some(60),
        reserved_today: 13,
    }
}

#[test]
fn an_account_of_a_campaign_is_rendered_field_by_field() {
    let shown = campaign_account(&workspace(), campaign_account_of(Some("ann"), counts(1000)));
    assert_eq!(shown.account, "workspaces/acme/accounts/ann");
    assert_eq!((shown.serving, shown.suspended, shown.daily_limit, shown.reserved_today), (true, false, Some(60), 13));
    assert_eq!(shown.lead_counts, Some(pb::LeadCounts { sent: 5, failed: 3, pending: 7, partial: 2, total: 17 }));
    assert_eq!(shown.message_counts, Some(counts(1000).into()));
    let rates = [shown.delivery_rate, shown.response_rate, shown.conversion_rate].map(Option::unwrap);
    // All ages to 30 days, of the leads that the account contacted first.
    let sums = [1000, (1020..=1050).sum(), (1060..=1090).sum()];
    assert_eq!(rates.map(|rate| rate.numerator), sums);
    assert_eq!(rates.map(|rate| rate.denominator), [9047, 1011, 1011]);

    let other = CampaignAccount {
        is_serving: false,
        is_suspended: true,
        daily_limit: None,
        ..campaign_account_of(None, HistoryCounts::default())
    };
    let shown = campaign_account(&workspace(), other);
    assert_eq!((shown.account.as_str(), shown.serving, shown.suspended, shown.daily_limit), ("", false, true, None));
    for rate in [shown.delivery_rate, shown.response_rate, shown.conversion_rate].map(Option::unwrap) {
        assert_eq!((rate.numerator, rate.denominator, rate.ratio), (0, 0, None), "nothing has no share");
    }
}

#[test]
fn totals_of_a_workspace_are_rendered_field_by_field() {
    let message_counts = MessageCounts {
        delivered: 90,
        failed: 6,
        bounced: 4,
        contacted: 80,
        contacted_replied: 20,
        contacted_converted: 10,
        replied: 21,
        converted: 11,
        ..MessageCounts::default()
    };
    let totals = WorkspaceTotals {
        active_campaigns: 1,
        paused_campaigns: 2,
        finished_campaigns: 3,
        active_accounts: 4,
        suspended_accounts: 5,
        lead_counts: LeadCounts { sent: 30, failed: 10, pending: 50, partial: 70 },
        message_counts,
    };
    let shown = workspace_totals(workspace(), now(), totals);
    assert_eq!((shown.name.as_str(), shown.as_of_time), ("workspaces/acme", Some(timestamp(now()))));
    assert_eq!((shown.active_campaigns, shown.paused_campaigns, shown.finished_campaigns), (1, 2, 3));
    assert_eq!((shown.active_accounts, shown.suspended_accounts), (4, 5));
    assert_eq!(shown.lead_counts.unwrap(), totals.lead_counts.into());
    assert_eq!((shown.progress_ratio, shown.message_counts.unwrap()), (Some(0.25), message_counts.into()));
    let rates = [shown.delivery_rate, shown.response_rate, shown.conversion_rate].map(|rate| rate.unwrap().ratio);
    assert_eq!(rates, [Some(0.9), Some(0.25), Some(0.125)]);
    let nothing = workspace_totals(workspace(), now(), WorkspaceTotals::default());
    assert_eq!((nothing.progress_ratio, nothing.delivery_health), (None, 0));
}
