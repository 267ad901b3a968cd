//! Campaigns side by side: which one delivers, gets responses and converts better.
//!
//! The verdicts are those of [`crate::statistics::compare`]. This module picks the days that count, says what is
//! missing for a verdict, and names what differs between the campaigns besides the message. Campaigns do not split
//! leads at random, so a leader is not the cause of its lead.

mod differences;
mod rates;
mod verdict;
mod wording;

use jiff::{Timestamp, civil::Date};

use self::{differences::differences, rates::days_with_counts, wording::quoted};
pub use self::{
    rates::{ComparedRate, Metric},
    verdict::MetricComparison,
};
use crate::history::ComparedCampaign;

/// Fewest campaigns of a comparison.
pub const CAMPAIGNS_MIN: usize = 2;
/// Most campaigns of a comparison. Each has to be compared with each.
pub const CAMPAIGNS_MAX: usize = 20;

/// Ages in days at which response and conversion can be compared.
pub const AGES: [u8; 5] = [1, 3, 7, 14, 30];
/// The age if none is given.
pub const AGE_DEFAULT: u8 = 7;

/// Campaigns side by side.
#[derive(Debug, Clone, PartialEq)]
pub struct CampaignComparison {
    /// The age in days at which response and conversion are compared.
    pub age_days: u8,
    /// The campaigns.
    pub campaigns: Vec<CampaignRates>,
    /// The verdicts, in the order of [`Metric::ALL`]. Empty with fewer than two campaigns.
    pub verdicts: Vec<MetricComparison>,
    /// For people: what differs between the campaigns besides the message. One sentence each.
    pub differences: Vec<String>,
}

/// A campaign in a comparison.
#[derive(Debug, Clone, PartialEq)]
pub struct CampaignRates {
    /// The campaign.
    pub campaign: ComparedCampaign,
    /// First and last UTC day with a message or a first contact; `None` before the first one.
    pub first_and_last_day: Option<(Date, Date)>,
    /// Its rates, in the order of [`Metric::ALL`].
    pub rates: [ComparedRate; 3],
}

/// Compares campaigns by what is known at `now`, response and conversion at an age in days.
pub fn compare(campaigns: Vec<ComparedCampaign>, age_days: u8, now: Timestamp) -> CampaignComparison {
    let differences = differences(&campaigns);
    let campaigns: Vec<_> = campaigns.into_iter().map(|campaign| rates(campaign, age_days, now)).collect();
    let names: Vec<String> = campaigns.iter().map(|of| quoted(&of.campaign)).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let verdict = |(place, metric): (usize, Metric)| {
        let rates: Vec<&ComparedRate> = campaigns.iter().map(|of| &of.rates[place]).collect();
        MetricComparison::of(metric, &names, &rates, age_days)
    };
    let verdicts = Metric::ALL.into_iter().enumerate().filter_map(verdict).collect();
    CampaignComparison { age_days, campaigns, verdicts, differences }
}

fn rates(campaign: ComparedCampaign, age_days: u8, now: Timestamp) -> CampaignRates {
    let rates = Metric::ALL.map(|metric| ComparedRate::of(metric, &campaign.days, age_days, now));
    let days = days_with_counts(&campaign.days);
    CampaignRates { first_and_last_day: days.first().copied().zip(days.last().copied()), campaign, rates }
}

#[cfg(test)]
mod tests;
