//! An account that leaves a campaign with many leads, or is deleted: in portions, each of which leaves everything right.

use std::time::Duration;

use campaign_metrics::pb::{self, OutcomeKind};
use campaign_metrics_service::store::VerifyMode;
use tonic::Code;

use crate::{
    harness::{
        recount::assert_counts,
        service::Service,
        wait::{SOON, until},
    },
    ways::release,
    world::{
        account_name, add_leads, assert_refused, assign, by_key, by_lead, campaign_name, claim, create_account,
        create_campaign, get, report_new, settings,
    },
};

/// More than two portions of leads.
const LEADS: usize = 20_030;

/// A campaign whose leads are ann's. Of her claims, some were delivered, some released, and some are held.
async fn world() -> (Service, Vec<pb::Claim>) {
    let service = Service::start().await;
    for account in ["ann", "bob"] {
        create_account(&service, account, None).await;
    }
    create_campaign(&service, "spring", settings(1, &["ann", "bob"])).await;
    add_leads(&service, "spring", LEADS, Some("ann"), false).await;
    let claims = claim(&service, "ann", 19).await.claims;
    report_new(&service, claims[..7].iter().map(|claim| by_key(claim, OutcomeKind::Delivered)).collect()).await;
    release(&service, "ann", &claims[7..11]).await;
    (service, claims)
}

/// Leads of ann and of nobody, and where the next portion begins.
async fn leads(service: &Service) -> (i64, i64, Option<i32>) {
    let sql = service.sql().await;
    let counts = "SELECT count(*) FILTER (WHERE account_id IS NOT NULL), count(*) FILTER (WHERE account_id IS NULL),
        (SELECT max(free_lead) FROM campaign_accounts) FROM leads";
    let row = sql.query_one(counts, &[]).await.unwrap();
    (row.get(0), row.get(1), row.get(2))
}

/// Lets two replicas work until nothing is left to be freed: as soon as Postgres has ended what held them up.
async fn freed(service: &Service) {
    let store = service.store();
    let freed = until("all leads to be freed", SOON, async || {
        tokio::try_join!(store.leads_free(), store.leads_free())?;
        let (.., next) = leads(service).await;
        anyhow::ensure!(next.is_none(), "the next portion begins at {next:?}");
        Ok(())
    });
    freed.await.unwrap();
}

/// Every count is what a recount says.
async fn assert_exact(service: &Service) {
    let sql = service.sql().await;
    assert_counts(&sql, &get(service, "spring").await).await;
    let store = service.store();
    for what in store.verify_list().await.unwrap() {
        assert_eq!(store.verify(&what, VerifyMode::Report).await.unwrap(), []);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leads_of_an_account_that_left_are_freed_in_portions_that_any_replica_continues() {
    let (service, claims) = world().await;
    // Holds up what upkeep does by itself, so that this test does it.
    let (upkeep, sql) = (service.sql().await, service.sql().await);
    let lock = "SELECT pg_advisory_lock(hashtext('campaign-metrics freeing'), campaign_id) FROM campaigns";
    upkeep.batch_execute(lock).await.unwrap();
    assign(&service, "spring", &["bob"]).await;
    assert_eq!(leads(&service).await, (10_045, 9_985, Some(10_001)), "a portion less the 7 delivered and 8 claimed");
    assert_exact(&service).await;
    let of_bob = claim(&service, "bob", 1000).await;
    assert_eq!(of_bob.claims.len(), 1000, "what is freed can be claimed at once");
    assert_eq!(claim(&service, "ann", 1).await.claims, [], "and nothing by the account that left");
    let store = service.store();
    store.leads_free().await.unwrap();
    assert_eq!(leads(&service).await.2, Some(10_001), "another replica works on it");

    // That one is killed in the middle of its portion.
    let killed =
        "BEGIN; SELECT FROM campaigns FOR NO KEY UPDATE; UPDATE leads SET account_id = NULL WHERE lead_no = 10001";
    upkeep.batch_execute(killed).await.unwrap();
    drop(upkeep);
    freed(&service).await;
    assert_eq!(leads(&service).await, (15, 20_015, None));
    assert_exact(&service).await;
    let held: i64 = sql.query_one("SELECT count(*) FROM campaign_accounts WHERE removed", &[]).await.unwrap().get(0);
    assert_eq!(held, 1, "ann has leads that wait for her");

    // All others go to bob: 4 were released, 8 are held by ann.
    let mut claimed = of_bob.claims.len();
    loop {
        let more = claim(&service, "bob", 1000).await.claims.len();
        claimed += more;
        if more == 0 {
            break;
        }
    }
    assert_eq!(claimed, LEADS - 7 - 8);
    report_new(&service, claims[11..].iter().map(|claim| by_key(claim, OutcomeKind::Delivered)).collect()).await;
    assert_exact(&service).await;
}

#[tokio::test]
async fn an_account_that_returns_keeps_what_was_not_freed_and_can_leave_again() {
    let (service, _) = world().await;
    let upkeep = service.sql().await;
    let lock = "SELECT pg_advisory_lock(hashtext('campaign-metrics freeing'), campaign_id) FROM campaigns";
    upkeep.batch_execute(lock).await.unwrap();
    assign(&service, "spring", &["bob"]).await;
    assign(&service, "spring", &["ann", "bob"]).await;
    assert_eq!(leads(&service).await, (10_045, 9_985, None), "nothing more is freed");
    assert_exact(&service).await;
    assert_eq!(claim(&service, "ann", 500).await.claims.len(), 500);
    assign(&service, "spring", &["bob"]).await;
    assert_eq!(leads(&service).await.2, Some(10_001), "from the first lead on");
    drop(upkeep);
    freed(&service).await;
    assert_eq!(leads(&service).await, (511, 19_519, None), "what she has claimed of her own stays hers");
    assert_exact(&service).await;
}

#[tokio::test]
async fn deleting_an_account_reads_no_lead() {
    let service = Service::start().await;
    for account in ["ann", "bob", "eve"] {
        create_account(&service, account, None).await;
    }
    create_campaign(&service, "spring", settings(1, &["ann", "bob"])).await;
    add_leads(&service, "spring", 3, Some("ann"), false).await;
    let claims = claim(&service, "ann", 3).await.claims;
    report_new(&service, claims.iter().map(|claim| by_key(claim, OutcomeKind::Delivered)).collect()).await;
    assign(&service, "spring", &["bob"]).await;
    let delete = async |id: &str| {
        let request = pb::DeleteAccountRequest { name: account_name(id), ..Default::default() };
        let mut accounts = service.accounts.clone();
        tokio::time::timeout(SOON, accounts.delete_account(request)).await.expect("it reads no lead")
    };
    let locked = service.sql().await;
    locked.batch_execute("BEGIN; LOCK leads IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let refused = delete("ann").await;
    assert_refused(refused, Code::FailedPrecondition, "ACCOUNT_IN_USE", "ann");
    delete("eve").await.expect("it has no leads");
    locked.batch_execute("COMMIT").await.unwrap();
    let request = pb::DeleteCampaignRequest { name: campaign_name("spring"), force: true, ..Default::default() };
    service.campaigns.clone().delete_campaign(request).await.unwrap();
    service.clock.advance(Duration::from_hours(1));
    delete("ann").await.expect("the leads of a deleted campaign do not count");
}

#[tokio::test]
async fn failed_leads_keep_the_account_that_left_only_after_a_delivery() {
    let service = Service::start().await;
    for account in ["ann", "bob"] {
        create_account(&service, account, None).await;
    }
    create_campaign(&service, "spring", settings(2, &["ann", "bob"])).await;
    add_leads(&service, "spring", 3, Some("ann"), false).await;
    let fails = |lead: &str, step| by_lead("spring", lead, step, OutcomeKind::Failed);
    let delivered = by_lead("spring", "l1", 1, OutcomeKind::Delivered);
    report_new(&service, vec![fails("l0", 1), delivered, fails("l1", 2)]).await;
    assign(&service, "spring", &["bob"]).await;
    let request = pb::ListLeadsRequest { parent: campaign_name("spring"), ..Default::default() };
    let leads = service.leads.clone().list_leads(request).await.unwrap().into_inner().leads;
    let shown: Vec<_> = leads.iter().map(|lead| (lead.status(), lead.account.as_str())).collect();
    let (failed, pending) = (pb::LeadStatus::Failed, pb::LeadStatus::Pending);
    assert_eq!(shown, [(failed, ""), (failed, &*account_name("ann")), (pending, "")]);
    assert_exact(&service).await;
}
