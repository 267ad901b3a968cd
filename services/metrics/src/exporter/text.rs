//! Writes the Prometheus text format, in pieces.

use std::{fmt::Display, io::Write as _};

use jiff::Timestamp;

/// Size of a piece of text that is sent at a time, in bytes.
const PIECE_BYTES: usize = 256 << 10;
/// Upper bound of the length of a line, in bytes: three ids, a name and a number.
const LINE_BYTES_MAX: usize = 1 << 10;

/// A text in pieces. A single text of megabytes would be copied each time it grows.
#[derive(Default)]
pub struct Text {
    pieces: Vec<Vec<u8>>,
    out: Vec<u8>,
    name: &'static str,
}

impl Text {
    /// Completes a piece, and begins the next one.
    fn cut(&mut self) {
        self.pieces.push(std::mem::replace(&mut self.out, Vec::with_capacity(PIECE_BYTES)));
    }

    /// Begins a metric. The series that follow belong to it.
    pub fn metric(&mut self, name: &'static str, help: &str) {
        self.name = name;
        // Writing to memory can't fail.
        let _ = write!(self.out, "# HELP campaign_metrics_{name} {help}\n# TYPE campaign_metrics_{name} gauge\n");
    }

    /// Writes the only series of a metric.
    pub fn value(&mut self, value: impl Display) {
        let _ = writeln!(self.out, "campaign_metrics_{} {value}", self.name);
    }

    /// Writes one series of a campaign or account. Its labels are rendered already; ids need no escaping.
    pub fn series(&mut self, labels: &str, value: i64) {
        self.begin(labels);
        self.end("} ", value);
    }

    /// Writes one series of a campaign or account with a fractional value.
    pub fn fractional_series(&mut self, labels: &str, value: f64) {
        self.begin(labels);
        let _ = writeln!(self.out, "}} {value}");
    }

    /// Writes one series of a campaign or account with one more label.
    pub fn labelled_series(&mut self, labels: &str, label: &str, is: &str, value: i64) {
        self.begin(labels);
        for part in [",", label, "=\"", is] {
            self.out.extend_from_slice(part.as_bytes());
        }
        self.end("\"} ", value);
    }

    /// Returns the text that was written.
    pub fn into_pieces(mut self) -> Vec<Vec<u8>> {
        self.pieces.push(self.out);
        self.pieces
    }

    fn begin(&mut self, labels: &str) {
        if self.out.len() > PIECE_BYTES - LINE_BYTES_MAX {
            self.cut();
        }
        for part in ["campaign_metrics_", self.name, "{", labels] {
            self.out.extend_from_slice(part.as_bytes());
        }
    }

    fn end(&mut self, mark: &str, value: i64) {
        self.out.extend_from_slice(mark.as_bytes());
        self.out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
        self.out.push(b'\n');
    }
}

/// Renders a time in seconds since 1970.
#[expect(clippy::cast_precision_loss, reason = "seconds since 1970 stay below 2^53 milliseconds")]
pub fn seconds(at: Timestamp) -> f64 {
    at.as_millisecond() as f64 / 1000.0
}
