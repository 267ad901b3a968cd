//! A due step keeps its row in `returns`, even if an outcome makes it due while another transaction tidies the list.

use campaign_metrics::pb::{self, OutcomeKind, OutcomeKind::Delivered};

use jiff::ToSpan as _;

use crate::{
    harness::{
        postgres::Connection,
        recount::assert_counts,
        service::{Service, monday},
        wait::{SOON, until},
    },
    ways::{Way, served},
    world::{
        account_name, add_leads, assign, blocked, by_lead, campaign_name, claim, create_account, create_campaign, get,
        report_new, retries, settings, try_add, try_claim,
    },
};

/// Blocks outcomes just before their commit, until `COMMIT`.
async fn hold_commits(service: &Service) -> Connection {
    let holder = service.sql().await;
    let hold = "CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            PERFORM pg_advisory_xact_lock_shared(1);
            RETURN NULL;
        END $$;
        CREATE CONSTRAINT TRIGGER hold AFTER UPDATE ON leads DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION hold()";
    holder.batch_execute(hold).await.unwrap();
    holder.batch_execute("BEGIN; SELECT pg_advisory_xact_lock(1)").await.unwrap();
    holder
}

/// A lead of a campaign of five steps that is listed for its fourth step, and that a failure of the second has ended.
/// For optimistic grants another lead was claimed before and is held.
async fn listed_but_ended(way: Way) -> Service {
    let service = Service::start().await;
    create_account(&service, "ann", None).await;
    create_account(&service, "ben", None).await;
    create_campaign(&service, "spring", settings(5, &["ann", "ben"])).await;
    let held = pb::NewLead { lead_id: "held".into(), account_id: "ann".into() };
    try_add(&service, "spring", vec![held], false).await.expect("a lead");
    assert_eq!(claim(&service, "ann", 1).await.claims.len(), 1);
    add_leads(&service, "spring", 1, Some("ann"), false).await;
    // Long enough ago for the fourth step to be due without moving the clock.
    let earlier = monday().checked_sub(2.hours()).expect("a time");
    let time = Some(prost_types::Timestamp { seconds: earlier.as_second(), nanos: 0 });
    for (step, kind) in [(3, Delivered), (2, OutcomeKind::Failed)] {
        report_new(&service, vec![pb::Outcome { time, ..by_lead("spring", "l0", step, kind) }]).await;
    }
    way.forget(&service);
    service
}

/// Claims everything that is due, and returns the steps.
async fn claim_steps(service: &Service, account: &str) -> Vec<i32> {
    let steps = claim(service, account, 10).await.claims.iter().map(|claim| claim.step).collect();
    let sql = service.sql().await;
    assert_counts(&sql, &get(service, "spring").await).await;
    steps
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_leaves_the_row_of_a_step_that_becomes_due_again_meanwhile() {
    for way in Way::BOTH {
        row_is_left(way).await;
    }
}

async fn row_is_left(way: Way) {
    let service = listed_but_ended(way).await;
    let (holder, watcher) = (hold_commits(&service).await, service.sql().await);
    // The delivery supersedes the failure: the fourth step is due as it was.
    let reporting = report_new(&service, vec![by_lead("spring", "l0", 2, Delivered)]);
    let claiming = async {
        blocked(&watcher, &holder, 1).await;
        assert_eq!(claim(&service, "ann", 10).await.claims, [], "the lead is at its end");
        holder.batch_execute("COMMIT").await.unwrap();
    };
    tokio::join!(reporting, claiming);
    assert_eq!(claim_steps(&service, "ann").await, [4], "{way:?}");
    let served = served(&service).await;
    assert_eq!(served.undone > 0, way == Way::Optimistic, "{way:?}: {served:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_looks_again_when_all_that_it_looked_at_is_being_reported_on() {
    for way in Way::BOTH {
        looks_again(way).await;
    }
}

async fn looks_again(way: Way) {
    let service = listed_but_ended(way).await;
    let (holder, watcher) = (hold_commits(&service).await, service.sql().await);
    let reporting = report_new(&service, vec![by_lead("spring", "l0", 2, Delivered)]);
    let claiming = async {
        blocked(&watcher, &holder, 1).await;
        // A claim for one lead looks at one row; other due rows may follow it.
        let granted = until("an answer", SOON, async || Ok(try_claim(&service, "ann", 1).await?.claims));
        granted.await.unwrap()
    };
    let releasing = async {
        let again = until("the claim to look again", SOON, async || {
            anyhow::ensure!(retries(&service).await > 0);
            Ok(())
        });
        again.await.unwrap();
        holder.batch_execute("COMMIT").await.unwrap();
    };
    let ((), claims, ()) = tokio::join!(reporting, claiming, releasing);
    assert_eq!(claims.iter().map(|claim| claim.step).collect::<Vec<_>>(), [4], "{way:?}");
    let served = served(&service).await;
    assert_eq!(served.optimistic + served.undone > 0, way == Way::Optimistic, "{way:?}: {served:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upkeep_leaves_the_row_of_a_step_that_becomes_due_again_meanwhile() {
    let service = listed_but_ended(Way::Full).await;
    assign(&service, "spring", &["ben"]).await;
    let (holder, watcher) = (hold_commits(&service).await, service.sql().await);
    let reporting = report_new(&service, vec![by_lead("spring", "l0", 2, Delivered)]);
    let tidying = async {
        blocked(&watcher, &holder, 1).await;
        service.store().returns_tidy().await.unwrap();
        holder.batch_execute("COMMIT").await.unwrap();
    };
    tokio::join!(reporting, tidying);
    assign(&service, "spring", &["ann", "ben"]).await;
    assert_eq!(claim_steps(&service, "ann").await, [4]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reassigning_leaves_the_row_of_a_step_that_becomes_due_again_meanwhile() {
    let service = listed_but_ended(Way::Full).await;
    assign(&service, "spring", &["ben"]).await;
    let (holder, watcher) = (hold_commits(&service).await, service.sql().await);
    let reporting = report_new(&service, vec![by_lead("spring", "l0", 2, Delivered)]);
    let reassigning = async {
        blocked(&watcher, &holder, 1).await;
        let request = pb::ReassignLeadsRequest {
            parent: campaign_name("spring"),
            from_account: account_name("ann"),
            to_accounts: vec![account_name("ben")],
        };
        let mut leads = service.leads.clone();
        assert_eq!(leads.reassign_leads(request.clone()).await.unwrap().into_inner().reassigned_count, 0);
        holder.batch_execute("COMMIT").await.unwrap();
        request
    };
    let ((), request) = tokio::join!(reporting, reassigning);
    let reassigned = service.leads.clone().reassign_leads(request).await.unwrap().into_inner();
    assert_eq!((reassigned.reassigned_count, reassigned.more), (1, false));
    assert_eq!(claim_steps(&service, "ben").await, [4]);
}
