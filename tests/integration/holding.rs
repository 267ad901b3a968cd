//! What a sender does with claims that it holds: renewals, releases, repeated requests; and finishes and pauses at the same
//! moment as other calls.

use campaign_metrics::pb::{self, CampaignState, RenewVerdict, Resolution};
use tonic::Code;

use crate::{
    edges::{claim_for, renew},
    harness::service::Service,
    world::{
        WORKSPACE, account_name, add_leads, assert_refused, assign, blocked, claim, create_account, create_campaign,
        finish, get, pause, settings, try_add,
    },
};

async fn world() -> Service {
    let service = Service::start().await;
    create_account(&service, "ann", None).await;
    create_account(&service, "bob", None).await;
    create_campaign(&service, "spring", settings(1, &["ann", "bob"])).await;
    service
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_leads_are_added_after_a_finish_was_answered() {
    let service = world().await;
    add_leads(&service, "spring", 3, None, false).await;
    let (other, watcher) = (service.sql().await, service.sql().await);
    // AddLeads has read the state when it waits here.
    other.batch_execute("BEGIN; LOCK TABLE lead_ids IN SHARE MODE").await.unwrap();
    let leads = ["x0", "x1"].map(|id| pb::NewLead { lead_id: id.into(), ..Default::default() });
    let adding = try_add(&service, "spring", leads.into(), false);
    let finishing = async {
        blocked(&watcher, &other, 1).await;
        let finishing = finish(&service, "spring");
        let waiting = async {
            blocked(&watcher, &other, 2).await;
            other.batch_execute("COMMIT").await.unwrap();
        };
        tokio::join!(finishing, waiting).0
    };
    let (added, finished) = tokio::join!(adding, finishing);
    assert_eq!(added.expect("they came first").added_count, 2);
    assert_eq!((finished.state(), finished.lead_counts.unwrap().total), (CampaignState::Finished, 5));
    let late = vec![pb::NewLead { lead_id: "x2".into(), ..Default::default() }];
    assert_refused(
        try_add(&service, "spring", late, false).await,
        Code::FailedPrecondition,
        "CAMPAIGN_FINISHED",
        "FINISHED",
    );
    assert_eq!(get(&service, "spring").await.lead_counts, finished.lead_counts, "what was answered holds");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_claim_is_renewed_past_what_the_answer_to_a_pause_says() {
    let service = world().await;
    add_leads(&service, "spring", 1, None, false).await;
    let claims = claim(&service, "ann", 1).await.claims;
    let (other, watcher) = (service.sql().await, service.sql().await);
    other.batch_execute("BEGIN; SELECT FROM claims FOR UPDATE").await.unwrap();
    let renewing = renew(&service, &claims[0], Some(3600));
    let pausing = async {
        blocked(&watcher, &other, 1).await;
        let waiting = async {
            blocked(&watcher, &other, 2).await;
            other.batch_execute("COMMIT").await.unwrap();
        };
        tokio::join!(pause(&service, "spring"), waiting).0
    };
    let (renewed, paused) = tokio::join!(renewing, pausing);
    assert_eq!(renewed.verdict(), RenewVerdict::Renewed, "it came first");
    assert_eq!(paused.in_flight_claims, 1);
    assert_eq!(paused.in_flight_until, renewed.expire_time, "the pause tells of the renewal");
    assert_eq!(renew(&service, &claims[0], Some(3600)).await.verdict(), RenewVerdict::Revoked);
    assert_eq!(get(&service, "spring").await.in_flight_until, paused.in_flight_until);
}

#[tokio::test]
async fn a_renewal_never_shortens_a_hold_and_is_refused_to_an_account_that_no_longer_serves() {
    let service = world().await;
    add_leads(&service, "spring", 1, None, false).await;
    let claims = claim_for(&service, 3000, 0).await.unwrap().claims;
    let until = claims[0].expire_time.unwrap();
    for hold in [None, Some(17), Some(2999)] {
        let renewed = renew(&service, &claims[0], hold).await;
        assert_eq!((renewed.verdict(), renewed.expire_time), (RenewVerdict::Renewed, Some(until)), "{hold:?}");
    }
    let request = pb::ListClaimsRequest { account: account_name("ann"), ..Default::default() };
    let listed = service.sending.clone().list_claims(request).await.unwrap().into_inner().claims;
    assert_eq!(listed[0].expire_time, Some(until));
    let longer = renew(&service, &claims[0], Some(3001)).await;
    assert_eq!(longer.expire_time, Some(prost_types::Timestamp { seconds: until.seconds + 1, ..until }));

    assign(&service, "spring", &["bob"]).await;
    let revoked = renew(&service, &claims[0], None).await;
    assert_eq!((revoked.verdict(), revoked.expire_time), (RenewVerdict::Revoked, None));
}

#[tokio::test]
async fn an_id_that_is_listed_several_times_counts_once() {
    let service = world().await;
    add_leads(&service, "spring", 4, None, false).await;
    let claims = claim(&service, "ann", 4).await.claims;
    let id = |place: usize| claims[place].claim_id.clone();
    let release = |claim_ids: Vec<String>| {
        let request = pb::ReleaseClaimsRequest { account: account_name("ann"), claim_ids, not_before: None };
        let mut sending = service.sending.clone();
        async move { sending.release_claims(request).await.unwrap().into_inner() }
    };
    let released = release(vec![id(0), id(0), id(1), id(0)]).await;
    assert_eq!((released.released_count, released.not_held_claim_ids), (2, vec![]));
    let released = release(vec![id(1), id(2), id(1)]).await;
    assert_eq!((released.released_count, released.not_held_claim_ids), (1, vec![id(1)]));
    service.clock.advance(std::time::Duration::from_secs(301));
    let resolution = |place: usize, resolution: Resolution| pb::ClaimResolution {
        claim_id: id(place),
        resolution: resolution.into(),
    };
    let resolutions = vec![
        resolution(3, Resolution::Sent),
        resolution(3, Resolution::NotSent),
        resolution(0, Resolution::Sent),
        resolution(0, Resolution::Sent),
    ];
    let request = pb::ResolveClaimsRequest { account: account_name("ann"), resolutions };
    let resolved = service.sending.clone().resolve_claims(request).await.unwrap().into_inner();
    assert_eq!((resolved.resolved_count, resolved.not_uncertain_claim_ids), (1, vec![id(0)]));
    assert_eq!(get(&service, "spring").await.lead_counts.unwrap().sent, 1, "the first resolution counts");
}

#[tokio::test]
async fn the_same_lead_twice_in_one_message_with_different_accounts_is_refused() {
    let service = world().await;
    let lead = |id: &str, account: &str| pb::NewLead { lead_id: id.into(), account_id: account.into() };
    let leads = vec![
        lead("a", "ann"),
        lead("a", "bob"),
        lead("a", ""),
        lead("a", "ann"),
        lead("b", ""),
        lead("b", "bob"),
        lead("c", "bob"),
    ];
    let answer = try_add(&service, "spring", leads, false).await.expect("an answer");
    let refused: Vec<(i64, &str)> = answer.refused.iter().map(|lead| (lead.index, lead.reason.as_str())).collect();
    assert_eq!(refused, [(1, "ACCOUNT_DIFFERS")]);
    assert_eq!((answer.added_count, answer.existing_count, answer.refused_count), (3, 3, 1));
}

#[tokio::test]
async fn a_request_id_in_upper_case_is_the_same_request() {
    let service = world().await;
    add_leads(&service, "spring", 5, None, false).await;
    let id = "7f9c24e8-3b12-4fef-91e0-5a1d2f3c4b5a";
    let ask = |request_id: String, max_claims: i32| {
        let request =
            pb::ClaimSendsRequest { account: account_name("ann"), max_claims, request_id, ..Default::default() };
        let mut sending = service.sending.clone();
        async move { sending.claim_sends(request).await }
    };
    let first = ask(id.to_owned(), 2).await.expect("claims").into_inner().claims;
    let again = ask(id.to_uppercase(), 2).await.expect("the same").into_inner().claims;
    assert_eq!((first.len(), first), (2, again));
    assert_refused(ask(id.to_uppercase(), 3).await, Code::AlreadyExists, "REQUEST_ID_REUSED", "request");
    let create = |request_id: String| {
        let account = pb::CreateAccountRequest {
            parent: WORKSPACE.into(),
            account_id: "carla".into(),
            account: Some(pb::Account::default()),
            request_id,
        };
        let mut accounts = service.accounts.clone();
        async move { accounts.create_account(account).await.expect("an account").into_inner().uid }
    };
    let other = "0d5f6a0e-2a53-4a5e-8d2e-0c5b8c0f6f1f";
    assert_eq!(create(other.to_uppercase()).await, create(other.to_owned()).await);
}
