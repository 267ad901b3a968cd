//! Reads what diagnoses and comparisons are made from.

use std::{collections::BTreeMap, sync::LazyLock};

use campaign_metrics::{
    campaign::Campaign,
    diagnosis::{AGES, AccountFacts, CampaignFacts, HISTORY_DAYS, Messages, MessagesBy, RatesAtAge},
    history::{AGE_MAX, ComparedCampaign, HistoryDay, last_ripe_day},
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
        history::{message_columns, sums_at_age},
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

/// Messages in the order that [`messages_of`] reads. Nulls take the place of zeros: most counts are 0, and Postgres takes as
/// long to send a number as to find the row.
macro_rules! sparse_messages {
    () => {
        "delivered, nullif(failed_account_issue, 0), nullif(failed_invalid_lead, 0), nullif(failed_rate_limited, 0),
        nullif(failed_content_rejected, 0), nullif(failed_other, 0), nullif(bounced_account_issue, 0),
        nullif(bounced_invalid_lead, 0), nullif(bounced_rate_limited, 0), nullif(bounced_content_rejected, 0),
        nullif(bounced_other, 0)"
    };
}

/// Accounts that can have messages of a campaign. The name is null for 0 and for deleted accounts.
const ACCOUNTS: &str = "
    SELECT k.account_id, a.name FROM (
        SELECT account_id FROM account_leads WHERE workspace_id = $1 AND campaign_id = $2
        UNION SELECT account_id FROM campaign_accounts WHERE workspace_id = $1 AND campaign_id = $2
        UNION SELECT 0
    ) k
    LEFT JOIN accounts a ON a.workspace_id = $1 AND a.account_id = k.account_id";

/// Messages of the campaign `$2` by account, of the accounts `$3`, and day. Neither names nor an order, because there is a
/// row for each account and day.
const BY_ACCOUNT: &str = concat!(
    "SELECT account_id, day, ",
    sparse_messages!(),
    " FROM history WHERE workspace_id = $1 AND campaign_id = $2 AND account_id = ANY ($3) AND day BETWEEN $4 AND $5"
);

/// Messages of the accounts `$2` over all campaigns.
const VOLUMES: &str = "
    SELECT account_id, day, (delivered + failed_messages(h) + bounced_messages(h))::int8 FROM history h
    WHERE workspace_id = $1 AND campaign_id = all_campaigns() AND account_id = ANY ($2) AND day BETWEEN $3 AND $4";

/// Days of campaigns in sums over accounts, with replies and conversions of the first `$5` ages.
const SUMS: &str = concat!(
    "SELECT h.campaign_id, h.day, NULL AS account, ",
    message_columns!(),
    ", contacted, replied[:$5], converted[:$5] FROM unnest($2::int4[]) AS c (campaign_id)
    JOIN history h ON h.workspace_id = $1 AND h.campaign_id = c.campaign_id AND h.account_id = all_accounts()
        AND h.day BETWEEN $3 AND $4
    WHERE NOT is_empty(h)
    ORDER BY h.campaign_id, h.day"
);

/// Leads that campaigns other than `$2`, the [`OTHERS_MAX`] created last, contacted first since `$4`, and how many of them
/// replied and converted, for each of [`AGES`]: three columns of the days up to `$5`, then of those up to `$6`.
static OTHERS: LazyLock<String> = LazyLock::new(|| {
    let [first, second] = AGES;
    format!(
        "SELECT {}, {} FROM (
            SELECT campaign_id FROM campaigns WHERE workspace_id = $1 AND campaign_id <> $2
            ORDER BY campaign_id DESC LIMIT $3
        ) c
        JOIN history h ON h.workspace_id = $1 AND h.campaign_id = c.campaign_id AND h.account_id = all_accounts()
            AND h.day BETWEEN $4 AND $5",
        sums_at_age(first, "$5"),
        sums_at_age(second, "$6")
    )
});

/// Messages of an account by campaign and day, and over all campaigns (the name is null).
const BY_CAMPAIGN: &str = concat!(
    "SELECT c.name, h.day, ",
    sparse_messages!(),
    " FROM (
        SELECT campaign_id, name FROM campaigns WHERE workspace_id = $1
        UNION ALL SELECT all_campaigns(), NULL
    ) c
    CROSS JOIN LATERAL (SELECT * FROM history h WHERE h.workspace_id = $1 AND h.campaign_id = c.campaign_id
        AND h.account_id = $2 AND h.day BETWEEN $3 AND $4 OFFSET 0) h"
);

impl Store {
    /// Reads what the diagnosis of a campaign is made from.
    pub async fn campaign_facts(&self, name: &CampaignName) -> Result<(Timestamp, CampaignFacts)> {
        in_txn!(self, "campaign_facts", Kind::BulkRead, |txn, attempt| {
            let now = self.clock.now();
            let key = campaign_find_in_txn(&txn, name).await?;
            let campaign = campaign_load_in_txn(&txn, key, name, now).await?;
            let others = others_in_txn(&txn, key, now).await?;
            let Some((first, last)) = window_in_txn(&txn, key.0, key.1, ALL_ACCOUNTS).await? else {
                return Ok((now, campaign_facts(campaign, others)));
            };
            let names = account_names_in_txn(&txn, key).await?;
            let accounts: Vec<i32> = names.keys().copied().collect();
            let statement = txn.prepare_cached(BY_ACCOUNT).await?;
            let rows = txn.query(&statement, &[&key.0, &key.1, &accounts, &first, &last]).await?;
            let name_of = |row: &Row| names.get(&row.get(0)).and_then(Option::as_ref);
            let by_account = messages_by(rows.iter().map(|row| (name_of(row), row)));
            let sums = sums_in_txn(&txn, key.0, &[key.1], (first, last), AGE_MAX).await?;
            let sums = sums.into_values().flatten().collect::<Vec<_>>();
            let mut volumes = BTreeMap::<AccountId, BTreeMap<Date, i64>>::new();
            if sums.iter().any(|day| day.counts.lost(FailureReason::RateLimited) > 0) {
                let statement = txn.prepare_cached(VOLUMES).await?;
                for row in txn.query(&statement, &[&key.0, &accounts, &first, &last]).await? {
                    if let Some(account) = name_of(&row) {
                        volumes.entry(account.clone()).or_default().insert(row.get(1), row.get(2));
                    }
                }
            }
            Ok((now, CampaignFacts { by_account, sums, volumes, ..campaign_facts(campaign, others) }))
        })
    }

    /// Reads what the diagnosis of an account is made from.
    pub async fn account_facts(&self, name: &AccountName) -> Result<(Timestamp, AccountFacts)> {
        in_txn!(self, "account_facts", Kind::BulkRead, |txn, attempt| {
            let now = self.clock.now();
            let (workspace_id, account_id) = account_key_in_txn(&txn, name).await?;
            let account = account_load_in_txn(&txn, name, now).await?;
            let mut by_campaign = MessagesBy::new();
            if let Some((first, last)) = window_in_txn(&txn, workspace_id, ALL_CAMPAIGNS, account_id).await? {
                let statement = txn.prepare_cached(BY_CAMPAIGN).await?;
                by_campaign =
                    messages_by_campaign(&txn.query(&statement, &[&workspace_id, &account_id, &first, &last]).await?)?;
            }
            let facts = AccountFacts {
                name: account.name,
                state: account.state,
                daily_limit: account.settings.daily_limit,
                reserved_today: account.reserved_today,
                campaigns: account.campaign_count,
                by_campaign,
            };
            Ok((now, facts))
        })
    }

    /// Reads campaigns of a workspace with their history up to an age, in the order of their names in the request.
    pub async fn campaigns_compared(
        &self,
        workspace: &WorkspaceId,
        ids: &[CampaignId],
        age_days: u8,
    ) -> Result<(Timestamp, Vec<ComparedCampaign>)> {
        in_txn!(self, "campaigns_compared", Kind::BulkRead, |txn, attempt| {
            let now = self.clock.now();
            let names: Vec<&str> = ids.iter().map(CampaignId::as_str).collect();
            let keys = campaign_keys_in_txn(&txn, workspace, &names).await?;
            let campaigns = campaigns_load(&txn, CampaignSelector::Keys(&keys), now).await?;
            let numbers: Vec<i32> = keys.iter().map(|key| key.1).collect();
            let today = local_day(&TimeZone::UTC, now);
            let first = today.saturating_sub((COMPARED_DAYS - 1).days());
            let workspace_id = keys.first().map_or(0, |key| key.0);
            let window = (first, today.saturating_add(1.day()));
            let mut days = sums_in_txn(&txn, workspace_id, &numbers, window, age_days.into()).await?;
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
        by_account: MessagesBy::new(),
        sums: Vec::new(),
        volumes: BTreeMap::new(),
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

/// Reads the days of campaigns in a window, summed over accounts, with replies and conversions up to an age.
async fn sums_in_txn(
    txn: &Transaction<'_>,
    workspace_id: i32,
    campaigns: &[i32],
    (first, last): (Date, Date),
    age_days: usize,
) -> Result<BTreeMap<i32, Vec<HistoryDay>>> {
    let ages = i32::try_from(age_days + 1).unwrap_or(i32::MAX);
    let statement = txn.prepare_cached(SUMS).await?;
    let mut days: BTreeMap<i32, Vec<HistoryDay>> = BTreeMap::new();
    for row in txn.query(&statement, &[&workspace_id, &campaigns, &first, &last, &ages]).await? {
        days.entry(row.get("campaign_id")).or_default().push(day_from_row(&row)?);
    }
    Ok(days)
}

/// Sums up the rates of the other campaigns of the workspace over the last days, for each age.
async fn others_in_txn(
    txn: &Transaction<'_>,
    (workspace_id, campaign_id): CampaignKey,
    now: Timestamp,
) -> Result<[RatesAtAge; AGES.len()]> {
    let statement = txn.prepare_cached(&OTHERS).await?;
    let today = local_day(&TimeZone::UTC, now);
    let first = today.saturating_sub((HISTORY_DAYS - 1).days());
    let [last, last_of_second] = AGES.map(|age_days| last_ripe_day(today, age_days));
    let row =
        txn.query_one(&statement, &[&workspace_id, &campaign_id, &OTHERS_MAX, &first, &last, &last_of_second]).await?;
    Ok([0, 3].map(|column| {
        let rate = |of: usize| Rate { numerator: row.get(column + of), denominator: row.get(column) };
        RatesAtAge { response: rate(1), conversion: rate(2) }
    }))
}

/// Reads the accounts of a campaign with their names.
async fn account_names_in_txn(
    txn: &Transaction<'_>,
    (workspace_id, campaign_id): CampaignKey,
) -> Result<BTreeMap<i32, Option<AccountId>>> {
    let statement = txn.prepare_cached(ACCOUNTS).await?;
    let rows = txn.query(&statement, &[&workspace_id, &campaign_id]).await?;
    rows.iter().map(|row| Ok((row.get(0), row.get::<_, Option<&str>>(1).map(str::parse).transpose()?))).collect()
}

/// Adds up the messages of rows by id and day.
fn messages_by<'a, Id: Ord + Clone + 'a>(rows: impl Iterator<Item = (Option<&'a Id>, &'a Row)>) -> MessagesBy<Id> {
    let mut by_id: BTreeMap<Option<&Id>, BTreeMap<Date, Messages>> = BTreeMap::new();
    for (id, row) in rows {
        by_id.entry(id).or_default().entry(row.get(1)).or_default().add(messages_of(row));
    }
    by_id.into_iter().map(|(id, days)| (id.cloned(), days)).collect()
}

/// Reads the messages of an account by campaign. What the sum over all campaigns has more is of deleted ones.
fn messages_by_campaign(rows: &[Row]) -> Result<MessagesBy<CampaignId>> {
    let names = rows.iter().map(|row| row.get::<_, Option<&str>>(0).map(str::parse).transpose());
    let names = names.collect::<std::result::Result<Vec<Option<CampaignId>>, _>>()?;
    let mut by_campaign = messages_by(names.iter().map(Option::as_ref).zip(rows));
    let mut of_deleted = by_campaign.remove(&None).unwrap_or_default();
    for (day, messages) in by_campaign.values().flatten() {
        of_deleted.entry(*day).or_default().subtract(*messages);
    }
    by_campaign.insert(None, of_deleted);
    Ok(by_campaign)
}

/// Reads the messages of a row from the columns after the day.
fn messages_of(row: &Row) -> Messages {
    let number = |column: usize| row.get::<_, Option<i64>>(column).unwrap_or(0);
    Messages::new(
        number(2),
        std::array::from_fn(|reason| number(3 + reason)),
        std::array::from_fn(|reason| number(8 + reason)),
    )
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
