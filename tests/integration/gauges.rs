//! Gauges of campaigns and accounts equal the API: every series by name and label, and no others.

use std::{collections::BTreeSet, time::Duration};

use campaign_metrics::pb::{self, OutcomeKind};
use campaign_metrics_service::{Clock, store::VerifyMode};

use crate::{
    fleet::Fleet,
    harness::{
        gauges::{GAUGES, PROCESS, Page, compare, expected::expected, series, unseen::Unseen},
        postgres::{TestDatabase, database, separate_server},
        recount::{assert_counts, of_api},
        service::{Service, monday},
        wait::{SOON, until},
    },
    world::{
        WORKSPACE, account_name, add_leads, by_lead, campaign_name, claim, create_account, create_campaign,
        fail_stream, pause, report_new, settings,
    },
};

async fn page(service: &Service) -> Page {
    Page::parse(&service.admin("/metrics").await).expect("a page of metrics")
}

/// Compares the whole page with the campaigns of these ids, and all accounts.
async fn differences(service: &Service, ids: &[&str], change: impl FnOnce(&mut Unseen)) -> Vec<String> {
    let mut kept = campaigns(service).await;
    kept.retain(|campaign| ids.iter().any(|id| campaign.name == campaign_name(id)));
    assert_eq!(kept.len(), ids.len());
    let accounts = accounts(service).await;
    let mut unseen = Unseen::read(service, &kept, &accounts).await;
    change(&mut unseen);
    compare(&page(service).await, &expected(&kept, &accounts, &unseen))
}

async fn campaigns(service: &Service) -> Vec<pb::Campaign> {
    let request = pb::ListCampaignsRequest { parent: "workspaces/-".into(), ..Default::default() };
    service.campaigns.clone().list_campaigns(request).await.expect("campaigns").into_inner().campaigns
}

async fn accounts(service: &Service) -> Vec<pb::Account> {
    let request = pb::ListAccountsRequest { parent: WORKSPACE.into(), ..Default::default() };
    service.accounts.clone().list_accounts(request).await.expect("accounts").into_inner().accounts
}

#[tokio::test]
async fn every_gauge_says_what_the_api_says_in_each_workspace() {
    let fleet = Fleet::start().await;
    let (campaigns, accounts) = (fleet.campaigns().await, fleet.accounts().await);
    let page = page(&fleet.service).await;
    let differences = compare(&page, &expected(&campaigns, &accounts, &fleet.unseen));
    assert!(differences.is_empty(), "gauges differ from the API:\n{}", differences.join("\n"));

    // The comparison is meaningful only if all metrics are present and all counts of a campaign differ.
    let shown: BTreeSet<&str> = page.types.keys().map(String::as_str).collect();
    let missing: Vec<_> = GAUGES.iter().filter(|name| !shown.contains(*name)).collect();
    assert!(missing.is_empty(), "the page has no {missing:?}");
    let sql = fleet.service.sql().await;
    for campaign in campaigns.iter().filter(|campaign| campaign.name.ends_with("/spring")) {
        assert_counts(&sql, campaign).await;
        let mut counts: Vec<i64> = of_api(campaign).into_values().collect();
        counts.extend([campaign.in_flight_claims, campaign.uncertain_claims]);
        let different: BTreeSet<_> = counts.iter().collect();
        assert_eq!(different.len(), counts.len(), "counts of {} are alike: {counts:?}", campaign.name);
    }
    for account in accounts.iter().filter(|account| account.name.ends_with("/dee")) {
        let counts = [&account.lifetime, &account.last_30_days].map(|counts| counts.as_ref().unwrap());
        let counts = counts.iter().flat_map(|counts| [counts.delivered, counts.failed, counts.bounced]);
        let different: BTreeSet<_> = counts.clone().collect();
        assert_eq!(different.len(), 6, "counts of {} are alike: {:?}", account.name, counts.collect::<Vec<_>>());
    }
    let anns = accounts.iter().filter(|account| account.name.ends_with("/ann"));
    let delivered: Vec<_> = anns
        .map(|account| [&account.lifetime, &account.last_30_days].map(|counts| counts.as_ref().unwrap().delivered))
        .collect();
    assert_eq!(delivered, [[3, 1], [7, 5]], "of the messages of 40, 30 and 29 days ago the last one counts in 30 days");
}

#[tokio::test]
async fn a_gauge_that_shows_another_number_or_one_too_many_is_told() {
    let fleet = Fleet::start().await;
    let (campaigns, accounts) = (fleet.campaigns().await, fleet.accounts().await);
    let text = fleet.service.admin("/metrics").await;
    let expected = expected(&campaigns, &accounts, &fleet.unseen);
    let spring = "workspace=\"globex\",campaign=\"spring\"";
    let line = |name: &str| {
        let start = format!("campaign_metrics_campaign_{name}{{{spring}");
        text.lines().find(|line| line.starts_with(&start)).expect("a gauge").to_owned()
    };
    let (converted, replied) = (line("converted_leads"), line("replied_leads"));
    let swapped = converted.replace(" 4", " 6");
    for (from, to, says) in [
        (
            converted.as_str(),
            swapped.as_str(),
            "campaign_converted_leads{campaign=spring, workspace=globex} is 6, not 4",
        ),
        (&replied, "", "campaign_replied_leads{campaign=spring, workspace=globex} is absent, not 6"),
        (&replied, &format!("{replied}\n{}", replied.replace("globex", "ghost")), "workspace=ghost} is 6, and has"),
        (&replied, &format!("{replied}\n# HELP x_y z\n# TYPE x_y gauge\nx_y 1"), "no comparison reads the metric x_y"),
    ] {
        let page = Page::parse(&text.replace(from, to).replace("\n\n", "\n")).unwrap();
        let told = compare(&page, &expected).join("\n");
        assert!(told.contains(says) && told.lines().count() == 1, "`{says}` is told, and nothing else: {told}");
    }
}

#[tokio::test]
async fn active_campaigns_then_those_that_changed_last_have_series_and_the_others_are_counted() {
    let clock = Clock::manual(monday());
    let service = Service::launch_with(&database().await, clock, |options| options.metrics_campaigns_max = 3).await;
    service.ready().await;
    create_account(&service, "ann", None).await;
    let shown = async |ids: &[&str], omitted| {
        let differences = differences(&service, ids, |unseen| unseen.omitted = omitted).await;
        assert!(differences.is_empty(), "{ids:?} have series, {omitted} have not:\n{}", differences.join("\n"));
    };
    shown(&[], 0).await;
    for id in ["a", "b", "c"] {
        create_campaign(&service, id, settings(1, &["ann"])).await;
        service.clock.advance(Duration::from_secs(1));
    }
    shown(&["a", "b", "c"], 0).await;
    create_campaign(&service, "d", settings(1, &["ann"])).await;
    shown(&["b", "c", "d"], 1).await;
    service.clock.advance(Duration::from_secs(1));
    pause(&service, "d").await;
    shown(&["a", "b", "c"], 1).await;
    service.clock.advance(Duration::from_secs(1));
    pause(&service, "a").await;
    shown(&["a", "b", "c"], 1).await;
    let delete = pb::DeleteCampaignRequest { name: campaign_name("b"), ..Default::default() };
    service.campaigns.clone().delete_campaign(delete).await.unwrap();
    shown(&["a", "c", "d"], 0).await;
}

#[tokio::test]
async fn active_accounts_then_those_that_changed_last_have_series_and_campaigns_do_not_depend_on_it() {
    let clock = Clock::manual(monday());
    let service = Service::launch_with(&database().await, clock, |options| options.metrics_accounts_max = 2).await;
    service.ready().await;
    let shown = async |ids: &[&str], omitted| {
        let mut shown = accounts(&service).await;
        shown.retain(|account| ids.iter().any(|id| account.name == account_name(id)));
        let campaigns = campaigns(&service).await;
        let mut unseen = Unseen::read(&service, &campaigns, &shown).await;
        unseen.accounts_omitted = omitted;
        if let Some(campaign) = campaigns.first() {
            // Its first messages are due now.
            let now = unseen.now;
            unseen.of_mut(&campaign.name).next_due = Some(now);
        }
        let differences = compare(&page(&service).await, &expected(&campaigns, &shown, &unseen));
        assert!(differences.is_empty(), "{ids:?} have series, {omitted} have not:\n{}", differences.join("\n"));
    };
    for id in ["ann", "bob"] {
        create_account(&service, id, None).await;
        service.clock.advance(Duration::from_secs(1));
    }
    // Only ann sends for it, who gets no series: still it can send.
    create_campaign(&service, "spring", settings(1, &["ann"])).await;
    add_leads(&service, "spring", 3, Some("ann"), false).await;
    shown(&["ann", "bob"], 0).await;
    create_account(&service, "eve", None).await;
    shown(&["bob", "eve"], 1).await;
    service.clock.advance(Duration::from_secs(1));
    let suspend = pb::SuspendAccountRequest { name: account_name("eve"), ..Default::default() };
    service.accounts.clone().suspend_account(suspend).await.unwrap();
    shown(&["ann", "bob"], 1).await;
    let delete = pb::DeleteAccountRequest { name: account_name("bob"), ..Default::default() };
    service.accounts.clone().delete_account(delete).await.unwrap();
    shown(&["ann", "eve"], 0).await;
}

#[tokio::test]
async fn the_next_due_step_of_a_campaign_is_the_first_to_be_due_whatever_the_order_of_the_reports() {
    let service = Service::start().await;
    let sql = service.sql().await;
    create_account(&service, "ann", None).await;
    let began = monday().as_second() - 600;
    for campaign in ["autumn", "spring"] {
        create_campaign(&service, campaign, settings(2, &["ann"])).await;
        add_leads(&service, campaign, 3, Some("ann"), false).await;
    }
    assert_eq!(claim(&service, "ann", 6).await.claims.len(), 6, "nothing waits for its first message");
    for campaign in ["autumn", "spring"] {
        for (lead, seconds) in [("l0", began + 50), ("l1", began + 20), ("l2", began + 30)] {
            let time = Some(prost_types::Timestamp { seconds, nanos: 0 });
            let delivered = by_lead(campaign, lead, 1, OutcomeKind::Delivered);
            report_new(&service, vec![pb::Outcome { time, ..delivered }]).await;
        }
    }
    // Of a table that is known to be this small Postgres reads all rows, in the order in which they came.
    sql.batch_execute("ANALYZE returns").await.unwrap();
    let page = page(&service).await;
    for campaign in ["autumn", "spring"] {
        let labels = [("workspace", "acme"), ("campaign", campaign)];
        let due = page.count("campaign_next_due_timestamp_seconds", &labels);
        assert_eq!(due, began + 20 + 3600, "{campaign}: an hour after the first delivery");
    }
}

#[tokio::test]
async fn a_deleted_campaign_or_account_leaves_no_series_behind() {
    let fleet = Fleet::start().await;
    let workspace = fleet.workspace(1);
    let delete = pb::DeleteCampaignRequest { name: workspace.campaign("spring"), force: true, ..Default::default() };
    fleet.service.campaigns.clone().delete_campaign(delete).await.unwrap();
    workspace.create_account("eve", Some(3), "UTC", "").await;
    let with_eve = page(&fleet.service).await;
    let eve = [("workspace", "globex"), ("account", "eve")];
    assert_eq!(with_eve.values.get(&series("account_daily_limit", &eve)), Some(&3.0));
    let delete = pb::DeleteAccountRequest { name: workspace.account("eve"), ..Default::default() };
    fleet.service.accounts.clone().delete_account(delete).await.unwrap();
    let (campaigns, accounts) = (fleet.campaigns().await, fleet.accounts().await);
    let mut unseen = fleet.unseen.clone();
    unseen.campaigns.remove(&workspace.campaign("spring"));
    let differences = compare(&page(&fleet.service).await, &expected(&campaigns, &accounts, &unseen));
    assert!(differences.is_empty(), "gauges after deletions:\n{}", differences.join("\n"));
    assert_eq!(accounts.len(), 10);
}

#[tokio::test]
async fn without_its_database_a_service_shows_its_process_and_says_that_it_reads_no_campaigns() {
    let (mut server, _directory) = separate_server().await.unwrap();
    let database = TestDatabase::without_roles(server.url("postgres"));
    let service = Service::on(&database, Clock::manual(monday())).await;
    create_account(&service, "ann", Some(7)).await;
    create_campaign(&service, "spring", settings(1, &["ann"])).await;
    add_leads(&service, "spring", 2, Some("ann"), false).await;
    let outcome = |lead, kind| by_lead("spring", lead, 1, kind);
    report_new(&service, vec![outcome("l0", OutcomeKind::Delivered), outcome("l1", OutcomeKind::Bounced)]).await;
    assert_eq!(claim(&service, "ann", 1).await.claims, []);
    fail_stream(&service, vec![outcome("l0", OutcomeKind::Delivered)]).await;
    service.store().verification_note(0, VerifyMode::Report).await.unwrap();
    assert!(page(&service).await.types.contains_key("verify_differences"));

    server.stop().await.unwrap();
    let away = page(&service).await;
    let gauges: Vec<_> = away.types.keys().filter(|name| GAUGES.contains(&name.as_str())).collect();
    assert_eq!(gauges, ["collector_success"], "no number is better than an old one");
    assert_eq!(away.count("collector_success", &[]), 0);
    let missing: Vec<_> = PROCESS.iter().filter(|(name, _)| !away.types.contains_key(*name)).collect();
    assert!(missing.is_empty(), "metrics of the process are shown without a database: {missing:?}");

    server.start_again().await.unwrap();
    let back = async || {
        anyhow::ensure!(page(&service).await.count("collector_success", &[]) == 1, "it still reads nothing");
        Ok(())
    };
    until("the gauges to return", SOON, back).await.unwrap();
    let differences = differences(&service, &["spring"], |unseen| {
        unseen.verification = Some((0, unseen.now));
        unseen.of_mut(&campaign_name("spring")).last_outcome = Some(unseen.now);
    });
    let differences = differences.await;
    assert!(differences.is_empty(), "gauges after the database came back:\n{}", differences.join("\n"));
}
