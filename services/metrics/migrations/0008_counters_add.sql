-- Adds the changes of a batch to a campaign's counters; returns whether it is complete now. A function, because batches of
-- one campaign wait for each other here: a statement that finds that a row has changed while it waited for it sets all of
-- itself up again, and that of a batch takes a millisecond for that. This one is small.

CREATE TYPE counter_changes AS (
    workspace_id int4, campaign_id int4,
    pending int8, partial int8, sent int8, failed int8,
    delivered_messages int8, failed_messages int8, bounced_messages int8,
    account_issue int8, invalid_lead int8, rate_limited int8, content_rejected int8, other_reason int8,
    contacted int8, replied int8, converted int8, auto_replied int8, opted_out int8,
    contacted_replied int8, contacted_converted int8,
    conversion_value_micros int8, closed_claims int8
);

CREATE FUNCTION counters_add(d counter_changes) RETURNS bool LANGUAGE plpgsql AS $$
DECLARE
    is_complete bool;
BEGIN
    UPDATE campaign_counters k SET
        pending = k.pending + d.pending, partial = k.partial + d.partial, sent = k.sent + d.sent, failed = k.failed + d.failed,
        delivered_messages = k.delivered_messages + d.delivered_messages,
        failed_messages = k.failed_messages + d.failed_messages,
        bounced_messages = k.bounced_messages + d.bounced_messages,
        account_issue = k.account_issue + d.account_issue, invalid_lead = k.invalid_lead + d.invalid_lead,
        rate_limited = k.rate_limited + d.rate_limited, content_rejected = k.content_rejected + d.content_rejected,
        other_reason = k.other_reason + d.other_reason,
        contacted = k.contacted + d.contacted, replied = k.replied + d.replied, converted = k.converted + d.converted,
        auto_replied = k.auto_replied + d.auto_replied, opted_out = k.opted_out + d.opted_out,
        contacted_replied = k.contacted_replied + d.contacted_replied,
        contacted_converted = k.contacted_converted + d.contacted_converted,
        conversion_value_micros = k.conversion_value_micros + d.conversion_value_micros,
        closed_claims = k.closed_claims + d.closed_claims,
        version = k.version + 1,
        -- See migration 2. A hundred or so changes fill the page that they share.
        epoch = k.epoch + (k.version & 127 = 127)::int4
    WHERE k.workspace_id = d.workspace_id AND k.campaign_id = d.campaign_id AND k.epoch >= (
        SELECT c.epoch FROM campaign_counters c
        WHERE c.workspace_id = d.workspace_id AND c.campaign_id = d.campaign_id
        ORDER BY c.epoch DESC LIMIT 1
    )
    RETURNING k.total > 0 AND k.pending + k.partial = 0 INTO is_complete;
    RETURN is_complete;
END
$$;
