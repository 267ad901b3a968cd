//! Messages of the API as JSON, NDJSON and CSV, by their descriptors. So every field is in it, also one that is added
//! to the contract later.
//!
//! The JSON fields are those of the API in lowerCamelCase. A field is absent when the API leaves it unset. Unlike in
//! the JSON format of protobuf, counts are numbers and enum values have no prefix, which suits `jq` and shell scripts.
//! CSV has one column for each field, named by its path in JSON. What is a list in JSON needs a rule there:
//! [`Document::cells`] has them.

use std::sync::LazyLock;

use anyhow::{Context as _, anyhow};
use campaign_metrics::{FILE_DESCRIPTOR_SET, pb};
use prost_reflect::{
    DescriptorPool, DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor, ReflectMessage as _,
    Value,
};
use serde::{
    Serialize, Serializer,
    ser::{SerializeMap as _, SerializeSeq as _},
};

use super::format::{duration, time};

/// The descriptors of the API.
static POOL: LazyLock<Result<DescriptorPool, String>> =
    LazyLock::new(|| DescriptorPool::decode(FILE_DESCRIPTOR_SET).map_err(|error| error.to_string()));

/// Ages, in days, at which CSV sums up the lists by age.
const AGES: [usize; 5] = [1, 3, 7, 14, 30];

/// A message whose descriptor is known by its name.
pub trait Message: prost::Message + Default {
    /// Its full name.
    const MESSAGE: &'static str;
}

macro_rules! messages {
    ($($message:ident),* $(,)?) => {
        $(impl Message for pb::$message {
            const MESSAGE: &'static str = concat!("campaign_metrics.v1.", stringify!($message));
        })*

        /// The messages that commands show.
        #[cfg(test)]
        const SHOWN: &[&str] = &[$(<pb::$message as Message>::MESSAGE),*];
    };
}
messages!(
    Account,
    Campaign,
    CampaignAccount,
    CampaignComparison,
    Claim,
    ComparedCampaign,
    Diagnosis,
    Finding,
    HistoryDay,
    Lead,
    LeadOutcome,
    ListCampaignAccountsResponse,
    OptOut,
    QueryAccountHistoryResponse,
    QueryCampaignHistoryResponse,
    WatchCampaignsResponse,
    WorkspaceTotals,
);

/// A message with its descriptor. It serializes as described above.
#[derive(Debug, Clone)]
pub struct Document(DynamicMessage);

impl Document {
    /// Wraps a message.
    pub fn new<M: Message>(message: &M) -> anyhow::Result<Self> {
        let pool = POOL.as_ref().map_err(|error| anyhow!("the descriptors of the API are broken: {error}"))?;
        let descriptor = pool.get_message_by_name(M::MESSAGE);
        let mut dynamic =
            DynamicMessage::new(descriptor.with_context(|| format!("the API has no message {}", M::MESSAGE))?);
        dynamic.transcode_from(message)?;
        Ok(Self(dynamic))
    }

    /// Returns the cells of its row in CSV, each with the name of its column. All messages of a type have the same
    /// columns.
    ///
    /// A list of values is one cell, with semicolons between them. A list whose items differ by an enum, such as
    /// failures by reason, has columns for each value: `failures.OTHER`. A list of leads by age has columns for the
    /// sums within 1, 3, 7, 14 and 30 days. Any other list is one cell with JSON.
    pub fn cells(&self) -> anyhow::Result<Vec<(String, String)>> {
        let mut cells = Vec::new();
        flatten(&self.0.descriptor(), Some(&self.0), "", &mut cells)?;
        Ok(cells)
    }
}

impl Serialize for Document {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for field in self.0.descriptor().fields() {
            let value = self.0.get_field(&field);
            if is_said(&self.0, &field) {
                map.serialize_entry(field.json_name(), &Node(&value, &field.kind()))?;
            }
        }
        map.end()
    }
}

/// Whether JSON has a field: lists and plain numbers always, texts and enum values unless they are empty.
fn is_said(message: &DynamicMessage, field: &FieldDescriptor) -> bool {
    let has_empty = matches!(field.kind(), Kind::String | Kind::Enum(_)) && !field.is_list();
    message.has_field(field) || !(field.supports_presence() || has_empty)
}

/// A value of a field.
struct Node<'a>(&'a Value, &'a Kind);

impl Serialize for Node<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match (self.0, self.1) {
            (Value::List(items), kind) => {
                let mut list = serializer.serialize_seq(None)?;
                for item in items {
                    list.serialize_element(&Node(item, kind))?;
                }
                list.end()
            }
            (Value::Message(message), _) => match well_known(message) {
                Some(text) => serializer.serialize_str(&text),
                None => Document(message.clone()).serialize(serializer),
            },
            (Value::EnumNumber(number), Kind::Enum(values)) => short(values, *number).serialize(serializer),
            (Value::Bool(holds), _) => serializer.serialize_bool(*holds),
            (Value::I32(number), _) => serializer.serialize_i32(*number),
            (Value::I64(number), _) => serializer.serialize_i64(*number),
            (Value::F64(number), _) => serializer.serialize_f64(*number),
            (Value::String(text), _) => serializer.serialize_str(text),
            (other, _) => Err(serde::ser::Error::custom(format!("no field of the API was a {other:?} so far"))),
        }
    }
}

/// An enum value without the prefix that all values of its enum have; `None` for one that is not known here.
fn short(values: &EnumDescriptor, number: i32) -> Option<String> {
    let zero = values.get_value(0)?;
    let prefix = zero.name().strip_suffix("UNSPECIFIED")?;
    Some(values.get_value(number)?.name().strip_prefix(prefix)?.to_owned())
}

/// Renders a message that is a single value.
fn well_known(message: &DynamicMessage) -> Option<String> {
    match message.descriptor().full_name() {
        "google.protobuf.Timestamp" => time(Some(&message.transcode_to().ok()?)),
        "google.protobuf.Duration" => Some(duration(&message.transcode_to().ok()?)),
        _ => None,
    }
}

/// Adds the cells of a message. An absent message has the same columns, all empty.
fn flatten(
    descriptor: &MessageDescriptor,
    message: Option<&DynamicMessage>,
    prefix: &str,
    cells: &mut Vec<(String, String)>,
) -> anyhow::Result<()> {
    for field in descriptor.fields() {
        let name = format!("{prefix}{}", field.json_name());
        let value = message.filter(|message| is_said(message, &field)).map(|message| message.get_field(&field));
        let items = value.as_deref().and_then(Value::as_list).unwrap_or_default();
        match field.kind() {
            Kind::Message(inner) if field.is_list() => match key(&inner) {
                Some((key, values)) => flatten_by_key(&inner, &key, &values, items, &name, cells)?,
                None if items.is_empty() => cells.push((name, String::new())),
                None => cells.push((name, serde_json::to_string(&Node(&Value::List(items.to_vec()), &field.kind()))?)),
            },
            Kind::Message(inner) if well_known(&DynamicMessage::new(inner.clone())).is_none() => {
                flatten(&inner, value.as_deref().and_then(Value::as_message), &format!("{name}."), cells)?;
            }
            _ if field.name().ends_with("_by_age") => {
                let within = |days: usize| items.iter().take(days + 1).filter_map(Value::as_i64).sum::<i64>();
                let counts = name.strip_suffix("ByAge").unwrap_or(&name);
                let cell = |days| (format!("{counts}Within{days}Days"), within(days).to_string());
                cells.extend(AGES.map(cell));
            }
            kind if field.is_list() => {
                let texts: Vec<String> = items.iter().map(|item| text(item, &kind)).collect();
                cells.push((name, texts.join(";")));
            }
            kind => cells.push((name, value.map(|value| text(&value, &kind)).unwrap_or_default())),
        }
    }
    Ok(())
}

/// The field by which the items of a list differ, if it is their first and an enum.
fn key(item: &MessageDescriptor) -> Option<(FieldDescriptor, EnumDescriptor)> {
    let first = item.fields().next()?;
    match first.kind() {
        Kind::Enum(values) if !first.is_list() => Some((first, values)),
        _ => None,
    }
}

/// Adds the cells of a list whose items differ by an enum. A value without an item has zeros.
fn flatten_by_key(
    item: &MessageDescriptor,
    key: &FieldDescriptor,
    values: &EnumDescriptor,
    items: &[Value],
    name: &str,
    cells: &mut Vec<(String, String)>,
) -> anyhow::Result<()> {
    let none = DynamicMessage::new(item.clone());
    for value in values.values().filter(|value| value.number() != 0) {
        let is_this = |item: &&DynamicMessage| item.get_field(key).as_enum_number() == Some(value.number());
        let found = items.iter().filter_map(Value::as_message).find(is_this).unwrap_or(&none);
        let mut own = Vec::new();
        flatten(item, Some(found), "", &mut own)?;
        let name = format!("{name}.{}", short(values, value.number()).unwrap_or_default());
        // The first cell is the key itself. A single other one needs no name of its own.
        match &own[1..] {
            [(_, cell)] => cells.push((name, cell.clone())),
            others => cells.extend(others.iter().map(|(field, cell)| (format!("{name}.{field}"), cell.clone()))),
        }
    }
    Ok(())
}

/// Renders a single value in a cell.
fn text(value: &Value, kind: &Kind) -> String {
    match (value, kind) {
        (Value::String(text), _) => text.clone(),
        (Value::EnumNumber(number), Kind::Enum(values)) => short(values, *number).unwrap_or_default(),
        (Value::Message(message), _) => well_known(message).unwrap_or_default(),
        (Value::Bool(holds), _) => holds.to_string(),
        (Value::I32(number), _) => number.to_string(),
        (Value::I64(number), _) => number.to_string(),
        (Value::F64(number), _) => number.to_string(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod calls;

#[cfg(test)]
mod tests {
    use super::*;

    fn day() -> pb::HistoryDay {
        let count = |reason: pb::FailureReason, count| pb::ReasonCount { reason: reason.into(), count };
        pb::HistoryDay {
            day: "2026-03-02".into(),
            account: "workspaces/acme/accounts/ann".into(),
            counts: Some(pb::HistoryCounts {
                delivered: 480,
                failed: vec![count(pb::FailureReason::AccountIssue, 7), count(pb::FailureReason::Other, 5)],
                bounced: vec![count(pb::FailureReason::InvalidLead, 3)],
                contacted_leads: 300,
                replied_leads_by_age: (0..31).collect(),
                converted_leads_by_age: Vec::new(),
            }),
        }
    }

    fn row<M: Message>(message: &M) -> Vec<(String, String)> {
        Document::new(message).unwrap().cells().unwrap()
    }

    fn cell(row: &[(String, String)], column: &str) -> String {
        let found: Vec<_> = row.iter().filter(|(name, _)| name == column).collect();
        assert_eq!(found.len(), 1, "{column} in {row:?}");
        found[0].1.clone()
    }

    #[test]
    fn json_keeps_the_order_of_the_contract_and_leaves_out_what_is_unset() {
        let json = serde_json::to_string(&Document::new(&day()).unwrap()).unwrap();
        let begin = "{\"day\":\"2026-03-02\",\"account\":\"workspaces/acme/accounts/ann\",\"counts\":{\"delivered\":480,\
                     \"failed\":[{\"reason\":\"ACCOUNT_ISSUE\",\"count\":7},{\"reason\":\"OTHER\",\"count\":5}],";
        assert!(json.starts_with(begin), "{json}");
        let empty = Document::new(&pb::HistoryDay::default()).unwrap();
        assert_eq!(serde_json::to_string(&empty).unwrap(), "{}");
    }

    #[test]
    fn a_row_has_columns_by_reason_and_sums_by_age() {
        let row = row(&day());
        for (column, text) in [
            ("day", "2026-03-02"),
            ("counts.delivered", "480"),
            ("counts.failed.ACCOUNT_ISSUE", "7"),
            ("counts.failed.RATE_LIMITED", "0"),
            ("counts.failed.OTHER", "5"),
            ("counts.bounced.INVALID_LEAD", "3"),
            ("counts.contactedLeads", "300"),
            ("counts.repliedLeadsWithin1Days", "1"),
            ("counts.repliedLeadsWithin7Days", "28"),
            ("counts.repliedLeadsWithin30Days", "465"),
            ("counts.convertedLeadsWithin30Days", "0"),
        ] {
            assert_eq!(cell(&row, column), text, "{column}");
        }
        assert_eq!(row.len(), 2 + 1 + 5 + 5 + 1 + 5 + 5);
    }

    #[test]
    fn every_row_of_a_type_has_the_same_columns_whatever_is_unset() {
        let names = |row: Vec<(String, String)>| row.into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        assert_eq!(names(row(&day())), names(row(&pb::HistoryDay::default())));
        let campaign = pb::Campaign {
            accounts: vec!["workspaces/acme/accounts/ann".into(), "workspaces/acme/accounts/bob".into()],
            not_sending_reasons: vec![pb::NotSendingReason::Paused.into(), pb::NotSendingReason::NoLeadDue.into()],
            delivery_rate: Some(pb::Rate { numerator: 1, denominator: 8, ratio: Some(0.125) }),
            create_time: Some(prost_types::Timestamp { seconds: 1, nanos: 0 }),
            active_hours: Some(pb::ActiveHours { time_zone: "UTC".into(), windows: vec![pb::ActiveWindow::default()] }),
            ..pb::Campaign::default()
        };
        let row = row(&campaign);
        for (column, text) in [
            ("accounts", "workspaces/acme/accounts/ann;workspaces/acme/accounts/bob"),
            ("notSendingReasons", "PAUSED;NO_LEAD_DUE"),
            ("deliveryRate.ratio", "0.125"),
            ("responseRate.ratio", ""),
            ("dailyLimit", ""),
            ("createTime", "1970-01-01T00:00:01Z"),
            ("state", ""),
        ] {
            assert_eq!(cell(&row, column), text, "{column}");
        }
        assert!(cell(&row, "activeHours.windows").starts_with("[{"), "a list of messages is JSON");
        assert_eq!(names(row), names(self::row(&pb::Campaign::default())));
    }
}
