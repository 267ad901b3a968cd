//! Writes the settings of campaigns, among them the accounts that serve.

use campaign_metrics::{
    campaign::CampaignSettings,
    invalid::Invalid,
    name::{AccountId, CampaignName},
    schedule::time_zone_name,
};
use deadpool_postgres::Transaction;
use jiff::Timestamp;
use tokio_postgres::Row;
use uuid::Uuid;

use super::{
    counters::counters_lock_in_txn,
    finish::{Emptied, campaigns_finish_in_txn},
    row::{settings_from_row, stored_policy, stored_windows},
    serving::accounts_write_in_txn,
};
use crate::{
    changes,
    error::{Error, Result},
    store::row::{CampaignKey, campaign_key},
};

/// Reads the settings of a locked campaign.
pub(super) async fn settings_in_txn(txn: &Transaction<'_>, row: &Row) -> Result<CampaignSettings> {
    let (workspace_id, campaign_id) = campaign_key(row);
    let sql = "SELECT a.name FROM campaign_accounts s JOIN accounts a USING (workspace_id, account_id)
        WHERE s.workspace_id = $1 AND s.campaign_id = $2 AND NOT s.removed ORDER BY a.name";
    let rows = txn.query(sql, &[&workspace_id, &campaign_id]).await?;
    let accounts = rows.iter().map(|row| row.get::<_, &str>(0).parse()).collect::<Result<_, Invalid>>()?;
    settings_from_row(row, accounts)
}

/// Creates a campaign with its counters.
pub(super) async fn campaign_insert_in_txn(
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
            &[&workspace_id, &name.campaign.as_str(), &Uuid::now_v7(), &rand::random::<i32>(), &steps, &now],
        )
        .await?
        .ok_or_else(|| already_exists(name))?;
    let campaign_key: CampaignKey = campaign_key(&row);
    txn.execute(
        "WITH counters AS (INSERT INTO campaign_counters (workspace_id, campaign_id) VALUES ($1, $2))
        INSERT INTO campaign_claims (workspace_id, campaign_id) VALUES ($1, $2)",
        &[&campaign_key.0, &campaign_key.1],
    )
    .await?;
    settings_write_in_txn(txn, &row, name, settings, now).await?;
    changes::note(name, format!("created; {}", changes::listed(&named(settings))), None);
    Ok(campaign_key)
}

/// Says which settings of a campaign change, from what to what.
pub(super) fn settings_change(before: &CampaignSettings, after: &CampaignSettings) -> String {
    changes::difference(&named(before), &named(after))
}

/// The settings by the names of the API, as texts.
fn named(settings: &CampaignSettings) -> [(&'static str, String); 11] {
    let accounts: Vec<&str> = settings.accounts.iter().map(AccountId::as_str).collect();
    [
        ("display_name", format!("{:?}", settings.display_name)),
        ("steps", settings.steps.number().to_string()),
        ("follow_up_delay", settings.follow_up_delay.to_string()),
        ("time_zone", time_zone_name(&settings.active_hours.time_zone).to_owned()),
        ("active_hours", format!("{:?}", stored_windows(&settings.active_hours))),
        ("daily_limit", changes::or_none(settings.daily_limit)),
        ("claim_expiry_policy", format!("{:?}", settings.claim_expiry_policy)),
        ("settle_seconds", settings.settle_seconds.to_string()),
        ("attribution_days", settings.attribution_days.to_string()),
        ("lead_list_complete", settings.lead_list_complete.to_string()),
        // Last, because the text is cut where it gets too long.
        ("accounts", format!("{accounts:?}")),
    ]
}

/// Writes all settings except the steps. Finishes the campaign if they complete it.
pub(super) async fn settings_write_in_txn(
    txn: &Transaction<'_>,
    row: &Row,
    name: &CampaignName,
    settings: &CampaignSettings,
    now: Timestamp,
) -> Result<()> {
    let (workspace_id, campaign_id) = campaign_key(row);
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
        // Waits for batches that are counting: this transaction then sees both the declaration and their counts.
        counters_lock_in_txn(txn, (workspace_id, campaign_id)).await?;
        campaigns_finish_in_txn(txn, workspace_id, &[campaign_id], Emptied::StaysOpen, now).await?;
    }
    Ok(())
}

/// The error for a name that is taken.
pub(super) fn already_exists(name: &CampaignName) -> Error {
    let message = format!("{name} exists; choose another id, or update it");
    Error::AlreadyExists { reason: "CAMPAIGN_EXISTS", message }
}
