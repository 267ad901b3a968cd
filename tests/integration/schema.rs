//! The schema: `services/metrics/schema.sql` is a dump of it for reading, everything in it has a comment, and every table can be
//! replicated.

use std::fmt::Write as _;

use crate::harness::{
    golden::assert_golden,
    parts::part,
    postgres::{Connection, TestDatabase, database},
    run::run,
    service::Service,
};

const HEADER: &str = "\
-- The schema as the migrations leave it, for reading. Never edit it: `make update` writes it, a test compares it.
";

/// The schema without what differs from run to run or between versions of `pg_dump`.
async fn dump(database: &TestDatabase) -> String {
    let mut command = tokio::process::Command::new(part("pg_dump").expect("Postgres comes with it"));
    command.args(["--schema-only", "--no-owner", "--no-privileges", "--exclude-table=refinery_schema_history"]);
    command.args(["--dbname", &database.admin_url]);
    let dumped = run(command, "").await.expect("pg_dump starts").success().expect("pg_dump reads the schema");
    let mut text = HEADER.to_owned();
    let mut is_blank = false;
    for line in dumped.lines() {
        let is_setting =
            ["--", "\\", "SET ", "SELECT pg_catalog.set_config"].iter().any(|start| line.starts_with(start));
        if is_setting || line.is_empty() {
            is_blank = true;
            continue;
        }
        if std::mem::take(&mut is_blank) {
            text.push('\n');
        }
        // The schema of everything but the views.
        writeln!(text, "{}", line.replace("public.", "")).expect("a string takes all");
    }
    text
}

/// First column of each row.
async fn names(sql: &Connection, query: &str) -> Vec<String> {
    sql.query(query, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn schema_sql_is_a_dump_of_the_migrated_database() {
    assert_golden("services/metrics/schema.sql", &dump(&database().await).await);
}

#[tokio::test]
async fn every_table_column_and_function_has_a_comment() {
    let sql = database().await.connect().await;
    // A partition has the columns of its table.
    let without = "
        SELECT c.relname || coalesce('.' || a.attname, '') FROM pg_class c
        LEFT JOIN LATERAL (
            SELECT a.attname, a.attnum FROM pg_attribute a
            WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND NOT c.relispartition
            UNION ALL
            SELECT NULL, 0
        ) a ON true
        WHERE c.relnamespace IN ('public'::regnamespace, 'reporting'::regnamespace) AND c.relkind IN ('r', 'p', 'v')
            AND c.relname <> 'refinery_schema_history'
            AND col_description(c.oid, a.attnum) IS NULL AND (a.attnum <> 0 OR obj_description(c.oid, 'pg_class') IS NULL)
        UNION ALL
        SELECT p.oid::regprocedure::text FROM pg_proc p
        WHERE p.pronamespace = 'public'::regnamespace AND obj_description(p.oid, 'pg_proc') IS NULL
        UNION ALL
        SELECT t.typname FROM pg_type t JOIN pg_class c ON c.oid = t.typrelid
        WHERE t.typnamespace = 'public'::regnamespace AND c.relkind = 'c' AND obj_description(t.oid, 'pg_type') IS NULL";
    assert_eq!(names(&sql, without).await, Vec::<String>::new(), "no COMMENT ON says what these are");
}

#[tokio::test]
async fn every_table_has_a_replica_identity_partitions_that_upkeep_makes_too() {
    let service = Service::start().await;
    service.store().maintain().await.unwrap();
    let sql = service.sql().await;
    let partitions =
        names(&sql, "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'outcomes'::regclass");
    assert!(partitions.await.len() >= 3, "the default one, this month's and the next one's");
    let without = "
        SELECT c.relname FROM pg_class c
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND c.relreplident <> 'f'
            AND NOT (c.relreplident = 'd' AND EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary))";
    assert_eq!(names(&sql, without).await, Vec::<String>::new(), "these can't be replicated");
}

/// Postgres parses such an expression again for each statement and each partition it writes to: one of 17 000 characters cost every
/// batch of outcomes 0.1 ms.
#[tokio::test]
async fn expressions_that_every_write_parses_are_short() {
    let sql = database().await.connect().await;
    let long = "
        SELECT adrelid::regclass::text FROM pg_attrdef WHERE length(adbin::text) > 2000
        UNION ALL
        SELECT conname FROM pg_constraint WHERE length(conbin::text) > 2000";
    assert_eq!(names(&sql, long).await, Vec::<String>::new());
    let all = "SELECT adrelid::regclass::text FROM pg_attrdef WHERE length(adbin::text) > 200";
    assert!(!names(&sql, all).await.is_empty(), "these expressions are what is measured");
}

#[tokio::test]
async fn counts_by_age_are_added_up_to_the_age_of_the_column() {
    let sql = database().await.connect().await;
    let sums = "SELECT ages_in_7_days(ages), ages_in_30_days(ages), ages_in_7_days(NULL) IS NULL AND ages_in_30_days(NULL) IS NULL
        FROM (SELECT array_agg(age * age ORDER BY age) AS ages FROM generate_series(1, 31) age) a";
    let row = sql.query_one(sums, &[]).await.unwrap();
    let squares = |last: i32| (1..=last).map(|age| age * age).sum::<i32>();
    assert_eq!((row.get::<_, i32>(0), row.get::<_, i32>(1)), (squares(8), squares(31)));
    assert!(row.get::<_, bool>(2), "none at any age is null");
}
