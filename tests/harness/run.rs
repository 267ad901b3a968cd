//! Commands that run to their end: kubectl, helm, grpcurl, promtool, our own tools.

use std::{process::ExitStatus, process::Stdio, time::Duration};

use anyhow::{Context as _, Result, bail};
use tokio::{io::AsyncWriteExt as _, process::Command};

/// No command of a test takes longer; `helm install` is the slowest, at a few seconds.
const LIMIT: Duration = Duration::from_mins(1);

/// What a command left behind.
#[derive(Debug, Clone)]
pub struct Output {
    /// The command line, for messages.
    pub command: String,
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
}

impl Output {
    /// Its stdout, or an error with all it said when it failed.
    pub fn success(self) -> Result<String> {
        if self.status.success() {
            Ok(self.stdout)
        } else {
            bail!("`{}` ended with {}:\n{}{}", self.command, self.status, self.stdout, self.stderr)
        }
    }

    /// Its stderr, or an error when it succeeded.
    pub fn refusal(self) -> Result<String> {
        if self.status.success() {
            bail!("`{}` succeeded, but had to be refused:\n{}", self.command, self.stdout)
        }
        Ok(self.stderr)
    }
}

/// Runs a command with `input` on its stdin.
pub async fn run(mut command: Command, input: &str) -> Result<Output> {
    let line = format!("{:?}", command.as_std());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let whole = async {
        let mut child = command.spawn()?;
        let mut stdin = child.stdin.take().context("stdin is piped")?;
        let write = async {
            // A command may end without reading its input: then its status says what is wrong.
            let _ = stdin.write_all(input.as_bytes()).await;
            drop(stdin);
        };
        let ((), output) = tokio::join!(write, child.wait_with_output());
        let output = output?;
        anyhow::Ok(Output {
            command: line.clone(),
            status: output.status,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    };
    tokio::time::timeout(LIMIT, whole)
        .await
        .with_context(|| format!("`{line}` ran for more than {} s", LIMIT.as_secs()))?
        .with_context(|| format!("`{line}` does not start"))
}
