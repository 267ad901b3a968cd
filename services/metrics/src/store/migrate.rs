//! Brings the schema up to date: forward only, each migration once, under an advisory lock that all replicas share.

use anyhow::Context as _;
use deadpool_postgres::tokio_postgres::{Client, Config, NoTls};
use refinery_core::{Migration, Runner};

use super::sqlstate::is_refused;

/// Key of the advisory lock under which migrations run: any number that nothing else uses as such a key.
const LOCK_KEY: i64 = 0x6361_6d70_6169_676e;

/// Migrations in order. A name is `V{number}__{what}`; a published one never changes.
const MIGRATIONS: [(&str, &str); 11] = [
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
];

/// Applies the migrations that the database lacks; does nothing when it is up to date, so that a role that may not migrate
/// can serve. Migrations of later versions do not matter: replicas of two versions run side by side during an upgrade.
pub async fn migrate(config: &Config) -> anyhow::Result<()> {
    let (mut client, connection) = config.connect(NoTls).await?;
    // The task ends with its connection, and that ends when the client is dropped.
    let connection = tokio::spawn(connection);
    let result = apply(&mut client).await;
    drop(client);
    connection.await.context("the connection to Postgres panicked")??;
    result
}

async fn apply(client: &mut Client) -> anyhow::Result<()> {
    let migrations = MIGRATIONS.iter().map(|(name, sql)| Migration::unapplied(name, sql));
    let migrations = migrations.collect::<Result<Vec<_>, _>>()?;
    if is_up_to_date(client, &migrations).await? {
        return Ok(());
    }
    // A session lock spans the several transactions of the runner, and ends with the connection.
    client.execute("SELECT pg_advisory_lock($1)", &[&LOCK_KEY]).await.context("waiting for the migration lock")?;
    let report = Runner::new(&migrations).run_async(client).await.map_err(|error| {
        let what = if is_refused(&error) {
            "the schema is not up to date, and this role may not change it; run `campaign-metrics-service migrate` as the \
             role that owns it"
        } else {
            "migrating"
        };
        anyhow::Error::new(error).context(what)
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
