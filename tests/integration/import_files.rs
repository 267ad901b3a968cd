//! Every file of tests/fixtures/import, imported as people do: it says what the neighbour `.expected` says, adds the leads
//! that are written there, and says so again: through a pipe, when it is repeated, and when the campaign is finished.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use campaign_metrics::pb;
use serde::Deserialize;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;

use crate::{
    commands::{assert_exit, campaignctl},
    harness::{
        parts::{binary, repository},
        service::Service,
    },
    world::{WORKSPACE, create_account, create_campaign, finish, get, leads_with_accounts, settings, try_add},
};

/// What an import of a file must say.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    options: Vec<String>,
    /// Leads that are there before, as `id/account`.
    before: Vec<String>,
    added: i64,
    existing: i64,
    repeated: i64,
    rounded: i64,
    /// Line and first words of the reason.
    refused: Vec<(u64, String)>,
    ignored: Vec<String>,
    /// The leads of the file, as `id/account`.
    leads: Vec<String>,
}

/// A file to import, and what an import must say.
struct Fixture {
    path: PathBuf,
    expected: Expected,
}

/// How a file gets to the import.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Path,
    Pipe,
}

fn fixtures() -> Vec<Fixture> {
    let folder = repository().join("tests/fixtures/import");
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension != "expected" && extension != "py"));
    paths.sort();
    let neighbour = |path: &Path| PathBuf::from(format!("{}.expected", path.display()));
    let read = |path: PathBuf| {
        let text =
            fs::read_to_string(neighbour(&path)).unwrap_or_else(|_| panic!("{} has a neighbour", path.display()));
        let expected = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Fixture { path, expected }
    };
    let all: Vec<Fixture> = paths.into_iter().map(read).collect();
    assert!(all.len() > 30, "{} files", all.len());
    all
}

/// A report, and the lines of the file of refused lines with their reasons.
type Told = (Value, Vec<(u64, String)>);

struct Desk {
    service: Service,
    folder: TempDir,
}

impl Desk {
    /// Runs an import, and checks that its exit code is that of its report, and that nothing in its output is a control
    /// character.
    async fn import(&self, campaign: &str, fixture: &Fixture, way: Way, form: &str) -> Told {
        let refused = self.folder.path().join(format!("{campaign}-{way:?}"));
        let mut command = tokio::process::Command::new(binary("campaignctl").expect("it is built"));
        command.env("CAMPAIGN_METRICS_SERVER", &self.service.url);
        command.env("CAMPAIGN_METRICS_WORKSPACE", WORKSPACE.trim_start_matches("workspaces/"));
        command.args(["-o", form, "leads", "import", "--complete", "--campaign", campaign]);
        command.arg("--refused").arg(&refused).args(&fixture.expected.options);
        match way {
            Way::Path => command.arg(&fixture.path),
            Way::Pipe => command.arg("-"),
        };
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it runs");
        let mut pipe = child.stdin.take().expect("a pipe");
        let content = if way == Way::Pipe { fs::read(&fixture.path).unwrap() } else { Vec::new() };
        let writing = async move { pipe.write_all(&content).await.expect("it reads all") };
        let (output, ()) = tokio::join!(child.wait_with_output(), writing);
        let output = output.expect("it ends");
        let (said, complained) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr));
        let what = format!("{} by {way:?}: {said}{complained}", fixture.path.display());
        let is_obeyed = |character: char| character.is_control() && character != '\n';
        assert!(!said.contains(is_obeyed) && !complained.contains(is_obeyed), "{what:?}");
        let code = if fixture.expected.refused.is_empty() { 0 } else { 2 };
        assert_eq!(output.status.code(), Some(code), "{what}");
        let report = if form == "json" { serde_json::from_str(&said).expect("JSON") } else { Value::Null };
        (report, told(&refused))
    }
}

/// Reads a file of refused lines, in either format.
fn told(path: &Path) -> Vec<(u64, String)> {
    let Ok(bytes) = fs::read(path) else { return Vec::new() };
    if bytes.starts_with(b"{") {
        let remarks = bytes.split(|byte| *byte == b'\n').step_by(2).filter(|line| !line.is_empty());
        let remark = |line: &[u8]| {
            let remark: Value = serde_json::from_slice(line).expect("a remark");
            (remark["line"].as_u64().unwrap(), remark["reason"].as_str().unwrap().to_owned())
        };
        return remarks.map(remark).collect();
    }
    let mut reader = csv::ReaderBuilder::new().flexible(true).delimiter(bytes[4]).from_reader(&bytes[..]);
    let text = |cell: &[u8]| String::from_utf8_lossy(cell).into_owned();
    let records = reader.byte_records().map(Result::unwrap);
    records.map(|record| (text(&record[0]).parse().unwrap(), text(&record[1]))).collect()
}

/// Compares the counts of a report, and what was refused, with what they must be.
#[track_caller]
fn compare(fixture: &Fixture, (report, told): &Told, added: i64, existing: i64) {
    let (expected, what) = (&fixture.expected, fixture.path.display());
    let count = |field: &str| report[field].as_i64().unwrap_or_else(|| panic!("{what}: {field} of {report}"));
    assert_eq!((count("added"), count("existing")), (added, existing), "added and existing of {what}: {report}");
    let other = (count("repeated"), count("rounded"), count("refused"));
    let refused = i64::try_from(expected.refused.len()).unwrap();
    assert_eq!(other, (expected.repeated, expected.rounded, refused), "repeated, rounded, refused of {what}: {told:?}");
    let ignored: Vec<&str> = report["ignoredColumns"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert_eq!(ignored, expected.ignored, "columns of {what}");
    let lines = |all: &[(u64, String)]| all.iter().map(|(line, _)| *line).collect::<Vec<_>>();
    assert_eq!(lines(told), lines(&expected.refused), "lines of {what}: {told:?}");
    for ((line, reason), (_, begins)) in told.iter().zip(&expected.refused) {
        assert!(reason.starts_with(begins), "line {line} of {what} is refused as `{reason}`, not `{begins}`");
    }
}

#[tokio::test]
async fn every_export_imports_as_its_neighbour_says_by_path_by_pipe_again_and_after_the_finish() {
    let desk = Desk { service: Service::start().await, folder: tempfile::tempdir().unwrap() };
    for account in ["mail-1", "mail-2", "mail-9"] {
        create_account(&desk.service, account, None).await;
    }
    for (number, fixture) in fixtures().iter().enumerate() {
        let expected = &fixture.expected;
        let counted = expected.added + expected.existing;
        for way in [Way::Path, Way::Pipe] {
            let campaign = format!("c{number}-{}", if way == Way::Path { "path" } else { "pipe" });
            create_campaign(&desk.service, &campaign, settings(1, &["mail-1", "mail-2"])).await;
            let before = expected.before.iter().map(|lead| {
                let (id, account) = lead.split_once('/').expect("id/account");
                pb::NewLead { lead_id: id.to_owned(), account_id: account.to_owned() }
            });
            try_add(&desk.service, &campaign, before.collect(), false).await.unwrap();
            let told = desk.import(&campaign, fixture, way, "json").await;
            compare(fixture, &told, expected.added, expected.existing);
            let is_whole = expected.refused.is_empty();
            assert_eq!(told.0["leadList"], if is_whole { "COMPLETE" } else { "NOT_DECLARED" });
            assert_eq!(get(&desk.service, &campaign).await.lead_list_complete, is_whole, "{}", fixture.path.display());
            let mut leads: Vec<String> = [&expected.leads[..], &expected.before].concat();
            leads.sort();
            leads.dedup();
            assert_eq!(
                leads_with_accounts(&desk.service, &campaign).await,
                leads,
                "leads of {}",
                fixture.path.display()
            );
        }
        let campaign = format!("c{number}-path");
        let again = desk.import(&campaign, fixture, Way::Path, "json").await;
        compare(fixture, &again, 0, counted);
        desk.import(&campaign, fixture, Way::Path, "table").await;
        finish(&desk.service, &campaign).await;
        let finished = desk.import(&campaign, fixture, Way::Path, "json").await;
        compare(fixture, &finished, 0, counted);
    }
}

#[tokio::test]
async fn a_pipe_without_a_name_keeps_its_refused_lines_by_the_campaign_and_names_the_command_for_them() {
    let desk = Desk { service: Service::start().await, folder: tempfile::tempdir().unwrap() };
    create_campaign(&desk.service, "spring", settings(1, &[])).await;
    let folder = desk.folder.path();
    fs::write(folder.join("it's.csv"), "E-Mail|note\na@example.com|x\nb b|y\n").unwrap();
    let shell = async |line: &str, code: i32| {
        let mut command = tokio::process::Command::new("bash");
        command.args(["-c", line]).current_dir(folder).env("CAMPAIGN_METRICS_SERVER", &desk.service.url);
        command.env("CAMPAIGN_METRICS_WORKSPACE", WORKSPACE.trim_start_matches("workspaces/"));
        let path = binary("campaignctl").expect("it is built").parent().expect("a folder").display().to_string();
        command.env("PATH", format!("{path}:{}", std::env::var("PATH").expect("a path")));
        let output = command.output().await.expect("bash runs");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(code), "{line}: {said}{}", String::from_utf8_lossy(&output.stderr));
        said
    };
    let options = "--id-column e-mail --delimiter '|'";
    let again = format!("campaignctl leads import spring.refused.csv --campaign spring {options} --complete");
    for from in ["<(cat \"it's.csv\")", "- < \"it's.csv\"", "- < <(gzip -c \"it's.csv\")"] {
        let said = shell(&format!("campaignctl leads import -c spring --complete {options} {from}"), 2).await;
        assert!(said.ends_with(&format!("\n  {again}\n")), "{from}: {said}");
        assert_eq!(fs::read_to_string(folder.join("spring.refused.csv")).unwrap().lines().count(), 2, "{from}");
    }
    let refused = fs::read_to_string(folder.join("spring.refused.csv")).unwrap();
    assert!(refused.starts_with("line|reason|E-Mail|note\n3|id `b b` must be"), "{refused}");
    fs::write(folder.join("spring.refused.csv"), refused.replace("|b b|", "|b-b|")).unwrap();
    let said = shell(&again, 0).await;
    assert!(said.contains("  added     1\n") && said.ends_with("the lead list is complete\n"), "{said}");
    assert_eq!(leads_with_accounts(&desk.service, "spring").await, ["a@example.com/", "b-b/"]);
}

#[tokio::test]
async fn after_a_finish_with_an_open_list_all_leads_are_there_and_new_ones_are_refused() {
    let desk = Desk { service: Service::start().await, folder: tempfile::tempdir().unwrap() };
    create_campaign(&desk.service, "spring", settings(1, &[])).await;
    let file = desk.folder.path().join("leads.csv");
    let import = async |content: &str, code: i32| {
        fs::write(&file, content).unwrap();
        let workspace = WORKSPACE.trim_start_matches("workspaces/");
        let arguments = format!("leads import {} -c spring --complete", file.display());
        assert_exit(campaignctl(&desk.service.url, workspace, &arguments).await, code)
    };
    let lead = |id: &str| pb::NewLead { lead_id: id.to_owned(), ..Default::default() };
    try_add(&desk.service, "spring", vec![lead("a"), lead("b")], false).await.unwrap();
    finish(&desk.service, "spring").await;
    let said = import("id\na\nb\n", 0).await.stdout;
    let ends = "every lead of the file is in it, and its lead list stays as it is\n";
    assert!(said.contains("  added     0\n  existing  2\n  refused   0\n") && said.ends_with(ends), "{said}");
    assert!(!get(&desk.service, "spring").await.lead_list_complete);
    let said = import("id\na\nc\n", 1).await.stderr;
    assert!(said.contains("takes no more leads (1 of these are new)") && said.contains("leads.csv"), "{said}");
}

#[tokio::test]
async fn the_first_ten_refused_lines_are_shown_at_once_and_the_number_of_the_others() {
    let desk = Desk { service: Service::start().await, folder: tempfile::tempdir().unwrap() };
    create_campaign(&desk.service, "spring", settings(1, &[])).await;
    for (bad, more) in [(10, None), (13, Some("... and 3 more, all in "))] {
        let lines: Vec<String> = (0..bad).map(|number| format!("good-{number}\nb ad{number}\n")).collect();
        let path = desk.folder.path().join(format!("{bad}.csv"));
        fs::write(&path, format!("id\n{}", lines.concat())).unwrap();
        let file = path.display();
        for form in ["table", "json"] {
            let workspace = WORKSPACE.trim_start_matches("workspaces/");
            let arguments = format!("leads import {file} -c spring -o {form}");
            let output = assert_exit(campaignctl(&desk.service.url, workspace, &arguments).await, 2);
            let shown: Vec<&str> = output.stderr.lines().collect();
            for (number, line) in shown.iter().take(10).enumerate() {
                let begin = format!("line {} is refused: id `b ad{number}` must be", 2 * number + 3);
                assert!(line.starts_with(&begin), "{line}");
            }
            let more = more.map(|more| format!("{more}{file}.refused.csv"));
            assert_eq!(shown[10..], more.iter().map(String::as_str).collect::<Vec<_>>());
        }
    }
}
