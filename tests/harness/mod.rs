//! Gives tests and the demo real parts: a Postgres database, a running service, a Kubernetes API server, kubectl.
//!
//! Parts that are slow to start are started once, at the first use, and shared by all tests of a run. What a test can
//! spoil (a database, a namespace, a service) is its own. Statics hold processes and addresses only, because a
//! connection belongs to the runtime of one test. No process started here outlives this one, even if it is killed: see
//! [`process`].
//!
//! A missing part fails the test. No test skips.

#![allow(dead_code, reason = "the tests and the demo each use their own part of it")]
#![allow(missing_docs, reason = "private to the tests and the demo")]

pub mod compare;
pub mod daemon;
pub mod gauges;
pub mod golden;
pub mod history;
pub mod http;
pub mod kube;
pub mod kubelet;
pub mod moved;
pub mod node;
pub mod page;
pub mod parts;
pub mod postgres;
pub mod process;
pub mod prometheus;
pub mod recount;
pub mod run;
pub mod service;
pub mod shown;
pub mod tools;
pub mod wait;
