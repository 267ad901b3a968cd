//! Campaigns: creation, reading and settings.

pub(super) mod counters;
mod delete;
pub(super) mod finish;
mod hold;
pub(super) mod lock;
mod owner;
pub(super) mod row;
pub(super) mod serving;
mod settings;
mod state;
pub(super) mod view;

use campaign_metrics::{
    campaign::{Campaign, CampaignField, CampaignSettings, CampaignState},
    invalid::Invalid,
    lead::Step,
    name::{AccountName, CampaignName, WorkspaceId},
};
use tracing::Instrument as _;

use self::{
    lock::{Actor, Attempt, campaign_lock_in_txn, campaign_note, check_actor},
    settings::{already_exists, campaign_insert_in_txn, settings_change, settings_in_txn, settings_write_in_txn},
    view::{CampaignSelector, campaign_load_in_txn, campaigns_load, single},
};
use super::{
    limit::{LimitOwner, zone_change_in_txn},
    request::{RequestId, RequestStatus, request_record_in_txn},
    row::{CampaignKey, campaign_key, campaign_key_in_txn, check_etag, stored_state, workspace_ensure_in_txn},
    transaction::{Kind, Store, in_txn, spans},
};
use crate::error::{Error, Result};

/// A campaign to create.
#[derive(Debug)]
pub struct NewCampaign<'a> {
    /// Resource name.
    pub name: &'a CampaignName,
    /// Settings.
    pub settings: &'a CampaignSettings,
    /// Makes a repeat return the campaign that the first call created.
    pub request: Option<&'a RequestId>,
}

impl Store {
    /// Creates a campaign.
    pub async fn campaign_create(&self, new: NewCampaign<'_>) -> Result<Campaign> {
        in_txn!(self, "campaign_create", Kind::Write, |txn, attempt| {
            let now = self.clock.now();
            let workspace_id = workspace_ensure_in_txn(&txn, &new.name.workspace, now).await?;
            let request = request_record_in_txn(&txn, workspace_id, new.request, None, now).await?;
            let campaign_key = match (campaign_key_in_txn(&txn, new.name).await?, request) {
                (Some(campaign_key), RequestStatus::Repeated(_)) => campaign_key,
                (None, RequestStatus::Repeated(_)) => return Err(Error::NotFound(new.name.to_string())),
                (Some(_), RequestStatus::New) => return Err(already_exists(new.name)),
                (None, RequestStatus::New) => {
                    campaign_insert_in_txn(&txn, workspace_id, new.name, new.settings, now).await?
                }
            };
            campaign_load_in_txn(&txn, campaign_key, new.name, now).await
        })
    }

    /// Reads a campaign.
    pub async fn campaign_get(&self, name: &CampaignName) -> Result<Campaign> {
        // One statement has one snapshot. A transaction would cost another round trip.
        let (span, waiting) = spans("campaign_get", 0);
        let mut client = self.client(Kind::Read).instrument(waiting).await?;
        let loaded = campaigns_load(&*client, CampaignSelector::Name(name), self.clock.now()).instrument(span).await;
        client.settled();
        single(loaded?, name)
    }

    /// Reads up to `limit` campaigns after `after`, by workspace and id: of one workspace, or of all; those in a state, and
    /// those that an account serves.
    pub async fn campaign_list(
        &self,
        workspace: Option<&WorkspaceId>,
        state: Option<CampaignState>,
        account: Option<&AccountName>,
        after: Option<(&str, &str)>,
        limit: i64,
    ) -> Result<Vec<Campaign>> {
        let sql = "
            SELECT c.workspace_id, c.campaign_id
            FROM campaigns c JOIN workspaces w USING (workspace_id)
            WHERE ($1::text IS NULL OR w.name = $1) AND ($2::int2 IS NULL OR c.state = $2)
                AND ($3::text IS NULL OR (w.name, c.name) > ($3, $4::text))
                AND ($6::text IS NULL OR w.name = $6 AND EXISTS (
                    SELECT FROM accounts a JOIN campaign_accounts s USING (workspace_id, account_id)
                    WHERE a.workspace_id = c.workspace_id AND a.name = $7::text AND s.campaign_id = c.campaign_id AND NOT s.removed))
            ORDER BY w.name, c.name LIMIT $5";
        let workspace = workspace.map(WorkspaceId::as_str);
        let (after_workspace, after_campaign) = after.unzip();
        let account = account.map(|account| (account.workspace.as_str(), account.account.as_str()));
        let (of_workspace, account) = account.unzip();
        in_txn!(self, "campaign_list", Kind::Read, |txn, attempt| {
            let statement = txn.prepare_cached(sql).await?;
            let params: &[&(dyn tokio_postgres::types::ToSql + Sync)] = &[
                &workspace,
                &state.map(stored_state),
                &after_workspace,
                &after_campaign,
                &limit,
                &of_workspace,
                &account,
            ];
            let rows = txn.query(&statement, params).await?;
            let keys: Vec<CampaignKey> = rows.iter().map(campaign_key).collect();
            campaigns_load(&txn, CampaignSelector::Keys(&keys), self.clock.now()).await
        })
    }

    /// Changes the named settings of a campaign. `steps` and `etag`, if given, must equal its steps and its revision.
    pub async fn campaign_update(
        &self,
        name: &CampaignName,
        new: &CampaignSettings,
        fields: &[CampaignField],
        steps: Option<Step>,
        etag: Option<i64>,
    ) -> Result<Campaign> {
        in_txn!(self, "campaign_update", Kind::Write, |txn, attempt| {
            let now = self.clock.now();
            let row = campaign_lock_in_txn(&txn, name).await?;
            check_actor(&row, Actor::Client, Attempt::Update)?;
            check_etag(&row, etag)?;
            let mut settings = settings_in_txn(&txn, &row).await?;
            if steps.is_some_and(|steps| steps != settings.steps) {
                let problem =
                    format!("is fixed at {}; leave it out, or create another campaign", settings.steps.number());
                return Err(Invalid::new("campaign.steps", problem).into());
            }
            let before = settings.clone();
            settings.update(new, fields);
            let zones = (&before.active_hours.time_zone, &settings.active_hours.time_zone);
            zone_change_in_txn(&txn, LimitOwner::Campaign, campaign_key(&row), zones, now).await?;
            settings_write_in_txn(&txn, &row, name, &settings, now).await?;
            campaign_note(&row, settings_change(&before, &settings));
            campaign_load_in_txn(&txn, campaign_key(&row), name, now).await
        })
    }
}
