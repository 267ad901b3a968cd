//! The table and the file of results.

use std::{
    fs,
    io::{self, IsTerminal as _},
    time::{Duration, Instant},
};

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

/// One line of the table.
struct Case {
    name: String,
    value: f64,
    spread: f64,
    unit: &'static str,
    baseline: Option<f64>,
    ratio: f64,
    target: Option<f64>,
    ok: bool,
}

/// The target of a ratio.
#[derive(Clone, Copy)]
pub enum Target {
    /// At least that.
    AtLeast(f64),
    /// At most that.
    AtMost(f64),
    /// No target: only reported.
    None,
}

/// Progress: a bar on a terminal, lines elsewhere.
#[derive(Clone)]
pub struct Progress(Option<ProgressBar>);

impl Progress {
    /// Of so many minutes, about.
    pub fn new(minutes: u64) -> Self {
        let style = ProgressStyle::with_template("{spinner} {bar:24} {elapsed_precise} of about {len} min  {msg}")
            .expect("the template is a constant and valid");
        let bar = io::stderr().is_terminal().then(|| ProgressBar::new(minutes).with_style(style));
        if let Some(bar) = &bar {
            bar.enable_steady_tick(Duration::from_millis(200));
        }
        Self(bar)
    }

    /// Says what is being done.
    pub fn step(&self, what: &str) {
        match &self.0 {
            Some(bar) => bar.set_message(what.to_owned()),
            None => eprintln!("{what}"),
        }
    }

    /// Prints a line that stays.
    pub fn say(&self, text: &str) {
        match &self.0 {
            Some(bar) => bar.suspend(|| println!("{text}")),
            None => println!("{text}"),
        }
    }

    /// What took about so many minutes is done.
    pub fn done(&self, minutes: u64) {
        if let Some(bar) = &self.0 {
            bar.inc(minutes);
        }
    }

    fn finish(&self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

/// The results so far.
pub struct Report {
    pub progress: Progress,
    cases: Vec<Case>,
    only: Vec<String>,
    started: Instant,
}

/// Returns the median.
pub fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Whether a case begins with one of some prefixes, or names a part of one; all do with none.
pub fn is_wanted(name: &str, only: &[String]) -> bool {
    only.is_empty() || only.iter().any(|only| name.starts_with(only) || only.starts_with(name))
}

impl Report {
    pub fn new(only: &[String], progress: Progress) -> Self {
        Self { progress, cases: Vec::new(), only: only.to_owned(), started: Instant::now() }
    }

    /// Whether a case was asked for.
    pub fn wants(&self, name: &str) -> bool {
        is_wanted(name, &self.only)
    }

    /// Adds a case: its values, in `unit`, and those of the baseline that ran between them.
    pub fn ratio(&mut self, name: &str, unit: &'static str, values: &[f64], baseline: &[f64], target: Target) {
        let (value, base) = (median(values), median(baseline));
        self.add(name, unit, values, Some(base), value / base, target);
    }

    /// Adds a case whose value itself has a target.
    pub fn value(&mut self, name: &str, unit: &'static str, values: &[f64], target: Target) {
        self.add(name, unit, values, None, median(values), target);
    }

    fn add(
        &mut self,
        name: &str,
        unit: &'static str,
        values: &[f64],
        baseline: Option<f64>,
        ratio: f64,
        target: Target,
    ) {
        if !self.wants(name) {
            return;
        }
        let (target, ok) = match target {
            Target::AtLeast(target) => (Some(target), ratio >= target),
            Target::AtMost(target) => (Some(target), ratio <= target),
            Target::None => (None, true),
        };
        let most = values.iter().copied().fold(f64::MIN, f64::max);
        let least = values.iter().copied().fold(f64::MAX, f64::min);
        let value = median(values);
        let case =
            Case { name: name.to_owned(), value, spread: (most - least) / value, unit, baseline, ratio, target, ok };
        self.progress.say(&format!("{}   of {values:.0?}", case.line()));
        self.cases.push(case);
    }

    /// Prints the table and writes the file.
    pub fn finish(self) -> Result<()> {
        self.progress.finish();
        println!("\n{}", header());
        for case in &self.cases {
            println!("{}", case.line());
        }
        println!("\n{} cases in {} s", self.cases.len(), self.started.elapsed().as_secs());
        let cases: Vec<_> = self
            .cases
            .iter()
            .map(|case| {
                json!({
                    "name": case.name, "value": case.value, "unit": case.unit, "baseline": case.baseline,
                    "ratio": case.ratio, "target": case.target, "ok": case.ok,
                })
            })
            .collect();
        let directory = std::env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| "target".to_owned());
        fs::create_dir_all(&directory)?;
        let path = format!("{directory}/bench.json");
        fs::write(&path, serde_json::to_string_pretty(&json!({ "cases": cases }))?)?;
        println!("written to {path}");
        Ok(())
    }
}

fn header() -> String {
    format!(
        "{:<36} {:>12} {:>8} {:<8} {:>12} {:>8} {:>8}",
        "case", "median", "spread", "unit", "baseline", "ratio", "target"
    )
}

impl Case {
    fn line(&self) -> String {
        let baseline = self.baseline.map_or("-".to_owned(), |baseline| format!("{baseline:.1}"));
        let target = self.target.map_or("-".to_owned(), |target| target.to_string());
        format!(
            "{:<36} {:>12.1} {:>7.0}% {:<8} {:>12} {:>8.3} {:>8} {}",
            self.name,
            self.value,
            self.spread * 100.0,
            self.unit,
            baseline,
            self.ratio,
            target,
            match (self.target, self.ok) {
                (None, _) => "",
                (_, true) => "pass",
                (_, false) => "short",
            }
        )
    }
}
