-- The three roles of a database of Campaign Metrics. An administrator runs this once, connected to that database, before
-- or after the first migration, and again without harm:
--
--   campaign-metrics-service roles | psql -v ON_ERROR_STOP=1 -d campaign_metrics
--
-- | role                    | may                                                          | used by                    |
-- |-------------------------|--------------------------------------------------------------|----------------------------|
-- | campaign_metrics_owner  | everything in this database; owns all of it                  | migrate, pg_dump           |
-- | campaign_metrics_app    | read and write rows, call functions; create and drop nothing | serve, verify              |
-- | campaign_metrics_reader | read the views of the schema `reporting`, and nothing else   | Grafana, analysts          |
--
-- Roles have no password: set one for each with \password, or let them log in by certificate. Their names belong to
-- the whole server: for a second installation on it, replace `campaign_metrics_` by another prefix.

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['campaign_metrics_owner', 'campaign_metrics_app', 'campaign_metrics_reader'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) THEN
            EXECUTE format('CREATE ROLE %I LOGIN', name);
        END IF;
    END LOOP;
    -- An administrator who is no superuser gives away only what a role gets that he is a member of.
    EXECUTE format('GRANT campaign_metrics_owner TO %I', current_user);
    EXECUTE format('ALTER DATABASE %I OWNER TO campaign_metrics_owner', current_database());
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO campaign_metrics_app, campaign_metrics_reader', current_database());
END
$$;

-- What exists, and what later migrations create.
REVOKE ALL ON SCHEMA public FROM PUBLIC;
-- The owner of the database has this already; a copy or a restored database may have another owner.
GRANT USAGE, CREATE ON SCHEMA public TO campaign_metrics_owner;
GRANT USAGE ON SCHEMA public TO campaign_metrics_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO campaign_metrics_app;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO campaign_metrics_app;
ALTER DEFAULT PRIVILEGES FOR ROLE campaign_metrics_owner IN SCHEMA public
    GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO campaign_metrics_app;
ALTER DEFAULT PRIVILEGES FOR ROLE campaign_metrics_owner IN SCHEMA public
    GRANT EXECUTE ON FUNCTIONS TO campaign_metrics_app;

CREATE SCHEMA IF NOT EXISTS reporting AUTHORIZATION campaign_metrics_owner;
GRANT USAGE ON SCHEMA reporting TO campaign_metrics_reader;
GRANT SELECT ON ALL TABLES IN SCHEMA reporting TO campaign_metrics_reader;
ALTER DEFAULT PRIVILEGES FOR ROLE campaign_metrics_owner IN SCHEMA reporting
    GRANT SELECT ON TABLES TO campaign_metrics_reader;

-- The record of migrations is written by migrations alone.
DO $$
BEGIN
    IF to_regclass('public.refinery_schema_history') IS NOT NULL THEN
        REVOKE INSERT, UPDATE, DELETE ON public.refinery_schema_history FROM campaign_metrics_app;
    END IF;
END
$$;

-- The reader finds the views without a prefix. It can't write; a query that was forgotten does not hold up vacuum for long.
ALTER ROLE campaign_metrics_reader SET search_path = reporting;
ALTER ROLE campaign_metrics_reader SET default_transaction_read_only = on;
ALTER ROLE campaign_metrics_reader SET statement_timeout = '1min';
