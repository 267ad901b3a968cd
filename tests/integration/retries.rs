//! What Postgres breaks off to untie a deadlock is run again and reaches no caller; how often is a metric.

use campaign_metrics::pb::OutcomeKind;

use crate::{
    harness::{recount::assert_counts, service::Service},
    world::{add_leads, blocked, by_key, claim, create_account, create_campaign, get, report_new, settings},
};

async fn retries(service: &Service) -> i64 {
    service.metric("campaign_metrics_transaction_retries_total").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_that_is_the_victim_of_a_deadlock_is_run_again_and_counted() {
    let service = Service::start().await;
    create_account(&service, "ann", None).await;
    create_campaign(&service, "spring", settings(1, &["ann"])).await;
    add_leads(&service, "spring", 2, None, false).await;
    let claims = claim(&service, "ann", 2).await.claims;
    assert_eq!(retries(&service).await, 0);

    // Somebody locks leads in the opposite order, and is patient.
    let other = service.sql().await;
    other
        .batch_execute("SET deadlock_timeout = '20s'; BEGIN; SELECT FROM leads WHERE lead_no = 2 FOR UPDATE")
        .await
        .unwrap();
    let watcher = service.sql().await;
    let outcomes = claims.iter().map(|claim| by_key(claim, OutcomeKind::Delivered)).collect();
    let reporting = report_new(&service, outcomes);
    let locking = async {
        // The report, for the second lead.
        blocked(&watcher, 1).await;
        // Now each waits for the other, until Postgres breaks the report off.
        other
            .batch_execute("SELECT FROM leads WHERE lead_no = 1 FOR UPDATE; COMMIT")
            .await
            .expect("it is not the victim");
    };
    tokio::join!(reporting, locking);
    assert_eq!(retries(&service).await, 1);
    let campaign = get(&service, "spring").await;
    assert_eq!(campaign.lead_counts.map(|counts| counts.sent), Some(2));
    assert_counts(&watcher, &campaign).await;
}
