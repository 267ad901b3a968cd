//! Sums the days of accounts that are long over into `account_totals`, so that reading the messages of an account takes the
//! same time however long it has existed. Recounts and repairs these totals.
//!
//! The messages of an account are its total and its days that are not summed, in every committed state: a day is marked and
//! added in one transaction, and a trigger adds later corrections of it.

use campaign_metrics::name::WorkspaceId;
use deadpool_postgres::Transaction;
use jiff::ToSpan as _;

use super::{
    difference::{Difference, differences},
    maintenance::MAINTENANCE_LOCK,
    verify::VerifyMode,
};
use crate::{
    error::Result,
    store::{
        account::first_recent_day,
        history::{MESSAGE_COLUMNS, message_columns, message_sums},
        transaction::{Kind, Store, in_txn, whole_tables_in_txn},
    },
};

/// Days that one transaction sums: a few tenths of a second of work.
const PORTION: i64 = 10_000;
/// Days before the last 30 that are not summed yet. The last 30 days are read day by day, also by a replica whose clock is
/// behind.
const MARGIN_DAYS: i64 = 7;

/// A total that differs from its recount.
struct TotalDifferences {
    account_id: i32,
    /// The recount less what is stored, number by number.
    missing: Vec<i64>,
    differences: Vec<Difference>,
}

/// Adds the row that an `INSERT` into `account_totals AS t` proposes to the one that exists.
fn add_to_total() -> String {
    let add = |column: &&str| format!("{column} = t.{column} + excluded.{column}");
    let added: Vec<String> = MESSAGE_COLUMNS.iter().map(add).collect();
    format!("ON CONFLICT (workspace_id, account_id) DO UPDATE SET {}", added.join(", "))
}

impl Store {
    /// Adds the days of accounts that are long over to their totals, in portions.
    pub async fn account_days_sum(&self) -> Result<()> {
        // Skips days that a batch corrects or another replica sums. A later run finds them, if they are still not summed.
        let sum = format!(
            "WITH old AS MATERIALIZED (
                SELECT workspace_id, account_id, day FROM history_of_accounts
                WHERE NOT is_summed AND day < $1
                ORDER BY day LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED
            ), summed AS (
                UPDATE history_of_accounts h SET is_summed = true FROM old
                WHERE h.workspace_id = old.workspace_id AND h.campaign_id = all_campaigns()
                    AND h.account_id = old.account_id AND h.day = old.day
                RETURNING h.workspace_id, h.account_id, {columns}
            ), total AS (
                INSERT INTO account_totals AS t (workspace_id, account_id, {columns})
                SELECT workspace_id, account_id, {sums} FROM summed GROUP BY 1, 2 ORDER BY 1, 2
                {add}
            )
            SELECT count(*) FROM summed",
            columns = message_columns!(),
            sums = message_sums!(),
            add = add_to_total(),
        );
        loop {
            let summed: Result<i64> = in_txn!(self, "account_days_sum", Kind::Write, |txn, attempt| {
                let before = first_recent_day(self.clock.now()).saturating_sub(MARGIN_DAYS.days());
                Ok(txn.query_one(&sum, &[&before, &PORTION]).await?.get(0))
            });
            if summed? < PORTION {
                return Ok(());
            }
        }
    }

    /// Recounts the totals of a workspace from its summed days, and repairs them on request. Returns what differed.
    pub(super) async fn totals_verify(
        &self,
        workspace_id: i32,
        name: &WorkspaceId,
        mode: VerifyMode,
    ) -> Result<Vec<Difference>> {
        let totals: Result<Vec<TotalDifferences>> = in_txn!(self, "totals_verify", Kind::Read, |txn, attempt| {
            totals_recount_in_txn(&txn, workspace_id, name).await
        });
        let mut totals = totals?;
        if !totals.is_empty() && mode == VerifyMode::Repair {
            let repaired: Result<Vec<TotalDifferences>> =
                in_txn!(self, "totals_repair", Kind::Write, |txn, attempt| {
                    totals_repair_in_txn(&txn, workspace_id, name).await
                });
            totals = repaired?;
        }
        Ok(totals.into_iter().flat_map(|total| total.differences).collect())
    }
}

/// Compares the totals of a workspace with the sums of its summed days, in one snapshot.
async fn totals_recount_in_txn(
    txn: &Transaction<'_>,
    workspace_id: i32,
    name: &WorkspaceId,
) -> Result<Vec<TotalDifferences>> {
    whole_tables_in_txn(txn).await?;
    // The totals of a deleted account are not shown.
    let sql = concat!(
        "SELECT n.account_id, a.name, n.stored, n.recounted FROM (
            SELECT account_id, coalesce(t.numbers, array_fill(0::int8, ARRAY[11])) AS stored,
                coalesce(r.numbers, array_fill(0::int8, ARRAY[11])) AS recounted
            FROM (SELECT account_id, ARRAY[",
        message_columns!(),
        "] AS numbers FROM account_totals WHERE workspace_id = $1) t
            FULL JOIN (SELECT account_id, ARRAY[",
        message_sums!(),
        "] AS numbers FROM history_of_accounts WHERE workspace_id = $1 AND is_summed GROUP BY 1) r USING (account_id)
        ) n JOIN accounts a ON a.workspace_id = $1 AND a.account_id = n.account_id
        WHERE n.stored <> n.recounted ORDER BY n.account_id"
    );
    let rows = txn.query(sql, &[&workspace_id]).await?;
    let total = |row: &tokio_postgres::Row| {
        let (stored, recounted): (Vec<i64>, Vec<i64>) = (row.get(2), row.get(3));
        let of = format!("workspaces/{name}/accounts/{}, total of summed days", row.get::<_, &str>(1));
        let numbers = MESSAGE_COLUMNS.iter().zip(stored.iter().zip(&recounted));
        TotalDifferences {
            account_id: row.get(0),
            missing: recounted.iter().zip(&stored).map(|(recounted, stored)| recounted - stored).collect(),
            differences: differences(&of, numbers.map(|(column, (stored, recounted))| (*column, *stored, *recounted))),
        }
    };
    Ok(rows.iter().map(total).collect())
}

/// Recounts again while no other repair runs. Adds each difference instead of setting the number, so that concurrent
/// corrections are not lost.
async fn totals_repair_in_txn(
    txn: &Transaction<'_>,
    workspace_id: i32,
    name: &WorkspaceId,
) -> Result<Vec<TotalDifferences>> {
    txn.execute(MAINTENANCE_LOCK, &[]).await?;
    let totals = totals_recount_in_txn(txn, workspace_id, name).await?;
    let numbers: Vec<String> = (1..=MESSAGE_COLUMNS.len()).map(|number| format!("n[{number}]")).collect();
    let add = format!(
        "INSERT INTO account_totals AS t (workspace_id, account_id, {columns})
        SELECT $1, $2, {numbers} FROM (SELECT $3::int8[] AS n) n {add}",
        columns = message_columns!(),
        numbers = numbers.join(", "),
        add = add_to_total(),
    );
    for total in &totals {
        txn.execute(&add, &[&workspace_id, &total.account_id, &total.missing]).await?;
    }
    Ok(totals)
}
