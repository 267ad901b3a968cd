//! Every time limit, tested one microsecond before and at its end: expiry, follow-up delay, finality, the thirty days
//! of an account, request ids. Local days and windows are in `local_days`.

use std::time::Duration;

use campaign_metrics::pb::{self, ClaimState, NotSendingReason as Why, OutcomeKind, OutcomeVerdict, RenewVerdict};
use jiff::{Timestamp, ToSpan as _};
use tonic::{Code, Status};

use crate::{
    harness::service::{Service, monday},
    world::{
        WORKSPACE, account_name, add_leads, assert_refused, assign, by_key, by_lead, campaign_name, claim,
        create_account, create_campaign, finish, get, lead_name, reasons, report, report_new, settings, try_add,
    },
};

/// The smallest step of a clock.
const TICK: Duration = Duration::from_micros(1);

pub fn time(text: &str) -> Timestamp {
    text.parse().expect("a timestamp")
}

pub fn at(time: Option<&prost_types::Timestamp>) -> Timestamp {
    let time = time.expect("a time is told");
    Timestamp::new(time.seconds, time.nanos).expect("a time")
}

pub fn stamp(at: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: at.as_second(), nanos: at.subsec_nanosecond() }
}

/// Moves the clock to a moment, or just before it.
pub fn move_to(service: &Service, moment: Timestamp) {
    let by = moment.duration_since(service.clock.now());
    service.clock.advance(by.try_into().expect("the clock goes forward"));
}

pub fn just_before(service: &Service, moment: Timestamp) {
    move_to(service, moment.checked_sub(1.microsecond()).expect("a time"));
}

async fn account(service: &Service, id: &str) -> pb::Account {
    let request = pb::GetAccountRequest { name: account_name(id) };
    service.accounts.clone().get_account(request).await.expect("it exists").into_inner()
}

async fn lead(service: &Service, campaign: &str, id: &str) -> pb::Lead {
    let request = pb::GetLeadRequest { name: lead_name(campaign, id) };
    service.leads.clone().get_lead(request).await.expect("it exists").into_inner()
}

pub async fn claim_for(service: &Service, seconds: i64, nanos: i32) -> Result<pb::ClaimSendsResponse, Status> {
    let request = pb::ClaimSendsRequest {
        account: account_name("ann"),
        max_claims: 1,
        hold_duration: Some(prost_types::Duration { seconds, nanos }),
        ..Default::default()
    };
    Ok(service.sending.clone().claim_sends(request).await?.into_inner())
}

pub async fn renew(service: &Service, claim: &pb::Claim, hold_seconds: Option<i64>) -> pb::RenewResult {
    let request = pb::RenewClaimsRequest {
        account: account_name("ann"),
        claim_ids: vec![claim.claim_id.clone()],
        hold_duration: hold_seconds.map(|seconds| prost_types::Duration { seconds, nanos: 0 }),
    };
    service.sending.clone().renew_claims(request).await.expect("an answer").into_inner().results.remove(0)
}

#[tokio::test]
async fn a_claim_is_held_for_what_was_asked_for_within_bounds_and_until_exactly_then() {
    let service = Service::start().await;
    create_account(&service, "ann", None).await;
    create_campaign(&service, "spring", settings(1, &["ann"])).await;
    add_leads(&service, "spring", 9, None, false).await;
    for (seconds, nanos) in [(0, 999_999_999), (3600, 1)] {
        let refused = claim_for(&service, seconds, nanos).await;
        assert_refused(refused, Code::InvalidArgument, "INVALID_FIELD", "hold_duration");
    }
    let hour = claim_for(&service, 3600, 0).await.unwrap().claims.remove(0);
    assert_eq!(at(hour.expire_time.as_ref()), monday().checked_add(1.hour()).unwrap());
    let second = claim_for(&service, 1, 0).await.unwrap().claims.remove(0);
    assert_eq!(at(second.expire_time.as_ref()), monday().checked_add(1.second()).unwrap());
    let default = claim(&service, "ann", 1).await.claims.remove(0);
    assert_eq!(at(default.expire_time.as_ref()), monday().checked_add(5.minutes()).unwrap());
    let renewed = renew(&service, &default, None).await;
    assert_eq!(at(renewed.expire_time.as_ref()), monday().checked_add(5.minutes()).unwrap(), "five minutes from now");

    let open = async || {
        let campaign = get(&service, "spring").await;
        let mut listed = Vec::new();
        for state in [ClaimState::Held, ClaimState::Uncertain] {
            let request =
                pb::ListClaimsRequest { account: account_name("ann"), state: state.into(), ..Default::default() };
            let claims = service.sending.clone().list_claims(request).await.unwrap().into_inner().claims;
            assert!(claims.iter().all(|claim| claim.state() == state), "each is shown as what it was asked for");
            listed.push(claims.len());
        }
        (campaign.in_flight_claims, campaign.uncertain_claims, listed)
    };
    just_before(&service, monday().checked_add(1.second()).unwrap());
    assert_eq!(open().await, (3, 0, vec![3, 0]), "held until then");
    service.clock.advance(TICK);
    assert_eq!(open().await, (2, 1, vec![2, 1]), "and not at that moment");
    assert_eq!(renew(&service, &second, None).await.verdict(), RenewVerdict::NotHeld);
    just_before(&service, monday().checked_add(5.minutes()).unwrap());
    let renewed = renew(&service, &default, Some(7)).await;
    let expiry = service.clock.now().checked_add(7.seconds()).unwrap();
    assert_eq!(at(renewed.expire_time.as_ref()), expiry, "a claim of the last moment is renewed");
}

#[tokio::test]
async fn a_repeated_claim_gives_what_it_gave_until_exactly_its_expiry() {
    let service = Service::start().await;
    create_account(&service, "ann", None).await;
    create_campaign(&service, "spring", settings(1, &["ann"])).await;
    add_leads(&service, "spring", 3, None, false).await;
    let ask = async || {
        let request = pb::ClaimSendsRequest {
            account: account_name("ann"),
            max_claims: 2,
            request_id: "6f0d8a55-3c3b-4d52-9a39-2f7c3a1f8f10".into(),
            ..Default::default()
        };
        service.sending.clone().claim_sends(request).await.expect("an answer").into_inner().claims
    };
    let granted = ask().await;
    assert_eq!(granted.len(), 2);
    just_before(&service, at(granted[0].expire_time.as_ref()));
    assert_eq!(ask().await, granted, "the same claims, still held");
    service.clock.advance(TICK);
    assert_eq!(ask().await, [], "none is held any more, and no other is granted");
}

#[tokio::test]
async fn a_released_step_is_put_off_for_a_year_at_most_and_is_due_when_exactly_that_is_over() {
    let service = Service::start().await;
    create_account(&service, "ann", None).await;
    create_campaign(&service, "spring", settings(1, &["ann"])).await;
    add_leads(&service, "spring", 1, Some("ann"), false).await;
    let claims = claim(&service, "ann", 1).await.claims;
    let release = async |not_before: Timestamp| {
        let request = pb::ReleaseClaimsRequest {
            account: account_name("ann"),
            claim_ids: claims.iter().map(|claim| claim.claim_id.clone()).collect(),
            not_before: Some(stamp(not_before)),
        };
        Ok::<_, Status>(service.sending.clone().release_claims(request).await?.into_inner().released_count)
    };
    let year = monday().checked_add((365 * 24).hours()).unwrap();
    for beyond in [TICK, Duration::from_hours(24)] {
        let refused = release(year.checked_add(beyond).unwrap()).await;
        assert_refused(refused, Code::InvalidArgument, "INVALID_FIELD", "not_before: lies more than 365 days ahead");
    }
    assert_eq!(release(year).await.unwrap(), 1, "to the last moment of it");
    just_before(&service, year);
    assert_eq!(reasons(&claim(&service, "ann", 1).await), [Why::NoLeadDue]);
    service.clock.advance(TICK);
    assert_eq!(claim(&service, "ann", 1).await.claims.len(), 1);
}

#[tokio::test]
async fn a_follow_up_is_due_when_exactly_its_delay_is_over_since_the_delivery() {
    let service = Service::start().await;
    create_account(&service, "ann", None).await;
    let follow_up_delay = Some(prost_types::Duration { seconds: 7, nanos: 1_000_000 });
    create_campaign(&service, "spring", pb::Campaign { follow_up_delay, ..settings(2, &["ann"]) }).await;
    add_leads(&service, "spring", 1, Some("ann"), false).await;
    let delivered = monday().checked_sub(3.seconds()).unwrap();
    let outcome = by_lead("spring", "l0", 1, OutcomeKind::Delivered);
    report_new(&service, vec![pb::Outcome { time: Some(stamp(delivered)), ..outcome }]).await;
    let due = monday().checked_add(4.seconds().milliseconds(1)).unwrap();
    just_before(&service, due);
    let early = claim(&service, "ann", 1).await;
    assert_eq!((reasons(&early), at(early.next_change_time.as_ref())), (vec![Why::NoLeadDue], due));
    service.clock.advance(TICK);
    assert_eq!(claim(&service, "ann", 1).await.claims.len(), 1);
}

#[tokio::test]
async fn results_become_final_when_exactly_the_settling_time_is_over_since_the_finish_and_the_last_expiry() {
    let service = Service::start().await;
    create_account(&service, "ann", None).await;
    let terms = pb::Campaign { settle_seconds: Some(90), attribution_days: Some(2), ..settings(1, &["ann"]) };
    for campaign in ["quiet", "claimed"] {
        create_campaign(&service, campaign, terms.clone()).await;
        add_leads(&service, campaign, 4, Some("ann"), false).await;
    }
    let store = service.store();
    assert_eq!(claim(&service, "ann", 1).await.claims.len(), 1);
    let (claimed, quiet) =
        if get(&service, "claimed").await.in_flight_claims == 1 { ("claimed", "quiet") } else { ("quiet", "claimed") };
    finish(&service, quiet).await;
    finish(&service, claimed).await;
    just_before(&service, monday().checked_add(90.seconds()).unwrap());
    assert_eq!(store.campaigns_finalize().await.unwrap(), 0, "a microsecond is left");
    service.clock.advance(TICK);
    assert_eq!(store.campaigns_finalize().await.unwrap(), 1, "the one without claims");
    assert_eq!(at(get(&service, quiet).await.finalized_time.as_ref()), monday().checked_add(90.seconds()).unwrap());
    // The claim expired after five minutes. The settling time counts from then.
    just_before(&service, monday().checked_add(390.seconds()).unwrap());
    assert_eq!(store.campaigns_finalize().await.unwrap(), 0, "a microsecond is left since the expiry");
    service.clock.advance(TICK);
    assert_eq!(store.campaigns_finalize().await.unwrap(), 1);
    assert!(get(&service, claimed).await.finalized_time.is_some());

    let verdict = async |lead: &str, kind| report(&service, vec![by_lead(quiet, lead, 0, kind)]).await[0].verdict();
    move_to(&service, monday().checked_add(48.hours()).unwrap());
    assert_eq!(verdict("l1", OutcomeKind::Replied).await, OutcomeVerdict::Applied, "taken to the last moment");
    service.clock.advance(TICK);
    assert_eq!(verdict("l2", OutcomeKind::Replied).await, OutcomeVerdict::Rejected, "the time for replies is over");
    assert_eq!(verdict("l1", OutcomeKind::Replied).await, OutcomeVerdict::Duplicate, "what is known stays known");
}

#[tokio::test]
async fn an_outcome_may_lie_five_minutes_ahead_and_no_more() {
    let service = Service::start().await;
    create_account(&service, "ann", None).await;
    create_campaign(&service, "spring", settings(1, &["ann"])).await;
    add_leads(&service, "spring", 2, Some("ann"), false).await;
    let ahead = |lead: &str, at: Timestamp| pb::Outcome {
        time: Some(stamp(at)),
        ..by_lead("spring", lead, 1, OutcomeKind::Delivered)
    };
    let edge = monday().checked_add(5.minutes()).unwrap();
    let results =
        report(&service, vec![ahead("l0", edge), ahead("l1", edge.checked_add(1.microsecond()).unwrap())]).await;
    assert_eq!((results[0].verdict(), results[1].reason.as_str()), (OutcomeVerdict::Applied, "TIME_IN_FUTURE"));
}

#[tokio::test]
async fn the_last_action_of_a_lead_is_its_latest_fact_by_time_not_by_arrival() {
    let service = Service::start().await;
    create_account(&service, "ann", None).await;
    create_campaign(&service, "spring", settings(2, &["ann"])).await;
    add_leads(&service, "spring", 2, Some("ann"), false).await;
    let earlier = |seconds: i64| monday().checked_sub(seconds.seconds()).unwrap();
    let outcome = |seconds: i64, step: i32, kind| pb::Outcome {
        time: Some(stamp(earlier(seconds))),
        ..by_lead("spring", "l1", step, kind)
    };
    let last = async || at(lead(&service, "spring", "l1").await.last_action_time.as_ref());
    report_new(&service, vec![outcome(50, 1, OutcomeKind::Delivered)]).await;
    assert_eq!(last().await, earlier(50));
    report_new(&service, vec![outcome(20, 0, OutcomeKind::AutoReplied), outcome(90, 1, OutcomeKind::Failed)]).await;
    assert_eq!(last().await, earlier(20), "not that of the failure, which came last");
    report_new(&service, vec![outcome(21, 0, OutcomeKind::Replied)]).await;
    assert_eq!(last().await, earlier(20));
    report_new(&service, vec![outcome(19, 0, OutcomeKind::Converted)]).await;
    assert_eq!(last().await, earlier(19));
    let request = pb::ListLeadsRequest { parent: campaign_name("spring"), ..Default::default() };
    let listed = service.leads.clone().list_leads(request).await.unwrap().into_inner().leads;
    let times: Vec<_> = listed.iter().map(|lead| lead.last_action_time.is_some()).collect();
    assert_eq!((times, at(listed[1].last_action_time.as_ref())), (vec![false, true], earlier(19)));
}

#[tokio::test]
async fn the_last_thirty_days_are_today_and_the_twenty_nine_before_it() {
    let service = Service::start().await;
    create_account(&service, "ann", None).await;
    create_campaign(&service, "spring", settings(1, &["ann"])).await;
    add_leads(&service, "spring", 12, Some("ann"), false).await;
    // 30 UTC days to the second of March: the first one is the first of February.
    let given = [
        ("2026-01-31T23:59:59.999999Z", OutcomeKind::Delivered, 5),
        ("2026-02-01T00:00:00Z", OutcomeKind::Delivered, 3),
        ("2026-02-01T23:59:59.999999Z", OutcomeKind::Bounced, 2),
        ("2026-03-02T10:00:00Z", OutcomeKind::Failed, 1),
    ];
    let mut number = 0;
    for (moment, kind, count) in given {
        for _ in 0..count {
            let outcome = by_lead("spring", &format!("l{number}"), 1, kind);
            report_new(&service, vec![pb::Outcome { time: Some(stamp(time(moment))), ..outcome }]).await;
            number += 1;
        }
    }
    let shown = async || {
        let account = account(&service, "ann").await;
        let sums = |sums: Option<pb::AccountPerformance>| sums.map(|sums| (sums.delivered, sums.failed, sums.bounced));
        let page = service.admin("/metrics").await;
        let gauge = |outcome: &str| -> i64 {
            let name = format!(
                "campaign_metrics_account_messages_30d{{workspace=\"acme\",account=\"ann\",outcome=\"{outcome}\"}} "
            );
            page.lines().find_map(|line| line.strip_prefix(&name)).expect("a gauge").parse().expect("a number")
        };
        let gauges = (gauge("delivered"), gauge("failed"), gauge("bounced"));
        (sums(account.lifetime).expect("sums"), sums(account.last_30_days).expect("sums"), gauges)
    };
    assert_eq!(shown().await, ((8, 1, 2), (3, 1, 2), (3, 1, 2)), "ever, in 30 days, in 30 days by the gauges");
    just_before(&service, time("2026-03-03T00:00:00Z"));
    assert_eq!(shown().await.1, (3, 1, 2), "to the end of the day");
    service.clock.advance(TICK);
    assert_eq!(shown().await, ((8, 1, 2), (0, 1, 0), (0, 1, 0)), "the first of February is over");
}

#[tokio::test]
async fn a_request_id_is_remembered_for_a_day() {
    let service = Service::start().await;
    let create = async |campaign_id: &str| {
        let request = pb::CreateCampaignRequest {
            parent: WORKSPACE.into(),
            campaign_id: campaign_id.into(),
            campaign: Some(settings(1, &[])),
            request_id: "0d5f6a0e-2a53-4a5e-8d2e-0c5b8c0f6f12".into(),
        };
        service.campaigns.clone().create_campaign(request).await
    };
    create("first").await.expect("it is created");
    let store = service.store();
    service.clock.advance(Duration::from_hours(24));
    store.maintain().await.unwrap();
    assert_refused(create("second").await, Code::AlreadyExists, "REQUEST_ID_REUSED", "another body");
    service.clock.advance(TICK);
    store.maintain().await.unwrap();
    create("second").await.expect("after a day it is another request");
}

#[tokio::test]
async fn an_opt_out_of_a_final_campaign_is_recorded() {
    let service = Service::start().await;
    create_account(&service, "ann", None).await;
    create_campaign(&service, "over", pb::Campaign { settle_seconds: Some(0), ..settings(1, &["ann"]) }).await;
    add_leads(&service, "over", 3, Some("ann"), false).await;
    finish(&service, "over").await;
    assert_eq!(service.store().campaigns_finalize().await.unwrap(), 1);
    report_new(&service, vec![by_lead("over", "l1", 0, OutcomeKind::OptedOut)]).await;
    create_campaign(&service, "next", settings(1, &["ann"])).await;
    let leads = ["l0", "l1"].map(|id| pb::NewLead { lead_id: id.into(), ..Default::default() });
    try_add(&service, "next", leads.into(), false).await.expect("leads");
    let claims = claim(&service, "ann", 9).await.claims;
    assert_eq!(claims.iter().map(|claim| claim.lead.as_str()).collect::<Vec<_>>(), [lead_name("next", "l0")]);
}

#[tokio::test]
async fn an_account_that_has_leads_or_claims_is_not_deleted() {
    let service = Service::start().await;
    create_account(&service, "ann", None).await;
    create_account(&service, "bob", None).await;
    create_campaign(&service, "spring", settings(2, &["ann"])).await;
    add_leads(&service, "spring", 2, Some("ann"), false).await;
    let delete = async || {
        let request = pb::DeleteAccountRequest { name: account_name("ann"), ..Default::default() };
        service.accounts.clone().delete_account(request).await
    };
    let refused = |answer| assert_refused(answer, Code::FailedPrecondition, "ACCOUNT_IN_USE", "suspend it instead");
    refused(delete().await);
    let claims = claim(&service, "ann", 2).await.claims;
    report_new(&service, vec![by_key(&claims[0], OutcomeKind::Delivered)]).await;
    assign(&service, "spring", &["bob"]).await;
    refused(delete().await);
    // A release does not take a lead with a delivery from her.
    crate::ways::release(&service, "ann", &claims[1..]).await;
    refused(delete().await);
    assert_eq!(account(&service, "ann").await.lifetime.unwrap().delivered, 1, "nothing of it is gone");
    let request = pb::ReassignLeadsRequest {
        parent: campaign_name("spring"),
        from_account: account_name("ann"),
        to_accounts: vec![account_name("bob")],
    };
    service.leads.clone().reassign_leads(request).await.unwrap();
    delete().await.expect("nothing is hers any more");
}

#[tokio::test]
async fn an_account_that_has_but_a_claim_of_a_lead_which_is_anothers_now_is_not_deleted() {
    let service = Service::start().await;
    for account in ["ann", "bob"] {
        create_account(&service, account, None).await;
    }
    create_campaign(&service, "spring", settings(3, &["ann"])).await;
    add_leads(&service, "spring", 1, Some("ann"), false).await;
    let claims = claim(&service, "ann", 1).await.claims;
    // Sent past its claim, so that the third step waits for somebody while the first is claimed still.
    report_new(&service, vec![by_lead("spring", "l0", 2, OutcomeKind::Delivered)]).await;
    assign(&service, "spring", &["bob"]).await;
    let request = pb::ReassignLeadsRequest {
        parent: campaign_name("spring"),
        from_account: account_name("ann"),
        to_accounts: vec![account_name("bob")],
    };
    let moved = service.leads.clone().reassign_leads(request).await.unwrap().into_inner();
    assert_eq!(moved.reassigned_count, 1);
    assert_eq!(lead(&service, "spring", "l0").await.account, account_name("bob"));
    let delete = async || {
        let request = pb::DeleteAccountRequest { name: account_name("ann"), ..Default::default() };
        service.accounts.clone().delete_account(request).await
    };
    assert_refused(delete().await, Code::FailedPrecondition, "ACCOUNT_IN_USE", "suspend it instead");
    service.clock.advance(Duration::from_hours(1));
    assert_refused(delete().await, Code::FailedPrecondition, "ACCOUNT_IN_USE", "suspend it instead");
    report_new(&service, vec![by_key(&claims[0], OutcomeKind::Delivered)]).await;
    delete().await.expect("nothing is hers any more");
}
