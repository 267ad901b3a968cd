//! A lead as a JSON object: `{"id": "ann", "account": "mail-1"}`. Other fields are ignored, whatever they hold.

use std::{collections::BTreeSet, fmt};

use campaign_metrics::pb;
use serde::{
    Deserialize,
    de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, Visitor},
};

use super::record::{Names, is_named, note_ignored, parse_lead};

/// An id: text, or a whole number, since that has only one spelling.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "id and account must be text or whole numbers")]
enum Key {
    Text(String),
    Number(u64),
}

impl Key {
    fn into_text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Number(number) => number.to_string(),
        }
    }
}

/// Reads the fields of an object by their names.
struct Fields<'a>(&'a Names);

/// An object that was read.
#[derive(Debug, Default)]
struct Object {
    id: Option<Key>,
    account: Option<Key>,
    /// Whether it has the field, even if that is null.
    has_account: bool,
    others: Vec<String>,
}

impl<'de> DeserializeSeed<'de> for Fields<'_> {
    type Value = Object;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Object, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Fields<'_> {
    type Value = Object;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with the fields of a lead")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
        let mut object = Object::default();
        let mut has_id = false;
        while let Some(name) = map.next_key::<String>()? {
            let (key, is_known, field) = if is_named(&name, &self.0.id) {
                (&mut object.id, &mut has_id, "id")
            } else if is_named(&name, &self.0.account) {
                (&mut object.account, &mut object.has_account, "account")
            } else {
                map.next_value::<IgnoredAny>()?;
                object.others.push(name);
                continue;
            };
            if std::mem::replace(is_known, true) {
                return Err(A::Error::duplicate_field(field));
            }
            *key = map.next_value()?;
        }
        Ok(object)
    }
}

/// Parses an object, or returns the reason to refuse it. A remark of a file of refused lines, an object with only `line` and
/// `reason`, returns `None`.
pub fn parse(object: &[u8], names: &Names, ignored: &mut BTreeSet<String>) -> Result<Option<pb::NewLead>, String> {
    let read = || {
        let mut deserializer = serde_json::Deserializer::from_slice(object);
        let read = Fields(names).deserialize(&mut deserializer)?;
        deserializer.end()?;
        Ok(read)
    };
    let Object { id, account, has_account, mut others } = read().map_err(|error: serde_json::Error| {
        let message = error.to_string();
        // serde_json counts lines within its input.
        let (message, place) = message.rsplit_once(" at line ").unwrap_or((&message, ""));
        match place.rsplit_once("column ") {
            Some((_, column)) => format!("is no lead: {message}, at character {column}"),
            None => format!("is no lead: {message}"),
        }
    })?;
    others.sort();
    if id.is_none() && others == ["line", "reason"] {
        return Ok(None);
    }
    if names.needs_account && !has_account {
        return Err(format!("has no field `{}`", names.account));
    }
    for name in &others {
        note_ignored(ignored, name);
    }
    let text = |key: Option<Key>| key.map(Key::into_text).unwrap_or_default();
    parse_lead(&text(id), &text(account)).map(Some)
}
