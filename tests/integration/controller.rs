//! The controller between a real API server and the real service. People act through kubectl, senders through gRPC;
//! each test checks what both see.
//!
//! The controller runs in this process, by its public `run`. Its behaviour as a process is tested in `daemons`.

#[path = "controller/deletion.rs"]
mod deletion;
#[path = "controller/drift.rs"]
mod drift;
#[path = "controller/expect.rs"]
pub mod expect;
#[path = "controller/fencing.rs"]
mod fencing;
#[path = "controller/fields.rs"]
mod fields;
#[path = "controller/hold.rs"]
mod hold;
#[path = "controller/life.rs"]
mod life;
#[path = "controller/mishaps.rs"]
mod mishaps;
#[path = "controller/outage.rs"]
mod outage;
#[path = "controller/ownership.rs"]
mod ownership;
#[path = "controller/quiet.rs"]
mod quiet;
#[path = "controller/refusals.rs"]
mod refusals;
#[path = "controller/rights.rs"]
mod rights;
#[path = "controller/rules.rs"]
mod rules;
#[path = "controller/schema.rs"]
pub mod schema;
#[path = "controller/stage.rs"]
pub mod stage;
#[path = "controller/status.rs"]
mod status;
