-- Replicas that run; finished campaigns, which cost a claim nothing; sums of conversion values, which can't overflow; one share of
-- a daily limit for a message, however often it is granted.

-- Replicas that run, so that an upgrade that can't roll is refused while older ones run, and an older one does not start on
-- a schema that it can't work with.
--
-- Times of this table are those of the database's clock, the only one that all replicas share.

CREATE TABLE replicas (
    replica_id uuid PRIMARY KEY,
    schema_version int4 NOT NULL,
    renewed_at timestamptz NOT NULL
);
COMMENT ON TABLE replicas IS
    'One row for each replica of the service that runs. It renews the row every few seconds and deletes it when it ends; '
    'see replica_runs.';
COMMENT ON COLUMN replicas.replica_id IS 'Drawn at its start.';
COMMENT ON COLUMN replicas.schema_version IS 'Number of the newest migration that it knows.';
COMMENT ON COLUMN replicas.renewed_at IS 'When it last said that it runs.';

CREATE FUNCTION replica_runs(renewed_at timestamptz) RETURNS bool
    LANGUAGE sql VOLATILE
    RETURN renewed_at > clock_timestamp() - interval '1 minute';
COMMENT ON FUNCTION replica_runs(timestamptz) IS
    'Whether a replica still runs. One that was killed is taken for running for a minute, several times the interval of its '
    'renewals.';

-- 0006 dropped tables that replicas before it write. Not IMMUTABLE: a prepared statement would keep the number.
CREATE FUNCTION schema_oldest() RETURNS int4 LANGUAGE sql STABLE RETURN 6;
COMMENT ON FUNCTION schema_oldest() IS
    'Returns the lowest replicas.schema_version that can work with this schema. Only schema_stop_older changes it.';

CREATE FUNCTION replicas_refuse_older(version int4) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    older int8;
    newest int4;
BEGIN
    SELECT count(*), max(schema_version) INTO older, newest FROM replicas
    WHERE schema_version < version AND replica_runs(renewed_at);
    IF older > 0 THEN
        RAISE object_in_use USING
            MESSAGE = format('%s older replicas of the service run, of migration %s or before, and can''t work with '
                'migration %s', older, newest, version),
            HINT = 'Scale the service to 0 replicas, or wait a minute if they were killed. Then repeat this.';
    END IF;
END
$$;
COMMENT ON FUNCTION replicas_refuse_older(int4) IS
    'Fails with object_in_use while a replica runs that knows no migration from this one on.';

CREATE FUNCTION schema_stop_older(version int4) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    -- A replica that starts meanwhile waits here, and then finds what it needs to know in schema_oldest.
    LOCK TABLE replicas IN SHARE ROW EXCLUSIVE MODE;
    PERFORM replicas_refuse_older(version);
    EXECUTE format('CREATE OR REPLACE FUNCTION schema_oldest() RETURNS int4 LANGUAGE sql STABLE RETURN %s', version);
END
$$;
COMMENT ON FUNCTION schema_stop_older(int4) IS
    'The first statement of a migration with which older replicas can''t work; its argument is the number of the '
    'migration. Fails while one of them runs, and keeps them from starting later.';

-- An account has more and more finished campaigns. A claim that meets one marks it, and no later claim looks at it. FINISHED is
-- for good, so the mark never has to be taken back.

ALTER TABLE campaign_accounts ADD COLUMN is_finished bool NOT NULL DEFAULT false;
COMMENT ON COLUMN campaign_accounts.is_finished IS
    'A claim of the account found the campaign FINISHED. False says nothing: no claim looked since.';
-- On an expression, so that only the statement that spells it out uses it. The planner would take the other index of this
-- table for as good, and read all rows of the account.
CREATE INDEX campaign_accounts_serving ON campaign_accounts (((workspace_id::int8 << 32) + account_id), campaign_id)
    WHERE NOT removed AND NOT is_finished;
COMMENT ON INDEX campaign_accounts_serving IS 'Finds the campaigns that an account may claim from.';

-- Values of 10^13 overflow a sum after 922 337 conversions. The sum stays at the largest number instead; it never goes down, so
-- it is still the same in whatever order the conversions come.

CREATE FUNCTION micros_add(a int8, b int8) RETURNS int8
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN a > 9223372036854775807 - b THEN 9223372036854775807 ELSE a + b END;
COMMENT ON FUNCTION micros_add(int8, int8) IS
    'Adds two numbers from 0 on; a sum that is too large is the largest int8.';

-- As before, with that sum.
CREATE OR REPLACE FUNCTION counters_add(d counter_changes, received_at timestamptz) RETURNS bool LANGUAGE plpgsql AS $$
DECLARE
    is_complete bool;
BEGIN
    UPDATE campaign_counters k SET
        pending = k.pending + d.pending, partial = k.partial + d.partial,
        sent = k.sent + d.sent, failed = k.failed + d.failed,
        delivered_messages = k.delivered_messages + d.delivered_messages,
        failed_messages = k.failed_messages + d.failed_messages,
        bounced_messages = k.bounced_messages + d.bounced_messages,
        account_issue = k.account_issue + d.account_issue, invalid_lead = k.invalid_lead + d.invalid_lead,
        rate_limited = k.rate_limited + d.rate_limited, content_rejected = k.content_rejected + d.content_rejected,
        other_reason = k.other_reason + d.other_reason,
        contacted = k.contacted + d.contacted, replied = k.replied + d.replied, converted = k.converted + d.converted,
        auto_replied = k.auto_replied + d.auto_replied, opted_out = k.opted_out + d.opted_out,
        contacted_replied = k.contacted_replied + d.contacted_replied,
        contacted_converted = k.contacted_converted + d.contacted_converted,
        conversion_value_micros = micros_add(k.conversion_value_micros, d.conversion_value_micros),
        closed_claims = k.closed_claims + d.closed_claims,
        last_outcome_at = greatest(k.last_outcome_at, received_at),
        version = k.version + 1,
        -- A hundred or so versions fill the page that they share.
        epoch = k.epoch + (k.version & 127 = 127)::int4
    WHERE k.workspace_id = d.workspace_id AND k.campaign_id = d.campaign_id AND k.epoch >= (
        SELECT c.epoch FROM campaign_counters c
        WHERE c.workspace_id = d.workspace_id AND c.campaign_id = d.campaign_id
        ORDER BY c.epoch DESC LIMIT 1
    )
    RETURNING k.total > 0 AND k.pending + k.partial = 0 INTO is_complete;
    RETURN is_complete;
END
$$;

-- A message takes its share of a daily limit once a day. Under the policy RETRY a claim that expired keeps its share, since its
-- message may have been sent. So the claim that gets the step again on the same day takes none, and gives none back; nor does a
-- late report count once more.

CREATE TABLE kept_reservations (
    workspace_id int4 NOT NULL,
    campaign_id int4 NOT NULL,
    lead_no int4 NOT NULL,
    step int2 NOT NULL,
    account_id int4 NOT NULL,
    account_day date NOT NULL,
    campaign_day date NOT NULL,
    PRIMARY KEY (workspace_id, campaign_id, lead_no, step, account_id, account_day, campaign_day)
) WITH (
    -- Rows of a few days.
    autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0
);
COMMENT ON TABLE kept_reservations IS
    'Shares of daily limits that claims took which expired and were retried: reservations of the account and of the '
    'campaign contain them. Changed under the row lock of the campaign. Upkeep deletes them when their days are over.';
COMMENT ON COLUMN kept_reservations.workspace_id IS 'Workspace of the lead.';
COMMENT ON COLUMN kept_reservations.campaign_id IS 'Campaign of the lead.';
COMMENT ON COLUMN kept_reservations.lead_no IS 'The lead.';
COMMENT ON COLUMN kept_reservations.step IS 'Number of the step.';
COMMENT ON COLUMN kept_reservations.account_id IS 'Account of the claim.';
COMMENT ON COLUMN kept_reservations.account_day IS 'Day of account_reservations.';
COMMENT ON COLUMN kept_reservations.campaign_day IS 'Day of campaign_reservations.';

CREATE FUNCTION reservation_kept(
    workspace int4, campaign int4, lead int4, of_step int4, account int4, day_of_account date, day_of_campaign date,
    OUT of_account bool, OUT of_campaign bool
) LANGUAGE plpgsql STABLE SET enable_seqscan = off AS $$
BEGIN
    SELECT coalesce(bool_or(k.account_id = account AND k.account_day = day_of_account), false),
        coalesce(bool_or(k.campaign_day = day_of_campaign), false)
    INTO of_account, of_campaign
    FROM kept_reservations k
    WHERE k.workspace_id = workspace AND k.campaign_id = campaign AND k.lead_no = lead AND k.step = of_step;
END
$$;
COMMENT ON FUNCTION reservation_kept(int4, int4, int4, int4, int4, date, date) IS
    'Whether an earlier claim of a step keeps a share of these days: of the account, and of the campaign.';

-- As before, and takes no second share of a day for a step.
CREATE OR REPLACE FUNCTION claim_take(
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
    again_of_account int4 := 0;
    again_of_campaign int4 := 0;
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
    -- Most campaigns have no such row, so this is one probe.
    IF EXISTS (SELECT FROM kept_reservations k WHERE k.workspace_id = workspace AND k.campaign_id = campaign) THEN
        SELECT count(*) FILTER (WHERE k.of_account), count(*) FILTER (WHERE k.of_campaign)
        INTO again_of_account, again_of_campaign
        FROM unnest(lead_nos, steps) AS t (lead_no, step)
        CROSS JOIN LATERAL reservation_kept(
            workspace, campaign, t.lead_no, t.step::int4, account, day_of_account, day_of_campaign) k;
    END IF;
    UPDATE campaign_claims k SET granted = k.granted + taken, last_grant_at = greatest(k.last_grant_at, at),
        epoch = k.epoch + moves
    WHERE k.workspace_id = workspace AND k.campaign_id = campaign AND k.epoch = (
        SELECT e.epoch FROM campaign_claims e
        WHERE e.workspace_id = workspace AND e.campaign_id = campaign ORDER BY e.epoch DESC LIMIT 1
    );
    -- Epoch -1 counts messages without a claim. They are never refused, so it may change meanwhile.
    UPDATE account_reservations r SET reserved = r.reserved + taken - again_of_account, epoch = r.epoch + moves
    WHERE r.workspace_id = workspace AND r.account_id = account AND r.day = day_of_account AND r.epoch = (
        SELECT e.epoch FROM account_reservations e
        WHERE e.workspace_id = workspace AND e.account_id = account AND e.day = day_of_account AND e.epoch >= 0
        ORDER BY e.epoch DESC LIMIT 1
    )
    RETURNING r.reserved INTO reserved_of_account;
    IF NOT FOUND THEN
        INSERT INTO account_reservations (workspace_id, account_id, day, epoch, reserved)
        VALUES (workspace, account, day_of_account, 0, taken - again_of_account);
        reserved_of_account := taken - again_of_account;
    END IF;
    reserved_of_account := reserved_of_account + coalesce((SELECT r.reserved FROM account_reservations r
        WHERE r.workspace_id = workspace AND r.account_id = account AND r.day = day_of_account AND r.epoch = -1), 0);
    UPDATE campaign_reservations r SET reserved = r.reserved + taken - again_of_campaign, epoch = r.epoch + moves
    WHERE r.workspace_id = workspace AND r.campaign_id = campaign AND r.day = day_of_campaign AND r.epoch = (
        SELECT e.epoch FROM campaign_reservations e
        WHERE e.workspace_id = workspace AND e.campaign_id = campaign AND e.day = day_of_campaign AND e.epoch >= 0
        ORDER BY e.epoch DESC LIMIT 1
    )
    RETURNING r.reserved INTO reserved_of_campaign;
    IF NOT FOUND THEN
        INSERT INTO campaign_reservations (workspace_id, campaign_id, day, epoch, reserved)
        VALUES (workspace, campaign, day_of_campaign, 0, taken - again_of_campaign);
        reserved_of_campaign := taken - again_of_campaign;
    END IF;
    reserved_of_campaign := reserved_of_campaign + coalesce((SELECT r.reserved FROM campaign_reservations r
        WHERE r.workspace_id = workspace AND r.campaign_id = campaign AND r.day = day_of_campaign AND r.epoch = -1), 0);
END
$$;
