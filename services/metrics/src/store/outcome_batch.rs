//! Applies the outcomes of a batch that may be taken: closes their claims, adds their facts, counts them.
//!
//! The statement takes one outcome a lead; a batch with several for one lead runs it again for the second, the third, and
//! so on, in the same transaction.

use std::collections::{BTreeMap, HashMap};

use campaign_metrics::{
    campaign::CampaignState,
    schedule::{local_day, parse_time_zone},
    sending::{Outcome, Rejection, Verdict},
};
use deadpool_postgres::Transaction;
use jiff::{SignedDuration, Timestamp, civil::Date, tz::TimeZone};
use tokio_postgres::types::ToSql;

use super::{
    campaign_state::campaigns_finish_in_txn,
    claim_end::reservation_add_in_txn,
    outcome::{Event, Terms},
    run_again,
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

/// A batch in its transaction.
pub(super) struct Batch<'a> {
    pub(super) txn: &'a Transaction<'a>,
    pub(super) workspace_id: i32,
    pub(super) outcomes: &'a [Outcome],
    pub(super) terms: &'a HashMap<i32, Terms>,
    pub(super) now: Timestamp,
    pub(super) attempt: u32,
}

impl Batch<'_> {
    /// Applies events of leads that are numbered and judged; fills in their verdicts.
    pub(super) async fn apply(&self, events: Vec<Event>, verdicts: &mut [Verdict]) -> Result<()> {
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
        let open = |id: &i32| self.terms.get(id).is_some_and(|terms| terms.state != CampaignState::Finished);
        campaigns.retain(open);
        campaigns_finish_in_txn(self.txn, self.workspace_id, &campaigns, self.now).await?;
        self.reserve_unclaimed(unclaimed).await
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
        let rows = self.txn.query(&close, &[&self.workspace_id, &campaigns, &blocks, &steps, &places]).await?;
        let mut holders: HashMap<(i32, i32, i16), Vec<(i64, i32)>> = HashMap::new();
        let mut ended = Vec::new();
        for row in &rows {
            let key = (row.get("campaign_id"), row.get("block"), row.get("step"));
            holders.entry(key).or_default().push((row.get("granted"), row.get("account_id")));
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
        self.txn.execute(&statement, &[&self.workspace_id, &campaigns, &blocks, &steps, &grants]).await?;
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
            columns.details.push((!outcome.detail.is_empty()).then_some(outcome.detail.as_str()));
            columns.accounts.push(account.copied());
            columns.steps.push(terms.map_or(1, |terms| terms.steps.number().into()));
            columns.ordinals.push(i32::try_from(event.ordinal).unwrap_or(i32::MAX));
            columns.follow_ups.push(event.at.checked_add(delay).unwrap_or(Timestamp::MAX));
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
                let key = (row.get("campaign_id"), row.get("message_account"), row.get("happened_at"));
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
                *days.entry(("campaign", campaign_id, local_day(&terms.time_zone, at))).or_default() += count;
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
