//! The command line of the live view.

use clap::Args as ClapArgs;

pub const WATCH_ABOUT: &str = "\
Shows all campaigns of the workspace as they change: progress, pace, and when they will be done.

PACE is the number of leads done in an hour, measured over the last hour while this view is open. READY IN is how long
the open leads take at this pace. The view needs no colour and fits in 80 columns. It connects again by itself.

Keys: arrows, Page Up, Page Down, Home and End select a campaign. Enter shows it with its accounts and failures, Esc goes
back, q or Ctrl-C quits.

With --plain, or if the output is no terminal, each change is a line of its own. With -o ndjson, each message of the
service is.";

pub const WATCH_EXAMPLES: &str = "\
Examples:
  campaignctl watch
  campaignctl watch --plain
  campaignctl -o ndjson watch | jq --unbuffered -r '.campaign | select(.state == \"FINISHED\") | .name'";

/// How to watch.
#[derive(Debug, ClapArgs)]
pub struct Watch {
    /// Print a line for each change: for screen readers and logs.
    #[arg(long)]
    pub plain: bool,
}
