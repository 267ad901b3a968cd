//! What the metrics show of active campaigns in more detail: messages by account, and response and conversion at equal
//! age. These are sums over days of history, so they are read for a bounded number of campaigns, and not at each scrape.

use campaign_metrics::{
    diagnosis::{AGES, HISTORY_DAYS},
    history::{HistoryCounts, last_ripe_day},
    schedule::local_day,
};
use jiff::{Timestamp, ToSpan as _, tz::TimeZone};
use tokio_postgres::Row;

use super::{pair, read};
use crate::{
    error::Result,
    store::{
        account::first_recent_day,
        history::{message_sums, messages_from_row, sums_at_age},
        row::CampaignKey,
        transaction::{FREELY_PLANNED, Kind, Store, in_txn},
    },
};

/// All active campaigns, those that changed last first, with the number of accounts of this one and those before it.
/// Accounts that left a campaign count too, since it may have messages of them.
const ACTIVE: &str = "
    SELECT c.workspace_id, c.campaign_id,
        sum(greatest(n.accounts, 1)) OVER (ORDER BY c.updated_at DESC, c.workspace_id, c.campaign_id)::int8
    FROM campaigns c LEFT JOIN (
        SELECT workspace_id, campaign_id, count(*) AS accounts FROM (
            SELECT workspace_id, campaign_id, account_id FROM campaign_accounts
            UNION SELECT workspace_id, campaign_id, account_id FROM account_leads WHERE account_id <> 0
        ) a GROUP BY 1, 2
    ) n USING (workspace_id, campaign_id)
    WHERE c.state = campaign_active()";

/// Messages since `$3` by account of the campaigns `$2` in the workspaces `$1`. The sums are null where there are no messages.
const BY_ACCOUNT: &str = concat!(
    "SELECT k.workspace_id, k.campaign_id, n.name, a.is_serving, messages.*
    FROM unnest($1::int4[], $2::int4[]) AS k (workspace_id, campaign_id)
    CROSS JOIN LATERAL (
        SELECT account_id, bool_or(is_serving) AS is_serving FROM (
            SELECT account_id, NOT removed AS is_serving FROM campaign_accounts s
            WHERE s.workspace_id = k.workspace_id AND s.campaign_id = k.campaign_id
            UNION ALL
            SELECT account_id, false FROM account_leads l
            WHERE l.workspace_id = k.workspace_id AND l.campaign_id = k.campaign_id
        ) a GROUP BY account_id
    ) a
    JOIN accounts n ON n.workspace_id = k.workspace_id AND n.account_id = a.account_id
    CROSS JOIN LATERAL (SELECT ",
    message_sums!(),
    " FROM history h WHERE h.workspace_id = k.workspace_id AND h.campaign_id = k.campaign_id
        AND h.account_id = a.account_id AND h.day >= $3) messages"
);

/// Leads that the campaigns `$2` in the workspaces `$1` contacted first on the days from `$3` to `$4`, and how many of them
/// replied and converted at most `age_days` days later.
fn at_age_sql(age_days: usize) -> String {
    format!(
        "SELECT k.workspace_id, k.campaign_id, ages.*
        FROM unnest($1::int4[], $2::int4[]) AS k (workspace_id, campaign_id)
        CROSS JOIN LATERAL (SELECT {} FROM history h WHERE h.workspace_id = k.workspace_id
            AND h.campaign_id = k.campaign_id AND h.account_id = all_accounts() AND h.day BETWEEN $3 AND $4
        ) ages (contacted, replied, converted)
        WHERE ages.contacted > 0",
        sums_at_age(age_days, "$4")
    )
}

/// Details of active campaigns.
#[derive(Debug)]
pub struct Details {
    /// When they were read.
    pub read_at: Timestamp,
    /// Active campaigns that are left out, because the accounts are too many.
    pub omitted: i64,
    /// Campaigns at equal age.
    pub ages: Vec<CampaignAge>,
    /// Accounts that serve these campaigns or have messages of them.
    pub accounts: Vec<CampaignAccountRow>,
}

/// Response and conversion of a campaign at equal age.
#[derive(Debug)]
pub struct CampaignAge {
    /// The campaign.
    pub campaign: CampaignKey,
    /// The age, in days.
    pub days: usize,
    /// Leads first contacted at least so many days ago, on one of the last [`HISTORY_DAYS`] days; at least 1.
    pub contacted: i64,
    /// Those that replied within this age.
    pub replied: i64,
    /// Those that converted within this age.
    pub converted: i64,
}

/// An account of a campaign.
#[derive(Debug)]
pub struct CampaignAccountRow {
    /// The campaign.
    pub campaign: CampaignKey,
    /// Account id.
    pub account: String,
    /// Its messages of the last 30 UTC days in this campaign. No leads.
    pub last_30_days: HistoryCounts,
}

impl Store {
    /// Reads details of the active campaigns that changed last, as long as their accounts together are at most
    /// `accounts_max`.
    pub async fn fleet_details(&self, accounts_max: i64) -> Result<Details> {
        in_txn!(self, "fleet_details", Kind::Read, |txn, attempt| {
            txn.batch_execute(FREELY_PLANNED).await?;
            let now = self.clock.now();
            let active: Vec<(CampaignKey, i64)> = read(&txn, ACTIVE, [], |row| (pair(&row), row.get(2))).await?;
            let chosen: Vec<CampaignKey> =
                active.iter().filter(|(_, accounts)| *accounts <= accounts_max).map(|(key, _)| *key).collect();
            let omitted = i64::try_from(active.len() - chosen.len()).unwrap_or(i64::MAX);
            let (workspaces, campaigns): (Vec<i32>, Vec<i32>) = chosen.into_iter().unzip();
            let first_recent = first_recent_day(now);
            let accounts: Vec<Option<CampaignAccountRow>> =
                read(&txn, BY_ACCOUNT, [&workspaces, &campaigns, &first_recent], |row| account(&row)).await?;
            let today = local_day(&TimeZone::UTC, now);
            let first = today.saturating_sub((HISTORY_DAYS - 1).days());
            let mut ages = Vec::new();
            for days in AGES {
                let last = last_ripe_day(today, days);
                let at_age = |row: Row| CampaignAge {
                    campaign: pair(&row),
                    days,
                    contacted: row.get(2),
                    replied: row.get(3),
                    converted: row.get(4),
                };
                let of_age: Vec<CampaignAge> =
                    read(&txn, &at_age_sql(days), [&workspaces, &campaigns, &first, &last], at_age).await?;
                ages.extend(of_age);
            }
            let accounts = accounts.into_iter().flatten().collect();
            Ok(Details { read_at: now, omitted, ages, accounts })
        })
    }
}

/// Reads an account of a campaign; `None` if it neither serves it nor has recent messages of it.
fn account(row: &Row) -> Option<CampaignAccountRow> {
    const MESSAGES: usize = 4;
    let has_rows = row.get::<_, Option<i64>>(MESSAGES).is_some();
    let last_30_days = if has_rows { messages_from_row(row, MESSAGES) } else { HistoryCounts::default() };
    let is_shown = row.get::<_, bool>(3) || last_30_days != HistoryCounts::default();
    is_shown.then(|| CampaignAccountRow { campaign: pair(row), account: row.get(2), last_30_days })
}
