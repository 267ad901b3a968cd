-- Lead ids that want no messages, in any campaign of their workspace. Whoever adds to the list locks the workspace's row
-- FOR NO KEY UPDATE, whoever adds leads FOR SHARE, both first of all: so a lead that is added and an id that is listed at
-- the same time find each other.
CREATE TABLE opt_outs (
    workspace_id int4 NOT NULL REFERENCES workspaces,
    lead_id text COLLATE "C" NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (workspace_id, lead_id)
);

-- The same lead is found in all campaigns of its workspace.
ALTER TABLE lead_ids DROP CONSTRAINT lead_ids_workspace_id_campaign_id_lead_id_key,
    ADD UNIQUE (workspace_id, lead_id, campaign_id);

-- Campaigns that are gone, and whose leads and log are yet to go, in portions.
CREATE TABLE deleted_campaigns (
    workspace_id int4 NOT NULL,
    campaign_id int4 NOT NULL,
    deleted_at timestamptz NOT NULL,
    PRIMARY KEY (workspace_id, campaign_id)
);

-- leads.mask, bit 52: forgotten on request. Its id and texts are gone; what counts stays, and nothing more is sent.
