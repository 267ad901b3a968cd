-- Partitions of the log belong to the role that migrates. The role of the service may not create, alter or drop
-- anything (roles.sql). These two functions do for it what its upkeep needs, with the rights of their owner.
--
-- What they run as their owner must not depend on the caller: names are resolved in a fixed path, with temporary tables
-- last, and a name of a table is never taken from a text.

CREATE FUNCTION log_partition_make(month date) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path TO public, pg_temp AS $$
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
COMMENT ON FUNCTION log_partition_make(date) IS
    'Creates the partition of the log for the UTC month of a day, with the rows of the default partition that belong '
    'to it. Runs with the rights of its owner.';

CREATE FUNCTION log_partition_drop(part regclass) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path TO public, pg_temp AS $$
BEGIN
    IF part = 'outcomes_default'::regclass OR NOT EXISTS (
        SELECT FROM pg_inherits i WHERE i.inhrelid = part AND i.inhparent = 'outcomes'::regclass
    ) THEN
        RAISE insufficient_privilege USING MESSAGE = format('%s is not the partition of a month', part);
    END IF;
    EXECUTE format('DROP TABLE %s', part);
END
$$;
COMMENT ON FUNCTION log_partition_drop(regclass) IS
    'Drops the partition of a month from the log, and refuses to drop anything else. Runs with the rights of its owner.';

-- A function may be called by everybody unless that is taken back. Default privileges (roles.sql) let the service call
-- these.
REVOKE EXECUTE ON FUNCTION log_partition_make(date), log_partition_drop(regclass) FROM PUBLIC;

-- Default privileges let the service write every table, also this one, which only migrations write.
DO $$
DECLARE
    writer oid;
BEGIN
    FOR writer IN
        SELECT DISTINCT e.grantee FROM pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) e
        WHERE c.oid = to_regclass('refinery_schema_history') AND e.grantee NOT IN (c.relowner, 0)
    LOOP
        EXECUTE format('REVOKE INSERT, UPDATE, DELETE ON refinery_schema_history FROM %s', writer::regrole);
    END LOOP;
END
$$;
