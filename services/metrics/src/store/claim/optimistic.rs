//! Grants claims optimistically: takes what the last full grant suggests, and checks afterwards that it was right.
//!
//! A full grant locks, looks, then takes: three round trips while other calls wait for its locks. From one claim to the next
//! hardly anything changes that matters. So an optimistic grant sends its locks and its takes in one round trip, then checks the
//! locked rows by the rules of a full grant. On a conflict the transaction is rolled back, and the call is served in full.
//!
//! It locks only the campaigns that it takes from, so an account with many campaigns does not block all of them.

use std::{sync::Arc, time::Duration};

use campaign_metrics::schedule::local_day;
use deadpool_postgres::Transaction;
use futures::future::try_join_all;
use jiff::Timestamp;
use rand::seq::IndexedRandom as _;

use super::{
    candidate::{Candidate, CandidateLocks, Candidates},
    granter::Granter,
    request::{ClaimRequest, Grant, SHARE_MIN},
    take::Take,
};
use crate::{
    error::{Error, Result},
    store::{
        hint::{
            cursor::{Cursor, CursorUpdate},
            recent::{OpenCampaign, RecentGrant},
        },
        outcome::telling::{Told, check_told},
        request::{RequestStatus, request_record_in_txn},
        row::CampaignKey,
        transaction::{Kind, Store, in_txn},
    },
};

/// How long a full grant is trusted. A campaign that has something to send again waits at most that long for its share.
const AGE_MAX: Duration = Duration::from_secs(1);

/// What a call will probably be granted.
pub(super) struct OptimisticGrant {
    recent: Arc<RecentGrant>,
    /// Campaigns with the share of each, sorted by number like the row locks.
    campaigns: Vec<(OpenCampaign, i64)>,
}

impl OptimisticGrant {
    /// Draws campaigns as a full grant does. Returns `None` if the call needs a full grant.
    pub(super) fn plan(recent: &Arc<RecentGrant>, max: i64, now: Timestamp) -> Option<Self> {
        // The absolute difference, since a clock that was set back must not keep a grant young.
        if recent.open.is_empty() || now.duration_since(recent.since).unsigned_abs() > AGE_MAX {
            return None;
        }
        let asked = usize::try_from(max / SHARE_MIN).unwrap_or(usize::MAX).clamp(1, recent.open.len());
        let mut drawn: Vec<OpenCampaign> = recent.open.choose_multiple(&mut rand::rng(), asked).cloned().collect();
        drawn.sort_unstable_by_key(|campaign| campaign.key);
        let mut left = max;
        let share = |(index, campaign)| {
            let share = left / i64::try_from(asked - index).unwrap_or(1);
            left -= share;
            (campaign, share)
        };
        let campaigns = drawn.into_iter().enumerate().map(share).collect();
        Some(Self { recent: Arc::clone(recent), campaigns })
    }

    fn keys(&self) -> impl ExactSizeIterator<Item = CampaignKey> {
        self.campaigns.iter().map(|(campaign, _)| campaign.key)
    }

    /// Grants what was planned, or fails with an error that [`is_conflict`].
    async fn serve(
        &self,
        store: &Store,
        txn: &Transaction<'_>,
        ask: &ClaimRequest<'_>,
    ) -> Result<(Grant, Vec<CursorUpdate>)> {
        let now = store.clock.now();
        let grant_no = rand::random();
        let numbers: Vec<i32> = self.keys().map(|(_, number)| number).collect();
        let known_cursors = &store.hints.cursors;
        let mut cursors: Vec<Cursor> = self.keys().map(|key| known_cursors.get(key, self.recent.account_id)).collect();
        let planned: Vec<Take> =
            self.campaigns.iter().map(|campaign| self.take(ask, campaign, now, grant_no)).collect();
        // Prepared before anything is sent, so that no take overtakes the locks.
        let locks = CandidateLocks::prepare(txn, Candidates::Numbered(&numbers)).await?;
        let workspace_id = planned.first().map_or(0, |take| take.campaign.0);
        // Futures are polled in this order, so Postgres executes the takes after the locks.
        let ((account, campaigns), request, taken) = futures::try_join!(
            locks.lock(ask.account),
            request_record_in_txn(txn, workspace_id, ask.request, Some(grant_no), now),
            try_join_all(planned.iter().zip(&mut cursors).map(|(take, cursor)| take.take_in_txn(txn, cursor))),
        )?;
        // The wait for the locks may have lasted too long, or past the end of a window or of a day.
        let later = store.clock.now();
        let is_past = |(campaign, take): (&(OpenCampaign, i64), &Take)| {
            let present = self.take(ask, campaign, later, grant_no);
            let days = (take.account_day, take.campaign_day);
            take.expires_at <= later || days != (present.account_day, present.campaign_day)
        };
        let is_late =
            later.duration_since(now).unsigned_abs() > AGE_MAX || self.campaigns.iter().zip(&planned).any(is_past);
        let mut granter = Granter::new(txn, ask, &account, now, grant_no)?;
        let is_same_account =
            granter.account_id == self.recent.account_id && granter.standing.time_zone == self.recent.time_zone;
        // A full grant tells leads that opted out first.
        let is_untold = check_told(&account, Told::No).is_err();
        if is_late || is_untold || !is_same_account || request != RequestStatus::New || campaigns.len() != planned.len()
        {
            return Err(conflict());
        }
        let (mut claims, mut updates) = (Vec::new(), Vec::new());
        // The last take has counted all takes before it.
        granter.standing.reserved = taken.iter().map(|taken| taken.reserved.0).max().unwrap_or(0) - ask.max;
        for ((((campaign, share), row), take), (taken, cursor)) in
            self.campaigns.iter().zip(&campaigns).zip(&planned).zip(taken.into_iter().zip(cursors))
        {
            let mut candidate = Candidate::from_row(row, ask.account, now)?;
            candidate.next_due = Some(now);
            candidate.reserved = taken.reserved.1 - share;
            if !is_unchanged(campaign, &candidate) || !granter.may_take(&candidate, &taken, *share) {
                return Err(conflict());
            }
            updates.push((candidate.key, granter.account_id, cursor));
            claims.extend(granter.claims(&candidate, taken.leads, take.expires_at));
        }
        Ok((Grant { claims, blocked: Vec::new() }, updates))
    }

    fn take(
        &self,
        ask: &ClaimRequest<'_>,
        (campaign, share): &(OpenCampaign, i64),
        now: Timestamp,
        grant_no: i64,
    ) -> Take {
        Take {
            campaign: campaign.key,
            account_id: self.recent.account_id,
            steps: campaign.steps,
            share: *share,
            now,
            grant_no,
            expires_at: ask.expires_at(&campaign.hours, now),
            account_day: local_day(&self.recent.time_zone, now),
            campaign_day: local_day(&campaign.hours.time_zone, now),
        }
    }
}

impl Store {
    /// Grants what was planned, or fails with an error that [`is_conflict`].
    pub(super) async fn claim_optimistic(&self, ask: &ClaimRequest<'_>, plan: &OptimisticGrant) -> Result<Grant> {
        let mut queued = Some(self.hints.queues.wait(Some(plan.recent.account_id), plan.keys()).await);
        let (grant, cursors) = in_txn!(self, "claim_optimistic", Kind::Hot, |txn, attempt| {
            let granted = plan.serve(self, &txn, ask).await;
            if granted.is_ok() {
                drop(queued.take());
            }
            granted
        })?;
        self.hints.cursors.set(cursors);
        Ok(grant)
    }
}

/// Whether the locked campaign still has the settings by which its claims were planned.
fn is_unchanged(planned: &OpenCampaign, locked: &Candidate) -> bool {
    planned.key == locked.key && planned.steps == locked.settings.steps && planned.hours == locked.settings.active_hours
}

/// Whether the transaction failed only because the plan was outdated.
pub(super) fn is_conflict(error: &Error) -> bool {
    matches!(error, Error::Internal(source) if source.is::<Conflict>())
}

fn conflict() -> Error {
    Error::Internal(Box::new(Conflict))
}

#[derive(Debug, thiserror::Error)]
#[error("the plan of an optimistic grant was outdated")]
struct Conflict;
