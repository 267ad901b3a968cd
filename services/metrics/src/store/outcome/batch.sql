-- One batch of outcomes, at most one for each lead, sorted by lead: claims, facts, log, counters, leads of accounts,
-- history, follow-ups.
--
-- Parameters. $1 to $10 have an element for each outcome:
-- $1 workspaces int4[], $2 campaigns int4[], $3 leads int4[], $4 bits of the facts int4[], $5 times timestamptz[],
-- $6 reasons int2[], $7 details text[], $8 values of conversions in millionths int8[], $9 steps of the campaigns
-- int4[], $10 due times of a follow-up timestamptz[],
-- $11 time of receipt timestamptz, $12 number of outcomes of the same batch in earlier statements int4.
--
-- Returns rows for exceptions only. With `place` (in the arrays, from 1): an outcome that was not applied (`known`: it
-- is a duplicate; otherwise there is no such lead), that had no claim (`unclaimed`), or whose history missed earlier
-- facts (`missed`, their bits): facts that this statement does not see yet, or that were removed with their part of the
-- log. Without `place`: a campaign in which no lead is pending or partial any more.
--
-- The joins are FULL, because Postgres cannot run a FULL join as a nested loop. The planner assumes that the arrays are
-- short and would choose one. Each list of columns is written out, because the statement stays prepared: a column that a
-- migration adds to a table must not change it.
WITH event AS MATERIALIZED (
    SELECT workspace_id, campaign_id, lead_no, bit, happened_at, reason, detail, value_micros, steps, follow_up_at,
        place, step_bit_of(bit) AS step_bit, lead_block(lead_no) AS block,
        CASE WHEN is_message(bit) THEN (step_bit_of(bit) + 1)::int2 END AS step
    FROM unnest($1::int4[], $2::int4[], $3::int4[], $4::int4[], $5::timestamptz[], $6::int2[], $7::text[], $8::int8[],
        $9::int4[], $10::timestamptz[]) WITH ORDINALITY AS event
        (workspace_id, campaign_id, lead_no, bit, happened_at, reason, detail, value_micros, steps, follow_up_at, place)
), block AS MATERIALIZED (
    SELECT workspace_id, campaign_id, block, step, bit_or(lead_bit(lead_no)) AS bits
    FROM event WHERE is_message(bit)
    GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
), claim AS MATERIALIZED (
    -- Locked, so that no release runs meanwhile, and not written: see the table `claims`.
    SELECT c.workspace_id, c.campaign_id, c.block, c.step, c.account_id, c.claimed, c.is_exact, c.claim, b.bits
    FROM block b CROSS JOIN LATERAL (
        SELECT c.workspace_id, c.campaign_id, c.block, c.step, c.account_id, c.claimed, c.is_exact, c AS claim
        FROM claims c
        WHERE c.workspace_id = b.workspace_id AND c.campaign_id = b.campaign_id AND c.block = b.block
            AND c.step = b.step AND c.claimed & b.bits <> 0
        FOR NO KEY UPDATE
    ) c
), closed AS MATERIALIZED (
    -- Reads the leads of a block only where this batch may close its last open claim, or where the row is exact.
    SELECT claim_close(claim, bits) FROM claim
    WHERE claimed & ~bits = 0 OR is_exact OR (claimed & bits)::bit(64) > (claimed & ~bits)::bit(64)
), named AS MATERIALIZED (
    -- Several grants can share a block; at most one of them has the lead.
    SELECT DISTINCT ON (e.place) e.workspace_id, e.campaign_id, e.lead_no, e.bit, e.happened_at, e.reason, e.detail,
        e.value_micros, e.steps, e.follow_up_at, e.place, e.step_bit,
        CASE WHEN has_lead(c.claimed, e.lead_no) THEN c.account_id END AS claim_account
    FROM event e FULL JOIN claim c
        ON c.workspace_id = e.workspace_id AND c.campaign_id = e.campaign_id AND c.block = e.block AND c.step = e.step
    -- Postgres skips a CTE that nothing references, so this one is referenced here.
    WHERE (SELECT count(*) FROM closed) >= 0
    ORDER BY e.place, claim_account
), fact AS (
    UPDATE leads l SET
        mask = l.mask & ~fact_mask(had_account_bit()) | fact_mask(e.bit)
            | CASE WHEN l.account_id IS NULL THEN 0 ELSE fact_mask(had_account_bit()) END,
        failed_reasons = CASE WHEN is_failed(e.bit) THEN l.failed_reasons | reason_mask(e.reason, e.step_bit)
            ELSE l.failed_reasons END,
        bounced_reasons = CASE WHEN is_bounced(e.bit) THEN l.bounced_reasons | reason_mask(e.reason, e.step_bit)
            ELSE l.bounced_reasons END,
        -- The account of the claim that this outcome closes; for another step's message that of the open claim: the lead
        -- is shown with it and keeps it. A claim that is closed already may be of an account that was removed since.
        account_id = coalesce(l.account_id, CASE WHEN NOT has_result(l.mask, e.step_bit) THEN e.claim_account END,
            CASE WHEN is_message(e.bit)
                THEN lead_claim_account(l.workspace_id, l.campaign_id, l.lead_no, l.mask) END),
        last_action_at = greatest(l.last_action_at, e.happened_at)
    FROM named e
    WHERE l.workspace_id = e.workspace_id AND l.campaign_id = e.campaign_id AND l.lead_no = e.lead_no
        AND NOT has_fact(l.mask, e.bit)
    RETURNING e.workspace_id, e.campaign_id, e.lead_no, e.bit, e.happened_at, e.reason, e.detail, e.value_micros,
        e.steps, e.follow_up_at, e.place, e.step_bit, e.claim_account, l.mask, l.mask & ~fact_mask(e.bit) AS old_mask,
        l.account_id, l.failed_reasons, l.bounced_reasons, l.last_action_at
), judged AS MATERIALIZED (
    -- The lead keeps the reasons of both facts of a step; its result says which one counts.
    SELECT workspace_id, campaign_id, lead_no, bit, happened_at, reason, detail, value_micros, steps, follow_up_at,
        place, step_bit, claim_account, mask, old_mask, account_id, last_action_at, old_status, status, old_result,
        result, old_next_step, next_step, was_contacted, is_contacted,
        CASE old_result WHEN result_failed() THEN step_reason(failed_reasons, step_bit)
            WHEN result_bounced() THEN step_reason(bounced_reasons, step_bit) ELSE 0 END AS old_reason,
        CASE result WHEN result_failed() THEN step_reason(failed_reasons, step_bit)
            WHEN result_bounced() THEN step_reason(bounced_reasons, step_bit) ELSE 0 END AS new_reason
    FROM (
        SELECT workspace_id, campaign_id, lead_no, bit, happened_at, reason, detail, value_micros, steps, follow_up_at,
            place, step_bit, claim_account, mask, old_mask, account_id, failed_reasons, bounced_reasons,
            last_action_at,
            lead_status(old_mask, steps) AS old_status,
            lead_status(mask, steps) AS status,
            CASE WHEN is_message(bit) THEN step_result(old_mask, step_bit) ELSE result_none() END AS old_result,
            CASE WHEN is_message(bit) THEN step_result(mask, step_bit) ELSE result_none() END AS result,
            CASE WHEN is_delivered(bit) AND steps > 1 THEN lead_next_step(old_mask, steps) ELSE 0 END
                AS old_next_step,
            CASE WHEN is_delivered(bit) AND steps > 1 THEN lead_next_step(mask, steps) ELSE 0 END AS next_step,
            is_contacted(old_mask) AS was_contacted,
            is_contacted(mask) AS is_contacted
        FROM fact
    ) f
), booked AS MATERIALIZED (
    -- A message belongs to one account: that of its first outcome when there was one, else of its claim, else of its
    -- lead.
    SELECT workspace_id, campaign_id, lead_no, bit, happened_at, reason, detail, place, step_bit, claim_account, mask,
        old_result, result, old_reason, new_reason, old_result_at, changes_contact, old_contact, new_contact,
        CASE
            WHEN first_account IS NULL
                THEN coalesce(CASE WHEN old_result = result_none() THEN claim_account END, account_id)
            ELSE nullif(first_account, 0)
        END AS message_account,
        -- Facts of which the log shows nothing, by their bits.
        CASE WHEN old_result <> result_none() AND first_account IS NULL THEN old_mask & step_mask(step_bit) ELSE 0 END
            | CASE WHEN old_result_bit IS NOT NULL AND old_result_at IS NULL THEN fact_mask(old_result_bit) ELSE 0 END
            | CASE WHEN changes_contact = 'looked_up' THEN old_mask & contact_facts() & ~(old_contact).logged ELSE 0 END
            AS missed
    FROM (
        SELECT workspace_id, campaign_id, lead_no, bit, happened_at, reason, detail, place, step_bit, claim_account,
            mask, old_mask, account_id, old_result, result, old_reason, new_reason, old_result_bit, changes_contact,
            CASE WHEN old_result <> result_none()
                THEN log_message_account(workspace_id, campaign_id, lead_no, step_bit) END AS first_account,
            CASE WHEN old_result_bit IS NOT NULL THEN log_time(workspace_id, campaign_id, lead_no, old_result_bit) END
                AS old_result_at,
            CASE WHEN changes_contact = 'looked_up'
                THEN lead_contact(workspace_id, campaign_id, lead_no, old_mask) END AS old_contact,
            CASE WHEN changes_contact = 'looked_up' AND is_bounced(bit)
                THEN lead_contact(workspace_id, campaign_id, lead_no, mask) END AS new_contact
        FROM (
            SELECT workspace_id, campaign_id, lead_no, bit, happened_at, reason, detail, place, step_bit, claim_account,
                mask, old_mask, account_id, old_result, result, old_reason, new_reason,
                -- The fact that was the result of the step, where it no longer is.
                CASE WHEN result <> old_result THEN result_bit(old_result, step_bit) END AS old_result_bit,
                -- Whether the fact changes the first contact, or what history counts with it. Most follow-ups do not:
                -- they are delivered after all other facts of the lead.
                CASE
                    WHEN is_delivered(bit) AND old_mask & contact_facts() = 0 AND is_contacted THEN 'is_new'
                    WHEN is_delivered(bit) AND result = result_delivered() AND (NOT was_contacted
                        OR last_action_at > happened_at OR delivered_steps(old_mask) >> step_bit > 0) THEN 'looked_up'
                    WHEN is_bounced(bit) AND old_result = result_delivered() THEN 'looked_up'
                    WHEN (bit = replied_bit() OR bit = converted_bit()) AND is_contacted THEN 'looked_up'
                    ELSE 'no'
                END AS changes_contact
            FROM judged
        ) j
        -- OFFSET 0 keeps Postgres from repeating the look-ups for each use of their columns.
        OFFSET 0
    ) p
), contact_change AS (
    -- A first contact that was looked up, subtracted as it was and added as it is; see is_contact_logged.
    SELECT workspace_id, campaign_id, sign, c.account_id, c.contacted_at, c.replied_at, c.converted_at
    FROM (
        SELECT workspace_id, campaign_id, bit, happened_at, message_account, old_contact AS o,
            CASE
                WHEN is_bounced(bit) THEN new_contact
                WHEN is_delivered(bit) AND ((old_contact).contacted_at IS NULL
                    OR (happened_at, step_bit) < ((old_contact).contacted_at, (old_contact).step_bit))
                    THEN ROW(happened_at, step_bit, message_account, (old_contact).replied_at,
                        (old_contact).converted_at, 0)::contact
                ELSE old_contact
            END AS n
        FROM booked
        WHERE changes_contact = 'looked_up' AND is_contact_logged(mask & ~fact_mask(bit), (old_contact).logged)
    ) b
    CROSS JOIN LATERAL (VALUES
        (1, (n).account_id, (n).contacted_at,
            coalesce((n).replied_at, CASE WHEN bit = replied_bit() THEN happened_at END),
            coalesce((n).converted_at, CASE WHEN bit = converted_bit() THEN happened_at END)),
        (-1, (o).account_id, (o).contacted_at, (o).replied_at, (o).converted_at)
    ) AS c (sign, account_id, contacted_at, replied_at, converted_at)
    WHERE c.contacted_at IS NOT NULL
), history_change AS (
    SELECT workspace_id, campaign_id, account_id, day, result, reason, sum(messages) AS messages,
        sum(contacts) AS contacts, NULL::int4[] AS replied, NULL::int4[] AS converted
    FROM (
        -- A delivery that is a new first contact counts as such in its own row: same account, same day.
        SELECT workspace_id, campaign_id, coalesce(message_account, 0) AS account_id, utc_day(happened_at) AS day,
            result, new_reason AS reason, 1 AS messages, (changes_contact = 'is_new')::int4 AS contacts
        FROM booked WHERE result <> old_result
        UNION ALL
        -- It counted on the day of the fact that was its result so far; see the table `history`.
        SELECT workspace_id, campaign_id, coalesce(message_account, 0), coalesce(utc_day(old_result_at), '-infinity'),
            old_result, old_reason, -1, 0
        FROM booked WHERE result <> old_result AND old_result <> result_none()
    ) m
    GROUP BY 1, 2, 3, 4, 5, 6
    UNION ALL
    SELECT workspace_id, campaign_id, coalesce(account_id, 0), utc_day(contacted_at), NULL, NULL, 0, sum(sign),
        ages_count(array_agg(replied_age) FILTER (WHERE replied_age IS NOT NULL),
            array_agg(sign) FILTER (WHERE replied_age IS NOT NULL)),
        ages_count(array_agg(converted_age) FILTER (WHERE converted_age IS NOT NULL),
            array_agg(sign) FILTER (WHERE converted_age IS NOT NULL))
    FROM (
        SELECT workspace_id, campaign_id, account_id, contacted_at, sign,
            contact_age(contacted_at, replied_at) AS replied_age,
            contact_age(contacted_at, converted_at) AS converted_age
        FROM contact_change
    ) c
    GROUP BY 1, 2, 3, 4
), history_delta AS MATERIALIZED (
    SELECT workspace_id, coalesce(campaign_id, all_campaigns()) AS campaign_id,
        coalesce(account_id, all_accounts()) AS account_id, day,
        coalesce(sum(messages) FILTER (WHERE result = result_delivered()), 0) AS delivered,
        coalesce(sum(messages) FILTER (WHERE result = result_failed() AND reason = reason_account_issue()), 0)
            AS failed_account_issue,
        coalesce(sum(messages) FILTER (WHERE result = result_failed() AND reason = reason_invalid_lead()), 0)
            AS failed_invalid_lead,
        coalesce(sum(messages) FILTER (WHERE result = result_failed() AND reason = reason_rate_limited()), 0)
            AS failed_rate_limited,
        coalesce(sum(messages) FILTER (WHERE result = result_failed() AND reason = reason_content_rejected()), 0)
            AS failed_content_rejected,
        coalesce(sum(messages) FILTER (WHERE result = result_failed() AND reason = reason_other()), 0) AS failed_other,
        coalesce(sum(messages) FILTER (WHERE result = result_bounced() AND reason = reason_account_issue()), 0)
            AS bounced_account_issue,
        coalesce(sum(messages) FILTER (WHERE result = result_bounced() AND reason = reason_invalid_lead()), 0)
            AS bounced_invalid_lead,
        coalesce(sum(messages) FILTER (WHERE result = result_bounced() AND reason = reason_rate_limited()), 0)
            AS bounced_rate_limited,
        coalesce(sum(messages) FILTER (WHERE result = result_bounced() AND reason = reason_content_rejected()), 0)
            AS bounced_content_rejected,
        coalesce(sum(messages) FILTER (WHERE result = result_bounced() AND reason = reason_other()), 0)
            AS bounced_other,
        sum(contacts) AS contacted, ages_sum(replied) AS replied, ages_sum(converted) AS converted
    FROM history_change
    GROUP BY GROUPING SETS ((workspace_id, campaign_id, account_id, day), (workspace_id, campaign_id, day),
        (workspace_id, account_id, day))
), logged AS (
    INSERT INTO outcomes (workspace_id, campaign_id, lead_no, bit, reason, batch_ordinal, account_id, happened_at,
        received_at, detail)
    SELECT workspace_id, campaign_id, lead_no, bit, reason, place + $12::int4, message_account, happened_at, $11,
        -- A lead that was forgotten gets no texts.
        CASE WHEN NOT has_fact(mask, forgotten_bit()) THEN detail END
    FROM booked
), valued AS (
    INSERT INTO conversion_values (workspace_id, campaign_id, lead_no, value_micros)
    SELECT workspace_id, campaign_id, lead_no, value_micros FROM judged
    WHERE bit = converted_bit() AND value_micros IS NOT NULL
), counted AS MATERIALIZED (
    -- Campaign by campaign in the order of their keys, so that batches wait for each other in one order. The columns
    -- are those of counter_changes, in its order.
    SELECT workspace_id, campaign_id, counters_add(d::counter_changes, $11) AS complete
    FROM (
        SELECT workspace_id, campaign_id,
            sum((status = status_pending())::int4 - (old_status = status_pending())::int4) AS pending,
            sum((status = status_partial())::int4 - (old_status = status_partial())::int4) AS partial,
            sum((status = status_sent())::int4 - (old_status = status_sent())::int4) AS sent,
            sum((status = status_failed())::int4 - (old_status = status_failed())::int4) AS failed,
            sum((result = result_delivered())::int4 - (old_result = result_delivered())::int4) AS delivered_messages,
            sum((result = result_failed())::int4 - (old_result = result_failed())::int4) AS failed_messages,
            sum((result = result_bounced())::int4 - (old_result = result_bounced())::int4) AS bounced_messages,
            sum((new_reason = reason_account_issue())::int4 - (old_reason = reason_account_issue())::int4)
                AS account_issue,
            sum((new_reason = reason_invalid_lead())::int4 - (old_reason = reason_invalid_lead())::int4)
                AS invalid_lead,
            sum((new_reason = reason_rate_limited())::int4 - (old_reason = reason_rate_limited())::int4)
                AS rate_limited,
            sum((new_reason = reason_content_rejected())::int4 - (old_reason = reason_content_rejected())::int4)
                AS content_rejected,
            sum((new_reason = reason_other())::int4 - (old_reason = reason_other())::int4) AS other_reason,
            sum(is_contacted::int4 - was_contacted::int4) AS contacted,
            sum((bit = replied_bit())::int4) AS replied,
            sum((bit = converted_bit())::int4) AS converted,
            sum((bit = auto_replied_bit())::int4) AS auto_replied,
            sum((bit = opted_out_bit())::int4) AS opted_out,
            sum((is_contacted AND has_fact(mask, replied_bit()))::int4
                - (was_contacted AND has_fact(old_mask, replied_bit()))::int4) AS contacted_replied,
            sum((is_contacted AND has_fact(mask, converted_bit()))::int4
                - (was_contacted AND has_fact(old_mask, converted_bit()))::int4) AS contacted_converted,
            coalesce(sum(value_micros) FILTER (WHERE bit = converted_bit()), 0)::int8 AS conversion_value_micros,
            sum((is_message(bit) AND old_result = result_none() AND claim_account IS NOT NULL)::int4) AS closed_claims
        FROM judged
        GROUP BY 1, 2 ORDER BY 1, 2
    ) d
    -- Other batches of the campaign wait from here to the commit: what history adds is made before.
    WHERE (SELECT count(*) FROM history_delta) >= 0
), account_lead_changes AS (
    INSERT INTO account_leads AS a (workspace_id, campaign_id, account_id, pending, partial, sent, failed)
    SELECT j.workspace_id, j.campaign_id, c.account_id,
        coalesce(sum(c.leads) FILTER (WHERE c.status = status_pending()), 0),
        coalesce(sum(c.leads) FILTER (WHERE c.status = status_partial()), 0),
        coalesce(sum(c.leads) FILTER (WHERE c.status = status_sent()), 0),
        coalesce(sum(c.leads) FILTER (WHERE c.status = status_failed()), 0)
    FROM (
        SELECT workspace_id, campaign_id, coalesce(account_id, 0) AS account_id, status,
            CASE WHEN has_fact(mask, had_account_bit()) THEN account_id ELSE 0 END AS old_account_id, old_status,
            count(*) AS leads
        FROM judged GROUP BY 1, 2, 3, 4, 5, 6
    ) j
    CROSS JOIN LATERAL (
        VALUES (j.account_id, j.status, j.leads), (j.old_account_id, j.old_status, -j.leads)
    ) AS c (account_id, status, leads)
    WHERE (j.account_id, j.status) <> (j.old_account_id, j.old_status)
    GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
    ON CONFLICT (workspace_id, campaign_id, account_id) DO UPDATE SET
        pending = a.pending + excluded.pending, partial = a.partial + excluded.partial,
        sent = a.sent + excluded.sent, failed = a.failed + excluded.failed
), history_changes AS (
    INSERT INTO history AS h (workspace_id, campaign_id, account_id, day,
        delivered, failed_account_issue, failed_invalid_lead, failed_rate_limited, failed_content_rejected,
        failed_other, bounced_account_issue, bounced_invalid_lead, bounced_rate_limited, bounced_content_rejected,
        bounced_other, contacted, replied, converted)
    SELECT workspace_id, campaign_id, account_id, day, delivered, failed_account_issue, failed_invalid_lead,
        failed_rate_limited, failed_content_rejected, failed_other, bounced_account_issue, bounced_invalid_lead,
        bounced_rate_limited, bounced_content_rejected, bounced_other, contacted, replied, converted
    FROM history_delta ORDER BY 1, 2, 3, 4
    ON CONFLICT (workspace_id, campaign_id, account_id, day) DO UPDATE SET
        delivered = h.delivered + excluded.delivered,
        failed_account_issue = h.failed_account_issue + excluded.failed_account_issue,
        failed_invalid_lead = h.failed_invalid_lead + excluded.failed_invalid_lead,
        failed_rate_limited = h.failed_rate_limited + excluded.failed_rate_limited,
        failed_content_rejected = h.failed_content_rejected + excluded.failed_content_rejected,
        failed_other = h.failed_other + excluded.failed_other,
        bounced_account_issue = h.bounced_account_issue + excluded.bounced_account_issue,
        bounced_invalid_lead = h.bounced_invalid_lead + excluded.bounced_invalid_lead,
        bounced_rate_limited = h.bounced_rate_limited + excluded.bounced_rate_limited,
        bounced_content_rejected = h.bounced_content_rejected + excluded.bounced_content_rejected,
        bounced_other = h.bounced_other + excluded.bounced_other, contacted = h.contacted + excluded.contacted,
        replied = CASE WHEN excluded.replied IS NULL THEN h.replied ELSE ages_add(h.replied, excluded.replied) END,
        converted = CASE WHEN excluded.converted IS NULL THEN h.converted
            ELSE ages_add(h.converted, excluded.converted) END
), due AS (
    -- Lists the next step whenever it changes: after the delivery before it, or after a delivery that supersedes the
    -- failure that had ended the lead. Then the delivery that counts came earlier, and the delay begins at its time.
    INSERT INTO returns (workspace_id, campaign_id, account_id, due_at, lead_no, step)
    SELECT workspace_id, campaign_id, coalesce(account_id, any_account()),
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
    coalesce(is_message(b.bit) AND b.old_result = result_none() AND b.claim_account IS NULL, false) AS unclaimed,
    b.message_account, b.happened_at, e.workspace_id, e.campaign_id
FROM event e FULL JOIN booked b ON b.place = e.place
WHERE b.place IS NULL OR b.missed <> 0 OR is_message(b.bit) AND b.old_result = result_none() AND b.claim_account IS NULL
UNION ALL
SELECT NULL, false, 0, false, false, NULL, NULL, workspace_id, campaign_id FROM counted WHERE complete
