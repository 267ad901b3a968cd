//! What people and controllers change, on the service and on the model: settings, states, owners.

use std::collections::BTreeSet;

use campaign_metrics::pb::{self, CampaignState};
use jiff::SignedDuration;
use prost_types::FieldMask;

use super::{
    campaign::{Campaign, Owner},
    hours::ZONES,
    ops::{AccountChange, Change, Op},
    play::{ACCOUNTS, CAMPAIGNS, Checked, Play, check_refusal},
};

fn accounts(of: u8) -> BTreeSet<usize> {
    (0..ACCOUNTS.len()).filter(|account| of >> account & 1 == 1).collect()
}

fn mask(path: &str) -> FieldMask {
    FieldMask { paths: vec![path.to_owned()] }
}

/// Settings of which only one is named by the mask: the others would show if they were taken.
fn named_alone(field: &str, name: String, settings: pb::Campaign) -> pb::Campaign {
    let mut sent = pb::Campaign {
        name,
        display_name: "not named".to_owned(),
        follow_up_delay: Some(super::play::seconds(77)),
        active_hours: Some(pb::ActiveHours { time_zone: "Asia/Tokyo".to_owned(), windows: Vec::new() }),
        daily_limit: Some(99),
        settle_seconds: Some(98),
        attribution_days: Some(97),
        ..Default::default()
    };
    match field {
        "display_name" => sent.display_name = settings.display_name,
        "follow_up_delay" => sent.follow_up_delay = settings.follow_up_delay,
        "accounts" => sent.accounts = settings.accounts,
        "active_hours" => sent.active_hours = settings.active_hours,
        "daily_limit" => sent.daily_limit = settings.daily_limit,
        "claim_expiry_policy" => sent.claim_expiry_policy = settings.claim_expiry_policy,
        "settle_seconds" => sent.settle_seconds = settings.settle_seconds,
        "attribution_days" => sent.attribution_days = settings.attribution_days,
        _ => sent.lead_list_complete = settings.lead_list_complete,
    }
    sent
}

/// Clients may not change what a resource manages.
const MANAGED: Option<&str> = Some("CAMPAIGN_MANAGED");

impl Play<'_> {
    pub async fn run_change(&mut self, workspace: usize, op: &Op) -> Checked {
        match op {
            Op::UpdateAccount { account, change } => self.update_account(workspace, *account, change).await,
            Op::Suspend { account, suspended } => self.suspend(workspace, *account, *suspended).await,
            Op::OptOut { id } => self.opt_out(workspace, *id).await,
            Op::OptIn { id } => self.opt_in(workspace, *id).await,
            Op::CreateCampaign { campaign, hours, steps, of, retries } => {
                let id = CAMPAIGNS[campaign % CAMPAIGNS.len()];
                let campaign = self.new_campaign(id, *hours, *steps, *of, *retries);
                self.create_campaign(workspace, campaign).await
            }
            Op::SetState { campaign, .. }
            | Op::Update { campaign, .. }
            | Op::AddLeads { campaign, .. }
            | Op::DeleteLead { campaign, .. }
            | Op::Reassign { campaign, .. }
            | Op::DeleteCampaign { campaign, .. }
            | Op::Apply { campaign, .. }
            | Op::Orphan { campaign } => match self.choose_campaign(workspace, *campaign) {
                Some(campaign) => self.change_campaign(workspace, campaign, op).await,
                None => Ok(()),
            },
            _ => unreachable!("senders and time do the rest"),
        }
    }

    async fn change_campaign(&mut self, workspace: usize, campaign: usize, op: &Op) -> Checked {
        match op {
            Op::SetState { to, .. } => self.set_state(workspace, campaign, *to).await,
            Op::Update { change, .. } => self.update_campaign(workspace, campaign, change).await,
            Op::AddLeads { accounts, reuse, complete, .. } => {
                self.add_leads(workspace, campaign, accounts, *reuse, *complete).await
            }
            Op::DeleteLead { lead, force, .. } => self.delete_lead(workspace, campaign, *lead, *force).await,
            Op::Reassign { from, to, .. } => self.reassign(workspace, campaign, *from, *to).await,
            Op::DeleteCampaign { force, .. } => self.delete_campaign(workspace, campaign, *force).await,
            Op::Apply { older, .. } => self.apply(workspace, campaign, *older).await,
            _ => self.orphan(workspace, campaign).await,
        }
    }

    pub fn campaign(&mut self, workspace: usize, campaign: usize) -> &mut Campaign {
        &mut self.world.workspaces[workspace].campaigns[campaign]
    }

    pub async fn create_campaign(&mut self, workspace: usize, campaign: Campaign) -> Checked {
        self.tick();
        let campaign = Campaign { created: self.world.now, updated: self.world.now, ..campaign };
        let request = pb::CreateCampaignRequest {
            parent: self.parent(workspace),
            campaign_id: campaign.id.to_owned(),
            campaign: Some(self.settings(workspace, &campaign)),
            request_id: String::new(),
        };
        let exists = self.world.workspaces[workspace].campaigns.iter().any(|other| other.id == campaign.id);
        let created = self.service.campaigns.clone().create_campaign(request).await;
        check_refusal(created, exists.then_some("CAMPAIGN_EXISTS"), "a creation")?;
        if !exists {
            self.workspace(workspace).campaigns.push(campaign);
        }
        Ok(())
    }

    async fn set_state(&mut self, workspace: usize, campaign: usize, to: CampaignState) -> Checked {
        let (name, etag) = (self.campaign_name(workspace, campaign), String::new());
        let mut campaigns = self.service.campaigns.clone();
        let result = match to {
            CampaignState::Paused => {
                campaigns.pause_campaign(pb::PauseCampaignRequest { name, etag, ..Default::default() }).await
            }
            CampaignState::Finished => campaigns.finish_campaign(pb::FinishCampaignRequest { name, etag }).await,
            _ => campaigns.resume_campaign(pb::ResumeCampaignRequest { name, etag, ..Default::default() }).await,
        };
        let now = self.world.now;
        let of = self.campaign(workspace, campaign);
        let is_back = of.state == CampaignState::Finished && to != CampaignState::Finished;
        let expected = if of.owner.is_some() { MANAGED } else { is_back.then_some("ILLEGAL_TRANSITION") };
        check_refusal(result, expected, &format!("{:?} to {:?}", of.state, to))?;
        if expected.is_none() {
            of.set_state(to, now);
        }
        Ok(())
    }

    async fn update_campaign(&mut self, workspace: usize, campaign: usize, change: &Change) -> Checked {
        let mut changed = self.world.workspaces[workspace].campaigns[campaign].clone();
        let field = match change {
            Change::DisplayName(number) => {
                changed.display_name = format!("№ {number}");
                "display_name"
            }
            Change::FollowUpDelay { minutes } => {
                changed.delay = SignedDuration::from_mins(*minutes);
                "follow_up_delay"
            }
            Change::Accounts { of } => {
                changed.serve_by(accounts(*of));
                "accounts"
            }
            Change::Hours(hours) => {
                changed.set_hours(*hours, self.world.now);
                "active_hours"
            }
            Change::DailyLimit(limit) => {
                changed.limit = *limit;
                "daily_limit"
            }
            Change::Retries(retries) => {
                changed.retries = *retries;
                "claim_expiry_policy"
            }
            Change::SettleSeconds(seconds) => {
                changed.settle_seconds = *seconds;
                "settle_seconds"
            }
            Change::AttributionDays(days) => {
                changed.attribution_days = *days;
                "attribution_days"
            }
            Change::Complete(complete) => {
                changed.is_complete = *complete;
                "lead_list_complete"
            }
        };
        let sent = named_alone(field, self.campaign_name(workspace, campaign), self.settings(workspace, &changed));
        let request = pb::UpdateCampaignRequest { campaign: Some(sent), update_mask: Some(mask(field)) };
        let result = self.service.campaigns.clone().update_campaign(request).await;
        let now = self.world.now;
        let expected = if changed.owner.is_some() { MANAGED } else { None };
        check_refusal(result, expected, &format!("an update of {field}"))?;
        if expected.is_none() {
            changed.settings_written(now);
            *self.campaign(workspace, campaign) = changed;
        }
        Ok(())
    }

    async fn update_account(&mut self, workspace: usize, account: usize, change: &AccountChange) -> Checked {
        let (name, now) = (self.account_name(workspace, account), self.world.now);
        if let AccountChange::TimeZone(zone) = change {
            self.workspace(workspace).move_account(account, ZONES[*zone], now);
        }
        let of = &mut self.workspace(workspace).accounts[account];
        let field = match change {
            AccountChange::DisplayName(number) => {
                of.display_name = format!("№ {number}");
                "display_name"
            }
            AccountChange::DailyLimit(limit) => {
                of.limit = *limit;
                "daily_limit"
            }
            AccountChange::TimeZone(_) => "time_zone",
        };
        of.updated = now;
        of.etag.change();
        let changed = pb::Account {
            name,
            display_name: of.display_name.clone(),
            daily_limit: of.limit,
            time_zone: of.zone.to_owned(),
            ..Default::default()
        };
        let request = pb::UpdateAccountRequest { account: Some(changed), update_mask: Some(mask(field)) };
        let result = self.service.accounts.clone().update_account(request).await;
        check_refusal(result, None, &format!("an update of {field}"))?;
        Ok(())
    }

    async fn suspend(&mut self, workspace: usize, account: usize, suspended: bool) -> Checked {
        let (name, etag) = (self.account_name(workspace, account), String::new());
        let mut accounts = self.service.accounts.clone();
        let done = if suspended {
            accounts.suspend_account(pb::SuspendAccountRequest { name, etag }).await
        } else {
            accounts.reinstate_account(pb::ReinstateAccountRequest { name, etag }).await
        };
        check_refusal(done, None, "a suspension, or the end of one")?;
        let now = self.world.now;
        let of = &mut self.workspace(workspace).accounts[account];
        if of.is_suspended != suspended {
            of.is_suspended = suspended;
            of.updated = now;
            of.etag.change();
        }
        Ok(())
    }

    pub async fn delete_campaign(&mut self, workspace: usize, campaign: usize, force: bool) -> Checked {
        let name = self.campaign_name(workspace, campaign);
        let request = pb::DeleteCampaignRequest { name, force, ..Default::default() };
        let result = self.service.campaigns.clone().delete_campaign(request).await;
        let of = self.campaign(workspace, campaign);
        let has_claims = of.leads.iter().any(|lead| lead.claim.is_some());
        let expected = if of.owner.is_some() { MANAGED } else { (has_claims && !force).then_some("CLAIMS_OPEN") };
        check_refusal(result, expected, "the deletion of a campaign")?;
        if expected.is_none() {
            self.workspace(workspace).delete_campaign(campaign);
        }
        Ok(())
    }

    async fn apply(&mut self, workspace: usize, campaign: usize, older: bool) -> Checked {
        let of = &self.world.workspaces[workspace].campaigns[campaign];
        let uid = format!("{}-{}", self.parent(workspace), of.id);
        let newest = of.owner.clone().unwrap_or(Owner { uid, generation: 3, fencing_token: 5 });
        let owner = if older {
            Owner { generation: newest.generation - 1, ..newest }
        } else {
            Owner { generation: newest.generation + 2, fencing_token: newest.fencing_token + 1, ..newest }
        };
        let settings = pb::Campaign { name: self.campaign_name(workspace, campaign), ..self.settings(workspace, of) };
        let request = pb::ApplyCampaignRequest {
            campaign: Some(settings),
            state: of.state.into(),
            owner: Some(self.owner(workspace, of.id, &owner)),
            adoption_policy: pb::AdoptionPolicy::IfUnowned.into(),
            ..Default::default()
        };
        let result = self.service.campaigns.clone().apply_campaign(request).await;
        let of = self.campaign(workspace, campaign);
        let expected = (older && of.owner.is_some()).then_some("STALE_OWNER");
        check_refusal(result, expected, "what a controller applies")?;
        if expected.is_none() {
            of.owner = Some(owner);
            of.etag.change();
        }
        Ok(())
    }

    async fn orphan(&mut self, workspace: usize, campaign: usize) -> Checked {
        let of = &self.world.workspaces[workspace].campaigns[campaign];
        let owner_uid = of.owner.as_ref().map_or_else(|| "nobody".to_owned(), |owner| owner.uid.clone());
        let request = pb::OrphanCampaignRequest {
            name: self.campaign_name(workspace, campaign),
            owner_uid,
            ..Default::default()
        };
        let result = self.service.campaigns.clone().orphan_campaign(request).await;
        check_refusal(result, None, "the end of management")?;
        let of = self.campaign(workspace, campaign);
        if of.owner.take().is_some() {
            of.etag.change();
        }
        Ok(())
    }
}
