//! Campaigns: creation, reading, settings, deletion.

use campaign_metrics::{
    campaign::{Campaign, CampaignField, CampaignSettings, CampaignState, Owner},
    invalid::Invalid,
    lead::Step,
    name::{CampaignName, WorkspaceId},
};
use deadpool_postgres::Transaction;
use jiff::Timestamp;
use tokio_postgres::Row;

use super::{
    Kind, Store,
    campaign_state::{key, one},
    campaign_view::{CampaignKey, Which, campaigns_load, owner_from_row, stored_state},
    campaign_write::{campaign_insert_in_txn, settings_in_txn, settings_write_in_txn},
    in_txn,
    lead_remove::campaign_leave_in_txn,
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
            let seen = request_note_in_txn(&txn, workspace_id, new.request, None, now).await?;
            let campaign_key = match (campaign_key_in_txn(&txn, new.name).await?, seen) {
                (Some(campaign_key), Seen::Before(_)) => campaign_key,
                (None, Seen::Before(_)) => return Err(Error::NotFound(new.name.to_string())),
                (Some(_), Seen::Never) => return Err(exists(new.name)),
                (None, Seen::Never) => campaign_insert_in_txn(&txn, workspace_id, new.name, new.settings, now).await?,
            };
            one(campaigns_load(&txn, Which::Keys(&[campaign_key]), now).await?, new.name)
        })
    }

    /// Reads a campaign.
    pub async fn campaign_get(&self, name: &CampaignName) -> Result<Campaign> {
        // One statement is one snapshot: it needs no transaction, which would be another round trip.
        let client = self.client(Kind::Read).await?;
        one(campaigns_load(&client, Which::Name(name), self.clock.now()).await?, name)
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
            let params: &[&(dyn tokio_postgres::types::ToSql + Sync)] =
                &[&workspace, &state.map(stored_state), &after_workspace, &after_campaign, &limit];
            let rows = txn.query(&statement, params).await?;
            let keys: Vec<CampaignKey> = rows.iter().map(key).collect();
            campaigns_load(&txn, Which::Keys(&keys), self.clock.now()).await
        })
    }

    /// Changes the named settings of a campaign; `steps`, when given, must be those it has, and `etag` its revision.
    pub async fn campaign_update(
        &self,
        name: &CampaignName,
        new: &CampaignSettings,
        fields: &[CampaignField],
        steps: Option<Step>,
        etag: Option<i64>,
    ) -> Result<Campaign> {
        in_txn!(self, Kind::Write, |txn, attempt| {
            let now = self.clock.now();
            let row = campaign_lock_in_txn(&txn, name).await?;
            check_actor(&row, Actor::Client)?;
            check_etag(&row, etag)?;
            let mut settings = settings_in_txn(&txn, &row).await?;
            if steps.is_some_and(|steps| steps != settings.steps) {
                let problem =
                    format!("is fixed at {}; leave it out, or create another campaign", settings.steps.number());
                return Err(Invalid::new("campaign.steps", problem).into());
            }
            settings.update(new, fields);
            settings_write_in_txn(&txn, &row, name, &settings, now).await?;
            one(campaigns_load(&txn, Which::Keys(&[key(&row)]), now).await?, name)
        })
    }

    /// Deletes a campaign with its leads, which nobody sees any more from then on; `force` although claims are held or uncertain.
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
            let open = "SELECT granted - closed_claims FROM campaign_claims g JOIN campaign_counters k USING (workspace_id, campaign_id)
                WHERE workspace_id = $1 AND campaign_id = $2";
            let open: i64 = txn.query_one(open, &[&workspace_id, &campaign_id]).await?.get(0);
            if open > 0 && !force {
                return Err(Error::Precondition {
                    reason: "CLAIMS_OPEN",
                    message: format!(
                        "{name} has {open} claims held or uncertain; wait for their outcomes, release them, or set force"
                    ),
                });
            }
            campaign_leave_in_txn(&txn, (workspace_id, campaign_id), self.clock.now()).await
        })
    }
}

/// The error for a name that is taken.
pub(super) fn exists(name: &CampaignName) -> Error {
    let message = format!("{name} exists; choose another id, or update it");
    Error::AlreadyExists { reason: "CAMPAIGN_EXISTS", message }
}

/// Number of a workspace, which comes into being with its first resource.
pub(super) async fn workspace_ensure_in_txn(txn: &Transaction<'_>, name: &WorkspaceId, now: Timestamp) -> Result<i32> {
    if let Some(id) = workspace_in_txn(txn, name).await? {
        return Ok(id);
    }
    let sql = "INSERT INTO workspaces (name, created_at) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING";
    txn.execute(sql, &[&name.as_str(), &now]).await?;
    workspace_in_txn(txn, name).await?.ok_or_else(|| super::campaign_view::broken("a workspace vanished"))
}

/// Number of a workspace that exists.
pub(super) async fn workspace_in_txn(txn: &Transaction<'_>, name: &WorkspaceId) -> Result<Option<i32>> {
    let statement = txn.prepare_cached("SELECT workspace_id FROM workspaces WHERE name = $1").await?;
    Ok(txn.query_opt(&statement, &[&name.as_str()]).await?.map(|row| row.get(0)))
}

/// Numbers of a campaign that exists.
pub(super) async fn campaign_key_in_txn(txn: &Transaction<'_>, name: &CampaignName) -> Result<Option<CampaignKey>> {
    let sql = "SELECT c.workspace_id, c.campaign_id FROM campaigns c JOIN workspaces w USING (workspace_id)
        WHERE w.name = $1 AND c.name = $2";
    let statement = txn.prepare_cached(sql).await?;
    let row = txn.query_opt(&statement, &[&name.workspace.as_str(), &name.campaign.as_str()]).await?;
    Ok(row.as_ref().map(key))
}

/// Locks a campaign against claims and other changes, not against outcomes.
pub(super) async fn campaign_lock_in_txn(txn: &Transaction<'_>, name: &CampaignName) -> Result<Row> {
    let sql = "SELECT c.* FROM campaigns c JOIN workspaces w USING (workspace_id)
        WHERE w.name = $1 AND c.name = $2 FOR NO KEY UPDATE OF c";
    let statement = txn.prepare_cached(sql).await?;
    let row = txn.query_opt(&statement, &[&name.workspace.as_str(), &name.campaign.as_str()]).await?;
    row.ok_or_else(|| Error::NotFound(name.to_string()))
}

/// Refuses a stale revision.
pub(super) fn check_etag(row: &Row, etag: Option<i64>) -> Result<()> {
    if etag.is_some_and(|etag| etag != row.get::<_, i64>("revision")) {
        let message = "the etag is not the present one: read again, then repeat".to_owned();
        return Err(Error::Stale { reason: "ETAG_MISMATCH", message });
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
        (None, Actor::Owner(_)) => {
            Err(Error::Precondition { reason: "CAMPAIGN_NOT_OWNED", message: "the campaign has no owner".to_owned() })
        }
    }
}

/// The error for a campaign of another owner.
pub(super) fn owned(owner: &Owner) -> Error {
    let message = format!("the campaign is owned by the Campaign resource {} (UID {})", owner.resource, owner.uid);
    Error::Precondition { reason: "CAMPAIGN_OWNED", message }
}
