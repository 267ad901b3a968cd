//! The command line of leads.

use std::path::PathBuf;

use campaign_metrics::{
    flags::id,
    name::{AccountId, CampaignId},
    pb,
};
use clap::{Args as ClapArgs, Subcommand, ValueEnum};

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
