//! Reasons for not granting claims: active hours, local days, limits, states. Each is told to the caller.

use std::time::Duration;

use campaign_metrics::pb::{self, ClaimExpiryPolicy, NotSendingReason as Why, OutcomeKind};
use jiff::{Timestamp, ToSpan as _};
use tonic::Code;

use crate::{
    harness::service::{Service, monday},
    ways::Way,
    world::{
        account_name, add_leads, assert_refused, assign, by_key, by_lead, claim, create_account, create_campaign,
        finish, get, pause, reasons, report_new, resume, settings, try_add, try_claim,
    },
};

fn at(time: &prost_types::Timestamp) -> Timestamp {
    Timestamp::new(time.seconds, time.nanos).expect("a time")
}

#[tokio::test]
async fn outside_active_hours_nothing_is_granted_and_no_claim_outlives_its_window() {
    for way in Way::BOTH {
        within_a_window(way).await;
    }
}

async fn within_a_window(way: Way) {
    let service = Service::start().await;
    create_account(&service, "ann", None).await;
    // Monday 10:00 UTC is 11:00 in Berlin.
    let window = pb::ActiveWindow { days: vec![1], start_time: "11:30".into(), end_time: "12:00".into() };
    let hours = pb::ActiveHours { time_zone: "Europe/Berlin".into(), windows: vec![window] };
    create_campaign(&service, "spring", pb::Campaign { active_hours: Some(hours), ..settings(1, &["ann"]) }).await;
    add_leads(&service, "spring", 2, None, false).await;
    let early = claim(&service, "ann", 1).await;
    assert_eq!((early.claims.len(), reasons(&early)), (0, vec![Why::OutsideActiveHours]));
    assert_eq!(early.next_change_time.as_ref().map(at), Some(monday().checked_add(30.minutes()).unwrap()));
    service.clock.advance(Duration::from_mins(58));
    way.warm(&service, "ann").await;
    let claims = way.claim(&service, "ann", 1).await.claims;
    way.assert_served(&service).await;
    let end = monday().checked_add(60.minutes()).unwrap();
    assert_eq!(claims[0].expire_time.as_ref().map(at), Some(end), "not five minutes");
    service.clock.advance(Duration::from_mins(2));
    assert_eq!(reasons(&claim(&service, "ann", 1).await), [Why::OutsideActiveHours]);
}

#[tokio::test]
async fn the_account_and_the_campaign_each_have_days_of_their_own_zone() {
    for way in Way::BOTH {
        days_of_two_zones(way).await;
    }
}

async fn days_of_two_zones(way: Way) {
    let service = Service::start().await;
    let account = pb::Account { daily_limit: Some(1), time_zone: "Pacific/Kiritimati".into(), ..Default::default() };
    let request = pb::CreateAccountRequest {
        parent: crate::world::WORKSPACE.into(),
        account_id: "ann".into(),
        account: Some(account),
        ..Default::default()
    };
    service.accounts.clone().create_account(request).await.unwrap();
    let hours = pb::ActiveHours { time_zone: "America/Los_Angeles".into(), windows: Vec::new() };
    let limited = pb::Campaign { daily_limit: Some(2), active_hours: Some(hours), ..settings(1, &["ann"]) };
    create_campaign(&service, "spring", limited).await;
    add_leads(&service, "spring", 9, None, false).await;
    way.warm(&service, "ann").await;
    // At 10:00 UTC it is midnight of Tuesday in Kiritimati (UTC+14), and 02:00 of Monday in Los Angeles (UTC-8).
    assert_eq!(way.claim(&service, "ann", 5).await.claims.len(), 1);
    let blocked = way.claim(&service, "ann", 5).await;
    assert_eq!(reasons(&blocked), [Why::AccountDailyLimit]);
    assert_eq!(blocked.next_change_time.as_ref().map(at), Some(monday().checked_add(24.hours()).unwrap()));
    service.clock.advance(Duration::from_hours(24));
    // A new day of the account, and since 08:00 UTC one of the campaign too.
    assert_eq!(way.claim(&service, "ann", 5).await.claims.len(), 1);
    let raise = pb::Account { name: account_name("ann"), daily_limit: Some(9), ..Default::default() };
    let update = pb::UpdateAccountRequest { account: Some(raise), update_mask: None };
    service.accounts.clone().update_account(update).await.unwrap();
    assert_eq!(way.claim(&service, "ann", 5).await.claims.len(), 1, "the second of the campaign's day");
    let blocked = way.claim(&service, "ann", 5).await;
    assert_eq!(reasons(&blocked), [Why::CampaignDailyLimit]);
    assert_eq!(blocked.next_change_time.as_ref().map(at), Some(monday().checked_add(46.hours()).unwrap()));
    way.assert_served(&service).await;
}

#[tokio::test]
async fn messages_without_a_claim_count_against_the_limits_and_are_never_refused() {
    for way in Way::BOTH {
        messages_without_a_claim(way).await;
    }
}

async fn messages_without_a_claim(way: Way) {
    let service = Service::start().await;
    create_account(&service, "ann", Some(2)).await;
    create_campaign(&service, "spring", settings(1, &["ann"])).await;
    add_leads(&service, "spring", 5, Some("ann"), false).await;
    way.warm(&service, "ann").await;
    for lead in ["l0", "l1", "l2"] {
        report_new(&service, vec![by_lead("spring", lead, 1, OutcomeKind::Delivered)]).await;
    }
    assert_eq!(reasons(&way.claim(&service, "ann", 1).await), [Why::AccountDailyLimit], "{way:?}");
    way.assert_served(&service).await;
    let request = pb::GetAccountRequest { name: account_name("ann") };
    let account = service.accounts.clone().get_account(request).await.unwrap().into_inner();
    assert_eq!((account.reserved_today, account.lifetime.unwrap().delivered), (3, 3));
}

#[tokio::test]
async fn every_reason_for_not_sending_is_told() {
    let service = Service::start().await;
    create_account(&service, "ann", Some(0)).await;
    create_account(&service, "bob", None).await;
    assert_eq!(reasons(&claim(&service, "bob", 1).await), [Why::NoAccountAssigned]);
    create_campaign(&service, "empty", settings(1, &["bob"])).await;
    assert_eq!(reasons(&claim(&service, "bob", 1).await), [Why::NoLeadDue]);
    create_campaign(&service, "spring", settings(1, &["ann"])).await;
    add_leads(&service, "spring", 1, None, false).await;
    assert_eq!(reasons(&claim(&service, "ann", 1).await), [Why::AccountDailyLimit]);
    let suspend = pb::SuspendAccountRequest { name: account_name("ann"), ..Default::default() };
    service.accounts.clone().suspend_account(suspend).await.unwrap();
    assert_eq!(reasons(&claim(&service, "ann", 1).await), [Why::AccountDailyLimit, Why::AccountSuspended]);
    pause(&service, "spring").await;
    let all = [Why::Paused, Why::AccountDailyLimit, Why::AccountSuspended];
    assert_eq!(reasons(&claim(&service, "ann", 1).await), all);
    let seen = get(&service, "spring").await;
    assert_eq!(seen.not_sending_reasons().collect::<Vec<_>>(), all);
    assert_eq!(seen.next_change_time, None, "no day allows anything");
    finish(&service, "spring").await;
    assert_eq!(reasons(&claim(&service, "ann", 1).await), [Why::Finished]);
    let missing = try_claim(&service, "nobody", 1).await;
    assert_refused(missing, Code::NotFound, "NOT_FOUND", "workspaces/acme/accounts/nobody does not exist");
}

#[tokio::test]
async fn the_next_change_is_when_the_last_of_several_reasons_ends() {
    for way in Way::BOTH {
        asking_again(way).await;
    }
}

async fn asking_again(way: Way) {
    let service = Service::start().await;
    create_account(&service, "ann", Some(1)).await;
    let window = pb::ActiveWindow { days: vec![1, 3], start_time: "09:00".into(), end_time: "17:00".into() };
    let hours = pb::ActiveHours { windows: vec![window], ..Default::default() };
    create_campaign(&service, "spring", pb::Campaign { active_hours: Some(hours), ..settings(1, &["ann"]) }).await;
    add_leads(&service, "spring", 4, None, false).await;
    way.warm(&service, "ann").await;
    let answer = way.claim(&service, "ann", 2).await;
    way.assert_served(&service).await;
    assert_eq!((answer.claims.len(), reasons(&answer)), (1, vec![Why::AccountDailyLimit]));
    // The next change is neither the end of the window nor midnight (Tuesday has no window), but Wednesday at nine.
    let wednesday = monday().checked_add(47.hours()).unwrap();
    assert_eq!(answer.next_change_time.as_ref().map(at), Some(wednesday));
    assert_eq!(answer.not_sending[0].next_change_time.as_ref().map(at), Some(wednesday));
    service.clock.advance(Duration::from_hours(47));
    assert_eq!(claim(&service, "ann", 1).await.claims.len(), 1);
    pause(&service, "spring").await;
    let paused = claim(&service, "ann", 1).await;
    assert_eq!(reasons(&paused), [Why::Paused, Why::AccountDailyLimit]);
    assert_eq!(paused.next_change_time, None, "it stays until it is resumed");
}

#[tokio::test]
async fn a_limit_that_ends_a_claim_does_not_hide_that_nothing_is_left() {
    for way in Way::BOTH {
        a_limit_and_nothing_left(way).await;
    }
}

async fn a_limit_and_nothing_left(way: Way) {
    let service = Service::start().await;
    create_account(&service, "ann", Some(3)).await;
    create_account(&service, "bob", None).await;
    create_campaign(&service, "spring", settings(1, &["ann", "bob"])).await;
    add_leads(&service, "spring", 2, None, false).await;
    let lead = pb::NewLead { lead_id: "her-own".into(), account_id: "ann".into() };
    try_add(&service, "spring", vec![lead], false).await.unwrap();
    // Her own lead has the highest number and is taken first. The others are found by a second look.
    way.warm(&service, "ann").await;
    let answer = way.claim(&service, "ann", 4).await;
    way.assert_served(&service).await;
    assert_eq!((answer.claims.len(), reasons(&answer)), (3, vec![Why::AccountDailyLimit, Why::NoLeadDue]));
    assert_eq!(answer.next_change_time, None, "a new day brings no lead");
}

/// Returns why nothing can be claimed, by the view of the campaign. Checks that its gauges agree.
async fn seen(service: &Service, campaign: &str) -> Vec<Why> {
    let reasons: Vec<Why> = get(service, campaign).await.not_sending_reasons().collect();
    let metrics = service.admin("/metrics").await;
    let gauges = metrics.lines().filter(|line| {
        line.starts_with("campaign_metrics_campaign_not_sending{")
            && line.contains(&format!("campaign=\"{campaign}\""))
            && line.ends_with(" 1")
    });
    assert_eq!(gauges.count(), reasons.len(), "{reasons:?}, the gauges say");
    reasons
}

#[tokio::test]
async fn the_view_of_a_campaign_and_its_gauges_give_reasons_when_a_claim_does() {
    let service = Service::start().await;
    create_account(&service, "ann", None).await;
    create_campaign(&service, "held", settings(1, &["ann"])).await;
    add_leads(&service, "held", 2, None, false).await;
    // A reply ends the sequence, so a claim released afterwards is not due again.
    assert_eq!(seen(&service, "held").await, []);
    let claims = claim(&service, "ann", 2).await.claims;
    report_new(&service, vec![by_key(&claims[0], OutcomeKind::Replied)]).await;
    let release = pb::ReleaseClaimsRequest {
        account: account_name("ann"),
        claim_ids: vec![claims[0].claim_id.clone()],
        ..Default::default()
    };
    service.sending.clone().release_claims(release).await.unwrap();
    assert_eq!(seen(&service, "held").await, [Why::NoLeadDue]);
    report_new(&service, vec![by_key(&claims[1], OutcomeKind::Delivered)]).await;
    assert_eq!(seen(&service, "held").await, [Why::NoLeadDue]);

    // All of these leads had ended before anyone claimed.
    create_campaign(&service, "known", settings(1, &["ann"])).await;
    add_leads(&service, "known", 2, None, false).await;
    let lead = |id| by_lead("known", id, 1, OutcomeKind::Delivered);
    report_new(&service, vec![lead("l0"), lead("l1")]).await;
    assert_eq!(seen(&service, "known").await, [Why::NoLeadDue]);

    let retry = pb::Campaign { claim_expiry_policy: ClaimExpiryPolicy::Retry.into(), ..settings(1, &["ann"]) };
    create_campaign(&service, "retried", retry).await;
    add_leads(&service, "retried", 1, None, false).await;
    assert_eq!(claim(&service, "ann", 1).await.claims.len(), 1);
    let waiting = get(&service, "retried").await;
    assert_eq!(seen(&service, "retried").await, [Why::NoLeadDue]);
    let expiry = monday().checked_add(5.minutes()).unwrap();
    assert_eq!(waiting.next_change_time.as_ref().map(at), Some(expiry), "then it is granted again");
    service.clock.advance(Duration::from_mins(5));
    assert_eq!(seen(&service, "retried").await, []);
    pause(&service, "retried").await;
    assert_eq!(seen(&service, "retried").await, [Why::Paused, Why::NoLeadDue, Why::UncertainClaims]);
    create_account(&service, "bob", None).await;
    resume(&service, "retried").await;
    assign(&service, "retried", &["bob"]).await;
    assert!(seen(&service, "retried").await.contains(&Why::NoLeadDue), "it was ann's");
}

/// What is used of the account's and of the campaign's limit on a day.
async fn used(service: &Service, day: &str) -> [i64; 2] {
    let sql = service.sql().await;
    let sum = "SELECT coalesce(sum(reserved), 0)::int8 FROM";
    let mut used = [0; 2];
    for (table, used) in ["account_reservations", "campaign_reservations"].iter().zip(&mut used) {
        let row = sql.query_one(&format!("{sum} {table} WHERE day = $1::text::date"), &[&day]).await.unwrap();
        *used = row.get(0);
    }
    used
}

/// How a message goes on whose claim has expired under the policy RETRY.
#[derive(Debug, Clone, Copy)]
enum Then {
    /// Its outcome comes at last.
    Reported,
    /// Upkeep makes it due again, then its outcome comes.
    RetriedReported,
    /// It is granted again, then its outcome comes.
    GrantedReported,
    /// It is granted again, released, and granted a third time.
    Released,
    /// It is granted again, expires, and is granted a third time.
    Expired,
}

#[tokio::test]
async fn under_retry_a_message_takes_one_share_of_a_day_whatever_comes_first() {
    for then in [Then::Reported, Then::RetriedReported, Then::GrantedReported, Then::Released, Then::Expired] {
        let service = Service::start().await;
        create_account(&service, "ann", Some(3)).await;
        let retry = pb::Campaign {
            claim_expiry_policy: ClaimExpiryPolicy::Retry.into(),
            daily_limit: Some(3),
            ..settings(1, &["ann"])
        };
        create_campaign(&service, "spring", retry).await;
        add_leads(&service, "spring", 1, None, false).await;
        let first = claim(&service, "ann", 1).await.claims;
        service.clock.advance(Duration::from_mins(5));
        let again = async || {
            let claims = claim(&service, "ann", 1).await.claims;
            assert_eq!(claims.len(), 1, "{then:?}");
            claims
        };
        match then {
            Then::Reported => {}
            Then::RetriedReported => service.store().claims_retry().await.unwrap(),
            Then::GrantedReported => drop(again().await),
            Then::Released => {
                let claim_ids = again().await.into_iter().map(|claim| claim.claim_id).collect();
                let release =
                    pb::ReleaseClaimsRequest { account: account_name("ann"), claim_ids, ..Default::default() };
                service.sending.clone().release_claims(release).await.unwrap();
                assert_eq!(used(&service, "2026-03-02").await, [1, 1], "{then:?}: the first one may have been sent");
                again().await;
            }
            Then::Expired => {
                again().await;
                service.clock.advance(Duration::from_mins(5));
                again().await;
            }
        }
        report_new(&service, vec![by_key(&first[0], OutcomeKind::Delivered)]).await;
        assert_eq!(used(&service, "2026-03-02").await, [1, 1], "{then:?}");
        assert_eq!(account(&service).await.reserved_today, 1, "{then:?}");
        // Two more messages are left, and no third.
        let more = (1..4).map(|number| pb::NewLead { lead_id: format!("more{number}"), ..Default::default() });
        try_add(&service, "spring", more.collect(), false).await.unwrap();
        let last = claim(&service, "ann", 3).await;
        let both = vec![Why::CampaignDailyLimit, Why::AccountDailyLimit];
        assert_eq!((last.claims.len(), reasons(&last)), (2, both), "{then:?}");
    }
}

#[tokio::test]
async fn a_retried_message_takes_a_share_of_each_day_on_which_it_is_granted() {
    let service = Service::start().await;
    create_account(&service, "ann", None).await;
    let retry = pb::Campaign { claim_expiry_policy: ClaimExpiryPolicy::Retry.into(), ..settings(1, &["ann"]) };
    create_campaign(&service, "spring", retry).await;
    add_leads(&service, "spring", 1, None, false).await;
    assert_eq!(claim(&service, "ann", 1).await.claims.len(), 1);
    service.clock.advance(Duration::from_mins(5));
    service.store().claims_retry().await.unwrap();
    // What it keeps moves with the day of the account.
    let request = pb::UpdateAccountRequest {
        account: Some(pb::Account {
            name: account_name("ann"),
            time_zone: "Pacific/Kiritimati".into(),
            ..Default::default()
        }),
        update_mask: Some(prost_types::FieldMask { paths: vec!["time_zone".into()] }),
    };
    service.accounts.clone().update_account(request).await.unwrap();
    assert_eq!(claim(&service, "ann", 1).await.claims.len(), 1);
    assert_eq!([used(&service, "2026-03-02").await, used(&service, "2026-03-03").await], [[0, 1], [1, 0]]);
    service.clock.advance(Duration::from_hours(24));
    assert_eq!(claim(&service, "ann", 1).await.claims.len(), 1);
    let days = ["2026-03-02", "2026-03-03", "2026-03-04"];
    let mut all = Vec::new();
    for day in days {
        all.push(used(&service, day).await);
    }
    assert_eq!(all, [[0, 1], [1, 1], [1, 0]]);
    // Nothing of it is left when the days are over.
    service.clock.advance(Duration::from_hours(5 * 24));
    service.store().maintain().await.unwrap();
    let kept: i64 = service.sql().await.query_one("SELECT count(*) FROM kept_reservations", &[]).await.unwrap().get(0);
    assert_eq!(kept, 0);
}

async fn account(service: &Service) -> pb::Account {
    let request = pb::GetAccountRequest { name: account_name("ann") };
    service.accounts.clone().get_account(request).await.unwrap().into_inner()
}
