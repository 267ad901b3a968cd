//! What can be said on the command line. Ids are parsed here, so that a typing error costs no call.

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
  1  failed; the error says what to do next
  2  done, but some leads or claims were refused";

/// Looks at campaigns, accounts, leads and claims, and changes them.
///
/// A client of the Campaign Metrics API. Campaigns that a Kubernetes resource manages are changed by editing that
/// resource; the error then names it.
#[derive(Debug, Parser)]
#[command(name = "campaignctl", version, after_long_help = EXAMPLES, disable_help_subcommand = true)]
pub struct Args {
    /// The service to call, and the workspace to work in.
    #[command(flatten)]
    pub connection: Connection,
    /// Form of the output.
    #[arg(short, long, global = true, value_name = "FORM", value_enum, default_value = "table")]
    pub output: Output,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// Form of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people; may change.
    Table,
    /// For programs: the fields of the API in lowerCamelCase, numbers as numbers, times in RFC 3339.
    Json,
}

/// What to work on.
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

/// Names one campaign.
#[derive(Debug, ClapArgs)]
pub struct OneCampaign {
    /// Id of the campaign.
    #[arg(value_parser = id::<CampaignId>)]
    pub campaign: CampaignId,
}

/// What to do with campaigns.
#[derive(Debug, Subcommand)]
pub enum Campaigns {
    /// Lists the campaigns of the workspace with their counts.
    #[command(after_long_help = "Example:\n  campaignctl campaigns list --state active")]
    List {
        /// Only campaigns in this state.
        #[arg(long, value_enum, ignore_case = true)]
        state: Option<State>,
    },
    /// Shows one campaign: counts, rates, and why nothing is sent.
    #[command(after_long_help = "Example:\n  campaignctl campaigns get spring")]
    Get(OneCampaign),
    /// Pauses a campaign: once confirmed, nobody is granted a claim.
    ///
    /// Claims granted before are in flight: those messages may still go out, and their outcomes are taken. The answer
    /// says how many there are and until when they run. Pausing a paused campaign succeeds.
    #[command(after_long_help = "Example:\n  campaignctl campaigns pause spring")]
    Pause(OneCampaign),
    /// Resumes a paused campaign. Resuming an active one succeeds.
    #[command(after_long_help = "Example:\n  campaignctl campaigns resume spring")]
    Resume(OneCampaign),
    /// Finishes a campaign for good: it never sends again, and its leads stay as they are.
    ///
    /// There is no way back. To stop for a while, pause. A campaign whose lead list is complete finishes by itself once
    /// every lead is sent or failed.
    #[command(after_long_help = "Example:\n  campaignctl campaigns finish spring")]
    Finish(OneCampaign),
}

/// State of a campaign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum State {
    /// Messages go out.
    Active,
    /// Nothing goes out for now.
    Paused,
    /// Nothing goes out ever again.
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

/// What to do with accounts.
#[derive(Debug, Subcommand)]
pub enum Accounts {
    /// Creates a sending account.
    #[command(
        after_long_help = "Examples:\n  campaignctl accounts create mail-1 --daily-limit 500 --time-zone Europe/Berlin\n  campaignctl accounts create mail-1 --if-missing"
    )]
    Create(CreateAccount),
    /// Lists the accounts of the workspace with what they sent.
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
    /// Messages per day at most; 0 sends nothing [default: no limit].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..=1_000_000_000))]
    pub daily_limit: Option<i32>,
    /// IANA zone in which the account's days begin [default: UTC].
    #[arg(long, value_name = "ZONE")]
    pub time_zone: Option<String>,
    /// Name for people.
    #[arg(long, value_name = "TEXT")]
    pub display_name: Option<String>,
    /// Succeed when the account exists; it is then left as it is.
    #[arg(long)]
    pub if_missing: bool,
}

/// What to do with leads.
#[derive(Debug, Subcommand)]
pub enum Leads {
    /// Imports leads from a CSV or NDJSON file into a campaign.
    #[command(long_about = IMPORT_ABOUT, after_long_help = IMPORT_EXAMPLES)]
    Import(Import),
    /// Lists leads of a campaign in the order of their addition.
    #[command(after_long_help = "Examples:
  campaignctl leads list --campaign spring --status failed
  campaignctl -o json leads list --campaign spring --account mail-1 --limit 5000")]
    List(ListLeads),
}

const IMPORT_ABOUT: &str = "\
Imports leads from a CSV or NDJSON file into a campaign.

CSV begins with a header line that has a column `id` and, if leads are bound to accounts, a column `account`. NDJSON has
an object per line: {\"id\": \"ann@example.org\", \"account\": \"mail-1\"}. Both are UTF-8. An account left out or empty is
assigned at the first message. Other columns stay on this machine; the report names them as ignored.

A bad line harms no other: it is refused, and written with its number and the reason to FILE.refused.csv (or .ndjson).
Mend it there and import that file. Importing a lead again changes nothing, so an import that broke off is simply run
again. Files may be of any size.";

const IMPORT_EXAMPLES: &str = "\
Examples:
  campaignctl leads import leads.csv --campaign spring
      adds leads; more can follow later
  campaignctl leads import leads.csv --campaign spring --complete
      and lets the campaign finish by itself once every lead is sent or failed
  campaignctl leads import leads.csv.refused.csv --campaign spring --complete
      the lines that were refused, after mending them

Exit codes:
  0  every line was added or had been there already
  1  broke off; the error says why, and running it again is safe
  2  all lines were read, some were refused; the lead list was not declared complete";

/// Leads to import.
#[derive(Debug, ClapArgs)]
pub struct Import {
    /// The file to read.
    pub file: PathBuf,
    /// Id of the campaign that gets the leads.
    #[arg(short, long, value_parser = id::<CampaignId>)]
    pub campaign: CampaignId,
    /// Declare the lead list complete when no line was refused.
    #[arg(long)]
    pub complete: bool,
    /// Where refused lines go [default: FILE.refused.csv or FILE.refused.ndjson].
    #[arg(long, value_name = "FILE")]
    pub refused: Option<PathBuf>,
    /// Format of the file [default: by its extension .csv, .ndjson or .jsonl].
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

/// Which leads to list.
#[derive(Debug, ClapArgs)]
pub struct ListLeads {
    /// Id of the campaign.
    #[arg(short, long, value_parser = id::<CampaignId>)]
    pub campaign: CampaignId,
    /// Only leads of this status.
    #[arg(long, value_enum, ignore_case = true)]
    pub status: Option<Status>,
    /// Only leads of this account.
    #[arg(long, value_parser = id::<AccountId>)]
    pub account: Option<AccountId>,
    /// Leads to show at most.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: u32,
}

/// Status of a lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Status {
    /// Nothing delivered yet.
    Pending,
    /// Follow-ups to come.
    Partial,
    /// Done.
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

/// What to do with claims.
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
    /// Says of uncertain claims whether their messages were sent.
    ///
    /// A claim is uncertain when it expired without an outcome: its sender may have crashed before or after it sent. Ask
    /// the provider by the claim's send key. A message that was sent counts as delivered; one that was not is due again
    /// at once, so be sure.
    #[command(after_long_help = RESOLVE_EXAMPLES)]
    Resolve(ResolveClaims),
}

const RESOLVE_EXAMPLES: &str = "\
Examples:
  campaignctl claims resolve --account mail-1 --sent CLAIM
  campaignctl -o json claims list --account mail-1 --state uncertain \\
    | jq -r '.[].claimId' | xargs campaignctl claims resolve --account mail-1 --not-sent

Exit codes:
  0  all were resolved
  1  failed; the error says what to do next
  2  some were not uncertain any more, or never were; they are listed";

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
    /// Not expired.
    Held,
    /// Expired without an outcome.
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
