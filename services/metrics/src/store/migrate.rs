//! Brings the schema up to date: forward only, each migration once, under an advisory lock that all replicas share.

use anyhow::Context as _;
use deadpool_postgres::tokio_postgres::{Client, Config, NoTls};
use refinery_core::{Migration, Runner};

/// Key of the advisory lock under which migrations run: any number that nothing else uses as such a key.
const LOCK_KEY: i64 = 0x6361_6d70_6169_676e;

/// Migrations in order. A name is `V{number}__{what}`; a published one never changes.
const MIGRATIONS: [(&str, &str); 7] = [
    ("V1__facts", include_str!("../../migrations/0001_facts.sql")),
    ("V2__resources", include_str!("../../migrations/0002_resources.sql")),
    ("V3__leads", include_str!("../../migrations/0003_leads.sql")),
    ("V4__counts", include_str!("../../migrations/0004_counts.sql")),
    ("V5__claims", include_str!("../../migrations/0005_claims.sql")),
    ("V6__history", include_str!("../../migrations/0006_history.sql")),
    ("V7__last_times", include_str!("../../migrations/0007_last_times.sql")),
];

/// Applies the migrations that the database lacks; does nothing when it is up to date.
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
    // A session lock spans the several transactions of the runner, and ends with the connection.
    client.execute("SELECT pg_advisory_lock($1)", &[&LOCK_KEY]).await.context("waiting for the migration lock")?;
    let report = Runner::new(&migrations).run_async(client).await.context("migrating")?;
    for migration in report.applied_migrations() {
        tracing::info!(%migration, "migrated");
    }
    Ok(())
}
