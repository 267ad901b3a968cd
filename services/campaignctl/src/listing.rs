//! A list that is printed page by page as the pages come, so that its length does not matter.

use crate::{
    args::Output,
    target::{Target, print, write, write_line},
    view::{self, Document, View, visible},
};

/// A list at its beginning, or in the middle.
#[derive(Debug)]
pub struct Listing<'a> {
    target: &'a Target,
    shown: usize,
}

impl<'a> Listing<'a> {
    /// Begins a list.
    pub fn new(target: &'a Target) -> Self {
        Self { target, shown: 0 }
    }

    /// Returns how many resources were printed.
    pub fn shown(&self) -> usize {
        self.shown
    }

    /// Prints more resources. Returns `false` when nobody reads any more, such as behind `head`.
    pub fn page<V: View>(&mut self, resources: &[V]) -> anyhow::Result<bool> {
        if resources.is_empty() {
            return Ok(true);
        }
        let is_first = self.shown == 0;
        let documents = || resources.iter().map(Document::new).collect::<anyhow::Result<Vec<_>>>();
        let text = match self.target.output {
            Output::Table => visible(&without_head(view::table(resources)?, is_first)).into_owned(),
            Output::Csv => without_head(view::csv(resources)?, is_first),
            Output::Ndjson => view::ndjson(&documents()?)?,
            Output::Json => {
                // The brackets of a page are those of the list only at its ends. A text has no line breaks in JSON.
                let page = view::json(&documents()?)?;
                let items = page.trim_start_matches('[').trim_end_matches(']').trim_matches('\n');
                format!("{}{items}", if is_first { "[\n" } else { ",\n" })
            }
        };
        self.shown += resources.len();
        match self.target.output {
            // What follows decides whether a comma comes.
            Output::Json => Ok(write(&text)?),
            _ => Ok(write_line(text.trim_end_matches('\n'))?),
        }
    }

    /// Ends the list; a table of none is `none`.
    pub fn end<V: View>(self, none: &str) -> anyhow::Result<()> {
        match (self.target.output, self.shown) {
            (Output::Table, 0) => print(&visible(none))?,
            (Output::Csv, 0) => print(&view::csv::<V>(&[])?)?,
            (Output::Json, 0) => print("[]")?,
            (Output::Json, _) => print("\n]")?,
            _ => return Ok(()),
        };
        Ok(())
    }
}

/// Removes the first line of a page unless it is the first one.
fn without_head(page: String, is_first: bool) -> String {
    if is_first { page } else { page.split_once('\n').map_or_else(String::new, |(_, rows)| rows.to_owned()) }
}
