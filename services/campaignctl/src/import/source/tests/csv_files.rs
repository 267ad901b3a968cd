//! Tests of CSV as it comes.

use super::*;

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
    let file = b"id,account\na,\nsp ace,\nb\xff,\nc\0,\n,x\nd,e,f\ng\nh,/\n , \ni,mail\nj,m\xff\n";
    let found = leads(file, Format::Csv);
    let lines: Vec<u64> = found.iter().map(|(line, _)| *line).collect();
    assert_eq!(lines, [2, 3, 4, 5, 6, 7, 8, 9, 11, 12]);
    let reasons = [
        "a/",
        "id `sp ace` must be",
        "id is not UTF-8: byte 2 of it is 0xff",
        "id `c\\0` must be",
        "has no id",
        "d/e",
        "has 1 cell, and column 2 is `account`",
        "account `/` must be",
        "i/mail",
        "account is not UTF-8: byte 2 of it is 0xff",
    ];
    for ((_, said), expected) in found.iter().zip(reasons) {
        assert!(said.starts_with(expected), "{said} is not {expected}");
    }
}

#[test]
fn a_csv_header_without_id_or_with_two_is_refused_and_names_the_columns() {
    for (file, says) in [
        (
            &b"name;mail\n"[..],
            "no column `id`; name the column of the lead ids by --id-column; columns seen, split at `;`: name, mail",
        ),
        (b"id,x,id\n", "`id` twice; columns seen, split at `,`: id, x, id"),
        (b"Id,x,ID\n", "`id` twice; columns seen, split at `,`: Id, x, ID"),
        (b"\n\n", "its first line must name the columns"),
        (b"", "its first line must name the columns"),
        (b"sep=;\n", "its first line must name the columns"),
        (b"sep=;\nsep=,\nid", "no column `id`"),
        (b"i\0d\0,\0x\0\n\0", "--encoding utf-16le"),
        (b"Gr\xf6\xdfe,x\n", "--encoding windows-1252"),
    ] {
        assert!(refusal(file, Format::Csv).contains(says), "{file:?}: {}", refusal(file, Format::Csv));
    }
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
        ("id,note\na,\"x\"y\nb,\"x\" z\nc,\"x\"\n", vec![(2, text), (3, text), (4, "c/")]),
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

fn names(id: &str, account: &str) -> Names {
    Names { id: id.to_owned(), account: account.to_owned(), needs_account: !account.is_empty() }
}

/// Leads or reasons of a file with columns of other names.
fn said(file: &str, names: &Names) -> Vec<String> {
    let all = read_columns(file.as_bytes(), Format::Csv, names).expect("the file is readable");
    all.into_iter().map(|(_, lead, _)| lead.unwrap_or_else(|reason| reason)).collect()
}

#[test]
fn the_delimiter_is_found_by_the_id_column_or_named_by_the_first_line() {
    let plain = Names::default();
    for file in [
        "name;id;account\nA, B;a;m\n",
        "name\tid\taccount\nA, B; C\ta\tm\n",
        "SEP=;\r\nid;account\r\na;m\r\n",
        "\u{feff}sep=\t\nid\taccount\na\tm\n",
        "sep=|\nid|account\na|m\n",
        "a, b, c, d;id;account\nx;a;m\n",
        "\"id\",\"x;y;z\",\"account\"\na,;;;;,m\n",
    ] {
        assert_eq!(said(file, &plain), ["a/m"], "{file:?}");
    }
    let named = |delimiter: u8| {
        let input = input(Cursor::new(b"id;x,y\na;1,2\n".to_vec()), None, None).unwrap();
        let mut source = Source::new(input, Some(Format::Csv), &Names::default(), Some(delimiter)).err();
        source.take().map(|error| error.to_string()).unwrap_or_default()
    };
    assert_eq!(named(b';'), "");
    assert!(named(b',').contains("split at `,`: id;x, y"), "{}", named(b','));
}

#[test]
fn columns_have_any_case_and_other_names() {
    assert_eq!(said("NAME,Id,ACCOUNT\nx, a ,\u{a0}m\u{a0}\n", &Names::default()), ["a/m"]);
    assert_eq!(said("id,ID\na,b\n", &Names::default()), ["a/"], "the one in the very case is meant");
    let file = "Id;E-Mail;Account;Owner\nx y;a@example.com;Acme & Sons;m\n";
    assert_eq!(said(file, &names("e-mail", "OWNER")), ["a@example.com/m"]);
    assert_eq!(said(file, &names("E-Mail", "")), ["a@example.com/"], "an empty name names no column");
    let missing = read_columns(file.as_bytes(), Format::Csv, &names("E-Mail", "Sender")).unwrap_err().to_string();
    assert!(missing.contains("no column `Sender`; columns seen"), "{missing}");
}

#[test]
fn what_touches_no_column_that_is_read_refuses_nothing() {
    let found = leads(
        b"id,name,city\na,J\xfcrgen,K\xf6ln\nb\nc,x\nd,x,y,\ne,x,y,z,z\nf,\0,\x1b[31m\n,,\n\"\",\" \"\ng,5\" pipe,6\"\n",
        Format::Csv,
    );
    let expected = [(2, "a/"), (3, "b/"), (4, "c/"), (5, "d/"), (6, "e/"), (7, "f/"), (10, "g/")];
    assert_eq!(found, expected.map(|(line, lead)| (line, lead.to_owned())));
}

#[test]
fn a_delimiter_too_many_before_the_id_refuses_the_line_and_empty_cells_behind_do_not() {
    let found = said("name,id,city\nDoe, John,a,Bonn\nDoe,b,Bonn,,\nDoe,c\nDoe\n", &Names::default());
    assert!(
        found[0].starts_with("has 4 cells where the header names 3: a delimiter too many may have moved `id`"),
        "{found:?}"
    );
    assert_eq!(found[1..3], ["b/", "c/"]);
    assert_eq!(found[3], "has 1 cell, and column 2 is `id`");
    // The columns of a file of refused lines stand before it, and were written by this tool.
    assert_eq!(said("line,reason,id,name\n3,\"x, y\",a,Doe, John\n", &Names::default()), ["a/"]);
}

#[test]
fn line_numbers_are_right_whatever_ends_the_lines() {
    for ends in ["\n", "\r\n", "\r"] {
        let file = ["id,note", "a,x", "", "b,\"two", "lines\"", "c d,x", "e,\"5 pipe", "f,y", "g h,z"].join(ends);
        let found = leads(file.as_bytes(), Format::Csv);
        let lines: Vec<u64> = found.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [2, 4, 6, 7, 8, 9], "{ends:?}: {found:?}");
        assert!(found[3].1.starts_with("has a quote that is not closed") && found[4].1 == "f/", "{ends:?}: {found:?}");
    }
}

#[test]
fn lines_that_a_stray_quote_swallowed_are_read_if_they_are_whole_rows() {
    let closed = "has a quote that is not closed";
    let text = "has text after a closing quote";
    let rows = "spans 3 lines, each of which could be a row";
    let torn = "follows a stray quote, and is no whole row";
    for (file, expected) in [
        // Closed by a quote at the beginning of a later cell: the record has too many cells, or text behind the quote.
        ("id,note,x\na,\"5 pipe,\nb,1,2\nc,\",x\",z\nd,3,4\n", vec![(2, closed), (3, "b/"), (4, "c/"), (5, "d/")]),
        ("id,note,x\na,\"5 pipe,\nb,1,2\nc,\"y\",z\nd,3,4\n", vec![(2, text), (3, "b/"), (4, "c/"), (5, "d/")]),
        // Closed at the end of a later line: nothing tells it from a text of three lines.
        ("id,note\na,\"5\nb,1\nc,6\"\nd,3\n", vec![(2, rows), (5, "d/")]),
        ("id,note\na,\"5\nno row\nc,6\"\nd,3\n", vec![(2, "a/"), (5, "d/")]),
        // A text of several lines in which quotes are not doubled is not taken for leads.
        ("id,note\na,\"say \"hi\"\nhello\nbye\"\nd,3\n", vec![(2, text), (3, torn), (4, torn), (5, "d/")]),
        // An id never has two lines.
        ("note,id\nx,\"a\ny,b\nz,c\"\nv,d\n", vec![(2, closed), (3, "b/"), (4, torn), (5, "d/")]),
    ] {
        let found = leads(file.as_bytes(), Format::Csv);
        assert_eq!(found.len(), expected.len(), "{file:?}: {found:?}");
        for ((line, said), (expected_line, begins)) in found.iter().zip(&expected) {
            assert!(line == expected_line && said.starts_with(begins), "{file:?}: {found:?}");
        }
    }
}
