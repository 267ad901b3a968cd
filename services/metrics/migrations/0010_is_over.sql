-- Whether nothing is to be sent any more at a step that is listed: its row can go. An outcome that is under way may make
-- the step due again, finds the row that is there, and adds none. So the lead is locked, and looked at once it is; one that
-- somebody else has locked keeps its row, for another time.
CREATE FUNCTION is_over(r returns, all_steps int4) RETURNS bool LANGUAGE plpgsql AS $$
DECLARE
    facts int8;
BEGIN
    SELECT l.mask INTO facts FROM leads l
    WHERE l.workspace_id = r.workspace_id AND l.campaign_id = r.campaign_id AND l.lead_no = r.lead_no
    FOR NO KEY UPDATE SKIP LOCKED;
    IF FOUND THEN
        RETURN lead_next_step(facts, all_steps) <> r.step;
    END IF;
    RETURN NOT EXISTS (SELECT FROM leads l
        WHERE l.workspace_id = r.workspace_id AND l.campaign_id = r.campaign_id AND l.lead_no = r.lead_no);
END
$$;

-- As in migration 5, but for rows that are outdated: is_over says whether they go.
CREATE OR REPLACE FUNCTION claim_take(
    workspace int4, campaign int4, account int4, want int8, at timestamptz, all_steps int4, ends_first int8,
    grant_id int8, expiry timestamptz, day_of_account date, day_of_campaign date,
    from_due timestamptz, from_lead int4, moves int4, odd int4,
    OUT lead_nos int4[], OUT steps int2[], OUT ids text[], OUT more bool, OUT next_due timestamptz, OUT next_lead int4,
    OUT serving bool, OUT reserved_of_account int8, OUT reserved_of_campaign int8
) LANGUAGE plpgsql AS $$
DECLARE
    segment segments;
    fresh int4[];
    kept int4;
    taken int4;
    looked_at int4 := 0;
    removed int4 := 0;
    is_emptied bool := false;
BEGIN
    next_due := from_due;
    next_lead := from_lead;
    lead_nos := '{}';
    steps := '{}';

    -- New leads, its own before those of any account. Leads that are being added make a segment grow once they are there.
    SELECT * INTO segment FROM segments s
    WHERE s.workspace_id = workspace AND s.campaign_id = campaign AND s.account_id = account AND s.lo >= from_lead
    ORDER BY s.lo LIMIT 1;
    IF NOT FOUND THEN
        SELECT * INTO segment FROM segments s
        WHERE s.workspace_id = workspace AND s.campaign_id = campaign AND s.account_id = 0 AND s.lo >= from_lead
        ORDER BY s.lo LIMIT 1;
    END IF;
    fresh := ARRAY(
        SELECT l.lead_no FROM leads l
        WHERE l.workspace_id = workspace AND l.campaign_id = campaign AND l.lead_no >= segment.lo AND l.lead_no < segment.hi
            AND l.mask & ends_first = 0
        ORDER BY l.lead_no LIMIT want
    );

    IF EXISTS (SELECT FROM returns r WHERE r.workspace_id = workspace AND r.campaign_id = campaign
            AND r.account_id = account AND r.due_at <= at AND r.due_at >= from_due)
        OR EXISTS (SELECT FROM returns r WHERE r.workspace_id = workspace AND r.campaign_id = campaign
            AND r.account_id = 0 AND r.due_at <= at AND r.due_at >= from_due)
    THEN
        WITH back AS MATERIALIZED (
            SELECT * FROM (
                (SELECT r.* FROM returns r
                WHERE r.workspace_id = workspace AND r.campaign_id = campaign AND r.account_id = account
                    AND r.due_at <= at AND r.due_at >= from_due
                    -- The lead goes on once its other claim has ended.
                    AND (SELECT 1 FROM claims c WHERE c.workspace_id = workspace AND c.campaign_id = campaign
                        AND c.block = r.lead_no >> 6 AND c.held >> (r.lead_no & 63) & 1 = 1
                        AND (SELECT step_result(l.mask, c.step - 1) FROM leads l WHERE l.workspace_id = workspace
                            AND l.campaign_id = campaign AND l.lead_no = r.lead_no LIMIT 1) = 0
                        LIMIT 1) IS NULL
                ORDER BY r.due_at, r.lead_no LIMIT want)
                UNION ALL
                (SELECT r.* FROM returns r
                WHERE r.workspace_id = workspace AND r.campaign_id = campaign AND r.account_id = 0
                    AND r.due_at <= at AND r.due_at >= from_due
                    AND (SELECT 1 FROM claims c WHERE c.workspace_id = workspace AND c.campaign_id = campaign
                        AND c.block = r.lead_no >> 6 AND c.held >> (r.lead_no & 63) & 1 = 1
                        AND (SELECT step_result(l.mask, c.step - 1) FROM leads l WHERE l.workspace_id = workspace
                            AND l.campaign_id = campaign AND l.lead_no = r.lead_no LIMIT 1) = 0
                        LIMIT 1) IS NULL
                ORDER BY r.due_at, r.lead_no LIMIT want)
            ) r
            ORDER BY due_at, lead_no LIMIT want
        ), judged AS MATERIALIZED (
            SELECT b.*, coalesce(lead_next_step(l.mask, all_steps) = b.step, false) AS is_due,
                -- A step can be listed twice, as a follow-up and as a claim that came back.
                row_number() OVER (PARTITION BY b.lead_no, b.step ORDER BY b.due_at) = 1 AS is_first
            FROM back b LEFT JOIN LATERAL (
                SELECT l.mask FROM leads l
                WHERE l.workspace_id = workspace AND l.campaign_id = campaign AND l.lead_no = b.lead_no LIMIT 1
            ) l ON true
        ), returned AS MATERIALIZED (
            SELECT lead_no, step FROM judged WHERE is_due AND is_first
            ORDER BY due_at, lead_no LIMIT greatest((want + odd) / 2, want - cardinality(fresh))
        ), gone AS (
            DELETE FROM returns r USING judged j
            WHERE r.workspace_id = j.workspace_id AND r.campaign_id = j.campaign_id AND r.account_id = j.account_id
                AND r.due_at = j.due_at AND r.lead_no = j.lead_no AND r.step = j.step
                AND CASE WHEN j.is_due THEN (j.lead_no, j.step) IN (SELECT t.lead_no, t.step FROM returned t)
                    ELSE is_over(r, all_steps) END
            RETURNING r.lead_no
        )
        SELECT ARRAY(SELECT t.lead_no FROM returned t), ARRAY(SELECT t.step FROM returned t), (SELECT count(*) FROM judged),
            (SELECT count(*) FROM gone),
            -- Where to look next time: at what is due and was not taken, else behind what was looked at.
            coalesce(
                (SELECT min(due_at) FROM judged
                WHERE is_due AND (lead_no, step) NOT IN (SELECT t.lead_no, t.step FROM returned t)),
                (SELECT max(due_at) FROM judged),
                from_due
            )
        INTO lead_nos, steps, looked_at, removed, next_due;
    END IF;

    -- New leads up to the last that is taken, or to the end of the segment where there are no more.
    kept := least(cardinality(fresh), want - cardinality(lead_nos));
    IF segment.lo IS NOT NULL THEN
        next_lead := CASE WHEN kept < cardinality(fresh) OR kept = want THEN coalesce(fresh[kept] + 1, segment.lo)
            ELSE segment.hi END;
        IF next_lead >= segment.hi THEN
            -- Not moved to its end, where another one may begin. Unless leads were added to it meanwhile.
            DELETE FROM segments s WHERE s.workspace_id = workspace AND s.campaign_id = campaign
                AND s.account_id = segment.account_id AND s.lo = segment.lo AND s.hi = segment.hi;
            is_emptied := FOUND;
        END IF;
        IF next_lead > segment.lo AND NOT is_emptied THEN
            UPDATE segments s SET lo = next_lead
            WHERE s.workspace_id = workspace AND s.campaign_id = campaign AND s.account_id = segment.account_id
                AND s.lo = segment.lo;
            IF NOT FOUND THEN
                RAISE serialization_failure USING MESSAGE = 'the segment of new leads went';
            END IF;
        END IF;
    END IF;
    ids := ARRAY(
        -- Every lead that can be taken has an id. In order, so that the index of the ids does not serve.
        SELECT i.lead_id FROM unnest(lead_nos) WITH ORDINALITY AS t (lead_no, place) CROSS JOIN LATERAL (
            SELECT lead_id FROM lead_ids i
            WHERE i.workspace_id = workspace AND i.campaign_id = campaign AND i.lead_no >= t.lead_no
            ORDER BY i.lead_no LIMIT 1
        ) i
        ORDER BY t.place
    );
    IF kept > 0 THEN
        fresh := fresh[:kept];
        IF lead_nos && fresh THEN
            RAISE serialization_failure USING MESSAGE = 'a new lead was reported on meanwhile';
        END IF;
        lead_nos := lead_nos || fresh;
        steps := steps || array_fill(1::int2, ARRAY[kept]);
        -- New leads lie together: one scan, not a look-up for each, which IS TRUE keeps the planner from.
        ids := ids || ARRAY(
            SELECT i.lead_id FROM lead_ids i
            WHERE i.workspace_id = workspace AND i.campaign_id = campaign
                AND i.lead_no >= fresh[1] AND i.lead_no <= fresh[kept] AND (i.lead_no IN (SELECT unnest(fresh))) IS TRUE
            ORDER BY i.lead_no
        );
    END IF;

    taken := cardinality(lead_nos);
    -- The segment has an end, but there may be others; what is outdated took the place of what is due.
    more := taken < want AND (segment.lo IS NOT NULL OR looked_at >= want);
    serving := EXISTS (SELECT FROM campaign_accounts s WHERE s.workspace_id = workspace AND s.campaign_id = campaign
        AND s.account_id = account AND NOT s.removed);
    IF taken = 0 THEN
        IF looked_at >= want AND removed = 0 THEN
            RAISE serialization_failure USING MESSAGE = 'what is listed first is being reported on';
        END IF;
        RETURN;
    END IF;
    INSERT INTO claims
        (workspace_id, campaign_id, block, step, grant_no, account_id, held, expires_at, account_day, campaign_day)
    SELECT workspace, campaign, t.lead_no >> 6, t.step, grant_id, account, bit_or(1::int8 << (t.lead_no & 63)), expiry,
        day_of_account, day_of_campaign
    FROM unnest(lead_nos, steps) AS t (lead_no, step) GROUP BY t.lead_no >> 6, t.step
    ON CONFLICT (workspace_id, campaign_id, block, step, grant_no) DO UPDATE SET held = claims.held | excluded.held;
    UPDATE campaign_claims k SET granted = k.granted + taken, epoch = k.epoch + moves
    WHERE k.workspace_id = workspace AND k.campaign_id = campaign AND k.epoch = (
        SELECT e.epoch FROM campaign_claims e
        WHERE e.workspace_id = workspace AND e.campaign_id = campaign ORDER BY e.epoch DESC LIMIT 1
    );
    -- Epoch -1 is what was sent without a claim; it is never refused, so it may change meanwhile.
    UPDATE account_reservations r SET reserved = r.reserved + taken, epoch = r.epoch + moves
    WHERE r.workspace_id = workspace AND r.account_id = account AND r.day = day_of_account AND r.epoch = (
        SELECT e.epoch FROM account_reservations e
        WHERE e.workspace_id = workspace AND e.account_id = account AND e.day = day_of_account AND e.epoch >= 0
        ORDER BY e.epoch DESC LIMIT 1
    )
    RETURNING r.reserved INTO reserved_of_account;
    IF NOT FOUND THEN
        INSERT INTO account_reservations (workspace_id, account_id, day, epoch, reserved)
        VALUES (workspace, account, day_of_account, 0, taken);
        reserved_of_account := taken;
    END IF;
    reserved_of_account := reserved_of_account + coalesce((SELECT r.reserved FROM account_reservations r
        WHERE r.workspace_id = workspace AND r.account_id = account AND r.day = day_of_account AND r.epoch = -1), 0);
    UPDATE campaign_reservations r SET reserved = r.reserved + taken, epoch = r.epoch + moves
    WHERE r.workspace_id = workspace AND r.campaign_id = campaign AND r.day = day_of_campaign AND r.epoch = (
        SELECT e.epoch FROM campaign_reservations e
        WHERE e.workspace_id = workspace AND e.campaign_id = campaign AND e.day = day_of_campaign AND e.epoch >= 0
        ORDER BY e.epoch DESC LIMIT 1
    )
    RETURNING r.reserved INTO reserved_of_campaign;
    IF NOT FOUND THEN
        INSERT INTO campaign_reservations (workspace_id, campaign_id, day, epoch, reserved)
        VALUES (workspace, campaign, day_of_campaign, 0, taken);
        reserved_of_campaign := taken;
    END IF;
    reserved_of_campaign := reserved_of_campaign + coalesce((SELECT r.reserved FROM campaign_reservations r
        WHERE r.workspace_id = workspace AND r.campaign_id = campaign AND r.day = day_of_campaign AND r.epoch = -1), 0);
END
$$;
