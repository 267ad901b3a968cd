//! The expected status of a resource, derived from its campaign independently of the controller's `plan`.
//!
//! [`compare`] reads every field. A field of the status or of the schema that nothing here reads is a difference, too.

use std::collections::BTreeSet;

use campaign_metrics::pb;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::schema;

/// The fields of a condition.
const CONDITION: [&str; 6] = ["lastTransitionTime", "message", "observedGeneration", "reason", "status", "type"];

/// Compares the status of an applied resource with its campaign, field by field. Returns the differences.
///
/// The generation must be the owner's. A campaign without owner fits any generation. Without a diagnosis, what the status
/// has of one is not compared.
pub fn compare(campaign: &pb::Campaign, diagnosis: Option<&pb::Diagnosis>, status: &Value) -> Vec<String> {
    let generation = match &campaign.owner {
        Some(owner) => json!(owner.generation),
        None => status["observedGeneration"].clone(),
    };
    let mut expected = fields(campaign);
    expected.push(("observedGeneration".into(), Some(generation.clone())));
    let of_diagnosis = diagnosed(&diagnosis.cloned().unwrap_or_default());
    let mut read: BTreeSet<String> = expected.iter().chain(&of_diagnosis).map(|(path, _)| path.clone()).collect();
    if diagnosis.is_some() {
        expected.extend(of_diagnosis);
    }
    let mut differences = Vec::new();
    for (path, expected) in &expected {
        let found = at(status, path);
        if found != expected.as_ref() {
            let said = |value: Option<&Value>| value.map_or("absent".to_owned(), Value::to_string);
            differences.push(format!("status.{path} is {}, must be {}", said(found), said(expected.as_ref())));
        }
    }
    conditions(campaign, status, &generation, &mut differences);
    read.extend(CONDITION.map(|name| format!("conditions[].{name}")));
    let mut there = schema::leaves("status");
    present("", status, &mut there);
    differences.extend(there.difference(&read).map(|path| format!("status.{path} is compared with nothing")));
    differences
}

/// Formats a ratio as a percentage that is 0 for none alone, and 100 for all alone.
#[expect(clippy::cast_precision_loss, reason = "counts of a test are small")]
pub fn percent(numerator: i64, denominator: i64) -> String {
    let rest = denominator - numerator;
    let percent = 100.0 * numerator as f64 / denominator as f64;
    match numerator.min(rest) {
        0 if rest == 0 => "100 %".to_owned(),
        0 => "0 %".to_owned(),
        rarer if 20_000 * rarer <= denominator => (if numerator < rest { "<0.01 %" } else { ">99.99 %" }).to_owned(),
        rarer if 100 * rarer <= denominator => format!("{percent:.2} %"),
        _ => format!("{percent:.1} %"),
    }
}

fn fields(campaign: &pb::Campaign) -> Vec<(String, Option<Value>)> {
    let leads = campaign.lead_counts.unwrap_or_default();
    let messages = campaign.message_counts.clone().unwrap_or_default();
    let mut fields = vec![
        ("state", word(campaign.state().as_str_name(), "CAMPAIGN_STATE_").map(Value::from)),
        ("finishReason", word(campaign.finish_reason().as_str_name(), "FINISH_REASON_").map(Value::from)),
        ("deliveryHealth", health(campaign).map(Value::from)),
        ("deliveryHealthCertain", health(campaign).map(|_| json!(campaign.delivery_health_certain))),
        ("deliveryHealthText", health(campaign).map(|health| json!(health + doubt(campaign)))),
        ("campaignUid", Some(json!(campaign.uid))),
        ("hold.placeTime", campaign.hold.as_ref().and_then(|hold| time(hold.place_time))),
        ("hold.reason", campaign.hold.as_ref().map(|hold| json!(hold.reason))),
        ("counts.sent", Some(json!(leads.sent))),
        ("counts.failed", Some(json!(leads.failed))),
        ("counts.pending", Some(json!(leads.pending))),
        ("counts.partial", Some(json!(leads.partial))),
        ("counts.total", Some(json!(leads.total))),
        ("messages.delivered", Some(json!(messages.delivered))),
        ("messages.failed", Some(json!(messages.failed))),
        ("messages.bounced", Some(json!(messages.bounced))),
        ("leadFacts.replied", Some(json!(messages.replied_leads))),
        ("leadFacts.converted", Some(json!(messages.converted_leads))),
        ("leadFacts.autoReplied", Some(json!(messages.auto_replied_leads))),
        ("leadFacts.optedOut", Some(json!(messages.opted_out_leads))),
        ("inFlight.claims", Some(json!(campaign.in_flight_claims))),
        ("inFlight.until", time(campaign.in_flight_until)),
        ("uncertainClaims", Some(json!(campaign.uncertain_claims))),
        ("nextChangeTime", time(campaign.next_change_time)),
        ("finishTime", time(campaign.finish_time)),
    ]
    .into_iter()
    .map(|(path, value)| (path.to_owned(), value))
    .collect::<Vec<_>>();
    for reason in (1..).map_while(|number| pb::FailureReason::try_from(number).ok()) {
        let name = word(reason.as_str_name(), "FAILURE_REASON_").expect("a reason has a name");
        let name = format!("messages.failures.{}{}", name[..1].to_lowercase(), &name[1..]);
        let counts = messages.failures.iter().filter(|count| count.reason() == reason).map(|count| count.count);
        fields.push((name, Some(json!(counts.sum::<i64>()))));
    }
    let progress = pb::Rate { numerator: leads.sent + leads.failed, denominator: leads.total, ratio: None };
    for (name, rate) in [
        ("progress", Some(progress)),
        ("delivery", campaign.delivery_rate),
        ("response", campaign.response_rate),
        ("conversion", campaign.conversion_rate),
    ] {
        fields.extend(share(name, rate));
    }
    fields
}

fn share(name: &str, rate: Option<pb::Rate>) -> [(String, Option<Value>); 3] {
    let rate = rate.filter(|rate| rate.denominator != 0);
    let percent = rate.map(|rate| json!(percent(rate.numerator, rate.denominator)));
    [
        (format!("{name}.percent"), percent),
        (format!("{name}.numerator"), rate.map(|rate| json!(rate.numerator))),
        (format!("{name}.denominator"), rate.map(|rate| json!(rate.denominator))),
    ]
}

fn diagnosed(diagnosis: &pb::Diagnosis) -> Vec<(String, Option<Value>)> {
    let rates = diagnosis.rates.iter().find(|rates| rates.age_days == 7);
    let finding = diagnosis.findings.first();
    let mut fields = vec![
        (
            "finding.kind".into(),
            finding.and_then(|one| word(one.kind().as_str_name(), "FINDING_KIND_")).map(Value::from),
        ),
        (
            "finding.severity".into(),
            finding.and_then(|one| word(one.severity().as_str_name(), "SEVERITY_")).map(Value::from),
        ),
        ("finding.summary".into(), finding.map(|one| json!(one.summary))),
    ];
    fields.extend(share("responseWithin7Days", rates.and_then(|rates| rates.response_rate)));
    fields.extend(share("conversionWithin7Days", rates.and_then(|rates| rates.conversion_rate)));
    fields
}

fn conditions(campaign: &pb::Campaign, status: &Value, generation: &Value, differences: &mut Vec<String>) {
    let deviates = campaign.hold.as_ref().map(|hold| hold.return_state() != pb::CampaignState::Paused);
    let applied = match (campaign.state(), deviates) {
        (pb::CampaignState::Finished, _) => ("True", "Finished"),
        (_, Some(true)) => ("False", "Held"),
        _ => ("True", "Applied"),
    };
    let mut reasons: Vec<pb::NotSendingReason> = campaign.not_sending_reasons().collect();
    reasons.sort_unstable();
    let blocked = reasons.first().and_then(|first| word(first.as_str_name(), "NOT_SENDING_REASON_"));
    let health = health(campaign);
    let mut expected = vec![
        ("Ready", applied.0, applied.1),
        ("Synced", applied.0, applied.1),
        ("Sending", if reasons.is_empty() { "True" } else { "False" }, blocked.as_deref().unwrap_or("Sending")),
        match health.as_deref() {
            None => ("DeliveryHealthy", "Unknown", "NoMessages"),
            Some("High") => ("DeliveryHealthy", "True", "High"),
            Some(other) => ("DeliveryHealthy", "False", other),
        },
    ];
    if deviates.is_some() {
        expected.insert(2, ("Held", "True", "Held"));
    }
    let found: Vec<&Value> = status["conditions"].as_array().into_iter().flatten().collect();
    let text = |condition: &Value, field: &str| condition[field].as_str().unwrap_or_default().to_owned();
    let said: Vec<_> = found.iter().map(|one| (text(one, "type"), text(one, "status"), text(one, "reason"))).collect();
    if said
        .iter()
        .map(|(kind, status, reason)| (kind.as_str(), status.as_str(), reason.as_str()))
        .ne(expected.iter().copied())
    {
        differences.push(format!("status.conditions are {said:?}, must be {expected:?}"));
    }
    for condition in found {
        let kind = text(condition, "type");
        if condition["observedGeneration"] != *generation {
            differences.push(format!("{kind} is of generation {}, not {generation}", condition["observedGeneration"]));
        }
        let since = text(condition, "lastTransitionTime").parse::<Timestamp>();
        if !since.is_ok_and(|since| since.subsec_nanosecond() == 0) {
            differences.push(format!("{kind} has no whole second of its last transition"));
        }
        let message = text(condition, "message");
        let parts = message.split("; ").filter(|part| !part.is_empty()).collect::<BTreeSet<_>>();
        if message.is_empty() || (kind == "Sending" && parts.len() != reasons.len().max(1)) {
            differences.push(format!("{kind} says `{message}`, must tell each of {reasons:?}"));
        }
    }
}

/// The name of an enum's value as Kubernetes writes it; `None` if it is unspecified.
fn word(name: &str, prefix: &str) -> Option<String> {
    let name = name.strip_prefix(prefix).expect("names of an enum have its prefix");
    let capital = |part: &str| part[..1].to_owned() + &part[1..].to_lowercase();
    (name != "UNSPECIFIED").then(|| name.split('_').map(capital).collect())
}

fn health(campaign: &pb::Campaign) -> Option<String> {
    word(campaign.delivery_health().as_str_name(), "DELIVERY_HEALTH_")
}

/// What follows a delivery health that is not certain.
pub fn doubt(campaign: &pb::Campaign) -> &'static str {
    if campaign.delivery_health_certain { "" } else { "?" }
}

fn time(time: Option<prost_types::Timestamp>) -> Option<Value> {
    time.map(|time| json!(Timestamp::from_second(time.seconds).expect("a time of this age").to_string()))
}

/// The value at a path; null is absent.
pub fn at<'a>(status: &'a Value, path: &str) -> Option<&'a Value> {
    let found = path.split('.').try_fold(status, |value, name| value.get(name))?;
    (!found.is_null()).then_some(found)
}

fn present(path: &str, value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (name, inner) in fields {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                present(&path, inner, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| present(&format!("{path}[]"), item, found)),
        Value::Null => {}
        _ => {
            found.insert(path.to_owned());
        }
    }
}
