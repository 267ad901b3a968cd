//! Runs the tests of one mutant, up to the first that fails.

use std::{
    collections::{BTreeSet, HashMap},
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::{
    binaries::Binaries,
    coverage::{MODEL, Step},
    harness::postgres::{Server, connect, separate_server},
};

/// The number of no mutant.
pub const NO_MUTANT: u32 = 0;
/// The number of a mutant that needs no switch: it is in place already.
pub const IN_PLACE: u32 = 1;

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    Passed,
    /// The first test that failed.
    Failed(String),
    TimedOut,
}

/// A worker with its binaries and its Postgres, so that a test run need not start one.
pub struct Worker {
    pub binaries: Binaries,
    server: Server,
    _directory: TempDir,
    threads: usize,
    /// Where switches that are asked for are noted.
    pub trace: Option<PathBuf>,
}

impl Worker {
    /// Starts its Postgres, which says the SQLSTATE of each error in its log.
    pub async fn start(binaries: Binaries, threads: usize) -> Result<Self> {
        let (server, directory) = separate_server().await?;
        let sql = connect(&server.url("postgres")).await?;
        sql.batch_execute("ALTER SYSTEM SET log_line_prefix = '%e '").await?;
        sql.batch_execute("SELECT pg_reload_conf()").await?;
        Ok(Self { binaries, server, _directory: directory, threads, trace: None })
    }

    /// How long the log of its Postgres is.
    pub fn log_length(&self) -> usize {
        self.server.process().map_or(0, |process| process.log().len())
    }

    /// Errors of class 42 since then: the statement itself is refused (syntax, a column, a type), whatever the data.
    pub fn refusals(&self, since: usize) -> Vec<String> {
        let log = self.server.process().map(crate::harness::process::Process::log).unwrap_or_default();
        let new = log.get(since..).unwrap_or_default();
        let refused = new.lines().filter(|line| line.starts_with("42") && line.contains(" ERROR: "));
        refused.map(str::to_owned).collect()
    }

    /// Runs a step with the switch of this number on.
    pub async fn step(&self, step: &Step, mutant: u32, limit: Duration) -> Result<(End, String)> {
        self.tests(step, &step.filters(), mutant, limit).await
    }

    /// Returns whether a failed test fails again when it runs alone. A flaky failure caught nothing.
    pub async fn fails_again(&self, step: &Step, test: &str, mutant: u32, limit: Duration) -> Result<bool> {
        let filters = [test.to_owned(), "--exact".to_owned()];
        Ok(self.tests(step, &filters, mutant, limit).await?.0 != End::Passed)
    }

    async fn tests(&self, step: &Step, filters: &[String], mutant: u32, limit: Duration) -> Result<(End, String)> {
        let (path, directory) = self.binaries.tests.get(step.binary).with_context(|| {
            let there: Vec<_> = self.binaries.tests.keys().collect();
            format!("no test binary {}; there are {there:?}", step.binary)
        })?;
        let mut command = tokio::process::Command::new(path);
        command.args(filters).arg(format!("--test-threads={}", self.threads));
        command.current_dir(directory).env("CARGO_MANIFEST_DIR", directory).env("MUTANT", mutant.to_string());
        command.env("TEST_DATABASE_URL", self.server.url("postgres")).env("RUST_BACKTRACE", "0");
        if let Some(trace) = &self.trace {
            command.env("MUTANT_TRACE", trace);
        }
        for (name, value) in MODEL {
            if std::env::var_os(name).is_none() {
                command.env(name, value);
            }
        }
        // A failed test reports to stdout. stderr has the errors of a binary that does not start.
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("{} does not start", path.display()))?;
        let mut lines = BufReader::new(child.stdout.take().context("stdout is piped")?).lines();
        let mut output = String::new();
        let watched = async {
            let mut end = None;
            while let Ok(Some(line)) = lines.next_line().await {
                output.push_str(&line);
                output.push('\n');
                let failed = line.strip_prefix("test ").and_then(|line| line.strip_suffix(" ... FAILED"));
                if let Some(test) = failed {
                    end = Some(test.to_owned());
                    // The baseline, which must pass, shows the reason.
                    if mutant != NO_MUTANT {
                        break;
                    }
                }
            }
            end
        };
        let failed = tokio::time::timeout(limit, watched).await;
        let end = match failed {
            Err(_) => End::TimedOut,
            Ok(Some(test)) => End::Failed(test),
            // It closed its output: it ended, or is about to.
            Ok(None) => match tokio::time::timeout(limit, child.wait()).await {
                Ok(Ok(status)) if status.success() => End::Passed,
                _ => End::Failed("(the test binary died)".to_owned()),
            },
        };
        // Parts that it started notice that it is gone, and end.
        let _ = child.kill().await;
        Ok((end, output))
    }
}

/// How long each step takes without a mutant.
#[derive(Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Baseline {
    /// What was measured: sizes and times of the test binaries.
    of: String,
    seconds: HashMap<String, f64>,
    /// The switches that each step asks for.
    reached: HashMap<String, BTreeSet<u32>>,
    /// Errors of class 42 that tests cause on purpose, by code.
    pub refusals: Vec<String>,
}

/// A step may take so many times its duration without a mutant, and some more, because the machine may be busy.
const LIMIT_FACTOR: u32 = 4;
const LIMIT_MORE: Duration = Duration::from_secs(30);
/// Maximum duration of a step without a mutant.
const BASELINE_MAX: Duration = Duration::from_mins(15);
/// A test that depends on time may fail on a busy machine. One that fails so often is broken.
const ATTEMPTS: u32 = 3;

impl Baseline {
    /// What an earlier run measured with the same binaries.
    pub fn open(path: &Path, of: String) -> Self {
        let read = || serde_json::from_str::<Self>(&std::fs::read_to_string(path).ok()?).ok();
        read().filter(|baseline| baseline.of == of).unwrap_or(Self { of, ..Self::default() })
    }

    /// Runs a step without a mutant, unless it is known; an error when it fails.
    pub async fn measure(&mut self, worker: &mut Worker, step: &Step, trace: &Path) -> Result<Option<Duration>> {
        if self.seconds.contains_key(&step.name()) {
            return Ok(None);
        }
        let since = worker.log_length();
        worker.trace = Some(trace.to_owned());
        for attempt in 1.. {
            let begun = Instant::now();
            std::fs::write(trace, "")?;
            let (end, output) = worker.step(step, NO_MUTANT, BASELINE_MAX).await?;
            if end == End::Passed {
                self.seconds.insert(step.name(), begun.elapsed().as_secs_f64());
                let reached = std::fs::read_to_string(trace)?.lines().filter_map(|line| line.parse().ok()).collect();
                self.reached.insert(step.name(), reached);
                worker.trace = None;
                self.refusals.extend(worker.refusals(since).into_iter().map(|line| line[..5].to_owned()));
                self.refusals.sort();
                self.refusals.dedup();
                return Ok(Some(begun.elapsed()));
            }
            if attempt == ATTEMPTS {
                anyhow::bail!("without a mutant {} does not pass: {end:?}\n{output}", step.name());
            }
        }
        unreachable!("it returns at the last attempt")
    }

    /// Keeps it for the next run.
    pub fn save(&self, path: &Path) -> Result<()> {
        Ok(std::fs::write(path, serde_json::to_string_pretty(self)?)?)
    }

    /// What of a step asks for a switch; nothing where no test of it does.
    pub fn reaching(&self, step: &Step, switch: u32) -> Option<Step> {
        let mut parts = step.parts();
        parts.retain(|part| self.reached.get(&part.name()).is_none_or(|reached| reached.contains(&switch)));
        let modules = parts.iter().flat_map(|part| part.modules.iter().copied()).collect();
        (!parts.is_empty()).then_some(Step { binary: step.binary, modules })
    }

    /// How long a step may take.
    pub fn limit(&self, step: &Step) -> Duration {
        let usual: f64 = step.parts().iter().filter_map(|part| self.seconds.get(&part.name())).sum();
        Duration::from_secs_f64(usual) * LIMIT_FACTOR + LIMIT_MORE
    }
}
