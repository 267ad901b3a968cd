//! Grants a claim as the last one was granted, and checks afterwards that it may be so.
//!
//! A claim in full locks, then looks, then takes: three round trips under locks that others wait for. Yet from one claim
//! to the next hardly anything changes that decides. So the locks and the takes travel together, by what was so a moment
//! ago, and what was locked is judged by the rules of a claim in full. A guess that was wrong leaves nothing behind: the
//! transaction is undone, and the claim is served in full.
//!
//! A guess locks only the campaigns that it takes from, so an account of many does not hold up all the others.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use campaign_metrics::{
    lead::Step,
    name::AccountName,
    schedule::{ActiveHours, local_day},
};
use deadpool_postgres::Transaction;
use futures::future::try_join_all;
use jiff::{Timestamp, tz::TimeZone};
use rand::seq::IndexedRandom as _;

use super::{
    Kind, Store,
    campaign_view::CampaignKey,
    claim_candidate::{Candidate, CandidateLocks},
    claim_cursor::Cursor,
    claim_grant::{ClaimRequest, Desk, Grant, Moved, SHARE_MIN},
    claim_take::Take,
    in_txn,
    request::{Seen, request_note_in_txn},
};
use crate::error::{Error, Result};

/// How long a claim in full is believed: a campaign that has something to send again waits at most so long for its share.
const AGE_MAX: Duration = Duration::from_secs(1);
/// Accounts remembered at most, of some 100 bytes for each of their campaigns; past it all are forgotten.
const ACCOUNTS_MAX: usize = 100_000;

/// What a claim in full found out about an account.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) account_id: i32,
    pub(super) time_zone: TimeZone,
    /// Its campaigns.
    pub(super) campaigns: Vec<CampaignKey>,
    /// Those that can grant it more; none where it was not granted all that it asked for.
    pub(super) open: Vec<KnownCampaign>,
    /// By the clock that decides, so that what is believed for how long can be tested.
    pub(super) since: Timestamp,
}

/// A campaign, and what decides how claims of it are recorded.
#[derive(Debug, Clone)]
pub(super) struct KnownCampaign {
    pub(super) key: CampaignKey,
    pub(super) steps: Step,
    pub(super) hours: ActiveHours,
}

impl KnownCampaign {
    fn is_still(&self, now: &Candidate) -> bool {
        self.key == now.key && self.steps == now.settings.steps && self.hours == now.settings.active_hours
    }
}

/// What this process knows of accounts: hints only.
#[derive(Debug, Default)]
pub(super) struct AllKnown(Mutex<HashMap<AccountName, Arc<Known>>>);

impl AllKnown {
    pub(super) fn get(&self, account: &AccountName) -> Option<Arc<Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(account).cloned()
    }

    pub(super) fn set(&self, account: &AccountName, known: Known) {
        let mut accounts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if accounts.len() >= ACCOUNTS_MAX {
            accounts.clear();
        }
        accounts.insert(account.clone(), Arc::new(known));
    }
}

/// What a claim will be granted, unless something changed.
pub(super) struct Guess {
    known: Arc<Known>,
    /// With the share of each; sorted by number, as locks are.
    campaigns: Vec<(KnownCampaign, i64)>,
}

impl Guess {
    /// Draws campaigns, as a claim in full does; `None` where a claim in full is due.
    pub(super) fn draw(known: &Arc<Known>, max: i64, now: Timestamp) -> Option<Self> {
        // A clock that was set back makes it too old as well, not young for ever.
        if known.open.is_empty() || now.duration_since(known.since).unsigned_abs() > AGE_MAX {
            return None;
        }
        let asked = usize::try_from(max / SHARE_MIN).unwrap_or(usize::MAX).clamp(1, known.open.len());
        let mut drawn: Vec<KnownCampaign> = known.open.choose_multiple(&mut rand::rng(), asked).cloned().collect();
        drawn.sort_unstable_by_key(|campaign| campaign.key);
        let mut left = max;
        let share = |(place, campaign)| {
            let share = left / i64::try_from(asked - place).unwrap_or(1);
            left -= share;
            (campaign, share)
        };
        let campaigns = drawn.into_iter().enumerate().map(share).collect();
        Some(Self { known: Arc::clone(known), campaigns })
    }

    fn keys(&self) -> impl Iterator<Item = CampaignKey> {
        self.campaigns.iter().map(|(campaign, _)| campaign.key)
    }

    /// Grants what was guessed, or fails with an error that [`is_wrong_guess`].
    async fn serve(&self, store: &Store, txn: &Transaction<'_>, ask: &ClaimRequest<'_>) -> Result<(Grant, Vec<Moved>)> {
        let now = store.clock.now();
        let grant_no = rand::random();
        let numbers: Vec<i32> = self.keys().map(|(_, number)| number).collect();
        let mut cursors: Vec<Cursor> = self.keys().map(|key| store.cursors.get(key, self.known.account_id)).collect();
        let orders: Vec<Take> = self.campaigns.iter().map(|campaign| self.take(ask, campaign, now, grant_no)).collect();
        // Before anything is sent, so that nothing overtakes the locks.
        let locks = CandidateLocks::prepare(txn).await?;
        let workspace_id = orders.first().map_or(0, |take| take.campaign.0);
        // Polled in this order: the takes are executed after the locks.
        let ((account, campaigns), seen, taken) = futures::try_join!(
            locks.lock(ask.account, Some(&numbers)),
            request_note_in_txn(txn, workspace_id, ask.request, Some(grant_no), now),
            try_join_all(orders.iter().zip(&mut cursors).map(|(take, cursor)| take.take_in_txn(txn, cursor))),
        )?;
        // The locks may have been waited for too long, or past the end of a window or of a day.
        let later = store.clock.now();
        let is_past = |(campaign, take): (&(KnownCampaign, i64), &Take)| {
            let anew = self.take(ask, campaign, later, grant_no);
            let days = (take.account_day, take.campaign_day);
            take.expires_at <= later || days != (anew.account_day, anew.campaign_day)
        };
        let late =
            later.duration_since(now).unsigned_abs() > AGE_MAX || self.campaigns.iter().zip(&orders).any(is_past);
        let mut desk = Desk::new(txn, ask, &account, now, grant_no)?;
        let known = desk.account_id == self.known.account_id && desk.standing.time_zone == self.known.time_zone;
        if late || !known || seen != Seen::Never || campaigns.len() != orders.len() {
            return Err(wrong_guess());
        }
        let (mut claims, mut moved) = (Vec::new(), Vec::new());
        // The later take has counted the earlier.
        desk.standing.reserved = taken.iter().map(|taken| taken.reserved.0).max().unwrap_or(0) - ask.max;
        for ((((guessed, share), row), take), (taken, cursor)) in
            self.campaigns.iter().zip(&campaigns).zip(&orders).zip(taken.into_iter().zip(cursors))
        {
            let mut candidate = Candidate::from_row(row, ask.account, now)?;
            candidate.next_due = Some(now);
            candidate.reserved_before = taken.reserved.1 - share;
            if !guessed.is_still(&candidate) || !desk.may_take(&candidate, &taken, *share) {
                return Err(wrong_guess());
            }
            moved.push((candidate.key, desk.account_id, cursor));
            claims.extend(desk.claims(&candidate, taken.leads, take.expires_at));
        }
        Ok((Grant { claims, blocked: Vec::new() }, moved))
    }

    fn take(
        &self,
        ask: &ClaimRequest<'_>,
        (campaign, share): &(KnownCampaign, i64),
        now: Timestamp,
        grant_no: i64,
    ) -> Take {
        Take {
            campaign: campaign.key,
            account_id: self.known.account_id,
            steps: campaign.steps,
            share: *share,
            now,
            grant_no,
            expires_at: ask.expires_at(&campaign.hours, now),
            account_day: local_day(&self.known.time_zone, now),
            campaign_day: local_day(&campaign.hours.time_zone, now),
        }
    }
}

impl Store {
    /// Grants what was guessed, or fails with an error that [`is_wrong_guess`].
    pub(super) async fn claim_guessed(&self, ask: &ClaimRequest<'_>, guess: &Guess) -> Result<Grant> {
        let mut turn = Some(self.turns.wait(Some(guess.known.account_id), guess.keys()).await);
        let (grant, moved) = in_txn!(self, Kind::Hot, |txn, attempt| {
            let granted = guess.serve(self, &txn, ask).await;
            if granted.is_ok() {
                drop(turn.take());
            }
            granted
        })?;
        self.cursors.set(moved);
        Ok(grant)
    }

    /// Counts a claim that was answered: by a `guess`, in `full`, or in full after a guess that was `undone`.
    pub(super) fn claim_count(&self, way: &str) {
        self.counters.claims.with_label_values(&[way]).inc();
    }
}

/// Whether the transaction failed only because a guess was wrong.
pub(super) fn is_wrong_guess(error: &Error) -> bool {
    matches!(error, Error::Internal(source) if source.is::<WrongGuess>())
}

fn wrong_guess() -> Error {
    Error::Internal(Box::new(WrongGuess))
}

#[derive(Debug, thiserror::Error)]
#[error("what a claim was guessed by has changed")]
struct WrongGuess;
