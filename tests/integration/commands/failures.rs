//! Commands that fail: exit code and error tell what went wrong and what to do.

use std::time::{Duration, Instant};

use anyhow::ensure;
use campaign_metrics_service::Clock;
use futures::future::join_all;

use super::{assert_exit, campaignctl};
use crate::{
    fleet::Fleet,
    harness::{
        postgres::{TestDatabase, separate_server},
        service::{Service, monday},
        wait::{SOON, until},
    },
};

#[tokio::test]
async fn what_fails_ends_with_1_prints_nothing_and_says_what_to_do() {
    let fleet = Fleet::start().await;
    let url = fleet.service.url.as_str();
    for (workspace, arguments, says) in [
        (
            "acme",
            "campaigns get ghost",
            &["error: ", "\n  reason: NOT_FOUND\n  resource: workspaces/acme/campaigns/ghost\n"][..],
        ),
        ("nobody", "accounts get ann", &["reason: NOT_FOUND", "workspaces/nobody/accounts/ann"]),
        ("acme", "leads list -c ghost", &["reason: NOT_FOUND", "workspaces/acme/campaigns/ghost"]),
        ("acme", "claims list -a ghost", &["reason: NOT_FOUND", "workspaces/acme/accounts/ghost"]),
        ("acme", "campaigns pause winter", &["reason: CAMPAIGN_MANAGED", "acme/winter"]),
        ("acme", "campaigns resume done", &["reason: ILLEGAL_TRANSITION"]),
        ("acme", "claims resolve -a ann --sent x", &["claim_id"]),
        ("acme", "claims list -c ghost", &["reason: NOT_FOUND", "workspaces/acme/campaigns/ghost"]),
        ("acme", "leads get ghost -c spring", &["reason: NOT_FOUND", "workspaces/acme/campaigns/spring/leads/ghost"]),
        (
            "acme",
            "leads delete ghost -c spring",
            &["reason: NOT_FOUND", "workspaces/acme/campaigns/spring/leads/ghost"],
        ),
        ("acme", "leads reassign -c spring --from ann --to bob", &["reason: ACCOUNT_SERVING"]),
        ("acme", "opt-outs delete ghost", &["reason: NOT_FOUND", "workspaces/acme/optOuts/ghost"]),
        // Arguments that can't be valid are refused without a call.
        ("acme", "campaigns get Spring", &["error: invalid value 'Spring'"]),
        ("acme", "campaigns", &["Usage: campaignctl campaigns"]),
        ("acme", "campaigns list --status active", &["unexpected argument '--status'"]),
        ("acme", "--server https://127.0.0.1:1 campaigns list", &["'--server <URL>'", "no TLS"]),
        ("acme", "--server nowhere campaigns list", &["the scheme is missing; write http://nowhere"]),
        ("acme", "--server http://[nowhere campaigns list", &["`http://[nowhere` is no server"]),
        (
            "acme",
            "--server http://127.0.0.1:1 campaigns list",
            &[
                "can't reach the service at http://127.0.0.1:1",
                "Connection refused",
                "--server or CAMPAIGN_METRICS_SERVER",
            ],
        ),
    ] {
        let output = assert_exit(campaignctl(url, workspace, arguments).await, 1);
        assert_eq!(output.stdout, "", "`{arguments}` prints nothing");
        for says in says {
            assert!(output.stderr.contains(says), "`{arguments}` says `{says}`: {}", output.stderr);
        }
    }
    for arguments in ["--help", "campaigns list --help", "--version"] {
        let output = assert_exit(campaignctl(url, "acme", arguments).await, 0);
        assert!(output.stdout.contains("campaignctl") && output.stderr.is_empty(), "{output:?}");
    }
    // Arguments take precedence over the environment.
    let other = assert_exit(
        campaignctl("http://127.0.0.1:1", "acme", &format!("--server {url} -w globex campaigns get spring")).await,
        0,
    );
    assert!(other.stdout.contains("workspaces/globex/campaigns/spring"), "{}", other.stdout);
    let none = assert_exit(campaignctl(url, "nobody", "campaigns list").await, 0);
    assert_eq!(none.stdout, "no campaign in workspace nobody\n");
    let none = assert_exit(campaignctl(url, "nobody", "accounts list").await, 0);
    assert_eq!(none.stdout, "no account in workspace nobody\n");
}

#[tokio::test]
async fn commands_wait_for_a_service_that_starts_and_are_told_after_15_s_that_it_does_not() {
    let (mut server, _directory) = separate_server().await.unwrap();
    server.stop().await.unwrap();
    let database = TestDatabase::without_roles(server.url("postgres"));
    let service = Service::launch(&database, Clock::manual(monday())).await;
    let commands = ["accounts create ann", "campaigns list", "leads export ghost"];
    let running = commands.map(|command| campaignctl(&service.url, "acme", command));
    let starting = async {
        let look = async || {
            let refused = service.metric_sum("campaign_metrics_rpc_handled_total").await;
            ensure!(refused >= 3, "{refused} calls were refused");
            Ok(())
        };
        until("each command to be refused once", SOON, look).await.expect("they call");
        server.start_again().await.unwrap();
    };
    let (outputs, ()) = tokio::join!(join_all(running), starting);
    let [created, listed, exported] = outputs.try_into().expect("three");
    assert_eq!(assert_exit(created, 0).stdout, "created ann\n");
    assert_eq!(assert_exit(listed, 0).stdout, "no campaign in workspace acme\n");
    let said = assert_exit(exported, 1).stderr;
    assert!(said.contains("reason: NOT_FOUND"), "it waited, too: {said}");
    service.stop().unwrap();

    server.stop().await.unwrap();
    let service = Service::launch(&database, Clock::manual(monday())).await;
    let asked = Instant::now();
    let output = assert_exit(campaignctl(&service.url, "acme", "campaigns list").await, 1);
    let took = asked.elapsed();
    for says in ["error: ", "reason: NOT_READY", "try again in 1.0 s"] {
        assert!(output.stderr.contains(says), "it says `{says}`: {}", output.stderr);
    }
    assert!(!output.stderr.contains("check that it runs"), "it runs: {}", output.stderr);
    assert!(took > Duration::from_secs(10) && took < Duration::from_secs(30), "{took:?}");
}
