//! An id that very many campaigns have opts out: its leads are told in portions, and none is claimed meanwhile.

use campaign_metrics::pb::{self, LeadStatus, OutcomeKind, OutcomeVerdict};
use campaign_metrics_service::store::VerifyMode;
use futures::{StreamExt as _, stream};

use crate::{
    harness::{
        postgres::Connection,
        recount::assert_counts,
        service::Service,
        wait::{SOON, until},
    },
    world::{
        WORKSPACE, account_name, add_leads, by_lead, claim, create_account, create_campaign, get, lead_name, report,
        settings,
    },
};

/// More campaigns than one transaction tells.
const CAMPAIGNS: usize = 270;
/// Keeps upkeep from telling leads by itself.
const HOLD_UP: &str = "SELECT pg_advisory_lock(hashtext('campaign-metrics telling'), workspace_id) FROM workspaces";

fn campaign(number: usize) -> String {
    format!("c{number}")
}

/// Campaigns with a lead `l0` each, in the order of their numbers. Ann serves the last one, bob the one before, eve the others.
async fn world() -> (Service, Connection) {
    let service = Service::start().await;
    for account in ["ann", "bob", "eve"] {
        create_account(&service, account, None).await;
    }
    let make = async |number: usize| {
        let account = match CAMPAIGNS - number {
            1 => "ann",
            2 => "bob",
            _ => "eve",
        };
        create_campaign(&service, &campaign(number), settings(1, &[account])).await;
        add_leads(&service, &campaign(number), 1, None, false).await;
    };
    stream::iter(0..CAMPAIGNS - 2).for_each_concurrent(8, make).await;
    make(CAMPAIGNS - 2).await;
    make(CAMPAIGNS - 1).await;
    let upkeep = service.sql().await;
    upkeep.batch_execute(HOLD_UP).await.unwrap();
    (service, upkeep)
}

/// Leads that are not told.
async fn untold(sql: &Connection) -> i64 {
    let count = "SELECT count(*) FROM leads WHERE NOT has_fact(mask, opted_out_bit())";
    sql.query_one(count, &[]).await.unwrap().get(0)
}

async fn waiting(sql: &Connection) -> i64 {
    sql.query_one("SELECT count(*) FROM opt_outs_waiting", &[]).await.unwrap().get(0)
}

/// Every count of these campaigns is what a recount says, and of all others what `verify` says.
async fn assert_exact(service: &Service, campaigns: &[usize]) {
    let sql = service.sql().await;
    for number in campaigns {
        assert_counts(&sql, &get(service, &campaign(*number)).await).await;
    }
    let store = service.store();
    for what in store.verify_list().await.unwrap() {
        assert_eq!(store.verify(&what, VerifyMode::Report).await.unwrap(), []);
    }
}

async fn status(service: &Service, number: usize) -> LeadStatus {
    let request = pb::GetLeadRequest { name: lead_name(&campaign(number), "l0") };
    service.leads.clone().get_lead(request).await.expect("it exists").into_inner().status()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_opt_out_holds_at_once_and_its_leads_are_told_in_portions_that_any_replica_continues() {
    let (service, upkeep) = world().await;
    let sql = service.sql().await;
    let held = claim(&service, "bob", 1).await.claims;
    assert_eq!(held.len(), 1);
    let verdict = report(&service, vec![by_lead("c0", "l0", 0, OutcomeKind::OptedOut)]).await;
    assert_eq!(verdict[0].verdict(), OutcomeVerdict::Applied);
    assert_eq!((untold(&sql).await, waiting(&sql).await), (20, 1), "250 are told at once");
    let (last, before) = (CAMPAIGNS - 1, CAMPAIGNS - 2);
    assert_exact(&service, &[0, before, last]).await;

    assert_eq!(claim(&service, "ann", 9).await.claims, [], "the list decides");
    assert_eq!(status(&service, last).await, LeadStatus::Failed);
    assert_eq!(untold(&sql).await, 19, "its lead was told for the claim");
    assert_eq!(status(&service, before).await, LeadStatus::Pending);
    let renew = pb::RenewClaimsRequest {
        account: account_name("bob"),
        claim_ids: vec![held[0].claim_id.clone()],
        ..Default::default()
    };
    let renewed = service.sending.clone().renew_claims(renew).await.unwrap().into_inner().results;
    assert_eq!(renewed[0].verdict(), pb::RenewVerdict::Revoked, "its lead opted out");
    assert_eq!(status(&service, before).await, LeadStatus::Failed);
    // Leads that are added meanwhile are told at once.
    create_campaign(&service, "new", settings(1, &["ann"])).await;
    add_leads(&service, "new", 1, None, false).await;
    assert_eq!(claim(&service, "ann", 9).await.claims, []);
    assert_eq!(untold(&sql).await, 18);

    // Another replica works on it, and is killed in the middle of its portion.
    service.store().opt_outs_tell().await.unwrap();
    assert_eq!(untold(&sql).await, 18, "it belongs to the other replica");
    let killed = "BEGIN; SELECT FROM opt_outs_waiting FOR UPDATE; UPDATE opt_outs_waiting SET told_to = 2147483647";
    upkeep.batch_execute(killed).await.unwrap();
    drop(upkeep);
    let (one, two) = (service.store(), service.store());
    let told = until("all leads to be told", SOON, async || {
        tokio::try_join!(one.opt_outs_tell(), two.opt_outs_tell())?;
        anyhow::ensure!(waiting(&sql).await == 0, "the id still waits");
        Ok(())
    });
    told.await.unwrap();
    assert_eq!(untold(&sql).await, 0);
    assert_exact(&service, &[0, 249, 251, before, last]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_that_leaves_the_list_has_opted_out_in_all_campaigns_of_now_and_in_none_of_later() {
    let (service, _upkeep) = world().await;
    let sql = service.sql().await;
    let add = pb::AddOptOutsRequest { parent: WORKSPACE.into(), lead_ids: vec!["l0".into()] };
    assert_eq!(service.opt_outs.clone().add_opt_outs(add).await.unwrap().into_inner().added_count, 1);
    assert_eq!((untold(&sql).await, waiting(&sql).await), (20, 1));
    let delete = pb::DeleteOptOutRequest { name: format!("{WORKSPACE}/optOuts/l0") };
    service.opt_outs.clone().delete_opt_out(delete).await.expect("it is on the list");
    assert_eq!((untold(&sql).await, waiting(&sql).await), (0, 0));
    create_campaign(&service, "new", settings(1, &["ann"])).await;
    add_leads(&service, "new", 1, None, false).await;
    assert_eq!(claim(&service, "ann", 9).await.claims.len(), 1, "of the new campaign");
    assert_exact(&service, &[0, CAMPAIGNS - 1]).await;
}
