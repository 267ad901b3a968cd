//! Gives any test the real parts: a Postgres database, a running service, a Kubernetes API server, kubectl.
//!
//! What is costly to start is started once for all tests of a run, at the first use; what a test can spoil (a database,
//! a namespace, a service) is its own. Statics hold processes and addresses only: a connection belongs to the runtime
//! of one test. Nothing started here outlives us, even when we are killed: see [`process`].
//!
//! The demo starts its parts with the same modules. What is missing fails loudly: no test skips.

#![allow(dead_code, reason = "the tests and the demo each use their own part of it")]
#![allow(missing_docs, reason = "private to the tests and the demo")]

pub mod compare;
pub mod daemon;
pub mod gauges;
pub mod golden;
pub mod http;
pub mod kube;
pub mod moved;
pub mod parts;
pub mod postgres;
pub mod process;
pub mod recount;
pub mod run;
pub mod service;
pub mod shown;
pub mod tools;
pub mod wait;
