//! Values as texts: names, times, shares and enum values. Other modules of the view build on these.

use std::borrow::Cow;

pub use campaign_metrics::rate::percent as share;
use campaign_metrics::{pb, wire};

/// Returns the last segment of a resource name.
pub fn id(name: &str) -> &str {
    name.rsplit_once('/').map_or(name, |(_, id)| id)
}

/// Renders a time in RFC 3339.
pub fn time(at: Option<&prost_types::Timestamp>) -> Option<String> {
    Some(wire::parse_timestamp("", *at?).ok()?.to_string())
}

/// Renders a time in RFC 3339 to the second, which is enough for people.
pub fn second(at: Option<&prost_types::Timestamp>) -> Option<String> {
    Some(format!("{:.0}", wire::parse_timestamp("", *at?).ok()?))
}

/// Renders a duration as in the JSON format of protobuf: seconds, with 0, 3, 6 or 9 fractional digits.
pub fn duration(span: &prost_types::Duration) -> String {
    let (seconds, nanos) = (span.seconds, span.nanos);
    match nanos {
        0 => format!("{seconds}s"),
        _ if nanos % 1_000_000 == 0 => format!("{seconds}.{:03}s", nanos / 1_000_000),
        _ if nanos % 1000 == 0 => format!("{seconds}.{:06}s", nanos / 1000),
        _ => format!("{seconds}.{nanos:09}s"),
    }
}

/// Renders a span of time as flags take it, in the largest unit of which it is a whole number: `2d`, `36h`, `90m`, `45s`.
pub fn span(span: &prost_types::Duration) -> String {
    let units = [(86_400, 'd'), (3600, 'h'), (60, 'm')];
    let whole = units.iter().find(|(unit, _)| span.nanos == 0 && span.seconds > 0 && span.seconds % unit == 0);
    whole.map_or_else(|| duration(span), |(unit, letter)| format!("{}{letter}", span.seconds / unit))
}

/// Returns reasons for not sending without their prefix.
pub fn reasons(reasons: &[i32]) -> Vec<&'static str> {
    let name = |reason: &i32| short(pb::NotSendingReason::try_from(*reason).ok()?.as_str_name(), "NOT_SENDING_REASON_");
    reasons.iter().filter_map(name).collect()
}

/// Returns an enum value without its prefix; `None` when it is unspecified.
pub fn short(value: &'static str, prefix: &str) -> Option<&'static str> {
    value.strip_prefix(prefix).filter(|value| *value != "UNSPECIFIED")
}

/// Returns a failure reason without its prefix; `None` when it is unspecified.
pub fn failure_reason(reason: i32) -> Option<&'static str> {
    short(pb::FailureReason::try_from(reason).ok()?.as_str_name(), "FAILURE_REASON_")
}

/// Renders failures by reason: `310 ACCOUNT_ISSUE, 3 OTHER`. `None` without failures.
pub fn failures(counts: &[pb::ReasonCount]) -> Option<String> {
    let one =
        |failure: &pb::ReasonCount| format!("{} {}", failure.count, failure_reason(failure.reason).unwrap_or("OTHER"));
    some_text(&counts.iter().map(one).collect::<Vec<_>>().join(", ")).map(str::to_owned)
}

/// Returns a text as it may go to a terminal: control characters but line breaks are written out, such as `\u{1b}`, because a
/// terminal obeys them.
pub fn visible(text: &str) -> Cow<'_, str> {
    let is_obeyed = |character: char| character.is_control() && character != '\n';
    if !text.contains(is_obeyed) {
        return Cow::Borrowed(text);
    }
    let write = |all: String, character: char| match character {
        obeyed if is_obeyed(obeyed) => all + &obeyed.escape_debug().to_string(),
        other => all + other.encode_utf8(&mut [0; 4]),
    };
    Cow::Owned(text.chars().fold(String::new(), write))
}

/// Returns a text unless it is empty.
pub fn some_text(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

/// Renders a ratio in percent.
pub fn percent(ratio: Option<f64>) -> Option<String> {
    ratio.map(share)
}

/// Renders an interval of shares: `57.7 to 66.2 %`.
pub fn interval(of: Option<&pb::Interval>) -> Option<String> {
    let of = of?;
    Some(format!("{} to {}", share(of.lower).trim_end_matches(" %"), share(of.upper)))
}

/// Returns a cell, or a dash for an absent one.
pub fn or_dash(cell: Option<impl Into<String>>) -> String {
    cell.map_or_else(|| "-".to_owned(), Into::into)
}

/// Renders a number with its noun: `1 message`, `2 messages`.
pub fn counted(number: i64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// Renders a rate with its counts: `62.0 % (310 of 500)`. `None` when there is nothing to take a share of.
pub fn rate_text(rate: Option<&pb::Rate>) -> Option<String> {
    let rate = rate?;
    Some(format!("{} ({} of {})", percent(rate.ratio)?, rate.numerator, rate.denominator))
}

/// Renders leads by status: `3 sent + 1 failed + 2 pending + 0 partial = 6`.
pub fn leads_text(leads: pb::LeadCounts) -> String {
    let pb::LeadCounts { sent, failed, pending, partial, total } = leads;
    format!("{sent} sent + {failed} failed + {pending} pending + {partial} partial = {total}")
}

/// Renders messages by result, with failures by reason: `3 delivered, 1 failed, 0 bounced (1 OTHER)`.
pub fn messages_text(delivered: i64, failed: i64, bounced: i64, by_reason: &[pb::ReasonCount]) -> String {
    let reasons = failures(by_reason).map(|reasons| format!(" ({reasons})")).unwrap_or_default();
    format!("{delivered} delivered, {failed} failed, {bounced} bounced{reasons}")
}

/// Returns a delivery health without its prefix; `None` without messages.
pub fn health(health: pb::DeliveryHealth) -> Option<&'static str> {
    short(health.as_str_name(), "DELIVERY_HEALTH_")
}

/// Renders a health in a table. A question mark says that it is not certain yet.
pub fn health_cell(health: pb::DeliveryHealth, is_certain: bool) -> Option<String> {
    Some(format!("{}{}", self::health(health)?, if is_certain { "" } else { "?" }))
}

/// Renders a health in a sentence: `LOW`, or `LOW (not certain yet: 2 messages)`.
pub fn health_text(health: pb::DeliveryHealth, is_certain: bool, rate: Option<&pb::Rate>) -> Option<String> {
    let health = self::health(health)?;
    let messages = rate.map_or(0, |rate| rate.denominator);
    let doubt = format!(" (not certain yet: {})", counted(messages, "message"));
    Some(health.to_owned() + if is_certain { "" } else { &doubt })
}

/// Renders a delivery rate with its health: `50.0 % (1 of 2), LOW (not certain yet: 2 messages)`.
pub fn delivery_text(rate: Option<&pb::Rate>, health: pb::DeliveryHealth, is_certain: bool) -> Option<String> {
    let health = health_text(health, is_certain, rate).map(|health| format!(", {health}"));
    Some(rate_text(rate)? + &health.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_of_nothing_is_absent() {
        let none = pb::Rate { numerator: 0, denominator: 0, ratio: None };
        assert_eq!((rate_text(Some(&none)), rate_text(None)), (None, None));
        let some = pb::Rate { numerator: 310, denominator: 500, ratio: Some(0.62) };
        assert_eq!(rate_text(Some(&some)).unwrap(), "62.0 % (310 of 500)");
        let interval = self::interval(Some(&pb::Interval { lower: 0.577, upper: 0.662 }));
        assert_eq!(interval.unwrap(), "57.7 to 66.2 %");
    }

    #[test]
    fn a_span_has_the_largest_unit_that_fits() {
        let text = |seconds, nanos| span(&prost_types::Duration { seconds, nanos });
        for (seconds, expected) in [(172_800, "2d"), (129_600, "36h"), (5400, "90m"), (3601, "3601s"), (0, "0s")] {
            assert_eq!(text(seconds, 0), expected);
        }
        assert_eq!(text(86_400, 500_000_000), "86400.500s");
    }

    #[test]
    fn control_characters_are_written_out() {
        assert_eq!(visible("a\u{1b}[31m\tb\r\n\u{9b}c\u{7f}ö"), "a\\u{1b}[31m\\tb\\r\n\\u{9b}c\\u{7f}ö");
        assert!(matches!(visible("plain\ntext"), Cow::Borrowed(_)));
    }

    #[test]
    fn a_health_says_whether_it_is_certain() {
        use pb::DeliveryHealth::{High, Low, Unspecified};
        let rate = |denominator| pb::Rate { numerator: 0, denominator, ratio: Some(0.0) };
        assert_eq!(health_text(Low, false, Some(&rate(2))).unwrap(), "LOW (not certain yet: 2 messages)");
        assert_eq!(health_text(Low, false, Some(&rate(1))).unwrap(), "LOW (not certain yet: 1 message)");
        assert_eq!(health_text(High, true, Some(&rate(400))).unwrap(), "HIGH");
        assert_eq!(health_text(Unspecified, false, None), None);
        assert_eq!(
            (health_cell(Low, false).unwrap(), health_cell(High, true).unwrap()),
            ("LOW?".into(), "HIGH".into())
        );
        assert_eq!(health_cell(Unspecified, false), None);
    }
}
