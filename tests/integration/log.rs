//! What the log of the service answers: what happened and who did it, and how long something was away. Runs the binary.

use anyhow::ensure;
use campaign_metrics::pb::{self, OutcomeKind};
use serde_json::{Value, json};
use tempfile::TempDir;
use tonic::Request;

use crate::{
    harness::{
        daemon::Daemon,
        parts::binary,
        postgres::{TestDatabase, database, separate_server},
        process::Directory,
        service::Service,
        wait::{SOON, until},
    },
    world::{
        WORKSPACE, account_name, add_leads, by_lead, campaign_name, create_account, create_campaign, pause, report_new,
        resume, settings,
    },
};

/// Starts the service with a log in JSON.
async fn world(database: &TestDatabase) -> (Daemon, Service, TempDir) {
    let directory = tempfile::tempdir().expect("a directory");
    let json = |command: &mut std::process::Command| {
        command.args(["--log-format", "json"]);
    };
    let mut daemon = Daemon::service_with(&database.url, json, directory.path(), Directory::Keep).await.unwrap();
    daemon.ready().await.unwrap();
    let service = Service::of(&daemon, database).expect("clients");
    (daemon, service, directory)
}

/// The lines of the log that say `message`.
fn lines(daemon: &Daemon, message: &str) -> Vec<Value> {
    let lines = daemon.process.log();
    let lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).expect("a line of JSON"));
    lines.filter(|line| line["fields"]["message"] == message).collect()
}

async fn change_account(service: &Service) {
    create_account(service, "ann", Some(10)).await;
    let account = pb::Account { name: account_name("ann"), daily_limit: Some(25), ..Default::default() };
    let update_mask = Some(prost_types::FieldMask { paths: vec!["daily_limit".into()] });
    let request = pb::UpdateAccountRequest { account: Some(account), update_mask };
    service.accounts.clone().update_account(request).await.unwrap();
    let name = account_name("ann");
    for _ in 0..2 {
        let suspend = pb::SuspendAccountRequest { name: name.clone(), ..Default::default() };
        service.accounts.clone().suspend_account(suspend).await.unwrap();
    }
    let reinstate = pb::ReinstateAccountRequest { name, ..Default::default() };
    service.accounts.clone().reinstate_account(reinstate).await.unwrap();
}

async fn change_campaign(service: &Service) {
    create_campaign(service, "spring", settings(1, &["ann"])).await;
    let campaign = pb::Campaign { name: campaign_name("spring"), daily_limit: Some(7), ..Default::default() };
    let update_mask = Some(prost_types::FieldMask { paths: vec!["daily_limit".into()] });
    let request = pb::UpdateCampaignRequest { campaign: Some(campaign), update_mask };
    service.campaigns.clone().update_campaign(request).await.unwrap();
    pause(service, "spring").await;
    pause(service, "spring").await;
    resume(service, "spring").await;
    let (name, reason) = (campaign_name("spring"), "wrong text".to_owned());
    let hold = pb::PauseCampaignRequest { name: name.clone(), r#override: true, reason, ..Default::default() };
    service.campaigns.clone().pause_campaign(hold).await.unwrap();
    let lift = pb::ResumeCampaignRequest { name, r#override: true, ..Default::default() };
    service.campaigns.clone().resume_campaign(lift).await.unwrap();
    add_leads(service, "spring", 2, Some("ann"), true).await;
    let outcomes = (0..2).map(|lead| by_lead("spring", &format!("l{lead}"), 1, OutcomeKind::Delivered));
    report_new(service, outcomes.collect()).await;
    let delete = pb::DeleteCampaignRequest { name: campaign_name("spring"), ..Default::default() };
    service.campaigns.clone().delete_campaign(delete).await.unwrap();
}

async fn change_owner(service: &Service) {
    let owner = pb::Owner {
        resource: "sales/summer".into(),
        uid: "u-1".into(),
        generation: 1,
        fencing_token: 1,
        cluster: "c-1".into(),
    };
    let request = pb::ApplyCampaignRequest {
        campaign: Some(pb::Campaign { name: campaign_name("summer"), ..settings(3, &[]) }),
        state: pb::CampaignState::Paused.into(),
        owner: Some(owner),
        ..Default::default()
    };
    service.campaigns.clone().apply_campaign(request.clone()).await.unwrap();
    service.campaigns.clone().apply_campaign(request).await.unwrap();
    let name = campaign_name("summer");
    let orphan = pb::OrphanCampaignRequest { name, owner_uid: "u-1".into(), ..Default::default() };
    service.campaigns.clone().orphan_campaign(orphan).await.unwrap();
}

#[tokio::test]
async fn each_change_is_one_line_that_says_what_changed_and_who_asked() {
    let database = database().await;
    let (daemon, service, _directory) = world(&database).await;
    change_account(&service).await;
    change_campaign(&service).await;
    change_owner(&service).await;
    let add = pb::AddOptOutsRequest { parent: WORKSPACE.into(), lead_ids: vec!["l8".into(), "l9".into()] };
    service.opt_outs.clone().add_opt_outs(add.clone()).await.unwrap();
    service.opt_outs.clone().add_opt_outs(add).await.unwrap();
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let mut delete = Request::new(pb::DeleteOptOutRequest { name: format!("{WORKSPACE}/optOuts/l8") });
    delete.metadata_mut().insert("traceparent", format!("00-{trace}-00f067aa0ba902b7-01").parse().unwrap());
    service.opt_outs.clone().delete_opt_out(delete).await.unwrap();

    let owner = "sales/summer (UID u-1, cluster \"c-1\")";
    let expected = [
        ("accounts/ann", "created; display_name \"\"; daily_limit 10; time_zone UTC", None),
        ("accounts/ann", "daily_limit 10 -> 25", None),
        ("accounts/ann", "state ACTIVE -> SUSPENDED", None),
        ("accounts/ann", "state SUSPENDED -> ACTIVE", None),
        ("campaigns/spring", "created; display_name \"\"; steps 1; ", None),
        ("campaigns/spring", "daily_limit none -> 7", None),
        ("campaigns/spring", "state ACTIVE -> PAUSED", None),
        ("campaigns/spring", "state PAUSED -> ACTIVE", None),
        ("campaigns/spring", "state ACTIVE -> PAUSED; hold placed for \"wrong text\"", None),
        ("campaigns/spring", "state PAUSED -> ACTIVE; hold for \"wrong text\" lifted", None),
        ("campaigns/spring", "lead_list_complete false -> true", None),
        ("campaigns/spring", "state -> FINISHED: every lead of its complete list is done", None),
        ("campaigns/spring", "state FINISHED -> deleted", None),
        ("campaigns/summer", "created; display_name \"\"; steps 3; ", None),
        ("campaigns/summer", &format!("owner none -> {owner}"), None),
        ("campaigns/summer", "state ACTIVE -> PAUSED", Some("sales/summer")),
        ("campaigns/summer", &format!("owner {owner} -> none"), Some("sales/summer")),
        ("", "opt-out list: 2 ids added", None),
        ("", "opt-out list: 1 ids removed", None),
    ];
    let changes = lines(&daemon, "changed");
    let said: Vec<_> = changes.iter().map(|line| line["fields"].clone()).collect();
    assert_eq!(changes.len(), expected.len(), "{said:#?}");
    for (line, (resource, change, owner)) in changes.iter().zip(expected) {
        let resource = format!("{WORKSPACE}/{resource}");
        let fields = &line["fields"];
        assert_eq!(fields["resource"], resource.trim_end_matches('/'), "{fields}");
        let text = fields["change"].as_str().expect("a text");
        assert!(if change.ends_with("; ") { text.starts_with(change) } else { text == change }, "{text}: {change}");
        assert_eq!(fields.get("owner"), owner.map(|owner| json!(owner)).as_ref(), "{fields}");
        assert_eq!(line["level"], "INFO");
        if text.contains("FINISHED:") {
            // Outcomes of several callers share their transaction.
            continue;
        }
        let span = &line["span"];
        assert!(span["caller"].as_str().is_some_and(|caller| caller.starts_with("127.0.0.1:")), "{line}");
        assert!(span["client"].as_str().is_some_and(|client| client.starts_with("tonic/")), "{line}");
        assert!(span["method"].as_str().is_some_and(|method| method.starts_with("campaign_metrics.v1.")), "{line}");
        assert!(span["trace_id"].as_str().is_some_and(|id| id.len() == 32), "{line}");
    }
    assert_eq!(changes.last().map(|line| &line["span"]["trace_id"]), Some(&json!(trace)));
    let log = daemon.process.log();
    assert!(["l0", "l8", "l9"].iter().all(|lead| !log.contains(&format!("{lead}\""))), "a lead id: {log}");
}

#[tokio::test]
async fn an_outage_of_the_database_is_a_line_at_its_begin_and_one_at_its_end() {
    let (mut server, _data) = separate_server().await.unwrap();
    let directory = tempfile::tempdir().expect("a directory");
    let url = server.url("postgres");
    let mut daemon = Daemon::service(&url, directory.path(), Directory::Keep).await.unwrap();
    daemon.ready().await.unwrap();
    let started = format!("version=\"{}\"", campaign_metrics::VERSION);
    assert!(daemon.process.log().contains(&started), "{}", daemon.process.log());
    server.stop().await.unwrap();
    let campaigns = pb::campaign_service_client::CampaignServiceClient::connect(daemon.url.clone().unwrap());
    let mut campaigns = campaigns.await.unwrap();
    let get = pb::GetCampaignRequest { name: campaign_name("spring") };
    for _ in 0..50 {
        campaigns.get_campaign(get.clone()).await.expect_err("the database is away");
    }
    server.start_again().await.unwrap();
    daemon.ready().await.unwrap();
    let back = until("the end of the outage to be told", SOON, async || {
        let log = daemon.process.log();
        ensure!(log.contains("the database can be reached again"), "{log}");
        Ok(log)
    });
    let log = back.await.unwrap();
    let count = |what: &str| log.lines().filter(|line| line.contains(what)).count();
    assert_eq!(count("the database can be reached again"), 1, "{log}");
    assert_eq!(count("the database can't be reached"), 1, "{log}");
    assert_eq!(count(" WARN ") + count(" ERROR "), 1, "nothing else warns of it:\n{log}");
}

#[test]
fn every_program_says_its_version_and_from_which_commit_it_is_built() {
    let version = campaign_metrics::VERSION;
    let (number, commit) = version.split_once('+').expect("a commit");
    assert_eq!(number, env!("CARGO_PKG_VERSION"));
    assert!(!commit.is_empty());
    for name in ["campaign-metrics-service", "campaign-controller", "campaignctl", "campaign-simulator"] {
        let output = std::process::Command::new(binary(name).unwrap()).arg("--version").output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{name} {version}\n"));
    }
}
