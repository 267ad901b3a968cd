-- Claims: their rows, which of them are open, how they end, and how a campaign grants them.

CREATE TABLE claims (
    workspace_id int4 NOT NULL,
    campaign_id int4 NOT NULL,
    block int4 NOT NULL,
    step int2 NOT NULL,
    grant_no int8 NOT NULL,
    account_id int4 NOT NULL,
    claimed int8 NOT NULL,
    is_exact bool NOT NULL DEFAULT false,
    expires_at timestamptz NOT NULL,
    account_day date NOT NULL,
    campaign_day date NOT NULL,
    PRIMARY KEY (workspace_id, campaign_id, block, step, grant_no)
) WITH (
    fillfactor = 50,
    -- A queue: closed rows lie dead before the next ones.
    autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0
);
-- These two indexes are on an expression, so that only statements that spell it out use them. On plain columns, while the
-- table is small, the planner would pick one of them instead of the primary key to find a block. A claim of follow-ups
-- would then read all claims of the workspace for each lead.
CREATE INDEX claims_expiry ON claims (((workspace_id::int8 << 32) + campaign_id), expires_at);
COMMENT ON INDEX claims_expiry IS 'Finds the claims of a campaign by expiry.';
CREATE INDEX claims_of_account ON claims (((workspace_id::int8 << 32) + account_id), grant_no);
COMMENT ON INDEX claims_of_account IS 'Finds the claims of an account by grant.';
CREATE INDEX claims_inexact ON claims (expires_at) WHERE NOT is_exact;
COMMENT ON INDEX claims_inexact IS 'Finds rows that expired and are not exact yet.';
COMMENT ON TABLE claims IS
    'Claims of one grant and step on a block of 64 neighbouring leads. An outcome locks the row and does not write '
    'it: a row that 64 outcomes write has 64 versions behind an old snapshot, and every look-up walks over them. A '
    'claim is open while its bit is set and its lead has no result for the step; claim_open says so. The batch '
    'deletes the row that has outcomes for all of it, or for the last of it. Upkeep makes exact what is left when it '
    'expires.';
COMMENT ON COLUMN claims.workspace_id IS 'Workspace of the leads.';
COMMENT ON COLUMN claims.campaign_id IS 'Campaign of the leads.';
COMMENT ON COLUMN claims.block IS 'Block of the leads; see lead_block.';
COMMENT ON COLUMN claims.step IS 'Number of the step.';
COMMENT ON COLUMN claims.grant_no IS 'Number of the grant: drawn at random, one for each call that claims.';
COMMENT ON COLUMN claims.account_id IS 'Account that sends.';
COMMENT ON COLUMN claims.claimed IS
    'One bit for each lead of the block, see lead_bit: claimed and not given back. A claim that an outcome closed '
    'keeps its bit, unless the row is exact.';
COMMENT ON COLUMN claims.is_exact IS
    'Bits of closed claims were cleared after the expiry. From then on an outcome clears its bit itself, so that '
    'uncertain claims are counted without reading leads.';
COMMENT ON COLUMN claims.expires_at IS 'Open claims are held until then, and uncertain after it.';
COMMENT ON COLUMN claims.account_day IS 'Day of account_reservations that a release gives back.';
COMMENT ON COLUMN claims.campaign_day IS 'Day of campaign_reservations that a release gives back.';

CREATE FUNCTION claim_open(c claims) RETURNS int8 LANGUAGE plpgsql STABLE PARALLEL SAFE SET enable_seqscan = off AS $$
BEGIN
    IF c.is_exact THEN
        RETURN c.claimed;
    END IF;
    RETURN c.claimed & ~coalesce((
        SELECT bit_or(lead_bit(l.lead_no)) FROM leads l
        WHERE l.workspace_id = c.workspace_id AND l.campaign_id = c.campaign_id
            AND l.lead_no >= c.block * 64 AND l.lead_no < c.block * 64 + 64
            AND has_result(l.mask, c.step - 1)
    ), 0);
END
$$;
COMMENT ON FUNCTION claim_open(claims) IS
    'Returns the bits of a row of claims that are open: those whose leads have no result for the step. Planned once '
    'for each connection, hence by the index even where the planner takes leads for small.';

-- What ends claims works row by row: a statement that deletes by a join begins with all claims where the planner takes
-- the table for empty, as it does after any idle time. The caller holds the row lock. Each function is VOLATILE and so
-- reads with a snapshot of its own: it sees the outcomes that the caller waited for.

CREATE FUNCTION claim_reduce(c claims, open int8) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF open = 0 THEN
        DELETE FROM claims d WHERE d.workspace_id = c.workspace_id AND d.campaign_id = c.campaign_id
            AND d.block = c.block AND d.step = c.step AND d.grant_no = c.grant_no;
    ELSE
        UPDATE claims d SET claimed = open, is_exact = true WHERE d.workspace_id = c.workspace_id
            AND d.campaign_id = c.campaign_id AND d.block = c.block AND d.step = c.step AND d.grant_no = c.grant_no;
    END IF;
END
$$;
COMMENT ON FUNCTION claim_reduce(claims, int8) IS
    'Reduces a row of claims to its open bits and makes it exact; deletes it when none is open.';

CREATE FUNCTION claim_close(c claims, bits int8) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    open int8 := CASE WHEN c.claimed & ~bits = 0 THEN 0 ELSE claim_open(c) & ~bits END;
BEGIN
    IF open = 0 OR c.is_exact THEN
        PERFORM claim_reduce(c, open);
    END IF;
END
$$;
COMMENT ON FUNCTION claim_close(claims, int8) IS
    'Closes the claims of these bits: deletes the row when no other is open, clears the bits of an exact row, and '
    'otherwise writes nothing.';

CREATE FUNCTION claim_compact(c claims) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM claim_reduce(c, claim_open(c));
END
$$;
COMMENT ON FUNCTION claim_compact(claims) IS 'Makes an expired row exact; deletes it when none of it is open.';

CREATE FUNCTION claim_delete(c claims) RETURNS int8 LANGUAGE plpgsql AS $$
DECLARE
    open int8 := claim_open(c);
BEGIN
    PERFORM claim_reduce(c, 0);
    RETURN open;
END
$$;
COMMENT ON FUNCTION claim_delete(claims) IS 'Deletes a row of claims; returns the bits that were open.';

CREATE FUNCTION return_lock_outdated(r returns, all_steps int4) RETURNS bool LANGUAGE plpgsql AS $$
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
COMMENT ON FUNCTION return_lock_outdated(returns, int4) IS
    'Locks the lead of a listed step and returns whether the step is outdated, so that its row can be deleted. An '
    'outcome in flight may make the step due again; it finds the row that exists and adds none. Hence the lock, and '
    'the look at the facts under it. Returns false where another transaction has the lead locked: the row stays for a '
    'later claim.';

-- A function, not one statement of a dozen parts: setting up the parts that most claims do not need took longer than
-- the claim.
--
-- Rows of `returns` and `segments` are hints: every lead is checked against its facts. Rows are looked up one by one,
-- by LATERAL ... LIMIT or by values that another part returned. Where the planner is free to join, it reads all leads
-- of the campaign while it takes the table for small.
CREATE FUNCTION claim_take(
    workspace int4, campaign int4, account int4, want int8, at timestamptz, all_steps int4,
    grant_id int8, expiry timestamptz, day_of_account date, day_of_campaign date,
    from_due timestamptz, from_lead int4, moves int4, odd int4,
    OUT lead_nos int4[], OUT steps int2[], OUT ids text[], OUT more bool, OUT next_due timestamptz, OUT next_lead int4,
    OUT serving bool, OUT reserved_of_account int8, OUT reserved_of_campaign int8
) LANGUAGE plpgsql AS $$
DECLARE
    segment_account int4;
    segment_lo int4;
    segment_hi int4;
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

    -- New leads: those of the account before those of any account. A segment grows when the leads that are added to it
    -- are committed.
    SELECT s.account_id, s.lo, s.hi INTO segment_account, segment_lo, segment_hi FROM segments s
    WHERE s.workspace_id = workspace AND s.campaign_id = campaign AND s.account_id = account AND s.lo >= from_lead
    ORDER BY s.lo LIMIT 1;
    IF NOT FOUND THEN
        SELECT s.account_id, s.lo, s.hi INTO segment_account, segment_lo, segment_hi FROM segments s
        WHERE s.workspace_id = workspace AND s.campaign_id = campaign AND s.account_id = any_account()
            AND s.lo >= from_lead
        ORDER BY s.lo LIMIT 1;
    END IF;
    fresh := ARRAY(
        SELECT l.lead_no FROM leads l
        WHERE l.workspace_id = workspace AND l.campaign_id = campaign
            AND l.lead_no >= segment_lo AND l.lead_no < segment_hi AND l.mask & ends_first_step() = 0
        ORDER BY l.lead_no LIMIT want
    );

    IF EXISTS (SELECT FROM returns r WHERE r.workspace_id = workspace AND r.campaign_id = campaign
            AND r.account_id = account AND r.due_at <= at AND r.due_at >= from_due)
        OR EXISTS (SELECT FROM returns r WHERE r.workspace_id = workspace AND r.campaign_id = campaign
            AND r.account_id = any_account() AND r.due_at <= at AND r.due_at >= from_due)
    THEN
        WITH back AS MATERIALIZED (
            SELECT r.workspace_id, r.campaign_id, r.account_id, r.due_at, r.lead_no, r.step FROM (
                (SELECT r.workspace_id, r.campaign_id, r.account_id, r.due_at, r.lead_no, r.step FROM returns r
                WHERE r.workspace_id = workspace AND r.campaign_id = campaign AND r.account_id = account
                    AND r.due_at <= at AND r.due_at >= from_due
                    -- Skip a lead that has an open claim.
                    AND (SELECT 1 FROM claims c WHERE c.workspace_id = workspace AND c.campaign_id = campaign
                        AND c.block = lead_block(r.lead_no) AND has_lead(c.claimed, r.lead_no)
                        AND (SELECT NOT has_result(l.mask, c.step - 1) FROM leads l WHERE l.workspace_id = workspace
                            AND l.campaign_id = campaign AND l.lead_no = r.lead_no LIMIT 1)
                        LIMIT 1) IS NULL
                ORDER BY r.due_at, r.lead_no LIMIT want)
                UNION ALL
                (SELECT r.workspace_id, r.campaign_id, r.account_id, r.due_at, r.lead_no, r.step FROM returns r
                WHERE r.workspace_id = workspace AND r.campaign_id = campaign AND r.account_id = any_account()
                    AND r.due_at <= at AND r.due_at >= from_due
                    AND (SELECT 1 FROM claims c WHERE c.workspace_id = workspace AND c.campaign_id = campaign
                        AND c.block = lead_block(r.lead_no) AND has_lead(c.claimed, r.lead_no)
                        AND (SELECT NOT has_result(l.mask, c.step - 1) FROM leads l WHERE l.workspace_id = workspace
                            AND l.campaign_id = campaign AND l.lead_no = r.lead_no LIMIT 1)
                        LIMIT 1) IS NULL
                ORDER BY r.due_at, r.lead_no LIMIT want)
            ) r
            ORDER BY due_at, lead_no LIMIT want
        ), judged AS MATERIALIZED (
            SELECT b.workspace_id, b.campaign_id, b.account_id, b.due_at, b.lead_no, b.step,
                coalesce(lead_next_step(l.mask, all_steps) = b.step, false) AS is_due,
                -- A step can be listed twice: as a follow-up and as a released claim.
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
                    ELSE return_lock_outdated(r, all_steps) END
            RETURNING r.lead_no
        )
        SELECT ARRAY(SELECT t.lead_no FROM returned t), ARRAY(SELECT t.step FROM returned t),
            (SELECT count(*) FROM judged),
            (SELECT count(*) FROM gone),
            -- Where to begin next time: at the first due step that was not taken, otherwise after the last one read.
            coalesce(
                (SELECT min(due_at) FROM judged
                WHERE is_due AND (lead_no, step) NOT IN (SELECT t.lead_no, t.step FROM returned t)),
                (SELECT max(due_at) FROM judged),
                from_due
            )
        INTO lead_nos, steps, looked_at, removed, next_due;
    END IF;

    -- Move the segment past the last new lead taken, or to its end when it has no more.
    kept := least(cardinality(fresh), want - cardinality(lead_nos));
    IF segment_lo IS NOT NULL THEN
        next_lead := CASE WHEN kept < cardinality(fresh) OR kept = want THEN coalesce(fresh[kept] + 1, segment_lo)
            ELSE segment_hi END;
        IF next_lead >= segment_hi THEN
            -- Delete it rather than move it to its end, where another one may begin; unless leads were added to it
            -- meanwhile.
            DELETE FROM segments s WHERE s.workspace_id = workspace AND s.campaign_id = campaign
                AND s.account_id = segment_account AND s.lo = segment_lo AND s.hi = segment_hi;
            is_emptied := FOUND;
        END IF;
        IF next_lead > segment_lo AND NOT is_emptied THEN
            UPDATE segments s SET lo = next_lead
            WHERE s.workspace_id = workspace AND s.campaign_id = campaign AND s.account_id = segment_account
                AND s.lo = segment_lo;
            IF NOT FOUND THEN
                RAISE serialization_failure USING MESSAGE = 'the segment of new leads went';
            END IF;
        END IF;
    END IF;
    ids := ARRAY(
        -- Every lead that can be taken has an id. Ordered by number, so that the planner does not use the index of the
        -- ids.
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
        -- New leads lie together: one range scan. IS TRUE keeps the planner from a look-up for each lead.
        ids := ids || ARRAY(
            SELECT i.lead_id FROM lead_ids i
            WHERE i.workspace_id = workspace AND i.campaign_id = campaign
                AND i.lead_no >= fresh[1] AND i.lead_no <= fresh[kept] AND (i.lead_no IN (SELECT unnest(fresh))) IS TRUE
            ORDER BY i.lead_no
        );
    END IF;

    taken := cardinality(lead_nos);
    -- There may be other segments, and outdated rows took the place of due ones.
    more := taken < want AND (segment_lo IS NOT NULL OR looked_at >= want);
    serving := EXISTS (SELECT FROM campaign_accounts s WHERE s.workspace_id = workspace AND s.campaign_id = campaign
        AND s.account_id = account AND NOT s.removed);
    IF taken = 0 THEN
        IF looked_at >= want AND removed = 0 THEN
            RAISE serialization_failure USING MESSAGE = 'what is listed first is being reported on';
        END IF;
        RETURN;
    END IF;
    INSERT INTO claims
        (workspace_id, campaign_id, block, step, grant_no, account_id, claimed, expires_at, account_day, campaign_day)
    SELECT workspace, campaign, lead_block(t.lead_no), t.step, grant_id, account, bit_or(lead_bit(t.lead_no)), expiry,
        day_of_account, day_of_campaign
    FROM unnest(lead_nos, steps) AS t (lead_no, step) GROUP BY lead_block(t.lead_no), t.step
    ON CONFLICT (workspace_id, campaign_id, block, step, grant_no)
        DO UPDATE SET claimed = claims.claimed | excluded.claimed;
    UPDATE campaign_claims k SET granted = k.granted + taken, epoch = k.epoch + moves
    WHERE k.workspace_id = workspace AND k.campaign_id = campaign AND k.epoch = (
        SELECT e.epoch FROM campaign_claims e
        WHERE e.workspace_id = workspace AND e.campaign_id = campaign ORDER BY e.epoch DESC LIMIT 1
    );
    -- Epoch -1 counts messages without a claim. They are never refused, so it may change meanwhile.
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
COMMENT ON FUNCTION claim_take IS
    'Takes due steps of one campaign for one account, records their claims and counts them: half from `returns`, half '
    'first steps from `segments`; what one kind lacks, the other may take. The caller has locked account and '
    'campaign, so no other claim runs. want: most leads. at: now. all_steps: steps of the campaign. grant_id, expiry, '
    'day_of_account, day_of_campaign: for the rows of claims. from_due, from_lead: hints where to begin. moves: 1 '
    'moves the rows that every claim changes to their next epoch, else 0. odd: which kind an odd step is taken from, '
    '1 returns, 0 segments. lead_nos, steps, ids: the leads taken. more: another call may find others at once. '
    'next_due, next_lead: where to begin next time. serving: the account serves the campaign. reserved_of_account, '
    'reserved_of_campaign: reserved of the days after this; null when nothing was taken. Fails with 40001 where '
    'another transaction changed what it had read; the caller runs the transaction again.';
