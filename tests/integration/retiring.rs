//! An account whose campaigns are all finished is deleted: every count stays exact, and what was its is nobody's.

use std::time::Duration;

use campaign_metrics::pb::{self, OutcomeKind};
use campaign_metrics_service::store::{Difference, VerifyMode};
use tonic::Code;

use crate::{
    harness::{recount::assert_counts, service::Service},
    world::{
        account_name, add_leads, assert_refused, assign, by_key, by_lead, campaign_name, claim, create_account,
        create_campaign, finish, get, leads_with_accounts, report_new, settings, try_add,
    },
};

async fn delete(service: &Service, id: &str) -> Result<(), tonic::Status> {
    let request = pb::DeleteAccountRequest { name: account_name(id), ..Default::default() };
    service.accounts.clone().delete_account(request).await.map(tonic::Response::into_inner)
}

async fn history(service: &Service, by_account: bool) -> Vec<pb::HistoryDay> {
    let request = pb::QueryCampaignHistoryRequest { name: campaign_name("spring"), by_account, ..Default::default() };
    service.performance.clone().query_campaign_history(request).await.expect("a history").into_inner().days
}

async fn breakdown(service: &Service) -> pb::ListCampaignAccountsResponse {
    let request = pb::ListCampaignAccountsRequest { parent: campaign_name("spring"), ..Default::default() };
    service.performance.clone().list_campaign_accounts(request).await.expect("accounts").into_inner()
}

async fn verify(service: &Service) -> Vec<Difference> {
    let store = service.store();
    let mut found = Vec::new();
    for what in store.verify_list().await.expect("a list") {
        found.extend(store.verify(&what, VerifyMode::Report).await.expect("a recount"));
    }
    found
}

/// Sent, failed and pending leads; delivered, failed and bounced messages.
fn counts(of: &pb::CampaignAccount) -> [i64; 6] {
    let (leads, messages) = (of.lead_counts.unwrap_or_default(), of.message_counts.clone().unwrap_or_default());
    let sum = |reasons: &[pb::ReasonCount]| reasons.iter().map(|reason| reason.count).sum();
    let (failed, bounced) = (sum(&messages.failed), sum(&messages.bounced));
    [leads.sent, leads.failed, leads.pending, messages.delivered, failed, bounced]
}

/// The campaign `spring` of ann with 6 leads and of bob with 2, finished by request: 3 and 2 delivered, 2 failed, 1 open.
async fn spring(service: &Service) {
    for account in ["ann", "bob"] {
        create_account(service, account, None).await;
    }
    create_campaign(service, "spring", settings(1, &["ann", "bob"])).await;
    let lead = |number, account: &str| pb::NewLead { lead_id: format!("l{number}"), account_id: account.into() };
    let leads = (0..6).map(|number| lead(number, "ann")).chain((6..8).map(|number| lead(number, "bob")));
    try_add(service, "spring", leads.collect(), false).await.expect("leads");
    let outcome = |number, kind| by_lead("spring", &format!("l{number}"), 1, kind);
    let delivered = [0, 1, 2, 6, 7].map(|number| outcome(number, OutcomeKind::Delivered));
    let failed = [3, 4].map(|number| outcome(number, OutcomeKind::Failed));
    report_new(service, [&delivered[..], &failed[..]].concat()).await;
}

#[tokio::test]
async fn an_account_whose_campaigns_are_all_finished_is_deleted_and_every_count_stays() {
    let service = Service::start().await;
    spring(&service).await;
    create_campaign(&service, "summer", settings(1, &["ann"])).await;
    add_leads(&service, "summer", 1, Some("ann"), false).await;
    let refused = |answer, says| assert_refused(answer, Code::FailedPrecondition, "ACCOUNT_IN_USE", says);
    refused(delete(&service, "ann").await, "serves workspaces/acme/campaigns/spring, which is not finished");
    finish(&service, "spring").await;
    refused(delete(&service, "ann").await, "serves workspaces/acme/campaigns/summer, which is not finished");
    report_new(&service, vec![by_lead("summer", "l0", 1, OutcomeKind::Delivered)]).await;
    assign(&service, "summer", &["bob"]).await;
    refused(delete(&service, "ann").await, "has leads in workspaces/acme/campaigns/summer, which is not finished");
    finish(&service, "summer").await;

    let (before, days) = (get(&service, "spring").await, history(&service, false).await);
    let listed = breakdown(&service).await;
    assert_eq!(listed.accounts.iter().map(counts).collect::<Vec<_>>(), [[3, 2, 1, 3, 2, 0], [2, 0, 0, 2, 0, 0]]);
    assert_eq!(listed.unassigned, None);
    delete(&service, "ann").await.expect("nothing needs it");

    let after = get(&service, "spring").await;
    assert_eq!(after.accounts, [account_name("bob")]);
    assert_eq!(pb::Campaign { accounts: before.accounts.clone(), ..after.clone() }, before, "nothing else changed");
    let listed = breakdown(&service).await;
    assert_eq!(listed.accounts.iter().map(counts).collect::<Vec<_>>(), [[2, 0, 0, 2, 0, 0]]);
    assert_eq!(counts(&listed.unassigned.expect("what was hers")), [3, 2, 1, 3, 2, 0]);
    assert_eq!(history(&service, false).await, days);
    let by_account: Vec<_> = history(&service, true).await.into_iter().map(|day| day.account).collect();
    assert_eq!(by_account, [String::new(), account_name("bob")], "her row stays, without her name");
    let leads = ["l0/", "l1/", "l2/", "l3/", "l4/", "l5/", "l6/bob", "l7/bob"];
    assert_eq!(leads_with_accounts(&service, "spring").await, leads);
    assert_eq!(verify(&service).await, []);

    // A late outcome of a message that she sent, and another one under her id.
    report_new(&service, vec![by_lead("spring", "l1", 1, OutcomeKind::Bounced)]).await;
    let again = create_account(&service, "ann", None).await;
    assert_eq!((again.lifetime.unwrap_or_default().delivered, again.campaign_count), (0, 0), "another one");
    let listed = breakdown(&service).await;
    assert_eq!(counts(&listed.unassigned.expect("what was hers")), [2, 3, 1, 2, 2, 1]);
    assert_eq!(listed.accounts.len(), 1);
    assert_eq!(verify(&service).await, []);
    assert_counts(&*service.sql().await, &get(&service, "spring").await).await;
}

#[tokio::test]
async fn open_claims_keep_an_account_also_in_a_finished_campaign() {
    let service = Service::start().await;
    create_account(&service, "ann", None).await;
    create_campaign(&service, "spring", settings(1, &["ann"])).await;
    add_leads(&service, "spring", 2, Some("ann"), false).await;
    let claims = claim(&service, "ann", 1).await.claims;
    finish(&service, "spring").await;
    let refused = |answer| assert_refused(answer, Code::FailedPrecondition, "ACCOUNT_IN_USE", "held or uncertain");
    refused(delete(&service, "ann").await);
    service.clock.advance(Duration::from_hours(1));
    refused(delete(&service, "ann").await);
    report_new(&service, vec![by_key(&claims[0], OutcomeKind::Delivered)]).await;
    delete(&service, "ann").await.expect("nothing needs it");
}

#[tokio::test]
async fn a_finished_campaign_is_applied_though_its_resource_names_an_account_that_is_deleted() {
    let service = Service::start().await;
    for account in ["ann", "bob"] {
        create_account(&service, account, None).await;
    }
    let apply = async |accounts: &[&str], generation| {
        let request = pb::ApplyCampaignRequest {
            campaign: Some(pb::Campaign { name: campaign_name("spring"), ..settings(1, accounts) }),
            owner: Some(pb::Owner {
                resource: "acme/spring".into(),
                uid: "85704969-79fc-4874-9291-bdf323575356".into(),
                generation,
                ..Default::default()
            }),
            state: pb::CampaignState::Finished.into(),
            ..Default::default()
        };
        service.campaigns.clone().apply_campaign(request).await.map(tonic::Response::into_inner)
    };
    let missing = apply(&["ann", "ghost"], 1).await;
    assert_refused(missing, Code::FailedPrecondition, "ACCOUNT_NOT_FOUND", "accounts/ghost");
    assert_eq!(apply(&["ann", "bob"], 1).await.unwrap().state(), pb::CampaignState::Finished);
    delete(&service, "ann").await.expect("nothing needs it");
    for generation in [1, 2] {
        let applied = apply(&["ann", "bob"], generation).await.expect("its resource stays as it is");
        assert_eq!(applied.accounts, [account_name("bob")]);
    }
}
