//! Runs every command of the README, verbatim and in order, against real parts.
//!
//! The info string of a fence says what it is: `sh run=SCENE`, or `sql run=database`. A test can't use fixed ports, so
//! the README keeps its addresses in variables. The block that sets them is not run: the test sets them.

use std::{env, ffi::OsString, fs, process::Command, time::Duration};

use anyhow::{Context as _, ensure};
use tempfile::TempDir;

use crate::harness::{
    http,
    kube::cluster,
    parts::{binary, part, repository},
    postgres::{Server, connect, separate_server},
    process::{Directory, GRACE, Process, Signal},
    run::{Output, run},
    wait::{SOON, until},
};

/// Longest start of a cluster.
const CLUSTER_MAX: Duration = Duration::from_secs(90);

/// What a block of commands is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scene {
    /// Targets of the Makefile, and its builds. They take too long for a test, so only their existence is checked.
    Make,
    /// Creates the database as a superuser.
    Database,
    /// Sets the variables that the other blocks use, each by an `export`.
    Variables,
    /// A daemon, which says on stdout where it listens.
    Daemon(Part),
    /// Commands that succeed.
    Commands,
    /// A command that the service refuses.
    Refused,
}

/// A daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Service,
    Controller,
}

/// A block of commands.
#[derive(Debug)]
struct Block {
    /// Line of the README at which it begins.
    line: usize,
    scene: Scene,
    text: String,
}

/// Info strings of fences that hold no commands.
const NO_COMMANDS: [&str; 2] = ["text", "yaml"];

/// Changes the state in the spec, not in the status, as a person does in an editor.
const EDITOR: &str = r"sed -i '/^spec:/,/^status:/s/^  state: Active$/  state: Paused/'";

fn scene(name: &str) -> Option<Scene> {
    match name {
        "make" => Some(Scene::Make),
        "variables" => Some(Scene::Variables),
        "service" => Some(Scene::Daemon(Part::Service)),
        "controller" => Some(Scene::Daemon(Part::Controller)),
        "campaignctl refused" => Some(Scene::Refused),
        "grpcurl" | "metrics" | "kubectl" | "campaignctl" | "simulator" => Some(Scene::Commands),
        _ => None,
    }
}

/// Parses the blocks of a text. Fails on a fence without a known info string.
fn blocks(text: &str) -> anyhow::Result<Vec<Block>> {
    let mut blocks = Vec::new();
    let mut open: Option<Option<Block>> = None;
    for (line, content) in (1..).zip(text.lines()) {
        let fence = content.trim_start().strip_prefix("```");
        match (fence, &mut open) {
            (Some(_), Some(block)) => {
                blocks.extend(block.take());
                open = None;
            }
            (Some(info), None) => {
                let scene = match info {
                    "sql run=database" => Some(Scene::Database),
                    _ => info.strip_prefix("sh run=").and_then(scene),
                };
                ensure!(
                    scene.is_some() || NO_COMMANDS.contains(&info),
                    "line {line}: `{info}` is neither `sh run=SCENE`, nor one of {NO_COMMANDS:?}"
                );
                let text = String::new();
                open = Some(scene.map(|scene| Block { line, scene, text }));
            }
            (None, Some(Some(block))) => block.text.extend([content, "\n"]),
            (None, _) => {}
        }
    }
    ensure!(open.is_none(), "the last fence is not closed");
    Ok(blocks)
}

fn readme() -> Vec<Block> {
    let text = fs::read_to_string(repository().join("README.md")).expect("there is a README");
    blocks(&text).unwrap_or_else(|error| panic!("README.md, {error}"))
}

/// The README's `DATABASE_URL`, on a server that has its own port.
fn owner_url(server: &Server) -> String {
    let ours = server.url("campaign_metrics");
    let (_, address) = ours.split_once('@').expect("a user");
    let variables = readme().into_iter().find(|block| block.scene == Scene::Variables).expect("variables");
    let owner = variables.text.lines().find_map(|line| line.strip_prefix("export DATABASE_URL=")?.split_once('@'));
    format!("{}@{address}", owner.expect("a user of the database").0)
}

/// The parts of the README's world, and the variables by which its commands find them.
struct Stage {
    directory: TempDir,
    variables: Vec<(&'static str, OsString)>,
    daemons: Vec<Process>,
    /// A separate server, because the README makes roles and databases with fixed names.
    postgres: (Server, TempDir),
}

impl Stage {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let cluster = cluster().await;
        // The API server makes this namespace itself, shortly after its start.
        let is_there = async || cluster.kubectl(["get", "namespace", "default"]).await?.success();
        until("the namespace `default`", SOON, is_there).await.unwrap();
        let postgres = separate_server().await.unwrap();
        let mut path: Vec<_> = [binary("campaignctl"), part("grpcurl"), part("kubectl")]
            .map(|file| file.unwrap().parent().expect("files lie somewhere").to_owned())
            .into();
        path.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
        let variables = vec![
            ("PATH", env::join_paths(path).unwrap()),
            ("DATABASE_URL", owner_url(&postgres.0).into()),
            ("KUBECONFIG", cluster.kubeconfig.clone().into()),
            ("EDITOR", EDITOR.into()),
            ("SERVICE", "127.0.0.1:0".into()),
            ("ADMIN", "127.0.0.1:0".into()),
            ("CONTROLLER_ADMIN", "127.0.0.1:0".into()),
            ("CAMPAIGN_METRICS_SERVER", "http://127.0.0.1:0".into()),
        ];
        Self { directory, variables, daemons: Vec::new(), postgres }
    }

    fn set(&mut self, name: &str, value: &str) {
        let variable = self.variables.iter_mut().find(|(known, _)| *known == name);
        variable.expect("the variable is known").1 = value.into();
    }

    /// Starts the only command of a block, waits until it is ready, and sets the variables to its addresses.
    async fn start(&mut self, part: Part, text: &str) -> anyhow::Result<()> {
        let mut command = Command::new("bash");
        // The shell execs a single command, which so receives our signals.
        command.args(["-c", text]).envs(self.variables.clone());
        let (name, path) = (format!("{part:?}"), self.directory.path());
        let mut process = Process::start(&name, &command, path, Signal::TERM, Directory::Keep)?;
        let line = process.line("listening ", SOON).await?;
        let address = |of: &str| {
            let mut words = line.split(' ').filter_map(|word| word.split_once('='));
            let found = words.find(|(name, _)| *name == of).map(|(_, address)| address);
            found.with_context(|| format!("{name} says no {of} address: {line}"))
        };
        let admin = address("admin")?;
        let url = format!("http://{admin}/readyz");
        let look = async || {
            let (status, body) = http::get(&url).await?;
            ensure!(status == 200, "/readyz answers {status}: {body}");
            Ok(())
        };
        process.ready(SOON, look).await?;
        match part {
            Part::Service => {
                let grpc = address("grpc")?;
                self.set("SERVICE", grpc);
                self.set("CAMPAIGN_METRICS_SERVER", &format!("http://{grpc}"));
                self.set("ADMIN", admin);
            }
            Part::Controller => self.set("CONTROLLER_ADMIN", admin),
        }
        self.daemons.push(process);
        Ok(())
    }

    async fn make_database(&self, text: &str) -> anyhow::Result<()> {
        let sql = connect(&self.postgres.0.url("postgres")).await?;
        // Statements sent together share a transaction, in which CREATE DATABASE fails.
        for statement in text.lines() {
            sql.batch_execute(statement).await?;
        }
        Ok(())
    }

    async fn execute(&self, text: &str) -> anyhow::Result<Output> {
        let mut command = tokio::process::Command::new("bash");
        command.args(["-euo", "pipefail", "-c", text]).envs(self.variables.clone());
        command.current_dir(repository());
        let output = run(command, "").await?;
        // Shown with the output of a test that fails, or when asked for.
        println!("{text}{}{}", output.stdout, output.stderr);
        Ok(output)
    }

    fn logs(&self) -> String {
        self.daemons.iter().map(Process::log).collect()
    }
}

#[tokio::test]
async fn every_command_of_the_readme_works() {
    let mut stage = Stage::new().await;
    for block in readme() {
        let done = match block.scene {
            Scene::Make | Scene::Variables => Ok(()),
            Scene::Database => stage.make_database(&block.text).await,
            Scene::Daemon(part) => stage.start(part, &block.text).await,
            Scene::Commands => stage.execute(&block.text).await.and_then(Output::success).map(drop),
            Scene::Refused => stage.execute(&block.text).await.and_then(Output::refusal).map(drop),
        };
        done.unwrap_or_else(|error| panic!("README.md:{}: {error:#}\n{}", block.line, stage.logs()));
    }
    for process in stage.daemons.iter_mut().rev() {
        let status = process.stop(GRACE).await.unwrap();
        assert!(status.success(), "{status}\n{}", process.log());
    }
}

#[test]
fn the_readme_shows_every_kind_of_user_their_commands() {
    let blocks = readme();
    for scene in [
        Scene::Make,
        Scene::Database,
        Scene::Variables,
        Scene::Daemon(Part::Service),
        Scene::Daemon(Part::Controller),
        Scene::Commands,
    ] {
        assert!(blocks.iter().any(|block| block.scene == scene), "no block is {scene:?}");
    }
}

#[test]
fn the_targets_that_the_readme_names_exist() {
    let makefile = fs::read_to_string(repository().join("Makefile")).unwrap();
    for block in readme().iter().filter(|block| block.scene == Scene::Make) {
        for line in block.text.lines() {
            let exists = match line.strip_prefix("make ") {
                Some(target) => {
                    let rule = format!("{}:", target.split(' ').next().unwrap_or_default());
                    makefile.lines().any(|line| line.starts_with(&rule))
                }
                None => makefile.lines().any(|step| step.trim().trim_start_matches('@') == line),
            };
            assert!(exists, "README.md:{}: the Makefile has no `{line}`", block.line);
        }
    }
}

#[tokio::test]
async fn make_cluster_starts_one_that_kubectl_reaches_and_removes_it() {
    let makefile = fs::read_to_string(repository().join("Makefile")).unwrap();
    assert!(makefile.contains("/debug/examples/demo\" --only-cluster"), "what the target starts");
    let (directory, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let demo = binary("examples/demo").expect("`cargo build --examples` builds the demo");
    let mut command = Command::new(demo);
    command.arg("--only-cluster").arg("--data").arg(data.path().join("cluster"));
    let mut process = Process::start("cluster", &command, directory.path(), Signal::INT, Directory::Keep).unwrap();
    let line = process.line("export KUBECONFIG=", CLUSTER_MAX).await.unwrap();
    let mut kubectl = tokio::process::Command::new(part("kubectl").unwrap());
    kubectl.env("KUBECONFIG", line.trim_start_matches("export KUBECONFIG=")).args([
        "get",
        "campaigns",
        "--all-namespaces",
    ]);
    let output = run(kubectl, "").await.unwrap();
    assert_eq!(output.stderr, "No resources found\n", "{}", output.stdout);
    let status = process.stop(GRACE).await.unwrap();
    assert!(status.success(), "{status}\n{}", process.log());
    assert_eq!(fs::read_dir(data.path()).unwrap().count(), 0, "nothing is left");
}

#[tokio::test]
async fn the_variables_of_the_readme_are_those_that_its_test_sets() {
    let stage = Stage::new().await;
    for block in readme().iter().filter(|block| block.scene == Scene::Variables) {
        for line in block.text.lines() {
            let name = line.strip_prefix("export ").and_then(|line| line.split_once('='));
            let (name, _) = name.unwrap_or_else(|| panic!("README.md:{}: `{line}` sets nothing", block.line));
            let known = stage.variables.iter().any(|(known, _)| *known == name);
            assert!(known, "README.md:{}: {name} is not set by the test", block.line);
        }
    }
}

#[test]
fn a_block_that_is_not_run_is_reported() {
    for (text, says) in [
        ("```sh\nrm -rf x\n```\n", "line 1: `sh`"),
        ("x\n```\nls\n```\n", "line 2: ``"),
        ("```sh run=later\nls\n```\n", "run=later"),
        ("```bash run=grpcurl\nls\n```\n", "bash"),
        ("```text\n", "not closed"),
    ] {
        let error = blocks(text).expect_err(text).to_string();
        assert!(error.contains(says), "{error}");
    }
    let good = blocks("```text\nls\n```\n```sh run=kubectl\nkubectl get a \\\n  -o yaml\n```\n").unwrap();
    assert_eq!(good.len(), 1, "text is not run");
    assert_eq!((good[0].line, good[0].scene), (4, Scene::Commands));
    assert_eq!(good[0].text, "kubectl get a \\\n  -o yaml\n");
}
