-- An outcome no longer writes the row of its claim, which covers 64 leads: behind an old snapshot 64 versions of it piled
-- up, and every look-up walked over them. What is held is derived instead: a claim is closed once its step has a result, and
-- that is a fact of its lead.
--
-- held: handed out and not given back, closed or not. A row goes with the batch that has an outcome for all of it, or for the
-- last of it when the others came before; else after its expiry, when `claims_settle` takes out what is closed: is_exact says
-- so. From then on an outcome takes its bit out itself, so that counting what is uncertain reads no leads.
ALTER TABLE claims
    ADD COLUMN is_exact bool NOT NULL DEFAULT false,
    DROP COLUMN last_closed;

-- Finds what expired and is not exact yet.
CREATE INDEX claims_unsettled ON claims (expires_at) WHERE NOT is_exact;

-- Of a row of claims, the bits that are not closed: those whose leads have no result for the step. Planned once for a
-- connection, hence by the index even where the planner takes the table of leads for small.
CREATE FUNCTION claim_open(c claims) RETURNS int8 LANGUAGE plpgsql STABLE PARALLEL SAFE SET enable_seqscan = off AS $$
BEGIN
    IF c.is_exact THEN
        RETURN c.held;
    END IF;
    RETURN c.held & ~coalesce((
        SELECT bit_or(1::int8 << (l.lead_no & 63)) FROM leads l
        WHERE l.workspace_id = c.workspace_id AND l.campaign_id = c.campaign_id
            AND l.lead_no >= c.block * 64 AND l.lead_no < c.block * 64 + 64
            AND (l.mask | (l.mask >> 16) | (l.mask >> 32)) >> (c.step - 1) & 1 = 1
    ), 0);
END
$$;

-- A report without a claim that met the claim of its lead had closed it without counting that, so far.
UPDATE campaign_counters k SET closed_claims = k.closed_claims + d.closed, version = k.version + 1
FROM (
    SELECT workspace_id, campaign_id, sum(bit_count((c.held & ~claim_open(c))::bit(64)))::int8 AS closed
    FROM claims c GROUP BY 1, 2
) d
WHERE k.workspace_id = d.workspace_id AND k.campaign_id = d.campaign_id AND d.closed > 0;

-- A lead's first outcome fits on its page beside what it replaces, also while an old snapshot keeps both.
ALTER TABLE leads SET (fillfactor = 46);
