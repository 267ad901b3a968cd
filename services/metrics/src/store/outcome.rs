//! Takes in outcomes: a batch is one transaction, each outcome gets its own verdict.
//!
//! Locks: the campaigns' keys (so that results can't become final meanwhile), the claims, the leads, the counters, the
//! reservations, the account days. A fact that is known is a duplicate and changes nothing, so batches can be repeated,
//! split and mixed at will.

use std::collections::HashMap;

use campaign_metrics::{
    campaign::CampaignState,
    lead::{Fact, Facts, Step},
    name::WorkspaceId,
    schedule::parse_time_zone,
    sending::{CLOCK_SKEW_MAX, LeadRef, Outcome, Rejection, Verdict},
};
use deadpool_postgres::Transaction;
use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use tokio_postgres::Row;

use super::{Kind, Store, campaign::workspace_in_txn, campaign_view::campaign_state, in_txn, outcome_batch::Batch};
use crate::error::Result;

/// An outcome of a batch whose lead is numbered.
pub(super) struct Event {
    pub(super) ordinal: usize,
    pub(super) campaign_id: i32,
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
    pub(super) time_zone: TimeZone,
}

impl Store {
    /// Takes in outcomes of a workspace; each gets its own verdict, after the commit of all.
    pub async fn outcomes_report(&self, workspace: &WorkspaceId, outcomes: &[Outcome]) -> Result<Vec<Verdict>> {
        in_txn!(self, Kind::Write, |txn, attempt| {
            let now = self.clock.now();
            let mut verdicts = vec![Verdict::Rejected(Rejection::UnknownLead); outcomes.len()];
            let Some(workspace_id) = workspace_in_txn(&txn, workspace).await? else {
                return Ok(verdicts);
            };
            let numbered = number_in_txn(&txn, workspace_id, outcomes).await?;
            let terms = terms_in_txn(&txn, workspace_id, &numbered, now).await?;
            let mut events = Vec::with_capacity(outcomes.len());
            let mut finals = Vec::new();
            for (ordinal, outcome) in outcomes.iter().enumerate() {
                let Some((campaign_id, lead_no)) = numbered[ordinal] else {
                    continue;
                };
                let at = outcome.time.unwrap_or(now);
                let event = Event { ordinal, campaign_id, lead_no, fact: outcome.fact, at };
                match judge(outcome, terms.get(&campaign_id), at, now) {
                    Ok(()) => events.push(event),
                    Err(Rejection::CampaignFinal) => finals.push(event),
                    Err(rejection) => verdicts[ordinal] = Verdict::Rejected(rejection),
                }
            }
            final_verdicts_in_txn(&txn, workspace_id, &finals, &mut verdicts).await?;
            let batch = Batch { txn: &txn, workspace_id, outcomes, terms: &terms, now, attempt };
            batch.apply(events, &mut verdicts).await?;
            Ok(verdicts)
        })
    }
}

/// Numbers of the outcomes' campaigns and leads; `None` where the name names nothing.
async fn number_in_txn(
    txn: &Transaction<'_>,
    workspace_id: i32,
    outcomes: &[Outcome],
) -> Result<Vec<Option<(i32, i32)>>> {
    let mut numbers = vec![None; outcomes.len()];
    let (mut places, mut campaigns, mut leads) = (Vec::new(), Vec::new(), Vec::new());
    for (place, outcome) in outcomes.iter().enumerate() {
        match &outcome.lead {
            LeadRef::Key(key) => numbers[place] = Some((key.campaign_number, key.lead_number)),
            LeadRef::Name(name) => {
                places.push(place);
                campaigns.push(name.campaign.campaign.as_str());
                leads.push(name.lead.as_str());
            }
        }
    }
    if !places.is_empty() {
        let sql = "SELECT (named.place - 1)::int4, i.campaign_id, i.lead_no
            FROM unnest($2::text[], $3::text[]) WITH ORDINALITY AS named (campaign, lead_id, place)
            JOIN campaigns c ON c.workspace_id = $1 AND c.name = named.campaign
            JOIN lead_ids i ON i.workspace_id = $1 AND i.campaign_id = c.campaign_id AND i.lead_id = named.lead_id";
        let statement = txn.prepare_cached(sql).await?;
        for row in txn.query(&statement, &[&workspace_id, &campaigns, &leads]).await? {
            let place = usize::try_from(row.get::<_, i32>(0)).unwrap_or(0);
            numbers[places[place]] = Some((row.get(1), row.get(2)));
        }
    }
    Ok(numbers)
}

/// Reads the campaigns' terms and keeps them from becoming final before the commit.
async fn terms_in_txn(
    txn: &Transaction<'_>,
    workspace_id: i32,
    numbered: &[Option<(i32, i32)>],
    now: Timestamp,
) -> Result<HashMap<i32, Terms>> {
    let mut ids: Vec<i32> = numbered.iter().flatten().map(|(campaign_id, _)| *campaign_id).collect();
    ids.sort_unstable();
    ids.dedup();
    let sql = "SELECT campaign_id, salt, steps, follow_up_delay_ms, state, finalized_at IS NOT NULL AS is_final,
            coalesce(finished_at + make_interval(days => attribution_days) < $3, false) AS attribution_ended, time_zone
        FROM campaigns WHERE workspace_id = $1 AND campaign_id = ANY ($2) ORDER BY campaign_id FOR KEY SHARE";
    let statement = txn.prepare_cached(sql).await?;
    let rows = txn.query(&statement, &[&workspace_id, &ids, &now]).await?;
    let terms = |row: &Row| {
        let terms = Terms {
            salt: row.get("salt"),
            steps: Step::new(row.get::<_, i16>("steps").into()).unwrap_or(Step::FIRST),
            follow_up_delay: SignedDuration::from_millis(row.get("follow_up_delay_ms")),
            state: campaign_state(row.get("state"))?,
            is_final: row.get("is_final"),
            attribution_ended: row.get("attribution_ended"),
            time_zone: parse_time_zone(row.get("time_zone"))?,
        };
        Ok((row.get("campaign_id"), terms))
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
    workspace_id: i32,
    events: &[Event],
    verdicts: &mut [Verdict],
) -> Result<()> {
    if events.is_empty() {
        return Ok(());
    }
    let campaigns: Vec<i32> = events.iter().map(|event| event.campaign_id).collect();
    let leads: Vec<i32> = events.iter().map(|event| event.lead_no).collect();
    let sql = "SELECT (key.place - 1)::int4, l.mask
        FROM unnest($2::int4[], $3::int4[]) WITH ORDINALITY AS key (campaign_id, lead_no, place)
        JOIN leads l ON l.workspace_id = $1 AND l.campaign_id = key.campaign_id AND l.lead_no = key.lead_no";
    for row in txn.query(sql, &[&workspace_id, &campaigns, &leads]).await? {
        let event = &events[usize::try_from(row.get::<_, i32>(0)).unwrap_or(0)];
        verdicts[event.ordinal] = if Facts(row.get(1)).has(event.fact) {
            Verdict::Duplicate
        } else {
            Verdict::Rejected(Rejection::CampaignFinal)
        };
    }
    Ok(())
}
