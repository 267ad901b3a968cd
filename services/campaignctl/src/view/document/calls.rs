//! Every call of the API has a command that makes it, and every field of its response is in what `-o json` prints, or a
//! reason says why not.

use std::{collections::BTreeSet, fs, path::Path};

use clap::CommandFactory as _;
use prost_reflect::{DynamicMessage, Kind, MessageDescriptor, MethodDescriptor, Value};

use super::{Document, POOL, SHOWN, well_known};
use crate::args::Args;

/// How campaignctl makes a call.
enum Call {
    /// This command makes it, and its JSON is the response.
    Whole(&'static str),
    /// This command makes it, and its JSON is the list in this field of the response.
    Items(&'static str, &'static str),
    /// This command makes it, and prints a report with these fields of the response.
    Report(&'static str, &'static [&'static str]),
    /// No command makes it.
    Never,
}

use Call::{Items, Never, Report, Whole};

const CALLS: &[(&str, Call)] = &[
    ("CreateCampaign", Whole("campaigns create")),
    ("GetCampaign", Whole("campaigns get")),
    ("ListCampaigns", Items("campaigns list", "campaigns")),
    ("UpdateCampaign", Whole("campaigns update")),
    ("DeleteCampaign", Report("campaigns delete", &[])),
    ("PauseCampaign", Whole("campaigns pause")),
    ("ResumeCampaign", Whole("campaigns resume")),
    ("FinishCampaign", Whole("campaigns finish")),
    ("ApplyCampaign", Never),
    ("OrphanCampaign", Whole("campaigns orphan")),
    ("WatchCampaigns", Whole("watch")),
    ("CreateAccount", Whole("accounts create")),
    ("GetAccount", Whole("accounts get")),
    ("ListAccounts", Items("accounts list", "accounts")),
    ("UpdateAccount", Whole("accounts update")),
    ("DeleteAccount", Report("accounts delete", &[])),
    ("SuspendAccount", Whole("accounts suspend")),
    ("ReinstateAccount", Whole("accounts reinstate")),
    ("AddLeads", Report("leads import", &[])),
    ("GetLead", Whole("leads get")),
    ("ListLeads", Items("leads list", "leads")),
    ("ListLeadOutcomes", Items("leads get", "outcomes")),
    ("ReassignLeads", Report("leads reassign", &["reassigned_count"])),
    ("DeleteLead", Report("leads delete", &[])),
    ("ExportLeads", Items("leads export", "leads")),
    ("ExportOutcomes", Items("leads export", "outcomes")),
    ("ClaimSends", Never),
    ("ListClaims", Items("claims list", "claims")),
    ("RenewClaims", Never),
    ("ReleaseClaims", Never),
    ("ResolveClaims", Report("claims resolve", &["resolved_count", "not_uncertain_claim_ids"])),
    ("ReportOutcomes", Never),
    ("StreamOutcomes", Never),
    ("ListOptOuts", Items("opt-outs list", "opt_outs")),
    ("AddOptOuts", Report("opt-outs add", &["added_count"])),
    ("DeleteOptOut", Report("opt-outs delete", &[])),
    ("QueryCampaignHistory", Whole("campaigns history")),
    ("QueryAccountHistory", Whole("accounts history")),
    ("ListCampaignAccounts", Whole("campaigns accounts")),
    ("GetWorkspaceTotals", Whole("workspace totals")),
    ("DiagnoseCampaign", Whole("campaigns diagnose")),
    ("DiagnoseAccount", Whole("accounts diagnose")),
    ("CompareCampaigns", Whole("campaigns compare")),
];

/// Fields of responses that no JSON has under their name, and why. Each is a field that the tests below look for.
const ELSEWHERE: &[(&str, &str)] = &[
    ("next_page_token", "the command reads all pages"),
    ("AddLeadsResponse.added_count", "`added` is the sum over the streams of an import"),
    ("AddLeadsResponse.existing_count", "`existing` and `repeated` are, told apart"),
    ("AddLeadsResponse.refused_count", "`refused` also has the lines that no call was made for"),
    ("AddLeadsResponse.refused", "the file that `refusedFile` names has them with their lines"),
    ("ReassignLeadsResponse.more", "the command calls until it is false"),
    ("ExportLeadsResponse.as_of_time", "a line is a lead; the closing sentence has the moment"),
    ("ExportLeadsResponse.lead_counts", "a line is a lead; `campaigns get` counts"),
    ("ExportOutcomesResponse.as_of_time", "a line is an outcome; the closing sentence has the moment"),
    ("ExportOutcomesResponse.lead_counts", "a line is an outcome; `campaigns get` counts"),
];

fn methods() -> Vec<MethodDescriptor> {
    let pool = POOL.as_ref().expect("the descriptors are well formed");
    let ours = pool.services().filter(|service| service.full_name().starts_with("campaign_metrics."));
    ours.flat_map(|service| service.methods().collect::<Vec<_>>()).collect()
}

fn call(method: &MethodDescriptor) -> &'static Call {
    let found: Vec<_> = CALLS.iter().filter(|(name, _)| *name == method.name()).collect();
    assert_eq!(found.len(), 1, "{} has one row in CALLS: give it a command, or say why not", method.name());
    &found[0].1
}

/// All source files of the crate but this one.
fn sources() -> String {
    let mut text = String::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder of the crate") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if !path.ends_with("document/calls.rs") {
                text += &fs::read_to_string(path).expect("a source file");
            }
        }
    }
    text
}

/// `CreateCampaign` as the generated clients spell it: `create_campaign`.
fn snake(name: &str) -> String {
    let lower =
        |letter: char| if letter.is_uppercase() { format!("_{}", letter.to_lowercase()) } else { letter.into() };
    name.chars().map(lower).collect::<String>().trim_start_matches('_').to_owned()
}

#[test]
fn every_call_of_the_api_has_a_command_that_makes_it() {
    let (methods, sources) = (methods(), sources());
    let names: BTreeSet<&str> = methods.iter().map(MethodDescriptor::name).collect();
    for (name, _) in CALLS {
        assert!(names.contains(name), "the API has no {name} any more");
    }
    for method in &methods {
        let makes_it = sources.contains(&format!(".{}(", snake(method.name())));
        let command = match call(method) {
            Whole(command) | Items(command, _) | Report(command, _) => command,
            Never => {
                assert!(!makes_it, "{} is made by a command", method.name());
                continue;
            }
        };
        assert!(makes_it, "no command makes {}", method.name());
        let mut found = &Args::command();
        for word in command.split(' ') {
            found = found.find_subcommand(word).unwrap_or_else(|| panic!("there is no command `{command}`"));
        }
    }
}

#[test]
fn the_api_page_lists_the_calls_that_no_command_makes() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/api.md")).expect("the page");
    let section = page.split("\n## At a terminal\n").nth(1).and_then(|rest| rest.split("\n## ").next());
    let listed: BTreeSet<&str> = section
        .expect("the section")
        .split("- `")
        .skip(1)
        .flat_map(|item| {
            let calls = item.split(':').next().unwrap_or_default();
            calls.split('`').filter(|word| word.chars().next().is_some_and(char::is_alphabetic) && !word.contains(' '))
        })
        .collect();
    let expected: BTreeSet<&str> =
        CALLS.iter().filter(|(_, call)| matches!(call, Never)).map(|(name, _)| *name).collect();
    assert_eq!(listed, expected);
}

/// A message with every field set, each list with one item.
fn filled(descriptor: &MessageDescriptor) -> DynamicMessage {
    let mut message = DynamicMessage::new(descriptor.clone());
    for field in descriptor.fields() {
        let value = match field.kind() {
            Kind::Bool => Value::Bool(true),
            Kind::Int32 => Value::I32(7),
            Kind::Int64 => Value::I64(7),
            Kind::Double => Value::F64(0.5),
            Kind::String => Value::String("x".to_owned()),
            Kind::Enum(_) => Value::EnumNumber(1),
            Kind::Message(inner) => Value::Message(filled(&inner)),
            other => panic!("no field of the API is {other:?} yet"),
        };
        let value = if field.is_list() { Value::List(vec![value]) } else { value };
        // Of a oneof the last one stays, so those are set apart.
        if field.containing_oneof().is_none_or(|oneof| oneof.is_synthetic()) {
            message.set_field(&field, value);
        }
    }
    message
}

/// The fields of a message that its JSON lacks.
fn lacking(message: &DynamicMessage, json: &serde_json::Value, path: &str, found: &mut Vec<String>) {
    for (field, value) in message.fields() {
        let path = format!("{path}.{}", field.name());
        let Some(shown) = json.get(field.json_name()) else {
            found.push(path);
            continue;
        };
        let (value, shown) = match value {
            Value::List(items) => (&items[0], &shown[0]),
            value => (value, shown),
        };
        match value {
            Value::Message(inner) if well_known(inner).is_none() => lacking(inner, shown, &path, found),
            _ => assert!(!shown.is_null(), "{path} has a value"),
        }
    }
}

/// The fields that a command's JSON lacks although the message is shown by its descriptor.
fn lacking_of(descriptor: &MessageDescriptor) -> Vec<String> {
    assert!(SHOWN.contains(&descriptor.full_name()), "{} is shown by its descriptor", descriptor.full_name());
    let mut messages = vec![filled(descriptor)];
    // Each member of a oneof in a message of its own.
    for field in
        descriptor.oneofs().filter(|oneof| !oneof.is_synthetic()).flat_map(|oneof| oneof.fields().collect::<Vec<_>>())
    {
        let mut message = DynamicMessage::new(descriptor.clone());
        let value = match field.kind() {
            Kind::Message(inner) => Value::Message(filled(&inner)),
            _ => Value::String("x".to_owned()),
        };
        message.set_field(&field, value);
        messages.push(message);
    }
    let mut found = Vec::new();
    for message in messages {
        let json = serde_json::to_value(Document(message.clone())).expect("JSON");
        lacking(&message, &json, descriptor.name(), &mut found);
    }
    found
}

#[test]
fn json_has_every_field_of_every_response_or_a_reason_why_not() {
    let sources = sources();
    let mut needed = BTreeSet::new();
    let mut elsewhere = |path: String| {
        let of = |(known, _): &&(&str, &str)| path == *known || path.ends_with(&format!(".{known}"));
        let found = ELSEWHERE.iter().find(of);
        let (known, reason) = found.unwrap_or_else(|| panic!("no JSON has {path}: print it, or say why not"));
        assert!(!reason.is_empty());
        needed.insert(*known);
    };
    for method in methods() {
        let response = method.output();
        let path = |name: &str| format!("{}.{name}", response.name());
        match call(&method) {
            Never => {}
            Whole(_) => assert_eq!(lacking_of(&response), [""; 0], "{}", method.name()),
            Items(_, list) => {
                let field = response.get_field_by_name(list).expect("the list");
                let Kind::Message(item) = field.kind() else { panic!("{list} has messages") };
                assert_eq!(lacking_of(&item), [""; 0], "{}", method.name());
                let others = response.fields().filter(|field| field.name() != *list);
                others.for_each(|field| elsewhere(path(field.name())));
            }
            Report(_, fields) => {
                for field in response.fields() {
                    if fields.contains(&field.name()) {
                        let key = format!("\"{}\"", field.json_name());
                        assert!(sources.contains(&key), "the report of {} has {key}", method.name());
                    } else {
                        elsewhere(path(field.name()));
                    }
                }
            }
        }
    }
    let known: BTreeSet<_> = ELSEWHERE.iter().map(|(known, _)| *known).collect();
    assert_eq!(needed, known, "each reason is needed");
}
