//! What differs between campaigns besides the message: days, accounts, sizes, steps and bounces.
//!
//! Of many campaigns a sentence names the two extremes.

use std::{collections::BTreeSet, fmt::Display};

use jiff::civil::Date;

use super::{
    rates::days_with_counts,
    wording::{count, list, quoted},
};
use crate::{history::ComparedCampaign, name::AccountId, rate::Rate, statistics::newcombe};

/// Returns a sentence for each thing that differs.
pub(super) fn differences(campaigns: &[ComparedCampaign]) -> Vec<String> {
    let found = [days(campaigns), accounts(campaigns), sizes(campaigns), steps(campaigns), bounces(campaigns)];
    found.into_iter().flatten().collect()
}

/// The number of things that all have, and of those that any has.
fn shared_and_all<T: Ord + Clone>(sets: &[BTreeSet<T>]) -> (usize, usize) {
    let all: BTreeSet<&T> = sets.iter().flatten().collect();
    (all.iter().filter(|one| sets.iter().all(|set| set.contains(**one))).count(), all.len())
}

/// The campaigns with the least and the most of something; `None` if all have the same.
fn extremes<T: PartialOrd + Copy>(
    campaigns: &[ComparedCampaign],
    of: impl Fn(&ComparedCampaign) -> T,
) -> Option<[(String, T); 2]> {
    let mut values = campaigns.iter().map(|campaign| (campaign, of(campaign)));
    let first = values.next()?;
    let [least, most] = values.fold([first, first], |[least, most], value| {
        [if value.1 < least.1 { value } else { least }, if value.1 > most.1 { value } else { most }]
    });
    (least.1 < most.1).then(|| [least, most].map(|(campaign, value)| (quoted(campaign), value)))
}

/// ``Leads: from 100 (`spring`) to 300 (`summer`).``
fn range<T: Display>(what: &str, [(least, low), (most, high)]: [(String, T); 2]) -> String {
    format!("{what}: from {low} ({least}) to {high} ({most}).")
}

fn days(campaigns: &[ComparedCampaign]) -> Option<String> {
    let days: Vec<BTreeSet<Date>> = campaigns.iter().map(|campaign| days_with_counts(&campaign.days)).collect();
    let idle = campaigns.iter().zip(&days).filter(|(_, days)| days.is_empty());
    let idle: Vec<String> = idle.map(|(campaign, _)| quoted(campaign)).collect();
    let (shared, all) = shared_and_all(&days);
    if shared == all {
        return None;
    }
    if !idle.is_empty() {
        return Some(format!("Days: {} sent nothing yet.", list(&idle)));
    }
    let both = if campaigns.len() == 2 { "both" } else { "all of them" };
    let all = count(i64::try_from(all).unwrap_or(0), "day");
    // An idle campaign was told above, so each has a first day.
    let first_day =
        |campaign: &ComparedCampaign| days_with_counts(&campaign.days).first().copied().unwrap_or(Date::MIN);
    let began = extremes(campaigns, first_day)
        .map(|[(first, from), (last, to)]| format!("; {first} began on {from}, {last} on {to}"))
        .unwrap_or_default();
    Some(format!("Days: {both} ran on {shared} of {all}{began}."))
}

fn accounts(campaigns: &[ComparedCampaign]) -> Option<String> {
    let accounts: Vec<BTreeSet<&AccountId>> =
        campaigns.iter().map(|campaign| campaign.accounts.iter().collect()).collect();
    let (shared, all) = shared_and_all(&accounts);
    let both = if campaigns.len() == 2 { "both" } else { "all of them" };
    let number = count(i64::try_from(all).unwrap_or(0), "account");
    (shared != all)
        .then(|| format!("Accounts: {shared} of {number} {} {both}.", if shared == 1 { "serves" } else { "serve" }))
}

fn sizes(campaigns: &[ComparedCampaign]) -> Option<String> {
    Some(range("Leads", extremes(campaigns, |campaign| campaign.lead_counts.total())?))
}

fn steps(campaigns: &[ComparedCampaign]) -> Option<String> {
    Some(range("Steps", extremes(campaigns, |campaign| campaign.steps.number())?))
}

/// Bounces take contacts away, so a list of which more bounces can look better by the rates of the rest.
fn bounces(campaigns: &[ComparedCampaign]) -> Option<String> {
    let bounced = |campaign: &ComparedCampaign| {
        campaign.days.iter().map(|of| Rate { numerator: of.bounced, denominator: of.messages() }).sum::<Rate>()
    };
    let rates = campaigns.iter().map(|campaign| (campaign, bounced(campaign)));
    let shares = rates.filter_map(|(campaign, rate)| Some((campaign, rate, rate.ratio()?)));
    let least = shares.clone().min_by(|one, other| one.2.total_cmp(&other.2))?;
    let most = shares.max_by(|one, other| one.2.total_cmp(&other.2))?;
    // A difference within chance is none.
    let difference = newcombe(most.1, least.1)?;
    (difference.interval.lower > 0.0).then(|| range("Bounced messages", [least, most].map(|of| (quoted(of.0), of.1))))
}
