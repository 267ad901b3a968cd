//! Adds leads in bulk. They are numbered densely, those of one account next to each other, so that claims take ranges.

use std::collections::{BTreeMap, HashMap, hash_map::Entry};

use campaign_metrics::{
    campaign::CampaignState,
    name::{AccountId, CampaignName, LeadId},
};
use deadpool_postgres::Transaction;
use tokio_postgres::types::ToSql;

use crate::{
    changes,
    error::{Error, Result},
    store::{
        campaign::{
            counters::{account_leads_change_in_txn, counters_lock_in_txn},
            finish::{Emptied, campaigns_finish_in_txn},
        },
        outcome::opt_out::opt_out_in_txn,
        row::{ANY_ACCOUNT, CampaignKey, PENDING, campaign_key, campaign_state},
        transaction::{Kind, Store, in_txn},
    },
};

/// Largest number of a lead within its campaign. Below the largest int4, because ends of segments and of blocks lie behind it.
const NUMBER_MAX: i64 = 2_000_000_000;

/// A lead to add.
#[derive(Debug, Clone)]
pub struct NewLead {
    /// The caller's own id.
    pub id: LeadId,
    /// The account that will send to it.
    pub account: Option<AccountId>,
}

/// Why a lead was not added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Its account does not serve the campaign.
    AccountNotServing(AccountId),
    /// The lead exists with another account.
    AccountDiffers,
}

/// The result of adding a batch of leads.
#[derive(Debug, Default)]
pub struct AddedLeads {
    /// Number of leads added.
    pub added: i64,
    /// Number of leads that existed already.
    pub existing: i64,
    /// Index in the batch and reason for each lead refused.
    pub refused: Vec<(usize, Refusal)>,
}

impl Store {
    /// Adds leads to a campaign in one transaction, and declares its list complete when `complete`.
    pub async fn leads_add(&self, name: &CampaignName, leads: &[NewLead], complete: bool) -> Result<AddedLeads> {
        in_txn!(self, "leads_add", Kind::BulkWrite, |txn, attempt| {
            let now = self.clock.now();
            workspace_lock_share_in_txn(&txn, name).await?;
            let (workspace_id, campaign_id) = campaign_lock_key_share_in_txn(&txn, name).await?;
            // Locks the accounts before the counters, as an update of a campaign's accounts does.
            let serving = serving_in_txn(&txn, workspace_id, campaign_id, leads).await?;
            let (state, is_complete) = state_in_txn(&txn, workspace_id, campaign_id).await?;
            let (result, groups) = leads_sort_in_txn(&txn, workspace_id, campaign_id, leads, &serving).await?;
            if state == CampaignState::Finished {
                // A repeat of what is there changes nothing.
                return refuse_change(name, result, complete && !is_complete);
            }
            if !leads.is_empty() {
                if result.added > 0 {
                    groups_insert_in_txn(&txn, workspace_id, campaign_id, groups, result.added).await?;
                }
                let opted_out = opted_out_in_txn(&txn, (workspace_id, campaign_id), leads).await?;
                opt_out_in_txn(&txn, &opted_out, now, attempt).await?;
            }
            if complete {
                let declare = "UPDATE campaigns SET lead_list_complete = true, updated_at = $3, revision = revision + 1
                    WHERE workspace_id = $1 AND campaign_id = $2 AND NOT lead_list_complete";
                if txn.execute(declare, &[&workspace_id, &campaign_id, &now]).await? > 0 {
                    changes::note(name, "lead_list_complete false -> true".to_owned(), None);
                }
                campaigns_finish_in_txn(&txn, workspace_id, &[campaign_id], Emptied::StaysOpen, now).await?;
            }
            Ok(result)
        })
    }
}

/// Locks the workspace, so that no id is added to its opt-out list before the commit. Waits behind opt-outs that wait: see
/// `outcome/opt_out.rs`.
async fn workspace_lock_share_in_txn(txn: &Transaction<'_>, name: &CampaignName) -> Result<()> {
    let lock = "WITH queued AS MATERIALIZED (
            SELECT workspace_id, pg_advisory_xact_lock_shared(hashtext('campaign-metrics opt-outs'), workspace_id)
            FROM workspaces WHERE name = $1
        )
        SELECT FROM queued q JOIN workspaces w ON w.workspace_id = q.workspace_id FOR SHARE OF w";
    let lock = txn.prepare_cached(lock).await?;
    txn.execute(&lock, &[&name.workspace.as_str()]).await?;
    Ok(())
}

/// Finds leads of the batch that are on the opt-out list but do not have that fact yet.
async fn opted_out_in_txn(
    txn: &Transaction<'_>,
    campaign: CampaignKey,
    leads: &[NewLead],
) -> Result<Vec<(CampaignKey, i32)>> {
    let sql = "SELECT i.lead_no FROM unnest($3::text[]) AS named (lead_id)
        CROSS JOIN LATERAL (
            SELECT lead_id FROM opt_outs WHERE workspace_id = $1 AND lead_id = named.lead_id LIMIT 1
        ) o
        CROSS JOIN LATERAL (
            SELECT lead_no FROM lead_ids WHERE workspace_id = $1 AND lead_id = o.lead_id AND campaign_id = $2 LIMIT 1
        ) i
        CROSS JOIN LATERAL (
            SELECT mask FROM leads WHERE workspace_id = $1 AND campaign_id = $2 AND lead_no = i.lead_no LIMIT 1
        ) l
        WHERE NOT has_fact(l.mask, opted_out_bit())";
    let ids: Vec<&str> = leads.iter().map(|lead| lead.id.as_str()).collect();
    let statement = txn.prepare_cached(sql).await?;
    let rows = txn.query(&statement, &[&campaign.0, &campaign.1, &ids]).await?;
    Ok(rows.iter().map(|row| (campaign, row.get(0))).collect())
}

/// Locks the campaign, so that it is not deleted before the commit. Returns its key.
async fn campaign_lock_key_share_in_txn(txn: &Transaction<'_>, name: &CampaignName) -> Result<(i32, i32)> {
    let lock = "SELECT c.workspace_id, c.campaign_id FROM campaigns c JOIN workspaces w USING (workspace_id)
        WHERE w.name = $1 AND c.name = $2 FOR KEY SHARE OF c";
    let lock = txn.prepare_cached(lock).await?;
    let row = txn.query_opt(&lock, &[&name.workspace.as_str(), &name.campaign.as_str()]).await?;
    row.as_ref().map(campaign_key).ok_or_else(|| Error::NotFound(name.to_string()))
}

/// Returns the state of a campaign, and whether its lead list is complete.
///
/// Locks the counters, then reads the state. So it sees a finish that comes first, and a later one sees the new leads.
async fn state_in_txn(txn: &Transaction<'_>, workspace_id: i32, campaign_id: i32) -> Result<(CampaignState, bool)> {
    counters_lock_in_txn(txn, (workspace_id, campaign_id)).await?;
    let state = "SELECT state, lead_list_complete FROM campaigns WHERE workspace_id = $1 AND campaign_id = $2";
    let row = txn.query_one(&txn.prepare_cached(state).await?, &[&workspace_id, &campaign_id]).await?;
    Ok((campaign_state(row.get("state"))?, row.get("lead_list_complete")))
}

/// Refuses what would change a finished campaign: new leads, or the declaration that its list is complete.
fn refuse_change(name: &CampaignName, result: AddedLeads, declares: bool) -> Result<AddedLeads> {
    let message = match (result.added, declares) {
        (0, false) => return Ok(result),
        (0, true) => format!("{name} is FINISHED, and its lead list stays open"),
        (new, _) => {
            format!("{name} is FINISHED and takes no more leads ({new} of these are new); create another campaign")
        }
    };
    Err(Error::Precondition { reason: "CAMPAIGN_FINISHED", message, about: Vec::new() })
}

/// Sorts leads into those that are new, by account, those that exist, and those that are refused.
async fn leads_sort_in_txn<'a>(
    txn: &Transaction<'_>,
    workspace_id: i32,
    campaign_id: i32,
    leads: &'a [NewLead],
    serving: &HashMap<String, i32>,
) -> Result<(AddedLeads, BTreeMap<i32, Vec<&'a str>>)> {
    let mut result = AddedLeads::default();
    if leads.is_empty() {
        return Ok((result, BTreeMap::new()));
    }
    // New leads with the accounts of their first entries.
    let mut fresh: HashMap<&str, i32> = HashMap::new();
    // By account, so that the leads that an account will claim lie together.
    let mut groups: BTreeMap<i32, Vec<&str>> = BTreeMap::new();
    let existing = existing_in_txn(txn, workspace_id, campaign_id, leads).await?;
    for (index, lead) in leads.iter().enumerate() {
        let account_id = match &lead.account {
            None => ANY_ACCOUNT,
            Some(account) => {
                let Some(account_id) = serving.get(account.as_str()) else {
                    result.refused.push((index, Refusal::AccountNotServing(account.clone())));
                    continue;
                };
                *account_id
            }
        };
        match existing.get(lead.id.as_str()) {
            Some(Some(assigned)) if account_id != ANY_ACCOUNT && *assigned != account_id => {
                result.refused.push((index, Refusal::AccountDiffers));
            }
            Some(_) => result.existing += 1,
            None => match fresh.entry(lead.id.as_str()) {
                Entry::Vacant(new) => {
                    new.insert(account_id);
                    groups.entry(account_id).or_default().push(lead.id.as_str());
                }
                // As for a lead that exists, an account matters only where both entries have one.
                Entry::Occupied(first) if [*first.get(), account_id].contains(&ANY_ACCOUNT) => result.existing += 1,
                Entry::Occupied(first) if *first.get() == account_id => result.existing += 1,
                Entry::Occupied(_) => result.refused.push((index, Refusal::AccountDiffers)),
            },
        }
    }
    result.added = i64::try_from(fresh.len()).unwrap_or(i64::MAX);
    Ok((result, groups))
}

/// Locks the named accounts that serve the campaign, so that they serve it until the commit. Returns their numbers.
async fn serving_in_txn(
    txn: &Transaction<'_>,
    workspace_id: i32,
    campaign_id: i32,
    leads: &[NewLead],
) -> Result<HashMap<String, i32>> {
    let mut names: Vec<&str> = leads.iter().filter_map(|lead| lead.account.as_ref()).map(AccountId::as_str).collect();
    names.sort_unstable();
    names.dedup();
    if names.is_empty() {
        return Ok(HashMap::new());
    }
    let sql = "SELECT a.name, a.account_id FROM campaign_accounts s JOIN accounts a USING (workspace_id, account_id)
        WHERE s.workspace_id = $1 AND s.campaign_id = $2 AND NOT s.removed AND a.name = ANY ($3)
        ORDER BY s.account_id FOR SHARE OF s";
    let rows = txn.query(sql, &[&workspace_id, &campaign_id, &names]).await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// Finds the leads of the batch that exist, with their accounts if they have one.
async fn existing_in_txn(
    txn: &Transaction<'_>,
    workspace_id: i32,
    campaign_id: i32,
    leads: &[NewLead],
) -> Result<HashMap<String, Option<i32>>> {
    // LIMIT makes each look-up a probe by key: the planner can't reorder the joins.
    let sql = "SELECT named.lead_id, l.account_id FROM unnest($3::text[]) AS named (lead_id)
        CROSS JOIN LATERAL (
            SELECT lead_no FROM lead_ids WHERE workspace_id = $1 AND lead_id = named.lead_id AND campaign_id = $2 LIMIT 1
        ) i
        CROSS JOIN LATERAL (
            SELECT account_id FROM leads WHERE workspace_id = $1 AND campaign_id = $2 AND lead_no = i.lead_no LIMIT 1
        ) l";
    let ids: Vec<&str> = leads.iter().map(|lead| lead.id.as_str()).collect();
    let statement = txn.prepare_cached(sql).await?;
    let rows = txn.query(&statement, &[&workspace_id, &campaign_id, &ids]).await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

async fn groups_insert_in_txn(
    txn: &Transaction<'_>,
    workspace_id: i32,
    campaign_id: i32,
    groups: BTreeMap<i32, Vec<&str>>,
    added: i64,
) -> Result<()> {
    let count = "UPDATE campaign_counters SET total = total + $3, pending = pending + $3, version = version + 1,
        next_lead_no = next_lead_no + $3::int8::int4
        WHERE workspace_id = $1 AND campaign_id = $2 AND next_lead_no + $3::int8 - 1 <= $4
        RETURNING next_lead_no - $3::int8::int4";
    let count = txn.prepare_cached(count).await?;
    let Some(row) = txn.query_opt(&count, &[&workspace_id, &campaign_id, &added, &NUMBER_MAX]).await? else {
        let message =
            format!("the campaign has had about {NUMBER_MAX} leads and takes no more; add these to another campaign");
        return Err(Error::Precondition { reason: "CAMPAIGN_FULL", message, about: Vec::new() });
    };
    let mut next: i32 = row.get(0);
    let (mut numbers, mut ids, mut accounts) = (Vec::new(), Vec::new(), Vec::new());
    let mut segments: Vec<(i32, i32, i32)> = Vec::new();
    for (account_id, leads) in groups {
        let lo = next;
        for id in leads {
            numbers.push(next);
            ids.push(id);
            accounts.push((account_id != ANY_ACCOUNT).then_some(account_id));
            next += 1;
        }
        segments.push((account_id, lo, next));
    }
    let insert = "
        WITH new AS MATERIALIZED (
            SELECT lead_no, lead_id, account_id FROM unnest($3::int4[], $4::text[], $5::int4[]) AS new (lead_no, lead_id, account_id)
        ),
        named AS (INSERT INTO lead_ids (workspace_id, campaign_id, lead_no, lead_id) SELECT $1, $2, lead_no, lead_id FROM new)
        INSERT INTO leads (workspace_id, campaign_id, lead_no, account_id) SELECT $1, $2, lead_no, account_id FROM new";
    let insert = txn.prepare_cached(insert).await?;
    txn.execute(&insert, &[&workspace_id, &campaign_id, &numbers, &ids, &accounts]).await?;
    let pending = |(account_id, lo, hi): &(i32, i32, i32)| ((campaign_id, *account_id, PENDING), i64::from(hi - lo));
    account_leads_change_in_txn(txn, workspace_id, &segments.iter().map(pending).collect()).await?;
    for (account_id, lo, hi) in segments {
        // Consecutive batches grow one segment.
        let grow =
            "UPDATE segments SET hi = $5 WHERE workspace_id = $1 AND campaign_id = $2 AND account_id = $3 AND hi = $4";
        let params: &[&(dyn ToSql + Sync)] = &[&workspace_id, &campaign_id, &account_id, &lo, &hi];
        if txn.execute(grow, params).await? == 0 {
            let insert =
                "INSERT INTO segments (workspace_id, campaign_id, account_id, lo, hi) VALUES ($1, $2, $3, $4, $5)";
            txn.execute(insert, params).await?;
        }
    }
    Ok(())
}
