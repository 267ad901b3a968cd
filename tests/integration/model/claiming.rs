//! Claiming, on the service and on the model: what is granted, and why not more.

use std::collections::BTreeMap;

use campaign_metrics::pb::{self, CampaignState, NotSendingReason as Reason};
use jiff::{SignedDuration, Timestamp};
use proptest::{prelude::*, test_runner::TestCaseError};

use super::{
    campaign::{Campaign, Expired},
    hours::local_day,
    lead::Claim,
    play::{Asked, Checked, Play, check_refusal, check_same, stamp},
    reasons::Asker,
};

/// The default hold of a claim.
pub const HOLD_DEFAULT_SECONDS: i64 = 300;

/// Reasons that depend on what is due, and can be others while the campaign lists ended steps as due.
pub const OF_NOTHING_DUE: [Reason; 5] = [
    Reason::AccountDailyLimit,
    Reason::AccountSuspended,
    Reason::AccountRemoved,
    Reason::NoLeadDue,
    Reason::UncertainClaims,
];

impl Play<'_> {
    /// Returns the UUID of a number; a new one once the service may have forgotten the last.
    pub fn request_id(&mut self, workspace: usize, number: u8) -> String {
        let now = self.world.now;
        self.asked.retain(|_, asked| asked.at + SignedDuration::from_hours(20) > now);
        let asked = self.asked.get(&(workspace, number));
        asked.map_or_else(|| uuid::Uuid::new_v4().to_string(), |asked| asked.request.request_id.clone())
    }

    pub async fn claim_again(
        &mut self,
        workspace: usize,
        who: Asker,
        ask: pb::ClaimSendsRequest,
        asked: &Asked,
    ) -> Checked {
        let account = who.account;
        let answer = self.service.sending.clone().claim_sends(ask.clone()).await;
        if ask != asked.request {
            check_refusal(answer, Some("REQUEST_ID_REUSED"), "a request id with another body")?;
            return Ok(());
        }
        let of = &self.world.workspaces[workspace];
        let claims = of.campaigns.iter().flat_map(|campaign| &campaign.leads).filter_map(|lead| lead.claim.as_ref());
        let held = claims.filter(|claim| claim.grant == asked.grant && claim.expires > self.world.now);
        let mut held: Vec<String> = held.map(|claim| claim.id.clone()).collect();
        if held.is_empty() && !self.is_serving(workspace, who) {
            return check_refusal(answer, Some("ACCOUNT_NOT_SERVING"), "a repeat of which nothing is held");
        }
        let answer = answer.expect("an answer").into_inner();
        let mut again: Vec<String> = answer.claims.into_iter().map(|claim| claim.claim_id).collect();
        again.sort_unstable();
        held.sort_unstable();
        check_same(
            &again,
            &held,
            &format!("a repeated request of {} gets what is still held", self.account_name(workspace, account)),
        )?;
        Ok(())
    }

    /// Whether the account serves the campaign that it asks for, if it asks for one.
    pub fn is_serving(&self, workspace: usize, who: Asker) -> bool {
        let campaigns = &self.world.workspaces[workspace].campaigns;
        who.campaign.is_none_or(|campaign| campaigns[campaign].serving.contains(&who.account))
    }

    pub async fn claim(&mut self, workspace: usize, who: Asker, ask: pb::ClaimSendsRequest) -> Checked {
        let (account, now, max) = (who.account, self.world.now, i64::from(ask.max_claims));
        let hold = ask.hold_duration.map_or(HOLD_DEFAULT_SECONDS, |hold| hold.seconds);
        let answer = self.service.sending.clone().claim_sends(ask).await.expect("an answer").into_inner();
        let expected = self.world.workspaces[workspace].granted(who, max, now);
        let count = i64::try_from(answer.claims.len()).unwrap();
        // Which of its due leads a campaign gives decides how much of a limit they take.
        let keeps = self.world.workspaces[workspace].keeps_shares(now);
        if keeps {
            prop_assert!((expected..=max).contains(&count), "{count} claims granted, at least {expected} can be");
        } else {
            check_same(&count, &expected, "claims granted")?;
        }
        let is_expired = |claim: &pb::Claim| {
            let (campaign, lead) = self.find(workspace, &claim.lead).ok()?;
            self.world.workspaces[workspace].campaigns[campaign].leads[lead].claim.as_ref()
        };
        let enough = self.world.workspaces[workspace].granted_of(who, max, now, Expired::LeftOut) == max;
        let is_enough =
            enough || keeps && count == max && answer.claims.iter().all(|claim| is_expired(claim).is_none());
        if is_enough && self.world.wants_upkeep() && answer.claims.iter().any(|claim| is_expired(claim).is_some()) {
            // Upkeep came first.
            self.world.keep_house();
        }
        let of = &mut self.world.workspaces[workspace];
        // Expired claims are granted again only if other due steps don't suffice.
        if !is_enough {
            let asked = of.campaigns.iter_mut().enumerate().filter(|(place, _)| who.asks(*place));
            let served = asked.map(|(_, campaign)| campaign).filter(|campaign| campaign.serving.contains(&account));
            for campaign in served.filter(|campaign| campaign.has_uncertain(Some(account), now)) {
                if campaign.hands_out_expired() {
                    campaign.retry_expired(now);
                }
            }
        }
        let grant = self.grants;
        self.grants += 1;
        let mut left: BTreeMap<usize, i64> = (0..of.campaigns.len())
            .map(|campaign| (campaign, of.claimable(&of.campaigns[campaign], account, now, Expired::Included)))
            .collect();
        let mut account_left = of.account_room(account, now);
        for claim in answer.claims {
            let (campaign, lead) = self.find(workspace, &claim.lead)?;
            prop_assert!(who.asks(campaign), "{} is of another campaign than {who:?}", claim.lead);
            let of = &self.world.workspaces[workspace].campaigns[campaign];
            let step = usize::try_from(claim.step).unwrap();
            check_same(
                &of.due(&of.leads[lead], account, now),
                &Some(step),
                &format!("the step claimed of {}", claim.lead),
            )?;
            prop_assert!(of.leads[lead].claim.is_none(), "what expired of {} comes before what is due", claim.lead);
            let hold_end = now + SignedDuration::from_secs(hold);
            let expires = of.hours().next_change(now).map_or(hold_end, |end| end.min(hold_end));
            let shown = pb::Claim {
                claim_id: claim.claim_id.clone(),
                lead: claim.lead.clone(),
                step: claim.step,
                send_key: of.leads[lead].keys.get(&step).unwrap_or(&claim.send_key).clone(),
                account: self.account_name(workspace, account),
                expire_time: Some(stamp(expires)),
                state: pb::ClaimState::Held.into(),
                campaign: self.campaign_name(workspace, campaign),
            };
            check_same(&claim, &shown, "a claim as it is granted")?;
            let is_new = self.claim_ids.iter().all(|(.., id)| *id != claim.claim_id);
            prop_assert!(is_new, "the claim id {} was given before", claim.claim_id);
            self.claim_ids.push((workspace, account, claim.claim_id.clone()));
            let zone = of.hours().zone;
            let of = &mut self.world.workspaces[workspace];
            let days = (local_day(of.accounts[account].zone, now), local_day(zone, now));
            let before = of.shares_of(campaign, account, now);
            of.campaigns[campaign].leads[lead].keys.insert(step, claim.send_key);
            of.claim(campaign, lead, Claim { id: claim.claim_id, account, step, expires, days, grant }, now);
            let after = of.shares_of(campaign, account, now);
            let left = left.entry(campaign).or_default();
            *left -= after.0 - before.0;
            account_left -= after.1 - before.1;
            prop_assert!(*left >= 0 && account_left >= 0, "more than a limit leaves");
        }
        let of = &self.world.workspaces[workspace];
        if keeps && count < max {
            check_same(&of.granted(who, max - count, now), &0, "claims that could be granted besides")?;
        }
        let why = pb::ClaimSendsResponse { claims: Vec::new(), ..answer };
        if count == max {
            check_same(&why, &pb::ClaimSendsResponse::default(), "all that was asked for comes without a reason")?;
            return Ok(());
        }
        self.compare_why(workspace, who, &why)
    }

    /// Why fewer claims came than were asked for, campaign by campaign.
    fn compare_why(&self, workspace: usize, who: Asker, why: &pb::ClaimSendsResponse) -> Checked {
        let (of, account, now) = (&self.world.workspaces[workspace], who.account, self.world.now);
        let mut seen = why.not_sending.iter();
        let mut expected_change: Option<Timestamp> = None;
        let mut is_exact = true;
        let asked = of.campaigns.iter().enumerate().filter(|(place, _)| who.asks(*place));
        let mut all_served = asked.map(|(_, campaign)| campaign).filter(|of| of.serving.contains(&account));
        let served = all_served.clone().filter(|campaign| campaign.state != CampaignState::Finished);
        for (place, campaign) in served.clone().enumerate() {
            let name = format!("workspaces/{}/campaigns/{}", of.id, campaign.id);
            let reasons = of.reasons(campaign, Some(account), now);
            let helps = of.claimable_at(campaign, account, now);
            expected_change = expected_change.into_iter().chain(helps).min();
            let shown = pb::CampaignNotSending {
                campaign: name.clone(),
                reasons: reasons.iter().map(|reason| i32::from(*reason)).collect(),
                next_change_time: helps.map(stamp),
            };
            if !campaign.is_blurred {
                self.told.note(&shown);
                check_same(&seen.next(), &Some(&shown), &format!("reason {place} of a claim"))?;
                continue;
            }
            is_exact = false;
            let firm = |reasons: Vec<Reason>| -> Vec<Reason> {
                reasons.into_iter().filter(|reason| !OF_NOTHING_DUE.contains(reason)).collect()
            };
            let next = seen.clone().next().filter(|next| next.campaign == name);
            let given = next.map(|next| firm(next.reasons().collect())).unwrap_or_default();
            check_same(&given, &firm(reasons), &format!("reasons of {name}, in which something ended otherwise"))?;
            if let Some(next) = next {
                let is_too_late = helps.is_some_and(|helps| {
                    next.next_change_time
                        .is_none_or(|told| (told.seconds, told.nanos) > (stamp(helps).seconds, stamp(helps).nanos))
                });
                prop_assert!(!is_too_late, "asking {} again helps at {:?}, not only at {:?}", name, helps, next);
                seen.next();
            }
        }
        if served.count() == 0 {
            // Only where nothing else is left, one reason tells of the finished ones, or of the one that was asked for.
            let is_over = all_served.next().is_some();
            let used_up = of.account_room(account, now) == 0;
            let reasons = [
                (Reason::Finished, is_over),
                (Reason::AccountDailyLimit, !is_over && used_up),
                (Reason::AccountSuspended, !is_over && of.accounts[account].is_suspended),
                (Reason::NoAccountAssigned, !is_over),
            ];
            let reasons = reasons.into_iter().filter_map(|(reason, holds)| holds.then_some(i32::from(reason)));
            let campaign = who.campaign.map(|campaign| self.campaign_name(workspace, campaign)).unwrap_or_default();
            let none = pb::CampaignNotSending { campaign, reasons: reasons.collect(), next_change_time: None };
            check_same(&seen.next(), &Some(&none), "reasons of an account without unfinished campaigns")?;
        }
        check_same(&seen.next(), &None, "a campaign that the account does not serve")?;
        let least =
            why.not_sending.iter().filter_map(|why| why.next_change_time).min_by_key(|at| (at.seconds, at.nanos));
        check_same(&why.next_change_time, &least, "the earliest of all")?;
        prop_assert!(!is_exact || least == expected_change.map(stamp), "asking again helps at {:?}", expected_change);
        Ok(())
    }

    /// Campaign and lead of a resource name.
    pub fn find(&self, workspace: usize, lead_name: &str) -> Checked<(usize, usize)> {
        let lost = || TestCaseError::fail(format!("{lead_name} is no lead of the workspace that asked"));
        let campaigns = &self.world.workspaces[workspace].campaigns;
        let find = |(place, campaign): (usize, &Campaign)| {
            let id = lead_name.strip_prefix(&format!("{}/leads/", self.campaign_name(workspace, place)))?;
            Some((place, campaign.leads.iter().position(|lead| lead.id.as_deref() == Some(id))?))
        };
        campaigns.iter().enumerate().find_map(find).ok_or_else(lost)
    }
}
