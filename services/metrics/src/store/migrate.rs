//! Brings the schema up to date: forward only, each migration once, under an advisory lock that all replicas share.

use anyhow::Context as _;
use deadpool_postgres::tokio_postgres::Client;
use refinery_core::{Migration, Runner, error::Kind};

use super::{
    database::Database,
    hindrance::Hindrance,
    sqlstate::{is_refused, replicas_in_the_way},
};

/// Key of the advisory lock under which migrations run: any number that nothing else uses as such a key.
const LOCK_KEY: i64 = 0x6361_6d70_6169_676e;

/// Migrations in order. A name is `V{number}__{what}`; a published one never changes.
const MIGRATIONS: [(&str, &str); 16] = [
    ("V1__facts", include_str!("../../migrations/0001_facts.sql")),
    ("V2__resources", include_str!("../../migrations/0002_resources.sql")),
    ("V3__leads", include_str!("../../migrations/0003_leads.sql")),
    ("V4__counts", include_str!("../../migrations/0004_counts.sql")),
    ("V5__claims", include_str!("../../migrations/0005_claims.sql")),
    ("V6__history", include_str!("../../migrations/0006_history.sql")),
    ("V7__last_times", include_str!("../../migrations/0007_last_times.sql")),
    ("V8__reporting", include_str!("../../migrations/0008_reporting.sql")),
    ("V9__log_partitions", include_str!("../../migrations/0009_log_partitions.sql")),
    ("V10__sending_rules", include_str!("../../migrations/0010_sending_rules.sql")),
    ("V11__holds", include_str!("../../migrations/0011_holds.sql")),
    ("V12__replicas_and_claims", include_str!("../../migrations/0012_replicas_and_claims.sql")),
    ("V13__growth", include_str!("../../migrations/0013_growth.sql")),
    ("V14__usual_ages", include_str!("../../migrations/0014_usual_ages.sql")),
    ("V15__accounts_view", include_str!("../../migrations/0015_accounts_view.sql")),
    ("V16__age_sums", include_str!("../../migrations/0016_age_sums.sql")),
];

/// Number of the newest migration that this version knows.
#[expect(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "there are few migrations")]
pub(super) const SCHEMA_VERSION: i32 = MIGRATIONS.len() as i32;

/// Applies the migrations that the database lacks; does nothing when it is up to date, so that a role that may not migrate
/// can serve. Migrations of later versions matter only if they stop older replicas: usually replicas of two versions run side
/// by side during an upgrade.
///
/// Fails while replicas run that can't work with the schema, and where this version can't.
pub async fn migrate(database: &Database) -> anyhow::Result<()> {
    migrate_to(database, SCHEMA_VERSION).await
}

/// Applies the migrations up to a number, as an earlier version did.
pub async fn migrate_to(database: &Database, version: i32) -> anyhow::Result<()> {
    let (mut client, connection) = database.connect().await?;
    let result = apply(&mut client, version).await;
    drop(client);
    connection.await.context("the connection to Postgres panicked")??;
    result
}

async fn apply(client: &mut Client, version: i32) -> anyhow::Result<()> {
    let migrations = MIGRATIONS.iter().map(|(name, sql)| Migration::unapplied(name, sql));
    let mut migrations = migrations.collect::<Result<Vec<_>, _>>()?;
    migrations.retain(|migration| i64::from(migration.version()) <= i64::from(version));
    if !is_up_to_date(client, &migrations).await? {
        run(client, &migrations).await?;
    }
    if version == SCHEMA_VERSION {
        check_version(client.query_one("SELECT schema_oldest()", &[]).await?.get(0))?;
        let refuse = "SELECT replicas_refuse_older(schema_oldest())";
        client.execute(refuse, &[]).await.map_err(|error| told(error.into()))?;
    }
    Ok(())
}

/// Fails if this version can't work with a schema for which replicas have to know the migration `oldest`.
pub fn check_version(oldest: i32) -> Result<(), Hindrance> {
    if oldest > SCHEMA_VERSION {
        return Err(Hindrance::NewerSchema { oldest, known: SCHEMA_VERSION });
    }
    Ok(())
}

/// Puts what the migrations themselves say of older replicas before the other causes of an error.
fn told(error: anyhow::Error) -> anyhow::Error {
    match replicas_in_the_way(&*error) {
        Some(what) => error.context(Hindrance::OlderReplicas(what)),
        None => error,
    }
}

async fn run(client: &mut Client, migrations: &[Migration]) -> anyhow::Result<()> {
    // A session lock spans the several transactions of the runner, and ends with the connection.
    client.execute("SELECT pg_advisory_lock($1)", &[&LOCK_KEY]).await.context("waiting for the migration lock")?;
    let report = Runner::new(migrations).run_async(client).await.map_err(|error| {
        let is_foreign = matches!(error.kind(), Kind::DivergentVersion(..) | Kind::MissingVersion(_));
        let is_refused = is_refused(&error);
        let error = anyhow::Error::new(error);
        match (is_foreign, is_refused) {
            (true, _) => error.context(Hindrance::Foreign),
            (_, true) => error.context(Hindrance::NotMigrated),
            _ => told(error.context("migrating")),
        }
    })?;
    for migration in report.applied_migrations() {
        tracing::info!(%migration, "migrated");
    }
    Ok(())
}

/// Whether all migrations were applied.
async fn is_up_to_date(client: &Client, migrations: &[Migration]) -> anyhow::Result<bool> {
    let is_there = client.query_one("SELECT to_regclass('refinery_schema_history') IS NOT NULL", &[]).await?;
    if !is_there.get::<_, bool>(0) {
        return Ok(false);
    }
    let versions: Vec<_> = migrations.iter().map(Migration::version).collect();
    let sql = "SELECT count(*) FROM refinery_schema_history WHERE version = ANY ($1)";
    let applied: i64 =
        client.query_one(sql, &[&versions]).await.context("reading which migrations were applied")?.get(0);
    Ok(usize::try_from(applied) == Ok(migrations.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_migration_that_stops_older_replicas_says_its_own_number() {
        for (number, (name, sql)) in (1..).zip(MIGRATIONS) {
            assert!(name.starts_with(&format!("V{number}__")), "{name} is number {number}");
            for call in sql.split("SELECT schema_stop_older(").skip(1) {
                assert!(call.starts_with(&format!("{number});")), "{name} stops replicas before another migration");
            }
        }
    }
}
