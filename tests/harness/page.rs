//! Pages of the documentation whose commands a test runs.

use std::{collections::BTreeMap, fs};

use super::parts::repository;

/// The fenced blocks of a page: info string and text.
fn fences(page: &str) -> Vec<(String, String)> {
    let text = fs::read_to_string(repository().join(page)).expect("the page");
    let fences = text.split("```").skip(1).step_by(2);
    let parts = fences.map(|fence| fence.split_once('\n').expect("a fence has an info string"));
    parts.map(|(info, text)| (info.to_owned(), text.to_owned())).collect()
}

/// Returns the blocks of a page, by their names. Fails if the page has a block that no test runs.
pub fn blocks(page: &str) -> BTreeMap<String, String> {
    let named = fences(page).into_iter().map(|(info, text)| {
        let name = info.strip_prefix("sh run=").unwrap_or_else(|| panic!("{page}: `{info}` is not run"));
        (name.to_owned(), text)
    });
    named.collect()
}

/// Returns the blocks of a page that a test runs, by their names. The page also shows others.
pub fn run_blocks(page: &str) -> BTreeMap<String, String> {
    let named =
        fences(page).into_iter().filter_map(|(info, text)| Some((info.strip_prefix("sh run=")?.to_owned(), text)));
    named.collect()
}
