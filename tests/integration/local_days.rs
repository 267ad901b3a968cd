//! Local days and windows, tested to the microsecond: in zones with different days, and on days of 23, 25 or 24.5
//! hours.

use campaign_metrics::pb::{self, NotSendingReason as Why, OutcomeKind, RenewVerdict};
use campaign_metrics_service::Clock;
use jiff::ToSpan as _;

use crate::{
    edges::{at, claim_for, just_before, move_to, renew, stamp, time},
    harness::{postgres::database, service::Service},
    world::{
        account_in, account_name, add_leads, by_lead, campaign_name, claim, create_account, create_campaign, get,
        reasons, report_new, settings,
    },
};

async fn started(now: &str) -> Service {
    Service::on(&database().await, Clock::manual(time(now))).await
}

fn hours(time_zone: &str, windows: &[(&str, &str)]) -> pb::ActiveHours {
    let window = |(start, end): &(&str, &str)| pb::ActiveWindow {
        days: vec![],
        start_time: (*start).into(),
        end_time: (*end).into(),
    };
    pb::ActiveHours { time_zone: time_zone.into(), windows: windows.iter().map(window).collect() }
}

/// Local days: their first instant and the first instant of the next day.
const DAYS: [(&str, &str, &str); 6] = [
    ("Pacific/Pago_Pago", "2026-03-02T11:00:00Z", "2026-03-03T11:00:00Z"),
    ("Pacific/Kiritimati", "2026-03-02T10:00:00Z", "2026-03-03T10:00:00Z"),
    // 23 hours, 25 hours, 24 and a half.
    ("Europe/Berlin", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"),
    ("Europe/Berlin", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"),
    ("Australia/Lord_Howe", "2026-04-04T13:00:00Z", "2026-04-05T13:30:00Z"),
    ("UTC", "2026-03-02T00:00:00Z", "2026-03-03T00:00:00Z"),
];

#[tokio::test]
async fn a_change_of_zone_gives_no_second_limit_on_the_same_day() {
    // Monday 10:00 in UTC, Tuesday 00:00 in Kiritimati, Sunday 23:00 in Pago Pago.
    let service = started("2026-03-02T10:00:00Z").await;
    account_in(&service, "ann", "UTC", Some(5)).await;
    account_in(&service, "bob", "UTC", None).await;
    create_campaign(&service, "hers", settings(1, &["ann"])).await;
    create_campaign(&service, "his", pb::Campaign { daily_limit: Some(4), ..settings(1, &["bob"]) }).await;
    add_leads(&service, "hers", 40, Some("ann"), false).await;
    add_leads(&service, "his", 40, None, false).await;
    report_new(&service, vec![by_lead("hers", "l39", 1, OutcomeKind::Delivered)]).await;
    report_new(&service, vec![by_lead("his", "l39", 1, OutcomeKind::Delivered)]).await;
    let mut hers = claim(&service, "ann", 9).await.claims;
    let mut his = claim(&service, "bob", 9).await.claims;
    assert_eq!((hers.len(), his.len()), (4, 3), "one message of each was sent without a claim");
    for zone in ["Pacific/Kiritimati", "UTC", "Pacific/Pago_Pago", "Pacific/Kiritimati"] {
        let account = pb::Account { name: account_name("ann"), time_zone: zone.into(), ..Default::default() };
        let update_mask = Some(prost_types::FieldMask { paths: vec!["time_zone".into()] });
        let request = pb::UpdateAccountRequest { account: Some(account), update_mask };
        let account = service.accounts.clone().update_account(request).await.expect("a change").into_inner();
        assert_eq!(account.reserved_today, 5, "in {zone}");
        let active_hours = Some(hours(zone, &[]));
        let campaign = pb::Campaign { name: campaign_name("his"), active_hours, ..Default::default() };
        let update_mask = Some(prost_types::FieldMask { paths: vec!["active_hours".into()] });
        let request = pb::UpdateCampaignRequest { campaign: Some(campaign), update_mask };
        service.campaigns.clone().update_campaign(request).await.expect("a change");
        let (of_hers, of_his) = (claim(&service, "ann", 9).await, claim(&service, "bob", 9).await);
        assert_eq!((of_hers.claims.len(), reasons(&of_hers)), (0, vec![Why::AccountDailyLimit]), "in {zone}");
        assert_eq!((of_his.claims.len(), reasons(&of_his)), (0, vec![Why::CampaignDailyLimit]), "in {zone}");
        // What is given back after the change is given back to the day that counts.
        for (account, claims) in [("ann", &mut hers), ("bob", &mut his)] {
            let given_back = claims.pop().expect("one is left");
            let request = pb::ReleaseClaimsRequest {
                account: account_name(account),
                claim_ids: vec![given_back.claim_id],
                not_before: None,
            };
            let released = service.sending.clone().release_claims(request).await.expect("an answer").into_inner();
            assert_eq!(released.released_count, 1);
            claims.splice(0..0, claim(&service, account, 9).await.claims);
            assert_eq!(claims.len(), if account == "ann" { 4 } else { 3 }, "{account} in {zone}");
        }
    }
    move_to(&service, time("2026-03-03T10:00:00Z"));
    assert_eq!(claim(&service, "ann", 9).await.claims.len(), 5, "a new day in Kiritimati");
    assert_eq!(claim(&service, "bob", 9).await.claims.len(), 4);
}

#[tokio::test]
async fn a_daily_limit_lasts_from_local_midnight_to_local_midnight_whatever_the_clocks_do() {
    for (zone, begin, end) in DAYS {
        for of in [Why::AccountDailyLimit, Why::CampaignDailyLimit] {
            let service = started("2026-02-01T00:00:00Z").await;
            // The one without a limit is in a zone whose days begin at other times.
            let (account_limit, campaign_limit) =
                if of == Why::AccountDailyLimit { (Some(2), None) } else { (None, Some(2)) };
            let zone_of = |limit: Option<i32>| if limit.is_some() { zone } else { "Asia/Kathmandu" };
            account_in(&service, "ann", zone_of(account_limit), account_limit).await;
            let active_hours = Some(hours(zone_of(campaign_limit), &[]));
            let campaign = pb::Campaign { daily_limit: campaign_limit, active_hours, ..settings(1, &["ann"]) };
            create_campaign(&service, "spring", campaign).await;
            add_leads(&service, "spring", 9, None, false).await;
            let what = format!("{of:?} of the day from {begin} to {end} in {zone}");
            just_before(&service, time(begin));
            let before = claim(&service, "ann", 3).await;
            assert_eq!((before.claims.len(), at(before.next_change_time.as_ref())), (2, time(begin)), "before {what}");
            move_to(&service, time(begin));
            let first = claim(&service, "ann", 3).await;
            assert_eq!((first.claims.len(), reasons(&first)), (2, vec![of]), "{what}");
            assert_eq!(at(first.next_change_time.as_ref()), time(end), "{what}");
            just_before(&service, time(end));
            assert_eq!(reasons(&claim(&service, "ann", 3).await), [of], "{what} at its last moment");
            move_to(&service, time(end));
            assert_eq!(claim(&service, "ann", 3).await.claims.len(), 2, "after {what}");
        }
    }
}

#[tokio::test]
async fn messages_without_a_claim_are_booked_on_the_local_days_of_their_own_time() {
    let service = started("2026-03-04T00:00:00Z").await;
    account_in(&service, "ann", "Pacific/Pago_Pago", None).await;
    let campaign = pb::Campaign { active_hours: Some(hours("Pacific/Kiritimati", &[])), ..settings(1, &["ann"]) };
    create_campaign(&service, "spring", campaign).await;
    add_leads(&service, "spring", 5, Some("ann"), false).await;
    let moments = [
        "2026-03-02T09:59:59Z",
        "2026-03-02T10:00:00Z",
        "2026-03-02T10:59:59Z",
        "2026-03-02T11:00:00Z",
        "2026-03-02T23:59:59Z",
    ];
    let outcomes = moments.iter().enumerate().map(|(number, moment)| pb::Outcome {
        time: Some(stamp(time(moment))),
        ..by_lead("spring", &format!("l{number}"), 1, OutcomeKind::Delivered)
    });
    report_new(&service, outcomes.collect()).await;
    let sql = service.sql().await;
    let days = async |of: &str| -> Vec<(String, i64)> {
        let select = format!("SELECT day::text, sum(reserved)::int8 FROM {of} GROUP BY day ORDER BY day");
        sql.query(&select, &[]).await.unwrap().iter().map(|row| (row.get(0), row.get(1))).collect()
    };
    let day = |day: &str, count: i64| (day.to_owned(), count);
    assert_eq!(days("account_reservations").await, [day("2026-03-01", 3), day("2026-03-02", 2)], "UTC-11");
    assert_eq!(days("campaign_reservations").await, [day("2026-03-02", 1), day("2026-03-03", 4)], "UTC+14");
    move_to(&service, time("2026-03-05T00:00:00Z"));
    service.store().maintain().await.unwrap();
    assert_eq!(days("account_reservations").await, [], "days that are over are forgotten");
    assert_eq!(days("campaign_reservations").await, [day("2026-03-03", 4)]);
    let utc = "SELECT day::text, sum(delivered)::int8 FROM history_of_accounts GROUP BY day";
    let utc = sql.query_one(utc, &[]).await.unwrap();
    assert_eq!((utc.get::<_, String>(0), utc.get::<_, i64>(1)), day("2026-03-02", 5), "figures go by UTC");
}

#[tokio::test]
async fn neither_a_claim_nor_a_renewal_lasts_past_its_window_also_when_the_clocks_change() {
    // In Berlin 01:00 to 04:00 lasts two hours when summer time begins and four when it ends.
    for (begin, end) in
        [("2026-03-29T00:00:00Z", "2026-03-29T02:00:00Z"), ("2026-10-24T23:00:00Z", "2026-10-25T03:00:00Z")]
    {
        let service = started("2026-03-01T00:00:00Z").await;
        create_account(&service, "ann", None).await;
        let active_hours = Some(hours("Europe/Berlin", &[("01:00", "04:00")]));
        create_campaign(&service, "spring", pb::Campaign { active_hours, ..settings(1, &["ann"]) }).await;
        add_leads(&service, "spring", 5, None, false).await;
        just_before(&service, time(begin));
        let early = claim(&service, "ann", 1).await;
        assert_eq!(
            (reasons(&early), at(early.next_change_time.as_ref())),
            (vec![Why::OutsideActiveHours], time(begin))
        );
        move_to(&service, time(end).checked_sub(20.minutes()).unwrap());
        let held = claim(&service, "ann", 1).await.claims.remove(0);
        assert_eq!(
            at(held.expire_time.as_ref()),
            time(end).checked_sub(15.minutes()).unwrap(),
            "five minutes by default"
        );
        let renewed = renew(&service, &held, Some(900)).await;
        assert_eq!(
            at(renewed.expire_time.as_ref()),
            time(end).checked_sub(5.minutes()).unwrap(),
            "as long as was asked"
        );
        let renewed = renew(&service, &held, Some(3600)).await;
        assert_eq!((renewed.verdict(), at(renewed.expire_time.as_ref())), (RenewVerdict::Renewed, time(end)));
        let long = claim_for(&service, 3600, 0).await.unwrap().claims.remove(0);
        assert_eq!(at(long.expire_time.as_ref()), time(end), "a claim ends with its window");
        just_before(&service, time(end));
        let last = claim(&service, "ann", 1).await;
        assert_eq!(at(last.claims[0].expire_time.as_ref()), time(end), "also one of its last moment");
        assert_eq!(renew(&service, &held, None).await.verdict(), RenewVerdict::Renewed, "held to the last moment");
        assert_eq!(get(&service, "spring").await.in_flight_claims, 3);
        move_to(&service, time(end));
        assert_eq!(renew(&service, &held, None).await.verdict(), RenewVerdict::NotHeld);
        let late = claim(&service, "ann", 1).await;
        assert!(reasons(&late).contains(&Why::OutsideActiveHours), "a window does not hold its end");
        let campaign = get(&service, "spring").await;
        assert_eq!((campaign.in_flight_claims, campaign.uncertain_claims), (0, 3), "none outlives the window");
    }
}
