//! Recounts campaigns and account days from facts, and repairs what differs.
//!
//! A campaign is recounted in one snapshot of its leads, claims and counters. A repair is one transaction; it locks the
//! campaign, so that no count changes meanwhile. Account days are recounted from the log and from `account_days_closed`.

use campaign_metrics::name::{CampaignName, WorkspaceId};
use deadpool_postgres::Transaction;
use jiff::Timestamp;
use tokio_postgres::{Row, types::ToSql};

use super::days::{ADD_TO_DAY, MAINTENANCE_LOCK};
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
    /// Messages of a workspace's accounts by UTC day.
    Accounts(i32, WorkspaceId),
}

/// A number that differs from its recount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Resource name of its owner, followed by the day if it is the number of a day.
    pub of: String,
    /// Name of its column.
    pub number: String,
    /// Stored value.
    pub stored: i64,
    /// Value by the facts.
    pub recounted: i64,
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

const ACCOUNT_DAYS: &str = "
    SELECT a.account_id, a.name, day::text, coalesce(s.delivered, 0), coalesce(s.failed, 0), coalesce(s.bounced, 0),
        coalesce(r.delivered, 0)::int8, coalesce(r.failed, 0)::int8, coalesce(r.bounced, 0)::int8
    FROM (SELECT account_id, day, delivered, failed, bounced FROM account_days WHERE workspace_id = $1) s
    FULL JOIN (
        SELECT account_id, day, sum(delivered) AS delivered, sum(failed) AS failed, sum(bounced) AS bounced
        FROM (
            SELECT account_id, day, delivered, failed, bounced FROM account_days_of_log($1, NULL, NULL)
            UNION ALL
            SELECT account_id, day, delivered, failed, bounced FROM account_days_closed WHERE workspace_id = $1
        ) n GROUP BY account_id, day
    ) r USING (account_id, day)
    JOIN accounts a ON a.workspace_id = $1 AND a.account_id = coalesce(s.account_id, r.account_id)
    ORDER BY a.name, day";

/// Columns of `account_days`.
const DAY_COLUMNS: [&str; 3] = ["delivered", "failed", "bounced"];

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
                recounted.push(Recounted::Accounts(row.get(0), row.get::<_, &str>(1).parse()?));
            }
            Ok(recounted)
        })
    }

    /// Recounts one campaign, or the accounts of one workspace. Returns what differed.
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
            Recounted::Accounts(workspace_id, name) => {
                let days: Result<Vec<DayDifferences>> =
                    in_txn!(self, "verify", Kind::Read, |txn, attempt| accounts_recount_in_txn(
                        &txn,
                        *workspace_id,
                        name
                    )
                    .await);
                let mut days = days?;
                if !days.is_empty() && mode == VerifyMode::Repair {
                    days = self.accounts_repair(*workspace_id, name).await?;
                }
                Ok(days.into_iter().flat_map(|day| day.differences).collect())
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
            Ok(differences)
        })
    }

    /// Recounts again while no other repair runs and no part of the log is dropped. Adds each difference instead of setting
    /// the number, so that concurrent reports are not lost.
    async fn accounts_repair(&self, workspace_id: i32, name: &WorkspaceId) -> Result<Vec<DayDifferences>> {
        let add = format!(
            "INSERT INTO account_days AS a (workspace_id, account_id, day, delivered, failed, bounced)
            VALUES ($1, $2, $3::text::date, $4, $5, $6) {ADD_TO_DAY}"
        );
        in_txn!(self, "accounts_repair", Kind::Write, |txn, attempt| {
            txn.execute(MAINTENANCE_LOCK, &[]).await?;
            let days = accounts_recount_in_txn(&txn, workspace_id, name).await?;
            for day in &days {
                let missing = DAY_COLUMNS.map(|column| {
                    let differs = day.differences.iter().find(|difference| difference.number == column);
                    differs.map_or(0, |difference| difference.recounted - difference.stored)
                });
                let [delivered, failed, bounced] = missing;
                let params: &[&(dyn ToSql + Sync)] =
                    &[&workspace_id, &day.account_id, &day.day, &delivered, &failed, &bounced];
                txn.execute(&add, params).await?;
            }
            Ok(days)
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
    Ok(differences(&name.to_string(), numbers.chain(claims)))
}

/// The differences of a day of an account.
struct DayDifferences {
    account_id: i32,
    day: String,
    differences: Vec<Difference>,
}

async fn accounts_recount_in_txn(
    txn: &Transaction<'_>,
    workspace_id: i32,
    name: &WorkspaceId,
) -> Result<Vec<DayDifferences>> {
    whole_tables_in_txn(txn).await?;
    let rows = txn.query(ACCOUNT_DAYS, &[&workspace_id]).await?;
    let day_differences = |row: &Row| {
        let (account, day): (&str, &str) = (row.get(1), row.get(2));
        let numbers =
            DAY_COLUMNS.iter().enumerate().map(|(index, column)| (*column, row.get(index + 3), row.get(index + 6)));
        DayDifferences {
            account_id: row.get(0),
            day: day.to_owned(),
            differences: differences(&format!("workspaces/{name}/accounts/{account} on {day}"), numbers),
        }
    };
    Ok(rows.iter().map(day_differences).filter(|day| !day.differences.is_empty()).collect())
}

fn differences<'a>(of: &str, numbers: impl Iterator<Item = (&'a str, i64, i64)>) -> Vec<Difference> {
    numbers
        .filter(|(_, stored, recounted)| stored != recounted)
        .map(|(number, stored, recounted)| Difference {
            of: of.to_owned(),
            number: number.to_owned(),
            stored,
            recounted,
        })
        .collect()
}
