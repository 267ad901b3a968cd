//! Takes in outcomes: the reports of many callers are one transaction, each outcome gets its own verdict.
//!
//! Locks: the campaigns' keys (so that results can't become final meanwhile; for messages without claim the campaigns, so that
//! nobody claims them meanwhile), the claims, the leads, the counters, the
//! reservations, the account days. A fact that is known is a duplicate and changes nothing, so reports can be repeated,
//! split and mixed at will.

use std::collections::HashMap;

use campaign_metrics::{
    campaign::CampaignState,
    lead::{Fact, Facts, Step},
    name::WorkspaceId,
    sending::{CLOCK_SKEW_MAX, LeadRef, Outcome, Rejection, SendKey, Verdict},
};
use deadpool_postgres::Transaction;
use jiff::{SignedDuration, Timestamp};
use tokio_postgres::Row;

use super::{
    Kind, Store,
    campaign_view::{CampaignKey, campaign_state},
    in_txn,
    opt_out::{ids_list_in_txn, namesakes_in_txn},
    outcome_batch::Batch,
};
use crate::error::Result;

/// What one caller reports.
#[derive(Debug)]
pub struct Report {
    /// Where its leads are.
    pub workspace: WorkspaceId,
    /// What happened.
    pub outcomes: Vec<Outcome>,
}

/// An outcome whose lead is numbered.
pub(super) struct Event<'a> {
    /// Its place among all outcomes of the transaction, and what was reported; `None` where nobody waits for a verdict.
    pub(super) source: Option<(usize, &'a Outcome)>,
    pub(super) campaign: CampaignKey,
    pub(super) lead_no: i32,
    pub(super) fact: Fact,
    pub(super) at: Timestamp,
}

/// A campaign's settings that decide about outcomes.
pub(super) struct Terms {
    pub(super) salt: i32,
    pub(super) steps: Step,
    pub(super) follow_up_delay: SignedDuration,
    pub(super) state: CampaignState,
    pub(super) is_final: bool,
    pub(super) attribution_ended: bool,
    pub(super) time_zone: String,
}

/// Named leads of a report that are worth a look-up of their own: below, the transaction looks them up for all reports.
const NAMED_MIN: usize = 50;

impl Store {
    /// Names leads by number where a report names many by id, so that those that share claims come to be written together.
    pub async fn outcomes_number(&self, report: &mut Report) -> Result<()> {
        let named = report.outcomes.iter_mut().filter(|outcome| matches!(outcome.lead, LeadRef::Name(_)));
        let mut named: Vec<&mut Outcome> = named.collect();
        if named.len() < NAMED_MIN {
            return Ok(());
        }
        // One by one, each by its key: LIMIT keeps the planner from joining in another order.
        let sql = "SELECT named.place, c.campaign_id, c.salt, i.lead_no
            FROM unnest($2::text[], $3::text[]) WITH ORDINALITY AS named (campaign, lead_id, place)
            CROSS JOIN LATERAL (
                SELECT n.workspace_id, n.campaign_id, n.salt FROM campaigns n
                WHERE n.workspace_id = (SELECT workspace_id FROM workspaces WHERE name = $1) AND n.name = named.campaign LIMIT 1
            ) c
            CROSS JOIN LATERAL (
                SELECT lead_no FROM lead_ids
                WHERE workspace_id = c.workspace_id AND campaign_id = c.campaign_id AND lead_id = named.lead_id LIMIT 1
            ) i";
        let keys = named.iter().filter_map(|outcome| match &outcome.lead {
            LeadRef::Name(name) => Some((name.campaign.campaign.as_str(), name.lead.as_str())),
            LeadRef::Key(_) => None,
        });
        let (campaigns, leads): (Vec<&str>, Vec<&str>) = keys.unzip();
        let workspace = report.workspace.as_str();
        let rows: Result<Vec<Row>> = in_txn!(self, Kind::Read, |txn, attempt| {
            let statement = txn.prepare_cached(sql).await?;
            Ok(txn.query(&statement, &[&workspace, &campaigns, &leads]).await?)
        });
        for row in rows? {
            let outcome = &mut *named[place(&row)];
            outcome.lead = LeadRef::Key(SendKey {
                salt: row.get("salt"),
                campaign_number: row.get("campaign_id"),
                lead_number: row.get("lead_no"),
                step: outcome.fact.step().unwrap_or(Step::FIRST),
            });
        }
        Ok(())
    }

    /// Takes in reports, all of them in one transaction; each outcome gets its own verdict, after the commit. Drops `turn`
    /// before the commit: the next transaction can begin meanwhile, and the rows that both change keep their order.
    pub async fn outcomes_report(&self, reports: &[Report], turn: impl Send) -> Result<Vec<Vec<Verdict>>> {
        let mut turn = Some(turn);
        let outcomes: Vec<(&WorkspaceId, &Outcome)> = reports
            .iter()
            .flat_map(|report| report.outcomes.iter().map(|outcome| (&report.workspace, outcome)))
            .collect();
        let verdicts: Result<Vec<Verdict>> = in_txn!(self, Kind::Hot, |txn, attempt| {
            let taken = outcomes_take_in_txn(&txn, &outcomes, self.clock.now(), attempt).await;
            if taken.is_ok() {
                drop(turn.take());
            }
            taken
        });
        let mut verdicts = verdicts?.into_iter();
        Ok(reports.iter().map(|report| verdicts.by_ref().take(report.outcomes.len()).collect()).collect())
    }
}

/// Takes outcomes in: judges them, and applies those that may be taken. One verdict for each.
pub(super) async fn outcomes_take_in_txn(
    txn: &Transaction<'_>,
    outcomes: &[(&WorkspaceId, &Outcome)],
    now: Timestamp,
    attempt: u32,
) -> Result<Vec<Verdict>> {
    let mut verdicts = vec![Verdict::Rejected(Rejection::UnknownLead); outcomes.len()];
    let numbered = number_in_txn(txn, outcomes).await?;
    // Who opts out does so in all campaigns of the workspace.
    let (opting, leads): (Vec<usize>, Vec<_>) = outcomes
        .iter()
        .enumerate()
        .filter(|(_, (_, outcome))| outcome.fact == Fact::OptedOut)
        .filter_map(|(ordinal, _)| Some((ordinal, numbered[ordinal]?)))
        .unzip();
    let namesakes = namesakes_in_txn(txn, &leads).await?;
    let mut keys: Vec<CampaignKey> = numbered.iter().flatten().map(|(campaign, _)| *campaign).collect();
    keys.extend(namesakes.iter().map(|namesake| namesake.campaign));
    keys.sort_unstable();
    keys.dedup();
    let terms = terms_of_in_txn(txn, keys, now, attempt).await?;
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
            Err(Rejection::CampaignFinal) => finals.push((ordinal, event)),
            Err(rejection) => verdicts[ordinal] = Verdict::Rejected(rejection),
        }
    }
    final_verdicts_in_txn(txn, &finals, &mut verdicts).await?;
    let mut listed = Vec::new();
    for namesake in namesakes.iter().filter(|namesake| is_taken[opting[namesake.of]]) {
        listed.push((namesake.campaign.0, namesake.lead_id.as_str()));
        let (campaign, lead_no) = (namesake.campaign, namesake.lead_no);
        if terms.get(&campaign).is_some_and(|terms| !terms.attribution_ended) {
            events.push(Event { source: None, campaign, lead_no, fact: Fact::OptedOut, at: now });
        }
    }
    ids_list_in_txn(txn, &listed, now).await?;
    Batch { txn, terms: &terms, now, attempt }.apply(events, &mut verdicts).await?;
    Ok(verdicts)
}

/// Numbers of the outcomes' campaigns and leads; `None` where the name names nothing.
///
/// The number of a workspace is looked up by its name, so that a key of another workspace names nothing.
async fn number_in_txn(
    txn: &Transaction<'_>,
    outcomes: &[(&WorkspaceId, &Outcome)],
) -> Result<Vec<Option<(CampaignKey, i32)>>> {
    let mut names: Vec<&str> = outcomes.iter().map(|(workspace, _)| workspace.as_str()).collect();
    names.dedup();
    let sql = "SELECT name, workspace_id FROM workspaces WHERE name = ANY ($1)";
    let statement = txn.prepare_cached(sql).await?;
    let rows = txn.query(&statement, &[&names]).await?;
    let workspaces: HashMap<&str, i32> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let mut numbers = vec![None; outcomes.len()];
    let (mut places, mut ids, mut campaigns, mut leads) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (place, (workspace, outcome)) in outcomes.iter().enumerate() {
        let Some(workspace_id) = workspaces.get(workspace.as_str()) else {
            continue;
        };
        match &outcome.lead {
            LeadRef::Key(key) => numbers[place] = Some(((*workspace_id, key.campaign_number), key.lead_number)),
            LeadRef::Name(name) => {
                places.push(place);
                ids.push(*workspace_id);
                campaigns.push(name.campaign.campaign.as_str());
                leads.push(name.lead.as_str());
            }
        }
    }
    if !places.is_empty() {
        // One by one, each by its key: LIMIT keeps the planner from joining in another order.
        let sql = "SELECT named.place, named.workspace_id, c.campaign_id, i.lead_no
            FROM unnest($1::int4[], $2::text[], $3::text[]) WITH ORDINALITY AS named (workspace_id, campaign, lead_id, place)
            CROSS JOIN LATERAL (
                SELECT campaign_id FROM campaigns WHERE workspace_id = named.workspace_id AND name = named.campaign LIMIT 1
            ) c
            CROSS JOIN LATERAL (
                SELECT lead_no FROM lead_ids
                WHERE workspace_id = named.workspace_id AND campaign_id = c.campaign_id AND lead_id = named.lead_id LIMIT 1
            ) i";
        let statement = txn.prepare_cached(sql).await?;
        for row in txn.query(&statement, &[&ids, &campaigns, &leads]).await? {
            numbers[places[place(&row)]] = Some(((row.get(1), row.get(2)), row.get(3)));
        }
    }
    Ok(numbers)
}

/// The place of a row in the arrays that were unnested.
pub(super) fn place(row: &Row) -> usize {
    usize::try_from(row.get::<_, i64>("place") - 1).unwrap_or(0)
}

/// Reads the terms of campaigns, sorted by number, and keeps them from becoming final before the commit; on another attempt
/// also keeps claims out, which a report without a claim needs.
pub(super) async fn terms_of_in_txn(
    txn: &Transaction<'_>,
    keys: Vec<CampaignKey>,
    now: Timestamp,
    attempt: u32,
) -> Result<HashMap<CampaignKey, Terms>> {
    let lock = if attempt == 0 { "KEY SHARE" } else { "NO KEY UPDATE" };
    let sql = format!(
        "SELECT c.workspace_id, c.campaign_id, salt, steps, follow_up_delay_ms, state, finalized_at IS NOT NULL AS is_final,
            coalesce(finished_at + make_interval(days => attribution_days) < $3, false) AS attribution_ended, time_zone
        FROM unnest($1::int4[], $2::int4[]) AS key (workspace_id, campaign_id)
        JOIN campaigns c ON c.workspace_id = key.workspace_id AND c.campaign_id = key.campaign_id
        ORDER BY c.workspace_id, c.campaign_id FOR {lock} OF c"
    );
    let (workspaces, campaigns): (Vec<i32>, Vec<i32>) = keys.into_iter().unzip();
    let statement = txn.prepare_cached(&sql).await?;
    let rows = txn.query(&statement, &[&workspaces, &campaigns, &now]).await?;
    let terms = |row: &Row| {
        let terms = Terms {
            salt: row.get("salt"),
            steps: Step::new(row.get::<_, i16>("steps").into()).unwrap_or(Step::FIRST),
            follow_up_delay: SignedDuration::from_millis(row.get("follow_up_delay_ms")),
            state: campaign_state(row.get("state"))?,
            is_final: row.get("is_final"),
            attribution_ended: row.get("attribution_ended"),
            time_zone: row.get("time_zone"),
        };
        Ok(((row.get("workspace_id"), row.get("campaign_id")), terms))
    };
    rows.iter().map(terms).collect()
}

/// Decides whether an outcome may be taken by its campaign's terms.
fn judge(
    outcome: &Outcome,
    terms: Option<&Terms>,
    at: Timestamp,
    now: Timestamp,
) -> std::result::Result<(), Rejection> {
    let terms = terms.ok_or(Rejection::UnknownLead)?;
    if matches!(outcome.lead, LeadRef::Key(key) if key.salt != terms.salt) {
        return Err(Rejection::UnknownLead);
    }
    if outcome.fact.step().is_some_and(|step| step > terms.steps) {
        return Err(Rejection::StepOutOfRange);
    }
    if at.duration_since(now) > SignedDuration::try_from(CLOCK_SKEW_MAX).unwrap_or(SignedDuration::MAX) {
        return Err(Rejection::TimeInFuture);
    }
    let closed = if outcome.fact.step().is_some() { terms.is_final } else { terms.attribution_ended };
    if closed { Err(Rejection::CampaignFinal) } else { Ok(()) }
}

/// Outcomes of a final campaign: an exact repeat is still a duplicate, all else is rejected.
async fn final_verdicts_in_txn(
    txn: &Transaction<'_>,
    events: &[(usize, Event<'_>)],
    verdicts: &mut [Verdict],
) -> Result<()> {
    if events.is_empty() {
        return Ok(());
    }
    let workspaces: Vec<i32> = events.iter().map(|(_, event)| event.campaign.0).collect();
    let campaigns: Vec<i32> = events.iter().map(|(_, event)| event.campaign.1).collect();
    let leads: Vec<i32> = events.iter().map(|(_, event)| event.lead_no).collect();
    let sql = "SELECT key.place, l.mask
        FROM unnest($1::int4[], $2::int4[], $3::int4[]) WITH ORDINALITY AS key (workspace_id, campaign_id, lead_no, place)
        JOIN leads l ON l.workspace_id = key.workspace_id AND l.campaign_id = key.campaign_id AND l.lead_no = key.lead_no";
    let statement = txn.prepare_cached(sql).await?;
    for row in txn.query(&statement, &[&workspaces, &campaigns, &leads]).await? {
        let (ordinal, event) = &events[place(&row)];
        verdicts[*ordinal] = if Facts(row.get("mask")).has(event.fact) {
            Verdict::Duplicate
        } else {
            Verdict::Rejected(Rejection::CampaignFinal)
        };
    }
    Ok(())
}
