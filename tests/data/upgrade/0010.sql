-- Leads that were removed after their first message.
UPDATE leads SET mask = mask | fact_mask(removed_bit()) | fact_mask(forgotten_bit())
WHERE workspace_id = 2 AND campaign_id = 7 AND account_id = 4;
DELETE FROM lead_ids WHERE workspace_id = 2 AND lead_id LIKE 'removable-%';
UPDATE campaign_counters SET partial = 0, sent = 34 WHERE workspace_id = 2 AND campaign_id = 7;
UPDATE account_leads SET partial = 0, sent = 34 WHERE workspace_id = 2 AND campaign_id = 7 AND account_id = 4;
