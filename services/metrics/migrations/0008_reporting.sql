-- The schema `reporting`: views for dashboards and analysts, the stable public interface in SQL. The tables are private
-- and may change; a later migration then replaces a view so that it shows the same. A column of a view keeps its name,
-- type, place and meaning; new ones are added at the end (CREATE OR REPLACE VIEW allows nothing else).
-- tests/integration/reporting.rs compares columns with services/metrics/reporting.txt and values with the API.
--
-- Rules for these views, so that a filter by workspace and campaign reads by key, and a column that a query leaves out
-- costs nothing:
-- * Plain joins by key. No aggregate, DISTINCT, window or LIMIT at the top: Postgres could not pull the view up.
-- * What needs a look-up for each row is a subquery in the list of columns.
-- * Functions are those of one expression, which Postgres inlines. Others run with the rights of the reader, who has
--   none on the tables.

CREATE SCHEMA IF NOT EXISTS reporting;
COMMENT ON SCHEMA reporting IS
    'Views for dashboards and analysts. Columns are only ever added, at the end. docs/reporting.md explains them.';

CREATE FUNCTION fact_word(fact_bit int4) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE
        WHEN is_delivered(fact_bit) THEN 'delivered'
        WHEN is_failed(fact_bit) THEN 'failed'
        WHEN is_bounced(fact_bit) THEN 'bounced'
        WHEN fact_bit = replied_bit() THEN 'replied'
        WHEN fact_bit = converted_bit() THEN 'converted'
        WHEN fact_bit = auto_replied_bit() THEN 'auto_replied'
        WHEN fact_bit = opted_out_bit() THEN 'opted_out'
    END;
COMMENT ON FUNCTION fact_word(int4) IS 'Returns the word for a kind of fact.';

CREATE FUNCTION reason_word(reason int4) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE reason
        WHEN reason_account_issue() THEN 'account_issue'
        WHEN reason_invalid_lead() THEN 'invalid_lead'
        WHEN reason_rate_limited() THEN 'rate_limited'
        WHEN reason_content_rejected() THEN 'content_rejected'
        WHEN reason_other() THEN 'other'
    END;
COMMENT ON FUNCTION reason_word(int4) IS 'Returns the word for a reason of a failure or bounce; null for none.';

CREATE FUNCTION status_word(status int4) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE status
        WHEN status_pending() THEN 'pending'
        WHEN status_partial() THEN 'partial'
        WHEN status_sent() THEN 'sent'
        WHEN status_failed() THEN 'failed'
    END;
COMMENT ON FUNCTION status_word(int4) IS 'Returns the word for a status of a lead.';

CREATE VIEW reporting.campaigns AS
SELECT
    w.name AS workspace,
    c.name AS campaign,
    c.display_name,
    CASE c.state WHEN campaign_active() THEN 'active' WHEN campaign_paused() THEN 'paused'
        WHEN campaign_finished() THEN 'finished' END AS state,
    k.total AS total_leads,
    k.sent AS sent_leads,
    k.failed AS failed_leads,
    k.pending AS pending_leads,
    k.partial AS partial_leads,
    k.delivered_messages + k.failed_messages + k.bounced_messages AS messages,
    k.delivered_messages,
    k.failed_messages,
    k.bounced_messages,
    k.account_issue AS account_issue_messages,
    k.invalid_lead AS invalid_lead_messages,
    k.rate_limited AS rate_limited_messages,
    k.content_rejected AS content_rejected_messages,
    k.other_reason AS other_messages,
    k.contacted AS contacted_leads,
    k.contacted_replied AS replied_leads,
    k.contacted_converted AS converted_leads,
    k.auto_replied AS auto_replied_leads,
    k.opted_out AS opted_out_leads,
    k.conversion_value_micros / 1000000.0 AS conversion_value,
    coalesce((
        SELECT g.granted FROM campaign_claims g
        WHERE g.workspace_id = c.workspace_id AND g.campaign_id = c.campaign_id ORDER BY g.epoch DESC LIMIT 1
    ), 0) - k.closed_claims AS open_claims,
    c.steps::int4 AS steps,
    c.lead_list_complete,
    c.daily_limit,
    c.time_zone,
    CASE c.finish_reason WHEN finish_completed() THEN 'completed' WHEN finish_requested() THEN 'requested'
    END AS finish_reason,
    c.owner_resource AS managed_by,
    c.created_at AS create_time,
    c.updated_at AS update_time,
    c.finished_at AS finish_time,
    c.finalized_at AS finalized_time,
    (
        SELECT g.last_grant_at FROM campaign_claims g
        WHERE g.workspace_id = c.workspace_id AND g.campaign_id = c.campaign_id ORDER BY g.epoch DESC LIMIT 1
    ) AS last_grant_time,
    k.last_outcome_at AS last_outcome_time
FROM workspaces w
JOIN campaigns c USING (workspace_id)
-- The latest first: behind an old snapshot the dead versions before it are many.
CROSS JOIN LATERAL (
    SELECT k.total, k.sent, k.failed, k.pending, k.partial, k.delivered_messages, k.failed_messages,
        k.bounced_messages, k.account_issue, k.invalid_lead, k.rate_limited, k.content_rejected, k.other_reason,
        k.contacted, k.contacted_replied, k.contacted_converted, k.auto_replied, k.opted_out,
        k.conversion_value_micros, k.closed_claims, k.last_outcome_at
    FROM campaign_counters k
    WHERE k.workspace_id = c.workspace_id AND k.campaign_id = c.campaign_id
    ORDER BY k.epoch DESC LIMIT 1
) k;
COMMENT ON VIEW reporting.campaigns IS
    'One row for each campaign: its settings and all of its counts. No lead is read. A rate is the quotient of two '
    'columns, as their comments say; add the columns up before you divide.';
COMMENT ON COLUMN reporting.campaigns.workspace IS 'Id of the workspace.';
COMMENT ON COLUMN reporting.campaigns.campaign IS 'Id of the campaign within its workspace.';
COMMENT ON COLUMN reporting.campaigns.display_name IS 'Text for people; empty for none.';
COMMENT ON COLUMN reporting.campaigns.state IS 'State: active, paused or finished.';
COMMENT ON COLUMN reporting.campaigns.total_leads IS
    'Leads: sent_leads + failed_leads + pending_leads + partial_leads. Progress = (sent_leads + failed_leads) / '
    'total_leads.';
COMMENT ON COLUMN reporting.campaigns.sent_leads IS
    'Leads with status sent: every step was delivered, or the lead replied, converted or opted out after a delivery.';
COMMENT ON COLUMN reporting.campaigns.failed_leads IS
    'Leads with status failed: a step failed or bounced, or the lead opted out before any delivery.';
COMMENT ON COLUMN reporting.campaigns.pending_leads IS 'Leads with status pending: nothing was delivered yet.';
COMMENT ON COLUMN reporting.campaigns.partial_leads IS
    'Leads with status partial: at least one step was delivered, follow-ups remain.';
COMMENT ON COLUMN reporting.campaigns.messages IS
    'Messages, each under its result: delivered_messages + failed_messages + bounced_messages. Delivery rate = '
    'delivered_messages / messages.';
COMMENT ON COLUMN reporting.campaigns.delivered_messages IS 'Messages whose result is delivered.';
COMMENT ON COLUMN reporting.campaigns.failed_messages IS 'Messages whose result is failed.';
COMMENT ON COLUMN reporting.campaigns.bounced_messages IS 'Messages whose result is bounced.';
COMMENT ON COLUMN reporting.campaigns.account_issue_messages IS
    'Failed and bounced messages with the reason account issue.';
COMMENT ON COLUMN reporting.campaigns.invalid_lead_messages IS
    'Failed and bounced messages with the reason invalid lead.';
COMMENT ON COLUMN reporting.campaigns.rate_limited_messages IS
    'Failed and bounced messages with the reason rate limited.';
COMMENT ON COLUMN reporting.campaigns.content_rejected_messages IS
    'Failed and bounced messages with the reason content rejected.';
COMMENT ON COLUMN reporting.campaigns.other_messages IS 'Failed and bounced messages with the reason other.';
COMMENT ON COLUMN reporting.campaigns.contacted_leads IS 'Leads with a delivered message.';
COMMENT ON COLUMN reporting.campaigns.replied_leads IS
    'Leads with a delivered message that replied. Response rate = replied_leads / contacted_leads.';
COMMENT ON COLUMN reporting.campaigns.converted_leads IS
    'Leads with a delivered message that converted. Conversion rate = converted_leads / contacted_leads.';
COMMENT ON COLUMN reporting.campaigns.auto_replied_leads IS 'Leads with an automatic reply.';
COMMENT ON COLUMN reporting.campaigns.opted_out_leads IS 'Leads that opted out.';
COMMENT ON COLUMN reporting.campaigns.conversion_value IS
    'Total value of the conversions, in the unit of those who report them.';
COMMENT ON COLUMN reporting.campaigns.open_claims IS 'Claims that are held or uncertain.';
COMMENT ON COLUMN reporting.campaigns.steps IS 'Messages to each lead, 1 to 16.';
COMMENT ON COLUMN reporting.campaigns.lead_list_complete IS
    'No more leads will be added, so the campaign can finish by itself.';
COMMENT ON COLUMN reporting.campaigns.daily_limit IS
    'Most messages in a day of its time zone; 0 sends nothing, null is no limit.';
COMMENT ON COLUMN reporting.campaigns.time_zone IS 'IANA time zone of its days and active hours.';
COMMENT ON COLUMN reporting.campaigns.finish_reason IS 'Why it finished: completed or requested; null before.';
COMMENT ON COLUMN reporting.campaigns.managed_by IS 'Kubernetes resource that manages the campaign; null for none.';
COMMENT ON COLUMN reporting.campaigns.create_time IS 'When it was created.';
COMMENT ON COLUMN reporting.campaigns.update_time IS 'When its settings or state last changed.';
COMMENT ON COLUMN reporting.campaigns.finish_time IS 'When it finished; null before.';
COMMENT ON COLUMN reporting.campaigns.finalized_time IS 'When its results became final; null before.';
COMMENT ON COLUMN reporting.campaigns.last_grant_time IS 'When claims were last granted; null before the first grant.';
COMMENT ON COLUMN reporting.campaigns.last_outcome_time IS
    'When an outcome that was new was last received; null before the first one.';

CREATE VIEW reporting.accounts AS
SELECT
    w.name AS workspace,
    a.name AS account,
    a.display_name,
    CASE a.state WHEN account_active() THEN 'active' WHEN account_suspended() THEN 'suspended' END AS state,
    coalesce(h.delivered + h.failed + h.bounced, 0) AS messages,
    coalesce(h.delivered, 0) AS delivered_messages,
    coalesce(h.failed, 0) AS failed_messages,
    coalesce(h.bounced, 0) AS bounced_messages,
    coalesce(h.account_issue, 0) AS account_issue_messages,
    coalesce(h.invalid_lead, 0) AS invalid_lead_messages,
    coalesce(h.rate_limited, 0) AS rate_limited_messages,
    coalesce(h.content_rejected, 0) AS content_rejected_messages,
    coalesce(h.other, 0) AS other_messages,
    coalesce(h.delivered_30d + h.failed_30d + h.bounced_30d, 0) AS messages_30d,
    coalesce(h.delivered_30d, 0) AS delivered_messages_30d,
    coalesce(h.failed_30d, 0) AS failed_messages_30d,
    coalesce(h.bounced_30d, 0) AS bounced_messages_30d,
    coalesce(h.account_issue_30d, 0) AS account_issue_messages_30d,
    coalesce(h.invalid_lead_30d, 0) AS invalid_lead_messages_30d,
    coalesce(h.rate_limited_30d, 0) AS rate_limited_messages_30d,
    coalesce(h.content_rejected_30d, 0) AS content_rejected_messages_30d,
    coalesce(h.other_30d, 0) AS other_messages_30d,
    (
        SELECT count(*) FROM campaign_accounts s
        WHERE s.workspace_id = a.workspace_id AND s.account_id = a.account_id AND NOT s.removed
    ) AS campaigns,
    a.daily_limit,
    a.time_zone,
    a.created_at AS create_time,
    a.updated_at AS update_time
FROM workspaces w
JOIN accounts a USING (workspace_id)
LEFT JOIN LATERAL (
    SELECT
        sum(d.delivered)::int8 AS delivered,
        sum(d.failed)::int8 AS failed,
        sum(d.bounced)::int8 AS bounced,
        sum(d.account_issue)::int8 AS account_issue,
        sum(d.invalid_lead)::int8 AS invalid_lead,
        sum(d.rate_limited)::int8 AS rate_limited,
        sum(d.content_rejected)::int8 AS content_rejected,
        sum(d.other)::int8 AS other,
        sum(d.delivered) FILTER (WHERE d.is_recent)::int8 AS delivered_30d,
        sum(d.failed) FILTER (WHERE d.is_recent)::int8 AS failed_30d,
        sum(d.bounced) FILTER (WHERE d.is_recent)::int8 AS bounced_30d,
        sum(d.account_issue) FILTER (WHERE d.is_recent)::int8 AS account_issue_30d,
        sum(d.invalid_lead) FILTER (WHERE d.is_recent)::int8 AS invalid_lead_30d,
        sum(d.rate_limited) FILTER (WHERE d.is_recent)::int8 AS rate_limited_30d,
        sum(d.content_rejected) FILTER (WHERE d.is_recent)::int8 AS content_rejected_30d,
        sum(d.other) FILTER (WHERE d.is_recent)::int8 AS other_30d
    FROM (
        SELECT
            h.day > utc_day(now()) - 30 AS is_recent, h.delivered,
            h.failed_account_issue + h.failed_invalid_lead + h.failed_rate_limited + h.failed_content_rejected
                + h.failed_other AS failed,
            h.bounced_account_issue + h.bounced_invalid_lead + h.bounced_rate_limited + h.bounced_content_rejected
                + h.bounced_other AS bounced,
            h.failed_account_issue + h.bounced_account_issue AS account_issue,
            h.failed_invalid_lead + h.bounced_invalid_lead AS invalid_lead,
            h.failed_rate_limited + h.bounced_rate_limited AS rate_limited,
            h.failed_content_rejected + h.bounced_content_rejected AS content_rejected,
            h.failed_other + h.bounced_other AS other
        FROM history h
        WHERE h.workspace_id = a.workspace_id AND h.campaign_id = all_campaigns() AND h.account_id = a.account_id
    ) d
) h ON true;
COMMENT ON VIEW reporting.accounts IS
    'One row for each sending account: its settings, and its messages over all campaigns, deleted ones included. No '
    'lead is read.';
COMMENT ON COLUMN reporting.accounts.workspace IS 'Id of the workspace.';
COMMENT ON COLUMN reporting.accounts.account IS 'Id of the account within its workspace.';
COMMENT ON COLUMN reporting.accounts.display_name IS 'Text for people; empty for none.';
COMMENT ON COLUMN reporting.accounts.state IS 'State: active or suspended.';
COMMENT ON COLUMN reporting.accounts.messages IS
    'Messages since its creation: delivered_messages + failed_messages + bounced_messages. Success rate = '
    'delivered_messages / messages.';
COMMENT ON COLUMN reporting.accounts.delivered_messages IS 'Messages whose result is delivered since its creation.';
COMMENT ON COLUMN reporting.accounts.failed_messages IS 'Messages whose result is failed since its creation.';
COMMENT ON COLUMN reporting.accounts.bounced_messages IS 'Messages whose result is bounced since its creation.';
COMMENT ON COLUMN reporting.accounts.account_issue_messages IS
    'Failed and bounced messages with the reason account issue since its creation.';
COMMENT ON COLUMN reporting.accounts.invalid_lead_messages IS
    'Failed and bounced messages with the reason invalid lead since its creation.';
COMMENT ON COLUMN reporting.accounts.rate_limited_messages IS
    'Failed and bounced messages with the reason rate limited since its creation.';
COMMENT ON COLUMN reporting.accounts.content_rejected_messages IS
    'Failed and bounced messages with the reason content rejected since its creation.';
COMMENT ON COLUMN reporting.accounts.other_messages IS
    'Failed and bounced messages with the reason other since its creation.';
COMMENT ON COLUMN reporting.accounts.messages_30d IS
    'Messages in the last 30 UTC days, today included: delivered_messages_30d + failed_messages_30d + '
    'bounced_messages_30d. Success rate = delivered_messages_30d / messages_30d.';
COMMENT ON COLUMN reporting.accounts.delivered_messages_30d IS
    'Messages whose result is delivered in the last 30 UTC days, today included.';
COMMENT ON COLUMN reporting.accounts.failed_messages_30d IS
    'Messages whose result is failed in the last 30 UTC days, today included.';
COMMENT ON COLUMN reporting.accounts.bounced_messages_30d IS
    'Messages whose result is bounced in the last 30 UTC days, today included.';
COMMENT ON COLUMN reporting.accounts.account_issue_messages_30d IS
    'Failed and bounced messages with the reason account issue in the last 30 UTC days, today included.';
COMMENT ON COLUMN reporting.accounts.invalid_lead_messages_30d IS
    'Failed and bounced messages with the reason invalid lead in the last 30 UTC days, today included.';
COMMENT ON COLUMN reporting.accounts.rate_limited_messages_30d IS
    'Failed and bounced messages with the reason rate limited in the last 30 UTC days, today included.';
COMMENT ON COLUMN reporting.accounts.content_rejected_messages_30d IS
    'Failed and bounced messages with the reason content rejected in the last 30 UTC days, today included.';
COMMENT ON COLUMN reporting.accounts.other_messages_30d IS
    'Failed and bounced messages with the reason other in the last 30 UTC days, today included.';
COMMENT ON COLUMN reporting.accounts.campaigns IS 'Campaigns that it serves.';
COMMENT ON COLUMN reporting.accounts.daily_limit IS
    'Most messages in a day of its time zone; 0 sends nothing, null is no limit.';
COMMENT ON COLUMN reporting.accounts.time_zone IS 'IANA time zone in which its days begin.';
COMMENT ON COLUMN reporting.accounts.create_time IS 'When it was created.';
COMMENT ON COLUMN reporting.accounts.update_time IS 'When its settings or state last changed.';

CREATE VIEW reporting.leads AS
SELECT
    w.name AS workspace,
    c.name AS campaign,
    i.lead_id,
    coalesce(a.name, (
        SELECT s.name FROM claims h JOIN accounts s ON s.workspace_id = h.workspace_id AND s.account_id = h.account_id
        WHERE h.workspace_id = l.workspace_id AND h.campaign_id = l.campaign_id
            AND h.block >= lead_block(l.lead_no) AND h.block <= lead_block(l.lead_no)
            AND has_lead(h.claimed, l.lead_no) AND NOT has_result(l.mask, h.step - 1)
        ORDER BY h.block LIMIT 1
    )) AS account,
    status_word(lead_status(l.mask, c.steps)) AS status,
    (
        SELECT CASE WHEN is_message(o.bit) THEN 'step ' || (step_bit_of(o.bit) + 1)::text || ' ' ELSE '' END
            || fact_word(o.bit)
        FROM outcomes o
        WHERE o.workspace_id = l.workspace_id AND o.campaign_id = l.campaign_id AND o.lead_no = l.lead_no
            AND o.happened_at = l.last_action_at
        ORDER BY o.bit DESC LIMIT 1
    ) AS last_action,
    l.last_action_at AS last_action_time,
    nullif(lead_next_step(l.mask, c.steps), 0) AS next_step,
    (
        SELECT d.due_at FROM (SELECT lead_next_step(l.mask, c.steps) AS step OFFSET 0) n
        CROSS JOIN unnest(ARRAY[coalesce(l.account_id, any_account()), any_account()]) AS t (account_id)
        CROSS JOIN LATERAL (
            SELECT r.due_at FROM returns r
            WHERE n.step > 1 AND r.workspace_id = l.workspace_id AND r.campaign_id = l.campaign_id
                AND r.account_id = t.account_id
                AND r.due_at = c.follow_up_delay_ms * interval '1 millisecond' + CASE
                    -- A lead with one fact, a delivery, was delivered at its last action.
                    WHEN l.mask & (fact_mask(forgotten_bit()) - 1) = fact_mask(n.step - 2) THEN l.last_action_at
                    ELSE (
                        SELECT o.happened_at FROM outcomes o
                        WHERE o.workspace_id = l.workspace_id AND o.campaign_id = l.campaign_id
                            AND o.lead_no = l.lead_no AND o.bit = n.step - 2
                        LIMIT 1
                    )
                END
                AND r.lead_no = l.lead_no AND r.step = n.step
            LIMIT 1
        ) d
        WHERE NOT EXISTS (
            SELECT FROM claims h
            WHERE h.workspace_id = l.workspace_id AND h.campaign_id = l.campaign_id
                AND h.block >= lead_block(l.lead_no) AND h.block <= lead_block(l.lead_no)
                AND has_lead(h.claimed, l.lead_no) AND NOT has_result(l.mask, h.step - 1)
        )
        LIMIT 1
    ) AS next_due_time,
    (
        SELECT h.expires_at FROM claims h
        WHERE h.workspace_id = l.workspace_id AND h.campaign_id = l.campaign_id
            AND h.block >= lead_block(l.lead_no) AND h.block <= lead_block(l.lead_no)
            AND has_lead(h.claimed, l.lead_no) AND NOT has_result(l.mask, h.step - 1)
        ORDER BY h.block LIMIT 1
    ) AS claim_expire_time,
    has_fact(l.mask, replied_bit()) AS replied,
    has_fact(l.mask, converted_bit()) AS converted,
    has_fact(l.mask, auto_replied_bit()) AS auto_replied,
    has_fact(l.mask, opted_out_bit()) AS opted_out
FROM workspaces w
JOIN campaigns c USING (workspace_id)
JOIN leads l ON l.workspace_id = c.workspace_id AND l.campaign_id = c.campaign_id
-- A lead that was forgotten has no id.
JOIN lead_ids i ON i.workspace_id = l.workspace_id AND i.campaign_id = l.campaign_id AND i.lead_no = l.lead_no
LEFT JOIN accounts a ON a.workspace_id = l.workspace_id AND a.account_id = l.account_id;
COMMENT ON VIEW reporting.leads IS
    'One row for each lead that was not forgotten. Always filter by workspace and campaign: there can be millions.';
COMMENT ON COLUMN reporting.leads.workspace IS 'Id of the workspace.';
COMMENT ON COLUMN reporting.leads.campaign IS 'Id of the campaign within its workspace.';
COMMENT ON COLUMN reporting.leads.lead_id IS 'Id of the lead, as callers chose it.';
COMMENT ON COLUMN reporting.leads.account IS
    'Id of the account that sends to the lead; null before its first claim, unless the lead was added with one.';
COMMENT ON COLUMN reporting.leads.status IS
    'Status: sent, failed, pending or partial, as defined for the counts of campaigns.';
COMMENT ON COLUMN reporting.leads.last_action IS
    'What happened last, such as "step 2 delivered" or "replied"; of two at the same time a fact of the lead before '
    'one of a message, then the stronger one. Null before the first, and once the log no longer has it. Read from the'
    ' log for each row.';
COMMENT ON COLUMN reporting.leads.last_action_time IS 'When it happened; null before the first fact.';
COMMENT ON COLUMN reporting.leads.next_step IS 'Number of the step to send next; null if none.';
COMMENT ON COLUMN reporting.leads.next_due_time IS
    'When its follow-up is due; null while a claim of it is open, and where the time is not known. Looked up for each'
    ' row.';
COMMENT ON COLUMN reporting.leads.claim_expire_time IS
    'When its open claim expires; the claim is uncertain after that. Null without one. Looked up for each row.';
COMMENT ON COLUMN reporting.leads.replied IS 'It replied.';
COMMENT ON COLUMN reporting.leads.converted IS 'It converted.';
COMMENT ON COLUMN reporting.leads.auto_replied IS 'A machine replied for it.';
COMMENT ON COLUMN reporting.leads.opted_out IS 'It opted out.';

CREATE VIEW reporting.outcomes AS
SELECT
    w.name AS workspace,
    c.name AS campaign,
    i.lead_id,
    CASE WHEN is_message(o.bit) THEN step_bit_of(o.bit) + 1 END AS step,
    fact_word(o.bit) AS kind,
    reason_word(o.reason) AS reason,
    a.name AS account,
    o.happened_at AS time,
    o.received_at AS receive_time,
    o.batch_ordinal AS receive_ordinal,
    o.detail,
    CASE WHEN o.bit = converted_bit() THEN (
        SELECT v.value_micros / 1000000.0 FROM conversion_values v
        WHERE v.workspace_id = o.workspace_id AND v.campaign_id = o.campaign_id AND v.lead_no = o.lead_no
    ) END AS conversion_value
FROM workspaces w
JOIN campaigns c USING (workspace_id)
JOIN outcomes o ON o.workspace_id = c.workspace_id AND o.campaign_id = c.campaign_id
LEFT JOIN lead_ids i ON i.workspace_id = o.workspace_id AND i.campaign_id = o.campaign_id AND i.lead_no = o.lead_no
LEFT JOIN accounts a ON a.workspace_id = o.workspace_id AND a.account_id = o.account_id;
COMMENT ON VIEW reporting.outcomes IS
    'One row for each fact in the log: what was reported of leads, without repeats. Always filter by workspace and '
    'campaign. A filter by receive_time reads only the months that it needs. With --outcome-retention old months are '
    'missing.';
COMMENT ON COLUMN reporting.outcomes.workspace IS 'Id of the workspace.';
COMMENT ON COLUMN reporting.outcomes.campaign IS 'Id of the campaign within its workspace.';
COMMENT ON COLUMN reporting.outcomes.lead_id IS 'Id of the lead; null if it was forgotten.';
COMMENT ON COLUMN reporting.outcomes.step IS 'Number of the step; null for a fact about the lead.';
COMMENT ON COLUMN reporting.outcomes.kind IS
    'What happened: delivered, failed, bounced, replied, converted, auto_replied or opted_out.';
COMMENT ON COLUMN reporting.outcomes.reason IS
    'Why a message failed or bounced: account_issue, invalid_lead, rate_limited, content_rejected or other; null '
    'otherwise.';
COMMENT ON COLUMN reporting.outcomes.account IS 'Id of the account of the message; null where none is known.';
COMMENT ON COLUMN reporting.outcomes.time IS 'When it happened, as reported.';
COMMENT ON COLUMN reporting.outcomes.receive_time IS 'When the service took it in.';
COMMENT ON COLUMN reporting.outcomes.receive_ordinal IS 'Orders facts with the same receive_time.';
COMMENT ON COLUMN reporting.outcomes.detail IS 'Text of the provider; null for none, and once the lead was forgotten.';
COMMENT ON COLUMN reporting.outcomes.conversion_value IS
    'What the conversion is worth, in the unit of those who report it; null for other facts and where nobody said so.';

CREATE VIEW reporting.history AS
SELECT
    w.name AS workspace,
    c.name AS campaign,
    a.name AS account,
    nullif(h.day, '-infinity') AS day,
    h.delivered AS delivered_messages,
    h.failed_account_issue + h.failed_invalid_lead + h.failed_rate_limited + h.failed_content_rejected
        + h.failed_other AS failed_messages,
    h.bounced_account_issue + h.bounced_invalid_lead + h.bounced_rate_limited + h.bounced_content_rejected
        + h.bounced_other AS bounced_messages,
    h.failed_account_issue AS failed_account_issue_messages,
    h.failed_invalid_lead AS failed_invalid_lead_messages,
    h.failed_rate_limited AS failed_rate_limited_messages,
    h.failed_content_rejected AS failed_content_rejected_messages,
    h.failed_other AS failed_other_messages,
    h.bounced_account_issue AS bounced_account_issue_messages,
    h.bounced_invalid_lead AS bounced_invalid_lead_messages,
    h.bounced_rate_limited AS bounced_rate_limited_messages,
    h.bounced_content_rejected AS bounced_content_rejected_messages,
    h.bounced_other AS bounced_other_messages,
    h.contacted AS contacted_leads,
    (SELECT coalesce(sum(n), 0)::int8 FROM unnest(h.replied[:2]) AS n) AS replied_leads_1d,
    (SELECT coalesce(sum(n), 0)::int8 FROM unnest(h.replied[:4]) AS n) AS replied_leads_3d,
    (SELECT coalesce(sum(n), 0)::int8 FROM unnest(h.replied[:8]) AS n) AS replied_leads_7d,
    (SELECT coalesce(sum(n), 0)::int8 FROM unnest(h.replied[:15]) AS n) AS replied_leads_14d,
    (SELECT coalesce(sum(n), 0)::int8 FROM unnest(h.replied[:31]) AS n) AS replied_leads_30d,
    (SELECT coalesce(sum(n), 0)::int8 FROM unnest(h.converted[:2]) AS n) AS converted_leads_1d,
    (SELECT coalesce(sum(n), 0)::int8 FROM unnest(h.converted[:4]) AS n) AS converted_leads_3d,
    (SELECT coalesce(sum(n), 0)::int8 FROM unnest(h.converted[:8]) AS n) AS converted_leads_7d,
    (SELECT coalesce(sum(n), 0)::int8 FROM unnest(h.converted[:15]) AS n) AS converted_leads_14d,
    (SELECT coalesce(sum(n), 0)::int8 FROM unnest(h.converted[:31]) AS n) AS converted_leads_30d
FROM workspaces w
JOIN campaigns c USING (workspace_id)
JOIN history h ON h.workspace_id = c.workspace_id AND h.campaign_id = c.campaign_id
LEFT JOIN accounts a ON a.workspace_id = h.workspace_id AND a.account_id = h.account_id
-- Not the sums over all accounts, nor the other partition, which has those over all campaigns.
WHERE h.account_id <> all_accounts() AND h.campaign_id <> all_campaigns() AND NOT is_empty(h);
COMMENT ON VIEW reporting.history IS
    'One row for each campaign, account and UTC day on which something counts. A message counts once, on the day of '
    'its result. Sums over rows are sums over messages and leads.';
COMMENT ON COLUMN reporting.history.workspace IS 'Id of the workspace.';
COMMENT ON COLUMN reporting.history.campaign IS 'Id of the campaign within its workspace.';
COMMENT ON COLUMN reporting.history.account IS
    'Id of the account; null where none is known, and for one that was deleted.';
COMMENT ON COLUMN reporting.history.day IS 'UTC day; null for corrections of days that the log no longer has.';
COMMENT ON COLUMN reporting.history.delivered_messages IS 'Messages whose result is delivered.';
COMMENT ON COLUMN reporting.history.failed_messages IS 'Messages whose result is failed.';
COMMENT ON COLUMN reporting.history.bounced_messages IS 'Messages whose result is bounced.';
COMMENT ON COLUMN reporting.history.failed_account_issue_messages IS
    'Messages that failed with the reason account issue.';
COMMENT ON COLUMN reporting.history.failed_invalid_lead_messages IS
    'Messages that failed with the reason invalid lead.';
COMMENT ON COLUMN reporting.history.failed_rate_limited_messages IS
    'Messages that failed with the reason rate limited.';
COMMENT ON COLUMN reporting.history.failed_content_rejected_messages IS
    'Messages that failed with the reason content rejected.';
COMMENT ON COLUMN reporting.history.failed_other_messages IS 'Messages that failed with the reason other.';
COMMENT ON COLUMN reporting.history.bounced_account_issue_messages IS
    'Messages that bounced with the reason account issue.';
COMMENT ON COLUMN reporting.history.bounced_invalid_lead_messages IS
    'Messages that bounced with the reason invalid lead.';
COMMENT ON COLUMN reporting.history.bounced_rate_limited_messages IS
    'Messages that bounced with the reason rate limited.';
COMMENT ON COLUMN reporting.history.bounced_content_rejected_messages IS
    'Messages that bounced with the reason content rejected.';
COMMENT ON COLUMN reporting.history.bounced_other_messages IS 'Messages that bounced with the reason other.';
COMMENT ON COLUMN reporting.history.contacted_leads IS 'Leads whose first contact was on this day, by this account.';
COMMENT ON COLUMN reporting.history.replied_leads_1d IS
    'Those of them that replied within 1 day of their first contact.';
COMMENT ON COLUMN reporting.history.replied_leads_3d IS
    'Those of them that replied within 3 days of their first contact.';
COMMENT ON COLUMN reporting.history.replied_leads_7d IS
    'Those of them that replied within 7 days of their first contact.';
COMMENT ON COLUMN reporting.history.replied_leads_14d IS
    'Those of them that replied within 14 days of their first contact.';
COMMENT ON COLUMN reporting.history.replied_leads_30d IS
    'Those of them that replied within 30 days of their first contact.';
COMMENT ON COLUMN reporting.history.converted_leads_1d IS
    'Those of them that converted within 1 day of their first contact.';
COMMENT ON COLUMN reporting.history.converted_leads_3d IS
    'Those of them that converted within 3 days of their first contact.';
COMMENT ON COLUMN reporting.history.converted_leads_7d IS
    'Those of them that converted within 7 days of their first contact.';
COMMENT ON COLUMN reporting.history.converted_leads_14d IS
    'Those of them that converted within 14 days of their first contact.';
COMMENT ON COLUMN reporting.history.converted_leads_30d IS
    'Those of them that converted within 30 days of their first contact.';
