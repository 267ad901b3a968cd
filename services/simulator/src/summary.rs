//! Summarizes a run: counts and latencies, merged from all senders.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::args::Output;

/// Longest latency that is measured: retries of an hour.
const LATENCY_MICROS_MAX: u64 = 3_600_000_000;

/// Latencies of one kind of call, in microseconds, within 1 %.
#[derive(Debug)]
pub struct Latency(Histogram<u64>);

impl Default for Latency {
    fn default() -> Self {
        let histogram = Histogram::new_with_bounds(1, LATENCY_MICROS_MAX, 2);
        Self(histogram.expect("the bounds and digits are constants and valid"))
    }
}

impl Latency {
    /// Records one call.
    pub fn note(&mut self, elapsed: Duration) {
        // The histogram resizes itself. A value above 64 bits counts as the largest.
        self.0.saturating_record(u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX));
    }

    fn percentile_ms(&self, quantile: f64) -> f64 {
        Duration::from_micros(self.0.value_at_quantile(quantile)).as_secs_f64() * 1000.0
    }

    fn view(&self) -> LatencyView {
        LatencyView { calls: self.0.len(), p50_ms: self.percentile_ms(0.5), p99_ms: self.percentile_ms(0.99) }
    }
}

/// Counts and latencies of one sender, or of all senders.
#[derive(Debug, Default)]
pub struct Stats {
    /// Claims granted.
    pub claims: u64,
    /// Messages that the simulation sent.
    pub messages: u64,
    /// Claims that were released without sending.
    pub released: u64,
    /// Claims that were no longer held at their renewal.
    pub not_held: u64,
    /// Outcomes that were new, by kind.
    pub applied: BTreeMap<&'static str, u64>,
    /// Of those, failed and bounced messages, by reason.
    pub lost: BTreeMap<&'static str, u64>,
    /// Outcomes that were known already.
    pub duplicates: u64,
    /// Outcomes that were rejected, by reason.
    pub rejected: BTreeMap<String, u64>,
    /// Latencies of ClaimSends calls that granted claims, including retries.
    pub claim_latency: Latency,
    /// Latencies of ReportOutcomes calls, including retries.
    pub report_latency: Latency,
}

/// Why a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Stopped {
    /// A signal or the caller stopped it.
    #[default]
    Asked,
    /// Its time was up.
    TimeUp,
    /// Every campaign has finished.
    AllFinished,
    /// The past is reported.
    Reported,
}

/// The result of a run.
#[derive(Debug, Default)]
pub struct Summary {
    /// The reason of its end.
    pub stopped: Stopped,
    /// Its duration.
    pub elapsed: Duration,
    /// Its counts and latencies.
    pub stats: Stats,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct View<'a> {
    stopped: Stopped,
    elapsed_seconds: f64,
    claims: u64,
    messages: u64,
    released: u64,
    not_held: u64,
    applied: u64,
    applied_by_kind: &'a BTreeMap<&'static str, u64>,
    lost_by_reason: &'a BTreeMap<&'static str, u64>,
    duplicates: u64,
    rejected: u64,
    rejected_by_reason: &'a BTreeMap<String, u64>,
    claim_latency: LatencyView,
    report_latency: LatencyView,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LatencyView {
    calls: u64,
    p50_ms: f64,
    p99_ms: f64,
}

impl Summary {
    /// Adds the counts and latencies of one sender.
    pub fn add(&mut self, other: Stats) -> anyhow::Result<()> {
        let all = &mut self.stats;
        all.claims += other.claims;
        all.messages += other.messages;
        all.released += other.released;
        all.not_held += other.not_held;
        all.duplicates += other.duplicates;
        for (kind, count) in other.applied {
            *all.applied.entry(kind).or_default() += count;
        }
        for (reason, count) in other.lost {
            *all.lost.entry(reason).or_default() += count;
        }
        for (reason, count) in other.rejected {
            *all.rejected.entry(reason).or_default() += count;
        }
        all.claim_latency.0.add(other.claim_latency.0)?;
        all.report_latency.0.add(other.report_latency.0)?;
        Ok(())
    }

    /// Renders it as `output`.
    pub fn render(&self, output: Output) -> anyhow::Result<String> {
        let stats = &self.stats;
        let view = View {
            stopped: self.stopped,
            elapsed_seconds: self.elapsed.as_secs_f64(),
            claims: stats.claims,
            messages: stats.messages,
            released: stats.released,
            not_held: stats.not_held,
            applied: stats.applied.values().sum(),
            applied_by_kind: &stats.applied,
            lost_by_reason: &stats.lost,
            duplicates: stats.duplicates,
            rejected: stats.rejected.values().sum(),
            rejected_by_reason: &stats.rejected,
            claim_latency: stats.claim_latency.view(),
            report_latency: stats.report_latency.view(),
        };
        match output {
            Output::Json => Ok(serde_json::to_string_pretty(&view)?),
            Output::Text => Ok(view.text()),
        }
    }
}

impl View<'_> {
    fn text(&self) -> String {
        let why = match self.stopped {
            Stopped::Asked => "stopped when asked to",
            Stopped::TimeUp => "stopped, as the time was up",
            Stopped::AllFinished => "every campaign is finished",
            Stopped::Reported => "the past is reported",
        };
        let mut text = format!(
            "{why} after {:.1} s\n  claims    {} granted, {} released unsent, {} no longer held\n  messages  {}\n  \
             outcomes  {} applied, {} duplicate, {} rejected",
            self.elapsed_seconds,
            self.claims,
            self.released,
            self.not_held,
            self.messages,
            self.applied,
            self.duplicates,
            self.rejected
        );
        let mut line = |line: String| write!(text, "\n  {line}").expect("writing to a String does not fail");
        let word = |name: &str| name.to_lowercase().replace('_', "-");
        for (kind, count) in self.applied_by_kind {
            line(format!("          {count} {}", word(kind)));
        }
        for (reason, count) in self.lost_by_reason {
            line(format!("          {count} failed or bounced: {}", word(reason)));
        }
        for (reason, count) in self.rejected_by_reason {
            line(format!("          {count} rejected: {reason}"));
        }
        for (name, latency) in [("claim", &self.claim_latency), ("report", &self.report_latency)] {
            line(format!(
                "{name:<8}  p50 {:.1} ms, p99 {:.1} ms of {} calls",
                latency.p50_ms, latency.p99_ms, latency.calls
            ));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_senders_did_adds_up() {
        let mut summary = Summary::default();
        for millis in [1, 2, 400] {
            let mut stats = Stats {
                claims: 2,
                applied: BTreeMap::from([("AUTO_REPLIED", 1)]),
                lost: BTreeMap::from([("RATE_LIMITED", 3)]),
                rejected: BTreeMap::from([("UNKNOWN_LEAD".to_owned(), 1)]),
                ..Stats::default()
            };
            stats.claim_latency.note(Duration::from_millis(millis));
            summary.add(stats).unwrap();
        }
        let json: serde_json::Value = serde_json::from_str(&summary.render(Output::Json).unwrap()).unwrap();
        assert_eq!((&json["claims"], &json["appliedByKind"]["AUTO_REPLIED"]), (&6.into(), &3.into()));
        let p99 = json["claimLatency"]["p99Ms"].as_f64().unwrap();
        assert!((396.0..404.0).contains(&p99), "{p99}");
        let text = summary.render(Output::Text).unwrap();
        assert!(text.contains("3 auto-replied") && text.contains("3 rejected: UNKNOWN_LEAD"), "{text}");
        assert_eq!(json["lostByReason"]["RATE_LIMITED"], 9);
        assert!(text.contains("\n            9 failed or bounced: rate-limited\n"), "{text}");
    }
}
