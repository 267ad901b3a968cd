//! Flags that every command-line client of the service has.
//!
//! The feature `flags` turns them on, so that servers do not need clap for the contract.

use std::str::FromStr;

use clap::Args;

use crate::{invalid::Invalid, name::WorkspaceId};

/// The service to call, and the workspace to work in.
#[derive(Debug, Clone, Args)]
pub struct Connection {
    /// URL of the service.
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "CAMPAIGN_METRICS_SERVER",
        hide_env_values = true,
        default_value = "http://127.0.0.1:50051"
    )]
    pub server: String,
    /// Workspace to work in. A Kubernetes namespace maps to the workspace of the same name.
    #[arg(
        short,
        long,
        global = true,
        env = "CAMPAIGN_METRICS_WORKSPACE",
        hide_env_values = true,
        default_value = "default",
        value_parser = id::<WorkspaceId>
    )]
    pub workspace: WorkspaceId,
}

/// Parses an id. The error is the problem alone, since clap names the flag.
pub fn id<T: FromStr<Err = Invalid>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|invalid: Invalid| invalid.problem)
}
