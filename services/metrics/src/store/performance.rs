//! Reads what answers are made from: history, breakdowns by account, totals. One snapshot each, and never a lead row.

mod breakdown;
mod compared;
mod facts;
mod history;

pub use self::history::HistoryPage;
