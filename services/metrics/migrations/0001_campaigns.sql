-- The first schema. What holds for all of it:
-- * workspace_id leads every key, so that the same schema can be sharded by workspace.
-- * Inside, everything is numbered with int4; the ids that callers chose stay in `name` and `lead_ids`.
-- * Rows are locked in one order: accounts, campaigns, claims, leads, counters, reservations, account days;
--   several of a kind by number.
-- * Time comes in as a parameter; nothing here reads a clock.

CREATE TABLE workspaces (
    workspace_id int4 GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text COLLATE "C" NOT NULL UNIQUE,
    created_at timestamptz NOT NULL
);

-- state: 1 active, 2 suspended.
CREATE TABLE accounts (
    workspace_id int4 NOT NULL REFERENCES workspaces,
    account_id int4 GENERATED ALWAYS AS IDENTITY,
    name text COLLATE "C" NOT NULL,
    uid uuid NOT NULL,
    display_name text NOT NULL,
    state int2 NOT NULL CHECK (state IN (1, 2)),
    daily_limit int4 CHECK (daily_limit >= 0),
    time_zone text NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    revision int8 NOT NULL,
    PRIMARY KEY (workspace_id, account_id),
    UNIQUE (workspace_id, name)
);

-- Settings and state: written by people and by the finish, locked by every claim, never written by outcomes.
-- state: 1 active, 2 paused, 3 finished. finish_reason: 1 completed, 2 requested. claim_expiry_policy: 1 hold, 2 retry.
-- active_windows: '{days on which it begins, 1 is Monday} {start} {end}', as '12345 09:00 17:00'.
CREATE TABLE campaigns (
    workspace_id int4 NOT NULL REFERENCES workspaces,
    campaign_id int4 GENERATED ALWAYS AS IDENTITY,
    name text COLLATE "C" NOT NULL,
    uid uuid NOT NULL,
    salt int4 NOT NULL,
    display_name text NOT NULL,
    state int2 NOT NULL CHECK (state IN (1, 2, 3)),
    finish_reason int2 CHECK (finish_reason IN (1, 2)),
    steps int2 NOT NULL CHECK (steps BETWEEN 1 AND 16),
    follow_up_delay_ms int8 NOT NULL CHECK (follow_up_delay_ms >= 0),
    time_zone text NOT NULL,
    active_windows text[] NOT NULL,
    daily_limit int4 CHECK (daily_limit >= 0),
    claim_expiry_policy int2 NOT NULL CHECK (claim_expiry_policy IN (1, 2)),
    settle_seconds int4 NOT NULL CHECK (settle_seconds >= 0),
    attribution_days int4 NOT NULL CHECK (attribution_days >= 0),
    lead_list_complete bool NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    finished_at timestamptz,
    finalized_at timestamptz,
    revision int8 NOT NULL,
    owner_resource text,
    owner_uid text,
    owner_generation int8,
    owner_fencing_token int8,
    PRIMARY KEY (workspace_id, campaign_id),
    UNIQUE (workspace_id, name),
    UNIQUE (workspace_id, owner_uid),
    CHECK ((state = 3) = (finished_at IS NOT NULL) AND (state = 3) = (finish_reason IS NOT NULL))
);

-- removed: the account no longer serves the campaign, but has leads that wait for it.
CREATE TABLE campaign_accounts (
    workspace_id int4 NOT NULL,
    campaign_id int4 NOT NULL,
    account_id int4 NOT NULL,
    removed bool NOT NULL DEFAULT false,
    PRIMARY KEY (workspace_id, campaign_id, account_id),
    FOREIGN KEY (workspace_id, campaign_id) REFERENCES campaigns ON DELETE CASCADE,
    FOREIGN KEY (workspace_id, account_id) REFERENCES accounts
);
CREATE INDEX ON campaign_accounts (workspace_id, account_id, campaign_id);

-- One row a campaign: the transaction that handles the last lead sees the whole count. The check is the invariant of
-- the product, kept by the database itself. There is none for signs: Postgres checks an update first against the version
-- its snapshot saw, on which a decrement can be negative though it is not on the version that it then waits for.
CREATE TABLE campaign_counters (
    workspace_id int4 NOT NULL,
    campaign_id int4 NOT NULL,
    total int8 NOT NULL DEFAULT 0,
    pending int8 NOT NULL DEFAULT 0,
    partial int8 NOT NULL DEFAULT 0,
    sent int8 NOT NULL DEFAULT 0,
    failed int8 NOT NULL DEFAULT 0,
    delivered_messages int8 NOT NULL DEFAULT 0,
    failed_messages int8 NOT NULL DEFAULT 0,
    bounced_messages int8 NOT NULL DEFAULT 0,
    account_issue int8 NOT NULL DEFAULT 0,
    invalid_lead int8 NOT NULL DEFAULT 0,
    rate_limited int8 NOT NULL DEFAULT 0,
    content_rejected int8 NOT NULL DEFAULT 0,
    other_reason int8 NOT NULL DEFAULT 0,
    contacted int8 NOT NULL DEFAULT 0,
    replied int8 NOT NULL DEFAULT 0,
    converted int8 NOT NULL DEFAULT 0,
    contacted_replied int8 NOT NULL DEFAULT 0,
    contacted_converted int8 NOT NULL DEFAULT 0,
    auto_replied int8 NOT NULL DEFAULT 0,
    opted_out int8 NOT NULL DEFAULT 0,
    next_lead_no int4 NOT NULL DEFAULT 1,
    version int8 NOT NULL DEFAULT 1,
    PRIMARY KEY (workspace_id, campaign_id),
    FOREIGN KEY (workspace_id, campaign_id) REFERENCES campaigns ON DELETE CASCADE,
    CHECK (pending + partial + sent + failed = total)
) WITH (fillfactor = 20);

-- mask: bits 0-15 delivered, 16-31 failed, 32-47 bounced, 48 replied, 49 converted, 50 auto-replied, 51 opted out.
-- *_reasons: three bits a step. account_id is null until the first claim's outcome; before, the claim has it.
-- No index may touch a column that outcomes change, so that their updates stay on the page.
CREATE TABLE leads (
    workspace_id int4 NOT NULL,
    campaign_id int4 NOT NULL,
    lead_no int4 NOT NULL,
    account_id int4,
    mask int8 NOT NULL DEFAULT 0,
    failed_reasons int8 NOT NULL DEFAULT 0,
    bounced_reasons int8 NOT NULL DEFAULT 0,
    last_action_at timestamptz,
    PRIMARY KEY (workspace_id, campaign_id, lead_no)
) WITH (fillfactor = 60);

CREATE TABLE lead_ids (
    workspace_id int4 NOT NULL,
    campaign_id int4 NOT NULL,
    lead_no int4 NOT NULL,
    lead_id text COLLATE "C" NOT NULL,
    PRIMARY KEY (workspace_id, campaign_id, lead_no),
    UNIQUE (workspace_id, campaign_id, lead_id)
);

-- Leads [lo, hi) that were never claimed; account 0 is any of the campaign's.
CREATE TABLE segments (
    workspace_id int4 NOT NULL,
    campaign_id int4 NOT NULL,
    account_id int4 NOT NULL,
    lo int4 NOT NULL,
    hi int4 NOT NULL CHECK (hi > lo),
    PRIMARY KEY (workspace_id, campaign_id, account_id, lo)
);

-- Steps that become due at a time: follow-ups, and claims that came back. A row may be outdated by later facts;
-- claiming reads the facts.
CREATE TABLE returns (
    workspace_id int4 NOT NULL,
    campaign_id int4 NOT NULL,
    account_id int4 NOT NULL,
    due_at timestamptz NOT NULL,
    lead_no int4 NOT NULL,
    step int2 NOT NULL,
    PRIMARY KEY (workspace_id, campaign_id, account_id, due_at, lead_no, step)
);

-- Claims of one grant and step on 64 neighbouring leads: block = lead_no / 64, one bit a lead. granted: handed out and
-- not given back; held: of these, without outcome. Past expires_at the held ones are uncertain.
-- The days are those whose reservations a release gives back.
CREATE TABLE claims (
    workspace_id int4 NOT NULL,
    campaign_id int4 NOT NULL,
    block int4 NOT NULL,
    step int2 NOT NULL,
    grant_no int8 NOT NULL,
    account_id int4 NOT NULL,
    granted int8 NOT NULL,
    held int8 NOT NULL CHECK (held & ~granted = 0),
    expires_at timestamptz NOT NULL,
    account_day date NOT NULL,
    campaign_day date NOT NULL,
    PRIMARY KEY (workspace_id, campaign_id, block, step, grant_no)
) WITH (fillfactor = 50);
CREATE INDEX ON claims (workspace_id, account_id, grant_no);

-- Sends reserved by local day, of the account's and of the campaign's zone.
CREATE TABLE account_reservations (
    workspace_id int4 NOT NULL,
    account_id int4 NOT NULL,
    day date NOT NULL,
    reserved int8 NOT NULL,
    PRIMARY KEY (workspace_id, account_id, day)
) WITH (fillfactor = 20);

CREATE TABLE campaign_reservations (
    workspace_id int4 NOT NULL,
    campaign_id int4 NOT NULL,
    day date NOT NULL,
    reserved int8 NOT NULL,
    PRIMARY KEY (workspace_id, campaign_id, day)
) WITH (fillfactor = 20);

-- Messages by account and UTC day. A fact counts on its own day; that a stronger one superseded it counts on the day
-- of the next stronger one. So the rows are a function of facts, in whatever order they came; readers subtract.
CREATE TABLE account_days (
    workspace_id int4 NOT NULL,
    account_id int4 NOT NULL,
    day date NOT NULL,
    delivered int8 NOT NULL,
    failed int8 NOT NULL,
    bounced int8 NOT NULL,
    superseded_delivered int8 NOT NULL,
    superseded_failed int8 NOT NULL,
    PRIMARY KEY (workspace_id, account_id, day)
) WITH (fillfactor = 20);

-- Every fact with its circumstances, by the time of its receipt. bit: place of the fact in leads.mask.
CREATE TABLE outcomes (
    workspace_id int4 NOT NULL,
    campaign_id int4 NOT NULL,
    lead_no int4 NOT NULL,
    bit int2 NOT NULL,
    reason int2,
    batch_ordinal int4 NOT NULL,
    account_id int4,
    happened_at timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    detail text
) PARTITION BY RANGE (received_at);
CREATE INDEX ON outcomes (workspace_id, campaign_id, lead_no);
-- Receives what no monthly partition was made for yet.
CREATE TABLE outcomes_default PARTITION OF outcomes DEFAULT;

-- Request ids of the last day, with a digest of the body they came with.
CREATE TABLE requests (
    workspace_id int4 NOT NULL,
    request_id uuid NOT NULL,
    digest bytea NOT NULL,
    grant_no int8,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (workspace_id, request_id)
);
CREATE INDEX ON requests (created_at);

-- Status by the rules of the product: 1 pending, 2 partial, 3 sent, 4 failed. proto/lead.rs says the same; a test
-- compares the two.
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

-- The step after the highest delivered one.
CREATE FUNCTION lead_following_step(mask int8) RETURNS int4
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN length(ltrim((mask & ~(mask >> 32) & 65535)::int4::bit(16)::text, '0')) + 1;

-- The step to send next; 0 when the lead has ended, or no step follows the highest delivered one.
CREATE FUNCTION lead_next_step(mask int8, steps int4) RETURNS int4
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE
        WHEN lead_status(mask, steps) > 2 OR lead_following_step(mask) > steps THEN 0
        ELSE lead_following_step(mask)
    END;

-- The result of the step a message's bit belongs to: 0 none, 1 delivered, 2 failed, 3 bounced.
CREATE FUNCTION step_result(mask int8, step_bit int4) RETURNS int4
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE
        WHEN mask >> (step_bit + 32) & 1 = 1 THEN 3
        WHEN mask >> step_bit & 1 = 1 THEN 1
        WHEN mask >> (step_bit + 16) & 1 = 1 THEN 2
        ELSE 0
    END;
