//! Reads all leads or outcomes of a campaign as of one moment, in portions, each in a short transaction of its own.
//!
//! At the start one transaction reads the counts, the number of the next lead, and which transactions have committed. Each
//! portion then reads what there is by now, and removes what came later:
//! * Leads that were added later have higher numbers.
//! * A row of `leads` whose `xmin` had committed at the start has not changed since. Of other leads, the facts whose log rows
//!   were not committed at the start are removed.
//! * A log row whose `xmin` had not committed at the start came later. Nothing but its insertion sets that `xmin`, with two
//!   exceptions: forgetting a lead (which is left out), and moving rows to a new partition (which ends the export).
//!
//! Decision 17 has the reasons.

use std::collections::HashMap;

use campaign_metrics::{
    campaign::LeadCounts,
    lead::{Fact, Facts, FailureReason, Lead, LeadOutcome, Reasons, Step},
    name::{AccountName, CampaignName, LeadName},
};
use deadpool_postgres::Transaction;
use jiff::{SignedDuration, Timestamp};
use tokio_postgres::{Row, types::ToSql};

use super::snapshot::{Snapshot, Xid};
use crate::{
    error::{Error, Result},
    store::{
        row::{CampaignKey, broken, campaign_find_in_txn},
        transaction::{Kind, Store, in_txn},
    },
};

/// Numbers of leads of a portion: a message of some 200 kB, at most 1.5 MB, read in some 10 ms.
const LEADS_PORTION: i32 = 2000;
/// Leads whose outcomes make a portion. A lead has at most 52 outcomes of at most some 1.3 kB each.
const OUTCOMES_PORTION: i32 = 500;
/// A log row that was received this long before the start had committed at the start: transactions last seconds, and the
/// clocks of replicas agree within seconds. Its `xmin` is not asked, which may be too old to be understood.
const SETTLED: SignedDuration = SignedDuration::from_hours(1);

/// An export that has started.
#[derive(Debug)]
pub struct Export {
    /// The moment that it shows.
    pub as_of: Timestamp,
    /// The leads of the campaign at that moment.
    pub counts: LeadCounts,
    campaign: CampaignName,
    key: CampaignKey,
    steps: Step,
    snapshot: Snapshot,
    /// Partitions of the log.
    partitions: Vec<u32>,
    /// The lead after which the next portion begins.
    after: i32,
    /// The last lead.
    last: i32,
    /// Names of the accounts that occurred, by number.
    accounts: HashMap<i32, AccountName>,
}

/// A fact of a lead in the log.
struct Logged {
    fact: Fact,
    at: Timestamp,
    is_later: bool,
}

impl Export {
    /// The next portion of so many leads, as a range of lead numbers: after the first, up to the second.
    fn range(&self, leads: i32) -> (i32, i32) {
        (self.after, self.after.saturating_add(leads).min(self.last))
    }

    fn is_later(&self, received: Timestamp, xmin: Xid) -> bool {
        received.duration_since(self.as_of) > -SETTLED && !self.snapshot.saw(xmin)
    }

    fn lead_name(&self, id: &str) -> Result<LeadName> {
        Ok(LeadName { campaign: self.campaign.clone(), lead: id.parse()? })
    }

    /// Checks that the campaign and the partitions of the log are those of the start. Partitions that were made may hold
    /// rows that were moved to them, and dropped ones would be missing.
    async fn check_in_txn(&self, txn: &Transaction<'_>) -> Result<()> {
        let sql = "SELECT EXISTS (SELECT FROM campaigns WHERE workspace_id = $1 AND campaign_id = $2),
            ARRAY(SELECT inhrelid FROM pg_inherits WHERE inhparent = 'outcomes'::regclass ORDER BY inhrelid)";
        let statement = txn.prepare_cached(sql).await?;
        let row = txn.query_one(&statement, &[&self.key.0, &self.key.1]).await?;
        let message = match (row.get::<_, bool>(0), row.get::<_, Vec<u32>>(1) == self.partitions) {
            (true, true) => return Ok(()),
            (false, _) => format!("{} was deleted during the export", self.campaign),
            (true, false) => {
                "a part of the log of outcomes was added or dropped during the export; export again".into()
            }
        };
        Err(Error::Stale { reason: "EXPORT_OUTDATED", message })
    }

    /// Reads the names of accounts that did not occur so far.
    async fn accounts_in_txn(
        &self,
        txn: &Transaction<'_>,
        ids: impl Iterator<Item = i32>,
    ) -> Result<Vec<(i32, AccountName)>> {
        let mut unknown: Vec<i32> = ids.filter(|id| !self.accounts.contains_key(id)).collect();
        unknown.sort_unstable();
        unknown.dedup();
        if unknown.is_empty() {
            return Ok(Vec::new());
        }
        let sql = "SELECT account_id, name FROM accounts WHERE workspace_id = $1 AND account_id = ANY ($2)";
        let statement = txn.prepare_cached(sql).await?;
        let rows = txn.query(&statement, &[&self.key.0, &unknown]).await?;
        let workspace = &self.campaign.workspace;
        let name = |row: &Row| {
            let account = row.get::<_, &str>(1).parse()?;
            Ok((row.get(0), AccountName { workspace: workspace.clone(), account }))
        };
        rows.iter().map(name).collect()
    }

    /// Reads the log of leads, in order of arrival.
    async fn logged_in_txn(&self, txn: &Transaction<'_>, leads: &[i32]) -> Result<HashMap<i32, Vec<Logged>>> {
        let mut logged: HashMap<i32, Vec<Logged>> = HashMap::new();
        if leads.is_empty() {
            return Ok(logged);
        }
        let sql = "SELECT o.lead_no, o.bit, o.happened_at, o.received_at, o.xid FROM unnest($3::int4[]) AS l (lead_no)
            CROSS JOIN LATERAL (
                SELECT o.lead_no, o.bit, o.happened_at, o.received_at, o.xmin AS xid FROM outcomes o
                WHERE o.workspace_id = $1 AND o.campaign_id = $2 AND o.lead_no = l.lead_no OFFSET 0
            ) o";
        let statement = txn.prepare_cached(sql).await?;
        for row in txn.query(&statement, &[&self.key.0, &self.key.1, &leads]).await? {
            let entry =
                Logged { fact: fact(row.get(1))?, at: row.get(2), is_later: self.is_later(row.get(3), row.get(4)) };
            logged.entry(row.get(0)).or_default().push(entry);
        }
        Ok(logged)
    }
}

/// Removes from a lead what came later. The reasons can stay: they show only for steps that failed or bounced.
fn undo(lead: &mut Lead, logged: &[Logged]) {
    if !logged.iter().any(|entry| entry.is_later) {
        return;
    }
    for entry in logged.iter().filter(|entry| entry.is_later) {
        lead.facts = lead.facts.without(entry.fact);
    }
    lead.last_action_time = logged.iter().filter(|entry| !entry.is_later).map(|entry| entry.at).max();
}

fn fact(bit: i16) -> Result<Fact> {
    u8::try_from(bit).ok().and_then(Fact::from_bit).ok_or_else(|| broken(format!("fact bit {bit}")))
}

/// Reads the ids of a range of leads, by number. A forgotten lead has none.
async fn ids_in_txn(txn: &Transaction<'_>, range: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>> {
    let sql = "SELECT lead_no, lead_id FROM lead_ids
        WHERE workspace_id = $1 AND campaign_id = $2 AND lead_no > $3 AND lead_no <= $4 ORDER BY lead_no";
    let statement = txn.prepare_cached(sql).await?;
    Ok(txn.query(&statement, range).await?)
}

impl Store {
    /// Starts an export: its moment is now.
    pub async fn export_start(&self, campaign: &CampaignName) -> Result<Export> {
        let sql = "SELECT n.steps, k.sent, k.failed, k.pending, k.partial, k.next_lead_no - 1,
                pg_current_snapshot()::text,
                ARRAY(SELECT inhrelid FROM pg_inherits WHERE inhparent = 'outcomes'::regclass ORDER BY inhrelid)
            FROM campaigns n JOIN campaign_counters k USING (workspace_id, campaign_id)
            WHERE n.workspace_id = $1 AND n.campaign_id = $2 ORDER BY k.epoch DESC LIMIT 1";
        in_txn!(self, "export_start", Kind::BulkRead, |txn, attempt| {
            let key = campaign_find_in_txn(&txn, campaign).await?;
            let row = txn.query_one(sql, &[&key.0, &key.1]).await?;
            let snapshot: &str = row.get(6);
            Ok(Export {
                as_of: self.clock.now(),
                counts: LeadCounts { sent: row.get(1), failed: row.get(2), pending: row.get(3), partial: row.get(4) },
                campaign: campaign.clone(),
                key,
                steps: Step::new(row.get::<_, i16>(0).into()).ok_or_else(|| broken("steps out of range"))?,
                snapshot: Snapshot::parse(snapshot).ok_or_else(|| broken(format!("snapshot {snapshot}")))?,
                partitions: row.get(7),
                after: 0,
                last: row.get(5),
                accounts: HashMap::new(),
            })
        })
    }

    /// Reads the next portion of the leads of an export, by number; `None` after the last one.
    pub async fn export_leads(&self, export: &mut Export) -> Result<Option<Vec<Lead>>> {
        let sql = "SELECT lead_no, mask, failed_reasons, bounced_reasons, last_action_at, account_id, xmin FROM leads
            WHERE workspace_id = $1 AND campaign_id = $2 AND lead_no > $3 AND lead_no <= $4 ORDER BY lead_no";
        let (after, until) = export.range(LEADS_PORTION);
        let of: &Export = export;
        let (leads, names) = in_txn!(self, "export_leads", Kind::BulkRead, |txn, attempt| {
            of.check_in_txn(&txn).await?;
            let range: &[&(dyn ToSql + Sync)] = &[&of.key.0, &of.key.1, &after, &until];
            let statement = txn.prepare_cached(sql).await?;
            let (rows, ids) = futures::try_join!(
                async { Ok::<_, Error>(txn.query(&statement, range).await?) },
                ids_in_txn(&txn, range)
            )?;
            let names = of.accounts_in_txn(&txn, rows.iter().filter_map(|row| row.get(5))).await?;
            let changed: Vec<i32> =
                rows.iter().filter(|row| !of.snapshot.saw(row.get(6))).map(|row| row.get(0)).collect();
            let logged = of.logged_in_txn(&txn, &changed).await?;
            let account = |id: i32| {
                of.accounts.get(&id).or_else(|| names.iter().find(|(known, _)| *known == id).map(|(_, name)| name))
            };
            let mut ids = ids.iter().peekable();
            let mut leads = Vec::with_capacity(rows.len());
            for row in &rows {
                let number: i32 = row.get(0);
                while ids.next_if(|id| id.get::<_, i32>(0) < number).is_some() {}
                // A forgotten lead has no id.
                let Some(id) = ids.next_if(|id| id.get::<_, i32>(0) == number) else { continue };
                let mut lead = Lead {
                    name: of.lead_name(id.get(1))?,
                    account: row.get::<_, Option<i32>>(5).and_then(account).cloned(),
                    steps: of.steps,
                    facts: Facts(row.get(1)),
                    reasons: Reasons { failed: row.get(2), bounced: row.get(3) },
                    last_action_time: row.get(4),
                    due_time: None,
                    claim_state: None,
                };
                undo(&mut lead, logged.get(&number).map_or(&[], Vec::as_slice));
                leads.push(lead);
            }
            Ok((leads, names))
        })?;
        export.accounts.extend(names);
        export.after = until;
        Ok((after < until).then_some(leads))
    }

    /// Reads the next portion of the outcomes of an export, by lead, then in order of arrival; `None` after the last one.
    pub async fn export_outcomes(&self, export: &mut Export) -> Result<Option<Vec<LeadOutcome>>> {
        let sql = "SELECT lead_no, bit, reason, detail, happened_at, received_at, account_id, xmin FROM outcomes
            WHERE workspace_id = $1 AND campaign_id = $2 AND lead_no > $3 AND lead_no <= $4
            ORDER BY lead_no, received_at, batch_ordinal, bit";
        let values = "SELECT lead_no, value_micros FROM conversion_values
            WHERE workspace_id = $1 AND campaign_id = $2 AND lead_no > $3 AND lead_no <= $4";
        let (after, until) = export.range(OUTCOMES_PORTION);
        let of: &Export = export;
        let (outcomes, names) = in_txn!(self, "export_outcomes", Kind::BulkRead, |txn, attempt| {
            of.check_in_txn(&txn).await?;
            let range: &[&(dyn ToSql + Sync)] = &[&of.key.0, &of.key.1, &after, &until];
            let (statement, values) = futures::try_join!(txn.prepare_cached(sql), txn.prepare_cached(values))?;
            let rows = txn.query(&statement, range).await?;
            let values = txn.query(&values, range).await?;
            let values: HashMap<i32, i64> = values.iter().map(|row| (row.get(0), row.get(1))).collect();
            let ids = ids_in_txn(&txn, range).await?;
            let ids: HashMap<i32, &str> = ids.iter().map(|row| (row.get(0), row.get(1))).collect();
            let names = of.accounts_in_txn(&txn, rows.iter().filter_map(|row| row.get(6))).await?;
            let account = |id: i32| {
                of.accounts.get(&id).or_else(|| names.iter().find(|(known, _)| *known == id).map(|(_, name)| name))
            };
            let mut outcomes = Vec::with_capacity(rows.len());
            for row in rows.iter().filter(|row| !of.is_later(row.get(5), row.get(7))) {
                let number: i32 = row.get(0);
                let Some(id) = ids.get(&number) else { continue };
                let fact = fact(row.get(1))?;
                outcomes.push(LeadOutcome {
                    lead: of.lead_name(id)?,
                    fact,
                    reason: row.get::<_, Option<i16>>(2).and_then(|reason| FailureReason::from_number(reason.into())),
                    detail: row.get::<_, Option<String>>(3).unwrap_or_default(),
                    time: row.get(4),
                    receive_time: row.get(5),
                    account: row.get::<_, Option<i32>>(6).and_then(account).cloned(),
                    value_micros: values.get(&number).copied().filter(|_| fact == Fact::Converted),
                });
            }
            Ok((outcomes, names))
        })?;
        export.accounts.extend(names);
        export.after = until;
        Ok((after < until).then_some(outcomes))
    }
}
