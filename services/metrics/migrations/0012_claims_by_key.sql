-- What ends a row of claims, row by row: a statement that deletes by a join begins with all claims, where the planner takes
-- the table for empty. It does after any idle time. The caller has the row locked; each function looks with a snapshot of its
-- own, so that it sees the outcomes that the lock waited for.

-- Leaves what is open of a row, or takes it away where nothing is.
CREATE FUNCTION claim_keep(c claims, open int8) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF open = 0 THEN
        DELETE FROM claims d WHERE d.workspace_id = c.workspace_id AND d.campaign_id = c.campaign_id AND d.block = c.block
            AND d.step = c.step AND d.grant_no = c.grant_no;
    ELSE
        UPDATE claims d SET held = open, is_exact = true WHERE d.workspace_id = c.workspace_id
            AND d.campaign_id = c.campaign_id AND d.block = c.block AND d.step = c.step AND d.grant_no = c.grant_no;
    END IF;
END
$$;

-- Takes bits out that are closed now: with the row, where this is all of it, or the last of it and the others came before.
CREATE FUNCTION claim_close(c claims, bits int8) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    open int8 := CASE WHEN c.held & ~bits = 0 THEN 0 ELSE claim_open(c) & ~bits END;
BEGIN
    IF open = 0 OR c.is_exact THEN
        PERFORM claim_keep(c, open);
    END IF;
END
$$;

-- Makes a row that expired exact.
CREATE FUNCTION claim_settle(c claims) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM claim_keep(c, claim_open(c));
END
$$;

-- Takes a row away; returns what was open of it.
CREATE FUNCTION claim_end(c claims) RETURNS int8 LANGUAGE plpgsql AS $$
DECLARE
    open int8 := claim_open(c);
BEGIN
    PERFORM claim_keep(c, 0);
    RETURN open;
END
$$;
