//! Claims: the permission, held for a time, to send one step to one lead.
//!
//! | module | job |
//! |---|---|
//! | `request` | what a sender asks for and is granted |
//! | `grant` | serves ClaimSends: optimistically if it can, otherwise in full |
//! | `granter`, `candidate`, `take` | grant in full: lock, look at every campaign, take |
//! | `optimistic` | grants optimistically: locks and takes in one round trip, then checks |
//! | `renew`, `release`, `resolve`, `retry` | extend claims, and end them |
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
    candidate::CLAIM_LOCKS,
    list::ClaimCursor,
    renew::Renewal,
    request::{ClaimRequest, Grant},
    resolve::Resolution,
};
