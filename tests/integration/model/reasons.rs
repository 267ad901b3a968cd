//! Reasons for not sending, and when they change: found by trying all moments at which something can change.

use std::collections::BTreeMap;

use campaign_metrics::pb::{CampaignState, NotSendingReason as Reason};
use jiff::{Timestamp, civil::Date};

use super::{
    campaign::{Campaign, Expired},
    hours::{local_day, next_day},
    lead::Lead,
    world::Workspace,
};

/// Who claims: an account, of one campaign or of all that it serves.
#[derive(Debug, Clone, Copy)]
pub struct Asker {
    pub account: usize,
    pub campaign: Option<usize>,
}

impl Asker {
    pub fn asks(self, campaign: usize) -> bool {
        self.campaign.is_none_or(|asked| asked == campaign)
    }
}

/// What can change by time alone.
type Seen = (Vec<Reason>, (i64, i64));

impl Workspace {
    /// How many of the requested claims are granted.
    pub fn granted(&self, who: Asker, max: i64, now: Timestamp) -> i64 {
        self.granted_of(who, max, now, Expired::Included)
    }

    /// Whether a claim may take less of the limits than one message each: a step that is granted again has its share of today.
    pub fn keeps_shares(&self, now: Timestamp) -> bool {
        self.campaigns.iter().any(|campaign| {
            let today = local_day(campaign.hours().zone, now);
            campaign.leads.iter().any(|lead| {
                let is_of_today = |kept: &(usize, usize, Date, Date)| {
                    kept.2 == local_day(self.accounts[kept.1].zone, now) || kept.3 == today
                };
                lead.kept.iter().any(is_of_today)
                    || campaign.hands_out_expired() && lead.claim.as_ref().is_some_and(|claim| claim.expires <= now)
            })
        })
    }

    /// What is used today of the limits of a campaign and of an account.
    pub fn shares_of(&self, campaign: usize, account: usize, now: Timestamp) -> (i64, i64) {
        let (campaign, account) = (&self.campaigns[campaign], &self.accounts[account]);
        let used = |reserved: &BTreeMap<Date, i64>, zone| reserved.get(&local_day(zone, now)).copied().unwrap_or(0);
        (used(&campaign.reserved, campaign.hours().zone), used(&account.reserved, account.zone))
    }

    /// The same, with or without expired claims that are granted again.
    pub fn granted_of(&self, who: Asker, max: i64, now: Timestamp, expired: Expired) -> i64 {
        let asked = self.campaigns.iter().enumerate().filter(|(place, _)| who.asks(*place));
        let due: i64 = asked.map(|(_, campaign)| self.claimable(campaign, who.account, now, expired)).sum();
        max.min(due).min(self.account_room(who.account, now))
    }

    /// How many claims an account may be granted of one campaign, apart from its own limit.
    pub fn claimable(&self, campaign: &Campaign, account: usize, now: Timestamp, expired: Expired) -> i64 {
        let is_open = campaign.state == CampaignState::Active
            && campaign.hours().is_active(now)
            && campaign.serving.contains(&account)
            && !self.accounts[account].is_suspended;
        if is_open { campaign.due_count(account, now, expired).min(campaign.room(now)) } else { 0 }
    }

    /// All the reasons for which nothing of a campaign can be claimed: by one account, or by any of its accounts.
    pub fn reasons(&self, campaign: &Campaign, asking: Option<usize>, now: Timestamp) -> Vec<Reason> {
        if campaign.state == CampaignState::Finished {
            return vec![Reason::Finished];
        }
        let accounts: Vec<usize> = match asking {
            Some(account) => vec![account],
            None => campaign.serving.iter().copied().collect(),
        };
        let used_up = |account: &&usize| self.account_room(**account, now) == 0;
        let suspended = |account: &&usize| self.accounts[**account].is_suspended;
        // Those that have something due are judged; all of them where nothing is due.
        let has_due = |account: &usize| campaign.next_due(&[*account], now).is_some_and(|due| due <= now);
        let with_due: Vec<usize> = accounts.iter().copied().filter(has_due).collect();
        let judged = if with_due.is_empty() { accounts.clone() } else { with_due };
        let all_suspended = !judged.is_empty() && judged.iter().all(|account| suspended(&account));
        let mut in_question = judged.iter().filter(|account| all_suspended || !suspended(account));
        let nothing_due = campaign.next_due(&accounts, now).is_none_or(|due| due > now);
        let removed = |lead: &Lead| {
            campaign.waiting(lead).is_some() && lead.account.is_some_and(|account| !campaign.serving.contains(&account))
        };
        // Uncertain claims of the asking account, unless it was just granted expired ones.
        let uncertain = campaign.has_uncertain(asking, now);
        let holds = [
            (Reason::Paused, campaign.state == CampaignState::Paused),
            (Reason::OutsideActiveHours, !campaign.hours().is_active(now)),
            (Reason::CampaignDailyLimit, campaign.room(now) == 0),
            (Reason::AccountDailyLimit, !accounts.is_empty() && in_question.all(|account| used_up(&account))),
            (Reason::AccountSuspended, all_suspended),
            (Reason::NoAccountAssigned, accounts.is_empty()),
            (Reason::AccountRemoved, nothing_due && campaign.leads.iter().any(removed)),
            (Reason::NoLeadDue, nothing_due),
            (Reason::UncertainClaims, nothing_due && uncertain),
        ];
        holds.into_iter().filter_map(|(reason, holds)| holds.then_some(reason)).collect()
    }

    /// The moments at which time alone can change something of a campaign for these accounts.
    fn moments(&self, campaign: &Campaign, accounts: &[usize], now: Timestamp) -> Vec<Timestamp> {
        let mut moments: Vec<Timestamp> = campaign.leads.iter().filter_map(|lead| lead.due_at).collect();
        moments.extend(campaign.leads.iter().filter_map(|lead| Some(lead.claim.as_ref()?.expires)));
        moments.extend(accounts.iter().map(|account| next_day(self.accounts[*account].zone, now)));
        moments.push(next_day(campaign.hours().zone, now));
        moments.retain(|moment| *moment > now);
        // A window can be closed at each of them; then the next one counts.
        let opens: Vec<Timestamp> =
            moments.iter().chain([&now]).filter_map(|moment| campaign.hours().next_change(*moment)).collect();
        moments.extend(opens);
        moments.sort_unstable();
        moments
    }

    /// When reasons, claims in flight or uncertain ones change by time alone.
    pub fn next_change(&self, campaign: &Campaign, now: Timestamp) -> Option<Timestamp> {
        let present: Seen = (self.reasons(campaign, None, now), campaign.claims(now));
        let seen = |at: Timestamp| -> Seen { (self.reasons(campaign, None, at), campaign.claims(at)) };
        let accounts: Vec<usize> = campaign.serving.iter().copied().collect();
        self.moments(campaign, &accounts, now).into_iter().find(|moment| seen(*moment) != present)
    }

    /// When an account can be granted something of a campaign by time alone.
    pub fn claimable_at(&self, campaign: &Campaign, account: usize, now: Timestamp) -> Option<Timestamp> {
        let can_claim = |at: &Timestamp| {
            self.claimable(campaign, account, *at, Expired::Included) > 0 && self.account_room(account, *at) > 0
        };
        [now].into_iter().chain(self.moments(campaign, &[account], now)).find(can_claim)
    }
}
