//! The command line of claims.

use campaign_metrics::{
    flags::id,
    name::{AccountId, CampaignId},
    pb,
};
use clap::{Args as ClapArgs, Subcommand, ValueEnum};

/// The commands for claims.
#[derive(Debug, Subcommand)]
pub enum Claims {
    /// Lists the claims that are held or uncertain: of the workspace, of a campaign, or of an account.
    #[command(after_long_help = LIST_EXAMPLES)]
    List(ListClaims),
    /// Resolves uncertain claims: tells the service whether their messages were sent.
    ///
    /// A claim is uncertain if it expired without an outcome: its sender may have crashed before or after it sent the
    /// message. Ask the provider about the send key of the claim. A message that was sent counts as delivered. A
    /// message that was not sent is due again at once, so be sure.
    #[command(after_long_help = RESOLVE_EXAMPLES)]
    Resolve(ResolveClaims),
}

const LIST_EXAMPLES: &str = "\
Examples:
  campaignctl claims list --state uncertain
  campaignctl claims list --campaign spring
  campaignctl claims list --account mail-1 --state uncertain";

const RESOLVE_EXAMPLES: &str = "\
Examples:
  campaignctl claims resolve --account mail-1 --sent CLAIM
  campaignctl -o json claims list --account mail-1 --state uncertain \\
    | jq -r '.[].claimId' | xargs campaignctl claims resolve --account mail-1 --not-sent

Exit codes:
  0  all claims were resolved
  1  failed; the error describes the remedy
  2  some claims were not uncertain (any more); they are listed";

/// The claims to list.
#[derive(Debug, ClapArgs)]
pub struct ListClaims {
    /// Only claims of this account.
    #[arg(short, long, value_parser = id::<AccountId>)]
    pub account: Option<AccountId>,
    /// Only claims of this campaign.
    #[arg(short, long, value_parser = id::<CampaignId>)]
    pub campaign: Option<CampaignId>,
    /// Only claims in this state.
    #[arg(long, value_enum, ignore_case = true)]
    pub state: Option<ClaimState>,
}

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
