//! Fair shares: first steps and follow-ups, accounts of a campaign, campaigns of an account.

use std::{collections::BTreeMap, time::Duration};

use campaign_metrics::pb::{self, Claim, OutcomeKind};

use crate::{
    harness::{recount::assert_counts, service::Service},
    ways::Way,
    world::{
        account_name, add_leads, by_key, campaign_name, claim, create_account, create_campaign, get, reasons,
        report_new, settings, try_add,
    },
};

/// Counts claims by a property.
fn count<Key: Ord>(claims: &[Claim], of: impl Fn(&Claim) -> Key) -> BTreeMap<Key, usize> {
    let mut counts = BTreeMap::new();
    for claim in claims {
        *counts.entry(of(claim)).or_default() += 1;
    }
    counts
}

fn campaign(claim: &Claim) -> String {
    claim.lead.split("/leads/").next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn first_steps_and_follow_ups_each_get_half_and_what_the_other_leaves() {
    for way in Way::BOTH {
        halves(way).await;
    }
}

async fn halves(way: Way) {
    let service = Service::start().await;
    create_account(&service, "ann", None).await;
    create_campaign(&service, "spring", settings(2, &["ann"])).await;
    add_leads(&service, "spring", 200, None, true).await;
    let first = claim(&service, "ann", 60).await.claims;
    report_new(&service, first.iter().map(|claim| by_key(claim, OutcomeKind::Delivered)).collect()).await;
    service.clock.advance(Duration::from_hours(1));
    // 60 follow-ups are due, and 140 first steps.
    let of_step = |claims: &[Claim]| count(claims, |claim| claim.step);
    // A released first step is due again as a first step.
    way.warm(&service, "ann").await;
    assert_eq!(of_step(&way.claim(&service, "ann", 40).await.claims), BTreeMap::from([(1, 20), (2, 20)]), "{way:?}");
    // With one claim at a time neither kind waits for the other to run out.
    let mut single = Vec::new();
    for _ in 0..40 {
        single.extend(way.claim(&service, "ann", 1).await.claims);
    }
    way.assert_served(&service).await;
    let single = of_step(&single);
    assert!(single[&1] >= 5 && single[&2] >= 5, "{single:?}");
    let rest = claim(&service, "ann", 1000).await.claims;
    assert_eq!(rest.len(), 120, "what one kind lacks the other one takes");
    assert_counts(&*service.sql().await, &get(&service, "spring").await).await;
}

#[tokio::test]
async fn accounts_share_the_leads_of_a_campaign_and_each_keeps_its_own() {
    for way in Way::BOTH {
        accounts(way).await;
    }
}

async fn accounts(way: Way) {
    let service = Service::start().await;
    for account in ["ann", "bob", "eve"] {
        create_account(&service, account, None).await;
    }
    create_campaign(&service, "spring", settings(1, &["ann", "bob", "eve"])).await;
    add_leads(&service, "spring", 90, None, false).await;
    let own = (0..10)
        .map(|number| campaign_metrics::pb::NewLead { lead_id: format!("own{number}"), account_id: "eve".to_owned() });
    try_add(&service, "spring", own.collect(), true).await.unwrap();
    let mut claims = Vec::new();
    for _ in 0..10 {
        for account in ["ann", "bob", "eve"] {
            claims.extend(way.claim(&service, account, 4).await.claims);
        }
    }
    way.assert_served(&service).await;
    let shares = count(&claims, |claim| claim.account.clone());
    assert_eq!(shares.values().sum::<usize>(), 100, "all of them: {shares:?}");
    assert!(shares.values().all(|share| *share >= 30), "{shares:?}");
    let of_eve = claims.iter().filter(|claim| claim.lead.contains("/leads/own"));
    assert!(of_eve.clone().count() == 10 && of_eve.clone().all(|claim| claim.account.ends_with("/eve")));
}

#[tokio::test]
async fn an_account_shares_itself_among_its_campaigns_and_starves_none() {
    for way in Way::BOTH {
        campaigns(way).await;
    }
}

async fn campaigns(way: Way) {
    const CAMPAIGNS: [&str; 5] = ["one", "two", "three", "four", "five"];
    let service = Service::start().await;
    create_account(&service, "ann", None).await;
    for name in CAMPAIGNS {
        create_campaign(&service, name, settings(1, &["ann"])).await;
        add_leads(&service, name, 300, None, false).await;
    }
    let even = CAMPAIGNS.map(|name| (campaign_name(name), 100));
    way.warm(&service, "ann").await;
    assert_eq!(count(&way.claim(&service, "ann", 500).await.claims, campaign), BTreeMap::from(even), "{way:?}");
    // Too few to divide: each time a drawn campaign gets them. That one of five is not drawn in a hundred draws has a
    // probability of 1e-9.
    let mut single = Vec::new();
    for _ in 0..100 {
        single.extend(way.claim(&service, "ann", 1).await.claims);
    }
    way.assert_served(&service).await;
    assert_eq!(count(&single, campaign).len(), CAMPAIGNS.len());
    // The share of a campaign without leads goes to the others.
    let rest = claim(&service, "ann", 1000).await.claims;
    assert_eq!(rest.len(), 900);
}

#[tokio::test]
async fn a_suspended_account_gets_nothing_until_it_is_reinstated() {
    let service = Service::start().await;
    create_account(&service, "ann", None).await;
    create_campaign(&service, "spring", settings(1, &["ann"])).await;
    add_leads(&service, "spring", 3, None, false).await;
    let (mut accounts, name, etag) = (service.accounts.clone(), account_name("ann"), String::new());
    let suspend = pb::SuspendAccountRequest { name: name.clone(), etag: etag.clone() };
    let suspended = accounts.suspend_account(suspend).await.expect("it is suspended").into_inner();
    assert_eq!(suspended.state(), pb::AccountState::Suspended);
    let none = claim(&service, "ann", 2).await;
    assert_eq!((none.claims.len(), reasons(&none)), (0, vec![pb::NotSendingReason::AccountSuspended]));
    let reinstate = pb::ReinstateAccountRequest { name: name.clone(), etag };
    let reinstated = accounts.reinstate_account(reinstate).await.expect("it is reinstated").into_inner();
    assert_eq!((reinstated.name, reinstated.state), (name, pb::AccountState::Active.into()));
    assert_eq!(claim(&service, "ann", 2).await.claims.len(), 2);
}
