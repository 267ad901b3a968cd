//! Recounts the history of a workspace from its log and from `history_closed`, and repairs what differs.

use campaign_metrics::{history::AGE_MAX, name::WorkspaceId};
use deadpool_postgres::Transaction;
use tokio_postgres::{Row, types::ToSql};

use super::{
    difference::{Difference, differences},
    maintenance::MAINTENANCE_LOCK,
};
use crate::{
    error::Result,
    store::{
        history::{ADD_TO_HISTORY, COLUMNS, history_columns},
        transaction::whole_tables_in_txn,
    },
};

/// A row of history that differs from its recount.
pub(super) struct HistoryDifferences {
    campaign_id: i32,
    account_id: i32,
    day: String,
    /// The recount less what is stored, number by number.
    missing: Vec<i64>,
    /// What differs.
    pub(super) differences: Vec<Difference>,
}

/// Recounts the history of a workspace. Returns the rows that differ.
pub(super) async fn history_recount_in_txn(
    txn: &Transaction<'_>,
    workspace_id: i32,
    name: &WorkspaceId,
) -> Result<Vec<HistoryDifferences>> {
    whole_tables_in_txn(txn).await?;
    let sql = "SELECT n.campaign_id, n.account_id, n.day::text, c.name, a.name, n.stored, n.recounted
        FROM (
            SELECT campaign_id, account_id, day, coalesce(s.numbers, array_fill(0::int8, ARRAY[74])) AS stored,
                coalesce(r.numbers, array_fill(0::int8, ARRAY[74])) AS recounted
            FROM (SELECT campaign_id, account_id, day, history_numbers(h) AS numbers FROM history h WHERE workspace_id = $1) s
            FULL JOIN (SELECT campaign_id, account_id, day, history_numbers(h) AS numbers FROM history_recount($1) h) r
                USING (campaign_id, account_id, day)
        ) n
        LEFT JOIN campaigns c ON c.workspace_id = $1 AND c.campaign_id = n.campaign_id
        LEFT JOIN accounts a ON a.workspace_id = $1 AND a.account_id = n.account_id
        -- The history of a deleted campaign, and of a deleted account over all campaigns, is not shown.
        WHERE n.stored <> n.recounted
            AND (c.campaign_id IS NOT NULL
                OR n.campaign_id = all_campaigns() AND (a.account_id IS NOT NULL OR n.account_id = 0))
        ORDER BY c.name, a.name, n.day";
    let names = number_names();
    let row_differences = |row: &Row| {
        let (campaign, account): (Option<&str>, Option<&str>) = (row.get(3), row.get(4));
        let (day, stored, recounted): (String, Vec<i64>, Vec<i64>) = (row.get(2), row.get(5), row.get(6));
        let of_campaign = campaign.map(|campaign| format!("/campaigns/{campaign}")).unwrap_or_default();
        let of_account = match (account, row.get(1)) {
            (Some(account), _) => format!("/accounts/{account}"),
            (None, 0) => " without account".to_owned(),
            (None, _) => String::new(),
        };
        let of = format!("workspaces/{name}{of_campaign}{of_account} on {day}");
        let numbers = names.iter().zip(stored.iter().zip(&recounted));
        let numbers = numbers.map(|(name, (stored, recounted))| (name.as_str(), *stored, *recounted));
        HistoryDifferences {
            campaign_id: row.get(0),
            account_id: row.get(1),
            day,
            missing: recounted.iter().zip(&stored).map(|(recounted, stored)| recounted - stored).collect(),
            differences: differences(&of, numbers),
        }
    };
    let rows = txn.query(sql, &[&workspace_id]).await?;
    Ok(rows.iter().map(row_differences).filter(|row| !row.differences.is_empty()).collect())
}

/// Recounts again while no other repair runs and no part of the log is dropped. Adds each difference instead of setting the
/// number, so that concurrent reports are not lost.
pub(super) async fn history_repair_in_txn(
    txn: &Transaction<'_>,
    workspace_id: i32,
    name: &WorkspaceId,
) -> Result<Vec<HistoryDifferences>> {
    txn.execute(MAINTENANCE_LOCK, &[]).await?;
    let rows = history_recount_in_txn(txn, workspace_id, name).await?;
    let numbers: Vec<String> = (1..=COLUMNS.len()).map(|number| format!("n[{number}]")).collect();
    let (replied, converted) = (COLUMNS.len() + 1, COLUMNS.len() + AGE_MAX + 2);
    let add = format!(
        "INSERT INTO history AS h (workspace_id, campaign_id, account_id, day, {columns})
        SELECT $1, $2, $3, $4::text::date, {numbers}, n[{replied}:{replied_end}]::int4[], n[{converted}:{converted_end}]::int4[]
        FROM (SELECT $5::int8[] AS n) n {ADD_TO_HISTORY}",
        columns = history_columns!(),
        numbers = numbers.join(", "),
        replied_end = replied + AGE_MAX,
        converted_end = converted + AGE_MAX,
    );
    // The lock order.
    let mut in_order: Vec<_> = rows.iter().collect();
    in_order.sort_by_key(|row| (row.campaign_id, row.account_id, &row.day));
    for row in in_order {
        let params: &[&(dyn ToSql + Sync)] =
            &[&workspace_id, &row.campaign_id, &row.account_id, &row.day, &row.missing];
        txn.execute(&add, params).await?;
    }
    Ok(rows)
}

/// Names of the numbers of a row: its columns, and the elements of its arrays by age.
fn number_names() -> Vec<String> {
    let ages = |of: &'static str| (0..=AGE_MAX).map(move |age| format!("{of} at age {age}"));
    COLUMNS.iter().map(ToString::to_string).chain(ages("replied")).chain(ages("converted")).collect()
}
