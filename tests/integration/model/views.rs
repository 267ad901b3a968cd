//! What the API must show of a world. Messages are built field by field without defaults, so a new field does not
//! compile until it is added here.

use campaign_metrics::pb::{self, DeliveryHealth, FailureReason, LeadStatus, OutcomeKind};
use jiff::{SignedDuration, Timestamp};

use super::{
    campaign::{Campaign, Owner},
    hours::local_day,
    lead::{Claim, Entry, Lead, Message},
    play::{Play, stamp},
    world::Workspace,
};

#[expect(clippy::cast_precision_loss, reason = "a handful of leads")]
pub fn rate(numerator: i64, denominator: i64) -> pb::Rate {
    let ratio = (denominator > 0).then(|| numerator as f64 / denominator as f64);
    pb::Rate { numerator, denominator, ratio }
}

pub fn count<T>(items: impl Iterator<Item = T>) -> i64 {
    i64::try_from(items.count()).expect("few of them")
}

/// Leads of a campaign of so many steps, by status.
pub fn lead_counts(leads: &[&Lead], steps: usize) -> pb::LeadCounts {
    let by_status = |status| count(leads.iter().filter(|lead| lead.status(steps) == status));
    pb::LeadCounts {
        sent: by_status(LeadStatus::Sent),
        failed: by_status(LeadStatus::Failed),
        pending: by_status(LeadStatus::Pending),
        partial: by_status(LeadStatus::Partial),
        total: count(leads.iter()),
    }
}

/// Delivered, failed, bounced.
pub fn results(messages: &[Message]) -> [i64; 3] {
    [OutcomeKind::Delivered, OutcomeKind::Failed, OutcomeKind::Bounced]
        .map(|result| count(messages.iter().filter(|message| message.result == result)))
}

fn performance(messages: &[Message]) -> pb::AccountPerformance {
    let [delivered, failed, bounced] = results(messages);
    let all = delivered + failed + bounced;
    pb::AccountPerformance {
        delivered,
        failed,
        bounced,
        success_rate: Some(rate(delivered, all)),
        failures: failures(messages),
        delivery_health: health(delivered, all).into(),
        delivery_health_certain: is_certain(delivered, all),
    }
}

/// Failed and bounced messages by reason. Reasons that do not occur are left out.
pub fn failures(messages: &[Message]) -> Vec<pb::ReasonCount> {
    let reasons = [
        FailureReason::AccountIssue,
        FailureReason::InvalidLead,
        FailureReason::RateLimited,
        FailureReason::ContentRejected,
        FailureReason::Other,
    ];
    let failures = reasons.map(|reason| {
        let fails = |message: &&Message| message.result != OutcomeKind::Delivered && message.reason == reason;
        pb::ReasonCount { reason: reason.into(), count: count(messages.iter().filter(fails)) }
    });
    failures.into_iter().filter(|failures| failures.count > 0).collect()
}

/// HIGH above 95 %, MODERATE from 80 to 95 %, LOW below.
pub fn health(delivered: i64, messages: i64) -> DeliveryHealth {
    if messages == 0 {
        DeliveryHealth::Unspecified
    } else if delivered * 100 > messages * 95 {
        DeliveryHealth::High
    } else if delivered * 100 >= messages * 80 {
        DeliveryHealth::Moderate
    } else {
        DeliveryHealth::Low
    }
}

/// Whether the health is certain: from 20 messages on, if a score test at 5 % rejects each limit of the band.
#[expect(clippy::cast_precision_loss, reason = "a handful of leads")]
pub fn is_certain(delivered: i64, messages: i64) -> bool {
    let share = delivered as f64 / messages as f64;
    let rejects = |limit: f64| (share - limit).powi(2) * messages as f64 > 1.96 * 1.96 * limit * (1.0 - limit);
    messages >= 20 && [0.8, 0.95].into_iter().all(rejects)
}

impl Play<'_> {
    pub fn owner(&self, workspace: usize, campaign: &str, owner: &Owner) -> pb::Owner {
        pb::Owner {
            resource: format!("{}/{campaign}", self.world.workspaces[workspace].id),
            uid: owner.uid.clone(),
            generation: owner.generation,
            fencing_token: owner.fencing_token,
            ..Default::default()
        }
    }

    /// What a caller sets of a campaign.
    pub fn settings(&self, workspace: usize, campaign: &Campaign) -> pb::Campaign {
        let policy = if campaign.retries { pb::ClaimExpiryPolicy::Retry } else { pb::ClaimExpiryPolicy::Hold };
        let mut accounts: Vec<String> =
            campaign.serving.iter().map(|account| self.account_name(workspace, *account)).collect();
        accounts.sort_unstable();
        pb::Campaign {
            display_name: campaign.display_name.clone(),
            steps: i32::try_from(campaign.steps).unwrap(),
            follow_up_delay: Some(super::play::seconds(campaign.delay.as_secs())),
            accounts,
            active_hours: Some(campaign.hours().to_pb()),
            daily_limit: campaign.limit,
            claim_expiry_policy: policy.into(),
            settle_seconds: Some(campaign.settle_seconds),
            attribution_days: Some(campaign.attribution_days),
            lead_list_complete: campaign.is_complete,
            ..Default::default()
        }
    }

    /// A campaign as it must be shown.
    pub fn campaign_view(&self, workspace: usize, place: usize) -> pb::Campaign {
        let (of, now) = (&self.world.workspaces[workspace], self.world.now);
        let campaign = &of.campaigns[place];
        let settings = self.settings(workspace, campaign);
        let steps = campaign.steps;
        let contacted: Vec<&Lead> = campaign.leads.iter().filter(|lead| lead.is_contacted(steps)).collect();
        let did = |kind| count(campaign.leads.iter().filter(|lead| lead.has(kind, 0)));
        let contacted_did = |kind| count(contacted.iter().filter(|lead| lead.has(kind, 0)));
        let messages: Vec<Message> = campaign.messages().collect();
        let [delivered, failed, bounced] = results(&messages);
        let values = campaign.leads.iter().flat_map(|lead| &lead.trail).filter_map(|entry| entry.value_micros);
        let counts = lead_counts(&campaign.leads.iter().collect::<Vec<_>>(), steps);
        let (in_flight_claims, uncertain_claims) = campaign.claims(now);
        let claims = campaign.leads.iter().filter_map(|lead| lead.claim.as_ref());
        let in_flight_until = claims.map(|claim| claim.expires).filter(|expires| *expires > now).max();
        let reasons = of.reasons(campaign, None, now).into_iter().map(i32::from);
        let learned = |learned: &super::world::Learned| learned.current.clone().unwrap_or_default();
        pb::Campaign {
            hold: None,
            name: self.campaign_name(workspace, place),
            uid: learned(&campaign.uid),
            display_name: settings.display_name,
            state: campaign.state.into(),
            finish_reason: campaign.finish_reason.into(),
            steps: settings.steps,
            follow_up_delay: settings.follow_up_delay,
            accounts: settings.accounts,
            active_hours: settings.active_hours,
            daily_limit: settings.daily_limit,
            claim_expiry_policy: settings.claim_expiry_policy,
            settle_seconds: settings.settle_seconds,
            attribution_days: settings.attribution_days,
            lead_list_complete: settings.lead_list_complete,
            progress_ratio: rate(counts.sent + counts.failed, counts.total).ratio,
            lead_counts: Some(counts),
            message_counts: Some(pb::MessageCounts {
                delivered,
                failed,
                bounced,
                failures: failures(&messages),
                contacted_leads: count(contacted.iter()),
                replied_leads: did(OutcomeKind::Replied),
                converted_leads: did(OutcomeKind::Converted),
                auto_replied_leads: did(OutcomeKind::AutoReplied),
                opted_out_leads: did(OutcomeKind::OptedOut),
                conversion_value_micros: values.sum(),
            }),
            delivery_rate: Some(rate(delivered, delivered + failed + bounced)),
            delivery_health: health(delivered, delivered + failed + bounced).into(),
            delivery_health_certain: is_certain(delivered, delivered + failed + bounced),
            response_rate: Some(rate(contacted_did(OutcomeKind::Replied), count(contacted.iter()))),
            conversion_rate: Some(rate(contacted_did(OutcomeKind::Converted), count(contacted.iter()))),
            in_flight_claims,
            in_flight_until: in_flight_until.map(stamp),
            uncertain_claims,
            not_sending_reasons: reasons.collect(),
            next_change_time: of.next_change(campaign, now).map(stamp),
            create_time: Some(stamp(campaign.created)),
            update_time: Some(stamp(campaign.updated)),
            finish_time: campaign.finished.map(stamp),
            finalized_time: campaign.finalized.map(stamp),
            etag: learned(&campaign.etag),
            owner: campaign.owner.as_ref().map(|owner| self.owner(workspace, campaign.id, owner)),
        }
    }

    /// An account as it must be shown.
    pub fn account_view(&self, workspace: usize, place: usize) -> pb::Account {
        let (of, now) = (&self.world.workspaces[workspace], self.world.now);
        let account = &of.accounts[place];
        let messages: Vec<Message> = of.messages().filter(|message| message.account == Some(place)).collect();
        // 30 UTC days, today included.
        let month_ago = local_day("UTC", now) - SignedDuration::from_hours(24 * 29);
        let recent: Vec<Message> = messages.iter().filter(|message| message.day >= month_ago).copied().collect();
        let serves = of.campaigns.iter().filter(|campaign| campaign.serving.contains(&place));
        let state = if account.is_suspended { pb::AccountState::Suspended } else { pb::AccountState::Active };
        pb::Account {
            name: self.account_name(workspace, place),
            uid: account.uid.current.clone().unwrap_or_default(),
            display_name: account.display_name.clone(),
            state: state.into(),
            daily_limit: account.limit,
            time_zone: account.zone.to_owned(),
            reserved_today: account.reserved.get(&local_day(account.zone, now)).copied().unwrap_or(0),
            campaign_count: i64::try_from(serves.count()).expect("few"),
            lifetime: Some(performance(&messages)),
            last_30_days: Some(performance(&recent)),
            create_time: Some(stamp(account.created)),
            update_time: Some(stamp(account.updated)),
            etag: account.etag.current.clone().unwrap_or_default(),
        }
    }

    pub fn account_or_none(&self, workspace: usize, account: Option<usize>) -> String {
        account.map(|account| self.account_name(workspace, account)).unwrap_or_default()
    }

    /// A lead as it must be shown; `None` for a deleted one.
    pub fn lead_view(&self, workspace: usize, campaign: usize, lead: &Lead) -> Option<pb::Lead> {
        let of = &self.world.workspaces[workspace].campaigns[campaign];
        let (steps, now) = (of.steps, self.world.now);
        let claim_state = match &lead.claim {
            None => pb::ClaimState::Unspecified,
            Some(claim) if claim.expires > now => pb::ClaimState::Held,
            Some(_) => pb::ClaimState::Uncertain,
        };
        let step_results = (1..=steps).filter_map(|step| {
            let result = lead.result(step)?;
            let reason = if result == OutcomeKind::Delivered { FailureReason::Unspecified } else { lead.reason(step) };
            Some(pb::StepResult { step: i32::try_from(step).unwrap(), result: result.into(), reason: reason.into() })
        });
        Some(pb::Lead {
            name: format!("{}/leads/{}", self.campaign_name(workspace, campaign), lead.id.as_ref()?),
            account: self.account_or_none(workspace, lead.shown_account()),
            status: lead.status(steps).into(),
            step_results: step_results.collect(),
            replied: lead.has(OutcomeKind::Replied, 0),
            converted: lead.has(OutcomeKind::Converted, 0),
            auto_replied: lead.has(OutcomeKind::AutoReplied, 0),
            opted_out: lead.has(OutcomeKind::OptedOut, 0),
            last_action_time: lead.last_action().map(stamp),
            next_step: lead.next_step(steps).map_or(0, |step| i32::try_from(step).unwrap()),
            due_time: lead.follow_up_due(steps, of.delay).map(stamp),
            claim_state: claim_state.into(),
        })
    }

    /// An outcome of a lead as it must be shown.
    pub fn outcome_view(&self, workspace: usize, lead: &str, entry: &Entry) -> pb::LeadOutcome {
        let (kind, step) = entry.fact;
        pb::LeadOutcome {
            kind: kind.into(),
            step: i32::try_from(step).unwrap(),
            reason: entry.reason.into(),
            detail: entry.detail.clone(),
            time: Some(stamp(entry.at)),
            receive_time: Some(stamp(entry.received)),
            account: self.account_or_none(workspace, entry.account),
            value_micros: entry.value_micros,
            lead: lead.to_owned(),
        }
    }

    pub fn claim_view(&self, workspace: usize, campaign: usize, lead: &Lead, claim: &Claim) -> pb::Claim {
        let is_held = claim.expires > self.world.now;
        let state = if is_held { pb::ClaimState::Held } else { pb::ClaimState::Uncertain };
        pb::Claim {
            claim_id: claim.id.clone(),
            lead: format!(
                "{}/leads/{}",
                self.campaign_name(workspace, campaign),
                lead.id.as_deref().unwrap_or_default()
            ),
            step: i32::try_from(claim.step).unwrap(),
            send_key: lead.keys[&claim.step].clone(),
            account: self.account_name(workspace, claim.account),
            expire_time: Some(stamp(claim.expires)),
            state: state.into(),
            campaign: self.campaign_name(workspace, campaign),
        }
    }

    /// The claims of an account, by campaign and lead.
    pub fn claims_view(&self, workspace: usize, account: usize) -> Vec<pb::Claim> {
        let of: &Workspace = &self.world.workspaces[workspace];
        let claims = of.campaigns.iter().enumerate().flat_map(|(campaign, of)| {
            let claimed = of.leads.iter().filter_map(|lead| Some((lead, lead.claim.as_ref()?)));
            let theirs = claimed.filter(|(_, claim)| claim.account == account);
            theirs.map(move |(lead, claim)| self.claim_view(workspace, campaign, lead, claim)).collect::<Vec<_>>()
        });
        claims.collect()
    }

    pub fn opt_outs_view(&self, workspace: usize) -> Vec<pb::OptOut> {
        let opt_out = |(id, at): (&String, &Timestamp)| pb::OptOut {
            name: format!("{}/optOuts/{id}", self.parent(workspace)),
            create_time: Some(stamp(*at)),
        };
        self.world.workspaces[workspace].opt_outs.iter().map(opt_out).collect()
    }
}
