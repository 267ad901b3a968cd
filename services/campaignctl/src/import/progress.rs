//! Shows the progress of an import on stderr: as a bar on a terminal, otherwise as a line at intervals.

use std::{
    cell::Cell,
    io::{self, IsTerminal as _},
    time::{Duration, Instant},
};

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
        let style = ProgressStyle::with_template("{bar:32} {percent:>3}%  {msg}  {eta} left")
            .expect("the template is a constant and valid");
        let bar = io::stderr().is_terminal().then(|| ProgressBar::new(size_bytes).with_style(style));
        let started = Instant::now();
        Self { bar, size_bytes, started, line_due: Cell::new(started + LINE_EVERY) }
    }

    /// Shows that the file was processed up to byte `end`.
    pub fn advance(&self, end: u64, report: &Report) {
        let done = report.added + report.existing;
        let per_second = u64::try_from(done).unwrap_or(0) * 1000
            / u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
        let message = format!("{done} leads, {} refused, {per_second}/s", report.refused);
        if let Some(bar) = &self.bar {
            bar.set_position(end);
            bar.set_message(message);
        } else if Instant::now() >= self.line_due.get() {
            self.line_due.set(Instant::now() + LINE_EVERY);
            let percent = end * 100 / self.size_bytes.max(end).max(1);
            eprintln!("{percent} %: {message}");
        }
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
