//! Claims of one campaign that the sender asks for: no other's, by the same limits, with its own reasons. Senders that ask for
//! none get the same as before.

use std::collections::HashSet;

use campaign_metrics::pb::{self, NotSendingReason as Why, OutcomeKind};
use futures::future::join_all;
use tonic::{Code, Status};

use crate::{
    harness::service::Service,
    ways::{Served, Way, served},
    world::{
        account_name, add_leads, assert_refused, assign, by_key, campaign_name, claim, create_account, create_campaign,
        finish, get, pause, report_new, settings,
    },
};

/// Ann and bob serve spring and autumn, with so many leads. The campaign `others` is of bob alone.
async fn world(spring: usize, autumn: usize) -> Service {
    let service = Service::start().await;
    for account in ["ann", "bob"] {
        create_account(&service, account, None).await;
    }
    for (campaign, leads) in [("spring", spring), ("autumn", autumn)] {
        create_campaign(&service, campaign, settings(1, &["ann", "bob"])).await;
        add_leads(&service, campaign, leads, None, false).await;
    }
    create_campaign(&service, "others", settings(1, &["bob"])).await;
    service
}

fn ask(account: &str, campaign: &str, max_claims: i32) -> pb::ClaimSendsRequest {
    let campaign = campaign_name(campaign);
    pb::ClaimSendsRequest { account: account_name(account), campaign, max_claims, ..Default::default() }
}

async fn try_ask(service: &Service, request: pb::ClaimSendsRequest) -> Result<pb::ClaimSendsResponse, Status> {
    Ok(service.sending.clone().claim_sends(request).await?.into_inner())
}

async fn claim_of(service: &Service, account: &str, campaign: &str, max_claims: i32) -> pb::ClaimSendsResponse {
    try_ask(service, ask(account, campaign, max_claims)).await.expect("an answer")
}

async fn limit_ann(service: &Service, daily_limit: i32) {
    let account = pb::Account { name: account_name("ann"), daily_limit: Some(daily_limit), ..Default::default() };
    let request = pb::UpdateAccountRequest { account: Some(account), update_mask: None };
    service.accounts.clone().update_account(request).await.unwrap();
}

/// How many of the claims are of a campaign.
fn count(claims: &[pb::Claim], campaign: &str) -> usize {
    claims.iter().filter(|claim| claim.campaign == campaign_name(campaign)).count()
}

/// The campaigns that are blocked, with their reasons.
fn why(answer: &pb::ClaimSendsResponse) -> Vec<(&str, Vec<Why>)> {
    let id = |of: &pb::CampaignNotSending| of.campaign.clone().rsplit('/').next().unwrap_or_default().to_owned();
    let name = |id: String| ["spring", "autumn", "others"].into_iter().find(|name| *name == id).unwrap_or("none");
    answer.not_sending.iter().map(|of| (name(id(of)), of.reasons().collect())).collect()
}

#[tokio::test]
async fn claims_of_the_campaign_that_is_asked_for_are_granted_and_no_others() {
    let service = world(5, 9).await;
    let first = claim_of(&service, "ann", "spring", 2).await;
    let second = claim_of(&service, "ann", "spring", 2).await;
    assert_eq!(served(&service).await, Served { full: 1, optimistic: 1, undone: 0 }, "in both ways");
    let last = claim_of(&service, "ann", "spring", 20).await;
    assert_eq!([&first, &second, &last].map(|answer| count(&answer.claims, "spring")), [2, 2, 1]);
    assert_eq!(last.claims.len(), 1, "nothing of autumn");
    assert_eq!(why(&last), [("spring", vec![Why::NoLeadDue])], "autumn is no reason");
    assert_eq!(
        (get(&service, "spring").await.in_flight_claims, get(&service, "autumn").await.in_flight_claims),
        (5, 0)
    );
    let rest = claim(&service, "ann", 20).await.claims;
    assert_eq!((count(&rest, "autumn"), rest.len()), (9, 9));

    let request = pb::ListClaimsRequest { account: account_name("ann"), ..Default::default() };
    let listed = service.sending.clone().list_claims(request).await.unwrap().into_inner().claims;
    assert_eq!(
        (count(&listed, "spring"), count(&listed, "autumn"), listed.len()),
        (5, 9, 14),
        "listed with their names"
    );
    for claim in &listed {
        assert!(claim.lead.starts_with(&format!("{}/leads/", claim.campaign)), "{claim:?}");
    }
}

#[tokio::test]
async fn who_asks_for_none_still_gets_even_shares_of_all() {
    let service = world(900, 700).await;
    assert_eq!(count(&claim_of(&service, "ann", "spring", 100).await.claims, "spring"), 100);
    let shared = claim(&service, "ann", 200).await.claims;
    assert_eq!((count(&shared, "spring"), count(&shared, "autumn")), (100, 100));
    // What is known of all campaigns is not mixed with what is known of one.
    assert_eq!(count(&claim_of(&service, "ann", "autumn", 150).await.claims, "autumn"), 150);
    let shared = claim(&service, "ann", 202).await.claims;
    assert_eq!((count(&shared, "spring"), count(&shared, "autumn")), (101, 101));
    assert_eq!(served(&service).await, Served { full: 3, optimistic: 1, undone: 0 });
}

#[tokio::test]
async fn a_campaign_that_cannot_be_claimed_of_is_refused() {
    let service = world(5, 9).await;
    let foreign = pb::ClaimSendsRequest { campaign: "workspaces/other/campaigns/spring".into(), ..ask("ann", "", 1) };
    let refused = try_ask(&service, foreign).await;
    assert_refused(
        refused,
        Code::InvalidArgument,
        "INVALID_FIELD",
        "campaign: belongs to another workspace than `account`",
    );
    let malformed = pb::ClaimSendsRequest { campaign: "spring".into(), ..ask("ann", "", 1) };
    assert_refused(try_ask(&service, malformed).await, Code::InvalidArgument, "INVALID_FIELD", "campaign");
    let unknown = try_ask(&service, ask("ann", "winter", 1)).await;
    assert_refused(unknown, Code::NotFound, "NOT_FOUND", "workspaces/acme/campaigns/winter");
    let nobody = try_ask(&service, ask("eve", "spring", 1)).await;
    assert_refused(nobody, Code::NotFound, "NOT_FOUND", "workspaces/acme/accounts/eve");
    let says = "workspaces/acme/accounts/ann does not serve workspaces/acme/campaigns/others; add it to the campaign's accounts";
    let others = try_ask(&service, ask("ann", "others", 1)).await;
    assert_refused(others, Code::FailedPrecondition, "ACCOUNT_NOT_SERVING", says);
    assert_eq!(claim(&service, "ann", 20).await.claims.len(), 14, "a refusal changes nothing");
}

#[tokio::test]
async fn an_account_that_is_removed_gets_no_more_but_keeps_what_it_was_granted() {
    let service = world(5, 9).await;
    let request =
        pb::ClaimSendsRequest { request_id: "5b1f9f54-7a53-4f0e-9d0c-6a4f3c2b1a09".into(), ..ask("ann", "spring", 2) };
    let granted = try_ask(&service, request.clone()).await.unwrap().claims;
    assert_eq!(count(&granted, "spring"), 2);
    assign(&service, "spring", &["bob"]).await;
    let refused = try_ask(&service, ask("ann", "spring", 1)).await;
    assert_refused(refused, Code::FailedPrecondition, "ACCOUNT_NOT_SERVING", "does not serve");
    assert_eq!(try_ask(&service, request.clone()).await.unwrap().claims, granted, "a lost answer strands nothing");
    report_new(&service, granted.iter().map(|claim| by_key(claim, OutcomeKind::Delivered)).collect()).await;
    let refused = try_ask(&service, request).await;
    assert_refused(refused, Code::FailedPrecondition, "ACCOUNT_NOT_SERVING", "does not serve");
}

#[tokio::test]
async fn the_reasons_are_those_of_the_campaign_that_is_asked_for() {
    for way in Way::BOTH {
        let service = world(5, 9).await;
        limit_ann(&service, 3).await;
        let ask_for = async |campaign: &str| {
            way.forget(&service);
            claim_of(&service, "ann", campaign, 2).await
        };
        assert_eq!((ask_for("spring").await.claims.len(), ask_for("autumn").await.claims.len()), (2, 1));
        assert_eq!(why(&ask_for("spring").await), [("spring", vec![Why::AccountDailyLimit])], "{way:?}");
        pause(&service, "spring").await;
        assert_eq!(why(&ask_for("spring").await), [("spring", vec![Why::Paused, Why::AccountDailyLimit])]);
        for _ in 0..2 {
            finish(&service, "spring").await;
            let over = ask_for("spring").await;
            assert_eq!((over.claims.len(), why(&over)), (0, vec![("spring", vec![Why::Finished])]), "{way:?}");
            assert_eq!(over.next_change_time, None);
        }
        assert_eq!(why(&ask_for("autumn").await), [("autumn", vec![Why::AccountDailyLimit])]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_senders_that_ask_for_one_or_for_all_reach_every_limit_and_pass_none() {
    let one = world(90, 300).await;
    let two = Service::on(&one.database, one.clock.clone()).await;
    limit_ann(&one, 61).await;
    let update = pb::Campaign { name: campaign_name("spring"), daily_limit: Some(37), ..Default::default() };
    let request = pb::UpdateCampaignRequest { campaign: Some(update), update_mask: None };
    one.campaigns.clone().update_campaign(request).await.unwrap();

    let sender = async |number: usize| {
        let service = if number.is_multiple_of(2) { &one } else { &two };
        let account = ["ann", "bob"][number / 2 % 2];
        let asked = [Some("spring"), Some("autumn"), None][number % 3];
        let mut claims = Vec::new();
        for _ in 0..5 {
            let granted = match asked {
                Some(campaign) => claim_of(service, account, campaign, 3).await.claims,
                None => claim(service, account, 3).await.claims,
            };
            let of_asked = asked.map_or(granted.len(), |campaign| count(&granted, campaign));
            assert_eq!(of_asked, granted.len(), "{asked:?}");
            claims.extend(granted);
        }
        claims
    };
    let claims: Vec<pb::Claim> = join_all((0..36).map(sender)).await.into_iter().flatten().collect();
    let keys: HashSet<&String> = claims.iter().map(|claim| &claim.send_key).collect();
    assert_eq!(keys.len(), claims.len(), "no lead and step is claimed twice");
    let of = |account: &str| claims.iter().filter(|claim| claim.account == account_name(account)).count();
    // They asked for more than there is, so each limit is reached, and none is exceeded.
    assert_eq!((of("ann"), count(&claims, "spring")), (61, 37));
    let (spring, autumn) = (get(&one, "spring").await, get(&one, "autumn").await);
    assert_eq!(spring.in_flight_claims, 37);
    assert_eq!(usize::try_from(autumn.in_flight_claims), Ok(claims.len() - 37));
    let mut known = 0;
    for service in [&one, &two] {
        let served = served(service).await;
        known += served.optimistic + served.undone;
    }
    assert!(known > 0, "some are granted by what was known");
}
