//! Adds to account days, and to what they owe to deleted rows of the log.

/// Adds the row that an `INSERT` proposes to the one that exists. The table of the `INSERT` is named `a`.
pub(super) const ADD_TO_DAY: &str = "ON CONFLICT (workspace_id, account_id, day) DO UPDATE SET
    delivered = a.delivered + excluded.delivered, failed = a.failed + excluded.failed,
    bounced = a.bounced + excluded.bounced";

/// Serializes what changes the log, or what account days owe to it. Two replicas would otherwise drop the same partition, and a
/// repair would add what a drop had just moved.
pub(super) const MAINTENANCE_LOCK: &str = "SELECT pg_advisory_xact_lock(hashtext('campaign-metrics maintenance'))";
