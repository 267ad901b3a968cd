-- An account's claims, by an expression, which only those who mean this index write. By the plain columns the planner took it
-- for the look-up of a block while nothing was claimed, since it finds a workspace as well as the key does; a claim of
-- follow-ups then went through all claims of the workspace for each lead.
CREATE INDEX claims_of_account ON claims (((workspace_id::int8 << 32) + account_id), grant_no);
DROP INDEX claims_workspace_id_account_id_grant_no_idx;
