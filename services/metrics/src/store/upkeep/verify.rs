//! Recounts campaigns and history from facts, and repairs what differs.
//!
//! A recount is one statement, so it sees one snapshot of facts and counts. Every transaction changes both, so a difference
//! stays the same while others work. A repair adds it to what is stored by then, and holds no lock while it recounts.
//! `history.rs` recounts the history of a workspace, `totals.rs` the totals of its accounts.

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
        campaign::{
            counters::{AccountLeads, account_leads_change_in_txn, counters_lock_in_txn},
            finish::{Emptied, campaigns_finish_in_txn},
        },
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
    /// History of a workspace by campaign, account and UTC day, and the totals of its accounts.
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
        (SELECT least(coalesce(sum(value_micros), 0), 9223372036854775807)::int8 FROM conversion_values WHERE workspace_id = $1 AND campaign_id = $2)
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

/// Counts of `account_leads`, in the order of [`ACCOUNT_LEADS`] and of the numbers of the statuses, from 1.
const LEAD_COLUMNS: [&str; 4] = ["pending", "partial", "sent", "failed"];

/// Serializes the repairs of a campaign: two that found the same difference would both add it.
const REPAIR_LOCK: &str = "SELECT pg_advisory_xact_lock(hashtext('campaign-metrics repair'), $1)";

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
                let differences: Result<CampaignDifferences> =
                    in_txn!(self, "verify", Kind::Read, |txn, attempt| campaign_recount_in_txn(&txn, *key, name).await);
                let mut differences = differences?;
                if !differences.is_empty() && mode == VerifyMode::Repair {
                    differences = self.campaign_repair(*key, name).await?;
                }
                Ok(differences.into_all())
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
                let mut differences: Vec<Difference> = rows.into_iter().flat_map(|row| row.differences).collect();
                differences.extend(self.totals_verify(*workspace_id, name, mode).await?);
                Ok(differences)
            }
        }
    }

    async fn campaign_repair(&self, key: CampaignKey, name: &CampaignName) -> Result<CampaignDifferences> {
        in_txn!(self, "campaign_repair", Kind::Write, |txn, attempt| {
            let now = self.clock.now();
            let (workspace_id, campaign_id) = key;
            txn.execute(REPAIR_LOCK, &[&campaign_id]).await?;
            let differences = campaign_recount_in_txn(&txn, key, name).await?;
            // From here to the commit others wait: a few statements by key.
            let lock = "SELECT FROM campaigns WHERE workspace_id = $1 AND campaign_id = $2 FOR NO KEY UPDATE";
            txn.execute(lock, &[&workspace_id, &campaign_id]).await?;
            counters_lock_in_txn(&txn, key).await?;
            let changes: Vec<String> = differences
                .counters
                .iter()
                .map(|difference| match difference.number.as_str() {
                    // Open claims are those granted, less those closed. The rows of claims give the right number.
                    "open_claims" => {
                        format!("closed_claims = closed_claims + {}", difference.stored - difference.recounted)
                    }
                    column => format!("{column} = {column} + {}", difference.recounted - difference.stored),
                })
                .collect();
            if !changes.is_empty() {
                let repair = format!(
                    "UPDATE campaign_counters SET {}, version = version + 1 WHERE workspace_id = $1 AND campaign_id = $2",
                    changes.join(", ")
                );
                txn.execute(&repair, &[&workspace_id, &campaign_id]).await?;
                campaigns_finish_in_txn(&txn, workspace_id, &[campaign_id], Emptied::StaysOpen, now).await?;
            }
            let mut leads = AccountLeads::new();
            for (account_id, differences) in &differences.accounts {
                for difference in differences {
                    let status = (1..).zip(LEAD_COLUMNS).find(|(_, column)| *column == difference.number);
                    let status = status.map_or(0, |(status, _)| status);
                    leads.insert((campaign_id, *account_id, status), difference.recounted - difference.stored);
                }
            }
            account_leads_change_in_txn(&txn, workspace_id, &leads).await?;
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

/// What differs of a campaign.
#[derive(Default)]
struct CampaignDifferences {
    /// Its counters and open claims.
    counters: Vec<Difference>,
    /// The leads of its accounts, by the number of the account; 0 is none.
    accounts: Vec<(i32, Vec<Difference>)>,
}

impl CampaignDifferences {
    fn is_empty(&self) -> bool {
        self.counters.is_empty() && self.accounts.is_empty()
    }

    fn into_all(self) -> Vec<Difference> {
        self.counters.into_iter().chain(self.accounts.into_iter().flat_map(|(_, differences)| differences)).collect()
    }
}

/// Recounts a campaign. Each statement is a recount of its own: it compares what is stored with the facts of one snapshot.
async fn campaign_recount_in_txn(
    txn: &Transaction<'_>,
    (workspace_id, campaign_id): CampaignKey,
    name: &CampaignName,
) -> Result<CampaignDifferences> {
    // A recount of ten million leads takes long.
    whole_tables_in_txn(txn).await?;
    let steps = "SELECT steps::int4 FROM campaigns WHERE workspace_id = $1 AND campaign_id = $2";
    let Some(steps) = txn.query_opt(steps, &[&workspace_id, &campaign_id]).await? else {
        // The campaign was deleted meanwhile.
        return Ok(CampaignDifferences::default());
    };
    let steps: i32 = steps.get(0);
    let counters = format!("SELECT * FROM (SELECT {} {STORED}) s CROSS JOIN ({RECOUNT}) r", COLUMNS.join(", "));
    let Some(row) = txn.query_opt(&counters, &[&workspace_id, &campaign_id, &steps]).await? else {
        return Ok(CampaignDifferences::default());
    };
    // The recount follows the stored columns and the two numbers of claims.
    let recounted = COLUMNS.len() + 2;
    let numbers =
        COLUMNS.iter().enumerate().map(|(index, column)| (*column, row.get(index), row.get(recounted + index)));
    let claims = [("open_claims", row.get("open_claims"), row.get("counted_claims"))];
    let mut found =
        CampaignDifferences { counters: differences(&name.to_string(), numbers.chain(claims)), accounts: Vec::new() };
    for row in txn.query(ACCOUNT_LEADS, &[&workspace_id, &campaign_id, &steps]).await? {
        let account: Option<&str> = row.get(1);
        let of = format!("{name}, leads of {}", account.unwrap_or("no account"));
        let numbers =
            LEAD_COLUMNS.iter().enumerate().map(|(index, column)| (*column, row.get(index + 2), row.get(index + 6)));
        let differences = differences(&of, numbers);
        if !differences.is_empty() {
            found.accounts.push((row.get(0), differences));
        }
    }
    Ok(found)
}
