//! Reads what diagnoses are made from.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

use campaign_metrics::{
    campaign::Campaign,
    diagnosis::{
        AGES, AccountDay, AccountFacts, CampaignFacts, HISTORY_DAYS, Messages, MessagesBy, Needed, RatesAtAge,
        TESTED_DAYS, tested_since,
    },
    history::{HistoryDay, last_ripe_day},
    name::{AccountId, AccountName, CampaignId, CampaignName},
    rate::Rate,
    schedule::local_day,
};
use deadpool_postgres::Transaction;
use futures::try_join;
use jiff::{Timestamp, ToSpan as _, civil::Date, tz::TimeZone};
use tokio_postgres::Row;

use super::history::day_from_row;
use crate::{
    error::Result,
    store::{
        account::account_load_in_txn,
        campaign::view::campaign_load_in_txn,
        history::{history_columns, message_sums, sums_at_age},
        row::{CampaignKey, account_key_in_txn, campaign_find_in_txn},
        transaction::{Kind, Store, in_txn},
    },
};

/// Other campaigns that a diagnosis compares with: enough to know what is usual, few enough to read at each diagnosis.
const OTHERS_MAX: i64 = 200;

/// The latest day of an account.
const LATEST: &str = "SELECT day FROM history h
    WHERE workspace_id = $1 AND campaign_id = all_campaigns() AND account_id = $2 AND day > '-infinity' AND NOT is_empty(h)
    ORDER BY day DESC LIMIT 1";

/// The last `$3` days of a campaign, summed over accounts, the latest first.
const LAST_DAYS: &str = concat!(
    "SELECT account_id, day, NULL AS account, ",
    history_columns!(),
    " FROM history h
    WHERE workspace_id = $1 AND campaign_id = $2 AND account_id = all_accounts() AND day > '-infinity' AND NOT is_empty(h)
    ORDER BY day DESC LIMIT $3"
);

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

/// Messages of the campaign `$2` by account, of the accounts `$3`, in the periods that begin on the days `$4` and end on
/// `$5`. Sums here, because there is a row for each account and day.
const SINCE: &str = concat!(
    "SELECT a.account_id, p.since, s.*
    FROM unnest($3::int4[]) AS a (account_id) CROSS JOIN unnest($4::date[]) AS p (since)
    CROSS JOIN LATERAL (
        SELECT ",
    message_sums!(),
    " FROM history h
        WHERE h.workspace_id = $1 AND h.campaign_id = $2 AND h.account_id = a.account_id AND h.day BETWEEN p.since AND $5
        HAVING count(*) > 0
    ) s"
);

/// Messages of the campaign `$2` by account, of the accounts `$3`, and day.
const BY_ACCOUNT: &str = concat!(
    "SELECT account_id, day, ",
    sparse_messages!(),
    " FROM history WHERE workspace_id = $1 AND campaign_id = $2 AND account_id = ANY ($3) AND day BETWEEN $4 AND $5"
);

/// Days of the accounts `$3` in the campaign `$2`: their messages over all campaigns, and in this one those that were rate
/// limited and all.
const ACCOUNT_DAYS: &str = "
    SELECT v.delivered + failed_messages(v) + bounced_messages(v), h.failed_rate_limited + h.bounced_rate_limited,
        h.delivered + failed_messages(h) + bounced_messages(h)
    FROM history h
    JOIN history v ON v.workspace_id = $1 AND v.campaign_id = all_campaigns() AND v.account_id = h.account_id AND v.day = h.day
    WHERE h.workspace_id = $1 AND h.campaign_id = $2 AND h.account_id = ANY ($3) AND h.day BETWEEN $4 AND $5";

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
            let (campaign, others, sums, names) = try_join!(
                campaign_load_in_txn(&txn, key, name, now),
                others_in_txn(&txn, key, now),
                last_days_in_txn(&txn, key),
                account_names_in_txn(&txn, key)
            )?;
            let Some(last) = sums.last().and_then(|row| row.day) else {
                return Ok((now, campaign_facts(campaign, others)));
            };
            let periods: Vec<Date> = tested_since(&sums).into_iter().collect();
            let since = since_in_txn(&txn, key, &names, &periods, last).await?;
            let needed = Needed::given(&sums, &since);
            let (by_account, account_days) = try_join!(
                by_account_in_txn(&txn, key, &names, &needed.suspects, last),
                account_days_in_txn(&txn, key, &names, needed.volumes, last)
            )?;
            Ok((now, CampaignFacts { sums, since, by_account, account_days, ..campaign_facts(campaign, others) }))
        })
    }

    /// Reads what the diagnosis of an account is made from.
    pub async fn account_facts(&self, name: &AccountName) -> Result<(Timestamp, AccountFacts)> {
        in_txn!(self, "account_facts", Kind::BulkRead, |txn, attempt| {
            let now = self.clock.now();
            let (workspace_id, account_id) = account_key_in_txn(&txn, name).await?;
            let account = account_load_in_txn(&txn, name, now).await?;
            let mut by_campaign = MessagesBy::new();
            if let Some((first, last)) = window_in_txn(&txn, workspace_id, account_id).await? {
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
}

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
        sums: Vec::new(),
        since: MessagesBy::new(),
        by_account: MessagesBy::new(),
        account_days: Vec::new(),
        others,
    }
}

/// Returns the days that end with the latest day of an account; `None` without history.
async fn window_in_txn(txn: &Transaction<'_>, workspace_id: i32, account_id: i32) -> Result<Option<(Date, Date)>> {
    let statement = txn.prepare_cached(LATEST).await?;
    let row = txn.query_opt(&statement, &[&workspace_id, &account_id]).await?;
    Ok(row.map(|row| {
        let last: Date = row.get(0);
        (first_before(last, HISTORY_DAYS), last)
    }))
}

/// The first of so many days that end with `last`.
fn first_before(last: Date, days: i32) -> Date {
    last.saturating_sub((days - 1).days())
}

/// Reads the days that end with the latest day of a campaign, summed over accounts, in ascending order.
async fn last_days_in_txn(txn: &Transaction<'_>, key: CampaignKey) -> Result<Vec<HistoryDay>> {
    let statement = txn.prepare_cached(LAST_DAYS).await?;
    let rows = txn.query(&statement, &[&key.0, &key.1, &i64::from(HISTORY_DAYS)]).await?;
    let mut days = rows.iter().rev().map(day_from_row).collect::<Result<Vec<_>>>()?;
    let last = days.last().and_then(|row| row.day);
    days.retain(|row| row.day >= last.map(|last| first_before(last, HISTORY_DAYS)));
    Ok(days)
}

/// Accounts of a campaign by number, with their names.
type AccountNames = BTreeMap<i32, Option<AccountId>>;

fn name_of<'a>(names: &'a AccountNames, row: &Row) -> Option<&'a AccountId> {
    names.get(&row.get(0)).and_then(Option::as_ref)
}

/// Reads the messages of accounts since each of some days.
async fn since_in_txn(
    txn: &Transaction<'_>,
    key: CampaignKey,
    names: &AccountNames,
    since: &[Date],
    last: Date,
) -> Result<MessagesBy<AccountId>> {
    let accounts: Vec<i32> = names.keys().copied().collect();
    let statement = txn.prepare_cached(SINCE).await?;
    let rows = txn.query(&statement, &[&key.0, &key.1, &accounts, &since, &last]).await?;
    Ok(messages_by(rows.iter().map(|row| (name_of(names, row), row))))
}

/// Reads the days of the accounts that still exist, if they are needed.
async fn account_days_in_txn(
    txn: &Transaction<'_>,
    key: CampaignKey,
    names: &AccountNames,
    are_needed: bool,
    last: Date,
) -> Result<Vec<AccountDay>> {
    if !are_needed {
        return Ok(Vec::new());
    }
    let existing: Vec<i32> = names.iter().filter(|(_, name)| name.is_some()).map(|(id, _)| *id).collect();
    let statement = txn.prepare_cached(ACCOUNT_DAYS).await?;
    let rows = txn.query(&statement, &[&key.0, &key.1, &existing, &first_before(last, TESTED_DAYS), &last]).await?;
    let day =
        |row: &Row| AccountDay { volume: row.get(0), limited: Rate { numerator: row.get(1), denominator: row.get(2) } };
    Ok(rows.iter().map(day).collect())
}

/// Reads the messages of suspects by day.
async fn by_account_in_txn(
    txn: &Transaction<'_>,
    key: CampaignKey,
    names: &AccountNames,
    suspects: &BTreeSet<AccountId>,
    last: Date,
) -> Result<MessagesBy<AccountId>> {
    let is_suspect = |name: &Option<AccountId>| name.as_ref().is_some_and(|name| suspects.contains(name));
    let accounts: Vec<i32> = names.iter().filter(|(_, name)| is_suspect(name)).map(|(id, _)| *id).collect();
    if accounts.is_empty() {
        return Ok(MessagesBy::new());
    }
    let statement = txn.prepare_cached(BY_ACCOUNT).await?;
    let rows = txn.query(&statement, &[&key.0, &key.1, &accounts, &first_before(last, HISTORY_DAYS), &last]).await?;
    Ok(messages_by(rows.iter().map(|row| (name_of(names, row), row))))
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
async fn account_names_in_txn(txn: &Transaction<'_>, (workspace_id, campaign_id): CampaignKey) -> Result<AccountNames> {
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
