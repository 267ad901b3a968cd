//! Partitions the log of outcomes by month: creates partitions ahead of time, and drops old ones. Changes no count.
//!
//! Locks of the log have a short timeout. Where a backup holds the log, they fail at once, and upkeep tries again later.
//! Functions of the database create and drop, because the role of the service may not.

use jiff::{Timestamp, ToSpan as _, civil::Date, tz::TimeZone};

use super::maintenance::MAINTENANCE_LOCK;
use crate::{
    error::{Error, Result},
    store::{
        history::{ADD_TO_HISTORY, history_columns},
        transaction::{Kind, Store, in_txn, whole_tables_in_txn},
    },
};

/// Longest wait for a lock of the whole log. All reports wait meanwhile.
const LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout = '500ms'";

/// Days before the present UTC day that can still be today somewhere, or become it by a change of time zone, and one more.
const RESERVED_DAYS: i64 = 3;

/// Whether a partition exists. After a wait for an advisory lock, `to_regclass` can still answer what it did before:
/// Postgres keeps that answer until it locks a relation.
const EXISTS: &str = "SELECT EXISTS (SELECT FROM pg_class WHERE relname = $1 AND pg_table_is_visible(oid))";

/// Refuses to retry at once, as other transactions do: each attempt blocks all reports.
fn refuse_retry(attempt: u32) -> Result<()> {
    match attempt {
        0 => Ok(()),
        _ => Err(Error::Unavailable("the log of outcomes is in use; its upkeep is tried again later".into())),
    }
}

impl Store {
    /// Creates the partitions of this month and the next. Deletes request ids that are older than 24 hours, and reservations of
    /// days that are over in every time zone.
    pub async fn maintain(&self) -> Result<()> {
        let now = self.clock.now();
        let this_month = now.to_zoned(TimeZone::UTC).date().first_of_month();
        for month in [this_month, this_month.saturating_add(1.month())] {
            self.partition_make(month).await?;
        }
        in_txn!(self, "maintain", Kind::Write, |txn, attempt| {
            txn.execute("DELETE FROM requests WHERE created_at < $1::timestamptz - interval '24 hours'", &[&now])
                .await?;
            let last_over = now.to_zoned(TimeZone::UTC).date().saturating_sub(RESERVED_DAYS.days());
            for table in ["account_reservations", "campaign_reservations"] {
                txn.execute(&format!("DELETE FROM {table} WHERE day <= $1"), &[&last_over]).await?;
            }
            let kept = "DELETE FROM kept_reservations WHERE account_day <= $1 AND campaign_day <= $1";
            txn.execute(kept, &[&last_over]).await?;
            Ok(())
        })
    }

    /// Creates the partition of a month, with the rows of the default partition that belong to it.
    async fn partition_make(&self, month: Date) -> Result<()> {
        let name = partition(month);
        in_txn!(self, "partition_make", Kind::Write, |txn, attempt| {
            refuse_retry(attempt)?;
            if txn.query_one(EXISTS, &[&name]).await?.get(0) {
                return Ok(());
            }
            txn.execute(MAINTENANCE_LOCK, &[]).await?;
            txn.batch_execute(LOCK_TIMEOUT).await?;
            if txn.query_one(EXISTS, &[&name]).await?.get(0) {
                return Ok(());
            }
            txn.execute("SELECT log_partition_make($1)", &[&month]).await?;
            Ok(())
        })
    }

    /// Drops partitions whose last outcome was received more than `days` days ago. Keeps what they say in
    /// `history_closed`.
    pub async fn partitions_drop(&self, days: u32) -> Result<()> {
        let now = self.clock.now();
        let names: Result<Vec<String>> = in_txn!(self, "partitions_drop", Kind::Read, |txn, attempt| {
            let sql = "SELECT c.relname::text FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
                WHERE i.inhparent = 'outcomes'::regclass AND c.relname <> 'outcomes_default' ORDER BY 1";
            Ok(txn.query(sql, &[]).await?.iter().map(|row| row.get(0)).collect())
        });
        for name in names? {
            if is_expired(&name, days, now) {
                self.partition_drop(&name).await?;
            }
        }
        Ok(())
    }

    async fn partition_drop(&self, name: &str) -> Result<()> {
        let keep = format!(
            "INSERT INTO history_closed AS h (workspace_id, campaign_id, account_id, day, {columns})
            SELECT h.workspace_id, campaign_id, account_id, day, {columns} FROM (SELECT DISTINCT workspace_id FROM {name}) w
            CROSS JOIN LATERAL history_lost(w.workspace_id, '{name}'::regclass) h
            WHERE 0 <> ANY (history_numbers(h))
            {ADD_TO_HISTORY}",
            columns = history_columns!()
        );
        in_txn!(self, "partition_drop", Kind::Write, |txn, attempt| {
            refuse_retry(attempt)?;
            txn.execute(MAINTENANCE_LOCK, &[]).await?;
            let is_there: bool = txn.query_one(EXISTS, &[&name]).await?.get(0);
            if !is_there {
                return Ok(());
            }
            // A recount of months takes long. It waits for no other transaction.
            whole_tables_in_txn(&txn).await?;
            txn.batch_execute(&keep).await?;
            txn.batch_execute(LOCK_TIMEOUT).await?;
            txn.batch_execute(&format!("SELECT log_partition_drop('{name}'::regclass)")).await?;
            tracing::info!(partition = name, "dropped outcomes that are older than their retention");
            Ok(())
        })
    }
}

fn partition(month: Date) -> String {
    format!("outcomes_{:04}_{:02}", month.year(), month.month())
}

/// Whether all outcomes that a partition can hold are more than `days` days old.
fn is_expired(name: &str, days: u32, now: Timestamp) -> bool {
    let month = name.strip_prefix("outcomes_").and_then(|month| {
        let (year, month) = month.split_once('_')?;
        Date::new(year.parse().ok()?, month.parse().ok()?, 1).ok()
    });
    let Some(last) = month.map(Date::last_of_month) else { return false };
    let today = now.to_zoned(TimeZone::UTC).date();
    last < today.saturating_sub(i64::from(days).days())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_expires_when_its_last_day_has() {
        let now: Timestamp = "2026-03-31T12:00:00Z".parse().unwrap();
        assert!(is_expired("outcomes_2026_02", 30, now));
        assert!(!is_expired("outcomes_2026_02", 31, now));
        assert!(!is_expired("outcomes_2026_03", 0, now));
        assert!(!is_expired("outcomes_default", 0, now));
    }
}
