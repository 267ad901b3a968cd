//! Opt-outs in tables.

use campaign_metrics::pb;

use super::{View, id, or_dash, time};

impl View for pb::OptOut {
    const COLUMNS: &'static [&'static str] = &["LEAD", "CREATED"];

    fn row(&self) -> Vec<String> {
        vec![id(&self.name).to_owned(), or_dash(time(self.create_time.as_ref()))]
    }

    fn details(&self) -> Vec<(&'static str, Option<String>)> {
        vec![("Lead", Some(id(&self.name).to_owned())), ("Created", time(self.create_time.as_ref()))]
    }
}
