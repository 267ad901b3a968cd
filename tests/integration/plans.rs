//! Statements of claims and outcomes look rows up by key, whatever statistics the planner has: before the tables are
//! first analyzed, and after.

use std::future::poll_fn;

use campaign_metrics::pb::{self, OutcomeKind};
use campaign_metrics_service::{
    Clock,
    store::{BY_KEY, OUTCOME_BATCH},
};
use futures::stream;
use tokio::sync::mpsc;
use tokio_postgres::{AsyncMessage, Client, NoTls};

use crate::{
    harness::{
        postgres::{Connection, connect, database},
        service::{Service, monday},
        wait::{SOON, until},
    },
    world::{
        WORKSPACE, account_name, add_leads, assign, by_key, by_lead, campaign_name, claim, create_account,
        create_campaign, get, lead_name, report, report_new, settings, try_add,
    },
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

/// Scans of large tables that do not use the full prefix of a key.
fn astray(plan: &[String]) -> Vec<&String> {
    let mut astray = Vec::new();
    for (place, line) in plan.iter().enumerate() {
        let Some(table) = LARGE.iter().find(|table| line.contains(&format!(" on {table}"))) else { continue };
        let condition = plan[place + 1..].iter().take(3).find(|line| line.contains("Index Cond:"));
        // The columns that identify a row.
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

/// The plans of all statements that a function ran, line by line, as auto_explain logs them.
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
    set_by_key(&sql).await;
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
        SELECT * FROM claim_take(1, 1, 1, 4, now(), 2, 7, now(), current_date, current_date, '1970-01-01', 900000, 1, 1);
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

async fn set_by_key(sql: &Client) {
    for setting in BY_KEY.split("-c ").filter(|setting| !setting.trim().is_empty()) {
        sql.batch_execute(&format!("SET {setting}")).await.unwrap();
    }
}

async fn assert_by_key(service: &Service, sql: &Connection, when: &str) {
    assert_none_astray("outcome_batch", when, &plan(sql, OUTCOME_BATCH).await);
    assert_none_astray("claim_take", when, &plans_of_claim_take(&service.database.admin_url).await);
}

fn assert_none_astray(name: &str, when: &str, plan: &[String]) {
    let astray = astray(plan);
    assert!(astray.is_empty(), "{name}, {when}: {astray:#?}\n{}", plan.join("\n"));
}

#[tokio::test]
async fn hot_statements_look_rows_up_by_key_before_and_after_tables_were_analyzed() {
    let service = Service::start().await;
    create_account(&service, "ann", None).await;
    create_campaign(&service, "spring", settings(2, &["ann"])).await;
    let sql = service.sql().await;
    set_by_key(&sql).await;
    assert_by_key(&service, &sql, "empty").await;
    // As autovacuum does: the dead rows, which are all rows, are removed first.
    sql.batch_execute("VACUUM ANALYZE").await.unwrap();
    add_leads(&service, "spring", 20_000, None, true).await;
    let claims = claim(&service, "ann", 1_000).await.claims;
    report_new(&service, claims.iter().map(|claim| by_key(claim, OutcomeKind::Delivered)).collect()).await;
    sql.batch_execute("VACUUM ANALYZE").await.unwrap();
    assert_by_key(&service, &sql, "analyzed while nothing was claimed").await;
    for _ in 0..10 {
        let claims = claim(&service, "ann", 1_000).await.claims;
        let half = claims.iter().step_by(2).map(|claim| by_key(claim, OutcomeKind::Delivered));
        report_new(&service, half.collect()).await;
    }
    assert_by_key(&service, &sql, "analyzed while empty, grown since").await;
    sql.batch_execute("ANALYZE").await.unwrap();
    assert_by_key(&service, &sql, "analyzed with rows of every kind").await;
}

/// Calls that each look up some leads.
async fn call_all(service: &Service, first: usize, count: usize) {
    let id = |number| format!("l{number}");
    let lead = |number| pb::NewLead { lead_id: id(number), ..Default::default() };
    // Twice: the second time the leads exist.
    for _ in 0..2 {
        try_add(service, "spring", (first..first + count).map(lead).collect(), false).await.unwrap();
    }
    let delivered = |number| by_lead("spring", &id(number), 1, OutcomeKind::Delivered);
    let claims = claim(service, "ann", i32::try_from(count / 4 + 1).unwrap()).await.claims;
    let names: Vec<String> = claims.iter().map(|claim| claim.lead.clone()).collect();
    let ids: Vec<String> = claims.into_iter().map(|claim| claim.claim_id).collect();
    let (mut sending, mut leads, mut opt_outs) =
        (service.sending.clone(), service.leads.clone(), service.opt_outs.clone());
    let renew = pb::RenewClaimsRequest { account: account_name("ann"), claim_ids: ids.clone(), ..Default::default() };
    sending.renew_claims(renew).await.unwrap();
    let list = pb::ListClaimsRequest { account: account_name("ann"), page_size: 10, ..Default::default() };
    sending.list_claims(list).await.unwrap();
    let (released, kept) = ids.split_at(ids.len() / 2);
    let release =
        pb::ReleaseClaimsRequest { account: account_name("ann"), claim_ids: released.to_vec(), ..Default::default() };
    sending.release_claims(release).await.unwrap();
    let resolve =
        |id: &String| pb::ClaimResolution { claim_id: id.clone(), resolution: pb::Resolution::NotSent.into() };
    let resolutions = kept.iter().map(resolve).collect();
    sending.resolve_claims(pb::ResolveClaimsRequest { account: account_name("ann"), resolutions }).await.unwrap();
    // Many named leads are looked up before the transaction, few within it.
    report(service, (first..=first + count / 2).map(delivered).collect()).await;
    report(service, (first + count / 2..first + count / 2 + 10).map(delivered).collect()).await;
    let opted_out = |number| by_lead("spring", &id(number), 0, OutcomeKind::OptedOut);
    report_new(service, (first + count / 2..first + count * 3 / 4).map(opted_out).collect()).await;
    let stream = pb::StreamOutcomesRequest {
        parent: WORKSPACE.into(),
        outcomes: vec![by_lead("spring", &id(first), 0, OutcomeKind::Replied)],
    };
    let mut answers = sending.stream_outcomes(stream::iter([stream])).await.unwrap().into_inner();
    while answers.message().await.unwrap().is_some() {}
    for name in names.iter().take(10) {
        leads.get_lead(pb::GetLeadRequest { name: name.clone() }).await.unwrap();
        let trail = pb::ListLeadOutcomesRequest { parent: name.clone(), ..Default::default() };
        leads.list_lead_outcomes(trail).await.unwrap();
    }
    // Released steps wait for the account that held them.
    for (serving, left) in [("ben", "ann"), ("ann", "ben")] {
        assign(service, "spring", &[serving]).await;
        let reassign = pb::ReassignLeadsRequest {
            parent: campaign_name("spring"),
            from_account: account_name(left),
            to_accounts: vec![account_name(serving)],
        };
        leads.reassign_leads(reassign).await.unwrap();
        service.store().returns_tidy().await.unwrap();
    }
    let list = pb::ListLeadsRequest { parent: campaign_name("spring"), page_size: 10, ..Default::default() };
    leads.list_leads(list).await.unwrap();
    let export = pb::ExportLeadsRequest { parent: campaign_name("spring") };
    let mut exported = leads.export_leads(export).await.unwrap().into_inner();
    while exported.message().await.unwrap().is_some() {}
    let export = pb::ExportOutcomesRequest { parent: campaign_name("spring") };
    let mut exported = leads.export_outcomes(export).await.unwrap().into_inner();
    while exported.message().await.unwrap().is_some() {}
    let _ = leads.delete_lead(pb::DeleteLeadRequest { name: lead_name("spring", &id(first)), force: true }).await;
    let out = pb::AddOptOutsRequest { parent: WORKSPACE.into(), lead_ids: vec![id(first + count)] };
    opt_outs.add_opt_outs(out).await.unwrap();
    get(service, "spring").await;
}

#[tokio::test]
async fn calls_read_what_they_need_with_plans_that_were_made_while_tables_were_nearly_empty() {
    const LEADS: usize = 2_000;
    let database = database().await;
    let sql = connect(&database.admin_url).await.unwrap();
    // The planner takes a table for empty if it was empty when it was analyzed.
    sql.batch_execute("VACUUM ANALYZE").await.unwrap();
    let service = Service::on(&database, Clock::manual(monday())).await;
    create_account(&service, "ann", None).await;
    create_account(&service, "ben", None).await;
    create_campaign(&service, "spring", settings(2, &["ann"])).await;
    // The connections keep the plans that they make now.
    call_all(&service, 0, 4).await;
    call_all(&service, 1_000, LEADS).await;
    call_all(&service, 1_000 + LEADS, LEADS).await;
    // A connection reports its statistics when it ends.
    drop(service);
    let read = "SELECT relname, coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) FROM pg_stat_user_tables
        WHERE relname = ANY ($1) OR relname LIKE 'outcomes_%'";
    let connections =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
        AND backend_type = 'client backend'";
    let ended = until("the service's connections to end", SOON, async || {
        let open: i64 = sql.query_one(connections, &[]).await?.get(0);
        anyhow::ensure!(open == 0, "{open} are open");
        Ok(())
    });
    ended.await.unwrap();
    for row in sql.query(read, &[&LARGE.as_slice()]).await.unwrap() {
        let (table, read): (&str, i64) = (row.get(0), row.get(1));
        // A few reads for each lead. Full scans would read millions of rows.
        assert!(read < 40_000, "{read} rows of {table} were read for {LEADS} leads, twice");
    }
}
