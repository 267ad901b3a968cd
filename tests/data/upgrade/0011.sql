-- The cluster of an owner, and a hold.
UPDATE campaigns SET owner_cluster = 'cluster-1' WHERE campaign_id = 1;
UPDATE campaigns SET held_at = '2026-03-01Z', hold_reason = 'wrong text', hold_return_state = campaign_active(),
    hold_generation = 2
WHERE campaign_id = 2;
