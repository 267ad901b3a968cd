//! Fills databases by SQL before a run, as the service would have left them.

use anyhow::Result;
use tokio_postgres::Client;

/// A kind of database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Load {
    /// Campaigns, evenly many leads in all, every lead claimed in ranges of 100 by four accounts.
    Claimed { campaigns: u32, leads: u32 },
    /// One workspace for each campaign, every lead claimed.
    Workspaces { workspaces: u32, leads: u32 },
    /// One campaign with leads that were never claimed, and a table to claim from by SKIP LOCKED.
    Pending { leads: u32 },
    /// One account with twenty campaigns, five of which have leads.
    Twenty { leads: u32 },
    /// Many leads whose follow-ups are due.
    FollowUps { leads: u32 },
    /// Many leads whose first step was claimed and released.
    Returned { leads: u32 },
    /// Many campaigns, small ones, with two accounts each, in a hundred workspaces with so many accounts each.
    Fleet { campaigns: u32, accounts: u32 },
    /// One large claimed campaign, one small one, and a fleet of others.
    Large { leads: u32, fleet: u32 },
    /// One campaign of two steps whose leads have facts: half of them are partial, the others failed, sent or pending.
    Told { leads: u32 },
}

/// Accounts of each workspace of a fleet, usually.
pub const FLEET_ACCOUNTS: u32 = 5;

/// Accounts `a1` to `a4` of workspace `w1`, limits on.
const BASE: &str = "
    INSERT INTO workspaces (name, created_at) VALUES ('w1', now());
    INSERT INTO accounts (workspace_id, name, uid, display_name, state, daily_limit, time_zone, created_at, updated_at, revision)
    SELECT 1, 'a' || i, gen_random_uuid(), '', 1, 1000000000, 'UTC', now(), now(), 1 FROM generate_series(1, 4) i;";

impl Load {
    pub fn name(self) -> String {
        format!("load_{self:?}").to_lowercase().replace(|c: char| !c.is_ascii_alphanumeric(), "_")
    }

    pub async fn generate(self, sql: &Client) -> Result<()> {
        match self {
            Self::Claimed { campaigns, leads } => {
                sql.batch_execute(BASE).await?;
                add_campaigns(sql, 1, campaigns, leads / campaigns).await?;
                claim_all(sql).await?;
            }
            Self::Workspaces { workspaces, leads } => {
                sql.batch_execute(&format!(
                    "INSERT INTO workspaces (name, created_at) SELECT 'w' || i, now() FROM generate_series(1, {workspaces}) i;
                    INSERT INTO accounts (workspace_id, name, uid, display_name, state, daily_limit, time_zone, created_at, updated_at, revision)
                    SELECT i, 'a1', gen_random_uuid(), '', 1, 1000000000, 'UTC', now(), now(), 1 FROM generate_series(1, {workspaces}) i;"
                ))
                .await?;
                add_campaigns(sql, workspaces, workspaces, leads / workspaces).await?;
                claim_all(sql).await?;
            }
            Self::Pending { leads } => {
                sql.batch_execute(BASE).await?;
                add_campaigns(sql, 1, 1, leads).await?;
                sql.batch_execute(&format!(
                    "-- The partial index alone: by a primary key the planner would walk over all that was claimed.
                    CREATE TABLE queue (id int8 NOT NULL, campaign int4 NOT NULL, lead_id text NOT NULL, state int2 NOT NULL, claimed_at timestamptz);
                    INSERT INTO queue SELECT i, 1, 'lead-' || i, 0, NULL FROM generate_series(1, {leads}) i;
                    CREATE INDEX ON queue (campaign, id) WHERE state = 0;"
                ))
                .await?;
            }
            Self::Twenty { leads } => {
                sql.batch_execute(BASE).await?;
                add_campaigns(sql, 1, 20, leads / 5).await?;
                sql.batch_execute("DELETE FROM segments WHERE campaign_id % 4 <> 1").await?;
            }
            Self::FollowUps { leads } => {
                sql.batch_execute(BASE).await?;
                add_campaigns(sql, 1, 1, leads).await?;
                sql.batch_execute(
                    "DELETE FROM segments; UPDATE campaigns SET steps = 2;
                    UPDATE leads SET mask = 1, account_id = 1 + lead_no % 2;
                    UPDATE campaign_counters SET partial = pending, pending = 0, delivered_messages = total, contacted = total;
                    INSERT INTO returns (workspace_id, campaign_id, account_id, due_at, lead_no, step)
                    SELECT 1, 1, account_id, now() - interval '1 day' + lead_no * interval '1 millisecond', lead_no, 2 FROM leads;",
                )
                .await?;
            }
            Self::Returned { leads } => {
                sql.batch_execute(BASE).await?;
                add_campaigns(sql, 1, 1, leads).await?;
                sql.batch_execute(
                    "DELETE FROM segments; UPDATE leads SET account_id = 1 + lead_no % 2;
                    INSERT INTO returns (workspace_id, campaign_id, account_id, due_at, lead_no, step)
                    SELECT 1, 1, account_id, now() - interval '1 day' + lead_no * interval '1 millisecond', lead_no, 1 FROM leads;",
                )
                .await?;
            }
            Self::Fleet { campaigns, accounts } => fleet(sql, campaigns, accounts).await?,
            Self::Large { leads, fleet: campaigns } => {
                sql.batch_execute(BASE).await?;
                add_campaigns(sql, 1, 1, leads).await?;
                add_campaigns(sql, 1, 1, 1000).await?;
                claim_all(sql).await?;
                if campaigns > 0 {
                    fleet(sql, campaigns, FLEET_ACCOUNTS).await?;
                }
            }
            Self::Told { leads } => {
                sql.batch_execute(BASE).await?;
                add_campaigns(sql, 1, 1, leads).await?;
                // Bit 0: the first step was delivered. Bit 1: the second. Bit 16: the first failed. Bit 48: replied.
                sql.batch_execute(
                    "DELETE FROM segments; UPDATE campaigns SET steps = 2, follow_up_delay_ms = 86400000;
                    UPDATE leads SET account_id = 1 + lead_no % 4,
                        mask = CASE lead_no % 8 WHEN 0 THEN 0 WHEN 2 THEN 65536 WHEN 4 THEN 3 WHEN 6 THEN 281474976710657 ELSE 1 END,
                        failed_reasons = CASE lead_no % 8 WHEN 2 THEN 2 ELSE 0 END,
                        last_action_at = CASE lead_no % 8 WHEN 0 THEN NULL ELSE now() - lead_no * interval '1 second' END;
                    UPDATE leads SET account_id = 2 WHERE lead_no % 8 IN (1, 3, 5, 7);
                    INSERT INTO returns (workspace_id, campaign_id, account_id, due_at, lead_no, step)
                    SELECT 1, 1, 2, last_action_at + interval '1 day', lead_no, 2 FROM leads WHERE mask = 1;
                    UPDATE campaign_counters SET partial = total / 2, pending = total - total / 2;",
                )
                .await?;
            }
        }
        Ok(())
    }
}

/// Adds campaigns with so many leads each, served by every account of their workspace, none of them claimed.
pub async fn add_campaigns(sql: &Client, workspaces: u32, campaigns: u32, leads: u32) -> Result<()> {
    sql.batch_execute(&format!(
        "CREATE TEMP TABLE added AS WITH new AS (
            INSERT INTO campaigns (workspace_id, name, uid, salt, display_name, state, steps, follow_up_delay_ms, time_zone,
                active_windows, daily_limit, claim_expiry_policy, settle_seconds, attribution_days, lead_list_complete,
                created_at, updated_at, revision)
            SELECT (i - 1) % {workspaces} + 1, 'c' || (SELECT count(*) FROM campaigns) + i, gen_random_uuid(), 0, '', 1, 1, 0, 'UTC', '{{}}',
                1000000000, 1, 86400, 30, true, now(), now(), 1
            FROM generate_series(1, {campaigns}) i
            RETURNING workspace_id, campaign_id
        ) SELECT * FROM new;
        INSERT INTO campaign_accounts (workspace_id, campaign_id, account_id)
        SELECT workspace_id, campaign_id, account_id FROM added JOIN accounts USING (workspace_id);
        INSERT INTO campaign_counters (workspace_id, campaign_id, total, pending, next_lead_no)
        SELECT workspace_id, campaign_id, {leads}, {leads}, {leads} + 1 FROM added;
        INSERT INTO campaign_claims (workspace_id, campaign_id) SELECT workspace_id, campaign_id FROM added;
        INSERT INTO leads (workspace_id, campaign_id, lead_no)
        SELECT workspace_id, campaign_id, i FROM added, generate_series(1, {leads}) i;
        INSERT INTO lead_ids (workspace_id, campaign_id, lead_no, lead_id)
        SELECT workspace_id, campaign_id, i, 'lead-' || i FROM added, generate_series(1, {leads}) i;
        INSERT INTO segments SELECT workspace_id, campaign_id, 0, 1, {leads} + 1 FROM added;
        DROP TABLE added;"
    ))
    .await?;
    Ok(())
}

/// Claims every lead in ranges of 100, by the accounts in turn.
async fn claim_all(sql: &Client) -> Result<()> {
    sql.batch_execute(
        "INSERT INTO claims (workspace_id, campaign_id, block, step, grant_no, account_id, claimed, expires_at, account_day, campaign_day)
        SELECT l.workspace_id, l.campaign_id, lead_no >> 6, 1, (lead_no - 1) / 100::int8 * 7919 + l.campaign_id, a.account_id,
            bit_or(1::int8 << (lead_no & 63)), now() + interval '10 hours', current_date, current_date
        FROM leads l JOIN LATERAL (
            SELECT (array_agg(account_id ORDER BY account_id))[(lead_no - 1) / 100 % count(*) + 1] AS account_id
            FROM accounts WHERE workspace_id = l.workspace_id
        ) a ON true
        GROUP BY 1, 2, 3, 4, 5, 6;
        DELETE FROM segments;
        UPDATE campaign_claims SET granted = k.total FROM campaign_counters k
        WHERE k.workspace_id = campaign_claims.workspace_id AND k.campaign_id = campaign_claims.campaign_id;",
    )
    .await?;
    Ok(())
}

async fn fleet(sql: &Client, campaigns: u32, accounts: u32) -> Result<()> {
    sql.batch_execute(&format!(
        "INSERT INTO workspaces (name, created_at) SELECT 'fleet' || i, now() FROM generate_series(1, 100) i;
        INSERT INTO accounts (workspace_id, name, uid, display_name, state, daily_limit, time_zone, created_at, updated_at, revision)
        SELECT workspace_id, 'f' || i, gen_random_uuid(), '', 1, 1000, 'UTC', now(), now(), 1
        FROM workspaces, generate_series(1, {accounts}) i WHERE name LIKE 'fleet%' ORDER BY workspace_id, i;
        INSERT INTO campaigns (workspace_id, name, uid, salt, display_name, state, steps, follow_up_delay_ms, time_zone,
            active_windows, claim_expiry_policy, settle_seconds, attribution_days, lead_list_complete, created_at, updated_at, revision)
        SELECT workspace_id, 'f' || i, gen_random_uuid(), 0, '', 1, 2, 0, 'UTC', '{{}}', 1, 86400, 30, false, now(), now(), 1
        FROM workspaces, generate_series(1, {campaigns} / 100) i WHERE workspaces.name LIKE 'fleet%';
        CREATE TEMP TABLE added AS SELECT * FROM campaigns WHERE name LIKE 'f%';
        INSERT INTO campaign_accounts (workspace_id, campaign_id, account_id)
        SELECT a.workspace_id, campaign_id, account_id FROM added a JOIN accounts c USING (workspace_id)
        WHERE (campaign_id + account_id) % {accounts} < 2;
        INSERT INTO campaign_counters (workspace_id, campaign_id, total, pending, sent, delivered_messages, contacted, next_lead_no)
        SELECT workspace_id, campaign_id, 20, 10, 10, 20, 10, 21 FROM added;
        INSERT INTO campaign_claims (workspace_id, campaign_id, granted) SELECT workspace_id, campaign_id, 5 FROM added;
        INSERT INTO leads (workspace_id, campaign_id, lead_no, mask, account_id)
        SELECT workspace_id, campaign_id, i, CASE WHEN i > 10 THEN 3 ELSE 0 END, NULL FROM added, generate_series(1, 20) i;
        INSERT INTO segments SELECT workspace_id, campaign_id, 0, 6, 11 FROM added;
        INSERT INTO claims
            (workspace_id, campaign_id, block, step, grant_no, account_id, claimed, is_exact, expires_at, account_day, campaign_day)
        SELECT a.workspace_id, campaign_id, 0, 1, campaign_id, min(account_id), 62, campaign_id % 10 = 0,
            now() + CASE WHEN campaign_id % 10 = 0 THEN -interval '1 hour' ELSE interval '10 hours' END, current_date, current_date
        FROM added a JOIN campaign_accounts USING (workspace_id, campaign_id) GROUP BY 1, 2;
        INSERT INTO account_reservations (workspace_id, account_id, day, epoch, reserved)
        SELECT workspace_id, account_id, current_date, 0, 500 FROM accounts WHERE name LIKE 'f%';
        INSERT INTO history SELECT workspace_id, 0, account_id, current_date - i, 10, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0
        FROM accounts, generate_series(0, 59) i WHERE name LIKE 'f%';
        -- Day by day, as it comes, so that the days of one campaign lie apart.
        INSERT INTO history SELECT workspace_id, campaign_id, account_id, current_date - i, 10, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 9,
            array_fill(i % 2, ARRAY[31]), NULL
        FROM generate_series(29, 0, -1) i, (
            SELECT workspace_id, campaign_id, account_id FROM campaign_accounts JOIN added USING (workspace_id, campaign_id)
            UNION ALL SELECT workspace_id, campaign_id, all_accounts() FROM added
        ) k ORDER BY i DESC;
        UPDATE campaign_counters SET last_outcome_at = now() FROM added a
        WHERE a.workspace_id = campaign_counters.workspace_id AND a.campaign_id = campaign_counters.campaign_id;
        UPDATE campaign_claims SET last_grant_at = now() FROM added a
        WHERE a.workspace_id = campaign_claims.workspace_id AND a.campaign_id = campaign_claims.campaign_id;
        DROP TABLE added;"
    ))
    .await?;
    Ok(())
}
