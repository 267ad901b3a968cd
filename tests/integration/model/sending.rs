//! Operations of senders on claims, on the service and on the model: report, renew, release, resolve.

use campaign_metrics::pb::{self, CampaignState, FailureReason, OutcomeKind, OutcomeVerdict, RenewVerdict, Resolution};
use jiff::SignedDuration;

use super::{
    claiming::HOLD_DEFAULT_SECONDS,
    ops::{Op, Pick},
    play::{Asked, Checked, Play, check_refusal, check_same, seconds, stamp},
    reasons::Asker,
    world::Report,
};

/// Leads of a backlog: enough for a health that is certain.
const BACKLOG: usize = 23;

impl Play<'_> {
    pub async fn run_sending(&mut self, workspace: usize, op: &Op) -> Checked {
        match op {
            Op::Claim { account, campaign, max, hold_seconds, request } => {
                let campaign = campaign.and_then(|choice| self.choose_campaign(workspace, choice));
                let who = Asker { account: *account, campaign };
                let request_id = request.map(|number| self.request_id(workspace, number)).unwrap_or_default();
                let ask = pb::ClaimSendsRequest {
                    account: self.account_name(workspace, *account),
                    max_claims: *max,
                    request_id,
                    hold_duration: hold_seconds.map(seconds),
                    campaign: campaign.map(|campaign| self.campaign_name(workspace, campaign)).unwrap_or_default(),
                };
                let before = request.and_then(|number| self.asked.get(&(workspace, number)).cloned());
                match (request, before) {
                    (_, Some(asked)) => self.claim_again(workspace, who, ask, &asked).await,
                    _ if !self.is_serving(workspace, who) => {
                        let answer = self.service.sending.clone().claim_sends(ask).await;
                        check_refusal(answer, Some("ACCOUNT_NOT_SERVING"), "a campaign that the account does not serve")
                    }
                    (None, None) => self.claim(workspace, who, ask).await,
                    (Some(number), None) => {
                        let asked = Asked { request: ask.clone(), grant: self.grants, at: self.world.now };
                        self.asked.insert((workspace, *number), asked);
                        self.claim(workspace, who, ask).await
                    }
                }
            }
            Op::Report(picks) => self.report(workspace, picks).await,
            Op::Renew { account, choices, hold_seconds } => {
                self.renew(workspace, *account, choices, *hold_seconds).await
            }
            Op::Release { account, choices, minutes } => self.release(workspace, *account, choices, *minutes).await,
            Op::Resolve { account, choices } => self.resolve(workspace, *account, choices).await,
            _ => unreachable!("the others change something else"),
        }
    }

    /// The outcome of a pick that can be reported now.
    fn outcome(&self, workspace: usize, pick: &Pick) -> Option<(pb::Outcome, Report)> {
        let place = self.choose_campaign(workspace, pick.campaign)?;
        let campaign = &self.world.workspaces[workspace].campaigns[place];
        let of_kind = |claimed: bool| -> Vec<usize> {
            (0..campaign.leads.len()).filter(|lead| !claimed || campaign.leads[*lead].claim.is_some()).collect()
        };
        let leads = of_kind(pick.claimed);
        let lead_place = *leads.get(pick.lead.checked_rem(leads.len())?)?;
        let lead = &campaign.leads[lead_place];
        let (kind, mut step) = pick.fact;
        if let (Some(claim), true) = (&lead.claim, step > 0 && pick.claimed && !pick.beside) {
            step = claim.step;
        }
        let fails = matches!(kind, OutcomeKind::Failed | OutcomeKind::Bounced);
        let sent = if fails { pick.reason } else { FailureReason::Unspecified };
        let reason = if fails && sent == FailureReason::Unspecified { FailureReason::Other } else { sent };
        // Only steps with a claim are reported with a time slightly ahead, which would otherwise use tomorrow's limit.
        let is_claimed = lead.claim.as_ref().is_some_and(|claim| step == 0 || claim.step == step);
        let minutes_ago = if is_claimed { pick.minutes_ago } else { pick.minutes_ago.max(0) };
        let ago = (minutes_ago != 0).then(|| self.world.now - SignedDuration::from_mins(minutes_ago));
        let contact = lead.contact(campaign.steps);
        let aged =
            contact.zip(pick.age).map(|(of, (days, micros))| of.aged(days) + SignedDuration::from_micros(micros));
        let sent_at = aged.filter(|at| *at <= self.world.now).or(ago);
        // A time before the year 2000 was never set.
        let at = sent_at.filter(|at| at.as_second() >= 946_684_800);
        let sent_detail = match pick.detail {
            0 => String::new(),
            3 => format!("answer 3\u{7} of\0 the provider, {}", "ü".repeat(600)),
            number => format!("answer {number} of the provider, ü"),
        };
        let mut detail = String::new();
        for letter in sent_detail.chars().filter(|letter| !letter.is_control()) {
            if detail.len() + letter.len_utf8() > 1024 {
                break;
            }
            detail.push(letter);
        }
        let value_micros = pick.value_micros.filter(|_| kind == OutcomeKind::Converted);
        let mut outcome = pb::Outcome {
            send_key: String::new(),
            lead: String::new(),
            step: 0,
            kind: kind.into(),
            reason: sent.into(),
            detail: sent_detail,
            time: sent_at.map(stamp),
            value_micros,
        };
        // The key of another step tells that of this one.
        let key = lead.keys.values().next().and_then(|key| key.rsplit_once('-'));
        match (key, &lead.id) {
            (Some((key, _)), id) if pick.by_key || id.is_none() => outcome.send_key = format!("{key}-{}", step.max(1)),
            (_, Some(id)) => {
                outcome.lead = format!("{}/leads/{id}", self.campaign_name(workspace, place));
                outcome.step = i32::try_from(step).unwrap();
            }
            (_, None) => return None,
        }
        let fact = (kind, step);
        Some((outcome, Report { campaign: place, lead: lead_place, fact, reason, detail, at, value_micros }))
    }

    async fn report(&mut self, workspace: usize, picks: &[Pick]) -> Checked {
        self.tick();
        let picked = picks.iter().filter_map(|pick| self.outcome(workspace, pick));
        // Opt-outs are written apart, before or after the other outcomes of their call.
        let (opt_outs, others): (Vec<_>, Vec<_>) =
            picked.partition(|(outcome, _)| outcome.kind() == OutcomeKind::OptedOut);
        for outcomes in [others, opt_outs] {
            let (outcomes, reports) = outcomes.into_iter().unzip();
            self.report_all(workspace, outcomes, reports).await?;
            self.tick();
        }
        Ok(())
    }

    async fn report_all(&mut self, workspace: usize, outcomes: Vec<pb::Outcome>, reports: Vec<Report>) -> Checked {
        if outcomes.is_empty() {
            return Ok(());
        }
        let request = pb::ReportOutcomesRequest { parent: self.parent(workspace), outcomes };
        let results =
            self.service.sending.clone().report_outcomes(request).await.expect("verdicts").into_inner().results;
        let verdicts: Vec<(OutcomeVerdict, &str)> =
            results.iter().map(|result| (result.verdict(), result.reason.as_str())).collect();
        let now = self.world.now;
        check_same(&verdicts, &self.workspace(workspace).report(&reports, now), &format!("verdicts of {reports:?}"))?;
        Ok(())
    }

    /// Adds leads and reports the results of their messages in one call, like a sender that skips claims. The first
    /// ones are delivered, the others fail or bounce.
    pub async fn backlog(
        &mut self,
        workspace: usize,
        campaign: usize,
        account: Option<usize>,
        delivered: usize,
    ) -> Checked {
        let first = self.campaign(workspace, campaign).leads.len();
        self.add_leads(workspace, campaign, &[account; BACKLOG], false, false).await?;
        self.tick();
        let (name, now) = (self.campaign_name(workspace, campaign), self.world.now);
        let leads = &self.world.workspaces[workspace].campaigns[campaign].leads;
        let sent = leads.iter().enumerate().skip(first).map(|(lead, of)| {
            let place = lead - first;
            let (kind, reason) = match place {
                _ if place < delivered => (OutcomeKind::Delivered, FailureReason::Unspecified),
                _ if place.is_multiple_of(2) => (OutcomeKind::Failed, FailureReason::RateLimited),
                _ => (OutcomeKind::Bounced, FailureReason::InvalidLead),
            };
            let days_ago = i64::try_from(place % 3).unwrap();
            let at = (days_ago > 0).then(|| now - SignedDuration::from_hours(24 * days_ago));
            let outcome = pb::Outcome {
                lead: format!("{name}/leads/{}", of.id.as_deref().unwrap_or_default()),
                step: 1,
                kind: kind.into(),
                reason: reason.into(),
                time: at.map(stamp),
                ..Default::default()
            };
            let (fact, detail) = ((kind, 1), String::new());
            (outcome, Report { campaign, lead, fact, reason, detail, at, value_micros: None })
        });
        let (outcomes, reports) = sent.unzip();
        self.report_all(workspace, outcomes, reports).await
    }

    /// Ids among all that an account ever got.
    fn choose_claims(&self, workspace: usize, account: usize, choices: &[usize]) -> Vec<String> {
        let is_theirs = |(of, by, _): &&(usize, usize, String)| (*of, *by) == (workspace, account);
        // Latest first, because those are mostly open.
        let ids: Vec<&String> = self.claim_ids.iter().rev().filter(is_theirs).map(|(.., id)| id).collect();
        let mut chosen: Vec<String> = Vec::new();
        for choice in choices {
            let id = choice.checked_rem(ids.len()).map(|place| ids[place]);
            chosen.extend(id.filter(|id| !chosen.contains(id)).cloned());
        }
        chosen
    }

    async fn renew(&mut self, workspace: usize, account: usize, choices: &[usize], hold: Option<i64>) -> Checked {
        let (ids, now) = (self.choose_claims(workspace, account, choices), self.world.now);
        if ids.is_empty() {
            return Ok(());
        }
        let request = pb::RenewClaimsRequest {
            account: self.account_name(workspace, account),
            claim_ids: ids.clone(),
            hold_duration: hold.map(seconds),
        };
        let results = self.service.sending.clone().renew_claims(request).await.expect("an answer").into_inner().results;
        let hold_end = now + SignedDuration::from_secs(hold.unwrap_or(HOLD_DEFAULT_SECONDS));
        let mut expected = Vec::new();
        let mut renewed = Vec::new();
        for id in ids {
            let of = &self.world.workspaces[workspace];
            let verdict = match self.claim_of(workspace, account, &id) {
                Some((campaign, lead, claim)) if claim.expires > now => {
                    let campaign_of = &of.campaigns[campaign];
                    let may_send = !of.accounts[account].is_suspended
                        && campaign_of.serving.contains(&account)
                        && campaign_of.state == CampaignState::Active
                        && campaign_of.hours().is_active(now)
                        && campaign_of.leads[lead].next_step(campaign_of.steps) == Some(claim.step);
                    let until = campaign_of.hours().next_change(now).map_or(hold_end, |end| end.min(hold_end));
                    let until = until.max(claim.expires);
                    if may_send {
                        renewed.push((campaign, lead, claim.grant, until));
                    }
                    if may_send { (RenewVerdict::Renewed, Some(stamp(until))) } else { (RenewVerdict::Revoked, None) }
                }
                _ => (RenewVerdict::NotHeld, None),
            };
            expected.push(pb::RenewResult { claim_id: id, verdict: verdict.0.into(), expire_time: verdict.1 });
        }
        check_same(&results, &expected, "what a renewal says")?;
        let shown = self.claims_shown(workspace, account).await;
        for (campaign, lead, grant, until) in renewed {
            let of = &mut self.world.workspaces[workspace].campaigns[campaign];
            of.expiries.insert(until);
            let extended = of.leads[lead].claim.as_mut().expect("it was renewed");
            extended.expires = extended.expires.max(until);
            // Claims of one grant may be held as long as the longest of them.
            for claim in of.leads.iter_mut().filter_map(|lead| lead.claim.as_mut()).filter(|claim| claim.grant == grant)
            {
                let is_longer =
                    shown.iter().any(|shown| shown.claim_id == claim.id && shown.expire_time == Some(stamp(until)));
                if is_longer && claim.expires > now {
                    claim.expires = claim.expires.max(until);
                }
            }
        }
        Ok(())
    }

    async fn release(&mut self, workspace: usize, account: usize, choices: &[usize], minutes: i64) -> Checked {
        let (ids, now) = (self.choose_claims(workspace, account, choices), self.world.now);
        if ids.is_empty() {
            return Ok(());
        }
        let not_before = (minutes > 0).then(|| now + SignedDuration::from_mins(minutes));
        let request = pb::ReleaseClaimsRequest {
            account: self.account_name(workspace, account),
            claim_ids: ids.clone(),
            not_before: not_before.map(stamp),
        };
        let answer = self.service.sending.clone().release_claims(request).await.expect("an answer").into_inner();
        let mut not_held = Vec::new();
        let mut released_count = 0;
        for id in ids {
            match self.claim_of(workspace, account, &id) {
                Some((campaign, lead, claim)) if claim.expires > now => {
                    self.workspace(workspace).give_back(campaign, lead, not_before.unwrap_or(now));
                    released_count += 1;
                }
                _ => not_held.push(id),
            }
        }
        let expected = pb::ReleaseClaimsResponse { released_count, not_held_claim_ids: not_held };
        check_same(&answer, &expected, "what a release says")?;
        Ok(())
    }

    async fn resolve(&mut self, workspace: usize, account: usize, choices: &[(usize, bool)]) -> Checked {
        self.tick();
        let now = self.world.now;
        let places: Vec<usize> = choices.iter().map(|(choice, _)| *choice).collect();
        let ids = self.choose_claims(workspace, account, &places);
        if ids.is_empty() {
            return Ok(());
        }
        let resolutions = ids.iter().zip(choices).map(|(id, (_, sent))| {
            let resolution = if *sent { Resolution::Sent } else { Resolution::NotSent };
            pb::ClaimResolution { claim_id: id.clone(), resolution: resolution.into() }
        });
        let request = pb::ResolveClaimsRequest {
            account: self.account_name(workspace, account),
            resolutions: resolutions.collect(),
        };
        let answer =
            self.service.sending.clone().resolve_claims(request.clone()).await.expect("an answer").into_inner();
        let (mut sent, mut not_sent, mut not_uncertain) = (Vec::new(), Vec::new(), Vec::new());
        for item in &request.resolutions {
            match self.claim_of(workspace, account, &item.claim_id) {
                Some((campaign, lead, claim)) if claim.expires <= now => match item.resolution() {
                    // Final results don't change, so the claim stays.
                    Resolution::Sent if self.world.workspaces[workspace].campaigns[campaign].is_final() => {
                        not_uncertain.push(item.claim_id.clone());
                    }
                    Resolution::Sent => sent.push(Report {
                        campaign,
                        lead,
                        fact: (OutcomeKind::Delivered, claim.step),
                        reason: FailureReason::Unspecified,
                        detail: "resolved as sent".to_owned(),
                        at: None,
                        value_micros: None,
                    }),
                    _ => not_sent.push((campaign, lead)),
                },
                _ => not_uncertain.push(item.claim_id.clone()),
            }
        }
        let of = self.workspace(workspace);
        let resolved_count = i32::try_from(sent.len() + not_sent.len()).unwrap();
        of.report(&sent, now);
        for (campaign, lead) in not_sent {
            of.give_back(campaign, lead, now);
        }
        let expected = pb::ResolveClaimsResponse { resolved_count, not_uncertain_claim_ids: not_uncertain };
        check_same(&answer, &expected, "what a resolution says")?;
        Ok(())
    }
}
