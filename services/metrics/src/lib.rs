//! The gRPC service of Campaign Metrics. It owns campaigns, accounts and leads in Postgres.
//!
//! | module | does |
//! |---|---|
//! | [`args`] | the command line |
//! | [`serve`] | wires everything and owns every long-lived task |
//! | [`layer`] | readiness, deadline, span and metrics of each call |
//! | [`trace`] | spans and their export |
//! | [`rpc`] | parses, calls the store, renders |
//! | [`ingest`] | gathers reported outcomes into few transactions |
//! | [`store`] | all SQL |
//! | [`changes`], [`outage`] | what the log says of changes and of outages |
//! | [`exporter`], [`telemetry`], [`admin`] | gauges of campaigns, metrics of the process, their port |
//!
//! A call passes through `layer`, one handler of `rpc` and one method of `store`, which runs one transaction. Outcomes
//! wait in `ingest` to share a transaction.

pub mod admin;
pub mod args;
pub mod changes;
pub mod clock;
pub mod error;
pub mod exporter;
pub mod ingest;
pub mod layer;
pub mod outage;
pub mod rpc;
pub mod serve;
pub mod store;
pub mod telemetry;
pub mod trace;

pub use clock::Clock;

/// Migrates the database at `database_url` to the latest schema.
pub async fn migrate(database_url: &str) -> anyhow::Result<()> {
    store::migrate(&serve::Options::new(database_url)?.database).await
}

/// Migrates the database at `database_url` only up to a migration, as an earlier version did: for tests of upgrades.
pub async fn migrate_to(database_url: &str, version: i32) -> anyhow::Result<()> {
    store::migrate_to(&serve::Options::new(database_url)?.database, version).await
}
