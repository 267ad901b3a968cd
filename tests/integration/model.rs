//! Random sequences of operations on the service and on a model in memory: after each the two say the same.
//!
//! The model is written from the rules, not from the code. Which of the due leads a claim gets is the service's choice; that
//! they were due, and how many there are, is not. `MODEL_CASES` sets the number of sequences.

use campaign_metrics::pb::{self, CampaignState, OutcomeKind, OutcomeVerdict, Resolution};
use futures::stream;
use jiff::{SignedDuration, Timestamp};
use proptest::{
    prelude::*,
    test_runner::{Config, TestCaseError, TestRunner},
};
use tonic::Status as GrpcStatus;

#[path = "model/ops.rs"]
mod ops;
#[path = "model/state.rs"]
mod state;

use self::{
    ops::{Op, op},
    state::{Account, Claim, Fact, HOLD, Kind, Lead, Model, State, day},
};
use crate::harness::service::Service;

/// Sequences of each worker, two thousand in all: two minutes.
const CASES: u32 = 500;
const WORKERS: usize = 4;
const ACCOUNTS: [&str; 2] = ["ann", "bob"];

/// The service with one campaign, and the model of it.
struct Play<'a> {
    service: &'a Service,
    workspace: String,
    model: Model,
    /// Ids of the model's leads.
    ids: Vec<String>,
    added: usize,
}

type Checked = Result<(), TestCaseError>;

fn stamp(at: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: at.as_second(), nanos: at.subsec_nanosecond() }
}

impl<'a> Play<'a> {
    async fn new(service: &'a Service, workspace: String, steps: usize) -> Self {
        for id in ACCOUNTS {
            let request = pb::CreateAccountRequest {
                parent: workspace.clone(),
                account_id: id.into(),
                account: Some(pb::Account::default()),
                ..Default::default()
            };
            service.accounts.clone().create_account(request).await.expect("an account");
        }
        let campaign = pb::Campaign {
            steps: i32::try_from(steps).unwrap(),
            accounts: ACCOUNTS.map(|id| format!("{workspace}/accounts/{id}")).into(),
            follow_up_delay: Some(prost_types::Duration { seconds: 3600, nanos: 0 }),
            ..Default::default()
        };
        let request = pb::CreateCampaignRequest {
            parent: workspace.clone(),
            campaign_id: "c".into(),
            campaign: Some(campaign),
            ..Default::default()
        };
        service.campaigns.clone().create_campaign(request).await.expect("a campaign");
        let model = Model {
            now: service.clock.now(),
            steps,
            state: State::Active,
            is_complete: false,
            limit: None,
            reserved: std::collections::BTreeMap::default(),
            accounts: vec![Account::default(); 2],
            leads: Vec::new(),
            has_stale_waits: false,
        };
        Self { service, workspace, model, ids: Vec::new(), added: 0 }
    }

    fn campaign(&self) -> String {
        format!("{}/campaigns/c", self.workspace)
    }

    fn account(&self, account: usize) -> String {
        format!("{}/accounts/{}", self.workspace, ACCOUNTS[account])
    }

    async fn run(&mut self, op: &Op) -> Checked {
        match op {
            Op::Claim { account, max } => self.claim(*account, *max).await?,
            Op::Report { lead, fact, by_key, minutes_ago } => {
                self.report(*lead, *fact, *by_key, *minutes_ago).await?;
            }
            Op::Release { claim, minutes } => self.release(*claim, *minutes).await?,
            Op::Resolve { claim, sent } => self.resolve(*claim, *sent).await?,
            Op::Advance { minutes } => {
                self.service.clock.advance(std::time::Duration::from_secs(minutes.unsigned_abs() * 60));
                self.model.now = self.service.clock.now();
            }
            Op::Pause | Op::Resume | Op::Finish => self.change_state(op).await?,
            Op::LimitCampaign(_) | Op::LimitAccount { .. } => self.limit(op).await,
            Op::Suspend { account, suspended } => self.suspend(*account, *suspended).await,
            Op::AddLeads { count, account, complete } => self.add(*count, *account, *complete).await?,
            Op::Delete { lead } => self.delete(*lead).await?,
        }
        self.compare().await
    }

    async fn claim(&mut self, account: usize, max: i32) -> Checked {
        let hold = prost_types::Duration { seconds: HOLD.as_secs(), nanos: 0 };
        let request = pb::ClaimSendsRequest {
            account: self.account(account),
            max_claims: max,
            hold_duration: Some(hold),
            ..Default::default()
        };
        let answer = self.service.sending.clone().claim_sends(request).await.expect("an answer").into_inner();
        let expected = self.model.granted(account, max.into());
        prop_assert_eq!(i64::try_from(answer.claims.len()).unwrap(), expected, "claims granted");
        prop_assert_eq!(answer.not_sending.is_empty(), expected == i64::from(max), "fewer come with reasons");
        let next_change = answer.next_change_time;
        for claim in answer.claims {
            let id = claim.lead.rsplit('/').next().unwrap_or_default();
            let lead = self.ids.iter().position(|known| known == id);
            let lead = lead.ok_or_else(|| TestCaseError::fail(format!("{id} is no lead")))?;
            let step = usize::try_from(claim.step).unwrap();
            prop_assert_eq!(
                self.model.leads[lead].due(self.model.steps, account, self.model.now),
                Some(step),
                "{}",
                id
            );
            let expires = self.model.now + HOLD;
            prop_assert_eq!(claim.expire_time, Some(stamp(expires)));
            let today = day(self.model.now);
            let made = Claim { id: claim.claim_id, send_key: claim.send_key, account, step, expires, day: today };
            self.model.claim(lead, made);
        }
        if expected < i64::from(max) {
            let helps = self.model.claimable_at(account).map(stamp);
            let says_so = match (next_change, helps) {
                (told, helps) if told == helps => true,
                (Some(told), helps) if self.model.has_stale_waits => {
                    told.seconds > stamp(self.model.now).seconds
                        && helps.is_none_or(|helps| told.seconds <= helps.seconds)
                }
                _ => false,
            };
            prop_assert!(says_so, "asking again helps at {:?}, not {:?}", helps, next_change);
        }
        Ok(())
    }

    async fn report(&mut self, lead: usize, fact: Fact, by_key: bool, minutes_ago: i64) -> Checked {
        if self.ids.is_empty() || fact.1 > self.model.steps {
            return Ok(());
        }
        let lead = lead % self.ids.len();
        let at = self.model.now - SignedDuration::from_mins(minutes_ago);
        let kind = match fact.0 {
            Kind::Delivered => OutcomeKind::Delivered,
            Kind::Failed => OutcomeKind::Failed,
            Kind::Bounced => OutcomeKind::Bounced,
            Kind::Replied => OutcomeKind::Replied,
            Kind::Converted => OutcomeKind::Converted,
            Kind::AutoReplied => OutcomeKind::AutoReplied,
            Kind::OptedOut => OutcomeKind::OptedOut,
        };
        let mut outcome = pb::Outcome { kind: kind.into(), time: Some(stamp(at)), ..Default::default() };
        match &self.model.leads[lead].claim {
            Some(claim) if by_key && (fact.1 == claim.step || fact.1 == 0) => {
                outcome.send_key.clone_from(&claim.send_key);
            }
            // Whoever was forgotten has no name any more.
            _ if self.model.leads[lead].is_gone => return Ok(()),
            _ => {
                outcome.lead = format!("{}/leads/{}", self.campaign(), self.ids[lead]);
                outcome.step = i32::try_from(fact.1).unwrap();
            }
        }
        let request = pb::ReportOutcomesRequest { parent: self.workspace.clone(), outcomes: vec![outcome] };
        let results =
            self.service.sending.clone().report_outcomes(request).await.expect("verdicts").into_inner().results;
        let is_new = self.model.report(lead, fact, at);
        let expected = if is_new { OutcomeVerdict::Applied } else { OutcomeVerdict::Duplicate };
        prop_assert_eq!(results[0].verdict(), expected, "{}", results[0].message);
        Ok(())
    }

    /// The lead of one of the claims, held and uncertain ones alike.
    fn claimed(&self, choice: usize) -> Option<(usize, Claim)> {
        let claimed = self.model.leads.iter().enumerate().filter_map(|(lead, of)| Some((lead, of.claim.clone()?)));
        let claimed: Vec<_> = claimed.collect();
        (!claimed.is_empty()).then(|| claimed[choice % claimed.len()].clone())
    }

    async fn release(&mut self, choice: usize, minutes: i64) -> Checked {
        let Some((lead, claim)) = self.claimed(choice) else { return Ok(()) };
        let not_before = self.model.now + SignedDuration::from_mins(minutes);
        let request = pb::ReleaseClaimsRequest {
            account: self.account(claim.account),
            claim_ids: vec![claim.id],
            not_before: Some(stamp(not_before)),
        };
        let answer = self.service.sending.clone().release_claims(request).await.expect("an answer").into_inner();
        let is_held = claim.expires > self.model.now;
        prop_assert_eq!(answer.released_count, i32::from(is_held), "only what is held can be released");
        if is_held {
            self.model.give_back(lead, not_before);
        }
        Ok(())
    }

    async fn resolve(&mut self, choice: usize, sent: bool) -> Checked {
        let Some((lead, claim)) = self.claimed(choice) else { return Ok(()) };
        let resolution = if sent { Resolution::Sent } else { Resolution::NotSent };
        let request = pb::ResolveClaimsRequest {
            account: self.account(claim.account),
            resolutions: vec![pb::ClaimResolution { claim_id: claim.id, resolution: resolution.into() }],
        };
        let answer = self.service.sending.clone().resolve_claims(request).await.expect("an answer").into_inner();
        let is_uncertain = claim.expires <= self.model.now;
        prop_assert_eq!(answer.resolved_count, i32::from(is_uncertain), "only what is uncertain can be resolved");
        if is_uncertain && sent {
            self.model.report(lead, (Kind::Delivered, claim.step), self.model.now);
        } else if is_uncertain {
            self.model.give_back(lead, self.model.now);
        }
        Ok(())
    }

    async fn change_state(&mut self, op: &Op) -> Checked {
        let mut campaigns = self.service.campaigns.clone();
        let name = self.campaign();
        let (result, to) = match op {
            Op::Pause => {
                let request = pb::PauseCampaignRequest { name, ..Default::default() };
                (campaigns.pause_campaign(request).await, State::Paused)
            }
            Op::Resume => {
                let request = pb::ResumeCampaignRequest { name, ..Default::default() };
                (campaigns.resume_campaign(request).await, State::Active)
            }
            _ => {
                let request = pb::FinishCampaignRequest { name, ..Default::default() };
                (campaigns.finish_campaign(request).await, State::Finished)
            }
        };
        let is_legal = self.model.state != State::Finished || to == State::Finished;
        prop_assert_eq!(result.is_ok(), is_legal, "{:?}: {:?}", op, result.err());
        if is_legal {
            self.model.state = to;
        }
        Ok(())
    }

    async fn limit(&mut self, op: &Op) {
        let update_mask = Some(prost_types::FieldMask { paths: vec!["daily_limit".into()] });
        match op {
            Op::LimitAccount { account, limit } => {
                let changed = pb::Account { name: self.account(*account), daily_limit: *limit, ..Default::default() };
                let request = pb::UpdateAccountRequest { account: Some(changed), update_mask };
                self.service.accounts.clone().update_account(request).await.expect("it changes");
                self.model.accounts[*account].limit = *limit;
            }
            Op::LimitCampaign(limit) if self.model.state != State::Finished => {
                let changed = pb::Campaign { name: self.campaign(), daily_limit: *limit, ..Default::default() };
                let request = pb::UpdateCampaignRequest { campaign: Some(changed), update_mask };
                self.service.campaigns.clone().update_campaign(request).await.expect("it changes");
                self.model.limit = *limit;
            }
            _ => {}
        }
    }

    async fn suspend(&mut self, account: usize, suspended: bool) {
        let name = self.account(account);
        let mut accounts = self.service.accounts.clone();
        let done = if suspended {
            accounts.suspend_account(pb::SuspendAccountRequest { name, ..Default::default() }).await
        } else {
            accounts.reinstate_account(pb::ReinstateAccountRequest { name, ..Default::default() }).await
        };
        done.expect("it changes");
        self.model.accounts[account].is_suspended = suspended;
    }

    async fn add(&mut self, count: usize, account: Option<usize>, complete: bool) -> Checked {
        let ids: Vec<String> = (self.added..self.added + count).map(|number| format!("l{number}")).collect();
        let account_id = account.map(|account| ACCOUNTS[account].to_owned()).unwrap_or_default();
        let leads = ids.iter().map(|id| pb::NewLead { lead_id: id.clone(), account_id: account_id.clone() }).collect();
        let request = pb::AddLeadsRequest { parent: self.campaign(), leads, lead_list_complete: complete };
        let result: Result<_, GrpcStatus> = self.service.leads.clone().add_leads(stream::iter([request])).await;
        prop_assert_eq!(result.is_ok(), self.model.state != State::Finished, "{:?}", result.err());
        if self.model.state != State::Finished {
            self.added += count;
            self.ids.extend(ids);
            self.model.leads.extend(vec![Lead { account, ..Default::default() }; count]);
            self.model.is_complete |= complete;
            if complete {
                self.model.finish_if_complete();
            }
        }
        Ok(())
    }

    async fn delete(&mut self, lead: usize) -> Checked {
        if self.ids.is_empty() {
            return Ok(());
        }
        let lead = lead % self.ids.len();
        let name = format!("{}/leads/{}", self.campaign(), self.ids[lead]);
        let result = self.service.leads.clone().delete_lead(pb::DeleteLeadRequest { name, force: false }).await;
        let is_there = !self.model.leads[lead].is_gone;
        prop_assert_eq!(result.is_ok(), is_there && self.model.leads[lead].claim.is_none(), "{:?}", result.err());
        if result.is_ok() {
            if self.model.leads[lead].facts.is_empty() {
                self.ids.remove(lead);
            }
            self.model.delete(lead);
        }
        Ok(())
    }

    /// Everything that can be seen of the campaign.
    async fn compare(&self) -> Checked {
        let request = pb::GetCampaignRequest { name: self.campaign() };
        let seen = self.service.campaigns.clone().get_campaign(request).await.expect("it exists").into_inner();
        let counts = seen.lead_counts.unwrap_or_default();
        prop_assert_eq!((counts.pending, counts.partial, counts.sent, counts.failed), self.model.counts(), "leads");
        let messages = seen.message_counts.clone().unwrap_or_default();
        let messages =
            [messages.delivered, messages.failed, messages.bounced, messages.replied_leads, messages.opted_out_leads];
        prop_assert_eq!(messages, self.model.messages(), "messages");
        prop_assert_eq!((seen.in_flight_claims, seen.uncertain_claims), self.model.claims(), "claims");
        let state = match self.model.state {
            State::Active => CampaignState::Active,
            State::Paused => CampaignState::Paused,
            State::Finished => CampaignState::Finished,
        };
        prop_assert_eq!(seen.state(), state);
        // The view of the campaign gives reasons when a claim would, of any account.
        let gives_reasons = !seen.not_sending_reasons.is_empty();
        if (0..ACCOUNTS.len()).any(|account| self.model.granted(account, 1) > 0) {
            prop_assert!(!gives_reasons, "something can be claimed, despite {:?}", seen.not_sending_reasons);
        } else if self.model.all_may_claim() && !self.model.has_stale_waits || counts.pending + counts.partial == 0 {
            prop_assert!(gives_reasons, "nothing can be claimed, without a reason");
        }
        Ok(())
    }

    /// What is used of the limits of accounts.
    async fn compare_accounts(&self) -> Checked {
        let today = day(self.model.now);
        for (number, account) in self.model.accounts.iter().enumerate() {
            let request = pb::GetAccountRequest { name: self.account(number) };
            let seen = self.service.accounts.clone().get_account(request).await.expect("it exists").into_inner();
            let reserved = account.reserved.get(&today).copied().unwrap_or(0);
            prop_assert_eq!(seen.reserved_today, reserved, "reserved of {}", ACCOUNTS[number]);
        }
        Ok(())
    }
}

/// Sequences on a service of their own.
fn worker(cases: u32) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let service = runtime.block_on(Service::start());
    let mut runner =
        TestRunner::new(Config { cases, failure_persistence: None, max_shrink_iters: 2_000, ..Config::default() });
    let number = std::cell::Cell::new(0);
    let sequences = (1..=2_usize, proptest::collection::vec(op(), 1..24));
    let result = runner.run(&sequences, |(steps, ops)| {
        number.set(number.get() + 1);
        let workspace = format!("workspaces/m{}", number.get());
        runtime.block_on(async {
            let mut play = Play::new(&service, workspace, steps).await;
            play.add(4, None, false).await?;
            for op in &ops {
                play.run(op).await?;
            }
            play.compare_accounts().await
        })
    });
    result.unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn the_service_does_what_the_model_says_whatever_the_sequence() {
    let cases = std::env::var("MODEL_CASES").map_or(CASES, |cases| cases.parse().expect("a number"));
    let workers: Vec<_> = (0..WORKERS).map(|_| std::thread::spawn(move || worker(cases))).collect();
    for worker in workers {
        worker.join().expect("no sequence tells them apart");
    }
}
