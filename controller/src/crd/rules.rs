//! The CEL rules of texts that have a format, and what a person reads who breaks one: one line with the field, the value, the
//! rule and an example.

use schemars::Schema;
use serde_json::{Value, json};

/// Longest text that a rule looks at, in bytes. The bound keeps rules within the cost budget of the API server. It is far
/// above every valid text, because the API server answers a longer one by this bound, and not by the rule.
pub const TEXT_MAX: usize = 64;

/// Rule of a delay. The number of digits keeps `duration` within its range.
pub const DELAY: &str = "self.matches('^(0|[1-9][0-9]{0,7})[hms]$') && duration(self) <= duration('8760h')";
/// What breaks it.
pub const DELAY_SAYS: &str = "must be a whole number with the unit h, m or s, at most 8760h, a year; two days are 48h, an hour and a half is 90m";

/// Rule of a time zone. The service knows which zones there are.
pub const TIME_ZONE: &str = "self.matches('^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+){0,2}$')";
/// What breaks it.
pub const TIME_ZONE_SAYS: &str = "must be an IANA time zone such as Europe/Berlin or UTC";

/// Rule of the begin of a window.
pub const START_TIME: &str = "self.matches('^([01][0-9]|2[0-3]):[0-5][0-9]$')";
/// What breaks it.
pub const START_TIME_SAYS: &str = "must be a time HH:MM from 00:00 to 23:59, such as 09:00";

/// Rule of the end of a window.
pub const END_TIME: &str = "self.matches('^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$')";
/// What breaks it.
pub const END_TIME_SAYS: &str = "must be a time HH:MM from 00:00 to 24:00, such as 17:30";

/// Adds the rule of an account id to the items of a list.
pub fn account_ids(schema: &mut Schema) {
    let rule = json!({
        "rule": "self.matches('^[A-Za-z0-9._~@+-]+$')",
        "message": "must be the id of an account: 1 to 128 of A-Z a-z 0-9 . _ ~ @ + -",
    });
    if let Some(items) = schema.get_mut("items").and_then(Value::as_object_mut) {
        items.insert("x-kubernetes-validations".to_owned(), json!([rule]));
    }
}
