//! The template language of the lists of columns and labels.
//!
//! `{a|span}` is a time span in its largest unit, `{a|follow-ups}` a number that is absent as 0 or 1. `{a.b}` is the field at that path; if it is absent, the whole cell is absent. `{a|id}` is the last part of a name,
//! `{a|lower}` an enum value in words, `{a|units}` millionths in units, `{a|%}` a ratio in percent, `{a|some}` a number that is absent as 0, `{a|count}` the length of a list, `{a|messages}` a number
//! of messages, `{a|=text}` the text if the field is true, or a ratio that is present. `[..]` is left out if a field in it is absent. `[..||..]` has a replacement for that case.

use prost_reflect::{DynamicMessage, Kind, ReflectMessage as _, Value};

use super::reflect::{short, well_known};

/// Renders a template. Returns `None` if a field that it needs is absent.
pub fn render(message: &DynamicMessage, template: &str) -> Option<String> {
    let mut text = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('[') {
        let (optional, after) = after.split_once(']').expect("a bracket is closed");
        text += &plain(message, before)?;
        let (first, other) = optional.split_once("||").unwrap_or((optional, ""));
        text += &plain(message, first).or_else(|| plain(message, other)).unwrap_or_default();
        rest = after;
    }
    Some(text + &plain(message, rest)?)
}

fn plain(message: &DynamicMessage, template: &str) -> Option<String> {
    let mut text = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}').expect("a brace is closed");
        let (path, form) = name.split_once('|').unwrap_or((name, ""));
        text += before;
        text += &field(message, path, form)?;
        rest = after;
    }
    Some(text + rest)
}

fn field(message: &DynamicMessage, path: &str, form: &str) -> Option<String> {
    let (name, inner) = path.split_once('.').map_or((path, None), |(name, inner)| (name, Some(inner)));
    let field = message.descriptor().get_field_by_name(name);
    let field = field.unwrap_or_else(|| panic!("{} has no field `{name}`", message.descriptor().full_name()));
    if field.supports_presence() && !message.has_field(&field) {
        return None;
    }
    let value = message.get_field(&field);
    match (&*value, inner) {
        (Value::Message(message), Some(inner)) => self::field(message, inner, form),
        (_, Some(inner)) => panic!("`{name}` is no message with a field `{inner}`"),
        (Value::List(values), None) if form == "count" => Some(values.len().to_string()),
        (Value::List(values), None) => {
            let all: Vec<String> = values.iter().filter_map(|value| one(value, &field.kind(), form)).collect();
            Some(all.join(", ")).filter(|text| !text.is_empty())
        }
        (value, None) => one(value, &field.kind(), form),
    }
}

fn one(value: &Value, kind: &Kind, form: &str) -> Option<String> {
    match (value, kind) {
        (Value::Bool(holds), _) => holds.then(|| form.trim_start_matches('=').to_owned()),
        (Value::F64(_), _) if form.starts_with('=') => Some(form.trim_start_matches('=').to_owned()),
        (Value::I64(1), _) if form == "messages" => Some("1 message".to_owned()),
        (Value::I64(number), _) if form == "messages" => Some(format!("{number} messages")),
        (Value::F64(share), _) if form == "%" => {
            let digits = if (0.01..0.99).contains(share) { 1 } else { 2 };
            let rounded = format!("{:.digits$} %", share * 100.0);
            Some(match rounded.as_str() {
                "0.00 %" if matches!(share, 0.0) => "0 %".to_owned(),
                "100.00 %" if matches!(share, 1.0) => "100 %".to_owned(),
                "100.00 %" => ">99.99 %".to_owned(),
                "0.00 %" => "<0.01 %".to_owned(),
                _ => rounded,
            })
        }
        (Value::I32(0), _) if form == "some" => None,
        (Value::I32(..=1), _) if form == "follow-ups" => None,
        (Value::I32(seconds), _) if form == "span" => Some(span(&format!("{seconds}s"))),
        (Value::I32(number), _) => Some(number.to_string()),
        #[expect(clippy::cast_precision_loss, reason = "values of tests are small")]
        (Value::I64(number), _) if form == "units" => Some((*number as f64 / 1e6).to_string()),
        (Value::I64(number), _) => Some(number.to_string()),
        (Value::EnumNumber(number), Kind::Enum(values)) if form == "lower" => {
            let words = short(values, *number).to_lowercase();
            Some(if words == "auto_replied" { "auto-replied".to_owned() } else { words.replace('_', " ") })
        }
        (Value::EnumNumber(number), Kind::Enum(values)) => (*number != 0).then(|| short(values, *number)),
        (Value::String(text), _) => {
            let text = match form {
                "id" => text.split('/').next_back().unwrap_or_default(),
                _ => text,
            };
            Some(text.to_owned()).filter(|text| !text.is_empty())
        }
        (Value::Message(message), _) => Some(match message.descriptor().name() {
            "ReasonCount" => format!("{} {}", field(message, "count", "")?, field(message, "reason", "")?),
            "ActiveWindow" => {
                let days = field(message, "days", "").unwrap_or_default();
                let days: Vec<String> = days.split(", ").map(|day| day[..day.len().min(3)].to_lowercase()).collect();
                let days = if days.len() == 7 { String::new() } else { days.join(",") + " " };
                let days = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
                    .into_iter()
                    .fold(days, |days, day| days.replace(day, &format!("{}{}", day[..1].to_uppercase(), &day[1..])));
                format!("{days}{}-{}", field(message, "start_time", "")?, field(message, "end_time", "")?)
            }
            "Duration" if form == "span" => span(&well_known(message)?),
            "StepResult" => {
                let reason = field(message, "reason", "").map_or(String::new(), |reason| format!(" ({reason})"));
                format!("step {} {}{reason}", field(message, "step", "")?, field(message, "result", "")?.to_lowercase())
            }
            name => well_known(message).unwrap_or_else(|| panic!("no form of {name} is known")),
        }),
        (other, _) => panic!("no form of {other:?} is known"),
    }
}

/// Renders whole seconds, such as `172800s`, in their largest unit. A span with a fraction stays as it is.
fn span(text: &str) -> String {
    let seconds = text.trim_end_matches('s').parse::<i64>().unwrap_or(0);
    let of = |unit: i64| seconds != 0 && seconds % unit == 0;
    match seconds {
        _ if of(86_400) => format!("{}d", seconds / 86_400),
        _ if of(3600) => format!("{}h", seconds / 3600),
        _ if of(60) => format!("{}m", seconds / 60),
        _ => text.to_owned(),
    }
}
