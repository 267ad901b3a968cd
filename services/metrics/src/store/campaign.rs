//! Campaigns: creation, reading, settings, deletion, and what their owner in Kubernetes declares.

use campaign_metrics::{
    campaign::{AdoptionPolicy, Campaign, CampaignField, CampaignSettings, CampaignState, Owner},
    invalid::Invalid,
    name::{AccountId, AccountName, CampaignName, WorkspaceId},
    schedule::time_zone_name,
};
use deadpool_postgres::Transaction;
use jiff::Timestamp;
use tokio_postgres::Row;
use uuid::Uuid;

use super::{
    Kind, Store,
    campaign_state::{campaigns_finish_in_txn, key, one, state_set_in_txn},
    campaign_view::{
        CampaignKey, campaigns_load_in_txn, owner_from_row, settings_from_row, stored_policy, stored_state,
        stored_windows,
    },
    in_txn,
    request::{RequestId, Seen, request_note_in_txn},
};
use crate::error::{Error, Result};

/// On whose behalf a campaign is changed.
#[derive(Debug, Clone, Copy)]
pub enum Actor<'a> {
    /// Any client: refused where a resource manages the campaign.
    Client,
    /// The owner with this UID.
    Owner(&'a str),
}

/// A campaign to create.
#[derive(Debug)]
pub struct NewCampaign<'a> {
    /// Resource name.
    pub name: &'a CampaignName,
    /// Settings.
    pub settings: &'a CampaignSettings,
    /// Makes a repeat the same request.
    pub request: Option<&'a RequestId>,
}

impl Store {
    /// Creates a campaign.
    pub async fn campaign_create(&self, new: NewCampaign<'_>) -> Result<Campaign> {
        in_txn!(self, Kind::Write, |txn, attempt| {
            let now = self.clock.now();
            let workspace_id = workspace_ensure_in_txn(&txn, &new.name.workspace, now).await?;
            let seen = match new.request {
                Some(request) => request_note_in_txn(&txn, workspace_id, request, None, now).await?,
                None => Seen::Never,
            };
            let campaign_key = match (campaign_key_in_txn(&txn, new.name).await?, seen) {
                (Some(campaign_key), Seen::Before(_)) => campaign_key,
                (None, Seen::Before(_)) => return Err(Error::NotFound(new.name.to_string())),
                (Some(_), Seen::Never) => return Err(exists(new.name)),
                (None, Seen::Never) => campaign_insert_in_txn(&txn, workspace_id, new.name, new.settings, now).await?,
            };
            one(campaigns_load_in_txn(&txn, &[campaign_key], now).await?, new.name)
        })
    }

    /// Reads a campaign.
    pub async fn campaign_get(&self, name: &CampaignName) -> Result<Campaign> {
        in_txn!(self, Kind::Read, |txn, attempt| {
            let campaign_key = campaign_key_in_txn(&txn, name)
                .await?
                .ok_or_else(|| Error::NotFound(name.to_string()))?;
            one(
                campaigns_load_in_txn(&txn, &[campaign_key], self.clock.now()).await?,
                name,
            )
        })
    }

    /// Reads campaigns by workspace and id, of one workspace or all, after `after`, at most `limit`.
    pub async fn campaign_list(
        &self,
        workspace: Option<&WorkspaceId>,
        state: Option<CampaignState>,
        after: Option<(&str, &str)>,
        limit: i64,
    ) -> Result<Vec<Campaign>> {
        let sql = "
            SELECT c.workspace_id, c.campaign_id
            FROM campaigns c JOIN workspaces w USING (workspace_id)
            WHERE ($1::text IS NULL OR w.name = $1) AND ($2::int2 IS NULL OR c.state = $2)
                AND ($3::text IS NULL OR (w.name, c.name) > ($3, $4::text))
            ORDER BY w.name, c.name LIMIT $5";
        let workspace = workspace.map(WorkspaceId::as_str);
        let (after_workspace, after_campaign) = after.unzip();
        in_txn!(self, Kind::Read, |txn, attempt| {
            let statement = txn.prepare_cached(sql).await?;
            let params: &[&(dyn tokio_postgres::types::ToSql + Sync)] = &[
                &workspace,
                &state.map(stored_state),
                &after_workspace,
                &after_campaign,
                &limit,
            ];
            let rows = txn.query(&statement, params).await?;
            let keys: Vec<CampaignKey> = rows.iter().map(key).collect();
            campaigns_load_in_txn(&txn, &keys, self.clock.now()).await
        })
    }

    /// Changes the named settings of a campaign; `etag` is a revision to check.
    pub async fn campaign_update(
        &self,
        name: &CampaignName,
        new: &CampaignSettings,
        fields: &[CampaignField],
        etag: Option<i64>,
    ) -> Result<Campaign> {
        in_txn!(self, Kind::Write, |txn, attempt| {
            let now = self.clock.now();
            let row = campaign_lock_in_txn(&txn, name).await?;
            check_actor(&row, Actor::Client)?;
            check_etag(&row, etag)?;
            let mut settings = settings_in_txn(&txn, &row).await?;
            settings.update(new, fields);
            settings_write_in_txn(&txn, &row, name, &settings, now).await?;
            one(campaigns_load_in_txn(&txn, &[key(&row)], now).await?, name)
        })
    }

    /// Deletes a campaign with its leads; `force` although claims are held or uncertain.
    pub async fn campaign_delete(
        &self,
        name: &CampaignName,
        etag: Option<i64>,
        force: bool,
        actor: Actor<'_>,
    ) -> Result<()> {
        in_txn!(self, Kind::Write, |txn, attempt| {
            let row = campaign_lock_in_txn(&txn, name).await?;
            check_actor(&row, actor)?;
            check_etag(&row, etag)?;
            let (workspace_id, campaign_id) = key(&row);
            // Outcomes hold the row by its key while they run; from here on they find no campaign.
            txn.execute(
                "SELECT FROM campaigns WHERE workspace_id = $1 AND campaign_id = $2 FOR UPDATE",
                &[&workspace_id, &campaign_id],
            )
            .await?;
            let held = "SELECT coalesce(sum(bit_count(held::bit(64))), 0)::int8 FROM claims WHERE workspace_id = $1 AND campaign_id = $2";
            let held: i64 = txn.query_one(held, &[&workspace_id, &campaign_id]).await?.get(0);
            if held > 0 && !force {
                return Err(Error::Precondition {
                    reason: "CLAIMS_OPEN",
                    message: format!(
                        "{name} has {held} claims held or uncertain; wait for their outcomes, release them, or set force"
                    ),
                });
            }
            for table in [
                "claims",
                "segments",
                "returns",
                "lead_ids",
                "leads",
                "outcomes",
                "campaign_reservations",
                "campaigns",
            ] {
                let sql = format!("DELETE FROM {table} WHERE workspace_id = $1 AND campaign_id = $2");
                txn.execute(&sql, &[&workspace_id, &campaign_id]).await?;
            }
            Ok(())
        })
    }

    /// Brings a campaign to what its owner declares, creating it if need be.
    pub async fn campaign_apply(
        &self,
        name: &CampaignName,
        settings: &CampaignSettings,
        state: CampaignState,
        owner: &Owner,
        adoption: AdoptionPolicy,
    ) -> Result<Campaign> {
        in_txn!(self, Kind::Write, |txn, attempt| {
            let now = self.clock.now();
            let workspace_id = workspace_ensure_in_txn(&txn, &name.workspace, now).await?;
            let mut adoption = adoption;
            if campaign_key_in_txn(&txn, name).await?.is_none() {
                campaign_insert_in_txn(&txn, workspace_id, name, settings, now).await?;
                // Made for its owner: there is nothing to take over.
                adoption = AdoptionPolicy::IfUnowned;
            }
            let row = campaign_lock_in_txn(&txn, name).await?;
            check_owner(&row, name, owner, adoption)?;
            let before = settings_in_txn(&txn, &row).await?;
            if before.steps != settings.steps {
                return Err(Error::Precondition {
                    reason: "IMMUTABLE_FIELD",
                    message: format!(
                        "campaign.steps of {name} is fixed at {}; create another campaign",
                        before.steps.number()
                    ),
                });
            }
            let mut wanted = settings.clone();
            wanted.lead_list_complete |= before.lead_list_complete;
            if wanted != before {
                settings_write_in_txn(&txn, &row, name, &wanted, now).await?;
            }
            if owner_from_row(&row).as_ref() != Some(owner) {
                owner_write_in_txn(&txn, &row, Some(owner)).await?;
            }
            // A finished campaign satisfies every state.
            let row = campaign_lock_in_txn(&txn, name).await?;
            if row.get::<_, i16>("state") != stored_state(CampaignState::Finished) {
                state_set_in_txn(&txn, &row, state, now).await?;
            }
            one(campaigns_load_in_txn(&txn, &[key(&row)], now).await?, name)
        })
    }

    /// Ends the management of a campaign by the owner with this UID.
    pub async fn campaign_orphan(&self, name: &CampaignName, owner_uid: &str) -> Result<Campaign> {
        in_txn!(self, Kind::Write, |txn, attempt| {
            let row = campaign_lock_in_txn(&txn, name).await?;
            if row.get::<_, Option<&str>>("owner_uid").is_some() {
                check_actor(&row, Actor::Owner(owner_uid))?;
                owner_write_in_txn(&txn, &row, None).await?;
            }
            one(campaigns_load_in_txn(&txn, &[key(&row)], self.clock.now()).await?, name)
        })
    }
}

fn exists(name: &CampaignName) -> Error {
    let message = format!("{name} exists; choose another id, or update it");
    Error::AlreadyExists {
        reason: "CAMPAIGN_EXISTS",
        message,
    }
}

/// Number of a workspace, which comes into being with its first resource.
pub(super) async fn workspace_ensure_in_txn(txn: &Transaction<'_>, name: &WorkspaceId, now: Timestamp) -> Result<i32> {
    if let Some(id) = workspace_in_txn(txn, name).await? {
        return Ok(id);
    }
    let sql = "INSERT INTO workspaces (name, created_at) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING";
    txn.execute(sql, &[&name.as_str(), &now]).await?;
    workspace_in_txn(txn, name)
        .await?
        .ok_or_else(|| super::campaign_view::broken("a workspace vanished"))
}

/// Number of a workspace that exists.
pub(super) async fn workspace_in_txn(txn: &Transaction<'_>, name: &WorkspaceId) -> Result<Option<i32>> {
    let statement = txn
        .prepare_cached("SELECT workspace_id FROM workspaces WHERE name = $1")
        .await?;
    Ok(txn
        .query_opt(&statement, &[&name.as_str()])
        .await?
        .map(|row| row.get(0)))
}

/// Numbers of a campaign that exists.
pub(super) async fn campaign_key_in_txn(txn: &Transaction<'_>, name: &CampaignName) -> Result<Option<CampaignKey>> {
    let sql = "SELECT c.workspace_id, c.campaign_id FROM campaigns c JOIN workspaces w USING (workspace_id)
        WHERE w.name = $1 AND c.name = $2";
    let statement = txn.prepare_cached(sql).await?;
    let row = txn
        .query_opt(&statement, &[&name.workspace.as_str(), &name.campaign.as_str()])
        .await?;
    Ok(row.as_ref().map(key))
}

/// Locks a campaign against claims and other changes, not against outcomes.
pub(super) async fn campaign_lock_in_txn(txn: &Transaction<'_>, name: &CampaignName) -> Result<Row> {
    let sql = "SELECT c.* FROM campaigns c JOIN workspaces w USING (workspace_id)
        WHERE w.name = $1 AND c.name = $2 FOR NO KEY UPDATE OF c";
    let statement = txn.prepare_cached(sql).await?;
    let row = txn
        .query_opt(&statement, &[&name.workspace.as_str(), &name.campaign.as_str()])
        .await?;
    row.ok_or_else(|| Error::NotFound(name.to_string()))
}

/// Refuses a stale revision.
pub(super) fn check_etag(row: &Row, etag: Option<i64>) -> Result<()> {
    if etag.is_some_and(|etag| etag != row.get::<_, i64>("revision")) {
        let message = "the etag is not the present one: read again, then repeat".to_owned();
        return Err(Error::Stale {
            reason: "ETAG_MISMATCH",
            message,
        });
    }
    Ok(())
}

/// Refuses clients where a resource manages the campaign, and every owner but that one.
pub(super) fn check_actor(row: &Row, actor: Actor<'_>) -> Result<()> {
    let owner = owner_from_row(row);
    match (owner, actor) {
        (None, Actor::Client) => Ok(()),
        (Some(owner), Actor::Owner(uid)) if owner.uid == uid => Ok(()),
        (Some(owner), Actor::Client) => Err(Error::Precondition {
            reason: "CAMPAIGN_MANAGED",
            message: format!(
                "the campaign is managed by Kubernetes; edit the Campaign resource {} instead",
                owner.resource
            ),
        }),
        (Some(owner), Actor::Owner(_)) => Err(owned(&owner)),
        (None, Actor::Owner(_)) => Err(Error::Precondition {
            reason: "CAMPAIGN_NOT_OWNED",
            message: "the campaign has no owner".to_owned(),
        }),
    }
}

fn owned(owner: &Owner) -> Error {
    let message = format!(
        "the campaign is owned by the Campaign resource {} (UID {})",
        owner.resource, owner.uid
    );
    Error::Precondition {
        reason: "CAMPAIGN_OWNED",
        message,
    }
}

fn check_owner(row: &Row, name: &CampaignName, new: &Owner, adoption: AdoptionPolicy) -> Result<()> {
    match owner_from_row(row) {
        Some(old) if old.uid != new.uid => Err(owned(&old)),
        Some(old) if new.fencing_token < old.fencing_token || new.generation < old.generation => Err(Error::Stale {
            reason: "STALE_OWNER",
            message: format!(
                "generation {} with fencing token {} was seen already; another controller is ahead",
                old.generation, old.fencing_token
            ),
        }),
        None if adoption == AdoptionPolicy::Never => Err(Error::Precondition {
            reason: "CAMPAIGN_NOT_ADOPTABLE",
            message: format!("{name} exists without owner and adoption_policy is NEVER; delete it or allow adoption"),
        }),
        _ => Ok(()),
    }
}

async fn owner_write_in_txn(txn: &Transaction<'_>, row: &Row, owner: Option<&Owner>) -> Result<()> {
    let (workspace_id, campaign_id) = key(row);
    let sql =
        "UPDATE campaigns SET owner_resource = $3, owner_uid = $4, owner_generation = $5, owner_fencing_token = $6,
        revision = revision + 1 WHERE workspace_id = $1 AND campaign_id = $2";
    let resource = owner.map(|owner| owner.resource.as_str());
    let uid = owner.map(|owner| owner.uid.as_str());
    let generation = owner.map(|owner| owner.generation);
    let fencing_token = owner.map(|owner| owner.fencing_token);
    txn.execute(
        sql,
        &[
            &workspace_id,
            &campaign_id,
            &resource,
            &uid,
            &generation,
            &fencing_token,
        ],
    )
    .await?;
    Ok(())
}

async fn settings_in_txn(txn: &Transaction<'_>, row: &Row) -> Result<CampaignSettings> {
    let (workspace_id, campaign_id) = key(row);
    let sql = "SELECT a.name FROM campaign_accounts s JOIN accounts a USING (workspace_id, account_id)
        WHERE s.workspace_id = $1 AND s.campaign_id = $2 AND NOT s.removed ORDER BY a.name";
    let rows = txn.query(sql, &[&workspace_id, &campaign_id]).await?;
    let accounts = rows
        .iter()
        .map(|row| row.get::<_, &str>(0).parse())
        .collect::<Result<_, Invalid>>()?;
    settings_from_row(row, accounts)
}

async fn campaign_insert_in_txn(
    txn: &Transaction<'_>,
    workspace_id: i32,
    name: &CampaignName,
    settings: &CampaignSettings,
    now: Timestamp,
) -> Result<CampaignKey> {
    let sql = "
        INSERT INTO campaigns (workspace_id, name, uid, salt, state, steps, created_at, updated_at, revision,
            display_name, follow_up_delay_ms, time_zone, active_windows, claim_expiry_policy, settle_seconds,
            attribution_days, lead_list_complete)
        VALUES ($1, $2, $3, $4, 1, $5, $6, $6, 0, '', 0, 'UTC', '{}', 1, 0, 0, false)
        ON CONFLICT (workspace_id, name) DO NOTHING
        RETURNING workspace_id, campaign_id";
    let steps = i16::from(settings.steps.number());
    let row = txn
        .query_opt(
            sql,
            &[
                &workspace_id,
                &name.campaign.as_str(),
                &Uuid::now_v7(),
                &rand::random::<i32>(),
                &steps,
                &now,
            ],
        )
        .await?
        .ok_or_else(|| exists(name))?;
    let campaign_key: CampaignKey = key(&row);
    txn.execute(
        "INSERT INTO campaign_counters (workspace_id, campaign_id) VALUES ($1, $2)",
        &[&campaign_key.0, &campaign_key.1],
    )
    .await?;
    settings_write_in_txn(txn, &row, name, settings, now).await?;
    Ok(campaign_key)
}

/// Writes all settings but the steps, and finishes the campaign where they complete it.
async fn settings_write_in_txn(
    txn: &Transaction<'_>,
    row: &Row,
    name: &CampaignName,
    settings: &CampaignSettings,
    now: Timestamp,
) -> Result<()> {
    let (workspace_id, campaign_id) = key(row);
    accounts_write_in_txn(txn, (workspace_id, campaign_id), name, &settings.accounts).await?;
    let sql = "
        UPDATE campaigns SET display_name = $3, follow_up_delay_ms = $4, time_zone = $5, active_windows = $6, daily_limit = $7,
            claim_expiry_policy = $8, settle_seconds = $9, attribution_days = $10, lead_list_complete = $11, updated_at = $12,
            revision = revision + 1
        WHERE workspace_id = $1 AND campaign_id = $2";
    let delay_ms = i64::try_from(settings.follow_up_delay.as_millis()).unwrap_or(i64::MAX);
    let params: &[&(dyn tokio_postgres::types::ToSql + Sync)] = &[
        &workspace_id,
        &campaign_id,
        &settings.display_name,
        &delay_ms,
        &time_zone_name(&settings.active_hours.time_zone),
        &stored_windows(&settings.active_hours),
        &settings.daily_limit,
        &stored_policy(settings.claim_expiry_policy),
        &settings.settle_seconds,
        &settings.attribution_days,
        &settings.lead_list_complete,
        &now,
    ];
    txn.execute(sql, params).await?;
    if settings.lead_list_complete {
        // Wait for batches that are counting: whoever comes last sees both the declaration and the counts.
        let lock = "SELECT FROM campaign_counters WHERE workspace_id = $1 AND campaign_id = $2 FOR UPDATE";
        txn.execute(lock, &[&workspace_id, &campaign_id]).await?;
        campaigns_finish_in_txn(txn, workspace_id, &[campaign_id], now).await?;
    }
    Ok(())
}

/// Makes `accounts` the ones that serve the campaign. Of those that leave, leads with nothing delivered go back to any
/// account; the others wait, and the account stays marked as removed.
async fn accounts_write_in_txn(
    txn: &Transaction<'_>,
    (workspace_id, campaign_id): CampaignKey,
    name: &CampaignName,
    accounts: &[AccountId],
) -> Result<()> {
    let names: Vec<&str> = accounts.iter().map(AccountId::as_str).collect();
    let select = "SELECT account_id, name FROM accounts WHERE workspace_id = $1 AND name = ANY ($2) ORDER BY account_id FOR KEY SHARE";
    let rows = txn.query(select, &[&workspace_id, &names]).await?;
    if let Some(missing) = accounts
        .iter()
        .find(|id| rows.iter().all(|row| row.get::<_, &str>(1) != id.as_str()))
    {
        let account = AccountName {
            workspace: name.workspace.clone(),
            account: missing.clone(),
        };
        return Err(Error::Precondition {
            reason: "ACCOUNT_NOT_FOUND",
            message: format!("campaign.accounts: {account} does not exist; create it first"),
        });
    }
    let ids: Vec<i32> = rows.iter().map(|row| row.get(0)).collect();
    let insert = "INSERT INTO campaign_accounts (workspace_id, campaign_id, account_id) SELECT $1, $2, unnest($3::int4[])
        ON CONFLICT (workspace_id, campaign_id, account_id) DO UPDATE SET removed = false WHERE campaign_accounts.removed";
    txn.execute(insert, &[&workspace_id, &campaign_id, &ids]).await?;
    let leaving = "SELECT account_id FROM campaign_accounts
        WHERE workspace_id = $1 AND campaign_id = $2 AND NOT removed AND account_id <> ALL ($3)";
    for row in txn.query(leaving, &[&workspace_id, &campaign_id, &ids]).await? {
        account_leave_in_txn(txn, (workspace_id, campaign_id), row.get(0)).await?;
    }
    Ok(())
}

async fn account_leave_in_txn(
    txn: &Transaction<'_>,
    (workspace_id, campaign_id): CampaignKey,
    account_id: i32,
) -> Result<()> {
    let keys: &[&(dyn tokio_postgres::types::ToSql + Sync)] = &[&workspace_id, &campaign_id, &account_id];
    let steps = [
        // Leads never claimed, and first steps that came back, go to any account; so do their rows.
        "UPDATE leads l SET account_id = NULL
            WHERE l.workspace_id = $1 AND l.campaign_id = $2 AND l.account_id = $3 AND l.mask & 65535 = 0
                AND NOT EXISTS (SELECT FROM claims c WHERE c.workspace_id = $1 AND c.campaign_id = $2
                    AND c.block = l.lead_no >> 6 AND c.held >> (l.lead_no & 63) & 1 = 1)",
        "UPDATE segments SET account_id = 0 WHERE workspace_id = $1 AND campaign_id = $2 AND account_id = $3",
        "UPDATE returns SET account_id = 0 WHERE workspace_id = $1 AND campaign_id = $2 AND account_id = $3 AND step = 1",
    ];
    for step in steps {
        txn.execute(step, keys).await?;
    }
    let waits = "SELECT EXISTS (SELECT FROM returns WHERE workspace_id = $1 AND campaign_id = $2 AND account_id = $3)
        OR EXISTS (SELECT FROM claims WHERE workspace_id = $1 AND account_id = $3 AND campaign_id = $2 AND held <> 0)";
    let last = if txn.query_one(waits, keys).await?.get(0) {
        "UPDATE campaign_accounts SET removed = true WHERE workspace_id = $1 AND campaign_id = $2 AND account_id = $3"
    } else {
        "DELETE FROM campaign_accounts WHERE workspace_id = $1 AND campaign_id = $2 AND account_id = $3"
    };
    txn.execute(last, keys).await?;
    Ok(())
}
