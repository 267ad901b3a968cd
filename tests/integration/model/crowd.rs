//! Many concurrent clients on two replicas. Afterwards every view follows from the acknowledged facts alone.
//!
//! The clock is stopped. The answers of all clients are merged lead by lead, in any order except that a claim comes
//! before its end: the order of arrival does not matter.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

use campaign_metrics::pb::{self, FailureReason, OutcomeKind, OutcomeVerdict};
use jiff::{SignedDuration, Timestamp};
use proptest::{prelude::*, test_runner::TestCaseError};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};

use super::{
    hours::local_day,
    lead::{Claim, Entry},
    play::{ACCOUNTS, Checked, Play, stamp},
    world::World,
};
use crate::harness::service::Service;

const CLIENTS: u64 = 8;
/// Number of actions of each client.
const DEEDS: usize = 60;

/// An answer that a client got, in order.
#[derive(Debug, Default)]
struct Told {
    granted: Vec<(usize, pb::Claim)>,
    released: Vec<String>,
    /// Resource name of the lead, what was applied to it, and the account of the claim that it closed.
    applied: Vec<(String, Entry, Option<usize>)>,
}

/// A client with claims of its own.
struct Client<'a> {
    replicas: [&'a Service; 2],
    parent: String,
    /// Resource names of leads that every client reports about.
    leads: &'a [String],
    now: Timestamp,
    random: StdRng,
    held: Vec<(usize, pb::Claim)>,
    ended: Vec<(usize, pb::Claim)>,
    told: Told,
}

impl Client<'_> {
    fn replica(&mut self) -> &Service {
        self.replicas[self.random.random_range(0..2)]
    }

    async fn act(&mut self) -> Checked {
        match self.random.random_range(0..10) {
            0..3 => self.claim().await,
            3..7 if !self.held.is_empty() => self.report_claimed().await,
            7 if !self.held.is_empty() => self.release().await,
            8 if !self.ended.is_empty() => self.report_late().await,
            _ => self.report_lead().await,
        }
    }

    async fn claim(&mut self) -> Checked {
        let account = self.random.random_range(0..ACCOUNTS.len());
        let request = pb::ClaimSendsRequest {
            account: format!("{}/accounts/{}", self.parent, ACCOUNTS[account]),
            max_claims: self.random.random_range(1..6),
            hold_duration: Some(super::play::seconds(3600)),
            ..Default::default()
        };
        let claims = self.replica().sending.clone().claim_sends(request).await.expect("an answer").into_inner().claims;
        self.held.extend(claims.iter().map(|claim| (account, claim.clone())));
        self.told.granted.extend(claims.into_iter().map(|claim| (account, claim)));
        Ok(())
    }

    /// Makes an entry of a trail with a unique time and text.
    fn entry(&mut self, kind: OutcomeKind, step: usize) -> Entry {
        let fails = matches!(kind, OutcomeKind::Failed | OutcomeKind::Bounced);
        let reasons = [FailureReason::AccountIssue, FailureReason::InvalidLead, FailureReason::ContentRejected];
        let reason = *reasons.choose(&mut self.random).expect("some");
        Entry {
            fact: (kind, step),
            reason: if fails { reason } else { FailureReason::Unspecified },
            detail: format!("{:x}", self.random.random::<u64>()),
            at: self.now - SignedDuration::from_millis(self.random.random_range(1..200 * 60_000)),
            received: self.now,
            account: None,
            value_micros: (kind == OutcomeKind::Converted).then(|| self.random.random_range(1..1_000)),
        }
    }

    /// Reports entries about one lead, by key or by name, and records those that were applied.
    async fn send(&mut self, lead: &str, key: Option<&str>, claim: Option<usize>, entries: Vec<Entry>) -> Checked {
        let outcome = |entry: &Entry| pb::Outcome {
            send_key: key.unwrap_or_default().to_owned(),
            lead: if key.is_some() { String::new() } else { lead.to_owned() },
            kind: entry.fact.0.into(),
            reason: entry.reason.into(),
            detail: entry.detail.clone(),
            time: Some(stamp(entry.at)),
            value_micros: entry.value_micros,
            ..Default::default()
        };
        let outcomes = entries.iter().map(outcome).collect();
        let request = pb::ReportOutcomesRequest { parent: self.parent.clone(), outcomes };
        let results =
            self.replica().sending.clone().report_outcomes(request).await.expect("verdicts").into_inner().results;
        for (entry, result) in entries.into_iter().zip(results) {
            prop_assert_ne!(result.verdict(), OutcomeVerdict::Rejected, "{}: {}", result.reason, result.message);
            if result.verdict() == OutcomeVerdict::Applied {
                self.told.applied.push((lead.to_owned(), entry, claim));
            }
        }
        Ok(())
    }

    async fn report_claimed(&mut self) -> Checked {
        let place = self.random.random_range(0..self.held.len());
        let (account, claim) = self.held.swap_remove(place);
        let step = usize::try_from(claim.step).unwrap();
        let kinds: &[OutcomeKind] = match self.random.random_range(0..10) {
            0..6 => &[OutcomeKind::Delivered],
            6 => &[OutcomeKind::Failed],
            7 => &[OutcomeKind::Bounced],
            8 => &[OutcomeKind::Failed, OutcomeKind::Delivered],
            _ => &[OutcomeKind::Delivered, OutcomeKind::Bounced],
        };
        let entries = kinds.iter().map(|kind| self.entry(*kind, step)).collect();
        self.send(&claim.lead, Some(&claim.send_key), Some(account), entries).await?;
        self.ended.push((account, claim));
        Ok(())
    }

    /// Reports a repeat, or a late fact about a reported message.
    async fn report_late(&mut self) -> Checked {
        let (account, claim) = self.ended.choose(&mut self.random).expect("some").clone();
        let kind = if self.random.random() { OutcomeKind::Bounced } else { OutcomeKind::Delivered };
        let entries = vec![self.entry(kind, usize::try_from(claim.step).unwrap())];
        self.send(&claim.lead, Some(&claim.send_key), Some(account), entries).await
    }

    async fn release(&mut self) -> Checked {
        let (account, claim) = self.held.swap_remove(0);
        let request = pb::ReleaseClaimsRequest {
            account: format!("{}/accounts/{}", self.parent, ACCOUNTS[account]),
            claim_ids: vec![claim.claim_id.clone()],
            not_before: None,
        };
        let answer = self.replica().sending.clone().release_claims(request).await.expect("an answer").into_inner();
        prop_assert_eq!(answer.released_count, 1, "what only this client holds can be released");
        self.told.released.push(claim.claim_id);
        Ok(())
    }

    /// Reports the same as other clients about a lead; one of them is told that it was new.
    async fn report_lead(&mut self) -> Checked {
        let lead = self.leads.choose(&mut self.random).expect("some").clone();
        let kinds = [OutcomeKind::AutoReplied, OutcomeKind::AutoReplied, OutcomeKind::Replied, OutcomeKind::Converted];
        let kind = *kinds.choose(&mut self.random).expect("some");
        let entries = vec![self.entry(kind, 0)];
        self.send(&lead, None, None, entries).await
    }
}

/// Checks until the clients are done that counts add up at any moment and no limit is exceeded.
async fn watch(service: &Service, parent: &str, done: &AtomicBool) -> Checked<usize> {
    let mut looks = 0;
    while !done.load(Ordering::Acquire) {
        let request = pb::ListCampaignsRequest { parent: parent.to_owned(), ..Default::default() };
        for campaign in service.campaigns.clone().list_campaigns(request).await.expect("a list").into_inner().campaigns
        {
            let leads = campaign.lead_counts.unwrap_or_default();
            let sum = leads.sent + leads.failed + leads.pending + leads.partial;
            prop_assert_eq!(sum, leads.total, "sent + failed + pending + partial of {}", campaign.name);
            let messages = campaign.message_counts.unwrap_or_default();
            let reasons: i64 = messages.failures.iter().map(|failures| failures.count).sum();
            prop_assert_eq!(reasons, messages.failed + messages.bounced, "messages by reason of {}", campaign.name);
            prop_assert!(
                campaign.in_flight_claims >= 0 && campaign.uncertain_claims == 0,
                "claims of {}",
                campaign.name
            );
        }
        let request = pb::ListAccountsRequest { parent: parent.to_owned(), ..Default::default() };
        for account in service.accounts.clone().list_accounts(request).await.expect("a list").into_inner().accounts {
            let limit = i64::from(account.daily_limit.unwrap_or(i32::MAX));
            prop_assert!(
                account.reserved_today <= limit,
                "{} has {} of {}",
                account.name,
                account.reserved_today,
                limit
            );
        }
        looks += 1;
    }
    Ok(looks)
}

impl Play<'_> {
    /// Runs many clients in a workspace on two replicas, and applies their answers to the world.
    pub async fn crowd(&mut self, workspace: usize, other: &Service, seed: u64) -> Checked {
        let (parent, now) = (self.parent(workspace), self.world.now);
        let leads: Vec<String> = self.lead_names(workspace);
        let client = |number: u64| Client {
            replicas: [self.service, other],
            parent: parent.clone(),
            leads: &leads,
            now,
            random: StdRng::seed_from_u64(seed ^ number << 32),
            held: Vec::new(),
            ended: Vec::new(),
            told: Told::default(),
        };
        let (done, left) = (AtomicBool::new(false), AtomicUsize::new(usize::try_from(CLIENTS).unwrap()));
        let work = async |mut client: Client<'_>| -> Checked<Told> {
            let mut result = Ok(());
            for _ in 0..DEEDS {
                result = client.act().await;
                if result.is_err() {
                    break;
                }
            }
            if left.fetch_sub(1, Ordering::AcqRel) == 1 {
                done.store(true, Ordering::Release);
            }
            result.map(|()| client.told)
        };
        let clients = futures::future::join_all((0..CLIENTS).map(|number| work(client(number))));
        let (told, looks) = futures::join!(clients, watch(other, &parent, &done));
        prop_assert!(looks? > 0, "the invariants were looked at");
        let told = told.into_iter().collect::<Result<Vec<_>, TestCaseError>>()?;
        lay_together(&mut self.world, workspace, &parent, &told)?;
        self.learn_trails(workspace).await
    }

    /// Facts of the same moment have no order. A fact about a lead counts for the account that the lead had then.
    async fn learn_trails(&mut self, workspace: usize) -> Checked {
        for campaign in 0..self.world.workspaces[workspace].campaigns.len() {
            let name = self.campaign_name(workspace, campaign);
            for lead in 0..self.world.workspaces[workspace].campaigns[campaign].leads.len() {
                let of = &self.world.workspaces[workspace].campaigns[campaign].leads[lead];
                let parent = format!("{name}/leads/{}", of.id.as_deref().unwrap_or_default());
                let mine = of.account.map(|account| self.account_name(workspace, account)).unwrap_or_default();
                let request = pb::ListLeadOutcomesRequest { parent, ..Default::default() };
                let outcomes =
                    self.service.leads.clone().list_lead_outcomes(request).await.expect("a trail").into_inner();
                let of = &mut self.world.workspaces[workspace].campaigns[campaign].leads[lead];
                let place = |entry: &Entry| outcomes.outcomes.iter().position(|shown| shown.detail == entry.detail);
                of.trail.sort_by_key(place);
                for entry in of.trail.iter_mut().filter(|entry| entry.fact.1 == 0) {
                    let shown = place(entry).map(|place| outcomes.outcomes[place].account.as_str());
                    entry.account = of.account.filter(|_| shown == Some(mine.as_str()));
                }
            }
        }
        Ok(())
    }

    fn lead_names(&self, workspace: usize) -> Vec<String> {
        let campaigns = self.world.workspaces[workspace].campaigns.iter().enumerate();
        let names = campaigns.flat_map(|(place, campaign)| {
            let name = self.campaign_name(workspace, place);
            campaign.leads.iter().filter_map(move |lead| Some(format!("{name}/leads/{}", lead.id.as_ref()?)))
        });
        names.collect()
    }
}

/// Applies the answers of clients to a world.
fn lay_together(world: &mut World, workspace: usize, parent: &str, told: &[Told]) -> Checked {
    let now = world.now;
    let of = &mut world.workspaces[workspace];
    let released: BTreeSet<&String> = told.iter().flat_map(|told| &told.released).collect();
    let mut granted: BTreeMap<&String, Vec<(usize, &pb::Claim)>> = BTreeMap::new();
    for (account, claim) in told.iter().flat_map(|told| &told.granted) {
        granted.entry(&claim.lead).or_default().push((*account, claim));
    }
    let mut applied: BTreeMap<&String, Vec<(&Entry, Option<usize>)>> = BTreeMap::new();
    for (lead, entry, account) in told.iter().flat_map(|told| &told.applied) {
        applied.entry(lead).or_default().push((entry, *account));
    }
    for campaign in 0..of.campaigns.len() {
        let name = format!("{parent}/campaigns/{}", of.campaigns[campaign].id);
        for lead in 0..of.campaigns[campaign].leads.len() {
            let campaign_of = &mut of.campaigns[campaign];
            let (steps, delay, zone) = (campaign_of.steps, campaign_of.delay, campaign_of.hours().zone);
            let lead_of = &mut campaign_of.leads[lead];
            let full = format!("{name}/leads/{}", lead_of.id.as_deref().unwrap_or_default());
            for (entry, account) in applied.remove(&full).unwrap_or_default() {
                prop_assert!(!lead_of.has(entry.fact.0, entry.fact.1), "{:?} of {} was new twice", entry.fact, full);
                lead_of.trail.push(Entry { account, ..entry.clone() });
            }
            let claims = granted.remove(&full).unwrap_or_default();
            let accounts: BTreeSet<usize> = claims.iter().map(|(account, _)| *account).collect();
            prop_assert!(accounts.len() <= 1, "{} was given to accounts {:?}", full, accounts);
            let mut open = Vec::new();
            for (account, claim) in claims {
                campaign_of.last_grant = Some(now);
                let step = usize::try_from(claim.step).unwrap();
                lead_of.keys.insert(step, claim.send_key.clone());
                let is_released = released.contains(&claim.claim_id);
                let days = (local_day(of.accounts[account].zone, now), local_day(zone, now));
                if !is_released {
                    *of.accounts[account].reserved.entry(days.0).or_default() += 1;
                    *campaign_of.reserved.entry(days.1).or_default() += 1;
                }
                if is_released || lead_of.result(step).is_some() {
                    lead_of.account = Some(account);
                } else {
                    let expires = now + SignedDuration::from_hours(1);
                    open.push(Claim { id: claim.claim_id.clone(), account, step, expires, days, grant: 0 });
                }
                if is_released && lead_of.next_step(steps) == Some(step) {
                    lead_of.due_at = Some(now);
                }
            }
            prop_assert!(open.len() <= 1, "{} has several claims at once: {:?}", full, open);
            campaign_of.expiries.extend(open.iter().map(|claim| claim.expires));
            lead_of.claim = open.pop();
            if lead_of.due_at.is_none() {
                lead_of.due_at = lead_of.last_delivery(steps).map(|delivered| delivered + delay);
            }
            for entry in &mut lead_of.trail {
                // Only messages count for an account.
                entry.account = if entry.fact.1 > 0 { entry.account } else { None };
            }
        }
        // Leads replied while they were listed as due.
        of.campaigns[campaign].is_blurred = true;
        of.finish_complete(now);
    }
    prop_assert!(granted.is_empty() && applied.is_empty(), "unknown leads: {:?} {:?}", granted, applied);
    Ok(())
}
