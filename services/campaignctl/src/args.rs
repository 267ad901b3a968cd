//! The command line. Ids and days are parsed here, so that a typing error costs no call.

mod accounts;
mod answers;
mod claims;
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
    claims::{ClaimState, Claims, ListClaims, ResolveClaims},
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
    /// Lists, shows, diagnoses, compares, pauses, resumes, finishes and orphans campaigns.
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

/// The commands for campaigns.
#[derive(Debug, Subcommand)]
pub enum Campaigns {
    /// Lists the campaigns of the workspace with their counts.
    ///
    /// HEALTH is the delivery rate in a band: HIGH above 95 %, MODERATE from 80 %, LOW below. `LOW?` says that it is not
    /// certain yet, because there are too few messages.
    #[command(
        after_long_help = "Example:\n  campaignctl campaigns list --state active\n  campaignctl campaigns list --account mail-1"
    )]
    List {
        /// Only campaigns in this state.
        #[arg(long, value_enum, ignore_case = true)]
        state: Option<State>,
        /// Only campaigns that this account serves.
        #[arg(long, value_name = "ID", value_parser = id::<AccountId>)]
        account: Option<AccountId>,
    },
    /// Shows one campaign: counts, rates, and the reasons why nothing is sent.
    #[command(after_long_help = "Example:\n  campaignctl campaigns get spring")]
    Get(OneCampaign),
    /// Says what is wrong with a campaign, why, since when, and what to do.
    #[command(long_about = answers::DIAGNOSE_CAMPAIGN_ABOUT, after_long_help = answers::DIAGNOSE_CAMPAIGN_EXAMPLES)]
    Diagnose {
        /// The campaign.
        #[command(flatten)]
        of: OneCampaign,
        /// Whether findings are an exit code.
        #[command(flatten)]
        failing: Failing,
    },
    /// Compares campaigns, and says which one is better if that is certain.
    #[command(long_about = answers::COMPARE_ABOUT, after_long_help = answers::COMPARE_EXAMPLES)]
    Compare(Compare),
    /// Shows what happened in a campaign, day by day.
    #[command(long_about = answers::HISTORY_ABOUT, after_long_help = answers::CAMPAIGN_HISTORY_EXAMPLES)]
    History {
        /// The campaign.
        #[command(flatten)]
        of: OneCampaign,
        /// The days.
        #[command(flatten)]
        period: Period,
        /// Show each account instead of each day.
        #[arg(long)]
        by_account: bool,
    },
    /// Lists the accounts of a campaign with their leads and messages in it.
    ///
    /// HEALTH is that of the account's messages in this campaign; `LOW?` says that it is not certain yet. RESPONSE is
    /// the share of the leads that the account contacted first which replied within 30 days. TODAY is the part of the
    /// account's daily limit that is used, over all campaigns.
    #[command(after_long_help = "Example:\n  campaignctl campaigns accounts spring")]
    Accounts(OneCampaign),
    /// Pauses a campaign, or all. After the confirmation, no claim is granted.
    ///
    /// Claims that were granted before are in flight: their messages may still be sent, and their outcomes count. The
    /// output shows their number and when the last of them expires. Pausing a paused campaign succeeds.
    #[command(after_long_help = stop::PAUSE_EXAMPLES)]
    Pause(Pause),
    /// Resumes a paused campaign. Resuming an active one succeeds.
    #[command(after_long_help = stop::RESUME_EXAMPLES)]
    Resume(Resume),
    /// Finishes a campaign permanently. It never sends again, and its leads keep their status.
    ///
    /// This can't be undone. To stop temporarily, pause the campaign. A campaign whose lead list is complete finishes
    /// automatically when every lead is sent or failed.
    #[command(after_long_help = "Example:\n  campaignctl campaigns finish spring")]
    Finish(OneCampaign),
    /// Removes the owner of a campaign: the Kubernetes resource that manages it, if that is gone for good.
    ///
    /// The campaign stays as it is, and everybody may change it. If the resource still exists, its controller takes the
    /// campaign back at once; delete the resource instead.
    #[command(after_long_help = "Example:\n  campaignctl campaigns orphan spring")]
    Orphan(OneCampaign),
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
