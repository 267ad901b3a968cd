//! The arguments that pause campaigns and make them send again.

use campaign_metrics::{flags::id, name::CampaignId};
use clap::Args as ClapArgs;

pub const PAUSE_EXAMPLES: &str = "\
Examples:
  campaignctl campaigns pause spring
  campaignctl campaigns pause spring --override --reason 'wrong prices'
  campaignctl -w acme campaigns pause --all --override
  campaignctl campaigns pause --all-workspaces --override --reason 'INC-17'

Exit codes:
  0  all were paused
  1  failed; the error describes the remedy
  2  campaigns that a Kubernetes resource manages were left out; they are listed";

pub const RESUME_EXAMPLES: &str = "\
Examples:
  campaignctl campaigns resume spring
  campaignctl campaigns resume spring --override";

/// Campaigns to pause.
#[derive(Debug, ClapArgs)]
#[command(group = clap::ArgGroup::new("which").required(true))]
pub struct Pause {
    /// Id of the campaign.
    #[arg(value_parser = id::<CampaignId>, group = "which")]
    pub campaign: Option<CampaignId>,
    /// Pause all active campaigns of the workspace.
    #[arg(long, group = "which")]
    pub all: bool,
    /// Pause all active campaigns of all workspaces.
    #[arg(long, group = "which")]
    pub all_workspaces: bool,
    /// Pause also what a Kubernetes resource manages, and place a hold.
    ///
    /// A campaign with a hold stays paused, whatever its resource says and whether or not a controller runs, until the
    /// spec of the resource is edited afterwards or `campaigns resume --override` lifts the hold.
    #[arg(long)]
    pub r#override: bool,
    /// Why, for people: kept with the hold, at most 512 characters.
    #[arg(long, value_name = "TEXT", requires = "override")]
    pub reason: Option<String>,
    /// Pause it only if this is still its etag, which `-o json campaigns get` shows.
    #[arg(long, value_name = "ETAG", conflicts_with_all = ["all", "all_workspaces"])]
    pub etag: Option<String>,
}

/// The campaign to resume.
#[derive(Debug, ClapArgs)]
pub struct Resume {
    /// Id of the campaign.
    #[arg(value_parser = id::<CampaignId>)]
    pub campaign: CampaignId,
    /// Lift the hold of the campaign, also if a Kubernetes resource manages it. The campaign gets the state that it had
    /// before, or that its resource has declared since.
    #[arg(long)]
    pub r#override: bool,
    /// Resume it only if this is still its etag, which `-o json campaigns get` shows.
    #[arg(long, value_name = "ETAG")]
    pub etag: Option<String>,
}
