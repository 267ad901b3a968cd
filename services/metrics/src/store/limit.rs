//! The use of daily limits, by local day: what claims reserved, and what was reported without a claim.
//!
//! Claims change their row under the row locks of account and campaign, so that no limit is exceeded. Reports hold no such
//! lock and have a row of their own, at epoch -1. `docs/decisions/0008-epochs-for-hot-rows.md` explains epochs.

use campaign_metrics::schedule::local_day;
use deadpool_postgres::Transaction;
use jiff::{Timestamp, civil::Date, tz::TimeZone};
use tokio_postgres::{Row, types::ToSql};

use super::row::CampaignKey;
use crate::error::Result;

/// Average number of changes after which a row advances to its next epoch: about as many versions as share a page.
const CHANGES_PER_EPOCH: u32 = 64;

/// The owner of a daily limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum LimitOwner {
    /// An account's.
    Account,
    /// A campaign's.
    Campaign,
}

impl LimitOwner {
    fn name(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Campaign => "campaign",
        }
    }
}

/// SQL for the sum of both rows of a day. `workspace`, `id` and `day` are expressions.
pub(super) fn reserved_sql(owner: LimitOwner, workspace: &str, id: &str, day: &str) -> String {
    let of = owner.name();
    format!(
        "coalesce((SELECT reserved FROM {of}_reservations WHERE workspace_id = {workspace} AND {of}_id = {id} AND day = {day}
            AND epoch = -1), 0)
        + coalesce((SELECT reserved FROM {of}_reservations WHERE workspace_id = {workspace} AND {of}_id = {id} AND day = {day}
            AND epoch >= 0 ORDER BY epoch DESC LIMIT 1), 0)"
    )
}

/// Adds to the reservations of claims of a day; a negative count gives back. The caller has locked the account or campaign.
pub(super) async fn reservation_add_in_txn(
    txn: &Transaction<'_>,
    owner: LimitOwner,
    workspace_id: i32,
    id: i32,
    day: Date,
    count: i64,
) -> Result<()> {
    let of = owner.name();
    let sql = format!(
        "WITH changed AS (
            UPDATE {of}_reservations SET reserved = reserved + $4, epoch = epoch + $5
            WHERE workspace_id = $1 AND {of}_id = $2 AND day = $3 AND epoch = (
                SELECT epoch FROM {of}_reservations WHERE workspace_id = $1 AND {of}_id = $2 AND day = $3 AND epoch >= 0
                ORDER BY epoch DESC LIMIT 1
            )
            RETURNING epoch
        )
        INSERT INTO {of}_reservations (workspace_id, {of}_id, day, epoch, reserved)
        SELECT $1, $2, $3, 0, $4 WHERE NOT EXISTS (SELECT FROM changed)"
    );
    let statement = txn.prepare_cached(&sql).await?;
    let epoch_step = i32::from(rand::random_ratio(1, CHANGES_PER_EPOCH));
    txn.execute(&statement, &[&workspace_id, &id, &day, &count, &epoch_step]).await?;
    Ok(())
}

/// A message that takes a share of the limits of two days.
#[derive(Debug, Clone, Copy)]
pub(super) struct Share {
    pub(super) campaign: CampaignKey,
    pub(super) lead_no: i32,
    pub(super) step: i16,
    /// Its account and the day there; `None` where none is known.
    pub(super) account: Option<(i32, Date)>,
    /// The day of the campaign.
    pub(super) campaign_day: Option<Date>,
}

/// Whether an earlier claim keeps the share of a message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Kept {
    pub(super) of_account: bool,
    pub(super) of_campaign: bool,
}

/// Whether retried claims of these campaigns keep shares of any day.
pub(super) async fn keeps_shares_in_txn(txn: &Transaction<'_>, campaigns: &[CampaignKey]) -> Result<bool> {
    let sql = "SELECT EXISTS (SELECT FROM unnest($1::int4[], $2::int4[]) AS key (workspace_id, campaign_id)
        WHERE EXISTS (SELECT FROM kept_reservations k
            WHERE k.workspace_id = key.workspace_id AND k.campaign_id = key.campaign_id))";
    let (workspaces, numbers): (Vec<i32>, Vec<i32>) = campaigns.iter().copied().unzip();
    let statement = txn.prepare_cached(sql).await?;
    Ok(txn.query_one(&statement, &[&workspaces, &numbers]).await?.get(0))
}

/// Tells of each share whether an earlier claim, which was retried, keeps it. The caller has locked the campaigns.
pub(super) async fn shares_kept_in_txn(txn: &Transaction<'_>, shares: &[Share]) -> Result<Vec<Kept>> {
    let mut campaigns: Vec<CampaignKey> = shares.iter().map(|share| share.campaign).collect();
    campaigns.sort_unstable();
    campaigns.dedup();
    if !keeps_shares_in_txn(txn, &campaigns).await? {
        return Ok(vec![Kept::default(); shares.len()]);
    }
    let sql = "SELECT k.of_account, k.of_campaign
        FROM unnest($1::int4[], $2::int4[], $3::int4[], $4::int2[], $5::int4[], $6::date[], $7::date[]) WITH ORDINALITY
            AS m (workspace_id, campaign_id, lead_no, step, account_id, account_day, campaign_day, place)
        CROSS JOIN LATERAL reservation_kept(m.workspace_id, m.campaign_id, m.lead_no, m.step::int4, m.account_id, m.account_day,
            m.campaign_day) k
        ORDER BY m.place";
    let (workspaces, numbers): (Vec<i32>, Vec<i32>) = shares.iter().map(|share| share.campaign).unzip();
    let leads: Vec<i32> = shares.iter().map(|share| share.lead_no).collect();
    let steps: Vec<i16> = shares.iter().map(|share| share.step).collect();
    let accounts: Vec<Option<i32>> = shares.iter().map(|share| share.account.map(|(id, _)| id)).collect();
    let account_days: Vec<Option<Date>> = shares.iter().map(|share| share.account.map(|(_, day)| day)).collect();
    let campaign_days: Vec<Option<Date>> = shares.iter().map(|share| share.campaign_day).collect();
    let statement = txn.prepare_cached(sql).await?;
    let params: &[&(dyn ToSql + Sync)] =
        &[&workspaces, &numbers, &leads, &steps, &accounts, &account_days, &campaign_days];
    let kept = |row: &Row| Kept { of_account: row.get(0), of_campaign: row.get(1) };
    Ok(txn.query(&statement, params).await?.iter().map(kept).collect())
}

/// Adds messages that were reported without a claim. `days` are workspace, account or campaign, day and count, sorted.
pub(super) async fn reported_add_in_txn(
    txn: &Transaction<'_>,
    owner: LimitOwner,
    days: &[(i32, i32, Date, i64)],
) -> Result<()> {
    if days.is_empty() {
        return Ok(());
    }
    let of = owner.name();
    let sql = format!(
        "INSERT INTO {of}_reservations AS r (workspace_id, {of}_id, day, epoch, reserved)
        SELECT workspace_id, id, day, -1, reserved
        FROM unnest($1::int4[], $2::int4[], $3::date[], $4::int8[]) AS new (workspace_id, id, day, reserved)
        ORDER BY workspace_id, id, day
        ON CONFLICT (workspace_id, {of}_id, day, epoch) DO UPDATE SET reserved = r.reserved + excluded.reserved"
    );
    let workspaces: Vec<i32> = days.iter().map(|day| day.0).collect();
    let ids: Vec<i32> = days.iter().map(|day| day.1).collect();
    let dates: Vec<Date> = days.iter().map(|day| day.2).collect();
    let counts: Vec<i64> = days.iter().map(|day| day.3).collect();
    let statement = txn.prepare_cached(&sql).await?;
    txn.execute(&statement, &[&workspaces, &ids, &dates, &counts]).await?;
    Ok(())
}

/// Lets the reservations of the present local day count on when the zone changes: they, and those of open claims that may be given
/// back, move to the present day of the new zone. Otherwise a change of zone would give a second limit on the same day. The
/// caller has locked the account or campaign.
pub(super) async fn zone_change_in_txn(
    txn: &Transaction<'_>,
    owner: LimitOwner,
    (workspace_id, id): (i32, i32),
    (from, to): (&TimeZone, &TimeZone),
    now: Timestamp,
) -> Result<()> {
    let (old, new) = (local_day(from, now), local_day(to, now));
    if old == new {
        return Ok(());
    }
    let of = owner.name();
    // Spelled as in the indexes of `claims`.
    let claims = format!(
        "UPDATE claims SET {of}_day = $4
        WHERE (workspace_id::int8 << 32) + {of}_id = ($1::int4::int8 << 32) + $2::int4 AND {of}_day = $3"
    );
    txn.execute(&claims, &[&workspace_id, &id, &old, &new]).await?;
    let (account_day, campaign_day) = match owner {
        LimitOwner::Account => ("$4", "campaign_day"),
        LimitOwner::Campaign => ("account_day", "$4"),
    };
    let kept = format!(
        "WITH moved AS (
            DELETE FROM kept_reservations WHERE workspace_id = $1 AND {of}_id = $2 AND {of}_day = $3
            RETURNING campaign_id, lead_no, step, account_id, account_day, campaign_day
        )
        INSERT INTO kept_reservations (workspace_id, campaign_id, lead_no, step, account_id, account_day, campaign_day)
        SELECT $1, campaign_id, lead_no, step, account_id, {account_day}::date, {campaign_day}::date FROM moved
        ON CONFLICT DO NOTHING"
    );
    txn.execute(&kept, &[&workspace_id, &id, &old, &new]).await?;
    let taken = format!(
        "DELETE FROM {of}_reservations WHERE workspace_id = $1 AND {of}_id = $2 AND day = $3 RETURNING epoch >= 0, reserved"
    );
    for row in txn.query(&taken, &[&workspace_id, &id, &old]).await? {
        let reserved: i64 = row.get(1);
        if row.get(0) {
            reservation_add_in_txn(txn, owner, workspace_id, id, new, reserved).await?;
        } else {
            reported_add_in_txn(txn, owner, &[(workspace_id, id, new, reserved)]).await?;
        }
    }
    Ok(())
}

/// Returns the reservations of the present local day. `by_day` has those of the three days from `first` on.
pub(super) fn reserved_today(by_day: &[i64], first: Date, zone: &TimeZone, now: Timestamp) -> i64 {
    let day = local_day(zone, now).since(first).map_or(0, |span| span.get_days());
    usize::try_from(day).ok().and_then(|day| by_day.get(day)).copied().unwrap_or(0)
}
