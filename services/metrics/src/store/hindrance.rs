//! What keeps a replica from starting on a database that answers, in words for who runs it.

/// What keeps a replica from starting.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Hindrance {
    /// Postgres does not let this process in until someone changes the database URL or the server.
    #[error("{0}")]
    Refused(&'static str),
    /// Migrations of an unreleased version were applied.
    #[error(
        "migrations were applied to the database that no version has; start with an empty database, or restore a backup"
    )]
    Foreign,
    /// The schema lacks migrations, and this role may not apply them.
    #[error(
        "the schema is not up to date, and this role may not change it; run `campaign-metrics-service migrate` as the role that \
         owns it"
    )]
    NotMigrated,
    /// Replicas run that can't work with a migration that is to be applied. The text says which.
    #[error("{0}")]
    OlderReplicas(String),
    /// This version can't work with the schema.
    #[error(
        "a newer version has migrated the database: replicas have to know migration {oldest}, and this version knows {known}. \
         Deploy the newer version again, or restore a backup from before its migration"
    )]
    NewerSchema {
        /// The migration that they have to know.
        oldest: i32,
        /// The newest one that this version knows.
        known: i32,
    },
}
