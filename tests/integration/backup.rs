//! Runs every command of docs/backup.md: a dump and its restore, a base backup and a recovery to a moment. Both end in
//! `verify`, and with the counts of the moment.

use std::{
    collections::BTreeMap,
    env, fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::ensure;
use campaign_metrics::pb::OutcomeKind;
use campaign_metrics_service::Clock;
use tempfile::TempDir;
use tokio::process::Command;

use crate::{
    harness::{
        page::blocks,
        parts::{binary, part},
        postgres::{Durability, ROLES, Role, Server, TestDatabase, connect, free_port, unprivileged},
        process::Directory,
        run::{Output, run},
        service::Service,
        wait::{SOON, until},
    },
    world::{add_leads, by_key, by_lead, claim, create_account, create_campaign, get, report_new, settings},
};

const PAGE: &str = "docs/backup.md";

/// Who runs a block of commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    /// Whoever runs the test.
    Us,
    /// The user of the server.
    Server,
}

/// A server with a database that is backed up, and directories that its user may write.
struct Stage {
    folder: TempDir,
    server: Server,
    database: TestDatabase,
    variables: BTreeMap<&'static str, String>,
    blocks: BTreeMap<String, String>,
}

impl Stage {
    async fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("campaign-metrics-backup-").tempdir().unwrap();
        // The server has another user than the test, if that is root.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let server =
            Server::start(&folder.path().join("server"), Durability::Durable, Directory::Remove).await.unwrap();
        let admin_url = server.url("postgres");
        let sql = connect(&admin_url).await.unwrap();
        sql.batch_execute("CREATE DATABASE campaign_metrics").await.unwrap();
        let url = server.url("campaign_metrics");
        connect(&url).await.unwrap().batch_execute(ROLES).await.unwrap();
        campaign_metrics_service::migrate(&Role::Owner.url(&url)).await.unwrap();
        let variables = BTreeMap::from([("ADMIN_URL", admin_url), ("OWNER_URL", Role::Owner.url(&url))]);
        let database = TestDatabase { url: Role::App.url(&url), admin_url: url };
        let mut stage = Self { folder, server, database, variables, blocks: blocks(PAGE) };
        for (name, directory) in [("ARCHIVE", "archive"), ("BACKUPS", "backups")] {
            let path = stage.path(directory);
            fs::create_dir(&path).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
            stage.set(name, path.to_str().unwrap());
        }
        stage
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn set(&mut self, name: &'static str, value: &str) {
        self.variables.insert(name, value.to_owned());
    }

    /// Sets the variables of the restored database.
    fn set_restored(&mut self, url: &str) {
        self.set("RESTORED_ADMIN_URL", url);
        self.set("RESTORED_OWNER_URL", &Role::Owner.url(url));
        self.set("RESTORED_APP_URL", &Role::App.url(url));
    }

    /// Runs a block of the page once, and returns what it prints.
    async fn execute(&mut self, name: &str, by: By) -> String {
        let text = &self.blocks[name];
        let mut command = match by {
            By::Us => Command::new("bash"),
            By::Server => Command::from(unprivileged(Path::new("bash"))),
        };
        let folder = |file: PathBuf| file.parent().expect("files lie somewhere").to_owned();
        let ours = [folder(part("postgres").unwrap()), folder(binary("campaign-metrics-service").unwrap())];
        let known = env::var_os("PATH").unwrap_or_default();
        let path = ours.into_iter().chain(env::split_paths(&known));
        command.args(["-euo", "pipefail", "-c", text]).envs(&self.variables).current_dir(self.folder.path());
        command.env("PATH", env::join_paths(path).unwrap());
        let output = run(command, "").await.and_then(Output::success);
        output.unwrap_or_else(|error| panic!("{PAGE}, {name}: {error:#}"))
    }

    /// Checks with `verify`, and that the restored database shows what there was.
    async fn assert_restored(&mut self, expected: [i64; 4]) {
        let printed = self.execute("verify", By::Us).await;
        assert!(printed.contains("2 campaigns and workspaces recounted, 0 numbers differed"), "{printed}");
        let admin_url = self.variables["RESTORED_ADMIN_URL"].clone();
        let restored = TestDatabase { url: self.variables["RESTORED_APP_URL"].clone(), admin_url };
        let service = Service::on(&restored, Clock::system()).await;
        assert_eq!(counts(&service).await, expected);
        // It goes on from there: what was reported after the backup is reported again.
        report_new(&service, vec![by_lead("spring", "l40", 1, OutcomeKind::Bounced)]).await;
        service.store().maintain().await.unwrap();
        let reader = connect(&Role::Reader.url(&restored.admin_url)).await.unwrap();
        let bounced = reader.query_one("SELECT bounced_messages FROM campaigns", &[]).await.unwrap();
        assert_eq!(bounced.get::<_, i64>(0), 1);
    }
}

/// Leads that are sent, pending and failed, and open claims.
async fn counts(service: &Service) -> [i64; 4] {
    let campaign = get(service, "spring").await;
    let leads = campaign.lead_counts.unwrap();
    [leads.sent, leads.pending, leads.failed, campaign.in_flight_claims + campaign.uncertain_claims]
}

/// Delivers to so many leads, fails one, and leaves one claim open.
async fn work(service: &Service, delivered: i32) {
    let claims = claim(service, "ann", delivered + 2).await.claims;
    let (open, reported) = claims.split_last().unwrap();
    assert!(!open.claim_id.is_empty());
    let (failed, delivered) = reported.split_last().unwrap();
    let outcomes = delivered.iter().map(|claim| by_key(claim, OutcomeKind::Delivered));
    report_new(service, outcomes.chain([by_key(failed, OutcomeKind::Failed)]).collect()).await;
}

#[tokio::test]
async fn a_dump_and_a_recovery_to_a_moment_bring_everything_back() {
    let mut stage = Stage::new().await;
    stage.execute("archive", By::Us).await;
    stage.server.stop().await.unwrap();
    stage.server.start_again().await.unwrap();
    let service = Service::on(&stage.database, Clock::system()).await;
    create_account(&service, "ann", None).await;
    create_campaign(&service, "spring", settings(1, &["ann"])).await;
    add_leads(&service, "spring", 41, None, false).await;
    work(&service, 3).await;
    stage.execute("base", By::Server).await;

    work(&service, 7).await;
    let at_dump = counts(&service).await;
    assert_eq!(at_dump, [10, 29, 2, 2]);
    stage.execute("dump", By::Us).await;
    work(&service, 5).await;
    let at_moment = counts(&service).await;
    assert_eq!(at_moment, [15, 23, 3, 3]);
    let sql = connect(&stage.variables["ADMIN_URL"]).await.unwrap();
    let moment: String = sql.query_one("SELECT clock_timestamp()::text", &[]).await.unwrap().get(0);
    work(&service, 11).await;
    drop(service);

    let restored = stage.server.url("campaign_metrics_restored");
    stage.set_restored(&restored);
    stage.execute("restore", By::Us).await;
    stage.assert_restored(at_dump).await;

    let last: String = sql.query_one("SELECT pg_walfile_name(pg_current_wal_lsn())", &[]).await.unwrap().get(0);
    stage.execute("switch", By::Us).await;
    let archived = stage.path("archive").join(last);
    until("the last segment to be archived", SOON, async || {
        ensure!(archived.exists(), "{} is missing", archived.display());
        Ok(())
    })
    .await
    .unwrap();
    stage.server.stop().await.unwrap();
    let (port, data) = (free_port().unwrap(), stage.path("backups").join("restored"));
    stage.set("TARGET_TIME", &moment);
    stage.set("RESTORED", data.to_str().unwrap());
    stage
        .set("RESTORED_OPTIONS", &format!("-p {port} -h 127.0.0.1 -c unix_socket_directories= -c max_connections=400"));
    stage.set_restored(&format!("postgres://campaign_metrics@127.0.0.1:{port}/campaign_metrics"));
    stage.execute("point", By::Server).await;
    let _running = Running { data };
    stage.assert_restored(at_moment).await;
    let names: Vec<&str> = stage.blocks.keys().map(String::as_str).collect();
    assert_eq!(names, ["archive", "base", "dump", "point", "restore", "switch", "verify"], "all are run");
}

/// The server that `pg_ctl` started. Dropping it stops it.
struct Running {
    data: PathBuf,
}

impl Drop for Running {
    fn drop(&mut self) {
        let ctl = part("postgres").unwrap().with_file_name("pg_ctl");
        let mut stop = unprivileged(&ctl);
        stop.arg("--pgdata").arg(&self.data).args(["--mode=immediate", "--silent", "--wait", "stop"]);
        let status = stop.status();
        if !std::thread::panicking() {
            assert!(status.is_ok_and(|status| status.success()), "the restored server stops");
        }
    }
}
