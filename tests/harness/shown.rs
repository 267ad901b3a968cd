//! Compares the output of campaignctl with the API: JSON field by field from the descriptors, tables and details by the
//! lists of columns and labels below.
//!
//! Every comparison returns the differences in words. A column or label that is not listed is a difference, too.

pub mod reflect;
mod template;

use campaign_metrics::pb;
use campaignctl::view::{self, Document, Message, View};
use prost_reflect::{DynamicMessage, Kind, ReflectMessage as _, Value};
use serde_json::{Map, Value as Json, json};

pub use self::reflect::Described;
use self::reflect::{reflect, short, well_known};

/// What a table and the details of a resource show: each column or label with its [`template`].
pub trait Shown: Described + View {
    /// The columns of a table. An absent value is a dash.
    const CELLS: &'static [(&'static str, &'static str)];
    /// The labels of the details.
    const LINES: &'static [(&'static str, &'static str)];
}

/// A delivery rate with its health.
const DELIVERY: &str = "{delivery_rate.ratio|%} ({delivery_rate.numerator} of {delivery_rate.denominator}), \
                        {delivery_health}[{delivery_health_certain|=}|| (not certain yet: \
                        {delivery_rate.denominator|messages})]";

impl Shown for pb::Campaign {
    const CELLS: &'static [(&'static str, &'static str)] = &[
        ("CAMPAIGN", "{name|id}"),
        ("STATE", "{state}"),
        ("PROGRESS", "{progress_ratio|%}"),
        ("SENT", "{lead_counts.sent}"),
        ("FAILED", "{lead_counts.failed}"),
        ("PENDING", "{lead_counts.pending}"),
        ("PARTIAL", "{lead_counts.partial}"),
        ("TOTAL", "{lead_counts.total}"),
        ("DELIVERY", "{delivery_rate.ratio|%}"),
        ("HEALTH", "{delivery_health}[{delivery_health_certain|=}||?]"),
    ];
    const LINES: &'static [(&'static str, &'static str)] = &[
        ("Campaign", "{name}"),
        ("Display name", "{display_name}"),
        ("State", "{state}[ ({finish_reason})]"),
        ("Held", "since {hold.place_time}: {hold.reason} ({hold.return_state} when lifted)"),
        ("Managed by", "Kubernetes resource {owner.resource}"),
        ("Not sending", "{not_sending_reasons}"),
        ("Next change", "{next_change_time}"),
        ("Progress", "{progress_ratio|%}"),
        (
            "Leads",
            "{lead_counts.sent} sent + {lead_counts.failed} failed + {lead_counts.pending} pending + \
             {lead_counts.partial} partial = {lead_counts.total}, [{lead_list_complete|=list complete}||more may come]",
        ),
        (
            "Messages",
            "{message_counts.delivered} delivered, {message_counts.failed} failed, {message_counts.bounced} bounced\
             [ ({message_counts.failures})]",
        ),
        ("Delivery", DELIVERY),
        ("Response", "{response_rate.ratio|%} ({response_rate.numerator} of {response_rate.denominator})"),
        ("Conversion", "{conversion_rate.ratio|%} ({conversion_rate.numerator} of {conversion_rate.denominator})"),
        ("In flight", "{in_flight_claims}[ until {in_flight_until}]"),
        ("Uncertain", "{uncertain_claims}"),
        ("Steps", "[{steps|follow-ups}, {follow_up_delay|span} apart||{steps}]"),
        ("Accounts", "{accounts|id}"),
        ("Active hours", "[{active_hours.windows}||always] ({active_hours.time_zone})"),
        ("Daily limit", "{daily_limit}"),
        ("Claim expiry", "{claim_expiry_policy}"),
        ("Settle time", "{settle_seconds|span}"),
        ("Attribution", "{attribution_days}d"),
        ("Created", "{create_time}"),
        ("Finished", "{finish_time}"),
        ("Final since", "{finalized_time}"),
    ];
}

/// An account's messages and success, of its lifetime or of its last 30 days.
macro_rules! performance {
    ($of:literal) => {
        concat!(
            "{",
            $of,
            ".delivered} delivered, {",
            $of,
            ".failed} failed, {",
            $of,
            ".bounced} bounced[ ({",
            $of,
            ".failures})]; success [{",
            $of,
            ".success_rate.ratio|%}, {",
            $of,
            ".delivery_health}||-][{",
            $of,
            ".delivery_health_certain|=}||{",
            $of,
            ".success_rate.ratio|=} (not certain yet: {",
            $of,
            ".success_rate.denominator|messages})]"
        )
    };
}

impl Shown for pb::Account {
    const CELLS: &'static [(&'static str, &'static str)] = &[
        ("ACCOUNT", "{name|id}"),
        ("STATE", "{state}"),
        ("TODAY", "{reserved_today}"),
        ("DAILY LIMIT", "{daily_limit}"),
        ("ZONE", "{time_zone}"),
        ("SENT", "{lifetime.delivered}"),
        ("SENT 30 DAYS", "{last_30_days.delivered}"),
        ("SUCCESS", "{lifetime.success_rate.ratio|%}"),
        ("HEALTH", "{lifetime.delivery_health}[{lifetime.delivery_health_certain|=}||?]"),
        ("CAMPAIGNS", "{campaign_count}"),
    ];
    const LINES: &'static [(&'static str, &'static str)] = &[
        ("Account", "{name}"),
        ("Display name", "{display_name}"),
        ("State", "{state}"),
        ("Used today", "{reserved_today}[ of {daily_limit}||, no limit]"),
        ("Time zone", "{time_zone}"),
        ("Campaigns", "{campaign_count}"),
        ("Lifetime", performance!("lifetime")),
        ("Last 30 days", performance!("last_30_days")),
        ("Created", "{create_time}"),
    ];
}

/// The facts of a lead, each followed by a comma; the last comma is removed.
const STORY: &str = "[{step_results}, ][{replied|=replied, }][{converted|=converted, }][{auto_replied|=auto-replied, }]\
                     [{opted_out|=opted out, }]";

impl Shown for pb::Lead {
    const CELLS: &'static [(&'static str, &'static str)] = &[
        ("LEAD", "{name|id}"),
        ("STATUS", "{status}"),
        ("ACCOUNT", "{account|id}"),
        ("LAST ACTION", "{last_action_time}"),
        ("NEXT STEP", "{next_step|some}"),
        ("DUE", "{due_time}"),
        ("CLAIM", "{claim_state}"),
        ("FACTS", STORY),
    ];
    const LINES: &'static [(&'static str, &'static str)] = &[
        ("Lead", "{name}"),
        ("Status", "{status}"),
        ("Account", "{account|id}"),
        ("Last action", "{last_action_time}"),
        ("Next step", "{next_step|some}"),
        ("Due", "{due_time}"),
        ("Claim", "{claim_state}"),
        ("Facts", STORY),
    ];
}

impl Shown for pb::Claim {
    const CELLS: &'static [(&'static str, &'static str)] = &[
        ("CLAIM", "{claim_id}"),
        ("STATE", "{state}"),
        ("ACCOUNT", "{account|id}"),
        ("CAMPAIGN", "{campaign|id}"),
        ("LEAD", "{lead|id}"),
        ("STEP", "{step}"),
        ("UNTIL", "{expire_time}"),
        ("SEND KEY", "{send_key}"),
    ];
    const LINES: &'static [(&'static str, &'static str)] = &[
        ("Claim", "{claim_id}"),
        ("State", "{state}"),
        ("Account", "{account|id}"),
        ("Lead", "{lead}"),
        ("Step", "{step}"),
        ("Until", "{expire_time}"),
        ("Send key", "{send_key}"),
    ];
}

/// An outcome of a step, or of a lead.
const EVENT: &str = "[step {step|some} ]{kind|lower}[ ({reason})]";

impl Shown for pb::LeadOutcome {
    const CELLS: &'static [(&'static str, &'static str)] = &[
        ("OUTCOME", EVENT),
        ("TIME", "{time}"),
        ("RECEIVED", "{receive_time}"),
        ("ACCOUNT", "{account|id}"),
        ("VALUE", "{value_micros|units}"),
        ("TEXT", "{detail}"),
    ];
    const LINES: &'static [(&'static str, &'static str)] = &[
        ("Outcome", EVENT),
        ("Lead", "{lead}"),
        ("Time", "{time}"),
        ("Received", "{receive_time}"),
        ("Account", "{account|id}"),
        ("Value", "{value_micros|units}"),
        ("Text", "{detail}"),
    ];
}

impl Shown for pb::OptOut {
    const CELLS: &'static [(&'static str, &'static str)] = &[("LEAD", "{name|id}"), ("CREATED", "{create_time}")];
    const LINES: &'static [(&'static str, &'static str)] = &[("Lead", "{name|id}"), ("Created", "{create_time}")];
}

impl Shown for pb::WorkspaceTotals {
    const CELLS: &'static [(&'static str, &'static str)] = &[
        ("WORKSPACE", "{name|id}"),
        ("ACTIVE", "{active_campaigns}"),
        ("PAUSED", "{paused_campaigns}"),
        ("FINISHED", "{finished_campaigns}"),
        ("PROGRESS", "{progress_ratio|%}"),
        ("LEADS", "{lead_counts.total}"),
        ("DELIVERY", "{delivery_rate.ratio|%}"),
        ("HEALTH", "{delivery_health}[{delivery_health_certain|=}||?]"),
        ("RESPONSE", "{response_rate.ratio|%}"),
    ];
    const LINES: &'static [(&'static str, &'static str)] = &[
        ("Workspace", "{name|id}"),
        ("As of", "{as_of_time}"),
        ("Campaigns", "{active_campaigns} active, {paused_campaigns} paused, {finished_campaigns} finished"),
        ("Accounts", "{active_accounts} active, {suspended_accounts} suspended"),
        ("Progress", "{progress_ratio|%}"),
        (
            "Leads",
            "{lead_counts.sent} sent + {lead_counts.failed} failed + {lead_counts.pending} pending + \
             {lead_counts.partial} partial = {lead_counts.total}",
        ),
        (
            "Messages",
            "{message_counts.delivered} delivered, {message_counts.failed} failed, {message_counts.bounced} bounced\
             [ ({message_counts.failures})]",
        ),
        ("Delivery", DELIVERY),
        ("Response", "{response_rate.ratio|%} ({response_rate.numerator} of {response_rate.denominator})"),
        ("Conversion", "{conversion_rate.ratio|%} ({conversion_rate.numerator} of {conversion_rate.denominator})"),
    ];
}

/// Compares JSON with its message.
pub fn compare_json<M: Described>(json: &Json, message: &M) -> Vec<String> {
    let mut differences = Vec::new();
    differ(M::NAME, &object(&reflect(message)), json, &mut differences);
    differences
}

/// Compares a table with its messages.
pub fn compare_table<M: Shown>(text: &str, messages: &[M]) -> Vec<String> {
    let mut lines = text.lines().map(cells);
    let heads: Vec<&str> = M::CELLS.iter().map(|(head, _)| *head).collect();
    let shown_heads = lines.next().unwrap_or_default();
    if shown_heads != heads {
        return vec![format!("{}: the columns are {shown_heads:?}, those listed are {heads:?}", M::NAME)];
    }
    let shown: Vec<Vec<&str>> = lines.collect();
    if shown.len() != messages.len() {
        return vec![format!("{}: the table has {} lines for {} messages", M::NAME, shown.len(), messages.len())];
    }
    let mut differences = Vec::new();
    for (shown, message) in shown.iter().zip(messages) {
        let message = reflect(message);
        for (place, (head, template)) in M::CELLS.iter().enumerate() {
            let (expected, shown) = (render(&message, template), shown.get(place).copied().unwrap_or_default());
            let expected = expected.unwrap_or_else(|| "-".to_owned());
            if shown != expected {
                differences.push(format!("{}: {head} of {} is {shown}, not {expected}", M::NAME, name(&message)));
            }
        }
    }
    differences
}

/// Compares details with their message.
pub fn compare_details<M: Shown>(text: &str, message: &M) -> Vec<String> {
    let message = reflect(message);
    let lines = M::LINES.iter().filter_map(|(label, template)| Some((*label, render(&message, template)?)));
    let expected: Vec<(&str, String)> = lines.collect();
    // A line that is too long for a terminal goes on in the next one, indented.
    let text = text.lines().fold(String::new(), |text, line| match line.strip_prefix("  ") {
        Some(rest) => format!("{text} {}", rest.trim_start()),
        None => format!("{text}\n{line}"),
    });
    let shown: Vec<(&str, String)> = text
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(label, value)| (label, value.trim().to_owned()))
        .collect();
    let mut differences = Vec::new();
    for missing in expected.iter().filter(|line| !shown.contains(line)) {
        differences.push(format!("{}: no line says {missing:?} of {}", M::NAME, name(&message)));
    }
    for other in shown.iter().filter(|line| !expected.contains(line)) {
        differences.push(format!("{}: {other:?} is shown of {}", M::NAME, name(&message)));
    }
    if differences.is_empty() && shown != expected {
        differences.push(format!("{}: the lines of {} have another order", M::NAME, name(&message)));
    }
    differences
}

/// Compares everything that campaignctl prints about messages with the messages, in this process.
pub fn compare_views<M: Shown>(messages: &[M]) -> Vec<String> {
    let mut differences = compare_table(&view::table(messages).expect("a table"), messages);
    for message in messages {
        differences.extend(compare_json(&document(message), message));
        differences.extend(compare_details(&view::details(message), message));
    }
    differences
}

/// A message as campaignctl prints it with `-o json`.
pub fn document<M: Message>(message: &M) -> Json {
    serde_json::to_value(Document::new(message).expect("a message of the API")).expect("JSON")
}

/// Splits a line into cells, which are separated by two or more blanks.
fn cells(line: &str) -> Vec<&str> {
    line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect()
}

fn render(message: &DynamicMessage, template: &str) -> Option<String> {
    let text = template::render(message, template)?;
    Some(text.trim_end_matches(", ").to_owned()).filter(|text| !text.is_empty())
}

fn name(message: &DynamicMessage) -> String {
    let named =
        ["name", "claim_id", "lead"].into_iter().find(|name| message.descriptor().get_field_by_name(name).is_some());
    render(message, &format!("{{{}}}", named.expect("one of them"))).unwrap_or_default()
}

/// Renders a message as JSON by the rules of `campaignctl --help`: fields in lowerCamelCase, numbers as numbers, enum
/// values without prefix, times in RFC 3339, and no field for an absent value.
fn object(message: &DynamicMessage) -> Json {
    let mut fields = Map::new();
    for field in message.descriptor().fields() {
        let is_said = match field.kind() {
            _ if field.is_list() => true,
            _ if field.supports_presence() => message.has_field(&field),
            Kind::String | Kind::Enum(_) => message.has_field(&field),
            _ => true,
        };
        if is_said {
            fields.insert(field.json_name().to_owned(), value(&message.get_field(&field), &field.kind()));
        }
    }
    Json::Object(fields)
}

fn value(value: &Value, kind: &Kind) -> Json {
    match (value, kind) {
        (Value::List(values), _) => values.iter().map(|value| self::value(value, kind)).collect(),
        (Value::Message(message), _) => well_known(message).map_or_else(|| object(message), Json::String),
        (Value::EnumNumber(number), Kind::Enum(values)) => json!(short(values, *number)),
        (Value::String(text), _) => json!(text),
        (Value::Bool(holds), _) => json!(holds),
        (Value::I32(number), _) => json!(number),
        (Value::I64(number), _) => json!(number),
        (Value::F64(number), _) => json!(number),
        (other, _) => panic!("no JSON of {other:?} is known"),
    }
}

fn differ(path: &str, expected: &Json, shown: &Json, differences: &mut Vec<String>) {
    match (expected, shown) {
        (Json::Object(expected), Json::Object(shown)) => {
            for (name, expected) in expected {
                let path = format!("{path}.{name}");
                match shown.get(name) {
                    Some(shown) => differ(&path, expected, shown, differences),
                    None => differences.push(format!("{path} is missing, not {expected}")),
                }
            }
            let unknown = shown.iter().filter(|(name, _)| !expected.contains_key(*name));
            differences.extend(unknown.map(|(name, shown)| format!("{path}.{name} is {shown}, the API says nothing")));
        }
        (Json::Array(expected), Json::Array(shown)) if expected.len() == shown.len() => {
            for (place, (expected, shown)) in expected.iter().zip(shown).enumerate() {
                differ(&format!("{path}[{place}]"), expected, shown, differences);
            }
        }
        (Json::Number(expected), Json::Number(shown)) if close(expected.as_f64(), shown.as_f64()) => {}
        _ if expected == shown => {}
        _ => differences.push(format!("{path} is {shown}, not {expected}")),
    }
}

/// Returns whether two numbers are equal up to the last digit, which formatting may change.
fn close(one: Option<f64>, other: Option<f64>) -> bool {
    one.zip(other).is_some_and(|(one, other)| (one - other).abs() <= 1e-12 * one.abs())
}
