//! Diagnoses of campaigns and accounts that are bad on purpose.

mod accounts;
mod edges;
mod losses;
mod reactions;
mod standstill;

use jiff::{ToSpan as _, civil::date};

use super::*;
use crate::{
    campaign::{ClaimExpiryPolicy, LeadCounts},
    history::{HistoryCounts, HistoryDay},
    name::AccountId,
    not_sending::Blocked,
    rate::Rate,
};

/// Noon of the day after the last of 30 days.
fn as_of() -> Timestamp {
    "2026-07-01T12:00:00Z".parse().unwrap()
}

/// A day by its position; the first is 1 June.
fn day(at: i64) -> Date {
    date(2026, 6, 1) + at.days()
}

fn rate(numerator: i64, denominator: i64) -> Rate {
    Rate { numerator, denominator }
}

/// Messages delivered and failed, by reason in the order of `FailureReason::ALL`.
fn sent(delivered: i64, failed: [i64; 5]) -> HistoryCounts {
    HistoryCounts { delivered, failed, ..HistoryCounts::default() }
}

/// Leads contacted, and those that replied and converted at age 0.
fn contacted(contacted: i64, replied: i64, converted: i64) -> HistoryCounts {
    let mut counts = HistoryCounts { delivered: contacted, contacted, ..HistoryCounts::default() };
    (counts.replied[0], counts.converted[0]) = (replied, converted);
    counts
}

fn row(at: i64, account: &str, counts: HistoryCounts) -> HistoryDay {
    HistoryDay { day: Some(day(at)), account: account.parse().ok(), counts }
}

/// Rows of so many days and accounts; the accounts are `a`, `b` and so on.
fn rows(days: i64, accounts: usize, counts: impl Fn(i64, usize) -> HistoryCounts) -> Vec<HistoryDay> {
    let all = (0..days).flat_map(|at| (0..accounts).map(move |account| (at, account)));
    all.map(|(at, account)| row(at, &"abcdefghij"[account..=account], counts(at, account))).collect()
}

/// The messages of rows by account and day.
fn by_account(rows: &[HistoryDay]) -> MessagesBy<AccountId> {
    let mut messages = MessagesBy::new();
    for row in rows {
        let days = messages.entry(row.account.clone()).or_default();
        days.entry(row.day.unwrap()).or_default().add(Messages::of(&row.counts));
    }
    messages
}

/// An active campaign in the middle of its work. Its accounts are in no other campaign.
fn campaign(days: Vec<HistoryDay>) -> CampaignFacts {
    let mut by_account = by_account(&days);
    let since = messages_since(&by_account, &tested_since(&days));
    let account_days = by_account.values().flatten().map(|(_, messages)| AccountDay {
        volume: messages.all,
        limited: messages.lost(Some(FailureReason::RateLimited)),
    });
    let needed = Needed::given(&days, &since);
    let account_days = account_days.filter(|_| needed.volumes).collect();
    by_account.retain(|account, _| account.as_ref().is_some_and(|account| needed.suspects.contains(account)));
    CampaignFacts {
        name: "workspaces/w/campaigns/welcome".parse().unwrap(),
        state: CampaignState::Active,
        lead_counts: LeadCounts { sent: 500, failed: 50, pending: 100_000, partial: 5 },
        lead_list_complete: false,
        in_flight_claims: 0,
        uncertain_claims: 0,
        claim_expiry_policy: ClaimExpiryPolicy::Hold,
        next_due: Some(as_of()),
        blocked: Blocked::default(),
        sums: days,
        since,
        by_account,
        account_days,
        others: [RatesAtAge::default(); AGES.len()],
    }
}

fn findings(days: Vec<HistoryDay>) -> Vec<Finding> {
    diagnose_campaign(&campaign(days), as_of()).findings
}

fn kinds(findings: &[Finding]) -> Vec<FindingKind> {
    findings.iter().map(|finding| finding.kind).collect()
}

fn blamed(finding: &Finding) -> Vec<&str> {
    finding.accounts.iter().map(|blamed| blamed.culprit.id()).collect()
}
