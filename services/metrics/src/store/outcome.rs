//! Takes outcomes. The reports of many callers share one transaction; each outcome gets its own verdict.
//!
//! An outcome whose fact is known is a duplicate and changes nothing, so reports can be repeated, split and mixed at will.
//! `docs/architecture.md`, "Lock order", lists the locks.

pub(super) mod batch;
mod blocked;
pub(super) mod opt_out;
pub(super) mod telling;
mod terms;

use std::collections::HashMap;

use campaign_metrics::{
    lead::{Fact, Step},
    name::{LeadName, WorkspaceId},
    sending::{LeadRef, Outcome, Rejection, SendKey, Verdict},
};
use deadpool_postgres::Transaction;
use jiff::Timestamp;
use tokio_postgres::Row;

pub use self::blocked::{LockWait, is_blocked};
use self::{
    batch::Batch,
    opt_out::{
        Namesake, TOLD_MAX, namesakes_in_txn, namesakes_of_ids_in_txn, opt_outs_insert_in_txn, opt_outs_note,
        opt_outs_wait_in_txn,
    },
    terms::{Event, final_verdicts_in_txn, judge, terms_lock_in_txn},
};
use super::{
    row::{CampaignKey, element_index},
    transaction::{Kind, Store, in_txn, snapshot_outdated},
};
use crate::error::Result;

/// What one caller reports.
#[derive(Debug)]
pub struct Report {
    /// The workspace of its leads.
    pub workspace: WorkspaceId,
    /// What happened.
    pub outcomes: Vec<Outcome>,
}

/// Number of named leads from which on a report gets a look-up of its own. Below it, the transaction of the batch looks up the
/// named leads of all its reports.
const NAMED_MIN: usize = 50;

impl Store {
    /// Replaces the names of leads by their send keys if a report has many names. Then outcomes whose claims share a row go to
    /// the same lane.
    pub async fn outcomes_number(&self, report: &mut Report) -> Result<()> {
        let outcomes = report.outcomes.iter_mut().filter(|outcome| matches!(outcome.lead, LeadRef::Name(_)));
        let mut outcomes: Vec<&mut Outcome> = outcomes.collect();
        if outcomes.len() < NAMED_MIN {
            return Ok(());
        }
        let workspace = &report.workspace;
        let names: Vec<_> = outcomes
            .iter()
            .filter_map(|outcome| match &outcome.lead {
                LeadRef::Name(name) => Some((workspace, name)),
                LeadRef::Key(_) => None,
            })
            .collect();
        let rows: Result<Vec<Row>> =
            in_txn!(self, "outcomes_number", Kind::SenderRead, |txn, attempt| lead_keys_in_txn(&txn, &names).await);
        for row in rows? {
            let outcome = &mut *outcomes[element_index(&row)];
            outcome.lead = LeadRef::Key(SendKey {
                salt: row.get("salt"),
                campaign_number: row.get("campaign_id"),
                lead_number: row.get("lead_no"),
                step: outcome.fact.step().unwrap_or(Step::FIRST),
            });
        }
        Ok(())
    }

    /// Takes reports in one transaction. Returns a verdict for each outcome, after the commit.
    ///
    /// `lane_guard` holds the lane's queue. It is dropped before the commit, so that the lane's next transaction begins
    /// meanwhile. That one waits for the row locks of this one, so changes of a row keep their order.
    pub async fn outcomes_report(
        &self,
        reports: &[Report],
        wait: LockWait,
        lane_guard: impl Send,
    ) -> Result<Vec<Vec<Verdict>>> {
        let kind = if wait == LockWait::Short { Kind::Lane } else { Kind::Hot };
        let mut lane_guard = Some(lane_guard);
        let outcomes: Vec<(&WorkspaceId, &Outcome)> = reports
            .iter()
            .flat_map(|report| report.outcomes.iter().map(|outcome| (&report.workspace, outcome)))
            .collect();
        let verdicts: Result<Vec<Verdict>> = in_txn!(self, "outcomes_report", kind, |txn, attempt| {
            wait.campaigns_in_txn(&txn)?;
            let taken = outcomes_take_in_txn(&txn, &outcomes, self.clock.now(), attempt, wait).await;
            if taken.is_ok() {
                drop(lane_guard.take());
            }
            taken.map_err(|error| {
                let error = wait.mark(error);
                if is_blocked(&error) {
                    // Its reports run again, some of them apart.
                    self.counters.retries.with_label_values(&["outcomes_report"]).inc();
                }
                error
            })
        });
        let mut verdicts = verdicts?.into_iter();
        Ok(reports.iter().map(|report| verdicts.by_ref().take(report.outcomes.len()).collect()).collect())
    }
}

/// Judges outcomes, and applies those that their campaigns take. Returns a verdict for each.
pub(super) async fn outcomes_take_in_txn(
    txn: &Transaction<'_>,
    outcomes: &[(&WorkspaceId, &Outcome)],
    now: Timestamp,
    attempt: u32,
    wait: LockWait,
) -> Result<Vec<Verdict>> {
    let mut verdicts = vec![Verdict::Rejected(Rejection::UnknownLead); outcomes.len()];
    let (numbered, workspaces) = lead_numbers_in_txn(txn, outcomes).await?;
    // An opt-out holds in all campaigns of the workspace.
    let is_opt_out = |(_, (_, outcome)): &(usize, &(&WorkspaceId, &Outcome))| outcome.fact == Fact::OptedOut;
    let (opt_outs, leads): (Vec<usize>, Vec<_>) = outcomes
        .iter()
        .enumerate()
        .filter(is_opt_out)
        .filter_map(|(ordinal, _)| Some((ordinal, numbered[ordinal]?)))
        .unzip();
    let namesakes = namesakes_in_txn(txn, &leads).await?;
    // Opt-outs that are only listed: of leads that do not exist any more, or whose campaign takes no outcomes any more.
    let mut listed: Vec<(usize, i32, &str)> = outcomes
        .iter()
        .enumerate()
        .filter(is_opt_out)
        .filter(|(ordinal, _)| numbered[*ordinal].is_none())
        .filter_map(|(ordinal, (workspace, outcome))| match &outcome.lead {
            LeadRef::Name(name) => Some((ordinal, *workspaces.get(workspace.as_str())?, name.lead.as_str())),
            LeadRef::Key(_) => None,
        })
        .collect();
    let nameless = namesakes_of_ids_in_txn(txn, &listed).await?;
    let mut keys: Vec<CampaignKey> = numbered.iter().flatten().map(|(campaign, _)| *campaign).collect();
    // Of very many namesakes, the others are told later.
    let (told, later) = namesakes.split_at(namesakes.len().min(TOLD_MAX));
    let (told_nameless, later_nameless) = nameless.split_at(nameless.len().min(TOLD_MAX - told.len()));
    keys.extend(told.iter().chain(told_nameless).map(|namesake| namesake.campaign));
    keys.sort_unstable();
    keys.dedup();
    let terms = terms_lock_in_txn(txn, keys, now, attempt).await?;
    wait.rows_in_txn(txn)?;
    let mut events = Vec::with_capacity(outcomes.len());
    let mut finals = Vec::new();
    let mut is_taken = vec![false; outcomes.len()];
    for (ordinal, (_, outcome)) in outcomes.iter().enumerate() {
        let Some((campaign, lead_no)) = numbered[ordinal] else {
            continue;
        };
        let at = outcome.time.unwrap_or(now);
        let event = Event { source: Some((ordinal, outcome)), campaign, lead_no, fact: outcome.fact, at };
        match judge(outcome, terms.get(&campaign), at, now) {
            Ok(()) => {
                is_taken[ordinal] = true;
                events.push(event);
            }
            Err(Rejection::CampaignFinal) => {
                let own = namesakes.iter().find(|namesake| opt_outs[namesake.opt_out] == ordinal);
                if let (Fact::OptedOut, Some(own)) = (outcome.fact, own) {
                    is_taken[ordinal] = true;
                    listed.push((ordinal, campaign.0, &own.lead_id));
                } else {
                    finals.push((ordinal, event));
                }
            }
            Err(Rejection::UnknownLead) if outcome.fact == Fact::OptedOut => match outcome.lead {
                // The campaign was deleted since it was looked up; the next attempt finds the name alone.
                LeadRef::Name(_) => return Err(snapshot_outdated()),
                LeadRef::Key(_) => verdicts[ordinal] = Verdict::Rejected(Rejection::OptOutUnnamed),
            },
            Err(rejection) => verdicts[ordinal] = Verdict::Rejected(rejection),
        }
    }
    final_verdicts_in_txn(txn, &finals, &mut verdicts).await?;
    let is_taken = |namesake: &&Namesake| is_taken[opt_outs[namesake.opt_out]];
    let mut ids: Vec<(i32, &str)> = namesakes.iter().filter(is_taken).map(Namesake::id).collect();
    let waiting: Vec<(i32, &str)> = later.iter().filter(is_taken).chain(later_nameless).map(Namesake::id).collect();
    opt_outs_wait_in_txn(txn, &waiting).await?;
    let told = told.iter().filter(is_taken).chain(told_nameless);
    let told = told.filter(|told| terms.get(&told.campaign).is_some_and(|terms| !terms.attribution_ended));
    events.extend(told.map(|told| Event {
        source: None,
        campaign: told.campaign,
        lead_no: told.lead_no,
        fact: Fact::OptedOut,
        at: now,
    }));
    ids.extend(listed.iter().map(|(_, workspace_id, id)| (*workspace_id, *id)));
    let mut new = opt_outs_insert_in_txn(txn, &ids, now).await?;
    if !new.is_empty() {
        for (workspace, workspace_id) in &workspaces {
            let added = new.iter().filter(|(of, _)| of == workspace_id).count();
            opt_outs_note(workspace, added as u64, "added");
        }
    }
    for (ordinal, workspace_id, id) in listed {
        let is_new = new.remove(&(workspace_id, id.to_owned()));
        verdicts[ordinal] = if is_new { Verdict::Applied } else { Verdict::Duplicate };
    }
    Batch { txn, terms: &terms, now, attempt }.apply(events, &mut verdicts).await?;
    Ok(verdicts)
}

/// Finds the numbers of each outcome's campaign and lead. Returns `None` for a name that does not exist. Also returns the
/// numbers of the workspaces.
///
/// The number of the workspace is looked up by its name, so that a send key of another workspace finds nothing.
async fn lead_numbers_in_txn<'a>(
    txn: &Transaction<'_>,
    outcomes: &[(&'a WorkspaceId, &Outcome)],
) -> Result<(Vec<Option<(CampaignKey, i32)>>, HashMap<&'a str, i32>)> {
    let mut names: Vec<&'a str> = outcomes.iter().map(|(workspace, _)| workspace.as_str()).collect();
    names.dedup();
    let sql = "SELECT name, workspace_id FROM workspaces WHERE name = ANY ($1)";
    let statement = txn.prepare_cached(sql).await?;
    let rows = txn.query(&statement, &[&names]).await?;
    let numbers: HashMap<String, i32> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let workspaces: HashMap<&str, i32> =
        names.into_iter().filter_map(|name| Some((name, *numbers.get(name)?))).collect();
    let mut numbers = vec![None; outcomes.len()];
    let (mut indexes, mut names) = (Vec::new(), Vec::new());
    for (index, (workspace, outcome)) in outcomes.iter().enumerate() {
        let Some(workspace_id) = workspaces.get(workspace.as_str()) else {
            continue;
        };
        match &outcome.lead {
            LeadRef::Key(key) => numbers[index] = Some(((*workspace_id, key.campaign_number), key.lead_number)),
            LeadRef::Name(name) => {
                indexes.push(index);
                names.push((*workspace, name));
            }
        }
    }
    for row in lead_keys_in_txn(txn, &names).await? {
        numbers[indexes[element_index(&row)]] =
            Some(((row.get("workspace_id"), row.get("campaign_id")), row.get("lead_no")));
    }
    Ok((numbers, workspaces))
}

/// Looks up leads by workspace and name. Returns a row for each lead that exists, with the index of its name.
async fn lead_keys_in_txn(txn: &Transaction<'_>, names: &[(&WorkspaceId, &LeadName)]) -> Result<Vec<Row>> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    // LIMIT makes each look-up a probe by key: the planner can't reorder the joins.
    let sql = "SELECT named.place, w.workspace_id, c.campaign_id, c.salt, i.lead_no
        FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS named (workspace, campaign, lead_id, place)
        CROSS JOIN LATERAL (
            SELECT workspace_id FROM workspaces WHERE name = named.workspace LIMIT 1
        ) w
        CROSS JOIN LATERAL (
            SELECT campaign_id, salt FROM campaigns WHERE workspace_id = w.workspace_id AND name = named.campaign LIMIT 1
        ) c
        CROSS JOIN LATERAL (
            SELECT lead_no FROM lead_ids
            WHERE workspace_id = w.workspace_id AND campaign_id = c.campaign_id AND lead_id = named.lead_id LIMIT 1
        ) i";
    let workspaces: Vec<&str> = names.iter().map(|(workspace, _)| workspace.as_str()).collect();
    let campaigns: Vec<&str> = names.iter().map(|(_, name)| name.campaign.campaign.as_str()).collect();
    let leads: Vec<&str> = names.iter().map(|(_, name)| name.lead.as_str()).collect();
    let statement = txn.prepare_cached(sql).await?;
    Ok(txn.query(&statement, &[&workspaces, &campaigns, &leads]).await?)
}
