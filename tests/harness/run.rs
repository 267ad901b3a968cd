//! Runs commands to completion: kubectl, helm, grpcurl, promtool, our own tools.

use std::{process::ExitStatus, process::Stdio, time::Duration};

use anyhow::{Context as _, Result, bail};
use tokio::{io::AsyncWriteExt as _, process::Command};

/// Time limit of a command. The slowest, `helm install`, takes a few seconds.
const LIMIT: Duration = Duration::from_mins(1);

/// The result of a command.
#[derive(Debug, Clone)]
pub struct Output {
    /// The command line, for messages.
    pub command: String,
    /// How it ended.
    pub status: ExitStatus,
    /// Its stdout.
    pub stdout: String,
    /// Its stderr.
    pub stderr: String,
}

impl Output {
    /// Returns its stdout; fails with its output if the command failed.
    pub fn success(self) -> Result<String> {
        if self.status.success() {
            Ok(self.stdout)
        } else {
            bail!("`{}` ended with {}:\n{}{}", self.command, self.status, self.stdout, self.stderr)
        }
    }

    /// Returns its stderr; fails if the command succeeded.
    pub fn refusal(self) -> Result<String> {
        if self.status.success() {
            bail!("`{}` succeeded, but had to be refused:\n{}", self.command, self.stdout)
        }
        Ok(self.stderr)
    }
}

/// Runs a command with `input` on its stdin.
pub async fn run(command: Command, input: &str) -> Result<Output> {
    run_within(command, input, LIMIT).await
}

/// Runs a command that may take longer than most.
pub async fn run_within(mut command: Command, input: &str, limit: Duration) -> Result<Output> {
    let line = format!("{:?}", command.as_std());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let whole = async {
        let mut child = command.spawn()?;
        let mut stdin = child.stdin.take().context("stdin is piped")?;
        let write = async {
            // A command may end without reading its input. Its exit status then tells what is wrong.
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
    tokio::time::timeout(limit, whole)
        .await
        .with_context(|| format!("`{line}` ran for more than {} s", limit.as_secs()))?
        .with_context(|| format!("`{line}` does not start"))
}
