//! The command line of accounts.

use campaign_metrics::{flags::id, name::AccountId};
use clap::{Args as ClapArgs, Subcommand};

use super::{
    OneAccount,
    answers::{self, Failing, Period},
};

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
    Get(OneAccount),
    /// Says what is wrong with an account over all its campaigns, and what to do.
    #[command(long_about = answers::DIAGNOSE_ACCOUNT_ABOUT, after_long_help = answers::DIAGNOSE_ACCOUNT_EXAMPLES)]
    Diagnose {
        /// The account.
        #[command(flatten)]
        of: OneAccount,
        /// Whether findings are an exit code.
        #[command(flatten)]
        failing: Failing,
    },
    /// Shows what happened to the messages of an account, day by day, over all its campaigns.
    #[command(long_about = answers::HISTORY_ABOUT, after_long_help = answers::ACCOUNT_HISTORY_EXAMPLES)]
    History {
        /// The account.
        #[command(flatten)]
        of: OneAccount,
        /// The days.
        #[command(flatten)]
        period: Period,
    },
    /// Changes settings of an account. What is not named stays as it is.
    ///
    /// A lower limit revokes no claim: nothing is granted until the day's use is below it. A new time zone moves the
    /// beginning of the account's days.
    #[command(
        after_long_help = "Examples:\n  campaignctl accounts update mail-1 --daily-limit 200\n  campaignctl accounts update mail-1 --no-daily-limit --time-zone Europe/Berlin"
    )]
    Update(UpdateAccount),
    /// Suspends an account: it gets no more claims in any campaign, but keeps its leads. Suspending a suspended one succeeds.
    ///
    /// Claims that were granted before may still be sent, and their outcomes count.
    #[command(after_long_help = "Example:\n  campaignctl accounts suspend mail-1")]
    Suspend {
        /// The account.
        #[command(flatten)]
        of: OneAccount,
        /// Suspend it only if this is still its etag, which `-o json accounts get` shows.
        #[arg(long, value_name = "ETAG")]
        etag: Option<String>,
    },
    /// Makes a suspended account active again. Reinstating an active one succeeds.
    #[command(after_long_help = "Example:\n  campaignctl accounts reinstate mail-1")]
    Reinstate {
        /// The account.
        #[command(flatten)]
        of: OneAccount,
        /// Reinstate it only if this is still its etag, which `-o json accounts get` shows.
        #[arg(long, value_name = "ETAG")]
        etag: Option<String>,
    },
    /// Deletes an account that no campaign needs any more.
    ///
    /// Finished campaigns do not need it: their leads, counts and history stay, and what was its in them is shown without
    /// an account. While a campaign that is not finished lists it or has leads of it, or a claim of it is held or uncertain,
    /// it is refused: `campaigns update --remove-account` takes it out of a campaign, `leads reassign` gives its open leads to
    /// others, and `accounts suspend` stops it at once.
    #[command(after_long_help = DELETE_EXAMPLES)]
    Delete {
        /// The account.
        #[command(flatten)]
        of: OneAccount,
        /// Delete it only if this is still its etag, which `-o json accounts get` shows.
        #[arg(long, value_name = "ETAG")]
        etag: Option<String>,
    },
}

const DELETE_EXAMPLES: &str = "\
Examples:
  campaignctl campaigns list --account mail-1
      what it serves
  campaignctl accounts delete mail-1";

/// Settings of an account to change.
#[derive(Debug, ClapArgs)]
#[command(group = clap::ArgGroup::new("setting").required(true).multiple(true))]
pub struct UpdateAccount {
    /// The account.
    #[command(flatten)]
    pub of: OneAccount,
    /// Maximum number of messages on each local day; 0 sends nothing.
    #[arg(long, group = "setting", value_name = "N", value_parser = clap::value_parser!(i32).range(0..=1_000_000_000))]
    pub daily_limit: Option<i32>,
    /// Remove the daily limit.
    #[arg(long, group = "setting", conflicts_with = "daily_limit")]
    pub no_daily_limit: bool,
    /// IANA time zone of the account's days.
    #[arg(long, group = "setting", value_name = "ZONE")]
    pub time_zone: Option<String>,
    /// Name for people. An empty text removes it.
    #[arg(long, group = "setting", value_name = "TEXT")]
    pub display_name: Option<String>,
    /// Change it only if this is still its etag, which `-o json accounts get` shows.
    #[arg(long, value_name = "ETAG")]
    pub etag: Option<String>,
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
