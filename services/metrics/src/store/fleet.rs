//! Reads all campaigns and accounts at once, for the metrics: rollups only, in one snapshot.

use campaign_metrics::{
    account::AccountPerformance,
    campaign::Campaign,
    schedule::{local_day, parse_time_zone},
};
use jiff::{ToSpan as _, civil::Date, tz::TimeZone};
use tokio_postgres::Row;

use super::{
    Kind, Store,
    campaign_state::key,
    campaign_view::{CampaignKey, campaigns_load_in_txn},
    in_txn,
    verify::{Verification, verification_in_txn},
};
use crate::error::Result;

/// Everything the business gauges show.
#[derive(Debug)]
pub struct Fleet {
    /// Campaigns: active ones first, then the most recently changed.
    pub campaigns: Vec<Campaign>,
    /// Campaigns left out because there are more than were asked for.
    pub omitted: i64,
    /// Accounts.
    pub accounts: Vec<AccountRow>,
    /// The latest recount, if there was one.
    pub verification: Option<Verification>,
}

/// An account's gauges.
#[derive(Debug)]
pub struct AccountRow {
    /// Workspace id.
    pub workspace: String,
    /// Account id.
    pub account: String,
    /// Messages ever.
    pub lifetime: AccountPerformance,
    /// Messages of the last 30 UTC days.
    pub last_30_days: AccountPerformance,
    /// Claims per local day at most.
    pub daily_limit: Option<i32>,
    /// Reserved of it on the present local day.
    pub reserved: i64,
}

impl Store {
    /// Reads up to `campaigns_max` campaigns and all accounts.
    pub async fn fleet(&self, campaigns_max: i64) -> Result<Fleet> {
        let select = "SELECT workspace_id, campaign_id, count(*) OVER () AS total FROM campaigns
            ORDER BY state = 1 DESC, updated_at DESC LIMIT $1";
        let accounts = "
            SELECT w.name AS workspace, a.name AS account, a.daily_limit, a.time_zone, d.*, r.days, r.reserved
            FROM accounts a JOIN workspaces w USING (workspace_id)
            LEFT JOIN LATERAL (
                SELECT sum(delivered - superseded_delivered)::int8 AS delivered, sum(failed - superseded_failed)::int8 AS failed,
                    sum(bounced)::int8 AS bounced,
                    (sum(delivered - superseded_delivered) FILTER (WHERE day >= $1))::int8 AS delivered_30d,
                    (sum(failed - superseded_failed) FILTER (WHERE day >= $1))::int8 AS failed_30d,
                    (sum(bounced) FILTER (WHERE day >= $1))::int8 AS bounced_30d
                FROM account_days d WHERE d.workspace_id = a.workspace_id AND d.account_id = a.account_id
            ) d ON true
            LEFT JOIN LATERAL (
                SELECT array_agg(r.day) AS days, array_agg(r.reserved) AS reserved FROM (
                    SELECT day, sum(reserved)::int8 AS reserved FROM account_reservations
                    WHERE workspace_id = a.workspace_id AND account_id = a.account_id AND day BETWEEN $2 AND $3 GROUP BY day
                ) r
            ) r ON true";
        in_txn!(self, Kind::Read, |txn, attempt| {
            let now = self.clock.now();
            let today = local_day(&TimeZone::UTC, now);
            let (month_ago, yesterday, tomorrow) =
                (today.saturating_sub(29.days()), today.saturating_sub(1.day()), today.saturating_add(1.day()));
            let rows = txn.query(select, &[&campaigns_max]).await?;
            let keys: Vec<CampaignKey> = rows.iter().map(key).collect();
            let total: i64 = rows.first().map_or(0, |row| row.get("total"));
            let campaigns = campaigns_load_in_txn(&txn, &keys, now).await?;
            let accounts = txn.query(accounts, &[&month_ago, &yesterday, &tomorrow]).await?;
            let accounts = accounts.iter().map(|row| account_from_row(row, now)).collect::<Result<_>>()?;
            let omitted = total - i64::try_from(campaigns.len()).unwrap_or(0);
            let verification = verification_in_txn(&txn).await?;
            Ok(Fleet { campaigns, omitted, accounts, verification })
        })
    }
}

fn account_from_row(row: &Row, now: jiff::Timestamp) -> Result<AccountRow> {
    let sum = |column: &str| row.get::<_, Option<i64>>(column).unwrap_or(0);
    let today = local_day(&parse_time_zone(row.get("time_zone"))?, now);
    let days: Vec<Date> = row.get::<_, Option<_>>("days").unwrap_or_default();
    let reserved: Vec<i64> = row.get::<_, Option<_>>("reserved").unwrap_or_default();
    Ok(AccountRow {
        workspace: row.get("workspace"),
        account: row.get("account"),
        lifetime: AccountPerformance { delivered: sum("delivered"), failed: sum("failed"), bounced: sum("bounced") },
        last_30_days: AccountPerformance {
            delivered: sum("delivered_30d"),
            failed: sum("failed_30d"),
            bounced: sum("bounced_30d"),
        },
        daily_limit: row.get("daily_limit"),
        reserved: days.iter().zip(reserved).find(|(day, _)| **day == today).map_or(0, |(_, reserved)| reserved),
    })
}
