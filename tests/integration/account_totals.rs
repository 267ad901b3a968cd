//! Totals of accounts: upkeep sums days that are long over, and what is shown of an account stays what it was.

use std::time::Duration;

use campaign_metrics::pb::{self, OutcomeKind};
use campaign_metrics_service::store::{Difference, Store, VerifyMode};
use jiff::SignedDuration;

use crate::{
    harness::service::{Service, monday},
    world::{account_name, by_lead, create_account, create_campaign, report_new, settings, try_add},
};

/// More than the last 30 days and the days that are not summed yet.
const LATER: Duration = Duration::from_hours(40 * 24);

/// Leads `a0` and on of ann, `b0` and on of bob.
async fn world() -> Service {
    let service = Service::start().await;
    for account in ["ann", "bob"] {
        create_account(&service, account, None).await;
    }
    create_campaign(&service, "spring", settings(1, &["ann", "bob"])).await;
    let leads = [("a", "ann", 13), ("b", "bob", 7)].into_iter().flat_map(|(letter, account, count)| {
        (0..count).map(move |at| pb::NewLead { lead_id: format!("{letter}{at}"), account_id: account.to_owned() })
    });
    try_add(&service, "spring", leads.collect(), false).await.expect("leads");
    service
}

/// Reports of these leads, some hours before the first moment of the clock.
async fn report(service: &Service, letter: &str, leads: std::ops::Range<i32>, kind: OutcomeKind, hours_ago: i64) {
    let at = monday() - SignedDuration::from_hours(hours_ago);
    let time = Some(prost_types::Timestamp { seconds: at.as_second(), nanos: 0 });
    let reason = if kind == OutcomeKind::Delivered { 0 } else { pb::FailureReason::RateLimited.into() };
    let outcome = |at| pb::Outcome { time, reason, ..by_lead("spring", &format!("{letter}{at}"), 1, kind) };
    report_new(service, leads.map(outcome).collect()).await;
}

/// Delivered, failed and bounced, ever and in the last 30 days, of ann and of bob.
async fn shown(service: &Service) -> [[i64; 6]; 2] {
    let of = async |id: &str| {
        let request = pb::GetAccountRequest { name: account_name(id) };
        let account = service.accounts.clone().get_account(request).await.expect("it exists").into_inner();
        let counts = [account.lifetime, account.last_30_days].map(Option::unwrap_or_default);
        let [ever, recent] = counts.map(|counts| [counts.delivered, counts.failed, counts.bounced]);
        let page = service.admin("/metrics").await;
        for (name, counts) in [("account_messages", ever), ("account_messages_30d", recent)] {
            for (outcome, count) in ["delivered", "failed", "bounced"].iter().zip(counts) {
                let line = format!(
                    "campaign_metrics_{name}{{workspace=\"acme\",account=\"{id}\",outcome=\"{outcome}\"}} {count}\n"
                );
                assert!(page.contains(&line), "the metrics say what the API says: {line}");
            }
        }
        [ever[0], ever[1], ever[2], recent[0], recent[1], recent[2]]
    };
    [of("ann").await, of("bob").await]
}

async fn verify(store: &Store, then: VerifyMode) -> Vec<Difference> {
    let mut found = Vec::new();
    for what in store.verify_list().await.expect("a list") {
        found.extend(store.verify(&what, then).await.expect("a recount"));
    }
    found
}

/// Days of accounts that are summed, and those that are not.
async fn days(service: &Service) -> (i64, i64) {
    let count =
        "SELECT count(*) FILTER (WHERE is_summed), count(*) FILTER (WHERE NOT is_summed) FROM history_of_accounts";
    let row = service.sql().await.query_one(count, &[]).await.unwrap();
    (row.get(0), row.get(1))
}

#[tokio::test]
async fn days_that_are_long_over_are_summed_and_corrections_of_them_still_count() {
    let service = world().await;
    let store = service.store();
    report(&service, "a", 0..6, OutcomeKind::Delivered, 30).await;
    report(&service, "a", 6..9, OutcomeKind::Failed, 5).await;
    report(&service, "b", 0..4, OutcomeKind::Delivered, 30).await;
    store.account_days_sum().await.unwrap();
    assert_eq!(days(&service).await, (0, 3), "no day of the last month is summed");
    service.clock.advance(LATER);
    assert_eq!(shown(&service).await, [[6, 3, 0, 0, 0, 0], [4, 0, 0, 0, 0, 0]]);
    store.account_days_sum().await.unwrap();
    assert_eq!(days(&service).await, (3, 0));
    assert_eq!(shown(&service).await, [[6, 3, 0, 0, 0, 0], [4, 0, 0, 0, 0, 0]], "nothing changed");

    // Two deliveries bounced after all, one message that failed was delivered, one was delivered then and is told only now.
    report(&service, "a", 0..2, OutcomeKind::Bounced, 29).await;
    report(&service, "a", 6..7, OutcomeKind::Delivered, 29).await;
    report(&service, "b", 4..5, OutcomeKind::Delivered, 30).await;
    // And a new day.
    let recent = by_lead("spring", "b5", 1, OutcomeKind::Delivered);
    report_new(&service, vec![recent]).await;
    let corrected = [[5, 2, 2, 0, 0, 0], [6, 0, 0, 1, 0, 0]];
    assert_eq!(shown(&service).await, corrected);
    assert_eq!(verify(&store, VerifyMode::Report).await, []);
    store.account_days_sum().await.unwrap();
    assert_eq!(days(&service).await, (3, 1), "the day of today waits; corrections stay on their days");
    assert_eq!(shown(&service).await, corrected);

    // Days that are summed are not read again: a scrape takes the same time however many there are.
    let sql = service.sql().await;
    let hide = |change: &str| {
        format!(
            "ALTER TABLE history_of_accounts DISABLE TRIGGER history_corrected;
            UPDATE history_of_accounts SET delivered = delivered {change} WHERE is_summed;
            ALTER TABLE history_of_accounts ENABLE TRIGGER history_corrected"
        )
    };
    sql.batch_execute(&hide("+ 100")).await.unwrap();
    assert_eq!(shown(&service).await, corrected);
    sql.batch_execute(&hide("- 100")).await.unwrap();

    let wrong = "UPDATE account_totals t SET delivered = delivered + 3, bounced_rate_limited = 0
        FROM accounts a WHERE a.account_id = t.account_id AND a.name = 'ann';
        DELETE FROM account_totals t USING accounts a WHERE a.account_id = t.account_id AND a.name = 'bob'";
    sql.batch_execute(wrong).await.unwrap();
    let total = |id: &str| format!("{}, total of summed days", account_name(id));
    let expected = [
        (total("ann"), "delivered", 8, 5),
        (total("ann"), "bounced_rate_limited", 0, 2),
        (total("bob"), "delivered", 0, 5),
    ];
    let expected =
        expected.map(|(of, number, stored, recounted)| Difference { of, number: number.to_owned(), stored, recounted });
    for then in [VerifyMode::Report, VerifyMode::Repair] {
        assert_eq!(verify(&store, then).await, expected, "{then:?}");
    }
    assert_eq!(verify(&store, VerifyMode::Report).await, []);
    assert_eq!(shown(&service).await, corrected);
}

#[tokio::test]
async fn days_are_summed_once_by_replicas_that_work_at_once_and_reports_do_not_wait() {
    let service = world().await;
    let store = service.store();
    report(&service, "a", 0..6, OutcomeKind::Delivered, 30).await;
    service.clock.advance(LATER);
    let (sql, other) = (service.sql().await, service.sql().await);
    // More days than one transaction sums. Another replica is in the middle of its portion.
    let fill =
        "INSERT INTO history SELECT h.workspace_id, 0, h.account_id, h.day - i, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0
        FROM history_of_accounts h, generate_series(1, 20010) AS i";
    sql.batch_execute(fill).await.unwrap();
    let portion = "BEGIN; SELECT FROM history_of_accounts ORDER BY account_id, day LIMIT 9 FOR UPDATE";
    other.batch_execute(portion).await.unwrap();
    assert_eq!(shown(&service).await[0][0], 20_016);
    let (one, two) = tokio::join!(store.account_days_sum(), store.account_days_sum());
    assert!(one.is_ok() && two.is_ok());
    assert_eq!(days(&service).await, (20_002, 9), "those of the other replica are left to it");
    assert_eq!(shown(&service).await[0][0], 20_016);
    // The other one is killed.
    drop(other);
    let correct = report(&service, "a", 6..9, OutcomeKind::Delivered, 30);
    let (sum, ()) = tokio::join!(store.account_days_sum(), correct);
    sum.unwrap();
    store.account_days_sum().await.unwrap();
    assert_eq!(days(&service).await, (20_011, 0));
    assert_eq!(shown(&service).await[0][0], 20_019);
    sql.batch_execute("ANALYZE history_of_accounts").await.unwrap();
    let plan = sql.query("EXPLAIN SELECT sum(delivered) FROM account_messages", &[]).await.unwrap();
    let plan: Vec<String> = plan.iter().map(|row| row.get(0)).collect();
    assert!(plan.concat().contains("history_not_summed_by_day"), "a scrape reads what is not summed: {plan:#?}");
}
