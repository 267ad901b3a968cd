//! Reads a file of leads as chunks of records, each with its line number and its original bytes.
//!
//! An error within a record refuses that record; a stray quote refuses the line on which it stands. The size of records and
//! chunks is bounded: a record that is too long ends the import.

use std::{io::BufRead, path::Path};

use tokio::sync::mpsc;

use super::{
    csv_records::CsvRecords,
    input::{Input, ReadBytes, Text},
    json_records::JsonRecords,
    ndjson_records::NdjsonRecords,
    record::{Names, Record},
};
use crate::args::Format;

/// Most records of a chunk. One response of AddLeads lists as many refusals, so each can be matched to its line.
const CHUNK_RECORDS: usize = 10_000;
/// Bytes of a chunk: 800 for each record, and 24 MiB of memory for the three chunks that exist at a time.
const CHUNK_BYTES: usize = 8 << 20;

/// Consecutive records of the file.
#[derive(Debug, Default)]
pub struct Chunk {
    /// The records, in file order.
    pub records: Vec<Record>,
    /// Their bytes.
    pub raw: Vec<u8>,
    /// Bytes of the file that were read.
    pub read_bytes: u64,
}

/// The columns of a file of refused lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Columns {
    /// Those of the CSV file, and its delimiter.
    Csv(csv::ByteRecord, u8),
    /// NDJSON has none.
    Ndjson,
}

/// A file of leads.
pub struct Source {
    records: Records,
    read_bytes: ReadBytes,
}

enum Records {
    Csv(Box<CsvRecords<Text>>),
    Ndjson(NdjsonRecords<Text>),
    Json(JsonRecords<Text>),
}

impl Source {
    /// Reads the beginning of a file. Without a format, the first character of its text tells it. An array is no NDJSON.
    pub fn new(input: Input, format: Option<Format>, names: &Names, delimiter: Option<u8>) -> anyhow::Result<Self> {
        let Input { mut text, read_bytes, .. } = input;
        let begin = text.fill_buf()?.trim_ascii_start().first().copied();
        let format = match (format, begin) {
            (None | Some(Format::Ndjson), Some(b'[')) => Format::Json,
            (None, Some(b'{')) => Format::Ndjson,
            (format, _) => format.unwrap_or(Format::Csv),
        };
        let records = match format {
            Format::Csv => Records::Csv(Box::new(CsvRecords::new(text, names, delimiter)?)),
            Format::Json if begin == Some(b'[') => Records::Json(JsonRecords::new(text, names.clone())),
            Format::Json | Format::Ndjson => Records::Ndjson(NdjsonRecords::new(text, names.clone())),
        };
        Ok(Self { records, read_bytes })
    }

    /// Returns the columns for a file of refused lines.
    pub fn columns(&self) -> Columns {
        match &self.records {
            Records::Csv(records) => Columns::Csv(records.header().columns.clone(), records.header().delimiter),
            Records::Ndjson(_) | Records::Json(_) => Columns::Ndjson,
        }
    }

    /// Sends all chunks into `chunks`, and returns the ignored columns. Ends early when the receiver is dropped.
    pub fn read_all(mut self, chunks: &mpsc::Sender<Chunk>) -> anyhow::Result<Vec<String>> {
        while let Some(chunk) = self.chunk()? {
            if chunks.blocking_send(chunk).is_err() {
                break;
            }
        }
        let ignored = match self.records {
            Records::Csv(records) => records.into_ignored(),
            Records::Ndjson(records) => records.into_ignored(),
            Records::Json(records) => records.into_ignored(),
        };
        Ok(ignored.into_iter().collect())
    }

    fn chunk(&mut self) -> anyhow::Result<Option<Chunk>> {
        let mut chunk = Chunk::default();
        while chunk.records.len() < CHUNK_RECORDS && chunk.raw.len() < CHUNK_BYTES {
            let record = match &mut self.records {
                Records::Csv(records) => records.next(&mut chunk.raw)?,
                Records::Ndjson(records) => records.next(&mut chunk.raw)?,
                Records::Json(records) => records.next(&mut chunk.raw)?,
            };
            let Some(record) = record else { break };
            chunk.records.push(record);
        }
        chunk.read_bytes = self.read_bytes.get();
        Ok(Some(chunk).filter(|chunk| !chunk.records.is_empty()))
    }
}

/// Returns the format that a name tells: `leads.csv.gz` is CSV. JSON is an array or one object on each line.
pub fn format_of(file: &Path) -> Option<Format> {
    let name = file.file_name()?.to_string_lossy().to_lowercase();
    let (_, extension) = name.strip_suffix(".gz").unwrap_or(&name).rsplit_once('.')?;
    match extension {
        "csv" | "tsv" | "tab" => Some(Format::Csv),
        "ndjson" | "jsonl" => Some(Format::Ndjson),
        "json" => Some(Format::Json),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
