-- Numbers and bits that are stored, by name, and everything that follows from the facts of a lead alone.
--
-- Every function here is IMMUTABLE and one expression, so that Postgres inlines it: a statement that calls it runs no
-- slower than one that has the number in its place. proto/lead.rs has the table of bits. tests/integration/facts.rs
-- compares the two and checks that the functions are inlined.

-- Numbers of states and results.
CREATE FUNCTION account_active() RETURNS int4 LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN 1;
COMMENT ON FUNCTION account_active() IS 'accounts.state: it may send.';
CREATE FUNCTION account_suspended() RETURNS int4 LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN 2;
COMMENT ON FUNCTION account_suspended() IS 'accounts.state: it gets no claims.';
CREATE FUNCTION campaign_active() RETURNS int4 LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN 1;
COMMENT ON FUNCTION campaign_active() IS 'campaigns.state: messages go out.';
CREATE FUNCTION campaign_paused() RETURNS int4 LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN 2;
COMMENT ON FUNCTION campaign_paused() IS 'campaigns.state: no claim is granted.';
CREATE FUNCTION campaign_finished() RETURNS int4 LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN 3;
COMMENT ON FUNCTION campaign_finished() IS 'campaigns.state: no claim is granted ever again.';
CREATE FUNCTION finish_completed() RETURNS int4 LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN 1;
COMMENT ON FUNCTION finish_completed() IS 'campaigns.finish_reason: every lead was sent or failed.';
CREATE FUNCTION finish_requested() RETURNS int4 LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN 2;
COMMENT ON FUNCTION finish_requested() IS 'campaigns.finish_reason: a caller asked for it.';
CREATE FUNCTION expiry_hold() RETURNS int4 LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN 1;
COMMENT ON FUNCTION expiry_hold() IS 'campaigns.claim_expiry_policy: a claim that expires stays uncertain.';
CREATE FUNCTION expiry_retry() RETURNS int4 LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN 2;
COMMENT ON FUNCTION expiry_retry() IS
    'campaigns.claim_expiry_policy: the step of a claim that expires becomes due again.';
CREATE FUNCTION any_account() RETURNS int4 LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN 0;
COMMENT ON FUNCTION any_account() IS 'segments.account_id and returns.account_id: any account of the campaign.';
CREATE FUNCTION status_pending() RETURNS int4 LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN 1;
COMMENT ON FUNCTION status_pending() IS 'lead_status: nothing delivered yet.';
CREATE FUNCTION status_partial() RETURNS int4 LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN 2;
COMMENT ON FUNCTION status_partial() IS 'lead_status: some steps delivered, others to be sent.';
CREATE FUNCTION status_sent() RETURNS int4 LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN 3;
COMMENT ON FUNCTION status_sent() IS 'lead_status: done.';
CREATE FUNCTION status_failed() RETURNS int4 LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN 4;
COMMENT ON FUNCTION status_failed() IS 'lead_status: failed.';
CREATE FUNCTION result_none() RETURNS int4 LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN 0;
COMMENT ON FUNCTION result_none() IS 'step_result: the step has no fact.';
CREATE FUNCTION result_delivered() RETURNS int4 LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN 1;
COMMENT ON FUNCTION result_delivered() IS 'step_result: delivered, and not bounced.';
CREATE FUNCTION result_failed() RETURNS int4 LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN 2;
COMMENT ON FUNCTION result_failed() IS 'step_result: failed, and neither delivered nor bounced.';
CREATE FUNCTION result_bounced() RETURNS int4 LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN 3;
COMMENT ON FUNCTION result_bounced() IS 'step_result: bounced.';
CREATE FUNCTION reason_account_issue() RETURNS int4 LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN 1;
COMMENT ON FUNCTION reason_account_issue() IS 'Reason of a failure or bounce: the account is blocked or signed out.';
CREATE FUNCTION reason_invalid_lead() RETURNS int4 LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN 2;
COMMENT ON FUNCTION reason_invalid_lead() IS 'Reason of a failure or bounce: the lead can not be reached.';
CREATE FUNCTION reason_rate_limited() RETURNS int4 LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN 3;
COMMENT ON FUNCTION reason_rate_limited() IS 'Reason of a failure or bounce: the provider refused the rate.';
CREATE FUNCTION reason_content_rejected() RETURNS int4 LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN 4;
COMMENT ON FUNCTION reason_content_rejected() IS 'Reason of a failure or bounce: the provider refused the content.';
CREATE FUNCTION reason_other() RETURNS int4 LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN 5;
COMMENT ON FUNCTION reason_other() IS 'Reason of a failure or bounce: anything else.';

-- Bits of leads.mask. The facts of a step have one bit in each of three ranges of 16; `step_bit` is the place within
-- the range: the number of the step less 1. A lead has facts of its own after them.
CREATE FUNCTION replied_bit() RETURNS int4 LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN 48;
COMMENT ON FUNCTION replied_bit() IS 'Fact: the lead replied.';
CREATE FUNCTION converted_bit() RETURNS int4 LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN 49;
COMMENT ON FUNCTION converted_bit() IS 'Fact: the lead converted.';
CREATE FUNCTION auto_replied_bit() RETURNS int4 LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN 50;
COMMENT ON FUNCTION auto_replied_bit() IS 'Fact: a machine replied for the lead. It ends nothing.';
CREATE FUNCTION opted_out_bit() RETURNS int4 LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN 51;
COMMENT ON FUNCTION opted_out_bit() IS 'Fact: the lead opted out.';
CREATE FUNCTION forgotten_bit() RETURNS int4 LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN 52;
COMMENT ON FUNCTION forgotten_bit() IS
    'The lead was forgotten on request: its id and texts are deleted, its facts still count. Not a fact that is '
    'reported.';

CREATE FUNCTION is_delivered(fact_bit int4) RETURNS bool LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN fact_bit < 16;
COMMENT ON FUNCTION is_delivered(int4) IS 'Whether a fact is that the message of a step was delivered.';
CREATE FUNCTION is_failed(fact_bit int4) RETURNS bool
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN fact_bit BETWEEN 16 AND 31;
COMMENT ON FUNCTION is_failed(int4) IS 'Whether a fact is that the message of a step failed.';
CREATE FUNCTION is_bounced(fact_bit int4) RETURNS bool
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN fact_bit BETWEEN 32 AND 47;
COMMENT ON FUNCTION is_bounced(int4) IS 'Whether a fact is that the message of a step bounced.';
CREATE FUNCTION is_message(fact_bit int4) RETURNS bool LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN fact_bit < 48;
COMMENT ON FUNCTION is_message(int4) IS 'Whether a fact is about the message of a step, not about the lead.';
CREATE FUNCTION step_bit_of(fact_bit int4) RETURNS int4 LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN fact_bit & 15;
COMMENT ON FUNCTION step_bit_of(int4) IS 'Returns the step_bit of a fact about a message.';
CREATE FUNCTION result_bit(result int4, step_bit int4) RETURNS int4
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN step_bit
        + CASE result WHEN result_delivered() THEN 0 WHEN result_failed() THEN 16 WHEN result_bounced() THEN 32 END;
COMMENT ON FUNCTION result_bit(int4, int4) IS 'Returns the bit of the fact that a result comes from; null for none.';
CREATE FUNCTION has_fact(mask int8, fact_bit int4) RETURNS bool
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN mask >> fact_bit & 1 = 1;
COMMENT ON FUNCTION has_fact(int8, int4) IS 'Whether a fact is known.';
CREATE FUNCTION fact_mask(fact_bit int4) RETURNS int8 LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN 1::int8 << fact_bit;
COMMENT ON FUNCTION fact_mask(int4) IS 'Returns the mask of one fact.';
CREATE FUNCTION step_mask(step_bit int4) RETURNS int8
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN x'000100010001'::int8 << step_bit;
COMMENT ON FUNCTION step_mask(int4) IS 'Returns the mask of the three facts of a step.';
CREATE FUNCTION ends_first_step() RETURNS int8
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN ((1::int8 << 48) - 1) | fact_mask(replied_bit()) | fact_mask(converted_bit()) | fact_mask(opted_out_bit());
COMMENT ON FUNCTION ends_first_step() IS
    'Returns the mask of the facts that end the first step: any fact of a message, a reply, a conversion, an opt-out.';
CREATE FUNCTION delivered_steps(mask int8) RETURNS int8
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN mask & ~(mask >> 32) & 65535;
COMMENT ON FUNCTION delivered_steps(int8) IS 'Returns the steps whose result is delivered, one bit each.';
CREATE FUNCTION failed_or_bounced_steps(mask int8) RETURNS int8
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN ((mask >> 16 & ~mask) | (mask >> 32)) & 65535;
COMMENT ON FUNCTION failed_or_bounced_steps(int8) IS
    'Returns the steps whose result is failed or bounced, one bit each.';
CREATE FUNCTION is_contacted(mask int8) RETURNS bool
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN delivered_steps(mask) <> 0;
COMMENT ON FUNCTION is_contacted(int8) IS 'Whether any message was delivered and did not bounce.';
CREATE FUNCTION has_delivery(mask int8) RETURNS bool LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN mask & 65535 <> 0;
COMMENT ON FUNCTION has_delivery(int8) IS 'Whether any message was delivered, also if it bounced later.';
CREATE FUNCTION has_result(mask int8, step_bit int4) RETURNS bool
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (mask | (mask >> 16) | (mask >> 32)) >> step_bit & 1 = 1;
COMMENT ON FUNCTION has_result(int8, int4) IS 'Whether a step has a result.';
CREATE FUNCTION reason_mask(reason int4, step_bit int4) RETURNS int8
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN reason::int8 << (3 * step_bit);
COMMENT ON FUNCTION reason_mask(int4, int4) IS
    'Returns the bits of a reason in leads.failed_reasons or bounced_reasons.';
CREATE FUNCTION step_reason(reasons int8, step_bit int4) RETURNS int8
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN reasons >> (3 * step_bit) & 7;
COMMENT ON FUNCTION step_reason(int8, int4) IS
    'Returns the reason of a step in leads.failed_reasons or bounced_reasons; 0 for none.';

-- Bits of claims.claimed: a block is 64 neighbouring leads, with one bit each.
CREATE FUNCTION lead_block(lead_no int4) RETURNS int4 LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN lead_no >> 6;
COMMENT ON FUNCTION lead_block(int4) IS 'Returns the block of a lead.';
CREATE FUNCTION lead_bit(lead_no int4) RETURNS int8
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN 1::int8 << (lead_no & 63);
COMMENT ON FUNCTION lead_bit(int4) IS 'Returns the bit of a lead within its block.';
CREATE FUNCTION has_lead(bits int8, lead_no int4) RETURNS bool
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN bits >> (lead_no & 63) & 1 = 1;
COMMENT ON FUNCTION has_lead(int8, int4) IS 'Whether the bit of a lead is set.';

-- Status, next step and result: the rules of proto/lead.rs.

CREATE FUNCTION lead_status(mask int8, steps int4) RETURNS int4
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE
        WHEN has_fact(mask, replied_bit()) OR has_fact(mask, converted_bit()) THEN status_sent()
        WHEN ~delivered_steps(mask) & ((1::int8 << steps) - 1) = 0 THEN status_sent()
        WHEN has_fact(mask, opted_out_bit()) THEN
            CASE WHEN is_contacted(mask) THEN status_sent() ELSE status_failed() END
        WHEN failed_or_bounced_steps(mask) <> 0 THEN status_failed()
        WHEN is_contacted(mask) THEN status_partial()
        ELSE status_pending()
    END;
COMMENT ON FUNCTION lead_status(int8, int4) IS
    'Returns the status of a lead in a campaign of so many steps. The rules, in their order: replied, converted or '
    'every step delivered is sent; opted out is sent where a step was delivered, else failed; any failed or bounced '
    'step is failed; any delivered step is partial; else pending.';

CREATE FUNCTION lead_following_step(mask int8) RETURNS int4
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN length(ltrim(delivered_steps(mask)::int4::bit(16)::text, '0')) + 1;
COMMENT ON FUNCTION lead_following_step(int8) IS
    'Returns the step after the highest delivered one: 1 where none is delivered, 17 where step 16 is.';

CREATE FUNCTION lead_next_step(mask int8, steps int4) RETURNS int4
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE
        WHEN lead_status(mask, steps) > status_partial() OR lead_following_step(mask) > steps THEN 0
        ELSE lead_following_step(mask)
    END;
COMMENT ON FUNCTION lead_next_step(int8, int4) IS
    'Returns the step to send next; 0 when the lead is sent or failed, or no step follows the highest delivered one.';

CREATE FUNCTION step_result(mask int8, step_bit int4) RETURNS int4
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE
        WHEN has_fact(mask, step_bit + 32) THEN result_bounced()
        WHEN has_fact(mask, step_bit) THEN result_delivered()
        WHEN has_fact(mask, step_bit + 16) THEN result_failed()
        ELSE result_none()
    END;
COMMENT ON FUNCTION step_result(int8, int4) IS
    'Returns the result of a step, its strongest fact: bounced is stronger than delivered, delivered is stronger than '
    'failed.';
