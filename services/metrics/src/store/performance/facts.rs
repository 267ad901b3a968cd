//! Reads what diagnoses and comparisons are made from.

use std::collections::BTreeMap;

use campaign_metrics::{
    campaign::Campaign,
    diagnosis::{AGES, AccountFacts, CampaignFacts, ElsewhereDay, HISTORY_DAYS, RatesAtAge},
    history::{ComparedCampaign, HistoryCounts, HistoryDay, last_ripe_day},
    lead::FailureReason,
    name::{AccountId, AccountName, CampaignId, CampaignName, WorkspaceId},
    rate::Rate,
    schedule::local_day,
};
use deadpool_postgres::Transaction;
use jiff::{Timestamp, ToSpan as _, civil::Date, tz::TimeZone};
use tokio_postgres::Row;

use super::history::day_from_row;
use crate::{
    error::{Error, Result},
    store::{
        account::account_load_in_txn,
        campaign::view::{CampaignSelector, campaign_load_in_txn, campaigns_load},
        history::{history_columns, message_columns, messages_from_row, sums_at_age},
        row::{CampaignKey, account_key_in_txn, campaign_find_in_txn, workspace_in_txn},
        transaction::{Kind, Store, in_txn},
    },
};

/// Days of history that a comparison reads, today included.
const COMPARED_DAYS: i32 = 400;

/// Other campaigns that a diagnosis compares with: enough to know what is usual, few enough to read at each diagnosis.
const OTHERS_MAX: i64 = 200;

/// The latest day of a campaign or of an account.
const LATEST: &str = "SELECT day FROM history h
    WHERE workspace_id = $1 AND campaign_id = $2 AND account_id = $3 AND day > '-infinity' AND NOT is_empty(h)
    ORDER BY day DESC LIMIT 1";

/// Messages of a campaign by account and day. Their reactions by age would take most of the time, and nobody reads them.
const BY_ACCOUNT: &str = concat!(
    "SELECT a.name, h.day, h.account_id, ",
    message_columns!(),
    " FROM (
        SELECT account_id FROM account_leads WHERE workspace_id = $1 AND campaign_id = $2
        UNION SELECT account_id FROM campaign_accounts WHERE workspace_id = $1 AND campaign_id = $2
        UNION SELECT 0
    ) k
    JOIN history h ON h.workspace_id = $1 AND h.campaign_id = $2 AND h.account_id = k.account_id AND h.day BETWEEN $3 AND $4
    LEFT JOIN accounts a ON a.workspace_id = $1 AND a.account_id = k.account_id
    WHERE h.delivered + failed_messages(h) + bounced_messages(h) <> 0
    ORDER BY h.day, a.name"
);

/// Messages of accounts in campaigns other than `$2`.
const ELSEWHERE: &str = "
    SELECT a.name, t.day, (t.delivered + failed_messages(t) + bounced_messages(t)
        - coalesce(h.delivered + failed_messages(h) + bounced_messages(h), 0))::int8
    FROM accounts a
    JOIN history t ON t.workspace_id = a.workspace_id AND t.campaign_id = all_campaigns() AND t.account_id = a.account_id
        AND t.day BETWEEN $3 AND $4
    LEFT JOIN history h ON h.workspace_id = a.workspace_id AND h.campaign_id = $2 AND h.account_id = a.account_id
        AND h.day = t.day
    WHERE a.workspace_id = $1 AND a.account_id = ANY ($5)";

/// Days of campaigns in sums over accounts.
const SUMS: &str = concat!(
    "SELECT h.campaign_id, h.day, NULL AS account, ",
    history_columns!(),
    " FROM unnest($2::int4[]) AS c (campaign_id)
    JOIN history h ON h.workspace_id = $1 AND h.campaign_id = c.campaign_id AND h.account_id = all_accounts()
        AND h.day BETWEEN $3 AND $4
    WHERE NOT is_empty(h)
    ORDER BY h.campaign_id, h.day"
);

/// Leads that campaigns other than `$2`, the [`OTHERS_MAX`] created last, contacted first on the days from `$3` to `$4`, and
/// how many of them replied and converted at most `$5` days later.
const OTHERS: &str = concat!(
    "SELECT ",
    sums_at_age!(),
    " FROM (
        SELECT campaign_id FROM campaigns WHERE workspace_id = $1 AND campaign_id <> $2
        ORDER BY campaign_id DESC LIMIT $6
    ) c
    JOIN history h ON h.workspace_id = $1 AND h.campaign_id = c.campaign_id AND h.account_id = all_accounts()
        AND h.day BETWEEN $3 AND $4"
);

/// Messages of an account by campaign and day, and over all campaigns (the name is null).
const BY_CAMPAIGN: &str = concat!(
    "SELECT c.name, h.day, h.account_id, ",
    message_columns!(),
    " FROM (
        SELECT campaign_id, name FROM campaigns WHERE workspace_id = $1
        UNION ALL SELECT all_campaigns(), NULL
    ) c
    JOIN history h ON h.workspace_id = $1 AND h.campaign_id = c.campaign_id AND h.account_id = $2 AND h.day BETWEEN $3 AND $4
    ORDER BY h.day, c.name"
);

impl Store {
    /// Reads what the diagnosis of a campaign is made from.
    pub async fn campaign_facts(&self, name: &CampaignName) -> Result<(Timestamp, CampaignFacts)> {
        in_txn!(self, "campaign_facts", Kind::Read, |txn, attempt| {
            let now = self.clock.now();
            let key = campaign_find_in_txn(&txn, name).await?;
            let campaign = campaign_load_in_txn(&txn, key, name, now).await?;
            let others = others_in_txn(&txn, key, now).await?;
            let Some((first, last)) = window_in_txn(&txn, key.0, key.1, ALL_ACCOUNTS).await? else {
                return Ok((now, campaign_facts(campaign, others)));
            };
            let statement = txn.prepare_cached(BY_ACCOUNT).await?;
            let rows = txn.query(&statement, &[&key.0, &key.1, &first, &last]).await?;
            let days = rows.iter().map(messages_of_day).collect::<Result<Vec<_>>>()?;
            let statement = txn.prepare_cached(SUMS).await?;
            let sums = txn.query(&statement, &[&key.0, &[key.1].as_slice(), &first, &last]).await?;
            let sums = sums.iter().map(day_from_row).collect::<Result<Vec<_>>>()?;
            let mut elsewhere = Vec::new();
            if days.iter().any(|day| day.counts.lost(FailureReason::RateLimited) > 0) {
                let mut accounts: Vec<i32> = rows.iter().map(|row| row.get(2)).collect();
                accounts.sort_unstable();
                accounts.dedup();
                let statement = txn.prepare_cached(ELSEWHERE).await?;
                for row in txn.query(&statement, &[&key.0, &key.1, &first, &last, &accounts]).await? {
                    let account = row.get::<_, &str>(0).parse()?;
                    elsewhere.push(ElsewhereDay { account, day: row.get(1), messages: row.get(2) });
                }
            }
            Ok((now, CampaignFacts { days, sums, elsewhere, ..campaign_facts(campaign, others) }))
        })
    }

    /// Reads what the diagnosis of an account is made from.
    pub async fn account_facts(&self, name: &AccountName) -> Result<(Timestamp, AccountFacts)> {
        in_txn!(self, "account_facts", Kind::Read, |txn, attempt| {
            let now = self.clock.now();
            let (workspace_id, account_id) = account_key_in_txn(&txn, name).await?;
            let account = account_load_in_txn(&txn, name, now).await?;
            let mut days = Vec::new();
            if let Some((first, last)) = window_in_txn(&txn, workspace_id, ALL_CAMPAIGNS, account_id).await? {
                let statement = txn.prepare_cached(BY_CAMPAIGN).await?;
                days = campaign_days(&txn.query(&statement, &[&workspace_id, &account_id, &first, &last]).await?)?;
            }
            let facts = AccountFacts {
                name: account.name,
                state: account.state,
                daily_limit: account.settings.daily_limit,
                reserved_today: account.reserved_today,
                campaigns: i64::try_from(account.campaigns.len()).unwrap_or(i64::MAX),
                days,
            };
            Ok((now, facts))
        })
    }

    /// Reads campaigns of a workspace with their history, in the order of their names in the request.
    pub async fn campaigns_compared(
        &self,
        workspace: &WorkspaceId,
        ids: &[CampaignId],
    ) -> Result<(Timestamp, Vec<ComparedCampaign>)> {
        in_txn!(self, "campaigns_compared", Kind::Read, |txn, attempt| {
            let now = self.clock.now();
            let names: Vec<&str> = ids.iter().map(CampaignId::as_str).collect();
            let keys = campaign_keys_in_txn(&txn, workspace, &names).await?;
            let campaigns = campaigns_load(&txn, CampaignSelector::Keys(&keys), now).await?;
            let numbers: Vec<i32> = keys.iter().map(|key| key.1).collect();
            let today = local_day(&TimeZone::UTC, now);
            let first = today.saturating_sub((COMPARED_DAYS - 1).days());
            let statement = txn.prepare_cached(SUMS).await?;
            let workspace_id = keys.first().map_or(0, |key| key.0);
            let rows =
                txn.query(&statement, &[&workspace_id, &numbers, &first, &today.saturating_add(1.day())]).await?;
            let mut days: BTreeMap<i32, Vec<HistoryDay>> = BTreeMap::new();
            for row in &rows {
                days.entry(row.get("campaign_id")).or_default().push(day_from_row(row)?);
            }
            let compared = campaigns.into_iter().zip(numbers).map(|(campaign, number)| ComparedCampaign {
                name: campaign.name,
                state: campaign.state,
                steps: campaign.settings.steps,
                lead_counts: campaign.lead_counts,
                accounts: campaign.settings.accounts,
                days: days.remove(&number).unwrap_or_default(),
            });
            Ok((now, compared.collect()))
        })
    }
}

/// `all_campaigns()` and `all_accounts()` of the schema.
const ALL_CAMPAIGNS: i32 = 0;
const ALL_ACCOUNTS: i32 = -1;

/// What is known of a campaign without history.
fn campaign_facts(campaign: Campaign, others: [RatesAtAge; AGES.len()]) -> CampaignFacts {
    CampaignFacts {
        name: campaign.name,
        state: campaign.state,
        lead_counts: campaign.lead_counts,
        lead_list_complete: campaign.settings.lead_list_complete,
        in_flight_claims: campaign.in_flight_claims,
        uncertain_claims: campaign.uncertain_claims,
        claim_expiry_policy: campaign.settings.claim_expiry_policy,
        next_due: campaign.next_due,
        blocked: campaign.blocked,
        days: Vec::new(),
        sums: Vec::new(),
        elsewhere: Vec::new(),
        others,
    }
}

/// Returns the days that end with the latest day of a campaign or account; `None` without history.
async fn window_in_txn(
    txn: &Transaction<'_>,
    workspace_id: i32,
    campaign_id: i32,
    account_id: i32,
) -> Result<Option<(Date, Date)>> {
    let statement = txn.prepare_cached(LATEST).await?;
    let row = txn.query_opt(&statement, &[&workspace_id, &campaign_id, &account_id]).await?;
    Ok(row.map(|row| {
        let last: Date = row.get(0);
        (last.saturating_sub((HISTORY_DAYS - 1).days()), last)
    }))
}

/// Sums up the rates of the other campaigns of the workspace over the last days, for each age.
async fn others_in_txn(
    txn: &Transaction<'_>,
    (workspace_id, campaign_id): CampaignKey,
    now: Timestamp,
) -> Result<[RatesAtAge; AGES.len()]> {
    let statement = txn.prepare_cached(OTHERS).await?;
    let today = local_day(&TimeZone::UTC, now);
    let first = today.saturating_sub((HISTORY_DAYS - 1).days());
    let mut rates = [RatesAtAge::default(); AGES.len()];
    for (age_days, rates) in AGES.into_iter().zip(&mut rates) {
        let (last, age) = (last_ripe_day(today, age_days), i32::try_from(age_days).unwrap_or(i32::MAX));
        let row = txn.query_one(&statement, &[&workspace_id, &campaign_id, &first, &last, &age, &OTHERS_MAX]).await?;
        let rate = |column| Rate { numerator: row.get(column), denominator: row.get(0) };
        *rates = RatesAtAge { response: rate(1), conversion: rate(2) };
    }
    Ok(rates)
}

fn messages_of_day(row: &Row) -> Result<HistoryDay> {
    Ok(day_from_messages(row, row.get::<_, Option<&str>>(0).map(str::parse).transpose()?))
}

fn day_from_messages(row: &Row, account: Option<AccountId>) -> HistoryDay {
    HistoryDay { day: row.get(1), account, counts: messages_from_row(row, 3) }
}

/// Reads the days of an account by campaign. What the sum over all campaigns has more is of deleted ones.
fn campaign_days(rows: &[Row]) -> Result<Vec<(Option<CampaignId>, HistoryDay)>> {
    let mut days = Vec::new();
    let mut of_deleted: BTreeMap<Date, HistoryDay> = BTreeMap::new();
    for row in rows {
        let (day, history) = (row.get(1), day_from_messages(row, None));
        let rest =
            of_deleted.entry(day).or_insert_with(|| HistoryDay { counts: HistoryCounts::default(), ..history.clone() });
        match row.get::<_, Option<&str>>(0) {
            Some(campaign) => {
                rest.counts.subtract(&history.counts);
                days.push((Some(campaign.parse()?), history));
            }
            None => rest.counts.add(&history.counts),
        }
    }
    days.extend(of_deleted.into_values().filter(|day| day.counts != HistoryCounts::default()).map(|day| (None, day)));
    days.sort_by_key(|(_, day)| day.day);
    Ok(days)
}

/// Finds the keys of campaigns, in the order of their names.
async fn campaign_keys_in_txn(
    txn: &Transaction<'_>,
    workspace: &WorkspaceId,
    names: &[&str],
) -> Result<Vec<CampaignKey>> {
    let workspace_id = workspace_in_txn(txn, workspace).await?.unwrap_or_default();
    let sql = "SELECT c.campaign_id FROM unnest($2::text[]) WITH ORDINALITY AS named (name, place)
        LEFT JOIN campaigns c ON c.workspace_id = $1 AND c.name = named.name ORDER BY named.place";
    let statement = txn.prepare_cached(sql).await?;
    let rows = txn.query(&statement, &[&workspace_id, &names]).await?;
    let key = |(row, name): (&Row, &&str)| match row.get(0) {
        Some(campaign_id) => Ok((workspace_id, campaign_id)),
        None => Err(Error::NotFound(format!("workspaces/{}/campaigns/{name}", workspace.as_str()))),
    };
    rows.iter().zip(names).map(key).collect()
}
