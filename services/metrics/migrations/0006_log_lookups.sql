-- Look-ups in the log for corrections, one in a hundred outcomes. Functions, because a look-up that stands in the statement of
-- a batch costs every batch: it opens each partition and its index, also where nothing is looked up. STABLE: they see what
-- their statement sees.

-- The account that the message of a step was booked on first; 0 for none, null where the log has no such message.
CREATE FUNCTION log_message_account(workspace int4, campaign int4, lead int4, step_bit int4) RETURNS int4
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN (
        SELECT coalesce(o.account_id, 0) FROM outcomes o
        WHERE o.workspace_id = workspace AND o.campaign_id = campaign AND o.lead_no = lead
            AND o.bit IN (step_bit, step_bit + 16, step_bit + 32)
        ORDER BY o.received_at, o.batch_ordinal LIMIT 1
    );
END
$$;

-- When a fact happened; null where the log has no such fact.
CREATE FUNCTION log_time(workspace int4, campaign int4, lead int4, fact_bit int4) RETURNS timestamptz
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN (
        SELECT o.happened_at FROM outcomes o
        WHERE o.workspace_id = workspace AND o.campaign_id = campaign AND o.lead_no = lead AND o.bit = fact_bit
        LIMIT 1
    );
END
$$;
