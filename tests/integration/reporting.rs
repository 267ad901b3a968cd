//! The views of the schema `reporting`, the public interface in SQL: their columns stay, they show what the API shows, and
//! they read by key. `model` compares them after random sequences, too.

use std::{collections::BTreeMap, env, fs};

use campaign_metrics::pb::{self, FailureReason as Reason, OutcomeKind as Kind};
use futures::stream;
use jiff::{Timestamp, ToSpan as _, tz::TimeZone};
use serde_json::Value;

use self::shown::{Clocks, VIEWS, differences};
use crate::{
    harness::{
        golden::assert_golden,
        parts::repository,
        postgres::{Connection, Role, connect, database},
        service::Service,
    },
    world::{add_leads, by_lead, create_account, create_campaign, report_new, settings},
};
use campaign_metrics_service::Clock;

#[path = "reporting/shown.rs"]
pub mod shown;

/// Columns of the views, in their order.
const COLUMNS: &str = "services/metrics/reporting.txt";

/// The lines of a view in a list of columns `view.column type`.
fn by_view(text: &str) -> BTreeMap<&str, Vec<&str>> {
    let mut views = BTreeMap::<_, Vec<_>>::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (view, column) = line.split_once('.').expect("view.column type");
        views.entry(view).or_default().push(column);
    }
    views
}

#[tokio::test]
async fn columns_of_views_are_only_ever_added_at_the_end() {
    let sql = database().await.connect().await;
    let columns = "SELECT c.relname || '.' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod) FROM pg_class c
        JOIN pg_attribute a ON a.attrelid = c.oid
        WHERE c.relnamespace = 'reporting'::regnamespace AND a.attnum > 0 AND NOT a.attisdropped
        ORDER BY c.relname, a.attnum";
    let mut now = "# Columns of the views of the schema `reporting`: a public interface. Lines are only ever added, at the end of a view.\n".to_owned();
    for row in sql.query(columns, &[]).await.unwrap() {
        now.push_str(row.get(0));
        now.push('\n');
    }
    let before = fs::read_to_string(repository().join(COLUMNS)).unwrap_or_default();
    assert!(!before.is_empty() || env::var_os("UPDATE_GOLDEN").is_some(), "{COLUMNS} is missing");
    let (before, present) = (by_view(&before), by_view(&now));
    for (view, columns) in before {
        let present = present.get(view).map(Vec::as_slice).unwrap_or_default();
        for (place, column) in columns.iter().enumerate() {
            assert_eq!(
                present.get(place),
                Some(column),
                "column {} of reporting.{view} has to stay `{column}`: dashboards and scripts of users read it by this \
                 name, type and place. Do not remove, rename, retype or move a column; add a new one at the end instead",
                place + 1
            );
        }
    }
    assert_golden(COLUMNS, &now);
}

/// Outcomes of the first step: how many leads in each workspace, and how many days ago. No two numbers of a campaign are
/// the same. The 30th day is far, should midnight pass meanwhile.
const GROUPS: [(Kind, Reason, [usize; 2], i32); 7] = [
    (Kind::Delivered, Reason::Unspecified, [11, 17], 2),
    (Kind::Delivered, Reason::Unspecified, [8, 29], 40),
    (Kind::Failed, Reason::AccountIssue, [1, 9], 3),
    (Kind::Failed, Reason::RateLimited, [2, 10], 35),
    (Kind::Bounced, Reason::InvalidLead, [3, 12], 1),
    (Kind::Failed, Reason::ContentRejected, [4, 13], 4),
    (Kind::Bounced, Reason::Other, [5, 14], 33),
];

/// Outcomes of leads of the first group after that: how many leads in each workspace, and after how many hours.
const LATER: [(Kind, i32, [usize; 2], i32); 5] = [
    (Kind::Delivered, 2, [9, 6], 2),
    (Kind::AutoReplied, 0, [7, 4], 3),
    (Kind::Replied, 0, [6, 5], 20),
    (Kind::Converted, 0, [4, 2], 26),
    (Kind::OptedOut, 0, [3, 1], 30),
];

fn stamp(at: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: at.as_second(), nanos: at.subsec_nanosecond() }
}

/// The name of the same thing in another workspace than `acme`.
fn elsewhere(workspace: &str, name: &str) -> String {
    name.replacen("workspaces/acme", &format!("workspaces/{workspace}"), 1)
}

/// Adds a workspace in which all of that happened.
async fn add_workspace(service: &Service, workspace: &str, place: usize, now: Timestamp) {
    let parent = format!("workspaces/{workspace}");
    for (id, limit) in [("ann", Some(40 + i32::try_from(place).unwrap())), ("ben", None)] {
        let account =
            pb::Account { daily_limit: limit, display_name: format!("{id} {workspace}"), ..Default::default() };
        let request = pb::CreateAccountRequest {
            parent: parent.clone(),
            account_id: id.into(),
            account: Some(account),
            ..Default::default()
        };
        service.accounts.clone().create_account(request).await.unwrap();
    }
    for (id, steps, accounts) in [("spring", 2, &["ann", "ben"][..]), ("autumn", 1, &["ann"])] {
        let mut campaign = settings(steps, accounts);
        campaign.accounts.iter_mut().for_each(|name| *name = elsewhere(workspace, name));
        campaign.display_name = format!("{id} of {workspace}");
        campaign.daily_limit = Some(1000 + steps);
        let request = pb::CreateCampaignRequest {
            parent: parent.clone(),
            campaign_id: id.into(),
            campaign: Some(campaign),
            ..Default::default()
        };
        service.campaigns.clone().create_campaign(request).await.unwrap();
    }
    let (mut leads, mut outcomes) = (Vec::new(), Vec::new());
    for (group, (kind, reason, counts, days_ago)) in GROUPS.into_iter().enumerate() {
        for number in 0..counts[place] {
            let id = format!("g{group}-{number}");
            leads.push(pb::NewLead { lead_id: id.clone(), account_id: ["ann", "ben"][group % 2].into() });
            outcomes.push(pb::Outcome {
                reason: reason.into(),
                detail: if reason == Reason::Unspecified { String::new() } else { format!("550 {id}") },
                time: Some(stamp(now - (24 * days_ago).hours())),
                ..by_lead("spring", &id, 1, kind)
            });
        }
    }
    let pending = (0..20 + place).map(|number| pb::NewLead { lead_id: format!("p{number}"), ..Default::default() });
    leads.extend(pending);
    let request =
        pb::AddLeadsRequest { parent: format!("{parent}/campaigns/spring"), leads, lead_list_complete: false };
    service.leads.clone().add_leads(stream::iter([request])).await.unwrap();
    for (kind, step, counts, hours) in LATER {
        for number in 0..counts[place] {
            let time = Some(stamp(now - 48.hours() + hours.hours()));
            let value = (kind == Kind::Converted).then(|| 1_250_000 * (1 + i64::try_from(number + place).unwrap()));
            let outcome = by_lead("spring", &format!("g0-{number}"), step, kind);
            outcomes.push(pb::Outcome { time, value_micros: value, ..outcome });
        }
    }
    for outcome in &mut outcomes {
        outcome.lead = elsewhere(workspace, &outcome.lead);
    }
    let request = pb::ReportOutcomesRequest { parent: parent.clone(), outcomes };
    let results = service.sending.clone().report_outcomes(request).await.unwrap().into_inner().results;
    assert!(results.iter().all(|result| result.verdict() == pb::OutcomeVerdict::Applied), "{results:?}");
    let max_claims = i32::try_from(3 + place).unwrap();
    let request = pb::ClaimSendsRequest { account: format!("{parent}/accounts/ann"), max_claims, ..Default::default() };
    assert_eq!(service.sending.clone().claim_sends(request).await.unwrap().into_inner().claims.len(), 3 + place);
    // A lead that is forgotten counts and is not shown.
    let request = pb::DeleteLeadRequest { name: format!("{parent}/campaigns/spring/leads/g1-0"), force: true };
    service.leads.clone().delete_lead(request).await.unwrap();
    let request = pb::FinishCampaignRequest { name: format!("{parent}/campaigns/autumn"), ..Default::default() };
    service.campaigns.clone().finish_campaign(request).await.unwrap();
}

#[tokio::test]
async fn the_views_show_what_the_api_shows() {
    let now = Timestamp::now().round(jiff::Unit::Second).unwrap();
    let service = Service::on(&database().await, Clock::manual(now)).await;
    for (place, workspace) in ["acme", "zeta"].into_iter().enumerate() {
        add_workspace(&service, workspace, place, now).await;
    }
    // So that accounts have days and totals.
    service.store().account_days_sum().await.unwrap();
    // As those do for whom the views are.
    let reader = connect(&Role::Reader.url(&service.database.admin_url)).await.unwrap();
    for workspace in ["acme", "zeta"] {
        let found = differences(&service, &reader, workspace, Clocks::Agree).await;
        assert!(found.is_empty(), "{workspace}:\n{}", found.join("\n"));
    }
    // Some numbers, so that a comparison of nothing does not pass.
    let numbers = "SELECT total_leads, messages, delivered_messages, failed_messages, bounced_messages, replied_leads, open_claims
        FROM campaigns WHERE campaign = 'spring' ORDER BY workspace";
    let rows = reader.query(numbers, &[]).await.unwrap();
    let shown: Vec<[i64; 7]> = rows.iter().map(|row| std::array::from_fn(|place| row.get(place))).collect();
    assert_eq!(shown, [[54, 43, 28, 7, 8, 6, 3], [125, 110, 52, 32, 26, 5, 4]]);
    let count = |query| one(&reader, query);
    assert_eq!(count("SELECT count(*) FROM leads WHERE workspace = 'acme' AND campaign = 'spring'").await, 53);
    // Its delivery.
    assert_eq!(count("SELECT count(*) FROM outcomes WHERE workspace = 'zeta' AND lead_id IS NULL").await, 1);
    let recent = "SELECT delivered_messages_30d * 1000 + delivered_messages FROM accounts WHERE workspace = 'acme' AND account = 'ann'";
    assert_eq!(count(recent).await, 20_020);
    let day = (now - 48.hours()).to_zoned(TimeZone::UTC).date();
    let replied =
        format!("SELECT replied_leads_1d FROM history WHERE workspace = 'acme' AND account = 'ann' AND day = '{day}'");
    assert_eq!(count(&replied).await, 6);
    let examples = examples();
    assert!(examples.len() > 3);
    for example in examples {
        assert!(!reader.query(&example, &[]).await.unwrap().is_empty(), "{example}");
    }
}

/// The examples of the page, which run in the world of this test.
fn examples() -> Vec<String> {
    let page = fs::read_to_string(repository().join("docs/reporting.md")).expect("the page");
    let fences: Vec<&str> = page.split("```").skip(1).step_by(2).collect();
    assert!(fences.iter().all(|fence| fence.starts_with("sql run=reporting\n")), "another fence would not be run");
    fences.into_iter().filter_map(|fence| Some(fence.split_once('\n')?.1.to_owned())).collect()
}

async fn one(sql: &Connection, query: &str) -> i64 {
    sql.query_one(query, &[]).await.unwrap().get(0)
}

/// Adds up the rows that a query read from tables that grow with leads or time, found or filtered out.
fn rows_read(plan: &Value) -> f64 {
    let number = |name: &str| plan[name].as_f64().unwrap_or(0.0);
    let table = plan["Relation Name"].as_str().unwrap_or_default();
    let is_large =
        ["leads", "lead_ids", "claims", "returns", "outcomes", "history"].iter().any(|name| table.starts_with(name));
    let read = number("Actual Rows") + number("Rows Removed by Filter") + number("Rows Removed by Index Recheck");
    let here = if is_large { read * number("Actual Loops") } else { 0.0 };
    here + plan["Plans"].as_array().map_or(0.0, |plans| plans.iter().map(rows_read).sum())
}

#[tokio::test]
async fn a_filter_by_workspace_and_campaign_reads_that_campaign_by_key() {
    const CAMPAIGNS: usize = 30;
    const LEADS: usize = 500;
    let service = Service::start().await;
    create_account(&service, "ann", None).await;
    for number in 0..CAMPAIGNS {
        let id = format!("c{number}");
        create_campaign(&service, &id, settings(2, &["ann"])).await;
        add_leads(&service, &id, LEADS, Some("ann"), false).await;
        let delivered = (0..LEADS / 2).map(|lead| by_lead(&id, &format!("l{lead}"), 1, Kind::Delivered));
        report_new(&service, delivered.collect()).await;
    }
    let sql = service.sql().await;
    let days = "INSERT INTO history
        SELECT workspace_id, campaign_id, 1, date '2026-02-01' - i, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0
        FROM campaigns, generate_series(1, 300) i";
    sql.batch_execute(days).await.unwrap();
    sql.batch_execute("VACUUM ANALYZE").await.unwrap();
    let reader = connect(&Role::Reader.url(&service.database.admin_url)).await.unwrap();
    let there = "workspace = 'acme' AND campaign = 'c7'";
    // Leads, ids and log are each read once for the campaign. Look-ups for each row read a few rows more.
    let leads = f64::from(u16::try_from(LEADS).unwrap());
    for (query, most) in [
        (format!("SELECT status, count(*) FROM leads WHERE {there} GROUP BY status"), 2.0 * leads),
        (format!("SELECT * FROM leads WHERE {there} ORDER BY last_action_time DESC NULLS LAST LIMIT 50"), 6.0 * leads),
        (format!("SELECT * FROM leads WHERE {there} AND lead_id = 'l9'"), 10.0),
        (format!("SELECT * FROM outcomes WHERE {there}"), 2.0 * leads),
        (format!("SELECT * FROM outcomes WHERE {there} AND lead_id = 'l9'"), 10.0),
        (
            format!(
                "SELECT kind, reason, count(*) FROM outcomes WHERE {there} AND receive_time > '2030-01-01' GROUP BY 1, 2"
            ),
            10.0,
        ),
        (format!("SELECT sum(delivered_messages), sum(replied_leads_7d) FROM history WHERE {there}"), 305.0),
        (format!("SELECT * FROM campaigns WHERE {there}"), 0.0),
        ("SELECT * FROM accounts WHERE workspace = 'acme' AND account = 'ann'".to_owned(), 10.0),
    ] {
        let row = reader.query_one(&format!("EXPLAIN (ANALYZE, FORMAT JSON) {query}"), &[]).await.unwrap();
        let plan: Value = row.get(0);
        let read = rows_read(&plan[0]["Plan"]);
        assert!(read <= most, "{read} rows for {query}\n{plan:#}");
    }
    assert_eq!(VIEWS.len(), 5, "a new view needs a line here");
}
