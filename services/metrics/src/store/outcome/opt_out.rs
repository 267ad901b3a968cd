//! The opt-out list of a workspace: lead ids that get no message in any of its campaigns, now or added later.
//!
//! The transaction that adds an id also applies the opted-out fact to every lead with that id that can still change. If they are
//! very many, it begins with some, and `telling.rs` tells the others.

use std::collections::HashSet;

use campaign_metrics::{
    lead::Fact,
    name::{LeadId, OptOutName, WorkspaceId},
};
use deadpool_postgres::Transaction;
use jiff::Timestamp;

use super::{
    batch::Batch,
    terms::{Event, terms_lock_in_txn},
};
use crate::{
    changes,
    error::{Error, Result},
    store::{
        row::{CampaignKey, LEAD_ID, element_index, workspace_ensure_in_txn, workspace_in_txn},
        transaction::{Kind, Store, in_txn},
    },
};

/// Leads that one transaction tells: some tenths of a second of work.
pub(super) const TOLD_MAX: usize = 250;

/// An id on the list.
#[derive(Debug)]
pub struct OptOut {
    /// The lead id, with its workspace.
    pub name: OptOutName,
    /// When it was added.
    pub create_time: Timestamp,
}

/// A lead that shares its id with one that opted out.
pub(super) struct Namesake {
    /// Index of what opted out among the leads or ids that were given.
    pub(super) opt_out: usize,
    pub(super) lead_id: String,
    pub(super) campaign: CampaignKey,
    pub(super) lead_no: i32,
}

impl Namesake {
    /// The workspace and the id.
    pub(super) fn id(&self) -> (i32, &str) {
        (self.campaign.0, &self.lead_id)
    }
}

impl Store {
    /// Reads up to `limit` ids of the list after `after`.
    pub async fn opt_out_list(&self, workspace: &WorkspaceId, after: Option<&str>, limit: i64) -> Result<Vec<OptOut>> {
        let sql = "SELECT o.lead_id, o.created_at FROM opt_outs o JOIN workspaces w USING (workspace_id)
            WHERE w.name = $1 AND ($2::text IS NULL OR o.lead_id > $2) ORDER BY o.lead_id LIMIT $3";
        in_txn!(self, "opt_out_list", Kind::Read, |txn, attempt| {
            let rows = txn.query(sql, &[&workspace.as_str(), &after, &limit]).await?;
            let opt_out = |row: &tokio_postgres::Row| {
                let name = OptOutName { workspace: workspace.clone(), lead: row.get::<_, &str>(0).parse()? };
                Ok(OptOut { name, create_time: row.get(1) })
            };
            rows.iter().map(opt_out).collect()
        })
    }

    /// Adds ids to the list. Returns how many were not on it before.
    pub async fn opt_out_add(&self, workspace: &WorkspaceId, leads: &[LeadId]) -> Result<u64> {
        let add = "INSERT INTO opt_outs (workspace_id, lead_id, created_at)
            SELECT $1, lead_id, $3 FROM unnest($2::text[]) AS new (lead_id) ORDER BY lead_id ON CONFLICT DO NOTHING";
        let find = "SELECT i.campaign_id, i.lead_no, i.lead_id FROM lead_ids i
            JOIN leads l ON l.workspace_id = i.workspace_id AND l.campaign_id = i.campaign_id AND l.lead_no = i.lead_no
            WHERE i.workspace_id = $1 AND i.lead_id = ANY ($2) AND NOT has_fact(l.mask, opted_out_bit())";
        let ids: Vec<&str> = leads.iter().map(LeadId::as_str).collect();
        in_txn!(self, "opt_out_add", Kind::Write, |txn, attempt| {
            let workspace_id = workspace_ensure_in_txn(&txn, workspace, self.clock.now()).await?;
            workspaces_lock_in_txn(&txn, &[workspace_id]).await?;
            let now = self.clock.now();
            let added = txn.execute(add, &[&workspace_id, &ids, &now]).await?;
            opt_outs_note(workspace.as_str(), added, "added");
            let rows = txn.query(find, &[&workspace_id, &ids]).await?;
            let (told, later) = rows.split_at(rows.len().min(TOLD_MAX));
            let later: Vec<(i32, &str)> = later.iter().map(|row| (workspace_id, row.get(2))).collect();
            opt_outs_wait_in_txn(&txn, &later).await?;
            let leads: Vec<_> = told.iter().map(|row| ((workspace_id, row.get(0)), row.get(1))).collect();
            opt_out_in_txn(&txn, &leads, now, attempt).await?;
            Ok(added)
        })
    }

    /// Removes an id from the list.
    pub async fn opt_out_delete(&self, name: &OptOutName) -> Result<()> {
        let sql = "DELETE FROM opt_outs WHERE workspace_id = $1 AND lead_id = $2";
        let workspace_id: Result<Option<i32>> =
            in_txn!(self, "opt_out_delete", Kind::Read, |txn, attempt| workspace_in_txn(&txn, &name.workspace).await);
        if let Some(workspace_id) = workspace_id? {
            // Its leads of now have opted out. Those that are added later have not, so none may wait any more.
            self.opt_out_tell(workspace_id, name.lead.as_str()).await?;
        }
        in_txn!(self, "opt_out_delete", Kind::Write, |txn, attempt| {
            let deleted = match workspace_in_txn(&txn, &name.workspace).await? {
                Some(workspace_id) => txn.execute(sql, &[&workspace_id, &name.lead.as_str()]).await?,
                None => 0,
            };
            if deleted == 0 {
                return Err(Error::NotFound(name.to_string()));
            }
            opt_outs_note(name.workspace.as_str(), deleted, "removed");
            Ok(())
        })
    }
}

/// Notes a change of an opt-out list for the log, by its size alone: ids can be personal data.
pub(super) fn opt_outs_note(workspace: &str, ids: u64, change: &str) {
    if ids > 0 {
        changes::note(format!("workspaces/{workspace}"), format!("opt-out list: {ids} ids {change}"), None);
    }
}

/// Applies the opted-out fact to leads, unless the attribution time of their campaign has ended.
pub(in crate::store) async fn opt_out_in_txn(
    txn: &Transaction<'_>,
    leads: &[(CampaignKey, i32)],
    now: Timestamp,
    attempt: u32,
) -> Result<()> {
    if leads.is_empty() {
        return Ok(());
    }
    let mut keys: Vec<CampaignKey> = leads.iter().map(|(campaign, _)| *campaign).collect();
    keys.sort_unstable();
    keys.dedup();
    let terms = terms_lock_in_txn(txn, keys, now, attempt).await?;
    let events = leads.iter().filter(|(campaign, _)| terms.get(campaign).is_some_and(|terms| !terms.attribution_ended));
    let events = events
        .map(|(campaign, lead_no)| Event {
            source: None,
            campaign: *campaign,
            lead_no: *lead_no,
            fact: Fact::OptedOut,
            at: now,
        })
        .collect();
    Batch { txn, terms: &terms, now, attempt }.apply(events, &mut []).await
}

/// Finds all leads with the same ids as `leads`, which are about to opt out. Finds none for a lead that opted out before.
///
/// Locks the workspaces; the caller holds no other lock yet.
pub(super) async fn namesakes_in_txn(txn: &Transaction<'_>, leads: &[(CampaignKey, i32)]) -> Result<Vec<Namesake>> {
    if leads.is_empty() {
        return Ok(Vec::new());
    }
    let workspaces: Vec<i32> = leads.iter().map(|(campaign, _)| campaign.0).collect();
    let campaigns: Vec<i32> = leads.iter().map(|(campaign, _)| campaign.1).collect();
    let numbers: Vec<i32> = leads.iter().map(|(_, lead_no)| *lead_no).collect();
    let sql = format!(
        "SELECT key.place, i.lead_id, s.workspace_id, s.campaign_id, s.lead_no
        FROM unnest($1::int4[], $2::int4[], $3::int4[]) WITH ORDINALITY AS key (workspace_id, campaign_id, lead_no, place)
        CROSS JOIN LATERAL (
            SELECT l.mask, l.workspace_id, l.campaign_id, l.lead_no FROM leads l
            WHERE l.workspace_id = key.workspace_id AND l.campaign_id = key.campaign_id AND l.lead_no = key.lead_no LIMIT 1
        ) l
        {LEAD_ID}
        CROSS JOIN LATERAL (
            -- The order makes Postgres use the index by id, the only one that has it.
            SELECT s.workspace_id, s.campaign_id, s.lead_no FROM lead_ids s
            WHERE s.workspace_id = l.workspace_id AND s.lead_id >= i.lead_id AND s.lead_id <= i.lead_id
            ORDER BY s.lead_id OFFSET 0
        ) s
        WHERE NOT has_fact(l.mask, opted_out_bit())"
    );
    workspaces_lock_in_txn(txn, &workspaces).await?;
    let statement = txn.prepare_cached(&sql).await?;
    let rows = txn.query(&statement, &[&workspaces, &campaigns, &numbers]).await?;
    Ok(rows.iter().map(namesake).collect())
}

/// Finds all leads with the ids of `opt_outs`: ordinal, workspace and id of each. Locks the workspaces, like
/// [`namesakes_in_txn`].
pub(super) async fn namesakes_of_ids_in_txn(
    txn: &Transaction<'_>,
    opt_outs: &[(usize, i32, &str)],
) -> Result<Vec<Namesake>> {
    if opt_outs.is_empty() {
        return Ok(Vec::new());
    }
    let workspaces: Vec<i32> = opt_outs.iter().map(|(_, workspace_id, _)| *workspace_id).collect();
    let ids: Vec<&str> = opt_outs.iter().map(|(.., id)| *id).collect();
    // As in `namesakes_in_txn`, the order makes Postgres use the index by id.
    let sql = "SELECT key.place, key.lead_id, s.workspace_id, s.campaign_id, s.lead_no
        FROM unnest($1::int4[], $2::text[]) WITH ORDINALITY AS key (workspace_id, lead_id, place)
        CROSS JOIN LATERAL (
            SELECT s.workspace_id, s.campaign_id, s.lead_no FROM lead_ids s
            WHERE s.workspace_id = key.workspace_id AND s.lead_id >= key.lead_id AND s.lead_id <= key.lead_id
            ORDER BY s.lead_id OFFSET 0
        ) s";
    workspaces_lock_in_txn(txn, &workspaces).await?;
    let statement = txn.prepare_cached(sql).await?;
    let rows = txn.query(&statement, &[&workspaces, &ids]).await?;
    Ok(rows.iter().map(namesake).collect())
}

fn namesake(row: &tokio_postgres::Row) -> Namesake {
    Namesake {
        opt_out: element_index(row),
        lead_id: row.get("lead_id"),
        campaign: (row.get("workspace_id"), row.get("campaign_id")),
        lead_no: row.get("lead_no"),
    }
}

/// Adds ids to the opt-out lists of their workspaces. Returns those that were not on them.
pub(super) async fn opt_outs_insert_in_txn(
    txn: &Transaction<'_>,
    ids: &[(i32, &str)],
    now: Timestamp,
) -> Result<HashSet<(i32, String)>> {
    if ids.is_empty() {
        return Ok(HashSet::new());
    }
    let (workspaces, leads): (Vec<i32>, Vec<&str>) = ids.iter().copied().unzip();
    let sql = "INSERT INTO opt_outs (workspace_id, lead_id, created_at)
        SELECT DISTINCT workspace_id, lead_id, $3::timestamptz FROM unnest($1::int4[], $2::text[]) AS new (workspace_id, lead_id)
        ORDER BY 1, 2 ON CONFLICT DO NOTHING RETURNING workspace_id, lead_id";
    let statement = txn.prepare_cached(sql).await?;
    let rows = txn.query(&statement, &[&workspaces, &leads, &now]).await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// Makes ids wait whose leads were not all told.
pub(super) async fn opt_outs_wait_in_txn(txn: &Transaction<'_>, ids: &[(i32, &str)]) -> Result<()> {
    if ids.is_empty() {
        return Ok(());
    }
    let (workspaces, leads): (Vec<i32>, Vec<&str>) = ids.iter().copied().unzip();
    // An id that waits already begins again: it may have leads that were added in between.
    let sql = "INSERT INTO opt_outs_waiting (workspace_id, lead_id)
        SELECT DISTINCT workspace_id, lead_id FROM unnest($1::int4[], $2::text[]) AS new (workspace_id, lead_id)
        ORDER BY 1, 2 ON CONFLICT (workspace_id, lead_id) DO UPDATE SET told_to = 0";
    let statement = txn.prepare_cached(sql).await?;
    txn.execute(&statement, &[&workspaces, &leads]).await?;
    Ok(())
}

/// Keeps leads from being added to workspaces until the commit.
///
/// A row lock alone is not fair: while imports that overlap share it, an opt-out never gets it. So both first queue at an
/// advisory lock, which is granted in the order of the requests. See `lead/add.rs`.
async fn workspaces_lock_in_txn(txn: &Transaction<'_>, workspaces: &[i32]) -> Result<()> {
    let sql = "WITH queued AS MATERIALIZED (
            SELECT workspace_id, pg_advisory_xact_lock(hashtext('campaign-metrics opt-outs'), workspace_id)
            FROM (SELECT DISTINCT unnest($1::int4[]) AS workspace_id ORDER BY 1) key
        )
        SELECT FROM queued q JOIN workspaces w ON w.workspace_id = q.workspace_id
        ORDER BY w.workspace_id FOR NO KEY UPDATE OF w";
    let statement = txn.prepare_cached(sql).await?;
    txn.execute(&statement, &[&workspaces]).await?;
    Ok(())
}
