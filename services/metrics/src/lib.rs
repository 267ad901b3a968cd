//! The gRPC service of Campaign Metrics: owns campaigns, accounts and leads in Postgres.
pub mod clock;
pub mod error;
pub mod store;
