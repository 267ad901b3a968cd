-- The recount of migration 4, to the same result: what the log still has of a message is gathered by sorting the log once. The
-- look for the stronger fact of each superseded one read the whole log, once its rows no longer fitted in memory.
CREATE OR REPLACE FUNCTION account_days_of_log(workspace int4, campaign int4, without regclass)
RETURNS TABLE (account_id int4, day date, delivered int8, failed int8, bounced int8, superseded_delivered int8, superseded_failed int8)
LANGUAGE sql STABLE AS $$
    WITH message AS (
        SELECT o.account_id, o.bit >> 4 AS kind, o.bit & 15 AS step_bit,
            (o.happened_at AT TIME ZONE 'UTC')::date AS day, l.mask,
            bit_or(1 << (o.bit >> 4)) OVER (PARTITION BY o.campaign_id, o.lead_no, o.bit & 15) AS logged_kinds
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
        SELECT *, coalesce(logged_kinds >> stronger & 1 = 0, false) AS stronger_is_gone FROM judged
    )
    SELECT account_id, day, count(*) FILTER (WHERE kind = 0), count(*) FILTER (WHERE kind = 1), count(*) FILTER (WHERE kind = 2),
        count(*) FILTER (WHERE weaker = 0) + count(*) FILTER (WHERE stronger_is_gone AND kind = 0),
        count(*) FILTER (WHERE weaker = 1) + count(*) FILTER (WHERE stronger_is_gone AND kind = 1)
    FROM counted GROUP BY account_id, day
$$;
