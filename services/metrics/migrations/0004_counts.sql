-- Counts of campaigns, reservations of daily limits, and account days. Each is a function of facts and claims and
-- changes in the transaction of the fact or claim. `verify` recounts all but reservations: a closed claim leaves no row
-- to recount from.
--
-- Epochs: a row that every claim or batch changes has an `epoch` in its key, which grows by 1 about every hundredth
-- change. While an old snapshot is open (a backup, a long report), dead versions of the row can not be removed, and a
-- look-up by a fixed key walks over all of them. A backward index scan meets the versions of the latest epoch first and
-- stops before those of earlier ones. An update says `epoch >= (the latest)`, so that after a wait for the row lock it
-- also finds a row that has moved on.

CREATE TABLE campaign_counters (
    workspace_id int4 NOT NULL,
    campaign_id int4 NOT NULL,
    epoch int4 NOT NULL DEFAULT 0,
    version int8 NOT NULL DEFAULT 1,
    next_lead_no int4 NOT NULL DEFAULT 1,
    total int8 NOT NULL DEFAULT 0,
    pending int8 NOT NULL DEFAULT 0,
    partial int8 NOT NULL DEFAULT 0,
    sent int8 NOT NULL DEFAULT 0,
    failed int8 NOT NULL DEFAULT 0,
    delivered_messages int8 NOT NULL DEFAULT 0,
    failed_messages int8 NOT NULL DEFAULT 0,
    bounced_messages int8 NOT NULL DEFAULT 0,
    account_issue int8 NOT NULL DEFAULT 0,
    invalid_lead int8 NOT NULL DEFAULT 0,
    rate_limited int8 NOT NULL DEFAULT 0,
    content_rejected int8 NOT NULL DEFAULT 0,
    other_reason int8 NOT NULL DEFAULT 0,
    contacted int8 NOT NULL DEFAULT 0,
    replied int8 NOT NULL DEFAULT 0,
    converted int8 NOT NULL DEFAULT 0,
    contacted_replied int8 NOT NULL DEFAULT 0,
    contacted_converted int8 NOT NULL DEFAULT 0,
    auto_replied int8 NOT NULL DEFAULT 0,
    opted_out int8 NOT NULL DEFAULT 0,
    conversion_value_micros int8 NOT NULL DEFAULT 0,
    closed_claims int8 NOT NULL DEFAULT 0,
    PRIMARY KEY (workspace_id, campaign_id, epoch),
    FOREIGN KEY (workspace_id, campaign_id) REFERENCES campaigns ON DELETE CASCADE,
    -- The invariant of the product, kept by the database itself. There is no check of signs: Postgres checks an update
    -- first against the version its snapshot saw, where a decrement can be negative that is not on the version it then
    -- waits for.
    CHECK (pending + partial + sent + failed = total)
) WITH (
    fillfactor = 20,
    -- Few rows, many dead versions: vacuum as soon as a page of them is dead, without pauses.
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0
);
COMMENT ON TABLE campaign_counters IS
    'Every count of a campaign, in one row: the transaction that handles the last lead sees the whole count.';
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
COMMENT ON COLUMN campaign_counters.closed_claims IS
    'Claims ever closed: by an outcome, a release, a retry, a resolution or a removal.';

CREATE TYPE counter_changes AS (
    workspace_id int4, campaign_id int4,
    pending int8, partial int8, sent int8, failed int8,
    delivered_messages int8, failed_messages int8, bounced_messages int8,
    account_issue int8, invalid_lead int8, rate_limited int8, content_rejected int8, other_reason int8,
    contacted int8, replied int8, converted int8, auto_replied int8, opted_out int8,
    contacted_replied int8, contacted_converted int8,
    conversion_value_micros int8, closed_claims int8
);
COMMENT ON TYPE counter_changes IS
    'What a batch adds to the counters of one campaign. Running replicas cast rows to it by position: a count more '
    'needs a new type.';

CREATE FUNCTION counters_add(d counter_changes) RETURNS bool LANGUAGE plpgsql AS $$
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
        conversion_value_micros = k.conversion_value_micros + d.conversion_value_micros,
        closed_claims = k.closed_claims + d.closed_claims,
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
COMMENT ON FUNCTION counters_add(counter_changes) IS
    'Adds the changes of a batch to the counters of a campaign; returns whether no lead is pending or partial any '
    'more. A function, because batches of one campaign wait for each other here. A statement that finds a row changed '
    'after a wait sets all of itself up again, which takes a millisecond for the statement of a batch. This one is '
    'small.';

CREATE TABLE campaign_claims (
    workspace_id int4 NOT NULL,
    campaign_id int4 NOT NULL,
    epoch int4 NOT NULL DEFAULT 0,
    granted int8 NOT NULL DEFAULT 0,
    PRIMARY KEY (workspace_id, campaign_id, epoch),
    FOREIGN KEY (workspace_id, campaign_id) REFERENCES campaigns ON DELETE CASCADE
) WITH (
    fillfactor = 20,
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0
);
COMMENT ON TABLE campaign_claims IS
    'Claims ever granted of a campaign. Open claims (held or uncertain) = granted - campaign_counters.closed_claims. '
    'Grants and outcomes each change their own number, so they do not wait for each other. Changed under the row lock '
    'of the campaign.';
COMMENT ON COLUMN campaign_claims.workspace_id IS 'Workspace of the campaign.';
COMMENT ON COLUMN campaign_claims.campaign_id IS 'The campaign.';
COMMENT ON COLUMN campaign_claims.epoch IS 'Grows about every hundredth change; see "Epochs" in the migration.';
COMMENT ON COLUMN campaign_claims.granted IS 'Claims ever granted.';

CREATE TABLE account_reservations (
    workspace_id int4 NOT NULL,
    account_id int4 NOT NULL,
    day date NOT NULL,
    epoch int4 NOT NULL DEFAULT -1,
    reserved int8 NOT NULL,
    PRIMARY KEY (workspace_id, account_id, day, epoch)
) WITH (
    fillfactor = 20,
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0
);
COMMENT ON TABLE account_reservations IS
    'Messages counted against the daily limit of an account: the sum of the row of claims (latest epoch) and of the '
    'row at epoch -1.';
COMMENT ON COLUMN account_reservations.workspace_id IS 'Workspace of the account.';
COMMENT ON COLUMN account_reservations.account_id IS 'The account.';
COMMENT ON COLUMN account_reservations.day IS 'Local day in the time zone of the account.';
COMMENT ON COLUMN account_reservations.epoch IS
    '-1: messages reported without a claim. Reports hold no lock of account or campaign, so that row keeps its epoch. '
    'From 0 on: what claims reserved, changed under that lock; see "Epochs" in the migration.';
COMMENT ON COLUMN account_reservations.reserved IS 'Messages.';

CREATE TABLE campaign_reservations (
    workspace_id int4 NOT NULL,
    campaign_id int4 NOT NULL,
    day date NOT NULL,
    epoch int4 NOT NULL DEFAULT -1,
    reserved int8 NOT NULL,
    PRIMARY KEY (workspace_id, campaign_id, day, epoch)
) WITH (
    fillfactor = 20,
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0
);
COMMENT ON TABLE campaign_reservations IS
    'Messages counted against the daily limit of a campaign; as account_reservations.';
COMMENT ON COLUMN campaign_reservations.workspace_id IS 'Workspace of the campaign.';
COMMENT ON COLUMN campaign_reservations.campaign_id IS 'The campaign.';
COMMENT ON COLUMN campaign_reservations.day IS 'Local day in the time zone of the campaign.';
COMMENT ON COLUMN campaign_reservations.epoch IS
    '-1: messages reported without a claim. From 0 on: what claims reserved.';
COMMENT ON COLUMN campaign_reservations.reserved IS 'Messages.';

CREATE TABLE account_days (
    workspace_id int4 NOT NULL,
    account_id int4 NOT NULL,
    day date NOT NULL,
    delivered int8 NOT NULL,
    failed int8 NOT NULL,
    bounced int8 NOT NULL,
    PRIMARY KEY (workspace_id, account_id, day)
) WITH (
    fillfactor = 20,
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0
);
COMMENT ON TABLE account_days IS
    'Messages of an account by UTC day. A message counts once, on the day of the fact that is its result. A stronger '
    'fact subtracts it from the day where it counted, or from -infinity where the log no longer has that day. So the '
    'rows do not depend on the order of arrival, and every sum over days counts messages. account_days = '
    'account_days_closed + account_days_of_log.';
COMMENT ON COLUMN account_days.workspace_id IS 'Workspace of the account.';
COMMENT ON COLUMN account_days.account_id IS 'The account.';
COMMENT ON COLUMN account_days.day IS 'UTC day; -infinity for corrections of days that the log no longer has.';
COMMENT ON COLUMN account_days.delivered IS 'Messages whose result is delivered.';
COMMENT ON COLUMN account_days.failed IS 'Messages whose result is failed.';
COMMENT ON COLUMN account_days.bounced IS 'Messages whose result is bounced.';

CREATE TABLE account_days_closed (
    workspace_id int4 NOT NULL,
    account_id int4 NOT NULL,
    day date NOT NULL,
    delivered int8 NOT NULL,
    failed int8 NOT NULL,
    bounced int8 NOT NULL,
    PRIMARY KEY (workspace_id, account_id, day)
);
COMMENT ON TABLE account_days_closed IS
    'The part of account_days that comes from log rows that were removed: with a dropped partition, or with a deleted '
    'campaign. Single numbers can be negative, sums can not.';
COMMENT ON COLUMN account_days_closed.workspace_id IS 'Workspace of the account.';
COMMENT ON COLUMN account_days_closed.account_id IS 'The account.';
COMMENT ON COLUMN account_days_closed.day IS 'UTC day; -infinity as in account_days.';
COMMENT ON COLUMN account_days_closed.delivered IS 'Messages whose result is delivered.';
COMMENT ON COLUMN account_days_closed.failed IS 'Messages whose result is failed.';
COMMENT ON COLUMN account_days_closed.bounced IS 'Messages whose result is bounced.';

-- One pass sorts the log by message and gathers the facts of each. A join that looks for the stronger fact of each
-- superseded one reads the whole log for it once its rows no longer fit in memory.
--
-- Partitions are removed in the order of arrival, so the removed facts of a message came before all that are left. Its
-- result was counted when they were removed. The first stronger fact after that subtracted it again, at -infinity,
-- since its day was not known.
CREATE FUNCTION account_days_of_log(workspace int4, campaign int4, without regclass)
RETURNS TABLE (account_id int4, day date, delivered int8, failed int8, bounced int8)
LANGUAGE sql STABLE AS $$
    WITH message AS (
        SELECT o.account_id, step_bit_of(o.bit) AS step_bit, l.mask, bit_or(fact_mask(o.bit)) AS logged,
            min(o.happened_at) FILTER (WHERE is_delivered(o.bit)) AS delivered_at,
            min(o.happened_at) FILTER (WHERE is_failed(o.bit)) AS failed_at,
            min(o.happened_at) FILTER (WHERE is_bounced(o.bit)) AS bounced_at
        FROM outcomes o
        JOIN leads l ON l.workspace_id = o.workspace_id AND l.campaign_id = o.campaign_id AND l.lead_no = o.lead_no
        WHERE o.workspace_id = workspace AND (campaign IS NULL OR o.campaign_id = campaign) AND is_message(o.bit)
            AND o.account_id IS NOT NULL AND (without IS NULL OR o.tableoid <> without)
            AND NOT EXISTS (SELECT FROM deleted_campaigns d
                WHERE d.workspace_id = o.workspace_id AND d.campaign_id = o.campaign_id AND d.is_closed)
        GROUP BY o.campaign_id, o.lead_no, step_bit_of(o.bit), o.account_id, l.mask
    ), judged AS (
        SELECT account_id, (coalesce(bounced_at, delivered_at, failed_at) AT TIME ZONE 'UTC')::date AS day,
            step_result(logged, step_bit) AS result, step_result(mask & ~logged, step_bit) AS gone_result
        FROM message
        -- Otherwise a removed fact is still the result.
        WHERE step_result(logged, step_bit) = step_result(mask, step_bit)
    ), counted AS (
        SELECT account_id, day, result, 1 AS count FROM judged
        UNION ALL
        SELECT account_id, '-infinity', gone_result, -1 FROM judged WHERE gone_result <> result_none()
    )
    SELECT account_id, day, coalesce(sum(count) FILTER (WHERE result = result_delivered()), 0),
        coalesce(sum(count) FILTER (WHERE result = result_failed()), 0),
        coalesce(sum(count) FILTER (WHERE result = result_bounced()), 0)
    FROM counted GROUP BY account_id, day
$$;
COMMENT ON FUNCTION account_days_of_log(int4, int4, regclass) IS
    'Recounts the account days of a workspace, or of one campaign, from the rows that the log still has. `without` '
    'leaves out the rows of one partition; null leaves out none.';
