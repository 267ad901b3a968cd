//! Renders resources as tables for people, and as JSON of a stable shape for programs.
//!
//! The JSON fields are those of the API in lowerCamelCase. A field is absent when the API leaves it unset. Unlike in
//! the JSON format of protobuf, counts are numbers and enum values have no prefix, which suits `jq` and shell scripts.

mod account;
mod campaign;
mod claim;
mod lead;

use std::io::Write as _;

use campaign_metrics::{pb, wire};
use serde::Serialize;
use tabwriter::TabWriter;

/// A resource that can be shown.
pub trait View {
    /// Its JSON shape.
    type Json<'a>: Serialize
    where
        Self: 'a;
    /// Headers of the columns of a table.
    const COLUMNS: &'static [&'static str];
    /// Returns its row in a table, one cell for each column.
    fn row(&self) -> Vec<String>;
    /// Returns all its details as labels and values. A label without a value is left out.
    fn details(&self) -> Vec<(&'static str, Option<String>)>;
    /// Returns its JSON.
    fn json(&self) -> Self::Json<'_>;
}

/// Renders indented JSON.
pub fn json(value: &impl Serialize) -> anyhow::Result<String> {
    Ok(serde_json::to_string_pretty(value)?)
}

/// Renders a table.
pub fn table<V: View>(resources: &[V]) -> anyhow::Result<String> {
    let head = V::COLUMNS.iter().map(|&column| column.to_owned()).collect();
    aligned(std::iter::once(head).chain(resources.iter().map(View::row)))
}

/// Renders one resource with one line for each label.
pub fn details<V: View>(resource: &V) -> anyhow::Result<String> {
    let lines = resource.details().into_iter();
    aligned(lines.filter_map(|(label, value)| Some(vec![format!("{label}:"), value?])))
}

fn aligned(rows: impl Iterator<Item = Vec<String>>) -> anyhow::Result<String> {
    let mut writer = TabWriter::new(Vec::new()).padding(2);
    for row in rows {
        // A tab or line break in a display name must not break the table.
        let cells: Vec<String> = row.iter().map(|cell| cell.replace(char::is_control, " ")).collect();
        writeln!(writer, "{}", cells.join("\t"))?;
    }
    Ok(String::from_utf8(writer.into_inner()?)?)
}

/// Returns the last segment of a resource name.
pub fn id(name: &str) -> &str {
    name.rsplit_once('/').map_or(name, |(_, id)| id)
}

/// Renders a time in RFC 3339.
pub fn time(at: Option<&prost_types::Timestamp>) -> Option<String> {
    Some(wire::parse_timestamp("", *at?).ok()?.to_string())
}

/// Renders a duration as in the JSON format of protobuf: seconds, with 0, 3, 6 or 9 fractional digits.
fn duration(span: &prost_types::Duration) -> String {
    let (seconds, nanos) = (span.seconds, span.nanos);
    match nanos {
        0 => format!("{seconds}s"),
        _ if nanos % 1_000_000 == 0 => format!("{seconds}.{:03}s", nanos / 1_000_000),
        _ if nanos % 1000 == 0 => format!("{seconds}.{:06}s", nanos / 1000),
        _ => format!("{seconds}.{nanos:09}s"),
    }
}

/// Returns reasons for not sending without their prefix.
pub fn reasons(reasons: &[i32]) -> Vec<&'static str> {
    let name = |reason: &i32| short(pb::NotSendingReason::try_from(*reason).ok()?.as_str_name(), "NOT_SENDING_REASON_");
    reasons.iter().filter_map(name).collect()
}

/// Returns an enum value without its prefix; `None` when it is unspecified.
fn short(value: &'static str, prefix: &str) -> Option<&'static str> {
    value.strip_prefix(prefix).filter(|value| *value != "UNSPECIFIED")
}

fn failure_reason(reason: i32) -> Option<&'static str> {
    short(pb::FailureReason::try_from(reason).ok()?.as_str_name(), "FAILURE_REASON_")
}

fn some_text(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

fn percent(ratio: Option<f64>) -> Option<String> {
    Some(format!("{:.1} %", ratio? * 100.0))
}

fn or_dash(cell: Option<impl Into<String>>) -> String {
    cell.map_or_else(|| "-".to_owned(), Into::into)
}

/// A ratio with the two counts it is computed from.
#[derive(Debug, Serialize)]
struct RateJson {
    numerator: i64,
    denominator: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    ratio: Option<f64>,
}

fn rate_json(rate: Option<&pb::Rate>) -> Option<RateJson> {
    rate.map(|rate| RateJson { numerator: rate.numerator, denominator: rate.denominator, ratio: rate.ratio })
}

fn rate_text(rate: Option<&pb::Rate>) -> Option<String> {
    let rate = rate?;
    Some(format!("{} ({} of {})", percent(rate.ratio)?, rate.numerator, rate.denominator))
}
