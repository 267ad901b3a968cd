//! The command line. Ids are parsed here, so that a typing error costs no call.

use std::path::PathBuf;

use campaign_metrics::{
    flags::{Connection, id},
    name::{AccountId, CampaignId},
    pb,
};
use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};

const EXAMPLES: &str = "\
Examples:
  campaignctl campaigns list
  campaignctl campaigns pause spring
  campaignctl leads import leads.csv --campaign spring --complete
  campaignctl -o json campaigns get spring | jq .leadCounts

Exit codes:
  0  done
  1  failed; the error describes the remedy
  2  done, but some leads or claims were refused";

/// Shows and changes campaigns, accounts, leads and claims.
///
/// A client of the Campaign Metrics API. To change a campaign that a Kubernetes resource manages, edit that resource;
/// the error names it.
#[derive(Debug, Parser)]
#[command(name = "campaignctl", version, after_long_help = EXAMPLES, disable_help_subcommand = true)]
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
}

/// The groups of commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Lists, shows, pauses, resumes and finishes campaigns.
    #[command(subcommand)]
    Campaigns(Campaigns),
    /// Creates, lists and shows sending accounts.
    #[command(subcommand)]
    Accounts(Accounts),
    /// Imports and lists the leads of a campaign.
    #[command(subcommand)]
    Leads(Leads),
    /// Lists an account's claims, and resolves uncertain ones.
    #[command(subcommand)]
    Claims(Claims),
}

/// The argument of commands for one campaign.
#[derive(Debug, ClapArgs)]
pub struct OneCampaign {
    /// Id of the campaign.
    #[arg(value_parser = id::<CampaignId>)]
    pub campaign: CampaignId,
}

/// The commands for campaigns.
#[derive(Debug, Subcommand)]
pub enum Campaigns {
    /// Lists the campaigns of the workspace with their counts.
    #[command(after_long_help = "Example:\n  campaignctl campaigns list --state active")]
    List {
        /// Only campaigns in this state.
        #[arg(long, value_enum, ignore_case = true)]
        state: Option<State>,
    },
    /// Shows one campaign: counts, rates, and the reasons why nothing is sent.
    #[command(after_long_help = "Example:\n  campaignctl campaigns get spring")]
    Get(OneCampaign),
    /// Pauses a campaign. After the confirmation, no claim is granted.
    ///
    /// Claims that were granted before are in flight: their messages may still be sent, and their outcomes count. The
    /// output shows their number and when the last of them expires. Pausing a paused campaign succeeds.
    #[command(after_long_help = "Example:\n  campaignctl campaigns pause spring")]
    Pause(OneCampaign),
    /// Resumes a paused campaign. Resuming an active one succeeds.
    #[command(after_long_help = "Example:\n  campaignctl campaigns resume spring")]
    Resume(OneCampaign),
    /// Finishes a campaign permanently. It never sends again, and its leads keep their status.
    ///
    /// This can't be undone. To stop temporarily, pause the campaign. A campaign whose lead list is complete finishes
    /// automatically when every lead is sent or failed.
    #[command(after_long_help = "Example:\n  campaignctl campaigns finish spring")]
    Finish(OneCampaign),
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

/// The commands for accounts.
#[derive(Debug, Subcommand)]
pub enum Accounts {
    /// Creates a sending account.
    #[command(
        after_long_help = "Examples:\n  campaignctl accounts create mail-1 --daily-limit 500 --time-zone Europe/Berlin\n  campaignctl accounts create mail-1 --if-missing"
    )]
    Create(CreateAccount),
    /// Lists the accounts of the workspace with their performance.
    #[command(after_long_help = "Example:\n  campaignctl accounts list")]
    List,
    /// Shows one account.
    #[command(after_long_help = "Example:\n  campaignctl accounts get mail-1")]
    Get {
        /// Id of the account.
        #[arg(value_parser = id::<AccountId>)]
        account: AccountId,
    },
}

/// A sending account to create.
#[derive(Debug, ClapArgs)]
pub struct CreateAccount {
    /// Id of the account: 1 to 128 of `A-Z a-z 0-9 . _ ~ @ + -`.
    #[arg(value_parser = id::<AccountId>)]
    pub account: AccountId,
    /// Maximum number of messages on each local day; 0 sends nothing [default: no limit].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..=1_000_000_000))]
    pub daily_limit: Option<i32>,
    /// IANA time zone of the account's days [default: UTC].
    #[arg(long, value_name = "ZONE")]
    pub time_zone: Option<String>,
    /// Name for people.
    #[arg(long, value_name = "TEXT")]
    pub display_name: Option<String>,
    /// Succeed if the account exists already, and leave it unchanged.
    #[arg(long)]
    pub if_missing: bool,
}

/// The commands for leads.
#[derive(Debug, Subcommand)]
pub enum Leads {
    /// Imports leads from a CSV or NDJSON file into a campaign.
    #[command(long_about = IMPORT_ABOUT, after_long_help = IMPORT_EXAMPLES)]
    Import(Import),
    /// Lists leads of a campaign in the order in which they were added.
    #[command(after_long_help = "Examples:
  campaignctl leads list --campaign spring --status failed
  campaignctl -o json leads list --campaign spring --account mail-1 --limit 5000")]
    List(ListLeads),
}

const IMPORT_ABOUT: &str = "\
Imports leads from a CSV or NDJSON file into a campaign.

A CSV file begins with a header line. The column `id` is required, and the column `account` is optional. An NDJSON file
has one object on each line: {\"id\": \"ann@example.org\", \"account\": \"mail-1\"}. Both are UTF-8. If the account is missing
or empty, the first claim assigns one. Other columns are not sent; the report lists them as ignored.

An invalid line does not affect others: it is refused, and written with its number and the reason to FILE.refused.csv
(or .ndjson). Repair it there and import that file. Importing a lead again changes nothing, so an import that failed
can simply be run again. Files may be of any size.";

const IMPORT_EXAMPLES: &str = "\
Examples:
  campaignctl leads import leads.csv --campaign spring
      adds leads; more can follow later
  campaignctl leads import leads.csv --campaign spring --complete
      also lets the campaign finish automatically when every lead is sent or failed
  campaignctl leads import leads.csv.refused.csv --campaign spring --complete
      adds the lines that were refused, after they were repaired

Exit codes:
  0  every lead was added or existed already
  1  failed; the error gives the reason, and running the import again is safe
  2  all lines were read, but some were refused; the lead list was not declared complete";

/// Leads to import.
#[derive(Debug, ClapArgs)]
pub struct Import {
    /// File to read.
    pub file: PathBuf,
    /// Id of the campaign that gets the leads.
    #[arg(short, long, value_parser = id::<CampaignId>)]
    pub campaign: CampaignId,
    /// Declare the lead list complete if no line is refused.
    #[arg(long)]
    pub complete: bool,
    /// File for refused lines [default: FILE.refused.csv or FILE.refused.ndjson].
    #[arg(long, value_name = "FILE")]
    pub refused: Option<PathBuf>,
    /// Format of the file [default: from its extension .csv, .ndjson or .jsonl].
    #[arg(long, value_enum)]
    pub format: Option<Format>,
}

/// Format of a file of leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Comma-separated, with a header line.
    Csv,
    /// One JSON object per line.
    Ndjson,
}

/// The leads to list.
#[derive(Debug, ClapArgs)]
pub struct ListLeads {
    /// Id of the campaign.
    #[arg(short, long, value_parser = id::<CampaignId>)]
    pub campaign: CampaignId,
    /// Only leads with this status.
    #[arg(long, value_enum, ignore_case = true)]
    pub status: Option<Status>,
    /// Only leads of this account.
    #[arg(long, value_parser = id::<AccountId>)]
    pub account: Option<AccountId>,
    /// Maximum number of leads to show.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: u32,
}

/// Status of a lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Status {
    /// Nothing is delivered yet.
    Pending,
    /// Some steps are delivered, and follow-ups remain.
    Partial,
    /// The lead is done.
    Sent,
    /// Failed, bounced, or opted out before any message.
    Failed,
}

impl From<Status> for pb::LeadStatus {
    fn from(status: Status) -> Self {
        match status {
            Status::Pending => Self::Pending,
            Status::Partial => Self::Partial,
            Status::Sent => Self::Sent,
            Status::Failed => Self::Failed,
        }
    }
}

/// The commands for claims.
#[derive(Debug, Subcommand)]
pub enum Claims {
    /// Lists the claims of an account that are held or uncertain.
    #[command(after_long_help = "Example:\n  campaignctl claims list --account mail-1 --state uncertain")]
    List {
        /// Id of the account.
        #[arg(short, long, value_parser = id::<AccountId>)]
        account: AccountId,
        /// Only claims in this state.
        #[arg(long, value_enum, ignore_case = true)]
        state: Option<ClaimState>,
    },
    /// Resolves uncertain claims: tells the service whether their messages were sent.
    ///
    /// A claim is uncertain if it expired without an outcome: its sender may have crashed before or after it sent the
    /// message. Ask the provider about the send key of the claim. A message that was sent counts as delivered. A
    /// message that was not sent is due again at once, so be sure.
    #[command(after_long_help = RESOLVE_EXAMPLES)]
    Resolve(ResolveClaims),
}

const RESOLVE_EXAMPLES: &str = "\
Examples:
  campaignctl claims resolve --account mail-1 --sent CLAIM
  campaignctl -o json claims list --account mail-1 --state uncertain \\
    | jq -r '.[].claimId' | xargs campaignctl claims resolve --account mail-1 --not-sent

Exit codes:
  0  all claims were resolved
  1  failed; the error describes the remedy
  2  some claims were not uncertain (any more); they are listed";

/// Claims to resolve.
#[derive(Debug, ClapArgs)]
#[command(group = clap::ArgGroup::new("resolution").required(true))]
pub struct ResolveClaims {
    /// Id of the account that held them.
    #[arg(short, long, value_parser = id::<AccountId>)]
    pub account: AccountId,
    /// The messages were sent.
    #[arg(long, group = "resolution")]
    pub sent: bool,
    /// The messages were not sent.
    #[arg(long, group = "resolution")]
    pub not_sent: bool,
    /// Ids of the claims.
    #[arg(required = true, value_name = "CLAIM")]
    pub claims: Vec<String>,
}

/// State of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ClaimState {
    /// The claim has not expired.
    Held,
    /// The claim expired without an outcome.
    Uncertain,
}

impl From<ClaimState> for pb::ClaimState {
    fn from(state: ClaimState) -> Self {
        match state {
            ClaimState::Held => Self::Held,
            ClaimState::Uncertain => Self::Uncertain,
        }
    }
}
