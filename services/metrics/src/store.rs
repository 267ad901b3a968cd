//! The store: all SQL of the service, beside the mapping of its rows.
//!
//! Methods are noun first (`campaign_create`); helpers inside a transaction end in `_in_txn`. Each method is one
//! transaction. Nothing here knows gRPC.
//!
//! | module | job |
//! |---|---|
//! | `database` | the database: its URL, TLS, and why it refuses a login |
//! | `transaction` | transactions, retries; defines [`Store`] |
//! | `pool` | connections, divided by what they are for |
//! | `row` | look-ups by name, row locks, the meaning of stored numbers |
//! | `limit` | what is used of the daily limits |
//! | `history` | rows of history |
//! | `request` | request ids |
//! | `hint` | what a replica remembers between claims |
//! | `account`, `campaign`, `lead`, `claim`, `outcome` | one module for each noun |
//! | `performance` | history, breakdowns, and what diagnoses and comparisons read |
//! | `fleet` | all campaigns and accounts at once, for the metrics |
//! | `upkeep` | background work |
//! | `migrate`, `hindrance` | migrations of the schema; what keeps a replica from starting |
//! | `sqlstate` | errors of Postgres |
//!
//! No two modules use each other; `tests/integration/layout.rs` forbids circles. A `mod` line makes visible what a folder shares; everything else is private
//! to the folder. `docs/architecture.md` states the lock order.

mod account;
mod campaign;
mod claim;
mod database;
mod fleet;
mod hindrance;
mod hint;
mod history;
mod lead;
mod limit;
mod migrate;
mod outcome;
mod performance;
mod pool;
mod request;
mod row;
mod sqlstate;
mod transaction;
mod upkeep;

pub(crate) use self::row::lead_block;
pub use self::{
    account::NewAccount,
    campaign::{NewCampaign, lock::Actor},
    claim::{CLAIM_LOCKS, ClaimCursor, ClaimRequest, Grant, Renewal, Resolution},
    database::Database,
    fleet::{AccountRow, CampaignAccountRow, CampaignAge, CampaignRow, Details, Fleet, Messages},
    hindrance::Hindrance,
    lead::{
        Export, LeadFilter,
        add::{AddedLeads, NewLead, Refusal},
        reassign::Reassigned,
    },
    migrate::{check_version, migrate, migrate_to},
    outcome::{LockWait, Report, batch::OUTCOME_BATCH, is_blocked, opt_out::OptOut},
    performance::HistoryPage,
    request::RequestId,
    sqlstate::is_passing,
    transaction::{BY_KEY, Store, with_deadline},
    upkeep::{Difference, Recounted, Verification, VerifyMode},
};
