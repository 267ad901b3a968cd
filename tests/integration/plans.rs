//! The statements of claims and outcomes look rows up by key, whatever the planner believes about the size of tables:
//! before they were ever analyzed, and after.

use campaign_metrics_service::store::{CLAIM_TAKE, HOT, OUTCOME_BATCH};

use crate::{
    harness::{postgres::Connection, service::Service},
    world::{add_leads, by_key, claim, create_account, create_campaign, report_new, settings},
};

/// Tables that grow with leads, claims or time.
const LARGE: [&str; 6] = ["leads", "lead_ids", "claims", "returns", "outcomes", "segments"];

/// The generic plan of a statement, line by line.
async fn plan(sql: &Connection, statement: &str) -> Vec<String> {
    let parameters = (1..100).take_while(|number| statement.contains(&format!("${number}"))).count();
    let nulls = vec!["NULL"; parameters].join(", ");
    sql.batch_execute(&format!("DEALLOCATE ALL; PREPARE hot AS {statement}")).await.unwrap();
    let rows = sql.query(&format!("EXPLAIN EXECUTE hot ({nulls})"), &[]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

/// Scans of large tables that do not go by the whole of the key's beginning.
fn astray(plan: &[String]) -> Vec<&String> {
    let mut astray = Vec::new();
    for (place, line) in plan.iter().enumerate() {
        let Some(table) = LARGE.iter().find(|table| line.contains(&format!(" on {table}"))) else { continue };
        let condition = plan[place + 1..].iter().take(3).find(|line| line.contains("Index Cond:"));
        // What tells one row of the table from the others.
        let key = match *table {
            "claims" => "block",
            "returns" => "due_at",
            "lead_ids" | "leads" | "outcomes" => "lead_no",
            _ => "account_id",
        };
        let is_written = line.contains("Update on") || line.contains("Insert on") || line.contains("Delete on");
        if !is_written && condition.is_none_or(|condition| !condition.contains(key)) {
            astray.push(line);
        }
    }
    astray
}

async fn assert_by_key(sql: &Connection, when: &str) {
    for (name, statement) in [("outcome_batch", OUTCOME_BATCH), ("claim_take", CLAIM_TAKE)] {
        let plan = plan(sql, statement).await;
        let astray = astray(&plan);
        assert!(astray.is_empty(), "{name}, {when}: {astray:#?}\n{}", plan.join("\n"));
    }
}

#[tokio::test]
async fn hot_statements_look_rows_up_by_key_before_and_after_tables_were_analyzed() {
    let service = Service::start().await;
    create_account(&service, "ann", None).await;
    create_campaign(&service, "spring", settings(2, &["ann"])).await;
    let sql = service.sql().await;
    for setting in HOT.split("-c ").filter(|setting| !setting.trim().is_empty()) {
        sql.batch_execute(&format!("SET {setting}")).await.unwrap();
    }
    assert_by_key(&sql, "empty").await;
    sql.batch_execute("ANALYZE").await.unwrap();
    add_leads(&service, "spring", 20_000, None, true).await;
    for _ in 0..10 {
        let claims = claim(&service, "ann", 1_000).await.claims;
        let half = claims.iter().step_by(2).map(|claim| by_key(claim, campaign_metrics::pb::OutcomeKind::Delivered));
        report_new(&service, half.collect()).await;
    }
    assert_by_key(&sql, "analyzed while empty, grown since").await;
    sql.batch_execute("ANALYZE").await.unwrap();
    assert_by_key(&sql, "analyzed with rows of every kind").await;
}
