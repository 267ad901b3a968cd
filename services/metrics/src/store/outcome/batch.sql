-- One batch of outcomes, at most one for each lead, sorted by lead: claims, facts, log, counters, account days, follow-ups.
--
-- $1 workspaces int4[], $2 campaigns int4[], $3 leads int4[], $4 bits of the facts int4[], $5 times timestamptz[],
-- $6 reasons int2[], $7 details text[], $8 values of conversions in millionths int8[], $9 steps of the campaigns int4[],
-- $10 due times of a follow-up timestamptz[], each with an element for each outcome; $11 time of receipt timestamptz; $12 how many outcomes
-- of the same batch came in earlier statements int4.
--
-- Returns rows for what is not the rule. By place in the arrays, from 1: outcomes that were not applied (known: a
-- duplicate, else there is no such lead), that had no claim, or whose account-day bookkeeping missed earlier facts (their
-- bits): not visible to this statement yet, or gone with their part of the log. Without place: campaigns in which no lead is pending or partial any more.
--
-- FULL joins, because no nested loop can do them: the planner takes the arrays for short.
WITH event AS MATERIALIZED (
    SELECT *, (bit & 15)::int4 AS step_bit, lead_no >> 6 AS block,
        CASE WHEN bit < 48 THEN ((bit & 15) + 1)::int2 END AS step
    FROM unnest($1::int4[], $2::int4[], $3::int4[], $4::int4[], $5::timestamptz[], $6::int2[], $7::text[], $8::int8[],
        $9::int4[], $10::timestamptz[]) WITH ORDINALITY
        AS event (workspace_id, campaign_id, lead_no, bit, happened_at, reason, detail, value_micros, steps, follow_up_at, place)
), block AS MATERIALIZED (
    SELECT workspace_id, campaign_id, block, step, bit_or(1::int8 << (lead_no & 63)) AS bits
    FROM event WHERE bit < 48
    GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
), claim AS MATERIALIZED (
    -- Locked, so that nobody gives them back meanwhile, and not written: see the table `claims`.
    SELECT c.*, b.bits
    FROM block b CROSS JOIN LATERAL (
        SELECT c.*, c AS claim FROM claims c
        WHERE c.workspace_id = b.workspace_id AND c.campaign_id = b.campaign_id AND c.block = b.block AND c.step = b.step
            AND c.held & b.bits <> 0
        FOR NO KEY UPDATE
    ) c
), closed AS MATERIALIZED (
    -- Looks among the leads only where this batch has the last of a row, so that it may be the one that ends it.
    SELECT claim_close(claim, bits) FROM claim
    WHERE held & ~bits = 0 OR is_exact OR (held & bits)::bit(64) > (held & ~bits)::bit(64)
), named AS MATERIALIZED (
    -- A block can be shared by grants, of which at most one has the lead.
    SELECT DISTINCT ON (e.place) e.*, CASE WHEN c.held >> (e.lead_no & 63) & 1 = 1 THEN c.account_id END AS claim_account
    FROM event e FULL JOIN claim c
        ON c.workspace_id = e.workspace_id AND c.campaign_id = e.campaign_id AND c.block = e.block AND c.step = e.step
    -- What nobody reads is not run.
    WHERE (SELECT count(*) FROM closed) >= 0
    ORDER BY e.place, claim_account
), fact AS (
    UPDATE leads l SET
        mask = l.mask | (1::int8 << e.bit),
        failed_reasons = CASE WHEN e.bit BETWEEN 16 AND 31 THEN l.failed_reasons | (e.reason::int8 << (3 * e.step_bit))
            ELSE l.failed_reasons END,
        bounced_reasons = CASE WHEN e.bit BETWEEN 32 AND 47 THEN l.bounced_reasons | (e.reason::int8 << (3 * e.step_bit))
            ELSE l.bounced_reasons END,
        -- By the claim that it closes; one that is closed already may be of an account that left since.
        account_id = coalesce(l.account_id, CASE WHEN step_result(l.mask, e.step_bit) = 0 THEN e.claim_account END),
        last_action_at = greatest(l.last_action_at, e.happened_at)
    FROM named e
    WHERE l.workspace_id = e.workspace_id AND l.campaign_id = e.campaign_id AND l.lead_no = e.lead_no
        AND l.mask >> e.bit & 1 = 0
    RETURNING e.*, l.mask, l.mask & ~(1::int8 << e.bit) AS old_mask, l.account_id, l.failed_reasons, l.bounced_reasons
), judged AS MATERIALIZED (
    SELECT f.*,
        lead_status(old_mask, steps) AS old_status,
        lead_status(mask, steps) AS status,
        CASE WHEN bit < 48 THEN step_result(old_mask, step_bit) ELSE 0 END AS old_result,
        CASE WHEN bit < 48 THEN step_result(mask, step_bit) ELSE 0 END AS result,
        CASE WHEN bit < 16 AND steps > 1 THEN lead_next_step(old_mask, steps) ELSE 0 END AS old_next_step,
        CASE WHEN bit < 16 AND steps > 1 THEN lead_next_step(mask, steps) ELSE 0 END AS next_step,
        old_mask & ~(old_mask >> 32) & 65535 <> 0 AS was_contacted,
        mask & ~(mask >> 32) & 65535 <> 0 AS is_contacted
    FROM fact f
), booked AS MATERIALIZED (
    -- A message belongs to one account: that of its first outcome when there was one, else of its claim, else of its lead.
    SELECT *,
        CASE WHEN first_account IS NULL THEN coalesce(CASE WHEN old_result = 0 THEN claim_account END, account_id)
            ELSE nullif(first_account, 0) END
            AS message_account,
        -- Facts of which the log shows nothing, by their bits.
        CASE WHEN old_result <> 0 AND first_account IS NULL THEN old_mask & (x'000100010001'::int8 << step_bit) ELSE 0 END
            | CASE WHEN old_result_bit IS NOT NULL AND old_result_at IS NULL THEN 1::int8 << old_result_bit ELSE 0 END AS missed
    FROM (
        SELECT *,
            CASE WHEN old_result <> 0 THEN log_message_account(workspace_id, campaign_id, lead_no, step_bit) END AS first_account,
            CASE WHEN old_result_bit IS NOT NULL THEN log_time(workspace_id, campaign_id, lead_no, old_result_bit) END AS old_result_at
        FROM (
            -- The fact that was the step's result, where it no longer is.
            SELECT *,
                CASE WHEN result <> old_result THEN step_bit + CASE old_result WHEN 1 THEN 0 WHEN 2 THEN 16 WHEN 3 THEN 32 END END
                    AS old_result_bit
            FROM judged
        ) j
        -- OFFSET, so that they are looked up once.
        OFFSET 0
    ) p
), logged AS (
    INSERT INTO outcomes (workspace_id, campaign_id, lead_no, bit, reason, batch_ordinal, account_id, happened_at, received_at, detail)
    SELECT workspace_id, campaign_id, lead_no, bit, reason, place + $12::int4, message_account, happened_at, $11,
        -- No text about a lead that was forgotten.
        CASE WHEN mask >> 52 & 1 = 0 THEN detail END
    FROM booked
), valued AS (
    INSERT INTO conversion_values (workspace_id, campaign_id, lead_no, value_micros)
    SELECT workspace_id, campaign_id, lead_no, value_micros FROM judged WHERE bit = 49 AND value_micros IS NOT NULL
), counted AS MATERIALIZED (
    -- Campaign by campaign in their order, so that batches wait for each other in the same one. The columns are those of
    -- counter_changes, in its order.
    SELECT workspace_id, campaign_id, counters_add(d::counter_changes) AS complete
    FROM (
        SELECT workspace_id, campaign_id,
            sum((status = 1)::int4 - (old_status = 1)::int4) AS pending,
            sum((status = 2)::int4 - (old_status = 2)::int4) AS partial,
            sum((status = 3)::int4 - (old_status = 3)::int4) AS sent,
            sum((status = 4)::int4 - (old_status = 4)::int4) AS failed,
            sum((result = 1)::int4 - (old_result = 1)::int4) AS delivered_messages,
            sum((result = 2)::int4 - (old_result = 2)::int4) AS failed_messages,
            sum((result = 3)::int4 - (old_result = 3)::int4) AS bounced_messages,
            sum((new_reason = 1)::int4 - (old_reason = 1)::int4) AS account_issue,
            sum((new_reason = 2)::int4 - (old_reason = 2)::int4) AS invalid_lead,
            sum((new_reason = 3)::int4 - (old_reason = 3)::int4) AS rate_limited,
            sum((new_reason = 4)::int4 - (old_reason = 4)::int4) AS content_rejected,
            sum((new_reason = 5)::int4 - (old_reason = 5)::int4) AS other_reason,
            sum(is_contacted::int4 - was_contacted::int4) AS contacted,
            sum((bit = 48)::int4) AS replied,
            sum((bit = 49)::int4) AS converted,
            sum((bit = 50)::int4) AS auto_replied,
            sum((bit = 51)::int4) AS opted_out,
            sum((is_contacted AND mask >> 48 & 1 = 1)::int4 - (was_contacted AND old_mask >> 48 & 1 = 1)::int4) AS contacted_replied,
            sum((is_contacted AND mask >> 49 & 1 = 1)::int4 - (was_contacted AND old_mask >> 49 & 1 = 1)::int4) AS contacted_converted,
            coalesce(sum(value_micros) FILTER (WHERE bit = 49), 0)::int8 AS conversion_value_micros,
            sum((bit < 48 AND old_result = 0 AND claim_account IS NOT NULL)::int4) AS closed_claims
        FROM (
            -- Both reasons of a step are kept on the lead; its result says which one counts.
            SELECT j.*,
                CASE result WHEN 2 THEN failed_reasons >> (3 * step_bit) & 7 WHEN 3 THEN bounced_reasons >> (3 * step_bit) & 7
                    ELSE 0 END AS new_reason,
                CASE old_result WHEN 2 THEN failed_reasons >> (3 * step_bit) & 7 WHEN 3 THEN bounced_reasons >> (3 * step_bit) & 7
                    ELSE 0 END AS old_reason
            FROM judged j
        ) j
        GROUP BY 1, 2 ORDER BY 1, 2
    ) d
), days AS (
    INSERT INTO account_days AS a (workspace_id, account_id, day, delivered, failed, bounced)
    SELECT workspace_id, message_account, day,
        coalesce(sum(count) FILTER (WHERE message_result = 1), 0), coalesce(sum(count) FILTER (WHERE message_result = 2), 0),
        coalesce(sum(count) FILTER (WHERE message_result = 3), 0)
    FROM (
        SELECT workspace_id, message_account, (happened_at AT TIME ZONE 'UTC')::date AS day, result AS message_result, 1 AS count
        FROM booked WHERE result <> old_result
        UNION ALL
        -- It counted on the day of the fact that was its result so far; see the table `account_days`.
        SELECT workspace_id, message_account, coalesce((old_result_at AT TIME ZONE 'UTC')::date, '-infinity'), old_result, -1
        FROM booked WHERE result <> old_result AND old_result <> 0
    ) d
    WHERE message_account IS NOT NULL
    GROUP BY workspace_id, message_account, day
    ORDER BY workspace_id, message_account, day
    ON CONFLICT (workspace_id, account_id, day) DO UPDATE SET
        delivered = a.delivered + excluded.delivered, failed = a.failed + excluded.failed, bounced = a.bounced + excluded.bounced
), due AS (
    -- Whenever the next step changes: by the delivery before it, or because a delivery supersedes the failure that had
    -- ended the lead. Then the delivery that counts came earlier, and its time does.
    INSERT INTO returns (workspace_id, campaign_id, account_id, due_at, lead_no, step)
    SELECT workspace_id, campaign_id, coalesce(account_id, 0),
        coalesce(
            CASE WHEN next_step <> step_bit + 2
                THEN log_time(workspace_id, campaign_id, lead_no, next_step - 2) + (follow_up_at - happened_at) END,
            follow_up_at),
        lead_no, next_step
    FROM judged WHERE next_step > 1 AND next_step <> old_next_step
    ON CONFLICT DO NOTHING
)
SELECT e.place, b.place IS NOT NULL AS applied, coalesce(b.missed, 0) AS missed,
    b.place IS NOT NULL OR EXISTS (
        SELECT FROM leads l
        WHERE l.workspace_id = e.workspace_id AND l.campaign_id = e.campaign_id AND l.lead_no = e.lead_no
    ) AS known,
    -- A message without claim: it counts against the limits of its day.
    coalesce(b.bit < 48 AND b.old_result = 0 AND b.claim_account IS NULL, false) AS unclaimed,
    b.message_account, b.happened_at, e.workspace_id, e.campaign_id
FROM event e FULL JOIN booked b ON b.place = e.place
WHERE b.place IS NULL OR b.missed <> 0 OR b.bit < 48 AND b.old_result = 0 AND b.claim_account IS NULL
UNION ALL
SELECT NULL, false, 0, false, false, NULL, NULL, workspace_id, campaign_id FROM counted WHERE complete
