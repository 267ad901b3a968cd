-- Times of the last grant and of the last outcome.
UPDATE campaign_claims SET last_grant_at = '2026-03-02 09:55Z' WHERE campaign_id = 1;
UPDATE campaign_counters SET last_outcome_at = '2026-03-02 09:01Z' WHERE campaign_id = 1;
