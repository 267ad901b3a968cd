//! The service and workspace that a command works on, and how it prints its answer.

use std::io::{self, IsTerminal as _, Write as _};

use campaign_metrics::{
    flags::Connection,
    name::{AccountId, AccountName, CampaignId, CampaignName, LeadName, WorkspaceId, WorkspaceName},
};
use serde::Serialize;

use crate::{
    args::{Args, OneLead, Output},
    call::Service,
    exit::Exit,
    view::{self, Document, Message, View, visible},
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

    /// The resource name of a lead of the workspace.
    pub fn lead(&self, of: OneLead) -> String {
        LeadName { campaign: self.campaign(of.campaign), lead: of.lead }.to_string()
    }

    /// Prints one resource: in a table `message`, or its details when `message` is empty.
    pub fn show_one<V: View>(&self, resource: &V, message: &str) -> anyhow::Result<Exit> {
        self.answer(resource, std::slice::from_ref(resource), || match message {
            "" => Ok(view::details(resource)),
            message => Ok(message.to_owned()),
        })
    }

    /// Prints a list of resources; a table of none prints `none` instead.
    pub fn show_all<V: View>(&self, resources: &[V], none: &str) -> anyhow::Result<Exit> {
        let documents = || resources.iter().map(Document::new).collect::<anyhow::Result<Vec<_>>>();
        match self.output {
            Output::Table if resources.is_empty() => print(&visible(none)),
            Output::Table => print(&visible(&view::table(resources)?)),
            Output::Json => print(&view::json(&documents()?)?),
            Output::Ndjson => print(&view::ndjson(&documents()?)?),
            Output::Csv => print(&view::csv(resources)?),
        }
    }

    /// Prints an answer: for people as `text`, as JSON `whole`, and as NDJSON and CSV its `items`.
    pub fn answer<M: Message, I: Message>(
        &self,
        whole: &M,
        items: &[I],
        text: impl FnOnce() -> anyhow::Result<String>,
    ) -> anyhow::Result<Exit> {
        match self.output {
            Output::Table => print(&visible(&text()?)),
            Output::Json => print(&view::json(&Document::new(whole)?)?),
            Output::Ndjson => {
                let documents: anyhow::Result<Vec<_>> = items.iter().map(Document::new).collect();
                print(&view::ndjson(&documents?)?)
            }
            Output::Csv => print(&view::csv(items)?),
        }
    }

    /// Prints the report of a command that changed something, of which no message of the API tells.
    pub fn report(
        &self,
        report: &impl Serialize,
        cells: Vec<(&str, String)>,
        text: impl FnOnce() -> String,
    ) -> anyhow::Result<Exit> {
        match self.output {
            Output::Table => print(&visible(&text())),
            Output::Json => print(&view::json(report)?),
            Output::Ndjson => print(&view::ndjson(&[report])?),
            Output::Csv => {
                let (columns, row) = cells.into_iter().map(|(name, cell)| (name.to_owned(), cell)).unzip();
                print(&view::csv_rows(columns, vec![row])?)
            }
        }
    }
}

/// Writes to stdout without a line break. Returns `false` when nobody reads any more.
pub fn write(text: &str) -> io::Result<bool> {
    readers_left(write!(io::stdout().lock(), "{text}"))
}

/// Prints to stdout, with a line break at the end. Prints nothing for an empty text. A closed pipe, such as after `head`,
/// is not an error.
pub fn print(text: &str) -> anyhow::Result<Exit> {
    let text = text.trim_end_matches('\n');
    if text.is_empty() {
        return Ok(Exit::Done);
    }
    // CSV has its texts as they are, which only a terminal must not get.
    let shown = if io::stdout().is_terminal() { visible(text) } else { text.into() };
    write_line(&shown)?;
    Ok(Exit::Done)
}

/// Prints a line to stdout. Returns `false` when nobody reads any more.
pub fn write_line(line: &str) -> io::Result<bool> {
    readers_left(writeln!(io::stdout().lock(), "{line}"))
}

fn readers_left(written: io::Result<()>) -> io::Result<bool> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        written => written.map(|()| true),
    }
}
