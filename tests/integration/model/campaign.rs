//! A campaign of the model: its settings, its state, its leads, and the rules about them.

use std::collections::{BTreeMap, BTreeSet};

use campaign_metrics::pb::{CampaignState, FinishReason, OutcomeKind};
use jiff::{SignedDuration, Timestamp, civil::Date};

use super::{
    hours::{HOURS, Hours, local_day},
    lead::{Claim, Contact, Lead, Message},
    world::{Learned, room},
};

#[derive(Debug, Clone)]
pub struct Owner {
    pub uid: String,
    pub generation: i64,
    pub fencing_token: i64,
}

#[derive(Debug, Clone)]
pub struct Campaign {
    pub id: &'static str,
    pub display_name: String,
    pub steps: usize,
    pub delay: SignedDuration,
    pub serving: BTreeSet<usize>,
    /// Place in [`HOURS`].
    pub hours: usize,
    pub limit: Option<i32>,
    pub retries: bool,
    pub settle_seconds: i32,
    pub attribution_days: i32,
    pub is_complete: bool,
    pub state: CampaignState,
    pub finish_reason: FinishReason,
    pub created: Timestamp,
    pub updated: Timestamp,
    pub finished: Option<Timestamp>,
    pub finalized: Option<Timestamp>,
    pub owner: Option<Owner>,
    pub reserved: BTreeMap<Date, i64>,
    /// When claims of it were last granted.
    pub last_grant: Option<Timestamp>,
    pub leads: Vec<Lead>,
    /// Whether a waiting step ended otherwise. The service may then list it as due until the next claim, so its reasons
    /// can lack those of a campaign without due steps (docs/operating.md).
    pub is_blurred: bool,
    /// All expiry times of its claims, also of claims that ended earlier.
    pub expiries: BTreeSet<Timestamp>,
    pub uid: Learned,
    pub etag: Learned,
}

/// Whether expired claims that are granted again count, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expired {
    Included,
    LeftOut,
}

impl Campaign {
    pub fn hours(&self) -> &'static Hours {
        &HOURS[self.hours]
    }

    pub fn room(&self, now: Timestamp) -> i64 {
        room(self.limit, &self.reserved, local_day(self.hours().zone, now))
    }

    pub fn is_final(&self) -> bool {
        self.finalized.is_some()
    }

    pub fn attribution_ended(&self, now: Timestamp) -> bool {
        let days = SignedDuration::from_hours(24 * i64::from(self.attribution_days));
        self.finished.is_some_and(|finished| finished + days < now)
    }

    /// Whether an expired claim is granted again.
    pub fn hands_out_expired(&self) -> bool {
        self.retries && self.state == CampaignState::Active
    }

    /// The step of a lead that waits for a claim of any account, with its due time.
    pub fn waiting(&self, lead: &Lead) -> Option<(usize, Option<Timestamp>)> {
        if lead.claim.is_some() { None } else { lead.next_step(self.steps).map(|step| (step, lead.due_at)) }
    }

    /// The step that an account may be granted now.
    pub fn due(&self, lead: &Lead, account: usize, now: Timestamp) -> Option<usize> {
        if let Some(claim) = &lead.claim {
            let expired = self.hands_out_expired() && claim.expires <= now && claim.account == account;
            // Another step was delivered meanwhile: then the one after that is due at its own time.
            let is_due = |step: &usize| *step == claim.step || lead.due_at.is_some_and(|due| due <= now);
            return lead.next_step(self.steps).filter(|step| expired && is_due(step));
        }
        let (step, due_at) = self.waiting(lead)?;
        let is_mine = lead.account.is_none_or(|mine| mine == account);
        (is_mine && due_at.is_none_or(|due| due <= now)).then_some(step)
    }

    /// How many steps an account may be granted now, with or without those of expired claims.
    pub fn due_count(&self, account: usize, now: Timestamp, expired: Expired) -> i64 {
        let is_asked = |lead: &&Lead| expired == Expired::Included || lead.claim.is_none();
        let due = self.leads.iter().filter(is_asked).filter(|lead| self.due(lead, account, now).is_some());
        i64::try_from(due.count()).expect("few leads")
    }

    pub fn messages(&self) -> impl Iterator<Item = Message> {
        self.leads.iter().flat_map(|lead| lead.messages(self.steps))
    }

    pub fn contacts(&self) -> impl Iterator<Item = Contact> {
        self.leads.iter().filter_map(|lead| lead.contact(self.steps))
    }

    /// Claims held and uncertain.
    pub fn claims(&self, now: Timestamp) -> (i64, i64) {
        let claims = self.leads.iter().filter_map(|lead| lead.claim.as_ref());
        claims.fold(
            (0, 0),
            |(held, uncertain), claim| if claim.expires > now { (held + 1, uncertain) } else { (held, uncertain + 1) },
        )
    }

    /// Whether an account, or any account, has uncertain claims.
    pub fn has_uncertain(&self, account: Option<usize>, now: Timestamp) -> bool {
        let claims = self.leads.iter().filter_map(|lead| lead.claim.as_ref());
        claims.filter(|claim| account.is_none_or(|account| claim.account == account)).any(|claim| claim.expires <= now)
    }

    /// When the next step is due to one of the accounts; one that was never claimed is due now.
    pub fn next_due(&self, accounts: &[usize], now: Timestamp) -> Option<Timestamp> {
        if !self.leads.iter().any(|lead| lead.is_open(self.steps)) {
            return None;
        }
        let expired = |account: &usize| self.has_uncertain(Some(*account), now);
        if self.hands_out_expired() && accounts.iter().any(expired) {
            return Some(now);
        }
        let waits = self.leads.iter().filter_map(|lead| {
            let (_, due_at) = self.waiting(lead)?;
            let is_theirs = lead.account.is_none_or(|account| accounts.contains(&account));
            is_theirs.then_some(due_at.unwrap_or(now))
        });
        waits.min()
    }

    pub fn finish_if_complete(&mut self, now: Timestamp) {
        let is_open = self.leads.iter().any(|lead| lead.is_open(self.steps));
        if self.state != CampaignState::Finished && self.is_complete && !self.leads.is_empty() && !is_open {
            self.finish(FinishReason::Completed, now);
        }
    }

    /// A complete campaign also finishes when its last lead is removed.
    pub fn finish_if_emptied(&mut self, now: Timestamp) {
        if self.state != CampaignState::Finished && self.is_complete && self.leads.is_empty() {
            self.finish(FinishReason::Completed, now);
        }
    }

    /// Sets the hours: what is reserved of the present day counts on in the present day of the new zone.
    pub fn set_hours(&mut self, hours: usize, now: Timestamp) {
        let (old, new) = (local_day(self.hours().zone, now), local_day(HOURS[hours].zone, now));
        self.hours = hours;
        if old != new {
            let moved = self.reserved.remove(&old).unwrap_or(0);
            *self.reserved.entry(new).or_default() += moved;
            let claims = self.leads.iter_mut().filter_map(|lead| lead.claim.as_mut());
            claims.filter(|claim| claim.days.1 == old).for_each(|claim| claim.days.1 = new);
            for lead in &mut self.leads {
                let moved = |day: Date| if day == old { new } else { day };
                lead.kept = lead.kept.iter().map(|kept| (kept.0, kept.1, kept.2, moved(kept.3))).collect();
            }
        }
    }

    fn finish(&mut self, reason: FinishReason, now: Timestamp) {
        self.state = CampaignState::Finished;
        self.finish_reason = reason;
        self.finished = Some(now);
        self.updated = now;
        self.etag.change();
    }

    /// Settings or state changed.
    pub fn touch(&mut self, now: Timestamp) {
        self.updated = now;
        self.etag.change();
    }

    pub fn set_state(&mut self, to: CampaignState, now: Timestamp) {
        if self.state == to {
            return;
        }
        if to == CampaignState::Finished {
            return self.finish(FinishReason::Requested, now);
        }
        self.state = to;
        self.touch(now);
    }

    /// Settings were written; where they declare the list complete, the campaign may finish.
    pub fn settings_written(&mut self, now: Timestamp) {
        self.touch(now);
        self.finish_if_complete(now);
    }

    /// Declares the list complete, by the last message of AddLeads.
    pub fn declare_complete(&mut self, now: Timestamp) {
        if !self.is_complete {
            self.is_complete = true;
            self.touch(now);
        }
        self.finish_if_complete(now);
    }

    /// Sets the accounts. Leads of an account that leaves, without a delivery and a claim, become free for any account.
    pub fn serve_by(&mut self, accounts: BTreeSet<usize>) {
        for left in &self.serving - &accounts {
            for lead in &mut self.leads {
                let has_delivery = lead.trail.iter().any(|entry| entry.fact.0 == OutcomeKind::Delivered);
                if lead.account == Some(left) && !has_delivery && lead.claim.is_none() {
                    lead.account = None;
                }
            }
        }
        self.serving = accounts;
    }

    /// Records a change of a lead that the service may still list as due.
    pub fn blur(&mut self, lead: usize) {
        let lead = &self.leads[lead];
        self.is_blurred |= lead.is_open(self.steps);
    }

    /// A claim ended without an outcome: its step is due again for its account.
    pub fn end_claim(&mut self, lead: usize, due_at: Timestamp) -> Option<Claim> {
        let claim = self.leads[lead].claim.take()?;
        self.leads[lead].account = Some(claim.account);
        // Where another step is next by now, that one waits for its own time.
        if self.leads[lead].next_step(self.steps) == Some(claim.step) {
            self.leads[lead].due_at = Some(due_at);
        }
        Some(claim)
    }

    /// Expired claims become due again.
    pub fn retry_expired(&mut self, now: Timestamp) {
        for lead in 0..self.leads.len() {
            if self.leads[lead].claim.as_ref().is_some_and(|claim| claim.expires <= now) {
                let claim = self.end_claim(lead, now).expect("it is there");
                // Its message may have been sent.
                self.leads[lead].kept.insert((claim.step, claim.account, claim.days.0, claim.days.1));
            }
        }
    }

    pub fn may_finalize(&self, now: Timestamp) -> bool {
        !self.is_final() && self.has_settled(now)
    }

    /// The service finalizes by itself, so it may have done so earlier than the model: at any time after the settle time.
    pub fn learn_finalized(&mut self, seen: Timestamp) {
        if let Some(finalized) = self.finalized
            && seen < finalized
            && self.has_settled(seen)
        {
            if self.updated == finalized {
                self.updated = seen;
            }
            self.finalized = Some(seen);
        }
    }

    fn has_settled(&self, now: Timestamp) -> bool {
        let settle = SignedDuration::from_secs(self.settle_seconds.into());
        let is_over = |since: Timestamp| since + settle <= now;
        let mut claims = self.leads.iter().filter_map(|lead| lead.claim.as_ref());
        self.finished.is_some_and(is_over) && claims.all(|claim| is_over(claim.expires))
    }
}
