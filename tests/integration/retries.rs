//! The store retries transactions that Postgres aborts to break a deadlock. Callers don't see that; a metric counts it.

use campaign_metrics::pb::{self, OutcomeKind};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::{
    harness::{recount::assert_counts, service::Service},
    world::{
        WORKSPACE, add_leads, assert_refused, blocked, by_key, campaign_name, claim, create_account, create_campaign,
        get, report_new, retries, settings,
    },
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_aborted_by_a_deadlock_is_retried_and_counted() {
    let service = Service::start().await;
    create_account(&service, "ann", None).await;
    create_campaign(&service, "spring", settings(1, &["ann"])).await;
    add_leads(&service, "spring", 2, None, false).await;
    let claims = claim(&service, "ann", 2).await.claims;
    assert_eq!(retries(&service).await, 0);

    // A session locks leads in the opposite order, with a long deadlock timeout, so that the report gives way.
    let other = service.sql().await;
    other
        .batch_execute("SET deadlock_timeout = '20s'; BEGIN; SELECT FROM leads WHERE lead_no = 2 FOR UPDATE")
        .await
        .unwrap();
    let watcher = service.sql().await;
    let outcomes = claims.iter().map(|claim| by_key(claim, OutcomeKind::Delivered)).collect();
    let reporting = report_new(&service, outcomes);
    let locking = async {
        // The report waits for the second lead.
        blocked(&watcher, &other, 1).await;
        // Now each waits for the other, until Postgres aborts the report: a batch waits for a lock shorter than for a deadlock.
        other
            .batch_execute("SELECT FROM leads WHERE lead_no = 1 FOR UPDATE; COMMIT")
            .await
            .expect("it is not the victim");
    };
    tokio::join!(reporting, locking);
    assert!(retries(&service).await >= 1, "what was run again is counted");
    let page = service.admin("/metrics").await;
    let counted = "campaign_metrics_transaction_retries_total{transaction=\"outcomes_report\"} ";
    assert!(page.lines().any(|line| line.starts_with(counted)), "under the name of the transaction: {page}");
    let campaign = get(&service, "spring").await;
    assert_eq!(campaign.lead_counts.map(|counts| counts.sent), Some(2));
    assert_counts(&watcher, &campaign).await;
}

#[tokio::test]
async fn a_report_that_meets_only_deadlocks_is_answered_with_advice_to_retry() {
    let service = Service::start().await;
    create_account(&service, "ann", None).await;
    create_campaign(&service, "spring", settings(1, &["ann"])).await;
    add_leads(&service, "spring", 1, None, false).await;
    let claims = claim(&service, "ann", 1).await.claims;
    let sql = service.sql().await;
    let in_the_way = "CREATE FUNCTION in_the_way() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            RAISE EXCEPTION 'hunter2' USING ERRCODE = 'serialization_failure';
        END $$;
        CREATE TRIGGER in_the_way BEFORE UPDATE ON leads FOR EACH ROW EXECUTE FUNCTION in_the_way();
        CREATE TRIGGER in_the_way BEFORE UPDATE ON campaigns FOR EACH ROW EXECUTE FUNCTION in_the_way();";
    sql.batch_execute(in_the_way).await.unwrap();

    let outcomes = vec![by_key(&claims[0], OutcomeKind::Delivered)];
    let report = pb::ReportOutcomesRequest { parent: WORKSPACE.into(), outcomes: outcomes.clone() };
    let pause = pb::PauseCampaignRequest { name: campaign_name("spring"), ..Default::default() };
    let assert_contended = |status: Status| {
        assert!(status.get_details_retry_info().is_some_and(|info| info.retry_delay.is_some()), "{status:?}");
        assert!(!format!("{status:?}").contains("hunter2"), "{status:?}");
        assert_refused(Err::<(), _>(status), Code::Unavailable, "CONTENDED", "repeat");
    };
    assert_contended(service.sending.clone().report_outcomes(report).await.expect_err("a report"));
    assert_contended(service.campaigns.clone().pause_campaign(pause.clone()).await.expect_err("a pause"));
    let run_again = retries(&service).await;
    assert!((16..24).contains(&run_again), "eight times each, and never a ninth: {run_again}");

    sql.batch_execute("DROP FUNCTION in_the_way CASCADE").await.unwrap();
    report_new(&service, outcomes).await;
    service.campaigns.clone().pause_campaign(pause).await.expect("it pauses");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_correction_is_booked_by_an_outcome_that_committed_while_it_waited() {
    let one = Service::start().await;
    create_account(&one, "ann", None).await;
    create_campaign(&one, "spring", settings(1, &["ann"])).await;
    add_leads(&one, "spring", 1, None, false).await;
    let claims = claim(&one, "ann", 1).await.claims;
    let two = Service::on(&one.database, one.clock.clone()).await;
    let (counters, watcher) = (one.sql().await, one.sql().await);
    // The first report locks the lead and waits for the counters. The second one waits for the lead; its statement
    // began before the first one's commit.
    counters.batch_execute("BEGIN; SELECT FROM campaign_counters FOR UPDATE").await.unwrap();
    let first = report_new(&one, vec![by_key(&claims[0], OutcomeKind::Failed)]);
    let second = async {
        blocked(&watcher, &counters, 1).await;
        report_new(&two, vec![by_key(&claims[0], OutcomeKind::Bounced)]).await;
    };
    let release = async {
        blocked(&watcher, &counters, 2).await;
        counters.batch_execute("COMMIT").await.unwrap();
    };
    tokio::join!(first, second, release);
    assert!(retries(&two).await >= 1, "it looked again");
    let days =
        "SELECT sum(failed_messages(h))::int8, sum(bounced_messages(h))::int8 FROM history h WHERE campaign_id = 0";
    let days = watcher.query_one(days, &[]).await.unwrap();
    assert_eq!((days.get(0), days.get(1)), (0_i64, 1_i64));
    let accounts: i64 = watcher.query_one("SELECT count(DISTINCT account_id) FROM outcomes", &[]).await.unwrap().get(0);
    assert_eq!(accounts, 1, "both are of the account that claimed");
    assert_counts(&watcher, &get(&one, "spring").await).await;
}
