//! Runs every command of docs/answers.md against a service that the page itself fills, and compares what is printed with
//! the page. `make update` writes the answers into the page.
//!
//! The info string of a fence says what it is: `sh run=fill` fills the service, and `sh run=answer` is a command whose
//! answer stands in the `text` after it.

use std::{env, fs};

use campaign_metrics_service::Clock;
use tempfile::TempDir;
use tokio::process::Command;

use crate::harness::{
    golden::assert_golden,
    parts::{binary, repository},
    postgres::database,
    run::{Output, run},
    service::Service,
};

const PAGE: &str = "docs/answers.md";

/// When the questions are asked: the Monday after three weeks of sending.
const NOW: &str = "2026-06-22T09:00:00Z";

/// A fence of the page, or the lines between two.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Prose(String),
    /// Its info string, and what it holds.
    Fence(String, String),
}

/// Splits a page at its fences.
fn split(page: &str) -> Vec<Part> {
    let mut parts = vec![Part::Prose(String::new())];
    for line in page.split_inclusive('\n') {
        match (line.strip_prefix("```"), parts.last_mut()) {
            (Some(_), Some(Part::Fence(..))) => parts.push(Part::Prose(String::new())),
            (Some(info), _) => parts.push(Part::Fence(info.trim().to_owned(), String::new())),
            (None, Some(Part::Prose(text) | Part::Fence(_, text))) => text.push_str(line),
            (None, None) => {}
        }
    }
    parts
}

/// Renders what was split.
fn join(parts: &[Part]) -> String {
    let render = |part: &Part| match part {
        Part::Prose(text) => text.clone(),
        Part::Fence(info, text) => format!("```{info}\n{text}```\n"),
    };
    parts.iter().map(render).collect()
}

/// A terminal in a folder of its own.
struct Terminal {
    service: Service,
    folder: TempDir,
}

impl Terminal {
    /// Runs commands that must succeed, and returns what they print.
    async fn execute(&self, text: &str) -> String {
        let programs = [binary("campaignctl"), binary("campaign-simulator")];
        let folders = programs.map(|file| file.expect("it is built").parent().expect("files lie somewhere").to_owned());
        let known = env::var_os("PATH").unwrap_or_default();
        let path = folders.into_iter().chain(env::split_paths(&known));
        let mut command = Command::new("bash");
        command.args(["-euo", "pipefail", "-c", text]).current_dir(self.folder.path());
        command.env("PATH", env::join_paths(path).expect("paths")).env("LC_ALL", "C.UTF-8");
        command.env("CAMPAIGN_METRICS_SERVER", &self.service.url).env_remove("CAMPAIGN_METRICS_WORKSPACE");
        run(command, "").await.and_then(Output::success).unwrap_or_else(|error| panic!("{PAGE}: {error:#}"))
    }
}

#[tokio::test]
async fn every_answer_of_the_page_is_what_its_command_prints() {
    let page = fs::read_to_string(repository().join(PAGE)).expect("the page");
    let mut parts = split(&page);
    assert_eq!(join(&parts), page, "no line of the page is lost");
    let service = Service::on(&database().await, Clock::manual(NOW.parse().expect("a time"))).await;
    let terminal = Terminal { service, folder: tempfile::tempdir().expect("a folder") };
    for part in &parts {
        if let Part::Fence(info, text) = part
            && info == "sh run=fill"
        {
            terminal.execute(text).await;
        }
    }
    let mut answers = 0;
    for at in 0..parts.len() {
        let Part::Fence(info, text) = parts[at].clone() else { continue };
        match info.as_str() {
            "sh run=answer" => {
                let printed = terminal.execute(&text).await;
                let Some(Part::Fence(info, answer)) = parts.get_mut(at + 2) else {
                    panic!("{PAGE}: no answer follows `{text}`")
                };
                assert_eq!(info, "text", "the answer to a command is text");
                *answer = printed;
                answers += 1;
            }
            "sh run=fill" | "text" => {}
            other => panic!("{PAGE}: a fence is `sh run=fill`, `sh run=answer` or `text`, not `{other}`"),
        }
    }
    assert!(answers > 7, "each question has its answer");
    assert_golden(PAGE, &join(&parts));
}
