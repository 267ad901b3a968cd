//! Gauges of active campaigns in more detail: by account, and at equal age. Their bound, and how old they can be.

use std::time::Duration;

use campaign_metrics::pb::{self, FailureReason as Reason, OutcomeKind};
use campaign_metrics_service::{Clock, serve::Options};
use jiff::{Timestamp, ToSpan as _};

use crate::{
    harness::{
        gauges::{Page, Series, compare, expected::expected, unseen::Unseen},
        postgres::database,
        service::{Service, monday},
    },
    world::{
        WORKSPACE, assign, by_lead, campaign_name, create_account, create_campaign, get, pause, report_new, resume,
        settings, try_add,
    },
};

/// Days before today: beyond 90 days, the first of the last 90, then days on which leads become old enough for 30 days and
/// for 7 days, and the days after those. Then how many leads were contacted and by whom, and after how many tenths of a day
/// one of them replied and another one converted.
const CONTACTED: [(i64, usize, &str, i64, i64); 6] = [
    (90, 1, "ann", 5, 5),
    (89, 2, "ann", 69, 71),
    (31, 4, "bob", 71, 300),
    (30, 8, "bob", 70, 10),
    (8, 16, "ann", 0, 70),
    (7, 32, "ann", 10, 10),
];

async fn start(change: impl FnOnce(&mut Options)) -> Service {
    let service = Service::launch_with(&database().await, Clock::manual(monday()), change).await;
    service.ready().await;
    for account in ["ann", "bob", "cat"] {
        create_account(&service, account, None).await;
    }
    service
}

async fn page(service: &Service) -> Page {
    Page::parse(&service.admin("/metrics").await).expect("a page of metrics")
}

async fn add(service: &Service, campaign: &str, account: &str, leads: std::ops::Range<usize>) {
    let lead = |number| pb::NewLead { lead_id: format!("{campaign}-{number}"), account_id: account.into() };
    let added = try_add(service, campaign, leads.map(lead).collect(), false).await.expect("leads");
    assert_eq!(added.refused, [], "no lead is refused");
}

fn outcome(campaign: &str, lead: usize, kind: OutcomeKind, at: Timestamp) -> pb::Outcome {
    let time = Some(prost_types::Timestamp { seconds: at.as_second(), nanos: 0 });
    let step = i32::from(matches!(kind, OutcomeKind::Delivered | OutcomeKind::Failed | OutcomeKind::Bounced));
    pb::Outcome { time, ..by_lead(campaign, &format!("{campaign}-{lead}"), step, kind) }
}

/// Contacts the leads of [`CONTACTED`], then fails messages of `bob` on the first of the last 30 days and the day before.
async fn play(service: &Service) {
    let today = monday();
    let mut first = 0;
    for (days_ago, count, account, replied, converted) in CONTACTED {
        add(service, "spring", account, first..first + count).await;
        let at = today - (24 * days_ago).hours();
        let later = |tenths: i64| at + (tenths * 8640).seconds();
        let mut outcomes: Vec<_> =
            (first..first + count).map(|lead| outcome("spring", lead, OutcomeKind::Delivered, at)).collect();
        outcomes.push(outcome("spring", first, OutcomeKind::Replied, later(replied)));
        outcomes.push(outcome("spring", first + count - 1, OutcomeKind::Converted, later(converted)));
        report_new(service, outcomes).await;
        first += count;
    }
    for (days_ago, count, kind, reason) in [
        (30, 1, OutcomeKind::Failed, Reason::AccountIssue),
        (29, 2, OutcomeKind::Failed, Reason::InvalidLead),
        (29, 3, OutcomeKind::Bounced, Reason::InvalidLead),
        (0, 7, OutcomeKind::Bounced, Reason::ContentRejected),
    ] {
        add(service, "spring", "bob", first..first + count).await;
        let at = today - (24 * days_ago).hours();
        let fail = |lead| pb::Outcome { reason: reason.into(), ..outcome("spring", lead, kind, at) };
        report_new(service, (first..first + count).map(fail).collect()).await;
        first += count;
    }
}

fn of<'a>(campaign: &'a str, label: &'a str, is: &'a str) -> [(&'a str, &'a str); 3] {
    [("workspace", "acme"), ("campaign", campaign), (label, is)]
}

/// Campaigns with series by account.
fn detailed(page: &Page) -> Vec<String> {
    let mut campaigns: Vec<String> =
        page.of("campaign_account_messages_30d").iter().map(|series| series.labels["campaign"].clone()).collect();
    campaigns.sort_unstable();
    campaigns.dedup();
    campaigns
}

#[tokio::test]
async fn leads_count_at_an_age_once_their_day_is_so_many_days_past_and_for_90_days() {
    let service = start(|_| ()).await;
    create_campaign(&service, "spring", settings(1, &["ann", "bob"])).await;
    play(&service).await;
    let page = page(&service).await;
    // Within 7 days: of 89 days ago the reply, not the conversion; of 31 none; of 30 both; of 8 both.
    for (age, [contacted, replied, converted]) in [("7", [30, 3, 2]), ("30", [6, 2, 2])] {
        for (name, count) in [
            ("campaign_contacted_leads_at_age", contacted),
            ("campaign_replied_leads_at_age", replied),
            ("campaign_converted_leads_at_age", converted),
        ] {
            assert_eq!(page.count(name, &of("spring", "age_days", age)), count, "{name} of {age} days");
        }
    }
}

#[tokio::test]
async fn an_account_shows_its_messages_of_30_days_if_it_serves_the_campaign_or_has_some() {
    let service = start(|_| ()).await;
    create_campaign(&service, "spring", settings(1, &["ann", "bob", "cat"])).await;
    play(&service).await;
    assign(&service, "spring", &["ann", "cat"]).await;
    let labels = |account: &'static str, label: &'static str, is: &'static str| {
        [("workspace", "acme"), ("campaign", "spring"), ("account", account), (label, is)]
    };
    let page = page(&service).await;
    for (account, counts) in [("ann", [48, 0, 0]), ("bob", [0, 2, 10]), ("cat", [0, 0, 0])] {
        for (outcome, count) in ["delivered", "failed", "bounced"].into_iter().zip(counts) {
            let labels = labels(account, "outcome", outcome);
            assert_eq!(page.count("campaign_account_messages_30d", &labels), count, "{outcome} of {account}");
        }
    }
    for (reason, count) in [("account_issue", 0), ("invalid_lead", 5), ("content_rejected", 7), ("other", 0)] {
        let labels = labels("bob", "reason", reason);
        assert_eq!(page.count("campaign_account_failed_messages_30d", &labels), count, "{reason}");
    }
    assert_eq!(page.of("campaign_account_messages_30d").len(), 9, "three accounts");
}

#[tokio::test]
async fn only_active_campaigns_show_details() {
    let service = start(|_| ()).await;
    create_campaign(&service, "spring", settings(1, &["ann", "bob"])).await;
    play(&service).await;
    pause(&service, "spring").await;
    let paused = page(&service).await;
    assert_eq!(detailed(&paused), Vec::<String>::new());
    assert_eq!(paused.of("campaign_contacted_leads_at_age"), Vec::<&Series>::new());
    assert_eq!(paused.count("campaign_details_omitted", &[]), 0, "a paused campaign is not left out");
    resume(&service, "spring").await;
    assert_eq!(detailed(&page(&service).await), ["spring"]);
}

#[tokio::test]
async fn campaigns_that_changed_last_show_details_until_their_accounts_are_too_many() {
    let service = start(|options| options.metrics_campaign_accounts_max = 3).await;
    let mut shown = Vec::new();
    for (id, accounts) in [("a", &["ann"][..]), ("b", &["ann", "bob"]), ("c", &[]), ("d", &["ann", "bob", "cat"])] {
        create_campaign(&service, id, settings(1, accounts)).await;
        service.clock.advance(Duration::from_secs(1));
        let page = page(&service).await;
        shown.push((detailed(&page).join(" "), page.count("campaign_details_omitted", &[])));
    }
    // A campaign without accounts counts as one, since it has series at equal age.
    let expected = [("a", 0), ("a b", 0), ("b", 1), ("d", 3)];
    assert_eq!(shown, expected.map(|(ids, omitted)| (ids.to_owned(), omitted)));
    // An account that had leads of a campaign counts, since it may have messages of it.
    assign(&service, "c", &["ann"]).await;
    add(&service, "c", "ann", 0..1).await;
    assign(&service, "d", &["ann"]).await;
    service.clock.advance(Duration::from_secs(1));
    assign(&service, "c", &["bob"]).await;
    let page = page(&service).await;
    assert_eq!((detailed(&page).join(" "), page.count("campaign_details_omitted", &[])), ("c d".to_owned(), 2));
}

#[tokio::test]
async fn without_room_for_accounts_no_campaign_shows_details() {
    let service = start(|options| options.metrics_campaign_accounts_max = 0).await;
    create_campaign(&service, "spring", settings(1, &["ann", "bob"])).await;
    play(&service).await;
    let page = page(&service).await;
    assert!(detailed(&page).is_empty() && page.of("campaign_contacted_leads_at_age").is_empty());
    assert_eq!(page.count("campaign_details_omitted", &[]), 1);
}

#[tokio::test]
async fn details_are_read_again_when_they_are_old_and_those_of_a_deleted_or_paused_campaign_go_at_once() {
    let service = start(|options| options.metrics_details_age_max = Duration::from_hours(1)).await;
    for id in ["autumn", "spring"] {
        create_campaign(&service, id, settings(1, &["ann", "bob"])).await;
    }
    let first = page(&service).await;
    service.clock.advance(Duration::from_secs(1));
    add(&service, "spring", "ann", 0..1).await;
    report_new(&service, vec![outcome("spring", 0, OutcomeKind::Delivered, monday())]).await;
    let delete = pb::DeleteCampaignRequest { name: campaign_name("autumn"), ..Default::default() };
    service.campaigns.clone().delete_campaign(delete).await.unwrap();
    let second = page(&service).await;
    let spring = [("workspace", "acme"), ("campaign", "spring")];
    let delivered = |page: &Page, name: &str, more: &[(&str, &str)]| page.count(name, &[&spring[..], more].concat());
    assert_eq!(delivered(&second, "campaign_messages", &[("outcome", "delivered")]), 1, "the rest is of now");
    let by_account = [("account", "ann"), ("outcome", "delivered")];
    assert_eq!(delivered(&second, "campaign_account_messages_30d", &by_account), 0, "details are of before");
    let read_at = |page: &Page| page.value("campaign_details_timestamp_seconds", &[]).to_string();
    assert_eq!(
        (read_at(&first), read_at(&second)),
        (monday().as_second().to_string(), monday().as_second().to_string())
    );
    assert_eq!((detailed(&first).join(" "), detailed(&second).join(" ")), ("autumn spring".into(), "spring".into()));
    pause(&service, "spring").await;
    assert_eq!(detailed(&page(&service).await), Vec::<String>::new(), "nor does one that is paused since");
    resume(&service, "spring").await;

    // Where every scrape reads them, all series are of now.
    let fresh = Service::on(&service.database, Clock::manual(service.clock.now())).await;
    let campaigns = vec![get(&fresh, "spring").await];
    let request = pb::ListAccountsRequest { parent: WORKSPACE.into(), ..Default::default() };
    let accounts = fresh.accounts.clone().list_accounts(request).await.unwrap().into_inner().accounts;
    let mut unseen = Unseen::read(&fresh, &campaigns, &accounts).await;
    unseen.of_mut(&campaign_name("spring")).last_outcome = Some(unseen.now);
    let differences = compare(&page(&fresh).await, &expected(&campaigns, &accounts, &unseen));
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
