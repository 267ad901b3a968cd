//! Shows the progress of an import on stderr: as a bar on a terminal, otherwise as a line at intervals.

use std::{
    cell::Cell,
    io::{self, IsTerminal as _},
    time::{Duration, Instant},
};

use campaign_metrics::rate::{Rate, percent};
use indicatif::{ProgressBar, ProgressStyle};

use super::report::Report;

/// Interval of lines without a terminal, so that the log of an hour is readable.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// The progress of an import.
#[derive(Debug)]
pub struct Progress {
    bar: Option<ProgressBar>,
    size_bytes: u64,
    started: Instant,
    line_due: Cell<Instant>,
}

impl Progress {
    /// Starts at the beginning of a file of `size` bytes.
    pub fn new(size_bytes: u64) -> Self {
        let style = ProgressStyle::with_template("{bar:32} {prefix:>8}  {msg}  {eta} left")
            .expect("the template is a constant and valid");
        let bar = io::stderr().is_terminal().then(|| ProgressBar::new(size_bytes).with_style(style));
        let started = Instant::now();
        Self { bar, size_bytes, started, line_due: Cell::new(started + LINE_EVERY) }
    }

    /// Shows that the file was processed up to byte `end`.
    pub fn advance(&self, end: u64, report: &Report) {
        let now = Instant::now();
        if let Some(bar) = &self.bar {
            bar.set_position(end);
            bar.set_prefix(self.percent(end));
            bar.set_message(self.message(now, report));
        } else if let Some(line) = self.line(now, end, report) {
            eprintln!("{line}");
        }
    }

    fn message(&self, now: Instant, report: &Report) -> String {
        let done = report.added + report.existing;
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
        Some(format!("{}: {}", self.percent(end), self.message(now, report)))
    }

    fn percent(&self, end: u64) -> String {
        let count = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        // The size of a pipe is not known, and a file may have grown.
        let read = Rate { numerator: count(end), denominator: count(self.size_bytes.max(end)) };
        read.percent().unwrap_or_else(|| percent(0.0))
    }

    /// Prints a message above the bar.
    pub fn say(&self, text: &str) {
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
    use std::path::Path;

    use super::*;

    fn just_before(moment: Instant) -> Instant {
        moment.checked_sub(Duration::from_millis(1)).expect("a moment after the start")
    }

    #[test]
    fn every_ten_seconds_a_line_tells_the_share_read_the_leads_and_their_rate() {
        let campaign = "workspaces/acme/campaigns/spring".parse().unwrap();
        let mut report = Report::new(Path::new("leads.csv"), &campaign);
        let progress = Progress::new(2000);
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
    fn a_file_of_unknown_size_is_read_to_some_share_of_it() {
        let campaign = "workspaces/acme/campaigns/spring".parse().unwrap();
        let report = Report::new(Path::new("/dev/stdin"), &campaign);
        let progress = Progress::new(0);
        let due = progress.started + LINE_EVERY;
        assert_eq!(progress.line(due, 0, &report).as_deref(), Some("0 %: 0 leads, 0 refused, 0/s"));
    }
}
