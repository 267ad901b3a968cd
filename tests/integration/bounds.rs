//! Numbers that grow: sums that reach their largest value, a campaign that is full, an account with ever more finished
//! campaigns.

use campaign_metrics::pb::{self, NotSendingReason as Why, OutcomeKind};
use campaign_metrics_service::store::{BY_KEY, CLAIM_LOCKS, VerifyMode};
use tonic::Code;

use crate::{
    harness::{postgres::Connection, recount::assert_counts, service::Service},
    world::{
        WORKSPACE, add_leads, assert_refused, by_key, by_lead, claim, create_account, create_campaign, finish, get,
        reasons, report_new, settings, try_add,
    },
};

/// The largest value of a conversion.
const VALUE_MAX: i64 = 10_000_000_000_000;

async fn assert_verified(service: &Service) {
    let store = service.store();
    for what in store.verify_list().await.unwrap() {
        assert_eq!(store.verify(&what, VerifyMode::Report).await.unwrap(), []);
    }
}

async fn value(service: &Service, campaign: &str) -> i64 {
    get(service, campaign).await.message_counts.unwrap().conversion_value_micros
}

#[tokio::test]
async fn a_sum_of_conversion_values_stays_at_the_largest_number() {
    let service = Service::start().await;
    for campaign in ["spring", "autumn"] {
        create_campaign(&service, campaign, settings(1, &[])).await;
        add_leads(&service, campaign, 5, None, false).await;
    }
    let worth = |campaign, lead, value| pb::Outcome {
        value_micros: Some(value),
        ..by_lead(campaign, lead, 0, OutcomeKind::Converted)
    };
    report_new(&service, vec![worth("spring", "l0", VALUE_MAX)]).await;
    // As after very many conversions.
    let sql = service.sql().await;
    let near = i64::MAX - 15_000_000_000_000;
    for set in ["conversion_values SET value_micros", "campaign_counters SET conversion_value_micros"] {
        let table = if set.starts_with("conversion") { "value_micros" } else { "conversion_value_micros" };
        sql.batch_execute(&format!("UPDATE {set} = {near} WHERE {table} = {VALUE_MAX}")).await.unwrap();
    }
    report_new(&service, vec![worth("spring", "l1", VALUE_MAX)]).await;
    assert_eq!(value(&service, "spring").await, i64::MAX - 5_000_000_000_000);
    assert_verified(&service).await;
    for lead in ["l2", "l3"] {
        report_new(&service, vec![worth("spring", lead, VALUE_MAX)]).await;
        assert_eq!(value(&service, "spring").await, i64::MAX);
    }
    assert_verified(&service).await;
    // Sums of campaigns, too, and each other number goes on.
    report_new(&service, vec![worth("autumn", "l4", 7)]).await;
    let request = pb::GetWorkspaceTotalsRequest { name: WORKSPACE.into() };
    let totals = service.performance.clone().get_workspace_totals(request).await.unwrap().into_inner();
    let counts = totals.message_counts.unwrap();
    assert_eq!((counts.conversion_value_micros, counts.converted_leads), (i64::MAX, 5));
    let page = service.admin("/metrics").await;
    let gauge = page
        .lines()
        .find(|line| line.starts_with("campaign_metrics_campaign_conversion_value{") && line.contains("spring"));
    assert!(gauge.is_some_and(|gauge| gauge.contains("} 9223372036854.7")), "{gauge:?}");
    let sql = service.sql().await;
    assert_counts(&sql, &get(&service, "spring").await).await;
}

#[tokio::test]
async fn a_campaign_that_is_full_says_so_and_works() {
    let service = Service::start().await;
    create_account(&service, "ann", None).await;
    create_campaign(&service, "spring", settings(1, &["ann"])).await;
    let sql = service.sql().await;
    sql.batch_execute("UPDATE campaign_counters SET next_lead_no = 1999999999").await.unwrap();
    let leads = |ids: &[&str]| -> Vec<pb::NewLead> {
        ids.iter().map(|id| pb::NewLead { lead_id: (*id).to_owned(), ..Default::default() }).collect()
    };
    let full = try_add(&service, "spring", leads(&["a", "b", "c"]), false).await;
    assert_refused(full, Code::FailedPrecondition, "CAMPAIGN_FULL", "add these to another campaign");
    assert_eq!(get(&service, "spring").await.lead_counts.unwrap().total, 0, "all or none of a message");
    assert_eq!(try_add(&service, "spring", leads(&["a", "b"]), false).await.unwrap().added_count, 2);
    let known = try_add(&service, "spring", leads(&["b"]), true).await.unwrap();
    assert_eq!((known.added_count, known.existing_count), (0, 1));
    let full = try_add(&service, "spring", leads(&["d"]), false).await;
    assert_refused(full, Code::FailedPrecondition, "CAMPAIGN_FULL", "2000000000 leads");

    let claims = claim(&service, "ann", 5).await.claims;
    assert_eq!(claims.len(), 2);
    report_new(&service, claims.iter().map(|claim| by_key(claim, OutcomeKind::Delivered)).collect()).await;
    let spring = get(&service, "spring").await;
    assert_eq!(spring.state(), pb::CampaignState::Finished);
    assert_counts(&sql, &spring).await;
    assert_verified(&service).await;
}

/// Blocks that the locks of a claim read, and rows that they return.
async fn blocks(sql: &Connection, account: &str) -> (i64, usize) {
    let params: [&(dyn tokio_postgres::types::ToSql + Sync); 3] = [&"acme", &account, &None::<Vec<i32>>];
    let rows = sql.query(CLAIM_LOCKS, &params).await.unwrap().len();
    sql.batch_execute(&format!("DEALLOCATE ALL; PREPARE locks (text, text, int4[]) AS {CLAIM_LOCKS}")).await.unwrap();
    let explain = format!("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE locks ('acme', '{account}', NULL)");
    let plan: serde_json::Value = sql.query_one(&explain, &[]).await.unwrap().get(0);
    let count = |of: &str| plan[0]["Plan"][of].as_i64().expect("a number of blocks");
    (count("Shared Hit Blocks") + count("Shared Read Blocks"), rows)
}

#[tokio::test]
async fn finished_campaigns_cost_a_claim_nothing() {
    let service = Service::start().await;
    for account in ["ann", "bob"] {
        create_account(&service, account, None).await;
        create_campaign(&service, &format!("of-{account}"), settings(1, &[account])).await;
        add_leads(&service, &format!("of-{account}"), 3, None, false).await;
    }
    for number in 0..120 {
        let campaign = format!("c{number}");
        create_campaign(&service, &campaign, settings(1, &["ann"])).await;
        finish(&service, &campaign).await;
    }
    let sql = service.sql().await;
    for setting in BY_KEY.split("-c ").filter(|setting| !setting.trim().is_empty()) {
        sql.batch_execute(&format!("SET {setting}")).await.unwrap();
    }
    let (few, of_bob) = blocks(&sql, "bob").await;
    let (many, of_ann) = blocks(&sql, "ann").await;
    assert_eq!((of_bob, of_ann), (1, 121));
    assert!(many > 3 * few, "they cost something before a claim looked: {many} and {few} blocks");

    let answer = claim(&service, "ann", 5).await;
    assert_eq!((answer.claims.len(), reasons(&answer)), (3, vec![Why::NoLeadDue]));
    // The first look after it meets the rows before they were marked, and has the index forget them.
    blocks(&sql, "ann").await;
    let (few, _) = blocks(&sql, "bob").await;
    let (many, of_ann) = blocks(&sql, "ann").await;
    assert_eq!(of_ann, 1);
    assert!(many <= few + 2, "{many} blocks with 120 finished campaigns, {few} with none");
    // What only serves finished campaigns is still told apart from what serves none.
    finish(&service, "of-ann").await;
    for _ in 0..2 {
        assert_eq!(reasons(&claim(&service, "ann", 1).await), [Why::Finished]);
    }
    create_account(&service, "eve", None).await;
    assert_eq!(reasons(&claim(&service, "eve", 1).await), [Why::NoAccountAssigned]);
}
