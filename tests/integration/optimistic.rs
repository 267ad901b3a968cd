//! Optimistic grants: a claim is granted by what the previous claim found (docs/decisions/0011). If something has
//! changed in between, the grant is undone, and the answer equals that of a replica without any knowledge. The same
//! limits hold.

use std::time::Duration;

use campaign_metrics::pb::{self, NotSendingReason as Why};

use crate::{
    harness::service::Service,
    ways::{Served, Way, release, served},
    world::{
        account_in, account_name, add_leads, assign, blocked, campaign_name, claim, create_account, create_campaign,
        finish, get, pause, reasons, settings,
    },
};

/// Less than the age at which knowledge expires.
const MOMENT: Duration = Duration::from_millis(400);

/// Two accounts in UTC-11 and UTC+14, and a campaign with active hours from 10:00 to 12:00 in Berlin. All have limits.
async fn world() -> Service {
    let service = Service::start().await;
    for (id, daily_limit, time_zone) in [("ann", 5, "Pacific/Pago_Pago"), ("bob", 11, "Pacific/Kiritimati")] {
        account_in(&service, id, time_zone, Some(daily_limit)).await;
    }
    let active_hours = in_berlin("10:00", "12:00").active_hours;
    let campaign = pb::Campaign { daily_limit: Some(7), active_hours, ..settings(1, &["ann", "bob"]) };
    create_campaign(&service, "spring", campaign).await;
    add_leads(&service, "spring", 9, None, false).await;
    service
}

fn in_berlin(start_time: &str, end_time: &str) -> pb::Campaign {
    let window = pb::ActiveWindow { days: vec![], start_time: start_time.into(), end_time: end_time.into() };
    let hours = pb::ActiveHours { time_zone: "Europe/Berlin".into(), windows: vec![window] };
    pb::Campaign { active_hours: Some(hours), ..Default::default() }
}

async fn update_account(service: &Service, account: pb::Account) {
    let account = pb::Account { name: account_name("ann"), ..account };
    let request = pb::UpdateAccountRequest { account: Some(account), update_mask: None };
    service.accounts.clone().update_account(request).await.expect("it is changed");
}

async fn update_campaign(service: &Service, campaign: pb::Campaign) {
    let campaign = pb::Campaign { name: campaign_name("spring"), ..campaign };
    let request = pb::UpdateCampaignRequest { campaign: Some(campaign), update_mask: None };
    service.campaigns.clone().update_campaign(request).await.expect("it is changed");
}

/// What can happen between two claims.
#[derive(Debug, Clone, Copy)]
enum Change {
    Paused,
    Finished,
    Suspended,
    Unassigned,
    WindowOver,
    WindowMoved,
    WindowLengthened,
    AccountZoneMoved,
    AccountLimitLowered,
    CampaignLimitLowered,
    CampaignLimitUsedByAnother,
    LeadsTakenByAnother,
}

impl Change {
    const ALL: [Self; 12] = [
        Self::Paused,
        Self::Finished,
        Self::Suspended,
        Self::Unassigned,
        Self::WindowOver,
        Self::WindowMoved,
        Self::WindowLengthened,
        Self::AccountZoneMoved,
        Self::AccountLimitLowered,
        Self::CampaignLimitLowered,
        Self::CampaignLimitUsedByAnother,
        Self::LeadsTakenByAnother,
    ];

    async fn happen(self, service: &Service, other: &Service) {
        match self {
            Self::Paused => drop(pause(service, "spring").await),
            Self::Finished => drop(finish(service, "spring").await),
            Self::Suspended => {
                let request = pb::SuspendAccountRequest { name: account_name("ann"), ..Default::default() };
                service.accounts.clone().suspend_account(request).await.expect("it is suspended");
            }
            Self::Unassigned => drop(assign(service, "spring", &["bob"]).await),
            Self::WindowOver => service.clock.advance(MOMENT),
            Self::WindowMoved => update_campaign(service, in_berlin("15:00", "15:30")).await,
            Self::WindowLengthened => update_campaign(service, in_berlin("10:00", "12:30")).await,
            Self::AccountZoneMoved => {
                update_account(service, pb::Account { time_zone: "Pacific/Kiritimati".into(), ..Default::default() })
                    .await;
            }
            Self::AccountLimitLowered => {
                update_account(service, pb::Account { daily_limit: Some(0), ..Default::default() }).await;
            }
            Self::CampaignLimitLowered => {
                update_campaign(service, pb::Campaign { daily_limit: Some(0), ..Default::default() }).await;
            }
            Self::CampaignLimitUsedByAnother => assert_eq!(claim(other, "bob", 8).await.claims.len(), 7),
            Self::LeadsTakenByAnother => {
                update_campaign(service, pb::Campaign { daily_limit: Some(50), ..Default::default() }).await;
                // All leads except the released one, which is ann's.
                assert_eq!(claim(other, "bob", 9).await.claims.len(), 8);
            }
        }
    }

    /// The reasons why ann gets fewer than the two claims that she asks for; none if she gets both.
    fn why(self) -> Vec<Why> {
        match self {
            Self::Paused => vec![Why::Paused],
            Self::Finished => vec![Why::Finished],
            Self::Suspended => vec![Why::AccountSuspended],
            Self::Unassigned => vec![Why::NoAccountAssigned],
            Self::WindowOver | Self::WindowMoved => vec![Why::OutsideActiveHours],
            Self::WindowLengthened | Self::AccountZoneMoved => vec![],
            Self::AccountLimitLowered => vec![Why::AccountDailyLimit],
            Self::CampaignLimitLowered | Self::CampaignLimitUsedByAnother => vec![Why::CampaignDailyLimit],
            Self::LeadsTakenByAnother => vec![Why::NoLeadDue],
        }
    }
}

#[tokio::test]
async fn an_optimistic_grant_that_no_longer_holds_is_undone_and_answered_as_by_a_fresh_replica() {
    for change in Change::ALL {
        let service = world().await;
        let other = Service::on(&service.database, service.clock.clone()).await;
        // Shortly before the window in Berlin closes.
        service.clock.advance(Duration::from_millis(3_599_600));
        Way::Optimistic.warm(&service, "ann").await;
        assert_eq!(served(&service).await, Served { full: 1, ..Served::default() });
        change.happen(&service, &other).await;

        let granted = claim(&service, "ann", 2).await;
        assert_eq!(
            served(&service).await,
            Served { full: 1, undone: 1, optimistic: 0 },
            "{change:?}: the grant is undone"
        );
        assert_eq!(reasons(&granted), change.why(), "{change:?}");
        release(&service, "ann", &granted.claims).await;
        let expiries =
            |answer: &pb::ClaimSendsResponse| answer.claims.iter().map(|claim| claim.expire_time).collect::<Vec<_>>();
        let known_nothing = claim(&other, "ann", 2).await;
        assert_eq!(
            (expiries(&granted), granted.not_sending, granted.next_change_time),
            (expiries(&known_nothing), known_nothing.not_sending, known_nothing.next_change_time),
            "{change:?}: optimistic (left) and without knowledge (right)"
        );
    }
}

/// What passes while an optimistic grant waits for its locks. The clock is stopped shortly before eleven.
#[derive(Debug, Clone, Copy)]
enum Passes {
    Window,
    DayOfAccount,
    DayOfCampaign,
    Time,
    /// Another session removes the account from the campaign, under the lock that the grant waits for.
    Assignment,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_optimistic_grant_that_waited_past_its_basis_is_undone() {
    use Passes::{Assignment, DayOfAccount, DayOfCampaign, Time, Window};
    for passes in [Window, DayOfAccount, DayOfCampaign, Time, Assignment] {
        let service = world().await;
        // Ann's day ends at eleven, as the window does.
        if matches!(passes, DayOfCampaign | Time | Assignment) {
            update_account(&service, pb::Account { time_zone: "UTC".into(), ..Default::default() }).await;
        }
        if !matches!(passes, Window) {
            let zone = if matches!(passes, DayOfCampaign) { "Pacific/Pago_Pago" } else { "UTC" };
            update_campaign(&service, always(zone)).await;
        }
        service.clock.advance(Duration::from_millis(3_599_800));
        Way::Optimistic.warm(&service, "ann").await;
        let (holder, watcher) = (service.sql().await, service.sql().await);
        let held = match passes {
            Assignment => "UPDATE campaign_accounts SET removed = true",
            _ => "SELECT FROM accounts WHERE name = 'ann' FOR UPDATE",
        };
        holder.batch_execute(&format!("BEGIN; SELECT FROM campaigns FOR UPDATE; {held}")).await.unwrap();
        let meddling = async {
            blocked(&watcher, &holder, 1).await;
            match passes {
                Window | DayOfAccount | DayOfCampaign => service.clock.advance(MOMENT),
                Time => service.clock.advance(MOMENT * 3),
                Assignment => {}
            }
            holder.batch_execute("COMMIT").await.unwrap();
        };
        let (answer, ()) = tokio::join!(claim(&service, "ann", 2), meddling);
        assert_eq!(
            served(&service).await,
            Served { full: 1, undone: 1, optimistic: 0 },
            "{passes:?} passes while it waits"
        );
        let expected = if matches!(passes, Window | Assignment) { 0 } else { 2 };
        assert_eq!(answer.claims.len(), expected, "{passes:?} passes while it waits");
        let request = pb::GetAccountRequest { name: account_name("ann") };
        let account = service.accounts.clone().get_account(request).await.unwrap().into_inner();
        assert_eq!(usize::try_from(account.reserved_today), Ok(expected), "{passes:?}: booked on the day of the grant");
    }
}

/// Reads how many sends are reserved today, of the account and of the campaign.
async fn reserved(service: &Service, account: &str) -> (i64, i64) {
    let request = pb::GetAccountRequest { name: account_name(account) };
    let account = service.accounts.clone().get_account(request).await.expect("it exists").into_inner();
    let sql = "SELECT coalesce(sum(reserved), 0)::int8 FROM campaign_reservations WHERE day = $1";
    let zone = jiff::tz::TimeZone::get("Europe/Berlin").expect("a zone");
    let today = zone.to_datetime(service.clock.now()).date();
    let campaign = service.sql().await.query_one(sql, &[&today]).await.expect("a sum").get(0);
    (account.reserved_today, campaign)
}

#[tokio::test]
async fn both_ways_grant_up_to_a_limit_and_not_one_more() {
    // Ann's own limit is five. Bob's exceeds the campaign's, which is seven.
    for (account, limit) in [("ann", 5), ("bob", 7)] {
        for (way, asked) in Way::BOTH.into_iter().flat_map(|way| (limit - 1..limit + 3).map(move |asked| (way, asked)))
        {
            let service = world().await;
            way.warm(&service, account).await;
            let granted = way.claim(&service, account, asked).await;
            let (expected, what) = (asked.min(limit), format!("{way:?}, {account} asks for {asked}"));
            assert_eq!(i32::try_from(granted.claims.len()), Ok(expected), "{what}");
            assert_eq!(granted.not_sending.is_empty(), asked <= limit, "{what}");
            way.assert_served(&service).await;
            assert_eq!(served(&service).await.optimistic > 0, way == Way::Optimistic && asked <= limit, "{what}");
            assert_eq!(reserved(&service, account).await, (expected.into(), expected.into()), "{what}");
        }
    }
}

#[tokio::test]
async fn both_ways_book_a_claim_on_the_days_of_its_own_moment() {
    for way in Way::BOTH {
        let service = world().await;
        update_campaign(&service, always("Pacific/Kiritimati")).await;
        // Shortly before midnight in Pago Pago, which is 11:00 UTC of the next day.
        service.clock.advance(Duration::from_millis(3_599_800));
        way.warm(&service, "ann").await;
        assert_eq!(claim(&service, "ann", 3).await.claims.len(), 3, "of the old day");
        service.clock.advance(MOMENT);
        assert_eq!(way.claim(&service, "ann", 4).await.claims.len(), 4, "{way:?}: of the new day");
        let days = service.sql().await;
        let days = days.query(
            "SELECT day::text, sum(reserved)::int8 FROM account_reservations GROUP BY day HAVING sum(reserved) > 0 ORDER BY 1",
            &[],
        );
        let days: Vec<(String, i64)> = days.await.unwrap().iter().map(|row| (row.get(0), row.get(1))).collect();
        assert_eq!(days, [("2026-03-01".to_owned(), 3), ("2026-03-02".to_owned(), 4)], "{way:?}");
        let of_campaign = "SELECT day::text, sum(reserved)::int8 FROM campaign_reservations GROUP BY day";
        let row = service.sql().await.query_one(of_campaign, &[]).await.unwrap();
        assert_eq!((row.get::<_, String>(0).as_str(), row.get::<_, i64>(1)), ("2026-03-03", 7), "{way:?}");
        if way == Way::Optimistic {
            assert_eq!(served(&service).await, Served { full: 1, optimistic: 2, undone: 0 });
        }
    }
}

fn always(time_zone: &str) -> pb::Campaign {
    let hours = pb::ActiveHours { time_zone: time_zone.into(), windows: vec![] };
    pb::Campaign { active_hours: Some(hours), ..Default::default() }
}

#[tokio::test]
async fn a_repeated_request_is_granted_the_same_claims_although_it_is_known() {
    let service = world().await;
    Way::Optimistic.warm(&service, "ann").await;
    let request = pb::ClaimSendsRequest {
        account: account_name("ann"),
        max_claims: 2,
        request_id: "0d5f6a0e-2a53-4a5e-8d2e-0c5b8c0f6f11".into(),
        ..Default::default()
    };
    let ask = async || service.sending.clone().claim_sends(request.clone()).await.expect("an answer").into_inner();
    let first = ask().await.claims;
    assert_eq!((first.len(), served(&service).await.optimistic), (2, 1));
    assert_eq!(ask().await.claims, first, "the same claims");
    assert_eq!(served(&service).await.undone, 1, "the extra claims are undone");
    assert_eq!(get(&service, "spring").await.in_flight_claims, 2);
    assert_eq!(reserved(&service, "ann").await, (2, 2));
}

#[tokio::test]
async fn knowledge_expires_after_a_second() {
    let service = world().await;
    Way::Optimistic.warm(&service, "ann").await;
    service.clock.advance(Duration::from_secs(1));
    assert_eq!(claim(&service, "ann", 1).await.claims.len(), 1);
    assert_eq!(served(&service).await, Served { full: 1, optimistic: 1, undone: 0 }, "after a second");
    service.clock.advance(Duration::from_micros(1));
    assert_eq!(claim(&service, "ann", 1).await.claims.len(), 1);
    assert_eq!(served(&service).await, Served { full: 2, optimistic: 1, undone: 0 }, "a microsecond later");
}

#[tokio::test]
async fn an_account_of_the_same_name_is_another_one() {
    let service = world().await;
    create_account(&service, "eve", Some(3)).await;
    assign(&service, "spring", &["ann", "bob", "eve"]).await;
    Way::Optimistic.warm(&service, "eve").await;
    // It is deleted, and one with a smaller limit is created under its name.
    assign(&service, "spring", &["ann", "bob"]).await;
    let request = pb::DeleteAccountRequest { name: account_name("eve"), ..Default::default() };
    service.accounts.clone().delete_account(request).await.expect("it is gone");
    create_account(&service, "eve", Some(1)).await;
    assign(&service, "spring", &["eve"]).await;
    assert_eq!(claim(&service, "eve", 2).await.claims.len(), 1, "by its own limit");
    assert_eq!(served(&service).await, Served { full: 1, optimistic: 0, undone: 1 });
}
