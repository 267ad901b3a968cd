//! The command line of campaigns.

use campaign_metrics::{
    flags::id,
    name::{AccountId, CampaignId},
    pb,
};
use clap::{ArgGroup, Args as ClapArgs, Subcommand, ValueEnum};

use super::{
    OneCampaign, State,
    answers::{self, Compare, Failing, Period},
    hours::{span, window},
    stop::{self, Pause, Resume},
};

/// The commands for campaigns.
#[derive(Debug, Subcommand)]
pub enum Campaigns {
    /// Creates a campaign.
    #[command(long_about = CREATE_ABOUT, after_long_help = CREATE_EXAMPLES)]
    Create(CreateCampaign),
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
    /// Changes settings of a campaign. What is not named stays as it is.
    #[command(long_about = UPDATE_ABOUT, after_long_help = UPDATE_EXAMPLES)]
    Update(UpdateCampaign),
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
    Finish {
        /// The campaign.
        #[command(flatten)]
        of: OneCampaign,
        /// Finish it only if this is still its etag, which `-o json campaigns get` shows.
        #[arg(long, value_name = "ETAG")]
        etag: Option<String>,
    },
    /// Removes the owner of a campaign: the Kubernetes resource that manages it, if that is gone for good.
    ///
    /// The campaign stays as it is, and everybody may change it. If the resource still exists, its controller takes the
    /// campaign back at once; delete the resource instead.
    #[command(after_long_help = "Example:\n  campaignctl campaigns orphan spring")]
    Orphan(OneCampaign),
    /// Deletes a campaign with its leads and their trails.
    #[command(long_about = DELETE_ABOUT, after_long_help = DELETE_EXAMPLES)]
    Delete(DeleteCampaign),
}

const CREATE_ABOUT: &str = "\
Creates a campaign.

It is active at once and has no leads: `leads import` adds them. It sends when an account serves it. The number of steps
can't be changed later; everything else can, by `campaigns update`.";

const CREATE_EXAMPLES: &str = "\
Examples:
  campaignctl campaigns create spring --account mail-1
      one message to each lead, at any time
  campaignctl campaigns create spring --account mail-1 --account mail-2 --steps 3 --follow-up-delay 2d
      two follow-ups, each two days after the message before
  campaignctl campaigns create spring --account mail-1 --active-hours 'Mon-Fri 09:00-17:00' \\
      --active-hours 'Sat 10:00-14:00' --time-zone Europe/Berlin --daily-limit 500
      within these hours, at most 500 messages a day
  campaignctl campaigns create spring --if-missing

Exit codes:
  0  created; also if it existed and --if-missing is given
  1  failed; the error describes the remedy";

const UPDATE_ABOUT: &str = "\
Changes settings of a campaign. What is not named stays as it is.

A lower limit revokes no claim: nothing is granted until the day's use is below it. An account that is removed gets no more
claims; its leads that have nothing delivered are free for the others, and the rest waits until `leads reassign` gives it
to others or the account is added again. A new follow-up delay holds for deliveries that are reported from now on. The state
is changed by `campaigns pause`, `resume` and `finish`.";

const UPDATE_EXAMPLES: &str = "\
Examples:
  campaignctl campaigns update spring --daily-limit 200
  campaignctl campaigns update spring --add-account mail-3 --remove-account mail-1
  campaignctl campaigns update spring --active-hours 'Mon-Fri 08:00-18:00'
  campaignctl campaigns update spring --no-daily-limit --no-active-hours
  campaignctl campaigns update spring --lead-list-complete
      lets the campaign finish automatically when every lead is sent or failed

Exit codes:
  0  changed, or it was so already
  1  failed and nothing was changed; the error describes the remedy";

const DELETE_ABOUT: &str = "\
Deletes a campaign with its leads and their trails. This can't be undone.

The figures of its accounts remain, and so do opt-outs. To stop a campaign and keep its results, finish or pause it. To keep a
copy of its leads and outcomes, run `leads export` before.";

const DELETE_EXAMPLES: &str = "\
Examples:
  campaignctl campaigns delete spring
  campaignctl campaigns delete spring --force

Exit codes:
  0  deleted
  1  failed and nothing was deleted; the error describes the remedy";

/// A campaign to create.
#[derive(Debug, ClapArgs)]
pub struct CreateCampaign {
    /// Id of the campaign: 1 to 253 of `a-z 0-9 - .`, with a letter or digit at both ends.
    #[arg(value_parser = id::<CampaignId>)]
    pub campaign: CampaignId,
    /// Maximum number of messages for each lead: the first message and its follow-ups [default: 1].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=16))]
    pub steps: Option<i32>,
    /// The other settings.
    #[command(flatten)]
    pub settings: Settings,
    /// Succeed if the campaign exists already, and leave it unchanged.
    #[arg(long)]
    pub if_missing: bool,
}

/// Settings of a campaign that can be changed.
#[derive(Debug, Clone, ClapArgs)]
pub struct Settings {
    /// Id of an account that sends for it. Repeat it for more, at most 1000. In an update these replace all others.
    #[arg(long = "account", value_name = "ID", value_parser = id::<AccountId>)]
    pub accounts: Vec<AccountId>,
    /// Time from the delivery of a step until the next one is due: 2d, 36h, 90m or 45s, up to 365d. A new campaign has 1d.
    #[arg(long, value_name = "SPAN", value_parser = span)]
    pub follow_up_delay: Option<prost_types::Duration>,
    /// Days and local times at which messages may be sent: 'Mon-Fri 09:00-17:00', 'Sat,Sun 10:00-14:00', or '22:00-02:00'
    /// on every day. Repeat it for more, at most 32. In an update these replace all others. A new campaign has none, so it
    /// may always send.
    #[arg(long, value_name = "WINDOW", value_parser = window)]
    pub active_hours: Vec<pb::ActiveWindow>,
    /// IANA time zone of the active hours and of the campaign's days. A new campaign has UTC.
    #[arg(long, value_name = "ZONE")]
    pub time_zone: Option<String>,
    /// Maximum number of messages on each local day; 0 sends nothing. A new campaign has no limit.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..=1_000_000_000))]
    pub daily_limit: Option<i32>,
    /// What happens to a claim that expires without an outcome. A new campaign has `hold`.
    #[arg(long, value_name = "POLICY", value_enum, ignore_case = true)]
    pub claim_expiry_policy: Option<ExpiryPolicy>,
    /// Seconds from the finish until bounces and other results of messages are no longer taken: 0 to 2592000. A new campaign
    /// has 604800, seven days.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..=2_592_000))]
    pub settle_seconds: Option<i32>,
    /// Days from the finish until replies and conversions are no longer taken: 0 to 365. A new campaign has 30.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..=365))]
    pub attribution_days: Option<i32>,
    /// Declare the lead list complete: the campaign finishes automatically when it has leads and all are sent or failed.
    #[arg(long)]
    pub lead_list_complete: bool,
    /// Name for people, at most 256 characters. An empty text removes it.
    #[arg(long, value_name = "TEXT")]
    pub display_name: Option<String>,
}

/// Settings of a campaign to change.
#[derive(Debug, ClapArgs)]
#[command(override_usage = "campaignctl campaigns update [OPTIONS] <CAMPAIGN>", group = ArgGroup::new("change").required(true).multiple(true).args([
    "accounts", "follow_up_delay", "active_hours", "time_zone", "daily_limit", "claim_expiry_policy", "settle_seconds",
    "attribution_days", "lead_list_complete", "display_name", "add_account", "remove_account", "no_active_hours",
    "no_daily_limit", "lead_list_open",
]))]
pub struct UpdateCampaign {
    /// The campaign.
    #[command(flatten)]
    pub of: OneCampaign,
    /// The settings.
    #[command(flatten)]
    pub settings: Settings,
    /// Id of an account that sends for it besides the present ones. Repeat it for more.
    #[arg(long, value_name = "ID", conflicts_with = "accounts", value_parser = id::<AccountId>)]
    pub add_account: Vec<AccountId>,
    /// Id of an account that no longer sends for it. Repeat it for more.
    #[arg(long, value_name = "ID", conflicts_with = "accounts", value_parser = id::<AccountId>)]
    pub remove_account: Vec<AccountId>,
    /// Remove the active hours: messages may always be sent.
    #[arg(long, conflicts_with = "active_hours")]
    pub no_active_hours: bool,
    /// Remove the daily limit.
    #[arg(long, conflicts_with = "daily_limit")]
    pub no_daily_limit: bool,
    /// Declare that more leads may come: the campaign does not finish automatically.
    #[arg(long, conflicts_with = "lead_list_complete")]
    pub lead_list_open: bool,
    /// Change it only if this is still its etag, which `-o json campaigns get` shows.
    #[arg(long, value_name = "ETAG")]
    pub etag: Option<String>,
}

/// A campaign to delete.
#[derive(Debug, ClapArgs)]
pub struct DeleteCampaign {
    /// The campaign.
    #[command(flatten)]
    pub of: OneCampaign,
    /// Delete it even if claims are held or uncertain. Their late outcomes are then refused.
    #[arg(long)]
    pub force: bool,
    /// Delete it only if this is still its etag, which `-o json campaigns get` shows.
    #[arg(long, value_name = "ETAG")]
    pub etag: Option<String>,
}

/// What happens to a claim that expires without an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ExpiryPolicy {
    /// It becomes uncertain and waits for an outcome or `claims resolve`. No message is sent twice.
    Hold,
    /// Its step becomes due again. A message may be sent twice.
    Retry,
}

impl From<ExpiryPolicy> for pb::ClaimExpiryPolicy {
    fn from(policy: ExpiryPolicy) -> Self {
        match policy {
            ExpiryPolicy::Hold => Self::Hold,
            ExpiryPolicy::Retry => Self::Retry,
        }
    }
}
