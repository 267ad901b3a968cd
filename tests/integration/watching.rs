//! `campaignctl watch`, run as people run it: as a full screen on a terminal, and as a line for each change.

use std::process::Command;

use anyhow::ensure;
use rustix::termios::{LocalModes, tcgetattr};
use serde_json::Value;
use tempfile::tempdir;

use crate::{
    harness::{
        daemon::Daemon,
        parts::binary,
        postgres::{database, free_port},
        process::{Directory, GRACE, Process, Signal},
        service::Service,
        wait::{SOON, until},
    },
    terminal::Terminal,
    world::{add_leads, create_account, create_campaign, pause, resume, settings},
};

/// The command, as people of the workspace `acme` run it.
pub fn watch(url: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(binary("campaignctl").expect("it is built"));
    command.env("CAMPAIGN_METRICS_SERVER", url).env("CAMPAIGN_METRICS_WORKSPACE", "acme").args(arguments);
    command
}

#[tokio::test]
async fn each_change_is_a_line_until_a_signal_ends_it() {
    let service = Service::start().await;
    create_account(&service, "ann", None).await;
    create_campaign(&service, "spring", settings(1, &["ann"])).await;
    create_campaign(&service, "summer", settings(1, &["ann"])).await;
    let directory = tempdir().unwrap();
    let start = |name: &str, arguments: &[&str], stop_by| {
        Process::start(name, &watch(&service.url, arguments), directory.path(), stop_by, Directory::Keep).unwrap()
    };
    let mut lines = start("plain", &["watch", "--plain"], Signal::INT);
    let mut messages = start("ndjson", &["-o", "ndjson", "watch"], Signal::TERM);
    lines.line("acme: 2 campaigns; changes follow", SOON).await.unwrap();
    add_leads(&service, "spring", 7, None, false).await;
    lines.line("spring: ACTIVE, 0 of 7 leads, 0 % done, 0 in flight", SOON).await.unwrap();
    pause(&service, "summer").await;
    let line = lines.line("summer: PAUSED", SOON).await.unwrap();
    assert_eq!(line, "summer: PAUSED, 0 of 0 leads, 0 in flight; nothing is sent: PAUSED, NO_LEAD_DUE");
    assert!(lines.stop(GRACE).await.unwrap().success());
    let told = lines.stdout();
    assert_eq!(told.matches("summer: ").count(), 2, "a line for each change: {told}");
    assert_eq!(lines.log(), "");

    let paused = |json: &Value| json["campaign"]["state"] == "PAUSED";
    until("the pause as JSON", SOON, async || {
        let all: Vec<Value> = messages.stdout().lines().flat_map(serde_json::from_str).collect();
        ensure!(all.iter().any(paused), "{all:?}");
        Ok(())
    })
    .await
    .unwrap();
    assert!(messages.stop(GRACE).await.unwrap().success());
}

#[tokio::test]
async fn a_service_that_restarts_is_found_again() {
    let (database, directory) = (database().await, tempdir().unwrap());
    let listen = format!("127.0.0.1:{}", free_port().unwrap());
    let start = async || {
        let daemon = Daemon::service_at(&listen, &database.url, directory.path(), Directory::Keep).await;
        let mut daemon = daemon.unwrap();
        daemon.ready().await.unwrap();
        daemon
    };
    let mut daemon = start().await;
    let service = Service::of(&daemon, &database).unwrap();
    create_campaign(&service, "spring", settings(1, &[])).await;
    let command = watch(&format!("http://{listen}"), &["watch", "--plain"]);
    let mut lines = Process::start("plain", &command, directory.path(), Signal::INT, Directory::Keep).unwrap();
    lines.line("acme: 1 campaign; changes follow", SOON).await.unwrap();
    daemon.process.stop(GRACE).await.unwrap();
    lines.line("not live; next attempt in ", SOON).await.unwrap();
    let mut daemon = start().await;
    until("a second look at everything", SOON, async || {
        ensure!(lines.stdout().matches("acme: 1 campaign; changes follow").count() == 2, "{}", lines.stdout());
        Ok(())
    })
    .await
    .unwrap();
    pause(&service, "spring").await;
    lines.line("spring: PAUSED", SOON).await.unwrap();
    assert!(lines.stop(GRACE).await.unwrap().success());
    daemon.process.stop(GRACE).await.unwrap();
}

#[tokio::test]
async fn a_service_that_is_not_there_is_an_error_and_a_document_without_end_is_refused() {
    for (arguments, says) in [
        (&["watch", "--plain"][..], "can't reach the service at http://127.0.0.1:1"),
        (&["-o", "json", "watch"], "watch never ends"),
    ] {
        let output = watch("http://127.0.0.1:1", arguments).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(1) && error.contains(says), "{error}");
        assert!(output.stdout.is_empty());
    }
}

#[tokio::test]
async fn the_screen_shows_all_campaigns_and_one_and_gives_the_terminal_back() {
    let service = Service::start().await;
    create_account(&service, "ann", None).await;
    create_campaign(&service, "autumn", settings(1, &["ann"])).await;
    create_campaign(&service, "spring", settings(1, &["ann"])).await;
    add_leads(&service, "spring", 7, None, false).await;
    let mut terminal = Terminal::start(watch(&service.url, &["watch"]), 24);
    terminal.shows("\u{1b}[?1049h").await;
    terminal.shows("> autumn").await;
    terminal.shows("acme: 2 campaigns, 2 active").await;
    assert!(!tcgetattr(&terminal.other).unwrap().local_modes.contains(LocalModes::ECHO), "keys are not echoed");
    terminal.press("j");
    terminal.shows("> spring").await;
    terminal.press("\r");
    terminal.shows("0 sent + 0 failed + 7 pending + 0 partial = 7").await;
    pause(&service, "spring").await;
    terminal.shows("State        PAUSED").await;
    terminal.press("\u{1b}");
    terminal.shows("> spring").await;
    resume(&service, "spring").await;
    terminal.shows("2 active").await;
    let drawn = terminal.drawn();
    assert!(!drawn.contains("[38;") && !drawn.contains("[48;"), "no colour: {drawn:?}");
    terminal.press("q");
    terminal.ends().await;
}

#[tokio::test]
async fn ctrl_c_and_signals_end_the_screen_in_order() {
    let service = Service::start().await;
    for end in ["\u{3}", "TERM", "HUP"] {
        let mut terminal = Terminal::start(watch(&service.url, &["watch"]), 24);
        terminal.shows("There is no campaign.").await;
        match end {
            "\u{3}" => terminal.press(end),
            signal => {
                let pid = terminal.child.id().expect("it runs").to_string();
                let sent = Command::new("kill").args(["-s", signal, &pid]).status().unwrap();
                assert!(sent.success());
            }
        }
        terminal.ends().await;
    }
}
