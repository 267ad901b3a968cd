-- Facts of a lead: what its mask means, and everything that follows from the mask alone.
--
-- Every function here is IMMUTABLE and has one expression, so that Postgres inlines it into the statement that calls
-- it. proto/lead.rs says what each bit is. tests/integration/facts.rs compares the two.

CREATE FUNCTION lead_status(mask int8, steps int4) RETURNS int4
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE
        WHEN mask & (3::int8 << 48) <> 0 THEN 3
        WHEN ~(mask & ~(mask >> 32)) & ((1::int8 << steps) - 1) = 0 THEN 3
        WHEN mask & (1::int8 << 51) <> 0 THEN CASE WHEN mask & ~(mask >> 32) & 65535 = 0 THEN 4 ELSE 3 END
        WHEN ((mask >> 16 & ~mask) | (mask >> 32)) & 65535 <> 0 THEN 4
        WHEN mask & 65535 <> 0 THEN 2
        ELSE 1
    END;
COMMENT ON FUNCTION lead_status(int8, int4) IS
    'Returns the status of a lead in a campaign of so many steps: 1 pending, 2 partial, 3 sent, 4 failed. The rules, '
    'in their order: replied, converted or every step delivered is sent; opted out is sent where a step was '
    'delivered, else failed; any failed or bounced step is failed; any delivered step is partial; else pending.';

CREATE FUNCTION lead_following_step(mask int8) RETURNS int4
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN length(ltrim((mask & ~(mask >> 32) & 65535)::int4::bit(16)::text, '0')) + 1;
COMMENT ON FUNCTION lead_following_step(int8) IS
    'Returns the step after the highest delivered one: 1 where none is delivered, 17 where step 16 is.';

CREATE FUNCTION lead_next_step(mask int8, steps int4) RETURNS int4
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE
        WHEN lead_status(mask, steps) > 2 OR lead_following_step(mask) > steps THEN 0
        ELSE lead_following_step(mask)
    END;
COMMENT ON FUNCTION lead_next_step(int8, int4) IS
    'Returns the step to send next; 0 when the lead is sent or failed, or no step follows the highest delivered one.';

CREATE FUNCTION step_result(mask int8, step_bit int4) RETURNS int4
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE
        WHEN mask >> (step_bit + 32) & 1 = 1 THEN 3
        WHEN mask >> step_bit & 1 = 1 THEN 1
        WHEN mask >> (step_bit + 16) & 1 = 1 THEN 2
        ELSE 0
    END;
COMMENT ON FUNCTION step_result(int8, int4) IS
    'Returns the result of a step, its strongest fact: 0 none, 1 delivered, 2 failed, 3 bounced. Bounced is stronger '
    'than delivered, delivered is stronger than failed. step_bit is the number of the step less 1.';
