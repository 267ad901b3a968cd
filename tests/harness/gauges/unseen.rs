//! What gauges show and the messages of campaigns and accounts do not. Some of it comes from other calls of the API.

use std::collections::BTreeMap;

use campaign_metrics::pb::{self, CampaignState, ClaimState};
use jiff::{Timestamp, ToSpan as _, civil::Date, tz::TimeZone};

use super::super::service::Service;

/// Ages of the gauges at equal age, in days.
pub const AT_AGE: [i64; 2] = [7, 30];

/// What gauges show of a campaign and the campaign does not.
#[derive(Debug, Clone, Default)]
pub struct OfCampaign {
    /// When the next step is due; `None` when no step waits.
    pub next_due: Option<Timestamp>,
    /// When claims were last granted.
    pub last_grant: Option<Timestamp>,
    /// When a new outcome was last received.
    pub last_outcome: Option<Timestamp>,
    /// When the first of its uncertain claims expired.
    pub oldest_uncertain: Option<Timestamp>,
    /// Reserved of its daily limit today.
    pub reserved: i64,
    /// Leads contacted, those that replied and those that converted, by age in days. Ages without leads are left out.
    pub at_age: BTreeMap<String, [i64; 3]>,
    /// Messages of the last 30 days by account id.
    pub accounts: BTreeMap<String, pb::HistoryCounts>,
}

/// What gauges show and the API does not.
#[derive(Debug, Clone)]
pub struct Unseen {
    /// The time of the scrape.
    pub now: Timestamp,
    /// By the campaign's resource name.
    pub campaigns: BTreeMap<String, OfCampaign>,
    /// Campaigns left out.
    pub omitted: u32,
    /// Accounts left out.
    pub accounts_omitted: u32,
    /// Active campaigns without details.
    pub details_omitted: u32,
    /// Differences that the latest `verify` found, and when it ran.
    pub verification: Option<(u32, Timestamp)>,
}

impl Unseen {
    /// Knows nothing of any campaign.
    pub fn at(now: Timestamp) -> Self {
        Self {
            now,
            campaigns: BTreeMap::new(),
            omitted: 0,
            accounts_omitted: 0,
            details_omitted: 0,
            verification: None,
        }
    }

    /// Reads uncertain claims and the history of campaigns from the API.
    pub async fn read(service: &Service, campaigns: &[pb::Campaign], accounts: &[pb::Account]) -> Self {
        let mut unseen = Self::at(service.clock.now());
        for campaign in campaigns.iter().filter(|campaign| campaign.state() == CampaignState::Active) {
            let days = history(service, &campaign.name, unseen.now).await;
            let now = unseen.now;
            unseen.of_mut(&campaign.name).count(campaign, &days, now);
        }
        for account in accounts {
            let parent = pb::ListClaimsRequest { account: account.name.clone(), page_size: 1000, ..Default::default() };
            let answer = service.sending.clone().list_claims(parent).await.expect("claims").into_inner();
            assert_eq!(answer.next_page_token, "", "one page has all claims");
            for claim in answer.claims.iter().filter(|claim| claim.state() == ClaimState::Uncertain) {
                let (campaign, _) = claim.lead.split_once("/leads/").expect("a lead of a campaign");
                let expired = claim.expire_time.expect("a time");
                let expired = Timestamp::new(expired.seconds, expired.nanos).expect("a time");
                let oldest = &mut unseen.of_mut(campaign).oldest_uncertain;
                *oldest = Some(oldest.map_or(expired, |oldest| oldest.min(expired)));
            }
        }
        unseen
    }

    /// What is known of a campaign.
    pub fn of(&self, campaign: &str) -> OfCampaign {
        self.campaigns.get(campaign).cloned().unwrap_or_default()
    }

    /// What is known of a campaign, to be changed.
    pub fn of_mut(&mut self, campaign: &str) -> &mut OfCampaign {
        self.campaigns.entry(campaign.to_owned()).or_default()
    }
}

/// The days of 90 days and of tomorrow, by account.
async fn history(service: &Service, campaign: &str, now: Timestamp) -> Vec<pb::HistoryDay> {
    let today = utc_day(now);
    let request = pb::QueryCampaignHistoryRequest {
        name: campaign.to_owned(),
        first_day: (today - 89.days()).to_string(),
        last_day: (today + 1.day()).to_string(),
        by_account: true,
        page_size: 1000,
        ..Default::default()
    };
    let answer = service.performance.clone().query_campaign_history(request).await.expect("a history").into_inner();
    assert_eq!(answer.next_page_token, "", "one page has all days");
    answer.days
}

fn utc_day(at: Timestamp) -> Date {
    at.to_zoned(TimeZone::UTC).date()
}

impl OfCampaign {
    /// Counts messages and leads of an active campaign from its days by account.
    pub fn count(&mut self, campaign: &pb::Campaign, days: &[pb::HistoryDay], now: Timestamp) {
        let today = utc_day(now);
        let id = |account: &str| account.rsplit('/').next().unwrap_or_default().to_owned();
        self.accounts = campaign.accounts.iter().map(|account| (id(account), pb::HistoryCounts::default())).collect();
        for day in days {
            let date: Date = day.day.parse().expect("a day");
            let counts = day.counts.clone().unwrap_or_default();
            for age in AT_AGE {
                if date + (age + 1).days() > today || counts.contacted_leads == 0 {
                    continue;
                }
                let within =
                    |by_age: &[i64]| by_age.iter().take(usize::try_from(age).expect("an age") + 1).sum::<i64>();
                let sum = self.at_age.entry(age.to_string()).or_default();
                let more = [
                    counts.contacted_leads,
                    within(&counts.replied_leads_by_age),
                    within(&counts.converted_leads_by_age),
                ];
                sum.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
            }
            let has_messages = counts.delivered > 0 || !counts.failed.is_empty() || !counts.bounced.is_empty();
            if !day.account.is_empty() && has_messages && date >= today - 29.days() {
                let sum = self.accounts.entry(id(&day.account)).or_default();
                sum.delivered += counts.delivered;
                sum.failed.extend(counts.failed);
                sum.bounced.extend(counts.bounced);
            }
        }
    }
}
