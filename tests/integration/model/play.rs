//! A service and its model side by side. Operations go to both; the model learns the service's choices.

use std::collections::BTreeMap;

use campaign_metrics::pb::{self, CampaignState, FinishReason};
use campaign_metrics_service::store::Store;
use jiff::{SignedDuration, Timestamp};
use proptest::{prelude::*, test_runner::TestCaseError};
use tonic::Status as GrpcStatus;
use tonic_types::StatusExt as _;

use super::{
    campaign::Campaign,
    hours::{ZONES, next_day},
    lead::{Claim, Lead},
    ops::{Edge, Op},
    shown::Told,
    world::{Account, Learned, Workspace, World},
};
use crate::harness::service::Service;

pub type Checked<T = ()> = Result<T, TestCaseError>;

pub const ACCOUNTS: [&str; 3] = ["ann", "bob@example.org", "carla"];
pub const CAMPAIGNS: [&str; 3] = ["spring", "autumn.2", "winter"];

/// Workspaces of a sequence. The database also has those of other sequences.
pub const WORKSPACES: usize = 2;

/// A claim that was asked for under a request id.
#[derive(Debug, Clone)]
pub struct Asked {
    pub request: pb::ClaimSendsRequest,
    pub grant: usize,
    pub at: Timestamp,
}

pub struct Play<'a> {
    pub service: &'a Service,
    /// Runs the service's upkeep on request.
    pub store: &'a Store,
    pub told: &'a Told,
    pub world: World,
    /// By workspace and number of the request.
    pub asked: BTreeMap<(usize, u8), Asked>,
    pub grants: usize,
    /// Every claim id that an account was given: workspace, account, id.
    pub claim_ids: Vec<(usize, usize, String)>,
    pub leads_added: usize,
    /// Operations so far.
    pub runs: usize,
}

/// Operations from one comparison of performance to the next.
const PERFORMANCE_EVERY: usize = 9;

pub fn stamp(at: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: at.as_second(), nanos: at.subsec_nanosecond() }
}

pub fn seconds(seconds: i64) -> prost_types::Duration {
    prost_types::Duration { seconds, nanos: 0 }
}

/// Checks whether a call is refused, by the reason of its ErrorInfo.
pub fn check_refusal<T>(result: Result<T, GrpcStatus>, expected: Option<&str>, what: &str) -> Checked {
    let reason = |status: &GrpcStatus| status.get_details_error_info().map(|info| info.reason);
    let refusal = result.err().map(|status| reason(&status).unwrap_or_else(|| status.to_string()));
    prop_assert_eq!(refusal.as_deref(), expected, "whether {} is refused", what);
    Ok(())
}

/// Compares what is shown with what the rules say. A failure names what was compared, then the lines that differ.
pub fn check_same<T: std::fmt::Debug + PartialEq>(shown: &T, expected: &T, what: &str) -> Checked {
    if shown == expected {
        return Ok(());
    }
    let (shown, expected) = (format!("{shown:#?}"), format!("{expected:#?}"));
    let (shown, expected): (Vec<&str>, Vec<&str>) = (shown.lines().collect(), expected.lines().collect());
    let of = |lines: &[&str], others: &[&str]| -> String {
        let differ = lines.iter().filter(|line| !others.contains(line));
        differ.map(|line| line.trim()).collect::<Vec<_>>().join("\n  ")
    };
    let (only_shown, only_expected) = (of(&shown, &expected), of(&expected, &shown));
    Err(TestCaseError::fail(format!("{what}\nshown:\n  {only_shown}\nby the rules:\n  {only_expected}")))
}

/// Fails with what differs, line by line.
pub fn check_none(differences: &[String], what: &str) -> Checked {
    prop_assert!(differences.is_empty(), "{} differ\n  {}", what, differences.join("\n  "));
    Ok(())
}

impl<'a> Play<'a> {
    /// Begins with accounts in different zones and nothing else.
    pub async fn new(service: &'a Service, store: &'a Store, told: &'a Told, number: u32, zones: usize) -> Self {
        let now = service.clock.now();
        let workspace = |place: usize| Workspace {
            id: format!("m{number}-{place}"),
            accounts: Vec::new(),
            campaigns: Vec::new(),
            opt_outs: BTreeMap::new(),
            gone: Vec::new(),
        };
        let world = World { now, workspaces: (0..WORKSPACES).map(workspace).collect() };
        let (asked, claim_ids) = (BTreeMap::new(), Vec::new());
        let mut play = Self { service, store, told, world, asked, grants: 0, claim_ids, leads_added: 0, runs: 0 };
        for place in 0..WORKSPACES {
            for (account, id) in ACCOUNTS.into_iter().enumerate() {
                let zone = ZONES[(zones + place * 3 + account * 5) % ZONES.len()];
                let limit = [None, Some(7), Some(4)][(zones + account) % 3];
                play.create_account(place, id, zone, limit).await;
            }
        }
        play
    }

    async fn create_account(&mut self, workspace: usize, id: &'static str, zone: &'static str, limit: Option<i32>) {
        let now = self.world.now;
        let account = Account {
            id,
            display_name: String::new(),
            zone,
            limit,
            is_suspended: false,
            reserved: BTreeMap::new(),
            created: now,
            updated: now,
            uid: Learned::default(),
            etag: Learned::default(),
        };
        let request = pb::CreateAccountRequest {
            parent: self.parent(workspace),
            account_id: id.to_owned(),
            account: Some(pb::Account { time_zone: zone.to_owned(), daily_limit: limit, ..Default::default() }),
            request_id: String::new(),
        };
        self.service.accounts.clone().create_account(request).await.expect("an account");
        self.world.workspaces[workspace].accounts.push(account);
    }

    pub fn parent(&self, workspace: usize) -> String {
        format!("workspaces/{}", self.world.workspaces[workspace].id)
    }

    pub fn campaign_name(&self, workspace: usize, campaign: usize) -> String {
        format!("{}/campaigns/{}", self.parent(workspace), self.world.workspaces[workspace].campaigns[campaign].id)
    }

    pub fn account_name(&self, workspace: usize, account: usize) -> String {
        format!("{}/accounts/{}", self.parent(workspace), self.world.workspaces[workspace].accounts[account].id)
    }

    pub fn workspace(&mut self, workspace: usize) -> &mut Workspace {
        &mut self.world.workspaces[workspace]
    }

    /// The campaign of a choice; `None` where there is none.
    pub fn choose_campaign(&self, workspace: usize, choice: usize) -> Option<usize> {
        choice.checked_rem(self.world.workspaces[workspace].campaigns.len())
    }

    /// Advances the clock a little, so that later arrivals have distinct times.
    pub fn tick(&mut self) {
        self.advance(SignedDuration::from_millis(1));
    }

    fn advance(&mut self, by: SignedDuration) {
        self.service.clock.advance(by.unsigned_abs());
        self.world.now = self.service.clock.now();
    }

    pub async fn run(&mut self, workspace: usize, op: &Op) -> Checked {
        // Upkeep runs at any time, so operations that depend on it come after it. A claim does not depend on it.
        let is_of_time = matches!(op, Op::Advance { .. } | Op::AdvanceTo { .. } | Op::Upkeep);
        if self.world.wants_upkeep() && !is_of_time && !matches!(op, Op::Claim { .. }) {
            self.keep_house().await;
        }
        match op {
            Op::Claim { .. } | Op::Report(_) | Op::Renew { .. } | Op::Release { .. } | Op::Resolve { .. } => {
                self.run_sending(workspace, op).await?;
            }
            Op::Backlog { campaign, account, delivered } => {
                if let Some(campaign) = self.choose_campaign(workspace, *campaign) {
                    self.backlog(workspace, campaign, *account, *delivered).await?;
                }
            }
            Op::Advance { minutes } => self.advance(SignedDuration::from_mins(*minutes)),
            Op::AdvanceTo { edge, which, nudge_micros } => self.advance_to(workspace, *edge, *which, *nudge_micros),
            Op::Upkeep => self.keep_house().await,
            _ => self.run_change(workspace, op).await?,
        }
        // Time passes in all workspaces.
        let touched = if is_of_time { 0..=WORKSPACES - 1 } else { workspace..=workspace };
        self.compare(touched.clone()).await?;
        self.runs += 1;
        // Upkeep may give leads to accounts at any time, so it comes first.
        let is_time = self.runs.is_multiple_of(PERFORMANCE_EVERY) || matches!(op, Op::Upkeep);
        if is_time && !self.world.wants_upkeep() {
            for workspace in touched {
                self.compare_performance(workspace).await?;
            }
        }
        Ok(())
    }

    /// Runs at once what the service does by itself twice a minute.
    pub async fn keep_house(&mut self) {
        let store = self.store;
        store.maintain().await.expect("the log has its parts");
        store.claims_retry().await.expect("what expired is retried");
        store.claims_compact(Timestamp::UNIX_EPOCH).await.expect("what expired is tidied up");
        store.returns_tidy().await.expect("lists are tidied up");
        store.campaigns_drain().await.expect("deleted campaigns are drained");
        store.campaigns_finalize().await.expect("results become final");
        self.world.keep_house();
    }

    fn advance_to(&mut self, workspace: usize, edge: Edge, which: usize, nudge_micros: i64) {
        let now = self.world.now;
        let of = &self.world.workspaces[workspace];
        let leads = || of.campaigns.iter().flat_map(|campaign| &campaign.leads);
        let finished = of.campaigns.iter().filter_map(|campaign| Some((campaign, campaign.finished?)));
        let mut moments: Vec<Timestamp> = match edge {
            Edge::Expiry => leads().filter_map(|lead| Some(lead.claim.as_ref()?.expires)).collect(),
            Edge::Due => leads().filter_map(|lead| lead.due_at).collect(),
            Edge::Window => of.campaigns.iter().filter_map(|campaign| campaign.hours().next_change(now)).collect(),
            Edge::Midnight => {
                let zones = of.accounts.iter().map(|account| account.zone);
                zones
                    .chain(of.campaigns.iter().map(|campaign| campaign.hours().zone))
                    .map(|zone| next_day(zone, now))
                    .collect()
            }
            Edge::Final => finished
                .flat_map(|(campaign, at)| {
                    let expiries = campaign.leads.iter().filter_map(|lead| Some(lead.claim.as_ref()?.expires));
                    let settle = SignedDuration::from_secs(campaign.settle_seconds.into());
                    expiries.chain([at]).map(move |since| since + settle).collect::<Vec<_>>()
                })
                .collect(),
            Edge::Attribution => finished
                .map(|(campaign, at)| at + SignedDuration::from_hours(24 * i64::from(campaign.attribution_days)))
                .collect(),
            Edge::Month => of
                .messages()
                .map(|message| message.day + SignedDuration::from_hours(24 * 30))
                .map(|day| day.to_zoned(jiff::tz::TimeZone::UTC).expect("within the calendar").timestamp())
                .collect(),
        };
        moments.retain(|moment| *moment > now);
        moments.sort_unstable();
        moments.dedup();
        if let Some(place) = which.checked_rem(moments.len()) {
            let by = moments[place].duration_since(now) + SignedDuration::from_micros(nudge_micros);
            if by.is_positive() {
                self.advance(by);
            }
        }
    }

    /// A campaign of the model as it is created.
    pub fn new_campaign(&self, id: &'static str, hours: usize, steps: usize, of: u8, retries: bool) -> Campaign {
        let now = self.world.now;
        Campaign {
            id,
            display_name: format!("{id} of {steps}"),
            steps,
            delay: SignedDuration::from_mins(60),
            serving: (0..ACCOUNTS.len()).filter(|account| of >> account & 1 == 1).collect(),
            hours,
            limit: None,
            retries,
            settle_seconds: 60,
            attribution_days: 1,
            is_complete: false,
            state: CampaignState::Active,
            finish_reason: FinishReason::Unspecified,
            created: now,
            updated: now,
            finished: None,
            finalized: None,
            owner: None,
            reserved: BTreeMap::new(),
            last_grant: None,
            leads: Vec::new(),
            is_blurred: false,
            expiries: std::collections::BTreeSet::new(),
            uid: Learned::default(),
            etag: Learned::default(),
        }
    }

    /// The open claim of an id, if there is one: campaign and lead.
    pub fn claim_of(&self, workspace: usize, account: usize, id: &str) -> Option<(usize, usize, &Claim)> {
        let is_it = |lead: &Lead| lead.claim.as_ref().is_some_and(|claim| claim.id == id && claim.account == account);
        let mut campaigns = self.world.workspaces[workspace].campaigns.iter().enumerate();
        campaigns.find_map(|(place, campaign)| {
            let lead = campaign.leads.iter().position(is_it)?;
            Some((place, lead, campaign.leads[lead].claim.as_ref()?))
        })
    }
}
