//! The live view: one line for each campaign, of 80 columns at most, redrawn in place on a terminal, printed every few
//! seconds elsewhere.

use std::{
    cell::RefCell,
    io::IsTerminal as _,
    time::{Duration, Instant},
};

use anyhow::Result;
use campaign_metrics::{
    pb::{self, CampaignState},
    rate::percent,
};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressStyle};

use crate::{Colour, paint};

/// Between two prints where nothing can be redrawn: a run of a minute stays on a screen.
const PLAIN_EVERY: Duration = Duration::from_secs(5);
/// Width of the longest name.
const NAME: usize = 16;

/// What is shown of the campaigns.
pub struct View {
    lines: MultiProgress,
    /// The names of the columns, which only have to stay where they are.
    _head: ProgressBar,
    /// One for each campaign, on a terminal.
    bars: Vec<ProgressBar>,
    printed: RefCell<Option<Printed>>,
}

/// What was printed last, where nothing is redrawn.
struct Printed {
    at: Instant,
    lines: String,
}

impl View {
    /// An empty view of so many campaigns.
    pub fn new(campaigns: usize) -> Result<Self> {
        let lines = MultiProgress::with_draw_target(ProgressDrawTarget::stdout());
        let style = ProgressStyle::with_template("{prefix} {bar:6.green/black.bright}{msg}")?;
        let style = style.progress_chars("██░");
        // The last lines stay on the screen however the view ends.
        let bar = |style| ProgressBar::new(100).with_style(style).with_finish(ProgressFinish::Abandon);
        let (head, mut bars) = (bar(ProgressStyle::with_template("{msg}")?), Vec::new());
        if std::io::stdout().is_terminal() {
            lines.add(head.clone()).set_message(columns());
            bars.extend((0..campaigns).map(|_| lines.add(bar(style.clone()))));
        }
        Ok(Self { lines, _head: head, bars, printed: RefCell::new(None) })
    }

    /// Shows the campaigns as they are.
    pub fn show(&self, campaigns: &[pb::Campaign]) {
        for (bar, campaign) in self.bars.iter().zip(campaigns) {
            let colour = match campaign.state() {
                CampaignState::Active => Colour::Green,
                CampaignState::Paused => Colour::Yellow,
                CampaignState::Unspecified | CampaignState::Finished => Colour::Bold,
            };
            let state = paint(&format!("{:8}", state(campaign)), colour);
            bar.set_prefix(format!("{:NAME$} {state}", id(campaign)));
            bar.set_message(counts(campaign));
            bar.set_position(progress(campaign));
        }
        if self.bars.is_empty() {
            self.print(campaigns);
        }
    }

    /// Prints what has changed since the last print.
    fn print(&self, campaigns: &[pb::Campaign]) {
        let lines: Vec<String> = campaigns.iter().map(plain).collect();
        let lines = lines.join("\n");
        let mut printed = self.printed.borrow_mut();
        if printed.as_ref().is_none_or(|last| last.at.elapsed() >= PLAIN_EVERY && last.lines != lines) {
            println!("\n{}\n{lines}", columns());
            *printed = Some(Printed { at: Instant::now(), lines });
        }
    }

    /// Says something, above the lines.
    pub fn say(&self, text: &str) {
        self.lines.suspend(|| println!("{text}"));
    }
}

fn columns() -> String {
    let (campaign, state, progress) = ("campaign", "state", "progress");
    let counts = format!("{:>6}{:>8}{:>8}{:>8}{:>9}", "sent", "failed", "pending", "partial", "delivery");
    format!("{campaign:NAME$} {state:8} {progress:15}{counts}")
}

/// The line of a campaign without any redrawing.
fn plain(campaign: &pb::Campaign) -> String {
    let progress = progress(campaign);
    let bar: String = (0..6).map(|place| if place * 100 < 6 * progress { '#' } else { '.' }).collect();
    format!("{:NAME$} {:8} {bar}{}", id(campaign), state(campaign), counts(campaign))
}

/// Its id.
pub fn id(campaign: &pb::Campaign) -> &str {
    campaign.name.rsplit('/').next().unwrap_or_default()
}

/// The word for its state.
pub fn state(campaign: &pb::Campaign) -> &'static str {
    match campaign.state() {
        CampaignState::Unspecified => "?",
        CampaignState::Active => "Active",
        CampaignState::Paused => "Paused",
        CampaignState::Finished => "Finished",
    }
}

/// The length of its bar, up to 100.
fn progress(campaign: &pb::Campaign) -> u64 {
    let leads = campaign.lead_counts.unwrap_or_default();
    let percent = ((leads.sent + leads.failed) * 100).checked_div(leads.total);
    percent.and_then(|percent| percent.try_into().ok()).unwrap_or(0)
}

fn counts(campaign: &pb::Campaign) -> String {
    let leads = campaign.lead_counts.unwrap_or_default();
    let [progress, delivery] = [campaign.progress_ratio, campaign.delivery_rate.and_then(|rate| rate.ratio)]
        .map(|ratio| ratio.map_or("-".to_owned(), percent));
    let [sent, failed, pending, partial] = [leads.sent, leads.failed, leads.pending, leads.partial];
    format!("{progress:>9}{sent:>6}{failed:>8}{pending:>8}{partial:>8}{delivery:>9}")
}
