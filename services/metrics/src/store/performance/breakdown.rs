//! Breaks a campaign down by account, and sums up a workspace.

use std::collections::HashMap;

use campaign_metrics::{
    account::AccountState,
    campaign::{CampaignState, LeadCounts},
    history::{CampaignAccount, HistoryCounts, WorkspaceTotals},
    name::{CampaignName, WorkspaceId},
    schedule::{local_day, parse_time_zone},
};
use deadpool_postgres::Transaction;
use futures::try_join;
use jiff::{Timestamp, ToSpan as _, tz::TimeZone};
use tokio_postgres::Row;

use crate::{
    error::Result,
    store::{
        campaign::row::{counts, counts_from_row},
        history::{history_columns, history_from_row},
        limit::reserved_today,
        row::{ANY_ACCOUNT, CampaignKey, account_state, campaign_find_in_txn, campaign_state, workspace_in_txn},
        transaction::{Kind, Store, in_txn},
    },
};

/// Accounts that serve the campaign, or have leads or messages of it. `$5` is the first of the three dates that are today in some zone.
const ACCOUNTS: &str = "
    SELECT a.account_id, a.name, a.state, a.daily_limit, a.time_zone, coalesce(NOT s.removed, false) AS serving,
        coalesce(l.sent, 0), coalesce(l.failed, 0), coalesce(l.pending, 0), coalesce(l.partial, 0),
        ARRAY(
            SELECT (SELECT coalesce(sum(r.reserved), 0)::int8 FROM account_reservations r
                WHERE r.workspace_id = $1 AND r.account_id = a.account_id AND r.day = $5::date + i)
            FROM generate_series(0, 2) AS i ORDER BY i
        ) AS reserved
    FROM (
        SELECT account_id FROM campaign_accounts WHERE workspace_id = $1 AND campaign_id = $2
        UNION
        SELECT account_id FROM account_leads WHERE workspace_id = $1 AND campaign_id = $2 AND account_id <> 0
    ) k
    JOIN accounts a ON a.workspace_id = $1 AND a.account_id = k.account_id
    LEFT JOIN campaign_accounts s ON s.workspace_id = $1 AND s.campaign_id = $2 AND s.account_id = k.account_id
    LEFT JOIN account_leads l ON l.workspace_id = $1 AND l.campaign_id = $2 AND l.account_id = k.account_id
    WHERE ($3::text IS NULL OR a.name > $3) AND (
        NOT s.removed OR l.pending + l.partial + l.sent + l.failed > 0
        OR EXISTS (SELECT FROM history h
            WHERE h.workspace_id = $1 AND h.campaign_id = $2 AND h.account_id = k.account_id AND NOT is_empty(h))
    )
    ORDER BY a.name LIMIT $4";

/// The position of `sent` in [`ACCOUNTS`].
const LEADS: usize = 6;

/// Leads without an account, then accounts that were deleted. An account without leads can be deleted, and its messages stay.
const UNASSIGNED: &str = "SELECT account_id, sent, failed, pending, partial FROM account_leads l
    WHERE workspace_id = $1 AND campaign_id = $2
        AND NOT EXISTS (SELECT FROM accounts a WHERE a.workspace_id = l.workspace_id AND a.account_id = l.account_id)
    ORDER BY account_id";

const HISTORY: &str = concat!(
    "SELECT account_id, ",
    history_columns!(),
    " FROM history WHERE workspace_id = $1 AND campaign_id = $2 AND account_id = ANY ($3)"
);

impl Store {
    /// Reads the accounts of a campaign after `after`, by id, at most `limit`. On the first page, the leads and messages
    /// without a known account come first.
    pub async fn campaign_accounts(
        &self,
        name: &CampaignName,
        after: Option<&str>,
        limit: i64,
    ) -> Result<(Timestamp, Vec<CampaignAccount>)> {
        in_txn!(self, "campaign_accounts", Kind::Read, |txn, attempt| {
            let now = self.clock.now();
            let key = campaign_find_in_txn(&txn, name).await?;
            let first_day = local_day(&TimeZone::UTC, now).saturating_sub(1.day());
            let accounts = txn.prepare_cached(ACCOUNTS).await?;
            let rows = txn.query(&accounts, &[&key.0, &key.1, &after, &limit, &first_day]).await?;
            let ids: Vec<i32> = rows.iter().map(|row| row.get(0)).collect();
            let mut messages = messages_in_txn(&txn, key, &ids).await?;
            let mut found = Vec::with_capacity(ids.len() + 1);
            if after.is_none() {
                found.extend(unassigned_in_txn(&txn, key).await?);
            }
            for row in &rows {
                let time_zone = parse_time_zone(row.get(4))?;
                found.push(CampaignAccount {
                    account: Some(row.get::<_, &str>(1).parse()?),
                    is_serving: row.get("serving"),
                    is_suspended: account_state(row.get(2))? == AccountState::Suspended,
                    lead_counts: leads_from_row(row, LEADS),
                    message_counts: messages.remove(&row.get(0)).unwrap_or_default(),
                    daily_limit: row.get(3),
                    reserved_today: reserved_today(&row.get::<_, Vec<i64>>("reserved"), first_day, &time_zone, now),
                });
            }
            Ok((now, found))
        })
    }

    /// Reads the sums over the campaigns of a workspace. One that does not exist has none.
    pub async fn workspace_totals(&self, name: &WorkspaceId) -> Result<(Timestamp, WorkspaceTotals)> {
        let campaigns = concat!(
            "SELECT c.state, ",
            counts!(),
            " FROM campaigns c JOIN campaign_counters k USING (workspace_id, campaign_id) WHERE c.workspace_id = $1"
        );
        let accounts = "SELECT count(*) FILTER (WHERE state = account_active()), count(*) FILTER (WHERE state = account_suspended())
            FROM accounts WHERE workspace_id = $1";
        in_txn!(self, "workspace_totals", Kind::Read, |txn, attempt| {
            let now = self.clock.now();
            let mut totals = WorkspaceTotals::default();
            let Some(workspace_id) = workspace_in_txn(&txn, name).await? else {
                return Ok((now, totals));
            };
            let (campaigns, accounts) = try_join!(txn.prepare_cached(campaigns), txn.prepare_cached(accounts))?;
            for row in txn.query(&campaigns, &[&workspace_id]).await? {
                let (leads, messages) = counts_from_row(&row, 1);
                totals.lead_counts.add(leads);
                totals.message_counts.add(messages);
                *match campaign_state(row.get(0))? {
                    CampaignState::Active => &mut totals.active_campaigns,
                    CampaignState::Paused => &mut totals.paused_campaigns,
                    CampaignState::Finished => &mut totals.finished_campaigns,
                } += 1;
            }
            let row = txn.query_one(&accounts, &[&workspace_id]).await?;
            (totals.active_accounts, totals.suspended_accounts) = (row.get(0), row.get(1));
            Ok((now, totals))
        })
    }
}

async fn unassigned_in_txn(txn: &Transaction<'_>, key: CampaignKey) -> Result<Option<CampaignAccount>> {
    let statement = txn.prepare_cached(UNASSIGNED).await?;
    let rows = txn.query(&statement, &[&key.0, &key.1]).await?;
    let mut ids = vec![ANY_ACCOUNT];
    let mut lead_counts = LeadCounts::default();
    for row in &rows {
        lead_counts.add(leads_from_row(row, 1));
        ids.push(row.get(0));
    }
    let mut message_counts = HistoryCounts::default();
    for counts in messages_in_txn(txn, key, &ids).await?.values() {
        message_counts.add(counts);
    }
    let is_empty = lead_counts == LeadCounts::default() && message_counts == HistoryCounts::default();
    Ok((!is_empty).then_some(CampaignAccount {
        account: None,
        is_serving: false,
        is_suspended: false,
        lead_counts,
        message_counts,
        daily_limit: None,
        reserved_today: 0,
    }))
}

/// Sums up the history of accounts in a campaign.
async fn messages_in_txn(
    txn: &Transaction<'_>,
    (workspace_id, campaign_id): CampaignKey,
    ids: &[i32],
) -> Result<HashMap<i32, HistoryCounts>> {
    let history = txn.prepare_cached(HISTORY).await?;
    let mut messages: HashMap<i32, HistoryCounts> = HashMap::new();
    for row in txn.query(&history, &[&workspace_id, &campaign_id, &ids]).await? {
        messages.entry(row.get(0)).or_default().add(&history_from_row(&row, 1));
    }
    Ok(messages)
}

fn leads_from_row(row: &Row, first: usize) -> LeadCounts {
    let count = |offset: usize| row.get(first + offset);
    LeadCounts { sent: count(0), failed: count(1), pending: count(2), partial: count(3) }
}
