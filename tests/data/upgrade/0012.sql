-- A replica that was killed long ago.
INSERT INTO replicas (replica_id, schema_version, renewed_at) VALUES (gen_random_uuid(), 12, '2026-03-01Z');
-- Ann claimed after this campaign had finished.
UPDATE campaign_accounts SET is_finished = true WHERE campaign_id = 4;
-- A claim of today that was retried.
INSERT INTO kept_reservations (workspace_id, campaign_id, lead_no, step, account_id, account_day, campaign_day)
VALUES (1, 2, 1, 1, 3, '2026-03-02', '2026-03-02');
