//! The command line of opt-outs.

use campaign_metrics::{flags::id, name::LeadId};
use clap::Subcommand;

/// The commands for opt-outs.
#[derive(Debug, Subcommand)]
pub enum OptOuts {
    /// Lists the lead ids on the opt-out list, ordered by id.
    #[command(after_long_help = "Example:\n  campaignctl opt-outs list")]
    List,
    /// Adds lead ids to the opt-out list: they get no message in any campaign of the workspace, now or later.
    ///
    /// Leads with these ids opt out in every campaign whose results are not final. Leads that are added later with one of
    /// them count as opted out. Adding an id again changes nothing.
    #[command(
        after_long_help = "Examples:\n  campaignctl opt-outs add ann@example.org\n  xargs campaignctl opt-outs add < opted-out.txt"
    )]
    Add {
        /// Ids of the leads.
        #[arg(required = true, value_name = "LEAD", value_parser = id::<LeadId>)]
        leads: Vec<LeadId>,
    },
    /// Removes a lead id from the opt-out list.
    ///
    /// Leads that are added from now on may be sent to again. Leads that opted out remain opted out.
    #[command(after_long_help = "Example:\n  campaignctl opt-outs delete ann@example.org")]
    Delete {
        /// Id of the lead.
        #[arg(value_parser = id::<LeadId>)]
        lead: LeadId,
    },
}
