//! The command line of leads.

use std::path::PathBuf;

use campaign_metrics::{
    flags::id,
    name::{AccountId, CampaignId, LeadId},
    pb,
};
use clap::{Args as ClapArgs, Subcommand, ValueEnum};
use jiff::{Timestamp, civil::Date, tz::TimeZone};

use super::{
    OneCampaign,
    import::{IMPORT_ABOUT, IMPORT_EXAMPLES, Import},
};

/// The commands for leads.
#[derive(Debug, Subcommand)]
pub enum Leads {
    /// Imports leads from a CSV or JSON file into a campaign.
    #[command(long_about = IMPORT_ABOUT, after_long_help = IMPORT_EXAMPLES)]
    Import(Import),
    /// Lists leads of a campaign in the order in which they were added.
    ///
    /// NEXT STEP is the step to send next. DUE is the time from which a follow-up is due, where it is known; a first step
    /// is due at once. CLAIM says whether a claim of the lead is held or uncertain.
    #[command(after_long_help = "Examples:
  campaignctl leads list --campaign spring --status failed
  campaignctl leads list --campaign spring --failure-reason invalid-lead --last-action-after 2026-03-02
  campaignctl leads list --campaign spring --limit 100
  campaignctl -o json leads list --campaign spring --account mail-1")]
    List(ListLeads),
    /// Shows a lead, and all that was reported about it in order of arrival, with the texts of the provider.
    #[command(after_long_help = "Example:\n  campaignctl leads get ann@example.org --campaign spring")]
    Get(OneLead),
    /// Deletes a lead, usually at the request of the person.
    ///
    /// A lead of which nothing is known no longer counts. Of one with results the counts remain, no more is sent to it, and
    /// its id and all texts about it are erased. To keep it out of all campaigns, add it to the opt-outs.
    #[command(after_long_help = "Example:\n  campaignctl leads delete ann@example.org --campaign spring")]
    Delete(DeleteLead),
    /// Distributes the leads of an account that no longer serves the campaign over accounts that do.
    ///
    /// These are its leads with a delivery. The others, failed ones too, lost their account when it left the campaign. Leads
    /// that have ended after a delivery keep the account that sent to them, and so do those with a claim that is held or
    /// uncertain. The output says how many leads of the account were not moved, and why.
    #[command(
        after_long_help = "Example:\n  campaignctl leads reassign --campaign spring --from mail-1 --to mail-2 --to mail-3"
    )]
    Reassign(ReassignLeads),
    /// Exports all leads or outcomes of a campaign as CSV or NDJSON.
    #[command(long_about = EXPORT_ABOUT, after_long_help = EXPORT_EXAMPLES)]
    Export(Export),
}

const EXPORT_ABOUT: &str = "\
Exports all leads or outcomes of a campaign as CSV or NDJSON.

All rows are as of one moment, the start of the export: their statuses add up to the counts that the campaign had then,
even if outcomes arrive meanwhile. Missing are leads that were forgotten, or that are deleted before they are read.

Without -o csv or -o ndjson, the format is that of the file's extension (.csv, .ndjson, .jsonl), otherwise CSV. The
columns and fields are those of `leads list`; DUE and CLAIM are empty. A file gets its name when it is complete, and
replaces an older one then.";

const EXPORT_EXAMPLES: &str = "\
Examples:
  campaignctl leads export spring --file spring.csv
  campaignctl leads export spring --outcomes --file outcomes.ndjson
  campaignctl -o ndjson leads export spring | jq -r 'select(.status == \"FAILED\").name'

Exit codes:
  0  everything was exported
  1  failed; the error gives the reason, and no file was written";

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
    /// Only leads with a step that failed or bounced for this reason.
    #[arg(long, value_name = "REASON", value_enum, ignore_case = true)]
    pub failure_reason: Option<FailureReason>,
    /// Only leads whose last action was at this time or later: 2026-03-02T10:00:00Z, or a UTC day such as 2026-03-02.
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub last_action_after: Option<Timestamp>,
    /// Only leads whose last action was before this time.
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub last_action_before: Option<Timestamp>,
    /// Maximum number of leads to show; tells how many more there are [default: all].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: Option<u32>,
}

/// One lead.
#[derive(Debug, ClapArgs)]
pub struct OneLead {
    /// Id of the lead.
    #[arg(value_parser = id::<LeadId>)]
    pub lead: LeadId,
    /// Id of its campaign.
    #[arg(short, long, value_parser = id::<CampaignId>)]
    pub campaign: CampaignId,
}

/// A lead to delete.
#[derive(Debug, ClapArgs)]
pub struct DeleteLead {
    /// The lead.
    #[command(flatten)]
    pub of: OneLead,
    /// Delete it even if a claim of it is held or uncertain. A late outcome of that claim is then refused, or counted
    /// without its text.
    #[arg(long)]
    pub force: bool,
}

/// Leads to reassign.
#[derive(Debug, ClapArgs)]
pub struct ReassignLeads {
    /// Id of the campaign.
    #[arg(short, long, value_parser = id::<CampaignId>)]
    pub campaign: CampaignId,
    /// Id of the account that no longer serves the campaign.
    #[arg(long, value_name = "ACCOUNT", value_parser = id::<AccountId>)]
    pub from: AccountId,
    /// Id of an account that takes over. Repeat it for more, at most 100.
    #[arg(long, required = true, value_name = "ACCOUNT", value_parser = id::<AccountId>)]
    pub to: Vec<AccountId>,
}

/// A campaign to export.
#[derive(Debug, ClapArgs)]
pub struct Export {
    /// The campaign.
    #[command(flatten)]
    pub of: OneCampaign,
    /// Export its outcomes instead of its leads: what was reported, by lead, in order of arrival.
    #[arg(long)]
    pub outcomes: bool,
    /// File to write [default: stdout].
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
}

/// Parses a time, or the beginning of a UTC day.
fn time(text: &str) -> Result<Timestamp, String> {
    let day = || Date::strptime("%Y-%m-%d", text).ok()?.to_zoned(TimeZone::UTC).ok();
    let time = text.parse().ok().or_else(|| Some(day()?.timestamp()));
    time.ok_or_else(|| "a time is written as 2026-03-02T10:00:00Z, a UTC day as 2026-03-02".to_owned())
}

/// Why a message failed or bounced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FailureReason {
    /// A problem of the account: it is blocked or signed out.
    AccountIssue,
    /// The lead can't be reached.
    InvalidLead,
    /// The provider refused the message because of its rate limit.
    RateLimited,
    /// The provider refused the message because of its content.
    ContentRejected,
    /// Anything else.
    Other,
}

impl From<FailureReason> for pb::FailureReason {
    fn from(reason: FailureReason) -> Self {
        match reason {
            FailureReason::AccountIssue => Self::AccountIssue,
            FailureReason::InvalidLead => Self::InvalidLead,
            FailureReason::RateLimited => Self::RateLimited,
            FailureReason::ContentRejected => Self::ContentRejected,
            FailureReason::Other => Self::Other,
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_an_instant_or_the_beginning_of_a_day() {
        let seconds = |text| time(text).map(Timestamp::as_second);
        assert_eq!(seconds("2026-03-02"), Ok(1_772_409_600));
        assert_eq!(seconds("2026-03-02T10:00:00Z"), Ok(1_772_445_600));
        assert_eq!(seconds("2026-03-02T10:00:00+02:00"), Ok(1_772_438_400));
        for text in ["2026-02-30", "10:00", "yesterday", "2026-03-02T10:00", ""] {
            assert!(time(text).unwrap_err().contains("2026-03-02T10:00:00Z"), "{text}");
        }
    }
}
