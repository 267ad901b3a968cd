//! Applies what the owner of a campaign, a Kubernetes resource, declares: settings and state. Its UID identifies the owner;
//! the same resource with another UID was created again, and takes over.
//!
//! A generation or fencing token older than the stored one is refused here, in the transaction that would write it.

use campaign_metrics::{
    campaign::{AdoptionPolicy, Campaign, CampaignSettings, CampaignState, Owner},
    name::CampaignName,
};
use deadpool_postgres::Transaction;
use jiff::Timestamp;
use tokio_postgres::{Row, types::ToSql};

use super::{
    hold::declared_state_in_txn,
    lock::{campaign_lock_in_txn, campaign_note, check_owner_uid, owned_by_other},
    row::owner_from_row,
    serving::accounts_retain_in_txn,
    settings::{campaign_insert_in_txn, settings_change, settings_in_txn, settings_write_in_txn},
    state::state_set_in_txn,
    view::campaign_load_in_txn,
};
use crate::{
    changes::{self, difference, or_none},
    error::{Error, Result},
    store::{
        limit::{LimitOwner, zone_change_in_txn},
        row::{campaign_key, campaign_key_in_txn, campaign_state, workspace_ensure_in_txn},
        sqlstate::is_unique_violation,
        transaction::{Kind, Store, in_txn},
    },
};

impl Store {
    /// Gives a campaign the settings and the state that its owner declares. Creates it if it does not exist. A hold that the
    /// owner's generation, edited at `edit_time`, does not lift keeps the campaign paused.
    pub async fn campaign_apply(
        &self,
        name: &CampaignName,
        settings: &CampaignSettings,
        state: CampaignState,
        owner: &Owner,
        adoption: AdoptionPolicy,
        edit_time: Option<Timestamp>,
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
                let steps = before.steps.number();
                return Err(Error::Precondition {
                    reason: "IMMUTABLE_FIELD",
                    message: format!("campaign.steps of {name} is fixed at {steps}; create another campaign"),
                    about: vec![("field", "campaign.steps".to_owned()), ("value", steps.to_string())],
                });
            }
            let mut wanted = settings.clone();
            wanted.lead_list_complete |= before.lead_list_complete;
            if campaign_state(row.get("state"))? == CampaignState::Finished {
                // Accounts may be deleted once their campaigns are finished, and resources need not be edited for that.
                accounts_retain_in_txn(&txn, workspace_id, &mut wanted.accounts).await?;
            }
            if wanted != before {
                let zones = (&before.active_hours.time_zone, &wanted.active_hours.time_zone);
                zone_change_in_txn(&txn, LimitOwner::Campaign, campaign_key(&row), zones, now).await?;
                settings_write_in_txn(&txn, &row, name, &wanted, now).await?;
                changes::note(name, settings_change(&before, &wanted), Some(owner.resource.clone()));
            }
            let owner_before = owner_from_row(&row);
            if owner_before.as_ref() != Some(owner) {
                owner_write_in_txn(&txn, &row, Some(owner)).await?;
            }
            // The settings can have finished the campaign.
            let row = campaign_lock_in_txn(&txn, name).await?;
            declared_state_in_txn(&txn, &row, state, (owner_before.as_ref(), owner), edit_time, now).await?;
            campaign_load_in_txn(&txn, campaign_key(&row), name, now).await
        })
    }

    /// Ends the management of a campaign by the owner with this UID. With `pause`, pauses the campaign if it is active.
    pub async fn campaign_orphan(&self, name: &CampaignName, owner_uid: &str, pause: bool) -> Result<Campaign> {
        in_txn!(self, "campaign_orphan", Kind::Write, |txn, attempt| {
            let now = self.clock.now();
            let row = campaign_lock_in_txn(&txn, name).await?;
            if row.get::<_, Option<&str>>("owner_uid").is_some() {
                check_owner_uid(&row, owner_uid)?;
                owner_write_in_txn(&txn, &row, None).await?;
                if pause && campaign_state(row.get("state"))? == CampaignState::Active {
                    state_set_in_txn(&txn, &row, CampaignState::Paused, now).await?;
                }
            }
            campaign_load_in_txn(&txn, campaign_key(&row), name, now).await
        })
    }
}

fn check_owner(row: &Row, name: &CampaignName, new: &Owner, adoption: AdoptionPolicy) -> Result<()> {
    match owner_from_row(row) {
        Some(old) if old.uid != new.uid && !new.is_recreated(&old) => match adoption {
            AdoptionPolicy::Always => Ok(()),
            AdoptionPolicy::IfUnowned | AdoptionPolicy::Never => Err(owned_by_other(&old)),
        },
        // A resource that was created again counts its generations anew.
        Some(old)
            if new.fencing_token < old.fencing_token || (old.uid == new.uid && new.generation < old.generation) =>
        {
            Err(Error::Stale {
                reason: "STALE_OWNER",
                message: format!(
                    "generation {} with fencing token {} was seen already; another controller is ahead",
                    old.generation, old.fencing_token
                ),
            })
        }
        None if adoption == AdoptionPolicy::Never => Err(Error::Precondition {
            reason: "CAMPAIGN_NOT_ADOPTABLE",
            about: Vec::new(),
            message: format!("{name} exists without owner and adoption_policy is NEVER; delete it or allow adoption"),
        }),
        _ => Ok(()),
    }
}

/// Says how the owner of a campaign changes; nothing if it is the same resource.
fn owner_change(before: Option<&Owner>, after: Option<&Owner>) -> String {
    let text = |owner: Option<&Owner>| {
        or_none(
            owner.map(|Owner { resource, uid, cluster, .. }| format!("{resource} (UID {uid}, cluster {cluster:?})")),
        )
    };
    difference(&[("owner", text(before))], &[("owner", text(after))])
}

async fn owner_write_in_txn(txn: &Transaction<'_>, row: &Row, owner: Option<&Owner>) -> Result<()> {
    let (workspace_id, campaign_id) = campaign_key(row);
    let sql =
        "UPDATE campaigns SET owner_resource = $3, owner_uid = $4, owner_generation = $5, owner_fencing_token = $6,
        owner_cluster = $7, revision = revision + 1 WHERE workspace_id = $1 AND campaign_id = $2";
    let resource = owner.map(|owner| owner.resource.as_str());
    let uid = owner.map(|owner| owner.uid.as_str());
    let generation = owner.map(|owner| owner.generation);
    let fencing_token = owner.map(|owner| owner.fencing_token);
    let cluster = owner.map(|owner| owner.cluster.as_str()).filter(|cluster| !cluster.is_empty());
    let params: &[&(dyn ToSql + Sync)] =
        &[&workspace_id, &campaign_id, &resource, &uid, &generation, &fencing_token, &cluster];
    campaign_note(row, owner_change(owner_from_row(row).as_ref(), owner));
    match txn.execute(sql, params).await {
        Err(error) if is_unique_violation(&error) => Err(Error::Precondition {
            reason: "OWNER_HAS_CAMPAIGN",
            about: Vec::new(),
            message: "the owner's UID owns another campaign of this workspace; orphan that one first".to_owned(),
        }),
        result => Ok(result.map(|_| ())?),
    }
}
