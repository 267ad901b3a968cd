//! Grants claims in full to one locked account: looks at all of its campaigns, takes from them, and says why it takes no
//! more.

use campaign_metrics::{
    account::AccountState,
    lead::Step,
    name::{LeadId, LeadName},
    not_sending::{Blocked, NotSending},
    schedule::{local_day, parse_time_zone},
    sending::{Claim, ClaimId, ClaimState, SendKey},
    standing::{AccountStanding, CampaignBlocked, allowance},
};
use deadpool_postgres::Transaction;
use futures::future::try_join_all;
use jiff::{SignedDuration, Timestamp, civil::Date};
use rand::Rng as _;
use tokio_postgres::Row;

use super::{
    candidate::{Candidate, candidates_examine_in_txn, candidates_in_txn, serves_in_txn},
    list::claims_of_grant_in_txn,
    request::{ClaimRequest, Grant, SHARE_MIN},
    retry::{RETRIED_MAX, claims_retry_in_txn},
    take::{Take, Taken},
};
use crate::{
    error::{Error, Result},
    store::{
        hint::{
            cursor::{Cursor, CursorUpdate, Cursors},
            recent::{OpenCampaign, RecentGrant},
        },
        limit::{LimitOwner, reserved_sql},
        request::{RequestStatus, request_record_in_txn},
        row::{account_state, campaign_find_in_txn},
    },
};

/// How soon to ask again when more can be granted at once.
const SOON: SignedDuration = SignedDuration::from_secs(1);

/// Grants claims to one account, which the transaction has locked.
pub(super) struct Granter<'a> {
    txn: &'a Transaction<'a>,
    ask: &'a ClaimRequest<'a>,
    workspace_id: i32,
    pub(super) account_id: i32,
    pub(super) standing: AccountStanding,
    account_day: Date,
    now: Timestamp,
    /// Random rather than a sequence: calls share no counter, and claim ids can't be guessed.
    grant_no: i64,
}

impl<'a> Granter<'a> {
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

    /// Grants up to `max` claims, and says why there are fewer. Also returns what optimistic grants can start from.
    pub(super) async fn serve(
        mut self,
        account: &Row,
        campaigns: &[Row],
        cursors: &Cursors,
    ) -> Result<(Grant, Option<RecentGrant>, Vec<CursorUpdate>)> {
        let (request, reserved, candidates) = futures::try_join!(
            request_record_in_txn(self.txn, self.workspace_id, self.ask.request, Some(self.grant_no), self.now),
            self.reserved(),
            candidates_in_txn(self.txn, campaigns, self.account_id, self.ask.account, cursors, self.now),
        )?;
        self.standing.reserved = reserved;
        let mut candidates: Vec<Candidate> = candidates;
        if let RequestStatus::Repeated(grant_no) = request {
            let grant_no = grant_no.unwrap_or(0);
            let claims = claims_of_grant_in_txn(self.txn, account, self.ask.account, grant_no, self.now).await?;
            if claims.is_empty() && candidates.is_empty() {
                self.check_serving().await?;
            }
            let blocked = if size(&claims) < self.ask.max {
                // A repeat gets no more claims; expired ones are left for a new request.
                self.examine_and_postpone(&mut candidates).await?;
                self.why_not(candidates).await?
            } else {
                Vec::new()
            };
            return Ok((Grant { claims, blocked }, None, Vec::new()));
        }
        if candidates.is_empty() {
            self.check_serving().await?;
        }
        let mut claims = Vec::new();
        let standing = self.standing.clone();
        self.take(&mut candidates, &mut claims).await?;
        let mut blocked = Vec::new();
        if size(&claims) < self.ask.max {
            self.examine(&mut candidates).await?;
            let before = size(&claims);
            for candidate in &mut candidates {
                if candidate.retries() && candidate.uncertain_claims > 0 {
                    let rows = claims_retry_in_txn(self.txn, self.workspace_id, candidate.key.1, self.now).await?;
                    candidate.next_due = Some(self.now);
                    if rows < RETRIED_MAX {
                        candidate.uncertain_claims = 0;
                    } else {
                        // The next call gets the rest.
                        candidate.due_by(self.soon());
                    }
                }
                if candidate.next_due.is_some_and(|due| due <= self.now) {
                    candidate.cursor = Cursor::START;
                }
            }
            self.take(&mut candidates, &mut claims).await?;
            if size(&claims) > before && size(&claims) < self.ask.max {
                // The grant may have used up a limit, which is a new reason.
                self.examine_and_postpone(&mut candidates).await?;
            }
        }
        let cursors = candidates.iter().map(|candidate| (candidate.key, self.account_id, candidate.cursor)).collect();
        let recent = self.recent(&candidates, size(&claims), &standing);
        if size(&claims) < self.ask.max {
            blocked = self.why_not(candidates).await?;
        }
        Ok((Grant { claims, blocked }, Some(recent), cursors))
    }

    /// When to ask again if more can be granted at once.
    fn soon(&self) -> Timestamp {
        self.now.checked_add(SOON).unwrap_or(self.now)
    }

    /// What optimistic grants can start from.
    fn recent(&self, candidates: &[Candidate], granted: i64, before: &AccountStanding) -> RecentGrant {
        let open =
            candidates.iter().filter(|candidate| granted == self.ask.max && !candidate.is_blocked(before, self.now));
        let open = open.map(|candidate| OpenCampaign {
            key: candidate.key,
            steps: candidate.settings.steps,
            hours: candidate.settings.active_hours.clone(),
        });
        RecentGrant {
            account_id: self.account_id,
            time_zone: self.standing.time_zone.clone(),
            campaigns: candidates.iter().map(|candidate| candidate.key).collect(),
            open: open.collect(),
            since: self.now,
        }
    }

    /// Whether a full grant would have taken the same.
    pub(super) fn may_take(&self, candidate: &Candidate, taken: &Taken, share: i64) -> bool {
        let allowed = allowance(self.standing.daily_limit, self.standing.reserved) >= self.ask.max
            && allowance(candidate.settings.daily_limit, candidate.reserved) >= share;
        allowed
            && taken.serving
            && i64::try_from(taken.leads.len()) == Ok(share)
            && !candidate.is_blocked(&self.standing, self.now)
    }

    /// Reads what is reserved of the account's day. The row lock excludes other claims. A concurrent report without a claim
    /// counts as later than this grant; reports are never refused.
    async fn reserved(&self) -> Result<i64> {
        if self.standing.daily_limit.is_none() {
            return Ok(0);
        }
        let sql = format!("SELECT {}", reserved_sql(LimitOwner::Account, "$1", "$2", "$3"));
        let statement = self.txn.prepare_cached(&sql).await?;
        let params: [&(dyn tokio_postgres::types::ToSql + Sync); 3] =
            [&self.workspace_id, &self.account_id, &self.account_day];
        Ok(self.txn.query_one(&statement, &params).await?.get(0))
    }

    /// Refuses a campaign that was asked for and does not exist, or that the account does not serve.
    async fn check_serving(&self) -> Result<()> {
        let Some(campaign) = self.ask.campaign else { return Ok(()) };
        if self.is_serving().await? {
            return Ok(());
        }
        campaign_find_in_txn(self.txn, campaign).await?;
        let message = format!(
            "{} does not serve {campaign}; add it to the campaign's accounts, or leave out `campaign`",
            self.ask.account
        );
        Err(Error::Precondition { reason: "ACCOUNT_NOT_SERVING", message, about: Vec::new() })
    }

    /// Whether the account serves the campaign that was asked for, or any, finished or not.
    async fn is_serving(&self) -> Result<bool> {
        serves_in_txn(self.txn, (self.workspace_id, self.account_id), self.ask.campaign).await
    }

    async fn examine(&self, candidates: &mut [Candidate]) -> Result<()> {
        candidates_examine_in_txn(self.txn, candidates, (self.workspace_id, self.account_id), self.now).await
    }

    /// Examines the candidates, and leaves expired claims under the policy RETRY to the next call: they are due soon.
    async fn examine_and_postpone(&self, candidates: &mut [Candidate]) -> Result<()> {
        self.examine(candidates).await?;
        let expired = |candidate: &&mut Candidate| candidate.retries() && candidate.uncertain_claims > 0;
        candidates.iter_mut().filter(expired).for_each(|candidate| candidate.due_by(self.soon()));
        Ok(())
    }

    /// Takes from the candidates until enough is granted, a limit is used up, or nothing is left. A claim does not always use up
    /// a limit, so what is left of it is what Postgres says after each round.
    ///
    /// Shares are even. A round asks so few campaigns that their shares reach [`SHARE_MIN`], but at least one. What a campaign
    /// leaves goes to the others in the next round.
    async fn take(&mut self, candidates: &mut [Candidate], claims: &mut Vec<Claim>) -> Result<()> {
        let mut open: Vec<&mut Candidate> =
            candidates.iter_mut().filter(|candidate| !candidate.is_blocked(&self.standing, self.now)).collect();
        if open.len() > 1 {
            // A random one is first. Otherwise calls for one claim at a time would never reach the last campaign.
            let first = rand::rng().random_range(0..open.len());
            open.rotate_left(first);
        }
        while !open.is_empty() {
            let room = allowance(self.standing.daily_limit, self.standing.reserved);
            let left = room.min(self.ask.max - size(claims));
            if left <= 0 {
                break;
            }
            // The others are asked once these have no more.
            let asked = usize::try_from(left / SHARE_MIN).unwrap_or(usize::MAX).clamp(1, open.len());
            let mut later = open.split_off(asked);
            let shares = shares(&open, left);
            // Polled together, the takes share a round trip.
            let takes = open.iter_mut().zip(&shares).map(|(candidate, share)| self.take_of(candidate, *share));
            let (granted, reserved): (Vec<_>, Vec<_>) = try_join_all(takes).await?.into_iter().unzip();
            if self.standing.daily_limit.is_some() {
                // Each take has counted those before it; one that took nothing has counted none.
                self.standing.reserved = reserved.into_iter().fold(self.standing.reserved, i64::max);
            }
            let mut filled = shares.iter().zip(&granted).map(|(share, claims)| size(claims) == *share);
            open.retain(|candidate| {
                filled.next().unwrap_or(false) && allowance(candidate.settings.daily_limit, candidate.reserved) > 0
            });
            claims.extend(granted.into_iter().flatten());
            later.append(&mut open);
            open = later;
        }
        Ok(())
    }

    /// Takes from a candidate. Returns the claims, and the reservations of the account's day after them.
    async fn take_of(&self, candidate: &mut Candidate, share: i64) -> Result<(Vec<Claim>, i64)> {
        if share == 0 {
            return Ok((Vec::new(), 0));
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
        if count > 0 && candidate.settings.daily_limit.is_some() {
            candidate.reserved = taken.reserved.1;
        }
        if count < share {
            candidate.next_due = candidate.due_later;
        }
        let reserved = taken.reserved.0;
        Ok((self.claims(candidate, taken.leads, take.expires_at).collect(), reserved))
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

    /// The reasons not to send that hold after the grant. Finished campaigns are not listed: an account has more and more of
    /// them. Only where nothing else is left, or one was asked for, one reason tells of them.
    async fn why_not(&self, candidates: Vec<Candidate>) -> Result<Vec<CampaignBlocked>> {
        let standing = self.standing.clone();
        if candidates.is_empty() {
            let mut blocked = Blocked::default();
            let campaign = self.ask.campaign.cloned();
            if self.is_serving().await? {
                blocked.add(NotSending::Finished, None);
                return Ok(vec![CampaignBlocked { campaign, reasons: blocked.reasons, claimable_at: None }]);
            }
            blocked.add(NotSending::NoAccountAssigned, None);
            if standing.state == AccountState::Suspended {
                blocked.add(NotSending::AccountSuspended, None);
            }
            if allowance(standing.daily_limit, standing.reserved) == 0 {
                blocked.add(NotSending::AccountDailyLimit, None);
            }
            return Ok(vec![CampaignBlocked { campaign, reasons: blocked.reasons, claimable_at: None }]);
        }
        let standing = [standing];
        let why = candidates.into_iter().map(|candidate| {
            let standing = candidate.standing(&standing);
            let (reasons, claimable_at) = (standing.blocked(self.now).reasons, standing.claimable_at(self.now));
            CampaignBlocked { campaign: Some(candidate.name), reasons, claimable_at }
        });
        Ok(why.filter(|why| !why.reasons.is_empty()).collect())
    }
}

/// Divides `left` evenly among campaigns, within their daily limits.
fn shares(open: &[&mut Candidate], mut left: i64) -> Vec<i64> {
    let mut campaigns_left = i64::try_from(open.len()).unwrap_or(i64::MAX);
    let share = |candidate: &&mut Candidate| {
        let room = allowance(candidate.settings.daily_limit, candidate.reserved);
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
