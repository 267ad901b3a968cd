//! Campaigns with a stated fault, and whether the diagnosis finds it: which kind, which account, which day, which volume.
//!
//! `campaign_simulator::fault` says which messages a fault loses; `campaign-simulator` uses it to make campaigns bad through
//! the service. Here one draw covers all messages of an account on a day.

use std::collections::{BTreeMap, BTreeSet};

use campaign_metrics::{
    campaign::{CampaignState, ClaimExpiryPolicy, LeadCounts},
    diagnosis::{
        AGES, AccountDay, BlamedAccount, CampaignFacts, Finding, FindingKind, Messages, MessagesBy, Needed, RatesAtAge,
        TESTED_DAYS, diagnose_campaign, messages_since, tested_since,
    },
    history::{HistoryCounts, HistoryDay},
    name::AccountId,
    not_sending::Blocked,
    pb::FailureReason,
    rate::Rate,
};
use campaign_simulator::fault::{self, BOUNCED_SHARE, Faults, Lost};
use jiff::{
    Timestamp, ToSpan as _,
    civil::{Date, date},
    tz::TimeZone,
};
use rand::{Rng as _, rngs::StdRng};

use crate::draw::binomial;

/// Days of a campaign.
const DAYS: i64 = 30;

/// Messages of an account that the provider accepts on a day, where it limits the rate.
const ACCEPTED: u32 = 400;

/// Positions of the reasons in `FailureReason::ALL`.
const ACCOUNT_ISSUE: usize = 0;
const INVALID_LEAD: usize = 1;
const RATE_LIMITED: usize = 2;
const CONTENT_REJECTED: usize = 3;
const OTHER: usize = 4;

/// What is wrong with a campaign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Nothing.
    None,
    /// One account loses most of its messages from a day on.
    Blocked,
    /// 20 % of the leads can't be reached.
    DeadLeads,
    /// The provider accepts 400 messages a day of each account.
    RateLimited,
    /// The provider refuses a part of all messages from a day on.
    Content,
    /// `Blocked` and `DeadLeads`.
    Mixed,
}

impl Fault {
    /// All faults, with words for them.
    pub const ALL: [(Self, &str); 6] = [
        (Self::None, "nothing wrong"),
        (Self::Blocked, "one account blocked from a day on"),
        (Self::DeadLeads, "20 % of the leads dead"),
        (Self::RateLimited, "rate limited above 400 a day"),
        (Self::Content, "content refused from a day on"),
        (Self::Mixed, "one account blocked, 20 % dead"),
    ];
}

/// A finding that has to be made.
#[derive(Debug, Clone)]
struct Expected {
    kind: FindingKind,
    account: Option<AccountId>,
    since: Option<Date>,
}

/// A campaign and what is wrong with it.
#[derive(Debug)]
struct Run {
    facts: CampaignFacts,
    now: Timestamp,
    expected: Vec<Expected>,
}

/// How often the diagnosis is right.
#[derive(Debug, Default, Clone, Copy)]
pub struct Score {
    /// Faults that were stated.
    pub stated: u32,
    /// Those that were found, with the right account or none.
    pub found: u32,
    /// Causes and low delivery that were told and are wrong.
    pub wrong: u32,
    /// Causes and low delivery that were told and are right.
    pub right: u32,
    /// Faults found; each began on a day, or with the campaign.
    pub dated: u32,
    /// Those whose day is told within one, or none if there is none.
    pub near: u32,
    /// Faults found of which a volume is to be told.
    pub limited: u32,
    /// Those whose volume is told within 5 %.
    pub volume: u32,
}

impl Score {
    /// Adds the score of other runs.
    pub fn add(&mut self, other: Self) {
        self.stated += other.stated;
        self.found += other.found;
        self.wrong += other.wrong;
        self.right += other.right;
        self.dated += other.dated;
        self.near += other.near;
        self.limited += other.limited;
        self.volume += other.volume;
    }
}

/// Results by day and account, with bounces on later days.
#[derive(Debug, Default)]
struct History(BTreeMap<(Date, usize), HistoryCounts>);

impl History {
    fn at(&mut self, day: Date, account: usize) -> &mut HistoryCounts {
        self.0.entry((day, account)).or_default()
    }

    /// Sends messages of which shares are lost, by reason. A part of the invalid leads bounces within three days, the others
    /// fail at once.
    fn send(&mut self, random: &mut StdRng, day: Date, account: usize, messages: i64, lost: [f64; 5]) {
        let mut rest = messages;
        for (reason, share) in lost.into_iter().enumerate() {
            let mut count = binomial(random, messages, share).min(rest);
            rest -= count;
            if reason == INVALID_LEAD {
                let late = binomial(random, count, BOUNCED_SHARE);
                count -= late;
                for _ in 0..late {
                    let later = day + random.random_range(0_i64..=3).days();
                    self.at(later, account).bounced[reason] += 1;
                }
            }
            self.at(day, account).failed[reason] += count;
        }
        self.at(day, account).delivered += rest;
    }

    fn rows(self, ids: &[AccountId], last: Date) -> Vec<HistoryDay> {
        let known = self.0.into_iter().filter(|((day, _), _)| *day <= last);
        known.map(|((day, at), counts)| HistoryDay { day: Some(day), account: Some(ids[at].clone()), counts }).collect()
    }
}

fn ids(count: usize) -> Vec<AccountId> {
    (0..count).filter_map(|at| format!("account-{at:04}").parse().ok()).collect()
}

/// Shares of messages that a healthy campaign loses, by reason.
fn usual(random: &mut StdRng) -> [f64; 5] {
    let mut lost = [0.0; 5];
    for (reason, most) in
        [(ACCOUNT_ISSUE, 0.002), (INVALID_LEAD, 0.01), (RATE_LIMITED, 0.001), (CONTENT_REJECTED, 0.002), (OTHER, 0.003)]
    {
        lost[reason] = random.random_range(0.0..most);
    }
    lost
}

impl Run {
    /// Draws a campaign of 30 days that ends yesterday, or a few days ago with only bounces since.
    fn draw(fault: Fault, random: &mut StdRng) -> Self {
        let accounts = ids(random.random_range(3..=20));
        let rests_at_weekends = random.random_bool(0.5);
        let first = date(2026, 3, 2);
        let days: Vec<Date> = (0..DAYS)
            .map(|at| first + at.days())
            .filter(|day| !rests_at_weekends || day.weekday().to_monday_zero_offset() < 5)
            .collect();
        let last = days[days.len() - 1] + random.random_range(0_i64..=3).days();
        let usual = usual(random);
        let since = days[random.random_range(5..days.len() - 3)];
        let blocked = random.random_range(0..accounts.len());
        let (blocked_share, refused_share) = (random.random_range(0.6..1.0), random.random_range(0.3..0.7));
        let is_blocked = matches!(fault, Fault::Blocked | Fault::Mixed);
        let is_dead = matches!(fault, Fault::DeadLeads | Fault::Mixed);
        let cause = |reason, lost| fault::Fault { reason, lost, account: None, since: None };
        let stated = [
            is_dead.then(|| cause(FailureReason::InvalidLead, Lost::Share(0.2))),
            is_blocked.then(|| fault::Fault {
                account: Some(accounts[blocked].clone()),
                since: Some(since),
                ..cause(FailureReason::AccountIssue, Lost::Share(blocked_share))
            }),
            (fault == Fault::Content).then(|| fault::Fault {
                since: Some(since),
                ..cause(FailureReason::ContentRejected, Lost::Share(refused_share))
            }),
            (fault == Fault::RateLimited).then(|| cause(FailureReason::RateLimited, Lost::Above(ACCEPTED))),
        ];
        let stated: Vec<fault::Fault> = stated.into_iter().flatten().collect();
        let faults = Faults(&stated);
        let volume = if fault == Fault::RateLimited { 100..=700 } else { 15..=120 };
        let mut history = History::default();
        for &day in &days {
            for (at, account) in accounts.iter().enumerate() {
                let messages: i64 = random.random_range(volume.clone());
                let mut shares = usual;
                for (reason, share) in faults.shares(account, day) {
                    shares[reason as usize - 1] = share;
                }
                let accepted = faults.accepted(account, day).map_or(messages, |limit| messages.min(limit.into()));
                history.send(random, day, at, accepted, shares);
                history.at(day, at).failed[RATE_LIMITED] += messages - accepted;
            }
        }
        let expect = |kind, account, since| Expected { kind, account, since };
        let blocked = is_blocked.then(|| accounts[blocked].clone());
        let mut expected = Vec::new();
        expected.extend(blocked.map(|account| expect(FindingKind::AccountIssues, Some(account), Some(since))));
        expected.extend(is_dead.then(|| expect(FindingKind::InvalidLeads, None, None)));
        expected.extend((fault == Fault::RateLimited).then(|| expect(FindingKind::RateLimiting, None, None)));
        expected.extend((fault == Fault::Content).then(|| expect(FindingKind::ContentRejected, None, Some(since))));
        Self::of(history.rows(&accounts, last), last, expected)
    }

    fn of(days: Vec<HistoryDay>, last: Date, expected: Vec<Expected>) -> Self {
        let now = (last + 1.day()).to_zoned(TimeZone::UTC).expect("a day of this century").timestamp();
        let mut by_account: MessagesBy<AccountId> = MessagesBy::new();
        for row in &days {
            let of_account = by_account.entry(row.account.clone()).or_default();
            of_account.entry(row.day.expect("no correction")).or_default().add(Messages::of(&row.counts));
        }
        let since = messages_since(&by_account, &tested_since(&days));
        let limited = |messages: &Messages| messages.lost(Some(campaign_metrics::lead::FailureReason::RateLimited));
        let day = |limited: Rate| AccountDay { volume: limited.denominator, limited };
        let first = last - (TESTED_DAYS - 1).days();
        let account_days =
            by_account.values().flat_map(|days| days.range(first..)).map(|(_, messages)| day(limited(messages)));
        let needed = Needed::given(&days, &since);
        let account_days = account_days.filter(|_| needed.volumes).collect();
        by_account.retain(|account, _| account.as_ref().is_some_and(|account| needed.suspects.contains(account)));
        let facts = CampaignFacts {
            name: "workspaces/w/campaigns/drawn".parse().expect("a valid name"),
            state: CampaignState::Active,
            lead_counts: LeadCounts { pending: 1000, sent: 1000, ..LeadCounts::default() },
            lead_list_complete: true,
            in_flight_claims: 0,
            uncertain_claims: 0,
            claim_expiry_policy: ClaimExpiryPolicy::Hold,
            next_due: Some(now),
            blocked: Blocked::default(),
            sums: days,
            since,
            by_account,
            account_days,
            others: [RatesAtAge::default(); AGES.len()],
        };
        Self { facts, now, expected }
    }

    fn score(&self) -> Score {
        let findings = diagnose_campaign(&self.facts, self.now).findings;
        let mut score = Score { stated: self.expected.len().try_into().expect("few"), ..Score::default() };
        let is_of = |finding: &Finding, expected: &Expected| {
            let accounts: BTreeSet<&str> = finding.accounts.iter().map(|blamed| blamed.culprit.id()).collect();
            finding.kind == expected.kind && accounts == expected.account.iter().map(AccountId::as_str).collect()
        };
        for finding in &findings {
            let Some(expected) = self.expected.iter().find(|expected| is_of(finding, expected)) else {
                // Low delivery is an effect of every fault here, and of nothing else. It names no account but the blocked one.
                let is_known = |blamed: &BlamedAccount| {
                    self.expected
                        .iter()
                        .any(|of| of.account.as_ref().is_some_and(|id| id.as_str() == blamed.culprit.id()))
                };
                let is_low = finding.kind == FindingKind::LowDelivery && !self.expected.is_empty();
                let is_effect = is_low && finding.accounts.iter().all(is_known);
                score.right += u32::from(is_effect);
                score.wrong += u32::from(!is_effect);
                continue;
            };
            score.right += 1;
            score.found += 1;
            score.dated += 1;
            score.near += u32::from(match (expected.since, finding.change) {
                (Some(since), Some(change)) => (since - 1.day()..=since + 1.day()).contains(&change.since),
                (since, change) => since.is_none() && change.is_none(),
            });
            if expected.kind == FindingKind::RateLimiting {
                score.limited += 1;
                let accepted = i64::from(ACCEPTED);
                let near = accepted - accepted / 20..=accepted + accepted / 20;
                score.volume += u32::from(finding.messages_per_day.is_some_and(|limit| near.contains(&limit)));
            }
        }
        score
    }
}

/// Diagnoses so many campaigns with a fault.
pub fn score(fault: Fault, runs: u32, random: &mut StdRng) -> Score {
    let mut score = Score::default();
    for _ in 0..runs {
        score.add(Run::draw(fault, random).score());
    }
    score
}

/// Returns how many of so many healthy campaigns with so many accounts accuse any account, and have any finding.
pub fn accused(accounts: usize, runs: u32, random: &mut StdRng) -> [u32; 2] {
    let ids = ids(accounts);
    let first = date(2026, 3, 2);
    let mut counts = [0, 0];
    for _ in 0..runs {
        // From far below to far above what is usual, alike in all accounts.
        let alike: [f64; 5] = [0; 5].map(|_| random.random_range(0.001..0.05));
        let healthy = usual(random);
        let mut draw = |shares: [f64; 5]| {
            let mut history = History::default();
            for account in 0..accounts {
                let most = random.random_range(1..=20);
                for at in 0..DAYS {
                    let messages = random.random_range(0..=most);
                    history.send(random, first + at.days(), account, messages, shares);
                }
            }
            let last = first + (DAYS - 1).days();
            let run = Run::of(history.rows(&ids, last), last, Vec::new());
            diagnose_campaign(&run.facts, run.now).findings
        };
        counts[0] += u32::from(draw(alike).iter().any(|finding| !finding.accounts.is_empty()));
        counts[1] += u32::from(!draw(healthy).is_empty());
    }
    counts
}
