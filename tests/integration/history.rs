//! History and the leads of accounts in storage: verify finds and repairs each number, and history outlives log,
//! campaigns and accounts.

use std::time::Duration;

use campaign_metrics::pb::{self, FailureReason, OutcomeKind};
use campaign_metrics_service::store::{Difference, Store, VerifyMode};
use jiff::{SignedDuration, Timestamp};
use tonic::Code;

use crate::{
    harness::{
        recount::assert_counts,
        service::{Service, monday},
    },
    world::{
        account_name, add_leads, assign, by_lead, campaign_name, create_account, create_campaign, get, report_new,
        settings, try_add,
    },
};

#[path = "history/recount.rs"]
mod recount;

const QUARTER: Duration = Duration::from_hours(92 * 24);

fn stamp(at: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: at.as_second(), nanos: at.subsec_nanosecond() }
}

/// An outcome some hours before the first moment of the clock.
fn ago(hours: i64, lead: &str, step: i32, kind: OutcomeKind) -> pb::Outcome {
    let fails = matches!(kind, OutcomeKind::Failed | OutcomeKind::Bounced);
    let reason = if fails { FailureReason::RateLimited } else { FailureReason::Unspecified };
    let time = Some(stamp(monday() - SignedDuration::from_hours(hours)));
    pb::Outcome { time, reason: reason.into(), ..by_lead("spring", lead, step, kind) }
}

/// Leads of ann (`a0` and on), of bob (`b0` and on) and of none (`n0` and on) in a campaign of two steps.
async fn world() -> Service {
    let service = Service::start().await;
    for account in ["ann", "bob"] {
        create_account(&service, account, None).await;
    }
    create_campaign(&service, "spring", settings(2, &["ann", "bob"])).await;
    let lead = |letter: &str, number: usize, account: &str| pb::NewLead {
        lead_id: format!("{letter}{number}"),
        account_id: account.to_owned(),
    };
    let leads = (0..13).map(|number| lead("a", number, "ann"));
    let leads = leads.chain((0..6).map(|number| lead("b", number, "bob")));
    let leads = leads.chain((0..2).map(|number| lead("n", number, "")));
    try_add(&service, "spring", leads.collect(), false).await.expect("leads");
    service
}

/// What happened on Saturday and Sunday: no two numbers of an account are equal.
async fn work(service: &Service) {
    let mut outcomes = Vec::new();
    for (letter, delivered, failed) in [("a", 7, 3), ("b", 4, 1), ("n", 1, 0)] {
        let names: Vec<String> = (0..delivered + failed).map(|number| format!("{letter}{number}")).collect();
        let (reached, missed) = names.split_at(delivered);
        outcomes.extend(reached.iter().map(|lead| ago(40, lead, 1, OutcomeKind::Delivered)));
        outcomes.extend(missed.iter().map(|lead| ago(39, lead, 1, OutcomeKind::Failed)));
    }
    for lead in ["a0", "a1"] {
        outcomes.push(ago(20, lead, 1, OutcomeKind::Bounced));
    }
    // Replies at ages 0, 1 and 2, and conversions at age 1.
    outcomes.extend(
        [(40, "a2"), (16, "a3"), (15, "a4"), (39, "b0")].map(|(hours, lead)| ago(hours, lead, 0, OutcomeKind::Replied)),
    );
    outcomes.extend(["a2", "a3", "b1"].map(|lead| ago(30, lead, 0, OutcomeKind::Converted)));
    report_new(service, outcomes).await;
}

async fn verify(store: &Store, then: VerifyMode) -> Vec<Difference> {
    let mut found = Vec::new();
    for what in store.verify_list().await.expect("a list") {
        found.extend(store.verify(&what, then).await.expect("a recount"));
    }
    found
}

fn of_campaign(by_account: bool) -> pb::QueryCampaignHistoryRequest {
    pb::QueryCampaignHistoryRequest {
        name: campaign_name("spring"),
        first_day: "2026-01-01".into(),
        last_day: "2026-12-31".into(),
        by_account,
        ..Default::default()
    }
}

async fn campaign_history(service: &Service, by_account: bool) -> pb::QueryCampaignHistoryResponse {
    let answer = service.performance.clone().query_campaign_history(of_campaign(by_account)).await;
    pb::QueryCampaignHistoryResponse { as_of_time: None, ..answer.expect("a history").into_inner() }
}

async fn account_history(service: &Service, account: &str) -> pb::QueryAccountHistoryResponse {
    let request = pb::QueryAccountHistoryRequest {
        name: account_name(account),
        first_day: "2026-01-01".into(),
        last_day: "2026-12-31".into(),
    };
    let answer = service.performance.clone().query_account_history(request).await;
    pb::QueryAccountHistoryResponse { as_of_time: None, ..answer.expect("a history").into_inner() }
}

async fn accounts(service: &Service) -> pb::ListCampaignAccountsResponse {
    let request = pb::ListCampaignAccountsRequest { parent: campaign_name("spring"), ..Default::default() };
    let answer = service.performance.clone().list_campaign_accounts(request).await;
    pb::ListCampaignAccountsResponse { as_of_time: None, ..answer.expect("accounts").into_inner() }
}

/// Everything that is shown of history.
async fn shown(service: &Service) -> impl PartialEq + std::fmt::Debug {
    (
        campaign_history(service, false).await,
        campaign_history(service, true).await,
        account_history(service, "ann").await,
        account_history(service, "bob").await,
        accounts(service).await,
    )
}

/// Sums over days: delivered, failed, bounced, contacted, replied.
fn sums<'a>(days: impl IntoIterator<Item = &'a pb::HistoryDay>) -> [i64; 5] {
    let mut sums = [0; 5];
    for counts in days.into_iter().filter_map(|day| day.counts.as_ref()) {
        let by_reason = |of: &[pb::ReasonCount]| of.iter().map(|of| of.count).sum::<i64>();
        let replied = counts.replied_leads_by_age.iter().sum();
        let numbers =
            [counts.delivered, by_reason(&counts.failed), by_reason(&counts.bounced), counts.contacted_leads, replied];
        sums.iter_mut().zip(numbers).for_each(|(sum, number)| *sum += number);
    }
    sums
}

#[tokio::test]
async fn verify_finds_and_repairs_history_and_leads_of_accounts() {
    let service = world().await;
    work(&service).await;
    let store = service.store();
    assert_eq!(verify(&store, VerifyMode::Report).await, [], "the service counts right");
    let before = shown(&service).await;
    let sql = service.sql().await;
    sql.batch_execute(
        "UPDATE history SET failed_rate_limited = failed_rate_limited + 2
        WHERE campaign_id > 0 AND account_id = all_accounts() AND delivered > 0;
        UPDATE history h SET contacted = contacted - 1, replied[3] = replied[3] + 5
        FROM accounts a WHERE a.account_id = h.account_id AND a.name = 'ann' AND campaign_id > 0 AND contacted > 0;
        UPDATE history h SET bounced_other = 4
        FROM accounts a WHERE a.account_id = h.account_id AND a.name = 'ann' AND campaign_id = 0 AND contacted = 0;
        UPDATE history h SET converted[31] = converted[31] + 6
        FROM accounts a WHERE a.account_id = h.account_id AND a.name = 'bob' AND campaign_id = 0;
        DELETE FROM history WHERE campaign_id > 0 AND account_id = 0;
        INSERT INTO history SELECT workspace_id, campaign_id, account_id, '2026-02-11', 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0
        FROM campaigns CROSS JOIN (SELECT account_id FROM accounts WHERE name = 'bob') bob;
        UPDATE account_leads l SET pending = pending + 9, sent = sent - 1
        FROM accounts a WHERE a.account_id = l.account_id AND a.name = 'ann';
        DELETE FROM account_leads WHERE account_id = 0",
    )
    .await
    .unwrap();
    let (spring, leads) = (campaign_name("spring"), "leads of");
    let (ann, bob) = ("/accounts/ann", "/accounts/bob");
    let expected = [
        (format!("{spring}, {leads} ann"), "pending", 12, 3),
        (format!("{spring}, {leads} ann"), "sent", 2, 3),
        (format!("{spring}, {leads} no account"), "partial", 0, 1),
        (format!("{spring}, {leads} no account"), "pending", 0, 1),
        (format!("{spring} on 2026-02-28"), "failed_rate_limited", 6, 4),
        (format!("{spring} without account on 2026-02-28"), "delivered", 0, 1),
        (format!("{spring} without account on 2026-02-28"), "contacted", 0, 1),
        (format!("{spring}{ann} on 2026-02-28"), "contacted", 4, 5),
        (format!("{spring}{ann} on 2026-02-28"), "replied at age 2", 6, 1),
        (format!("{spring}{bob} on 2026-02-11"), "delivered", 8, 0),
        (format!("workspaces/acme{ann} on 2026-03-01"), "bounced_other", 4, 0),
        (format!("workspaces/acme{bob} on 2026-02-28"), "converted at age 30", 6, 0),
    ];
    let mut expected =
        expected.map(|(of, number, stored, recounted)| Difference { of, number: number.to_owned(), stored, recounted });
    let key = |difference: &Difference| (difference.of.clone(), difference.number.clone());
    expected.sort_by_key(key);
    for then in [VerifyMode::Report, VerifyMode::Repair] {
        let mut found = verify(&store, then).await;
        found.sort_by_key(key);
        assert_eq!(found, expected, "{then:?}");
    }
    assert_eq!(verify(&store, VerifyMode::Report).await, []);
    assert_eq!(shown(&service).await, before);
    assert_counts(&sql, &get(&service, "spring").await).await;
}

#[tokio::test]
async fn history_outlives_its_log() {
    let service = world().await;
    let store = service.store();
    store.maintain().await.unwrap();
    work(&service).await;
    let before = shown(&service).await;
    service.clock.advance(QUARTER);
    store.maintain().await.unwrap();
    store.partitions_drop(31).await.unwrap();
    let sql = service.sql().await;
    let logged: i64 = sql.query_one("SELECT count(*) FROM outcomes", &[]).await.unwrap().get(0);
    assert_eq!(logged, 0, "the log is gone");
    assert_eq!(shown(&service).await, before);
    assert_eq!(verify(&store, VerifyMode::Report).await, []);
    let zeros = "SELECT count(*) FROM history_closed
        WHERE delivered = 0 AND failed_rate_limited = 0 AND bounced_rate_limited = 0 AND contacted = 0";
    assert_eq!(sql.query_one(zeros, &[]).await.unwrap().get::<_, i64>(0), 0, "what is kept says something");
}

/// What history cannot say any more once the log has lost the first contact of a lead.
#[tokio::test]
async fn facts_that_come_after_the_log_of_their_lead_is_gone_move_no_first_contact() {
    let service = world().await;
    let store = service.store();
    store.maintain().await.unwrap();
    work(&service).await;
    let (before, of_ann) = (campaign_history(&service, false).await, account_history(&service, "ann").await);
    assert_eq!(sums(&before.days), [10, 4, 2, 10, 4]);
    assert_eq!(sums(&of_ann.days), [5, 3, 2, 5, 3]);
    let counted = get(&service, "spring").await;
    service.clock.advance(QUARTER);
    store.maintain().await.unwrap();
    store.partitions_drop(31).await.unwrap();

    let now = |lead: &str, step: i32, kind: OutcomeKind| pb::Outcome { time: None, ..ago(0, lead, step, kind) };
    let late = vec![
        // A reply 30 days after the first contact, a conversion, an earlier delivery, a bounce.
        ago(40 - 30 * 24, "a5", 0, OutcomeKind::Replied),
        now("a6", 0, OutcomeKind::Converted),
        ago(99, "b2", 2, OutcomeKind::Delivered),
        now("b3", 1, OutcomeKind::Bounced),
        // These were not contacted before, so nothing of them is gone.
        now("a7", 1, OutcomeKind::Delivered),
        now("a10", 1, OutcomeKind::Delivered),
        now("a10", 0, OutcomeKind::Replied),
    ];
    report_new(&service, late).await;
    let after = campaign_history(&service, false).await;
    let lasting = |days: &[pb::HistoryDay]| -> Vec<pb::HistoryDay> {
        days.iter().filter(|day| day.day.as_str() < "2026-05" && day.day != "2026-02-26").cloned().collect()
    };
    assert_eq!(lasting(&after.days), before.days, "what was counted stays");
    // b2's second message counts on its day, and is not its first contact.
    let old = after.days.iter().find(|day| day.day == "2026-02-26").expect("a day");
    assert_eq!(sums([old]), [1, 0, 0, 0, 0]);
    // b3's message bounced, and a7's failure became a delivery: the days of what they were are not known any more.
    let reason = |count: i64| pb::ReasonCount { reason: FailureReason::RateLimited.into(), count };
    let corrections = pb::HistoryCounts { delivered: -1, failed: vec![reason(-1)], ..pb::HistoryCounts::default() };
    assert_eq!(after.corrections, Some(corrections));
    let today = after.days.last().expect("a day");
    assert_eq!((today.day.as_str(), sums([today])), ("2026-06-02", [2, 0, 1, 2, 1]));
    assert_eq!(account_history(&service, "bob").await.corrections.expect("b3's").delivered, -1);
    let by_account = campaign_history(&service, true).await;
    assert_eq!(by_account.corrections, None, "they are of no day, and so of no account on a day");

    // The counts of the campaign have no such limit.
    let counts = |campaign: &pb::Campaign| {
        let messages = campaign.message_counts.clone().unwrap_or_default();
        [messages.delivered, messages.contacted_leads, messages.replied_leads, messages.converted_leads]
    };
    assert_eq!((counts(&counted), counts(&get(&service, "spring").await)), ([10, 10, 4, 3], [12, 11, 6, 4]));
    assert_eq!(verify(&store, VerifyMode::Report).await, []);
}

#[tokio::test]
async fn the_history_of_accounts_outlives_a_deleted_campaign_and_the_campaign_leaves_nothing() {
    let service = world().await;
    let (store, sql) = (service.store(), service.sql().await);
    store.maintain().await.unwrap();
    work(&service).await;
    // One part of its log goes before the campaign.
    service.clock.advance(QUARTER);
    store.maintain().await.unwrap();
    report_new(&service, vec![by_lead("spring", "a10", 1, OutcomeKind::Delivered)]).await;
    report_new(&service, vec![by_lead("spring", "b5", 1, OutcomeKind::Delivered)]).await;
    store.partitions_drop(31).await.unwrap();
    let figures = async || (account_history(&service, "ann").await, account_history(&service, "bob").await);
    let before = figures().await;
    assert_eq!((sums(&before.0.days), sums(&before.1.days)), ([6, 3, 2, 6, 3], [5, 1, 0, 5, 1]));
    let name = campaign_name("spring");
    let request = pb::DeleteCampaignRequest { name: name.clone(), ..Default::default() };
    service.campaigns.clone().delete_campaign(request).await.unwrap();
    let refused = service.performance.clone().query_campaign_history(of_campaign(false)).await;
    assert_eq!(refused.expect_err("it is gone").code(), Code::NotFound);
    assert_eq!(figures().await, before);
    assert_eq!(verify(&store, VerifyMode::Report).await, [], "before its rows go");
    store.campaigns_drain().await.unwrap();
    assert_eq!(figures().await, before);
    assert_eq!(verify(&store, VerifyMode::Report).await, [], "after");
    for table in ["history", "history_closed", "account_leads"] {
        let left = format!("SELECT count(*) FROM {table} WHERE campaign_id <> all_campaigns()");
        assert_eq!(sql.query_one(&left, &[]).await.unwrap().get::<_, i64>(0), 0, "{table}");
    }
    // A new campaign of the same name begins with nothing.
    create_campaign(&service, "spring", settings(1, &["ann"])).await;
    assert_eq!(campaign_history(&service, false).await.days, []);
    assert_eq!(accounts(&service).await.accounts.len(), 1);
}

#[tokio::test]
async fn an_account_without_leads_is_listed_for_its_messages_and_what_it_sent_outlives_it() {
    let service = Service::start().await;
    for account in ["ann", "bob"] {
        create_account(&service, account, None).await;
    }
    create_campaign(&service, "spring", settings(2, &["ann"])).await;
    add_leads(&service, "spring", 3, Some("ann"), false).await;
    report_new(&service, vec![by_lead("spring", "l0", 1, OutcomeKind::Delivered)]).await;
    report_new(&service, vec![by_lead("spring", "l1", 1, OutcomeKind::Failed)]).await;
    assign(&service, "spring", &["bob"]).await;
    let reassign = pb::ReassignLeadsRequest {
        parent: campaign_name("spring"),
        from_account: account_name("ann"),
        to_accounts: vec![account_name("bob")],
    };
    service.leads.clone().reassign_leads(reassign).await.unwrap();
    let listed = accounts(&service).await;
    let [ann, bob] = &listed.accounts[..] else { panic!("two accounts: {listed:?}") };
    let totals = |of: &pb::CampaignAccount| {
        let messages = of.message_counts.clone().unwrap_or_default();
        (of.serving, of.lead_counts.unwrap_or_default().total, messages.delivered, messages.contacted_leads)
    };
    assert_eq!((totals(ann), totals(bob)), ((false, 0, 1, 1), (true, 1, 0, 0)), "{ann:?} {bob:?}");
    // l1 failed without a delivery, l2 was never sent to: both are free.
    assert_eq!(totals(&listed.unassigned.unwrap()), (false, 2, 0, 0));

    let delete = pb::DeleteAccountRequest { name: account_name("ann"), etag: String::new() };
    service.accounts.clone().delete_account(delete).await.unwrap();
    // A late outcome of a message that it sent.
    report_new(&service, vec![by_lead("spring", "l0", 1, OutcomeKind::Bounced)]).await;
    let listed = accounts(&service).await;
    assert_eq!(listed.accounts.iter().map(|of| of.account.clone()).collect::<Vec<_>>(), [account_name("bob")]);
    assert_eq!(totals(&listed.unassigned.clone().unwrap()), (false, 2, 0, 0), "l0 bounced");
    let messages = listed.unassigned.unwrap().message_counts.unwrap();
    let counts = |of: &[pb::ReasonCount]| of.iter().map(|of| of.count).sum::<i64>();
    assert_eq!((counts(&messages.failed), counts(&messages.bounced)), (1, 1));
    let by_account = campaign_history(&service, true).await.days;
    assert_eq!(sums(&by_account), sums(&campaign_history(&service, false).await.days));
    assert!(by_account.iter().all(|day| day.account.is_empty()), "{by_account:?}");
    assert_eq!(verify(&service.store(), VerifyMode::Report).await, []);
    assert_counts(&*service.sql().await, &get(&service, "spring").await).await;
}
