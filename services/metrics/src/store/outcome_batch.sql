-- One batch of outcomes, at most one for each lead: facts, log, counters, account days and follow-ups in one statement.
-- Returns a row for each outcome: whether it was applied, whether the lead exists, and whether the account-day
-- bookkeeping missed an earlier outcome that is not visible to this statement yet.
WITH event AS MATERIALIZED (
    SELECT *, (bit & 15)::int4 AS step_bit
    FROM unnest($2::int4[], $3::int4[], $4::int4[], $5::timestamptz[], $6::int2[], $7::text[], $8::int4[], $9::int4[],
        $10::int4[], $11::timestamptz[])
        AS event (campaign_id, lead_no, bit, happened_at, reason, detail, claim_account, steps, ordinal, follow_up_at)
), fact AS (
    UPDATE leads l SET
        mask = l.mask | (1::int8 << e.bit),
        failed_reasons = CASE WHEN e.bit BETWEEN 16 AND 31 THEN l.failed_reasons | (e.reason::int8 << (3 * e.step_bit))
            ELSE l.failed_reasons END,
        bounced_reasons = CASE WHEN e.bit BETWEEN 32 AND 47 THEN l.bounced_reasons | (e.reason::int8 << (3 * e.step_bit))
            ELSE l.bounced_reasons END,
        account_id = coalesce(l.account_id, e.claim_account),
        last_action_at = greatest(l.last_action_at, e.happened_at)
    FROM event e
    WHERE l.workspace_id = $1 AND l.campaign_id = e.campaign_id AND l.lead_no = e.lead_no AND l.mask >> e.bit & 1 = 0
    RETURNING e.*, l.mask, l.mask & ~(1::int8 << e.bit) AS old_mask, l.account_id, l.failed_reasons, l.bounced_reasons
), judged AS MATERIALIZED (
    SELECT f.*,
        lead_status(old_mask, steps) AS old_status,
        lead_status(mask, steps) AS status,
        CASE WHEN bit < 48 THEN step_result(old_mask, step_bit) ELSE 0 END AS old_result,
        CASE WHEN bit < 48 THEN step_result(mask, step_bit) ELSE 0 END AS result,
        old_mask & ~(old_mask >> 32) & 65535 <> 0 AS was_contacted,
        mask & ~(mask >> 32) & 65535 <> 0 AS is_contacted
    FROM fact f
), placed AS MATERIALIZED (
    SELECT j.*,
        -- The next stronger and the next weaker fact that the step already had.
        CASE WHEN bit BETWEEN 16 AND 31 AND old_mask >> step_bit & 1 = 1 THEN step_bit
            WHEN bit < 32 AND old_mask >> (step_bit + 32) & 1 = 1 THEN step_bit + 32 END AS stronger_bit,
        CASE WHEN bit BETWEEN 32 AND 47 AND old_mask >> step_bit & 1 = 1 THEN 1
            WHEN (bit < 16 OR bit BETWEEN 32 AND 47) AND old_mask >> (step_bit + 16) & 1 = 1 THEN 2 END AS weaker_result
    FROM judged j
), booked AS MATERIALIZED (
    -- A message belongs to one account: that of its first outcome when there was one, else of its claim, else of its lead.
    SELECT p.*,
        CASE WHEN first.found THEN first.account_id ELSE coalesce(p.claim_account, p.account_id) END AS message_account,
        stronger.happened_at AS stronger_at,
        (old_result <> 0 AND first.found IS NULL) OR (stronger_bit IS NOT NULL AND stronger.happened_at IS NULL) AS missed
    FROM placed p
    LEFT JOIN LATERAL (
        SELECT true AS found, o.account_id FROM outcomes o
        WHERE o.workspace_id = $1 AND o.campaign_id = p.campaign_id AND o.lead_no = p.lead_no
            AND o.bit IN (p.step_bit, p.step_bit + 16, p.step_bit + 32)
        ORDER BY o.received_at, o.batch_ordinal LIMIT 1
    ) first ON p.old_result <> 0
    LEFT JOIN LATERAL (
        SELECT o.happened_at FROM outcomes o
        WHERE o.workspace_id = $1 AND o.campaign_id = p.campaign_id AND o.lead_no = p.lead_no AND o.bit = p.stronger_bit
        LIMIT 1
    ) stronger ON p.stronger_bit IS NOT NULL
), logged AS (
    INSERT INTO outcomes (workspace_id, campaign_id, lead_no, bit, reason, batch_ordinal, account_id, happened_at, received_at, detail)
    SELECT $1, campaign_id, lead_no, bit, reason, ordinal, message_account, happened_at, $12, detail
    FROM booked
), counted AS (
    UPDATE campaign_counters k SET
        pending = k.pending + d.pending, partial = k.partial + d.partial, sent = k.sent + d.sent, failed = k.failed + d.failed,
        delivered_messages = k.delivered_messages + d.delivered_messages,
        failed_messages = k.failed_messages + d.failed_messages,
        bounced_messages = k.bounced_messages + d.bounced_messages,
        account_issue = k.account_issue + d.reason_1, invalid_lead = k.invalid_lead + d.reason_2,
        rate_limited = k.rate_limited + d.reason_3, content_rejected = k.content_rejected + d.reason_4,
        other_reason = k.other_reason + d.reason_5,
        contacted = k.contacted + d.contacted, replied = k.replied + d.replied, converted = k.converted + d.converted,
        contacted_replied = k.contacted_replied + d.contacted_replied,
        contacted_converted = k.contacted_converted + d.contacted_converted,
        auto_replied = k.auto_replied + d.auto_replied, opted_out = k.opted_out + d.opted_out,
        version = k.version + 1
    FROM (
        SELECT campaign_id,
            sum((status = 1)::int4 - (old_status = 1)::int4) AS pending,
            sum((status = 2)::int4 - (old_status = 2)::int4) AS partial,
            sum((status = 3)::int4 - (old_status = 3)::int4) AS sent,
            sum((status = 4)::int4 - (old_status = 4)::int4) AS failed,
            sum((result = 1)::int4 - (old_result = 1)::int4) AS delivered_messages,
            sum((result = 2)::int4 - (old_result = 2)::int4) AS failed_messages,
            sum((result = 3)::int4 - (old_result = 3)::int4) AS bounced_messages,
            sum((new_reason = 1)::int4 - (old_reason = 1)::int4) AS reason_1,
            sum((new_reason = 2)::int4 - (old_reason = 2)::int4) AS reason_2,
            sum((new_reason = 3)::int4 - (old_reason = 3)::int4) AS reason_3,
            sum((new_reason = 4)::int4 - (old_reason = 4)::int4) AS reason_4,
            sum((new_reason = 5)::int4 - (old_reason = 5)::int4) AS reason_5,
            sum(is_contacted::int4 - was_contacted::int4) AS contacted,
            sum((bit = 48)::int4) AS replied,
            sum((bit = 49)::int4) AS converted,
            sum((bit = 50)::int4) AS auto_replied,
            sum((bit = 51)::int4) AS opted_out,
            sum((is_contacted AND mask >> 48 & 1 = 1)::int4 - (was_contacted AND old_mask >> 48 & 1 = 1)::int4) AS contacted_replied,
            sum((is_contacted AND mask >> 49 & 1 = 1)::int4 - (was_contacted AND old_mask >> 49 & 1 = 1)::int4) AS contacted_converted
        FROM (
            -- Both reasons of a step are kept on the lead; its result says which one counts.
            SELECT j.*,
                CASE result WHEN 2 THEN failed_reasons >> (3 * step_bit) & 7 WHEN 3 THEN bounced_reasons >> (3 * step_bit) & 7 ELSE 0 END
                    AS new_reason,
                CASE old_result WHEN 2 THEN failed_reasons >> (3 * step_bit) & 7 WHEN 3 THEN bounced_reasons >> (3 * step_bit) & 7 ELSE 0 END
                    AS old_reason
            FROM judged j
        ) j
        GROUP BY campaign_id
    ) d
    WHERE k.workspace_id = $1 AND k.campaign_id = d.campaign_id
), days AS (
    INSERT INTO account_days AS a
        (workspace_id, account_id, day, delivered, failed, bounced, superseded_delivered, superseded_failed)
    SELECT $1, message_account, day, sum(delivered), sum(failed), sum(bounced), sum(superseded_delivered), sum(superseded_failed)
    FROM (
        SELECT message_account, (happened_at AT TIME ZONE 'UTC')::date AS day,
            (bit < 16)::int4 AS delivered, (bit BETWEEN 16 AND 31)::int4 AS failed, (bit BETWEEN 32 AND 47)::int4 AS bounced,
            -- It supersedes the next weaker fact on its own day.
            (weaker_result IS NOT DISTINCT FROM 1)::int4 AS superseded_delivered,
            (weaker_result IS NOT DISTINCT FROM 2)::int4 AS superseded_failed
        FROM booked WHERE bit < 48
        UNION ALL
        -- It comes late: the next stronger fact supersedes it, no longer the next weaker one, on the stronger one's day.
        SELECT message_account, (coalesce(stronger_at, happened_at) AT TIME ZONE 'UTC')::date, 0, 0, 0,
            (bit < 16)::int4 - (weaker_result IS NOT DISTINCT FROM 1)::int4,
            (bit BETWEEN 16 AND 31)::int4 - (weaker_result IS NOT DISTINCT FROM 2)::int4
        FROM booked
        WHERE stronger_bit IS NOT NULL
    ) d
    WHERE message_account IS NOT NULL
    GROUP BY message_account, day
    ORDER BY message_account, day
    ON CONFLICT (workspace_id, account_id, day) DO UPDATE SET
        delivered = a.delivered + excluded.delivered, failed = a.failed + excluded.failed, bounced = a.bounced + excluded.bounced,
        superseded_delivered = a.superseded_delivered + excluded.superseded_delivered,
        superseded_failed = a.superseded_failed + excluded.superseded_failed
), due AS (
    -- Whenever the next step changes: by the delivery before it, or because a delivery supersedes the failure that had
    -- ended the lead. Then the delivery that counts came earlier, and its time does.
    INSERT INTO returns (workspace_id, campaign_id, account_id, due_at, lead_no, step)
    SELECT $1, campaign_id, coalesce(account_id, 0),
        coalesce(
            (SELECT o.happened_at + (n.follow_up_at - n.happened_at) FROM outcomes o
                WHERE o.workspace_id = $1 AND o.campaign_id = n.campaign_id AND o.lead_no = n.lead_no
                    AND o.bit = n.next_step - 2 AND n.next_step <> n.step_bit + 2
                LIMIT 1),
            follow_up_at),
        lead_no, next_step
    FROM (SELECT *, lead_next_step(mask, steps) AS next_step FROM judged) n
    WHERE bit < 16 AND next_step > 1 AND next_step <> lead_next_step(old_mask, steps)
    ON CONFLICT DO NOTHING
)
SELECT e.ordinal, e.campaign_id, e.happened_at, b.ordinal IS NOT NULL AS applied, coalesce(b.missed, false) AS missed,
    b.ordinal IS NOT NULL OR EXISTS (
        SELECT FROM leads l WHERE l.workspace_id = $1 AND l.campaign_id = e.campaign_id AND l.lead_no = e.lead_no
    ) AS known,
    -- A message without claim: it counts against the limits of its day.
    coalesce(b.bit < 48 AND b.old_result = 0 AND e.claim_account IS NULL, false) AS unclaimed,
    b.message_account
FROM event e LEFT JOIN booked b USING (ordinal)
