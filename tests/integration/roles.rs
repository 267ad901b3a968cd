//! The three roles of roles.sql. That the role of the service may do all it needs, every other test shows: their services
//! connect as `campaign_metrics_app`.

use anyhow::ensure;
use campaign_metrics::pb;
use campaign_metrics_service::Clock;
use tokio_postgres::error::SqlState;

use crate::{
    harness::{
        daemon::Daemon,
        http,
        parts::binary,
        postgres::{Connection, ROLES, Role, TestDatabase, connect, database, separate_server},
        process::Directory,
        run::run,
        service::{Service, monday},
        wait::SOON,
    },
    reporting::shown::VIEWS,
    world::{add_leads, by_lead, create_account, create_campaign, report_new, settings},
};

/// Checks that a role may not do something.
async fn assert_denied(sql: &Connection, statement: &str) {
    let error = sql.batch_execute(statement).await.expect_err(statement);
    assert_eq!(error.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{statement}: {error:?}");
}

/// First column of each row.
async fn names(sql: &Connection, query: &str) -> Vec<String> {
    sql.query(query, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn the_reader_reads_the_views_and_nothing_else() {
    let database = database().await;
    let (admin, reader) = (database.connect().await, connect(&Role::Reader.url(&database.admin_url)).await.unwrap());
    for view in VIEWS {
        reader.batch_execute(&format!("SELECT * FROM {view}")).await.unwrap();
    }
    let readable = "SELECT c.oid::regclass::text FROM pg_class c
        WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND c.relnamespace::regnamespace::text IN ('public', 'reporting')
            AND has_table_privilege('campaign_metrics_reader', c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE') ORDER BY 1";
    assert_eq!(names(&admin, readable).await, VIEWS.map(|view| format!("reporting.{view}")));
    assert_denied(&reader, "SELECT FROM public.leads").await;
    assert_denied(&reader, "SELECT public.log_partition_make('2031-01-01')").await;
    reader.batch_execute("SET default_transaction_read_only = off").await.unwrap();
    assert_denied(&reader, "CREATE TABLE reporting.mine ()").await;
    assert_denied(&reader, "CREATE TEMP TABLE mine ()").await;
    assert_denied(&reader, "DELETE FROM public.leads").await;
}

#[tokio::test]
async fn the_role_of_the_service_changes_rows_and_nothing_else() {
    let database = database().await;
    let (admin, app) = (database.connect().await, connect(&database.url).await.unwrap());
    let too_much = "SELECT c.oid::regclass::text FROM pg_class c
        WHERE c.relkind IN ('r', 'p', 'v') AND c.relnamespace::regnamespace::text IN ('public', 'reporting')
            AND (has_table_privilege('campaign_metrics_app', c.oid, 'TRUNCATE, REFERENCES, TRIGGER')
                OR c.relowner <> 'campaign_metrics_owner'::regrole)";
    assert_eq!(names(&admin, too_much).await, [] as [String; 0]);
    let is_member = "SELECT rolname::text FROM pg_roles
        WHERE pg_has_role('campaign_metrics_app', oid, 'MEMBER') AND rolname <> 'campaign_metrics_app'";
    assert_eq!(names(&admin, is_member).await, [] as [String; 0]);
    for statement in [
        "DROP TABLE leads",
        "DROP TABLE outcomes_default",
        "ALTER TABLE leads ADD COLUMN mine int4",
        "TRUNCATE leads",
        "CREATE TABLE mine ()",
        "CREATE TEMP TABLE mine ()",
        "CREATE SCHEMA mine",
        "CREATE OR REPLACE FUNCTION status_word(status int4) RETURNS text LANGUAGE sql AS $$ SELECT 'sent' $$",
        "UPDATE refinery_schema_history SET version = version + 1",
        "DELETE FROM refinery_schema_history",
        "SELECT FROM reporting.leads",
        "SELECT log_partition_drop('leads')",
        "SELECT log_partition_drop('outcomes_default')",
        "SELECT log_partition_drop('history_of_campaigns')",
    ] {
        assert_denied(&app, statement).await;
    }
    // What upkeep does, and that a partition is as good as one that a migration makes.
    app.batch_execute("SELECT log_partition_make('2031-12-31')").await.unwrap();
    let bounds = "SELECT pg_get_expr(relpartbound, oid) FROM pg_class WHERE relname = 'outcomes_2031_12'";
    let expected = "FOR VALUES FROM ('2031-12-01 00:00:00+00') TO ('2032-01-01 00:00:00+00')";
    admin.batch_execute("SET TIME ZONE 'UTC'").await.unwrap();
    assert_eq!(names(&admin, bounds).await, [expected]);
    assert_eq!(names(&admin, too_much).await, [] as [String; 0]);
    assert_denied(&app, "DROP TABLE outcomes_2031_12").await;
    app.batch_execute("SELECT log_partition_drop('outcomes_2031_12')").await.unwrap();
}

#[tokio::test]
async fn later_migrations_need_no_grants() {
    let database = database().await;
    let owner = connect(&Role::Owner.url(&database.admin_url)).await.unwrap();
    owner
        .batch_execute(
            "CREATE TABLE later (id int4 GENERATED ALWAYS AS IDENTITY, what text);
            CREATE FUNCTION later_function() RETURNS int4 LANGUAGE sql AS 'SELECT 1';
            REVOKE EXECUTE ON FUNCTION later_function() FROM PUBLIC;
            CREATE VIEW reporting.later AS SELECT what FROM later",
        )
        .await
        .unwrap();
    let app = connect(&database.url).await.unwrap();
    app.batch_execute("INSERT INTO later (what) SELECT later_function()").await.unwrap();
    let reader = connect(&Role::Reader.url(&database.admin_url)).await.unwrap();
    assert_eq!(names(&reader, "SELECT what FROM later").await, ["1"]);
}

/// Does something as the role of the service, and reads it as the reader.
async fn assert_works(database: &TestDatabase) {
    let service = Service::on(database, Clock::manual(monday())).await;
    create_account(&service, "ann", None).await;
    create_campaign(&service, "spring", settings(1, &["ann"])).await;
    add_leads(&service, "spring", 2, None, false).await;
    report_new(&service, vec![by_lead("spring", "l1", 1, pb::OutcomeKind::Delivered)]).await;
    service.store().maintain().await.unwrap();
    let reader = connect(&Role::Reader.url(&database.admin_url)).await.unwrap();
    let kinds = "SELECT lead_id || ' ' || last_action FROM leads WHERE last_action_time IS NOT NULL";
    assert_eq!(names(&reader, kinds).await, ["l1 step 1 delivered"]);
}

#[tokio::test]
async fn the_service_waits_until_the_owner_has_migrated() {
    let (server, _directory) = separate_server().await.unwrap();
    let admin = connect(&server.url("postgres")).await.unwrap();
    // As at providers of databases: who administers is no superuser.
    admin.batch_execute("CREATE ROLE dba LOGIN CREATEDB CREATEROLE").await.unwrap();
    let by_dba = |database: &str| server.url(database).replace("campaign_metrics@", "dba@");
    connect(&by_dba("postgres")).await.unwrap().batch_execute("CREATE DATABASE fresh").await.unwrap();
    let dba = connect(&by_dba("fresh")).await.unwrap();
    let mut printed = tokio::process::Command::new(binary("campaign-metrics-service").unwrap());
    printed.arg("roles");
    assert_eq!(run(printed, "").await.unwrap().success().unwrap(), ROLES);
    for _ in 0..2 {
        dba.batch_execute(ROLES).await.unwrap();
    }

    let admin_url = server.url("fresh");
    let database = TestDatabase { url: Role::App.url(&admin_url), admin_url };
    let refused = format!("{:#}", campaign_metrics_service::migrate(&database.url).await.unwrap_err());
    assert!(refused.contains("run `campaign-metrics-service migrate` as the role that owns it"), "{refused}");
    let service = Service::launch(&database, Clock::manual(monday())).await;
    assert_eq!(http::get(&format!("{}/readyz", service.admin_url)).await.unwrap().0, 503);
    let logs = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::service(&database.url, logs.path(), Directory::Keep).await.unwrap();
    let log = daemon.process.log_path();
    let waits = async || {
        let log = std::fs::read_to_string(&log)?;
        ensure!(log.contains("waiting for the migration; trying again"), "{log}");
        Ok(())
    };
    daemon.process.ready(SOON, waits).await.unwrap();
    let mut migrate = tokio::process::Command::new(binary("campaign-metrics-service").unwrap());
    migrate.args(["migrate", "--database-url", &Role::Owner.url(&database.admin_url)]);
    run(migrate, "").await.unwrap().success().unwrap();
    service.ready().await;
    daemon.ready().await.unwrap();
    drop((service, daemon));
    dba.batch_execute(ROLES).await.unwrap();
    assert_works(&database).await;
}

#[tokio::test]
async fn a_database_of_one_role_gets_three() {
    let (server, _directory) = separate_server().await.unwrap();
    let admin = connect(&server.url("postgres")).await.unwrap();
    for statement in ["CREATE ROLE metrics LOGIN", "CREATE DATABASE campaigns OWNER metrics"] {
        admin.batch_execute(statement).await.unwrap();
    }
    let admin_url = server.url("campaigns");
    campaign_metrics_service::migrate(&admin_url.replace("campaign_metrics@", "metrics@")).await.unwrap();
    let admin = connect(&admin_url).await.unwrap();
    admin.batch_execute(ROLES).await.unwrap();
    // The command of docs/operating.md.
    admin.batch_execute("REASSIGN OWNED BY metrics TO campaign_metrics_owner").await.unwrap();
    let database = TestDatabase { url: Role::App.url(&admin_url), admin_url };
    assert_works(&database).await;
    campaign_metrics_service::migrate(&Role::Owner.url(&database.admin_url)).await.unwrap();
}
