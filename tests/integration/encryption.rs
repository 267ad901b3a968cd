//! Postgres over TLS, and starts that Postgres refuses: a wrong password, database or certificate ends them with the reason.

#[path = "encryption/stage.rs"]
mod stage;

use std::time::{Duration, Instant};

use anyhow::ensure;
use campaign_metrics::pb;
use campaign_metrics_service::{
    Clock,
    serve::{self, Listeners, Options},
};
use tokio::{net::TcpListener, process::Command, time::timeout};
use tokio_util::sync::CancellationToken;
use tonic::Code;

use self::stage::{Certificate, HOST, Stage};
use crate::{
    harness::{
        daemon::Daemon,
        http,
        parts::binary,
        postgres::{Connection, Role, connect, separate_server},
        process::{Directory, Signal},
        run::{Output, run},
        service::Service,
        wait::{SOON, until},
    },
    world::{blocked, campaign_name, create_campaign, get, settings},
};

/// Much more than a start takes that ends at the first refusal after a tenth of a second.
const AT_ONCE: Duration = Duration::from_secs(10);

async fn command(arguments: &[&str], database_url: &str) -> Output {
    let mut service = Command::new(binary("campaign-metrics-service").unwrap());
    service.args(arguments).env("DATABASE_URL", database_url);
    run(service, "").await.unwrap()
}

/// Sessions of the service, encrypted ones and others.
async fn sessions(sql: &Connection) -> (i64, i64) {
    let count = "SELECT count(*) FILTER (WHERE ssl), count(*) FILTER (WHERE NOT ssl) FROM pg_stat_activity
        JOIN pg_stat_ssl USING (pid) WHERE usename = 'campaign_metrics_app'";
    let row = sql.query_one(count, &[]).await.unwrap();
    (row.get(0), row.get(1))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_mode_but_disable_encrypts_every_connection() {
    let stage = Stage::start().await;
    let elsewhere = |url: String| url.replace(HOST, "other.example");
    for (number, parameters) in [
        "",
        "sslmode=prefer",
        "sslmode=require",
        "sslmode=require&channel_binding=require",
        "sslmode=require&sslrootcert=$ca",
        "sslmode=verify-ca&sslrootcert=$ca",
        "sslmode=verify-full&sslrootcert=$ca",
    ]
    .into_iter()
    .enumerate()
    {
        let mut database = stage.database(parameters);
        if !parameters.contains("verify-full") {
            // These modes check no name.
            database.url = elsewhere(database.url);
        }
        let service = Service::on(&database, Clock::system()).await;
        create_campaign(&service, &format!("spring-{number}"), settings(1, &[])).await;
        let (encrypted, clear) = sessions(&service.sql().await).await;
        assert!(encrypted > 0 && clear == 0, "{parameters}: {encrypted} are encrypted, {clear} are not");
        service.stop().unwrap();
    }
    let full = "sslmode=verify-full&sslrootcert=$ca";
    command(&["migrate"], &stage.url(Role::Owner, full)).await.success().unwrap();
    command(&["verify"], &stage.url(Role::App, full)).await.success().unwrap();
    let pairs = format!(
        "host={HOST} hostaddr=127.0.0.1 port={} user=campaign_metrics_app password=campaign_metrics_app dbname=campaigns \
         sslmode=verify-full sslrootcert='{}'",
        stage.server.url("").rsplit(':').next().unwrap().trim_end_matches('/'),
        stage.ca().display()
    );
    command(&["verify"], &pairs).await.success().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_call_ends_in_postgres_over_tls_too() {
    let stage = Stage::start().await;
    let service = Service::on(&stage.database("sslmode=verify-full&sslrootcert=$ca"), Clock::system()).await;
    create_campaign(&service, "spring", settings(1, &[])).await;
    let (holder, watcher) = (service.sql().await, service.sql().await);
    holder.batch_execute("BEGIN; SELECT FROM campaigns FOR UPDATE").await.unwrap();
    let mut campaigns = service.campaigns.clone();
    let request = pb::PauseCampaignRequest { name: campaign_name("spring"), ..Default::default() };
    let call = tokio::spawn(async move { campaigns.pause_campaign(request).await });
    blocked(&watcher, &holder, 1).await;
    call.abort();
    // Without a request to cancel the connection is closed, and Postgres notices that: it tells another reason.
    let log = || stage.server.process().unwrap().log();
    let cancelled = until("the statement to be cancelled", SOON, async || {
        ensure!(log().contains("canceling statement due to user request"), "{}", log());
        Ok(())
    });
    cancelled.await.unwrap();
    holder.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(get(&service, "spring").await.state(), pb::CampaignState::Active);
}

/// The error with which a replica ends that can't start.
async fn end_of_start(database_url: &str) -> String {
    let mut options = Options::new(database_url).unwrap();
    options.refused_max = Duration::from_millis(100);
    let bind = async || TcpListener::bind("127.0.0.1:0").await.unwrap();
    let listeners = Listeners { grpc: bind().await, admin: bind().await };
    let serving = serve::run(options, listeners, Clock::system(), CancellationToken::new());
    let ended = timeout(AT_ONCE, serving).await.expect("it does not wait for ever");
    format!("{:#}", ended.expect_err("it can't serve"))
}

async fn assert_refused(url: &str, says: &str) {
    let ended = end_of_start(url).await;
    assert!(ended.contains(says), "`serve` says `{says}` of {url}: {ended}");
    for arguments in [["migrate"], ["verify"]] {
        let started = Instant::now();
        let said = command(&arguments, url).await.refusal().unwrap();
        assert!(started.elapsed() < AT_ONCE, "{arguments:?} took {:?}", started.elapsed());
        assert!(said.contains(says) && !said.contains("secret"), "{arguments:?} says `{says}` of {url}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_postgres_refuses_ends_with_the_reason_and_the_remedy() {
    let mut stage = Stage::start().await;
    let app = |parameters: &str| stage.url(Role::App, parameters);
    let full = "sslmode=verify-full&sslrootcert=$ca";
    let (login, password) = ("campaign_metrics_app:campaign_metrics_app@", "Postgres refuses the role or its password");
    for (url, says) in [
        (app(full).replace(login, "campaign_metrics_app:secret@"), password),
        (app(full).replace(login, "nobody:secret@"), password),
        (app(full).replace(login, "campaign_metrics_app@"), "the database URL lacks what Postgres asks for"),
        (format!("{}?channel_binding=require", stage.server.url("campaigns")), "the login at Postgres failed"),
        (app(full).replace("/campaigns?", "/nowhere?"), "the database does not exist; create it"),
        (app(full).replace("/campaigns?", "/postgres?"), "may not connect to the database"),
        (app("sslmode=disable"), "Postgres does not let this role in from here"),
        (app(full).replace(HOST, "other.example"), "the certificate of Postgres is for another host"),
        (app("sslmode=verify-full&sslrootcert=$other"), "no authority of `sslrootcert` has signed"),
        (app("sslmode=verify-ca&sslrootcert=$other"), "no authority of `sslrootcert` has signed"),
        (app("sslmode=require&sslrootcert=$other"), "no authority of `sslrootcert` has signed"),
    ] {
        assert_refused(&url, says).await;
    }
    for (certificate, says) in [
        (Certificate::Expired, "the certificate of Postgres has expired"),
        (Certificate::OfAuthority, "the certificate of Postgres is one of an authority"),
        (Certificate::None, "Postgres offers no TLS, and `sslmode` of the database URL asks for it"),
    ] {
        stage.show(certificate).await;
        for parameters in [full, "sslmode=verify-ca&sslrootcert=$ca"] {
            assert_refused(&stage.url(Role::App, parameters), says).await;
        }
    }
    assert_refused(&stage.url(Role::App, "sslmode=require"), "Postgres offers no TLS").await;
    let clear = end_of_start(&stage.url(Role::App, "sslmode=prefer")).await;
    assert!(clear.contains("no encryption"), "without TLS at the server `prefer` takes clear text: {clear}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_while_a_service_serves_is_an_outage() {
    let stage = Stage::start().await;
    let service = Service::on(&stage.database("sslmode=verify-full&sslrootcert=$ca"), Clock::system()).await;
    create_campaign(&service, "spring", settings(1, &[])).await;
    let admin = service.sql().await;
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'campaign_metrics_app'";
    admin.batch_execute(&format!("ALTER ROLE campaign_metrics_app PASSWORD 'other'; {end}")).await.unwrap();
    until("a refusal", SOON, async || {
        let request = pb::GetCampaignRequest { name: campaign_name("spring") };
        let status = service.campaigns.clone().get_campaign(request).await.expect_err("no connection is left");
        assert_eq!(status.code(), Code::Unavailable, "{status:?}");
        assert!(!status.message().contains("password"), "{status:?}");
        let log = stage.server.process().unwrap().log();
        ensure!(log.contains("password authentication failed"), "{log}");
        Ok(())
    })
    .await
    .unwrap();
    admin.batch_execute("ALTER ROLE campaign_metrics_app PASSWORD 'campaign_metrics_app'").await.unwrap();
    assert_eq!(get(&service, "spring").await.state(), pb::CampaignState::Active);
}

#[tokio::test]
async fn a_server_that_takes_connections_and_says_nothing_is_not_waited_for_for_ever() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("postgres://ann:secret@{}/campaigns", silent.local_addr().unwrap());
    let started = Instant::now();
    let said = command(&["migrate"], &url).await.refusal().unwrap();
    assert!(
        (30..45).contains(&started.elapsed().as_secs()),
        "docs/operating.md says 30 s, it took {:?}",
        started.elapsed()
    );
    assert!(said.contains("Postgres did not answer within 30s"), "{said}");
}

#[tokio::test]
async fn a_daemon_that_postgres_refuses_ends_after_the_documented_time() {
    let (server, _directory) = separate_server().await.unwrap();
    let logs = tempfile::tempdir().unwrap();
    let started = Instant::now();
    let mut daemon = Daemon::service(&server.url("nowhere"), logs.path(), Directory::Keep).await.unwrap();
    let status = daemon.process.end(SOON).await.unwrap();
    let took = started.elapsed();
    let log = daemon.process.log();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!((15..25).contains(&took.as_secs()), "docs/operating.md says 15 s, it took {took:?}");
    assert_eq!(log.matches("can't start like this; trying again for a while").count(), 1, "{log}");
    assert!(!log.contains("waiting for Postgres"), "{log}");
    let last = log.lines().last().unwrap();
    assert!(last.starts_with("error: the database does not exist; create it, or correct its name"), "{log}");
}

#[tokio::test]
async fn a_start_that_postgres_refuses_goes_on_once_it_is_let_in_and_waits_for_one_that_is_away() {
    let (mut server, _directory) = separate_server().await.unwrap();
    server.stop().await.unwrap();
    let logs = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::service(&server.url("late"), logs.path(), Directory::Keep).await.unwrap();
    let log = daemon.process.log_path();
    let says = |text: &'static str| {
        let log = log.clone();
        async move || {
            let log = std::fs::read_to_string(&log)?;
            ensure!(log.contains(text), "{log}");
            Ok(())
        }
    };
    daemon.process.ready(SOON, says("waiting for Postgres; trying again")).await.unwrap();
    server.start_again().await.unwrap();
    daemon.process.ready(SOON, says("can't start like this; trying again for a while")).await.unwrap();
    let (status, body) = http::get(&format!("{}/readyz", daemon.admin_url)).await.unwrap();
    assert_eq!((status, body.as_str()), (503, "waiting for the database; the log says for what\n"));
    let admin = connect(&server.url("postgres")).await.unwrap();
    admin.batch_execute("CREATE DATABASE late").await.unwrap();
    daemon.ready().await.unwrap();
    daemon.process.signal(Signal::TERM).unwrap();
    assert!(daemon.process.end(SOON).await.unwrap().success());
}
