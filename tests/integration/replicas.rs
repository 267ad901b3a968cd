//! Replicas of two versions beside each other, as processes. Most upgrades roll; one that can't is refused while older replicas
//! run, and an older one does not go on with a schema that it can't work with.
//!
//! No migration so far stops older replicas. So a test runs what such a migration begins with, or changes which migrations a
//! running replica is said to know.

use anyhow::ensure;
use tempfile::TempDir;
use tokio_postgres::error::SqlState;

use crate::harness::{
    daemon::Daemon,
    http,
    parts::binary,
    postgres::{Connection, Role, TestDatabase, connect, database},
    process::{Directory, GRACE, Signal},
    run::run,
    wait::{SOON, until},
};

/// More migrations than there are: a later one, that older replicas can't work with.
const LATER: i32 = 9999;

/// A running replica and the directory of its log.
async fn replica(database: &TestDatabase) -> (Daemon, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    (Daemon::service(&database.url, directory.path(), Directory::Keep).await.unwrap(), directory)
}

/// Waits until a replica says why it does not serve.
async fn waits(daemon: &mut Daemon, says: &str) {
    let log = daemon.process.log_path();
    let told = async || {
        let log = std::fs::read_to_string(&log)?;
        ensure!(log.contains(says), "it says:\n{log}");
        Ok(())
    };
    daemon.process.ready(SOON, told).await.unwrap();
    let (status, body) = http::get(&format!("{}/readyz", daemon.admin_url)).await.unwrap();
    assert_eq!((status, body.as_str()), (503, "waiting for the database; the log says for what\n"));
}

/// The error of a command of the service.
async fn refusal(database_url: &str, command: &str) -> String {
    let mut service = tokio::process::Command::new(binary("campaign-metrics-service").unwrap());
    service.args([command, "--database-url", database_url]);
    run(service, "").await.unwrap().refusal().unwrap()
}

async fn count(sql: &Connection, query: &str) -> i64 {
    sql.query_one(query, &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn a_migration_that_stops_older_replicas_is_refused_while_one_runs() {
    let database = database().await;
    let (mut one, _one) = replica(&database).await;
    let (mut two, _two) = replica(&database).await;
    one.ready().await.unwrap();
    two.ready().await.unwrap();
    let sql = database.connect().await;
    let owner = connect(&Role::Owner.url(&database.admin_url)).await.unwrap();
    let stop = format!("SELECT schema_stop_older({LATER})");

    let error = owner.batch_execute(&stop).await.unwrap_err();
    let said = error.as_db_error().unwrap();
    assert_eq!(*said.code(), SqlState::OBJECT_IN_USE);
    let known = count(&sql, "SELECT max(version)::int8 FROM refinery_schema_history").await;
    let expected = format!(
        "2 older replicas of the service run, of migration {known} or before, and can't work with migration {LATER}"
    );
    assert_eq!(said.message(), expected);
    assert!(said.hint().is_some_and(|hint| hint.contains("Scale the service to 0 replicas")), "{said:?}");

    let status = one.process.stop(GRACE).await.unwrap();
    assert!(status.success(), "{status}\n{}", one.process.log());
    assert_eq!(count(&sql, "SELECT count(*) FROM replicas").await, 1, "one that ends says so");
    two.process.signal(Signal::KILL).unwrap();
    two.process.end(GRACE).await.unwrap();
    assert!(owner.batch_execute(&stop).await.is_err(), "nobody knows yet that it was killed");
    sql.batch_execute("UPDATE replicas SET renewed_at = renewed_at - interval '1 minute'").await.unwrap();
    owner.batch_execute(&stop).await.unwrap();
    assert_eq!(count(&sql, "SELECT schema_oldest()::int8").await, i64::from(LATER));

    // An earlier version, once more: what a rollback would start.
    let says = format!("replicas have to know migration {LATER}, and this version knows {known}");
    let (mut three, _three) = replica(&database).await;
    let status = three.process.end(SOON).await.unwrap();
    let log = three.process.log();
    assert!(!status.success() && log.contains(&says) && !log.contains("waiting"), "{status}\n{log}");
    for command in ["migrate", "verify"] {
        let said = refusal(&database.url, command).await;
        assert!(said.contains(&says) && said.contains("Deploy the newer version again"), "{command}: {said}");
    }
    assert_eq!(count(&sql, "SELECT count(*) FROM replicas WHERE replica_runs(renewed_at)").await, 0, "it does not run");
}

#[tokio::test]
async fn a_replica_does_not_start_beside_an_older_one_that_can_not_work_with_its_schema() {
    let database = database().await;
    let (mut older, _older) = replica(&database).await;
    older.ready().await.unwrap();
    let sql = database.connect().await;
    // 0006 dropped tables that the version before it writes.
    let change = "UPDATE replicas SET schema_version = 5, renewed_at = renewed_at - interval '40 seconds'";
    assert_eq!(sql.execute(change, &[]).await.unwrap(), 1);

    let says = "1 older replicas of the service run, of migration 5 or before, and can't work with migration 6. Scale the \
        service to 0 replicas, or wait a minute if they were killed.";
    let (mut newer, _newer) = replica(&database).await;
    waits(&mut newer, says).await;
    let log = newer.process.log();
    assert!(log.contains("waiting until the older replicas have ended; trying again"), "{log}");
    assert!(!log.contains("waiting for Postgres"), "{log}");
    let said = refusal(&database.url, "migrate").await;
    assert!(said.contains(says), "{said}");
    until("the older one to renew its row", SOON, async || {
        let fresh = "SELECT count(*) FROM replicas WHERE renewed_at > clock_timestamp() - interval '9 seconds'";
        let fresh = count(&sql, fresh).await;
        ensure!(fresh == 1, "{fresh} rows are fresh");
        Ok(())
    })
    .await
    .unwrap();
    older.ready().await.unwrap();

    let status = older.process.stop(GRACE).await.unwrap();
    assert!(status.success(), "{status}\n{}", older.process.log());
    newer.ready().await.unwrap();
}

#[tokio::test]
async fn migrations_that_no_version_has_end_a_start_at_once() {
    let database = database().await;
    let sql = database.connect().await;
    let change = "UPDATE refinery_schema_history SET checksum = '1' WHERE version = 3;
        DELETE FROM refinery_schema_history WHERE version = (SELECT max(version) FROM refinery_schema_history)";
    sql.batch_execute(change).await.unwrap();
    let says = "migrations were applied to the database that no version has; start with an empty database";
    // The role that may migrate. The other one would wait for it.
    let owner = TestDatabase { url: Role::Owner.url(&database.admin_url), ..database };
    let (mut lost, _lost) = replica(&owner).await;
    let status = lost.process.end(GRACE).await.unwrap();
    let log = lost.process.log();
    assert!(!status.success() && log.contains(says) && !log.contains("trying again"), "{status}\n{log}");
}

#[tokio::test]
async fn a_replica_that_was_away_while_a_newer_version_migrated_ends() {
    let database = database().await;
    let (mut away, _away) = replica(&database).await;
    away.ready().await.unwrap();
    away.process.signal(Signal::STOP).unwrap();
    let sql = database.connect().await;
    sql.batch_execute("UPDATE replicas SET renewed_at = renewed_at - interval '1 minute'").await.unwrap();
    let owner = connect(&Role::Owner.url(&database.admin_url)).await.unwrap();
    owner.batch_execute(&format!("SELECT schema_stop_older({LATER})")).await.unwrap();
    away.process.signal(Signal::CONT).unwrap();
    let status = away.process.end(SOON).await.unwrap();
    assert!(!status.success());
    let log = away.process.log();
    assert!(
        log.contains(&format!(
            "error: a newer version has migrated the database: replicas have to know migration {LATER}"
        )),
        "{log}"
    );
    assert_eq!(count(&sql, "SELECT count(*) FROM replicas").await, 0);
}
