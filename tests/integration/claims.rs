//! Claims: each step of a lead is granted once, and each claim ends in exactly one way. Reasons for not granting are in
//! `limits`, concurrent claimers in `crowds`.

use std::{collections::HashSet, time::Duration};

use campaign_metrics::pb::{self, NotSendingReason as Why, OutcomeKind, RenewVerdict};
use futures::future::join_all;
use jiff::{Timestamp, ToSpan as _};
use tonic::Code;

use crate::{
    harness::{
        postgres::Connection,
        recount::assert_counts,
        service::{Service, monday},
    },
    world::{
        account_name, add_leads, assert_refused, assign, blocked, by_key, claim, create_account, create_campaign, get,
        pause, reasons, report_new, resume, settings, try_add,
    },
};

fn keys(claims: &[pb::Claim]) -> HashSet<String> {
    claims.iter().map(|claim| claim.send_key.clone()).collect()
}

fn at(time: &prost_types::Timestamp) -> Timestamp {
    Timestamp::new(time.seconds, time.nanos).expect("a time")
}

#[tokio::test]
async fn a_repeated_request_id_returns_the_same_claims_and_serves_no_other_body() {
    let service = Service::start().await;
    create_account(&service, "ann", None).await;
    create_campaign(&service, "spring", settings(1, &["ann"])).await;
    add_leads(&service, "spring", 100, None, false).await;
    let request = pb::ClaimSendsRequest {
        account: account_name("ann"),
        max_claims: 70,
        request_id: "7f9c24e8-3b12-4fef-91e0-5a1d2f3c4b5a".into(),
        ..Default::default()
    };
    let repeat = async || service.sending.clone().claim_sends(request.clone()).await.unwrap().into_inner().claims;
    let first = repeat().await;
    assert_eq!(first.len(), 70);
    assert_eq!(repeat().await, first);
    report_new(&service, vec![by_key(&first[0], OutcomeKind::Delivered)]).await;
    assert_eq!(repeat().await, first[1..], "those still held");
    let other = pb::ClaimSendsRequest { max_claims: 71, ..request.clone() };
    let refused = service.sending.clone().claim_sends(other).await;
    assert_refused(refused, Code::AlreadyExists, "REQUEST_ID_REUSED", "another body");
    let concurrent =
        pb::ClaimSendsRequest { request_id: "7f9c24e8-3b12-4fef-91e0-5a1d2f3c4b5b".into(), max_claims: 5, ..request };
    let answers = join_all((0..10).map(|_| {
        let (mut sending, request) = (service.sending.clone(), concurrent.clone());
        async move { keys(&sending.claim_sends(request).await.unwrap().into_inner().claims) }
    }));
    let answers = answers.await;
    assert!(answers.iter().all(|keys| *keys == answers[0] && keys.len() == 5), "{answers:?}");
}

#[tokio::test]
async fn a_released_claim_is_due_again_at_its_time_with_the_same_key_and_gives_its_share_of_the_day_back() {
    let service = Service::start().await;
    create_account(&service, "ann", Some(3)).await;
    create_campaign(&service, "spring", settings(1, &["ann"])).await;
    add_leads(&service, "spring", 3, None, false).await;
    let claims = claim(&service, "ann", 3).await.claims;
    let ids: Vec<String> = claims.iter().map(|claim| claim.claim_id.clone()).collect();
    let later = monday().checked_add(10.minutes()).unwrap();
    let release = pb::ReleaseClaimsRequest {
        account: account_name("ann"),
        claim_ids: vec![ids[0].clone(), ids[0].clone(), ids[1].clone()],
        not_before: Some(prost_types::Timestamp { seconds: later.as_second(), nanos: 0 }),
    };
    let released = service.sending.clone().release_claims(release.clone()).await.unwrap().into_inner();
    assert_eq!((released.released_count, released.not_held_claim_ids.len()), (2, 0));
    let again = service.sending.clone().release_claims(release).await.unwrap().into_inner();
    assert_eq!((again.released_count, again.not_held_claim_ids.len()), (0, 2));
    let response = claim(&service, "ann", 3).await;
    assert_eq!((response.claims.len(), reasons(&response)), (0, vec![Why::NoLeadDue]));
    assert_eq!(response.next_change_time.as_ref().map(at), Some(later));
    service.clock.advance(Duration::from_mins(10));
    let claimed_again = claim(&service, "ann", 3).await.claims;
    assert_eq!(keys(&claimed_again), keys(&claims[..2]), "the same keys");
    assert!(claimed_again.iter().all(|claim| !ids.contains(&claim.claim_id)), "under other ids");
    let request = pb::GetAccountRequest { name: account_name("ann") };
    let account = service.accounts.clone().get_account(request).await.unwrap().into_inner();
    assert_eq!(account.reserved_today, 3);
}

#[tokio::test]
async fn an_expired_claim_is_uncertain_and_never_handed_out_again_until_its_outcome_comes() {
    let service = Service::start().await;
    create_account(&service, "ann", None).await;
    create_campaign(&service, "spring", settings(1, &["ann"])).await;
    add_leads(&service, "spring", 1, None, true).await;
    let claims = claim(&service, "ann", 1).await.claims;
    service.clock.advance(Duration::from_mins(5));
    let response = claim(&service, "ann", 1).await;
    assert_eq!((response.claims.len(), reasons(&response)), (0, vec![Why::NoLeadDue, Why::UncertainClaims]));
    let campaign = get(&service, "spring").await;
    assert_eq!((campaign.in_flight_claims, campaign.uncertain_claims), (0, 1));
    assert_eq!(campaign.state(), pb::CampaignState::Active, "it does not finish by itself meanwhile");
    let request = pb::ListClaimsRequest {
        account: account_name("ann"),
        state: pb::ClaimState::Uncertain.into(),
        ..Default::default()
    };
    let listed = service.sending.clone().list_claims(request).await.unwrap().into_inner().claims;
    assert_eq!(keys(&listed), keys(&claims));
    report_new(&service, vec![by_key(&claims[0], OutcomeKind::Delivered)]).await;
    let campaign = get(&service, "spring").await;
    assert_eq!((campaign.uncertain_claims, campaign.state()), (0, pb::CampaignState::Finished));
    assert_eq!(campaign.finish_reason(), pb::FinishReason::Completed);
}

#[tokio::test]
async fn under_the_retry_policy_an_expired_claim_is_handed_out_again_with_the_same_key() {
    let service = Service::start().await;
    create_account(&service, "ann", None).await;
    let retry = pb::Campaign { claim_expiry_policy: pb::ClaimExpiryPolicy::Retry.into(), ..settings(1, &["ann"]) };
    create_campaign(&service, "spring", retry).await;
    add_leads(&service, "spring", 70, None, true).await;
    let first = claim(&service, "ann", 71).await;
    let expiry = monday().checked_add(5.minutes()).unwrap();
    assert_eq!(first.next_change_time.as_ref().map(at), Some(expiry), "when those claims are due again");
    let first = first.claims;
    report_new(&service, vec![by_key(&first[3], OutcomeKind::Delivered)]).await;
    service.clock.advance(Duration::from_mins(4));
    let waiting = claim(&service, "ann", 1).await;
    assert_eq!((reasons(&waiting), waiting.next_change_time.as_ref().map(at)), (vec![Why::NoLeadDue], Some(expiry)));
    service.clock.advance(Duration::from_mins(1));
    let second = claim(&service, "ann", 100).await;
    let expiry = monday().checked_add(10.minutes()).unwrap();
    assert_eq!(second.next_change_time.as_ref().map(at), Some(expiry), "when these are due again");
    let second = second.claims;
    let mut expected = keys(&first);
    expected.remove(&first[3].send_key);
    assert_eq!(keys(&second), expected, "all but the one with an outcome");
    // The late outcome of the first claim closes the second one.
    report_new(&service, vec![by_key(&first[0], OutcomeKind::Delivered)]).await;
    assert_eq!(get(&service, "spring").await.in_flight_claims, 68);
}

#[tokio::test]
async fn a_claim_that_retries_only_a_part_of_what_expired_asks_for_another_try_soon() {
    let service = Service::start().await;
    create_account(&service, "ann", None).await;
    let retry = pb::Campaign { claim_expiry_policy: pb::ClaimExpiryPolicy::Retry.into(), ..settings(1, &["ann"]) };
    create_campaign(&service, "spring", retry).await;
    add_leads(&service, "spring", 300, None, true).await;
    // Each has a row of its own, and one transaction retries a bounded number of rows.
    let ask = |request_id: String| pb::ClaimSendsRequest {
        account: account_name("ann"),
        max_claims: 1,
        request_id,
        ..Default::default()
    };
    let sending = service.sending.clone();
    let claim_as =
        async |id: &str| sending.clone().claim_sends(ask(id.to_owned())).await.expect("an answer").into_inner();
    for number in 0..300 {
        assert_eq!(claim_as(&format!("00000000-0000-4000-8000-{number:012}")).await.claims.len(), 1);
    }
    service.clock.advance(Duration::from_mins(5));
    let soon = Some(monday().checked_add(301.seconds()).unwrap());
    let repeated = claim_as("00000000-0000-4000-8000-000000000007").await;
    assert_eq!((repeated.claims.len(), repeated.next_change_time.as_ref().map(at)), (0, soon), "by a new request");
    assert!(reasons(&repeated).contains(&Why::UncertainClaims));
    let first = claim(&service, "ann", 1000).await;
    assert_eq!((first.claims.len(), first.next_change_time.as_ref().map(at)), (256, soon));
    assert_eq!(reasons(&first), [Why::NoLeadDue, Why::UncertainClaims]);
    assert_eq!(claim(&service, "ann", 1000).await.claims.len(), 44);
}

#[tokio::test]
async fn follow_ups_wait_for_their_delay_and_are_skipped_after_a_reply_or_a_failure() {
    let service = Service::start().await;
    create_account(&service, "ann", None).await;
    create_campaign(&service, "spring", settings(2, &["ann"])).await;
    add_leads(&service, "spring", 4, None, true).await;
    let first = claim(&service, "ann", 10).await.claims;
    let delivered = |place: usize| by_key(&first[place], OutcomeKind::Delivered);
    report_new(&service, vec![delivered(0), delivered(1), delivered(2), by_key(&first[3], OutcomeKind::Failed)]).await;
    let waiting = claim(&service, "ann", 10).await;
    assert_eq!((waiting.claims.len(), reasons(&waiting)), (0, vec![Why::NoLeadDue]));
    assert_eq!(waiting.next_change_time.as_ref().map(at), Some(monday().checked_add(1.hour()).unwrap()));
    report_new(&service, vec![by_key(&first[1], OutcomeKind::Replied), by_key(&first[2], OutcomeKind::OptedOut)]).await;
    service.clock.advance(Duration::from_hours(1));
    let second = claim(&service, "ann", 10).await.claims;
    assert_eq!(second.len(), 1);
    assert_eq!((second[0].lead.as_str(), second[0].step), (first[0].lead.as_str(), 2));
    report_new(&service, vec![by_key(&second[0], OutcomeKind::Delivered)]).await;
    let campaign = get(&service, "spring").await;
    assert_eq!(campaign.state(), pb::CampaignState::Finished);
    assert_counts(&*service.sql().await, &campaign).await;
}

#[tokio::test]
async fn renewing_extends_and_tells_what_is_no_longer_worth_sending() {
    let service = Service::start().await;
    create_account(&service, "ann", None).await;
    create_campaign(&service, "spring", settings(1, &["ann"])).await;
    create_campaign(&service, "autumn", settings(1, &["ann"])).await;
    add_leads(&service, "spring", 2, None, false).await;
    add_leads(&service, "autumn", 2, None, false).await;
    let claims = claim(&service, "ann", 4).await.claims;
    assert_eq!(claims.len(), 4, "both campaigns give");
    let spring: Vec<&pb::Claim> = claims.iter().filter(|claim| claim.lead.contains("spring")).collect();
    let autumn: Vec<&pb::Claim> = claims.iter().filter(|claim| claim.lead.contains("autumn")).collect();
    report_new(&service, vec![by_key(spring[0], OutcomeKind::Replied), by_key(spring[1], OutcomeKind::Delivered)])
        .await;
    pause(&service, "autumn").await;
    let request = pb::RenewClaimsRequest {
        account: account_name("ann"),
        claim_ids: [spring[0], spring[1], autumn[0]].iter().map(|claim| claim.claim_id.clone()).collect(),
        hold_duration: Some(prost_types::Duration { seconds: 1800, nanos: 0 }),
    };
    let renewed = service.sending.clone().renew_claims(request.clone()).await.unwrap().into_inner().results;
    let verdicts: Vec<RenewVerdict> = renewed.iter().map(pb::RenewResult::verdict).collect();
    assert_eq!(verdicts, [RenewVerdict::Revoked, RenewVerdict::NotHeld, RenewVerdict::Revoked]);
    resume(&service, "autumn").await;
    let renewed = service.sending.clone().renew_claims(request).await.unwrap().into_inner().results;
    assert_eq!(renewed[2].verdict(), RenewVerdict::Renewed);
    assert_eq!(renewed[2].expire_time.as_ref().map(at), Some(monday().checked_add(30.minutes()).unwrap()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_grants_only_from_campaigns_that_it_locked() {
    let service = Service::start().await;
    create_account(&service, "ann", None).await;
    for campaign in ["first", "second"] {
        create_campaign(&service, campaign, settings(1, &["ann"])).await;
        add_leads(&service, campaign, 2, None, false).await;
    }
    pause(&service, "second").await;
    let hold = async |sql: &mut Connection, campaign: &str| {
        sql.batch_execute("BEGIN").await.unwrap();
        sql.execute("SELECT FROM campaigns WHERE name = $1 FOR UPDATE", &[&campaign]).await.unwrap();
    };
    let observer = service.sql().await;
    let (mut first, mut second) = (service.sql().await, service.sql().await);
    hold(&mut first, "first").await;
    let claiming = async {
        let claims = claim(&service, "ann", 10).await.claims;
        assert_eq!(claims.len(), 4, "both campaigns, each when it was free");
    };
    let meddling = async {
        blocked(&observer, &first, 1).await;
        // It is active by now and locked by another session, so the claim must wait for it, too.
        resume(&service, "second").await;
        hold(&mut second, "second").await;
        first.batch_execute("COMMIT").await.unwrap();
        blocked(&observer, &second, 1).await;
        second.batch_execute("COMMIT").await.unwrap();
    };
    futures::join!(claiming, meddling);
}

#[tokio::test]
async fn new_leads_are_claimed_to_the_end_of_their_range_where_another_range_begins() {
    let service = Service::start().await;
    create_account(&service, "ann", None).await;
    create_account(&service, "bob", None).await;
    create_campaign(&service, "spring", settings(1, &["ann", "bob"])).await;
    let lead =
        |(number, account): (usize, &str)| pb::NewLead { lead_id: format!("l{number}"), account_id: account.into() };
    let leads = (0..6).map(|number| (number, if number < 3 { "" } else { "ann" })).map(lead).collect();
    try_add(&service, "spring", leads, true).await.expect("leads");
    // From now on any account may claim her leads.
    assign(&service, "spring", &["bob"]).await;
    for max in [2, 1, 3] {
        let granted = claim(&service, "bob", max).await.claims.len();
        assert_eq!(i32::try_from(granted), Ok(max));
    }
    let sql = service.sql().await;
    assert_counts(&sql, &get(&service, "spring").await).await;
}
