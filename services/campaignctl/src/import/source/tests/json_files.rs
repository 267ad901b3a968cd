//! Tests of NDJSON and JSON arrays as they come.

use super::*;

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
        "is no lead: invalid unicode code point",
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
fn fields_have_any_case_and_other_names_and_others_may_hold_anything() {
    let names = Names { id: "e-mail".to_owned(), account: String::new(), needs_account: false };
    let file = b"{\"E-Mail\":\" a \",\"account\":[],\"name\":\"J\xfcrgen\"}\n{\"E-MAIL\":\"b\",\"e-mail\":\"c\"}\n";
    let all = read_columns(file, Format::Ndjson, &names).unwrap();
    assert_eq!(all[0].1, Ok("a/".to_owned()));
    assert!(all[1].1.as_ref().unwrap_err().starts_with("is no lead: duplicate field `id`"), "{:?}", all[1]);
    let names = Names { account: "sender".to_owned(), needs_account: true, ..Names::default() };
    let file = b"{\"id\":\"a\",\"account\":\"m\"}\n{\"id\":\"b\",\"Sender\":null}\n";
    let all = read_columns(file, Format::Ndjson, &names).unwrap();
    assert_eq!(all[0].1, Err("has no field `sender`".to_owned()), "an account is not lost by a typing error");
    assert_eq!(all[1].1, Ok("b/".to_owned()));
}

#[test]
fn an_array_is_read_element_by_element_with_the_lines_on_which_they_begin() {
    let file = b"\n [\n{\"id\": \"a\", \"tags\": [\"]\", {\"x\": \"\\\"}\"}]},\r\n  {\n\"id\": 7,\n\"account\": \"m\"\n}, 3,\n, {\"id\": \"c d\"}\n]\n";
    let found = leads(file, Format::Json);
    let expected = [
        (3, "a/"),
        (4, "7/m"),
        (7, "is no lead: invalid type: integer `3`"),
        (8, "is empty: two commas"),
        (8, "id `c d` must be"),
    ];
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for ((line, said), (expected_line, begins)) in found.iter().zip(expected) {
        assert!(*line == expected_line && said.starts_with(begins), "{found:?}");
    }
    for format in [Format::Ndjson, Format::Json] {
        assert_eq!(leads(b"[]", format), []);
        assert_eq!(leads(b"[{\"id\":\"a\"},]", format), [(1, "a/".to_owned())]);
        assert_eq!(leads(b"{\"id\":\"a\"}\n{\"id\":\"b\"}", format).len(), 2, "one object on each line is JSON, too");
    }
}

#[test]
fn an_array_that_is_cut_off_or_goes_on_is_told_as_one_more_line() {
    for (file, line, said) in [
        (&b"[{\"id\":\"a\"},\n{\"id\":\"b"[..], 2, "the array is not closed"),
        (b"[{\"id\":\"a\"}\n\n", 3, "the array is not closed"),
        (b"[{\"id\":\"a\"}\n,", 2, "the array is not closed"),
        (b"[{\"id\":\"a\"}]\n[{\"id\":\"b\"}]", 2, "follows the end of the array"),
    ] {
        let found = leads(file, Format::Json);
        assert_eq!((found.len(), &found[0]), (2, &(1, "a/".to_owned())), "{found:?}");
        assert!(found[1].0 == line && found[1].1.starts_with(said), "{found:?}");
    }
}
