//! Reads a file of leads as chunks of records, each with its line number and its original bytes.
//!
//! An error within a record refuses that record; a stray quote refuses the line on which it stands. The size of records and
//! chunks is bounded: a record that is too long ends the import.

use std::io::BufRead;

use anyhow::ensure;
use tokio::sync::mpsc;

use super::{csv_records::CsvRecords, ndjson_records::NdjsonRecords, record::Record};
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
    /// Offset of the end of the chunk in the file, in bytes.
    pub end: u64,
}

/// The columns of a file of refused lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Columns {
    /// Those of the CSV file.
    Csv(csv::ByteRecord),
    /// NDJSON has none.
    Ndjson,
}

/// A file of leads.
#[derive(Debug)]
pub enum Source<R> {
    /// In CSV.
    Csv(Box<CsvRecords<R>>),
    /// In NDJSON.
    Ndjson(NdjsonRecords<R>),
}

impl<R: BufRead> Source<R> {
    /// Reads the beginning of a file: its byte order mark and its header.
    pub fn new(mut reader: R, format: Format) -> anyhow::Result<Self> {
        let head = reader.fill_buf()?;
        ensure!(!head.starts_with(b"\xff\xfe") && !head.starts_with(b"\xfe\xff"), "it is UTF-16; save it as UTF-8");
        let mark = if head.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
        reader.consume(mark);
        Ok(match format {
            Format::Csv => Self::Csv(Box::new(CsvRecords::new(reader)?)),
            Format::Ndjson => Self::Ndjson(NdjsonRecords::new(reader)),
        })
    }

    /// Returns the columns for a file of refused lines.
    pub fn columns(&self) -> Columns {
        match self {
            Self::Csv(records) => Columns::Csv(records.header().clone()),
            Self::Ndjson(_) => Columns::Ndjson,
        }
    }

    /// Sends all chunks into `chunks`, and returns the ignored columns. Ends early when the receiver is dropped.
    pub fn read_all(mut self, chunks: &mpsc::Sender<Chunk>) -> anyhow::Result<Vec<String>> {
        while let Some(chunk) = self.chunk()? {
            if chunks.blocking_send(chunk).is_err() {
                break;
            }
        }
        let ignored = match self {
            Self::Csv(records) => records.into_ignored(),
            Self::Ndjson(records) => records.into_ignored(),
        };
        Ok(ignored.into_iter().collect())
    }

    fn chunk(&mut self) -> anyhow::Result<Option<Chunk>> {
        let mut chunk = Chunk::default();
        while chunk.records.len() < CHUNK_RECORDS && chunk.raw.len() < CHUNK_BYTES {
            let record = match self {
                Self::Csv(records) => records.next(&mut chunk.raw)?,
                Self::Ndjson(records) => records.next(&mut chunk.raw)?,
            };
            let Some(record) = record else { break };
            chunk.records.push(record);
        }
        chunk.end = match self {
            Self::Csv(records) => records.read_bytes(),
            Self::Ndjson(records) => records.read_bytes(),
        };
        Ok(Some(chunk).filter(|chunk| !chunk.records.is_empty()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::record::RECORD_BYTES_MAX;

    /// Line and lead or reason of a record, and its bytes.
    type Read = (u64, Result<String, String>, Vec<u8>);

    fn read(file: &[u8], format: Format) -> anyhow::Result<Vec<Read>> {
        let mut source = Source::new(file, format)?;
        let mut all = Vec::new();
        while let Some(chunk) = source.chunk()? {
            for record in chunk.records {
                let lead = record.lead.map(|lead| format!("{}/{}", lead.lead_id, lead.account_id));
                all.push((record.line, lead, chunk.raw[record.raw].to_vec()));
            }
            assert!(chunk.end <= file.len() as u64);
        }
        Ok(all)
    }

    fn leads(file: &[u8], format: Format) -> Vec<(u64, String)> {
        let all = read(file, format).expect("the file is readable");
        all.into_iter().map(|(line, lead, _)| (line, lead.unwrap_or_else(|reason| reason))).collect()
    }

    fn refusal(file: &[u8], format: Format) -> String {
        let records = read(file, format).map(|all| all.len());
        records.expect_err("the file is not readable").to_string()
    }

    #[test]
    fn csv_is_read_with_byte_order_mark_crlf_quotes_blank_lines_and_no_last_break() {
        let file = b"\xef\xbb\xbfname,id , account\r\n\r\n\"A, \"\"B\"\"\nC\",ann,mail-1\r\n\nx,bob,";
        let expected = [(3, "ann/mail-1".to_owned()), (6, "bob/".to_owned())];
        assert_eq!(leads(file, Format::Csv), expected);
        assert_eq!(
            read(file, Format::Csv).unwrap()[0].2,
            b"\"A, \"\"B\"\"\nC\",ann,mail-1",
            "the bytes of a record are kept without its line break"
        );
    }

    #[test]
    fn a_bad_csv_line_is_refused_with_its_number_and_harms_no_other() {
        let file = b"id,account\na,\nsp ace,\nb\xff,\nc\0,\n,x\nd,e,f\ng\nh,/\ni,mail\n";
        let found = leads(file, Format::Csv);
        let lines: Vec<u64> = found.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [2, 3, 4, 5, 6, 7, 8, 9, 10]);
        let reasons = [
            "a/",
            "id `sp ace` must be",
            "is not UTF-8: byte 2 of it is 0xff",
            "holds a NUL, as byte 2 of it",
            "has no id",
            "has 3 columns where the header has 2",
            "has 1 columns where the header has 2",
            "account `/` must be",
            "i/mail",
        ];
        for ((_, said), expected) in found.iter().zip(reasons) {
            assert!(said.starts_with(expected), "{said} is not {expected}");
        }
    }

    #[test]
    fn a_csv_header_without_id_or_with_two_is_refused_and_names_the_columns() {
        assert!(refusal(b"name;id\n", Format::Csv).contains("no column `id`; columns seen, split at commas: name;id"));
        assert!(refusal(b"id,x,id\n", Format::Csv).contains("`id` twice; columns seen: id, x, id"));
        assert!(refusal(b"", Format::Csv).contains("its first line must name the columns"));
        assert!(refusal(b"\xff\xfei\0d\0", Format::Csv).contains("UTF-16"));
    }

    #[test]
    fn a_stray_quote_refuses_its_line_and_swallows_no_other() {
        let closed = "has a quote that is not closed";
        let text = "has text after a closing quote";
        for (file, expected) in [
            // Never closed.
            ("id,note\na,x\nb,\"y\nc,z\n", vec![(2, "a/"), (3, closed), (4, "c/")]),
            ("id,note\n\"b,y", vec![(2, closed)]),
            // Closed by the next stray quote.
            (
                "id,note\na,x\nb,\"5 pipe\nc,z\nd,\"6 pipe\ne,v\n",
                vec![(2, "a/"), (3, text), (4, "c/"), (5, closed), (6, "e/")],
            ),
            ("id,note\nb,\"5 pipe\r\n\r\nc,z\r\nd,6\" pipe\r\n", vec![(2, text), (4, "c/"), (5, "d/")]),
            // On one line.
            ("id,note\na,\"x\"y\nb,\"x\" \nc,\"x\"\n", vec![(2, text), (3, text), (4, "c/")]),
            ("id,note\na,\"x\"\"y\"\nb,\"\"\nc,\"\"\"\"\n", vec![(2, "a/"), (3, "b/"), (4, "c/")]),
        ] {
            let found = leads(file.as_bytes(), Format::Csv);
            let shown: Vec<(u64, &str)> = found.iter().map(|(line, said)| (*line, said.as_str())).collect();
            assert_eq!(shown.len(), expected.len(), "{file:?}: {shown:?}");
            for ((line, said), (expected_line, begins)) in shown.iter().zip(&expected) {
                assert!(line == expected_line && said.starts_with(begins), "{file:?}: {shown:?}");
            }
        }
        assert!(refusal(b"id,\"note\na,x\n", Format::Csv).contains("its header has a quote that is not closed"));
        let mut long = b"id,note\na,x\nb,\"".to_vec();
        long.extend(b"c,z\n".repeat(RECORD_BYTES_MAX / 4 + 1));
        let found = leads(&long, Format::Csv);
        assert!(found[1].0 == 3 && found[1].1.starts_with(closed), "{:?}", found[1]);
        assert_eq!(found.len(), RECORD_BYTES_MAX / 4 + 2, "each line behind it is read");
        assert_eq!(found[2], (4, "c/".to_owned()));
        assert_eq!(leads(b"id\n5\" pipe\nb", Format::Csv)[1], (3, "b/".to_owned()), "a stray quote opens nothing");
        assert_eq!(leads(b"id\na\n\"b\"", Format::Csv).len(), 2, "a quote may close at the end of the file");
    }

    #[test]
    fn many_blank_lines_are_no_long_record() {
        let mut file = b"id\na\n".to_vec();
        file.extend(b"\r\n".repeat(RECORD_BYTES_MAX));
        file.extend(b"b\n");
        let last = RECORD_BYTES_MAX as u64 + 3;
        assert_eq!(leads(&file, Format::Csv), [(2, "a/".to_owned()), (last, "b/".to_owned())]);
        assert_eq!(leads(b"\n\n{\"id\":\"a\"}\n\n", Format::Ndjson), [(3, "a/".to_owned())]);
    }

    #[test]
    fn a_record_of_one_mebibyte_is_read_and_a_longer_one_ends_the_import_and_names_its_line() {
        let of = |before: &str, after: &str, length: usize| {
            let padding = "y".repeat(length - before.len() - after.len());
            [before, &padding, after].concat()
        };
        for (format, head, before, after) in [
            (Format::Csv, "id,x\na,\n", "b,", "\n"),
            (Format::Ndjson, "{\"id\":\"a\"}\n\n", "{\"id\":\"b\",\"x\":\"", "\"}\n"),
        ] {
            let longest = [head, &of(before, after, RECORD_BYTES_MAX), &of(before, after, 100)].concat();
            let expected = [("a/", if head.ends_with("\n\n") { 1 } else { 2 }), ("b/", 3), ("b/", 4)];
            let expected = expected.map(|(lead, line)| (line, lead.to_owned()));
            assert_eq!(leads(longest.as_bytes(), format), expected);
            let longer = [head, &of(before, after, RECORD_BYTES_MAX + 1), &of(before, after, 100)].concat();
            let refusal = refusal(longer.as_bytes(), format);
            assert!(refusal.starts_with("the record that begins on line 3 is longer than 1 MiB"), "{refusal}");
        }
    }

    #[test]
    fn ndjson_takes_text_and_whole_numbers_and_refuses_the_rest_by_line() {
        let file = b"\xef\xbb\xbf{\"id\":\"a\",\"account\":null,\"x\":[1]}\r\n{\"id\":7,\"account\":\"m\"}\n{\"id\":1.5}\n[]\n{\"id\":\n{}\n{\"id\":\"\xff\"}\n{\"id\":\"a\\u0000\"}\n{\"id\":\"a\",\"id\":\"b\"}";
        let found = leads(file, Format::Ndjson);
        let expected = [
            "a/",
            "7/m",
            "is no lead: id and account must be text or whole numbers",
            "is no lead: ",
            "is no lead: EOF while parsing a value, at character 6",
            "has no id",
            "is not UTF-8: byte 8 of it is 0xff",
            "id `a\\0` must be",
            "is no lead: duplicate field `id`",
        ];
        assert_eq!(found.len(), expected.len());
        for ((line, said), (place, expected)) in found.iter().zip((1..).zip(expected)) {
            assert_eq!(*line, place);
            assert!(said.starts_with(expected), "{said} is not {expected}");
        }
    }

    #[test]
    fn columns_that_are_not_ours_are_named_and_remarks_of_ours_are_not() {
        let (sender, _receiver) = mpsc::channel(9);
        let ignored = |file: &'static [u8], format| Source::new(file, format).unwrap().read_all(&sender).unwrap();
        assert_eq!(ignored(b"b,id,account,a\n", Format::Csv), ["a", "b"]);
        assert_eq!(ignored(b"line,reason,id,b\n", Format::Csv), ["b"]);
        assert_eq!(ignored(b"line,id\n", Format::Csv), ["line"]);
        let remarked = b"{\"line\":3,\"reason\":\"x\"}\n{\"id\":\"a\",\"b\":{\"id\":1}}\n";
        assert_eq!(ignored(remarked, Format::Ndjson), ["b"]);
    }

    #[test]
    fn a_chunk_is_bounded_by_records_and_by_bytes() {
        let mut many = b"id\n".to_vec();
        for number in 0..25_000 {
            many.extend(format!("lead-{number}\n").bytes());
        }
        let mut source = Source::new(&many[..], Format::Csv).unwrap();
        let sizes: Vec<usize> =
            std::iter::from_fn(|| source.chunk().unwrap()).map(|chunk| chunk.records.len()).collect();
        assert_eq!(sizes, [10_000, 10_000, 5_000]);

        let wide = format!("id,x\n{}", format!("a,{}\n", "y".repeat(500_000)).repeat(40));
        let mut source = Source::new(wide.as_bytes(), Format::Csv).unwrap();
        let first = source.chunk().unwrap().unwrap();
        assert!(first.raw.len() < CHUNK_BYTES + RECORD_BYTES_MAX && first.records.len() < 40);
    }
}
