//! Campaigns that are made bad on purpose by `campaign-simulator`, and what `campaignctl campaigns diagnose` says about
//! them from their outcomes alone.

use campaign_metrics::pb::{self, FindingKind, Severity};
use campaign_metrics_service::Clock;
use jiff::{ToSpan as _, civil::Date};

use crate::{
    commands::{assert_exit, campaignctl},
    harness::{
        parts::binary,
        postgres::database,
        run::{Output, run},
        service::Service,
    },
    world::{WORKSPACE, campaign_name, create_account, create_campaign, settings, try_add},
};

#[path = "faults/daily.rs"]
mod daily;

/// The first day of the campaigns, a Monday.
const FIRST_DAY: &str = "2026-06-01";

/// What a campaign loses without a fault: 1.5 % of its messages, for any reason.
const HEALTHY: &str = "--delivered-ratio 0.985 --bounced-ratio 0.005";

/// Starts a service at a time, with accounts.
async fn start(time: &str, accounts: &[&str]) -> Service {
    let service = Service::on(&database().await, Clock::manual(time.parse().expect("a time"))).await;
    for account in accounts {
        create_account(&service, account, None).await;
    }
    service
}

/// Creates a campaign with so many leads, for which its accounts take turns.
async fn fill(service: &Service, campaign: &str, accounts: &[&str], leads: usize) {
    create_campaign(service, campaign, settings(1, accounts)).await;
    let lead = |number: usize| pb::NewLead {
        lead_id: format!("lead-{number}"),
        account_id: accounts[number % accounts.len()].to_owned(),
    };
    let all: Vec<_> = (0..leads).map(lead).collect();
    for part in all.chunks(5000) {
        try_add(service, campaign, part.to_vec(), false).await.expect("they are added");
    }
}

/// Runs the simulator, with arguments split at blanks.
async fn simulate(service: &Service, campaign: &str, arguments: &str) {
    let mut command = tokio::process::Command::new(binary("campaign-simulator").expect("it is built"));
    let workspace = WORKSPACE.trim_start_matches("workspaces/");
    command.args([
        "--server",
        &service.url,
        "--workspace",
        workspace,
        "--campaign",
        campaign,
        "--first-day",
        FIRST_DAY,
    ]);
    command.args(arguments.split_whitespace());
    let said = run(command, "").await.and_then(Output::success).expect("it reports the past");
    assert!(said.starts_with("the past is reported after ") && said.contains(" 0 rejected"), "{said}");
}

/// What is said about a campaign in which something is wrong.
struct Said {
    findings: Vec<pb::Finding>,
    /// As people read it, in one line.
    text: String,
}

/// Plays 20 of the 25 days of a campaign with so many leads, with faults, and diagnoses it.
async fn diagnose(accounts: &[&str], leads: usize, faults: &str) -> Said {
    let service = start("2026-06-21T12:00:00Z", accounts).await;
    fill(&service, "spring", accounts, leads).await;
    simulate(&service, "spring", &format!("--days 25 --until 2026-06-21 {HEALTHY} {faults}")).await;
    let request = pb::DiagnoseCampaignRequest { name: campaign_name("spring") };
    let findings =
        service.performance.clone().diagnose_campaign(request).await.expect("an answer").into_inner().findings;
    let output = assert_exit(campaignctl(&service.url, "acme", "campaigns diagnose spring").await, 0);
    // Shown with the output of a test that fails, or when asked for.
    println!("{faults}\n{}", output.stdout);
    Said { findings, text: output.stdout.split_whitespace().collect::<Vec<_>>().join(" ") }
}

impl Said {
    /// Returns the only cause that is found. Low delivery beside it is its effect.
    #[track_caller]
    fn cause(&self, kind: FindingKind, severity: Severity) -> &pb::Finding {
        let causes: Vec<_> =
            self.findings.iter().filter(|finding| finding.kind() != FindingKind::LowDelivery).collect();
        assert_eq!(causes.len(), 1, "one cause: {causes:#?}");
        assert_eq!((causes[0].kind(), causes[0].severity()), (kind, severity), "{causes:#?}");
        causes[0]
    }

    #[track_caller]
    fn says(&self, text: &str) {
        assert!(self.text.contains(text), "`{text}` is said in: {}", self.text);
    }
}

/// The ids of the accounts that are blamed.
fn blamed(finding: &pb::Finding) -> Vec<&str> {
    finding.accounts.iter().map(|blamed| blamed.account.rsplit('/').next().expect("a name")).collect()
}

fn share(finding: &pb::Finding) -> f64 {
    finding.share.and_then(|share| share.ratio).expect("a share")
}

const FOUR: [&str; 4] = ["anna", "bert", "carla", "dora"];

#[tokio::test]
async fn an_account_that_is_blocked_since_tuesday_is_named_with_its_day() {
    let said = diagnose(&FOUR, 4500, "--fault account-issue=0.9,account=carla,since=2026-06-09").await;
    let finding = said.cause(FindingKind::AccountIssues, Severity::Critical);
    assert_eq!(blamed(finding), ["carla"]);
    let tuesday: Date = "2026-06-09".parse().expect("a day");
    let change = finding.change.as_ref().expect("it began on a day");
    let since: Date = change.since_day.parse().expect("a day");
    assert!((tuesday - 1.day()..=tuesday + 1.day()).contains(&since), "{change:?}");
    said.says("CRITICAL: account issues Account `carla` loses ");
    said.says(&format!("Since {since} it is "));
    said.says("To do: Check the status of `carla`, and review the errors.");
}

#[tokio::test]
async fn a_list_with_dead_addresses_is_no_accounts_fault() {
    let said = diagnose(&FOUR, 4500, "--fault invalid-lead=0.2").await;
    let finding = said.cause(FindingKind::InvalidLeads, Severity::Warning);
    assert_eq!((blamed(finding), finding.change.as_ref()), (vec![], None), "all accounts, from the start");
    assert!((0.17..0.23).contains(&share(finding)), "{finding:?}");
    said.says("lost because of invalid leads. No account stands out.");
    said.says("To do: Refresh the lead collection.");
}

#[tokio::test]
async fn content_that_is_rejected_everywhere_is_no_accounts_fault() {
    let said = diagnose(&FOUR, 4500, "--fault content-rejected=0.6").await;
    let finding = said.cause(FindingKind::ContentRejected, Severity::Critical);
    assert_eq!((blamed(finding), finding.change.as_ref()), (vec![], None), "all accounts, from the start");
    assert!((0.57..0.63).contains(&share(finding)), "{finding:?}");
    said.says("CRITICAL: content rejected");
    said.says("To do: Review the message for spam triggers.");
}

#[tokio::test]
async fn rate_limits_are_told_with_the_volume_above_which_they_begin() {
    let said = diagnose(&FOUR[..2], 20_000, "--fault rate-limited=400").await;
    let finding = said.cause(FindingKind::RateLimiting, Severity::Warning);
    assert_eq!(blamed(finding), [""; 0], "both are limited");
    let volume = finding.messages_per_day.expect("a volume");
    assert!((360..=420).contains(&volume), "{volume} messages a day");
    said.says(&format!("Messages are lost above {volume} messages a day of one account."));
    said.says(&format!("To do: Reduce the daily limit of the accounts to at most {volume} messages."));
}

#[tokio::test]
async fn a_healthy_campaign_accuses_nobody() {
    let said = diagnose(&FOUR, 4500, "").await;
    assert_eq!(said.findings, []);
    said.says("Nothing is wrong with spring");
}
