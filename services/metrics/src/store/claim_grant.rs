//! Grants claims: what an account may send now, within every limit, each lead and step once.
//!
//! One transaction locks the account, then the campaigns it takes from by number. So claims of one account, and of one
//! campaign, follow each other, limits hold to the one, and a pause or suspension that committed is seen.

use std::time::Duration;

use campaign_metrics::{
    account::AccountState,
    lead::Step,
    name::{AccountName, LeadId, LeadName},
    schedule::{ActiveHours, local_day, parse_time_zone},
    sending::{Claim, ClaimId, ClaimState, SendKey},
    standing::{AccountStanding, Blocked, CampaignBlocked, NotSending, allowance},
};
use deadpool_postgres::Transaction;
use futures::future::try_join_all;
use jiff::{SignedDuration, Timestamp, civil::Date};
use rand::Rng as _;
use tokio_postgres::Row;

use super::{
    Kind, Store,
    campaign_view::{CampaignKey, account_state},
    claim::claims_of_grant_in_txn,
    claim_candidate::{Candidate, CandidateLocks, candidates_complete_in_txn, candidates_in_txn},
    claim_cursor::{Cursor, Cursors},
    claim_end::{RETRIED_MAX, claims_retry_in_txn},
    claim_guess::{Guess, Known, KnownCampaign, is_wrong_guess},
    claim_take::{Take, Taken},
    in_txn,
    request::{RequestId, Seen, request_note_in_txn},
    reservation::{Of, reserved_sql},
};
use crate::error::Result;

/// What a sender asks for.
#[derive(Debug)]
pub struct ClaimRequest<'a> {
    /// The account that will send.
    pub account: &'a AccountName,
    /// Claims wanted at most.
    pub max: i64,
    /// How long to hold.
    pub hold: Duration,
    /// Makes a repeat return the same claims.
    pub request: Option<&'a RequestId>,
}

/// What a sender is granted.
#[derive(Debug, Default)]
pub struct Grant {
    /// The claims.
    pub claims: Vec<Claim>,
    /// Why there are fewer than asked for.
    pub blocked: Vec<CampaignBlocked>,
}

impl ClaimRequest<'_> {
    /// When claims granted now expire: after the time they are held for, but never past the window in which they were
    /// granted.
    pub(super) fn expires_at(&self, hours: &ActiveHours, now: Timestamp) -> Timestamp {
        let hold_end = now.checked_add(self.hold).unwrap_or(Timestamp::MAX);
        hours.next_change(now).map_or(hold_end, |window_end| window_end.min(hold_end))
    }
}

/// Claims that are worth a statement of their own: smaller shares of twenty campaigns take longer than they are fair.
pub(super) const SHARE_MIN: i64 = 100;

/// When to ask again where something can be done at once.
const SOON: SignedDuration = SignedDuration::from_secs(1);

/// How far an account got in a campaign.
pub(super) type Moved = (CampaignKey, i32, Cursor);

impl Store {
    /// Grants an account up to `max` claims; a repeat with the same request id returns those still held.
    pub async fn claim_sends(&self, ask: ClaimRequest<'_>) -> Result<Grant> {
        let known = self.known.get(ask.account);
        let guess = known.as_ref().and_then(|known| Guess::draw(known, ask.max, self.clock.now()));
        let mut way = "full";
        if let Some(guess) = guess {
            match self.claim_guessed(&ask, &guess).await {
                Err(error) if is_wrong_guess(&error) => way = "undone",
                granted => {
                    if granted.is_ok() {
                        self.claim_count("guess");
                    }
                    return granted;
                }
            }
        }
        let account_id = known.as_ref().map(|known| known.account_id);
        let campaigns = known.iter().flat_map(|known| known.campaigns.iter().copied());
        let mut turn = Some(self.turns.wait(account_id, campaigns).await);
        let (grant, known, moved) = in_txn!(self, Kind::Hot, |txn, attempt| {
            let (account, campaigns) = CandidateLocks::prepare(&txn).await?.lock(ask.account, None).await?;
            // After everything that was waited for: windows, days and expiry are those of the grant.
            let desk = Desk::new(&txn, &ask, &account, self.clock.now(), rand::random())?;
            let granted = desk.serve(&account, &campaigns, &self.cursors).await;
            // Whoever is next can begin while this one commits; the locks keep it from deciding before.
            if granted.is_ok() {
                drop(turn.take());
            }
            granted
        })?;
        if let Some(known) = known {
            self.known.set(ask.account, known);
        }
        self.cursors.set(moved);
        self.claim_count(way);
        Ok(grant)
    }
}

/// One call: the account, locked, and what holds for all of its campaigns.
pub(super) struct Desk<'a> {
    txn: &'a Transaction<'a>,
    ask: &'a ClaimRequest<'a>,
    workspace_id: i32,
    pub(super) account_id: i32,
    pub(super) standing: AccountStanding,
    account_day: Date,
    now: Timestamp,
    /// Drawn, not counted: no sequence for all to share, and nobody guesses the claims of others.
    grant_no: i64,
}

impl<'a> Desk<'a> {
    pub(super) fn new(
        txn: &'a Transaction<'a>,
        ask: &'a ClaimRequest<'a>,
        account: &Row,
        now: Timestamp,
        grant_no: i64,
    ) -> Result<Self> {
        let time_zone = parse_time_zone(account.get("time_zone"))?;
        Ok(Self {
            txn,
            ask,
            workspace_id: account.get("workspace_id"),
            account_id: account.get("account_id"),
            account_day: local_day(&time_zone, now),
            standing: AccountStanding {
                state: account_state(account.get("state"))?,
                daily_limit: account.get("daily_limit"),
                reserved: 0,
                time_zone,
            },
            now,
            grant_no,
        })
    }

    async fn serve(
        mut self,
        account: &Row,
        campaigns: &[Row],
        cursors: &Cursors,
    ) -> Result<(Grant, Option<Known>, Vec<Moved>)> {
        let (seen, reserved, candidates) = futures::try_join!(
            request_note_in_txn(self.txn, self.workspace_id, self.ask.request, Some(self.grant_no), self.now),
            self.reserved(),
            candidates_in_txn(self.txn, campaigns, self.account_id, self.ask.account, cursors, self.now),
        )?;
        self.standing.reserved = reserved;
        let mut candidates: Vec<Candidate> = candidates;
        if let Seen::Before(grant_no) = seen {
            let grant_no = grant_no.unwrap_or(0);
            let claims = claims_of_grant_in_txn(self.txn, account, self.ask.account, grant_no, self.now).await?;
            let blocked = if size(&claims) < self.ask.max {
                // What expired is for a new request.
                self.complete_and_leave(&mut candidates).await?;
                self.why_not(candidates, 0)
            } else {
                Vec::new()
            };
            return Ok((Grant { claims, blocked }, None, Vec::new()));
        }
        let allowed = self.ask.max.min(allowance(self.standing.daily_limit, self.standing.reserved));
        let mut claims = Vec::new();
        self.take(&mut candidates, &mut claims, allowed).await?;
        let mut blocked = Vec::new();
        if size(&claims) < self.ask.max {
            self.complete(&mut candidates).await?;
            let before = size(&claims);
            for candidate in &mut candidates {
                if candidate.retries() && candidate.uncertain_claims > 0 {
                    let rows = claims_retry_in_txn(self.txn, self.workspace_id, candidate.key.1, self.now).await?;
                    candidate.next_due = Some(self.now);
                    if rows < RETRIED_MAX {
                        candidate.uncertain_claims = 0;
                    } else {
                        // The rest is for whoever asks next.
                        candidate.due_by(self.soon());
                    }
                }
                if candidate.next_due.is_some_and(|due| due <= self.now) {
                    candidate.cursor = Cursor::START;
                }
            }
            self.take(&mut candidates, &mut claims, allowed).await?;
            if size(&claims) > before && size(&claims) < self.ask.max {
                // A limit may have ended it with nothing left, which is a reason of its own.
                self.complete_and_leave(&mut candidates).await?;
            }
        }
        let moved = candidates.iter().map(|candidate| (candidate.key, self.account_id, candidate.cursor)).collect();
        let known = self.known(&candidates, size(&claims));
        if size(&claims) < self.ask.max {
            blocked = self.why_not(candidates, size(&claims));
        }
        Ok((Grant { claims, blocked }, Some(known), moved))
    }

    /// When to ask again where something can be done at once.
    fn soon(&self) -> Timestamp {
        self.now.checked_add(SOON).unwrap_or(self.now)
    }

    /// What the next claim can go by.
    fn known(&self, candidates: &[Candidate], granted: i64) -> Known {
        let open = candidates
            .iter()
            .filter(|candidate| granted == self.ask.max && !candidate.is_blocked(&self.standing, self.now));
        let open = open.map(|candidate| KnownCampaign {
            key: candidate.key,
            steps: candidate.settings.steps,
            hours: candidate.settings.active_hours.clone(),
        });
        Known {
            account_id: self.account_id,
            time_zone: self.standing.time_zone.clone(),
            campaigns: candidates.iter().map(|candidate| candidate.key).collect(),
            open: open.collect(),
            since: self.now,
        }
    }

    /// Whether a claim in full would grant what was taken on a guess.
    pub(super) fn may_take(&self, candidate: &Candidate, taken: &Taken, share: i64) -> bool {
        let allowed = allowance(self.standing.daily_limit, self.standing.reserved) >= self.ask.max
            && allowance(candidate.settings.daily_limit, candidate.reserved()) >= share;
        allowed
            && taken.serving
            && i64::try_from(taken.leads.len()) == Ok(share)
            && !candidate.is_blocked(&self.standing, self.now)
    }

    /// Reads what is reserved of the account's day. The lock keeps other claims out; a report without claim that comes
    /// meanwhile comes after this one, and is never refused.
    async fn reserved(&self) -> Result<i64> {
        if self.standing.daily_limit.is_none() {
            return Ok(0);
        }
        let sql = format!("SELECT {}", reserved_sql(Of::Account, "$1", "$2", "$3"));
        let statement = self.txn.prepare_cached(&sql).await?;
        let params: [&(dyn tokio_postgres::types::ToSql + Sync); 3] =
            [&self.workspace_id, &self.account_id, &self.account_day];
        Ok(self.txn.query_one(&statement, &params).await?.get(0))
    }

    async fn complete(&self, candidates: &mut Vec<Candidate>) -> Result<()> {
        let account = (self.workspace_id, self.account_id);
        candidates_complete_in_txn(self.txn, candidates, account, self.ask.account, self.now).await
    }

    /// The same where what is to be retried is left for whoever asks next.
    async fn complete_and_leave(&self, candidates: &mut Vec<Candidate>) -> Result<()> {
        self.complete(candidates).await?;
        let expired = |candidate: &&mut Candidate| candidate.retries() && candidate.uncertain_claims > 0;
        candidates.iter_mut().filter(expired).for_each(|candidate| candidate.due_by(self.soon()));
        Ok(())
    }

    /// Takes from the candidates until `allowed` claims are granted or nothing is left.
    ///
    /// Shares are even, but not too small; what one campaign leaves goes to the others, which then are asked once more.
    async fn take(&self, candidates: &mut [Candidate], claims: &mut Vec<Claim>, allowed: i64) -> Result<()> {
        let mut open: Vec<&mut Candidate> =
            candidates.iter_mut().filter(|candidate| !candidate.is_blocked(&self.standing, self.now)).collect();
        if open.len() > 1 {
            // Who asks for one at a time would else never get to the last.
            let first = rand::rng().random_range(0..open.len());
            open.rotate_left(first);
        }
        while !open.is_empty() && size(claims) < allowed {
            let left = allowed - size(claims);
            // Those beyond are asked once these have no more; who comes first is drawn anew for each call.
            let asked = usize::try_from(left / SHARE_MIN).unwrap_or(usize::MAX).clamp(1, open.len());
            let mut later = open.split_off(asked);
            let shares = shares(&open, left);
            // Polled together, they travel in one round trip.
            let takes = open.iter_mut().zip(&shares).map(|(candidate, share)| self.take_of(candidate, *share));
            let granted = try_join_all(takes).await?;
            let mut filled = shares.iter().zip(&granted).map(|(share, claims)| size(claims) == *share);
            open.retain(|candidate| {
                filled.next().unwrap_or(false) && allowance(candidate.settings.daily_limit, candidate.reserved()) > 0
            });
            claims.extend(granted.into_iter().flatten());
            later.append(&mut open);
            open = later;
        }
        Ok(())
    }

    async fn take_of(&self, candidate: &mut Candidate, share: i64) -> Result<Vec<Claim>> {
        if share == 0 {
            return Ok(Vec::new());
        }
        let take = Take {
            campaign: candidate.key,
            account_id: self.account_id,
            steps: candidate.settings.steps,
            share,
            now: self.now,
            grant_no: self.grant_no,
            expires_at: self.ask.expires_at(&candidate.settings.active_hours, self.now),
            account_day: self.account_day,
            campaign_day: candidate.day,
        };
        let taken = take.take_in_txn(self.txn, &mut candidate.cursor).await?;
        let count = i64::try_from(taken.leads.len()).unwrap_or(i64::MAX);
        candidate.granted += count;
        if count < share {
            candidate.next_due = candidate.due_later;
        }
        Ok(self.claims(candidate, taken.leads, take.expires_at).collect())
    }

    pub(super) fn claims(
        &self,
        candidate: &Candidate,
        leads: Vec<(i32, Step, LeadId)>,
        expire_time: Timestamp,
    ) -> impl Iterator<Item = Claim> {
        leads.into_iter().map(move |(lead_number, step, lead)| {
            let key = SendKey { salt: candidate.salt, campaign_number: candidate.key.1, lead_number, step };
            Claim {
                id: ClaimId { key, grant: self.grant_no },
                lead: LeadName { campaign: candidate.name.clone(), lead },
                account: self.ask.account.clone(),
                expire_time,
                state: ClaimState::Held,
            }
        })
    }

    /// The reasons as they are after the grant.
    fn why_not(&self, candidates: Vec<Candidate>, granted: i64) -> Vec<CampaignBlocked> {
        let mut standing = self.standing.clone();
        standing.reserved += granted;
        if candidates.is_empty() {
            let mut blocked = Blocked::default();
            blocked.add(NotSending::NoAccountAssigned, None);
            if standing.state == AccountState::Suspended {
                blocked.add(NotSending::AccountSuspended, None);
            }
            if allowance(standing.daily_limit, standing.reserved) == 0 {
                blocked.add(NotSending::AccountDailyLimit, None);
            }
            return vec![CampaignBlocked { campaign: None, reasons: blocked.reasons, claimable_at: None }];
        }
        let standing = [standing];
        let why = candidates.into_iter().map(|candidate| {
            let standing = candidate.standing(&standing);
            let (reasons, claimable_at) = (standing.blocked(self.now).reasons, standing.claimable_at(self.now));
            CampaignBlocked { campaign: Some(candidate.name), reasons, claimable_at }
        });
        why.filter(|why| !why.reasons.is_empty()).collect()
    }
}

/// Divides `left` evenly among campaigns, within the room that their limits leave.
fn shares(open: &[&mut Candidate], mut left: i64) -> Vec<i64> {
    let mut campaigns_left = i64::try_from(open.len()).unwrap_or(i64::MAX);
    let share = |candidate: &&mut Candidate| {
        let room = allowance(candidate.settings.daily_limit, candidate.reserved());
        let share = ((left + campaigns_left - 1) / campaigns_left).min(room);
        left -= share;
        campaigns_left -= 1;
        share
    };
    open.iter().map(share).collect()
}

fn size(claims: &[Claim]) -> i64 {
    i64::try_from(claims.len()).unwrap_or(i64::MAX)
}
