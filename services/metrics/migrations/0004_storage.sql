-- What account days owe to rows of the log that are gone: with a partition that was dropped, or with a deleted campaign.
-- account_days = this + a recount of what the log still has. Single numbers can be negative, sums can not.
CREATE TABLE account_days_closed (
    workspace_id int4 NOT NULL,
    account_id int4 NOT NULL,
    day date NOT NULL,
    delivered int8 NOT NULL,
    failed int8 NOT NULL,
    bounced int8 NOT NULL,
    superseded_delivered int8 NOT NULL,
    superseded_failed int8 NOT NULL,
    PRIMARY KEY (workspace_id, account_id, day)
);

-- Set once what the log of a deleted campaign says is in account_days_closed.
ALTER TABLE deleted_campaigns ADD COLUMN is_closed bool NOT NULL DEFAULT false;

-- Runs of `verify`, the latest of which is a metric.
CREATE TABLE verifications (
    verified_at timestamptz PRIMARY KEY,
    differences int8 NOT NULL,
    repaired bool NOT NULL
);

-- What a recount of the log says about account days, by the rules of account_days: a fact counts on its own day; that a
-- stronger one superseded it counts on that one's day, or on its own where the stronger one's row is gone. `part` leaves out
-- the rows of one partition.
CREATE FUNCTION account_days_of_log(workspace int4, campaign int4, without regclass)
RETURNS TABLE (account_id int4, day date, delivered int8, failed int8, bounced int8, superseded_delivered int8, superseded_failed int8)
LANGUAGE sql STABLE AS $$
    WITH message AS MATERIALIZED (
        SELECT o.account_id, o.campaign_id, o.lead_no, o.bit >> 4 AS kind, o.bit & 15 AS step_bit,
            (o.happened_at AT TIME ZONE 'UTC')::date AS day, l.mask
        FROM outcomes o
        JOIN leads l ON l.workspace_id = o.workspace_id AND l.campaign_id = o.campaign_id AND l.lead_no = o.lead_no
        WHERE o.workspace_id = workspace AND (campaign IS NULL OR o.campaign_id = campaign) AND o.bit < 48
            AND o.account_id IS NOT NULL AND (without IS NULL OR o.tableoid <> without)
            AND NOT EXISTS (SELECT FROM deleted_campaigns d
                WHERE d.workspace_id = o.workspace_id AND d.campaign_id = o.campaign_id AND d.is_closed)
    ), judged AS (
        SELECT *,
            -- Kinds by place in the mask: 0 delivered, 1 failed, 2 bounced; bounced is the strongest, failed the weakest.
            CASE WHEN kind = 0 AND mask >> (step_bit + 16) & 1 = 1 THEN 1
                WHEN kind = 2 AND mask >> step_bit & 1 = 1 THEN 0
                WHEN kind = 2 AND mask >> (step_bit + 16) & 1 = 1 THEN 1 END AS weaker,
            CASE WHEN kind = 1 AND mask >> step_bit & 1 = 1 THEN 0
                WHEN kind < 2 AND mask >> (step_bit + 32) & 1 = 1 THEN 2 END AS stronger
        FROM message
    ), counted AS (
        SELECT j.*, j.stronger IS NOT NULL AND NOT EXISTS (
            SELECT FROM message s WHERE s.campaign_id = j.campaign_id AND s.lead_no = j.lead_no
                AND s.step_bit = j.step_bit AND s.kind = j.stronger
        ) AS stronger_is_gone
        FROM judged j
    )
    SELECT account_id, day, count(*) FILTER (WHERE kind = 0), count(*) FILTER (WHERE kind = 1), count(*) FILTER (WHERE kind = 2),
        count(*) FILTER (WHERE weaker = 0) + count(*) FILTER (WHERE stronger_is_gone AND kind = 0),
        count(*) FILTER (WHERE weaker = 1) + count(*) FILTER (WHERE stronger_is_gone AND kind = 1)
    FROM counted GROUP BY account_id, day
$$;

-- Autovacuum, by what each table is. The rows that every claim or batch changes are few and their dead versions many:
-- vacuum as soon as a page's worth is dead, and without pauses.
ALTER TABLE campaign_counters SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);
ALTER TABLE campaign_claims SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);
ALTER TABLE account_reservations SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);
ALTER TABLE campaign_reservations SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);
ALTER TABLE account_days SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);
ALTER TABLE segments SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);
-- Queues: what was claimed or closed lies dead before what is next.
ALTER TABLE claims SET (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);
ALTER TABLE returns SET (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);
-- Large, updated on their pages, which prune themselves: a twentieth is soon enough.
ALTER TABLE leads SET (autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);
-- Only ever added to: visited for the visibility map, seldom.
ALTER TABLE lead_ids SET (autovacuum_vacuum_insert_scale_factor = 0.2);
