//! Upkeep: the background work of each replica. No count depends on it.
//!
//! | module | job |
//! |---|---|
//! | `finality` | makes the results of finished campaigns final |
//! | `expired` | makes expired claims due again under the policy RETRY; compacts the rows of the others |
//! | `freeing` | frees the leads of accounts that left a campaign |
//! | `returns` | deletes outdated rows of `returns` |
//! | `drain` | removes the leads and the log of deleted campaigns |
//! | `partition` | creates and drops partitions of the log |
//! | `replica` | says that this replica runs |
//! | `totals` | sums days of accounts that are long over |
//! | `verify` | recounts, and repairs on request: counters itself, history by `history`, totals of accounts by `totals` |
//! | `maintenance` | the lock that these share |

mod difference;
mod drain;
mod expired;
mod finality;
mod freeing;
mod history;
mod maintenance;
mod partition;
mod replica;
mod returns;
mod totals;
mod verify;

pub(super) use self::verify::verification_in_txn;
pub use self::{
    difference::Difference,
    verify::{Recounted, Verification, VerifyMode},
};
