-- Leads, what is known of them, and which of their steps can be sent.

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
) WITH (
    -- The first outcome of a lead fits on its page beside the version it replaces, also while an old snapshot keeps
    -- both.
    fillfactor = 46,
    -- Large, but nearly all updates are HOT, and page pruning cleans up after them: 5 % of dead rows is soon enough.
    autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05
);
COMMENT ON TABLE leads IS
    'One row for each lead: its facts. No index may contain a column that outcomes change, so that every update is '
    'heap-only (HOT).';
COMMENT ON COLUMN leads.workspace_id IS 'Workspace of the lead.';
COMMENT ON COLUMN leads.campaign_id IS 'Campaign of the lead.';
COMMENT ON COLUMN leads.lead_no IS
    'Number of the lead within its campaign: 1 and on, in the order in which leads are added.';
COMMENT ON COLUMN leads.account_id IS
    'Account that sends to the lead; null before its first claim ends, unless the lead was added with an account. An '
    'open claim says it.';
COMMENT ON COLUMN leads.mask IS 'Facts, one bit each: proto/lead.rs has the table. Bits are only ever added.';
COMMENT ON COLUMN leads.failed_reasons IS
    'Why steps failed: three bits for each step, the number of a reason; see step_reason.';
COMMENT ON COLUMN leads.bounced_reasons IS
    'Why steps bounced, in the same form. Both are kept; the result of the step says which one counts.';
COMMENT ON COLUMN leads.last_action_at IS 'Latest time of any fact; null before the first.';

CREATE TABLE lead_ids (
    workspace_id int4 NOT NULL,
    campaign_id int4 NOT NULL,
    lead_no int4 NOT NULL,
    lead_id text COLLATE "C" NOT NULL,
    PRIMARY KEY (workspace_id, campaign_id, lead_no),
    -- The workspace and the id come first: an opt-out finds the lead in all campaigns of its workspace.
    UNIQUE (workspace_id, lead_id, campaign_id)
) WITH (
    -- Rows are only added: vacuum seldom, for the visibility map.
    autovacuum_vacuum_insert_scale_factor = 0.2
);
COMMENT ON TABLE lead_ids IS 'Ids of leads, as callers chose them. The row of a lead that was forgotten is deleted.';
COMMENT ON COLUMN lead_ids.workspace_id IS 'Workspace of the lead.';
COMMENT ON COLUMN lead_ids.campaign_id IS 'Campaign of the lead.';
COMMENT ON COLUMN lead_ids.lead_no IS 'Number of the lead.';
COMMENT ON COLUMN lead_ids.lead_id IS 'Id of the lead in resource names.';

CREATE TABLE segments (
    workspace_id int4 NOT NULL,
    campaign_id int4 NOT NULL,
    account_id int4 NOT NULL,
    lo int4 NOT NULL,
    -- A segment is empty within the transaction that takes its last lead and then deletes it.
    hi int4 NOT NULL,
    PRIMARY KEY (workspace_id, campaign_id, account_id, lo),
    CHECK (hi >= lo)
) WITH (
    -- Few rows that every claim changes: vacuum as soon as a page of them is dead, without pauses.
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0
);
COMMENT ON TABLE segments IS 'Ranges of leads that were never claimed. Claims take from the low end.';
COMMENT ON COLUMN segments.workspace_id IS 'Workspace of the leads.';
COMMENT ON COLUMN segments.campaign_id IS 'Campaign of the leads.';
COMMENT ON COLUMN segments.account_id IS 'Account of the leads, or any_account().';
COMMENT ON COLUMN segments.lo IS 'Number of the first lead.';
COMMENT ON COLUMN segments.hi IS 'Number after the last lead.';

CREATE TABLE returns (
    workspace_id int4 NOT NULL,
    campaign_id int4 NOT NULL,
    account_id int4 NOT NULL,
    due_at timestamptz NOT NULL,
    lead_no int4 NOT NULL,
    step int2 NOT NULL,
    PRIMARY KEY (workspace_id, campaign_id, account_id, due_at, lead_no, step)
) WITH (
    -- A queue: claimed rows lie dead before the next ones.
    autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0
);
COMMENT ON TABLE returns IS
    'Queue of steps that become due at a time: follow-ups, and steps whose claims were released or are retried. A '
    'hint: later facts can outdate a row, and the same step can be listed twice. A claim checks the facts of the '
    'lead.';
COMMENT ON COLUMN returns.workspace_id IS 'Workspace of the lead.';
COMMENT ON COLUMN returns.campaign_id IS 'Campaign of the lead.';
COMMENT ON COLUMN returns.account_id IS 'Account of the lead, or any_account().';
COMMENT ON COLUMN returns.due_at IS 'When the step may be sent.';
COMMENT ON COLUMN returns.lead_no IS 'Number of the lead.';
COMMENT ON COLUMN returns.step IS 'Number of the step.';

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
-- Workspaces move between databases by logical replication, which has to tell rows apart when they change. A key of
-- outcomes would have to contain received_at and would make every insert of the hot path dearer. FULL costs nothing on
-- insert: the old row is written whole only when a lead is forgotten or a deleted campaign is removed. Partitions do
-- not inherit it.
ALTER TABLE outcomes REPLICA IDENTITY FULL;
COMMENT ON TABLE outcomes IS
    'Log of facts, each with its circumstances. One partition for each month of receipt. Rows are only added, except '
    'that a forgotten lead loses its texts and a deleted campaign its rows.';
COMMENT ON COLUMN outcomes.workspace_id IS 'Workspace of the lead.';
COMMENT ON COLUMN outcomes.campaign_id IS 'Campaign of the lead.';
COMMENT ON COLUMN outcomes.lead_no IS 'Number of the lead.';
COMMENT ON COLUMN outcomes.bit IS 'The fact: its place in leads.mask.';
COMMENT ON COLUMN outcomes.reason IS 'Why a message failed or bounced, the number of a reason; null for other facts.';
COMMENT ON COLUMN outcomes.batch_ordinal IS 'Place within the batch: orders outcomes of the same received_at.';
COMMENT ON COLUMN outcomes.account_id IS 'Account of the message; null where none is known.';
COMMENT ON COLUMN outcomes.happened_at IS 'When it happened, as reported.';
COMMENT ON COLUMN outcomes.received_at IS 'When the service took it in.';
COMMENT ON COLUMN outcomes.detail IS 'Text for people; null once the lead was forgotten.';

CREATE TABLE outcomes_default PARTITION OF outcomes DEFAULT;
ALTER TABLE outcomes_default REPLICA IDENTITY FULL;
COMMENT ON TABLE outcomes_default IS 'Takes outcomes of a month whose partition does not exist yet.';

CREATE TABLE conversion_values (
    workspace_id int4 NOT NULL,
    campaign_id int4 NOT NULL,
    lead_no int4 NOT NULL,
    value_micros int8 NOT NULL CHECK (value_micros >= 0),
    PRIMARY KEY (workspace_id, campaign_id, lead_no)
);
COMMENT ON TABLE conversion_values IS
    'What conversions are worth, where the caller said so. A table of its own, so that it outlives the log.';
COMMENT ON COLUMN conversion_values.workspace_id IS 'Workspace of the lead.';
COMMENT ON COLUMN conversion_values.campaign_id IS 'Campaign of the lead.';
COMMENT ON COLUMN conversion_values.lead_no IS 'Number of the lead.';
COMMENT ON COLUMN conversion_values.value_micros IS 'Value in millionths of the unit that the caller counts in.';

-- One outcome in a hundred corrects an earlier one and looks in the log. These look-ups are PL/pgSQL functions: inlined
-- into the statement of a batch they would cost every batch, which opens each partition and its index even where it
-- looks nothing up. They are STABLE: they see what the statement that calls them sees.

CREATE FUNCTION log_message_account(workspace int4, campaign int4, lead int4, step_bit int4) RETURNS int4
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN (
        SELECT coalesce(o.account_id, 0) FROM outcomes o
        WHERE o.workspace_id = workspace AND o.campaign_id = campaign AND o.lead_no = lead
            AND is_message(o.bit) AND step_bit_of(o.bit) = step_bit
        ORDER BY o.received_at, o.batch_ordinal LIMIT 1
    );
END
$$;
COMMENT ON FUNCTION log_message_account(int4, int4, int4, int4) IS
    'Returns the account on which the message of a step was booked first: 0 for none, null where the log has no such '
    'message. step_bit is the number of the step less 1.';

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
COMMENT ON FUNCTION log_time(int4, int4, int4, int4) IS
    'Returns when a fact happened; null where the log has no such fact.';
