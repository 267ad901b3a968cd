-- History: what happened on each UTC day, by campaign and account. And the leads of each account, by status. Both
-- change in the transaction of the fact and are functions of facts; `verify` recounts them.
--
-- Sums over all accounts of a campaign, and over all campaigns of an account, have rows of their own. So the history of
-- a campaign with a thousand accounts is one row a day, and so is that of an account that serves a hundred campaigns.
-- The history of an account outlives its campaigns. It replaces `account_days`.

CREATE FUNCTION had_account_bit() RETURNS int4 LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN 53;
COMMENT ON FUNCTION had_account_bit() IS
    'The lead had an account before its latest outcome. Not a fact: UPDATE ... RETURNING cannot return old values, so '
    'the statement of a batch leaves this one for itself.';
COMMENT ON COLUMN leads.mask IS
    'Facts, one bit each: proto/lead.rs has the table. Bits of facts are only ever added.';

CREATE FUNCTION all_campaigns() RETURNS int4 LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN 0;
COMMENT ON FUNCTION all_campaigns() IS 'history.campaign_id: the sum over all campaigns of the account.';

CREATE FUNCTION all_accounts() RETURNS int4 LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN -1;
COMMENT ON FUNCTION all_accounts() IS 'history.account_id: the sum over all accounts of the campaign.';

CREATE FUNCTION utc_day(at timestamptz) RETURNS date
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (at AT TIME ZONE 'UTC')::date;
COMMENT ON FUNCTION utc_day(timestamptz) IS 'Returns the UTC day of a time.';

CREATE TABLE history (
    workspace_id int4 NOT NULL,
    campaign_id int4 NOT NULL,
    account_id int4 NOT NULL,
    day date NOT NULL,
    delivered int8 NOT NULL,
    failed_account_issue int8 NOT NULL,
    failed_invalid_lead int8 NOT NULL,
    failed_rate_limited int8 NOT NULL,
    failed_content_rejected int8 NOT NULL,
    failed_other int8 NOT NULL,
    bounced_account_issue int8 NOT NULL,
    bounced_invalid_lead int8 NOT NULL,
    bounced_rate_limited int8 NOT NULL,
    bounced_content_rejected int8 NOT NULL,
    bounced_other int8 NOT NULL,
    contacted int8 NOT NULL,
    replied int4[],
    converted int4[],
    PRIMARY KEY (workspace_id, campaign_id, account_id, day)
) PARTITION BY LIST (campaign_id);
COMMENT ON TABLE history IS
    'Messages of a campaign or account by UTC day, and the leads that they contacted first. A message counts once, on '
    'the day of the fact that is its result. A stronger fact subtracts it from the day where it counted, or from '
    '-infinity where the log no longer has that day. So the rows do not depend on the order of arrival. '
    'history = history_closed + history_of_log.';
COMMENT ON COLUMN history.workspace_id IS 'Workspace of campaign and account.';
COMMENT ON COLUMN history.campaign_id IS 'The campaign, or all_campaigns(), deleted ones included.';
COMMENT ON COLUMN history.account_id IS
    'The account of the messages, or all_accounts(); 0 where none is known. It can be one that was deleted since.';
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
COMMENT ON COLUMN history.replied IS
    'Those of them that replied, by age: element A + 1 counts replies more than A - 1 and at most A days after the '
    'first contact, element 1 those at or before it. 31 elements; null for none.';
COMMENT ON COLUMN history.converted IS 'Those of them that converted, in the same form.';

CREATE TABLE history_of_accounts PARTITION OF history FOR VALUES IN (0) WITH (
    fillfactor = 30,
    -- Few rows of today, many dead versions: vacuum as soon as a page of them is dead, without pauses.
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0
);
COMMENT ON TABLE history_of_accounts IS
    'History of accounts over all campaigns. A table of its own, because every scrape reads all of it.';
CREATE TABLE history_of_campaigns PARTITION OF history DEFAULT WITH (
    fillfactor = 50,
    autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0
);
COMMENT ON TABLE history_of_campaigns IS 'History of campaigns by account.';

CREATE TABLE history_closed (
    LIKE history INCLUDING COMMENTS,
    PRIMARY KEY (workspace_id, campaign_id, account_id, day)
);
COMMENT ON TABLE history_closed IS
    'The part of history that comes from log rows that were removed: with a dropped partition, or with a deleted '
    'campaign. Single numbers can be negative, sums can not.';

CREATE TYPE history_row AS (
    workspace_id int4, campaign_id int4, account_id int4, day date,
    delivered int8, failed_account_issue int8, failed_invalid_lead int8, failed_rate_limited int8,
    failed_content_rejected int8, failed_other int8, bounced_account_issue int8, bounced_invalid_lead int8,
    bounced_rate_limited int8, bounced_content_rejected int8, bounced_other int8, contacted int8,
    replied int4[], converted int4[]
);
COMMENT ON TYPE history_row IS
    'A row that a recount returns. It is not the type of the table, so that a column can be added to the table.';

CREATE FUNCTION contact_age(contacted_at timestamptz, at timestamptz) RETURNS int4
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE
        WHEN at <= contacted_at THEN 0
        WHEN at - contacted_at <= interval '720 hours'
            THEN ceil(extract(epoch FROM at - contacted_at) / 86400)::int4
    END;
COMMENT ON FUNCTION contact_age(timestamptz, timestamptz) IS
    'Returns the age of a reply or conversion in days after the first contact, rounded up: 0 for one at or before it, '
    'null for more than 30 days.';

CREATE FUNCTION ages_count(ages int4[], signs int4[]) RETURNS int4[] LANGUAGE plpgsql IMMUTABLE STRICT AS $$
DECLARE
    counts int4[] := array_fill(0, ARRAY[31]);
BEGIN
    FOR i IN 1 .. cardinality(ages) LOOP
        counts[ages[i] + 1] := counts[ages[i] + 1] + signs[i];
    END LOOP;
    RETURN counts;
END
$$;
COMMENT ON FUNCTION ages_count(int4[], int4[]) IS
    'Adds up signs by age: element A + 1 is the sum of the signs of age A. 31 elements.';

CREATE FUNCTION ages_add(a int4[], b int4[]) RETURNS int4[] LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    IF a IS NULL OR b IS NULL THEN
        RETURN coalesce(a, b);
    END IF;
    RETURN ARRAY(SELECT x + y FROM unnest(a, b) WITH ORDINALITY AS pair (x, y, place) ORDER BY place);
END
$$;
COMMENT ON FUNCTION ages_add(int4[], int4[]) IS 'Adds counts by age; null is none.';

CREATE FUNCTION ages_negate(a int4[]) RETURNS int4[]
    LANGUAGE sql IMMUTABLE STRICT
    RETURN ARRAY(SELECT -x FROM unnest(a) WITH ORDINALITY AS age (x, place) ORDER BY place);
COMMENT ON FUNCTION ages_negate(int4[]) IS 'Changes the signs of counts by age.';

CREATE AGGREGATE ages_sum(int4[]) (SFUNC = ages_add, STYPE = int4[]);
COMMENT ON AGGREGATE ages_sum(int4[]) IS 'Adds up counts by age; null where there are none.';

CREATE FUNCTION failed_messages(h history) RETURNS int8
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN h.failed_account_issue + h.failed_invalid_lead + h.failed_rate_limited + h.failed_content_rejected
        + h.failed_other;
COMMENT ON FUNCTION failed_messages(history) IS 'Returns the messages whose result is failed, whatever the reason.';
CREATE FUNCTION bounced_messages(h history) RETURNS int8
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN h.bounced_account_issue + h.bounced_invalid_lead + h.bounced_rate_limited + h.bounced_content_rejected
        + h.bounced_other;
COMMENT ON FUNCTION bounced_messages(history) IS 'Returns the messages whose result is bounced, whatever the reason.';

CREATE TYPE contact AS (
    contacted_at timestamptz, step_bit int4, account_id int4, replied_at timestamptz, converted_at timestamptz,
    logged int8
);
COMMENT ON TYPE contact IS
    'First contact of a lead: the time, step and account of its earliest delivered message that did not bounce; of '
    'equal times the lowest step. Then when it replied and converted, and all facts that the log has. What the log '
    'does not have is null.';

CREATE FUNCTION lead_contact(workspace int4, campaign int4, lead int4, mask int8) RETURNS contact
LANGUAGE plpgsql STABLE AS $$
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
COMMENT ON FUNCTION lead_contact(int4, int4, int4, int8) IS
    'Reads the first contact of a lead with these facts from the log.';

CREATE FUNCTION contact_facts() RETURNS int8
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN 65535 | fact_mask(replied_bit()) | fact_mask(converted_bit());
COMMENT ON FUNCTION contact_facts() IS
    'Returns the mask of the facts that history counts with the first contact: deliveries, a reply, a conversion.';
CREATE FUNCTION is_contact_logged(mask int8, logged int8) RETURNS bool
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN mask & contact_facts() & ~logged = 0;
COMMENT ON FUNCTION is_contact_logged(int8, int8) IS
    'Whether the log has all facts of a lead that history counts with its first contact. Once it has not, the lead '
    'stays where history counts it: later facts do not move it, and later replies do not count.';

CREATE TABLE account_leads (
    workspace_id int4 NOT NULL,
    campaign_id int4 NOT NULL,
    account_id int4 NOT NULL,
    pending int8 NOT NULL,
    partial int8 NOT NULL,
    sent int8 NOT NULL,
    failed int8 NOT NULL,
    PRIMARY KEY (workspace_id, campaign_id, account_id)
) WITH (
    fillfactor = 20,
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0
);
COMMENT ON TABLE account_leads IS
    'Leads of a campaign by their account (leads.account_id) and status. The sums over accounts are those of '
    'campaign_counters.';
COMMENT ON COLUMN account_leads.workspace_id IS 'Workspace of both.';
COMMENT ON COLUMN account_leads.campaign_id IS 'The campaign.';
COMMENT ON COLUMN account_leads.account_id IS 'The account; 0 for leads without one.';
COMMENT ON COLUMN account_leads.pending IS 'Leads with status pending.';
COMMENT ON COLUMN account_leads.partial IS 'Leads with status partial.';
COMMENT ON COLUMN account_leads.sent IS 'Leads with status sent.';
COMMENT ON COLUMN account_leads.failed IS 'Leads with status failed.';

CREATE FUNCTION account_leads_count(workspace int4, campaign int4, account int4, status int4, leads int8) RETURNS void
    LANGUAGE sql AS $$
    INSERT INTO account_leads AS a (workspace_id, campaign_id, account_id, pending, partial, sent, failed)
    SELECT workspace, campaign, coalesce(account, 0), (status = status_pending())::int4 * leads,
        (status = status_partial())::int4 * leads, (status = status_sent())::int4 * leads,
        (status = status_failed())::int4 * leads
    ON CONFLICT (workspace_id, campaign_id, account_id) DO UPDATE SET
        pending = a.pending + excluded.pending, partial = a.partial + excluded.partial,
        sent = a.sent + excluded.sent, failed = a.failed + excluded.failed
$$;
COMMENT ON FUNCTION account_leads_count(int4, int4, int4, int4, int8) IS
    'Adds leads of one status to an account of a campaign; null is no account. A negative number takes them away.';

-- One pass sorts the log by lead and gathers the facts of each. A join that looks for the stronger fact of each
-- superseded one reads the whole log for it once its rows no longer fit in memory.
--
-- Partitions are removed in the order of arrival, so the removed facts of a message came before all that are left. Its
-- result was counted when they were removed. The first stronger fact after that subtracted it again, at -infinity,
-- since its day was not known. First contacts are counted only where the log still has all of their facts.
CREATE FUNCTION history_of_log(workspace int4, campaign int4, without regclass) RETURNS SETOF history_row
LANGUAGE sql STABLE AS $$
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
COMMENT ON FUNCTION history_of_log(int4, int4, regclass) IS
    'Recounts the history of a workspace, or of one campaign, from the rows that the log still has. `without` leaves '
    'out the rows of one partition; null leaves out none.';

CREATE FUNCTION history_numbers(h history_row) RETURNS int8[]
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN ARRAY[
        h.delivered, h.failed_account_issue, h.failed_invalid_lead, h.failed_rate_limited, h.failed_content_rejected,
        h.failed_other, h.bounced_account_issue, h.bounced_invalid_lead, h.bounced_rate_limited,
        h.bounced_content_rejected, h.bounced_other, h.contacted
    ] || coalesce(h.replied, array_fill(0, ARRAY[31]))::int8[]
        || coalesce(h.converted, array_fill(0, ARRAY[31]))::int8[];
COMMENT ON FUNCTION history_numbers(history_row) IS
    'Returns all numbers of a row in the order of its columns, 31 for each of its arrays.';
CREATE FUNCTION history_numbers(h history) RETURNS int8[]
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN history_numbers(ROW(
        h.workspace_id, h.campaign_id, h.account_id, h.day,
        h.delivered, h.failed_account_issue, h.failed_invalid_lead, h.failed_rate_limited, h.failed_content_rejected,
        h.failed_other, h.bounced_account_issue, h.bounced_invalid_lead, h.bounced_rate_limited,
        h.bounced_content_rejected, h.bounced_other, h.contacted, h.replied, h.converted
    )::history_row);
COMMENT ON FUNCTION history_numbers(history) IS 'Returns all numbers of a row in the same form.';

CREATE FUNCTION is_empty(h history) RETURNS bool
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN
        h.delivered = 0 AND h.failed_account_issue = 0 AND h.failed_invalid_lead = 0 AND h.failed_rate_limited = 0
        AND h.failed_content_rejected = 0 AND h.failed_other = 0 AND h.bounced_account_issue = 0
        AND h.bounced_invalid_lead = 0 AND h.bounced_rate_limited = 0 AND h.bounced_content_rejected = 0
        AND h.bounced_other = 0 AND h.contacted = 0
        AND (h.replied IS NULL OR 0 = ALL (h.replied)) AND (h.converted IS NULL OR 0 = ALL (h.converted));
COMMENT ON FUNCTION is_empty(history) IS
    'Whether all numbers of a row are 0. Such a row remains where corrections took everything away. It is not shown.';

CREATE FUNCTION history_recount(workspace int4) RETURNS SETOF history_row LANGUAGE sql STABLE AS $$
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
COMMENT ON FUNCTION history_recount(int4) IS 'Returns what the history of a workspace should be.';

CREATE FUNCTION history_lost(workspace int4, part regclass) RETURNS SETOF history_row LANGUAGE sql STABLE AS $$
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
COMMENT ON FUNCTION history_lost(int4, regclass) IS
    'Returns what a recount from the log loses with one of its partitions.';

-- What was counted so far. Log rows that are gone have no reasons, so their failures become those of other reasons.
INSERT INTO history_closed
    (workspace_id, campaign_id, account_id, day, delivered, failed_account_issue, failed_invalid_lead,
    failed_rate_limited, failed_content_rejected, failed_other, bounced_account_issue, bounced_invalid_lead,
    bounced_rate_limited, bounced_content_rejected, bounced_other, contacted)
SELECT workspace_id, all_campaigns(), account_id, day, delivered, 0, 0, 0, 0, failed, 0, 0, 0, 0, bounced, 0
FROM account_days_closed;
INSERT INTO history
SELECT h.* FROM workspaces w CROSS JOIN LATERAL history_of_log(w.workspace_id, NULL, NULL) h;
INSERT INTO history AS h SELECT * FROM history_closed
ON CONFLICT (workspace_id, campaign_id, account_id, day) DO UPDATE SET
    delivered = h.delivered + excluded.delivered, failed_other = h.failed_other + excluded.failed_other,
    bounced_other = h.bounced_other + excluded.bounced_other;
INSERT INTO account_leads
SELECT l.workspace_id, l.campaign_id, coalesce(l.account_id, 0), count(*) FILTER (WHERE l.status = status_pending()),
    count(*) FILTER (WHERE l.status = status_partial()), count(*) FILTER (WHERE l.status = status_sent()),
    count(*) FILTER (WHERE l.status = status_failed())
FROM (
    SELECT l.workspace_id, l.campaign_id, l.account_id, lead_status(l.mask, c.steps::int4) AS status
    FROM leads l JOIN campaigns c USING (workspace_id, campaign_id)
) l GROUP BY 1, 2, 3;

DROP FUNCTION account_days_of_log(int4, int4, regclass);
DROP TABLE account_days, account_days_closed;
COMMENT ON COLUMN deleted_campaigns.is_closed IS
    'history_closed has what the log of the campaign says, so a recount leaves that log out.';
