-- The days of last year are summed. None of them is a correction.
UPDATE history_of_accounts SET is_summed = true WHERE day > '-infinity' AND day < '2026-01-01';
INSERT INTO account_totals
SELECT workspace_id, account_id, sum(delivered), sum(failed_account_issue), sum(failed_invalid_lead), sum(failed_rate_limited),
    sum(failed_content_rejected), sum(failed_other), sum(bounced_account_issue), sum(bounced_invalid_lead),
    sum(bounced_rate_limited), sum(bounced_content_rejected), sum(bounced_other)
FROM history_of_accounts WHERE is_summed GROUP BY 1, 2;
-- Bob left this campaign, and the leads that follow up are being looked at.
INSERT INTO campaign_accounts (workspace_id, campaign_id, account_id, removed, free_lead, free_due)
VALUES (1, 4, 2, true, 90, '2026-01-01Z');
-- An id of the other workspace opted out, and no lead was told yet.
INSERT INTO opt_outs (workspace_id, lead_id, created_at) VALUES (2, 'other-1', '2026-03-02 09:00Z');
INSERT INTO opt_outs_waiting (workspace_id, lead_id, told_to) VALUES (2, 'other-1', 0);
