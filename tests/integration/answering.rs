//! The commands of campaignctl that answer: each prints what the API says, fits in 80 columns, and has its exit code.

use campaign_metrics::pb::{self, performance_service_client::PerformanceServiceClient};
use serde_json::Value;
use tonic::transport::Channel;

use crate::{
    commands::{assert_exit, campaignctl},
    fleet::{Fleet, WORKSPACES},
    harness::{
        service::Service,
        shown::{Described, compare_details, compare_json},
    },
    world::{add_leads, assign, by_lead, create_account, create_campaign, report_new, settings},
};

/// Columns of a terminal.
const WIDTH: usize = 80;

async fn performance(service: &Service) -> PerformanceServiceClient<Channel> {
    PerformanceServiceClient::connect(service.url.clone()).await.expect("its port answers")
}

/// Runs a command in a workspace and returns its text, which fits on a terminal.
async fn text(service: &Service, workspace: &str, arguments: &str) -> String {
    let output = assert_exit(campaignctl(&service.url, workspace, arguments).await, 0);
    assert_eq!(output.stderr, "", "`{arguments}` has nothing to complain about");
    let long: Vec<&str> = output.stdout.lines().filter(|line| line.chars().count() > WIDTH).collect();
    assert!(long.is_empty(), "`{arguments}` is too wide: {long:?}");
    assert!(!output.stdout.contains("NaN"), "{}", output.stdout);
    output.stdout
}

async fn json(service: &Service, workspace: &str, arguments: &str) -> Value {
    let output = assert_exit(campaignctl(&service.url, workspace, &format!("-o json {arguments}")).await, 0);
    serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("`{arguments}`: {error}: {}", output.stdout))
}

/// Checks that a command prints a message as JSON.
async fn assert_json<M: Described>(service: &Service, workspace: &str, arguments: &str, expected: &M) {
    let differences = compare_json(&json(service, workspace, arguments).await, expected);
    assert!(differences.is_empty(), "`{arguments}` in {workspace} shows:\n{}", differences.join("\n"));
}

async fn rows(service: &Service, workspace: &str, arguments: &str) -> usize {
    let lines = assert_exit(campaignctl(&service.url, workspace, &format!("-o ndjson {arguments}")).await, 0);
    let sheet = assert_exit(campaignctl(&service.url, workspace, &format!("-o csv {arguments}")).await, 0);
    let values: Vec<Value> = lines.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let records = csv::Reader::from_reader(sheet.stdout.as_bytes()).records().flatten().count();
    assert_eq!(records, values.len(), "CSV has the items of NDJSON");
    values.len()
}

#[tokio::test]
async fn every_answer_is_printed_as_the_api_gives_it() {
    let fleet = Fleet::start().await;
    let service = &fleet.service;
    let mut api = performance(service).await;
    for (number, workspace) in WORKSPACES.into_iter().enumerate() {
        let of = fleet.workspace(number);
        let [spring, summer] = ["spring", "summer"].map(|id| of.campaign(id));

        let request = pb::DiagnoseCampaignRequest { name: spring.clone() };
        let diagnosis = api.diagnose_campaign(request).await.unwrap().into_inner();
        assert_json(service, workspace, "campaigns diagnose spring", &diagnosis).await;
        let shown = text(service, workspace, "campaigns diagnose spring").await;
        assert!(
            diagnosis.findings.iter().all(|finding| finding.action.is_empty() || shown.contains("To do: ")),
            "{shown}"
        );
        assert_eq!(rows(service, workspace, "campaigns diagnose spring").await, diagnosis.findings.len());

        let request = pb::DiagnoseAccountRequest { name: of.account("dee") };
        let diagnosis = api.diagnose_account(request).await.unwrap().into_inner();
        assert_json(service, workspace, "accounts diagnose dee", &diagnosis).await;
        text(service, workspace, "accounts diagnose dee").await;

        let request = pb::CompareCampaignsRequest {
            parent: of.name.clone(),
            campaigns: vec![spring.clone(), summer.clone()],
            age_days: 14,
        };
        let comparison = api.compare_campaigns(request).await.unwrap().into_inner();
        assert_json(service, workspace, "campaigns compare spring summer --age-days 14", &comparison).await;
        let shown = text(service, workspace, "campaigns compare spring summer").await;
        assert!(shown.contains("RESPONSE WITHIN 7 DAYS: "), "{shown}");
        assert_eq!(rows(service, workspace, "campaigns compare spring summer").await, 2);

        for (arguments, by_account) in [("", false), (" --by-account", true)] {
            let request = pb::QueryCampaignHistoryRequest {
                name: spring.clone(),
                first_day: "2026-01-10".into(),
                last_day: "2026-03-02".into(),
                by_account,
                page_size: 1000,
                ..Default::default()
            };
            let history = api.query_campaign_history(request).await.unwrap().into_inner();
            let arguments = format!("campaigns history spring --from 2026-01-10 --to 2026-03-02{arguments}");
            assert_json(service, workspace, &arguments, &history).await;
            let shown = text(service, workspace, &arguments).await;
            assert!(shown.starts_with("spring from 2026-01-10 to 2026-03-02: "), "{shown}");
            assert!(rows(service, workspace, &arguments).await >= 2);
        }

        let request = pb::QueryAccountHistoryRequest { name: of.account("dee"), ..Default::default() };
        let history = api.query_account_history(request).await.unwrap().into_inner();
        assert_json(service, workspace, "accounts history dee", &history).await;
        text(service, workspace, "accounts history dee --plain").await;

        let request = pb::ListCampaignAccountsRequest { parent: spring.clone(), ..Default::default() };
        let accounts = api.list_campaign_accounts(request).await.unwrap().into_inner();
        assert_json(service, workspace, "campaigns accounts spring", &accounts).await;
        let shown = text(service, workspace, "campaigns accounts spring").await;
        assert!(accounts.accounts.len() == 3 && shown.starts_with("spring has 3 accounts"), "{shown}");

        let request = pb::GetWorkspaceTotalsRequest { name: of.name.clone() };
        let totals = api.get_workspace_totals(request).await.unwrap().into_inner();
        assert_json(service, workspace, "workspace totals", &totals).await;
        assert_eq!(compare_details(&text(service, workspace, "workspace totals").await, &totals), [""; 0]);
    }
}

#[tokio::test]
async fn findings_are_an_exit_code_if_they_are_meant_to_be() {
    let service = Service::start().await;
    create_account(&service, "ann", None).await;
    create_campaign(&service, "spring", settings(1, &[])).await;
    let exit =
        async |arguments: &str, code| assert_exit(campaignctl(&service.url, "acme", arguments).await, code).stdout;
    let text = exit("campaigns diagnose spring", 0).await;
    assert!(text.starts_with("spring needs attention now: 1 critical finding"), "it has no account: {text}");
    for severity in ["info", "warning", "CRITICAL"] {
        exit(&format!("campaigns diagnose spring --fail-on {severity}"), 3).await;
    }
    let text = exit("accounts diagnose ann --fail-on critical", 0).await;
    assert!(!text.contains("CRITICAL"), "{text}");
    exit("campaigns diagnose ghost --fail-on info", 1).await;
}

#[tokio::test]
async fn what_is_empty_is_said_with_what_to_do() {
    let service = Service::start().await;
    let totals = text(&service, "nobody", "workspace totals").await;
    assert!(totals.starts_with("workspace nobody has no campaign and no account;"), "{totals}");
    create_campaign(&service, "spring", settings(1, &[])).await;
    for (arguments, says) in [
        ("campaigns history spring", "Nothing happened in spring from 2026-02-01 to 2026-03-02"),
        ("campaigns history spring --by-account", "Nothing happened in spring"),
        ("campaigns accounts spring", "spring has no account"),
    ] {
        let said = text(&service, "acme", arguments).await;
        assert!(said.starts_with(says), "`{arguments}`: {said}");
        assert_eq!(rows(&service, "acme", arguments).await, 0, "{arguments}");
    }
    let totals = text(&service, "acme", "workspace totals").await;
    assert!(totals.contains("1 active, 0 paused, 0 finished") && !totals.contains("Delivery:"), "{totals}");
}

#[tokio::test]
async fn accounts_of_more_than_a_page_are_listed_whole() {
    let service = Service::start().await;
    create_account(&service, "gone", None).await;
    create_campaign(&service, "spring", settings(1, &["gone"])).await;
    add_leads(&service, "spring", 1, Some("gone"), false).await;
    report_new(&service, vec![by_lead("spring", "l0", 1, pb::OutcomeKind::Delivered)]).await;
    // A campaign has at most 1000 accounts, so only one that was removed fills a second page.
    let ids: Vec<String> = (0..1000).map(|number| format!("a{number:04}")).collect();
    for id in &ids {
        create_account(&service, id, None).await;
    }
    assign(&service, "spring", &ids.iter().map(String::as_str).collect::<Vec<_>>()).await;
    assert_eq!(rows(&service, "acme", "campaigns accounts spring").await, 1001);
    let text = text(&service, "acme", "campaigns accounts spring").await;
    assert!(
        text.starts_with("spring has 1001 accounts") && text.contains("Removed from the campaign: gone\n"),
        "{text}"
    );
}
