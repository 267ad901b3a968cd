//! The only conversions between `pb` messages and domain types.
//!
//! Input is parsed here once, with an [`Invalid`] that names the field. Output is rendered here. Handlers and the store
//! never read a value that has a domain type from a `pb` message.

mod account;
mod campaign;
mod codec;
mod comparison;
mod diagnosis;
mod lead;
mod performance;
mod sending;

use std::{str::FromStr, time::Duration};

use jiff::{SignedDuration, Timestamp};

pub use self::{account::*, campaign::*, codec::*, comparison::*, diagnosis::*, lead::*, performance::*, sending::*};
use crate::{invalid::Invalid, pb};

/// Default size of a page.
const PAGE_DEFAULT: i32 = 100;
/// Largest size of a page. Larger sizes are reduced to it.
const PAGE_MAX: i32 = 1000;
/// Longest display name, in characters.
const DISPLAY_NAME_MAX: usize = 256;
/// Largest daily limit: far above any real sender, and far below the range of a counter.
const DAILY_LIMIT_MAX: i32 = 1_000_000_000;

/// Parses a name or id. The error names the field.
pub fn parse<T: FromStr<Err = Invalid>>(field: &str, text: &str) -> Result<T, Invalid> {
    if text.is_empty() {
        return Err(Invalid::new(field, "is required"));
    }
    text.parse().map_err(|invalid: Invalid| invalid.under(field))
}

/// Returns a message that is required.
pub fn required<T>(field: &str, value: Option<T>) -> Result<T, Invalid> {
    value.ok_or_else(|| Invalid::new(field, "is required"))
}

/// Parses a page size from 1 to 1000. 0 means 100, and larger sizes mean 1000.
pub fn page_size(size: i32) -> Result<i64, Invalid> {
    page_size_or(size, PAGE_DEFAULT)
}

fn page_size_or(size: i32, default: i32) -> Result<i64, Invalid> {
    match size {
        0 => Ok(default.into()),
        1.. => Ok(size.min(PAGE_MAX).into()),
        _ => Err(Invalid::new("page_size", format_args!("must not be negative; leave it out for {default}"))),
    }
}

/// Parses the optional id of a request, a UUID.
pub fn request_id(text: &str) -> Result<Option<&str>, Invalid> {
    let is_uuid = |text: &str| {
        text.len() == 36
            && text.bytes().enumerate().all(|(index, byte)| match index {
                8 | 13 | 18 | 23 => byte == b'-',
                _ => byte.is_ascii_hexdigit(),
            })
    };
    match text {
        "" => Ok(None),
        text if is_uuid(text) => Ok(Some(text)),
        _ => {
            Err(Invalid::new("request_id", "must be a UUID such as 7f9c24e8-3b12-4fef-91e0-5a1d2f3c4b5a, or left out"))
        }
    }
}

/// Parses the optional etag of a campaign or account into its revision.
pub fn parse_etag(text: &str) -> Result<Option<i64>, Invalid> {
    if text.is_empty() {
        return Ok(None);
    }
    let revision =
        text.strip_prefix("\"r").and_then(|rest| rest.strip_suffix('"')).and_then(|digits| digits.parse().ok());
    revision.map(Some).ok_or_else(|| Invalid::new("etag", "is none of ours; send the one you read, or leave it out"))
}

/// Renders a revision as an etag.
pub fn etag(revision: i64) -> String {
    format!("\"r{revision}\"")
}

/// Renders a time.
pub fn timestamp(at: Timestamp) -> prost_types::Timestamp {
    let (mut seconds, mut nanos) = (at.as_second(), at.subsec_nanosecond());
    if nanos < 0 {
        (seconds, nanos) = (seconds - 1, nanos + 1_000_000_000);
    }
    prost_types::Timestamp { seconds, nanos }
}

/// Parses a time.
pub fn parse_timestamp(field: &str, at: prost_types::Timestamp) -> Result<Timestamp, Invalid> {
    let problem = "must lie between the years 1 and 9999, with 0 to 999999999 nanos";
    // Protobuf counts whole seconds downwards to the year 1. A `Timestamp` truncates seconds towards zero.
    let is_whole = (0..1_000_000_000).contains(&at.nanos) && at.seconds >= -62_135_596_800;
    is_whole.then(|| Timestamp::new(at.seconds, at.nanos).ok()).flatten().ok_or_else(|| Invalid::new(field, problem))
}

fn parse_duration(
    field: &str,
    span: prost_types::Duration,
    least: Duration,
    most: Duration,
) -> Result<Duration, Invalid> {
    let parsed = u64::try_from(span.seconds)
        .ok()
        .zip(u32::try_from(span.nanos).ok().filter(|nanos| *nanos < 1_000_000_000))
        .map(|(seconds, nanos)| Duration::new(seconds, nanos));
    parsed.filter(|span| (least..=most).contains(span)).ok_or_else(|| {
        Invalid::new(field, format_args!("must be from {}s to {}s", least.as_secs_f64(), most.as_secs_f64()))
    })
}

/// Parses the hold of claims.
pub fn hold_duration(span: Option<prost_types::Duration>) -> Result<Duration, Invalid> {
    match span {
        None => Ok(crate::sending::HOLD_DEFAULT),
        Some(span) => parse_duration("hold_duration", span, Duration::from_secs(1), crate::sending::HOLD_MAX),
    }
}

/// Parses the minimum time between two checks of WatchCampaigns.
pub fn watch_interval(span: Option<prost_types::Duration>) -> Result<Duration, Invalid> {
    match span {
        None => Ok(Duration::from_secs(1)),
        Some(span) => parse_duration("min_interval", span, Duration::from_millis(100), Duration::from_hours(1)),
    }
}

fn duration(span: SignedDuration) -> prost_types::Duration {
    prost_types::Duration { seconds: span.as_secs(), nanos: span.subsec_nanos() }
}

fn display_name(text: &str) -> Result<String, Invalid> {
    if text.contains('\0') {
        return Err(Invalid::new("display_name", "must not contain NUL characters"));
    }
    match text.chars().count() {
        0..=DISPLAY_NAME_MAX => Ok(text.to_owned()),
        length => {
            Err(Invalid::new("display_name", format_args!("has {length} characters, at most {DISPLAY_NAME_MAX} fit")))
        }
    }
}

fn within(field: &str, value: i32, least: i32, most: i32) -> Result<i32, Invalid> {
    if (least..=most).contains(&value) {
        Ok(value)
    } else {
        Err(Invalid::new(field, format_args!("is {value}, but must be from {least} to {most}")))
    }
}

fn daily_limit(limit: Option<i32>) -> Result<Option<i32>, Invalid> {
    limit.map(|limit| within("daily_limit", limit, 0, DAILY_LIMIT_MAX)).transpose()
}

fn rate(rate: crate::rate::Rate) -> pb::Rate {
    pb::Rate { numerator: rate.numerator, denominator: rate.denominator, ratio: rate.ratio() }
}

/// Parses a field mask: the named fields, or all for `*`. Without a mask, it returns the fields for which `is_set` is
/// true.
fn fields<F: Copy>(
    mask: Option<&prost_types::FieldMask>,
    known: &[(&str, F)],
    is_set: impl Fn(F) -> bool,
) -> Result<Vec<F>, Invalid> {
    let Some(mask) = mask.filter(|mask| !mask.paths.is_empty()) else {
        return Ok(known.iter().map(|(_, field)| *field).filter(|field| is_set(*field)).collect());
    };
    if mask.paths == ["*"] {
        return Ok(known.iter().map(|(_, field)| *field).collect());
    }
    mask.paths
        .iter()
        .map(|path| {
            known.iter().find(|(name, _)| name == path).map(|(_, field)| *field).ok_or_else(|| {
                let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
                let path = crate::invalid::excerpt(path);
                Invalid::new(
                    "update_mask",
                    format_args!("`{path}` can't be updated; what can: {}, or `*`", names.join(", ")),
                )
            })
        })
        .collect()
}

#[cfg(test)]
mod tests;
