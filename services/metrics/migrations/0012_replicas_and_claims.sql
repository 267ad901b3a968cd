-- Replicas that run; finished campaigns, which cost a claim nothing; sums of conversion values, which can't overflow.

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
