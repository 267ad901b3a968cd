//! `campaignctl import`, run as people run it. Every line of a file is counted as added, known or refused. A list is
//! complete only if no line was refused. Exit codes tell the result.

use std::{fmt::Write as _, fs, path::PathBuf};

use campaign_metrics::pb;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    commands::{assert_exit, campaignctl},
    harness::{run::Output, service::Service},
    world::{
        WORKSPACE, add_leads, create_account, create_campaign, finish, get, leads_with_accounts, settings, try_add,
    },
};

/// A service with a campaign, and a folder for files.
struct Desk {
    service: Service,
    folder: TempDir,
}

impl Desk {
    /// Accounts ann and bob serve the campaign `spring`, eve does not.
    async fn new() -> Self {
        let desk = Self { service: Service::start().await, folder: tempfile::tempdir().unwrap() };
        for account in ["ann", "bob", "eve"] {
            create_account(&desk.service, account, None).await;
        }
        desk.campaign("spring").await;
        desk
    }

    async fn campaign(&self, id: &str) {
        create_campaign(&self.service, id, settings(1, &["ann", "bob"])).await;
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        path.display().to_string()
    }

    async fn import(&self, arguments: &str, code: i32) -> Output {
        let workspace = WORKSPACE.trim_start_matches("workspaces/");
        let output = campaignctl(&self.service.url, workspace, &format!("leads import {arguments}")).await;
        assert_exit(output, code)
    }

    /// The report of an import without durations.
    async fn report(&self, arguments: &str, code: i32) -> Value {
        let output = self.import(&format!("-o json {arguments}"), code).await;
        let mut report: Value = serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("JSON: {output:?}"));
        let fields = report.as_object_mut().expect("an object");
        let took = fields.remove("elapsedSeconds").and_then(|seconds| seconds.as_f64()).expect("how long it took");
        let pace = fields.remove("leadsPerSecond").and_then(|pace| pace.as_f64()).expect("how fast");
        let done: f64 = ["added", "existing", "repeated"].iter().filter_map(|field| fields[*field].as_f64()).sum();
        assert!(took > 0.0 && (pace * took - done).abs() < 1e-6 * done.max(1.0), "{pace} a second over {took} s");
        report
    }

    async fn is_complete(&self, campaign: &str) -> bool {
        get(&self.service, campaign).await.lead_list_complete
    }
}

/// Line numbers and first words of the reasons that a file of refused lines must have.
#[track_caller]
fn assert_refused(shown: &[(u64, String)], expected: &[(u64, &str)]) {
    let lines = |all: &[(u64, &str)]| all.iter().map(|(line, _)| *line).collect::<Vec<_>>();
    let borrowed: Vec<(u64, &str)> = shown.iter().map(|(line, reason)| (*line, reason.as_str())).collect();
    assert_eq!(lines(&borrowed), lines(expected), "the lines that were refused: {shown:?}");
    for ((line, reason), (_, begin)) in borrowed.iter().zip(expected) {
        assert!(reason.starts_with(begin), "line {line} was refused as `{reason}`, not `{begin}`");
    }
}

const CSV: &[u8] = b"name,id,account\n\
    A,a1,\n\
    B,a2,ann\n\
    ,,\n\
    C,sp ace,\n\
    D,b\xff,\n\
    E,c\0,\n\
    F,d\n\
    G,e,f,g\n\
    H,i,/\n\
    I,j,eve\n\
    J,kept,bob\n\
    K,a1,\n\
    L,kept,ann\n\
    \"M\nm\",multi,bob\n\
    \n\
    N,b ad,\n\
    O,last,";

#[tokio::test]
async fn every_kind_of_bad_csv_line_is_counted_kept_with_its_number_and_leaves_the_list_open() {
    let desk = Desk::new().await;
    let kept = pb::NewLead { lead_id: "kept".into(), account_id: "ann".into() };
    try_add(&desk.service, "spring", vec![kept], false).await.unwrap();
    let file = desk.write("leads.csv", CSV);
    let refused = format!("{file}.refused.csv");
    let report = desk.report(&format!("{file} --campaign spring --complete"), 2).await;
    let expected = json!({
        "file": file, "campaign": "spring", "added": 4, "existing": 1, "repeated": 1, "firstRepeatedLine": 13,
        "firstRepeatOfLine": 2, "refused": 9, "refusedFile": refused, "spanning": 1, "firstSpanningLine": 15, "rounded": 0,
        "ignoredColumns": ["name"], "leadList": "NOT_DECLARED",
    });
    assert_eq!(report, expected);
    assert_eq!(leads_with_accounts(&desk.service, "spring").await, ["a1/", "a2/ann", "kept/ann", "last/", "multi/bob"]);
    assert!(!desk.is_complete("spring").await, "a list with refused lines is not declared complete");

    let mut reader = csv::ReaderBuilder::new().flexible(true).from_path(&refused).unwrap();
    assert_eq!(reader.headers().unwrap_or(&csv::StringRecord::new()), &["line", "reason", "name", "id", "account"][..]);
    let records: Vec<csv::ByteRecord> = reader.byte_records().map(Result::unwrap).collect();
    let text = |record: &csv::ByteRecord, place: usize| String::from_utf8_lossy(&record[place]).into_owned();
    let shown: Vec<_> = records.iter().map(|record| (text(record, 0).parse().unwrap(), text(record, 1))).collect();
    assert_refused(
        &shown,
        &[
            (5, "id `sp ace` must be"),
            (6, "id is not UTF-8: byte 2 of it is 0xff"),
            (7, "id `c\\0` must be"),
            (8, "has 2 cells, and column 3 is `account`"),
            (9, "has 4 cells where the header names 3"),
            (10, "account `/` must be"),
            (11, "ACCOUNT_NOT_SERVING: "),
            (12, "ACCOUNT_DIFFERS: "),
            (18, "id `b ad` must be"),
        ],
    );
    assert_eq!(&records[1][3], b"b\xff", "bytes are kept as they were");
    assert_eq!(records[4].len(), 6, "so are columns too many");

    // A repeat changes nothing and prints the same.
    let said = desk.import(&format!("{file} --campaign spring --complete"), 2).await.stdout;
    let numbers = "\n  added     0\n  existing  5\n  refused   9\n  repeated  1, the first on line 13: its lead is on line 2, too\n  ignored columns: name\n  1 record spans";
    let next = format!(
        "  the lead list was not declared complete, as lines were refused\n  repair the refused lines in {refused}, then\n  \
         campaignctl leads import {refused} --campaign spring --complete\n"
    );
    assert!(said.starts_with(&format!("imported {file} into spring in ")), "{said}");
    assert!(said.contains(numbers) && said.ends_with(&next), "{said}");
    let said = desk.import(&format!("{file} --campaign spring"), 2).await.stdout;
    assert!(said.ends_with(&format!("import {refused} --campaign spring\n")) && !said.contains("complete"), "{said}");

    // The refused lines are corrected and imported, as advised. Then the list is complete.
    let corrected: String = (1..=9).fold("line,reason,name,id,account\n".to_owned(), |mut text, number| {
        writeln!(text, "{number},mended,x,m{number},").unwrap();
        text
    });
    fs::write(&refused, corrected).unwrap();
    let said = desk.import(&format!("{refused} --campaign spring --complete"), 0).await.stdout;
    assert!(said.contains("  added     9\n  existing  0\n  refused   0\n"), "{said}");
    assert!(said.ends_with("the lead list is complete\n") && !said.contains("repair"), "{said}");
    assert!(desk.is_complete("spring").await);
    assert_eq!(get(&desk.service, "spring").await.lead_counts.unwrap().total, 14);
}

#[tokio::test]
async fn every_kind_of_bad_ndjson_line_is_counted_kept_with_its_number_and_leaves_the_list_open() {
    let desk = Desk::new().await;
    let lines: [&[u8]; 14] = [
        b"{\"id\":\"a1\",\"note\":[1]}",
        b"{\"id\":7,\"account\":\"ann\"}",
        b"{\"id\":",
        b"[\"a\"]",
        b"{}",
        b"{\"id\":1.5}",
        b"",
        b"{\"id\":\"\xff\"}",
        b"{\"id\":\"a\",\"id\":\"b\"}",
        b"{\"id\":\"a\\u0000\"}",
        b"{\"line\":1,\"reason\":\"of an earlier import\"}",
        b"{\"id\":\"b\",\"account\":\"eve\"}",
        b"{\"id\":\"a1\",\"account\":null}",
        b"{\"id\":\"c\",\"account\":\"b b\"}",
    ];
    let file = desk.write("leads.jsonl", lines.join(&b"\r\n"[..]));
    let report = desk.report(&format!("{file} --campaign spring --complete"), 2).await;
    let refused = format!("{file}.refused.ndjson");
    let expected = json!({
        "file": file, "campaign": "spring", "added": 2, "existing": 0, "repeated": 1, "firstRepeatedLine": 13,
        "firstRepeatOfLine": 1, "refused": 9, "refusedFile": refused, "rounded": 0, "spanning": 0, "ignoredColumns": ["note"], "leadList": "NOT_DECLARED",
    });
    assert_eq!(report, expected);
    assert_eq!(leads_with_accounts(&desk.service, "spring").await, ["7/ann", "a1/"]);
    assert!(!desk.is_complete("spring").await);

    let content = fs::read(&refused).unwrap();
    let mut shown = Vec::new();
    let mut written = content.split(|byte| *byte == b'\n');
    while let Some(remark) = written.next().filter(|line| !line.is_empty()) {
        let remark: Value = serde_json::from_slice(remark).expect("a remark before each line");
        let line = remark["line"].as_u64().expect("its number");
        shown.push((line, remark["reason"].as_str().expect("its reason").to_owned()));
        let place = usize::try_from(line).unwrap() - 1;
        assert_eq!(written.next(), Some(lines[place]), "line {line} follows its remark unchanged");
    }
    assert_refused(
        &shown,
        &[
            (3, "is no lead: EOF while parsing a value, at character 6"),
            (4, "is no lead: "),
            (5, "has no id"),
            (6, "is no lead: id and account must be text or whole numbers"),
            (8, "is no lead: invalid unicode code point"),
            (9, "is no lead: duplicate field `id`"),
            (10, "id `a\\0` must be"),
            (12, "ACCOUNT_NOT_SERVING: "),
            (14, "account `b b` must be"),
        ],
    );
}

#[tokio::test]
async fn what_is_refused_finds_its_line_on_both_sides_of_every_border_of_messages_and_chunks() {
    let desk = Desk::new().await;
    for (campaign, count) in [("a", 999), ("b", 1000), ("c", 1001), ("d", 10_000), ("e", 10_001), ("f", 20_000)] {
        desk.campaign(campaign).await;
        // The service refuses these. campaignctl itself refuses every fourth line before them.
        let by_service = [1, 1000, 1001, 4999, 5001, 9999, 10_000, 10_001, 20_000];
        let mut file = "id,account\n".to_owned();
        let mut expected = Vec::new();
        for number in 1..=count {
            let line = match number {
                _ if by_service.contains(&number) => format!("l{number},eve"),
                _ if number % 4 == 0 && number < 40 => format!("l {number},"),
                _ => format!("l{number},{}", if number % 2 == 0 { "ann" } else { "" }),
            };
            if line.ends_with("eve") || line.contains(' ') {
                expected.push(number + 1);
            }
            writeln!(file, "{line}").unwrap();
        }
        let file = desk.write(&format!("{campaign}.csv"), file);
        let report = desk.report(&format!("{file} --campaign {campaign} --complete"), 2).await;
        let refused = u64::try_from(expected.len()).unwrap();
        assert_eq!(report["refused"], refused, "{count} lines: {report}");
        assert_eq!(report["added"], count - refused, "{count} lines: {report}");
        let mut reader = csv::Reader::from_path(format!("{file}.refused.csv")).unwrap();
        let lines: Vec<u64> = reader.records().map(|record| record.unwrap()[0].parse().unwrap()).collect();
        assert_eq!(lines, expected, "lines refused of {count}");
        let leads = get(&desk.service, campaign).await.lead_counts.unwrap();
        assert_eq!(u64::try_from(leads.total).unwrap(), count - refused, "the service has the others");
        assert!(!desk.is_complete(campaign).await);
    }
}

#[tokio::test]
async fn an_import_that_breaks_off_says_how_far_it_came_and_can_be_run_again() {
    let desk = Desk::new().await;
    let mut good = "id,note\n".to_owned();
    for number in 1..=10_003 {
        writeln!(good, "{},x", if number == 17 { "l 17".to_owned() } else { format!("l{number}") }).unwrap();
    }
    let file = desk.write("leads.csv", format!("{good}broken,{}\n", "y".repeat(1 << 20)));
    let output = desk.import(&format!("{file} --campaign spring --complete"), 1).await;
    assert_eq!(output.stdout, "", "there is no report of half an import");
    let refused = format!("{file}.refused.csv");
    for says in [
        format!(
            "the import of {file} broke off (9999 leads added, 0 there already, 1 refused so far are in {refused})"
        ),
        "running it again is safe".to_owned(),
        "the record that begins on line 10005 is longer than 1 MiB".to_owned(),
    ] {
        assert!(output.stderr.contains(&says), "it says `{says}`: {}", output.stderr);
    }
    assert!(fs::read_to_string(&refused).unwrap().ends_with("l 17,x\n"));
    assert!(!desk.is_complete("spring").await, "half a list is not complete");

    desk.write("leads.csv", good.replace("l 17", "l17"));
    let report = desk.report(&format!("{file} --campaign spring --complete"), 0).await;
    assert_eq!(
        report,
        json!({
            "file": file, "campaign": "spring", "added": 4, "existing": 9999, "repeated": 0, "refused": 0,
            "rounded": 0, "spanning": 0, "ignoredColumns": ["note"], "leadList": "COMPLETE",
        })
    );
    assert!(!PathBuf::from(&refused).exists(), "no line is refused any more");
    assert!(desk.is_complete("spring").await);
    assert_eq!(get(&desk.service, "spring").await.lead_counts.unwrap().total, 10_003);
}

#[tokio::test]
async fn a_stray_quote_swallows_no_line_and_a_list_with_refused_lines_is_complete_only_anyway() {
    let desk = Desk::new().await;
    let rows = "id,note\na,x\nb,\"5 pipe\nc,z\nd,6\" pipe\n\"e\",\"two\nlines\"\n";
    let file = desk.write("five.csv", rows);
    let report = desk.report(&format!("{file} --campaign spring --complete"), 2).await;
    for (field, expected) in [("added", 4), ("refused", 1), ("spanning", 1), ("firstSpanningLine", 6)] {
        assert_eq!(report[field], expected, "{field} of {report}");
    }
    assert_eq!(report["leadList"], "NOT_DECLARED");
    assert_eq!(leads_with_accounts(&desk.service, "spring").await, ["a/", "c/", "d/", "e/"]);
    let refused = fs::read_to_string(format!("{file}.refused.csv")).unwrap();
    assert!(refused.contains("\n3,\"has text after a closing quote;"), "{refused}");
    assert!(refused.ends_with(",b,\"\"\"5 pipe\"\n"), "the quote is kept: {refused}");
    assert!(!desk.is_complete("spring").await);
    let said = desk.import(&format!("{file} --campaign spring --complete-anyway"), 2).await.stdout;
    assert!(said.contains("1 record spans several lines, the first from line 6 on"), "{said}");
    assert!(said.contains("the lead list is complete\n") && desk.is_complete("spring").await, "{said}");
}

#[tokio::test]
async fn what_can_not_be_imported_ends_with_1_and_touches_nothing() {
    let desk = Desk::new().await;
    desk.campaign("over").await;
    finish(&desk.service, "over").await;
    let good = desk.write("good.csv", "id\na\n");
    let mine = desk.write("mine.csv", "id,of,mine\n");
    for (arguments, says) in [
        (format!("{good} --campaign ghost"), "reason: NOT_FOUND"),
        (format!("{good} --campaign over"), "reason: CAMPAIGN_FINISHED"),
        (format!("{good} --campaign spring --refused {mine}"), "holds no refused lines"),
        (format!("{good} --campaign spring --refused {good}"), "can't be read and hold the refused lines at once"),
        (desk.path("missing.csv").display().to_string() + " --campaign spring", "No such file"),
        (desk.folder.path().display().to_string() + " --campaign spring", "it is a folder"),
        (desk.write("empty.csv", "") + " --campaign spring", "it is empty"),
        (desk.write("wide.csv", "\u{feff}name;mail\u{1b}\n") + " --campaign spring", "split at `;`: name, mail\\u{1b}"),
        (desk.write("utf16.csv", b"n\0;\0i\0d\0") + " --campaign spring", "--encoding utf-16le"),
        (desk.write("book.csv", b"PK\x03\x04\x14\0") + " --campaign spring", "save the sheet as CSV"),
        (desk.write("cut.csv.gz", b"\x1f\x8b\x08\0\0") + " --campaign spring", "unexpected end of file"),
        (format!("--server http://127.0.0.1:1 {good} --campaign spring"), "can't reach the service"),
    ] {
        let output = desk.import(&arguments, 1).await;
        assert!(output.stderr.contains(says), "`{arguments}` says `{says}`: {}", output.stderr);
        assert_eq!(output.stdout, "", "`{arguments}` reports nothing");
        let file = arguments.split(' ').find(|word| word.starts_with('/')).expect("a file");
        assert!(output.stderr.contains(file), "`{arguments}` names the file: {}", output.stderr);
    }
    assert_eq!(fs::read_to_string(mine).unwrap(), "id,of,mine\n", "a file of somebody else stays");
    assert_eq!(leads_with_accounts(&desk.service, "spring").await, [""; 0]);
    assert!(!desk.is_complete("spring").await);
    let left: Vec<_> = fs::read_dir(desk.folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().contains("refused")), "{left:?}");
}

#[tokio::test]
async fn the_format_is_as_said_else_as_named_and_a_list_is_complete_only_when_asked_for() {
    let desk = Desk::new().await;
    for (number, (name, content, how)) in [
        ("a.CSV", "id\nx\n", ""),
        ("b.NdJson", "{\"id\":\"x\"}\n", ""),
        ("c.jsonl", "{\"id\":\"x\"}", ""),
        ("d.txt", "id\nx", " --format csv"),
        ("e.csv", "{\"id\":\"x\"}\n", " --format ndjson"),
        ("f.txt", "id\nx", ""),
        ("g.txt", "\n{\"id\":\"x\"}", ""),
        ("h.json", "[{\"id\":\"x\"}]", ""),
        ("i.json", "{\"id\":\"x\"}", ""),
        ("j", "[{\"id\":\"x\"}]", ""),
    ]
    .into_iter()
    .enumerate()
    {
        let campaign = format!("c{number}");
        desk.campaign(&campaign).await;
        let file = desk.write(name, content);
        let report = desk.report(&format!("{file} -c {campaign}{how}"), 0).await;
        let expected = json!({
            "file": file, "campaign": campaign, "added": 1, "existing": 0, "repeated": 0, "refused": 0,
            "ignoredColumns": [], "rounded": 0, "spanning": 0, "leadList": "OPEN",
        });
        assert_eq!(report, expected);
        assert_eq!(leads_with_accounts(&desk.service, &campaign).await, ["x/"]);
        assert!(!desk.is_complete(&campaign).await, "its completion was not declared");
    }
    add_leads(&desk.service, "spring", 1, None, false).await;
    let empty = desk.write("none.csv", "id\n\n");
    let said = desk.import(&format!("{empty} -c spring --complete"), 0).await.stdout;
    assert!(said.contains("no lead in the file\n") && said.ends_with("the lead list is complete\n"), "{said}");
    assert!(desk.is_complete("spring").await);

    let elsewhere = desk.path("elsewhere").display().to_string();
    let bad = desk.write("bad.csv", "id\n!\n");
    let report = desk.report(&format!("{bad} -c c0 --refused {elsewhere}"), 2).await;
    assert_eq!((&report["refusedFile"], &report["leadList"]), (&json!(elsewhere), &json!("OPEN")));
    let kept = fs::read_to_string(elsewhere).unwrap();
    assert!(kept.starts_with("line,reason,id\n2,id `!` must be"), "{kept}");
    assert!(!desk.path("bad.csv.refused.csv").exists());
}
