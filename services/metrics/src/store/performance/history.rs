//! Reads the history of campaigns and accounts.

use campaign_metrics::{
    history::HistoryDay,
    invalid::Invalid,
    name::{AccountName, CampaignName},
};
use deadpool_postgres::Transaction;
use jiff::{Timestamp, civil::Date};
use tokio_postgres::{Row, types::ToSql};

use crate::{
    error::Result,
    store::{
        history::{history_columns, history_from_row},
        row::{account_key_in_txn, campaign_find_in_txn},
        transaction::{Kind, Store, in_txn},
    },
};

/// A page of the history of a campaign.
#[derive(Debug)]
pub struct HistoryPage {
    /// Time at which it was read.
    pub as_of: Timestamp,
    /// The days, each with the place after which a later page begins.
    pub days: Vec<(String, HistoryDay)>,
    /// In sums over accounts, the corrections, with the first page.
    pub corrections: Option<HistoryDay>,
}

/// Days in sums over accounts, from `$3` to `$4`, after `$5`.
const SUMS: &str = concat!(
    "SELECT account_id, day, NULL AS account, ",
    history_columns!(),
    " FROM history h
    WHERE workspace_id = $1 AND campaign_id = $2 AND account_id = all_accounts() AND day BETWEEN $3 AND $4
        AND ($5::date IS NULL OR day > $5) AND NOT is_empty(h)
    ORDER BY day LIMIT $6"
);

/// Corrections of a campaign in sums over accounts.
const CORRECTIONS: &str = concat!(
    "SELECT account_id, NULL::date AS day, NULL AS account, ",
    history_columns!(),
    " FROM history h
    WHERE workspace_id = $1 AND campaign_id = $2 AND account_id = all_accounts() AND day = '-infinity' AND NOT is_empty(h)"
);

/// Days by account, from `$3` to `$4`, after the account `$5` and its day `$6`.
const BY_ACCOUNT: &str = concat!(
    "SELECT h.account_id, h.day, a.name AS account, ",
    history_columns!(),
    " FROM history h LEFT JOIN accounts a ON a.workspace_id = h.workspace_id AND a.account_id = h.account_id
    WHERE h.workspace_id = $1 AND h.campaign_id = $2 AND h.account_id >= 0 AND h.day BETWEEN $3 AND $4
        AND (h.account_id, h.day) > ($5, $6) AND NOT is_empty(h)
    ORDER BY h.account_id, h.day LIMIT $7"
);

/// Days of an account over all campaigns, from `$3` to `$4`, after the corrections.
const OF_ACCOUNT: &str = concat!(
    "SELECT h.account_id, nullif(day, '-infinity') AS day, a.name AS account, ",
    history_columns!(),
    " FROM history h JOIN accounts a ON a.workspace_id = h.workspace_id AND a.account_id = h.account_id
    WHERE h.workspace_id = $1 AND h.campaign_id = all_campaigns() AND h.account_id = $2
        AND (day BETWEEN $3 AND $4 OR day = '-infinity') AND NOT is_empty(h)
    ORDER BY h.day"
);

impl Store {
    /// Reads days of a campaign: at most `limit`, from `first` to `last`, after where an earlier page ended.
    pub async fn campaign_history(
        &self,
        name: &CampaignName,
        (first, last): (Date, Date),
        by_account: bool,
        after: Option<&str>,
        limit: i64,
    ) -> Result<HistoryPage> {
        let after = after.map(parse_cursor).transpose()?;
        in_txn!(self, "campaign_history", Kind::Read, |txn, attempt| {
            let as_of = self.clock.now();
            let (workspace_id, campaign_id) = campaign_find_in_txn(&txn, name).await?;
            let (account, day) = after.unwrap_or((-1, Date::MAX));
            let after_day = after.map(|(_, day)| day);
            let sums: &[&(dyn ToSql + Sync)] = &[&workspace_id, &campaign_id, &first, &last, &after_day, &limit];
            let accounts: &[&(dyn ToSql + Sync)] =
                &[&workspace_id, &campaign_id, &first, &last, &account, &day, &limit];
            let (sql, params) = if by_account { (BY_ACCOUNT, accounts) } else { (SUMS, sums) };
            let rows = rows_in_txn(&txn, sql, params).await?;
            let mut corrections = None;
            if !by_account && after.is_none() {
                let rows = rows_in_txn(&txn, CORRECTIONS, &[&workspace_id, &campaign_id]).await?;
                corrections = rows.first().map(day_from_row).transpose()?;
            }
            let days = rows.iter().map(|row| Ok((cursor(row), day_from_row(row)?))).collect::<Result<_>>()?;
            Ok(HistoryPage { as_of, days, corrections })
        })
    }

    /// Reads the days of an account over all campaigns from `first` to `last`, after its corrections if there are any.
    pub async fn account_history(
        &self,
        name: &AccountName,
        (first, last): (Date, Date),
    ) -> Result<(Timestamp, Vec<HistoryDay>)> {
        in_txn!(self, "account_history", Kind::Read, |txn, attempt| {
            let as_of = self.clock.now();
            let (workspace_id, account_id) = account_key_in_txn(&txn, name).await?;
            let rows = rows_in_txn(&txn, OF_ACCOUNT, &[&workspace_id, &account_id, &first, &last]).await?;
            Ok((as_of, rows.iter().map(day_from_row).collect::<Result<_>>()?))
        })
    }
}

async fn rows_in_txn(txn: &Transaction<'_>, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>> {
    let statement = txn.prepare_cached(sql).await?;
    Ok(txn.query(&statement, params).await?)
}

/// Reads a row of `account_id, day, account` and counts.
pub(super) fn day_from_row(row: &Row) -> Result<HistoryDay> {
    let account = row.get::<_, Option<&str>>("account").map(str::parse).transpose()?;
    Ok(HistoryDay { day: row.get("day"), account, counts: history_from_row(row, 3) })
}

/// Where a page ends: the number of the account and the day.
fn cursor(row: &Row) -> String {
    format!("{} {}", row.get::<_, i32>("account_id"), row.get::<_, Date>("day"))
}

fn parse_cursor(text: &str) -> Result<(i32, Date)> {
    let parsed = text.split_once(' ').and_then(|(account, day)| Some((account.parse().ok()?, day.parse().ok()?)));
    Ok(parsed.ok_or_else(|| Invalid::new("page_token", "is damaged; start anew without it"))?)
}
