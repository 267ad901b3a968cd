//! What gauges must show of a campaign and the API does not.

use std::collections::BTreeMap;

use campaign_metrics::pb::{self, CampaignState, OutcomeKind};
use jiff::{Timestamp, ToSpan as _};

use super::{
    campaign::Campaign,
    hours::local_day,
    lead::{Contact, Message},
    play::Play,
    views::{count, failures},
};
use crate::harness::gauges::unseen::{AT_AGE, OfCampaign};

impl Play<'_> {
    /// Gauges of a campaign. `shown_due` is when the next step is due according to the page.
    pub fn gauges_view(&self, workspace: usize, place: usize, shown_due: Option<Timestamp>) -> OfCampaign {
        let (of, now) = (&self.world.workspaces[workspace], self.world.now);
        let campaign = &of.campaigns[place];
        let serving: Vec<usize> = campaign.serving.iter().copied().collect();
        let mut next_due = campaign.next_due(&serving, now);
        if let (true, Some(at)) = (campaign.is_blurred, shown_due) {
            // Never late; steps that ended otherwise are still listed.
            next_due = next_due.is_none_or(|due| at <= due).then_some(at).or(next_due);
        }
        let claims = campaign.leads.iter().filter_map(|lead| lead.claim.as_ref());
        let expired = claims.map(|claim| claim.expires).filter(|expires| *expires <= now);
        let received = campaign.leads.iter().flat_map(|lead| &lead.trail).map(|entry| entry.received);
        let mut shown = OfCampaign {
            next_due,
            last_grant: campaign.last_grant,
            last_outcome: received.max(),
            oldest_uncertain: expired.min(),
            reserved: campaign.reserved.get(&local_day(campaign.hours().zone, now)).copied().unwrap_or(0),
            at_age: BTreeMap::new(),
            accounts: BTreeMap::new(),
        };
        if campaign.state == CampaignState::Active {
            shown.at_age = at_age(campaign, now);
            let account = |(account, counts): (usize, _)| (of.accounts[account].id.to_owned(), counts);
            shown.accounts = by_account(campaign, of.accounts.len(), now).into_iter().map(account).collect();
        }
        shown
    }
}

/// Leads that were first contacted on one of the last 90 days, which is so many days past, and their reactions.
fn at_age(campaign: &Campaign, now: Timestamp) -> BTreeMap<String, [i64; 3]> {
    let today = local_day("UTC", now);
    let mut shown = BTreeMap::new();
    for age in AT_AGE {
        let is_old_enough =
            |contact: &Contact| contact.day() >= today - 89.days() && contact.day() + (age + 1).days() <= today;
        let contacts: Vec<Contact> = campaign.contacts().filter(is_old_enough).collect();
        let within = |days: Option<usize>| days.is_some_and(|days| i64::try_from(days).unwrap() <= age);
        let counts = [
            count(contacts.iter()),
            count(contacts.iter().filter(|contact| within(contact.replied))),
            count(contacts.iter().filter(|contact| within(contact.converted))),
        ];
        if !contacts.is_empty() {
            shown.insert(age.to_string(), counts);
        }
    }
    shown
}

/// Messages of the last 30 days of accounts that serve the campaign or have some.
fn by_account(campaign: &Campaign, accounts: usize, now: Timestamp) -> Vec<(usize, pb::HistoryCounts)> {
    let first = local_day("UTC", now) - 29.days();
    let recent: Vec<Message> = campaign.messages().filter(|message| message.day >= first).collect();
    let of_account = |account: usize| {
        let theirs: Vec<Message> = recent.iter().filter(|message| message.account == Some(account)).copied().collect();
        let of =
            |result| -> Vec<Message> { theirs.iter().filter(|message| message.result == result).copied().collect() };
        let counts = pb::HistoryCounts {
            delivered: count(of(OutcomeKind::Delivered).iter()),
            failed: failures(&of(OutcomeKind::Failed)),
            bounced: failures(&of(OutcomeKind::Bounced)),
            ..Default::default()
        };
        (campaign.serving.contains(&account) || !theirs.is_empty()).then_some((account, counts))
    };
    (0..accounts).filter_map(of_account).collect()
}
