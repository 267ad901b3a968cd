-- History in place of account days: that of the campaign whose log was dropped, with replies and conversions, and that of the
-- deleted one.
INSERT INTO history_closed (workspace_id, campaign_id, account_id, day, delivered, failed_account_issue, failed_invalid_lead,
    failed_rate_limited, failed_content_rejected, failed_other, bounced_account_issue, bounced_invalid_lead,
    bounced_rate_limited, bounced_content_rejected, bounced_other, contacted, replied, converted)
SELECT 1, campaign_id, account_id, day, delivered, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, delivered,
    CASE campaign_id WHEN 4 THEN array_fill(0, ARRAY[30]) || 1 END, CASE campaign_id WHEN 4 THEN 1 || array_fill(0, ARRAY[30]) END
FROM (VALUES
    (4, 1, date '2025-11-20', 60), (4, all_accounts(), '2025-11-20', 60), (all_campaigns(), 1, '2025-11-20', 60),
    (5, 1, '2026-01-05', 30), (5, all_accounts(), '2026-01-05', 30), (all_campaigns(), 1, '2026-01-05', 30)
) AS closed (campaign_id, account_id, day, delivered);
INSERT INTO history SELECT h.* FROM workspaces w CROSS JOIN LATERAL history_recount(w.workspace_id) h;
INSERT INTO account_leads (workspace_id, campaign_id, account_id, pending, partial, sent, failed)
SELECT workspace_id, campaign_id, coalesce(account_id, 0), count(*) FILTER (WHERE status = status_pending()),
    count(*) FILTER (WHERE status = status_partial()), count(*) FILTER (WHERE status = status_sent()),
    count(*) FILTER (WHERE status = status_failed())
FROM (
    SELECT l.workspace_id, l.campaign_id, l.account_id, lead_status(l.mask, c.steps::int4) AS status
    FROM leads l JOIN campaigns c USING (workspace_id, campaign_id)
) l GROUP BY 1, 2, 3;
