//! Recording rules and alerts: each alert is tested both ways and has a runbook, and a real Prometheus that scrapes two
//! replicas and the controller records what the API says.

use std::{collections::BTreeSet, fs, path::PathBuf, time::Duration};

use anyhow::ensure;
use campaign_metrics::pb::{self, FailureReason as Reason, OutcomeKind as Kind};
use campaign_metrics_service::store::VerifyMode;
use jiff::Timestamp;
use serde_json::Value;
use tokio::process::Command;

use crate::{
    harness::{
        parts::{binary, part, repository},
        process::Directory,
        prometheus::{Prometheus, rule_files},
        run::run,
        service::Service,
        wait::{SOON, until},
    },
    world::{by_lead, campaign_name, claim, create_account, create_campaign, report_new, settings, try_add},
};

fn yaml(path: &PathBuf) -> Value {
    serde_yaml::from_str(&fs::read_to_string(path).expect("a file of rules")).expect("YAML")
}

/// All rules of the chart that have this key, `alert` or `record`.
fn rules(kind: &str) -> Vec<Value> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let groups = rule_files().iter().flat_map(|file| list(&yaml(file)["groups"])).collect::<Vec<_>>();
    let rules = groups.iter().flat_map(|group| list(&group["rules"]));
    let rules: Vec<Value> = rules.filter(|rule| rule[kind].is_string()).collect();
    assert!(rules.len() > 15, "the chart has rules: {}", rules.len());
    rules
}

fn test_files() -> Vec<PathBuf> {
    let entries = fs::read_dir(repository().join("tests/rules")).expect("there are tests of the rules");
    entries.map(|entry| entry.expect("an entry").path()).collect()
}

#[tokio::test]
async fn promtool_finds_no_fault_in_rules_and_their_tests() {
    let promtool = async |what: &str, file: PathBuf| {
        let mut command = Command::new(part("promtool")?);
        command.args([what, "rules"]).arg(file);
        run(command, "").await?.success()
    };
    for file in rule_files() {
        promtool("check", file).await.unwrap();
    }
    for file in test_files() {
        promtool("test", file).await.unwrap();
    }
}

/// Lines of the blocks of a page in this language.
fn block_lines<'a>(page: &'a str, language: &str) -> Vec<&'a str> {
    let begin = format!("```{language}\n");
    let blocks = page.split(&begin).skip(1).filter_map(|rest| rest.split("```").next());
    // A block within a list is indented.
    blocks.flat_map(str::lines).map(str::trim_start).collect()
}

#[tokio::test]
async fn runbooks_name_commands_that_exist_and_expressions_that_prometheus_knows() {
    let directory = tempfile::tempdir().unwrap();
    let prometheus = Prometheus::start(directory.path(), &[], Duration::from_secs(1), Directory::Remove).await.unwrap();
    let (mut commands, mut expressions) = (0, 0);
    for entry in fs::read_dir(repository().join("docs/runbooks")).unwrap() {
        let page = fs::read_to_string(entry.unwrap().path()).unwrap();
        for expression in block_lines(&page, "promql") {
            prometheus.query(expression).await.unwrap_or_else(|error| panic!("{expression}: {error:#}"));
            expressions += 1;
        }
        let of_ours = block_lines(&page, "sh").into_iter().filter(|line| line.starts_with("campaign"));
        let inline = page.split('`').skip(1).step_by(2).filter(|code| code.starts_with("campaignctl "));
        for line in of_ours.chain(inline) {
            // Options can follow a command that exists; the words before them are its name.
            let words: Vec<&str> =
                line.split_whitespace().take_while(|word| word.starts_with(char::is_lowercase)).collect();
            let mut command = Command::new(binary(words[0]).unwrap());
            command.args(&words[1..]).arg("--help");
            let help = run(command, "").await.unwrap().success().unwrap_or_else(|error| panic!("{line}: {error:#}"));
            for option in line.split_whitespace().filter(|word| word.starts_with("--") && *word != "--help") {
                assert!(help.contains(option), "{line}: there is no {option}");
            }
            commands += 1;
        }
    }
    assert!(commands > 10 && expressions > 10, "{commands} commands and {expressions} expressions");
}

#[test]
fn each_alert_is_shown_to_fire_and_not_to_fire() {
    let alerts: BTreeSet<String> =
        rules("alert").iter().map(|rule| rule["alert"].as_str().expect("a name").to_owned()).collect();
    let (mut fired, mut silent) = (BTreeSet::new(), BTreeSet::new());
    for test in test_files().iter().flat_map(|file| yaml(file)["tests"].as_array().cloned().expect("tests")) {
        let cases = test["promql_expr_test"].as_array().cloned().expect("a test asks for alerts");
        let shows =
            |name: &str| cases.iter().any(|case| case["exp_samples"].to_string().contains(&format!("\\\"{name}\\\"")));
        for name in &alerts {
            if shows(name) {
                fired.insert(name.clone())
            } else {
                silent.insert(name.clone())
            };
        }
    }
    assert_eq!(alerts.difference(&fired).collect::<Vec<_>>(), Vec::<&String>::new(), "shown in no test of tests/rules");
    assert_eq!(
        alerts.difference(&silent).collect::<Vec<_>>(),
        Vec::<&String>::new(),
        "silent in no test of tests/rules"
    );
}

#[test]
fn each_alert_has_a_severity_texts_and_a_runbook() {
    let mut pages = BTreeSet::new();
    for rule in rules("alert") {
        let name = rule["alert"].as_str().expect("a name");
        let severity = rule["labels"]["severity"].as_str();
        assert!(matches!(severity, Some("page" | "warning" | "info")), "{name}: severity {severity:?}");
        for text in ["summary", "description"] {
            assert!(rule["annotations"][text].is_string(), "{name} has no {text}");
        }
        let page = rule["annotations"]["runbook_url"].as_str().unwrap_or_else(|| panic!("{name} has no runbook"));
        let text =
            fs::read_to_string(repository().join(page)).unwrap_or_else(|error| panic!("{name}: {page}: {error}"));
        assert!(text.contains(name), "{page} does not name {name}");
        for heading in ["## Meaning", "## Impact", "## Look", "## Do"] {
            assert!(text.contains(heading), "{page} has no `{heading}`");
        }
        pages.insert(repository().join(page));
    }
    let kept: BTreeSet<PathBuf> = fs::read_dir(repository().join("docs/runbooks"))
        .expect("there are runbooks")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.file_name().is_some_and(|name| name != "README.md"))
        .collect();
    assert_eq!(kept, pages, "runbooks and alerts belong together");
}

const LEADS: i64 = 131;

/// Two replicas on one database, with an account that is limited and a campaign that contacted its leads long ago.
pub async fn replicas() -> (Service, Service) {
    let one = Service::start().await;
    let other = Service::on(&one.database, one.clock.clone()).await;
    create_account(&one, "ann", Some(60)).await;
    create_campaign(&one, "spring", pb::Campaign { daily_limit: Some(70), ..settings(2, &["ann"]) }).await;
    let leads = (0..LEADS).map(|number| pb::NewLead { lead_id: format!("l{number}"), account_id: "ann".into() });
    try_add(&one, "spring", leads.collect(), false).await.unwrap();
    assert_eq!(claim(&one, "ann", 3).await.claims.len(), 3);
    one.store().verification_note(0, VerifyMode::Report).await.unwrap();
    (one, other)
}

/// 101 leads are contacted, 13 messages bounce, 7 fail; 5 leads reply and 2 convert.
pub async fn happen(service: &Service) {
    let at = |day: &str| {
        Some(prost_types::Timestamp {
            seconds: format!("{day}T08:00:00Z").parse::<Timestamp>().unwrap().as_second(),
            nanos: 0,
        })
    };
    let outcome = |number: i64, kind: Kind, reason: Reason, day: &str| {
        let step = i32::from(matches!(kind, Kind::Delivered | Kind::Failed | Kind::Bounced));
        pb::Outcome { reason: reason.into(), time: at(day), ..by_lead("spring", &format!("l{number}"), step, kind) }
    };
    let none = Reason::Unspecified;
    let delivered = (10..111).map(|number| outcome(number, Kind::Delivered, none, "2026-02-10"));
    let bounced = (111..124).map(|number| outcome(number, Kind::Bounced, Reason::InvalidLead, "2026-02-11"));
    let failed = (124..LEADS).map(|number| outcome(number, Kind::Failed, Reason::RateLimited, "2026-02-12"));
    report_new(service, delivered.chain(bounced).chain(failed).collect()).await;
    let replied = (10..15).map(|number| outcome(number, Kind::Replied, none, "2026-02-13"));
    let converted = (10..12).map(|number| pb::Outcome {
        value_micros: Some(3_000_000),
        ..outcome(number, Kind::Converted, none, "2026-02-14")
    });
    report_new(service, replied.chain(converted).collect()).await;
}

/// Records that have no series in this world.
const NOT_HERE: [(&str, &str); 1] = [("workspace_campaign:completion:eta_seconds", "a pace needs minutes")];

#[tokio::test]
async fn prometheus_records_what_the_api_says_once_for_two_replicas() {
    let (one, other) = replicas().await;
    let directory = tempfile::tempdir().unwrap();
    let jobs = [("campaign-metrics", vec![one.admin_url.clone(), other.admin_url.clone()])];
    let prometheus =
        Prometheus::start(directory.path(), &jobs, Duration::from_millis(500), Directory::Remove).await.unwrap();
    let scraped = async || {
        let samples = prometheus.query("workspace_campaign:messages:sum").await?;
        ensure!(samples.len() == 1 && samples[0].value.abs() < 0.5, "{samples:?}");
        Ok(())
    };
    until("a first scrape", SOON, scraped).await.unwrap();
    happen(&one).await;
    // Details by account are read again after five minutes by the clock of the service.
    one.clock.advance(Duration::from_mins(6));
    let records = rules("record");
    let names = records.iter().map(|rule| rule["record"].as_str().expect("a name"));
    let here: Vec<&str> =
        names.filter(|name| !name.starts_with("slo:") && NOT_HERE.iter().all(|(absent, _)| absent != name)).collect();
    let recorded = async || {
        // Groups of rules take turns, so one record can be there before another that it is made from.
        for name in &here {
            ensure!(!prometheus.query(name).await?.is_empty(), "{name} is not recorded");
        }
        let samples = prometheus.query("workspace_campaign:lost_messages:increase1h").await?;
        ensure!(samples.len() == 1 && (samples[0].value - 20.0).abs() < 0.5, "{samples:?}");
        Ok(())
    };
    until("all is recorded", SOON, recorded).await.unwrap();

    let list = prometheus.api("rules").await.unwrap();
    for rule in list["groups"].as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap()) {
        assert_eq!(rule["health"], "ok", "{rule}");
    }
    for (name, why) in NOT_HERE {
        assert_eq!(prometheus.query(name).await.unwrap(), [], "{name} is there, although {why}");
    }
    for name in here {
        for sample in prometheus.query(name).await.unwrap() {
            assert_eq!(sample.label("instance"), "", "{name} is recorded by replica");
        }
    }
    let request = pb::GetCampaignRequest { name: campaign_name("spring") };
    let campaign = one.campaigns.clone().get_campaign(request).await.unwrap().into_inner();
    let counts = campaign.lead_counts.unwrap();
    #[expect(clippy::cast_precision_loss, reason = "counts of a test are small")]
    let [total, open] = [counts.total, counts.pending + counts.partial].map(|count| count as f64);
    for (expression, expected) in [
        ("sum(workspace_campaign:campaign_leads:max)", total),
        ("workspace_campaign:open_leads:sum", open),
        ("workspace_campaign:messages:sum", 121.0),
        ("workspace_campaign:lost_messages:sum", 20.0),
        ("workspace_campaign:messages:increase1h", 121.0),
        ("workspace_campaign:failed_messages:increase1h{reason=\"invalid_lead\"}", 13.0),
        ("workspace_campaign:delivery:ratio", 101.0 / 121.0),
        ("workspace_campaign:response_at_age:ratio{age_days=\"7\"}", 5.0 / 101.0),
        ("workspace_campaign:conversion_at_age:ratio{age_days=\"7\"}", 2.0 / 101.0),
        ("workspace_account:bounced_30d:ratio", 13.0 / 121.0),
        ("workspace_account:daily_limit_used:ratio", 3.0 / 60.0),
        ("workspace_campaign_account:lost_30d:ratio", 20.0 / 121.0),
        // statsmodels 0.15: proportion_confint(101, 121, method="wilson")[1]
        ("workspace_campaign:delivery1h:upper", 0.890_377),
    ] {
        let is_right = async || {
            let samples = prometheus.query(expression).await?;
            ensure!(samples.len() == 1 && (samples[0].value - expected).abs() < 1e-5, "{samples:?}, not {expected}");
            Ok(())
        };
        until(expression, SOON, is_right).await.unwrap();
    }
    for sample in prometheus.query("campaign_metrics_campaign_leads").await.unwrap() {
        assert!(!sample.label("instance").is_empty(), "both replicas are scraped");
    }
}
