//! Many concurrent claimers on two replicas, granted optimistically and in full: every limit holds, each lead is
//! granted once, and a pause takes effect at its commit.

use std::{
    collections::HashSet,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

use campaign_metrics::pb::{self, NotSendingReason as Why};
use futures::future::join_all;
use jiff::{Timestamp, ToSpan as _};

use crate::{
    harness::{
        service::{Service, monday},
        wait::{SOON, until},
    },
    ways::{Way, served},
    world::{
        account_name, add_leads, campaign_name, claim, create_account, create_campaign, get, pause, reasons, resume,
        settings,
    },
};

fn keys(claims: &[pb::Claim]) -> HashSet<String> {
    claims.iter().map(|claim| claim.send_key.clone()).collect()
}

fn at(time: &prost_types::Timestamp) -> Timestamp {
    Timestamp::new(time.seconds, time.nanos).expect("a time")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_concurrent_claimers_never_pass_a_limit_by_one_nor_get_a_lead_twice() {
    for way in Way::BOTH {
        fifty_claimers(way).await;
    }
}

async fn fifty_claimers(way: Way) {
    let one = Service::start().await;
    let two = Service::on(&one.database, one.clock.clone()).await;
    for (account, limit) in [("ann", Some(137)), ("bob", None), ("eve", Some(41))] {
        create_account(&one, account, limit).await;
    }
    let limited = pb::Campaign { daily_limit: Some(211), ..settings(1, &["ann", "bob", "eve"]) };
    create_campaign(&one, "limited", limited).await;
    create_campaign(&one, "open", settings(1, &["ann", "eve"])).await;
    add_leads(&one, "limited", 600, None, false).await;
    add_leads(&one, "open", 600, None, false).await;
    for account in ["ann", "bob", "eve"] {
        way.warm(&one, account).await;
        way.warm(&two, account).await;
    }
    let claimer = async |number: usize| {
        let service = if number.is_multiple_of(2) { &one } else { &two };
        let account = ["ann", "bob", "eve"][number % 3];
        let mut claims = Vec::new();
        for _ in 0..4 {
            claims.extend(claim(service, account, 7).await.claims);
        }
        claims
    };
    let claims: Vec<pb::Claim> = join_all((0..50).map(claimer)).await.into_iter().flatten().collect();
    assert_eq!(keys(&claims).len(), claims.len(), "no lead and step is claimed twice");
    let of = |account: &str| claims.iter().filter(|claim| claim.account == account_name(account)).count();
    let prefix = format!("{}/", campaign_name("limited"));
    let of_limited = claims.iter().filter(|claim| claim.lead.starts_with(&prefix)).count();
    // The claimers asked for more than there is, so each limit is reached, and none is exceeded.
    assert_eq!((of("ann"), of("eve"), of_limited), (137, 41, 211), "{way:?}");
    if way == Way::Optimistic {
        way.assert_served(&one).await;
        way.assert_served(&two).await;
    }
    for (account, limit) in [("ann", 137), ("eve", 41)] {
        let request = pb::GetAccountRequest { name: account_name(account) };
        let account = one.accounts.clone().get_account(request).await.unwrap().into_inner();
        assert_eq!(account.reserved_today, limit);
    }
    assert_eq!(get(&one, "limited").await.in_flight_claims, 211);
    assert_eq!(
        reasons(&claim(&one, "ann", 1).await),
        [Why::CampaignDailyLimit, Why::AccountDailyLimit, Why::AccountDailyLimit]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_stops_claims_at_its_commit_on_every_replica() {
    for way in Way::BOTH {
        pause_amid_claims(way).await;
    }
}

async fn pause_amid_claims(way: Way) {
    let one = Service::start().await;
    let two = Service::on(&one.database, one.clock.clone()).await;
    let accounts: Vec<String> = (0..20).map(|number| format!("a{number}")).collect();
    let names: Vec<&str> = accounts.iter().map(String::as_str).collect();
    for account in &names {
        create_account(&one, account, None).await;
    }
    create_campaign(&one, "spring", settings(1, &names)).await;
    add_leads(&one, "spring", 5000, None, false).await;
    for (number, account) in names.iter().enumerate() {
        way.warm(if number.is_multiple_of(2) { &one } else { &two }, account).await;
    }
    let confirmed = AtomicBool::new(false);
    let refused = AtomicUsize::new(0);
    let stop = AtomicBool::new(false);
    let claimer = async |number: usize| {
        let service = if number.is_multiple_of(2) { &one } else { &two };
        let mut before = 0;
        while !stop.load(Ordering::SeqCst) {
            // Only a call that began after the confirmation must get nothing.
            let began_after = confirmed.load(Ordering::SeqCst);
            let response = claim(service, names[number], 3).await;
            if began_after {
                assert_eq!(response.claims, [], "a claim after the pause was confirmed");
                assert_eq!(reasons(&response), [Why::Paused]);
                refused.fetch_add(1, Ordering::SeqCst);
            } else {
                before += response.claims.len();
            }
        }
        before
    };
    let pauser = async {
        // The pause comes while claims run: some have been granted already.
        let look = async || {
            let in_flight = get(&one, "spring").await.in_flight_claims;
            anyhow::ensure!(in_flight >= 60, "{in_flight} are in flight");
            Ok(())
        };
        until("claims before the pause", SOON, look).await.unwrap();
        let paused = pause(&one, "spring").await;
        confirmed.store(true, Ordering::SeqCst);
        // Long enough for every claimer to ask again.
        let look = async || {
            let campaign = get(&two, "spring").await;
            assert_eq!(campaign.in_flight_claims, paused.in_flight_claims, "the answer counted every claim");
            let refused = refused.load(Ordering::SeqCst);
            anyhow::ensure!(refused > 40, "{refused} were refused");
            Ok(())
        };
        until("claimers to ask after the pause", SOON, look).await.unwrap();
        stop.store(true, Ordering::SeqCst);
        paused
    };
    let (outcomes, told) = futures::join!(join_all((0..20).map(claimer)), pauser);
    let granted: usize = outcomes.iter().sum();
    assert_eq!(i64::try_from(granted).unwrap(), told.in_flight_claims, "what was granted is what the pause told");
    assert_eq!(told.in_flight_until.as_ref().map(at), Some(monday().checked_add(5.minutes()).unwrap()));
    let undone = served(&one).await.undone + served(&two).await.undone;
    assert!(way == Way::Full || undone > 0, "{way:?}: optimistic grants from the paused campaign were undone");
    assert_eq!(resume(&two, "spring").await.state(), pb::CampaignState::Active);
    assert_eq!(claim(&one, "a1", 3).await.claims.len(), 3, "and goes on after it resumed");
}
