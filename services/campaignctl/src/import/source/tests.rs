//! Tests of reading files in every format.

use std::io::Cursor;

use super::*;
use crate::import::{input::input, record::RECORD_BYTES_MAX};

mod csv_files;
mod generated;
mod json_files;

/// Line and lead or reason of a record, and its bytes.
type Read = (u64, Result<String, String>, Vec<u8>);

/// Opens a file.
fn open(file: &[u8], format: Format, names: &Names) -> anyhow::Result<Source> {
    Source::new(input(Cursor::new(file.to_vec()), None, None)?, Some(format), names, None)
}

fn read(file: &[u8], format: Format) -> anyhow::Result<Vec<Read>> {
    read_columns(file, format, &Names::default())
}

/// Reads a file with columns of other names.
fn read_columns(file: &[u8], format: Format, names: &Names) -> anyhow::Result<Vec<Read>> {
    let mut source = open(file, format, names)?;
    let mut all = Vec::new();
    while let Some(chunk) = source.chunk()? {
        for record in chunk.records {
            let lead = record.lead.map(|lead| format!("{}/{}", lead.lead_id, lead.account_id));
            all.push((record.line, lead, chunk.raw[record.raw].to_vec()));
        }
        assert!(chunk.read_bytes <= file.len() as u64);
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
fn columns_that_are_not_ours_are_named_and_remarks_of_ours_are_not() {
    let (sender, _receiver) = mpsc::channel(9);
    let ignored =
        |file: &'static [u8], format| open(file, format, &Names::default()).unwrap().read_all(&sender).unwrap();
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
    let mut source = open(&many, Format::Csv, &Names::default()).unwrap();
    let sizes: Vec<usize> = std::iter::from_fn(|| source.chunk().unwrap()).map(|chunk| chunk.records.len()).collect();
    assert_eq!(sizes, [10_000, 10_000, 5_000]);

    let wide = format!("id,x\n{}", format!("a,{}\n", "y".repeat(500_000)).repeat(40));
    let mut source = open(wide.as_bytes(), Format::Csv, &Names::default()).unwrap();
    let first = source.chunk().unwrap().unwrap();
    assert!(first.raw.len() < CHUNK_BYTES + RECORD_BYTES_MAX && first.records.len() < 40);
}
