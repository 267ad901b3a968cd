//! Renders resources as tables for people, and as JSON, NDJSON and CSV of a stable shape for programs.

mod account;
mod campaign;
mod claim;
mod document;
mod format;
mod grid;
mod lead;
mod opt_out;
mod workspace;

use std::io::Write as _;

use serde::Serialize;
use tabwriter::TabWriter;

pub use self::{
    document::{Document, Message},
    format::{
        counted, delivery_text, failure_reason, failures, health, health_cell, health_text, id, interval, leads_text,
        messages_text, or_dash, percent, rate_text, reasons, second, share, short, some_text, span, time, visible,
    },
    grid::{Align, Grid, WIDTH, wrap},
};

/// A resource that can be shown.
pub trait View: Message {
    /// Headers of the columns of a table.
    const COLUMNS: &'static [&'static str];
    /// Returns its row in a table, one cell for each column.
    fn row(&self) -> Vec<String>;
    /// Returns all its details as labels and values. A label without a value is left out.
    fn details(&self) -> Vec<(&'static str, Option<String>)>;
}

/// Renders indented JSON.
pub fn json(value: &impl Serialize) -> anyhow::Result<String> {
    Ok(escaped(serde_json::to_string_pretty(value)?))
}

/// Escapes the control characters that JSON leaves as they are, because a terminal obeys some of them. They stand only
/// within texts.
fn escaped(json: String) -> String {
    let is_left = |character: char| ('\u{7f}'..='\u{9f}').contains(&character);
    if !json.contains(is_left) {
        return json;
    }
    let write = |all: String, character: char| match character {
        left if is_left(left) => all + &format!("\\u{:04x}", u32::from(left)),
        other => all + other.encode_utf8(&mut [0; 4]),
    };
    json.chars().fold(String::new(), write)
}

/// Renders NDJSON: one value on each line.
pub fn ndjson<V: Serialize>(values: &[V]) -> anyhow::Result<String> {
    let lines: Result<Vec<String>, _> = values.iter().map(serde_json::to_string).collect();
    Ok(escaped(lines?.join("\n")))
}

/// Renders messages as CSV with a header, which is there even without messages.
pub fn csv<M: Message>(messages: &[M]) -> anyhow::Result<String> {
    let columns = Document::new(&M::default())?.cells()?;
    let mut rows = Vec::new();
    for message in messages {
        rows.push(Document::new(message)?.cells()?.into_iter().map(|(_, cell)| cell).collect());
    }
    csv_rows(columns.into_iter().map(|(name, _)| name).collect(), rows)
}

/// Renders rows as CSV.
pub fn csv_rows(columns: Vec<String>, rows: Vec<Vec<String>>) -> anyhow::Result<String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for row in std::iter::once(columns).chain(rows) {
        writer.write_record(row)?;
    }
    let bytes = writer.into_inner().map_err(csv::IntoInnerError::into_error)?;
    Ok(String::from_utf8(bytes)?)
}

/// Renders a table.
pub fn table<V: View>(resources: &[V]) -> anyhow::Result<String> {
    let head = V::COLUMNS.iter().map(|&column| column.to_owned()).collect();
    aligned(std::iter::once(head).chain(resources.iter().map(View::row)))
}

/// Renders one resource with one line for each label.
pub fn details<V: View>(resource: &V) -> String {
    let all = resource.details();
    let given = || all.iter().filter_map(|(label, value)| Some((label, value.as_ref()?)));
    let width = given().map(|(label, _)| label.len()).max().unwrap_or_default();
    let line = |(label, value): (&&str, &String)| {
        // A tab or line break in a display name must not break the lines.
        let value = value.replace(char::is_control, " ");
        let head = format!("{:indent$}", format!("{label}:"), indent = width + 3);
        let line = format!("{head}{value}\n");
        if line.chars().count() > WIDTH + 1 { wrap(&head, &value) } else { line }
    };
    given().map(line).collect()
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

#[cfg(test)]
mod tests {
    use campaign_metrics::pb;

    use super::*;

    #[test]
    fn csv_without_messages_has_its_header() {
        let text = csv::<pb::Claim>(&[]).unwrap();
        assert_eq!(text, "claimId,lead,step,sendKey,account,expireTime,state,campaign\n");
        let claim = pb::Claim { claim_id: "a,\"b\"".into(), step: 3, ..pb::Claim::default() };
        assert_eq!(csv(&[claim]).unwrap().lines().nth(1), Some("\"a,\"\"b\"\"\",,3,,,,,"));
    }

    #[test]
    fn ndjson_has_a_line_for_each_message_and_none_without() {
        assert_eq!(ndjson::<u8>(&[]).unwrap(), "");
        assert_eq!(ndjson(&["a\nb", "c"]).unwrap(), "\"a\\nb\"\n\"c\"");
        assert_eq!(ndjson(&["\u{9b}31m\u{7f}ö"]).unwrap(), "\"\\u009b31m\\u007fö\"");
        assert_eq!(json(&"\u{9b}").unwrap(), "\"\\u009b\"");
    }
}
