//! The rules of the product in memory, as simply as possible: several workspaces with accounts, campaigns and leads.
//!
//! Written from the rules, not from the service's code. Where the rules leave a choice (which due leads a claim gets,
//! when upkeep runs), the model takes the service's choice and checks that it is allowed.

use std::collections::BTreeMap;

use campaign_metrics::pb::{CampaignState, FailureReason, OutcomeKind, OutcomeVerdict};
use jiff::{SignedDuration, Timestamp, civil::Date};

use super::{
    campaign::Campaign,
    hours::local_day,
    lead::{Claim, Contact, Entry, Fact, Message},
};

/// How far ahead of the service's clock an outcome may lie.
const SKEW: SignedDuration = SignedDuration::from_mins(5);

/// A text that the service chooses. The model learns it, and it may change only when the rules allow that.
#[derive(Debug, Clone, Default)]
pub struct Learned {
    pub current: Option<String>,
    pub former: Vec<String>,
}

impl Learned {
    /// Forgets it, because it may have changed.
    pub fn change(&mut self) {
        self.former.extend(self.current.take());
    }
}

#[derive(Debug, Clone)]
pub struct Account {
    pub id: &'static str,
    pub display_name: String,
    pub zone: &'static str,
    pub limit: Option<i32>,
    pub is_suspended: bool,
    pub reserved: BTreeMap<Date, i64>,
    pub created: Timestamp,
    pub updated: Timestamp,
    pub uid: Learned,
    pub etag: Learned,
}

#[derive(Debug, Clone)]
pub struct Workspace {
    pub id: String,
    pub accounts: Vec<Account>,
    pub campaigns: Vec<Campaign>,
    pub opt_outs: BTreeMap<String, Timestamp>,
    /// Campaigns that were deleted: account figures stay.
    pub gone: Vec<Campaign>,
}

#[derive(Debug, Clone)]
pub struct World {
    pub now: Timestamp,
    pub workspaces: Vec<Workspace>,
}

/// What is reported of a lead.
#[derive(Debug, Clone)]
pub struct Report {
    pub campaign: usize,
    pub lead: usize,
    pub fact: Fact,
    pub reason: FailureReason,
    pub detail: String,
    pub at: Option<Timestamp>,
    pub value_micros: Option<i64>,
}

/// What is left of a daily limit.
pub fn room(limit: Option<i32>, reserved: &BTreeMap<Date, i64>, day: Date) -> i64 {
    limit.map_or(i64::MAX, |limit| (i64::from(limit) - reserved.get(&day).copied().unwrap_or(0)).max(0))
}

impl Workspace {
    pub fn account_room(&self, account: usize, now: Timestamp) -> i64 {
        let account = &self.accounts[account];
        room(account.limit, &account.reserved, local_day(account.zone, now))
    }

    /// Adds a message to the use of the limits of two days, or gives it back. What an earlier claim keeps of it stays.
    fn reserve(
        &mut self,
        (campaign, lead, step): (usize, usize, usize),
        of: (Option<usize>, Option<Date>, Date),
        count: i64,
    ) {
        let (account, account_day, campaign_day) = of;
        let kept: Vec<_> =
            self.campaigns[campaign].leads[lead].kept.iter().filter(|kept| kept.0 == step).copied().collect();
        if let (Some(account), Some(day)) = (account, account_day)
            && !kept.iter().any(|kept| (kept.1, kept.2) == (account, day))
        {
            *self.accounts[account].reserved.entry(day).or_default() += count;
        }
        if !kept.iter().any(|kept| kept.3 == campaign_day) {
            *self.campaigns[campaign].reserved.entry(campaign_day).or_default() += count;
        }
    }

    pub fn claim(&mut self, campaign: usize, lead: usize, claim: Claim, now: Timestamp) {
        let of = (Some(claim.account), Some(claim.days.0), claim.days.1);
        self.reserve((campaign, lead, claim.step), of, 1);
        let campaign = &mut self.campaigns[campaign];
        campaign.expiries.insert(claim.expires);
        campaign.last_grant = Some(now);
        campaign.leads[lead].due_at = None;
        campaign.leads[lead].claim = Some(claim);
    }

    /// A claim ends unsent; its reservations are given back.
    pub fn give_back(&mut self, campaign: usize, lead: usize, due_at: Timestamp) {
        if let Some(claim) = self.campaigns[campaign].end_claim(lead, due_at) {
            let of = (Some(claim.account), Some(claim.days.0), claim.days.1);
            self.reserve((campaign, lead, claim.step), of, -1);
        }
    }

    /// Takes in one batch of outcomes of leads that exist; one verdict with its reason for each.
    pub fn report(&mut self, batch: &[Report], now: Timestamp) -> Vec<(OutcomeVerdict, &'static str)> {
        let terms: Vec<_> =
            self.campaigns.iter().map(|campaign| (campaign.is_final(), campaign.attribution_ended(now))).collect();
        let mut verdicts = Vec::new();
        let mut opted_out: Vec<String> = Vec::new();
        let mut listed: Vec<String> = Vec::new();
        for report in batch {
            let (kind, step) = report.fact;
            let campaign = &self.campaigns[report.campaign];
            let lead = &campaign.leads[report.lead];
            let is_known = lead.has(kind, step);
            let is_closed = if step > 0 { terms[report.campaign].0 } else { terms[report.campaign].1 };
            verdicts.push(if step > campaign.steps {
                (OutcomeVerdict::Rejected, "STEP_OUT_OF_RANGE")
            } else if report.at.is_some_and(|at| at.duration_since(now) > SKEW) {
                (OutcomeVerdict::Rejected, "TIME_IN_FUTURE")
            } else if is_known {
                (OutcomeVerdict::Duplicate, "")
            } else if is_closed && kind == OutcomeKind::OptedOut {
                // It changes nothing of its campaign, but the id goes on the list.
                match &lead.id {
                    None => (OutcomeVerdict::Rejected, "UNKNOWN_LEAD"),
                    Some(id) if self.opt_outs.contains_key(id) || listed.contains(id) => {
                        (OutcomeVerdict::Duplicate, "")
                    }
                    Some(id) => {
                        listed.push(id.clone());
                        (OutcomeVerdict::Applied, "")
                    }
                }
            } else if is_closed {
                (OutcomeVerdict::Rejected, "CAMPAIGN_FINAL")
            } else {
                if kind == OutcomeKind::OptedOut {
                    opted_out.extend(lead.id.clone());
                }
                self.apply(report, now);
                (OutcomeVerdict::Applied, "")
            });
        }
        for id in opted_out.into_iter().chain(listed) {
            self.opt_out(&id, now);
        }
        self.finish_complete(now);
        verdicts
    }

    fn apply(&mut self, report: &Report, now: Timestamp) {
        let (kind, step) = report.fact;
        let at = report.at.unwrap_or(now);
        let campaign = &mut self.campaigns[report.campaign];
        let (steps, delay, zone) = (campaign.steps, campaign.delay, campaign.hours().zone);
        let lead = &mut campaign.leads[report.lead];
        let first = lead.trail.iter().find(|entry| step > 0 && entry.fact.1 == step).map(|entry| entry.account);
        let closed = lead.claim.take_if(|claim| claim.step == step && first.is_none());
        // A message assigns the lead to the account of its claim, also of that of another step.
        if let Some(claim) = closed.as_ref().or(lead.claim.as_ref()).filter(|_| step > 0) {
            lead.account.get_or_insert(claim.account);
        }
        // The account of the first outcome of its step, or of its claim, or of its lead.
        let account = first.unwrap_or(closed.as_ref().map(|claim| claim.account).or(lead.account));
        let next_step = lead.next_step(steps);
        lead.trail.push(Entry {
            fact: report.fact,
            reason: report.reason,
            detail: if lead.id.is_some() { report.detail.clone() } else { String::new() },
            at,
            received: now,
            account,
            value_micros: report.value_micros,
        });
        let goes_on = lead.next_step(steps);
        if kind == OutcomeKind::Delivered && goes_on != next_step {
            lead.due_at = lead.last_delivery(steps).map(|delivered| delivered + delay);
        }
        campaign.is_blurred |= closed.is_none() && next_step.is_some() && goes_on != next_step;
        if step > 0 && first.is_none() && closed.is_none() {
            // Sent without a claim: it counts on its own day, and is never refused.
            let day = account.map(|account| local_day(self.accounts[account].zone, at));
            self.reserve((report.campaign, report.lead, step), (account, day, local_day(zone, at)), 1);
        }
    }

    /// Every lead of this id opts out in the campaigns that can still change; so does one that is added later.
    pub fn opt_out(&mut self, id: &str, now: Timestamp) {
        self.opt_outs.entry(id.to_owned()).or_insert(now);
        for campaign in 0..self.campaigns.len() {
            let found = self.campaigns[campaign].leads.iter().position(|lead| lead.id.as_deref() == Some(id));
            if let Some(lead) = found {
                self.opt_out_lead(campaign, lead, now);
            }
        }
        self.finish_complete(now);
    }

    pub fn opt_out_lead(&mut self, campaign: usize, lead: usize, now: Timestamp) {
        let of = &self.campaigns[campaign];
        if !of.attribution_ended(now) && !of.leads[lead].has(OutcomeKind::OptedOut, 0) {
            let fact = (OutcomeKind::OptedOut, 0);
            let (detail, reason) = (String::new(), FailureReason::Unspecified);
            self.apply(&Report { campaign, lead, fact, reason, detail, at: None, value_micros: None }, now);
        }
    }

    /// Removes a lead without facts, or forgets one with facts. That one keeps the account of its claim, and ends unless its
    /// campaign has.
    pub fn delete_lead(&mut self, campaign: usize, lead: usize, now: Timestamp) {
        let claim = self.campaigns[campaign].leads[lead].claim.take();
        if claim.is_none() {
            self.campaigns[campaign].blur(lead);
        }
        let is_over = self.campaigns[campaign].state == CampaignState::Finished;
        if self.campaigns[campaign].leads[lead].trail.is_empty() {
            self.campaigns[campaign].leads.remove(lead);
            self.campaigns[campaign].finish_if_emptied(now);
        } else {
            let lead = &mut self.campaigns[campaign].leads[lead];
            lead.id = None;
            lead.is_removed = !is_over;
            lead.account = lead.account.or(claim.map(|claim| claim.account));
            lead.trail.iter_mut().for_each(|entry| entry.detail.clear());
        }
        self.finish_complete(now);
    }

    /// Campaigns finish by themselves when they are complete.
    pub fn finish_complete(&mut self, now: Timestamp) {
        self.campaigns.iter_mut().for_each(|campaign| campaign.finish_if_complete(now));
    }

    /// Sets the zone of an account: what is reserved of the present day counts on in the present day of the new zone.
    pub fn move_account(&mut self, account: usize, zone: &'static str, now: Timestamp) {
        let of = &mut self.accounts[account];
        let (old, new) = (local_day(of.zone, now), local_day(zone, now));
        of.zone = zone;
        if old != new {
            let moved = of.reserved.remove(&old).unwrap_or(0);
            *of.reserved.entry(new).or_default() += moved;
            for lead in self.campaigns.iter_mut().flat_map(|campaign| &mut campaign.leads) {
                let moved = |kept: (usize, usize, Date, Date)| (kept.0, kept.1, new, kept.3);
                let is_it = |kept: &(usize, usize, Date, Date)| (kept.1, kept.2) == (account, old);
                lead.kept = lead.kept.iter().map(|kept| if is_it(kept) { moved(*kept) } else { *kept }).collect();
            }
            let claims = self.campaigns.iter_mut().flat_map(|campaign| &mut campaign.leads);
            let claims = claims.filter_map(|lead| lead.claim.as_mut()).filter(|claim| claim.account == account);
            claims.filter(|claim| claim.days.0 == old).for_each(|claim| claim.days.0 = new);
        }
    }

    pub fn delete_campaign(&mut self, campaign: usize) {
        let campaign = self.campaigns.remove(campaign);
        self.gone.push(campaign);
    }

    /// All messages, also those of deleted campaigns.
    pub fn messages(&self) -> impl Iterator<Item = Message> {
        self.campaigns.iter().chain(&self.gone).flat_map(Campaign::messages)
    }

    /// The first contacts of all leads, also those of deleted campaigns.
    pub fn contacts(&self) -> impl Iterator<Item = Contact> {
        self.campaigns.iter().chain(&self.gone).flat_map(Campaign::contacts)
    }
}

impl World {
    /// What upkeep does twice a minute: results become final, and expired claims are due again under the policy
    /// `retry`.
    pub fn keep_house(&mut self) {
        for campaign in self.workspaces.iter_mut().flat_map(|workspace| &mut workspace.campaigns) {
            if campaign.hands_out_expired() {
                campaign.retry_expired(self.now);
            }
            if campaign.may_finalize(self.now) {
                campaign.finalized = Some(self.now);
                campaign.touch(self.now);
            }
        }
    }

    /// Whether upkeep would change anything now. It runs by itself, so both states may be seen.
    pub fn wants_upkeep(&self) -> bool {
        let mut campaigns = self.workspaces.iter().flat_map(|workspace| &workspace.campaigns);
        campaigns.any(|campaign| {
            campaign.may_finalize(self.now) || campaign.hands_out_expired() && campaign.has_uncertain(None, self.now)
        })
    }
}
