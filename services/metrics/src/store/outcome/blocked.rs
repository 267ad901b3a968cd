//! How long reports wait for locks, and which of them would have to wait.

use std::time::Duration;

use campaign_metrics::{name::WorkspaceId, sending::Outcome};
use deadpool_postgres::Transaction;

use super::{Report, lead_numbers_in_txn};
use crate::{
    error::{Error, Result},
    store::{
        row::{CampaignKey, element_index},
        sqlstate::is_lock_unavailable,
        transaction::{Kind, Store, in_txn, lock_timeout_in_txn},
    },
};

/// How long a transaction of reports waits for locks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockWait {
    /// Briefly: it has reports of many callers. It fails with an error that [`is_blocked`].
    Short,
    /// Until the statement times out.
    Long,
}

/// Longest short wait for the row of a campaign. Only rare changes lock it against reports.
const CAMPAIGN_WAIT: Duration = Duration::from_millis(50);
/// Longest short wait for the other rows. Batches of both lanes and of all replicas wait for each other's counters, some
/// 20 ms, and longer on a slow disk.
const ROWS_WAIT: Duration = Duration::from_millis(500);

impl LockWait {
    /// Bounds the wait for campaigns.
    pub(super) fn campaigns_in_txn(self, txn: &Transaction<'_>) -> Result<()> {
        self.bound(txn, CAMPAIGN_WAIT)
    }

    /// Bounds the wait for all that is locked after the campaigns.
    pub(super) fn rows_in_txn(self, txn: &Transaction<'_>) -> Result<()> {
        self.bound(txn, ROWS_WAIT)
    }

    fn bound(self, txn: &Transaction<'_>, wait: Duration) -> Result<()> {
        match self {
            Self::Short => lock_timeout_in_txn(txn, wait),
            Self::Long => Ok(()),
        }
    }

    /// Marks an error that a short wait caused, so that the transaction is not run again as it is.
    pub(super) fn mark(self, error: Error) -> Error {
        match error {
            Error::Internal(source) if self == Self::Short && is_lock_unavailable(&*source) => {
                Error::Internal(Box::new(Blocked))
            }
            error => error,
        }
    }
}

/// Whether reports failed only because a lock was held for longer than a short wait.
pub fn is_blocked(error: &Error) -> bool {
    matches!(error, Error::Internal(source) if source.is::<Blocked>())
}

#[derive(Debug, thiserror::Error)]
#[error("a row that the reports need is locked")]
struct Blocked;

impl Store {
    /// Finds the reports that would wait for a lock now. Returns for each the index of an outcome that would.
    pub async fn outcomes_blocked(&self, reports: &[Report]) -> Result<Vec<Option<usize>>> {
        let outcomes: Vec<(&WorkspaceId, &Outcome)> = reports
            .iter()
            .flat_map(|report| report.outcomes.iter().map(|outcome| (&report.workspace, outcome)))
            .collect();
        let places: Result<Vec<usize>> = in_txn!(self, "outcomes_blocked", Kind::Lane, |txn, attempt| {
            let (numbered, _) = lead_numbers_in_txn(&txn, &outcomes).await?;
            blocked_in_txn(&txn, &numbered).await
        });
        let mut is_blocked = vec![false; outcomes.len()];
        for place in places? {
            is_blocked[place] = true;
        }
        let mut rest = is_blocked.as_slice();
        let first = |report: &Report| {
            let (own, others) = rest.split_at(report.outcomes.len());
            rest = others;
            own.iter().position(|is_blocked| *is_blocked)
        };
        Ok(reports.iter().map(first).collect())
    }
}

/// Returns the indexes of leads that are locked, or whose campaign or its counters are.
async fn blocked_in_txn(txn: &Transaction<'_>, numbered: &[Option<(CampaignKey, i32)>]) -> Result<Vec<usize>> {
    // What is not locked is found twice, what is locked only by the look-up without a lock.
    let sql = "SELECT e.place
        FROM unnest($1::int4[], $2::int4[], $3::int4[]) WITH ORDINALITY AS e (workspace_id, campaign_id, lead_no, place)
        CROSS JOIN LATERAL (
            SELECT FROM leads l
            WHERE l.workspace_id = e.workspace_id AND l.campaign_id = e.campaign_id AND l.lead_no = e.lead_no LIMIT 1
        ) l
        LEFT JOIN LATERAL (
            SELECT true AS is_free FROM campaigns c
            WHERE c.workspace_id = e.workspace_id AND c.campaign_id = e.campaign_id FOR KEY SHARE SKIP LOCKED
        ) c ON true
        LEFT JOIN LATERAL (
            SELECT true AS is_free FROM campaign_counters k
            WHERE k.workspace_id = e.workspace_id AND k.campaign_id = e.campaign_id FOR UPDATE SKIP LOCKED
        ) k ON true
        LEFT JOIN LATERAL (
            SELECT true AS is_free FROM leads n
            WHERE n.workspace_id = e.workspace_id AND n.campaign_id = e.campaign_id AND n.lead_no = e.lead_no
            FOR NO KEY UPDATE SKIP LOCKED
        ) n ON true
        WHERE c.is_free IS NULL OR k.is_free IS NULL OR n.is_free IS NULL";
    let (mut indexes, mut workspaces, mut campaigns, mut leads) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (index, number) in numbered.iter().enumerate() {
        if let Some(((workspace_id, campaign_id), lead_no)) = number {
            indexes.push(index);
            workspaces.push(*workspace_id);
            campaigns.push(*campaign_id);
            leads.push(*lead_no);
        }
    }
    let statement = txn.prepare_cached(sql).await?;
    let rows = txn.query(&statement, &[&workspaces, &campaigns, &leads]).await?;
    Ok(rows.iter().map(|row| indexes[element_index(row)]).collect())
}
