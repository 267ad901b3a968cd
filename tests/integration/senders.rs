//! Runs every command of docs/senders.md, and with them the example senders, against the service as a process.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use campaign_metrics::pb::{self, CampaignState, OutcomeKind};
use tempfile::TempDir;
use tokio::process::Command;

use crate::harness::{
    daemon::Daemon,
    page::blocks,
    parts::{binary, part, repository},
    postgres::{TestDatabase, database},
    process::{Directory, Process, Signal},
    run::{Output, run_within},
    service::Service,
    wait::{SOON, until},
};

#[path = "senders/lossy.rs"]
mod lossy;
#[path = "senders/patient.rs"]
mod patient;

use lossy::Lossy;
use patient::{ASKED_WAIT, Patient};

const PAGE: &str = "docs/senders.md";
const ACCOUNT: &str = "workspaces/default/accounts/bella";

/// Time to build a sender, and before that its tools.
const BUILD: Duration = Duration::from_mins(15);

/// Messages between a renewal and a report of the senders.
const PORTION: usize = 10;

/// Answers that are lost: of the first ClaimSends, RenewClaims, ReportOutcomes and ReleaseClaims, by connection. Each
/// connection but the first begins with the repeat of the call before.
const LOST: [usize; 4] = [1, 2, 2, 2];

/// Blocks of the page that the test of each language runs, besides those of the language.
const SHARED: [&str; 4] = ["leads", "look", "bounce", "uncertain"];

fn campaign(id: &str) -> String {
    format!("workspaces/default/campaigns/{id}")
}

/// The parts for senders, by name.
async fn sender_parts() -> BTreeMap<String, PathBuf> {
    let mut command = Command::new(repository().join("tests/real-parts"));
    command.arg("senders");
    let said = run_within(command, "", BUILD).await.and_then(Output::success).unwrap();
    let parts = said.lines().filter_map(|line| line.split_once(' '));
    parts.map(|(name, path)| (name.to_owned(), path.into())).collect()
}

/// Copies the files of a folder of the repository, without what a developer has built there.
fn copy(folder: &str, to: &Path) {
    fs::create_dir_all(to.join(folder)).unwrap();
    for entry in fs::read_dir(repository().join(folder)).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_file() && entry.file_name() != "sender" {
            fs::copy(entry.path(), to.join(folder).join(entry.file_name())).unwrap();
        }
    }
}

/// A service, and a copy of the examples in which they are built.
struct Stage {
    language: &'static str,
    directory: TempDir,
    database: TestDatabase,
    daemon: Daemon,
    path: std::ffi::OsString,
    wheels: PathBuf,
    runs: usize,
}

impl Stage {
    async fn new(language: &'static str) -> Self {
        let (database, directory) = (database().await, tempfile::tempdir().unwrap());
        for folder in ["proto/campaign_metrics/v1", "examples/python", "examples/go"] {
            copy(folder, directory.path());
        }
        fs::copy(repository().join("buf.yaml"), directory.path().join("buf.yaml")).unwrap();
        let mut parts = sender_parts().await;
        let folder = |file: PathBuf| file.parent().expect("files lie somewhere").to_owned();
        let programs = [&parts["python3"], &parts["buf"], &binary("campaignctl").unwrap(), &part("grpcurl").unwrap()];
        let folders = programs.map(|file| folder(file.clone()));
        let known = env::var_os("PATH").unwrap_or_default();
        let path = env::join_paths(folders.into_iter().chain(env::split_paths(&known))).unwrap();
        let mut daemon = Daemon::service(&database.url, directory.path(), Directory::Keep).await.unwrap();
        daemon.ready().await.unwrap();
        let wheels = parts.remove("wheels").unwrap();
        Self { language, directory, database, daemon, path, wheels, runs: 0 }
    }

    fn url(&self) -> &str {
        self.daemon.url.as_deref().expect("it serves gRPC")
    }

    fn service(&self) -> Service {
        Service::of(&self.daemon, &self.database).unwrap()
    }

    fn variables(&self) -> [(&'static str, std::ffi::OsString); 6] {
        [
            ("PATH", self.path.clone()),
            ("SERVICE", self.address().into()),
            ("CAMPAIGN_METRICS_SERVER", self.url().into()),
            ("PIP_NO_INDEX", "1".into()),
            ("PIP_FIND_LINKS", self.wheels.clone().into()),
            ("PIP_DISABLE_PIP_VERSION_CHECK", "1".into()),
        ]
    }

    fn folder(&self) -> PathBuf {
        self.directory.path().join("examples").join(self.language)
    }

    /// Runs a block of the page, and returns what it prints.
    async fn execute(&self, block: &str) -> String {
        self.bash(&blocks(PAGE)[block]).await
    }

    async fn bash(&self, text: &str) -> String {
        let mut command = Command::new("bash");
        command.args(["-euo", "pipefail", "-c", text]).envs(self.variables()).current_dir(self.folder());
        let output = run_within(command, "", BUILD).await.and_then(Output::success);
        output.unwrap_or_else(|error| panic!("{error:#}\nof {text}"))
    }

    fn address(&self) -> String {
        self.url().trim_start_matches("http://").to_owned()
    }

    /// Starts the sender as the page does, on a way to the service.
    fn start(&mut self, service: String) -> Process {
        self.start_for(service, "")
    }

    /// Starts it with a campaign as the last argument.
    fn start_for(&mut self, service: String, campaign: &str) -> Process {
        let text = &blocks(PAGE)[&format!("{}-sender", self.language)];
        let mut command = std::process::Command::new("bash");
        command.args(["-c", &format!("cd '{}' && exec {} {campaign}", self.folder().display(), text.trim_end())]);
        command.envs(self.variables()).env("SERVICE", service);
        self.runs += 1;
        let name = format!("sender-{}", self.runs);
        Process::start(&name, &command, self.directory.path(), Signal::TERM, Directory::Keep).unwrap()
    }

    async fn get(&self, id: &str) -> pb::Campaign {
        let request = pb::GetCampaignRequest { name: campaign(id) };
        self.service().campaigns.clone().get_campaign(request).await.unwrap().into_inner()
    }

    async fn trail(&self, lead: &str) -> Vec<(i32, OutcomeKind, String)> {
        let parent = format!("{}/leads/{lead}", campaign("trial"));
        let request = pb::ListLeadOutcomesRequest { parent, ..Default::default() };
        let listed = self.service().leads.clone().list_lead_outcomes(request).await.unwrap().into_inner();
        let row = |outcome: &pb::LeadOutcome| (outcome.step, outcome.kind(), outcome.detail.clone());
        listed.outcomes.iter().map(row).collect()
    }

    /// Waits until the account has no claims.
    async fn no_claim_is_left(&self) {
        let look = async || {
            let request = pb::ListClaimsRequest { account: ACCOUNT.into(), page_size: 1000, ..Default::default() };
            let claims = self.service().sending.clone().list_claims(request).await?.into_inner().claims;
            ensure!(claims.is_empty(), "{} claims are left", claims.len());
            Ok(())
        };
        until("all claims to be reported or released", SOON, look).await.unwrap();
    }

    /// Adds a campaign with one step.
    async fn create(&self, id: &str, leads: usize) {
        let request = pb::CreateCampaignRequest {
            parent: "workspaces/default".into(),
            campaign_id: id.into(),
            campaign: Some(pb::Campaign { accounts: vec![ACCOUNT.into()], ..Default::default() }),
            ..Default::default()
        };
        self.service().campaigns.clone().create_campaign(request).await.unwrap();
        let lead = |number| pb::NewLead { lead_id: format!("l{number}"), ..Default::default() };
        let leads = (0..leads).map(lead).collect();
        let add = pb::AddLeadsRequest { parent: campaign(id), leads, ..Default::default() };
        self.service().leads.clone().add_leads(futures::stream::iter([add])).await.unwrap();
    }
}

/// The send keys of the messages that a sender has printed.
fn sent(sender: &Process) -> Vec<String> {
    let text = sender.stdout();
    let lines = text.lines().filter_map(|line| line.strip_prefix("sent ")?.split_once(' '));
    lines.map(|(send_key, _)| send_key.to_owned()).collect()
}

async fn has_sent(sender: &Process, least: usize) {
    let look = async || {
        let count = sent(sender).len();
        ensure!(count >= least, "{count} messages, not {least}:\n{}", sender.log());
        Ok(())
    };
    until("messages", SOON, look).await.unwrap();
}

/// Asks a sender to end, and returns its last line.
async fn ended(sender: &mut Process) -> String {
    sender.signal(Signal::TERM).unwrap();
    let status = sender.end(SOON).await.unwrap();
    assert!(status.success(), "{status}\n{}", sender.log());
    sender.stdout().lines().last().unwrap_or_default().to_owned()
}

/// A small campaign to its end: every message once, each outcome as it was, although answers are lost.
async fn trial(stage: &mut Stage) {
    let lossy = Lossy::start(stage.address(), &LOST).await;
    let mut sender = stage.start(lossy.address.clone());
    let finished = async || {
        let campaign = stage.get("trial").await;
        ensure!(campaign.state() == CampaignState::Finished, "{campaign:?}");
        Ok(())
    };
    let done = until("the campaign to finish", 2 * SOON, finished).await;
    done.with_context(|| sender.log()).unwrap();
    assert_eq!(ended(&mut sender).await, "end applied=8 duplicate=7 rejected=0 released=2");
    assert_eq!(sender.log().matches("repeat after").count(), LOST.len(), "{}", sender.log());
    let found = stage.get("trial").await;
    let expected = pb::LeadCounts { sent: 6, failed: 3, total: 9, ..Default::default() };
    assert_eq!(found.lead_counts, Some(expected));
    let counts = found.message_counts.unwrap();
    assert_eq!((counts.delivered, counts.failed, counts.contacted_leads), (12, 3, 6));
    let failure = (counts.failures[0].reason(), counts.failures[0].count);
    assert_eq!(failure, (pb::FailureReason::InvalidLead, 3));
    let keys = sent(&sender);
    assert_eq!((keys.len(), keys.iter().collect::<BTreeSet<_>>().len()), (12, 12), "each message once");
    let delivered = |step| (step, OutcomeKind::Delivered, String::new());
    assert_eq!(stage.trail("busy-1").await, [delivered(1), delivered(2)]);
    assert_eq!(stage.trail("wrong-2").await, [(1, OutcomeKind::Failed, "no such address".to_owned())]);
    stage.no_claim_is_left().await;
}

/// A long campaign: a pause, a service that dies, and two ends in the middle of work.
async fn long(stage: &mut Stage) {
    stage.create("long", 1900).await;
    let mut first = stage.start(stage.address());
    has_sent(&first, 23).await;
    let request = pb::PauseCampaignRequest { name: campaign("long"), ..Default::default() };
    stage.service().campaigns.clone().pause_campaign(request).await.unwrap();
    let before = sent(&first).len();
    stage.no_claim_is_left().await;
    let after = sent(&first).len();
    assert!(after - before <= PORTION, "{} messages went out after the pause", after - before);
    let request = pb::ResumeCampaignRequest { name: campaign("long"), ..Default::default() };
    stage.service().campaigns.clone().resume_campaign(request).await.unwrap();
    // It waits to ask again, and ends without that.
    assert!(ended(&mut first).await.contains(" rejected=0 "));

    let mut second = stage.start(stage.address());
    has_sent(&second, 31).await;
    stage.daemon.process.signal(Signal::KILL).unwrap();
    stage.daemon.process.end(SOON).await.unwrap();
    let address = stage.address();
    let again = stage.directory.path().join("again");
    fs::create_dir(&again).unwrap();
    stage.daemon = Daemon::service_at(&address, &stage.database.url, &again, Directory::Keep).await.unwrap();
    stage.daemon.ready().await.unwrap();
    has_sent(&second, sent(&second).len() + 2 * PORTION + 1).await;
    assert!(ended(&mut second).await.contains(" rejected=0 "));
    stage.no_claim_is_left().await;
    let keys = [sent(&first), sent(&second)].concat();
    assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), keys.len(), "each message once");
    let found = stage.get("long").await;
    let delivered = i64::try_from(keys.len()).unwrap();
    let expected = pb::LeadCounts { sent: delivered, pending: 1900 - delivered, total: 1900, ..Default::default() };
    assert_eq!(found.lead_counts, Some(expected), "what was sent was reported");
    assert!(delivered < 1900, "it ended in the middle of work");
}

/// A service that asks to wait is not asked before, and a sender asks for its campaign.
async fn patient(stage: &mut Stage) {
    let patient = Patient::start().await;
    let mut sender = stage.start_for(patient.address.clone(), &campaign("trial"));
    let repeated = async || {
        let asked = patient.asked.lock().unwrap().clone();
        ensure!(asked.len() > 1, "{} calls\n{}", asked.len(), sender.log());
        Ok(asked)
    };
    let asked = until("a repeat", SOON, repeated).await.unwrap();
    let [(first, request), (second, repeat)] = &asked[..2] else { unreachable!("there are two") };
    assert!(second.duration_since(*first) >= ASKED_WAIT, "{:?} later", second.duration_since(*first));
    assert_eq!((repeat, &request.campaign), (request, &campaign("trial")));
    assert!(ended(&mut sender).await.contains("end applied=0 "));
}

/// A sender that crashed leaves an uncertain claim, which a person resolves.
async fn uncertain(stage: &Stage) {
    let request = pb::PauseCampaignRequest { name: campaign("long"), ..Default::default() };
    stage.service().campaigns.clone().pause_campaign(request).await.unwrap();
    stage.create("late", 1).await;
    let hold_duration = Some(prost_types::Duration { seconds: 1, nanos: 0 });
    let claim = async |hold_duration| {
        let request =
            pb::ClaimSendsRequest { account: ACCOUNT.into(), max_claims: 1, hold_duration, ..Default::default() };
        stage.service().sending.clone().claim_sends(request).await.unwrap().into_inner().claims
    };
    let lost = claim(hold_duration).await;
    let is_uncertain = async || {
        let count = stage.get("late").await.uncertain_claims;
        ensure!(count == 1, "{count} are uncertain");
        Ok(())
    };
    until("the claim to expire", SOON, is_uncertain).await.unwrap();
    let said = stage.execute("uncertain").await;
    assert!(said.contains(&lost[0].claim_id) && said.ends_with("resolved 1 of 1\n"), "{said}");
    assert_eq!(claim(None).await[0].send_key, lost[0].send_key, "it is due again");
}

async fn play(mut stage: Stage) {
    stage.execute("leads").await;
    trial(&mut stage).await;
    assert!(stage.execute("look").await.contains("no such address"));
    stage.execute("bounce").await;
    let counts = stage.get("trial").await.message_counts.unwrap();
    assert_eq!((counts.delivered, counts.bounced), (11, 1));
    long(&mut stage).await;
    patient(&mut stage).await;
    uncertain(&stage).await;
}

#[tokio::test]
async fn the_sender_in_python_sends_each_message_once_and_ends_with_nothing_claimed() {
    let stage = Stage::new("python").await;
    stage.execute("python-client").await;
    play(stage).await;
}

#[tokio::test]
async fn the_sender_in_go_sends_each_message_once_and_ends_with_nothing_claimed() {
    let stage = Stage::new("go").await;
    stage.execute("go-client").await;
    stage.bash("go vet . && gofmt -d sender.go | tee /dev/stderr | cmp - /dev/null").await;
    play(stage).await;
}

#[test]
fn every_command_of_the_page_belongs_to_a_sender_or_to_all() {
    let ran: BTreeSet<String> = ["python", "go"]
        .iter()
        .flat_map(|language| ["client", "sender"].map(|block| format!("{language}-{block}")))
        .chain(SHARED.map(str::to_owned))
        .collect();
    assert_eq!(ran, blocks(PAGE).into_keys().collect());
}

#[test]
fn every_file_of_the_contract_names_its_package_in_other_languages() {
    for entry in fs::read_dir(repository().join("proto/campaign_metrics/v1")).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        for option in [
            r#"csharp_namespace = "CampaignMetrics.V1""#,
            r#"go_package = "campaign-metrics.io/proto/campaign_metrics/v1;campaignmetricsv1""#,
            "java_multiple_files = true",
            r#"java_package = "io.campaignmetrics.v1""#,
            r#"php_namespace = "CampaignMetrics\\V1""#,
        ] {
            assert!(text.contains(&format!("\noption {option};\n")), "{} lacks the option {option}", path.display());
        }
    }
}
