//! Decides which outcomes a campaign takes.

use std::collections::HashMap;

use campaign_metrics::{
    campaign::CampaignState,
    lead::{Fact, Facts, Step},
    sending::{CLOCK_SKEW_MAX, LeadRef, Outcome, Rejection, Verdict},
};
use deadpool_postgres::Transaction;
use jiff::{SignedDuration, Timestamp};
use tokio_postgres::Row;

use crate::{
    error::Result,
    store::row::{CampaignKey, campaign_state, element_index},
};

/// An outcome of a lead whose number is known.
pub(super) struct Event<'a> {
    /// Its ordinal among the outcomes of the transaction, and the outcome. `None` if no caller waits for a verdict.
    pub(super) source: Option<(usize, &'a Outcome)>,
    pub(super) campaign: CampaignKey,
    pub(super) lead_no: i32,
    pub(super) fact: Fact,
    pub(super) at: Timestamp,
}

/// What decides about the outcomes of a campaign.
pub(super) struct Terms {
    pub(super) salt: i32,
    pub(super) steps: Step,
    pub(super) follow_up_delay: SignedDuration,
    pub(super) state: CampaignState,
    pub(super) is_final: bool,
    pub(super) attribution_ended: bool,
    pub(super) time_zone: String,
}

/// Locks campaigns by number, and reads their terms.
///
/// The lock keeps them from becoming final before the commit. The lock of a retry also keeps claims out, which a message that
/// is reported without a claim needs.
pub(super) async fn terms_lock_in_txn(
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

/// Decides by the terms of its campaign whether an outcome is taken.
pub(super) fn judge(
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

/// Fills in the verdicts of outcomes that come too late: an exact repeat is a duplicate, the others are rejected.
pub(super) async fn final_verdicts_in_txn(
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
        let (ordinal, event) = &events[element_index(&row)];
        verdicts[*ordinal] = match event.fact {
            fact if Facts(row.get("mask")).has(fact) => Verdict::Duplicate,
            // An opt-out of a lead that has an id is not judged here: it goes on the list.
            Fact::OptedOut => Verdict::Rejected(Rejection::OptOutUnnamed),
            _ => Verdict::Rejected(Rejection::CampaignFinal),
        };
    }
    Ok(())
}
