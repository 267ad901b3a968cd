-- Takes due steps of one campaign for one account: half from what came back or follows up, half from leads that were never
-- claimed; what one kind lacks, the other may take. Records the claims, and counts them.
--
-- $1 workspace int4, $2 campaign int4, $3 account int4, $4 how many at most int8, $5 now timestamptz, $6 steps of the campaign
-- int4, $7 grant int8, $8 expiry timestamptz, $9 the account's day date, $10 the campaign's day date, $11 facts that end a
-- first step int8; where to begin to look: $12 due time timestamptz, $13 lead int4; $14 1 moves the rows that every claim
-- changes on to their next epoch, else 0 int4; $15 which kind the odd one is taken from, 1 what came back, 0 new leads int4.
--
-- The account and the campaign are locked, so nobody else takes. Rows of `returns` and `segments` say where to look, not
-- what is true: every lead is checked against its facts.
--
-- Rows are looked up one by one, by LATERAL ... LIMIT or by what another part returned: where the planner is free to join,
-- it goes through all leads of the campaign as long as it takes the table for small.
--
-- Returns the leads taken, with their step and id, and a row without lead: `step` is 1 when more may be found at once;
-- `due_at` and `lo` are where to begin next time; `emptied` says that the segment is to be deleted.
WITH back AS MATERIALIZED (
    SELECT * FROM (
        (SELECT r.* FROM returns r
        WHERE r.workspace_id = $1 AND r.campaign_id = $2 AND r.account_id = $3 AND r.due_at <= $5 AND r.due_at >= $12
            -- The lead goes on once its other claim has ended.
            AND (SELECT 1 FROM claims c WHERE c.workspace_id = $1 AND c.campaign_id = $2 AND c.block = r.lead_no >> 6
                AND c.held >> (r.lead_no & 63) & 1 = 1 LIMIT 1) IS NULL
        ORDER BY r.due_at, r.lead_no LIMIT $4)
        UNION ALL
        (SELECT r.* FROM returns r
        WHERE r.workspace_id = $1 AND r.campaign_id = $2 AND r.account_id = 0 AND r.due_at <= $5 AND r.due_at >= $12
            AND (SELECT 1 FROM claims c WHERE c.workspace_id = $1 AND c.campaign_id = $2 AND c.block = r.lead_no >> 6
                AND c.held >> (r.lead_no & 63) & 1 = 1 LIMIT 1) IS NULL
        ORDER BY r.due_at, r.lead_no LIMIT $4)
    ) r
    ORDER BY due_at, lead_no LIMIT $4
), judged AS MATERIALIZED (
    SELECT b.*, coalesce(lead_next_step(l.mask, $6) = b.step, false) AS is_due,
        -- A step can be listed twice, as a follow-up and as a claim that came back.
        row_number() OVER (PARTITION BY b.lead_no, b.step ORDER BY b.due_at) = 1 AS is_first
    FROM back b LEFT JOIN LATERAL (
        SELECT mask FROM leads WHERE workspace_id = $1 AND campaign_id = $2 AND lead_no = b.lead_no LIMIT 1
    ) l ON true
), segment AS MATERIALIZED (
    -- As this statement sees it: leads that are being added make it grow, but are not seen yet.
    SELECT * FROM (
        (SELECT account_id, lo, hi FROM segments
        WHERE workspace_id = $1 AND campaign_id = $2 AND account_id = $3 AND lo >= $13 ORDER BY lo LIMIT 1)
        UNION ALL
        (SELECT account_id, lo, hi FROM segments
        WHERE workspace_id = $1 AND campaign_id = $2 AND account_id = 0 AND lo >= $13 ORDER BY lo LIMIT 1)
    ) s
    ORDER BY account_id DESC LIMIT 1
), fresh AS MATERIALIZED (
    SELECT lead_no FROM leads
    WHERE workspace_id = $1 AND campaign_id = $2 AND lead_no >= (SELECT lo FROM segment) AND lead_no < (SELECT hi FROM segment)
        AND mask & $11 = 0
    ORDER BY lead_no LIMIT $4
), share AS MATERIALIZED (
    SELECT least(due, greatest(($4 + $15::int4) / 2, $4 - fresh)) AS returned, fresh
    FROM (SELECT (SELECT count(*) FROM judged WHERE is_due AND is_first) AS due, (SELECT count(*) FROM fresh) AS fresh) n
), returned AS MATERIALIZED (
    SELECT lead_no, step FROM judged WHERE is_due AND is_first
    ORDER BY due_at, lead_no LIMIT (SELECT returned FROM share)
), gone AS (
    DELETE FROM returns r USING judged j
    WHERE r.workspace_id = j.workspace_id AND r.campaign_id = j.campaign_id AND r.account_id = j.account_id
        AND r.due_at = j.due_at AND r.lead_no = j.lead_no AND r.step = j.step
        AND (NOT j.is_due OR (j.lead_no, j.step) IN (SELECT lead_no, step FROM returned))
), first AS MATERIALIZED (
    SELECT lead_no FROM fresh ORDER BY lead_no LIMIT $4 - (SELECT returned FROM share)
), reached AS MATERIALIZED (
    -- Up to the last lead taken, or to the end where there are no more.
    SELECT s.account_id, s.lo, s.hi,
        CASE WHEN (SELECT fresh FROM share) > (SELECT count(*) FROM first) OR (SELECT count(*) FROM first) = $4
            THEN coalesce((SELECT max(lead_no) + 1 FROM first), s.lo) ELSE s.hi END AS next
    FROM segment s
), moved AS (
    UPDATE segments SET lo = (SELECT next FROM reached)
    WHERE workspace_id = $1 AND campaign_id = $2 AND account_id = (SELECT account_id FROM reached WHERE next > lo)
        AND lo = (SELECT lo FROM reached)
    RETURNING lo, hi
), taken AS MATERIALIZED (
    SELECT lead_no, step FROM returned
    UNION ALL
    SELECT lead_no, 1::int2 FROM first
), claimed AS (
    INSERT INTO claims (workspace_id, campaign_id, block, step, grant_no, account_id, held, expires_at, account_day, campaign_day)
    SELECT $1, $2, lead_no >> 6, step, $7, $3, bit_or(1::int8 << (lead_no & 63)), $8, $9, $10
    FROM taken GROUP BY lead_no >> 6, step
    ON CONFLICT (workspace_id, campaign_id, block, step, grant_no) DO UPDATE SET held = claims.held | excluded.held
), counted AS (
    UPDATE campaign_claims k SET granted = k.granted + (SELECT count(*) FROM taken), epoch = k.epoch + $14
    WHERE k.workspace_id = $1 AND k.campaign_id = $2 AND EXISTS (SELECT FROM taken) AND k.epoch = (
        SELECT epoch FROM campaign_claims WHERE workspace_id = $1 AND campaign_id = $2 ORDER BY epoch DESC LIMIT 1
    )
), account_reserved AS (
    UPDATE account_reservations r SET reserved = r.reserved + (SELECT count(*) FROM taken), epoch = r.epoch + $14
    WHERE r.workspace_id = $1 AND r.account_id = $3 AND r.day = $9 AND EXISTS (SELECT FROM taken) AND r.epoch = (
        SELECT epoch FROM account_reservations WHERE workspace_id = $1 AND account_id = $3 AND day = $9 AND epoch >= 0
        ORDER BY epoch DESC LIMIT 1
    )
    RETURNING r.epoch
), account_first AS (
    INSERT INTO account_reservations (workspace_id, account_id, day, epoch, reserved)
    SELECT $1, $3, $9, 0, count(*) FROM taken HAVING count(*) > 0 AND NOT EXISTS (SELECT FROM account_reserved)
), campaign_reserved AS (
    UPDATE campaign_reservations r SET reserved = r.reserved + (SELECT count(*) FROM taken), epoch = r.epoch + $14
    WHERE r.workspace_id = $1 AND r.campaign_id = $2 AND r.day = $10 AND EXISTS (SELECT FROM taken) AND r.epoch = (
        SELECT epoch FROM campaign_reservations WHERE workspace_id = $1 AND campaign_id = $2 AND day = $10 AND epoch >= 0
        ORDER BY epoch DESC LIMIT 1
    )
    RETURNING r.epoch
), campaign_first AS (
    INSERT INTO campaign_reservations (workspace_id, campaign_id, day, epoch, reserved)
    SELECT $1, $2, $10, 0, count(*) FROM taken HAVING count(*) > 0 AND NOT EXISTS (SELECT FROM campaign_reserved)
)
SELECT t.lead_no, t.step, i.lead_id, NULL::timestamptz AS due_at, NULL::int4 AS lo, false AS emptied
FROM returned t CROSS JOIN LATERAL (
    -- Every lead that can be taken has an id. In order, so that the index of the ids does not serve.
    SELECT lead_id FROM lead_ids WHERE workspace_id = $1 AND campaign_id = $2 AND lead_no >= t.lead_no ORDER BY lead_no LIMIT 1
) i
UNION ALL
-- New leads lie together: one scan, not a look-up for each.
(SELECT i.lead_no, 1::int2, i.lead_id, NULL, NULL, false FROM lead_ids i
WHERE i.workspace_id = $1 AND i.campaign_id = $2 AND i.lead_no >= (SELECT min(lead_no) FROM first)
    AND i.lead_no <= (SELECT max(lead_no) FROM first) AND i.lead_no IN (SELECT lead_no FROM first)
ORDER BY i.lead_no)
UNION ALL
SELECT NULL,
    -- The segment has an end, but there may be others; what is outdated took the place of what is due.
    CASE WHEN (SELECT count(*) FROM taken) < $4 AND (EXISTS (SELECT FROM segment)
        OR (SELECT count(*) FROM judged) >= $4) THEN 1 ELSE 0 END::int2,
    NULL,
    -- Where to look next time: at what is due and was not taken, else behind what was looked at.
    coalesce(
        (SELECT min(due_at) FROM judged WHERE is_due AND (lead_no, step) NOT IN (SELECT lead_no, step FROM returned)),
        (SELECT max(due_at) FROM judged)
    ),
    -- Negative where the segment was not there any more.
    coalesce((SELECT lo FROM moved), (SELECT -1 FROM reached WHERE next > lo)),
    coalesce((SELECT m.lo = m.hi FROM moved m), false)
