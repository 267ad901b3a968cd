//! The command line of answers: diagnosis, comparison, history, totals.

use campaign_metrics::{flags::id, name::CampaignId, pb};
use clap::{
    Args as ClapArgs, Subcommand, ValueEnum,
    builder::{PossibleValuesParser, TypedValueParser},
};
use jiff::civil::Date;

pub const DIAGNOSE_CAMPAIGN_ABOUT: &str = "\
Says what is wrong with a campaign, why, since when, and what to do.

The most severe finding comes first. Failures and low rates are findings only if they are certain: the 95 % interval of
the share lies wholly on the wrong side. Accounts are named as the cause only if they fail clearly more often than the
campaign's others. What can't be said yet, because there are too few messages, stands at the end.";

pub const DIAGNOSE_CAMPAIGN_EXAMPLES: &str = "\
Examples:
  campaignctl campaigns diagnose spring
  campaignctl campaigns diagnose spring --fail-on critical || notify-me
  campaignctl -o json campaigns diagnose spring | jq -r '.findings[].accounts[].account'

Exit codes:
  0  answered, with or without findings
  1  failed; the error describes the remedy
  3  answered, and a finding is as severe as --fail-on says";

pub const DIAGNOSE_ACCOUNT_ABOUT: &str = "\
Says what is wrong with an account over all its campaigns, why, since when, and what to do.

The most severe finding comes first. Failures and low rates are findings only if they are certain: the 95 % interval of
the share lies wholly on the wrong side. If the account fails in one campaign more often than in its others, the finding
names that campaign.";

pub const DIAGNOSE_ACCOUNT_EXAMPLES: &str = "\
Examples:
  campaignctl accounts diagnose mail-1
  campaignctl accounts diagnose mail-1 --fail-on warning

Exit codes:
  0  answered, with or without findings
  1  failed; the error describes the remedy
  3  answered, and a finding is as severe as --fail-on says";

pub const COMPARE_ABOUT: &str = "\
Compares 2 to 20 campaigns by delivery, response and conversion, and says which one is better if that is certain.

The test stays valid however often it is repeated: the probability that a wrong campaign is ever named is at most 5 %.
Campaigns are compared on the days on which both ran, and response and conversion at the same age of the leads. Without
a verdict, the answer says how many more leads and days are needed.

JSON has everything that a verdict was computed from. NDJSON and CSV have the campaigns with their rates.";

pub const COMPARE_EXAMPLES: &str = "\
Examples:
  campaignctl campaigns compare spring summer
  campaignctl campaigns compare spring summer autumn --age-days 14
  campaignctl -o json campaigns compare spring summer | jq -r '.comparisons[] | .metric, .verdict'";

pub const HISTORY_ABOUT: &str = "\
Shows what happened, day by day.

A message counts once, on the UTC day of the fact that is its result: a delivery of Monday that bounced on Wednesday is
a bounce of Wednesday. Leads, and those of them that replied or converted within 30 days, belong to the day of their
first contact. Bars consist of delivered messages, followed by failed and bounced ones. They are ASCII if the locale is
not UTF-8.

In NDJSON and CSV, a row without a day has corrections to days whose outcomes are no longer in the log.";

pub const CAMPAIGN_HISTORY_EXAMPLES: &str = "\
Examples:
  campaignctl campaigns history spring
  campaignctl campaigns history spring --from 2026-03-01 --to 2026-03-31
  campaignctl campaigns history spring --by-account
  campaignctl -o csv campaigns history spring --by-account > spring.csv";

pub const ACCOUNT_HISTORY_EXAMPLES: &str = "\
Examples:
  campaignctl accounts history mail-1
  campaignctl accounts history mail-1 --from 2026-03-01 --to 2026-03-31";

/// Whether findings are an exit code.
#[derive(Debug, ClapArgs)]
pub struct Failing {
    /// Exit with 3 if there is a finding of this severity or worse [default: exit with 0].
    #[arg(long, value_name = "SEVERITY", value_enum, ignore_case = true)]
    pub fail_on: Option<FailOn>,
}

/// Severity of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FailOn {
    /// Good to know. Nothing is lost.
    Info,
    /// Messages or replies are lost. Look at it within days.
    Warning,
    /// More than a fifth of the messages is lost, or nothing is sent. Look at it now.
    Critical,
}

impl From<FailOn> for pb::Severity {
    fn from(severity: FailOn) -> Self {
        match severity {
            FailOn::Info => Self::Info,
            FailOn::Warning => Self::Warning,
            FailOn::Critical => Self::Critical,
        }
    }
}

/// The campaigns to compare.
#[derive(Debug, ClapArgs)]
pub struct Compare {
    /// Ids of 2 to 20 campaigns.
    #[arg(required = true, num_args = 2..=20, value_name = "CAMPAIGN", value_parser = id::<CampaignId>)]
    pub campaigns: Vec<CampaignId>,
    /// Age of a lead at which response and conversion are compared, in days since its first contact.
    #[arg(long, value_name = "DAYS", default_value = "7", value_parser = age())]
    pub age_days: i32,
}

/// Parses one of the ages that the service knows.
fn age() -> impl TypedValueParser<Value = i32> {
    PossibleValuesParser::new(["1", "3", "7", "14", "30"]).try_map(|age| age.parse::<i32>())
}

/// The days of a history, and how to show them.
#[derive(Debug, Clone, ClapArgs)]
pub struct Period {
    /// First UTC day, such as 2026-03-02 [default: 29 days before the last one].
    #[arg(long, value_name = "DAY", value_parser = day)]
    pub from: Option<Date>,
    /// Last UTC day, at most 399 days after the first one [default: today].
    #[arg(long, value_name = "DAY", value_parser = day)]
    pub to: Option<Date>,
    /// Numbers and words only, without bars: for screen readers.
    #[arg(long)]
    pub plain: bool,
}

fn day(text: &str) -> Result<Date, String> {
    Date::strptime("%Y-%m-%d", text).map_err(|_| "a day is written as 2026-03-02".to_owned())
}

/// The commands for the workspace.
#[derive(Debug, Subcommand)]
pub enum Workspace {
    /// Shows the totals over all campaigns of the workspace.
    #[command(after_long_help = "Example:\n  campaignctl -w acme workspace totals")]
    Totals,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_written_in_one_way() {
        assert_eq!(day("2026-03-02"), Ok(Date::constant(2026, 3, 2)));
        for text in ["2026-02-30", "02.03.2026", "2026-03-02T10:00", "yesterday", ""] {
            assert!(day(text).is_err(), "{text}");
        }
    }
}
