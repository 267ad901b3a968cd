-- Workspaces, accounts, campaigns, and the records that belong to a whole workspace.
--
-- For every table of the schema:
-- * workspace_id leads every key but that of `verifications`, so that workspaces can be spread over several databases.
-- * Workspaces, accounts, campaigns and leads are numbered with int4. Ids that callers chose stay in `name` and
-- `lead_ids`.
-- * Time comes in as a parameter. Nothing here reads a clock.
-- * docs/architecture.md, "Lock order", says in which order rows are locked.

CREATE TABLE workspaces (
    workspace_id int4 GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text COLLATE "C" NOT NULL UNIQUE,
    created_at timestamptz NOT NULL
);
COMMENT ON TABLE workspaces IS 'One row for each tenant; made with its first resource.';
COMMENT ON COLUMN workspaces.workspace_id IS 'Number of the workspace; leads every other key.';
COMMENT ON COLUMN workspaces.name IS 'Id of the workspace in resource names.';
COMMENT ON COLUMN workspaces.created_at IS 'When its first resource was created.';

CREATE TABLE accounts (
    workspace_id int4 NOT NULL REFERENCES workspaces,
    account_id int4 GENERATED ALWAYS AS IDENTITY,
    name text COLLATE "C" NOT NULL,
    uid uuid NOT NULL,
    display_name text NOT NULL,
    state int2 NOT NULL CHECK (state IN (account_active(), account_suspended())),
    daily_limit int4 CHECK (daily_limit >= 0),
    time_zone text NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    revision int8 NOT NULL,
    PRIMARY KEY (workspace_id, account_id),
    UNIQUE (workspace_id, name)
);
COMMENT ON TABLE accounts IS 'One row for each sending account. Every claim of the account locks its row.';
COMMENT ON COLUMN accounts.workspace_id IS 'Workspace of the account.';
COMMENT ON COLUMN accounts.account_id IS 'Number of the account; above 0.';
COMMENT ON COLUMN accounts.name IS 'Id of the account in resource names.';
COMMENT ON COLUMN accounts.uid IS 'Tells an account from an earlier one of the same name.';
COMMENT ON COLUMN accounts.display_name IS 'Text for people.';
COMMENT ON COLUMN accounts.state IS 'account_active() or account_suspended().';
COMMENT ON COLUMN accounts.daily_limit IS 'Most messages in a day of its time zone; 0 sends nothing, null is no limit.';
COMMENT ON COLUMN accounts.time_zone IS 'IANA time zone in which its days begin.';
COMMENT ON COLUMN accounts.created_at IS 'When it was created.';
COMMENT ON COLUMN accounts.updated_at IS 'When its settings or state last changed.';
COMMENT ON COLUMN accounts.revision IS 'Changes with every update; the etag.';

CREATE TABLE campaigns (
    workspace_id int4 NOT NULL REFERENCES workspaces,
    campaign_id int4 GENERATED ALWAYS AS IDENTITY,
    name text COLLATE "C" NOT NULL,
    uid uuid NOT NULL,
    salt int4 NOT NULL,
    display_name text NOT NULL,
    state int2 NOT NULL CHECK (state IN (campaign_active(), campaign_paused(), campaign_finished())),
    finish_reason int2 CHECK (finish_reason IN (finish_completed(), finish_requested())),
    steps int2 NOT NULL CHECK (steps BETWEEN 1 AND 16),
    follow_up_delay_ms int8 NOT NULL CHECK (follow_up_delay_ms >= 0),
    time_zone text NOT NULL,
    active_windows text[] NOT NULL,
    daily_limit int4 CHECK (daily_limit >= 0),
    claim_expiry_policy int2 NOT NULL CHECK (claim_expiry_policy IN (expiry_hold(), expiry_retry())),
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
    CHECK (
        (state = campaign_finished()) = (finished_at IS NOT NULL)
        AND (state = campaign_finished()) = (finish_reason IS NOT NULL)
    )
);
COMMENT ON TABLE campaigns IS
    'Settings and state of a campaign. Every claim of the campaign locks its row; outcomes write it only to finish '
    'the campaign.';
COMMENT ON COLUMN campaigns.workspace_id IS 'Workspace of the campaign.';
COMMENT ON COLUMN campaigns.campaign_id IS 'Number of the campaign.';
COMMENT ON COLUMN campaigns.name IS 'Id of the campaign in resource names.';
COMMENT ON COLUMN campaigns.uid IS 'Tells a campaign from an earlier one of the same name.';
COMMENT ON COLUMN campaigns.salt IS
    'Drawn with the campaign; part of each send key, so that a key of another installation names nothing.';
COMMENT ON COLUMN campaigns.display_name IS 'Text for people.';
COMMENT ON COLUMN campaigns.state IS 'campaign_active(), campaign_paused() or campaign_finished().';
COMMENT ON COLUMN campaigns.finish_reason IS 'finish_completed() or finish_requested(); null before the finish.';
COMMENT ON COLUMN campaigns.steps IS 'Messages to each lead, 1 to 16; fixed when the campaign is created.';
COMMENT ON COLUMN campaigns.follow_up_delay_ms IS 'Milliseconds from the delivery of a step to the next step.';
COMMENT ON COLUMN campaigns.time_zone IS 'IANA time zone of its days and active windows.';
COMMENT ON COLUMN campaigns.active_windows IS
    'Active hours, each as {days on which the window begins, 1 is Monday} {start} {end}. Example: 12345 09:00 17:00. '
    'Empty is always.';
COMMENT ON COLUMN campaigns.daily_limit IS
    'Most messages in a day of its time zone; 0 sends nothing, null is no limit.';
COMMENT ON COLUMN campaigns.claim_expiry_policy IS
    'What happens to a claim that expires without an outcome: expiry_hold() or expiry_retry().';
COMMENT ON COLUMN campaigns.settle_seconds IS
    'Seconds from the finish, and from the expiry of the last claim, until results are final.';
COMMENT ON COLUMN campaigns.attribution_days IS
    'Days after the finish in which replies and conversions are still taken.';
COMMENT ON COLUMN campaigns.lead_list_complete IS 'No more leads will be added, so the campaign can finish by itself.';
COMMENT ON COLUMN campaigns.created_at IS 'When it was created.';
COMMENT ON COLUMN campaigns.updated_at IS 'When its settings or state last changed.';
COMMENT ON COLUMN campaigns.finished_at IS 'When it finished; null before.';
COMMENT ON COLUMN campaigns.finalized_at IS 'When its results became final; null before.';
COMMENT ON COLUMN campaigns.revision IS 'Changes with every update; the etag.';
COMMENT ON COLUMN campaigns.owner_resource IS 'Kubernetes resource that manages the campaign; null for none.';
COMMENT ON COLUMN campaigns.owner_uid IS 'UID of that resource.';
COMMENT ON COLUMN campaigns.owner_generation IS
    'Generation of that resource that was applied last; an older one is refused.';
COMMENT ON COLUMN campaigns.owner_fencing_token IS
    'Token of the controller that applied it last; an older one is refused.';

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
COMMENT ON TABLE campaign_accounts IS 'One row for each account that serves a campaign, or has leads of it.';
COMMENT ON COLUMN campaign_accounts.workspace_id IS 'Workspace of both.';
COMMENT ON COLUMN campaign_accounts.campaign_id IS 'The campaign.';
COMMENT ON COLUMN campaign_accounts.account_id IS 'The account.';
COMMENT ON COLUMN campaign_accounts.removed IS
    'The account no longer serves the campaign, but leads still wait for it.';

CREATE TABLE deleted_campaigns (
    workspace_id int4 NOT NULL,
    campaign_id int4 NOT NULL,
    deleted_at timestamptz NOT NULL,
    is_closed bool NOT NULL DEFAULT false,
    PRIMARY KEY (workspace_id, campaign_id)
);
COMMENT ON TABLE deleted_campaigns IS
    'Campaigns that were deleted, while upkeep removes their leads and log in portions.';
COMMENT ON COLUMN deleted_campaigns.workspace_id IS 'Workspace of the campaign.';
COMMENT ON COLUMN deleted_campaigns.campaign_id IS 'Number that the campaign had.';
COMMENT ON COLUMN deleted_campaigns.deleted_at IS 'When it was deleted.';
COMMENT ON COLUMN deleted_campaigns.is_closed IS
    'account_days_closed has what the log of the campaign says, so a recount leaves that log out.';

CREATE TABLE opt_outs (
    workspace_id int4 NOT NULL REFERENCES workspaces,
    lead_id text COLLATE "C" NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (workspace_id, lead_id)
);
COMMENT ON TABLE opt_outs IS
    'Lead ids that want no messages, in any campaign of their workspace. An opt-out locks the row of the workspace '
    'FOR NO KEY UPDATE, adding leads locks it FOR SHARE. So an id that is listed and a lead that is added at the same '
    'time see each other.';
COMMENT ON COLUMN opt_outs.workspace_id IS 'Workspace in which it holds.';
COMMENT ON COLUMN opt_outs.lead_id IS 'Id of the lead, as callers chose it.';
COMMENT ON COLUMN opt_outs.created_at IS 'When it was listed.';

CREATE TABLE requests (
    workspace_id int4 NOT NULL,
    request_id uuid NOT NULL,
    digest bytea NOT NULL,
    grant_no int8,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (workspace_id, request_id)
);
CREATE INDEX ON requests (created_at);
COMMENT ON TABLE requests IS 'Request ids of the last 24 hours, so that a retry is answered and not done twice.';
COMMENT ON COLUMN requests.workspace_id IS 'Workspace of the call.';
COMMENT ON COLUMN requests.request_id IS 'Id that the caller chose.';
COMMENT ON COLUMN requests.digest IS 'Digest of method and body: the same id with another body is refused.';
COMMENT ON COLUMN requests.grant_no IS 'Number of the grant that the request got; null where it granted no claims.';
COMMENT ON COLUMN requests.created_at IS 'When the request came first.';

CREATE TABLE verifications (
    verified_at timestamptz PRIMARY KEY,
    differences int8 NOT NULL,
    repaired bool NOT NULL
);
COMMENT ON TABLE verifications IS 'Runs of `verify`; the latest is a metric.';
COMMENT ON COLUMN verifications.verified_at IS 'When the run ended.';
COMMENT ON COLUMN verifications.differences IS 'Numbers that differed from the recount.';
COMMENT ON COLUMN verifications.repaired IS 'The run put them right.';
