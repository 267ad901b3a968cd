-- The schema as the migrations leave it, for reading. Never edit it: `make update` writes it, a test compares it.

CREATE SCHEMA reporting;

COMMENT ON SCHEMA reporting IS 'Views for dashboards and analysts. Columns are only ever added, at the end. docs/reporting.md explains them.';

CREATE TYPE contact AS (
	contacted_at timestamp with time zone,
	step_bit integer,
	account_id integer,
	replied_at timestamp with time zone,
	converted_at timestamp with time zone,
	logged bigint
);

COMMENT ON TYPE contact IS 'First contact of a lead: the time, step and account of its earliest delivered message that did not bounce; of equal times the lowest step. Then when it replied and converted, and all facts that the log has. What the log does not have is null.';

CREATE TYPE counter_changes AS (
	workspace_id integer,
	campaign_id integer,
	pending bigint,
	partial bigint,
	sent bigint,
	failed bigint,
	delivered_messages bigint,
	failed_messages bigint,
	bounced_messages bigint,
	account_issue bigint,
	invalid_lead bigint,
	rate_limited bigint,
	content_rejected bigint,
	other_reason bigint,
	contacted bigint,
	replied bigint,
	converted bigint,
	auto_replied bigint,
	opted_out bigint,
	contacted_replied bigint,
	contacted_converted bigint,
	conversion_value_micros bigint,
	closed_claims bigint
);

COMMENT ON TYPE counter_changes IS 'What a batch adds to the counters of one campaign. Running replicas cast rows to it by position: a count more needs a new type.';

CREATE TYPE history_row AS (
	workspace_id integer,
	campaign_id integer,
	account_id integer,
	day date,
	delivered bigint,
	failed_account_issue bigint,
	failed_invalid_lead bigint,
	failed_rate_limited bigint,
	failed_content_rejected bigint,
	failed_other bigint,
	bounced_account_issue bigint,
	bounced_invalid_lead bigint,
	bounced_rate_limited bigint,
	bounced_content_rejected bigint,
	bounced_other bigint,
	contacted bigint,
	replied integer[],
	converted integer[]
);

COMMENT ON TYPE history_row IS 'A row that a recount returns. It is not the type of the table, so that a column can be added to the table.';

CREATE FUNCTION account_active() RETURNS integer
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN 1;

COMMENT ON FUNCTION account_active() IS 'accounts.state: it may send.';

CREATE FUNCTION account_leads_count(workspace integer, campaign integer, account integer, status integer, leads bigint) RETURNS void
    LANGUAGE sql
    AS $$
    INSERT INTO account_leads AS a (workspace_id, campaign_id, account_id, pending, partial, sent, failed)
    SELECT workspace, campaign, coalesce(account, 0), (status = status_pending())::int4 * leads,
        (status = status_partial())::int4 * leads, (status = status_sent())::int4 * leads,
        (status = status_failed())::int4 * leads
    ON CONFLICT (workspace_id, campaign_id, account_id) DO UPDATE SET
        pending = a.pending + excluded.pending, partial = a.partial + excluded.partial,
        sent = a.sent + excluded.sent, failed = a.failed + excluded.failed
$$;

COMMENT ON FUNCTION account_leads_count(workspace integer, campaign integer, account integer, status integer, leads bigint) IS 'Adds leads of one status to an account of a campaign; null is no account. A negative number takes them away.';

CREATE FUNCTION account_suspended() RETURNS integer
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN 2;

COMMENT ON FUNCTION account_suspended() IS 'accounts.state: it gets no claims.';

CREATE FUNCTION account_total_correct() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    UPDATE account_totals t SET
        delivered = t.delivered + NEW.delivered - OLD.delivered,
        failed_account_issue = t.failed_account_issue + NEW.failed_account_issue - OLD.failed_account_issue,
        failed_invalid_lead = t.failed_invalid_lead + NEW.failed_invalid_lead - OLD.failed_invalid_lead,
        failed_rate_limited = t.failed_rate_limited + NEW.failed_rate_limited - OLD.failed_rate_limited,
        failed_content_rejected = t.failed_content_rejected + NEW.failed_content_rejected - OLD.failed_content_rejected,
        failed_other = t.failed_other + NEW.failed_other - OLD.failed_other,
        bounced_account_issue = t.bounced_account_issue + NEW.bounced_account_issue - OLD.bounced_account_issue,
        bounced_invalid_lead = t.bounced_invalid_lead + NEW.bounced_invalid_lead - OLD.bounced_invalid_lead,
        bounced_rate_limited = t.bounced_rate_limited + NEW.bounced_rate_limited - OLD.bounced_rate_limited,
        bounced_content_rejected =
            t.bounced_content_rejected + NEW.bounced_content_rejected - OLD.bounced_content_rejected,
        bounced_other = t.bounced_other + NEW.bounced_other - OLD.bounced_other
    WHERE t.workspace_id = NEW.workspace_id AND t.account_id = NEW.account_id;
    RETURN NULL;
END
$$;

COMMENT ON FUNCTION account_total_correct() IS 'Changes the total of an account by what changed of one of its summed days.';

CREATE FUNCTION ages_add(a integer[], b integer[]) RETURNS integer[]
    LANGUAGE plpgsql IMMUTABLE
    AS $$
BEGIN
    IF a IS NULL OR b IS NULL THEN
        RETURN coalesce(a, b);
    END IF;
    RETURN ARRAY(SELECT x + y FROM unnest(a, b) WITH ORDINALITY AS pair (x, y, place) ORDER BY place);
END
$$;

COMMENT ON FUNCTION ages_add(a integer[], b integer[]) IS 'Adds counts by age; null is none.';

CREATE FUNCTION ages_count(ages integer[], signs integer[]) RETURNS integer[]
    LANGUAGE plpgsql IMMUTABLE STRICT
    AS $$
DECLARE
    counts int4[] := array_fill(0, ARRAY[31]);
BEGIN
    FOR i IN 1 .. cardinality(ages) LOOP
        counts[ages[i] + 1] := counts[ages[i] + 1] + signs[i];
    END LOOP;
    RETURN counts;
END
$$;

COMMENT ON FUNCTION ages_count(ages integer[], signs integer[]) IS 'Adds up signs by age: element A + 1 is the sum of the signs of age A. 31 elements.';

CREATE FUNCTION ages_in_30_days(ages integer[]) RETURNS integer
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
    AS $$
BEGIN
    RETURN ages[1] + ages[2] + ages[3] + ages[4] + ages[5] + ages[6] + ages[7] + ages[8] + ages[9] + ages[10] + ages[11]
        + ages[12] + ages[13] + ages[14] + ages[15] + ages[16] + ages[17] + ages[18] + ages[19] + ages[20] + ages[21]
        + ages[22] + ages[23] + ages[24] + ages[25] + ages[26] + ages[27] + ages[28] + ages[29] + ages[30] + ages[31];
END
$$;

COMMENT ON FUNCTION ages_in_30_days(ages integer[]) IS 'Adds up counts by age from 0 to 30 days; null for none at any age.';

CREATE FUNCTION ages_in_7_days(ages integer[]) RETURNS integer
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
    AS $$
BEGIN
    RETURN ages[1] + ages[2] + ages[3] + ages[4] + ages[5] + ages[6] + ages[7] + ages[8];
END
$$;

COMMENT ON FUNCTION ages_in_7_days(ages integer[]) IS 'Adds up counts by age from 0 to 7 days; null for none at any age.';

CREATE FUNCTION ages_negate(a integer[]) RETURNS integer[]
    LANGUAGE sql IMMUTABLE STRICT
    RETURN ARRAY(SELECT (- age.x) FROM unnest(ages_negate.a) WITH ORDINALITY age(x, place) ORDER BY age.place);

COMMENT ON FUNCTION ages_negate(a integer[]) IS 'Changes the signs of counts by age.';

CREATE FUNCTION all_accounts() RETURNS integer
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN '-1'::integer;

COMMENT ON FUNCTION all_accounts() IS 'history.account_id: the sum over all accounts of the campaign.';

CREATE FUNCTION all_campaigns() RETURNS integer
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN 0;

COMMENT ON FUNCTION all_campaigns() IS 'history.campaign_id: the sum over all campaigns of the account.';

CREATE FUNCTION any_account() RETURNS integer
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN 0;

COMMENT ON FUNCTION any_account() IS 'segments.account_id and returns.account_id: any account of the campaign.';

CREATE FUNCTION auto_replied_bit() RETURNS integer
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN 50;

COMMENT ON FUNCTION auto_replied_bit() IS 'Fact: a machine replied for the lead. It ends nothing.';

CREATE TABLE history (
    workspace_id integer NOT NULL,
    campaign_id integer NOT NULL,
    account_id integer NOT NULL,
    day date NOT NULL,
    delivered bigint NOT NULL,
    failed_account_issue bigint NOT NULL,
    failed_invalid_lead bigint NOT NULL,
    failed_rate_limited bigint NOT NULL,
    failed_content_rejected bigint NOT NULL,
    failed_other bigint NOT NULL,
    bounced_account_issue bigint NOT NULL,
    bounced_invalid_lead bigint NOT NULL,
    bounced_rate_limited bigint NOT NULL,
    bounced_content_rejected bigint NOT NULL,
    bounced_other bigint NOT NULL,
    contacted bigint NOT NULL,
    replied integer[],
    converted integer[],
    is_summed boolean DEFAULT false NOT NULL,
    replied_in_7_days integer GENERATED ALWAYS AS (ages_in_7_days(replied)) STORED,
    replied_in_30_days integer GENERATED ALWAYS AS (ages_in_30_days(replied)) STORED,
    converted_in_7_days integer GENERATED ALWAYS AS (ages_in_7_days(converted)) STORED,
    converted_in_30_days integer GENERATED ALWAYS AS (ages_in_30_days(converted)) STORED
)
PARTITION BY LIST (campaign_id);

COMMENT ON TABLE history IS 'Messages of a campaign or account by UTC day, and the leads that they contacted first. A message counts once, on the day of the fact that is its result. A stronger fact subtracts it from the day where it counted, or from -infinity where the log no longer has that day. So the rows do not depend on the order of arrival. history = history_closed + history_of_log.';

COMMENT ON COLUMN history.workspace_id IS 'Workspace of campaign and account.';

COMMENT ON COLUMN history.campaign_id IS 'The campaign, or all_campaigns(), deleted ones included.';

COMMENT ON COLUMN history.account_id IS 'The account of the messages, or all_accounts(); 0 where none is known. It can be one that was deleted since.';

COMMENT ON COLUMN history.day IS 'UTC day; -infinity for corrections of days that the log no longer has.';

COMMENT ON COLUMN history.delivered IS 'Messages whose result is delivered.';

COMMENT ON COLUMN history.failed_account_issue IS 'Messages that failed: account issue.';

COMMENT ON COLUMN history.failed_invalid_lead IS 'Messages that failed: invalid lead.';

COMMENT ON COLUMN history.failed_rate_limited IS 'Messages that failed: rate limited.';

COMMENT ON COLUMN history.failed_content_rejected IS 'Messages that failed: content rejected.';

COMMENT ON COLUMN history.failed_other IS 'Messages that failed: other.';

COMMENT ON COLUMN history.bounced_account_issue IS 'Messages that bounced: account issue.';

COMMENT ON COLUMN history.bounced_invalid_lead IS 'Messages that bounced: invalid lead.';

COMMENT ON COLUMN history.bounced_rate_limited IS 'Messages that bounced: rate limited.';

COMMENT ON COLUMN history.bounced_content_rejected IS 'Messages that bounced: content rejected.';

COMMENT ON COLUMN history.bounced_other IS 'Messages that bounced: other.';

COMMENT ON COLUMN history.contacted IS 'Leads whose first contact was on this day, by this account.';

COMMENT ON COLUMN history.replied IS 'Those of them that replied, by age: element A + 1 counts replies more than A - 1 and at most A days after the first contact, element 1 those at or before it. 31 elements; null for none.';

COMMENT ON COLUMN history.converted IS 'Those of them that converted, in the same form.';

COMMENT ON COLUMN history.is_summed IS 'account_totals contains this day. False in rows of a single campaign, which are never summed.';

COMMENT ON COLUMN history.replied_in_7_days IS 'Those of them that replied at most 7 days after the first contact; null for none at any age.';

COMMENT ON COLUMN history.replied_in_30_days IS 'Those that replied at most 30 days after it; null for none.';

COMMENT ON COLUMN history.converted_in_7_days IS 'Those that converted at most 7 days after it; null for none.';

COMMENT ON COLUMN history.converted_in_30_days IS 'Those that converted at most 30 days after it; null for none.';

CREATE FUNCTION bounced_messages(h history) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (((((h).bounced_account_issue + (h).bounced_invalid_lead) + (h).bounced_rate_limited) + (h).bounced_content_rejected) + (h).bounced_other);

COMMENT ON FUNCTION bounced_messages(h history) IS 'Returns the messages whose result is bounced, whatever the reason.';

CREATE FUNCTION campaign_active() RETURNS integer
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN 1;

COMMENT ON FUNCTION campaign_active() IS 'campaigns.state: messages go out.';

CREATE FUNCTION campaign_finished() RETURNS integer
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN 3;

COMMENT ON FUNCTION campaign_finished() IS 'campaigns.state: no claim is granted ever again.';

CREATE FUNCTION campaign_paused() RETURNS integer
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN 2;

COMMENT ON FUNCTION campaign_paused() IS 'campaigns.state: no claim is granted.';

CREATE TABLE claims (
    workspace_id integer NOT NULL,
    campaign_id integer NOT NULL,
    block integer NOT NULL,
    step smallint NOT NULL,
    grant_no bigint NOT NULL,
    account_id integer NOT NULL,
    claimed bigint NOT NULL,
    is_exact boolean DEFAULT false NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    account_day date NOT NULL,
    campaign_day date NOT NULL
)
WITH (fillfactor='50', autovacuum_vacuum_scale_factor='0.01', autovacuum_vacuum_threshold='5000', autovacuum_vacuum_cost_delay='0');

COMMENT ON TABLE claims IS 'Claims of one grant and step on a block of 64 neighbouring leads. An outcome locks the row and does not write it: a row that 64 outcomes write has 64 versions behind an old snapshot, and every look-up walks over them. A claim is open while its bit is set and its lead has no result for the step; claim_open says so. The batch deletes the row that has outcomes for all of it, or for the last of it. Upkeep makes exact what is left when it expires.';

COMMENT ON COLUMN claims.workspace_id IS 'Workspace of the leads.';

COMMENT ON COLUMN claims.campaign_id IS 'Campaign of the leads.';

COMMENT ON COLUMN claims.block IS 'Block of the leads; see lead_block.';

COMMENT ON COLUMN claims.step IS 'Number of the step.';

COMMENT ON COLUMN claims.grant_no IS 'Number of the grant: drawn at random, one for each call that claims.';

COMMENT ON COLUMN claims.account_id IS 'Account that sends.';

COMMENT ON COLUMN claims.claimed IS 'One bit for each lead of the block, see lead_bit: claimed and not given back. A claim that an outcome closed keeps its bit, unless the row is exact.';

COMMENT ON COLUMN claims.is_exact IS 'Bits of closed claims were cleared after the expiry. From then on an outcome clears its bit itself, so that uncertain claims are counted without reading leads.';

COMMENT ON COLUMN claims.expires_at IS 'Open claims are held until then, and uncertain after it.';

COMMENT ON COLUMN claims.account_day IS 'Day of account_reservations that a release gives back.';

COMMENT ON COLUMN claims.campaign_day IS 'Day of campaign_reservations that a release gives back.';

CREATE FUNCTION claim_close(c claims, bits bigint) RETURNS void
    LANGUAGE plpgsql
    AS $$
DECLARE
    open int8 := CASE WHEN c.claimed & ~bits = 0 THEN 0 ELSE claim_open(c) & ~bits END;
BEGIN
    IF open = 0 OR c.is_exact THEN
        PERFORM claim_reduce(c, open);
    END IF;
END
$$;

COMMENT ON FUNCTION claim_close(c claims, bits bigint) IS 'Closes the claims of these bits: deletes the row when no other is open, clears the bits of an exact row, and otherwise writes nothing.';

CREATE FUNCTION claim_compact(c claims) RETURNS void
    LANGUAGE plpgsql
    AS $$
BEGIN
    PERFORM claim_reduce(c, claim_open(c));
END
$$;

COMMENT ON FUNCTION claim_compact(c claims) IS 'Makes an expired row exact; deletes it when none of it is open.';

CREATE FUNCTION claim_delete(c claims) RETURNS bigint
    LANGUAGE plpgsql
    AS $$
DECLARE
    open int8 := claim_open(c);
BEGIN
    PERFORM claim_reduce(c, 0);
    RETURN open;
END
$$;

COMMENT ON FUNCTION claim_delete(c claims) IS 'Deletes a row of claims; returns the bits that were open.';

CREATE FUNCTION claim_open(c claims) RETURNS bigint
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET enable_seqscan TO 'off'
    AS $$
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

COMMENT ON FUNCTION claim_open(c claims) IS 'Returns the bits of a row of claims that are open: those whose leads have no result for the step. Planned once for each connection, hence by the index even where the planner takes leads for small.';

CREATE FUNCTION claim_reduce(c claims, open bigint) RETURNS void
    LANGUAGE plpgsql
    AS $$
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

COMMENT ON FUNCTION claim_reduce(c claims, open bigint) IS 'Reduces a row of claims to its open bits and makes it exact; deletes it when none is open.';

CREATE FUNCTION claim_take(workspace integer, campaign integer, account integer, want bigint, at timestamp with time zone, all_steps integer, grant_id bigint, expiry timestamp with time zone, day_of_account date, day_of_campaign date, from_due timestamp with time zone, from_lead integer, moves integer, odd integer, OUT lead_nos integer[], OUT steps smallint[], OUT ids text[], OUT more boolean, OUT next_due timestamp with time zone, OUT next_lead integer, OUT serving boolean, OUT reserved_of_account bigint, OUT reserved_of_campaign bigint) RETURNS record
    LANGUAGE plpgsql
    AS $$
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

COMMENT ON FUNCTION claim_take(workspace integer, campaign integer, account integer, want bigint, at timestamp with time zone, all_steps integer, grant_id bigint, expiry timestamp with time zone, day_of_account date, day_of_campaign date, from_due timestamp with time zone, from_lead integer, moves integer, odd integer, OUT lead_nos integer[], OUT steps smallint[], OUT ids text[], OUT more boolean, OUT next_due timestamp with time zone, OUT next_lead integer, OUT serving boolean, OUT reserved_of_account bigint, OUT reserved_of_campaign bigint) IS 'Takes due steps of one campaign for one account, records their claims and counts them: half from `returns`, half first steps from `segments`; what one kind lacks, the other may take. The caller has locked account and campaign, so no other claim runs. want: most leads. at: now. all_steps: steps of the campaign. grant_id, expiry, day_of_account, day_of_campaign: for the rows of claims. from_due, from_lead: hints where to begin. moves: 1 moves the rows that every claim changes to their next epoch, else 0. odd: which kind an odd step is taken from, 1 returns, 0 segments. lead_nos, steps, ids: the leads taken. more: another call may find others at once. next_due, next_lead: where to begin next time. serving: the account serves the campaign. reserved_of_account, reserved_of_campaign: reserved of the days after this; null when nothing was taken. Fails with 40001 where another transaction changed what it had read; the caller runs the transaction again.';

CREATE FUNCTION contact_age(contacted_at timestamp with time zone, at timestamp with time zone) RETURNS integer
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN (at <= contacted_at) THEN 0 WHEN ((at - contacted_at) <= '720:00:00'::interval) THEN (ceil((EXTRACT(epoch FROM (at - contacted_at)) / (86400)::numeric)))::integer ELSE NULL::integer END;

COMMENT ON FUNCTION contact_age(contacted_at timestamp with time zone, at timestamp with time zone) IS 'Returns the age of a reply or conversion in days after the first contact, rounded up: 0 for one at or before it, null for more than 30 days.';

CREATE FUNCTION converted_bit() RETURNS integer
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN 49;

COMMENT ON FUNCTION converted_bit() IS 'Fact: the lead converted.';

CREATE FUNCTION fact_mask(fact_bit integer) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN ((1)::bigint << fact_bit);

COMMENT ON FUNCTION fact_mask(fact_bit integer) IS 'Returns the mask of one fact.';

CREATE FUNCTION replied_bit() RETURNS integer
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN 48;

COMMENT ON FUNCTION replied_bit() IS 'Fact: the lead replied.';

CREATE FUNCTION contact_facts() RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (((65535)::bigint | fact_mask(replied_bit())) | fact_mask(converted_bit()));

COMMENT ON FUNCTION contact_facts() IS 'Returns the mask of the facts that history counts with the first contact: deliveries, a reply, a conversion.';

CREATE FUNCTION counters_add(d counter_changes) RETURNS boolean
    LANGUAGE sql
    AS $$ SELECT counters_add(d, NULL) $$;

COMMENT ON FUNCTION counters_add(d counter_changes) IS 'As the other one, and records no time. Replicas of the version before call it.';

CREATE FUNCTION counters_add(d counter_changes, received_at timestamp with time zone) RETURNS boolean
    LANGUAGE plpgsql
    AS $$
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

COMMENT ON FUNCTION counters_add(d counter_changes, received_at timestamp with time zone) IS 'Adds the changes of a batch to the counters of a campaign, and records when the batch was received; returns whether no lead is pending or partial any more. A function, because batches of one campaign wait for each other here. A statement that finds a row changed after a wait sets all of itself up again, which takes a millisecond for the statement of a batch. This one is small.';

CREATE FUNCTION delivered_steps(mask bigint) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN ((mask & (~ (mask >> 32))) & (65535)::bigint);

COMMENT ON FUNCTION delivered_steps(mask bigint) IS 'Returns the steps whose result is delivered, one bit each.';

CREATE FUNCTION opted_out_bit() RETURNS integer
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN 51;

COMMENT ON FUNCTION opted_out_bit() IS 'Fact: the lead opted out.';

CREATE FUNCTION removed_bit() RETURNS integer
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN 54;

COMMENT ON FUNCTION removed_bit() IS 'The lead was removed while its campaign had not finished, which ended its sequence. Not a fact that is reported.';

CREATE FUNCTION ends_first_step() RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (((((((1)::bigint << 48) - 1) | fact_mask(replied_bit())) | fact_mask(converted_bit())) | fact_mask(opted_out_bit())) | fact_mask(removed_bit()));

COMMENT ON FUNCTION ends_first_step() IS 'Returns the mask of what ends the first step: any fact of a message, a reply, a conversion, an opt-out, the removal of the lead.';

CREATE FUNCTION expiry_hold() RETURNS integer
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN 1;

COMMENT ON FUNCTION expiry_hold() IS 'campaigns.claim_expiry_policy: a claim that expires stays uncertain.';

CREATE FUNCTION expiry_retry() RETURNS integer
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN 2;

COMMENT ON FUNCTION expiry_retry() IS 'campaigns.claim_expiry_policy: the step of a claim that expires becomes due again.';

CREATE FUNCTION is_bounced(fact_bit integer) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN ((fact_bit >= 32) AND (fact_bit <= 47));

COMMENT ON FUNCTION is_bounced(fact_bit integer) IS 'Whether a fact is that the message of a step bounced.';

CREATE FUNCTION is_delivered(fact_bit integer) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (fact_bit < 16);

COMMENT ON FUNCTION is_delivered(fact_bit integer) IS 'Whether a fact is that the message of a step was delivered.';

CREATE FUNCTION is_failed(fact_bit integer) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN ((fact_bit >= 16) AND (fact_bit <= 31));

COMMENT ON FUNCTION is_failed(fact_bit integer) IS 'Whether a fact is that the message of a step failed.';

CREATE FUNCTION fact_word(fact_bit integer) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN is_delivered(fact_bit) THEN 'delivered'::text WHEN is_failed(fact_bit) THEN 'failed'::text WHEN is_bounced(fact_bit) THEN 'bounced'::text WHEN (fact_bit = replied_bit()) THEN 'replied'::text WHEN (fact_bit = converted_bit()) THEN 'converted'::text WHEN (fact_bit = auto_replied_bit()) THEN 'auto_replied'::text WHEN (fact_bit = opted_out_bit()) THEN 'opted_out'::text ELSE NULL::text END;

COMMENT ON FUNCTION fact_word(fact_bit integer) IS 'Returns the word for a kind of fact.';

CREATE FUNCTION failed_messages(h history) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (((((h).failed_account_issue + (h).failed_invalid_lead) + (h).failed_rate_limited) + (h).failed_content_rejected) + (h).failed_other);

COMMENT ON FUNCTION failed_messages(h history) IS 'Returns the messages whose result is failed, whatever the reason.';

CREATE FUNCTION failed_or_bounced_steps(mask bigint) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN ((((mask >> 16) & (~ mask)) | (mask >> 32)) & (65535)::bigint);

COMMENT ON FUNCTION failed_or_bounced_steps(mask bigint) IS 'Returns the steps whose result is failed or bounced, one bit each.';

CREATE FUNCTION finish_completed() RETURNS integer
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN 1;

COMMENT ON FUNCTION finish_completed() IS 'campaigns.finish_reason: every lead was sent or failed.';

CREATE FUNCTION finish_requested() RETURNS integer
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN 2;

COMMENT ON FUNCTION finish_requested() IS 'campaigns.finish_reason: a caller asked for it.';

CREATE FUNCTION forgotten_bit() RETURNS integer
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN 52;

COMMENT ON FUNCTION forgotten_bit() IS 'The lead was forgotten on request: its id and texts are deleted, its facts still count. Not a fact that is reported.';

CREATE FUNCTION had_account_bit() RETURNS integer
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN 53;

COMMENT ON FUNCTION had_account_bit() IS 'The lead had an account before its latest outcome. Not a fact: UPDATE ... RETURNING cannot return old values, so the statement of a batch leaves this one for itself.';

CREATE FUNCTION has_delivery(mask bigint) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN ((mask & (65535)::bigint) <> 0);

COMMENT ON FUNCTION has_delivery(mask bigint) IS 'Whether any message was delivered, also if it bounced later.';

CREATE FUNCTION has_fact(mask bigint, fact_bit integer) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (((mask >> fact_bit) & (1)::bigint) = 1);

COMMENT ON FUNCTION has_fact(mask bigint, fact_bit integer) IS 'Whether a fact is known.';

CREATE FUNCTION has_lead(bits bigint, lead_no integer) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (((bits >> (lead_no & 63)) & (1)::bigint) = 1);

COMMENT ON FUNCTION has_lead(bits bigint, lead_no integer) IS 'Whether the bit of a lead is set.';

CREATE FUNCTION has_result(mask bigint, step_bit integer) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (((((mask | (mask >> 16)) | (mask >> 32)) >> step_bit) & (1)::bigint) = 1);

COMMENT ON FUNCTION has_result(mask bigint, step_bit integer) IS 'Whether a step has a result.';

CREATE FUNCTION history_lost(workspace integer, part regclass) RETURNS SETOF history_row
    LANGUAGE sql STABLE
    AS $$
    SELECT workspace, campaign_id, account_id, day,
        sum(delivered)::int8, sum(failed_account_issue)::int8, sum(failed_invalid_lead)::int8,
        sum(failed_rate_limited)::int8, sum(failed_content_rejected)::int8, sum(failed_other)::int8,
        sum(bounced_account_issue)::int8, sum(bounced_invalid_lead)::int8, sum(bounced_rate_limited)::int8,
        sum(bounced_content_rejected)::int8, sum(bounced_other)::int8, sum(contacted)::int8,
        ages_sum(replied), ages_sum(converted)
    FROM (
        SELECT campaign_id, account_id, day,
            delivered, failed_account_issue, failed_invalid_lead, failed_rate_limited, failed_content_rejected,
            failed_other, bounced_account_issue, bounced_invalid_lead, bounced_rate_limited,
            bounced_content_rejected, bounced_other, contacted, replied, converted
        FROM history_of_log(workspace, NULL, NULL)
        UNION ALL
        SELECT campaign_id, account_id, day,
            -delivered, -failed_account_issue, -failed_invalid_lead, -failed_rate_limited, -failed_content_rejected,
            -failed_other, -bounced_account_issue, -bounced_invalid_lead, -bounced_rate_limited,
            -bounced_content_rejected, -bounced_other, -contacted,
            ages_negate(replied), ages_negate(converted)
        FROM history_of_log(workspace, NULL, part)
    ) h
    GROUP BY campaign_id, account_id, day
$$;

COMMENT ON FUNCTION history_lost(workspace integer, part regclass) IS 'Returns what a recount from the log loses with one of its partitions.';

CREATE FUNCTION history_numbers(h history_row) RETURNS bigint[]
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN ((ARRAY[(h).delivered, (h).failed_account_issue, (h).failed_invalid_lead, (h).failed_rate_limited, (h).failed_content_rejected, (h).failed_other, (h).bounced_account_issue, (h).bounced_invalid_lead, (h).bounced_rate_limited, (h).bounced_content_rejected, (h).bounced_other, (h).contacted] || (COALESCE((h).replied, array_fill(0, ARRAY[31])))::bigint[]) || (COALESCE((h).converted, array_fill(0, ARRAY[31])))::bigint[]);

COMMENT ON FUNCTION history_numbers(h history_row) IS 'Returns all numbers of a row in the order of its columns, 31 for each of its arrays.';

CREATE FUNCTION history_numbers(h history) RETURNS bigint[]
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN history_numbers(ROW((h).workspace_id, (h).campaign_id, (h).account_id, (h).day, (h).delivered, (h).failed_account_issue, (h).failed_invalid_lead, (h).failed_rate_limited, (h).failed_content_rejected, (h).failed_other, (h).bounced_account_issue, (h).bounced_invalid_lead, (h).bounced_rate_limited, (h).bounced_content_rejected, (h).bounced_other, (h).contacted, (h).replied, (h).converted)::history_row);

COMMENT ON FUNCTION history_numbers(h history) IS 'Returns all numbers of a row in the same form.';

CREATE FUNCTION history_of_log(workspace integer, campaign integer, without regclass) RETURNS SETOF history_row
    LANGUAGE sql STABLE
    AS $$
    WITH logged AS MATERIALIZED (
        SELECT o.campaign_id, o.lead_no, o.bit::int4 AS bit, o.reason, o.account_id, o.happened_at, l.mask,
            l.failed_reasons, l.bounced_reasons
        FROM outcomes o
        JOIN leads l ON l.workspace_id = o.workspace_id AND l.campaign_id = o.campaign_id AND l.lead_no = o.lead_no
        WHERE o.workspace_id = workspace AND (campaign IS NULL OR o.campaign_id = campaign)
            AND (without IS NULL OR o.tableoid <> without)
            AND (is_message(o.bit) OR o.bit = replied_bit() OR o.bit = converted_bit())
            AND NOT EXISTS (SELECT FROM deleted_campaigns d
                WHERE d.workspace_id = o.workspace_id AND d.campaign_id = o.campaign_id AND d.is_closed)
    ), message AS (
        SELECT campaign_id, account_id, step_bit_of(bit) AS step_bit, mask, failed_reasons, bounced_reasons,
            bit_or(fact_mask(bit)) AS logged,
            min(happened_at) FILTER (WHERE is_delivered(bit)) AS delivered_at,
            min(happened_at) FILTER (WHERE is_failed(bit)) AS failed_at,
            min(happened_at) FILTER (WHERE is_bounced(bit)) AS bounced_at
        FROM logged WHERE is_message(bit)
        GROUP BY campaign_id, lead_no, step_bit_of(bit), account_id, mask, failed_reasons, bounced_reasons
    ), judged AS (
        SELECT campaign_id, account_id, utc_day(coalesce(bounced_at, delivered_at, failed_at)) AS day,
            step_result(logged, step_bit) AS result, step_result(mask & ~logged, step_bit) AS gone_result,
            step_reason(failed_reasons, step_bit) AS failed_reason,
            step_reason(bounced_reasons, step_bit) AS bounced_reason
        FROM message
        -- Otherwise a removed fact is still the result.
        WHERE step_result(logged, step_bit) = step_result(mask, step_bit)
    ), lead AS (
        SELECT campaign_id, bit_or(fact_mask(bit)) AS logged, mask,
            (array_agg(happened_at ORDER BY happened_at, bit)
                FILTER (WHERE is_delivered(bit) AND has_fact(delivered_steps(mask), bit)))[1] AS contacted_at,
            (array_agg(account_id ORDER BY happened_at, bit)
                FILTER (WHERE is_delivered(bit) AND has_fact(delivered_steps(mask), bit)))[1] AS account_id,
            min(happened_at) FILTER (WHERE bit = replied_bit()) AS replied_at,
            min(happened_at) FILTER (WHERE bit = converted_bit()) AS converted_at
        FROM logged GROUP BY campaign_id, lead_no, mask
    ), change AS (
        SELECT campaign_id, account_id, day, result,
            CASE result WHEN result_failed() THEN failed_reason WHEN result_bounced() THEN bounced_reason END AS reason,
            1 AS sign, NULL::int4 AS contacts, NULL::int4 AS replied_age, NULL::int4 AS converted_age
        FROM judged
        UNION ALL
        SELECT campaign_id, account_id, '-infinity', gone_result,
            CASE gone_result WHEN result_failed() THEN failed_reason WHEN result_bounced() THEN bounced_reason END,
            -1, NULL, NULL, NULL
        FROM judged WHERE gone_result <> result_none()
        UNION ALL
        SELECT campaign_id, account_id, utc_day(contacted_at), NULL, NULL, 1, 1,
            contact_age(contacted_at, replied_at), contact_age(contacted_at, converted_at)
        FROM lead WHERE is_contacted(mask) AND is_contact_logged(mask, logged)
    )
    SELECT workspace, coalesce(campaign_id, all_campaigns()), coalesce(account_id, all_accounts()), day,
        coalesce(sum(sign) FILTER (WHERE result = result_delivered()), 0)::int8,
        coalesce(sum(sign) FILTER (WHERE result = result_failed() AND reason = reason_account_issue()), 0)::int8,
        coalesce(sum(sign) FILTER (WHERE result = result_failed() AND reason = reason_invalid_lead()), 0)::int8,
        coalesce(sum(sign) FILTER (WHERE result = result_failed() AND reason = reason_rate_limited()), 0)::int8,
        coalesce(sum(sign) FILTER (WHERE result = result_failed() AND reason = reason_content_rejected()), 0)::int8,
        coalesce(sum(sign) FILTER (WHERE result = result_failed() AND reason = reason_other()), 0)::int8,
        coalesce(sum(sign) FILTER (WHERE result = result_bounced() AND reason = reason_account_issue()), 0)::int8,
        coalesce(sum(sign) FILTER (WHERE result = result_bounced() AND reason = reason_invalid_lead()), 0)::int8,
        coalesce(sum(sign) FILTER (WHERE result = result_bounced() AND reason = reason_rate_limited()), 0)::int8,
        coalesce(sum(sign) FILTER (WHERE result = result_bounced() AND reason = reason_content_rejected()), 0)::int8,
        coalesce(sum(sign) FILTER (WHERE result = result_bounced() AND reason = reason_other()), 0)::int8,
        coalesce(sum(contacts), 0)::int8,
        ages_count(array_agg(replied_age) FILTER (WHERE replied_age IS NOT NULL),
            array_agg(sign) FILTER (WHERE replied_age IS NOT NULL)),
        ages_count(array_agg(converted_age) FILTER (WHERE converted_age IS NOT NULL),
            array_agg(sign) FILTER (WHERE converted_age IS NOT NULL))
    FROM (
        SELECT campaign_id, coalesce(account_id, 0) AS account_id, day, result, reason, sign, contacts, replied_age,
            converted_age
        FROM change
    ) c
    GROUP BY GROUPING SETS ((campaign_id, account_id, day), (campaign_id, day), (account_id, day))
$$;

COMMENT ON FUNCTION history_of_log(workspace integer, campaign integer, without regclass) IS 'Recounts the history of a workspace, or of one campaign, from the rows that the log still has. `without` leaves out the rows of one partition; null leaves out none.';

CREATE FUNCTION history_recount(workspace integer) RETURNS SETOF history_row
    LANGUAGE sql STABLE
    AS $$
    SELECT workspace, campaign_id, account_id, day,
        sum(delivered)::int8, sum(failed_account_issue)::int8, sum(failed_invalid_lead)::int8,
        sum(failed_rate_limited)::int8, sum(failed_content_rejected)::int8, sum(failed_other)::int8,
        sum(bounced_account_issue)::int8, sum(bounced_invalid_lead)::int8, sum(bounced_rate_limited)::int8,
        sum(bounced_content_rejected)::int8, sum(bounced_other)::int8, sum(contacted)::int8,
        ages_sum(replied), ages_sum(converted)
    FROM (
        SELECT campaign_id, account_id, day,
            delivered, failed_account_issue, failed_invalid_lead, failed_rate_limited, failed_content_rejected,
            failed_other, bounced_account_issue, bounced_invalid_lead, bounced_rate_limited,
            bounced_content_rejected, bounced_other, contacted, replied, converted
        FROM history_of_log(workspace, NULL, NULL)
        UNION ALL
        SELECT campaign_id, account_id, day,
            delivered, failed_account_issue, failed_invalid_lead, failed_rate_limited, failed_content_rejected,
            failed_other, bounced_account_issue, bounced_invalid_lead, bounced_rate_limited,
            bounced_content_rejected, bounced_other, contacted, replied, converted
        FROM history_closed WHERE workspace_id = workspace
    ) h
    GROUP BY campaign_id, account_id, day
$$;

COMMENT ON FUNCTION history_recount(workspace integer) IS 'Returns what the history of a workspace should be.';

CREATE FUNCTION is_contact_logged(mask bigint, logged bigint) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (((mask & contact_facts()) & (~ logged)) = 0);

COMMENT ON FUNCTION is_contact_logged(mask bigint, logged bigint) IS 'Whether the log has all facts of a lead that history counts with its first contact. Once it has not, the lead stays where history counts it: later facts do not move it, and later replies do not count.';

CREATE FUNCTION is_contacted(mask bigint) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (delivered_steps(mask) <> 0);

COMMENT ON FUNCTION is_contacted(mask bigint) IS 'Whether any message was delivered and did not bounce.';

CREATE FUNCTION is_empty(h history) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (((h).delivered = 0) AND ((h).failed_account_issue = 0) AND ((h).failed_invalid_lead = 0) AND ((h).failed_rate_limited = 0) AND ((h).failed_content_rejected = 0) AND ((h).failed_other = 0) AND ((h).bounced_account_issue = 0) AND ((h).bounced_invalid_lead = 0) AND ((h).bounced_rate_limited = 0) AND ((h).bounced_content_rejected = 0) AND ((h).bounced_other = 0) AND ((h).contacted = 0) AND (((h).replied IS NULL) OR (0 = ALL ((h).replied))) AND (((h).converted IS NULL) OR (0 = ALL ((h).converted))));

COMMENT ON FUNCTION is_empty(h history) IS 'Whether all numbers of a row are 0. Such a row remains where corrections took everything away. It is not shown.';

CREATE FUNCTION is_message(fact_bit integer) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (fact_bit < 48);

COMMENT ON FUNCTION is_message(fact_bit integer) IS 'Whether a fact is about the message of a step, not about the lead.';

CREATE FUNCTION lead_bit(lead_no integer) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN ((1)::bigint << (lead_no & 63));

COMMENT ON FUNCTION lead_bit(lead_no integer) IS 'Returns the bit of a lead within its block.';

CREATE FUNCTION lead_block(lead_no integer) RETURNS integer
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (lead_no >> 6);

COMMENT ON FUNCTION lead_block(lead_no integer) IS 'Returns the block of a lead.';

CREATE FUNCTION lead_claim_account(workspace integer, campaign integer, lead integer, facts bigint) RETURNS integer
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET enable_seqscan TO 'off'
    AS $$
BEGIN
    RETURN (
        SELECT c.account_id FROM claims c
        WHERE c.workspace_id = workspace AND c.campaign_id = campaign AND c.block = lead_block(lead)
            AND has_lead(c.claimed, lead) AND NOT has_result(facts, c.step - 1)
        LIMIT 1
    );
END
$$;

COMMENT ON FUNCTION lead_claim_account(workspace integer, campaign integer, lead integer, facts bigint) IS 'Returns the account of the open claim of a lead, of whatever step; null without one. facts is leads.mask.';

CREATE FUNCTION lead_contact(workspace integer, campaign integer, lead integer, mask bigint) RETURNS contact
    LANGUAGE plpgsql STABLE
    AS $$
DECLARE
    found contact;
BEGIN
    SELECT (array_agg(o.happened_at ORDER BY o.happened_at, o.bit) FILTER (WHERE o.counts))[1],
        (array_agg(o.bit ORDER BY o.happened_at, o.bit) FILTER (WHERE o.counts))[1],
        (array_agg(o.account_id ORDER BY o.happened_at, o.bit) FILTER (WHERE o.counts))[1],
        min(o.happened_at) FILTER (WHERE o.bit = replied_bit()),
        min(o.happened_at) FILTER (WHERE o.bit = converted_bit()),
        coalesce(bit_or(fact_mask(o.bit)), 0)
    INTO found
    FROM (
        SELECT o.happened_at, o.bit, o.account_id,
            is_delivered(o.bit) AND has_fact(delivered_steps(mask), o.bit) AS counts
        FROM outcomes o
        WHERE o.workspace_id = workspace AND o.campaign_id = campaign AND o.lead_no = lead
    ) o;
    RETURN found;
END
$$;

COMMENT ON FUNCTION lead_contact(workspace integer, campaign integer, lead integer, mask bigint) IS 'Reads the first contact of a lead with these facts from the log.';

CREATE FUNCTION lead_following_step(mask bigint) RETURNS integer
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (length(ltrim((((delivered_steps(mask))::integer)::bit(16))::text, '0'::text)) + 1);

COMMENT ON FUNCTION lead_following_step(mask bigint) IS 'Returns the step after the highest delivered one: 1 where none is delivered, 17 where step 16 is.';

CREATE FUNCTION status_failed() RETURNS integer
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN 4;

COMMENT ON FUNCTION status_failed() IS 'lead_status: failed.';

CREATE FUNCTION status_partial() RETURNS integer
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN 2;

COMMENT ON FUNCTION status_partial() IS 'lead_status: some steps delivered, others to be sent.';

CREATE FUNCTION status_pending() RETURNS integer
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN 1;

COMMENT ON FUNCTION status_pending() IS 'lead_status: nothing delivered yet.';

CREATE FUNCTION status_sent() RETURNS integer
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN 3;

COMMENT ON FUNCTION status_sent() IS 'lead_status: done.';

CREATE FUNCTION lead_status(mask bigint, steps integer) RETURNS integer
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN (has_fact(mask, replied_bit()) OR has_fact(mask, converted_bit())) THEN status_sent() WHEN (((~ delivered_steps(mask)) & (((1)::bigint << steps) - 1)) = 0) THEN status_sent() WHEN ((mask & (fact_mask(opted_out_bit()) | fact_mask(removed_bit()))) <> 0) THEN CASE WHEN is_contacted(mask) THEN status_sent() ELSE status_failed() END WHEN (failed_or_bounced_steps(mask) <> 0) THEN status_failed() WHEN is_contacted(mask) THEN status_partial() ELSE status_pending() END;

COMMENT ON FUNCTION lead_status(mask bigint, steps integer) IS 'Returns the status of a lead in a campaign of so many steps. The rules, in their order: replied, converted or every step delivered is sent; opted out or removed is sent where a step was delivered, else failed; any failed or bounced step is failed; any delivered step is partial; else pending.';

CREATE FUNCTION lead_next_step(mask bigint, steps integer) RETURNS integer
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN ((lead_status(mask, steps) > status_partial()) OR (lead_following_step(mask) > steps)) THEN 0 ELSE lead_following_step(mask) END;

COMMENT ON FUNCTION lead_next_step(mask bigint, steps integer) IS 'Returns the step to send next; 0 when the lead is sent or failed, or no step follows the highest delivered one.';

CREATE FUNCTION log_message_account(workspace integer, campaign integer, lead integer, step_bit integer) RETURNS integer
    LANGUAGE plpgsql STABLE
    AS $$
BEGIN
    RETURN (
        SELECT coalesce(o.account_id, 0) FROM outcomes o
        WHERE o.workspace_id = workspace AND o.campaign_id = campaign AND o.lead_no = lead
            AND is_message(o.bit) AND step_bit_of(o.bit) = step_bit
        ORDER BY o.received_at, o.batch_ordinal LIMIT 1
    );
END
$$;

COMMENT ON FUNCTION log_message_account(workspace integer, campaign integer, lead integer, step_bit integer) IS 'Returns the account on which the message of a step was booked first: 0 for none, null where the log has no such message. step_bit is the number of the step less 1.';

CREATE FUNCTION log_partition_drop(part regclass) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
    IF part = 'outcomes_default'::regclass OR NOT EXISTS (
        SELECT FROM pg_inherits i WHERE i.inhrelid = part AND i.inhparent = 'outcomes'::regclass
    ) THEN
        RAISE insufficient_privilege USING MESSAGE = format('%s is not the partition of a month', part);
    END IF;
    EXECUTE format('DROP TABLE %s', part);
END
$$;

COMMENT ON FUNCTION log_partition_drop(part regclass) IS 'Drops the partition of a month from the log, and refuses to drop anything else. Runs with the rights of its owner.';

CREATE FUNCTION log_partition_make(month date) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
DECLARE
    part text := to_char(month, '"outcomes_"YYYY_MM');
    since text := to_char(date_trunc('month', month), 'YYYY-MM-DD "00:00:00+00"');
    until text := to_char(date_trunc('month', month) + interval '1 month', 'YYYY-MM-DD "00:00:00+00"');
BEGIN
    -- The default partition may hold rows of this month, which must leave it before the new one is attached. Whole rows
    -- move, whatever columns they have. A partition does not inherit the replica identity.
    EXECUTE format('CREATE TABLE %I (LIKE outcomes INCLUDING DEFAULTS)', part);
    LOCK TABLE outcomes_default IN ACCESS EXCLUSIVE MODE;
    EXECUTE format(
        'WITH moved AS (DELETE FROM outcomes_default WHERE received_at >= %L AND received_at < %L RETURNING *)
        INSERT INTO %I SELECT * FROM moved', since, until, part);
    EXECUTE format('ALTER TABLE %I REPLICA IDENTITY FULL', part);
    EXECUTE format('ALTER TABLE outcomes ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', part, since, until);
END
$$;

COMMENT ON FUNCTION log_partition_make(month date) IS 'Creates the partition of the log for the UTC month of a day, with the rows of the default partition that belong to it. Runs with the rights of its owner.';

CREATE FUNCTION log_time(workspace integer, campaign integer, lead integer, fact_bit integer) RETURNS timestamp with time zone
    LANGUAGE plpgsql STABLE
    AS $$
BEGIN
    RETURN (
        SELECT o.happened_at FROM outcomes o
        WHERE o.workspace_id = workspace AND o.campaign_id = campaign AND o.lead_no = lead AND o.bit = fact_bit
        LIMIT 1
    );
END
$$;

COMMENT ON FUNCTION log_time(workspace integer, campaign integer, lead integer, fact_bit integer) IS 'Returns when a fact happened; null where the log has no such fact.';

CREATE FUNCTION micros_add(a bigint, b bigint) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN (a > ('9223372036854775807'::bigint - b)) THEN '9223372036854775807'::bigint ELSE (a + b) END;

COMMENT ON FUNCTION micros_add(a bigint, b bigint) IS 'Adds two numbers from 0 on; a sum that is too large is the largest int8.';

CREATE FUNCTION reason_account_issue() RETURNS integer
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN 1;

COMMENT ON FUNCTION reason_account_issue() IS 'Reason of a failure or bounce: the account is blocked or signed out.';

CREATE FUNCTION reason_content_rejected() RETURNS integer
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN 4;

COMMENT ON FUNCTION reason_content_rejected() IS 'Reason of a failure or bounce: the provider refused the content.';

CREATE FUNCTION reason_invalid_lead() RETURNS integer
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN 2;

COMMENT ON FUNCTION reason_invalid_lead() IS 'Reason of a failure or bounce: the lead can not be reached.';

CREATE FUNCTION reason_mask(reason integer, step_bit integer) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN ((reason)::bigint << (3 * step_bit));

COMMENT ON FUNCTION reason_mask(reason integer, step_bit integer) IS 'Returns the bits of a reason in leads.failed_reasons or bounced_reasons.';

CREATE FUNCTION reason_other() RETURNS integer
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN 5;

COMMENT ON FUNCTION reason_other() IS 'Reason of a failure or bounce: anything else.';

CREATE FUNCTION reason_rate_limited() RETURNS integer
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN 3;

COMMENT ON FUNCTION reason_rate_limited() IS 'Reason of a failure or bounce: the provider refused the rate.';

CREATE FUNCTION reason_word(reason integer) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE reason WHEN reason_account_issue() THEN 'account_issue'::text WHEN reason_invalid_lead() THEN 'invalid_lead'::text WHEN reason_rate_limited() THEN 'rate_limited'::text WHEN reason_content_rejected() THEN 'content_rejected'::text WHEN reason_other() THEN 'other'::text ELSE NULL::text END;

COMMENT ON FUNCTION reason_word(reason integer) IS 'Returns the word for a reason of a failure or bounce; null for none.';

CREATE FUNCTION replica_runs(renewed_at timestamp with time zone) RETURNS boolean
    LANGUAGE sql
    RETURN (renewed_at > (clock_timestamp() - '00:01:00'::interval));

COMMENT ON FUNCTION replica_runs(renewed_at timestamp with time zone) IS 'Whether a replica still runs. One that was killed is taken for running for a minute, several times the interval of its renewals.';

CREATE FUNCTION replicas_refuse_older(version integer) RETURNS void
    LANGUAGE plpgsql
    AS $$
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

COMMENT ON FUNCTION replicas_refuse_older(version integer) IS 'Fails with object_in_use while a replica runs that knows no migration from this one on.';

CREATE FUNCTION reservation_kept(workspace integer, campaign integer, lead integer, of_step integer, account integer, day_of_account date, day_of_campaign date, OUT of_account boolean, OUT of_campaign boolean) RETURNS record
    LANGUAGE plpgsql STABLE
    SET enable_seqscan TO 'off'
    AS $$
BEGIN
    SELECT coalesce(bool_or(k.account_id = account AND k.account_day = day_of_account), false),
        coalesce(bool_or(k.campaign_day = day_of_campaign), false)
    INTO of_account, of_campaign
    FROM kept_reservations k
    WHERE k.workspace_id = workspace AND k.campaign_id = campaign AND k.lead_no = lead AND k.step = of_step;
END
$$;

COMMENT ON FUNCTION reservation_kept(workspace integer, campaign integer, lead integer, of_step integer, account integer, day_of_account date, day_of_campaign date, OUT of_account boolean, OUT of_campaign boolean) IS 'Whether an earlier claim of a step keeps a share of these days: of the account, and of the campaign.';

CREATE FUNCTION result_bounced() RETURNS integer
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN 3;

COMMENT ON FUNCTION result_bounced() IS 'step_result: bounced.';

CREATE FUNCTION result_delivered() RETURNS integer
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN 1;

COMMENT ON FUNCTION result_delivered() IS 'step_result: delivered, and not bounced.';

CREATE FUNCTION result_failed() RETURNS integer
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN 2;

COMMENT ON FUNCTION result_failed() IS 'step_result: failed, and neither delivered nor bounced.';

CREATE FUNCTION result_bit(result integer, step_bit integer) RETURNS integer
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (step_bit + CASE result WHEN result_delivered() THEN 0 WHEN result_failed() THEN 16 WHEN result_bounced() THEN 32 ELSE NULL::integer END);

COMMENT ON FUNCTION result_bit(result integer, step_bit integer) IS 'Returns the bit of the fact that a result comes from; null for none.';

CREATE FUNCTION result_none() RETURNS integer
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN 0;

COMMENT ON FUNCTION result_none() IS 'step_result: the step has no fact.';

CREATE FUNCTION return_head(workspace integer, campaign integer, account integer, all_steps integer) RETURNS timestamp with time zone
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET enable_seqscan TO 'off'
    AS $$
DECLARE
    r record;
    looked_at int4 := 0;
BEGIN
    FOR r IN
        SELECT x.due_at, x.lead_no, x.step FROM returns x
        WHERE x.workspace_id = workspace AND x.campaign_id = campaign AND x.account_id = account
        ORDER BY x.due_at, x.lead_no, x.step LIMIT 256
    LOOP
        IF return_waits(workspace, campaign, r.lead_no, r.step, all_steps) THEN
            RETURN r.due_at;
        END IF;
        looked_at := looked_at + 1;
    END LOOP;
    RETURN CASE WHEN looked_at = 256 THEN r.due_at END;
END
$$;

COMMENT ON FUNCTION return_head(workspace integer, campaign integer, account integer, all_steps integer) IS 'Returns when the first step that waits for an account is due: rows of `returns` may be outdated by facts, or wait behind an open claim of another step. Looks at 256 rows; where none of them waits, returns the time of the last, a lower bound. Null when nothing waits.';

CREATE TABLE returns (
    workspace_id integer NOT NULL,
    campaign_id integer NOT NULL,
    account_id integer NOT NULL,
    due_at timestamp with time zone NOT NULL,
    lead_no integer NOT NULL,
    step smallint NOT NULL
)
WITH (autovacuum_vacuum_scale_factor='0.01', autovacuum_vacuum_threshold='5000', autovacuum_vacuum_cost_delay='0');

COMMENT ON TABLE returns IS 'Queue of steps that become due at a time: follow-ups, and steps whose claims were released or are retried. A hint: later facts can outdate a row, and the same step can be listed twice. A claim checks the facts of the lead.';

COMMENT ON COLUMN returns.workspace_id IS 'Workspace of the lead.';

COMMENT ON COLUMN returns.campaign_id IS 'Campaign of the lead.';

COMMENT ON COLUMN returns.account_id IS 'Account of the lead, or any_account().';

COMMENT ON COLUMN returns.due_at IS 'When the step may be sent.';

COMMENT ON COLUMN returns.lead_no IS 'Number of the lead.';

COMMENT ON COLUMN returns.step IS 'Number of the step.';

CREATE FUNCTION return_lock_outdated(r returns, all_steps integer) RETURNS boolean
    LANGUAGE plpgsql
    AS $$
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

COMMENT ON FUNCTION return_lock_outdated(r returns, all_steps integer) IS 'Locks the lead of a listed step and returns whether the step is outdated, so that its row can be deleted. An outcome in flight may make the step due again; it finds the row that exists and adds none. Hence the lock, and the look at the facts under it. Returns false where another transaction has the lead locked: the row stays for a later claim.';

CREATE FUNCTION return_waits(workspace integer, campaign integer, lead integer, of_step integer, all_steps integer) RETURNS boolean
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET enable_seqscan TO 'off'
    AS $$
BEGIN
    RETURN EXISTS (
        SELECT FROM leads l
        WHERE l.workspace_id = workspace AND l.campaign_id = campaign AND l.lead_no = lead
            AND lead_next_step(l.mask, all_steps) = of_step
            AND lead_claim_account(workspace, campaign, lead, l.mask) IS NULL
    );
END
$$;

COMMENT ON FUNCTION return_waits(workspace integer, campaign integer, lead integer, of_step integer, all_steps integer) IS 'Whether a step that is listed in `returns` waits for a claim: it is the next one of its lead, and no claim of the lead is open, of whatever step.';

CREATE FUNCTION schema_oldest() RETURNS integer
    LANGUAGE sql STABLE
    RETURN 6;

COMMENT ON FUNCTION schema_oldest() IS 'Returns the lowest replicas.schema_version that can work with this schema. Only schema_stop_older changes it.';

CREATE FUNCTION schema_stop_older(version integer) RETURNS void
    LANGUAGE plpgsql
    AS $$
BEGIN
    -- A replica that starts meanwhile waits here, and then finds what it needs to know in schema_oldest.
    LOCK TABLE replicas IN SHARE ROW EXCLUSIVE MODE;
    PERFORM replicas_refuse_older(version);
    EXECUTE format('CREATE OR REPLACE FUNCTION schema_oldest() RETURNS int4 LANGUAGE sql STABLE RETURN %s', version);
END
$$;

COMMENT ON FUNCTION schema_stop_older(version integer) IS 'The first statement of a migration with which older replicas can''t work; its argument is the number of the migration. Fails while one of them runs, and keeps them from starting later.';

CREATE FUNCTION status_word(status integer) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE status WHEN status_pending() THEN 'pending'::text WHEN status_partial() THEN 'partial'::text WHEN status_sent() THEN 'sent'::text WHEN status_failed() THEN 'failed'::text ELSE NULL::text END;

COMMENT ON FUNCTION status_word(status integer) IS 'Returns the word for a status of a lead.';

CREATE FUNCTION step_bit_of(fact_bit integer) RETURNS integer
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (fact_bit & 15);

COMMENT ON FUNCTION step_bit_of(fact_bit integer) IS 'Returns the step_bit of a fact about a message.';

CREATE FUNCTION step_mask(step_bit integer) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (('000000000000000100000000000000010000000000000001'::"bit")::bigint << step_bit);

COMMENT ON FUNCTION step_mask(step_bit integer) IS 'Returns the mask of the three facts of a step.';

CREATE FUNCTION step_reason(reasons bigint, step_bit integer) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN ((reasons >> (3 * step_bit)) & (7)::bigint);

COMMENT ON FUNCTION step_reason(reasons bigint, step_bit integer) IS 'Returns the reason of a step in leads.failed_reasons or bounced_reasons; 0 for none.';

CREATE FUNCTION step_result(mask bigint, step_bit integer) RETURNS integer
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN has_fact(mask, (step_bit + 32)) THEN result_bounced() WHEN has_fact(mask, step_bit) THEN result_delivered() WHEN has_fact(mask, (step_bit + 16)) THEN result_failed() ELSE result_none() END;

COMMENT ON FUNCTION step_result(mask bigint, step_bit integer) IS 'Returns the result of a step, its strongest fact: bounced is stronger than delivered, delivered is stronger than failed.';

CREATE FUNCTION utc_day(at timestamp with time zone) RETURNS date
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN ((at AT TIME ZONE 'UTC'::text))::date;

COMMENT ON FUNCTION utc_day(at timestamp with time zone) IS 'Returns the UTC day of a time.';

CREATE AGGREGATE ages_sum(integer[]) (
    SFUNC = ages_add,
    STYPE = integer[]
);

COMMENT ON AGGREGATE ages_sum(integer[]) IS 'Adds up counts by age; null where there are none.';

CREATE TABLE account_leads (
    workspace_id integer NOT NULL,
    campaign_id integer NOT NULL,
    account_id integer NOT NULL,
    pending bigint NOT NULL,
    partial bigint NOT NULL,
    sent bigint NOT NULL,
    failed bigint NOT NULL
)
WITH (fillfactor='20', autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='1000', autovacuum_vacuum_cost_delay='0');

COMMENT ON TABLE account_leads IS 'Leads of a campaign by their account (leads.account_id) and status. The sums over accounts are those of campaign_counters.';

COMMENT ON COLUMN account_leads.workspace_id IS 'Workspace of both.';

COMMENT ON COLUMN account_leads.campaign_id IS 'The campaign.';

COMMENT ON COLUMN account_leads.account_id IS 'The account; 0 for leads without one.';

COMMENT ON COLUMN account_leads.pending IS 'Leads with status pending.';

COMMENT ON COLUMN account_leads.partial IS 'Leads with status partial.';

COMMENT ON COLUMN account_leads.sent IS 'Leads with status sent.';

COMMENT ON COLUMN account_leads.failed IS 'Leads with status failed.';

CREATE TABLE account_totals (
    workspace_id integer NOT NULL,
    account_id integer NOT NULL,
    delivered bigint NOT NULL,
    failed_account_issue bigint NOT NULL,
    failed_invalid_lead bigint NOT NULL,
    failed_rate_limited bigint NOT NULL,
    failed_content_rejected bigint NOT NULL,
    failed_other bigint NOT NULL,
    bounced_account_issue bigint NOT NULL,
    bounced_invalid_lead bigint NOT NULL,
    bounced_rate_limited bigint NOT NULL,
    bounced_content_rejected bigint NOT NULL,
    bounced_other bigint NOT NULL
);

COMMENT ON TABLE account_totals IS 'Messages of an account over all campaigns: the sum of the rows of history_of_accounts that are marked is_summed.';

COMMENT ON COLUMN account_totals.workspace_id IS 'Workspace of the account.';

COMMENT ON COLUMN account_totals.account_id IS 'The account; 0 where none is known.';

COMMENT ON COLUMN account_totals.delivered IS 'Messages whose result is delivered.';

COMMENT ON COLUMN account_totals.failed_account_issue IS 'Messages that failed: account issue.';

COMMENT ON COLUMN account_totals.failed_invalid_lead IS 'Messages that failed: invalid lead.';

COMMENT ON COLUMN account_totals.failed_rate_limited IS 'Messages that failed: rate limited.';

COMMENT ON COLUMN account_totals.failed_content_rejected IS 'Messages that failed: content rejected.';

COMMENT ON COLUMN account_totals.failed_other IS 'Messages that failed: other.';

COMMENT ON COLUMN account_totals.bounced_account_issue IS 'Messages that bounced: account issue.';

COMMENT ON COLUMN account_totals.bounced_invalid_lead IS 'Messages that bounced: invalid lead.';

COMMENT ON COLUMN account_totals.bounced_rate_limited IS 'Messages that bounced: rate limited.';

COMMENT ON COLUMN account_totals.bounced_content_rejected IS 'Messages that bounced: content rejected.';

COMMENT ON COLUMN account_totals.bounced_other IS 'Messages that bounced: other.';

CREATE TABLE history_of_accounts (
    workspace_id integer NOT NULL,
    campaign_id integer NOT NULL,
    account_id integer NOT NULL,
    day date NOT NULL,
    delivered bigint NOT NULL,
    failed_account_issue bigint NOT NULL,
    failed_invalid_lead bigint NOT NULL,
    failed_rate_limited bigint NOT NULL,
    failed_content_rejected bigint NOT NULL,
    failed_other bigint NOT NULL,
    bounced_account_issue bigint NOT NULL,
    bounced_invalid_lead bigint NOT NULL,
    bounced_rate_limited bigint NOT NULL,
    bounced_content_rejected bigint NOT NULL,
    bounced_other bigint NOT NULL,
    contacted bigint NOT NULL,
    replied integer[],
    converted integer[],
    is_summed boolean DEFAULT false NOT NULL,
    replied_in_7_days integer GENERATED ALWAYS AS (ages_in_7_days(replied)) STORED,
    replied_in_30_days integer GENERATED ALWAYS AS (ages_in_30_days(replied)) STORED,
    converted_in_7_days integer GENERATED ALWAYS AS (ages_in_7_days(converted)) STORED,
    converted_in_30_days integer GENERATED ALWAYS AS (ages_in_30_days(converted)) STORED
)
WITH (fillfactor='30', autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='1000', autovacuum_vacuum_cost_delay='0');

COMMENT ON TABLE history_of_accounts IS 'History of accounts over all campaigns. A table of its own, because every scrape reads the days that are not summed.';

CREATE VIEW account_messages AS
 SELECT history_of_accounts.workspace_id,
    history_of_accounts.account_id,
    history_of_accounts.day,
    history_of_accounts.delivered,
    history_of_accounts.failed_account_issue,
    history_of_accounts.failed_invalid_lead,
    history_of_accounts.failed_rate_limited,
    history_of_accounts.failed_content_rejected,
    history_of_accounts.failed_other,
    history_of_accounts.bounced_account_issue,
    history_of_accounts.bounced_invalid_lead,
    history_of_accounts.bounced_rate_limited,
    history_of_accounts.bounced_content_rejected,
    history_of_accounts.bounced_other
   FROM history_of_accounts
  WHERE (NOT history_of_accounts.is_summed)
UNION ALL
 SELECT account_totals.workspace_id,
    account_totals.account_id,
    NULL::date AS day,
    account_totals.delivered,
    account_totals.failed_account_issue,
    account_totals.failed_invalid_lead,
    account_totals.failed_rate_limited,
    account_totals.failed_content_rejected,
    account_totals.failed_other,
    account_totals.bounced_account_issue,
    account_totals.bounced_invalid_lead,
    account_totals.bounced_rate_limited,
    account_totals.bounced_content_rejected,
    account_totals.bounced_other
   FROM account_totals;

COMMENT ON VIEW account_messages IS 'What adds up to the messages of an account over all campaigns: each day that is not summed, and the total of the others. All of the last 30 UTC days have rows of their own.';

COMMENT ON COLUMN account_messages.workspace_id IS 'Workspace of the account.';

COMMENT ON COLUMN account_messages.account_id IS 'The account; 0 where none is known.';

COMMENT ON COLUMN account_messages.day IS 'UTC day; null for the total of the summed days.';

COMMENT ON COLUMN account_messages.delivered IS 'Messages whose result is delivered.';

COMMENT ON COLUMN account_messages.failed_account_issue IS 'Messages that failed: account issue.';

COMMENT ON COLUMN account_messages.failed_invalid_lead IS 'Messages that failed: invalid lead.';

COMMENT ON COLUMN account_messages.failed_rate_limited IS 'Messages that failed: rate limited.';

COMMENT ON COLUMN account_messages.failed_content_rejected IS 'Messages that failed: content rejected.';

COMMENT ON COLUMN account_messages.failed_other IS 'Messages that failed: other.';

COMMENT ON COLUMN account_messages.bounced_account_issue IS 'Messages that bounced: account issue.';

COMMENT ON COLUMN account_messages.bounced_invalid_lead IS 'Messages that bounced: invalid lead.';

COMMENT ON COLUMN account_messages.bounced_rate_limited IS 'Messages that bounced: rate limited.';

COMMENT ON COLUMN account_messages.bounced_content_rejected IS 'Messages that bounced: content rejected.';

COMMENT ON COLUMN account_messages.bounced_other IS 'Messages that bounced: other.';

CREATE TABLE account_reservations (
    workspace_id integer NOT NULL,
    account_id integer NOT NULL,
    day date NOT NULL,
    epoch integer DEFAULT '-1'::integer NOT NULL,
    reserved bigint NOT NULL
)
WITH (fillfactor='20', autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='1000', autovacuum_vacuum_cost_delay='0');

COMMENT ON TABLE account_reservations IS 'Messages counted against the daily limit of an account: the sum of the row of claims (latest epoch) and of the row at epoch -1.';

COMMENT ON COLUMN account_reservations.workspace_id IS 'Workspace of the account.';

COMMENT ON COLUMN account_reservations.account_id IS 'The account.';

COMMENT ON COLUMN account_reservations.day IS 'Local day in the time zone of the account.';

COMMENT ON COLUMN account_reservations.epoch IS '-1: messages reported without a claim. Reports hold no lock of account or campaign, so that row keeps its epoch. From 0 on: what claims reserved, changed under that lock; see "Epochs" in the migration.';

COMMENT ON COLUMN account_reservations.reserved IS 'Messages.';

CREATE TABLE accounts (
    workspace_id integer NOT NULL,
    account_id integer NOT NULL,
    name text NOT NULL COLLATE pg_catalog."C",
    uid uuid NOT NULL,
    display_name text NOT NULL,
    state smallint NOT NULL,
    daily_limit integer,
    time_zone text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    revision bigint NOT NULL,
    CONSTRAINT accounts_daily_limit_check CHECK ((daily_limit >= 0)),
    CONSTRAINT accounts_state_check CHECK ((state = ANY (ARRAY[account_active(), account_suspended()])))
);

COMMENT ON TABLE accounts IS 'One row for each sending account. Every claim of the account locks its row.';

COMMENT ON COLUMN accounts.workspace_id IS 'Workspace of the account.';

COMMENT ON COLUMN accounts.account_id IS 'Number of the account; above 0.';

COMMENT ON COLUMN accounts.name IS 'Id of the account in resource names.';

COMMENT ON COLUMN accounts.uid IS 'Tells an account from an earlier one of the same name.';

COMMENT ON COLUMN accounts.display_name IS 'Text for people.';

COMMENT ON COLUMN accounts.state IS 'account_active() or account_suspended().';

COMMENT ON COLUMN accounts.daily_limit IS 'Most messages in a day of its time zone; 0 sends nothing, null is no limit.';

COMMENT ON COLUMN accounts.time_zone IS 'IANA time zone in which its days begin.';

COMMENT ON COLUMN accounts.created_at IS 'When it was created.';

COMMENT ON COLUMN accounts.updated_at IS 'When its settings or state last changed.';

COMMENT ON COLUMN accounts.revision IS 'Changes with every update; the etag.';

ALTER TABLE accounts ALTER COLUMN account_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME accounts_account_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE campaign_accounts (
    workspace_id integer NOT NULL,
    campaign_id integer NOT NULL,
    account_id integer NOT NULL,
    removed boolean DEFAULT false NOT NULL,
    is_finished boolean DEFAULT false NOT NULL,
    free_lead integer,
    free_due timestamp with time zone
);

COMMENT ON TABLE campaign_accounts IS 'One row for each account that serves a campaign, or has leads of it.';

COMMENT ON COLUMN campaign_accounts.workspace_id IS 'Workspace of both.';

COMMENT ON COLUMN campaign_accounts.campaign_id IS 'The campaign.';

COMMENT ON COLUMN campaign_accounts.account_id IS 'The account.';

COMMENT ON COLUMN campaign_accounts.removed IS 'The account no longer serves the campaign, but leads still wait for it, or are not freed yet.';

COMMENT ON COLUMN campaign_accounts.is_finished IS 'A claim of the account found the campaign FINISHED. False says nothing: no claim looked since.';

COMMENT ON COLUMN campaign_accounts.free_lead IS 'The account left, and this is the first lead that was not looked at yet; null when all were. Where free_due is set, all leads were, and rows of `returns` up to this due time and lead were.';

COMMENT ON COLUMN campaign_accounts.free_due IS 'See free_lead.';

CREATE TABLE campaign_claims (
    workspace_id integer NOT NULL,
    campaign_id integer NOT NULL,
    epoch integer DEFAULT 0 NOT NULL,
    granted bigint DEFAULT 0 NOT NULL,
    last_grant_at timestamp with time zone
)
WITH (fillfactor='20', autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='1000', autovacuum_vacuum_cost_delay='0');

COMMENT ON TABLE campaign_claims IS 'Claims ever granted of a campaign. Open claims (held or uncertain) = granted - campaign_counters.closed_claims. Grants and outcomes each change their own number, so they do not wait for each other. Changed under the row lock of the campaign.';

COMMENT ON COLUMN campaign_claims.workspace_id IS 'Workspace of the campaign.';

COMMENT ON COLUMN campaign_claims.campaign_id IS 'The campaign.';

COMMENT ON COLUMN campaign_claims.epoch IS 'Grows about every hundredth change; see "Epochs" in the migration.';

COMMENT ON COLUMN campaign_claims.granted IS 'Claims ever granted.';

COMMENT ON COLUMN campaign_claims.last_grant_at IS 'When claims were last granted; null before the first grant.';

CREATE TABLE campaign_counters (
    workspace_id integer NOT NULL,
    campaign_id integer NOT NULL,
    epoch integer DEFAULT 0 NOT NULL,
    version bigint DEFAULT 1 NOT NULL,
    next_lead_no integer DEFAULT 1 NOT NULL,
    total bigint DEFAULT 0 NOT NULL,
    pending bigint DEFAULT 0 NOT NULL,
    partial bigint DEFAULT 0 NOT NULL,
    sent bigint DEFAULT 0 NOT NULL,
    failed bigint DEFAULT 0 NOT NULL,
    delivered_messages bigint DEFAULT 0 NOT NULL,
    failed_messages bigint DEFAULT 0 NOT NULL,
    bounced_messages bigint DEFAULT 0 NOT NULL,
    account_issue bigint DEFAULT 0 NOT NULL,
    invalid_lead bigint DEFAULT 0 NOT NULL,
    rate_limited bigint DEFAULT 0 NOT NULL,
    content_rejected bigint DEFAULT 0 NOT NULL,
    other_reason bigint DEFAULT 0 NOT NULL,
    contacted bigint DEFAULT 0 NOT NULL,
    replied bigint DEFAULT 0 NOT NULL,
    converted bigint DEFAULT 0 NOT NULL,
    contacted_replied bigint DEFAULT 0 NOT NULL,
    contacted_converted bigint DEFAULT 0 NOT NULL,
    auto_replied bigint DEFAULT 0 NOT NULL,
    opted_out bigint DEFAULT 0 NOT NULL,
    conversion_value_micros bigint DEFAULT 0 NOT NULL,
    closed_claims bigint DEFAULT 0 NOT NULL,
    last_outcome_at timestamp with time zone,
    CONSTRAINT campaign_counters_check CHECK (((((pending + partial) + sent) + failed) = total))
)
WITH (fillfactor='20', autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='1000', autovacuum_vacuum_cost_delay='0');

COMMENT ON TABLE campaign_counters IS 'Every count of a campaign, in one row: the transaction that handles the last lead sees the whole count.';

COMMENT ON COLUMN campaign_counters.workspace_id IS 'Workspace of the campaign.';

COMMENT ON COLUMN campaign_counters.campaign_id IS 'The campaign.';

COMMENT ON COLUMN campaign_counters.epoch IS 'Grows about every hundredth change; see "Epochs" in the migration.';

COMMENT ON COLUMN campaign_counters.version IS 'Grows by 1 with every change; decides when the epoch grows.';

COMMENT ON COLUMN campaign_counters.next_lead_no IS 'Number of the next lead that is added.';

COMMENT ON COLUMN campaign_counters.total IS 'Leads: pending + partial + sent + failed.';

COMMENT ON COLUMN campaign_counters.pending IS 'Leads with status pending.';

COMMENT ON COLUMN campaign_counters.partial IS 'Leads with status partial.';

COMMENT ON COLUMN campaign_counters.sent IS 'Leads with status sent.';

COMMENT ON COLUMN campaign_counters.failed IS 'Leads with status failed.';

COMMENT ON COLUMN campaign_counters.delivered_messages IS 'Messages whose result is delivered.';

COMMENT ON COLUMN campaign_counters.failed_messages IS 'Messages whose result is failed.';

COMMENT ON COLUMN campaign_counters.bounced_messages IS 'Messages whose result is bounced.';

COMMENT ON COLUMN campaign_counters.account_issue IS 'Failed and bounced messages with the reason account issue.';

COMMENT ON COLUMN campaign_counters.invalid_lead IS 'Failed and bounced messages with the reason invalid lead.';

COMMENT ON COLUMN campaign_counters.rate_limited IS 'Failed and bounced messages with the reason rate limited.';

COMMENT ON COLUMN campaign_counters.content_rejected IS 'Failed and bounced messages with the reason content rejected.';

COMMENT ON COLUMN campaign_counters.other_reason IS 'Failed and bounced messages with the reason other.';

COMMENT ON COLUMN campaign_counters.contacted IS 'Leads with a delivered message.';

COMMENT ON COLUMN campaign_counters.replied IS 'Leads that replied.';

COMMENT ON COLUMN campaign_counters.converted IS 'Leads that converted.';

COMMENT ON COLUMN campaign_counters.contacted_replied IS 'Leads with a delivered message that replied.';

COMMENT ON COLUMN campaign_counters.contacted_converted IS 'Leads with a delivered message that converted.';

COMMENT ON COLUMN campaign_counters.auto_replied IS 'Leads with an automatic reply.';

COMMENT ON COLUMN campaign_counters.opted_out IS 'Leads that opted out.';

COMMENT ON COLUMN campaign_counters.conversion_value_micros IS 'Sum of conversion_values.value_micros.';

COMMENT ON COLUMN campaign_counters.closed_claims IS 'Claims ever closed: by an outcome, a release, a retry, a resolution or a removal.';

COMMENT ON COLUMN campaign_counters.last_outcome_at IS 'When an outcome that was new was last received; null before the first one.';

CREATE TABLE campaign_reservations (
    workspace_id integer NOT NULL,
    campaign_id integer NOT NULL,
    day date NOT NULL,
    epoch integer DEFAULT '-1'::integer NOT NULL,
    reserved bigint NOT NULL
)
WITH (fillfactor='20', autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='1000', autovacuum_vacuum_cost_delay='0');

COMMENT ON TABLE campaign_reservations IS 'Messages counted against the daily limit of a campaign; as account_reservations.';

COMMENT ON COLUMN campaign_reservations.workspace_id IS 'Workspace of the campaign.';

COMMENT ON COLUMN campaign_reservations.campaign_id IS 'The campaign.';

COMMENT ON COLUMN campaign_reservations.day IS 'Local day in the time zone of the campaign.';

COMMENT ON COLUMN campaign_reservations.epoch IS '-1: messages reported without a claim. From 0 on: what claims reserved.';

COMMENT ON COLUMN campaign_reservations.reserved IS 'Messages.';

CREATE TABLE campaigns (
    workspace_id integer NOT NULL,
    campaign_id integer NOT NULL,
    name text NOT NULL COLLATE pg_catalog."C",
    uid uuid NOT NULL,
    salt integer NOT NULL,
    display_name text NOT NULL,
    state smallint NOT NULL,
    finish_reason smallint,
    steps smallint NOT NULL,
    follow_up_delay_ms bigint NOT NULL,
    time_zone text NOT NULL,
    active_windows text[] NOT NULL,
    daily_limit integer,
    claim_expiry_policy smallint NOT NULL,
    settle_seconds integer NOT NULL,
    attribution_days integer NOT NULL,
    lead_list_complete boolean NOT NULL,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    finished_at timestamp with time zone,
    finalized_at timestamp with time zone,
    revision bigint NOT NULL,
    owner_resource text,
    owner_uid text,
    owner_generation bigint,
    owner_fencing_token bigint,
    owner_cluster text,
    held_at timestamp with time zone,
    hold_reason text,
    hold_return_state smallint,
    hold_generation bigint,
    CONSTRAINT campaigns_attribution_days_check CHECK ((attribution_days >= 0)),
    CONSTRAINT campaigns_check CHECK ((((state = campaign_finished()) = (finished_at IS NOT NULL)) AND ((state = campaign_finished()) = (finish_reason IS NOT NULL)))),
    CONSTRAINT campaigns_check1 CHECK ((((held_at IS NULL) = (hold_reason IS NULL)) AND ((held_at IS NULL) = (hold_return_state IS NULL)))),
    CONSTRAINT campaigns_claim_expiry_policy_check CHECK ((claim_expiry_policy = ANY (ARRAY[expiry_hold(), expiry_retry()]))),
    CONSTRAINT campaigns_daily_limit_check CHECK ((daily_limit >= 0)),
    CONSTRAINT campaigns_finish_reason_check CHECK ((finish_reason = ANY (ARRAY[finish_completed(), finish_requested()]))),
    CONSTRAINT campaigns_follow_up_delay_ms_check CHECK ((follow_up_delay_ms >= 0)),
    CONSTRAINT campaigns_hold_return_state_check CHECK ((hold_return_state = ANY (ARRAY[campaign_active(), campaign_paused(), campaign_finished()]))),
    CONSTRAINT campaigns_settle_seconds_check CHECK ((settle_seconds >= 0)),
    CONSTRAINT campaigns_state_check CHECK ((state = ANY (ARRAY[campaign_active(), campaign_paused(), campaign_finished()]))),
    CONSTRAINT campaigns_steps_check CHECK (((steps >= 1) AND (steps <= 16)))
);

COMMENT ON TABLE campaigns IS 'Settings and state of a campaign. Every claim of the campaign locks its row; outcomes write it only to finish the campaign.';

COMMENT ON COLUMN campaigns.workspace_id IS 'Workspace of the campaign.';

COMMENT ON COLUMN campaigns.campaign_id IS 'Number of the campaign.';

COMMENT ON COLUMN campaigns.name IS 'Id of the campaign in resource names.';

COMMENT ON COLUMN campaigns.uid IS 'Tells a campaign from an earlier one of the same name.';

COMMENT ON COLUMN campaigns.salt IS 'Drawn with the campaign; part of each send key, so that a key of another installation names nothing.';

COMMENT ON COLUMN campaigns.display_name IS 'Text for people.';

COMMENT ON COLUMN campaigns.state IS 'campaign_active(), campaign_paused() or campaign_finished().';

COMMENT ON COLUMN campaigns.finish_reason IS 'finish_completed() or finish_requested(); null before the finish.';

COMMENT ON COLUMN campaigns.steps IS 'Messages to each lead, 1 to 16; fixed when the campaign is created.';

COMMENT ON COLUMN campaigns.follow_up_delay_ms IS 'Milliseconds from the delivery of a step to the next step.';

COMMENT ON COLUMN campaigns.time_zone IS 'IANA time zone of its days and active windows.';

COMMENT ON COLUMN campaigns.active_windows IS 'Active hours, each as {days on which the window begins, 1 is Monday} {start} {end}. Example: 12345 09:00 17:00. Empty is always.';

COMMENT ON COLUMN campaigns.daily_limit IS 'Most messages in a day of its time zone; 0 sends nothing, null is no limit.';

COMMENT ON COLUMN campaigns.claim_expiry_policy IS 'What happens to a claim that expires without an outcome: expiry_hold() or expiry_retry().';

COMMENT ON COLUMN campaigns.settle_seconds IS 'Seconds from the finish, and from the expiry of the last claim, until results are final.';

COMMENT ON COLUMN campaigns.attribution_days IS 'Days after the finish in which replies and conversions are still taken.';

COMMENT ON COLUMN campaigns.lead_list_complete IS 'No more leads will be added, so the campaign can finish by itself.';

COMMENT ON COLUMN campaigns.created_at IS 'When it was created.';

COMMENT ON COLUMN campaigns.updated_at IS 'When its settings or state last changed.';

COMMENT ON COLUMN campaigns.finished_at IS 'When it finished; null before.';

COMMENT ON COLUMN campaigns.finalized_at IS 'When its results became final; null before.';

COMMENT ON COLUMN campaigns.revision IS 'Changes with every update; the etag.';

COMMENT ON COLUMN campaigns.owner_resource IS 'Kubernetes resource that manages the campaign; null for none.';

COMMENT ON COLUMN campaigns.owner_uid IS 'UID of that resource.';

COMMENT ON COLUMN campaigns.owner_generation IS 'Generation of that resource that was applied last; an older one is refused.';

COMMENT ON COLUMN campaigns.owner_fencing_token IS 'Token of the controller that applied it last; an older one is refused.';

COMMENT ON COLUMN campaigns.owner_cluster IS 'UID of the namespace kube-system of the cluster of that resource; null for none or not known.';

COMMENT ON COLUMN campaigns.held_at IS 'When the hold was placed that keeps the campaign paused; null for none. Means something only while it is paused.';

COMMENT ON COLUMN campaigns.hold_reason IS 'Why it was placed, in the words of a person; may be empty.';

COMMENT ON COLUMN campaigns.hold_return_state IS 'State that the campaign gets when the hold is lifted.';

COMMENT ON COLUMN campaigns.hold_generation IS 'Latest generation of the owner that does not lift the hold; null if there was no owner.';

ALTER TABLE campaigns ALTER COLUMN campaign_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME campaigns_campaign_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE conversion_values (
    workspace_id integer NOT NULL,
    campaign_id integer NOT NULL,
    lead_no integer NOT NULL,
    value_micros bigint NOT NULL,
    CONSTRAINT conversion_values_value_micros_check CHECK ((value_micros >= 0))
);

COMMENT ON TABLE conversion_values IS 'What conversions are worth, where the caller said so. A table of its own, so that it outlives the log.';

COMMENT ON COLUMN conversion_values.workspace_id IS 'Workspace of the lead.';

COMMENT ON COLUMN conversion_values.campaign_id IS 'Campaign of the lead.';

COMMENT ON COLUMN conversion_values.lead_no IS 'Number of the lead.';

COMMENT ON COLUMN conversion_values.value_micros IS 'Value in millionths of the unit that the caller counts in.';

CREATE TABLE deleted_campaigns (
    workspace_id integer NOT NULL,
    campaign_id integer NOT NULL,
    deleted_at timestamp with time zone NOT NULL,
    is_closed boolean DEFAULT false NOT NULL
);

COMMENT ON TABLE deleted_campaigns IS 'Campaigns that were deleted, while upkeep removes their leads and log in portions.';

COMMENT ON COLUMN deleted_campaigns.workspace_id IS 'Workspace of the campaign.';

COMMENT ON COLUMN deleted_campaigns.campaign_id IS 'Number that the campaign had.';

COMMENT ON COLUMN deleted_campaigns.deleted_at IS 'When it was deleted.';

COMMENT ON COLUMN deleted_campaigns.is_closed IS 'history_closed has what the log of the campaign says, so a recount leaves that log out.';

CREATE TABLE history_closed (
    workspace_id integer NOT NULL,
    campaign_id integer NOT NULL,
    account_id integer NOT NULL,
    day date NOT NULL,
    delivered bigint NOT NULL,
    failed_account_issue bigint NOT NULL,
    failed_invalid_lead bigint NOT NULL,
    failed_rate_limited bigint NOT NULL,
    failed_content_rejected bigint NOT NULL,
    failed_other bigint NOT NULL,
    bounced_account_issue bigint NOT NULL,
    bounced_invalid_lead bigint NOT NULL,
    bounced_rate_limited bigint NOT NULL,
    bounced_content_rejected bigint NOT NULL,
    bounced_other bigint NOT NULL,
    contacted bigint NOT NULL,
    replied integer[],
    converted integer[]
);

COMMENT ON TABLE history_closed IS 'The part of history that comes from log rows that were removed: with a dropped partition, or with a deleted campaign. Single numbers can be negative, sums can not.';

COMMENT ON COLUMN history_closed.workspace_id IS 'Workspace of campaign and account.';

COMMENT ON COLUMN history_closed.campaign_id IS 'The campaign, or all_campaigns(), deleted ones included.';

COMMENT ON COLUMN history_closed.account_id IS 'The account of the messages, or all_accounts(); 0 where none is known. It can be one that was deleted since.';

COMMENT ON COLUMN history_closed.day IS 'UTC day; -infinity for corrections of days that the log no longer has.';

COMMENT ON COLUMN history_closed.delivered IS 'Messages whose result is delivered.';

COMMENT ON COLUMN history_closed.failed_account_issue IS 'Messages that failed: account issue.';

COMMENT ON COLUMN history_closed.failed_invalid_lead IS 'Messages that failed: invalid lead.';

COMMENT ON COLUMN history_closed.failed_rate_limited IS 'Messages that failed: rate limited.';

COMMENT ON COLUMN history_closed.failed_content_rejected IS 'Messages that failed: content rejected.';

COMMENT ON COLUMN history_closed.failed_other IS 'Messages that failed: other.';

COMMENT ON COLUMN history_closed.bounced_account_issue IS 'Messages that bounced: account issue.';

COMMENT ON COLUMN history_closed.bounced_invalid_lead IS 'Messages that bounced: invalid lead.';

COMMENT ON COLUMN history_closed.bounced_rate_limited IS 'Messages that bounced: rate limited.';

COMMENT ON COLUMN history_closed.bounced_content_rejected IS 'Messages that bounced: content rejected.';

COMMENT ON COLUMN history_closed.bounced_other IS 'Messages that bounced: other.';

COMMENT ON COLUMN history_closed.contacted IS 'Leads whose first contact was on this day, by this account.';

COMMENT ON COLUMN history_closed.replied IS 'Those of them that replied, by age: element A + 1 counts replies more than A - 1 and at most A days after the first contact, element 1 those at or before it. 31 elements; null for none.';

COMMENT ON COLUMN history_closed.converted IS 'Those of them that converted, in the same form.';

CREATE TABLE history_of_campaigns (
    workspace_id integer NOT NULL,
    campaign_id integer NOT NULL,
    account_id integer NOT NULL,
    day date NOT NULL,
    delivered bigint NOT NULL,
    failed_account_issue bigint NOT NULL,
    failed_invalid_lead bigint NOT NULL,
    failed_rate_limited bigint NOT NULL,
    failed_content_rejected bigint NOT NULL,
    failed_other bigint NOT NULL,
    bounced_account_issue bigint NOT NULL,
    bounced_invalid_lead bigint NOT NULL,
    bounced_rate_limited bigint NOT NULL,
    bounced_content_rejected bigint NOT NULL,
    bounced_other bigint NOT NULL,
    contacted bigint NOT NULL,
    replied integer[],
    converted integer[],
    is_summed boolean DEFAULT false NOT NULL,
    replied_in_7_days integer GENERATED ALWAYS AS (ages_in_7_days(replied)) STORED,
    replied_in_30_days integer GENERATED ALWAYS AS (ages_in_30_days(replied)) STORED,
    converted_in_7_days integer GENERATED ALWAYS AS (ages_in_7_days(converted)) STORED,
    converted_in_30_days integer GENERATED ALWAYS AS (ages_in_30_days(converted)) STORED
)
WITH (fillfactor='50', autovacuum_vacuum_scale_factor='0.01', autovacuum_vacuum_threshold='1000', autovacuum_vacuum_cost_delay='0');

COMMENT ON TABLE history_of_campaigns IS 'History of campaigns by account.';

CREATE TABLE kept_reservations (
    workspace_id integer NOT NULL,
    campaign_id integer NOT NULL,
    lead_no integer NOT NULL,
    step smallint NOT NULL,
    account_id integer NOT NULL,
    account_day date NOT NULL,
    campaign_day date NOT NULL
)
WITH (autovacuum_vacuum_scale_factor='0.01', autovacuum_vacuum_threshold='1000', autovacuum_vacuum_cost_delay='0');

COMMENT ON TABLE kept_reservations IS 'Shares of daily limits that claims took which expired and were retried: reservations of the account and of the campaign contain them. Changed under the row lock of the campaign. Upkeep deletes them when their days are over.';

COMMENT ON COLUMN kept_reservations.workspace_id IS 'Workspace of the lead.';

COMMENT ON COLUMN kept_reservations.campaign_id IS 'Campaign of the lead.';

COMMENT ON COLUMN kept_reservations.lead_no IS 'The lead.';

COMMENT ON COLUMN kept_reservations.step IS 'Number of the step.';

COMMENT ON COLUMN kept_reservations.account_id IS 'Account of the claim.';

COMMENT ON COLUMN kept_reservations.account_day IS 'Day of account_reservations.';

COMMENT ON COLUMN kept_reservations.campaign_day IS 'Day of campaign_reservations.';

CREATE TABLE lead_ids (
    workspace_id integer NOT NULL,
    campaign_id integer NOT NULL,
    lead_no integer NOT NULL,
    lead_id text NOT NULL COLLATE pg_catalog."C"
)
WITH (autovacuum_vacuum_insert_scale_factor='0.2');

COMMENT ON TABLE lead_ids IS 'Ids of leads, as callers chose them. The row of a lead that was forgotten is deleted.';

COMMENT ON COLUMN lead_ids.workspace_id IS 'Workspace of the lead.';

COMMENT ON COLUMN lead_ids.campaign_id IS 'Campaign of the lead.';

COMMENT ON COLUMN lead_ids.lead_no IS 'Number of the lead.';

COMMENT ON COLUMN lead_ids.lead_id IS 'Id of the lead in resource names.';

CREATE TABLE leads (
    workspace_id integer NOT NULL,
    campaign_id integer NOT NULL,
    lead_no integer NOT NULL,
    account_id integer,
    mask bigint DEFAULT 0 NOT NULL,
    failed_reasons bigint DEFAULT 0 NOT NULL,
    bounced_reasons bigint DEFAULT 0 NOT NULL,
    last_action_at timestamp with time zone
)
WITH (fillfactor='46', autovacuum_vacuum_scale_factor='0.05', autovacuum_analyze_scale_factor='0.05');

COMMENT ON TABLE leads IS 'One row for each lead: its facts. No index may contain a column that outcomes change, so that every update is heap-only (HOT).';

COMMENT ON COLUMN leads.workspace_id IS 'Workspace of the lead.';

COMMENT ON COLUMN leads.campaign_id IS 'Campaign of the lead.';

COMMENT ON COLUMN leads.lead_no IS 'Number of the lead within its campaign: 1 and on, in the order in which leads are added.';

COMMENT ON COLUMN leads.account_id IS 'Account that sends to the lead; null before its first claim ends, unless the lead was added with an account. An open claim says it.';

COMMENT ON COLUMN leads.mask IS 'Facts, one bit each: proto/lead.rs has the table. Bits of facts are only ever added.';

COMMENT ON COLUMN leads.failed_reasons IS 'Why steps failed: three bits for each step, the number of a reason; see step_reason.';

COMMENT ON COLUMN leads.bounced_reasons IS 'Why steps bounced, in the same form. Both are kept; the result of the step says which one counts.';

COMMENT ON COLUMN leads.last_action_at IS 'Latest time of any fact; null before the first.';

CREATE TABLE opt_outs (
    workspace_id integer NOT NULL,
    lead_id text NOT NULL COLLATE pg_catalog."C",
    created_at timestamp with time zone NOT NULL
);

COMMENT ON TABLE opt_outs IS 'Lead ids that want no messages, in any campaign of their workspace. An opt-out locks the row of the workspace FOR NO KEY UPDATE, adding leads locks it FOR SHARE. So an id that is listed and a lead that is added at the same time see each other.';

COMMENT ON COLUMN opt_outs.workspace_id IS 'Workspace in which it holds.';

COMMENT ON COLUMN opt_outs.lead_id IS 'Id of the lead, as callers chose it.';

COMMENT ON COLUMN opt_outs.created_at IS 'When it was listed.';

CREATE TABLE opt_outs_waiting (
    workspace_id integer NOT NULL,
    lead_id text NOT NULL COLLATE pg_catalog."C",
    told_to integer DEFAULT 0 NOT NULL
);

COMMENT ON TABLE opt_outs_waiting IS 'Ids that opted out while some of their leads do not have that fact yet. Upkeep gives it to them, campaign by campaign. A claim gives it to those of its own campaigns first, so none is claimed meanwhile.';

COMMENT ON COLUMN opt_outs_waiting.workspace_id IS 'Workspace of the leads.';

COMMENT ON COLUMN opt_outs_waiting.lead_id IS 'The id.';

COMMENT ON COLUMN opt_outs_waiting.told_to IS 'Its leads in campaigns up to this number have the fact.';

CREATE TABLE outcomes (
    workspace_id integer NOT NULL,
    campaign_id integer NOT NULL,
    lead_no integer NOT NULL,
    "bit" smallint NOT NULL,
    reason smallint,
    batch_ordinal integer NOT NULL,
    account_id integer,
    happened_at timestamp with time zone NOT NULL,
    received_at timestamp with time zone NOT NULL,
    detail text
)
PARTITION BY RANGE (received_at);

ALTER TABLE ONLY outcomes REPLICA IDENTITY FULL;

COMMENT ON TABLE outcomes IS 'Log of facts, each with its circumstances. One partition for each month of receipt. Rows are only added, except that a forgotten lead loses its texts and a deleted campaign its rows.';

COMMENT ON COLUMN outcomes.workspace_id IS 'Workspace of the lead.';

COMMENT ON COLUMN outcomes.campaign_id IS 'Campaign of the lead.';

COMMENT ON COLUMN outcomes.lead_no IS 'Number of the lead.';

COMMENT ON COLUMN outcomes."bit" IS 'The fact: its place in leads.mask.';

COMMENT ON COLUMN outcomes.reason IS 'Why a message failed or bounced, the number of a reason; null for other facts.';

COMMENT ON COLUMN outcomes.batch_ordinal IS 'Place within the batch: orders outcomes of the same received_at.';

COMMENT ON COLUMN outcomes.account_id IS 'Account of the message; null where none is known.';

COMMENT ON COLUMN outcomes.happened_at IS 'When it happened, as reported.';

COMMENT ON COLUMN outcomes.received_at IS 'When the service took it in.';

COMMENT ON COLUMN outcomes.detail IS 'Text for people; null once the lead was forgotten.';

CREATE TABLE outcomes_default (
    workspace_id integer NOT NULL,
    campaign_id integer NOT NULL,
    lead_no integer NOT NULL,
    "bit" smallint NOT NULL,
    reason smallint,
    batch_ordinal integer NOT NULL,
    account_id integer,
    happened_at timestamp with time zone NOT NULL,
    received_at timestamp with time zone NOT NULL,
    detail text
);

ALTER TABLE ONLY outcomes_default REPLICA IDENTITY FULL;

COMMENT ON TABLE outcomes_default IS 'Takes outcomes of a month whose partition does not exist yet.';

CREATE TABLE replicas (
    replica_id uuid NOT NULL,
    schema_version integer NOT NULL,
    renewed_at timestamp with time zone NOT NULL
);

COMMENT ON TABLE replicas IS 'One row for each replica of the service that runs. It renews the row every few seconds and deletes it when it ends; see replica_runs.';

COMMENT ON COLUMN replicas.replica_id IS 'Drawn at its start.';

COMMENT ON COLUMN replicas.schema_version IS 'Number of the newest migration that it knows.';

COMMENT ON COLUMN replicas.renewed_at IS 'When it last said that it runs.';

CREATE TABLE requests (
    workspace_id integer NOT NULL,
    request_id uuid NOT NULL,
    digest bytea NOT NULL,
    grant_no bigint,
    created_at timestamp with time zone NOT NULL
);

COMMENT ON TABLE requests IS 'Request ids of the last 24 hours, so that a retry is answered and not done twice.';

COMMENT ON COLUMN requests.workspace_id IS 'Workspace of the call.';

COMMENT ON COLUMN requests.request_id IS 'Id that the caller chose.';

COMMENT ON COLUMN requests.digest IS 'Digest of method and body: the same id with another body is refused.';

COMMENT ON COLUMN requests.grant_no IS 'Number of the grant that the request got; null where it granted no claims.';

COMMENT ON COLUMN requests.created_at IS 'When the request came first.';

CREATE TABLE segments (
    workspace_id integer NOT NULL,
    campaign_id integer NOT NULL,
    account_id integer NOT NULL,
    lo integer NOT NULL,
    hi integer NOT NULL,
    CONSTRAINT segments_check CHECK ((hi >= lo))
)
WITH (autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='1000', autovacuum_vacuum_cost_delay='0');

COMMENT ON TABLE segments IS 'Ranges of leads that were never claimed. Claims take from the low end.';

COMMENT ON COLUMN segments.workspace_id IS 'Workspace of the leads.';

COMMENT ON COLUMN segments.campaign_id IS 'Campaign of the leads.';

COMMENT ON COLUMN segments.account_id IS 'Account of the leads, or any_account().';

COMMENT ON COLUMN segments.lo IS 'Number of the first lead.';

COMMENT ON COLUMN segments.hi IS 'Number after the last lead.';

CREATE TABLE verifications (
    verified_at timestamp with time zone NOT NULL,
    differences bigint NOT NULL,
    repaired boolean NOT NULL
);

COMMENT ON TABLE verifications IS 'Runs of `verify`; the latest is a metric.';

COMMENT ON COLUMN verifications.verified_at IS 'When the run ended.';

COMMENT ON COLUMN verifications.differences IS 'Numbers that differed from the recount.';

COMMENT ON COLUMN verifications.repaired IS 'The run put them right.';

CREATE TABLE workspaces (
    workspace_id integer NOT NULL,
    name text NOT NULL COLLATE pg_catalog."C",
    created_at timestamp with time zone NOT NULL
);

COMMENT ON TABLE workspaces IS 'One row for each tenant; made with its first resource.';

COMMENT ON COLUMN workspaces.workspace_id IS 'Number of the workspace; leads every other key.';

COMMENT ON COLUMN workspaces.name IS 'Id of the workspace in resource names.';

COMMENT ON COLUMN workspaces.created_at IS 'When its first resource was created.';

ALTER TABLE workspaces ALTER COLUMN workspace_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME workspaces_workspace_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE VIEW reporting.accounts AS
 SELECT w.name AS workspace,
    a.name AS account,
    a.display_name,
        CASE a.state
            WHEN account_active() THEN 'active'::text
            WHEN account_suspended() THEN 'suspended'::text
            ELSE NULL::text
        END AS state,
    COALESCE(((h.delivered + h.failed) + h.bounced), (0)::bigint) AS messages,
    COALESCE(h.delivered, (0)::bigint) AS delivered_messages,
    COALESCE(h.failed, (0)::bigint) AS failed_messages,
    COALESCE(h.bounced, (0)::bigint) AS bounced_messages,
    COALESCE(h.account_issue, (0)::bigint) AS account_issue_messages,
    COALESCE(h.invalid_lead, (0)::bigint) AS invalid_lead_messages,
    COALESCE(h.rate_limited, (0)::bigint) AS rate_limited_messages,
    COALESCE(h.content_rejected, (0)::bigint) AS content_rejected_messages,
    COALESCE(h.other, (0)::bigint) AS other_messages,
    COALESCE(((h.delivered_30d + h.failed_30d) + h.bounced_30d), (0)::bigint) AS messages_30d,
    COALESCE(h.delivered_30d, (0)::bigint) AS delivered_messages_30d,
    COALESCE(h.failed_30d, (0)::bigint) AS failed_messages_30d,
    COALESCE(h.bounced_30d, (0)::bigint) AS bounced_messages_30d,
    COALESCE(h.account_issue_30d, (0)::bigint) AS account_issue_messages_30d,
    COALESCE(h.invalid_lead_30d, (0)::bigint) AS invalid_lead_messages_30d,
    COALESCE(h.rate_limited_30d, (0)::bigint) AS rate_limited_messages_30d,
    COALESCE(h.content_rejected_30d, (0)::bigint) AS content_rejected_messages_30d,
    COALESCE(h.other_30d, (0)::bigint) AS other_messages_30d,
    ( SELECT count(*) AS count
           FROM campaign_accounts s
          WHERE ((s.workspace_id = a.workspace_id) AND (s.account_id = a.account_id) AND (NOT s.removed))) AS campaigns,
    a.daily_limit,
    a.time_zone,
    a.created_at AS create_time,
    a.updated_at AS update_time
   FROM ((workspaces w
     JOIN accounts a USING (workspace_id))
     LEFT JOIN LATERAL ( SELECT (sum(d.delivered))::bigint AS delivered,
            (sum(d.failed))::bigint AS failed,
            (sum(d.bounced))::bigint AS bounced,
            (sum(d.account_issue))::bigint AS account_issue,
            (sum(d.invalid_lead))::bigint AS invalid_lead,
            (sum(d.rate_limited))::bigint AS rate_limited,
            (sum(d.content_rejected))::bigint AS content_rejected,
            (sum(d.other))::bigint AS other,
            (sum(d.delivered) FILTER (WHERE d.is_recent))::bigint AS delivered_30d,
            (sum(d.failed) FILTER (WHERE d.is_recent))::bigint AS failed_30d,
            (sum(d.bounced) FILTER (WHERE d.is_recent))::bigint AS bounced_30d,
            (sum(d.account_issue) FILTER (WHERE d.is_recent))::bigint AS account_issue_30d,
            (sum(d.invalid_lead) FILTER (WHERE d.is_recent))::bigint AS invalid_lead_30d,
            (sum(d.rate_limited) FILTER (WHERE d.is_recent))::bigint AS rate_limited_30d,
            (sum(d.content_rejected) FILTER (WHERE d.is_recent))::bigint AS content_rejected_30d,
            (sum(d.other) FILTER (WHERE d.is_recent))::bigint AS other_30d
           FROM ( SELECT (h_1.day > (utc_day(now()) - 30)) AS is_recent,
                    h_1.delivered,
                    ((((h_1.failed_account_issue + h_1.failed_invalid_lead) + h_1.failed_rate_limited) + h_1.failed_content_rejected) + h_1.failed_other) AS failed,
                    ((((h_1.bounced_account_issue + h_1.bounced_invalid_lead) + h_1.bounced_rate_limited) + h_1.bounced_content_rejected) + h_1.bounced_other) AS bounced,
                    (h_1.failed_account_issue + h_1.bounced_account_issue) AS account_issue,
                    (h_1.failed_invalid_lead + h_1.bounced_invalid_lead) AS invalid_lead,
                    (h_1.failed_rate_limited + h_1.bounced_rate_limited) AS rate_limited,
                    (h_1.failed_content_rejected + h_1.bounced_content_rejected) AS content_rejected,
                    (h_1.failed_other + h_1.bounced_other) AS other
                   FROM account_messages h_1
                  WHERE ((h_1.workspace_id = a.workspace_id) AND (h_1.account_id = a.account_id))) d) h ON (true));

COMMENT ON VIEW reporting.accounts IS 'One row for each sending account: its settings, and its messages over all campaigns, deleted ones included. No lead is read.';

COMMENT ON COLUMN reporting.accounts.workspace IS 'Id of the workspace.';

COMMENT ON COLUMN reporting.accounts.account IS 'Id of the account within its workspace.';

COMMENT ON COLUMN reporting.accounts.display_name IS 'Text for people; empty for none.';

COMMENT ON COLUMN reporting.accounts.state IS 'State: active or suspended.';

COMMENT ON COLUMN reporting.accounts.messages IS 'Messages since its creation: delivered_messages + failed_messages + bounced_messages. Success rate = delivered_messages / messages.';

COMMENT ON COLUMN reporting.accounts.delivered_messages IS 'Messages whose result is delivered since its creation.';

COMMENT ON COLUMN reporting.accounts.failed_messages IS 'Messages whose result is failed since its creation.';

COMMENT ON COLUMN reporting.accounts.bounced_messages IS 'Messages whose result is bounced since its creation.';

COMMENT ON COLUMN reporting.accounts.account_issue_messages IS 'Failed and bounced messages with the reason account issue since its creation.';

COMMENT ON COLUMN reporting.accounts.invalid_lead_messages IS 'Failed and bounced messages with the reason invalid lead since its creation.';

COMMENT ON COLUMN reporting.accounts.rate_limited_messages IS 'Failed and bounced messages with the reason rate limited since its creation.';

COMMENT ON COLUMN reporting.accounts.content_rejected_messages IS 'Failed and bounced messages with the reason content rejected since its creation.';

COMMENT ON COLUMN reporting.accounts.other_messages IS 'Failed and bounced messages with the reason other since its creation.';

COMMENT ON COLUMN reporting.accounts.messages_30d IS 'Messages in the last 30 UTC days, today included: delivered_messages_30d + failed_messages_30d + bounced_messages_30d. Success rate = delivered_messages_30d / messages_30d.';

COMMENT ON COLUMN reporting.accounts.delivered_messages_30d IS 'Messages whose result is delivered in the last 30 UTC days, today included.';

COMMENT ON COLUMN reporting.accounts.failed_messages_30d IS 'Messages whose result is failed in the last 30 UTC days, today included.';

COMMENT ON COLUMN reporting.accounts.bounced_messages_30d IS 'Messages whose result is bounced in the last 30 UTC days, today included.';

COMMENT ON COLUMN reporting.accounts.account_issue_messages_30d IS 'Failed and bounced messages with the reason account issue in the last 30 UTC days, today included.';

COMMENT ON COLUMN reporting.accounts.invalid_lead_messages_30d IS 'Failed and bounced messages with the reason invalid lead in the last 30 UTC days, today included.';

COMMENT ON COLUMN reporting.accounts.rate_limited_messages_30d IS 'Failed and bounced messages with the reason rate limited in the last 30 UTC days, today included.';

COMMENT ON COLUMN reporting.accounts.content_rejected_messages_30d IS 'Failed and bounced messages with the reason content rejected in the last 30 UTC days, today included.';

COMMENT ON COLUMN reporting.accounts.other_messages_30d IS 'Failed and bounced messages with the reason other in the last 30 UTC days, today included.';

COMMENT ON COLUMN reporting.accounts.campaigns IS 'Campaigns that it serves.';

COMMENT ON COLUMN reporting.accounts.daily_limit IS 'Most messages in a day of its time zone; 0 sends nothing, null is no limit.';

COMMENT ON COLUMN reporting.accounts.time_zone IS 'IANA time zone in which its days begin.';

COMMENT ON COLUMN reporting.accounts.create_time IS 'When it was created.';

COMMENT ON COLUMN reporting.accounts.update_time IS 'When its settings or state last changed.';

CREATE VIEW reporting.campaigns AS
 SELECT w.name AS workspace,
    c.name AS campaign,
    c.display_name,
        CASE c.state
            WHEN campaign_active() THEN 'active'::text
            WHEN campaign_paused() THEN 'paused'::text
            WHEN campaign_finished() THEN 'finished'::text
            ELSE NULL::text
        END AS state,
    k.total AS total_leads,
    k.sent AS sent_leads,
    k.failed AS failed_leads,
    k.pending AS pending_leads,
    k.partial AS partial_leads,
    ((k.delivered_messages + k.failed_messages) + k.bounced_messages) AS messages,
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
    ((k.conversion_value_micros)::numeric / 1000000.0) AS conversion_value,
    (COALESCE(( SELECT g.granted
           FROM campaign_claims g
          WHERE ((g.workspace_id = c.workspace_id) AND (g.campaign_id = c.campaign_id))
          ORDER BY g.epoch DESC
         LIMIT 1), (0)::bigint) - k.closed_claims) AS open_claims,
    (c.steps)::integer AS steps,
    c.lead_list_complete,
    c.daily_limit,
    c.time_zone,
        CASE c.finish_reason
            WHEN finish_completed() THEN 'completed'::text
            WHEN finish_requested() THEN 'requested'::text
            ELSE NULL::text
        END AS finish_reason,
    c.owner_resource AS managed_by,
    c.created_at AS create_time,
    c.updated_at AS update_time,
    c.finished_at AS finish_time,
    c.finalized_at AS finalized_time,
    ( SELECT g.last_grant_at
           FROM campaign_claims g
          WHERE ((g.workspace_id = c.workspace_id) AND (g.campaign_id = c.campaign_id))
          ORDER BY g.epoch DESC
         LIMIT 1) AS last_grant_time,
    k.last_outcome_at AS last_outcome_time
   FROM ((workspaces w
     JOIN campaigns c USING (workspace_id))
     CROSS JOIN LATERAL ( SELECT k_1.total,
            k_1.sent,
            k_1.failed,
            k_1.pending,
            k_1.partial,
            k_1.delivered_messages,
            k_1.failed_messages,
            k_1.bounced_messages,
            k_1.account_issue,
            k_1.invalid_lead,
            k_1.rate_limited,
            k_1.content_rejected,
            k_1.other_reason,
            k_1.contacted,
            k_1.contacted_replied,
            k_1.contacted_converted,
            k_1.auto_replied,
            k_1.opted_out,
            k_1.conversion_value_micros,
            k_1.closed_claims,
            k_1.last_outcome_at
           FROM campaign_counters k_1
          WHERE ((k_1.workspace_id = c.workspace_id) AND (k_1.campaign_id = c.campaign_id))
          ORDER BY k_1.epoch DESC
         LIMIT 1) k);

COMMENT ON VIEW reporting.campaigns IS 'One row for each campaign: its settings and all of its counts. No lead is read. A rate is the quotient of two columns, as their comments say; add the columns up before you divide.';

COMMENT ON COLUMN reporting.campaigns.workspace IS 'Id of the workspace.';

COMMENT ON COLUMN reporting.campaigns.campaign IS 'Id of the campaign within its workspace.';

COMMENT ON COLUMN reporting.campaigns.display_name IS 'Text for people; empty for none.';

COMMENT ON COLUMN reporting.campaigns.state IS 'State: active, paused or finished.';

COMMENT ON COLUMN reporting.campaigns.total_leads IS 'Leads: sent_leads + failed_leads + pending_leads + partial_leads. Progress = (sent_leads + failed_leads) / total_leads.';

COMMENT ON COLUMN reporting.campaigns.sent_leads IS 'Leads with status sent: every step was delivered, or the lead replied, converted or opted out after a delivery.';

COMMENT ON COLUMN reporting.campaigns.failed_leads IS 'Leads with status failed: a step failed or bounced, or the lead opted out before any delivery.';

COMMENT ON COLUMN reporting.campaigns.pending_leads IS 'Leads with status pending: nothing was delivered yet.';

COMMENT ON COLUMN reporting.campaigns.partial_leads IS 'Leads with status partial: at least one step was delivered, follow-ups remain.';

COMMENT ON COLUMN reporting.campaigns.messages IS 'Messages, each under its result: delivered_messages + failed_messages + bounced_messages. Delivery rate = delivered_messages / messages.';

COMMENT ON COLUMN reporting.campaigns.delivered_messages IS 'Messages whose result is delivered.';

COMMENT ON COLUMN reporting.campaigns.failed_messages IS 'Messages whose result is failed.';

COMMENT ON COLUMN reporting.campaigns.bounced_messages IS 'Messages whose result is bounced.';

COMMENT ON COLUMN reporting.campaigns.account_issue_messages IS 'Failed and bounced messages with the reason account issue.';

COMMENT ON COLUMN reporting.campaigns.invalid_lead_messages IS 'Failed and bounced messages with the reason invalid lead.';

COMMENT ON COLUMN reporting.campaigns.rate_limited_messages IS 'Failed and bounced messages with the reason rate limited.';

COMMENT ON COLUMN reporting.campaigns.content_rejected_messages IS 'Failed and bounced messages with the reason content rejected.';

COMMENT ON COLUMN reporting.campaigns.other_messages IS 'Failed and bounced messages with the reason other.';

COMMENT ON COLUMN reporting.campaigns.contacted_leads IS 'Leads with a delivered message.';

COMMENT ON COLUMN reporting.campaigns.replied_leads IS 'Leads with a delivered message that replied. Response rate = replied_leads / contacted_leads.';

COMMENT ON COLUMN reporting.campaigns.converted_leads IS 'Leads with a delivered message that converted. Conversion rate = converted_leads / contacted_leads.';

COMMENT ON COLUMN reporting.campaigns.auto_replied_leads IS 'Leads with an automatic reply.';

COMMENT ON COLUMN reporting.campaigns.opted_out_leads IS 'Leads that opted out.';

COMMENT ON COLUMN reporting.campaigns.conversion_value IS 'Total value of the conversions, in the unit of those who report them.';

COMMENT ON COLUMN reporting.campaigns.open_claims IS 'Claims that are held or uncertain.';

COMMENT ON COLUMN reporting.campaigns.steps IS 'Messages to each lead, 1 to 16.';

COMMENT ON COLUMN reporting.campaigns.lead_list_complete IS 'No more leads will be added, so the campaign can finish by itself.';

COMMENT ON COLUMN reporting.campaigns.daily_limit IS 'Most messages in a day of its time zone; 0 sends nothing, null is no limit.';

COMMENT ON COLUMN reporting.campaigns.time_zone IS 'IANA time zone of its days and active hours.';

COMMENT ON COLUMN reporting.campaigns.finish_reason IS 'Why it finished: completed or requested; null before.';

COMMENT ON COLUMN reporting.campaigns.managed_by IS 'Kubernetes resource that manages the campaign; null for none.';

COMMENT ON COLUMN reporting.campaigns.create_time IS 'When it was created.';

COMMENT ON COLUMN reporting.campaigns.update_time IS 'When its settings or state last changed.';

COMMENT ON COLUMN reporting.campaigns.finish_time IS 'When it finished; null before.';

COMMENT ON COLUMN reporting.campaigns.finalized_time IS 'When its results became final; null before.';

COMMENT ON COLUMN reporting.campaigns.last_grant_time IS 'When claims were last granted; null before the first grant.';

COMMENT ON COLUMN reporting.campaigns.last_outcome_time IS 'When an outcome that was new was last received; null before the first one.';

CREATE VIEW reporting.history AS
 SELECT w.name AS workspace,
    c.name AS campaign,
    a.name AS account,
    NULLIF(h.day, '-infinity'::date) AS day,
    h.delivered AS delivered_messages,
    ((((h.failed_account_issue + h.failed_invalid_lead) + h.failed_rate_limited) + h.failed_content_rejected) + h.failed_other) AS failed_messages,
    ((((h.bounced_account_issue + h.bounced_invalid_lead) + h.bounced_rate_limited) + h.bounced_content_rejected) + h.bounced_other) AS bounced_messages,
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
    ( SELECT COALESCE(sum(n.n), (0)::bigint) AS "coalesce"
           FROM unnest(h.replied[:2]) n(n)) AS replied_leads_1d,
    ( SELECT COALESCE(sum(n.n), (0)::bigint) AS "coalesce"
           FROM unnest(h.replied[:4]) n(n)) AS replied_leads_3d,
    ( SELECT COALESCE(sum(n.n), (0)::bigint) AS "coalesce"
           FROM unnest(h.replied[:8]) n(n)) AS replied_leads_7d,
    ( SELECT COALESCE(sum(n.n), (0)::bigint) AS "coalesce"
           FROM unnest(h.replied[:15]) n(n)) AS replied_leads_14d,
    ( SELECT COALESCE(sum(n.n), (0)::bigint) AS "coalesce"
           FROM unnest(h.replied[:31]) n(n)) AS replied_leads_30d,
    ( SELECT COALESCE(sum(n.n), (0)::bigint) AS "coalesce"
           FROM unnest(h.converted[:2]) n(n)) AS converted_leads_1d,
    ( SELECT COALESCE(sum(n.n), (0)::bigint) AS "coalesce"
           FROM unnest(h.converted[:4]) n(n)) AS converted_leads_3d,
    ( SELECT COALESCE(sum(n.n), (0)::bigint) AS "coalesce"
           FROM unnest(h.converted[:8]) n(n)) AS converted_leads_7d,
    ( SELECT COALESCE(sum(n.n), (0)::bigint) AS "coalesce"
           FROM unnest(h.converted[:15]) n(n)) AS converted_leads_14d,
    ( SELECT COALESCE(sum(n.n), (0)::bigint) AS "coalesce"
           FROM unnest(h.converted[:31]) n(n)) AS converted_leads_30d
   FROM (((workspaces w
     JOIN campaigns c USING (workspace_id))
     JOIN history h ON (((h.workspace_id = c.workspace_id) AND (h.campaign_id = c.campaign_id))))
     LEFT JOIN accounts a ON (((a.workspace_id = h.workspace_id) AND (a.account_id = h.account_id))))
  WHERE ((h.account_id <> all_accounts()) AND (h.campaign_id <> all_campaigns()) AND (NOT is_empty(h.*)));

COMMENT ON VIEW reporting.history IS 'One row for each campaign, account and UTC day on which something counts. A message counts once, on the day of its result. Sums over rows are sums over messages and leads.';

COMMENT ON COLUMN reporting.history.workspace IS 'Id of the workspace.';

COMMENT ON COLUMN reporting.history.campaign IS 'Id of the campaign within its workspace.';

COMMENT ON COLUMN reporting.history.account IS 'Id of the account; null where none is known, and for one that was deleted.';

COMMENT ON COLUMN reporting.history.day IS 'UTC day; null for corrections of days that the log no longer has.';

COMMENT ON COLUMN reporting.history.delivered_messages IS 'Messages whose result is delivered.';

COMMENT ON COLUMN reporting.history.failed_messages IS 'Messages whose result is failed.';

COMMENT ON COLUMN reporting.history.bounced_messages IS 'Messages whose result is bounced.';

COMMENT ON COLUMN reporting.history.failed_account_issue_messages IS 'Messages that failed with the reason account issue.';

COMMENT ON COLUMN reporting.history.failed_invalid_lead_messages IS 'Messages that failed with the reason invalid lead.';

COMMENT ON COLUMN reporting.history.failed_rate_limited_messages IS 'Messages that failed with the reason rate limited.';

COMMENT ON COLUMN reporting.history.failed_content_rejected_messages IS 'Messages that failed with the reason content rejected.';

COMMENT ON COLUMN reporting.history.failed_other_messages IS 'Messages that failed with the reason other.';

COMMENT ON COLUMN reporting.history.bounced_account_issue_messages IS 'Messages that bounced with the reason account issue.';

COMMENT ON COLUMN reporting.history.bounced_invalid_lead_messages IS 'Messages that bounced with the reason invalid lead.';

COMMENT ON COLUMN reporting.history.bounced_rate_limited_messages IS 'Messages that bounced with the reason rate limited.';

COMMENT ON COLUMN reporting.history.bounced_content_rejected_messages IS 'Messages that bounced with the reason content rejected.';

COMMENT ON COLUMN reporting.history.bounced_other_messages IS 'Messages that bounced with the reason other.';

COMMENT ON COLUMN reporting.history.contacted_leads IS 'Leads whose first contact was on this day, by this account.';

COMMENT ON COLUMN reporting.history.replied_leads_1d IS 'Those of them that replied within 1 day of their first contact.';

COMMENT ON COLUMN reporting.history.replied_leads_3d IS 'Those of them that replied within 3 days of their first contact.';

COMMENT ON COLUMN reporting.history.replied_leads_7d IS 'Those of them that replied within 7 days of their first contact.';

COMMENT ON COLUMN reporting.history.replied_leads_14d IS 'Those of them that replied within 14 days of their first contact.';

COMMENT ON COLUMN reporting.history.replied_leads_30d IS 'Those of them that replied within 30 days of their first contact.';

COMMENT ON COLUMN reporting.history.converted_leads_1d IS 'Those of them that converted within 1 day of their first contact.';

COMMENT ON COLUMN reporting.history.converted_leads_3d IS 'Those of them that converted within 3 days of their first contact.';

COMMENT ON COLUMN reporting.history.converted_leads_7d IS 'Those of them that converted within 7 days of their first contact.';

COMMENT ON COLUMN reporting.history.converted_leads_14d IS 'Those of them that converted within 14 days of their first contact.';

COMMENT ON COLUMN reporting.history.converted_leads_30d IS 'Those of them that converted within 30 days of their first contact.';

CREATE VIEW reporting.leads AS
 SELECT w.name AS workspace,
    c.name AS campaign,
    i.lead_id,
    COALESCE(a.name, ( SELECT s.name
           FROM (claims h
             JOIN accounts s ON (((s.workspace_id = h.workspace_id) AND (s.account_id = h.account_id))))
          WHERE ((h.workspace_id = l.workspace_id) AND (h.campaign_id = l.campaign_id) AND (h.block >= lead_block(l.lead_no)) AND (h.block <= lead_block(l.lead_no)) AND has_lead(h.claimed, l.lead_no) AND (NOT has_result(l.mask, (h.step - 1))))
          ORDER BY h.block
         LIMIT 1)) AS account,
    status_word(lead_status(l.mask, (c.steps)::integer)) AS status,
    ( SELECT (
                CASE
                    WHEN is_message((o."bit")::integer) THEN (('step '::text || ((step_bit_of((o."bit")::integer) + 1))::text) || ' '::text)
                    ELSE ''::text
                END || fact_word((o."bit")::integer))
           FROM outcomes o
          WHERE ((o.workspace_id = l.workspace_id) AND (o.campaign_id = l.campaign_id) AND (o.lead_no = l.lead_no) AND (o.happened_at = l.last_action_at))
          ORDER BY o."bit" DESC
         LIMIT 1) AS last_action,
    l.last_action_at AS last_action_time,
    NULLIF(lead_next_step(l.mask, (c.steps)::integer), 0) AS next_step,
    ( SELECT d.due_at
           FROM ((( SELECT lead_next_step(l.mask, (c.steps)::integer) AS step
                 OFFSET 0) n
             CROSS JOIN unnest(ARRAY[COALESCE(l.account_id, any_account()), any_account()]) t(account_id))
             CROSS JOIN LATERAL ( SELECT r.due_at
                   FROM returns r
                  WHERE ((n.step > 1) AND (r.workspace_id = l.workspace_id) AND (r.campaign_id = l.campaign_id) AND (r.account_id = t.account_id) AND (r.due_at = (((c.follow_up_delay_ms)::double precision * '00:00:00.001'::interval) +
                        CASE
                            WHEN ((l.mask & (fact_mask(forgotten_bit()) - 1)) = fact_mask((n.step - 2))) THEN l.last_action_at
                            ELSE ( SELECT o.happened_at
                               FROM outcomes o
                              WHERE ((o.workspace_id = l.workspace_id) AND (o.campaign_id = l.campaign_id) AND (o.lead_no = l.lead_no) AND (o."bit" = (n.step - 2)))
                             LIMIT 1)
                        END)) AND (r.lead_no = l.lead_no) AND (r.step = n.step))
                 LIMIT 1) d)
          WHERE (NOT (EXISTS ( SELECT
                   FROM claims h
                  WHERE ((h.workspace_id = l.workspace_id) AND (h.campaign_id = l.campaign_id) AND (h.block >= lead_block(l.lead_no)) AND (h.block <= lead_block(l.lead_no)) AND has_lead(h.claimed, l.lead_no) AND (NOT has_result(l.mask, (h.step - 1)))))))
         LIMIT 1) AS next_due_time,
    ( SELECT h.expires_at
           FROM claims h
          WHERE ((h.workspace_id = l.workspace_id) AND (h.campaign_id = l.campaign_id) AND (h.block >= lead_block(l.lead_no)) AND (h.block <= lead_block(l.lead_no)) AND has_lead(h.claimed, l.lead_no) AND (NOT has_result(l.mask, (h.step - 1))))
          ORDER BY h.block
         LIMIT 1) AS claim_expire_time,
    has_fact(l.mask, replied_bit()) AS replied,
    has_fact(l.mask, converted_bit()) AS converted,
    has_fact(l.mask, auto_replied_bit()) AS auto_replied,
    has_fact(l.mask, opted_out_bit()) AS opted_out
   FROM ((((workspaces w
     JOIN campaigns c USING (workspace_id))
     JOIN leads l ON (((l.workspace_id = c.workspace_id) AND (l.campaign_id = c.campaign_id))))
     JOIN lead_ids i ON (((i.workspace_id = l.workspace_id) AND (i.campaign_id = l.campaign_id) AND (i.lead_no = l.lead_no))))
     LEFT JOIN accounts a ON (((a.workspace_id = l.workspace_id) AND (a.account_id = l.account_id))));

COMMENT ON VIEW reporting.leads IS 'One row for each lead that was not forgotten. Always filter by workspace and campaign: there can be millions.';

COMMENT ON COLUMN reporting.leads.workspace IS 'Id of the workspace.';

COMMENT ON COLUMN reporting.leads.campaign IS 'Id of the campaign within its workspace.';

COMMENT ON COLUMN reporting.leads.lead_id IS 'Id of the lead, as callers chose it.';

COMMENT ON COLUMN reporting.leads.account IS 'Id of the account that sends to the lead; null before its first claim, unless the lead was added with one.';

COMMENT ON COLUMN reporting.leads.status IS 'Status: sent, failed, pending or partial, as defined for the counts of campaigns.';

COMMENT ON COLUMN reporting.leads.last_action IS 'What happened last, such as "step 2 delivered" or "replied"; of two at the same time a fact of the lead before one of a message, then the stronger one. Null before the first, and once the log no longer has it. Read from the log for each row.';

COMMENT ON COLUMN reporting.leads.last_action_time IS 'When it happened; null before the first fact.';

COMMENT ON COLUMN reporting.leads.next_step IS 'Number of the step to send next; null if none.';

COMMENT ON COLUMN reporting.leads.next_due_time IS 'When its follow-up is due; null while a claim of it is open, and where the time is not known. Looked up for each row.';

COMMENT ON COLUMN reporting.leads.claim_expire_time IS 'When its open claim expires; the claim is uncertain after that. Null without one. Looked up for each row.';

COMMENT ON COLUMN reporting.leads.replied IS 'It replied.';

COMMENT ON COLUMN reporting.leads.converted IS 'It converted.';

COMMENT ON COLUMN reporting.leads.auto_replied IS 'A machine replied for it.';

COMMENT ON COLUMN reporting.leads.opted_out IS 'It opted out.';

CREATE VIEW reporting.outcomes AS
 SELECT w.name AS workspace,
    c.name AS campaign,
    i.lead_id,
        CASE
            WHEN is_message((o."bit")::integer) THEN (step_bit_of((o."bit")::integer) + 1)
            ELSE NULL::integer
        END AS step,
    fact_word((o."bit")::integer) AS kind,
    reason_word((o.reason)::integer) AS reason,
    a.name AS account,
    o.happened_at AS "time",
    o.received_at AS receive_time,
    o.batch_ordinal AS receive_ordinal,
    o.detail,
        CASE
            WHEN (o."bit" = converted_bit()) THEN ( SELECT ((v.value_micros)::numeric / 1000000.0)
               FROM conversion_values v
              WHERE ((v.workspace_id = o.workspace_id) AND (v.campaign_id = o.campaign_id) AND (v.lead_no = o.lead_no)))
            ELSE NULL::numeric
        END AS conversion_value
   FROM ((((workspaces w
     JOIN campaigns c USING (workspace_id))
     JOIN outcomes o ON (((o.workspace_id = c.workspace_id) AND (o.campaign_id = c.campaign_id))))
     LEFT JOIN lead_ids i ON (((i.workspace_id = o.workspace_id) AND (i.campaign_id = o.campaign_id) AND (i.lead_no = o.lead_no))))
     LEFT JOIN accounts a ON (((a.workspace_id = o.workspace_id) AND (a.account_id = o.account_id))));

COMMENT ON VIEW reporting.outcomes IS 'One row for each fact in the log: what was reported of leads, without repeats. Always filter by workspace and campaign. A filter by receive_time reads only the months that it needs. With --outcome-retention old months are missing.';

COMMENT ON COLUMN reporting.outcomes.workspace IS 'Id of the workspace.';

COMMENT ON COLUMN reporting.outcomes.campaign IS 'Id of the campaign within its workspace.';

COMMENT ON COLUMN reporting.outcomes.lead_id IS 'Id of the lead; null if it was forgotten.';

COMMENT ON COLUMN reporting.outcomes.step IS 'Number of the step; null for a fact about the lead.';

COMMENT ON COLUMN reporting.outcomes.kind IS 'What happened: delivered, failed, bounced, replied, converted, auto_replied or opted_out.';

COMMENT ON COLUMN reporting.outcomes.reason IS 'Why a message failed or bounced: account_issue, invalid_lead, rate_limited, content_rejected or other; null otherwise.';

COMMENT ON COLUMN reporting.outcomes.account IS 'Id of the account of the message; null where none is known.';

COMMENT ON COLUMN reporting.outcomes."time" IS 'When it happened, as reported.';

COMMENT ON COLUMN reporting.outcomes.receive_time IS 'When the service took it in.';

COMMENT ON COLUMN reporting.outcomes.receive_ordinal IS 'Orders facts with the same receive_time.';

COMMENT ON COLUMN reporting.outcomes.detail IS 'Text of the provider; null for none, and once the lead was forgotten.';

COMMENT ON COLUMN reporting.outcomes.conversion_value IS 'What the conversion is worth, in the unit of those who report it; null for other facts and where nobody said so.';

ALTER TABLE ONLY history ATTACH PARTITION history_of_accounts FOR VALUES IN (0);

ALTER TABLE ONLY history ATTACH PARTITION history_of_campaigns DEFAULT;

ALTER TABLE ONLY outcomes ATTACH PARTITION outcomes_default DEFAULT;

ALTER TABLE ONLY account_leads
    ADD CONSTRAINT account_leads_pkey PRIMARY KEY (workspace_id, campaign_id, account_id);

ALTER TABLE ONLY account_reservations
    ADD CONSTRAINT account_reservations_pkey PRIMARY KEY (workspace_id, account_id, day, epoch);

ALTER TABLE ONLY account_totals
    ADD CONSTRAINT account_totals_pkey PRIMARY KEY (workspace_id, account_id);

ALTER TABLE ONLY accounts
    ADD CONSTRAINT accounts_pkey PRIMARY KEY (workspace_id, account_id);

ALTER TABLE ONLY accounts
    ADD CONSTRAINT accounts_workspace_id_name_key UNIQUE (workspace_id, name);

ALTER TABLE ONLY campaign_accounts
    ADD CONSTRAINT campaign_accounts_pkey PRIMARY KEY (workspace_id, campaign_id, account_id);

ALTER TABLE ONLY campaign_claims
    ADD CONSTRAINT campaign_claims_pkey PRIMARY KEY (workspace_id, campaign_id, epoch);

ALTER TABLE ONLY campaign_counters
    ADD CONSTRAINT campaign_counters_pkey PRIMARY KEY (workspace_id, campaign_id, epoch);

ALTER TABLE ONLY campaign_reservations
    ADD CONSTRAINT campaign_reservations_pkey PRIMARY KEY (workspace_id, campaign_id, day, epoch);

ALTER TABLE ONLY campaigns
    ADD CONSTRAINT campaigns_pkey PRIMARY KEY (workspace_id, campaign_id);

ALTER TABLE ONLY campaigns
    ADD CONSTRAINT campaigns_workspace_id_name_key UNIQUE (workspace_id, name);

ALTER TABLE ONLY campaigns
    ADD CONSTRAINT campaigns_workspace_id_owner_uid_key UNIQUE (workspace_id, owner_uid);

ALTER TABLE ONLY claims
    ADD CONSTRAINT claims_pkey PRIMARY KEY (workspace_id, campaign_id, block, step, grant_no);

ALTER TABLE ONLY conversion_values
    ADD CONSTRAINT conversion_values_pkey PRIMARY KEY (workspace_id, campaign_id, lead_no);

ALTER TABLE ONLY deleted_campaigns
    ADD CONSTRAINT deleted_campaigns_pkey PRIMARY KEY (workspace_id, campaign_id);

ALTER TABLE ONLY history_closed
    ADD CONSTRAINT history_closed_pkey PRIMARY KEY (workspace_id, campaign_id, account_id, day);

ALTER TABLE ONLY history
    ADD CONSTRAINT history_pkey PRIMARY KEY (workspace_id, campaign_id, account_id, day);

ALTER TABLE ONLY history_of_accounts
    ADD CONSTRAINT history_of_accounts_pkey PRIMARY KEY (workspace_id, campaign_id, account_id, day);

ALTER TABLE ONLY history_of_campaigns
    ADD CONSTRAINT history_of_campaigns_pkey PRIMARY KEY (workspace_id, campaign_id, account_id, day);

ALTER TABLE ONLY kept_reservations
    ADD CONSTRAINT kept_reservations_pkey PRIMARY KEY (workspace_id, campaign_id, lead_no, step, account_id, account_day, campaign_day);

ALTER TABLE ONLY lead_ids
    ADD CONSTRAINT lead_ids_pkey PRIMARY KEY (workspace_id, campaign_id, lead_no);

ALTER TABLE ONLY lead_ids
    ADD CONSTRAINT lead_ids_workspace_id_lead_id_campaign_id_key UNIQUE (workspace_id, lead_id, campaign_id);

ALTER TABLE ONLY leads
    ADD CONSTRAINT leads_pkey PRIMARY KEY (workspace_id, campaign_id, lead_no);

ALTER TABLE ONLY opt_outs
    ADD CONSTRAINT opt_outs_pkey PRIMARY KEY (workspace_id, lead_id);

ALTER TABLE ONLY opt_outs_waiting
    ADD CONSTRAINT opt_outs_waiting_pkey PRIMARY KEY (workspace_id, lead_id);

ALTER TABLE ONLY replicas
    ADD CONSTRAINT replicas_pkey PRIMARY KEY (replica_id);

ALTER TABLE ONLY requests
    ADD CONSTRAINT requests_pkey PRIMARY KEY (workspace_id, request_id);

ALTER TABLE ONLY returns
    ADD CONSTRAINT returns_pkey PRIMARY KEY (workspace_id, campaign_id, account_id, due_at, lead_no, step);

ALTER TABLE ONLY segments
    ADD CONSTRAINT segments_pkey PRIMARY KEY (workspace_id, campaign_id, account_id, lo);

ALTER TABLE ONLY verifications
    ADD CONSTRAINT verifications_pkey PRIMARY KEY (verified_at);

ALTER TABLE ONLY workspaces
    ADD CONSTRAINT workspaces_name_key UNIQUE (name);

ALTER TABLE ONLY workspaces
    ADD CONSTRAINT workspaces_pkey PRIMARY KEY (workspace_id);

CREATE INDEX campaign_accounts_freeing ON campaign_accounts USING btree (workspace_id, campaign_id) WHERE (free_lead IS NOT NULL);

COMMENT ON INDEX campaign_accounts_freeing IS 'Finds accounts that left and whose leads are being freed.';

CREATE INDEX campaign_accounts_serving ON campaign_accounts USING btree (((((workspace_id)::bigint << 32) + account_id)), campaign_id) WHERE ((NOT removed) AND (NOT is_finished));

COMMENT ON INDEX campaign_accounts_serving IS 'Finds the campaigns that an account may claim from.';

CREATE INDEX campaign_accounts_workspace_id_account_id_campaign_id_idx ON campaign_accounts USING btree (workspace_id, account_id, campaign_id);

CREATE INDEX claims_expiry ON claims USING btree (((((workspace_id)::bigint << 32) + campaign_id)), expires_at);

COMMENT ON INDEX claims_expiry IS 'Finds the claims of a campaign by expiry.';

CREATE INDEX claims_inexact ON claims USING btree (expires_at) WHERE (NOT is_exact);

COMMENT ON INDEX claims_inexact IS 'Finds rows that expired and are not exact yet.';

CREATE INDEX claims_of_account ON claims USING btree (((((workspace_id)::bigint << 32) + account_id)), grant_no);

COMMENT ON INDEX claims_of_account IS 'Finds the claims of an account by grant.';

CREATE INDEX history_not_summed ON history_of_accounts USING btree (workspace_id, account_id) WHERE (NOT is_summed);

COMMENT ON INDEX history_not_summed IS 'Finds the days of an account that are not summed.';

CREATE INDEX history_not_summed_by_day ON history_of_accounts USING btree (day) WHERE (NOT is_summed);

COMMENT ON INDEX history_not_summed_by_day IS 'Finds the days of all accounts that are not summed.';

CREATE INDEX outcomes_workspace_id_campaign_id_lead_no_idx ON ONLY outcomes USING btree (workspace_id, campaign_id, lead_no);

CREATE INDEX outcomes_default_workspace_id_campaign_id_lead_no_idx ON outcomes_default USING btree (workspace_id, campaign_id, lead_no);

CREATE INDEX requests_created_at_idx ON requests USING btree (created_at);

ALTER INDEX history_pkey ATTACH PARTITION history_of_accounts_pkey;

ALTER INDEX history_pkey ATTACH PARTITION history_of_campaigns_pkey;

ALTER INDEX outcomes_workspace_id_campaign_id_lead_no_idx ATTACH PARTITION outcomes_default_workspace_id_campaign_id_lead_no_idx;

CREATE TRIGGER history_corrected AFTER UPDATE ON history_of_accounts FOR EACH ROW WHEN ((old.is_summed AND new.is_summed)) EXECUTE FUNCTION account_total_correct();

COMMENT ON TRIGGER history_corrected ON history_of_accounts IS 'A correction of a summed day corrects the total.';

ALTER TABLE ONLY accounts
    ADD CONSTRAINT accounts_workspace_id_fkey FOREIGN KEY (workspace_id) REFERENCES workspaces(workspace_id);

ALTER TABLE ONLY campaign_accounts
    ADD CONSTRAINT campaign_accounts_workspace_id_account_id_fkey FOREIGN KEY (workspace_id, account_id) REFERENCES accounts(workspace_id, account_id);

ALTER TABLE ONLY campaign_accounts
    ADD CONSTRAINT campaign_accounts_workspace_id_campaign_id_fkey FOREIGN KEY (workspace_id, campaign_id) REFERENCES campaigns(workspace_id, campaign_id) ON DELETE CASCADE;

ALTER TABLE ONLY campaign_claims
    ADD CONSTRAINT campaign_claims_workspace_id_campaign_id_fkey FOREIGN KEY (workspace_id, campaign_id) REFERENCES campaigns(workspace_id, campaign_id) ON DELETE CASCADE;

ALTER TABLE ONLY campaign_counters
    ADD CONSTRAINT campaign_counters_workspace_id_campaign_id_fkey FOREIGN KEY (workspace_id, campaign_id) REFERENCES campaigns(workspace_id, campaign_id) ON DELETE CASCADE;

ALTER TABLE ONLY campaigns
    ADD CONSTRAINT campaigns_workspace_id_fkey FOREIGN KEY (workspace_id) REFERENCES workspaces(workspace_id);

ALTER TABLE ONLY opt_outs
    ADD CONSTRAINT opt_outs_workspace_id_fkey FOREIGN KEY (workspace_id) REFERENCES workspaces(workspace_id);
