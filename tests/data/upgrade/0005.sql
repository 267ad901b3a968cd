-- A database with rows of every kind, for the test of upgrades (tests/integration/upgrade.rs). The files of this directory are
-- run in their order on a database with an earlier schema: all up to the number of its newest migration. This one holds what
-- the first schema has that a service could serve, 0005; each later file adds what its migration made possible.
--
-- The test fails if a table, or a column of one, has no value in any row: whoever adds a table adds its rows in a new file.
-- All numbers of leads differ, so that no two counts are the same by chance. It is Monday, 2 March 2026, 10:00 UTC.

INSERT INTO workspaces (name, created_at) VALUES ('acme', '2025-11-01Z'), ('zenith', '2025-11-02Z');

-- Ann may send two more messages today. Bob is suspended. Zenith has an account and a campaign of the same names.
INSERT INTO accounts (workspace_id, account_id, name, uid, display_name, state, daily_limit, time_zone, created_at, updated_at,
    revision)
OVERRIDING SYSTEM VALUE VALUES
    (1, 1, 'ann', gen_random_uuid(), 'Ann', account_active(), 9, 'UTC', '2025-11-01Z', '2025-11-03Z', 3),
    (1, 2, 'bob', gen_random_uuid(), '', account_suspended(), NULL, 'America/New_York', '2025-11-01Z', '2026-02-01Z', 4),
    (1, 3, 'eve', gen_random_uuid(), '', account_active(), NULL, 'Europe/Berlin', '2025-11-01Z', '2025-11-01Z', 1),
    (2, 4, 'ann', gen_random_uuid(), '', account_active(), 0, 'UTC', '2025-11-02Z', '2025-11-02Z', 1);
SELECT setval(pg_get_serial_sequence('accounts', 'account_id'), 4);

-- An active campaign of a resource with a limit and active hours; a paused one that retries; one that completed and is not
-- final yet; one that is final; the other workspace's. Numbers 5 and 6 were deleted.
INSERT INTO campaigns (workspace_id, campaign_id, name, uid, salt, display_name, state, finish_reason, steps,
    follow_up_delay_ms, time_zone, active_windows, daily_limit, claim_expiry_policy, settle_seconds, attribution_days,
    lead_list_complete, created_at, updated_at, finished_at, finalized_at, revision, owner_resource, owner_uid,
    owner_generation, owner_fencing_token)
OVERRIDING SYSTEM VALUE VALUES
    (1, 1, 'spring', gen_random_uuid(), 101, 'Spring', campaign_active(), NULL, 2, 3600000, 'UTC', '{"12345 08:00 18:00"}',
        30, expiry_hold(), 604800, 30, false, '2025-11-01Z', '2026-02-01Z', NULL, NULL, 5, 'sales/spring', 'uid-spring', 3, 0),
    (1, 2, 'autumn', gen_random_uuid(), 102, '', campaign_paused(), NULL, 1, 0, 'Europe/Berlin', '{}',
        NULL, expiry_retry(), 604800, 30, true, '2025-11-01Z', '2026-03-01Z', NULL, NULL, 6, 'sales/autumn', 'uid-autumn', 2, 0),
    (1, 3, 'winter', gen_random_uuid(), 103, '', campaign_finished(), finish_completed(), 1, 0, 'UTC', '{}',
        NULL, expiry_hold(), 604800, 30, true, '2025-11-01Z', '2026-02-27Z', '2026-02-27Z', NULL, 7, NULL, NULL, NULL, NULL),
    (1, 4, 'summer', gen_random_uuid(), 104, '', campaign_finished(), finish_requested(), 1, 0, 'UTC', '{}',
        NULL, expiry_hold(), 86400, 7, false, '2025-11-01Z', '2026-01-10Z', '2026-01-10Z', '2026-01-12Z', 8, NULL, NULL, NULL, NULL),
    (2, 7, 'spring', gen_random_uuid(), 107, '', campaign_active(), NULL, 2, 3600000, 'UTC', '{}',
        NULL, expiry_hold(), 604800, 30, false, '2025-11-02Z', '2025-11-02Z', NULL, NULL, 1, NULL, NULL, NULL, NULL);
SELECT setval(pg_get_serial_sequence('campaigns', 'campaign_id'), 7);

INSERT INTO campaign_accounts (workspace_id, campaign_id, account_id, removed) VALUES
    (1, 1, 1, false), (1, 1, 2, true), (1, 1, 3, false), (1, 2, 3, false), (1, 3, 3, false), (1, 4, 1, false), (2, 7, 4, false);

-- What the log said of number 5 is in the days of accounts. Number 6 still counts by its log.
INSERT INTO deleted_campaigns (workspace_id, campaign_id, deleted_at, is_closed)
VALUES (1, 5, '2026-01-20Z', true), (1, 6, '2026-03-02 09:59Z', false);

-- Leads by kind, with their facts in the order in which they happened, a day apart. The log has them from `logged_from` on.
-- `reason` is that of failures and bounces.
CREATE TEMP TABLE kinds (
    place int4 GENERATED ALWAYS AS IDENTITY, workspace_id int4, campaign_id int4, kind text, leads int4, account_id int4,
    facts int4[], first_at timestamptz, logged_from int4 DEFAULT 1, reason int4
);
INSERT INTO kinds (workspace_id, campaign_id, kind, leads, account_id, facts, first_at) VALUES
    (1, 1, 'done', 11, 1, ARRAY[0, 1], '2026-02-20 09:00Z'),
    (1, 1, 'replied', 7, 1, ARRAY[0, replied_bit()], '2026-02-21 09:00Z'),
    (1, 1, 'followed', 13, 1, ARRAY[0], '2026-02-22 09:00Z'),
    (1, 1, 'failed', 4, 3, ARRAY[16], '2026-02-23 09:00Z'),
    (1, 1, 'bounced', 3, 3, ARRAY[0, 32], '2026-02-24 09:00Z'),
    (1, 1, 'stopped', 2, 1, ARRAY[0, opted_out_bit()], '2026-02-25 09:00Z'),
    (1, 1, 'refused', 26, NULL, ARRAY[opted_out_bit()], '2026-02-26 09:00Z'),
    (1, 1, 'won', 6, 3, ARRAY[0, converted_bit()], '2026-02-27 09:00Z'),
    (1, 1, 'away', 20, 1, ARRAY[0, auto_replied_bit()], '2026-02-28 09:00Z'),
    (1, 1, 'late', 9, 3, ARRAY[16, 0], '2026-03-01 08:00Z'),
    (1, 1, 'early', 1, NULL, ARRAY[replied_bit()], '2026-02-14 09:00Z'),
    (1, 1, 'forgotten', 10, 1, ARRAY[0, 1], '2026-02-15 09:00Z'),
    -- Received in a month without a partition.
    (1, 1, 'orphaned', 12, 2, ARRAY[0], '2025-12-03 09:00Z'),
    (1, 1, 'held', 14, NULL, '{}', NULL),
    (1, 1, 'uncertain', 15, NULL, '{}', NULL),
    (1, 1, 'settled', 16, NULL, '{}', NULL),
    (1, 1, 'released', 17, 3, '{}', NULL),
    (1, 1, 'fresh', 21, NULL, '{}', NULL),
    (1, 1, 'assigned', 19, 1, '{}', NULL),
    (1, 2, 'waiting', 22, NULL, '{}', NULL),
    (1, 2, 'expired', 23, NULL, '{}', NULL),
    (1, 3, 'sold', 24, 3, ARRAY[0], '2026-02-10 09:00Z'),
    (1, 3, 'returned', 25, 3, ARRAY[0, 32], '2026-02-11 09:00Z'),
    (1, 4, 'old', 27, 1, ARRAY[0], '2025-11-20 09:00Z'),
    (1, 4, 'spoiled', 33, 1, ARRAY[0, 32], '2025-11-20 09:00Z'),
    (1, 4, 'open', 29, NULL, '{}', NULL),
    (1, 5, 'erased', 30, 1, ARRAY[0], '2026-01-05 09:00Z'),
    (1, 6, 'going', 31, 1, ARRAY[0], '2026-02-12 09:00Z'),
    (2, 7, 'other', 32, NULL, '{}', NULL),
    (2, 7, 'removable', 34, 4, ARRAY[0], '2026-02-13 09:00Z');
UPDATE kinds SET reason = reason_rate_limited() WHERE kind IN ('failed', 'late');
UPDATE kinds SET reason = reason_invalid_lead() WHERE kind IN ('bounced', 'returned');
UPDATE kinds SET reason = reason_account_issue() WHERE kind = 'spoiled';
-- Partitions with their deliveries were dropped.
UPDATE kinds SET logged_from = 2 WHERE campaign_id = 4;

CREATE TEMP TABLE numbered AS
SELECT k.*, number, (row_number() OVER (PARTITION BY campaign_id ORDER BY place, number))::int4 AS lead_no
FROM kinds k CROSS JOIN LATERAL generate_series(1, k.leads) AS number;

INSERT INTO leads (workspace_id, campaign_id, lead_no, account_id, mask, failed_reasons, bounced_reasons, last_action_at)
SELECT workspace_id, campaign_id, lead_no, account_id,
    coalesce((SELECT bit_or(fact_mask(fact)) FROM unnest(facts) AS fact), 0)
        | CASE WHEN kind = 'forgotten' THEN fact_mask(forgotten_bit()) ELSE 0 END,
    CASE WHEN 16 = ANY (facts) THEN reason_mask(reason, 0) ELSE 0 END,
    CASE WHEN 32 = ANY (facts) THEN reason_mask(reason, 0) ELSE 0 END,
    first_at + (cardinality(facts) - 1) * interval '1 day'
FROM numbered;
INSERT INTO lead_ids (workspace_id, campaign_id, lead_no, lead_id)
SELECT workspace_id, campaign_id, lead_no, format('%s-%s', kind, number) FROM numbered WHERE kind <> 'forgotten';

CREATE TABLE outcomes_2026_02 PARTITION OF outcomes FOR VALUES FROM ('2026-02-01Z') TO ('2026-03-01Z');
CREATE TABLE outcomes_2026_03 PARTITION OF outcomes FOR VALUES FROM ('2026-03-01Z') TO ('2026-04-01Z');
ALTER TABLE outcomes_2026_02 REPLICA IDENTITY FULL;
ALTER TABLE outcomes_2026_03 REPLICA IDENTITY FULL;
INSERT INTO outcomes (workspace_id, campaign_id, lead_no, bit, reason, batch_ordinal, account_id, happened_at, received_at,
    detail)
SELECT workspace_id, campaign_id, lead_no, fact, CASE WHEN is_failed(fact) OR is_bounced(fact) THEN reason END, lead_no,
    CASE WHEN is_message(fact) THEN account_id END, at, at + interval '1 minute',
    CASE WHEN is_failed(fact) OR is_bounced(fact) THEN 'the provider said so' END
FROM numbered CROSS JOIN LATERAL unnest(facts) WITH ORDINALITY AS f (fact, place_of_fact)
CROSS JOIN LATERAL (SELECT first_at + (place_of_fact - 1) * interval '1 day' AS at) t
WHERE place_of_fact >= logged_from;
INSERT INTO conversion_values (workspace_id, campaign_id, lead_no, value_micros)
SELECT workspace_id, campaign_id, lead_no, number * 1000000 FROM numbered WHERE kind = 'won';
INSERT INTO opt_outs (workspace_id, lead_id, created_at)
SELECT 1, format('%s-%s', kind, number), timestamptz '2026-02-26Z' FROM numbered WHERE kind IN ('stopped', 'refused')
UNION ALL SELECT 1, 'nobody', '2026-02-26Z';

-- Claims: held ones, with some that outcomes closed; uncertain ones, not exact yet and exact.
INSERT INTO claims (workspace_id, campaign_id, block, step, grant_no, account_id, claimed, is_exact, expires_at, account_day,
    campaign_day)
SELECT n.workspace_id, n.campaign_id, lead_block(lead_no), 1, g.grant_no, g.account_id, bit_or(lead_bit(lead_no)), g.is_exact,
    g.expires_at, g.day, g.day
FROM numbered n JOIN (VALUES
    ('{held,followed}'::text[], 1001, 1, false, timestamptz '2026-03-02 10:04Z', date '2026-03-02'),
    ('{uncertain,failed}', 1002, 3, false, '2026-03-02 09:59:59Z', '2026-03-02'),
    ('{settled}', 1003, 3, true, '2026-03-01 12:00Z', '2026-03-01'),
    ('{expired}', 1004, 3, false, '2026-03-01 11:00Z', '2026-03-01')
) AS g (kinds, grant_no, account_id, is_exact, expires_at, day) ON n.kind = ANY (g.kinds)
GROUP BY 1, 2, 3, 5, 6, 8, 9, 10;

-- First steps never claimed, and steps that are due: now, later, of a removed account, released, and outdated.
INSERT INTO segments (workspace_id, campaign_id, account_id, lo, hi)
SELECT workspace_id, campaign_id, coalesce(account_id, any_account()), min(lead_no), max(lead_no) + 1 FROM numbered
WHERE kind IN ('fresh', 'assigned', 'waiting', 'open', 'other') GROUP BY 1, 2, 3;
INSERT INTO returns (workspace_id, campaign_id, account_id, due_at, lead_no, step)
SELECT workspace_id, campaign_id, account_id, due_at, lead_no, step FROM numbered JOIN (VALUES
    ('followed', timestamptz '2026-02-22 10:00Z', 2), ('away', '2026-03-03 10:00Z', 2), ('late', '2026-03-03 11:00Z', 2),
    ('orphaned', '2025-12-03 10:00Z', 2), ('released', '2026-03-02 09:50Z', 1), ('done', '2026-02-20 10:00Z', 2),
    ('removable', '2026-03-04 10:00Z', 2)
) AS r (kind, due_at, step) USING (kind);

INSERT INTO campaign_counters (workspace_id, campaign_id, epoch, version, next_lead_no, total, pending, partial, sent, failed,
    delivered_messages, failed_messages, bounced_messages, account_issue, invalid_lead, rate_limited, contacted, replied,
    converted, contacted_replied, contacted_converted, auto_replied, opted_out, conversion_value_micros, closed_claims)
VALUES
    (1, 1, 4, 600, 227, 226, 102, 54, 37, 33, 111, 4, 3, 0, 3, 4, 90, 8, 6, 7, 6, 20, 28, 21000000, 200),
    (1, 2, 0, 9, 46, 45, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 50),
    (1, 3, 1, 140, 50, 49, 0, 0, 24, 25, 24, 0, 25, 0, 25, 0, 24, 0, 0, 0, 0, 0, 0, 0, 60),
    (1, 4, 0, 8, 90, 89, 29, 0, 27, 33, 27, 0, 33, 33, 0, 0, 27, 0, 0, 0, 0, 0, 0, 0, 70),
    (2, 7, 0, 7, 67, 66, 32, 34, 0, 0, 34, 0, 0, 0, 0, 0, 34, 0, 0, 0, 0, 0, 0, 0, 34);
INSERT INTO campaign_claims (workspace_id, campaign_id, epoch, granted)
VALUES (1, 1, 3, 245), (1, 2, 1, 73), (1, 3, 0, 60), (1, 4, 0, 70), (2, 7, 0, 34);
INSERT INTO account_reservations (workspace_id, account_id, day, epoch, reserved)
VALUES (1, 1, '2026-03-02', 2, 5), (1, 1, '2026-03-02', -1, 2), (1, 1, '2026-02-20', 0, 11), (1, 3, '2026-03-02', 1, 8);
INSERT INTO campaign_reservations (workspace_id, campaign_id, day, epoch, reserved)
VALUES (1, 1, '2026-03-02', 2, 13), (1, 1, '2026-03-02', -1, 2), (1, 1, '2026-02-20', 0, 12);

-- Request ids of a claim and of another call.
INSERT INTO requests (workspace_id, request_id, digest, grant_no, created_at) VALUES
    (1, '6a7b0c1d-2e3f-4a5b-8c6d-7e8f90a1b2c3', '\x01', 1001, '2026-03-02 09:59Z'),
    (1, '7b8c1d2e-3f4a-4b6c-9d7e-8f90a1b2c3d4', '\x02', NULL, '2026-03-02 09:58Z');
INSERT INTO verifications (verified_at, differences, repaired) VALUES ('2026-02-01Z', 3, true), ('2026-03-01Z', 2, false);

-- 0006 replaces these tables.
DO $$
BEGIN
    IF to_regclass('account_days') IS NOT NULL THEN
        INSERT INTO account_days_closed (workspace_id, account_id, day, delivered, failed, bounced)
        VALUES (1, 1, '2025-11-20', 60, 0, 0), (1, 1, '2026-01-05', 30, 0, 0);
        INSERT INTO account_days (workspace_id, account_id, day, delivered, failed, bounced)
        SELECT workspace_id, account_id, day, sum(delivered), sum(failed), sum(bounced) FROM (
            SELECT workspace_id, l.* FROM workspaces CROSS JOIN LATERAL account_days_of_log(workspace_id, NULL, NULL) l
            UNION ALL SELECT * FROM account_days_closed
        ) d GROUP BY 1, 2, 3;
    END IF;
END
$$;
DROP TABLE kinds, numbered;
