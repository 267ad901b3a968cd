//! The rules of the resource's definition, each with values at its edge; a rule that is not here fails a test.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::controller::schema;

/// A rule: where, what of it, what it takes, what it refuses, and what the refusal says.
pub struct Rule {
    pub at: &'static str,
    pub keyword: &'static str,
    pub fits: Vec<Value>,
    pub beyond: Vec<Value>,
    pub says: &'static str,
}

/// Keywords that refuse nothing, or whose rows are found elsewhere: `type` by the API server, `format` by the bounds.
const NEUTRAL: [&str; 7] =
    ["description", "type", "format", "nullable", "properties", "items", "x-kubernetes-list-map-keys"];

const RULE: &str = "x-kubernetes-validations[0]";
const ACCOUNT: &str = "must be the id of an account: 1 to 128 of A-Z";
const ZONE: &str = "must be an IANA time zone such as Europe/Berlin or UTC";
const START: &str = "must be a time HH:MM from 00:00 to 23:59, such as 09:00";
const END: &str = "must be a time HH:MM from 00:00 to 24:00, such as 17:30";
const DELAY: &str = "must be a whole number with the unit h, m or s, at most 8760h, a year; two days are 48h";
const LONG: &str = "may not be more than";
pub const SET: &str = "Duplicate value";
pub const ENUM: &str = "Unsupported value";
const LESS: &str = "should be less than or equal to";
const GREATER: &str = "should be greater than or equal to";

/// Rules about a spec by itself; `fits` and `beyond` are values of the field.
pub fn spec_rules() -> Vec<Rule> {
    let rule = |at, keyword, fits: Value, beyond: Value, says| {
        let list = |values: Value| values.as_array().expect("a list of values").clone();
        Rule { at, keyword, fits: list(fits), beyond: list(beyond), says }
    };
    let accounts = |count: usize| (0..count).map(|number| format!("a{number}")).collect::<Vec<_>>();
    let windows = |count: usize| vec![json!({"startTime": "09:00", "endTime": "17:30"}); count];
    let days = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
    let eight = days.iter().chain(&days[..1]).collect::<Vec<_>>();
    let text = |length: usize| "2".repeat(length);
    let times = ["9:00", "09:0", "24:01", "29:00", "09:60", "09-00", "ab:cd", "9:00 AM", ""];
    let window = "activeHours.windows[]";
    vec![
        rule(
            "accounts",
            "maxItems",
            json!([[], accounts(1000)]),
            json!([accounts(1001)]),
            "must have at most 1000 items",
        ),
        rule("accounts", "x-kubernetes-list-type", json!([["a", "A"]]), json!([["a", "a"]]), SET),
        rule("accounts[]", "maxLength", json!(["a".repeat(128)]), json!(["a".repeat(129)]), LONG),
        rule("accounts[]", RULE, json!(["a", "aZ09._~@+-"]), json!(["", "a b", "a/b", "a:b", "é", "a\n"]), ACCOUNT),
        rule("activeHours.timeZone", "maxLength", json!(["Z".repeat(64)]), json!([text(65)]), LONG),
        rule(
            "activeHours.timeZone",
            RULE,
            json!(["UTC", "Etc/GMT+12", "America/North_Dakota/New_Salem", "America/Port-au-Prince"]),
            json!(["../etc", "/UTC", "UTC/", "1/2", "a/b/c/d", "Europe Berlin", ""]),
            ZONE,
        ),
        rule("activeHours.windows", "maxItems", json!([[], windows(32)]), json!([windows(33)]), "at most 32 items"),
        rule(
            window,
            "required",
            json!([{"startTime": "22:00", "endTime": "02:00"}]),
            json!([{"startTime": "09:00"}, {"endTime": "17:00"}]),
            "Required value",
        ),
        rule(
            window,
            RULE,
            json!([{"startTime": "00:00", "endTime": "24:00"}, {"startTime": "09:00", "endTime": "09:01"}]),
            json!([{"startTime": "09:00", "endTime": "09:00"}, {"startTime": "00:00", "endTime": "00:00"}]),
            "the window is empty; for a whole day use 00:00 to 24:00",
        ),
        rule("activeHours.windows[].days", "maxItems", json!([[], days]), json!([eight]), "must have at most 7 items"),
        rule(
            "activeHours.windows[].days",
            "x-kubernetes-list-type",
            json!([["Monday", "Sunday"]]),
            json!([["Monday", "Monday"]]),
            SET,
        ),
        rule("activeHours.windows[].days[]", "enum", json!(days), json!(["monday", "Mon", ""]), ENUM),
        rule("activeHours.windows[].startTime", "maxLength", json!(["23:59"]), json!([text(65)]), LONG),
        rule("activeHours.windows[].startTime", RULE, json!(["00:00", "19:59", "23:59"]), json!(times), START),
        rule("activeHours.windows[].startTime", RULE, json!([]), json!(["24:00", text(64)]), START),
        rule("activeHours.windows[].endTime", "maxLength", json!(["24:00"]), json!([text(65)]), LONG),
        rule("activeHours.windows[].endTime", RULE, json!(["00:00", "19:59", "23:59", "24:00"]), json!(times), END),
        rule("adoptionPolicy", "enum", json!(["IfUnowned", "Never", "Always"]), json!(["Sometimes", "never"]), ENUM),
        rule("attributionDays", "minimum", json!([0]), json!([-1]), GREATER),
        rule("attributionDays", "maximum", json!([365]), json!([366]), LESS),
        rule("claimExpiryPolicy", "enum", json!(["Hold", "Retry"]), json!(["Drop", "hold"]), ENUM),
        rule("dailyLimit", "minimum", json!([0, null]), json!([-1]), GREATER),
        rule("dailyLimit", "maximum", json!([1_000_000_000]), json!([1_000_000_001]), LESS),
        rule("deletionPolicy", "enum", json!(["Orphan", "Delete"]), json!(["Keep", "delete"]), ENUM),
        rule("displayName", "maxLength", json!(["é".repeat(256), "", null]), json!(["n".repeat(257)]), LONG),
        rule("followUpDelay", "maxLength", json!(["31536000s"]), json!([text(65)]), LONG),
        rule(
            "followUpDelay",
            RULE,
            json!(["0s", "0h", "90m", "8759h", "8760h", "525600m", "31536000s"]),
            json!([
                "soon",
                "",
                "h",
                "2d",
                "-1h",
                "1.5h",
                "1h30m",
                "01h",
                "1H",
                "8761h",
                "525601m",
                "31536001s",
                text(64)
            ]),
            DELAY,
        ),
        rule("settleSeconds", "minimum", json!([0]), json!([-1]), GREATER),
        rule("settleSeconds", "maximum", json!([2_592_000]), json!([2_592_001]), LESS),
        rule("state", "enum", json!(["Active", "Paused", "Finished"]), json!(["Sleeping", "active", ""]), ENUM),
        rule("steps", "minimum", json!([1]), json!([0]), GREATER),
        rule("steps", "maximum", json!([16]), json!([17]), LESS),
    ]
}

/// Rules about a change of a field: from a value, the values that may follow, those that may not, and what is said then.
pub fn changes() -> Vec<(&'static str, Value, Value, Value, &'static str)> {
    let finished = "a finished campaign stays finished; create another one";
    vec![
        ("state", json!("Finished"), json!(["Finished"]), json!(["Active", "Paused"]), finished),
        ("state", json!("Active"), json!(["Active", "Paused", "Finished"]), json!([]), finished),
        ("state", json!("Paused"), json!(["Active", "Paused", "Finished"]), json!([]), finished),
        (
            "steps",
            json!(2),
            json!([2]),
            json!([1, 3]),
            "steps are fixed when the campaign is created; create another one",
        ),
        ("leadListComplete", json!(true), json!([true]), json!([false]), "a lead list that is complete stays complete"),
        (
            "leadListComplete",
            json!(false),
            json!([false, true]),
            json!([]),
            "a lead list that is complete stays complete",
        ),
    ]
}

/// Every default of a spec; inside of active hours it is that of a window which says as little as it may.
pub fn defaults() -> Vec<(&'static str, Value)> {
    vec![
        ("accounts", json!([])),
        ("activeHours.timeZone", json!("UTC")),
        ("activeHours.windows", json!([])),
        ("activeHours.windows[].days", json!([])),
        ("adoptionPolicy", json!("IfUnowned")),
        ("attributionDays", json!(30)),
        ("claimExpiryPolicy", json!("Hold")),
        ("deletionPolicy", json!("Orphan")),
        ("followUpDelay", json!("24h")),
        ("leadListComplete", json!(false)),
        ("settleSeconds", json!(604_800)),
        ("state", json!("Active")),
        ("steps", json!(1)),
    ]
}

/// Rules about a status, which only the controller writes.
const STATUS: [&str; 13] = [
    "conditions default",
    "conditions maxItems",
    "conditions x-kubernetes-list-type",
    "deliveryHealth enum",
    "deliveryHealthText maxLength",
    "finding.kind enum",
    "finding.severity enum",
    "finding.summary maxLength",
    "finishReason enum",
    "hold.reason maxLength",
    "messages.failures default",
    "state enum",
    // What a share, a count, a condition is made of is all there, or it is not written.
    "required",
];

/// The rules of the schema, as the tables name them.
fn rules_of(part: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (path, node) in schema::nodes(part) {
        for (keyword, value) in node.as_object().expect("a schema") {
            match keyword.as_str() {
                neutral if NEUTRAL.contains(&neutral) => {}
                "x-kubernetes-validations" => {
                    let rules = 0..value.as_array().expect("a list of rules").len();
                    found.extend(rules.map(|number| format!("{path} {keyword}[{number}]")));
                }
                "required" if part == "status" => drop(found.insert("required".to_owned())),
                "required"
                | "default"
                | "minimum"
                | "maximum"
                | "maxLength"
                | "maxItems"
                | "enum"
                | "x-kubernetes-list-type" => drop(found.insert(format!("{path} {keyword}"))),
                unknown => panic!("{part}.{path} has the keyword {unknown}, which no test knows"),
            }
        }
    }
    found
}

#[test]
fn every_rule_of_the_definition_has_a_row_here() {
    let mut known: BTreeSet<String> = spec_rules().iter().map(|rule| format!("{} {}", rule.at, rule.keyword)).collect();
    known.extend(changes().iter().map(|change| format!("{} x-kubernetes-validations[0]", change.0)));
    known.extend(defaults().iter().map(|(path, _)| format!("{path} default")));
    assert_eq!(known, rules_of("spec"), "rules of a spec with a row here (left), in the definition (right)");
    assert_eq!(BTreeSet::from(STATUS.map(str::to_owned)), rules_of("status"), "rules of a status");
}
