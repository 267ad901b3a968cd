//! The lock of upkeep.

/// Serializes what changes the log, or what history owes to it. Two replicas would otherwise drop the same partition, and a
/// repair would add what a drop had just moved.
pub(super) const MAINTENANCE_LOCK: &str = "SELECT pg_advisory_xact_lock(hashtext('campaign-metrics maintenance'))";
