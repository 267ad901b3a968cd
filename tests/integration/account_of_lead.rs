//! A lead keeps the account that GetLead shows, whatever is reported of it and in whatever order: messages count for that
//! account, and the next step goes to it.

use std::time::Duration;

use campaign_metrics::pb::{self, ClaimExpiryPolicy, OutcomeKind};

use crate::{
    harness::{recount::assert_counts, service::Service},
    world::{
        account_name, add_leads, blocked, by_key, by_lead, campaign_name, claim, create_account, create_campaign, get,
        lead_name, report_new, settings, try_add,
    },
};

const HOUR: Duration = Duration::from_hours(1);

async fn world(policy: ClaimExpiryPolicy) -> Service {
    let service = Service::start().await;
    create_account(&service, "ann", None).await;
    create_account(&service, "bob", None).await;
    let campaign = pb::Campaign { claim_expiry_policy: policy.into(), ..settings(3, &["ann", "bob"]) };
    create_campaign(&service, "spring", campaign).await;
    service
}

async fn add(service: &Service, ids: &[&str]) {
    let leads = ids.iter().map(|id| pb::NewLead { lead_id: (*id).into(), ..Default::default() }).collect();
    try_add(service, "spring", leads, false).await.expect("leads");
}

/// The account of a lead as GetLead shows it.
async fn shown(service: &Service, id: &str) -> String {
    let request = pb::GetLeadRequest { name: lead_name("spring", id) };
    service.leads.clone().get_lead(request).await.expect("a lead").into_inner().account
}

/// The accounts of a lead's outcomes, in order of arrival.
async fn trail(service: &Service, id: &str) -> Vec<String> {
    let request = pb::ListLeadOutcomesRequest { parent: lead_name("spring", id), ..Default::default() };
    let trail = service.leads.clone().list_lead_outcomes(request).await.expect("a trail").into_inner().outcomes;
    trail.into_iter().map(|outcome| outcome.account).collect()
}

/// Delivered messages of an account, ever.
async fn delivered(service: &Service, account: &str) -> i64 {
    let request = pb::GetAccountRequest { name: account_name(account) };
    let account = service.accounts.clone().get_account(request).await.expect("an account").into_inner();
    account.lifetime.expect("its messages").delivered
}

fn delivered_of(id: &str, step: i32) -> pb::Outcome {
    by_lead("spring", id, step, OutcomeKind::Delivered)
}

async fn names(service: &Service, account: &str) -> Vec<(String, i32)> {
    let claims = claim(service, account, 9).await.claims;
    claims.into_iter().map(|claim| (claim.lead.rsplit('/').next().unwrap().to_owned(), claim.step)).collect()
}

#[tokio::test]
async fn a_step_that_is_reported_beside_the_claim_of_another_counts_for_its_account_and_leaves_the_lead_to_it() {
    let service = world(ClaimExpiryPolicy::Hold).await;
    add(&service, &["before", "after"]).await;
    let claims = claim(&service, "ann", 2).await.claims;
    let of = |id: &str| claims.iter().find(|claim| claim.lead == lead_name("spring", id)).expect("it is claimed");
    // The same two facts in both orders; the second step by lead and by a key of the sender's own.
    let key = of("after").send_key.rsplit_once('-').map(|(lead, _)| format!("{lead}-2")).unwrap();
    let second = pb::Outcome { send_key: key, kind: OutcomeKind::Delivered.into(), ..Default::default() };
    report_new(&service, vec![delivered_of("before", 2)]).await;
    assert_eq!(shown(&service, "before").await, account_name("ann"), "while the first step is claimed");
    report_new(&service, vec![by_key(of("before"), OutcomeKind::Delivered)]).await;
    report_new(&service, vec![by_key(of("after"), OutcomeKind::Delivered)]).await;
    report_new(&service, vec![second]).await;
    for id in ["before", "after"] {
        assert_eq!(shown(&service, id).await, account_name("ann"), "{id}");
        assert_eq!(trail(&service, id).await, [account_name("ann"), account_name("ann")], "{id}");
    }
    assert_eq!((delivered(&service, "ann").await, delivered(&service, "bob").await), (4, 0));
    service.clock.advance(2 * HOUR);
    assert_eq!(names(&service, "bob").await, [], "the third steps are hers");
    assert_eq!(names(&service, "ann").await.len(), 2);
    assert_counts(&*service.sql().await, &get(&service, "spring").await).await;
}

#[tokio::test]
async fn a_claim_that_expired_and_is_retried_leaves_the_lead_to_its_account() {
    let service = world(ClaimExpiryPolicy::Retry).await;
    add(&service, &["first"]).await;
    assert_eq!(names(&service, "ann").await.len(), 1);
    add(&service, &["second", "third"]).await;
    assert_eq!(names(&service, "bob").await.len(), 2);
    report_new(&service, vec![delivered_of("first", 2), delivered_of("second", 2)]).await;
    service.clock.advance(2 * HOUR);
    // Only upkeep ends what expired here: nobody claims.
    service.store().claims_retry().await.unwrap();
    report_new(&service, vec![delivered_of("third", 2)]).await;
    let expected = [("first", "ann"), ("second", "bob"), ("third", "bob")];
    for (id, account) in expected {
        assert_eq!(trail(&service, id).await, [account_name(account)], "{id}");
        assert_eq!(shown(&service, id).await, account_name(account), "{id}");
    }
    assert_eq!((delivered(&service, "ann").await, delivered(&service, "bob").await), (1, 2));
    service.clock.advance(2 * HOUR);
    assert_eq!(names(&service, "ann").await, [("first".to_owned(), 3)]);
    assert_eq!(names(&service, "bob").await.len(), 2, "the third steps of the other two");
}

#[tokio::test]
async fn the_late_outcome_of_a_claimed_lead_that_was_deleted_by_force_counts_for_the_account_of_the_claim() {
    let service = world(ClaimExpiryPolicy::Hold).await;
    add(&service, &["gone"]).await;
    let claims = claim(&service, "bob", 1).await.claims;
    report_new(&service, vec![by_lead("spring", "gone", 0, OutcomeKind::AutoReplied)]).await;
    let delete = pb::DeleteLeadRequest { name: lead_name("spring", "gone"), force: true };
    service.leads.clone().delete_lead(delete).await.expect("it is forgotten");
    report_new(&service, vec![by_key(&claims[0], OutcomeKind::Delivered)]).await;
    assert_eq!((delivered(&service, "ann").await, delivered(&service, "bob").await), (0, 1));
    let campaign = get(&service, "spring").await;
    assert_counts(&*service.sql().await, &campaign).await;
    let request = pb::ListCampaignAccountsRequest { parent: campaign_name("spring"), ..Default::default() };
    let accounts = service.performance.clone().list_campaign_accounts(request).await.expect("a list").into_inner();
    let leads: Vec<(String, i64)> = accounts
        .accounts
        .into_iter()
        .filter_map(|of| Some((of.account, of.lead_counts?.total)))
        .filter(|(_, total)| *total > 0)
        .collect();
    assert_eq!(leads, [(account_name("bob"), 1)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_of_a_step_finds_the_claim_of_another_that_was_granted_meanwhile() {
    let service = world(ClaimExpiryPolicy::Hold).await;
    add_leads(&service, "spring", 1, None, false).await;
    let (other, watcher) = (service.sql().await, service.sql().await);
    other.batch_execute("BEGIN; SELECT FROM campaign_counters FOR UPDATE").await.unwrap();
    let reporting = report_new(&service, vec![delivered_of("l0", 2)]);
    let claiming = async {
        blocked(&watcher, &other, 1).await;
        // The report is not committed, so the claim can't see it.
        let claims = claim(&service, "bob", 1).await.claims;
        other.batch_execute("COMMIT").await.unwrap();
        claims
    };
    let ((), claims) = tokio::join!(reporting, claiming);
    assert_eq!(claims.len(), 1);
    assert_eq!(trail(&service, "l0").await, [account_name("bob")]);
    report_new(&service, vec![by_key(&claims[0], OutcomeKind::Bounced)]).await;
    assert_eq!((shown(&service, "l0").await, delivered(&service, "bob").await), (account_name("bob"), 1));
    assert_counts(&watcher, &get(&service, "spring").await).await;
}
