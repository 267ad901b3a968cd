//! Operations on leads, on the service and on the model: add, delete, reassign, opt out.

use campaign_metrics::pb::{self, CampaignState};
use futures::stream;

use super::{
    lead::Lead,
    play::{ACCOUNTS, Checked, Play, check_refusal, check_same},
};

impl Play<'_> {
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
            // A known id: of this campaign, of another one, or opted out.
            let known = of.campaigns.iter().flat_map(|campaign| &campaign.leads).filter_map(|lead| lead.id.clone());
            let known: Vec<String> = known.chain(of.opt_outs.keys().cloned()).collect();
            if let Some(place) = self.leads_added.checked_rem(known.len()) {
                ids[0].clone_from(&known[place]);
            }
        }
        self.leads_added += ids.len();
        if reuse && ids.len() > 2 {
            // Twice in one message, mostly with different accounts.
            let repeated = ids[1].clone();
            ids[2] = repeated;
        }
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
        let of = self.campaign(workspace, campaign);
        let (mut new, mut existing, mut refused) = (Vec::new(), 0, Vec::new());
        for (place, (id, account)) in ids.iter().zip(accounts).enumerate() {
            let known = of.leads.iter().find(|lead| lead.id.as_ref() == Some(id));
            let index = i64::try_from(place).unwrap();
            if account.is_some_and(|account| !of.serving.contains(&account)) {
                refused.push((index, "ACCOUNT_NOT_SERVING"));
            } else if known.is_some_and(|lead| account.is_some() && lead.account.is_some() && lead.account != *account)
            {
                refused.push((index, "ACCOUNT_DIFFERS"));
            } else if let Some(first) = new.iter().find(|lead: &&Lead| lead.id.as_ref() == Some(id)) {
                if account.is_some() && first.account.is_some() && first.account != *account {
                    refused.push((index, "ACCOUNT_DIFFERS"));
                } else {
                    existing += 1;
                }
            } else if known.is_some() {
                existing += 1;
            } else {
                new.push(Lead { id: Some(id.clone()), account: *account, ..Default::default() });
            }
        }
        let is_finished = of.state == CampaignState::Finished;
        if is_finished && (!new.is_empty() || complete && !of.is_complete) {
            check_refusal(result, Some("CAMPAIGN_FINISHED"), "what changes a finished campaign")?;
            return Ok(());
        }
        let answer = result.expect("they are added").into_inner();
        let seen = (
            (answer.added_count, answer.existing_count, answer.refused_count),
            answer.refused.iter().map(|refused| (refused.index, refused.reason.as_str())).collect::<Vec<_>>(),
        );
        let counts = (i64::try_from(new.len()).unwrap(), existing, i64::try_from(refused.len()).unwrap());
        check_same(&seen, &(counts, refused), "what AddLeads says")?;
        if is_finished {
            return Ok(());
        }
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

    pub async fn delete_lead(&mut self, workspace: usize, campaign: usize, choice: usize, force: bool) -> Checked {
        self.tick();
        let now = self.world.now;
        let of = self.campaign(workspace, campaign);
        let named: Vec<usize> = (0..of.leads.len()).filter(|lead| of.leads[*lead].id.is_some()).collect();
        let Some(place) = choice.checked_rem(named.len()).map(|place| named[place]) else { return Ok(()) };
        let lead = &of.leads[place];
        let (id, is_claimed) = (lead.id.clone().expect("one that is named"), lead.claim.is_some());
        let name = format!("{}/leads/{id}", self.campaign_name(workspace, campaign));
        let result = self.service.leads.clone().delete_lead(pb::DeleteLeadRequest { name, force }).await;
        let expected = (is_claimed && !force).then_some("CLAIMS_OPEN");
        check_refusal(result, expected, &format!("the deletion of lead {id}"))?;
        if expected.is_none() {
            self.workspace(workspace).delete_lead(campaign, place, now);
        }
        Ok(())
    }

    pub async fn reassign(&mut self, workspace: usize, campaign: usize, from: usize, to: usize) -> Checked {
        let request = pb::ReassignLeadsRequest {
            parent: self.campaign_name(workspace, campaign),
            from_account: self.account_name(workspace, from),
            to_accounts: vec![self.account_name(workspace, to)],
        };
        let result = self.service.leads.clone().reassign_leads(request).await;
        let of = self.campaign(workspace, campaign);
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

    pub async fn opt_out(&mut self, workspace: usize, choice: usize) -> Checked {
        self.tick();
        let now = self.world.now;
        let of = &self.world.workspaces[workspace];
        let known = of.campaigns.iter().flat_map(|campaign| &campaign.leads).filter_map(|lead| lead.id.clone());
        let ids: Vec<String> = known.chain([format!("nobody{choice}")]).collect();
        let id = ids[choice % ids.len()].clone();
        let request = pb::AddOptOutsRequest { parent: self.parent(workspace), lead_ids: vec![id.clone()] };
        let answer = self.service.opt_outs.clone().add_opt_outs(request).await.expect("it is listed").into_inner();
        let is_new = !self.workspace(workspace).opt_outs.contains_key(&id);
        check_same(&answer, &pb::AddOptOutsResponse { added_count: is_new.into() }, &format!("the opt-out of {id}"))?;
        self.workspace(workspace).opt_out(&id, now);
        Ok(())
    }

    pub async fn opt_in(&mut self, workspace: usize, choice: usize) -> Checked {
        let listed: Vec<String> = self.workspace(workspace).opt_outs.keys().cloned().collect();
        let id = choice.checked_rem(listed.len()).map_or_else(|| "nobody".to_owned(), |place| listed[place].clone());
        let name = format!("{}/optOuts/{id}", self.parent(workspace));
        let result = self.service.opt_outs.clone().delete_opt_out(pb::DeleteOptOutRequest { name }).await;
        let was_listed = self.workspace(workspace).opt_outs.remove(&id).is_some();
        check_refusal(result, (!was_listed).then_some("NOT_FOUND"), &format!("{id} off the list"))?;
        Ok(())
    }
}
