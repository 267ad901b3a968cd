//! Records the row locks of a call in the order in which it takes them.
//!
//! Each row of the database is locked by a session of its own. The call waits for the first row that it locks. The
//! trace releases that row, the call waits for the next one, and so on. At each wait the trace also reads which rows
//! the call holds, so it also sees locks that the call took without waiting. It does not see rows that the call
//! inserts.

use std::{collections::BTreeMap, fmt::Write as _, pin::pin};

use anyhow::{Context as _, Result, ensure};
use tokio_postgres::SimpleQueryMessage;

use crate::harness::{
    postgres::{Connection, TestDatabase},
    wait::{SOON, until},
};

/// The key of a row, with its table. A partition counts as the table that it is a part of.
type Key = (String, String);

/// A row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub table: String,
    /// Its index in the order of the table's key.
    pub place: usize,
}

/// A moment at which the call waited.
#[derive(Debug)]
pub struct Wait {
    pub for_row: Row,
    /// The rows that its transaction held.
    pub held: Vec<Row>,
}

/// A table as it is stored.
struct Table {
    /// The name that statements use.
    stored: String,
    /// The name that the trace uses: for a partition, that of the partitioned table.
    name: String,
    /// The columns of the primary key; without one, `ctid`.
    key: String,
}

/// A session and the row that it is for.
struct Holder {
    key: Key,
    /// Locks the row if it is free, with the strength appended.
    lock: String,
    session: Connection,
    pid: i32,
    hold: Hold,
}

/// What a session holds of its row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hold {
    Nothing,
    /// The only lock.
    Alone,
    /// A lock beside the weaker one of the call, which the call must wait for to strengthen its own.
    BesideTheCall,
}

/// What a call waits for.
struct Blocked {
    /// Index of the session that holds it.
    holder: usize,
    /// The transaction that waits.
    transaction: String,
}

/// The rows of a database, each locked by a session.
pub struct Trace {
    watcher: Connection,
    tables: Vec<Table>,
    /// Indexes of rows in the order of their tables' keys.
    places: BTreeMap<Key, usize>,
    holders: Vec<Holder>,
    transaction: String,
}

/// Tables whose rows some calls lock FOR KEY SHARE, which can be strengthened later.
const KEY_SHARED: [&str; 3] = ["workspaces", "accounts", "campaigns"];

impl Trace {
    /// Locks every row of the database except those of the tables `free`: for calls that skip locked rows.
    pub async fn start(database: &TestDatabase, free: &[&str]) -> Result<Self> {
        let watcher = database.connect().await;
        let tables = tables(&watcher).await?;
        let (mut places, mut holders) = (BTreeMap::new(), Vec::new());
        for Table { stored, name, key } in &tables {
            let rows = watcher.query(&format!("SELECT ROW({key})::text FROM {stored} ORDER BY {key}"), &[]).await?;
            // The partitions of a table come in the order of their keys.
            let before = places.keys().filter(|(table, _): &&Key| table == name).count();
            for (place, row) in rows.iter().enumerate() {
                let text: String = row.get(0);
                places.insert((name.clone(), text.clone()), before + place);
                if free.contains(&name.as_str()) {
                    continue;
                }
                let lock = format!("SELECT FROM {stored} WHERE ROW({key})::text = '{text}' FOR");
                let session = database.connect().await;
                let pid = session.query_one("SELECT pg_backend_pid()", &[]).await?.get(0);
                let mut holder = Holder { key: (name.clone(), text), lock, session, pid, hold: Hold::Nothing };
                holder.try_lock("UPDATE", Hold::Alone).await?;
                ensure!(holder.hold == Hold::Alone, "{:?} is locked already", holder.key);
                holders.push(holder);
            }
        }
        Ok(Self { watcher, tables, places, holders, transaction: String::new() })
    }

    /// Runs a call to its end. Returns its answer, and each wait for a row.
    pub async fn run<T>(mut self, call: impl Future<Output = T>) -> Result<(T, Vec<Wait>)> {
        let mut call = pin!(call);
        let mut waits = Vec::new();
        loop {
            let blocked = tokio::select! {
                answer = &mut call => return Ok((answer, waits)),
                blocked = blocked(&self.watcher, &self.holders) => blocked?,
            };
            if self.transaction != blocked.transaction {
                self.transaction.clone_from(&blocked.transaction);
                self.lock_again().await?;
            }
            let held = self.held_by_call().await?;
            let for_row = self.row(&self.holders[blocked.holder].key);
            let held = held.iter().map(|key| self.row(key)).filter(|row| *row != for_row).collect();
            waits.push(Wait { for_row, held });
            let holder = &mut self.holders[blocked.holder];
            holder.session.batch_execute("ROLLBACK").await?;
            holder.hold = Hold::Nothing;
        }
    }

    /// Locks what the call had in an earlier transaction.
    async fn lock_again(&mut self) -> Result<()> {
        for holder in &mut self.holders {
            match holder.hold {
                Hold::Nothing => holder.try_lock("UPDATE", Hold::Alone).await?,
                Hold::BesideTheCall => holder.hold = Hold::Alone,
                Hold::Alone => {}
            }
        }
        Ok(())
    }

    /// Reads which rows the call holds. If it could strengthen a lock, a session locks the row beside it, so that the
    /// call waits for that, too.
    async fn held_by_call(&mut self) -> Result<Vec<Key>> {
        let mut held = locked(&self.watcher, &self.tables).await?;
        for holder in &mut self.holders {
            let Some(index) = held.iter().position(|key| *key == holder.key) else { continue };
            match holder.hold {
                Hold::Alone => drop(held.swap_remove(index)),
                Hold::Nothing if KEY_SHARED.contains(&holder.key.0.as_str()) => {
                    holder.try_lock("NO KEY UPDATE", Hold::BesideTheCall).await?;
                }
                Hold::Nothing | Hold::BesideTheCall => {}
            }
        }
        held.sort_unstable();
        Ok(held)
    }

    fn row(&self, key: &Key) -> Row {
        // Rows of an earlier transaction of the call come after all others.
        let place = self.places.get(key).copied().unwrap_or(usize::MAX);
        Row { table: key.0.clone(), place }
    }
}

impl Holder {
    /// Locks the row unless that would wait.
    async fn try_lock(&mut self, strength: &str, then: Hold) -> Result<()> {
        self.session.batch_execute("BEGIN").await?;
        let locked = self.session.query(&format!("{} {strength} SKIP LOCKED", self.lock), &[]).await?;
        if locked.is_empty() {
            self.session.batch_execute("ROLLBACK").await?;
        } else {
            self.hold = then;
        }
        Ok(())
    }
}

/// The tables of the store, in the order of their names.
async fn tables(sql: &Connection) -> Result<Vec<Table>> {
    let select = "SELECT t.oid::regclass::text, coalesce(i.inhparent, t.oid)::regclass::text,
            coalesce((SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY array_position(k.indkey::int2[], a.attnum))
                FROM pg_index k JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = ANY (k.indkey)
                WHERE k.indrelid = t.oid AND k.indisprimary), 'ctid')
        FROM pg_class t LEFT JOIN pg_inherits i ON i.inhrelid = t.oid
        WHERE t.relnamespace = 'public'::regnamespace AND t.relkind = 'r' AND t.relname <> 'refinery_schema_history'
        ORDER BY 1";
    let rows = sql.query(select, &[]).await?;
    Ok(rows.iter().map(|row| Table { stored: row.get(0), name: row.get(1), key: row.get(2) }).collect())
}

/// Waits until a transaction of the service waits for one of the sessions.
async fn blocked(watcher: &Connection, holders: &[Holder]) -> Result<Blocked> {
    let select = "SELECT h.pid, a.pid::text || ' since ' || a.xact_start
        FROM pg_stat_activity a CROSS JOIN unnest(pg_blocking_pids(a.pid)) AS h (pid)
        WHERE a.datname = current_database() AND a.wait_event_type = 'Lock' AND a.application_name LIKE 'campaign-metrics%'";
    until("the call to end, or to wait for a row", SOON, async || {
        let rows = watcher.query(select, &[]).await?;
        ensure!(rows.len() <= 1, "{} waits at once", rows.len());
        let row = rows.first().context("nothing waits")?;
        let pid: i32 = row.get(0);
        let holder = holders.iter().position(|holder| holder.pid == pid).context("it waits for something else")?;
        Ok(Blocked { holder, transaction: row.get(1) })
    })
    .await
}

/// Reads which rows are locked by any session.
async fn locked(sql: &Connection, tables: &[Table]) -> Result<Vec<Key>> {
    let mut script = "BEGIN;".to_owned();
    for Table { stored, name, key } in tables {
        let select = format!("SELECT '{name}', ROW({key})::text FROM {stored}");
        write!(script, "{select}; {select} FOR UPDATE SKIP LOCKED;")?;
    }
    script += "ROLLBACK";
    let mut seen: BTreeMap<Key, u32> = BTreeMap::new();
    for message in sql.simple_query(&script).await? {
        if let SimpleQueryMessage::Row(row) = message {
            let key = (row.get(0).context("a table")?.to_owned(), row.get(1).context("a key")?.to_owned());
            *seen.entry(key).or_default() += 1;
        }
    }
    // A row that is free is in both answers.
    Ok(seen.into_iter().filter(|(_, times)| *times == 1).map(|(key, _)| key).collect())
}
