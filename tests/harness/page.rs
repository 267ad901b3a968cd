//! Pages of the documentation whose commands a test runs.

use std::{collections::BTreeMap, fs};

use super::parts::repository;

/// Returns the blocks of a page, by their names. Fails if the page has a block that no test runs.
pub fn blocks(page: &str) -> BTreeMap<String, String> {
    let text = fs::read_to_string(repository().join(page)).expect("the page");
    let fences = text.split("```").skip(1).step_by(2).map(|fence| {
        let (info, text) = fence.split_once('\n').expect("a fence has an info string");
        let name = info.strip_prefix("sh run=").unwrap_or_else(|| panic!("{page}: `{info}` is not run"));
        (name.to_owned(), text.to_owned())
    });
    fences.collect()
}
