//! The command line: the accounts to play, the rate, the results of messages, and a past with its faults.

use std::{path::PathBuf, str::FromStr, time::Duration};

use campaign_metrics::{
    flags::{Connection, id},
    name::{AccountId, CampaignId},
    pb::FailureReason,
};
use clap::{Args, Parser, ValueEnum};
use jiff::{Timestamp, civil::Date, tz::TimeZone};

use crate::fault::{Fault, reason_named, reason_names};

const EXAMPLES: &str = "\
Examples:
  campaign-simulator --rate 200
      plays all accounts of the workspace until every campaign has finished
  campaign-simulator --account mail-1 --account mail-2 --create-accounts --senders 4
      plays two accounts with four senders each, and creates missing accounts
  campaign-simulator --seed 7 --delivered-ratio 0.7 --bounced-ratio 0.2 --failure-reasons invalid-lead=3,other=1
      plays leads of poor quality, with the same results in each run
  campaign-simulator --late-ratio 0.2 --duplicate-ratio 0.1 --shuffle --duration-seconds 60
      plays senders that report late, twice and out of order, for a minute
  campaign-simulator --campaign spring --first-day 2026-06-01 --fault account-issue=0.9,account=mail-2,since=2026-06-09
      reports 20 days of the past, in which one account has been blocked since a Tuesday

The result of a message depends only on the seed, the lead and the step. On SIGINT or SIGTERM, the simulator releases
claims that were not sent, reports the outcomes of the others, and exits with 0. A second signal aborts.";

/// Plays sending accounts and their leads: claims from the API and reports outcomes, but sends no messages.
#[derive(Debug, Clone, Parser)]
#[command(name = "campaign-simulator", version = campaign_metrics::VERSION, after_long_help = EXAMPLES)]
pub struct Options {
    /// The service to call, and the workspace to work in.
    #[command(flatten)]
    pub connection: Connection,
    /// Account to play; may be repeated [default: all accounts of the workspace].
    #[arg(short, long = "account", value_name = "ACCOUNT", value_parser = id::<AccountId>)]
    pub accounts: Vec<AccountId>,
    /// Create the accounts named by --account that do not exist.
    #[arg(long, requires = "accounts")]
    pub create_accounts: bool,
    /// Stop when this campaign has finished; may be repeated [default: all campaigns of the workspace].
    #[arg(short, long = "campaign", value_name = "CAMPAIGN", value_parser = id::<CampaignId>)]
    pub campaigns: Vec<CampaignId>,
    /// Senders of each account, each with its own claims.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub senders: u16,
    /// Maximum number of claims of a call; lower if the rate would not send as many within a second.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub max_claims: u16,
    /// Hold of claims; they are renewed after half of it.
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u16).range(1..=3600))]
    pub hold_seconds: u16,
    /// Messages per second over all senders.
    #[arg(long, value_name = "N", default_value_t = 100.0, value_parser = positive)]
    pub rate: f64,
    /// Longest pause between claims while none is granted.
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0, value_parser = positive)]
    pub poll_seconds: f64,
    /// Stop after this time [default: when all campaigns have finished].
    #[arg(long, value_name = "SECONDS", value_parser = positive)]
    pub duration_seconds: Option<f64>,
    /// Results of messages.
    #[command(flatten)]
    pub behavior: Behavior,
    /// A past that is reported at once.
    #[command(flatten)]
    pub past: Past,
    /// Append each granted claim to this file, as a line of JSON with time, asked, account, lead, step and claim_id.
    #[arg(long, value_name = "FILE")]
    pub claims_log: Option<PathBuf>,
    /// Format of the summary.
    #[arg(short, long, value_name = "FORM", value_enum, default_value = "text")]
    pub output: Output,
}

impl Options {
    /// Returns the longest pause between claims while none is granted.
    pub fn poll(&self) -> Duration {
        Duration::from_secs_f64(self.poll_seconds)
    }

    /// Returns the hold of claims.
    pub fn hold(&self) -> Duration {
        Duration::from_secs(self.hold_seconds.into())
    }
}

/// Results of messages, as shares from 0 to 1.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Results of messages")]
pub struct Behavior {
    /// Seed of all random draws: the same seed gives the same results.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Share of messages that are delivered.
    #[arg(long, value_name = "SHARE", default_value_t = 0.95, value_parser = share)]
    pub delivered_ratio: f64,
    /// Share of messages that bounce; those neither delivered nor bounced fail.
    #[arg(long, value_name = "SHARE", default_value_t = 0.02, value_parser = share)]
    pub bounced_ratio: f64,
    /// Reasons why messages fail or bounce, with weights.
    #[arg(
        long,
        value_name = "REASON=WEIGHT,...",
        default_value = "account-issue=1,invalid-lead=5,rate-limited=2,content-rejected=1,other=1"
    )]
    pub failure_reasons: Reasons,
    /// Share of delivered messages that get a reply.
    #[arg(long, value_name = "SHARE", default_value_t = 0.08, value_parser = share)]
    pub reply_ratio: f64,
    /// Share of delivered messages that get an automatic reply.
    #[arg(long, value_name = "SHARE", default_value_t = 0.03, value_parser = share)]
    pub auto_reply_ratio: f64,
    /// Share of delivered messages after which the lead converts.
    #[arg(long, value_name = "SHARE", default_value_t = 0.02, value_parser = share)]
    pub conversion_ratio: f64,
    /// Share of delivered messages after which the lead opts out.
    #[arg(long, value_name = "SHARE", default_value_t = 0.005, value_parser = share)]
    pub opt_out_ratio: f64,
    /// Share of messages whose outcomes are reported late.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share)]
    pub late_ratio: f64,
    /// Longest delay of late reports; claims become uncertain if it is longer than the hold.
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0, value_parser = positive)]
    pub late_seconds: f64,
    /// Share of messages whose outcomes are reported twice.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share)]
    pub duplicate_ratio: f64,
    /// Report outcomes out of order, replies before deliveries.
    #[arg(long)]
    pub shuffle: bool,
}

/// A past that is reported at once.
///
/// Its times and results depend only on the seed, the days, the leads and their accounts. So later runs report the same,
/// and what was reported before is a duplicate.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "A past instead of sending")]
pub struct Past {
    /// Report the past of the campaigns named by --campaign at once, without claims: messages from this UTC day on.
    ///
    /// Every lead needs an account. Messages go out between 8 and 18 o'clock, on some days more than on others. Bounces
    /// come up to 3 days later, and answers after --reply-days.
    #[arg(
        long,
        value_name = "DAY",
        requires = "campaigns",
        conflicts_with_all = [
            "accounts", "senders", "max_claims", "hold_seconds", "rate", "poll_seconds", "duration_seconds", "claims_log",
            "late_ratio", "late_seconds", "duplicate_ratio", "shuffle",
        ]
    )]
    pub first_day: Option<Date>,
    /// Days over which the first messages to all leads are spread.
    #[arg(
        long,
        value_name = "N",
        requires = "first_day",
        default_value_t = 20,
        value_parser = clap::value_parser!(u16).range(1..=400)
    )]
    pub days: u16,
    /// Mean time from a message to a reply, a conversion or an opt-out.
    #[arg(long, value_name = "DAYS", requires = "first_day", default_value_t = 2.0, value_parser = positive)]
    pub reply_days: f64,
    /// Report only what happened at this time or later: a UTC day or a time [default: from the first day on].
    #[arg(long, value_name = "TIME", requires = "first_day", value_parser = moment)]
    pub since: Option<Timestamp>,
    /// Report only what happened before this time: a UTC day or a time [default: now].
    #[arg(long, value_name = "TIME", requires = "first_day", value_parser = moment)]
    pub until: Option<Timestamp>,
    /// Lose messages for a reason; may be repeated.
    ///
    /// AMOUNT is the share of the messages that is lost, from 0 to 1. Of rate-limited it is the number of messages of one
    /// account on one UTC day, from 0, beyond which all are lost. Half of the messages lost as invalid-lead bounce, all
    /// others fail. A fault without an account hits all accounts, one without a day hits all days.
    #[arg(long = "fault", value_name = "REASON=AMOUNT[,account=ACCOUNT][,since=DAY]", requires = "first_day")]
    pub faults: Vec<Fault>,
}

/// Format of the summary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// Reasons of failures with their weights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reasons(Vec<(FailureReason, u32)>);

impl Reasons {
    /// Picks the reason at a point of the cumulated weights, from 0 to 1.
    pub fn at(&self, point: f64) -> FailureReason {
        let total: f64 = self.0.iter().map(|(_, weight)| f64::from(*weight)).sum();
        let mut left = point * total;
        for (reason, weight) in &self.0 {
            left -= f64::from(*weight);
            if left < 0.0 {
                return *reason;
            }
        }
        FailureReason::Other
    }
}

impl FromStr for Reasons {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let weighted = |part: &str| {
            let (name, weight) = part.split_once('=')?;
            Some((reason_named(name)?, weight.parse().ok()?))
        };
        let weights: Option<Vec<_>> = text.split(',').map(weighted).collect();
        let weights = weights.filter(|weights| weights.iter().any(|(_, weight)| *weight > 0));
        weights.map(Self).ok_or_else(|| {
            let names = reason_names();
            format!("must be like `invalid-lead=3,other=1`, with a weight above 0; reasons are {names}")
        })
    }
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "must be between 0 and 1".to_owned())
}

fn moment(text: &str) -> Result<Timestamp, String> {
    let day = || Some(text.parse::<Date>().ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp());
    let moment = text.parse().ok().or_else(day);
    moment.ok_or_else(|| "must be a UTC day such as 2026-03-02, or a time such as 2026-03-02T12:00:00Z".to_owned())
}

fn positive(text: &str) -> Result<f64, String> {
    let value = text.parse().ok().filter(|value| (0.001..=1e9).contains(value));
    value.ok_or_else(|| "must be between 0.001 and a billion".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_can_never_be_right_are_refused() {
        for line in [
            "s --delivered-ratio 1.1",
            "s --reply-ratio NaN",
            "s --rate 0",
            "s --rate inf",
            "s --senders 0",
            "s --create-accounts",
            "s --failure-reasons invalid-lead=0",
            "s --failure-reasons bad=1",
            "s --campaign Spring",
            "s --first-day 2026-03-02",
            "s --campaign a --first-day Monday",
            "s --campaign a --first-day 2026-03-02 --days 0",
            "s --campaign a --first-day 2026-03-02 --days 401",
            "s --campaign a --first-day 2026-03-02 --rate 100",
            "s --campaign a --first-day 2026-03-02 --until tomorrow",
            "s --campaign a --first-day 2026-03-02 --fault blocked=1",
            "s --campaign a --fault invalid-lead=0.2",
            "s --days 3",
        ] {
            assert!(Options::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
        assert!(Options::try_parse_from(["s", "--account", "a", "--create-accounts"]).is_ok());
        let past = "s --campaign a --first-day 2026-03-02 --since 2026-03-03 --until 2026-03-04T12:00:00Z";
        let past = Options::try_parse_from(past.split(' ')).unwrap().past;
        assert_eq!(past.since, "2026-03-03T00:00:00Z".parse().ok(), "a day is its beginning");
        assert_eq!((past.until, past.days), ("2026-03-04T12:00:00Z".parse().ok(), 20));
    }

    #[test]
    fn reasons_are_drawn_by_their_weights() {
        let reasons: Reasons = "invalid-lead=3,other=1,rate-limited=0".parse().unwrap();
        assert_eq!(reasons.at(0.0), FailureReason::InvalidLead);
        assert_eq!(reasons.at(0.74), FailureReason::InvalidLead);
        assert_eq!(reasons.at(0.75), FailureReason::Other);
        assert_eq!(reasons.at(0.999), FailureReason::Other);
    }
}
