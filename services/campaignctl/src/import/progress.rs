//! Shows the progress of an import on stderr: as a bar on a terminal, otherwise as a line at intervals.

use std::{
    cell::Cell,
    io::{self, IsTerminal as _},
    time::{Duration, Instant},
};

use campaign_metrics::rate::{Rate, percent};
use indicatif::{ProgressBar, ProgressStyle};

use super::report::Report;
use crate::view::visible;

/// Interval of lines without a terminal, so that the log of an hour is readable.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// The progress of an import.
#[derive(Debug)]
pub struct Progress {
    bar: Option<ProgressBar>,
    /// `None` for a pipe.
    size_bytes: Option<u64>,
    started: Instant,
    line_due: Cell<Instant>,
}

impl Progress {
    /// Starts at the beginning of a file of that size.
    pub fn new(size_bytes: Option<u64>) -> Self {
        let template = match size_bytes {
            Some(_) => "{bar:32} {prefix:>8}  {msg}  {eta} left",
            None => "{spinner} {msg}",
        };
        let style = ProgressStyle::with_template(template).expect("the template is a constant and valid");
        let bar = || match size_bytes {
            Some(size) => ProgressBar::new(size),
            None => ProgressBar::new_spinner(),
        };
        let bar = io::stderr().is_terminal().then(|| bar().with_style(style));
        let started = Instant::now();
        Self { bar, size_bytes, started, line_due: Cell::new(started + LINE_EVERY) }
    }

    /// Shows that the file was processed up to byte `end`.
    pub fn advance(&self, end: u64, report: &Report) {
        let now = Instant::now();
        if let Some(bar) = &self.bar {
            bar.set_position(end);
            bar.set_prefix(self.percent(end).unwrap_or_default());
            bar.set_message(self.message(now, report));
        } else if let Some(line) = self.line(now, end, report) {
            eprintln!("{line}");
        }
    }

    fn message(&self, now: Instant, report: &Report) -> String {
        let done = report.acknowledged();
        let elapsed = now.saturating_duration_since(self.started);
        let per_second =
            u64::try_from(done).unwrap_or(0) * 1000 / u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).max(1);
        format!("{done} leads, {} refused, {per_second}/s", report.refused)
    }

    /// The line to print at `now`, if one is due.
    fn line(&self, now: Instant, end: u64, report: &Report) -> Option<String> {
        if now < self.line_due.get() {
            return None;
        }
        self.line_due.set(now + LINE_EVERY);
        let message = self.message(now, report);
        Some(self.percent(end).map_or_else(|| message.clone(), |percent| format!("{percent}: {message}")))
    }

    fn percent(&self, end: u64) -> Option<String> {
        let count = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        // A file may have grown.
        let read = Rate { numerator: count(end), denominator: count(self.size_bytes?.max(end)) };
        Some(read.percent().unwrap_or_else(|| percent(0.0)))
    }

    /// Prints a message above the bar.
    pub fn say(&self, text: &str) {
        let text = visible(text);
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{text}")),
            None => eprintln!("{text}"),
        }
    }

    /// Removes the bar.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn just_before(moment: Instant) -> Instant {
        moment.checked_sub(Duration::from_millis(1)).expect("a moment after the start")
    }

    #[test]
    fn every_ten_seconds_a_line_tells_the_share_read_the_leads_and_their_rate() {
        let campaign = "workspaces/acme/campaigns/spring".parse().unwrap();
        let mut report = Report::new("leads.csv", &campaign);
        let progress = Progress::new(Some(2000));
        let (first, second) = (progress.started + LINE_EVERY, progress.started + 2 * LINE_EVERY);
        (report.added, report.existing, report.refused) = (70, 50, 3);
        assert_eq!(progress.line(just_before(first), 500, &report), None);
        assert_eq!(progress.line(first, 500, &report).as_deref(), Some("25.0 %: 120 leads, 3 refused, 12/s"));
        report.added = 350;
        assert_eq!(progress.line(just_before(second), 1000, &report), None, "one was printed just now");
        assert_eq!(progress.line(second, 1000, &report).as_deref(), Some("50.0 %: 400 leads, 3 refused, 20/s"));
        let late = second + 2 * LINE_EVERY;
        // A file that has grown since it was opened.
        assert_eq!(progress.line(late, 3000, &report).as_deref(), Some("100 %: 400 leads, 3 refused, 10/s"));
    }

    #[test]
    fn of_a_pipe_no_share_is_told() {
        let campaign = "workspaces/acme/campaigns/spring".parse().unwrap();
        let report = Report::new("the standard input", &campaign);
        let progress = Progress::new(None);
        let due = progress.started + LINE_EVERY;
        assert_eq!(progress.line(due, 700, &report).as_deref(), Some("0 leads, 0 refused, 0/s"));
    }
}
