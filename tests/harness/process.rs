//! Runs a child process that never outlives this one.
//!
//! A watcher, a small shell beside the child, reads from a pipe that only this process holds open. When this process
//! ends, even by SIGKILL, the pipe closes; the watcher then stops the child and removes its directory. The child is
//! exactly the requested program, with its own pid, exit status and signals. stdout and stderr go to files in its
//! directory, so the child never blocks on a full pipe.

use std::{
    fs::{self, File},
    io::Write as _,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process};

use super::wait::until;

/// Time for a child to end after its signal. Drains take milliseconds unless a call hangs.
pub const GRACE: Duration = Duration::from_secs(15);

/// `$1` is the signal to stop with, `$2` a directory to remove afterwards (or empty), the rest is the command. `$$` is
/// the shell that becomes the command, in the watcher too. The watcher is a grandchild that init adopts, because
/// Postgres does not expect children that it did not fork. A line on the pipe dismisses the watcher.
const WATCHED: &str = r#"
signal=$1 remove=$2
shift 2
exec 3<&0
( (
  trap '' INT TERM HUP
  read -r _ && exit
  kill -s "$signal" $$ || exit
  tries=0
  while kill -s 0 $$ && [ $tries -lt 100 ]; do
    sleep 0.1
    tries=$((tries + 1))
  done
  kill -s KILL $$
  [ -z "$remove" ] || rm -rf "$remove"
) <&3 3<&- >/dev/null 2>&1 & )
exec "$@" </dev/null 3<&-
"#;

/// What happens to a child's directory when the watcher stops the child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Directory {
    /// It is kept for people.
    Keep,
    /// It is removed.
    Remove,
}

/// A running child.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    watcher: Option<ChildStdin>,
    directory: PathBuf,
    stop_by: Signal,
}

impl Process {
    /// Starts a command; `name` names its log files in `directory`.
    pub fn start(name: &str, command: &Command, directory: &Path, stop_by: Signal, then: Directory) -> Result<Self> {
        let remove = match then {
            Directory::Keep => Path::new(""),
            Directory::Remove => directory,
        };
        let signal = match stop_by {
            Signal::INT => "INT",
            _ => "TERM",
        };
        let file = |kind: &str| File::create(directory.join(format!("{name}.{kind}")));
        let mut shell = Command::new("sh");
        shell
            .args(["-c", WATCHED, "sh", signal])
            .arg(remove)
            .arg(command.get_program())
            .args(command.get_args())
            .stdin(Stdio::piped())
            .stdout(file("out")?)
            .stderr(file("log")?)
            // Ctrl-C on a terminal reaches this process only, which stops its children in order.
            .process_group(0);
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => shell.env(key, value),
                None => shell.env_remove(key),
            };
        }
        let mut child = shell.spawn().with_context(|| format!("{name} does not start"))?;
        Ok(Self { name: name.to_owned(), watcher: child.stdin.take(), child, directory: directory.to_owned(), stop_by })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written to stdout so far.
    pub fn stdout(&self) -> String {
        fs::read_to_string(self.directory.join(format!("{}.out", self.name))).unwrap_or_default()
    }

    /// What it has written to stderr so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.join(format!("{}.log", self.name))).unwrap_or_default()
    }

    /// Where it writes stderr.
    pub fn log_path(&self) -> PathBuf {
        self.directory.join(format!("{}.log", self.name))
    }

    /// Returns its exit status once it has ended.
    pub fn exited(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Waits until `look` succeeds. Fails with the end of its log when the child exits first or `limit` passes.
    pub async fn ready<T>(&mut self, limit: Duration, mut look: impl AsyncFnMut() -> Result<T>) -> Result<T> {
        let name = self.name.clone();
        let found = until(&format!("{name} to be ready"), limit, async || match self.child.try_wait()? {
            Some(status) => Ok(Err(status)),
            None => look().await.map(Ok),
        })
        .await;
        match found {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(status)) => bail!("{name} ended with {status}:\n{}", self.log_end()),
            Err(error) => Err(error.context(format!("{name} is not ready:\n{}", self.log_end()))),
        }
    }

    /// Waits for a line of stdout that starts with `start`, and returns it.
    pub async fn line(&mut self, start: &str, limit: Duration) -> Result<String> {
        let path = self.directory.join(format!("{}.out", self.name));
        self.ready(limit, async || {
            let text = fs::read_to_string(&path)?;
            let whole = text.rfind('\n').map_or("", |end| &text[..end]);
            let line = whole.lines().find(|line| line.starts_with(start));
            line.map(str::to_owned).with_context(|| format!("no line `{start}...` on stdout"))
        })
        .await
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill_process(Pid::from_child(&self.child), signal)?)
    }

    /// Waits until it ends by itself.
    pub async fn end(&mut self, limit: Duration) -> Result<ExitStatus> {
        let name = self.name.clone();
        let status =
            until(&format!("{name} to end"), limit, async || self.child.try_wait()?.context("it still runs")).await?;
        self.dismiss_watcher();
        Ok(status)
    }

    /// Signals it to end, and kills it after `grace`.
    pub async fn stop(&mut self, grace: Duration) -> Result<ExitStatus> {
        if self.exited()?.is_none() {
            self.signal(self.stop_by)?;
            if self.end(grace).await.is_err() {
                self.child.kill()?;
            }
        }
        self.end(grace).await
    }

    /// Closes the pipe as the kernel does when this process is killed, for the test of the watcher.
    pub fn close_pipe_as_if_killed(&mut self) {
        self.watcher = None;
    }

    fn dismiss_watcher(&mut self) {
        if let Some(mut pipe) = self.watcher.take() {
            // An error means that it has exited already.
            let _ = pipe.write_all(b"\n");
        }
    }

    fn log_end(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let running = |child: &mut Child| matches!(child.try_wait(), Ok(None));
        if running(&mut self.child) {
            // An error means that it has just exited.
            let _ = self.signal(self.stop_by);
            let asked = Instant::now();
            while running(&mut self.child) && asked.elapsed() < GRACE {
                std::thread::sleep(Duration::from_millis(20));
            }
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        self.dismiss_watcher();
    }
}
