-- A message counts on the UTC day of the fact that is its result. So far what superseded a fact was taken off on the day of
-- the stronger one: the last 30 days of an account went below zero when the delivery was older than that and the bounce was
-- not. Taken off where it was counted, every sum over days counts messages.

DROP FUNCTION account_days_of_log(int4, int4, regclass);

-- What a recount of the log says about account days. `without` leaves out the rows of one partition.
--
-- Parts of the log go in the order of arrival, so what is gone of a message came before all that is left of it. Its result
-- counted when it went; the first fact that is stronger took it off again, on a day before all others, because nobody knew
-- which one it had been.
CREATE FUNCTION account_days_of_log(workspace int4, campaign int4, without regclass)
RETURNS TABLE (account_id int4, day date, delivered int8, failed int8, bounced int8)
LANGUAGE sql STABLE AS $$
    WITH message AS (
        SELECT o.account_id, o.bit & 15 AS step_bit, l.mask, bit_or(1::int8 << o.bit) AS logged,
            min(o.happened_at) FILTER (WHERE o.bit < 16) AS delivered_at,
            min(o.happened_at) FILTER (WHERE o.bit BETWEEN 16 AND 31) AS failed_at,
            min(o.happened_at) FILTER (WHERE o.bit BETWEEN 32 AND 47) AS bounced_at
        FROM outcomes o
        JOIN leads l ON l.workspace_id = o.workspace_id AND l.campaign_id = o.campaign_id AND l.lead_no = o.lead_no
        WHERE o.workspace_id = workspace AND (campaign IS NULL OR o.campaign_id = campaign) AND o.bit < 48
            AND o.account_id IS NOT NULL AND (without IS NULL OR o.tableoid <> without)
            AND NOT EXISTS (SELECT FROM deleted_campaigns d
                WHERE d.workspace_id = o.workspace_id AND d.campaign_id = o.campaign_id AND d.is_closed)
        GROUP BY o.campaign_id, o.lead_no, o.bit & 15, o.account_id, l.mask
    ), judged AS (
        SELECT account_id, (coalesce(bounced_at, delivered_at, failed_at) AT TIME ZONE 'UTC')::date AS day,
            step_result(logged, step_bit) AS result, step_result(mask & ~logged, step_bit) AS gone_result
        FROM message
        -- Else what is gone is the result still.
        WHERE step_result(logged, step_bit) = step_result(mask, step_bit)
    ), counted AS (
        SELECT account_id, day, result, 1 AS count FROM judged
        UNION ALL
        SELECT account_id, '-infinity', gone_result, -1 FROM judged WHERE gone_result <> 0
    )
    SELECT account_id, day, coalesce(sum(count) FILTER (WHERE result = 1), 0), coalesce(sum(count) FILTER (WHERE result = 2), 0),
        coalesce(sum(count) FILTER (WHERE result = 3), 0)
    FROM counted GROUP BY account_id, day
$$;

UPDATE account_days_closed SET delivered = delivered - superseded_delivered, failed = failed - superseded_failed
WHERE superseded_delivered <> 0 OR superseded_failed <> 0;
ALTER TABLE account_days_closed DROP COLUMN superseded_delivered, DROP COLUMN superseded_failed;

ALTER TABLE account_days DROP COLUMN superseded_delivered, DROP COLUMN superseded_failed;
DELETE FROM account_days;
INSERT INTO account_days (workspace_id, account_id, day, delivered, failed, bounced)
SELECT workspace_id, account_id, day, sum(delivered), sum(failed), sum(bounced)
FROM (
    SELECT w.workspace_id, d.* FROM workspaces w CROSS JOIN LATERAL account_days_of_log(w.workspace_id, NULL, NULL) d
    UNION ALL
    SELECT workspace_id, account_id, day, delivered, failed, bounced FROM account_days_closed
) d
JOIN accounts USING (workspace_id, account_id)
GROUP BY workspace_id, account_id, day;
