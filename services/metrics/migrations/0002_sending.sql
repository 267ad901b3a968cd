-- A row that every claim or batch changes carries an epoch in its key, which moves on every hundred or so changes: behind
-- an old snapshot (a backup, a long report) its dead versions can't be removed, and whoever looks for the row would walk
-- over all of them. The latest epoch is the first that a backward scan finds, and the versions of the older ones stay
-- behind it. An update names it as `epoch >= (the latest)`, so that it also finds a row that moved on while it waited.
ALTER TABLE campaign_counters
    ADD COLUMN epoch int4 NOT NULL DEFAULT 0,
    -- Claims ever closed; see campaign_claims.
    ADD COLUMN closed_claims int8 NOT NULL DEFAULT 0,
    ADD COLUMN conversion_value_micros int8 NOT NULL DEFAULT 0,
    DROP CONSTRAINT campaign_counters_pkey,
    ADD PRIMARY KEY (workspace_id, campaign_id, epoch);

-- Claims ever granted. Held and uncertain ones together = granted - closed_claims of the counters: so grants and outcomes,
-- which each change their own number, do not wait for each other. Changed under the lock of the campaign.
CREATE TABLE campaign_claims (
    workspace_id int4 NOT NULL,
    campaign_id int4 NOT NULL,
    epoch int4 NOT NULL DEFAULT 0,
    granted int8 NOT NULL DEFAULT 0,
    PRIMARY KEY (workspace_id, campaign_id, epoch),
    FOREIGN KEY (workspace_id, campaign_id) REFERENCES campaigns ON DELETE CASCADE
) WITH (fillfactor = 20);

INSERT INTO campaign_claims (workspace_id, campaign_id, granted)
SELECT c.workspace_id, c.campaign_id,
    (SELECT coalesce(sum(bit_count(h.held::bit(64))), 0) FROM claims h
        WHERE h.workspace_id = c.workspace_id AND h.campaign_id = c.campaign_id)
FROM campaigns c;

-- Epoch -1 counts messages that were reported without a claim: whoever reports holds no lock of account or campaign, so
-- that row never moves. From 0 on it is what claims reserved, changed under that lock. Reserved is the sum of both.
ALTER TABLE account_reservations
    ADD COLUMN epoch int4 NOT NULL DEFAULT -1,
    DROP CONSTRAINT account_reservations_pkey,
    ADD PRIMARY KEY (workspace_id, account_id, day, epoch);
ALTER TABLE campaign_reservations
    ADD COLUMN epoch int4 NOT NULL DEFAULT -1,
    DROP CONSTRAINT campaign_reservations_pkey,
    ADD PRIMARY KEY (workspace_id, campaign_id, day, epoch);

-- Finds what expired without a look at what is held. By an expression, which only those who mean this index write: the
-- planner would else take it for the look-up of a block, as long as it takes the table for small.
CREATE INDEX claims_expiry ON claims (((workspace_id::int8 << 32) + campaign_id), expires_at);

-- What conversions are worth, where the caller said so. Apart from the log, so that it outlives the log's retention.
CREATE TABLE conversion_values (
    workspace_id int4 NOT NULL,
    campaign_id int4 NOT NULL,
    lead_no int4 NOT NULL,
    value_micros int8 NOT NULL CHECK (value_micros >= 0),
    PRIMARY KEY (workspace_id, campaign_id, lead_no)
);

-- What was granted no longer matters once a claim is closed. In its place: the bits that the last update closed, which an
-- UPDATE ... RETURNING could not tell otherwise.
ALTER TABLE claims DROP CONSTRAINT claims_check;
ALTER TABLE claims RENAME COLUMN granted TO last_closed;
ALTER TABLE claims ALTER COLUMN last_closed SET DEFAULT 0;

-- A segment is empty within the transaction that takes its last lead, and deleted by it.
ALTER TABLE segments DROP CONSTRAINT segments_check, ADD CHECK (hi >= lo);
