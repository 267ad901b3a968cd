//! Checks SQL mutants with Postgres before any test runs: whether it accepts them, and whether the schema differs.
//!
//! A migration is applied with all others to an empty database. A mutant is unviable if Postgres refuses it, or if the
//! schema stays the same because a later migration replaces what it changed. A statement must still prepare with the
//! edit, with parameters and columns of the same types, because Rust reads them by type.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use crate::{
    harness::postgres::{Connection, Server, connect, separate_server, with_database},
    mutant::Change,
    sql_text::Kind,
};

/// Everything in a schema that is made by migrations and decides what statements do.
const SCHEMA: &str = "
    SELECT md5(coalesce(string_agg(line, E'\\n' ORDER BY line), '')) FROM (
        SELECT pg_get_functiondef(oid) AS line FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND prokind <> 'a'
        UNION ALL
        SELECT pg_get_viewdef(oid) FROM pg_class WHERE relnamespace = 'reporting'::regnamespace AND relkind = 'v'
        UNION ALL
        SELECT conrelid::regclass::text || ' ' || conname || ' ' || pg_get_constraintdef(oid) FROM pg_constraint
            WHERE connamespace = 'public'::regnamespace
        UNION ALL
        SELECT pg_get_indexdef(indexrelid) FROM pg_index JOIN pg_class ON oid = indexrelid
            WHERE relnamespace = 'public'::regnamespace
        UNION ALL
        SELECT concat_ws(' ', attrelid::regclass, attname, format_type(atttypid, atttypmod), attnotnull, attidentity,
                pg_get_expr(adbin, adrelid))
            FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
            LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
            WHERE relnamespace = 'public'::regnamespace AND attnum > 0 AND NOT attisdropped
        UNION ALL
        SELECT relname || pg_get_expr(relpartbound, oid) FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relispartition
    ) lines";

/// What is known of a mutant before any test.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Tests can tell.
    Open,
    /// It is no mutant, for this reason.
    Unviable(String),
}

/// A server with the schema.
pub struct Schema {
    server: Server,
    _directory: TempDir,
    migrations: BTreeMap<String, String>,
    unchanged: String,
    migrated: Connection,
}

impl Schema {
    /// Starts a server and applies the migrations.
    pub async fn start(root: &Path) -> Result<Self> {
        let (server, directory) = separate_server().await?;
        let mut migrations = BTreeMap::new();
        for entry in fs::read_dir(root.join("services/metrics/migrations"))? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            let file = format!("services/metrics/migrations/{name}");
            migrations.insert(file.clone(), fs::read_to_string(root.join(file))?);
        }
        let sql = connect(&server.url("postgres")).await?;
        sql.batch_execute("CREATE DATABASE mutants_unchanged").await?;
        let migrated = connect(&with_database(&server.url("postgres"), "mutants_unchanged")?).await?;
        for migration in migrations.values() {
            migrated.batch_execute(migration).await.context("the migrations as they are")?;
        }
        let unchanged = migrated.query_one(SCHEMA, &[]).await?.get(0);
        Ok(Self { server, _directory: directory, migrations, unchanged, migrated })
    }

    /// Looks at a mutant.
    pub async fn look(&self, change: &Change) -> Result<Verdict> {
        let Change::Sql { text, range, replacement } = change else {
            return Ok(Verdict::Open);
        };
        let edited = text.edited(range, replacement);
        match text.kind {
            Kind::Migration => self.migrate(&text.file, &edited, &statement(&text.value, range.start)).await,
            Kind::Statement => {
                let Ok(before) = self.migrated.prepare(&text.value).await else {
                    return Ok(Verdict::Open);
                };
                let after = match self.migrated.prepare(&edited).await {
                    Ok(after) => after,
                    Err(error) => return Ok(Verdict::Unviable(refusal(&error))),
                };
                let types = |statement: &tokio_postgres::Statement| {
                    let columns = statement.columns().iter().map(|column| column.type_().clone());
                    (statement.params().to_vec(), columns.collect::<Vec<_>>())
                };
                Ok(if types(&before) == types(&after) {
                    Verdict::Open
                } else {
                    Verdict::Unviable("other types of parameters or columns".to_owned())
                })
            }
            Kind::Fragment => Ok(Verdict::Open),
        }
    }

    async fn migrate(&self, file: &str, edited: &str, statement: &str) -> Result<Verdict> {
        let sql = connect(&self.server.url("postgres")).await?;
        sql.batch_execute("DROP DATABASE IF EXISTS mutants_edited WITH (FORCE)").await?;
        sql.batch_execute("CREATE DATABASE mutants_edited").await?;
        let other = connect(&with_database(&self.server.url("postgres"), "mutants_edited")?).await?;
        for (name, migration) in &self.migrations {
            let migration = if name == file { edited } else { migration };
            if let Err(error) = other.batch_execute(migration).await {
                return Ok(Verdict::Unviable(refusal(&error)));
            }
        }
        let schema: String = other.query_one(SCHEMA, &[]).await?.get(0);
        // A statement that moves rows does not show in the schema of an empty database.
        let moves =
            ["INSERT", "UPDATE", "DELETE", "WITH", "SELECT", "DO"].iter().any(|word| statement.starts_with(word));
        Ok(if schema == self.unchanged && !moves {
            Verdict::Unviable("the schema is the same".to_owned())
        } else {
            Verdict::Open
        })
    }
}

fn refusal(error: &tokio_postgres::Error) -> String {
    error
        .as_db_error()
        .map_or_else(|| error.to_string(), |error| format!("{} {}", error.code().code(), error.message()))
}

/// The statement of a migration that holds a place, without comments before it.
fn statement(text: &str, at: usize) -> String {
    let start = text[..at].rfind(";\n").map_or(0, |end| end + 2);
    let lines = text[start..].lines().filter(|line| !line.trim_start().starts_with("--"));
    lines.collect::<Vec<_>>().join("\n").trim_start().to_owned()
}
