//! The row lock of a campaign, and who may change the campaign.

use campaign_metrics::{campaign::Owner, name::CampaignName};
use deadpool_postgres::Transaction;
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
pub(in crate::store) fn check_actor(row: &Row, actor: Actor<'_>) -> Result<()> {
    let owner = owner_from_row(row);
    match (owner, actor) {
        (None, Actor::Client) => Ok(()),
        (Some(owner), Actor::Owner(uid)) if owner.uid == uid => Ok(()),
        (Some(owner), Actor::Client) => Err(Error::Precondition {
            reason: "CAMPAIGN_MANAGED",
            message: format!(
                "the campaign is managed by Kubernetes; edit the Campaign resource {} instead. To stop it all the same, pause \
                 it with `override`",
                owner.resource
            ),
        }),
        (Some(owner), Actor::Owner(_)) => Err(owned_by_other(&owner)),
        (None, Actor::Owner(_)) => {
            Err(Error::Precondition { reason: "CAMPAIGN_NOT_OWNED", message: "the campaign has no owner".to_owned() })
        }
    }
}

/// The error for a campaign that another owner has.
pub(in crate::store) fn owned_by_other(owner: &Owner) -> Error {
    let cluster = if owner.cluster.is_empty() { "not known" } else { &owner.cluster };
    let message = format!(
        "the campaign is owned by the Campaign resource {} (UID {}, cluster {cluster}); if that is gone, orphan the campaign \
         or apply with the adoption policy ALWAYS",
        owner.resource, owner.uid
    );
    Error::Precondition { reason: "CAMPAIGN_OWNED", message }
}
