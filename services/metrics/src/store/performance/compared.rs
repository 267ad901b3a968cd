//! Reads what comparisons are made from.

use std::collections::{BTreeMap, BTreeSet};

use campaign_metrics::{
    history::{ComparedCampaign, ComparedDay},
    lead::Step,
    name::{AccountId, CampaignId, CampaignName, WorkspaceId},
    schedule::local_day,
};
use deadpool_postgres::Transaction;
use futures::try_join;
use jiff::{Timestamp, ToSpan as _, civil::Date, tz::TimeZone};
use tokio_postgres::Row;

use crate::{
    error::{Error, Result},
    store::{
        campaign::row::{counts, counts_from_row},
        history::within_age,
        row::{broken, campaign_state, workspace_in_txn},
        transaction::{Kind, Store, in_txn},
    },
};

/// Days of history that a comparison reads, today included.
const COMPARED_DAYS: i32 = 400;

/// Campaigns by their names `$2`, in this order, with the numbers of the accounts that serve them. Nothing of claims and reasons:
/// to know why nothing is sent takes most of the time of reading a campaign.
const COMPARED: &str = concat!(
    "SELECT ",
    counts!(),
    ", c.campaign_id, c.state, c.steps, ARRAY(
        SELECT s.account_id FROM campaign_accounts s
        WHERE s.workspace_id = $1 AND s.campaign_id = c.campaign_id AND NOT s.removed
    ) AS accounts
    FROM unnest($2::text[]) WITH ORDINALITY AS named (name, place)
    LEFT JOIN campaigns c ON c.workspace_id = $1 AND c.name = named.name
    LEFT JOIN LATERAL (
        SELECT * FROM campaign_counters k WHERE k.workspace_id = $1 AND k.campaign_id = c.campaign_id
        ORDER BY k.epoch DESC LIMIT 1
    ) k ON true
    ORDER BY named.place"
);

/// Returns the statement that reads days of campaigns in sums over accounts, with replies and conversions up to an age.
fn sums(age_days: usize) -> String {
    let (replied, converted) = (within_age("replied", age_days), within_age("converted", age_days));
    format!(
        "SELECT h.campaign_id, h.day, delivered, failed_messages(h), bounced_messages(h), contacted,
            coalesce({replied}, 0)::int8, coalesce({converted}, 0)::int8
        FROM unnest($2::int4[]) AS c (campaign_id)
        JOIN history h ON h.workspace_id = $1 AND h.campaign_id = c.campaign_id AND h.account_id = all_accounts()
            AND h.day BETWEEN $3 AND $4
        ORDER BY h.campaign_id, h.day"
    )
}

impl Store {
    /// Reads campaigns of a workspace with their history up to an age, in the order of their names in the request.
    pub async fn campaigns_compared(
        &self,
        workspace: &WorkspaceId,
        ids: &[CampaignId],
        age_days: u8,
    ) -> Result<(Timestamp, Vec<ComparedCampaign>)> {
        in_txn!(self, "campaigns_compared", Kind::BulkRead, |txn, attempt| {
            let now = self.clock.now();
            let workspace_id = workspace_in_txn(&txn, workspace).await?.unwrap_or_default();
            let names: Vec<&str> = ids.iter().map(CampaignId::as_str).collect();
            let statement = txn.prepare_cached(COMPARED).await?;
            let rows = txn.query(&statement, &[&workspace_id, &names]).await?;
            let found = rows.iter().zip(ids).map(|(row, id)| found(row, workspace, id));
            let found = found.collect::<Result<Vec<(i32, ComparedCampaign)>>>()?;
            let numbers: Vec<i32> = found.iter().map(|(number, _)| *number).collect();
            let serving: Vec<Vec<i32>> = rows.iter().map(|row| row.get("accounts")).collect();
            let today = local_day(&TimeZone::UTC, now);
            let window = (today.saturating_sub((COMPARED_DAYS - 1).days()), today.saturating_add(1.day()));
            let (mut days, accounts) = try_join!(
                sums_in_txn(&txn, workspace_id, &numbers, window, age_days.into()),
                accounts_in_txn(&txn, workspace_id, &serving)
            )?;
            let compared = found.into_iter().zip(accounts).map(|((number, campaign), accounts)| ComparedCampaign {
                accounts,
                days: days.remove(&number).unwrap_or_default(),
                ..campaign
            });
            Ok((now, compared.collect()))
        })
    }
}

/// Reads the number of a campaign, and the campaign without its accounts and days.
fn found(row: &Row, workspace: &WorkspaceId, id: &CampaignId) -> Result<(i32, ComparedCampaign)> {
    let name = CampaignName { workspace: workspace.clone(), campaign: id.clone() };
    let Some(number) = row.get("campaign_id") else { return Err(Error::NotFound(name.to_string())) };
    let campaign = ComparedCampaign {
        name,
        state: campaign_state(row.get("state"))?,
        steps: Step::new(row.get::<_, i16>("steps").into()).ok_or_else(|| broken("steps out of range"))?,
        lead_counts: counts_from_row(row, 0).0,
        accounts: Vec::new(),
        days: Vec::new(),
    };
    Ok((number, campaign))
}

/// Reads the names of the accounts of each campaign, in ascending order. Campaigns share accounts, so each is looked up once.
async fn accounts_in_txn(
    txn: &Transaction<'_>,
    workspace_id: i32,
    serving: &[Vec<i32>],
) -> Result<Vec<Vec<AccountId>>> {
    let all: BTreeSet<i32> = serving.iter().flatten().copied().collect();
    let sql = "SELECT account_id, name FROM accounts WHERE workspace_id = $1 AND account_id = ANY ($2) ORDER BY name";
    let statement = txn.prepare_cached(sql).await?;
    let rows = txn.query(&statement, &[&workspace_id, &all.into_iter().collect::<Vec<i32>>()]).await?;
    let mut accounts = vec![Vec::new(); serving.len()];
    let serving: Vec<BTreeSet<i32>> = serving.iter().map(|numbers| numbers.iter().copied().collect()).collect();
    for row in &rows {
        let (number, name): (i32, AccountId) = (row.get(0), row.get::<_, &str>(1).parse()?);
        let served = accounts.iter_mut().zip(&serving).filter(|(_, serving)| serving.contains(&number));
        served.for_each(|(accounts, _)| accounts.push(name.clone()));
    }
    Ok(accounts)
}

/// Reads the days of campaigns in a window, summed over accounts, with replies and conversions up to an age.
async fn sums_in_txn(
    txn: &Transaction<'_>,
    workspace_id: i32,
    campaigns: &[i32],
    (first, last): (Date, Date),
    age_days: usize,
) -> Result<BTreeMap<i32, Vec<ComparedDay>>> {
    let statement = txn.prepare_cached(&sums(age_days)).await?;
    let mut days: BTreeMap<i32, Vec<ComparedDay>> = BTreeMap::new();
    for row in txn.query(&statement, &[&workspace_id, &campaigns, &first, &last]).await? {
        days.entry(row.get(0)).or_default().push(ComparedDay {
            day: row.get(1),
            delivered: row.get(2),
            failed: row.get(3),
            bounced: row.get(4),
            contacted: row.get(5),
            replied: row.get(6),
            converted: row.get(7),
        });
    }
    Ok(days)
}
