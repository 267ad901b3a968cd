//! Recounts campaigns and history from facts, and repairs what differs.
//!
//! A campaign is recounted in one snapshot of its leads, claims and counters. A repair is one transaction; it locks the
//! campaign, so that no count changes meanwhile. `history.rs` recounts the history of a workspace.

use campaign_metrics::name::{CampaignName, WorkspaceId};
use deadpool_postgres::Transaction;
use jiff::Timestamp;

use super::{
    difference::{Difference, differences},
    history::{HistoryDifferences, history_recount_in_txn, history_repair_in_txn},
};
use crate::{
    error::Result,
    store::{
        campaign::{counters::counters_lock_in_txn, finish::campaigns_finish_in_txn},
        row::CampaignKey,
        transaction::{Kind, Store, in_txn, whole_tables_in_txn},
    },
};

/// What to do about differences.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VerifyMode {
    /// Report them.
    Report,
    /// Report and repair them.
    Repair,
}

/// What can be recounted.
#[derive(Debug, Clone)]
pub enum Recounted {
    /// Counters and claims of a campaign.
    Campaign(CampaignKey, CampaignName),
    /// History of a workspace by campaign, account and UTC day.
    History(i32, WorkspaceId),
}

/// Columns of `campaign_counters` in the order of [`RECOUNT`].
const COLUMNS: [&str; 21] = [
    "total",
    "pending",
    "partial",
    "sent",
    "failed",
    "delivered_messages",
    "failed_messages",
    "bounced_messages",
    "account_issue",
    "invalid_lead",
    "rate_limited",
    "content_rejected",
    "other_reason",
    "contacted",
    "replied",
    "converted",
    "contacted_replied",
    "contacted_converted",
    "auto_replied",
    "opted_out",
    "conversion_value_micros",
];

const RECOUNT: &str = "
    SELECT count(*), count(*) FILTER (WHERE status = status_pending()), count(*) FILTER (WHERE status = status_partial()),
        count(*) FILTER (WHERE status = status_sent()), count(*) FILTER (WHERE status = status_failed()),
        coalesce(sum(m.delivered), 0)::int8, coalesce(sum(m.failed), 0)::int8, coalesce(sum(m.bounced), 0)::int8,
        coalesce(sum(m.account_issue), 0)::int8, coalesce(sum(m.invalid_lead), 0)::int8, coalesce(sum(m.rate_limited), 0)::int8,
        coalesce(sum(m.content_rejected), 0)::int8, coalesce(sum(m.other_reason), 0)::int8,
        count(*) FILTER (WHERE contacted), count(*) FILTER (WHERE has_fact(mask, replied_bit())),
        count(*) FILTER (WHERE has_fact(mask, converted_bit())),
        count(*) FILTER (WHERE contacted AND has_fact(mask, replied_bit())),
        count(*) FILTER (WHERE contacted AND has_fact(mask, converted_bit())),
        count(*) FILTER (WHERE has_fact(mask, auto_replied_bit())), count(*) FILTER (WHERE has_fact(mask, opted_out_bit())),
        (SELECT coalesce(sum(value_micros), 0)::int8 FROM conversion_values WHERE workspace_id = $1 AND campaign_id = $2)
    FROM (
        SELECT mask, failed_reasons, bounced_reasons, lead_status(mask, $3) AS status, is_contacted(mask) AS contacted
        FROM leads WHERE workspace_id = $1 AND campaign_id = $2
    ) l
    CROSS JOIN LATERAL (
        SELECT count(*) FILTER (WHERE result = result_delivered()) AS delivered,
            count(*) FILTER (WHERE result = result_failed()) AS failed,
            count(*) FILTER (WHERE result = result_bounced()) AS bounced,
            count(*) FILTER (WHERE reason = reason_account_issue()) AS account_issue,
            count(*) FILTER (WHERE reason = reason_invalid_lead()) AS invalid_lead,
            count(*) FILTER (WHERE reason = reason_rate_limited()) AS rate_limited,
            count(*) FILTER (WHERE reason = reason_content_rejected()) AS content_rejected,
            count(*) FILTER (WHERE reason = reason_other()) AS other_reason
        FROM (
            SELECT result, CASE result WHEN result_failed() THEN step_reason(l.failed_reasons, step_bit)
                WHEN result_bounced() THEN step_reason(l.bounced_reasons, step_bit) END AS reason
            FROM (SELECT step_bit, step_result(l.mask, step_bit) AS result FROM generate_series(0, $3 - 1) AS step_bit) s
        ) r
    ) m";

/// Follows `SELECT` and [`COLUMNS`].
const STORED: &str = ", (SELECT granted FROM campaign_claims g WHERE g.workspace_id = $1 AND g.campaign_id = $2
        ORDER BY epoch DESC LIMIT 1) - k.closed_claims AS open_claims,
        (SELECT coalesce(sum(bit_count(claim_open(c)::bit(64))), 0)::int8 FROM claims c
            WHERE c.workspace_id = $1 AND c.campaign_id = $2) AS counted_claims
    FROM campaign_counters k WHERE workspace_id = $1 AND campaign_id = $2 ORDER BY epoch DESC LIMIT 1";

/// Leads by account and status: stored, then recounted.
const ACCOUNT_LEADS: &str = "
    SELECT n.account_id, a.name, n.pending, n.partial, n.sent, n.failed, n.counted_pending, n.counted_partial,
        n.counted_sent, n.counted_failed
    FROM (
        SELECT account_id, coalesce(s.pending, 0) AS pending, coalesce(s.partial, 0) AS partial, coalesce(s.sent, 0) AS sent,
            coalesce(s.failed, 0) AS failed, coalesce(r.pending, 0) AS counted_pending,
            coalesce(r.partial, 0) AS counted_partial, coalesce(r.sent, 0) AS counted_sent,
            coalesce(r.failed, 0) AS counted_failed
        FROM (
            SELECT account_id, pending, partial, sent, failed FROM account_leads WHERE workspace_id = $1 AND campaign_id = $2
        ) s
        FULL JOIN (
            SELECT coalesce(account_id, 0) AS account_id, count(*) FILTER (WHERE status = status_pending()) AS pending,
                count(*) FILTER (WHERE status = status_partial()) AS partial,
                count(*) FILTER (WHERE status = status_sent()) AS sent,
                count(*) FILTER (WHERE status = status_failed()) AS failed
            FROM (
                SELECT account_id, lead_status(mask, $3) AS status FROM leads WHERE workspace_id = $1 AND campaign_id = $2
            ) l GROUP BY 1
        ) r USING (account_id)
    ) n
    LEFT JOIN accounts a ON a.workspace_id = $1 AND a.account_id = n.account_id
    ORDER BY a.name";

/// Counts the leads of each account anew. The campaign is locked.
const ACCOUNT_LEADS_REPAIR: [&str; 2] = [
    "UPDATE account_leads SET pending = 0, partial = 0, sent = 0, failed = 0 WHERE workspace_id = $1 AND campaign_id = $2",
    "SELECT account_leads_count($1, $2, account_id, status, leads) FROM (
        SELECT l.account_id, lead_status(l.mask, c.steps) AS status, count(*) AS leads
        FROM leads l JOIN campaigns c USING (workspace_id, campaign_id)
        WHERE l.workspace_id = $1 AND l.campaign_id = $2 GROUP BY 1, 2
    ) l",
];

/// Counts of `account_leads`, in the order of [`ACCOUNT_LEADS`].
const LEAD_COLUMNS: [&str; 4] = ["pending", "partial", "sent", "failed"];

impl Store {
    /// Lists all that can be recounted.
    pub async fn verify_list(&self) -> Result<Vec<Recounted>> {
        in_txn!(self, "verify_list", Kind::Read, |txn, attempt| {
            let campaigns = "SELECT c.workspace_id, c.campaign_id, w.name, c.name FROM campaigns c
                JOIN workspaces w USING (workspace_id) ORDER BY 1, 2";
            let workspaces = "SELECT workspace_id, name FROM workspaces ORDER BY 1";
            let mut recounted = Vec::new();
            for row in txn.query(campaigns, &[]).await? {
                let name = CampaignName {
                    workspace: row.get::<_, &str>(2).parse()?,
                    campaign: row.get::<_, &str>(3).parse()?,
                };
                recounted.push(Recounted::Campaign((row.get(0), row.get(1)), name));
            }
            for row in txn.query(workspaces, &[]).await? {
                recounted.push(Recounted::History(row.get(0), row.get::<_, &str>(1).parse()?));
            }
            Ok(recounted)
        })
    }

    /// Recounts one campaign, or the history of one workspace. Returns what differed.
    pub async fn verify(&self, what: &Recounted, mode: VerifyMode) -> Result<Vec<Difference>> {
        match what {
            Recounted::Campaign(key, name) => {
                let differences: Result<Vec<Difference>> =
                    in_txn!(self, "verify", Kind::Read, |txn, attempt| campaign_recount_in_txn(&txn, *key, name).await);
                let differences = differences?;
                if differences.is_empty() || mode == VerifyMode::Report {
                    return Ok(differences);
                }
                self.campaign_repair(*key, name).await
            }
            Recounted::History(workspace_id, name) => {
                let rows: Result<Vec<HistoryDifferences>> = in_txn!(self, "verify", Kind::Read, |txn, attempt| {
                    history_recount_in_txn(&txn, *workspace_id, name).await
                });
                let mut rows = rows?;
                if !rows.is_empty() && mode == VerifyMode::Repair {
                    let repaired: Result<Vec<HistoryDifferences>> =
                        in_txn!(self, "history_repair", Kind::Write, |txn, attempt| {
                            history_repair_in_txn(&txn, *workspace_id, name).await
                        });
                    rows = repaired?;
                }
                Ok(rows.into_iter().flat_map(|row| row.differences).collect())
            }
        }
    }

    async fn campaign_repair(&self, key: CampaignKey, name: &CampaignName) -> Result<Vec<Difference>> {
        in_txn!(self, "campaign_repair", Kind::Write, |txn, attempt| {
            let now = self.clock.now();
            let (workspace_id, campaign_id) = key;
            // Blocks claims, outcomes and everything else that counts, until the commit.
            let lock = "SELECT FROM campaigns WHERE workspace_id = $1 AND campaign_id = $2 FOR UPDATE";
            txn.execute(lock, &[&workspace_id, &campaign_id]).await?;
            counters_lock_in_txn(&txn, key).await?;
            let differences = campaign_recount_in_txn(&txn, key, name).await?;
            let changes: Vec<String> = differences
                .iter()
                .filter(|difference| difference.of == name.to_string())
                .map(|difference| match difference.number.as_str() {
                    // Open claims are those granted, less those closed. The rows of claims give the right number.
                    "open_claims" => {
                        format!("closed_claims = closed_claims + {}", difference.stored - difference.recounted)
                    }
                    column => format!("{column} = {}", difference.recounted),
                })
                .collect();
            if !changes.is_empty() {
                let repair = format!(
                    "UPDATE campaign_counters SET {}, version = version + 1 WHERE workspace_id = $1 AND campaign_id = $2",
                    changes.join(", ")
                );
                txn.execute(&repair, &[&workspace_id, &campaign_id]).await?;
                campaigns_finish_in_txn(&txn, workspace_id, &[campaign_id], now).await?;
            }
            if differences.iter().any(|difference| difference.of != name.to_string()) {
                for sql in ACCOUNT_LEADS_REPAIR {
                    txn.execute(sql, &[&workspace_id, &campaign_id]).await?;
                }
            }
            Ok(differences)
        })
    }

    /// Records the result of a run for the metrics.
    pub async fn verification_note(&self, differences: i64, mode: VerifyMode) -> Result<()> {
        let insert =
            "INSERT INTO verifications (verified_at, differences, repaired) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
        in_txn!(self, "verification_note", Kind::Write, |txn, attempt| {
            txn.execute(insert, &[&self.clock.now(), &differences, &(mode == VerifyMode::Repair)]).await?;
            Ok(())
        })
    }
}

/// The latest run of `verify`.
#[derive(Debug, Clone, Copy)]
pub struct Verification {
    /// When it ran.
    pub at: Timestamp,
    /// Differences that it found and did not repair.
    pub differences: i64,
}

/// Reads the latest run, if there was one.
pub(in crate::store) async fn verification_in_txn(txn: &Transaction<'_>) -> Result<Option<Verification>> {
    let sql = "SELECT verified_at, CASE WHEN repaired THEN 0 ELSE differences END FROM verifications
        ORDER BY verified_at DESC LIMIT 1";
    let row = txn.query_opt(sql, &[]).await?;
    Ok(row.map(|row| Verification { at: row.get(0), differences: row.get(1) }))
}

async fn campaign_recount_in_txn(
    txn: &Transaction<'_>,
    (workspace_id, campaign_id): CampaignKey,
    name: &CampaignName,
) -> Result<Vec<Difference>> {
    // A recount of ten million leads takes long.
    whole_tables_in_txn(txn).await?;
    let steps = "SELECT steps::int4 FROM campaigns WHERE workspace_id = $1 AND campaign_id = $2";
    let Some(steps) = txn.query_opt(steps, &[&workspace_id, &campaign_id]).await? else {
        // The campaign was deleted meanwhile.
        return Ok(Vec::new());
    };
    let steps: i32 = steps.get(0);
    let stored = format!("SELECT {} {STORED}", COLUMNS.join(", "));
    let stored = txn.query_one(&stored, &[&workspace_id, &campaign_id]).await?;
    let recounted = txn.query_one(RECOUNT, &[&workspace_id, &campaign_id, &steps]).await?;
    let numbers =
        COLUMNS.iter().enumerate().map(|(index, column)| (*column, stored.get(*column), recounted.get(index)));
    let claims = [("open_claims", stored.get("open_claims"), stored.get("counted_claims"))];
    let mut found = differences(&name.to_string(), numbers.chain(claims));
    for row in txn.query(ACCOUNT_LEADS, &[&workspace_id, &campaign_id, &steps]).await? {
        let account: Option<&str> = row.get(1);
        let of = format!("{name}, leads of {}", account.unwrap_or("no account"));
        let numbers =
            LEAD_COLUMNS.iter().enumerate().map(|(index, column)| (*column, row.get(index + 2), row.get(index + 6)));
        found.extend(differences(&of, numbers));
    }
    Ok(found)
}
