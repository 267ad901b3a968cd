//! What a replica remembers from one claim to the next. Everything here is a hint: it may be outdated or lost, and the database
//! decides. So replicas need not know each other.

pub(super) mod cursor;
pub(super) mod queue;
pub(super) mod recent;

use self::{cursor::Cursors, queue::ClaimQueues, recent::RecentGrants};

/// The hints of this process.
#[derive(Debug, Default)]
pub(super) struct Hints {
    pub(super) cursors: Cursors,
    pub(super) queues: ClaimQueues,
    pub(super) recent: RecentGrants,
}
