//! Random operations on a world. Their numbers choose among what exists at that time.

use campaign_metrics::pb::{CampaignState, FailureReason, OutcomeKind};
use proptest::prelude::*;

use super::{
    hours::HOURS,
    lead::{AGE_MAX, Fact},
};

/// A change of a campaign's settings.
#[derive(Debug, Clone)]
pub enum Change {
    DisplayName(u8),
    FollowUpDelay { minutes: i64 },
    Accounts { of: u8 },
    Hours(usize),
    DailyLimit(Option<i32>),
    Retries(bool),
    SettleSeconds(i32),
    AttributionDays(i32),
    Complete(bool),
}

#[derive(Debug, Clone)]
pub enum AccountChange {
    DisplayName(u8),
    DailyLimit(Option<i32>),
    TimeZone(usize),
}

/// Moments to test just before and at.
#[derive(Debug, Clone, Copy)]
pub enum Edge {
    /// A claim expires.
    Expiry,
    /// A step becomes due.
    Due,
    /// A window opens or closes.
    Window,
    /// A local day of an account or campaign begins.
    Midnight,
    /// Results become final.
    Final,
    /// Replies are no longer taken.
    Attribution,
    /// A message leaves the last 30 days.
    Month,
}

/// One outcome of a batch.
#[derive(Debug, Clone)]
pub struct Pick {
    pub campaign: usize,
    pub lead: usize,
    /// Of a claimed lead, if there is one.
    pub claimed: bool,
    /// Of any step of a claimed lead, not of the claimed one.
    pub beside: bool,
    pub fact: Fact,
    pub reason: FailureReason,
    pub by_key: bool,
    pub minutes_ago: i64,
    /// Days and microseconds after the first contact of the lead, if it has one and that time has come.
    pub age: Option<(i64, i64)>,
    pub detail: u8,
    pub value_micros: Option<i64>,
}

/// An operation. `Backlog` is of a sender that skips claims: new leads with the results of their messages.
#[derive(Debug, Clone)]
pub enum Op {
    Claim { account: usize, campaign: Option<usize>, max: i32, hold_seconds: Option<i64>, request: Option<u8> },
    Report(Vec<Pick>),
    Backlog { campaign: usize, account: Option<usize>, delivered: usize },
    Renew { account: usize, choices: Vec<usize>, hold_seconds: Option<i64> },
    Release { account: usize, choices: Vec<usize>, minutes: i64 },
    Resolve { account: usize, choices: Vec<(usize, bool)> },
    Advance { minutes: i64 },
    AdvanceTo { edge: Edge, which: usize, nudge_micros: i64 },
    SetState { campaign: usize, to: CampaignState },
    Update { campaign: usize, change: Change },
    UpdateAccount { account: usize, change: AccountChange },
    Suspend { account: usize, suspended: bool },
    AddLeads { campaign: usize, accounts: Vec<Option<usize>>, reuse: bool, complete: bool },
    DeleteLead { campaign: usize, lead: usize, force: bool },
    Reassign { campaign: usize, from: usize, to: usize },
    OptOut { id: usize },
    OptIn { id: usize },
    DeleteCampaign { campaign: usize, force: bool },
    CreateCampaign { campaign: usize, hours: usize, steps: usize, of: u8, retries: bool },
    Apply { campaign: usize, older: bool },
    Orphan { campaign: usize },
    Upkeep,
}

fn fact() -> impl Strategy<Value = Fact> {
    let step = || 1..=3_usize;
    prop_oneof![
        10 => step().prop_map(|step| (OutcomeKind::Delivered, step)),
        3 => step().prop_map(|step| (OutcomeKind::Failed, step)),
        3 => step().prop_map(|step| (OutcomeKind::Bounced, step)),
        2 => Just((OutcomeKind::Replied, 0)),
        2 => Just((OutcomeKind::Converted, 0)),
        1 => Just((OutcomeKind::AutoReplied, 0)),
        1 => Just((OutcomeKind::OptedOut, 0)),
    ]
}

fn pick() -> impl Strategy<Value = Pick> {
    let reasons = vec![
        FailureReason::Unspecified,
        FailureReason::AccountIssue,
        FailureReason::InvalidLead,
        FailureReason::RateLimited,
        FailureReason::ContentRejected,
        FailureReason::Other,
    ];
    // The last one lies before the year 2000.
    let minutes_ago = prop_oneof![
        12 => Just(0), 4 => Just(45), 2 => Just(1500), 2 => Just(29 * 1440), 2 => Just(-4), 1 => Just(57 * 365 * 1440)
    ];
    let which = (0..3_usize, 0..16_usize, prop::bool::weighted(0.9), prop::bool::weighted(0.15), any::<bool>());
    let days = prop::sample::select(vec![0, 0, 0, 1, 2, 7, 28, 29, AGE_MAX, AGE_MAX + 1]);
    let age = prop::option::of((days, -1..=1_i64));
    let what = (fact(), prop::sample::select(reasons), minutes_ago, age, 0..4_u8);
    (which, what, prop::option::of(1..900_i64)).prop_map(|(which, what, value_micros)| {
        let (campaign, lead, claimed, beside, by_key) = which;
        let (fact, reason, minutes_ago, age, detail) = what;
        Pick { campaign, lead, claimed, beside, fact, reason, by_key, minutes_ago, age, detail, value_micros }
    })
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        (0..9_u8).prop_map(Change::DisplayName),
        prop::sample::select(vec![0, 1, 60, 3000]).prop_map(|minutes| Change::FollowUpDelay { minutes }),
        (0..8_u8).prop_map(|of| Change::Accounts { of }),
        (0..8_u8).prop_map(|of| Change::Accounts { of }),
        (0..HOURS.len()).prop_map(Change::Hours),
        limit().prop_map(Change::DailyLimit),
        any::<bool>().prop_map(Change::Retries),
        prop::sample::select(vec![0, 60, 90_000]).prop_map(Change::SettleSeconds),
        prop::sample::select(vec![0, 1, 30]).prop_map(Change::AttributionDays),
        any::<bool>().prop_map(Change::Complete),
    ]
}

fn limit() -> impl Strategy<Value = Option<i32>> {
    prop::option::of(0..6_i32)
}

fn hold_seconds() -> impl Strategy<Value = Option<i64>> {
    prop_oneof![Just(None), Just(Some(1)), Just(Some(1200)), Just(Some(3600))]
}

fn edge() -> impl Strategy<Value = Edge> {
    prop_oneof![
        4 => Just(Edge::Expiry),
        4 => Just(Edge::Due),
        3 => Just(Edge::Window),
        2 => Just(Edge::Midnight),
        3 => Just(Edge::Final),
        2 => Just(Edge::Attribution),
        1 => Just(Edge::Month),
    ]
}

pub fn op() -> impl Strategy<Value = Op> {
    let (campaign, account) = (|| 0..3_usize, || 0..3_usize);
    let states = vec![
        CampaignState::Active,
        CampaignState::Active,
        CampaignState::Active,
        CampaignState::Paused,
        CampaignState::Finished,
    ];
    let choices = || prop::collection::vec(0..12_usize, 1..4);
    let asked = prop::option::weighted(0.25, campaign());
    let sending = prop_oneof![
        12 => (account(), asked, 1..7_i32, hold_seconds(), prop::option::weighted(0.3, 0..4_u8)).prop_map(
            |(account, campaign, max, hold_seconds, request)| {
                Op::Claim { account, campaign, max, hold_seconds, request }
            }),
        14 => prop::collection::vec(pick(), 1..4).prop_map(Op::Report),
        2 => (account(), choices(), hold_seconds()).prop_map(
            |(account, choices, hold_seconds)| Op::Renew { account, choices, hold_seconds }),
        3 => (account(), choices(), prop::sample::select(vec![0, 20, 2000])).prop_map(
            |(account, choices, minutes)| Op::Release { account, choices, minutes }),
        3 => (account(), prop::collection::vec((0..12_usize, any::<bool>()), 1..4)).prop_map(
            |(account, choices)| Op::Resolve { account, choices }),
    ];
    let time = prop_oneof![
        3 => prop::sample::select(vec![1, 31, 61, 300, 1500]).prop_map(|minutes| Op::Advance { minutes }),
        5 => (edge(), 0..6_usize, prop::sample::select(vec![-1, 0, 1]))
            .prop_map(|(edge, which, nudge_micros)| Op::AdvanceTo { edge, which, nudge_micros }),
        2 => Just(Op::Upkeep),
    ];
    let settings = prop_oneof![
        3 => (campaign(), prop::sample::select(states)).prop_map(|(campaign, to)| Op::SetState { campaign, to }),
        5 => (campaign(), change()).prop_map(|(campaign, change)| Op::Update { campaign, change }),
        2 => (account(), limit()).prop_map(
            |(account, limit)| Op::UpdateAccount { account, change: AccountChange::DailyLimit(limit) }),
        1 => (account(), 0..8_usize).prop_map(
            |(account, zone)| Op::UpdateAccount { account, change: AccountChange::TimeZone(zone) }),
        1 => (account(), 0..9_u8).prop_map(
            |(account, name)| Op::UpdateAccount { account, change: AccountChange::DisplayName(name) }),
        2 => (account(), any::<bool>()).prop_map(|(account, suspended)| Op::Suspend { account, suspended }),
        1 => (campaign(), prop::bool::weighted(0.2)).prop_map(|(campaign, older)| Op::Apply { campaign, older }),
        1 => campaign().prop_map(|campaign| Op::Orphan { campaign }),
        1 => (campaign(), any::<bool>()).prop_map(|(campaign, force)| Op::DeleteCampaign { campaign, force }),
        2 => (campaign(), 0..HOURS.len(), 1..=3_usize, 1..8_u8, any::<bool>()).prop_map(
            |(campaign, hours, steps, of, retries)| Op::CreateCampaign { campaign, hours, steps, of, retries }),
    ];
    let leads = prop_oneof![
        4 => (campaign(), prop::collection::vec(prop::option::of(account()), 1..4), any::<bool>(), any::<bool>()).prop_map(
            |(campaign, accounts, reuse, complete)| Op::AddLeads { campaign, accounts, reuse, complete }),
        2 => (campaign(), 0..16_usize, any::<bool>()).prop_map(
            |(campaign, lead, force)| Op::DeleteLead { campaign, lead, force }),
        2 => (campaign(), account(), account()).prop_map(
            |(campaign, from, to)| Op::Reassign { campaign, from, to }),
        1 => (campaign(), prop::option::of(account()), prop::sample::select(vec![0, 5, 22]))
            .prop_map(|(campaign, account, delivered)| Op::Backlog { campaign, account, delivered }),
        1 => (0..20_usize).prop_map(|id| Op::OptOut { id }),
        1 => (0..20_usize).prop_map(|id| Op::OptIn { id }),
    ];
    prop_oneof![20 => sending, 8 => time, 5 => settings, 4 => leads]
}
