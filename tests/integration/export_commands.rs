//! `campaignctl leads export`, and the filters of `campaignctl leads list`.

use std::fs;

use campaign_metrics::pb::{self, FailureReason, OutcomeKind};
use serde_json::Value;

use crate::{
    commands::{assert_exit, campaignctl},
    harness::{
        service::Service,
        shown::{Described, compare_json},
    },
    world::{add_leads, by_lead, campaign_name, create_account, create_campaign, report_new, settings},
};

/// More than one portion.
const LEADS: usize = 2_345;

async fn world() -> Service {
    let service = Service::start().await;
    create_account(&service, "ann", None).await;
    create_campaign(&service, "spring", settings(2, &["ann"])).await;
    add_leads(&service, "spring", LEADS, Some("ann"), false).await;
    let fails = |id: &str, reason: FailureReason| pb::Outcome {
        reason: reason.into(),
        detail: "said \"no\", twice".into(),
        ..by_lead("spring", id, 1, OutcomeKind::Failed)
    };
    let delivered = by_lead("spring", "l3", 1, OutcomeKind::Delivered);
    let outcomes = vec![fails("l7", FailureReason::InvalidLead), fails("l2300", FailureReason::Other), delivered];
    report_new(&service, outcomes).await;
    service
}

async fn leads(service: &Service) -> Vec<pb::Lead> {
    let request = pb::ExportLeadsRequest { parent: campaign_name("spring") };
    let mut stream = service.leads.clone().export_leads(request).await.unwrap().into_inner();
    let mut leads = Vec::new();
    while let Some(message) = stream.message().await.unwrap() {
        leads.extend(message.leads);
    }
    leads
}

async fn outcomes(service: &Service) -> Vec<pb::LeadOutcome> {
    let request = pb::ExportOutcomesRequest { parent: campaign_name("spring") };
    let mut stream = service.leads.clone().export_outcomes(request).await.unwrap().into_inner();
    let mut outcomes = Vec::new();
    while let Some(message) = stream.message().await.unwrap() {
        outcomes.extend(message.outcomes);
    }
    outcomes
}

async fn text(service: &Service, arguments: &str) -> String {
    let output = assert_exit(campaignctl(&service.url, "acme", arguments).await, 0);
    assert_eq!(output.stderr, "", "`{arguments}`: without a terminal there is no progress");
    output.stdout
}

fn assert_lines<M: Described>(text: &str, expected: &[M]) {
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect();
    assert_eq!(lines.len(), expected.len());
    let differences: Vec<String> =
        lines.iter().zip(expected).flat_map(|(line, message)| compare_json(line, message)).collect();
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[tokio::test]
async fn an_export_prints_what_the_api_streams() {
    let service = world().await;
    let (leads, outcomes) = (leads(&service).await, outcomes(&service).await);
    assert_eq!((leads.len(), outcomes.len()), (LEADS, 3));
    assert_lines(&text(&service, "-o ndjson leads export spring").await, &leads);
    assert_lines(&text(&service, "-o ndjson leads export spring --outcomes").await, &outcomes);
    let sheet = campaignctl::view::csv(&leads).unwrap();
    assert_eq!(text(&service, "leads export spring").await, sheet, "CSV by default");
    assert_eq!(text(&service, "-o csv leads export spring").await, sheet);
    let sheet = campaignctl::view::csv(&outcomes).unwrap();
    assert_eq!(text(&service, "leads export spring --outcomes").await, sheet);
}

#[tokio::test]
async fn an_export_to_a_file_is_whole_or_leaves_none() {
    let service = world().await;
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let file = |name: &str| path(name).display().to_string();
    let said = text(&service, &format!("leads export spring --file {}", file("leads.csv"))).await;
    let expected = format!("2345 leads, as of {}, of spring in {}\n", service.clock.now(), file("leads.csv"));
    assert_eq!(said, expected);
    let sheet = campaignctl::view::csv(&leads(&service).await).unwrap();
    assert_eq!(fs::read_to_string(path("leads.csv")).unwrap(), sheet);
    let said = text(&service, &format!("leads export spring --outcomes --file {}", file("all.ndjson"))).await;
    assert!(said.starts_with("3 outcomes, as of "), "{said}");
    assert_lines(&fs::read_to_string(path("all.ndjson")).unwrap(), &outcomes(&service).await);

    for (arguments, says) in [
        (format!("leads export ghost --file {}", file("ghost.csv")), "reason: NOT_FOUND"),
        (format!("leads export ghost --file {}", file("leads.csv")), "workspaces/acme/campaigns/ghost"),
        (format!("-o json leads export spring --file {}", file("leads.json")), "say -o ndjson"),
        (format!("leads export spring --file {}", file("no/leads.csv")), "can't write beside"),
        (format!("leads export spring --file {}", directory.path().display()), "is no regular file"),
    ] {
        let output = assert_exit(campaignctl(&service.url, "acme", &arguments).await, 1);
        assert!(output.stderr.contains(says), "`{arguments}`: {}", output.stderr);
    }
    let mut left: Vec<_> = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["all.ndjson", "leads.csv"]);
    assert_eq!(fs::read_to_string(path("leads.csv")).unwrap(), sheet, "a failed export leaves the older file");
}

#[tokio::test]
async fn a_list_of_leads_is_filtered_by_reason_and_last_action() {
    let service = world().await;
    let ids = async |filter: &str| {
        let lines = text(&service, &format!("-o ndjson leads list -c spring {filter}")).await;
        let name = |line: &str| serde_json::from_str::<Value>(line).unwrap()["name"].as_str().unwrap().to_owned();
        let names: Vec<String> = lines.lines().map(name).collect();
        names.iter().map(|name| name.rsplit('/').next().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(ids("--failure-reason invalid-lead").await, ["l7"]);
    assert_eq!(ids("--failure-reason OTHER --status failed").await, ["l2300"]);
    assert_eq!(ids("--last-action-after 2026-03-02").await, ["l3", "l7", "l2300"]);
    assert_eq!(ids("--last-action-after 2026-03-02T10:00:00Z --status partial").await, ["l3"]);
    assert_eq!(ids("--last-action-before 2026-03-02T10:00:00Z").await, [""; 0]);
    let early = campaignctl(&service.url, "acme", "leads list -c spring --last-action-after yesterday").await;
    assert!(assert_exit(early, 1).stderr.contains("2026-03-02T10:00:00Z"), "it shows how a time is written");
    let table = text(&service, "leads list -c spring --last-action-after 2026-03-02").await;
    let row = table.lines().find(|line| line.starts_with("l3 ")).expect("a row");
    let cells: Vec<&str> = row.split_whitespace().collect();
    assert_eq!(
        cells,
        ["l3", "PARTIAL", "ann", "2026-03-02T10:00:00Z", "2", "2026-03-02T11:00:00Z", "-", "step", "1", "delivered"]
    );
}
