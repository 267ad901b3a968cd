//! The campaigns that an account can claim from: their row locks, and what decides about each.
//!
//! [`candidates_in_txn`] is quick: it starts at the cursors and finds out whether a step is due. An account that gets less
//! than it asked for is told why. For that, [`candidates_examine_in_txn`] starts from the beginning and finds all reasons.

use campaign_metrics::{
    campaign::{CampaignSettings, CampaignState},
    name::{AccountName, CampaignName},
    schedule::local_day,
    standing::{AccountStanding, CampaignStanding},
};
use deadpool_postgres::Transaction;
use jiff::{Timestamp, civil::Date};
use tokio_postgres::{Row, Statement, types::ToSql};

use crate::{
    error::{Error, Result},
    store::{
        campaign::row::{campaign_columns, settings_from_row},
        hint::cursor::{Cursor, Cursors},
        limit::{LimitOwner, reserved_sql},
        row::{ACCOUNT_LOCK, CampaignKey, campaign_state, element_index},
    },
};

/// Locks the campaigns that an account may claim from, and some that finished since it last looked. Spelled as in the index.
pub const CLAIM_LOCKS: &str = concat!(
    "SELECT ",
    campaign_columns!(),
    " FROM workspaces w
    JOIN accounts a ON a.workspace_id = w.workspace_id AND a.name = $2
    JOIN campaign_accounts s
        ON (s.workspace_id::int8 << 32) + s.account_id = (a.workspace_id::int8 << 32) + a.account_id
        AND NOT s.removed AND NOT s.is_finished
    JOIN campaigns c ON c.workspace_id = s.workspace_id AND c.campaign_id = s.campaign_id
    WHERE w.name = $1 AND ($3::int4[] IS NULL OR s.campaign_id = ANY ($3))
    ORDER BY c.campaign_id FOR NO KEY UPDATE OF c"
);

/// Locks one campaign that an account may claim from, also a finished one.
const CLAIM_LOCK: &str = concat!(
    "SELECT ",
    campaign_columns!(),
    " FROM workspaces w
    JOIN campaigns c ON c.workspace_id = w.workspace_id AND c.name = $3
    JOIN accounts a ON a.workspace_id = w.workspace_id AND a.name = $2
    JOIN campaign_accounts s
        ON s.workspace_id = c.workspace_id AND s.campaign_id = c.campaign_id AND s.account_id = a.account_id AND NOT s.removed
    WHERE w.name = $1 FOR NO KEY UPDATE OF c"
);

/// Which campaigns of the account to lock.
#[derive(Debug, Clone, Copy)]
pub(super) enum Candidates<'a> {
    /// All that are not finished.
    All,
    /// Those with these numbers.
    Numbered(&'a [i32]),
    /// The one of this name, also if it is finished.
    Named(&'a CampaignName),
}

/// A campaign of the claiming account.
pub(super) struct Candidate {
    pub(super) key: CampaignKey,
    pub(super) salt: i32,
    pub(super) name: CampaignName,
    pub(super) settings: CampaignSettings,
    pub(super) day: Date,
    pub(super) cursor: Cursor,
    /// When the next step becomes due after now, or the next claim expires that the policy RETRY makes due again. Found by
    /// [`candidates_examine_in_txn`]. A lower bound: the lead may have replied since, and closed claims may still have rows.
    pub(super) due_later: Option<Timestamp>,
    /// When the first step is due: now or later.
    pub(super) next_due: Option<Timestamp>,
    pub(super) uncertain_claims: i64,
    state: CampaignState,
    /// Reservations of its local day, including those of this grant. 0 without a limit.
    pub(super) reserved: i64,
    account_removed: bool,
}

impl Candidate {
    pub(super) fn from_row(row: &Row, account: &AccountName, now: Timestamp) -> Result<Self> {
        let settings = settings_from_row(row, Vec::new())?;
        Ok(Self {
            key: (row.get("workspace_id"), row.get("campaign_id")),
            salt: row.get("salt"),
            name: CampaignName { workspace: account.workspace.clone(), campaign: row.get::<_, &str>("name").parse()? },
            state: campaign_state(row.get("state"))?,
            day: local_day(&settings.active_hours.time_zone, now),
            cursor: Cursor::START,
            reserved: 0,
            due_later: None,
            next_due: None,
            account_removed: false,
            uncertain_claims: 0,
            settings,
        })
    }

    /// What decides whether these accounts can be granted more of its steps.
    pub(super) fn standing<'a>(&'a self, accounts: &'a [AccountStanding]) -> CampaignStanding<'a> {
        CampaignStanding {
            state: self.state,
            active_hours: &self.settings.active_hours,
            daily_limit: self.settings.daily_limit,
            reserved: self.reserved,
            accounts,
            account_dues: std::slice::from_ref(&self.next_due),
            next_due: self.next_due,
            account_removed: self.account_removed,
            uncertain_claims: self.uncertain_claims,
        }
    }

    /// Whether the account can be granted no more of its steps.
    pub(super) fn is_blocked(&self, account: &AccountStanding, now: Timestamp) -> bool {
        !self.standing(std::slice::from_ref(account)).blocked(now).reasons.is_empty()
    }

    /// Records that a step becomes due at `moment`.
    pub(super) fn due_by(&mut self, moment: Timestamp) {
        let earlier = |due: Option<Timestamp>| Some(due.map_or(moment, |due| due.min(moment)));
        (self.due_later, self.next_due) = (earlier(self.due_later), earlier(self.next_due));
    }

    /// Whether it grants the steps of uncertain claims again.
    pub(super) fn retries(&self) -> bool {
        self.state == CampaignState::Active
            && self.settings.claim_expiry_policy == campaign_metrics::campaign::ClaimExpiryPolicy::Retry
    }
}

/// Locks the account, then its campaigns by number, and reads both.
pub(super) struct CandidateLocks<'a> {
    txn: &'a Transaction<'a>,
    account: Statement,
    campaigns: Statement,
    candidates: Candidates<'a>,
}

impl<'a> CandidateLocks<'a> {
    pub(super) async fn prepare(txn: &'a Transaction<'a>, candidates: Candidates<'a>) -> Result<Self> {
        let campaigns = if matches!(candidates, Candidates::Named(_)) { CLAIM_LOCK } else { CLAIM_LOCKS };
        let (account, campaigns) = (txn.prepare_cached(ACCOUNT_LOCK).await?, txn.prepare_cached(campaigns).await?);
        Ok(Self { txn, account, campaigns, candidates })
    }

    /// Locks the account and the campaigns.
    ///
    /// The first poll sends both statements. Statements of futures that are polled later run after the locks.
    pub(super) async fn lock(&self, name: &AccountName) -> Result<(Row, Vec<Row>)> {
        let (workspace, account) = (name.workspace.as_str(), name.account.as_str());
        let (numbers, campaign) = match self.candidates {
            Candidates::All => (None, None),
            Candidates::Numbered(numbers) => (Some(numbers), None),
            Candidates::Named(campaign) => (None, Some(campaign.campaign.as_str())),
        };
        let which: &(dyn ToSql + Sync) = if campaign.is_some() { &campaign } else { &numbers };
        let account_params: [&(dyn ToSql + Sync); 2] = [&workspace, &account];
        let campaign_params: [&(dyn ToSql + Sync); 3] = [&workspace, &account, which];
        // Polled together, the statements share a round trip.
        let (account, campaigns) = futures::try_join!(
            self.txn.query_opt(&self.account, &account_params),
            self.txn.query(&self.campaigns, &campaign_params),
        )?;
        Ok((account.ok_or_else(|| Error::NotFound(name.to_string()))?, campaigns))
    }
}

/// Takes the finished ones out of the locked campaigns, and marks them, so that no later claim of the account meets them.
pub(super) async fn finished_leave_in_txn(
    txn: &Transaction<'_>,
    account: &Row,
    mut locked: Vec<Row>,
) -> Result<Vec<Row>> {
    let mut finished: Vec<i32> = Vec::new();
    for row in &locked {
        if campaign_state(row.get("state"))? == CampaignState::Finished {
            finished.push(row.get("campaign_id"));
        }
    }
    if !finished.is_empty() {
        let mark = "UPDATE campaign_accounts SET is_finished = true
            WHERE workspace_id = $1 AND account_id = $2 AND campaign_id = ANY ($3) AND NOT is_finished";
        let (workspace_id, account_id): (i32, i32) = (account.get("workspace_id"), account.get("account_id"));
        txn.execute(mark, &[&workspace_id, &account_id, &finished]).await?;
        locked.retain(|row| !finished.contains(&row.get("campaign_id")));
    }
    Ok(locked)
}

/// Makes candidates of locked campaigns, and finds out whether a step of each is due, from the cursors on.
///
/// A separate statement after the locks, so that its snapshot includes every commit that they waited for.
pub(super) async fn candidates_in_txn(
    txn: &Transaction<'_>,
    locked: &[Row],
    account_id: i32,
    account: &AccountName,
    cursors: &Cursors,
    now: Timestamp,
) -> Result<Vec<Candidate>> {
    let sql = format!(
        "SELECT key.place,
            EXISTS (SELECT FROM segments n WHERE n.workspace_id = $1 AND n.campaign_id = key.campaign_id
                AND n.account_id = $2 AND n.lo >= key.lo AND n.lo < n.hi)
            OR EXISTS (SELECT FROM segments n WHERE n.workspace_id = $1 AND n.campaign_id = key.campaign_id
                AND n.account_id = any_account() AND n.lo >= key.lo AND n.lo < n.hi)
            OR EXISTS (SELECT FROM returns r WHERE r.workspace_id = $1 AND r.campaign_id = key.campaign_id
                AND r.account_id = $2 AND r.due_at >= key.due_at AND r.due_at <= $3)
            OR EXISTS (SELECT FROM returns r WHERE r.workspace_id = $1 AND r.campaign_id = key.campaign_id
                AND r.account_id = any_account() AND r.due_at >= key.due_at AND r.due_at <= $3) AS is_due,
            {} AS reserved
        FROM unnest($4::int4[], $5::date[], $6::int4[], $7::timestamptz[]) WITH ORDINALITY
            AS key (campaign_id, day, lo, due_at, place)
        WHERE EXISTS (SELECT FROM campaign_accounts s
            WHERE s.workspace_id = $1 AND s.campaign_id = key.campaign_id AND s.account_id = $2 AND NOT s.removed)
        ORDER BY key.place",
        reserved_sql(LimitOwner::Campaign, "$1", "key.campaign_id", "key.day")
    );
    let statement = txn.prepare_cached(&sql).await?;
    let mut candidates = Vec::with_capacity(locked.len());
    for row in locked {
        let mut candidate = Candidate::from_row(row, account, now)?;
        candidate.cursor = cursors.get(candidate.key, account_id);
        candidates.push(candidate);
    }
    let Some(workspace_id) = candidates.first().map(|candidate| candidate.key.0) else { return Ok(candidates) };
    let numbers: Vec<i32> = candidates.iter().map(|candidate| candidate.key.1).collect();
    // Reservations matter only under a limit. A NULL day reads none.
    let days: Vec<Option<Date>> =
        candidates.iter().map(|candidate| candidate.settings.daily_limit.map(|_| candidate.day)).collect();
    let from_leads: Vec<i32> = candidates.iter().map(|candidate| candidate.cursor.lo).collect();
    let from_dues: Vec<Timestamp> = candidates.iter().map(|candidate| candidate.cursor.due_at).collect();
    let params: &[&(dyn ToSql + Sync)] = &[&workspace_id, &account_id, &now, &numbers, &days, &from_leads, &from_dues];
    let mut serving = vec![false; candidates.len()];
    for row in txn.query(&statement, params).await? {
        let index = element_index(&row);
        serving[index] = true;
        candidates[index].reserved = row.get("reserved");
        candidates[index].next_due = row.get::<_, bool>("is_due").then_some(now);
    }
    let mut serving = serving.into_iter();
    candidates.retain(|_| serving.next().unwrap_or(false));
    Ok(candidates)
}

/// Examines the candidates from the beginning for every reason not to grant.
pub(super) async fn candidates_examine_in_txn(
    txn: &Transaction<'_>,
    candidates: &mut [Candidate],
    (workspace_id, account_id): (i32, i32),
    now: Timestamp,
) -> Result<()> {
    let sql = "SELECT
            EXISTS (SELECT FROM segments n WHERE n.workspace_id = $1 AND n.campaign_id = c.campaign_id
                AND n.account_id IN ($2, any_account()) AND n.lo < n.hi)
            OR coalesce(return_head($1, c.campaign_id, $2, c.steps::int4) <= $3, false)
            OR coalesce(return_head($1, c.campaign_id, any_account(), c.steps::int4) <= $3, false) AS is_due,
            least(
                (SELECT due_at FROM returns r WHERE r.workspace_id = $1 AND r.campaign_id = c.campaign_id
                    AND r.account_id = $2 AND r.due_at > $3 ORDER BY due_at LIMIT 1),
                (SELECT due_at FROM returns r WHERE r.workspace_id = $1 AND r.campaign_id = c.campaign_id
                    AND r.account_id = any_account() AND r.due_at > $3 ORDER BY due_at LIMIT 1),
                CASE WHEN c.state = campaign_active() AND c.claim_expiry_policy = expiry_retry() THEN (
                    SELECT coalesce(
                        min(expires_at) FILTER (WHERE is_open),
                        -- The 16 soonest rows have no open claim: the expiry of the last is a lower bound.
                        CASE WHEN count(*) = 16 THEN max(expires_at) END
                    ) FROM (
                        SELECT h.expires_at, claim_open(h) <> 0 AS is_open FROM claims h
                        WHERE (h.workspace_id::int8 << 32) + h.campaign_id = ($1::int4::int8 << 32) + c.campaign_id
                            AND h.account_id = $2 AND h.expires_at > $3
                        ORDER BY h.expires_at LIMIT 16
                    ) soonest
                ) END
            ) AS due_later,
            EXISTS (SELECT FROM campaign_accounts o
                WHERE o.workspace_id = $1 AND o.campaign_id = c.campaign_id AND o.removed
                    AND return_head($1, c.campaign_id, o.account_id, c.steps::int4) IS NOT NULL) AS account_removed,
            (SELECT coalesce(sum(bit_count(claim_open(h)::bit(64))), 0)::int8 FROM claims h
                WHERE (h.workspace_id::int8 << 32) + h.campaign_id = ($1::int4::int8 << 32) + c.campaign_id
                    AND h.account_id = $2 AND h.expires_at <= $3)
                AS uncertain
        FROM unnest($4::int4[]) AS key (campaign_id)
        JOIN campaigns c ON c.workspace_id = $1 AND c.campaign_id = key.campaign_id
        ORDER BY c.campaign_id";
    let statement = txn.prepare_cached(sql).await?;
    let numbers: Vec<i32> = candidates.iter().map(|candidate| candidate.key.1).collect();
    // Candidates and rows are both sorted by number, and the row locks keep campaigns from being deleted.
    let rows = txn.query(&statement, &[&workspace_id, &account_id, &now, &numbers]).await?;
    for (candidate, row) in candidates.iter_mut().zip(&rows) {
        candidate.due_later = row.get("due_later");
        candidate.next_due = if row.get("is_due") { Some(now) } else { candidate.due_later };
        candidate.account_removed = row.get("account_removed");
        candidate.uncertain_claims = row.get("uncertain");
    }
    Ok(())
}

/// Whether an account serves a campaign, finished or not: the named one, or any.
pub(super) async fn serves_in_txn(
    txn: &Transaction<'_>,
    (workspace_id, account_id): (i32, i32),
    campaign: Option<&CampaignName>,
) -> Result<bool> {
    let sql = "SELECT EXISTS (SELECT FROM campaign_accounts s
        WHERE s.workspace_id = $1 AND s.account_id = $2 AND NOT s.removed AND ($3::text IS NULL OR s.campaign_id =
            (SELECT c.campaign_id FROM campaigns c WHERE c.workspace_id = $1 AND c.name = $3)))";
    let statement = txn.prepare_cached(sql).await?;
    let campaign = campaign.map(|campaign| campaign.campaign.as_str());
    Ok(txn.query_one(&statement, &[&workspace_id, &account_id, &campaign]).await?.get(0))
}
