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
