//! Two workspaces with the same ids and different numbers, in zones from UTC-11 to UTC+14. A value that is swapped,
//! missing, or taken from the other workspace makes a difference.

use std::time::Duration;

use campaign_metrics::pb::{self, CampaignState, FailureReason as Reason, OutcomeKind as Kind};
use campaign_metrics_service::store::VerifyMode;
use futures::stream;
use jiff::{Timestamp, ToSpan as _};

use crate::harness::{
    gauges::unseen::{OfCampaign, Unseen},
    service::{Service, monday},
};

/// The workspaces.
pub const WORKSPACES: [&str; 2] = ["acme", "globex"];

/// Numbers of leads of `spring`, in the order of [`story`], in each workspace. All counts that result differ from each
/// other; a test checks that.
const SPRING: [[usize; 15]; 2] =
    [[11, 7, 5, 3, 5, 10, 1, 2, 4, 6, 9, 8, 9, 2, 27], [17, 9, 6, 4, 13, 8, 3, 5, 7, 2, 20, 14, 15, 1, 40]];

/// Claims of `spring` that expire, and claims that stay held. One lead stays unclaimed.
const UNCERTAIN: [i32; 2] = [14, 18];
const HELD: [i32; 2] = [12, 21];

/// A running service with both workspaces.
pub struct Fleet {
    pub service: Service,
    /// What gauges show and the API does not.
    pub unseen: Unseen,
}

/// The outcomes of a lead of each kind: step, reason, and whether it happened 40 days ago.
fn story(kind: usize) -> Vec<(Kind, i32, Reason, bool)> {
    let plain = |kind, step| (kind, step, Reason::Unspecified, false);
    let old = |kind, step, reason| (kind, step, reason, true);
    let delivered = plain(Kind::Delivered, 1);
    match kind {
        0 => vec![delivered],
        // Last step first, so that no follow-up is ever listed as due.
        1 => (1..=3).rev().map(|step| old(Kind::Delivered, step, Reason::Unspecified)).collect(),
        2 => vec![delivered, plain(Kind::Replied, 0)],
        3 => vec![delivered, plain(Kind::Converted, 0)],
        4 => vec![plain(Kind::Replied, 0)],
        5 => vec![plain(Kind::Converted, 0)],
        6 => vec![old(Kind::Failed, 1, Reason::AccountIssue)],
        7 => vec![(Kind::Failed, 1, Reason::InvalidLead, false)],
        8 => vec![(Kind::Failed, 1, Reason::RateLimited, false)],
        9 => vec![old(Kind::Bounced, 1, Reason::ContentRejected)],
        10 => vec![(Kind::Bounced, 1, Reason::Other, false)],
        11 => vec![delivered, plain(Kind::AutoReplied, 0)],
        12 => vec![plain(Kind::OptedOut, 0)],
        13 => vec![delivered, plain(Kind::OptedOut, 0)],
        _ => vec![],
    }
}

fn time(at: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: at.as_second(), nanos: at.subsec_nanosecond() }
}

fn seconds(seconds: i64) -> prost_types::Duration {
    prost_types::Duration { seconds, nanos: 0 }
}

fn hours(zone: &str, windows: &[(&[i32], &str, &str)]) -> pb::ActiveHours {
    let window = |(days, start, end): &(&[i32], &str, &str)| pb::ActiveWindow {
        days: days.to_vec(),
        start_time: (*start).into(),
        end_time: (*end).into(),
    };
    pb::ActiveHours { time_zone: zone.into(), windows: windows.iter().map(window).collect() }
}

/// Short ways to act in one of the workspaces.
pub struct Workspace<'a> {
    pub service: &'a Service,
    /// `workspaces/acme`.
    pub name: String,
}

impl Workspace<'_> {
    pub fn account(&self, id: &str) -> String {
        format!("{}/accounts/{id}", self.name)
    }

    pub fn campaign(&self, id: &str) -> String {
        format!("{}/campaigns/{id}", self.name)
    }

    pub async fn create_account(&self, id: &str, daily_limit: Option<i32>, zone: &str, display_name: &str) {
        let (time_zone, display_name) = (zone.to_owned(), display_name.to_owned());
        let account = pb::Account { daily_limit, time_zone, display_name, ..Default::default() };
        let request = pb::CreateAccountRequest {
            parent: self.name.clone(),
            account_id: id.into(),
            account: Some(account),
            ..Default::default()
        };
        self.service.accounts.clone().create_account(request).await.expect("an account");
    }

    pub async fn create_campaign(&self, id: &str, accounts: &[&str], campaign: pb::Campaign) {
        let accounts = accounts.iter().map(|id| self.account(id)).collect();
        let request = pb::CreateCampaignRequest {
            parent: self.name.clone(),
            campaign_id: id.into(),
            campaign: Some(pb::Campaign { accounts, ..campaign }),
            ..Default::default()
        };
        self.service.campaigns.clone().create_campaign(request).await.expect("a campaign");
    }

    /// Adds leads `{campaign}-{first}` and on: opt-outs hold for a workspace, so no two campaigns share a lead id.
    pub async fn add(&self, campaign: &str, first: usize, count: usize, account: &str, lead_list_complete: bool) {
        let lead = |number| pb::NewLead { lead_id: format!("{campaign}-{number}"), account_id: account.into() };
        let leads = (first..first + count).map(lead).collect();
        let request = pb::AddLeadsRequest { parent: self.campaign(campaign), leads, lead_list_complete };
        let added = self.service.leads.clone().add_leads(stream::iter([request])).await.expect("leads").into_inner();
        assert_eq!(added.refused, [], "no lead is refused");
    }

    /// Claims so many steps for an account, held for so many seconds. Panics if fewer are granted.
    pub async fn claim(&self, account: &str, count: i32, hold: i64) -> Vec<pb::Claim> {
        let request = pb::ClaimSendsRequest {
            account: self.account(account),
            max_claims: count,
            hold_duration: Some(seconds(hold)),
            ..Default::default()
        };
        let answer = self.service.sending.clone().claim_sends(request).await.expect("an answer").into_inner();
        assert_eq!(answer.claims.len(), usize::try_from(count).expect("a count"), "{:?}", answer.not_sending);
        answer.claims
    }

    pub async fn report(&self, outcomes: Vec<pb::Outcome>) {
        let request = pb::ReportOutcomesRequest { parent: self.name.clone(), outcomes };
        let answer = self.service.sending.clone().report_outcomes(request).await.expect("verdicts").into_inner();
        for result in answer.results {
            assert_eq!(result.verdict(), pb::OutcomeVerdict::Applied, "{}: {}", result.reason, result.message);
        }
    }

    /// Makes an outcome of a lead without a claim.
    pub fn outcome(&self, campaign: &str, lead: usize, kind: Kind, step: i32) -> pb::Outcome {
        let lead = format!("{}/leads/{campaign}-{lead}", self.campaign(campaign));
        pb::Outcome { lead, step, kind: kind.into(), ..Default::default() }
    }
}

impl Fleet {
    /// Creates everything, at [`monday`] and two minutes later.
    pub async fn start() -> Self {
        let service = Service::start().await;
        let mut fleet = Self { unseen: Unseen::at(service.clock.now()), service };
        for number in 0..WORKSPACES.len() {
            begin(&fleet.workspace(number), number).await;
        }
        // The claims that are held for a minute expire.
        fleet.service.clock.advance(Duration::from_mins(2));
        for number in 0..WORKSPACES.len() {
            go_on(&fleet.workspace(number), number).await;
        }
        let store = fleet.service.store();
        // Finalizes the campaigns `autumn`, unless the service's upkeep has done so.
        store.campaigns_finalize().await.unwrap();
        fleet.service.clock.advance(Duration::from_millis(1500));
        store.verification_note(17, VerifyMode::Report).await.unwrap();
        let unseen = Unseen::read(&fleet.service, &fleet.campaigns().await, &fleet.accounts().await).await;
        fleet.unseen = Unseen { verification: Some((17, fleet.service.clock.now())), ..unseen };
        fleet.expect_times();
        fleet
    }

    /// One of the workspaces.
    pub fn workspace(&self, number: usize) -> Workspace<'_> {
        Workspace { service: &self.service, name: format!("workspaces/{}", WORKSPACES[number]) }
    }

    /// Says when the next step of each campaign is due, when it granted claims and took outcomes, and what is reserved of
    /// its limit. With an unclaimed lead, a step is due now.
    fn expect_times(&mut self) {
        let now = self.service.clock.now();
        let reported = monday().checked_add(120.seconds()).expect("a time");
        for (number, workspace) in WORKSPACES.into_iter().enumerate() {
            let mut expect = |id: &str, change: &dyn Fn(&mut OfCampaign)| {
                change(self.unseen.of_mut(&format!("workspaces/{workspace}/campaigns/{id}")));
            };
            for id in ["spring", "autumn", "winter", "night"] {
                expect(id, &|of| of.next_due = Some(now));
            }
            let follow_up = reported.checked_add(26.hours()).expect("a time");
            expect("summer", &|of| of.next_due = Some(follow_up));
            for id in ["spring", "summer"] {
                expect(id, &|of| of.last_grant = Some(reported));
            }
            for id in ["spring", "summer", "autumn"] {
                expect(id, &|of| of.last_outcome = Some(reported));
            }
            expect("done", &|of| of.last_outcome = Some(monday()));
            let is_of_today = |kind: &usize| story(*kind).iter().any(|(_, step, _, is_old)| *step > 0 && !is_old);
            let sent: usize = (0..15).filter(is_of_today).map(|kind| SPRING[number][kind]).sum();
            let claimed = i64::from(UNCERTAIN[number] + HELD[number]);
            let sent = i64::try_from(sent).expect("a small number");
            expect("spring", &|of| of.reserved = claimed + sent);
        }
    }

    /// All campaigns of both workspaces, in the order of their names.
    pub async fn campaigns(&self) -> Vec<pb::Campaign> {
        let request = pb::ListCampaignsRequest { parent: "workspaces/-".into(), page_size: 1000, ..Default::default() };
        self.service.campaigns.clone().list_campaigns(request).await.expect("campaigns").into_inner().campaigns
    }

    /// All accounts of a workspace.
    pub async fn accounts_of(&self, number: usize) -> Vec<pb::Account> {
        let parent = self.workspace(number).name;
        let request = pb::ListAccountsRequest { parent, page_size: 1000, ..Default::default() };
        self.service.accounts.clone().list_accounts(request).await.expect("accounts").into_inner().accounts
    }

    /// All accounts of both workspaces.
    pub async fn accounts(&self) -> Vec<pb::Account> {
        let mut accounts = self.accounts_of(0).await;
        accounts.extend(self.accounts_of(1).await);
        accounts
    }
}

/// The difference of the numbers of a workspace to those of the first.
fn more(number: usize) -> i32 {
    i32::try_from(number).expect("a small number")
}

/// Accounts, campaigns and leads, and the claims that are to expire.
async fn begin(workspace: &Workspace<'_>, number: usize) {
    let more = more(number);
    let zones = [["Pacific/Kiritimati", "Asia/Kolkata"], ["Pacific/Pago_Pago", "America/St_Johns"]][number];
    workspace.create_account("ann", Some(60 + more), zones[0], &format!("Ann of {number}")).await;
    workspace.create_account("bob", None, zones[1], "").await;
    workspace.create_account("cat", Some(0), "UTC", "Cat").await;
    workspace.create_account("dee", Some(900 + more), "Europe/Berlin", "Dee").await;
    workspace.create_account("eli", Some(70 + more), "Australia/Lord_Howe", "").await;
    let suspend = pb::SuspendAccountRequest { name: workspace.account("cat"), ..Default::default() };
    workspace.service.accounts.clone().suspend_account(suspend).await.expect("it is suspended");

    let spring = pb::Campaign {
        display_name: format!("Spring of {number}"),
        steps: 3,
        follow_up_delay: Some(seconds(5400 + i64::from(more))),
        active_hours: Some(hours(
            "Europe/Berlin",
            &[(&[1, 2, 3], "08:30", "20:15"), (&[5, 6 + more], "07:00", "24:00")],
        )),
        daily_limit: Some(500 + more),
        settle_seconds: Some(3600 + more),
        attribution_days: Some(11 + more),
        ..Default::default()
    };
    workspace.create_campaign("spring", &["ann", "bob", "dee"], spring).await;
    let all: usize = SPRING[number].iter().sum();
    let open = SPRING[number][14];
    workspace.add("spring", 0, all - open, "dee", false).await;
    workspace.add("spring", all - open, open, "", false).await;
    let follow_up = pb::Campaign { steps: 2, follow_up_delay: Some(seconds(26 * 3600)), ..Default::default() };
    workspace.create_campaign("summer", &["eli"], follow_up).await;
    workspace.add("summer", 0, 4 + 4 * number, "", false).await;
    let final_at_once = pb::Campaign { settle_seconds: Some(0), ..Default::default() };
    workspace.create_campaign("autumn", &["dee"], final_at_once).await;
    workspace.add("autumn", 0, 6 + 2 * number, "dee", false).await;
    workspace.create_campaign("done", &["ann"], pb::Campaign::default()).await;
    workspace.add("done", 0, 3 + 4 * number, "ann", true).await;
    let at_night =
        pb::Campaign { active_hours: Some(hours("Asia/Tokyo", &[(&[2], "00:30", "03:00")])), ..Default::default() };
    workspace.create_campaign("night", &["bob"], at_night).await;
    workspace.add("night", 0, 4 + 4 * number, "", false).await;
    workspace.create_campaign("empty", &[], pb::Campaign::default()).await;
    let managed = pb::Campaign {
        name: workspace.campaign("winter"),
        accounts: vec![workspace.account("cat")],
        claim_expiry_policy: pb::ClaimExpiryPolicy::Retry.into(),
        ..Default::default()
    };
    let apply = pb::ApplyCampaignRequest {
        campaign: Some(managed),
        state: CampaignState::Active.into(),
        owner: Some(pb::Owner {
            resource: format!("{}/winter", WORKSPACES[number]),
            uid: format!("85704969-79fc-4874-9291-{number}"),
            generation: 4 + i64::from(more),
            fencing_token: 9 + 3 * i64::from(more),
            cluster: format!("c-{number}"),
        }),
        ..Default::default()
    };
    workspace.service.campaigns.clone().apply_campaign(apply).await.expect("it is applied");
    workspace.add("winter", 0, 5 + 4 * number, "", false).await;

    let leads = 3 + 4 * number;
    let mut done: Vec<_> = (0..leads).map(|lead| workspace.outcome("done", lead, Kind::Delivered, 1)).collect();
    // The last 30 days are today and 29 days before it. Messages lie on the first of them, the day before, and long
    // ago.
    for (outcome, days) in done.iter_mut().zip([40, 29, 30]) {
        outcome.time = Some(time(monday().checked_sub((24 * days).hours()).expect("a time")));
    }
    workspace.report(done).await;
    workspace.claim("ann", UNCERTAIN[number], 60).await;
}

/// Reports the outcomes two minutes later, then brings the campaigns into their states.
async fn go_on(workspace: &Workspace<'_>, number: usize) {
    workspace.claim("bob", HELD[number], 3000).await;
    let long_ago = monday().checked_sub(960.hours()).expect("a time");
    let mut outcomes = Vec::new();
    let kinds = SPRING[number].iter().enumerate().flat_map(|(kind, count)| std::iter::repeat_n(kind, *count));
    for (lead, kind) in kinds.enumerate() {
        for (kind, step, reason, is_old) in story(kind) {
            let value = (kind == Kind::Converted).then_some(1_250_000 + i64::try_from(lead).expect("a small number"));
            outcomes.push(pb::Outcome {
                reason: reason.into(),
                time: is_old.then(|| time(long_ago)),
                value_micros: value,
                ..workspace.outcome("spring", lead, kind, step)
            });
        }
    }
    let claims = workspace.claim("eli", 4 + 4 * more(number), 600).await;
    let by_key = |claim: &pb::Claim| pb::Outcome {
        send_key: claim.send_key.clone(),
        kind: Kind::Delivered.into(),
        ..Default::default()
    };
    outcomes.extend(claims.iter().map(by_key));
    outcomes.extend((0..2 + number).map(|lead| workspace.outcome("autumn", lead, Kind::Delivered, 1)));
    workspace.report(outcomes).await;
    let mut campaigns = workspace.service.campaigns.clone();
    let pause = pb::PauseCampaignRequest {
        name: workspace.campaign("summer"),
        r#override: true,
        reason: format!("wrong prices in {number}"),
        ..Default::default()
    };
    campaigns.pause_campaign(pause).await.expect("it pauses");
    let finish = pb::FinishCampaignRequest { name: workspace.campaign("autumn"), ..Default::default() };
    campaigns.finish_campaign(finish).await.expect("it finishes");
}
