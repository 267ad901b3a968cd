//! What people and controllers change, on the service and on the model: settings, states, leads, opt-outs.

use std::collections::BTreeSet;

use campaign_metrics::pb::{self, CampaignState};
use futures::stream;
use jiff::SignedDuration;
use prost_types::FieldMask;

use super::{
    hours::ZONES,
    lead::Lead,
    ops::{AccountChange, Change, Op},
    play::{ACCOUNTS, CAMPAIGNS, Checked, Play, check_refusal, check_same},
    world::{Campaign, Owner},
};

fn accounts(of: u8) -> BTreeSet<usize> {
    (0..ACCOUNTS.len()).filter(|account| of >> account & 1 == 1).collect()
}

fn path(path: &str) -> Option<FieldMask> {
    Some(FieldMask { paths: vec![path.to_owned()] })
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

    fn of(&mut self, workspace: usize, campaign: usize) -> &mut Campaign {
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
            CampaignState::Paused => campaigns.pause_campaign(pb::PauseCampaignRequest { name, etag }).await,
            CampaignState::Finished => campaigns.finish_campaign(pb::FinishCampaignRequest { name, etag }).await,
            _ => campaigns.resume_campaign(pb::ResumeCampaignRequest { name, etag }).await,
        };
        let now = self.world.now;
        let of = self.of(workspace, campaign);
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
                changed.hours = *hours;
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
        let request = pb::UpdateCampaignRequest { campaign: Some(sent), update_mask: path(field) };
        let result = self.service.campaigns.clone().update_campaign(request).await;
        let now = self.world.now;
        let expected = if changed.owner.is_some() { MANAGED } else { None };
        check_refusal(result, expected, &format!("an update of {}", field))?;
        if expected.is_none() {
            changed.settings_written(now);
            *self.of(workspace, campaign) = changed;
        }
        Ok(())
    }

    async fn update_account(&mut self, workspace: usize, account: usize, change: &AccountChange) -> Checked {
        let (name, now) = (self.account_name(workspace, account), self.world.now);
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
            AccountChange::TimeZone(zone) => {
                of.zone = ZONES[*zone];
                "time_zone"
            }
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
        let request = pb::UpdateAccountRequest { account: Some(changed), update_mask: path(field) };
        let result = self.service.accounts.clone().update_account(request).await;
        check_refusal(result, None, &format!("an update of {}", field))?;
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

    pub async fn add_leads(
        &mut self,
        workspace: usize,
        campaign: usize,
        accounts: &[Option<usize>],
        reuse: bool,
        complete: bool,
    ) -> Checked {
        self.tick();
        let now = self.world.now;
        let of = &self.world.workspaces[workspace];
        let mut ids: Vec<String> = (0..accounts.len()).map(|place| format!("l{}", self.leads_added + place)).collect();
        if reuse {
            // An id that is known: of this campaign, of another one, or of somebody who opted out.
            let known = of.campaigns.iter().flat_map(|campaign| &campaign.leads).filter_map(|lead| lead.id.clone());
            let known: Vec<String> = known.chain(of.opt_outs.keys().cloned()).collect();
            if let Some(place) = self.leads_added.checked_rem(known.len()) {
                ids[0].clone_from(&known[place]);
            }
        }
        self.leads_added += ids.len();
        let id_of = |account: &Option<usize>| account.map(|account| ACCOUNTS[account].to_owned()).unwrap_or_default();
        let leads = ids
            .iter()
            .zip(accounts)
            .map(|(id, account)| pb::NewLead { lead_id: id.clone(), account_id: id_of(account) });
        let request = pb::AddLeadsRequest {
            parent: self.campaign_name(workspace, campaign),
            leads: leads.collect(),
            lead_list_complete: complete,
        };
        let result = self.service.leads.clone().add_leads(stream::iter([request])).await;
        if self.of(workspace, campaign).state == CampaignState::Finished {
            check_refusal(result, Some("CAMPAIGN_FINISHED"), "leads for a finished campaign")?;
            return Ok(());
        }
        let answer = result.expect("they are added").into_inner();
        let seen = (
            (answer.added_count, answer.existing_count, answer.refused_count),
            answer.refused.iter().map(|refused| (refused.index, refused.reason.as_str())).collect::<Vec<_>>(),
        );
        let of = self.of(workspace, campaign);
        let (mut new, mut existing, mut refused) = (Vec::new(), 0, Vec::new());
        for (place, (id, account)) in ids.iter().zip(accounts).enumerate() {
            let known = of.leads.iter().find(|lead| lead.id.as_ref() == Some(id));
            let index = i64::try_from(place).unwrap();
            if account.is_some_and(|account| !of.serving.contains(&account)) {
                refused.push((index, "ACCOUNT_NOT_SERVING"));
            } else if known.is_some_and(|lead| account.is_some() && lead.account.is_some() && lead.account != *account)
            {
                refused.push((index, "ACCOUNT_DIFFERS"));
            } else if known.is_some() {
                existing += 1;
            } else {
                new.push(Lead { id: Some(id.clone()), account: *account, ..Default::default() });
            }
        }
        let counts = (i64::try_from(new.len()).unwrap(), existing, i64::try_from(refused.len()).unwrap());
        check_same(&seen, &(counts, refused), "what AddLeads says")?;
        // Within a message they are numbered by account.
        new.sort_by_key(|lead| lead.account);
        of.leads.extend(new);
        let of = self.workspace(workspace);
        for id in ids {
            let lead = of.campaigns[campaign].leads.iter().position(|lead| lead.id.as_ref() == Some(&id));
            if let (Some(lead), true) = (lead, of.opt_outs.contains_key(&id)) {
                of.opt_out_lead(campaign, lead, now);
            }
        }
        of.finish_complete(now);
        if complete {
            of.campaigns[campaign].declare_complete(now);
        }
        Ok(())
    }

    async fn delete_lead(&mut self, workspace: usize, campaign: usize, choice: usize, force: bool) -> Checked {
        self.tick();
        let now = self.world.now;
        let of = self.of(workspace, campaign);
        let named: Vec<usize> = (0..of.leads.len()).filter(|lead| of.leads[*lead].id.is_some()).collect();
        let Some(place) = choice.checked_rem(named.len()).map(|place| named[place]) else { return Ok(()) };
        let lead = &of.leads[place];
        let (id, is_claimed) = (lead.id.clone().expect("one that is named"), lead.claim.is_some());
        // Which account its messages count for is not settled yet where only the claim knew it.
        if is_claimed && force && lead.account.is_none() && !lead.trail.is_empty() {
            return Ok(());
        }
        let name = format!("{}/leads/{id}", self.campaign_name(workspace, campaign));
        let result = self.service.leads.clone().delete_lead(pb::DeleteLeadRequest { name, force }).await;
        let expected = (is_claimed && !force).then_some("CLAIMS_OPEN");
        check_refusal(result, expected, &format!("the deletion of lead {}", id))?;
        if expected.is_none() {
            self.workspace(workspace).delete_lead(campaign, place, now);
        }
        Ok(())
    }

    async fn reassign(&mut self, workspace: usize, campaign: usize, from: usize, to: usize) -> Checked {
        let request = pb::ReassignLeadsRequest {
            parent: self.campaign_name(workspace, campaign),
            from_account: self.account_name(workspace, from),
            to_accounts: vec![self.account_name(workspace, to)],
        };
        let result = self.service.leads.clone().reassign_leads(request).await;
        let of = self.of(workspace, campaign);
        let serves = |account| of.serving.contains(&account);
        let expected = [
            ("CAMPAIGN_FINISHED", of.state == CampaignState::Finished),
            ("ACCOUNT_SERVING", serves(from)),
            ("ACCOUNT_NOT_SERVING", !serves(to)),
        ];
        if let Some((reason, _)) = expected.into_iter().find(|(_, holds)| *holds) {
            check_refusal(result, Some(reason), "a reassignment")?;
            return Ok(());
        }
        let (steps, mut reassigned_count) = (of.steps, 0);
        for lead in &mut of.leads {
            if lead.account == Some(from) && lead.claim.is_none() && lead.next_step(steps).is_some() {
                lead.account = Some(to);
                reassigned_count += 1;
            }
        }
        let answer = result.expect("they are reassigned").into_inner();
        check_same(&answer, &pb::ReassignLeadsResponse { reassigned_count, more: false }, "a reassignment")?;
        Ok(())
    }

    async fn opt_out(&mut self, workspace: usize, choice: usize) -> Checked {
        self.tick();
        let now = self.world.now;
        let of = &self.world.workspaces[workspace];
        let known = of.campaigns.iter().flat_map(|campaign| &campaign.leads).filter_map(|lead| lead.id.clone());
        let ids: Vec<String> = known.chain([format!("nobody{choice}")]).collect();
        let id = ids[choice % ids.len()].clone();
        let request = pb::AddOptOutsRequest { parent: self.parent(workspace), lead_ids: vec![id.clone()] };
        let answer = self.service.opt_outs.clone().add_opt_outs(request).await.expect("it is listed").into_inner();
        let is_new = !self.workspace(workspace).opt_outs.contains_key(&id);
        check_same(&answer, &pb::AddOptOutsResponse { added_count: is_new.into() }, &format!("the opt-out of {}", id))?;
        self.workspace(workspace).opt_out(&id, now);
        Ok(())
    }

    async fn opt_in(&mut self, workspace: usize, choice: usize) -> Checked {
        let listed: Vec<String> = self.workspace(workspace).opt_outs.keys().cloned().collect();
        let id = choice.checked_rem(listed.len()).map_or_else(|| "nobody".to_owned(), |place| listed[place].clone());
        let name = format!("{}/optOuts/{id}", self.parent(workspace));
        let result = self.service.opt_outs.clone().delete_opt_out(pb::DeleteOptOutRequest { name }).await;
        let was_listed = self.workspace(workspace).opt_outs.remove(&id).is_some();
        check_refusal(result, (!was_listed).then_some("NOT_FOUND"), &format!("{} off the list", id))?;
        Ok(())
    }

    pub async fn delete_campaign(&mut self, workspace: usize, campaign: usize, force: bool) -> Checked {
        let name = self.campaign_name(workspace, campaign);
        let request = pb::DeleteCampaignRequest { name, force, ..Default::default() };
        let result = self.service.campaigns.clone().delete_campaign(request).await;
        let of = self.of(workspace, campaign);
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
        };
        let result = self.service.campaigns.clone().apply_campaign(request).await;
        let of = self.of(workspace, campaign);
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
        let request = pb::OrphanCampaignRequest { name: self.campaign_name(workspace, campaign), owner_uid };
        let result = self.service.campaigns.clone().orphan_campaign(request).await;
        check_refusal(result, None, "the end of management")?;
        let of = self.of(workspace, campaign);
        if of.owner.take().is_some() {
            of.etag.change();
        }
        Ok(())
    }
}
