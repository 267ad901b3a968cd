//! The statements of claims and outcomes look rows up by key, whatever the planner believes about the size of tables:
//! before they were ever analyzed, and after.

use std::future::poll_fn;

use campaign_metrics_service::store::{HOT, OUTCOME_BATCH};
use tokio::sync::mpsc;
use tokio_postgres::{AsyncMessage, Client, NoTls};

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

/// The plans of all statements that a function ran, line by line, as Postgres explains them on its own account.
async fn plans_of_claim_take(url: &str) -> Vec<String> {
    let (sql, mut connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    let (notices, mut said) = mpsc::unbounded_channel();
    let driver = tokio::spawn(async move {
        while let Some(message) = poll_fn(|context| connection.poll_message(context)).await {
            if let Ok(AsyncMessage::Notice(notice)) = message {
                let _ = notices.send(notice.message().to_owned());
            }
        }
    });
    set_hot(&sql).await;
    let script = "
        LOAD 'auto_explain';
        BEGIN;
        INSERT INTO leads (workspace_id, campaign_id, lead_no) SELECT 1, 1, 900000 + i FROM generate_series(1, 10) i;
        INSERT INTO lead_ids (workspace_id, campaign_id, lead_no, lead_id)
        SELECT 1, 1, 900000 + i, 'x' || i FROM generate_series(1, 10) i;
        INSERT INTO segments (workspace_id, campaign_id, account_id, lo, hi) VALUES (1, 1, 1, 900002, 900011);
        INSERT INTO returns (workspace_id, campaign_id, account_id, due_at, lead_no, step)
        VALUES (1, 1, 1, now() - interval '1 hour', 900001, 1);
        SET LOCAL auto_explain.log_nested_statements = on;
        SET LOCAL auto_explain.log_level = notice;
        SET LOCAL auto_explain.log_min_duration = 0;
        SELECT * FROM claim_take(1, 1, 1, 4, now(), 2, 1, 7, now(), current_date, current_date, '1970-01-01', 900000, 1, 1);
        ROLLBACK;";
    sql.batch_execute(script).await.unwrap();
    drop(sql);
    driver.await.unwrap();
    let mut lines = Vec::new();
    while let Some(notice) = said.recv().await {
        lines.extend(notice.lines().map(str::to_owned));
    }
    for table in LARGE.into_iter().filter(|table| *table != "outcomes") {
        assert!(lines.iter().any(|line| line.contains(&format!(" on {table}"))), "{table} is used: {lines:#?}");
    }
    lines
}

async fn set_hot(sql: &Client) {
    for setting in HOT.split("-c ").filter(|setting| !setting.trim().is_empty()) {
        sql.batch_execute(&format!("SET {setting}")).await.unwrap();
    }
}

async fn assert_by_key(service: &Service, sql: &Connection, when: &str) {
    let outcomes = plan(sql, OUTCOME_BATCH).await;
    let claims = plans_of_claim_take(&service.database.url).await;
    for (name, plan) in [("outcome_batch", outcomes), ("claim_take", claims)] {
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
    set_hot(&sql).await;
    assert_by_key(&service, &sql, "empty").await;
    // As autovacuum does it: first away with the dead rows, which were all there was.
    sql.batch_execute("VACUUM ANALYZE").await.unwrap();
    add_leads(&service, "spring", 20_000, None, true).await;
    for _ in 0..10 {
        let claims = claim(&service, "ann", 1_000).await.claims;
        let half = claims.iter().step_by(2).map(|claim| by_key(claim, campaign_metrics::pb::OutcomeKind::Delivered));
        report_new(&service, half.collect()).await;
    }
    assert_by_key(&service, &sql, "analyzed while empty, grown since").await;
    sql.batch_execute("ANALYZE").await.unwrap();
    assert_by_key(&service, &sql, "analyzed with rows of every kind").await;
}
