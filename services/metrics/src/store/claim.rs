//! Claims: the permission, held for a time, to send one step to one lead.
//!
//! | module | job |
//! |---|---|
//! | `grant` | serves ClaimSends, optimistically when it can, else in full |
//! | `granter`, `candidate`, `take` | grant in full: lock, look at every campaign, take |
//! | `optimistic` | lock and take in one round trip, then check |
//! | `renew`, `release`, `resolve`, `retry` | how a claim is extended and how it ends |
//! | `list`, `lock` | read claims; lock the rows of claims |

mod candidate;
mod grant;
mod granter;
mod list;
mod lock;
mod optimistic;
mod release;
mod renew;
mod request;
mod resolve;
mod retry;
mod take;

pub(super) use self::retry::claims_retry_in_txn;
pub use self::{
    list::ClaimCursor,
    renew::Renewal,
    request::{ClaimRequest, Grant},
    resolve::Resolution,
};
