-- Rules of sending: a lead keeps the account of its open claim, whatever is reported of it first; a lead that is removed
-- ends without having opted out.

CREATE FUNCTION removed_bit() RETURNS int4 LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN 54;
COMMENT ON FUNCTION removed_bit() IS
    'The lead was removed while its campaign had not finished, which ended its sequence. Not a fact that is reported.';

CREATE OR REPLACE FUNCTION ends_first_step() RETURNS int8
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN ((1::int8 << 48) - 1) | fact_mask(replied_bit()) | fact_mask(converted_bit()) | fact_mask(opted_out_bit())
        | fact_mask(removed_bit());
COMMENT ON FUNCTION ends_first_step() IS
    'Returns the mask of what ends the first step: any fact of a message, a reply, a conversion, an opt-out, the removal '
    'of the lead.';

CREATE OR REPLACE FUNCTION lead_status(mask int8, steps int4) RETURNS int4
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE
        WHEN has_fact(mask, replied_bit()) OR has_fact(mask, converted_bit()) THEN status_sent()
        WHEN ~delivered_steps(mask) & ((1::int8 << steps) - 1) = 0 THEN status_sent()
        WHEN mask & (fact_mask(opted_out_bit()) | fact_mask(removed_bit())) <> 0 THEN
            CASE WHEN is_contacted(mask) THEN status_sent() ELSE status_failed() END
        WHEN failed_or_bounced_steps(mask) <> 0 THEN status_failed()
        WHEN is_contacted(mask) THEN status_partial()
        ELSE status_pending()
    END;
COMMENT ON FUNCTION lead_status(int8, int4) IS
    'Returns the status of a lead in a campaign of so many steps. The rules, in their order: replied, converted or '
    'every step delivered is sent; opted out or removed is sent where a step was delivered, else failed; any failed or '
    'bounced step is failed; any delivered step is partial; else pending.';

CREATE FUNCTION lead_claim_account(workspace int4, campaign int4, lead int4, facts int8) RETURNS int4
LANGUAGE plpgsql STABLE PARALLEL SAFE SET enable_seqscan = off AS $$
BEGIN
    RETURN (
        SELECT c.account_id FROM claims c
        WHERE c.workspace_id = workspace AND c.campaign_id = campaign AND c.block = lead_block(lead)
            AND has_lead(c.claimed, lead) AND NOT has_result(facts, c.step - 1)
        LIMIT 1
    );
END
$$;
COMMENT ON FUNCTION lead_claim_account(int4, int4, int4, int8) IS
    'Returns the account of the open claim of a lead, of whatever step; null without one. facts is leads.mask.';

CREATE FUNCTION return_waits(workspace int4, campaign int4, lead int4, of_step int4, all_steps int4) RETURNS bool
LANGUAGE plpgsql STABLE PARALLEL SAFE SET enable_seqscan = off AS $$
BEGIN
    RETURN EXISTS (
        SELECT FROM leads l
        WHERE l.workspace_id = workspace AND l.campaign_id = campaign AND l.lead_no = lead
            AND lead_next_step(l.mask, all_steps) = of_step
            AND lead_claim_account(workspace, campaign, lead, l.mask) IS NULL
    );
END
$$;
COMMENT ON FUNCTION return_waits(int4, int4, int4, int4, int4) IS
    'Whether a step that is listed in `returns` waits for a claim: it is the next one of its lead, and no claim of the '
    'lead is open, of whatever step.';

CREATE FUNCTION return_head(workspace int4, campaign int4, account int4, all_steps int4) RETURNS timestamptz
LANGUAGE plpgsql STABLE PARALLEL SAFE SET enable_seqscan = off AS $$
DECLARE
    r record;
    looked_at int4 := 0;
BEGIN
    FOR r IN
        SELECT x.due_at, x.lead_no, x.step FROM returns x
        WHERE x.workspace_id = workspace AND x.campaign_id = campaign AND x.account_id = account
        ORDER BY x.due_at, x.lead_no, x.step LIMIT 256
    LOOP
        IF return_waits(workspace, campaign, r.lead_no, r.step, all_steps) THEN
            RETURN r.due_at;
        END IF;
        looked_at := looked_at + 1;
    END LOOP;
    RETURN CASE WHEN looked_at = 256 THEN r.due_at END;
END
$$;
COMMENT ON FUNCTION return_head(int4, int4, int4, int4) IS
    'Returns when the first step that waits for an account is due: rows of `returns` may be outdated by facts, or wait '
    'behind an open claim of another step. Looks at 256 rows; where none of them waits, returns the time of the last, a '
    'lower bound. Null when nothing waits.';
