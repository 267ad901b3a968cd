//! Claims close by the facts of their leads: concurrent releases and grants, and what becomes of the rows.

use std::time::Duration;

use campaign_metrics::pb::{self, OutcomeKind, OutcomeVerdict};
use jiff::Timestamp;

use crate::{
    harness::{postgres::Connection, recount::assert_counts, service::Service},
    world::{
        account_name, add_leads, assign, blocked, by_key, by_lead, claim, create_account, create_campaign, get, report,
        report_new, settings,
    },
};

/// Blocks every transaction that counts an outcome, until `COMMIT`.
async fn hold_counters(service: &Service) -> Connection {
    let other = service.sql().await;
    other.batch_execute("BEGIN; SELECT FROM campaign_counters FOR UPDATE").await.unwrap();
    other
}

async fn rows(sql: &Connection) -> Vec<(i64, bool)> {
    let rows = sql.query("SELECT bit_count(claimed::bit(64)), is_exact FROM claims ORDER BY block", &[]).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_without_claim_closes_the_claim_that_was_granted_meanwhile() {
    let service = Service::start().await;
    create_account(&service, "ann", Some(10)).await;
    create_campaign(&service, "spring", settings(1, &["ann"])).await;
    add_leads(&service, "spring", 2, None, false).await;
    let (other, watcher) = (hold_counters(&service).await, service.sql().await);
    // The second fact alone would find a claim that the first one has closed.
    let facts = [OutcomeKind::Delivered, OutcomeKind::Bounced].map(|kind| by_lead("spring", "l0", 1, kind));
    let reporting = report_new(&service, facts.to_vec());
    let claiming = async {
        blocked(&watcher, &other, 1).await;
        // The report is not committed, so the claim can't see it.
        assert_eq!(claim(&service, "ann", 1).await.claims.len(), 1);
        assert_eq!(claim(&service, "ann", 1).await.claims.len(), 1);
        other.batch_execute("COMMIT").await.unwrap();
    };
    tokio::join!(reporting, claiming);
    let campaign = get(&service, "spring").await;
    assert_eq!((campaign.in_flight_claims, campaign.lead_counts.unwrap().failed), (1, 1));
    assert_counts(&watcher, &campaign).await;
    let request = pb::GetAccountRequest { name: account_name("ann") };
    let account = service.accounts.clone().get_account(request).await.unwrap().into_inner();
    assert_eq!(account.reserved_today, 2, "the message counts once against the limit");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_whose_outcome_is_being_written_is_no_longer_released() {
    let service = Service::start().await;
    create_account(&service, "ann", None).await;
    create_campaign(&service, "spring", settings(1, &["ann"])).await;
    add_leads(&service, "spring", 2, None, false).await;
    let claims = claim(&service, "ann", 2).await.claims;
    let (other, watcher) = (hold_counters(&service).await, service.sql().await);
    let reporting = report_new(&service, vec![by_key(&claims[0], OutcomeKind::Delivered)]);
    let releasing = async {
        blocked(&watcher, &other, 1).await;
        let claim_ids = claims.iter().map(|claim| claim.claim_id.clone()).collect();
        let request = pb::ReleaseClaimsRequest { account: account_name("ann"), claim_ids, not_before: None };
        let mut sending = service.sending.clone();
        let release = async { sending.release_claims(request).await.unwrap().into_inner() };
        let counting = async {
            blocked(&watcher, &other, 2).await;
            other.batch_execute("COMMIT").await.unwrap();
        };
        tokio::join!(release, counting).0
    };
    let ((), released) = tokio::join!(reporting, releasing);
    assert_eq!(released.released_count, 1, "the other one");
    let campaign = get(&service, "spring").await;
    assert_eq!((campaign.in_flight_claims, campaign.lead_counts.unwrap().sent), (0, 1));
    assert_eq!(claim(&service, "ann", 2).await.claims.len(), 1, "the released one");
}

#[tokio::test]
async fn rows_of_claims_are_deleted_once_all_is_closed_and_tidied_up_once_they_expire() {
    let service = Service::start().await;
    create_account(&service, "ann", None).await;
    create_campaign(&service, "spring", settings(1, &["ann"])).await;
    // Numbers begin at 1: blocks of 63, 64 and 2 leads.
    add_leads(&service, "spring", 129, None, false).await;
    let claims = claim(&service, "ann", 129).await.claims;
    let sql = service.sql().await;
    assert_eq!(rows(&sql).await, [(63, false), (64, false), (2, false)]);

    let delivered = |range: std::ops::Range<usize>| -> Vec<pb::Outcome> {
        claims[range].iter().map(|claim| by_key(claim, OutcomeKind::Delivered)).collect()
    };
    report_new(&service, delivered(127..129)).await;
    assert_eq!(rows(&sql).await, [(63, false), (64, false)], "all of it at once");
    report_new(&service, delivered(0..62)).await;
    assert_eq!(rows(&sql).await, [(63, false), (64, false)], "one is held");
    report_new(&service, delivered(62..63)).await;
    assert_eq!(rows(&sql).await, [(64, false)], "the last of it after the others");
    report_new(&service, delivered(124..127)).await;
    report_new(&service, delivered(63..122)).await;
    assert_eq!(rows(&sql).await, [(64, false)]);
    let campaign = get(&service, "spring").await;
    assert_eq!((campaign.in_flight_claims, campaign.uncertain_claims), (2, 0));

    service.clock.advance(Duration::from_mins(6));
    let campaign = get(&service, "spring").await;
    assert_eq!((campaign.in_flight_claims, campaign.uncertain_claims), (0, 2), "also before upkeep compacts it");
    service.store().claims_compact(Timestamp::UNIX_EPOCH).await.unwrap();
    assert_eq!(rows(&sql).await, [(2, true)]);
    let campaign = get(&service, "spring").await;
    assert_eq!((campaign.in_flight_claims, campaign.uncertain_claims), (0, 2));
    let twice: Vec<OutcomeVerdict> =
        report(&service, delivered(121..123)).await.iter().map(pb::OutcomeResult::verdict).collect();
    assert_eq!(twice, [OutcomeVerdict::Duplicate, OutcomeVerdict::Applied]);
    assert_eq!(rows(&sql).await, [(1, true)]);
    assert_eq!(get(&service, "spring").await.uncertain_claims, 1);
    report_new(&service, delivered(123..124)).await;
    assert_eq!(rows(&sql).await, []);
    assert_counts(&sql, &get(&service, "spring").await).await;
}

#[tokio::test]
async fn a_closed_claim_does_not_bind_its_lead_to_its_account() {
    let service = Service::start().await;
    create_account(&service, "ann", None).await;
    create_account(&service, "bob", None).await;
    create_campaign(&service, "spring", settings(2, &["ann", "bob"])).await;
    add_leads(&service, "spring", 2, None, false).await;
    let claims = claim(&service, "ann", 2).await.claims;
    report_new(&service, vec![by_key(&claims[0], OutcomeKind::Failed)]).await;
    assign(&service, "spring", &["bob"]).await;
    // The row remains for the other lead. The delivery supersedes the failure, so any serving account gets the
    // follow-up.
    report_new(&service, vec![by_key(&claims[0], OutcomeKind::Delivered)]).await;
    service.clock.advance(Duration::from_hours(2));
    let follow_ups = claim(&service, "bob", 2).await.claims;
    assert_eq!(follow_ups.len(), 1);
    assert_eq!((&follow_ups[0].lead, follow_ups[0].step), (&claims[0].lead, 2));
}
