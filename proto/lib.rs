//! The contract of Campaign Metrics: the protobuf API and the pure domain model.
//!
//! | module | holds |
//! |---|---|
//! | [`pb`] | messages, clients and servers generated from `proto/campaign_metrics/v1` |
//! | [`name`] | typed ids and resource names |
//! | [`campaign`], [`account`], [`lead`], [`sending`] | domain types, legal transitions, status from facts |
//! | [`standing`] | whether something can be claimed, and when |
//! | [`not_sending`], [`rate`], [`invalid`] | what several of these share |
//! | [`schedule`] | active hours and local days |
//! | [`history`] | counts by UTC day |
//! | [`comparison`] | campaigns side by side, with verdicts and what differs |
//! | [`statistics`] | intervals, comparisons, causes and changes, from counts alone |
//! | [`diagnosis`] | what is wrong with a campaign or an account, why, and what to do |
//! | `flags` | flags that command-line clients share, with the feature `flags` |
//! | [`wire`] | the only conversions between `pb` and the domain |
//!
//! Nothing here does I/O or reads a clock. Callers pass the time as an argument.

pub mod account;
pub mod campaign;
pub mod comparison;
pub mod diagnosis;
#[cfg(feature = "flags")]
pub mod flags;
pub mod history;
pub mod invalid;
pub mod lead;
pub mod name;
pub mod not_sending;
pub mod rate;
pub mod schedule;
pub mod sending;
pub mod standing;
pub mod statistics;
pub mod wire;

/// Messages, clients and servers of the package `campaign_metrics.v1`; the `.proto` files are their reference.
#[allow(missing_docs, clippy::all, clippy::pedantic, reason = "generated: documented in the .proto files")]
pub mod pb {
    tonic::include_proto!("campaign_metrics.v1");
}

/// The encoded `FileDescriptorSet` of the API, for reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// Domain of every `google.rpc.ErrorInfo` the service sends.
pub const ERROR_DOMAIN: &str = "campaign-metrics.io";
/// Version of what is built, with the commit: `0.2.0-dev+1a2b3c4d5e6f`. A build that is no release has `debug` in place of the
/// commit, and one outside a git checkout `unknown`.
pub const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "+", env!("BUILT_FROM"));
/// Header of the response of WatchCampaigns: the version of the service.
pub const VERSION_HEADER: &str = "campaign-metrics-version";
