//! The row lock of a campaign, and who may change the campaign.

use campaign_metrics::{
    campaign::{CampaignState, Owner},
    name::CampaignName,
};
use deadpool_postgres::Transaction;
use jiff::Timestamp;
use tokio_postgres::Row;

use super::row::{campaign_columns, owner_from_row};
use crate::{
    changes,
    error::{Error, Result},
};

/// The caller that changes a campaign.
#[derive(Debug, Clone, Copy)]
pub enum Actor<'a> {
    /// Any client. Refused if a Kubernetes resource manages the campaign.
    Client,
    /// The owner with this UID.
    Owner(&'a str),
}

/// What a caller wants to do to a campaign. A refusal says it, and how to reach it instead.
#[derive(Debug, Clone, Copy)]
pub(in crate::store) enum Attempt {
    /// Give it this state.
    State(CampaignState),
    /// Change its settings.
    Update,
    /// Delete it.
    Delete,
}

/// Locks a campaign against claims and other changes, not against outcomes.
pub(in crate::store) async fn campaign_lock_in_txn(txn: &Transaction<'_>, name: &CampaignName) -> Result<Row> {
    let sql = concat!(
        "SELECT ",
        campaign_columns!(),
        ", w.name AS workspace FROM campaigns c JOIN workspaces w USING (workspace_id)
        WHERE w.name = $1 AND c.name = $2 FOR NO KEY UPDATE OF c"
    );
    let statement = txn.prepare_cached(sql).await?;
    let row = txn.query_opt(&statement, &[&name.workspace.as_str(), &name.campaign.as_str()]).await?;
    row.ok_or_else(|| Error::NotFound(name.to_string()))
}

/// Notes a change of a locked campaign for the log.
pub(in crate::store) fn campaign_note(row: &Row, change: String) {
    let name = format!("workspaces/{}/campaigns/{}", row.get::<_, &str>("workspace"), row.get::<_, &str>("name"));
    changes::note(name, change, owner_from_row(row).map(|owner| owner.resource));
}

/// Refuses clients if a Kubernetes resource manages the campaign, and every owner but its own.
pub(in crate::store) fn check_actor(row: &Row, actor: Actor<'_>, attempt: Attempt) -> Result<()> {
    match (owner_from_row(row), actor) {
        (None, Actor::Client) => Ok(()),
        (Some(owner), Actor::Client) => Err(managed(row, &owner, attempt)),
        (_, Actor::Owner(uid)) => check_owner_uid(row, uid),
    }
}

/// Refuses every owner but that with this UID.
pub(in crate::store) fn check_owner_uid(row: &Row, uid: &str) -> Result<()> {
    match owner_from_row(row) {
        Some(owner) if owner.uid == uid => Ok(()),
        Some(owner) => Err(owned_by_other(&owner)),
        None => Err(Error::Precondition {
            reason: "CAMPAIGN_NOT_OWNED",
            message: "the campaign has no owner".to_owned(),
            about: Vec::new(),
        }),
    }
}

/// The error for a client that changes a campaign of a Kubernetes resource. It names the ways that remain.
fn managed(row: &Row, owner: &Owner, attempt: Attempt) -> Error {
    let is_held = row.get::<_, Option<Timestamp>>("held_at").is_some();
    let edit = format!("edit the Campaign resource {}", owner.resource);
    let way = match attempt {
        Attempt::State(CampaignState::Paused) => {
            format!("to pause it, {edit}, or pause it with `override`, which places a hold")
        }
        Attempt::State(CampaignState::Active) if is_held => {
            format!("to resume it, {edit}, or resume it with `override`, which lifts its hold")
        }
        Attempt::State(CampaignState::Active) => format!("to resume it, {edit}"),
        Attempt::State(CampaignState::Finished) => format!("to finish it, {edit}"),
        Attempt::Update => format!("to change its settings, {edit}"),
        Attempt::Delete => {
            format!("to delete it, {edit} so that its `deletionPolicy` is Delete, and delete the resource")
        }
    };
    let message = format!(
        "the campaign is managed by Kubernetes: {way}. If that resource is gone for good, orphan the campaign first"
    );
    Error::Precondition { reason: "CAMPAIGN_MANAGED", message, about: Vec::new() }
}

/// The error for a campaign that another owner has.
pub(in crate::store) fn owned_by_other(owner: &Owner) -> Error {
    let cluster = if owner.cluster.is_empty() { "not known" } else { &owner.cluster };
    let message = format!(
        "the campaign is owned by the Campaign resource {} (UID {}, cluster {cluster}); if that is gone, orphan the campaign \
         or apply with the adoption policy ALWAYS",
        owner.resource, owner.uid
    );
    let mut about = vec![("owner", owner.resource.clone()), ("owner_uid", owner.uid.clone())];
    if !owner.cluster.is_empty() {
        about.push(("owner_cluster", owner.cluster.clone()));
    }
    Error::Precondition { reason: "CAMPAIGN_OWNED", message, about }
}
