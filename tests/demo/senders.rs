//! Senders: processes of the simulator, each with a log of the claims it was granted.

use std::{fs, process::Command};

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use serde_json::Value;

use crate::{
    harness::{
        parts::binary,
        process::{Directory, GRACE, Process, Signal},
    },
    stage::{NAMESPACE, Stage},
};

/// Two, so that claims are granted to one while the other asks.
const SENDERS: u32 = 2;

/// A claim as a sender wrote it down.
#[derive(Debug)]
pub struct Granted {
    /// When it was asked for, which was before it was granted.
    pub asked: Timestamp,
    /// Resource name of its campaign.
    pub campaign: String,
}

/// Starts them; together they send so many messages a second.
pub fn start(stage: &Stage, messages_per_second: f64) -> Result<()> {
    for number in 1..=SENDERS {
        let mut command = Command::new(binary("campaign-simulator")?);
        command
            .args(["--server", &stage.service_url, "--workspace", NAMESPACE])
            // The same seed for both: the outcome of a message depends on its lead, not on the sender.
            .args(["--seed", "1", "--rate"])
            .arg(format!("{:.1}", messages_per_second / f64::from(SENDERS)))
            // Duplicates, late and reordered reports, as in real life.
            .args(["--late-ratio", "0.1", "--late-seconds", "2", "--duplicate-ratio", "0.05", "--shuffle"])
            .arg("--claims-log")
            .arg(claims_log(stage, number));
        let name = format!("campaign-simulator-{number}");
        let logs = stage.folder.join("logs");
        stage.add(Process::start(&name, &command, &logs, Signal::TERM, Directory::Keep)?);
    }
    Ok(())
}

/// Waits until they have reported all claims that they hold. Without work they end by themselves.
pub async fn finish(stage: &Stage) -> Result<()> {
    for mut sender in stage.take_added() {
        let status = sender.stop(GRACE).await?;
        ensure!(status.success(), "a sender ended with {status}; its log is {}", sender.log_path().display());
    }
    Ok(())
}

/// Every claim that was granted so far.
pub fn granted(stage: &Stage) -> Result<Vec<Granted>> {
    let mut granted = Vec::new();
    for number in 1..=SENDERS {
        let text = fs::read_to_string(claims_log(stage, number)).context("a sender writes no log of its claims")?;
        // The last line may not be whole yet.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        for line in whole.lines() {
            granted.push(parse(line).with_context(|| format!("in the log of claims: {line}"))?);
        }
    }
    Ok(granted)
}

fn claims_log(stage: &Stage, number: u32) -> std::path::PathBuf {
    stage.folder.join("logs").join(format!("claims-{number}.ndjson"))
}

fn parse(line: &str) -> Result<Granted> {
    let line: Value = serde_json::from_str(line)?;
    let text = |key: &str| line[key].as_str().with_context(|| format!("no `{key}`"));
    let lead = text("lead")?;
    let (campaign, _) = lead.split_once("/leads/").context("`lead` is no name of a lead")?;
    Ok(Granted { asked: text("asked")?.parse()?, campaign: campaign.to_owned() })
}
