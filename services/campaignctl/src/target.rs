//! The service and workspace that a command works on, and how it prints its answer.

use std::io::{self, Write as _};

use campaign_metrics::{
    flags::Connection,
    name::{AccountId, AccountName, CampaignId, CampaignName, WorkspaceId, WorkspaceName},
};

use crate::{
    args::{Args, Output},
    call::Service,
    exit::Exit,
    view::{self, View},
};

/// The service and workspace of a command, and the form of its output.
#[derive(Debug)]
pub struct Target {
    /// The service to call.
    pub service: Service,
    /// The workspace to work in.
    pub workspace: WorkspaceId,
    /// Form of the output.
    pub output: Output,
}

impl Target {
    /// Takes the target from the arguments.
    pub fn new(args: &Args) -> anyhow::Result<Self> {
        let Connection { server, workspace } = &args.connection;
        Ok(Self { service: Service::new(server)?, workspace: workspace.clone(), output: args.output })
    }

    /// The resource name of the workspace.
    pub fn parent(&self) -> String {
        WorkspaceName(self.workspace.clone()).to_string()
    }

    /// The resource name of an account of the workspace.
    pub fn account(&self, account: AccountId) -> String {
        let workspace = self.workspace.clone();
        AccountName { workspace, account }.to_string()
    }

    /// The resource name of a campaign of the workspace.
    pub fn campaign(&self, campaign: CampaignId) -> CampaignName {
        let workspace = self.workspace.clone();
        CampaignName { workspace, campaign }
    }

    /// Prints one resource: in a table `message`, or its details when `message` is empty.
    pub fn show_one<V: View>(&self, resource: &V, message: &str) -> anyhow::Result<Exit> {
        match self.output {
            Output::Table if message.is_empty() => print(&view::details(resource)?),
            Output::Table => print(message),
            Output::Json => print(&view::json(&resource.json())?),
        }
    }

    /// Prints a list of resources; a table of none prints `none` instead.
    pub fn show_all<V: View>(&self, resources: &[V], none: &str) -> anyhow::Result<Exit> {
        match self.output {
            Output::Table if resources.is_empty() => print(none),
            Output::Table => print(&view::table(resources)?),
            Output::Json => print(&view::json(&resources.iter().map(View::json).collect::<Vec<_>>())?),
        }
    }
}

/// Prints to stdout. A closed pipe, such as after `head`, is not an error.
pub fn print(text: &str) -> anyhow::Result<Exit> {
    match writeln!(io::stdout().lock(), "{}", text.trim_end()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(Exit::Done),
    }
}
