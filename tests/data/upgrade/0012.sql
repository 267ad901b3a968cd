-- A replica that was killed long ago.
INSERT INTO replicas (replica_id, schema_version, renewed_at) VALUES (gen_random_uuid(), 12, '2026-03-01Z');
