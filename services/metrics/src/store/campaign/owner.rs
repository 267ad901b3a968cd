//! Applies what the owner of a campaign, a Kubernetes resource, declares: settings and state. Its UID identifies the owner.
//!
//! A generation or fencing token older than the stored one is refused here, in the transaction that would write it.

use campaign_metrics::{
    campaign::{AdoptionPolicy, Campaign, CampaignSettings, CampaignState, Owner},
    name::CampaignName,
};
use deadpool_postgres::Transaction;
use tokio_postgres::{Row, types::ToSql};

use super::{
    lock::{Actor, campaign_lock_in_txn, check_actor, owned_by_other},
    row::owner_from_row,
    settings::{campaign_insert_in_txn, settings_in_txn, settings_write_in_txn},
    state::state_set_in_txn,
    view::campaign_load_in_txn,
};
use crate::{
    error::{Error, Result},
    store::{
        row::{campaign_key, campaign_key_in_txn, stored_state, workspace_ensure_in_txn},
        sqlstate::is_unique_violation,
        transaction::{Kind, Store, in_txn},
    },
};

impl Store {
    /// Gives a campaign the settings and the state that its owner declares. Creates it if it does not exist.
    pub async fn campaign_apply(
        &self,
        name: &CampaignName,
        settings: &CampaignSettings,
        state: CampaignState,
        owner: &Owner,
        adoption: AdoptionPolicy,
    ) -> Result<Campaign> {
        in_txn!(self, "campaign_apply", Kind::Write, |txn, attempt| {
            let now = self.clock.now();
            let workspace_id = workspace_ensure_in_txn(&txn, &name.workspace, now).await?;
            let mut adoption = adoption;
            if campaign_key_in_txn(&txn, name).await?.is_none() {
                campaign_insert_in_txn(&txn, workspace_id, name, settings, now).await?;
                // The campaign was created for this owner, so the policy that forbids adoption does not apply.
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
            campaign_load_in_txn(&txn, campaign_key(&row), name, now).await
        })
    }

    /// Ends the management of a campaign by the owner with this UID.
    pub async fn campaign_orphan(&self, name: &CampaignName, owner_uid: &str) -> Result<Campaign> {
        in_txn!(self, "campaign_orphan", Kind::Write, |txn, attempt| {
            let row = campaign_lock_in_txn(&txn, name).await?;
            if row.get::<_, Option<&str>>("owner_uid").is_some() {
                check_actor(&row, Actor::Owner(owner_uid))?;
                owner_write_in_txn(&txn, &row, None).await?;
            }
            campaign_load_in_txn(&txn, campaign_key(&row), name, self.clock.now()).await
        })
    }
}

fn check_owner(row: &Row, name: &CampaignName, new: &Owner, adoption: AdoptionPolicy) -> Result<()> {
    match owner_from_row(row) {
        Some(old) if old.uid != new.uid => Err(owned_by_other(&old)),
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
    let (workspace_id, campaign_id) = campaign_key(row);
    let sql =
        "UPDATE campaigns SET owner_resource = $3, owner_uid = $4, owner_generation = $5, owner_fencing_token = $6,
        revision = revision + 1 WHERE workspace_id = $1 AND campaign_id = $2";
    let resource = owner.map(|owner| owner.resource.as_str());
    let uid = owner.map(|owner| owner.uid.as_str());
    let generation = owner.map(|owner| owner.generation);
    let fencing_token = owner.map(|owner| owner.fencing_token);
    let params: &[&(dyn ToSql + Sync)] = &[&workspace_id, &campaign_id, &resource, &uid, &generation, &fencing_token];
    match txn.execute(sql, params).await {
        Err(error) if is_unique_violation(&error) => Err(Error::Precondition {
            reason: "OWNER_HAS_CAMPAIGN",
            message: "the owner's UID owns another campaign of this workspace; orphan that one first".to_owned(),
        }),
        result => Ok(result.map(|_| ())?),
    }
}
