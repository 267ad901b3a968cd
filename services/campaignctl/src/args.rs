//! The command line. Ids and days are parsed here, so that a typing error costs no call.

mod accounts;
mod answers;
mod campaigns;
mod claims;
mod completion;
mod hours;
mod import;
mod leads;
mod opt_outs;
mod stop;
mod watch;

use campaign_metrics::{
    flags::{Connection, id},
    name::{AccountId, CampaignId},
    pb,
};
use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};

pub use self::{
    accounts::{Accounts, CreateAccount, UpdateAccount},
    answers::{Compare, FailOn, Failing, Period, Workspace},
    campaigns::{Campaigns, CreateCampaign, DeleteCampaign, ExpiryPolicy, Settings, UpdateCampaign},
    claims::{ClaimState, Claims, ListClaims, ResolveClaims},
    completion::Completion,
    import::{Format, Import},
    leads::{DeleteLead, Export, FailureReason, Leads, ListLeads, OneLead, ReassignLeads, Status},
    opt_outs::OptOuts,
    stop::{Pause, Resume},
    watch::Watch,
};

const EXAMPLES: &str = "\
Examples:
  campaignctl campaigns list
  campaignctl campaigns diagnose spring
  campaignctl watch
  campaignctl campaigns create spring --account mail-1 --steps 2
  campaignctl campaigns pause spring
  campaignctl leads import leads.csv --campaign spring --complete
  campaignctl -o json campaigns get spring | jq .leadCounts
  campaignctl -o csv campaigns list > campaigns.csv

Exit codes:
  0  done; also if a diagnosis has findings
  1  failed; the error describes the remedy
  2  done, but some leads or claims were refused
  3  done, but the diagnosis has findings as severe as --fail-on says";

/// Shows and changes campaigns, accounts, leads and claims, and says how campaigns perform.
///
/// A client of the Campaign Metrics API. To change a campaign that a Kubernetes resource manages, edit that resource;
/// the error names it.
#[derive(Debug, Parser)]
#[command(name = "campaignctl", version = campaign_metrics::VERSION, after_long_help = EXAMPLES, disable_help_subcommand = true)]
pub struct Args {
    /// The service to call, and the workspace to work in.
    #[command(flatten)]
    pub connection: Connection,
    /// Format of the output.
    #[arg(short, long, global = true, value_name = "FORM", value_enum, default_value = "table")]
    pub output: Output,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// Format of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people. May change between versions.
    Table,
    /// For programs: the fields of the API in lowerCamelCase, numbers as numbers, times in RFC 3339.
    Json,
    /// For pipes: each item as JSON on a line of its own.
    Ndjson,
    /// For spreadsheets: a header, and a row for each item with a column for each field, such as `leadCounts.sent`.
    Csv,
}

/// The groups of commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Creates, lists, shows, changes, diagnoses, compares, pauses, resumes, finishes, orphans and deletes campaigns.
    #[command(subcommand)]
    Campaigns(Campaigns),
    /// Creates, lists, shows, diagnoses, changes, suspends, reinstates and deletes sending accounts.
    #[command(subcommand)]
    Accounts(Accounts),
    /// Imports, lists, shows, deletes, reassigns and exports the leads of a campaign.
    #[command(subcommand)]
    Leads(Leads),
    /// Lists claims, and resolves uncertain ones.
    #[command(subcommand)]
    Claims(Claims),
    /// Lists, adds and deletes opt-outs: leads that get no message in any campaign of the workspace.
    #[command(subcommand)]
    OptOuts(OptOuts),
    /// Sums up the workspace.
    #[command(subcommand)]
    Workspace(Workspace),
    /// Shows all campaigns live: progress, pace, and when they will be done.
    #[command(long_about = watch::WATCH_ABOUT, after_long_help = watch::WATCH_EXAMPLES)]
    Watch(Watch),
    /// Prints the completion script of a shell: TAB then completes commands, options and their values.
    #[command(after_long_help = completion::COMPLETION_EXAMPLES)]
    Completion(Completion),
}

/// The argument of commands for one campaign.
#[derive(Debug, ClapArgs)]
pub struct OneCampaign {
    /// Id of the campaign.
    #[arg(value_parser = id::<CampaignId>)]
    pub campaign: CampaignId,
}

/// The argument of commands for one account.
#[derive(Debug, ClapArgs)]
pub struct OneAccount {
    /// Id of the account.
    #[arg(value_parser = id::<AccountId>)]
    pub account: AccountId,
}

/// State of a campaign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum State {
    /// Messages may be sent.
    Active,
    /// No message is sent until it is resumed.
    Paused,
    /// No message is ever sent again.
    Finished,
}

impl From<State> for pb::CampaignState {
    fn from(state: State) -> Self {
        match state {
            State::Active => Self::Active,
            State::Paused => Self::Paused,
            State::Finished => Self::Finished,
        }
    }
}
