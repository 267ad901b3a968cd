//! Compares every view of a world with what the service shows.
//!
//! After each operation it compares the lists of campaigns and accounts, now and then performance, at the end of a
//! sequence everything, page by page.

use std::ops::RangeInclusive;

use campaign_metrics::pb::{self, CampaignState, ClaimState, LeadStatus};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::{
    claiming::OF_NOTHING_DUE,
    play::{ACCOUNTS, Checked, Play, WORKSPACES, check_none, check_refusal, check_same, stamp},
    world::Learned,
};
use crate::reporting::shown::{Clocks, differences};

/// Maximum pages of a list, so that an endless list fails.
pub const PAGES_MAX: usize = 200;

/// Learns a text that the service chooses. From then on it must not change.
fn learn(known: &mut Learned, seen: &str, what: &str) -> Checked {
    if let Some(current) = &known.current {
        check_same(&seen, &current.as_str(), &format!("{what} does not change by itself"))?;
    } else {
        prop_assert!(!seen.is_empty() && !known.former.iter().any(|former| former == seen), "{} is a new one", what);
        known.current = Some(seen.to_owned());
    }
    Ok(())
}

fn firm(reasons: &[i32]) -> Vec<i32> {
    let of_nothing_due = OF_NOTHING_DUE.map(i32::from);
    reasons.iter().copied().filter(|reason| !of_nothing_due.contains(reason)).collect()
}

pub(super) fn order(at: prost_types::Timestamp) -> (i64, i32) {
    (at.seconds, at.nanos)
}

/// Reads all pages of a list.
macro_rules! pages {
    ($client:expr, $method:ident, $request:expr, $items:ident, $size:expr) => {{
        let mut items = Vec::new();
        let mut token = String::new();
        for page in 0.. {
            prop_assert!(page < PAGES_MAX, "{} ends", stringify!($method));
            let mut request = $request;
            request.page_size = $size;
            request.page_token.clone_from(&token);
            let response = $client.clone().$method(request).await.expect("a page").into_inner();
            let count = i32::try_from(response.$items.len()).unwrap();
            prop_assert!($size == 0 || count <= $size, "{} keeps to its page size", stringify!($method));
            items.extend(response.$items);
            token = response.next_page_token;
            if token.is_empty() {
                break;
            }
        }
        items
    }};
}
pub(super) use pages;

impl Play<'_> {
    /// Compares what every operation can change. Upkeep runs at any time, so the state before or after it is accepted.
    pub async fn compare(&mut self, workspaces: RangeInclusive<usize>) -> Checked {
        let mut shown = Vec::new();
        for workspace in workspaces {
            let parent = self.parent(workspace);
            let request = pb::ListCampaignsRequest { parent: parent.clone(), ..Default::default() };
            let campaigns = pages!(self.service.campaigns, list_campaigns, request.clone(), campaigns, 0);
            let request = pb::ListAccountsRequest { parent, ..Default::default() };
            shown.push((
                workspace,
                campaigns,
                pages!(self.service.accounts, list_accounts, request.clone(), accounts, 0),
            ));
        }
        let before = self.world.clone();
        let compared = self.compare_lists(&shown);
        if compared.is_ok() || !before.wants_upkeep() {
            return compared;
        }
        self.world = before;
        self.world.keep_house();
        self.compare_lists(&shown)
    }

    fn compare_lists(&mut self, shown: &[(usize, Vec<pb::Campaign>, Vec<pb::Account>)]) -> Checked {
        for (workspace, campaigns, accounts) in shown {
            let workspace = *workspace;
            for place in self.by_id(workspace) {
                let name = self.campaign_name(workspace, place);
                let seen = campaigns.iter().find(|seen| seen.name == name);
                let seen = seen.ok_or_else(|| TestCaseError::fail(format!("{name} is not listed")))?;
                self.compare_campaign(workspace, place, seen)?;
            }
            let seen: Vec<String> = campaigns.iter().map(|campaign| campaign.name.clone()).collect();
            let expected = self.by_id(workspace).into_iter().map(|place| self.campaign_name(workspace, place));
            check_same(&seen, &expected.collect::<Vec<_>>(), "the campaigns of a workspace, by id")?;
            let known = self.world.workspaces[workspace].accounts.len();
            for place in 0..known {
                let name = self.account_name(workspace, place);
                let seen = accounts.iter().find(|seen| seen.name == name);
                let seen = seen.ok_or_else(|| TestCaseError::fail(format!("{name} is not listed")))?;
                self.compare_account(workspace, place, seen)?;
            }
            check_same(&accounts.len(), &known, "the accounts of a workspace")?;
        }
        Ok(())
    }

    /// Places of the campaigns of a workspace, by id.
    pub fn by_id(&self, workspace: usize) -> Vec<usize> {
        let campaigns = &self.world.workspaces[workspace].campaigns;
        let mut places: Vec<usize> = (0..campaigns.len()).collect();
        places.sort_by_key(|place| campaigns[*place].id);
        places
    }

    fn compare_campaign(&mut self, workspace: usize, place: usize, seen: &pb::Campaign) -> Checked {
        let of = &mut self.world.workspaces[workspace].campaigns[place];
        learn(&mut of.uid, &seen.uid, "the uid of a campaign")?;
        learn(&mut of.etag, &seen.etag, "the etag of a campaign")?;
        if let Some(seen) = seen.finalized_time {
            let seconds = Timestamp::from_second(seen.seconds).expect("a time of the service");
            of.learn_finalized(seconds + SignedDuration::from_nanos(seen.nanos.into()));
        }
        let mut expected = self.campaign_view(workspace, place);
        let of = &self.world.workspaces[workspace].campaigns[place];
        let lists_what_ended = of.is_blurred && seen.not_sending_reasons != expected.not_sending_reasons;
        if lists_what_ended && firm(&seen.not_sending_reasons) == firm(&expected.not_sending_reasons) {
            expected.not_sending_reasons.clone_from(&seen.not_sending_reasons);
            expected.next_change_time = seen.next_change_time;
        }
        // Never late. It can be early if a claim ended before its expiry, or a due step ended otherwise.
        if let (Some(told), Some(change)) = (seen.next_change_time, expected.next_change_time) {
            let of_ended_claim =
                of.expiries.iter().any(|expiry| stamp(*expiry) == told) && expected.in_flight_claims > 0;
            let is_early = order(stamp(self.world.now)) < order(told) && order(told) < order(change);
            if is_early && (of_ended_claim || of.is_blurred) {
                expected.next_change_time = Some(told);
            }
        } else if of.is_blurred && expected.next_change_time.is_none() {
            expected.next_change_time = seen.next_change_time;
        }
        check_same(seen, &expected, &expected.name)?;
        Ok(())
    }

    fn compare_account(&mut self, workspace: usize, place: usize, seen: &pb::Account) -> Checked {
        let of = &mut self.world.workspaces[workspace].accounts[place];
        learn(&mut of.uid, &seen.uid, "the uid of an account")?;
        learn(&mut of.etag, &seen.etag, "the etag of an account")?;
        let expected = self.account_view(workspace, place);
        check_same(seen, &expected, &expected.name)?;
        Ok(())
    }

    /// The claims of an account as ListClaims shows them.
    pub async fn claims_shown(&self, workspace: usize, account: usize) -> Vec<pb::Claim> {
        let request = pb::ListClaimsRequest { account: self.account_name(workspace, account), ..Default::default() };
        self.service.sending.clone().list_claims(request).await.expect("claims").into_inner().claims
    }

    /// Compares everything that can be read, page by page.
    pub async fn audit(&mut self) -> Checked {
        self.keep_house().await;
        self.compare(0..=WORKSPACES - 1).await?;
        for workspace in 0..WORKSPACES {
            self.audit_campaigns(workspace).await?;
            for place in 0..self.world.workspaces[workspace].campaigns.len() {
                self.audit_leads(workspace, place).await?;
            }
            self.audit_accounts(workspace).await?;
            self.compare_performance(workspace).await?;
            self.compare_pages(workspace).await?;
        }
        self.audit_reporting().await?;
        self.audit_gauges().await
    }

    /// Compares the views for people with the API.
    async fn audit_reporting(&self) -> Checked {
        let sql = self.service.sql().await;
        for workspace in &self.world.workspaces {
            let found = differences(self.service, &sql, &workspace.id, Clocks::Differ).await;
            check_none(&found, "the views of `reporting`")?;
        }
        Ok(())
    }

    /// Compares the gauges with the lists.
    async fn audit_gauges(&self) -> Checked {
        let (mut campaigns, mut accounts) = (Vec::new(), Vec::new());
        for workspace in 0..WORKSPACES {
            let parent = self.parent(workspace);
            let request = pb::ListCampaignsRequest { parent: parent.clone(), ..Default::default() };
            campaigns.extend(pages!(self.service.campaigns, list_campaigns, request.clone(), campaigns, 0));
            let request = pb::ListAccountsRequest { parent, ..Default::default() };
            accounts.extend(pages!(self.service.accounts, list_accounts, request.clone(), accounts, 0));
        }
        self.check_gauges(&campaigns, &accounts).await
    }

    /// Compares lists by state, small pages, single campaigns and the start of a watch with the list.
    async fn audit_campaigns(&mut self, workspace: usize) -> Checked {
        let parent = self.parent(workspace);
        let request = pb::ListCampaignsRequest { parent: parent.clone(), ..Default::default() };
        let all = pages!(self.service.campaigns, list_campaigns, request.clone(), campaigns, 0);
        check_same(
            &pages!(self.service.campaigns, list_campaigns, request.clone(), campaigns, 1),
            &all,
            "small pages",
        )?;
        for state in [CampaignState::Active, CampaignState::Paused, CampaignState::Finished] {
            let request = pb::ListCampaignsRequest { state: state.into(), ..request.clone() };
            let seen = pages!(self.service.campaigns, list_campaigns, request.clone(), campaigns, 2);
            let expected: Vec<_> = all.iter().filter(|campaign| campaign.state() == state).cloned().collect();
            check_same(&seen, &expected, &format!("campaigns that are {state:?}"))?;
        }
        self.check_printed(&all, "campaigns")?;
        for campaign in &all {
            self.check_status(campaign).await?;
            let request = pb::GetCampaignRequest { name: campaign.name.clone() };
            let seen = self.service.campaigns.clone().get_campaign(request).await.expect("it exists").into_inner();
            check_same(&seen, campaign, "GetCampaign and ListCampaigns")?;
        }
        let request = pb::WatchCampaignsRequest { parent: parent.clone(), min_interval: None };
        let mut watch = self.service.campaigns.clone().watch_campaigns(request).await.expect("a watch").into_inner();
        let mut watched = Vec::new();
        while let Some(pb::WatchCampaignsResponse {
            change: Some(pb::watch_campaigns_response::Change::Campaign(campaign)),
        }) = watch.message().await.expect("it goes on")
        {
            watched.push(campaign);
        }
        watched.sort_by(|a, b| a.name.cmp(&b.name));
        check_same(&watched, &all, "WatchCampaigns and ListCampaigns")?;
        let request = pb::ListCampaignsRequest { parent: "workspaces/-".to_owned(), ..Default::default() };
        let everywhere = pages!(self.service.campaigns, list_campaigns, request.clone(), campaigns, 3);
        prop_assert!(
            everywhere.is_sorted_by_key(|campaign| campaign.name.clone()),
            "all campaigns, by workspace and id"
        );
        let ours = everywhere.iter().filter(|campaign| campaign.name.starts_with(&format!("{parent}/")));
        check_same(&ours.count(), &self.world.workspaces[workspace].campaigns.len(), "campaigns among all")?;
        Ok(())
    }

    async fn audit_leads(&mut self, workspace: usize, place: usize) -> Checked {
        let parent = self.campaign_name(workspace, place);
        let leads = self.world.workspaces[workspace].campaigns[place].leads.clone();
        let views: Vec<pb::Lead> = leads.iter().filter_map(|lead| self.lead_view(workspace, place, lead)).collect();
        self.check_printed(&views, "leads")?;
        let accounts: Vec<String> = (0..ACCOUNTS.len()).map(|account| self.account_name(workspace, account)).collect();
        let statuses =
            [LeadStatus::Unspecified, LeadStatus::Pending, LeadStatus::Partial, LeadStatus::Sent, LeadStatus::Failed];
        for (number, status) in statuses.into_iter().enumerate() {
            for account in [accounts[number % accounts.len()].as_str(), ""] {
                let request = pb::ListLeadsRequest {
                    parent: parent.clone(),
                    status: status.into(),
                    account: account.to_owned(),
                    ..Default::default()
                };
                let size = [0, 1, 2, 3][number % 4];
                let seen = pages!(self.service.leads, list_leads, request.clone(), leads, size);
                let is_meant = |lead: &&pb::Lead| {
                    (status == LeadStatus::Unspecified || lead.status() == status)
                        && (account.is_empty() || lead.account == account)
                };
                let expected: Vec<pb::Lead> = views.iter().filter(is_meant).cloned().collect();
                check_same(&seen, &expected, &format!("leads of {parent} that are {status:?}, of `{account}`"))?;
            }
        }
        self.audit_filters(&parent, &views).await?;
        self.audit_exports(workspace, place).await?;
        for lead in leads {
            let Some(view) = self.lead_view(workspace, place, &lead) else { continue };
            let request = pb::GetLeadRequest { name: view.name.clone() };
            let seen = self.service.leads.clone().get_lead(request).await.expect("it exists").into_inner();
            check_same(&seen, &view, "GetLead")?;
            let request = pb::ListLeadOutcomesRequest { parent: view.name.clone(), ..Default::default() };
            let shown = |entry| self.outcome_view(workspace, &view.name, entry);
            let trail: Vec<_> = lead.trail.iter().map(shown).collect();
            for outcome in &trail {
                self.told.note(outcome);
            }
            for size in [0, 1] {
                let seen = pages!(self.service.leads, list_lead_outcomes, request.clone(), outcomes, size);
                check_same(&seen, &trail, &format!("the trail of {}", view.name))?;
            }
        }
        let request = pb::GetLeadRequest { name: format!("{parent}/leads/nobody") };
        let unknown = self.service.leads.clone().get_lead(request).await;
        check_refusal(unknown, Some("NOT_FOUND"), "a lead that was never added")?;
        Ok(())
    }

    async fn audit_accounts(&mut self, workspace: usize) -> Checked {
        let parent = self.parent(workspace);
        let request = pb::ListAccountsRequest { parent: parent.clone(), ..Default::default() };
        let all = pages!(self.service.accounts, list_accounts, request.clone(), accounts, 0);
        check_same(&pages!(self.service.accounts, list_accounts, request.clone(), accounts, 2), &all, "small pages")?;
        prop_assert!(all.is_sorted_by_key(|account| account.name.clone()), "accounts, by id");
        self.check_printed(&all, "accounts")?;
        for account in &all {
            let request = pb::GetAccountRequest { name: account.name.clone() };
            let seen = self.service.accounts.clone().get_account(request).await.expect("it exists").into_inner();
            check_same(&seen, account, "GetAccount and ListAccounts")?;
        }
        for account in 0..ACCOUNTS.len() {
            let views = self.claims_view(workspace, account);
            self.check_printed(&views, "claims")?;
            for (state, size) in [(ClaimState::Unspecified, 0), (ClaimState::Held, 1), (ClaimState::Uncertain, 2)] {
                let request = pb::ListClaimsRequest {
                    account: self.account_name(workspace, account),
                    state: state.into(),
                    ..Default::default()
                };
                let seen = pages!(self.service.sending, list_claims, request.clone(), claims, size);
                let is_meant = |claim: &&pb::Claim| state == ClaimState::Unspecified || claim.state() == state;
                let expected: Vec<pb::Claim> = views.iter().filter(is_meant).cloned().collect();
                check_same(&seen, &expected, &format!("claims of {} that are {:?}", request.account, state))?;
            }
        }
        let request = pb::ListOptOutsRequest { parent, ..Default::default() };
        for opt_out in &self.opt_outs_view(workspace) {
            self.told.note(opt_out);
        }
        for size in [0, 1] {
            let seen = pages!(self.service.opt_outs, list_opt_outs, request.clone(), opt_outs, size);
            check_same(&seen, &self.opt_outs_view(workspace), "the opt-out list")?;
        }
        Ok(())
    }

    /// Deletes everything, so that later sequences have their own lists.
    pub async fn clean_up(&mut self) -> Checked {
        for workspace in 0..WORKSPACES {
            while let Some(campaign) = self.world.workspaces[workspace].campaigns.len().checked_sub(1) {
                let name = self.campaign_name(workspace, campaign);
                let owner_uid = self.world.workspaces[workspace].campaigns[campaign].owner.take();
                let owner_uid = owner_uid.map(|owner| owner.uid).unwrap_or_default();
                let request = pb::DeleteCampaignRequest { name, force: true, owner_uid, ..Default::default() };
                let deleted = self.service.campaigns.clone().delete_campaign(request).await;
                check_refusal(deleted, None, "a forced deletion")?;
                self.workspace(workspace).delete_campaign(campaign);
            }
            self.compare(0..=WORKSPACES - 1).await?;
            // Account figures outlive the campaigns.
            self.compare_performance(workspace).await?;
            for account in 0..ACCOUNTS.len() {
                let request =
                    pb::DeleteAccountRequest { name: self.account_name(workspace, account), etag: String::new() };
                let deleted = self.service.accounts.clone().delete_account(request).await;
                check_refusal(deleted, None, "an account without campaigns and leads")?;
            }
            self.world.workspaces[workspace].accounts.clear();
        }
        Ok(())
    }
}
