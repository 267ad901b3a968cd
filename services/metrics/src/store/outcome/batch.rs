//! Applies the outcomes of a batch that campaigns take: closes their claims, adds their facts, counts them.
//!
//! The statement takes at most one outcome for each lead. A batch with several outcomes for one lead runs it in rounds, in
//! the same transaction: for the first outcome of each lead, for the second, and so on.

use std::collections::{BTreeMap, HashMap};

use campaign_metrics::{
    campaign::CampaignState,
    schedule::{local_day, parse_time_zone},
    sending::{Rejection, Verdict},
};
use deadpool_postgres::Transaction;
use futures::try_join;
use jiff::{SignedDuration, Timestamp, civil::Date, tz::TimeZone};
use tokio_postgres::{Row, types::ToSql};

use super::terms::{Event, Terms};
use crate::{
    error::Result,
    store::{
        campaign::finish::{Emptied, campaigns_finish_in_txn},
        limit::{Kept, LimitOwner, Share, keeps_shares_in_txn, reported_add_in_txn, shares_kept_in_txn},
        row::{CampaignKey, element_index},
        sqlstate::is_lock_unavailable,
        transaction::snapshot_outdated,
    },
};

/// The statement. It documents its parameters and rows at its top.
pub const OUTCOME_BATCH: &str = include_str!("batch.sql");

/// A batch in its transaction.
pub(super) struct Batch<'a> {
    pub(super) txn: &'a Transaction<'a>,
    pub(super) terms: &'a HashMap<CampaignKey, Terms>,
    pub(super) now: Timestamp,
    pub(super) attempt: u32,
}

/// A message without a claim.
struct Unclaimed {
    campaign: CampaignKey,
    lead_no: i32,
    step: i16,
    account_id: Option<i32>,
    at: Timestamp,
}

/// An outcome whose history depends on earlier facts of its lead that the statement did not find in the log. `bits` has the
/// bits of these facts.
struct Missed {
    campaign: CampaignKey,
    lead_no: i32,
    bits: i64,
}

/// What rounds leave to be done after them.
#[derive(Default)]
struct Deferred {
    unclaimed: Vec<Unclaimed>,
    missed: Vec<Missed>,
    /// Campaigns in which no lead was pending or partial any more after a round.
    complete: Vec<CampaignKey>,
}

impl Batch<'_> {
    /// Applies events that were judged, and fills in their verdicts.
    pub(super) async fn apply(&self, events: Vec<Event<'_>>, verdicts: &mut [Verdict]) -> Result<()> {
        if events.is_empty() {
            return Ok(());
        }
        let (rounds, repeats) = rounds(events);
        let mut deferred = Deferred::default();
        let mut earlier = 0;
        for round in &rounds {
            let checked = deferred.unclaimed.len();
            self.apply_round(round, earlier, verdicts, &mut deferred).await?;
            // Before the next round, which could close a claim that this check has to find.
            self.check_unclaimed(&deferred.unclaimed[checked..]).await?;
            self.check_missed(std::mem::take(&mut deferred.missed)).await?;
            earlier += i32::try_from(round.len()).unwrap_or(i32::MAX);
        }
        for (ordinal, first) in repeats {
            verdicts[ordinal] = match &verdicts[first] {
                Verdict::Rejected(rejection) => Verdict::Rejected(rejection.clone()),
                Verdict::Applied | Verdict::Duplicate => Verdict::Duplicate,
            };
        }
        self.finish(deferred.complete).await?;
        self.reserve_unclaimed(deferred.unclaimed).await
    }

    async fn apply_round(
        &self,
        round: &[Event<'_>],
        earlier: i32,
        verdicts: &mut [Verdict],
        deferred: &mut Deferred,
    ) -> Result<()> {
        let mut columns = Columns::default();
        for event in round {
            let outcome = event.source.map(|(_, outcome)| outcome);
            let terms = self.terms.get(&event.campaign);
            let delay = terms.map_or(SignedDuration::ZERO, |terms| terms.follow_up_delay);
            columns.workspaces.push(event.campaign.0);
            columns.campaigns.push(event.campaign.1);
            columns.leads.push(event.lead_no);
            columns.bits.push(event.fact.bit().into());
            columns.times.push(event.at);
            columns.reasons.push(outcome.and_then(|outcome| outcome.reason).map(|reason| reason as i16));
            columns.details.push(outcome.map(|outcome| outcome.detail.as_str()).filter(|detail| !detail.is_empty()));
            columns.values.push(outcome.and_then(|outcome| outcome.value_micros));
            columns.steps.push(terms.map_or(1, |terms| terms.steps.number().into()));
            columns.follow_ups.push(event.at.checked_add(delay).unwrap_or(Timestamp::MAX));
            if let Some((ordinal, _)) = event.source {
                // Assume success; the returned rows list the exceptions.
                verdicts[ordinal] = Verdict::Applied;
            }
        }
        let batch = self.txn.prepare_cached(OUTCOME_BATCH).await?;
        let params: &[&(dyn ToSql + Sync)] = &[
            &columns.workspaces,
            &columns.campaigns,
            &columns.leads,
            &columns.bits,
            &columns.times,
            &columns.reasons,
            &columns.details,
            &columns.values,
            &columns.steps,
            &columns.follow_ups,
            &self.now,
            &earlier,
        ];
        for row in self.txn.query(&batch, params).await? {
            let campaign: CampaignKey = (row.get("workspace_id"), row.get("campaign_id"));
            if row.get::<_, Option<i64>>("place").is_some() {
                Self::take_exception(&row, &round[element_index(&row)], verdicts, deferred);
            } else {
                deferred.complete.push(campaign);
            }
        }
        Ok(())
    }

    fn take_exception(row: &Row, event: &Event<'_>, verdicts: &mut [Verdict], deferred: &mut Deferred) {
        let (campaign, lead_no, bits) = (event.campaign, event.lead_no, row.get("missed"));
        if bits != 0 {
            deferred.missed.push(Missed { campaign, lead_no, bits });
        }
        if let Some((ordinal, _)) = event.source {
            verdicts[ordinal] = match (row.get("applied"), row.get("known")) {
                (true, _) => Verdict::Applied,
                (false, true) => Verdict::Duplicate,
                (false, false) => Verdict::Rejected(Rejection::UnknownLead),
            };
        }
        if row.get("unclaimed") {
            deferred.unclaimed.push(Unclaimed {
                campaign,
                lead_no,
                step: i16::from(event.fact.bit() & 15) + 1,
                account_id: row.get("message_account"),
                at: event.at,
            });
        }
    }

    /// Makes the batch run again if the log has by now a fact that the statement missed: another transaction committed it
    /// after the statement began and before it locked the lead.
    ///
    /// A fact that is still missing, with the lead locked, was dropped with its partition. Then the statement's choice is
    /// right: the message counts for the account of its lead, and its earlier result is subtracted on a day before all others.
    async fn check_missed(&self, missed: Vec<Missed>) -> Result<()> {
        if missed.is_empty() {
            return Ok(());
        }
        let find = "SELECT EXISTS (
            SELECT FROM unnest($1::int4[], $2::int4[], $3::int4[], $4::int8[]) AS e (workspace_id, campaign_id, lead_no, bits)
            CROSS JOIN generate_series(0, converted_bit()) AS bit (bit)
            WHERE has_fact(bits, bit) AND log_time(workspace_id, campaign_id, lead_no, bit) IS NOT NULL
        )";
        let workspaces: Vec<i32> = missed.iter().map(|missed| missed.campaign.0).collect();
        let campaigns: Vec<i32> = missed.iter().map(|missed| missed.campaign.1).collect();
        let leads: Vec<i32> = missed.iter().map(|missed| missed.lead_no).collect();
        let bits: Vec<i64> = missed.iter().map(|missed| missed.bits).collect();
        let find = self.txn.prepare_cached(find).await?;
        let is_found: bool = self.txn.query_one(&find, &[&workspaces, &campaigns, &leads, &bits]).await?.get(0);
        if is_found { Err(snapshot_outdated()) } else { Ok(()) }
    }

    async fn finish(&self, mut complete: Vec<CampaignKey>) -> Result<()> {
        complete.sort_unstable();
        complete.dedup();
        let is_open =
            |key: &CampaignKey| self.terms.get(key).is_some_and(|terms| terms.state != CampaignState::Finished);
        complete.retain(is_open);
        for (workspace_id, campaign_id) in complete {
            campaigns_finish_in_txn(self.txn, workspace_id, &[campaign_id], Emptied::StaysOpen, self.now).await?;
        }
        Ok(())
    }

    /// Makes sure that no claim is granted for a message that is reported without one.
    ///
    /// A concurrent claim does not see this report yet, and this report has not seen a claim that was granted since its
    /// statement began. So it locks the campaigns and looks for such claims again: those of the step, and where the message
    /// counts for no account also those of other steps, whose account it should have. Later claims wait for the lock, and
    /// then see the report.
    ///
    /// The lock comes late in the lock order, hence NOWAIT; a retry has taken it from the start, in [`Terms`]. Its mode is the
    /// one that a finish needs: two batches that shared a weaker one could keep each other from finishing the campaign.
    async fn check_unclaimed(&self, unclaimed: &[Unclaimed]) -> Result<()> {
        if unclaimed.is_empty() {
            return Ok(());
        }
        let lock =
            "SELECT FROM campaigns WHERE (workspace_id, campaign_id) IN (SELECT w, c FROM unnest($1::int4[], $2::int4[]) AS key (w, c))
            ORDER BY workspace_id, campaign_id FOR NO KEY UPDATE NOWAIT";
        let find = "SELECT EXISTS (
            SELECT FROM unnest($1::int4[], $2::int4[], $3::int4[], $4::int2[], $5::bool[])
                AS e (workspace_id, campaign_id, lead_no, step, has_account)
            CROSS JOIN LATERAL (
                SELECT FROM claims c
                WHERE c.workspace_id = e.workspace_id AND c.campaign_id = e.campaign_id AND c.block = lead_block(e.lead_no)
                    AND has_lead(c.claimed, e.lead_no)
                    AND (c.step = e.step OR NOT e.has_account AND (
                        SELECT NOT has_result(l.mask, c.step - 1) FROM leads l
                        WHERE l.workspace_id = e.workspace_id AND l.campaign_id = e.campaign_id AND l.lead_no = e.lead_no
                        LIMIT 1
                    ))
                LIMIT 1
            ) c
        )";
        let workspaces: Vec<i32> = unclaimed.iter().map(|message| message.campaign.0).collect();
        let campaigns: Vec<i32> = unclaimed.iter().map(|message| message.campaign.1).collect();
        let leads: Vec<i32> = unclaimed.iter().map(|message| message.lead_no).collect();
        let steps: Vec<i16> = unclaimed.iter().map(|message| message.step).collect();
        let has_account: Vec<bool> = unclaimed.iter().map(|message| message.account_id.is_some()).collect();
        let (lock, find) = try_join!(self.txn.prepare_cached(lock), self.txn.prepare_cached(find))?;
        let lock_params: [&(dyn ToSql + Sync); 2] = [&workspaces, &campaigns];
        let find_params: [&(dyn ToSql + Sync); 5] = [&workspaces, &campaigns, &leads, &steps, &has_account];
        if self.attempt == 0 {
            let locked = self.txn.execute(&lock, &lock_params).await;
            // Run again with the lock from the start, whatever a transaction does that could not wait for a lock.
            locked.map_err(|error| if is_lock_unavailable(&error) { snapshot_outdated() } else { error.into() })?;
        }
        let is_claimed: bool = self.txn.query_one(&find, &find_params).await?.get(0);
        if is_claimed { Err(snapshot_outdated()) } else { Ok(()) }
    }

    /// Counts messages that were sent without a claim against the limits of their days.
    async fn reserve_unclaimed(&self, unclaimed: Vec<Unclaimed>) -> Result<()> {
        if unclaimed.is_empty() {
            return Ok(());
        }
        let mut accounts: Vec<(i32, i32)> =
            unclaimed.iter().filter_map(|message| Some((message.campaign.0, message.account_id?))).collect();
        accounts.sort_unstable();
        accounts.dedup();
        let (workspaces, ids): (Vec<i32>, Vec<i32>) = accounts.into_iter().unzip();
        let sql = "SELECT a.workspace_id, a.account_id, a.time_zone
            FROM unnest($1::int4[], $2::int4[]) AS key (workspace_id, account_id)
            JOIN accounts a ON a.workspace_id = key.workspace_id AND a.account_id = key.account_id";
        let mut campaigns: Vec<CampaignKey> = unclaimed.iter().map(|message| message.campaign).collect();
        campaigns.sort_unstable();
        campaigns.dedup();
        let statement = self.txn.prepare_cached(sql).await?;
        let params: [&(dyn ToSql + Sync); 2] = [&workspaces, &ids];
        let zones = async { Ok(self.txn.query(&statement, &params).await?) };
        let (rows, keeps_shares) = try_join!(zones, keeps_shares_in_txn(self.txn, &campaigns))?;
        let mut zones: HashMap<(i32, i32), TimeZone> = HashMap::new();
        for row in rows {
            zones.insert((row.get(0), row.get(1)), parse_time_zone(row.get(2))?);
        }
        let account_day = |campaign: CampaignKey, account_id: Option<i32>, at| {
            let id = account_id?;
            Some((id, local_day(zones.get(&(campaign.0, id))?, at)))
        };
        let mut kept = vec![Kept::default(); unclaimed.len()];
        if keeps_shares {
            let mut shares = Vec::with_capacity(unclaimed.len());
            for &Unclaimed { campaign, lead_no, step, account_id, at } in &unclaimed {
                let account = account_day(campaign, account_id, at);
                shares.push(Share { campaign, lead_no, step, account, campaign_day: self.campaign_day(campaign, at)? });
            }
            kept = shares_kept_in_txn(self.txn, &shares).await?;
        }
        // Most messages have the time of their receipt: grouped by time, they need one conversion to a local day.
        let mut counts: BTreeMap<(CampaignKey, Option<i32>, Timestamp, Kept), i64> = BTreeMap::new();
        for (message, kept) in unclaimed.into_iter().zip(kept) {
            *counts.entry((message.campaign, message.account_id, message.at, kept)).or_default() += 1;
        }
        let mut days: BTreeMap<(LimitOwner, i32, i32, Date), i64> = BTreeMap::new();
        for ((campaign, account_id, at, kept), count) in counts {
            if let Some((id, day)) = account_day(campaign, account_id, at).filter(|_| !kept.of_account) {
                *days.entry((LimitOwner::Account, campaign.0, id, day)).or_default() += count;
            }
            if let Some(day) = self.campaign_day(campaign, at)?.filter(|_| !kept.of_campaign) {
                *days.entry((LimitOwner::Campaign, campaign.0, campaign.1, day)).or_default() += count;
            }
        }
        for owner in [LimitOwner::Account, LimitOwner::Campaign] {
            let days = days.iter().filter(|((of_day, ..), _)| *of_day == owner);
            let days: Vec<_> =
                days.map(|((_, workspace_id, id, day), count)| (*workspace_id, *id, *day, *count)).collect();
            reported_add_in_txn(self.txn, owner, &days).await?;
        }
        Ok(())
    }

    /// The local day of a campaign.
    fn campaign_day(&self, campaign: CampaignKey, at: Timestamp) -> Result<Option<Date>> {
        let Some(terms) = self.terms.get(&campaign) else { return Ok(None) };
        Ok(Some(local_day(&parse_time_zone(&terms.time_zone)?, at)))
    }
}

/// The arrays that the statement unnests.
#[derive(Default)]
struct Columns<'a> {
    workspaces: Vec<i32>,
    campaigns: Vec<i32>,
    leads: Vec<i32>,
    bits: Vec<i32>,
    times: Vec<Timestamp>,
    reasons: Vec<Option<i16>>,
    details: Vec<Option<&'a str>>,
    values: Vec<Option<i64>>,
    steps: Vec<i32>,
    follow_ups: Vec<Timestamp>,
}

/// Divides events into rounds of at most one for each lead, sorted by key, so that all batches lock in the same order. Returns
/// repeats within the batch separately, each with the ordinal of the first of its kind.
fn rounds(mut events: Vec<Event<'_>>) -> (Vec<Vec<Event<'_>>>, Vec<(usize, usize)>) {
    events.sort_by_key(|event| (event.campaign, event.lead_no));
    let mut rounds: Vec<Vec<Event<'_>>> = Vec::new();
    let mut repeats = Vec::new();
    let mut lead = None;
    // Facts of the lead so far, with the ordinal of the first of each.
    let mut seen: Vec<(u8, Option<usize>)> = Vec::new();
    for event in events {
        if lead != Some((event.campaign, event.lead_no)) {
            lead = Some((event.campaign, event.lead_no));
            seen.clear();
        }
        let (bit, ordinal) = (event.fact.bit(), event.source.map(|(ordinal, _)| ordinal));
        if let Some((_, first)) = seen.iter_mut().find(|(other, _)| *other == bit) {
            match (*first, ordinal) {
                (Some(first), Some(ordinal)) => repeats.push((ordinal, first)),
                // At least one of the two has no caller, so there is no verdict to repeat.
                _ => *first = first.or(ordinal),
            }
            continue;
        }
        let round = seen.len();
        seen.push((bit, ordinal));
        if rounds.len() == round {
            rounds.push(Vec::new());
        }
        rounds[round].push(event);
    }
    (rounds, repeats)
}
