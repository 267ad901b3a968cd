//! Which accounts serve a campaign, and what becomes of the leads of those that leave.
//!
//! An account that left gets no more claims from the commit on. Its leads without a delivery and without an open claim are
//! freed for any account, in portions: by number, then the steps that are listed for it. The first portion belongs to the
//! transaction that removes the account, `upkeep/freeing.rs` goes on. Every portion leaves counts and lists right, and
//! `campaign_accounts` says where the next one begins.

use campaign_metrics::name::{AccountId, AccountName, CampaignName};
use deadpool_postgres::Transaction;
use tokio_postgres::types::ToSql;

use super::counters::{AccountLeads, account_leads_change_in_txn, counters_lock_in_txn};
use crate::{
    error::{Error, Result},
    store::row::{ANY_ACCOUNT, CampaignKey},
};

/// Leads, or listed steps, that one transaction looks at: some tenths of a second, in which the campaign grants no claims.
const PORTION: i32 = 10_000;

/// Whether leads of accounts that left remain to be freed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum Freeing {
    Done,
    GoesOn,
}

/// Makes `accounts` the ones that serve the campaign, and frees the first leads of those that no longer do.
pub(super) async fn accounts_write_in_txn(
    txn: &Transaction<'_>,
    campaign: CampaignKey,
    name: &CampaignName,
    accounts: &[AccountId],
) -> Result<()> {
    let (workspace_id, campaign_id) = campaign;
    let names: Vec<&str> = accounts.iter().map(AccountId::as_str).collect();
    let select = "SELECT account_id, name FROM accounts WHERE workspace_id = $1 AND name = ANY ($2) ORDER BY account_id FOR KEY SHARE";
    let rows = txn.query(select, &[&workspace_id, &names]).await?;
    if let Some(missing) = accounts.iter().find(|id| rows.iter().all(|row| row.get::<_, &str>(1) != id.as_str())) {
        let account = AccountName { workspace: name.workspace.clone(), account: missing.clone() };
        return Err(Error::Precondition {
            reason: "ACCOUNT_NOT_FOUND",
            message: format!("campaign.accounts: {account} does not exist; create it first"),
            about: vec![("resource", account.to_string())],
        });
    }
    let ids: Vec<i32> = rows.iter().map(|row| row.get(0)).collect();
    // An account that returns keeps the leads that were not freed yet.
    let insert =
        "INSERT INTO campaign_accounts (workspace_id, campaign_id, account_id) SELECT $1, $2, unnest($3::int4[])
        ON CONFLICT (workspace_id, campaign_id, account_id)
            DO UPDATE SET removed = false, free_lead = NULL, free_due = NULL WHERE campaign_accounts.removed";
    txn.execute(insert, &[&workspace_id, &campaign_id, &ids]).await?;
    let lock = "SELECT FROM campaign_accounts
        WHERE workspace_id = $1 AND campaign_id = $2 AND NOT removed AND account_id <> ALL ($3)
        ORDER BY account_id FOR NO KEY UPDATE";
    let remove = "UPDATE campaign_accounts SET removed = true, free_lead = 1, free_due = NULL
        WHERE workspace_id = $1 AND campaign_id = $2 AND NOT removed AND account_id <> ALL ($3)";
    // Waits for AddLeads that assigns leads to them.
    txn.execute(lock, &[&workspace_id, &campaign_id, &ids]).await?;
    if txn.execute(remove, &[&workspace_id, &campaign_id, &ids]).await? > 0 {
        leads_free_in_txn(txn, campaign).await?;
    }
    Ok(())
}

/// Keeps those of some accounts that exist.
pub(super) async fn accounts_retain_in_txn(
    txn: &Transaction<'_>,
    workspace_id: i32,
    accounts: &mut Vec<AccountId>,
) -> Result<()> {
    let names: Vec<&str> = accounts.iter().map(AccountId::as_str).collect();
    let select = "SELECT name FROM accounts WHERE workspace_id = $1 AND name = ANY ($2)";
    let rows = txn.query(select, &[&workspace_id, &names]).await?;
    accounts.retain(|id| rows.iter().any(|row| row.get::<_, &str>(0) == id.as_str()));
    Ok(())
}

/// Frees a portion of the leads of accounts that left. The caller has locked the campaign.
pub(in crate::store) async fn leads_free_in_txn(txn: &Transaction<'_>, campaign: CampaignKey) -> Result<Freeing> {
    let keys: [&(dyn ToSql + Sync); 2] = [&campaign.0, &campaign.1];
    let left = "SELECT account_id, CASE WHEN free_due IS NULL THEN free_lead END FROM campaign_accounts
        WHERE workspace_id = $1 AND campaign_id = $2 AND removed AND free_lead IS NOT NULL
        ORDER BY account_id FOR NO KEY UPDATE";
    let rows = txn.query(left, &keys).await?;
    // By account the first lead that was not looked at; `None` once all were, and the listed steps come next.
    let left: Vec<(i32, Option<i32>)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let mut listed: Vec<i32> = left.iter().filter(|(_, lead)| lead.is_none()).map(|(account, _)| *account).collect();
    let mut room = PORTION;
    if let Some(from) = left.iter().filter_map(|(_, lead)| *lead).min() {
        // Those that left together are looked at together, because a portion reads all leads with its numbers.
        let accounts: Vec<i32> =
            left.iter().filter(|(_, lead)| *lead == Some(from)).map(|(account, _)| *account).collect();
        let next = "SELECT next_lead_no FROM campaign_counters WHERE workspace_id = $1 AND campaign_id = $2";
        let end: i32 = txn.query_one(next, &keys).await?.get(0);
        let to = from.saturating_add(PORTION).min(end);
        leads_unassign_in_txn(txn, campaign, &accounts, from..to).await?;
        segments_unassign_in_txn(txn, campaign, &accounts, to).await?;
        let is_end = to == end;
        let place =
            "UPDATE campaign_accounts SET free_lead = $4, free_due = CASE WHEN $5 THEN '-infinity'::timestamptz END
            WHERE workspace_id = $1 AND campaign_id = $2 AND account_id = ANY ($3)";
        txn.execute(place, &[&campaign.0, &campaign.1, &accounts, &to, &is_end]).await?;
        if is_end {
            listed.extend(accounts);
        }
        room -= to - from;
    }
    for account in listed {
        if room > 0 {
            room -= returns_unassign_in_txn(txn, campaign, account, room).await?;
        }
    }
    let rest = "SELECT EXISTS (SELECT FROM campaign_accounts
        WHERE workspace_id = $1 AND campaign_id = $2 AND removed AND free_lead IS NOT NULL)";
    Ok(if txn.query_one(rest, &keys).await?.get(0) { Freeing::GoesOn } else { Freeing::Done })
}

/// Frees the leads of these accounts with these numbers that have no delivery and no open claim.
async fn leads_unassign_in_txn(
    txn: &Transaction<'_>,
    (workspace_id, campaign_id): CampaignKey,
    accounts: &[i32],
    numbers: std::ops::Range<i32>,
) -> Result<()> {
    // LIMIT makes each look-up a probe by key: a join could read the whole table for each row.
    let free = "WITH old AS MATERIALIZED (
            SELECT l.workspace_id, l.campaign_id, l.lead_no, l.account_id,
                lead_status(l.mask, (SELECT steps::int4 FROM campaigns WHERE workspace_id = $1 AND campaign_id = $2))
                    AS status
            FROM leads l
            WHERE l.workspace_id = $1 AND l.campaign_id = $2 AND l.lead_no >= $3 AND l.lead_no < $4
                AND l.account_id = ANY ($5) AND NOT has_delivery(l.mask)
                AND (SELECT 1 FROM claims c WHERE c.workspace_id = $1 AND c.campaign_id = $2
                    AND c.block = lead_block(l.lead_no) AND has_lead(c.claimed, l.lead_no)
                    AND NOT has_result(l.mask, c.step - 1) LIMIT 1) IS NULL
            ORDER BY l.lead_no FOR NO KEY UPDATE
        ), freed AS (
            UPDATE leads l SET account_id = NULL FROM old o
            WHERE l.workspace_id = o.workspace_id AND l.campaign_id = o.campaign_id AND l.lead_no = o.lead_no
            RETURNING o.account_id, o.status
        ) SELECT account_id, status, count(*) FROM freed GROUP BY 1, 2";
    let mut freed = AccountLeads::new();
    for row in txn.query(free, &[&workspace_id, &campaign_id, &numbers.start, &numbers.end, &accounts]).await? {
        let (account_id, status, leads): (i32, i32, i64) = (row.get(0), row.get(1), row.get(2));
        *freed.entry((campaign_id, account_id, status)).or_default() -= leads;
        *freed.entry((campaign_id, ANY_ACCOUNT, status)).or_default() += leads;
    }
    if freed.is_empty() {
        return Ok(());
    }
    // The lock order: leads of accounts come after the counters, which a declaration of the lead list locks later.
    counters_lock_in_txn(txn, (workspace_id, campaign_id)).await?;
    account_leads_change_in_txn(txn, workspace_id, &freed).await
}

/// Offers leads of these accounts that were never claimed, with numbers below `to`, to any account.
async fn segments_unassign_in_txn(
    txn: &Transaction<'_>,
    (workspace_id, campaign_id): CampaignKey,
    accounts: &[i32],
    to: i32,
) -> Result<()> {
    let statements = [
        // A segment that goes on after `to` is divided there.
        "INSERT INTO segments (workspace_id, campaign_id, account_id, lo, hi)
            SELECT workspace_id, campaign_id, any_account(), lo, $4 FROM segments
            WHERE workspace_id = $1 AND campaign_id = $2 AND account_id = ANY ($3) AND lo < $4 AND hi > $4",
        "UPDATE segments SET lo = $4
            WHERE workspace_id = $1 AND campaign_id = $2 AND account_id = ANY ($3) AND lo < $4 AND hi > $4",
        "UPDATE segments SET account_id = any_account()
            WHERE workspace_id = $1 AND campaign_id = $2 AND account_id = ANY ($3) AND hi <= $4",
    ];
    for statement in statements {
        txn.execute(statement, &[&workspace_id, &campaign_id, &accounts, &to]).await?;
    }
    Ok(())
}

/// Offers first steps that are listed for the account, and whose leads were freed, to any account: looks at up to `most` rows.
/// After the last one removes the account, unless leads or claims still wait for it. Returns how many rows it looked at.
async fn returns_unassign_in_txn(
    txn: &Transaction<'_>,
    (workspace_id, campaign_id): CampaignKey,
    account_id: i32,
    most: i32,
) -> Result<i32> {
    let free = "WITH listed AS MATERIALIZED (
            SELECT r.workspace_id, r.campaign_id, r.account_id, r.due_at, r.lead_no, r.step FROM (
                SELECT free_due, free_lead FROM campaign_accounts
                WHERE workspace_id = $1 AND campaign_id = $2 AND account_id = $3
            ) s
            CROSS JOIN LATERAL (
                SELECT workspace_id, campaign_id, account_id, due_at, lead_no, step FROM returns
                WHERE workspace_id = $1 AND campaign_id = $2 AND account_id = $3
                    AND (due_at, lead_no) > (s.free_due, s.free_lead)
                ORDER BY due_at, lead_no, step LIMIT $4
            ) r
        ), gone AS (
            -- Compares columns of `listed` only, so that no plan starts with all rows of the campaign.
            DELETE FROM returns r USING listed d
            WHERE r.workspace_id = d.workspace_id AND r.campaign_id = d.campaign_id AND r.account_id = d.account_id
                AND r.due_at = d.due_at AND r.lead_no = d.lead_no AND r.step = d.step AND d.step = 1
                AND (SELECT l.account_id FROM leads l WHERE l.workspace_id = $1 AND l.campaign_id = $2
                    AND l.lead_no = d.lead_no LIMIT 1) IS DISTINCT FROM $3
            RETURNING r.workspace_id, r.campaign_id, r.due_at, r.lead_no, r.step
        ), freed AS (
            INSERT INTO returns (workspace_id, campaign_id, account_id, due_at, lead_no, step)
            SELECT workspace_id, campaign_id, any_account(), due_at, lead_no, step FROM gone ON CONFLICT DO NOTHING
        ), place AS (
            UPDATE campaign_accounts s SET free_due = d.due_at, free_lead = d.lead_no
            FROM (SELECT due_at, lead_no FROM listed ORDER BY due_at DESC, lead_no DESC LIMIT 1) d
            WHERE s.workspace_id = $1 AND s.campaign_id = $2 AND s.account_id = $3
        )
        SELECT count(*)::int4 FROM listed";
    let keys: [&(dyn ToSql + Sync); 3] = [&workspace_id, &campaign_id, &account_id];
    let looked_at: i32 = txn.query_one(free, &[keys[0], keys[1], keys[2], &i64::from(most)]).await?.get(0);
    if looked_at < most {
        let is_needed = "SELECT EXISTS (SELECT FROM account_leads WHERE workspace_id = $1 AND campaign_id = $2
                AND account_id = $3 AND pending + partial + sent + failed > 0)
            OR EXISTS (SELECT FROM returns WHERE workspace_id = $1 AND campaign_id = $2 AND account_id = $3)
            OR EXISTS (SELECT FROM claims c
                WHERE (workspace_id::int8 << 32) + account_id = ($1::int4::int8 << 32) + $3::int4
                    AND campaign_id = $2 AND claim_open(c) <> 0)";
        let end = if txn.query_one(is_needed, &keys).await?.get(0) {
            "UPDATE campaign_accounts SET free_lead = NULL, free_due = NULL
                WHERE workspace_id = $1 AND campaign_id = $2 AND account_id = $3"
        } else {
            "DELETE FROM campaign_accounts WHERE workspace_id = $1 AND campaign_id = $2 AND account_id = $3"
        };
        txn.execute(end, &keys).await?;
    }
    Ok(looked_at)
}
