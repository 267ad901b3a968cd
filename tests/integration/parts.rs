//! The harness does what the tests rely on.

use std::{process::Command, time::Duration};

use anyhow::ensure;

use crate::harness::{
    postgres::{connect, database, separate_server},
    process::{Directory, Process, Signal},
    tools::promtool_check,
    wait::{SOON, until},
};

#[tokio::test]
async fn databases_of_tests_are_migrated_and_separate() {
    let (one, other) = tokio::join!(database(), database());
    assert_ne!(one.url, other.url);
    let insert = "INSERT INTO workspaces (name, created_at) VALUES ('here', now())";
    one.connect().await.execute(insert, &[]).await.expect("the schema is there");
    let rows = other.connect().await.query("SELECT name FROM workspaces", &[]).await.expect("and there");
    assert!(rows.is_empty(), "what one test writes another does not see");
}

#[tokio::test]
async fn a_stopped_server_restarts_with_its_data() {
    let (mut server, _directory) = separate_server().await.expect("Postgres starts");
    let url = server.url("postgres");
    connect(&url).await.unwrap().batch_execute("CREATE TABLE kept ()").await.unwrap();
    server.stop().await.expect("it stops");
    assert!(connect(&url).await.is_err(), "the server is stopped");
    server.start_again().await.expect("it starts again");
    connect(&url).await.unwrap().batch_execute("SELECT FROM kept").await.unwrap();
}

#[tokio::test]
async fn a_child_is_stopped_and_its_directory_removed_when_its_parent_ends() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", "echo up; trap 'exit 7' TERM; while :; do sleep 0.05; done"]);
    let mut child = Process::start("child", &command, directory.path(), Signal::TERM, Directory::Remove).unwrap();
    child.line("up", SOON).await.unwrap();
    child.close_pipe_as_if_killed();
    assert_eq!(child.end(SOON).await.unwrap().code(), Some(7), "it was asked to end");
    let gone = async || {
        ensure!(!directory.path().exists(), "it is there");
        Ok(())
    };
    until("the directory to go", SOON, gone).await.unwrap();
}

#[tokio::test]
async fn a_child_that_does_not_get_ready_says_why() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", "echo no such disk >&2; exit 3"]);
    let mut child = Process::start("child", &command, directory.path(), Signal::TERM, Directory::Keep).unwrap();
    let error = child.line("up", SOON).await.expect_err("it ends at once");
    let text = format!("{error:#}");
    assert!(text.contains("no such disk") && text.contains("status: 3"), "{text}");
}

#[tokio::test]
async fn a_child_that_ignores_the_signal_is_killed() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' TERM; echo up; while :; do sleep 0.05; done"]);
    let mut child = Process::start("child", &command, directory.path(), Signal::TERM, Directory::Keep).unwrap();
    child.line("up", SOON).await.unwrap();
    let status = child.stop(Duration::from_millis(200)).await.unwrap();
    assert_eq!(status.code(), None, "killed");
}

#[tokio::test]
async fn promtool_finds_what_is_wrong_with_metrics() {
    let good =
        "# HELP campaign_metrics_up Whether it is up.\n# TYPE campaign_metrics_up gauge\ncampaign_metrics_up 1\n";
    promtool_check(good).await.unwrap();
    let error = promtool_check("# TYPE sends counter\nsends 1\n").await.expect_err("no help, no _total");
    assert!(format!("{error:#}").contains("sends"), "{error:#}");
}
