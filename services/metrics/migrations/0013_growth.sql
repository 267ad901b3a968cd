-- What grew without a bound, or took one long transaction.

-- A running sum of the messages of each account, so that a scrape does not add up all days of all accounts ever.
--
-- Upkeep sums days that are long over: it adds them to `account_totals` and marks them, in portions. The messages of an
-- account are its total and its days that are not summed. So a batch, which writes the row of today, writes nothing
-- more. Existing days are not summed yet, so the sums are right from the start.

ALTER TABLE history ADD COLUMN is_summed bool NOT NULL DEFAULT false;
COMMENT ON COLUMN history.is_summed IS
    'account_totals contains this day. False in rows of a single campaign, which are never summed.';
COMMENT ON TABLE history_of_accounts IS
    'History of accounts over all campaigns. A table of its own, because every scrape reads the days that are not summed.';
CREATE INDEX history_not_summed ON history_of_accounts (workspace_id, account_id) WHERE NOT is_summed;
COMMENT ON INDEX history_not_summed IS 'Finds the days of an account that are not summed.';
-- Rows lie in the order of their days. In the order of accounts the planner would read the whole table instead.
CREATE INDEX history_not_summed_by_day ON history_of_accounts (day) WHERE NOT is_summed;
COMMENT ON INDEX history_not_summed_by_day IS 'Finds the days of all accounts that are not summed.';

CREATE TABLE account_totals (
    workspace_id int4 NOT NULL,
    account_id int4 NOT NULL,
    delivered int8 NOT NULL,
    failed_account_issue int8 NOT NULL,
    failed_invalid_lead int8 NOT NULL,
    failed_rate_limited int8 NOT NULL,
    failed_content_rejected int8 NOT NULL,
    failed_other int8 NOT NULL,
    bounced_account_issue int8 NOT NULL,
    bounced_invalid_lead int8 NOT NULL,
    bounced_rate_limited int8 NOT NULL,
    bounced_content_rejected int8 NOT NULL,
    bounced_other int8 NOT NULL,
    PRIMARY KEY (workspace_id, account_id)
);
COMMENT ON TABLE account_totals IS
    'Messages of an account over all campaigns: the sum of the rows of history_of_accounts that are marked is_summed.';
COMMENT ON COLUMN account_totals.workspace_id IS 'Workspace of the account.';
COMMENT ON COLUMN account_totals.account_id IS 'The account; 0 where none is known.';
COMMENT ON COLUMN account_totals.delivered IS 'Messages whose result is delivered.';
COMMENT ON COLUMN account_totals.failed_account_issue IS 'Messages that failed: account issue.';
COMMENT ON COLUMN account_totals.failed_invalid_lead IS 'Messages that failed: invalid lead.';
COMMENT ON COLUMN account_totals.failed_rate_limited IS 'Messages that failed: rate limited.';
COMMENT ON COLUMN account_totals.failed_content_rejected IS 'Messages that failed: content rejected.';
COMMENT ON COLUMN account_totals.failed_other IS 'Messages that failed: other.';
COMMENT ON COLUMN account_totals.bounced_account_issue IS 'Messages that bounced: account issue.';
COMMENT ON COLUMN account_totals.bounced_invalid_lead IS 'Messages that bounced: invalid lead.';
COMMENT ON COLUMN account_totals.bounced_rate_limited IS 'Messages that bounced: rate limited.';
COMMENT ON COLUMN account_totals.bounced_content_rejected IS 'Messages that bounced: content rejected.';
COMMENT ON COLUMN account_totals.bounced_other IS 'Messages that bounced: other.';

CREATE FUNCTION account_total_correct() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE account_totals t SET
        delivered = t.delivered + NEW.delivered - OLD.delivered,
        failed_account_issue = t.failed_account_issue + NEW.failed_account_issue - OLD.failed_account_issue,
        failed_invalid_lead = t.failed_invalid_lead + NEW.failed_invalid_lead - OLD.failed_invalid_lead,
        failed_rate_limited = t.failed_rate_limited + NEW.failed_rate_limited - OLD.failed_rate_limited,
        failed_content_rejected = t.failed_content_rejected + NEW.failed_content_rejected - OLD.failed_content_rejected,
        failed_other = t.failed_other + NEW.failed_other - OLD.failed_other,
        bounced_account_issue = t.bounced_account_issue + NEW.bounced_account_issue - OLD.bounced_account_issue,
        bounced_invalid_lead = t.bounced_invalid_lead + NEW.bounced_invalid_lead - OLD.bounced_invalid_lead,
        bounced_rate_limited = t.bounced_rate_limited + NEW.bounced_rate_limited - OLD.bounced_rate_limited,
        bounced_content_rejected =
            t.bounced_content_rejected + NEW.bounced_content_rejected - OLD.bounced_content_rejected,
        bounced_other = t.bounced_other + NEW.bounced_other - OLD.bounced_other
    WHERE t.workspace_id = NEW.workspace_id AND t.account_id = NEW.account_id;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION account_total_correct() IS 'Changes the total of an account by what changed of one of its summed days.';
-- A trigger, so that a replica of the version before counts right while an upgrade rolls. It fires only for days of more
-- than a month ago.
CREATE TRIGGER history_corrected AFTER UPDATE ON history_of_accounts FOR EACH ROW
    WHEN (OLD.is_summed AND NEW.is_summed) EXECUTE FUNCTION account_total_correct();
COMMENT ON TRIGGER history_corrected ON history_of_accounts IS 'A correction of a summed day corrects the total.';

CREATE VIEW account_messages AS
SELECT workspace_id, account_id, day, delivered, failed_account_issue, failed_invalid_lead, failed_rate_limited,
    failed_content_rejected, failed_other, bounced_account_issue, bounced_invalid_lead, bounced_rate_limited,
    bounced_content_rejected, bounced_other
FROM history_of_accounts WHERE NOT is_summed
UNION ALL
SELECT workspace_id, account_id, NULL, delivered, failed_account_issue, failed_invalid_lead, failed_rate_limited,
    failed_content_rejected, failed_other, bounced_account_issue, bounced_invalid_lead, bounced_rate_limited,
    bounced_content_rejected, bounced_other
FROM account_totals;
COMMENT ON VIEW account_messages IS
    'What adds up to the messages of an account over all campaigns: each day that is not summed, and the total of the '
    'others. All of the last 30 UTC days have rows of their own.';
COMMENT ON COLUMN account_messages.workspace_id IS 'Workspace of the account.';
COMMENT ON COLUMN account_messages.account_id IS 'The account; 0 where none is known.';
COMMENT ON COLUMN account_messages.day IS 'UTC day; null for the total of the summed days.';
COMMENT ON COLUMN account_messages.delivered IS 'Messages whose result is delivered.';
COMMENT ON COLUMN account_messages.failed_account_issue IS 'Messages that failed: account issue.';
COMMENT ON COLUMN account_messages.failed_invalid_lead IS 'Messages that failed: invalid lead.';
COMMENT ON COLUMN account_messages.failed_rate_limited IS 'Messages that failed: rate limited.';
COMMENT ON COLUMN account_messages.failed_content_rejected IS 'Messages that failed: content rejected.';
COMMENT ON COLUMN account_messages.failed_other IS 'Messages that failed: other.';
COMMENT ON COLUMN account_messages.bounced_account_issue IS 'Messages that bounced: account issue.';
COMMENT ON COLUMN account_messages.bounced_invalid_lead IS 'Messages that bounced: invalid lead.';
COMMENT ON COLUMN account_messages.bounced_rate_limited IS 'Messages that bounced: rate limited.';
COMMENT ON COLUMN account_messages.bounced_content_rejected IS 'Messages that bounced: content rejected.';
COMMENT ON COLUMN account_messages.bounced_other IS 'Messages that bounced: other.';

-- An account that leaves a campaign: its leads are freed in portions, since they can be millions.

ALTER TABLE campaign_accounts ADD COLUMN free_lead int4, ADD COLUMN free_due timestamptz;
CREATE INDEX campaign_accounts_freeing ON campaign_accounts (workspace_id, campaign_id) WHERE free_lead IS NOT NULL;
COMMENT ON INDEX campaign_accounts_freeing IS 'Finds accounts that left and whose leads are being freed.';
COMMENT ON COLUMN campaign_accounts.free_lead IS
    'The account left, and this is the first lead that was not looked at yet; null when all were. Where free_due is '
    'set, all leads were, and rows of `returns` up to this due time and lead were.';
COMMENT ON COLUMN campaign_accounts.free_due IS 'See free_lead.';
COMMENT ON COLUMN campaign_accounts.removed IS
    'The account no longer serves the campaign, but leads still wait for it, or are not freed yet.';

-- An opt-out of an id that very many campaigns have: the first of its leads are told at once, the others in portions.

CREATE TABLE opt_outs_waiting (
    workspace_id int4 NOT NULL,
    lead_id text COLLATE "C" NOT NULL,
    told_to int4 NOT NULL DEFAULT 0,
    PRIMARY KEY (workspace_id, lead_id)
);
COMMENT ON TABLE opt_outs_waiting IS
    'Ids that opted out while some of their leads do not have that fact yet. Upkeep gives it to them, campaign by '
    'campaign. A claim gives it to those of its own campaigns first, so none is claimed meanwhile.';
COMMENT ON COLUMN opt_outs_waiting.workspace_id IS 'Workspace of the leads.';
COMMENT ON COLUMN opt_outs_waiting.lead_id IS 'The id.';
COMMENT ON COLUMN opt_outs_waiting.told_to IS 'Its leads in campaigns up to this number have the fact.';
