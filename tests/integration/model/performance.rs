//! What PerformanceService must show: history by UTC day, accounts of a campaign, totals of a workspace. All of it is
//! counted from the messages and first contacts of leads.

use std::collections::BTreeSet;

use campaign_metrics::pb::{self, OutcomeKind};
use jiff::{SignedDuration, civil::Date};
use proptest::prelude::*;

use super::{
    campaign::Campaign,
    compare::PAGES_MAX,
    hours::local_day,
    lead::{AGE_MAX, Contact, Lead, Message},
    play::{ACCOUNTS, Checked, Play, check_same, stamp},
    views::{count, failures, health, is_certain, lead_counts, rate, results},
};

/// First and last day, both included.
type Range = (Date, Date);

/// A range of days, and how it is asked for.
struct Asked {
    range: Range,
    first_day: String,
    last_day: String,
}

fn asked(first: Date, last: Date) -> Asked {
    Asked { range: (first, last), first_day: first.to_string(), last_day: last.to_string() }
}

fn days(count: i64) -> SignedDuration {
    SignedDuration::from_hours(24 * count)
}

/// Messages and first contacts of a campaign, of an account, or of a day.
#[derive(Debug, Clone, Default)]
struct Happened {
    messages: Vec<Message>,
    contacts: Vec<Contact>,
}

impl Happened {
    fn of_campaign(campaign: &Campaign) -> Self {
        Self { messages: campaign.messages().collect(), contacts: campaign.contacts().collect() }
    }

    fn by(&self, account: Option<usize>) -> Self {
        let messages = self.messages.iter().filter(|message| message.account == account).copied();
        let contacts = self.contacts.iter().filter(|contact| contact.account == account).copied();
        Self { messages: messages.collect(), contacts: contacts.collect() }
    }

    fn on(&self, day: Date) -> Self {
        let messages = self.messages.iter().filter(|message| message.day == day).copied();
        let contacts = self.contacts.iter().filter(|contact| contact.day() == day).copied();
        Self { messages: messages.collect(), contacts: contacts.collect() }
    }

    fn days(&self) -> BTreeSet<Date> {
        self.messages.iter().map(|message| message.day).chain(self.contacts.iter().map(Contact::day)).collect()
    }

    fn counts(&self) -> pb::HistoryCounts {
        let of = |result| -> Vec<Message> {
            self.messages.iter().filter(|message| message.result == result).copied().collect()
        };
        pb::HistoryCounts {
            delivered: count(of(OutcomeKind::Delivered).iter()),
            failed: failures(&of(OutcomeKind::Failed)),
            bounced: failures(&of(OutcomeKind::Bounced)),
            contacted_leads: count(self.contacts.iter()),
            replied_leads_by_age: by_age(self.contacts.iter().filter_map(|contact| contact.replied)),
            converted_leads_by_age: by_age(self.contacts.iter().filter_map(|contact| contact.converted)),
        }
    }

    /// The days on which something happened.
    fn history(&self, account: &str, (first, last): Range) -> Vec<pb::HistoryDay> {
        let day = |day: Date| pb::HistoryDay {
            day: day.to_string(),
            account: account.to_owned(),
            counts: Some(self.on(day).counts()),
        };
        self.days().into_iter().filter(|day| (first..=last).contains(day)).map(day).collect()
    }
}

/// Counts ages; none if there are none.
fn by_age(ages: impl Iterator<Item = usize>) -> Vec<i64> {
    let mut counts = Vec::new();
    for age in ages {
        counts.resize(usize::try_from(AGE_MAX).unwrap() + 1, 0);
        counts[age] += 1;
    }
    counts
}

/// Pages of a list. Size 0 is the default, which is larger than any list of the model.
fn paged<T: Clone>(items: &[T], size: i32) -> Vec<Vec<T>> {
    match usize::try_from(size).unwrap() {
        size if size > 0 && !items.is_empty() => items.chunks(size).map(<[T]>::to_vec).collect(),
        _ => vec![items.to_vec()],
    }
}

/// Reads all pages of a list as whole responses. Their tokens are removed, because only the service knows them.
macro_rules! responses {
    ($play:expr, $method:ident, $request:expr, $size:expr) => {{
        let (mut responses, mut token) = (Vec::new(), String::new());
        loop {
            prop_assert!(responses.len() < PAGES_MAX, "{} ends", stringify!($method));
            let mut request = $request.clone();
            request.page_size = $size;
            request.page_token.clone_from(&token);
            let mut response = $play.service.performance.clone().$method(request).await.expect("a page").into_inner();
            $play.told.note(&response);
            token = std::mem::take(&mut response.next_page_token);
            responses.push(response);
            if token.is_empty() {
                break responses;
            }
        }
    }};
}

impl Play<'_> {
    /// An account in a campaign, or what has no account; `None` for an account that has no part in it.
    fn campaign_account_view(
        &self,
        workspace: usize,
        campaign: usize,
        account: Option<usize>,
    ) -> Option<pb::CampaignAccount> {
        let (of, now) = (&self.world.workspaces[workspace], self.world.now);
        let campaign = &of.campaigns[campaign];
        let leads: Vec<&Lead> = campaign.leads.iter().filter(|lead| lead.account == account).collect();
        let happened = Happened::of_campaign(campaign).by(account);
        let serving = account.is_some_and(|account| campaign.serving.contains(&account));
        if !serving && leads.is_empty() && happened.messages.is_empty() {
            return None;
        }
        let [delivered, failed, bounced] = results(&happened.messages);
        let messages = delivered + failed + bounced;
        let contacted = count(happened.contacts.iter());
        let settings = account.map(|account| &of.accounts[account]);
        let today = settings.map(|account| local_day(account.zone, now));
        let reserved = settings.zip(today).and_then(|(account, today)| account.reserved.get(&today).copied());
        Some(pb::CampaignAccount {
            account: account.map(|account| self.account_name(workspace, account)).unwrap_or_default(),
            serving,
            suspended: settings.is_some_and(|account| account.is_suspended),
            lead_counts: Some(lead_counts(&leads, campaign.steps)),
            message_counts: Some(happened.counts()),
            delivery_rate: Some(rate(delivered, messages)),
            delivery_health: health(delivered, messages).into(),
            delivery_health_certain: is_certain(delivered, messages),
            response_rate: Some(rate(count(happened.contacts.iter().filter_map(|contact| contact.replied)), contacted)),
            conversion_rate: Some(rate(
                count(happened.contacts.iter().filter_map(|contact| contact.converted)),
                contacted,
            )),
            daily_limit: settings.and_then(|account| account.limit),
            reserved_today: reserved.unwrap_or(0),
        })
    }

    /// The totals of a workspace: sums over its campaigns.
    fn totals_view(&self, workspace: usize) -> pb::WorkspaceTotals {
        let of = &self.world.workspaces[workspace];
        let campaigns: Vec<pb::Campaign> =
            (0..of.campaigns.len()).map(|campaign| self.campaign_view(workspace, campaign)).collect();
        let by_state = |state| count(campaigns.iter().filter(|campaign| campaign.state() == state));
        let suspended = count(of.accounts.iter().filter(|account| account.is_suspended));
        let leads = |number: fn(&pb::LeadCounts) -> i64| -> i64 {
            campaigns.iter().filter_map(|campaign| campaign.lead_counts.as_ref()).map(number).sum()
        };
        let messages = |number: fn(&pb::MessageCounts) -> i64| -> i64 {
            campaigns.iter().filter_map(|campaign| campaign.message_counts.as_ref()).map(number).sum()
        };
        let rates = |of: fn(&pb::Campaign) -> Option<pb::Rate>| {
            let sum = |number: fn(&pb::Rate) -> i64| campaigns.iter().filter_map(of).map(|rate| number(&rate)).sum();
            rate(sum(|rate| rate.numerator), sum(|rate| rate.denominator))
        };
        let delivery = rates(|campaign| campaign.delivery_rate);
        let counts = pb::LeadCounts {
            sent: leads(|counts| counts.sent),
            failed: leads(|counts| counts.failed),
            pending: leads(|counts| counts.pending),
            partial: leads(|counts| counts.partial),
            total: leads(|counts| counts.total),
        };
        let all_messages: Vec<Message> = of.campaigns.iter().flat_map(Campaign::messages).collect();
        pb::WorkspaceTotals {
            name: self.parent(workspace),
            as_of_time: Some(stamp(self.world.now)),
            active_campaigns: by_state(pb::CampaignState::Active),
            paused_campaigns: by_state(pb::CampaignState::Paused),
            finished_campaigns: by_state(pb::CampaignState::Finished),
            active_accounts: count(of.accounts.iter()) - suspended,
            suspended_accounts: suspended,
            progress_ratio: rate(counts.sent + counts.failed, counts.total).ratio,
            lead_counts: Some(counts),
            message_counts: Some(pb::MessageCounts {
                delivered: messages(|counts| counts.delivered),
                failed: messages(|counts| counts.failed),
                bounced: messages(|counts| counts.bounced),
                failures: failures(&all_messages),
                contacted_leads: messages(|counts| counts.contacted_leads),
                replied_leads: messages(|counts| counts.replied_leads),
                converted_leads: messages(|counts| counts.converted_leads),
                auto_replied_leads: messages(|counts| counts.auto_replied_leads),
                opted_out_leads: messages(|counts| counts.opted_out_leads),
                conversion_value_micros: messages(|counts| counts.conversion_value_micros),
            }),
            delivery_rate: Some(delivery),
            delivery_health: health(delivery.numerator, delivery.denominator).into(),
            delivery_health_certain: is_certain(delivery.numerator, delivery.denominator),
            response_rate: Some(rates(|campaign| campaign.response_rate)),
            conversion_rate: Some(rates(|campaign| campaign.conversion_rate)),
        }
    }

    /// Compares history, accounts of campaigns and totals of a workspace.
    pub async fn compare_performance(&self, workspace: usize) -> Checked {
        for campaign in 0..self.world.workspaces[workspace].campaigns.len() {
            for range in self.ranges(&Happened::of_campaign(&self.world.workspaces[workspace].campaigns[campaign])) {
                self.compare_campaign_history(workspace, campaign, range, 0).await?;
            }
            self.compare_campaign_accounts(workspace, campaign, 0).await?;
            self.compare_rates(workspace, campaign).await?;
        }
        for account in 0..self.world.workspaces[workspace].accounts.len() {
            self.compare_account_history(workspace, account).await?;
        }
        let request = pb::GetWorkspaceTotalsRequest { name: self.parent(workspace) };
        let seen = self.service.performance.clone().get_workspace_totals(request).await.expect("totals").into_inner();
        check_same(&seen, &self.totals_view(workspace), "the totals of a workspace")?;
        self.check_printed(&[seen], "totals")
    }

    /// Compares response and conversion at equal age, over the 90 days that end with the last day on which something
    /// happened.
    async fn compare_rates(&self, workspace: usize, campaign: usize) -> Checked {
        let happened = Happened::of_campaign(&self.world.workspaces[workspace].campaigns[campaign]);
        let last = happened.days().last().copied().unwrap_or_default();
        let today = local_day("UTC", self.world.now);
        let at_age = |age_days: i32| {
            let is_old_enough = |contact: &&Contact| {
                contact.day() >= last - days(89) && contact.day() + days(i64::from(age_days) + 1) <= today
            };
            let contacts: Vec<&Contact> = happened.contacts.iter().filter(is_old_enough).collect();
            let within = |of: fn(&Contact) -> Option<usize>| {
                let is_within = |age: &usize| i32::try_from(*age).unwrap() <= age_days;
                rate(count(contacts.iter().filter_map(|contact| of(contact)).filter(is_within)), count(contacts.iter()))
            };
            pb::RatesAtAge {
                age_days,
                response_rate: Some(within(|contact| contact.replied)),
                conversion_rate: Some(within(|contact| contact.converted)),
            }
        };
        let request = pb::DiagnoseCampaignRequest { name: self.campaign_name(workspace, campaign) };
        let seen = self.service.performance.clone().diagnose_campaign(request.clone()).await.expect("a diagnosis");
        check_same(&seen.into_inner().rates, &[7, 30].map(at_age).to_vec(), &format!("rates of {request:?}"))
    }

    /// Compares the lists of performance in small pages.
    pub async fn compare_pages(&self, workspace: usize) -> Checked {
        for campaign in 0..self.world.workspaces[workspace].campaigns.len() {
            for size in [1, 2] {
                self.compare_campaign_history(workspace, campaign, self.longest(), size).await?;
                self.compare_campaign_accounts(workspace, campaign, size).await?;
            }
        }
        Ok(())
    }

    /// The longest range that can be asked for; it ends tomorrow.
    fn longest(&self) -> Asked {
        let today = local_day("UTC", self.world.now);
        asked(today - days(398), today + days(1))
    }

    /// Ranges of days to ask for: the default, the longest, one day.
    fn ranges(&self, happened: &Happened) -> Vec<Asked> {
        let today = local_day("UTC", self.world.now);
        let default = Asked { range: (today - days(29), today), first_day: String::new(), last_day: String::new() };
        // The last but one: a day with others on both sides, where there are three.
        let one = happened.days().into_iter().nth_back(1).map(|day| asked(day, day));
        [default, self.longest()].into_iter().chain(one).collect()
    }

    async fn compare_campaign_history(&self, workspace: usize, campaign: usize, asked: Asked, size: i32) -> Checked {
        let name = self.campaign_name(workspace, campaign);
        let happened = Happened::of_campaign(&self.world.workspaces[workspace].campaigns[campaign]);
        // Accounts in the order in which they were created.
        let accounts: Vec<Option<usize>> = [None].into_iter().chain((0..ACCOUNTS.len()).map(Some)).collect();
        for by_account in [false, true] {
            let of_account = |account: &Option<usize>| {
                let name = account.map(|account| self.account_name(workspace, account)).unwrap_or_default();
                happened.by(*account).history(&name, asked.range)
            };
            let days: Vec<pb::HistoryDay> = if by_account {
                accounts.iter().flat_map(of_account).collect()
            } else {
                happened.history("", asked.range)
            };
            let expected = paged(&days, size).into_iter().map(|days| pb::QueryCampaignHistoryResponse {
                as_of_time: Some(stamp(self.world.now)),
                days,
                corrections: None,
                next_page_token: String::new(),
            });
            let request = pb::QueryCampaignHistoryRequest {
                name: name.clone(),
                first_day: asked.first_day.clone(),
                last_day: asked.last_day.clone(),
                by_account,
                page_size: 0,
                page_token: String::new(),
            };
            let seen = responses!(self, query_campaign_history, request, size);
            check_same(&seen, &expected.collect(), &format!("the history of {request:?} in pages of {size}"))?;
        }
        Ok(())
    }

    async fn compare_account_history(&self, workspace: usize, account: usize) -> Checked {
        let of = &self.world.workspaces[workspace];
        let all = Happened { messages: of.messages().collect(), contacts: of.contacts().collect() };
        let (happened, name) = (all.by(Some(account)), self.account_name(workspace, account));
        for Asked { range, first_day, last_day } in self.ranges(&happened) {
            let request = pb::QueryAccountHistoryRequest { name: name.clone(), first_day, last_day };
            let expected = pb::QueryAccountHistoryResponse {
                as_of_time: Some(stamp(self.world.now)),
                days: happened.history(&name, range),
                corrections: None,
            };
            let what = format!("the history of {request:?}");
            let seen = self.service.performance.clone().query_account_history(request).await;
            let seen = seen.expect("a history").into_inner();
            self.told.note(&seen);
            check_same(&seen, &expected, &what)?;
        }
        Ok(())
    }

    async fn compare_campaign_accounts(&self, workspace: usize, campaign: usize, size: i32) -> Checked {
        let parent = self.campaign_name(workspace, campaign);
        let view = |account| self.campaign_account_view(workspace, campaign, account);
        let accounts: Vec<pb::CampaignAccount> =
            (0..self.world.workspaces[workspace].accounts.len()).filter_map(|account| view(Some(account))).collect();
        let page = |(number, accounts): (usize, Vec<pb::CampaignAccount>)| pb::ListCampaignAccountsResponse {
            as_of_time: Some(stamp(self.world.now)),
            accounts,
            unassigned: if number == 0 { view(None) } else { None },
            next_page_token: String::new(),
        };
        let request = pb::ListCampaignAccountsRequest { parent, page_size: 0, page_token: String::new() };
        let seen = responses!(self, list_campaign_accounts, request, size);
        let expected: Vec<_> = paged(&accounts, size).into_iter().enumerate().map(page).collect();
        check_same(&seen, &expected, &format!("the accounts of {request:?} in pages of {size}"))
    }
}
