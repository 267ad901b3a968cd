//! Grants claims: what an account may send now, within every limit, each lead and step once.
//!
//! One transaction locks the account, then the campaigns it takes from by number, then their reservations. So claims
//! of one account, and of one campaign, follow each other, and a pause or suspension that committed is seen.

use std::{collections::BTreeMap, time::Duration};

use campaign_metrics::{
    campaign::{CampaignState, ClaimExpiryPolicy},
    lead::Step,
    name::{AccountName, CampaignName, LeadId, LeadName},
    schedule::{local_day, next_day, parse_time_zone},
    sending::{
        AccountStanding, Blocked, CampaignBlocked, CampaignStanding, Claim, ClaimId, ClaimState, NotSending, SendKey,
        allowance,
    },
};
use deadpool_postgres::Transaction;
use jiff::{Timestamp, civil::Date};
use tokio_postgres::{Row, types::ToSql};

use super::{
    Kind, Store,
    account::account_lock_in_txn,
    campaign_view::{account_state, campaign_state, settings_from_row},
    claim::claims_of_grant_in_txn,
    claim_end::claims_retry_in_txn,
    claim_take::take_in_txn,
    in_txn,
    request::{RequestId, Seen, request_note_in_txn},
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

/// An account's campaign, locked, with what decides about it.
struct Candidate {
    row: Row,
    name: CampaignName,
    settings: campaign_metrics::campaign::CampaignSettings,
    state: CampaignState,
    day: Date,
    reserved: i64,
    next_due: Option<Timestamp>,
    account_removed: bool,
    uncertain_claims: i64,
    granted: i64,
}

impl Store {
    /// Grants an account up to `max` claims; a repeat with the same request id returns those still held.
    pub async fn claim_sends(&self, ask: ClaimRequest<'_>) -> Result<Grant> {
        in_txn!(self, Kind::Write, |txn, attempt| {
            let account = account_lock_in_txn(&txn, ask.account).await?;
            let locked = campaigns_lock_in_txn(&txn, &account).await?;
            // After everything that was waited for: windows, days and expiry are those of the grant.
            let now = self.clock.now();
            // Drawn, not counted: no sequence for all to share, and nobody guesses the claims of others.
            let grant_no = rand::random::<i64>();
            let workspace_id = account.get("workspace_id");
            let seen = request_note_in_txn(&txn, workspace_id, ask.request, Some(grant_no), now).await?;
            if let Seen::Before(grant_no) = seen {
                let claims = claims_of_grant_in_txn(&txn, &account, ask.account, grant_no.unwrap_or(0), now).await?;
                return Ok(Grant { claims, blocked: Vec::new() });
            }
            grant_in_txn(&txn, &account, &locked, &ask, grant_no, now).await
        })
    }
}

async fn grant_in_txn(
    txn: &Transaction<'_>,
    account: &Row,
    locked: &[i32],
    ask: &ClaimRequest<'_>,
    grant_no: i64,
    now: Timestamp,
) -> Result<Grant> {
    let (workspace_id, account_id): (i32, i32) = (account.get("workspace_id"), account.get("account_id"));
    let time_zone = parse_time_zone(account.get("time_zone"))?;
    let account_day = local_day(&time_zone, now);
    let reserved = reserved_in_txn(txn, "account", workspace_id, account_id, account_day).await?;
    let standing = AccountStanding {
        state: account_state(account.get("state"))?,
        daily_limit: account.get("daily_limit"),
        reserved,
        time_zone,
    };
    let mut candidates = candidates_in_txn(txn, (workspace_id, account_id), locked, ask.account, now).await?;
    let standings = [standing];
    let mut grant = Grant::default();
    let allowed = ask.max.min(allowance(standings[0].daily_limit, reserved));
    let mut open: Vec<usize> =
        (0..candidates.len()).filter(|place| candidates[*place].blocked(&standings, now).reasons.is_empty()).collect();
    // Shares are even; what one campaign leaves goes to the others, which then are asked once more.
    while !open.is_empty() && count(&grant) < allowed {
        let mut still_open = Vec::new();
        for (done, place) in open.iter().enumerate() {
            let left = allowed - count(&grant);
            let campaigns_left = i64::try_from(open.len() - done).unwrap_or(1);
            let candidate = &mut candidates[*place];
            let room = allowance(candidate.settings.daily_limit, candidate.reserved + candidate.granted);
            let share = ((left + campaigns_left - 1) / campaigns_left).min(room);
            if share == 0 {
                continue;
            }
            let taken = candidate.grant_in_txn(txn, ask, account_id, account_day, share, grant_no, now).await?;
            let took = i64::try_from(taken.len()).unwrap_or(0);
            candidate.granted += took;
            grant.claims.extend(taken);
            if took == share {
                still_open.push(*place);
            } else {
                candidate.next_due = None;
            }
        }
        open = still_open;
    }
    reserve_in_txn(txn, workspace_id, account_id, account_day, count(&grant), &candidates).await?;
    if count(&grant) < ask.max {
        grant.blocked = why_not(candidates, standings, count(&grant), now);
    }
    Ok(grant)
}

fn count(grant: &Grant) -> i64 {
    i64::try_from(grant.claims.len()).unwrap_or(i64::MAX)
}

/// The reasons as they are after the grant.
fn why_not(
    candidates: Vec<Candidate>,
    mut standings: [AccountStanding; 1],
    granted: i64,
    now: Timestamp,
) -> Vec<CampaignBlocked> {
    standings[0].reserved += granted;
    if candidates.is_empty() {
        let mut blocked = Blocked::default();
        blocked.add(NotSending::NoAccountAssigned, None);
        if standings[0].state == campaign_metrics::account::AccountState::Suspended {
            blocked.add(NotSending::AccountSuspended, None);
        }
        if allowance(standings[0].daily_limit, standings[0].reserved) == 0 {
            blocked.add(NotSending::AccountDailyLimit, next_day(&standings[0].time_zone, now));
        }
        return vec![CampaignBlocked { campaign: None, blocked }];
    }
    let why = candidates.into_iter().map(|mut candidate| {
        candidate.reserved += candidate.granted;
        let blocked = candidate.blocked(&standings, now);
        CampaignBlocked { campaign: Some(candidate.name), blocked }
    });
    why.filter(|why| !why.blocked.reasons.is_empty()).collect()
}

/// Locks the campaigns of an account that are not finished, by number; returns their numbers.
async fn campaigns_lock_in_txn(txn: &Transaction<'_>, account: &Row) -> Result<Vec<i32>> {
    let (workspace_id, account_id): (i32, i32) = (account.get("workspace_id"), account.get("account_id"));
    let lock = "SELECT c.campaign_id FROM campaigns c JOIN campaign_accounts s USING (workspace_id, campaign_id)
        WHERE s.workspace_id = $1 AND s.account_id = $2 AND NOT s.removed AND c.state <> 3
        ORDER BY c.campaign_id FOR NO KEY UPDATE OF c";
    let lock = txn.prepare_cached(lock).await?;
    let locked = txn.query(&lock, &[&workspace_id, &account_id]).await?;
    Ok(locked.iter().map(|row| row.get(0)).collect())
}

/// Reads what decides about each of an account's campaigns: those that were locked, and the finished ones.
///
/// What was not locked (assigned to the account meanwhile) is left out: the next call finds it.
async fn candidates_in_txn(
    txn: &Transaction<'_>,
    (workspace_id, account_id): (i32, i32),
    locked: &[i32],
    account: &AccountName,
    now: Timestamp,
) -> Result<Vec<Candidate>> {
    // A statement of its own: what it sees includes every commit that the lock waited for.
    let sql = "
        SELECT c.*,
            EXISTS (SELECT FROM segments n WHERE n.workspace_id = $1 AND n.campaign_id = c.campaign_id
                AND n.account_id IN ($2, 0)) AS has_new,
            least(
                (SELECT due_at FROM returns r WHERE r.workspace_id = $1 AND r.campaign_id = c.campaign_id
                    AND r.account_id = $2 ORDER BY due_at LIMIT 1),
                (SELECT due_at FROM returns r WHERE r.workspace_id = $1 AND r.campaign_id = c.campaign_id
                    AND r.account_id = 0 ORDER BY due_at LIMIT 1)
            ) AS next_return,
            EXISTS (SELECT FROM campaign_accounts o JOIN returns r USING (workspace_id, campaign_id, account_id)
                WHERE o.workspace_id = $1 AND o.campaign_id = c.campaign_id AND o.removed) AS account_removed,
            (SELECT coalesce(sum(bit_count(h.held::bit(64))), 0)::int8 FROM claims h
                WHERE h.workspace_id = $1 AND h.campaign_id = c.campaign_id AND h.account_id = $2 AND h.expires_at <= $3)
                AS uncertain
        FROM campaigns c JOIN campaign_accounts s USING (workspace_id, campaign_id)
        WHERE s.workspace_id = $1 AND s.account_id = $2 AND NOT s.removed
            AND (c.state = 3 OR c.campaign_id = ANY ($4))
        ORDER BY c.campaign_id";
    let statement = txn.prepare_cached(sql).await?;
    let mut candidates = Vec::new();
    for row in txn.query(&statement, &[&workspace_id, &account_id, &now, &locked]).await? {
        let settings = settings_from_row(&row, Vec::new())?;
        let day = local_day(&settings.active_hours.time_zone, now);
        let mut candidate = Candidate {
            name: CampaignName { workspace: account.workspace.clone(), campaign: row.get::<_, &str>("name").parse()? },
            state: campaign_state(row.get("state"))?,
            day,
            reserved: 0,
            next_due: if row.get("has_new") { Some(now) } else { row.get("next_return") },
            account_removed: row.get("account_removed"),
            uncertain_claims: row.get("uncertain"),
            granted: 0,
            settings,
            row,
        };
        if candidate.state == CampaignState::Active {
            let campaign_id = candidate.row.get("campaign_id");
            if candidate.settings.claim_expiry_policy == ClaimExpiryPolicy::Retry && candidate.uncertain_claims > 0 {
                claims_retry_in_txn(txn, workspace_id, campaign_id, now).await?;
                candidate.uncertain_claims = 0;
                candidate.next_due = Some(now);
            }
            candidate.reserved = reserved_in_txn(txn, "campaign", workspace_id, campaign_id, day).await?;
        }
        candidates.push(candidate);
    }
    Ok(candidates)
}

/// Reads what is reserved of a day. The locks on account and campaign keep other claims out; a report without claim that
/// comes meanwhile comes after this one, and is never refused.
async fn reserved_in_txn(txn: &Transaction<'_>, of: &str, workspace_id: i32, id: i32, day: Date) -> Result<i64> {
    let sql = format!("SELECT reserved FROM {of}_reservations WHERE workspace_id = $1 AND {of}_id = $2 AND day = $3");
    let statement = txn.prepare_cached(&sql).await?;
    Ok(txn.query_opt(&statement, &[&workspace_id, &id, &day]).await?.map_or(0, |row| row.get(0)))
}

async fn reserve_in_txn(
    txn: &Transaction<'_>,
    workspace_id: i32,
    account_id: i32,
    account_day: Date,
    count: i64,
    candidates: &[Candidate],
) -> Result<()> {
    let mut reservations: Vec<(&str, i32, Date, i64)> = Vec::new();
    if count > 0 {
        reservations.push(("account", account_id, account_day, count));
    }
    let granted = candidates.iter().filter(|candidate| candidate.granted > 0);
    reservations.extend(
        granted.map(|candidate| ("campaign", candidate.row.get("campaign_id"), candidate.day, candidate.granted)),
    );
    for (of, id, day, count) in reservations {
        super::claim_end::reservation_add_in_txn(txn, of, workspace_id, id, day, count).await?;
    }
    Ok(())
}

impl Candidate {
    fn blocked(&self, accounts: &[AccountStanding], now: Timestamp) -> Blocked {
        let standing = CampaignStanding {
            state: self.state,
            active_hours: &self.settings.active_hours,
            daily_limit: self.settings.daily_limit,
            reserved: self.reserved,
            accounts,
            next_due: self.next_due,
            account_removed: self.account_removed,
            uncertain_claims: self.uncertain_claims,
        };
        standing.blocked(now)
    }

    /// Takes up to `share` due steps of this campaign and records their claims.
    #[expect(clippy::too_many_arguments, reason = "one call site; a struct would only rename them")]
    async fn grant_in_txn(
        &self,
        txn: &Transaction<'_>,
        ask: &ClaimRequest<'_>,
        account_id: i32,
        account_day: Date,
        share: i64,
        grant_no: i64,
        now: Timestamp,
    ) -> Result<Vec<Claim>> {
        let (workspace_id, campaign_id): (i32, i32) = (self.row.get("workspace_id"), self.row.get("campaign_id"));
        let taken = take_in_txn(txn, (workspace_id, campaign_id), account_id, self.settings.steps, share, now).await?;
        let window_end = self.settings.active_hours.next_change(now);
        let hold_end = now.checked_add(ask.hold).unwrap_or(Timestamp::MAX);
        let expires_at = window_end.map_or(hold_end, |end| end.min(hold_end));
        let mut blocks: BTreeMap<(i32, i16), i64> = BTreeMap::new();
        for (lead_no, step, _) in &taken {
            *blocks.entry((lead_no >> 6, i16::from(step.number()))).or_default() |= 1 << (lead_no & 63);
        }
        let (keys, granted): (Vec<(i32, i16)>, Vec<i64>) = blocks.into_iter().unzip();
        let (block_nos, steps): (Vec<i32>, Vec<i16>) = keys.into_iter().unzip();
        let insert = "
            INSERT INTO claims (workspace_id, campaign_id, block, step, grant_no, account_id, granted, held, expires_at, account_day, campaign_day)
            SELECT $1, $2, block, step, $3, $4, granted, granted, $5, $6, $7
            FROM unnest($8::int4[], $9::int2[], $10::int8[]) AS new (block, step, granted)
            ON CONFLICT (workspace_id, campaign_id, block, step, grant_no) DO UPDATE
            SET granted = claims.granted | excluded.granted, held = claims.held | excluded.held";
        let insert = txn.prepare_cached(insert).await?;
        let params: &[&(dyn ToSql + Sync)] = &[
            &workspace_id,
            &campaign_id,
            &grant_no,
            &account_id,
            &expires_at,
            &account_day,
            &self.day,
            &block_nos,
            &steps,
            &granted,
        ];
        txn.execute(&insert, params).await?;
        let salt = self.row.get("salt");
        let claim = |(lead_number, step, lead): (i32, Step, LeadId)| Claim {
            id: ClaimId { key: SendKey { salt, campaign_number: campaign_id, lead_number, step }, grant: grant_no },
            lead: LeadName { campaign: self.name.clone(), lead },
            account: ask.account.clone(),
            expire_time: expires_at,
            state: ClaimState::Held,
        };
        Ok(taken.into_iter().map(claim).collect())
    }
}
