//! Takes in outcomes: a batch is one transaction, each outcome gets its own verdict.
//!
//! Locks: the campaigns' keys (so that results can't become final meanwhile), the claims, the leads, the counters, the
//! reservations, the account days. A fact that is known is a duplicate and changes nothing, so batches can be repeated,
//! split and mixed at will. The statement takes one outcome a lead; a batch with several for one lead runs it again
//! for the second, the third, and so on, in the same transaction.

use std::collections::{BTreeMap, HashMap};

use campaign_metrics::{
    campaign::CampaignState,
    lead::{Fact, Facts, Step},
    name::WorkspaceId,
    schedule::{local_day, parse_time_zone},
    sending::{CLOCK_SKEW_MAX, LeadRef, Outcome, Rejection, Verdict},
};
use deadpool_postgres::Transaction;
use jiff::{SignedDuration, Timestamp, civil::Date, tz::TimeZone};
use tokio_postgres::{Row, types::ToSql};

use super::{
    Kind, Store, campaign::workspace_in_txn, campaign_state::campaigns_finish_in_txn, campaign_view::campaign_state,
    claim_end::reservation_add_in_txn, in_txn, run_again,
};
use crate::error::Result;

/// How often a batch is run again for an earlier outcome that it can't see: each time another writer was just ahead.
const MISSED_MAX: u32 = 5;

const BATCH: &str = include_str!("outcome_batch.sql");

/// Closes the claims of the batch's messages, duplicates included, and tells whose they were.
const CLOSE: &str = "
    WITH done AS MATERIALIZED (
        SELECT campaign_id, block, step, bit_or(1::int8 << place) AS bits
        FROM unnest($2::int4[], $3::int4[], $4::int2[], $5::int4[]) AS done (campaign_id, block, step, place)
        GROUP BY campaign_id, block, step ORDER BY campaign_id, block, step
    )
    UPDATE claims c SET held = c.held & ~d.bits FROM done d
    WHERE c.workspace_id = $1 AND c.campaign_id = d.campaign_id AND c.block = d.block AND c.step = d.step
        AND c.held & d.bits <> 0
    RETURNING c.campaign_id, c.block, c.step, c.grant_no, c.granted, c.held, c.account_id";

/// An outcome of a batch whose lead is numbered.
struct Event {
    ordinal: usize,
    campaign_id: i32,
    lead_no: i32,
    fact: Fact,
    at: Timestamp,
}

/// A campaign's settings that decide about outcomes.
struct Terms {
    salt: i32,
    steps: Step,
    follow_up_delay: SignedDuration,
    state: CampaignState,
    is_final: bool,
    attribution_ended: bool,
    time_zone: TimeZone,
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
                let event = Event {
                    ordinal,
                    campaign_id,
                    lead_no,
                    fact: outcome.fact,
                    at,
                };
                match judge(outcome, terms.get(&campaign_id), at, now) {
                    Ok(()) => events.push(event),
                    Err(Rejection::CampaignFinal) => finals.push(event),
                    Err(rejection) => verdicts[ordinal] = Verdict::Rejected(rejection),
                }
            }
            final_verdicts_in_txn(&txn, workspace_id, &finals, &mut verdicts).await?;
            let batch = Batch {
                txn: &txn,
                workspace_id,
                outcomes,
                terms: &terms,
                now,
                attempt,
            };
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
    let closed = if outcome.fact.step().is_some() {
        terms.is_final
    } else {
        terms.attribution_ended
    };
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

struct Batch<'a> {
    txn: &'a Transaction<'a>,
    workspace_id: i32,
    outcomes: &'a [Outcome],
    terms: &'a HashMap<i32, Terms>,
    now: Timestamp,
    attempt: u32,
}

impl Batch<'_> {
    async fn apply(&self, events: Vec<Event>, verdicts: &mut [Verdict]) -> Result<()> {
        if events.is_empty() {
            return Ok(());
        }
        let mut campaigns: Vec<i32> = events.iter().map(|event| event.campaign_id).collect();
        campaigns.sort_unstable();
        campaigns.dedup();
        let accounts = self.close_claims(&events).await?;
        let (rounds, repeats) = rounds(events);
        let mut unclaimed = BTreeMap::new();
        for round in &rounds {
            self.apply_round(round, &accounts, verdicts, &mut unclaimed).await?;
        }
        for (ordinal, first) in repeats {
            verdicts[ordinal] = match &verdicts[first] {
                Verdict::Rejected(rejection) => Verdict::Rejected(rejection.clone()),
                Verdict::Applied | Verdict::Duplicate => Verdict::Duplicate,
            };
        }
        self.reserve_unclaimed(unclaimed).await?;
        let open = |id: &i32| {
            self.terms
                .get(id)
                .is_some_and(|terms| terms.state != CampaignState::Finished)
        };
        campaigns.retain(open);
        campaigns_finish_in_txn(self.txn, self.workspace_id, &campaigns, self.now).await
    }

    /// Closes claims; returns whose they were, by campaign, lead and step.
    async fn close_claims(&self, events: &[Event]) -> Result<HashMap<(i32, i32, u8), i32>> {
        let messages: Vec<(i32, i32, u8)> = events
            .iter()
            .filter_map(|event| Some((event.campaign_id, event.lead_no, event.fact.step()?.number())))
            .collect();
        let campaigns: Vec<i32> = messages.iter().map(|message| message.0).collect();
        let blocks: Vec<i32> = messages.iter().map(|message| message.1 >> 6).collect();
        let steps: Vec<i16> = messages.iter().map(|message| message.2.into()).collect();
        let places: Vec<i32> = messages.iter().map(|message| message.1 & 63).collect();
        let close = self.txn.prepare_cached(CLOSE).await?;
        let rows = self
            .txn
            .query(&close, &[&self.workspace_id, &campaigns, &blocks, &steps, &places])
            .await?;
        let mut holders: HashMap<(i32, i32, i16), Vec<(i64, i32)>> = HashMap::new();
        let mut ended = Vec::new();
        for row in &rows {
            let key = (row.get("campaign_id"), row.get("block"), row.get("step"));
            holders
                .entry(key)
                .or_default()
                .push((row.get("granted"), row.get("account_id")));
            if row.get::<_, i64>("held") == 0 {
                ended.push((key, row.get::<_, i64>("grant_no")));
            }
        }
        self.delete_claims(&ended).await?;
        let accounts = messages.into_iter().filter_map(|message| {
            let (campaign_id, lead_no, step) = message;
            let holders = holders.get(&(campaign_id, lead_no >> 6, step.into()))?;
            let (_, account_id) = holders.iter().find(|(granted, _)| granted >> (lead_no & 63) & 1 == 1)?;
            Some((message, *account_id))
        });
        Ok(accounts.collect())
    }

    /// Removes rows of claims in which nothing is held any more.
    async fn delete_claims(&self, ended: &[((i32, i32, i16), i64)]) -> Result<()> {
        if ended.is_empty() {
            return Ok(());
        }
        let campaigns: Vec<i32> = ended.iter().map(|(key, _)| key.0).collect();
        let blocks: Vec<i32> = ended.iter().map(|(key, _)| key.1).collect();
        let steps: Vec<i16> = ended.iter().map(|(key, _)| key.2).collect();
        let grants: Vec<i64> = ended.iter().map(|(_, grant)| *grant).collect();
        let sql = "DELETE FROM claims c USING unnest($2::int4[], $3::int4[], $4::int2[], $5::int8[]) AS e (campaign_id, block, step, grant_no)
            WHERE c.workspace_id = $1 AND c.campaign_id = e.campaign_id AND c.block = e.block AND c.step = e.step
                AND c.grant_no = e.grant_no AND c.held = 0";
        let statement = self.txn.prepare_cached(sql).await?;
        self.txn
            .execute(&statement, &[&self.workspace_id, &campaigns, &blocks, &steps, &grants])
            .await?;
        Ok(())
    }

    async fn apply_round(
        &self,
        round: &[Event],
        accounts: &HashMap<(i32, i32, u8), i32>,
        verdicts: &mut [Verdict],
        unclaimed: &mut BTreeMap<(i32, Option<i32>, Timestamp), i64>,
    ) -> Result<()> {
        let mut columns = Columns::default();
        for event in round {
            let outcome = &self.outcomes[event.ordinal];
            let step = event.fact.step();
            let account = step.and_then(|step| accounts.get(&(event.campaign_id, event.lead_no, step.number())));
            let terms = self.terms.get(&event.campaign_id);
            let delay = terms.map_or(SignedDuration::ZERO, |terms| terms.follow_up_delay);
            columns.campaigns.push(event.campaign_id);
            columns.leads.push(event.lead_no);
            columns.bits.push(event.fact.bit().into());
            columns.times.push(event.at);
            columns.reasons.push(outcome.reason.map(|reason| reason as i16));
            columns
                .details
                .push((!outcome.detail.is_empty()).then_some(outcome.detail.as_str()));
            columns.accounts.push(account.copied());
            columns.steps.push(terms.map_or(1, |terms| terms.steps.number().into()));
            columns.ordinals.push(i32::try_from(event.ordinal).unwrap_or(i32::MAX));
            columns
                .follow_ups
                .push(event.at.checked_add(delay).unwrap_or(Timestamp::MAX));
        }
        let batch = self.txn.prepare_cached(BATCH).await?;
        let params: &[&(dyn ToSql + Sync)] = &[
            &self.workspace_id,
            &columns.campaigns,
            &columns.leads,
            &columns.bits,
            &columns.times,
            &columns.reasons,
            &columns.details,
            &columns.accounts,
            &columns.steps,
            &columns.ordinals,
            &columns.follow_ups,
            &self.now,
        ];
        for row in self.txn.query(&batch, params).await? {
            // An earlier outcome was committed after this statement began: the next attempt sees it. One that is gone with
            // its partition stays unseen; then the message is booked on its lead's account, on the day of this report.
            if self.attempt < MISSED_MAX && row.get("missed") {
                return Err(run_again());
            }
            let ordinal = usize::try_from(row.get::<_, i32>("ordinal")).unwrap_or(0);
            verdicts[ordinal] = match (row.get("applied"), row.get("known")) {
                (true, _) => Verdict::Applied,
                (false, true) => Verdict::Duplicate,
                (false, false) => Verdict::Rejected(Rejection::UnknownLead),
            };
            if row.get("unclaimed") {
                let key = (
                    row.get("campaign_id"),
                    row.get("message_account"),
                    row.get("happened_at"),
                );
                *unclaimed.entry(key).or_default() += 1;
            }
        }
        Ok(())
    }

    /// Counts messages that were sent without a claim against the limits of their days.
    async fn reserve_unclaimed(&self, unclaimed: BTreeMap<(i32, Option<i32>, Timestamp), i64>) -> Result<()> {
        if unclaimed.is_empty() {
            return Ok(());
        }
        let mut account_ids: Vec<i32> = unclaimed.keys().filter_map(|(_, account_id, _)| *account_id).collect();
        account_ids.sort_unstable();
        account_ids.dedup();
        let sql = "SELECT account_id, time_zone FROM accounts WHERE workspace_id = $1 AND account_id = ANY ($2)";
        let mut zones: HashMap<i32, TimeZone> = HashMap::new();
        for row in self.txn.query(sql, &[&self.workspace_id, &account_ids]).await? {
            zones.insert(row.get(0), parse_time_zone(row.get(1))?);
        }
        let mut days: BTreeMap<(&str, i32, Date), i64> = BTreeMap::new();
        for ((campaign_id, account_id, at), count) in unclaimed {
            if let Some(terms) = self.terms.get(&campaign_id) {
                *days
                    .entry(("campaign", campaign_id, local_day(&terms.time_zone, at)))
                    .or_default() += count;
            }
            if let Some((account_id, zone)) = account_id.and_then(|id| Some((id, zones.get(&id)?))) {
                *days.entry(("account", account_id, local_day(zone, at))).or_default() += count;
            }
        }
        for ((of, id, day), count) in days {
            reservation_add_in_txn(self.txn, of, self.workspace_id, id, day, count).await?;
        }
        Ok(())
    }
}

/// The arrays that the statement unnests.
#[derive(Default)]
struct Columns<'a> {
    campaigns: Vec<i32>,
    leads: Vec<i32>,
    bits: Vec<i32>,
    times: Vec<Timestamp>,
    reasons: Vec<Option<i16>>,
    details: Vec<Option<&'a str>>,
    accounts: Vec<Option<i32>>,
    steps: Vec<i32>,
    ordinals: Vec<i32>,
    follow_ups: Vec<Timestamp>,
}

/// Sorts events into rounds of at most one for each lead, by key, so that batches lock in one order. Repeats within the
/// batch come apart, each with the ordinal of the first of their kind.
fn rounds(mut events: Vec<Event>) -> (Vec<Vec<Event>>, Vec<(usize, usize)>) {
    events.sort_by_key(|event| (event.campaign_id, event.lead_no));
    let mut rounds: Vec<Vec<Event>> = Vec::new();
    let mut repeats = Vec::new();
    let mut lead = None;
    let mut of_lead: HashMap<u8, usize> = HashMap::new();
    for event in events {
        if lead != Some((event.campaign_id, event.lead_no)) {
            lead = Some((event.campaign_id, event.lead_no));
            of_lead.clear();
        }
        let bit = event.fact.bit();
        if let Some(first) = of_lead.get(&bit) {
            repeats.push((event.ordinal, *first));
            continue;
        }
        let round = of_lead.len();
        of_lead.insert(bit, event.ordinal);
        if rounds.len() == round {
            rounds.push(Vec::new());
        }
        rounds[round].push(event);
    }
    (rounds, repeats)
}
