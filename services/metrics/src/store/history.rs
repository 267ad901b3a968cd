//! Rows of history: their columns, what they mean, and how rows are added to those that exist.

use campaign_metrics::{
    diagnosis::AGES,
    history::{AgeCounts, HistoryCounts},
};
use tokio_postgres::Row;

/// The messages of a row of history, in the order that [`messages_from_row`] reads.
macro_rules! message_columns {
    () => {
        "delivered, failed_account_issue, failed_invalid_lead, failed_rate_limited, failed_content_rejected, failed_other,
        bounced_account_issue, bounced_invalid_lead, bounced_rate_limited, bounced_content_rejected, bounced_other"
    };
}

/// The counts of a row of history, in the order of [`COLUMNS`] and then of [`history_from_row`].
macro_rules! history_columns {
    () => {
        concat!(crate::store::history::message_columns!(), ", contacted, replied, converted")
    };
}

/// Sums of the messages, in the order that [`messages_from_row`] reads.
macro_rules! message_sums {
    () => {
        "sum(delivered)::int8, sum(failed_account_issue)::int8, sum(failed_invalid_lead)::int8, sum(failed_rate_limited)::int8,
        sum(failed_content_rejected)::int8, sum(failed_other)::int8, sum(bounced_account_issue)::int8,
        sum(bounced_invalid_lead)::int8, sum(bounced_rate_limited)::int8, sum(bounced_content_rejected)::int8,
        sum(bounced_other)::int8"
    };
}

pub(super) use {history_columns, message_columns, message_sums};

/// Returns three columns: the leads first contacted on the days up to the parameter `last_day`, and how many of them replied
/// and converted at most `age_days` days later.
pub(super) fn sums_at_age(age_days: usize, last_day: &str) -> String {
    let sum = |of: &str| format!("coalesce(sum({of}) FILTER (WHERE day <= {last_day}), 0)::int8");
    let [replied, converted] = ["replied", "converted"].map(|ages| sum(&within_age(ages, age_days)));
    format!("{}, {replied}, {converted}", sum("contacted"))
}

/// Returns the sum of the counts `ages` up to an age, which is stored for [`AGES`]. Names the elements one by one: a subquery over
/// them takes three times as long.
pub(super) fn within_age(ages: &str, age_days: usize) -> String {
    if AGES.contains(&age_days) {
        return format!("{ages}_in_{age_days}_days");
    }
    (1..=age_days + 1).map(|at| format!("{ages}[{at}]")).collect::<Vec<_>>().join(" + ")
}

/// Columns of `history` that are numbers.
pub(super) const COLUMNS: [&str; 12] = [
    "delivered",
    "failed_account_issue",
    "failed_invalid_lead",
    "failed_rate_limited",
    "failed_content_rejected",
    "failed_other",
    "bounced_account_issue",
    "bounced_invalid_lead",
    "bounced_rate_limited",
    "bounced_content_rejected",
    "bounced_other",
    "contacted",
];

/// Those of messages.
pub(super) const MESSAGE_COLUMNS: &[&str] = COLUMNS.as_slice().split_at(11).0;

/// Adds the row that an `INSERT` proposes to the one that exists. The table of the `INSERT` is named `h`.
pub(super) const ADD_TO_HISTORY: &str = "ON CONFLICT (workspace_id, campaign_id, account_id, day) DO UPDATE SET
    delivered = h.delivered + excluded.delivered,
    failed_account_issue = h.failed_account_issue + excluded.failed_account_issue,
    failed_invalid_lead = h.failed_invalid_lead + excluded.failed_invalid_lead,
    failed_rate_limited = h.failed_rate_limited + excluded.failed_rate_limited,
    failed_content_rejected = h.failed_content_rejected + excluded.failed_content_rejected,
    failed_other = h.failed_other + excluded.failed_other,
    bounced_account_issue = h.bounced_account_issue + excluded.bounced_account_issue,
    bounced_invalid_lead = h.bounced_invalid_lead + excluded.bounced_invalid_lead,
    bounced_rate_limited = h.bounced_rate_limited + excluded.bounced_rate_limited,
    bounced_content_rejected = h.bounced_content_rejected + excluded.bounced_content_rejected,
    bounced_other = h.bounced_other + excluded.bounced_other,
    contacted = h.contacted + excluded.contacted,
    replied = ages_add(h.replied, excluded.replied), converted = ages_add(h.converted, excluded.converted)";

/// Reads messages from consecutive columns.
pub(super) fn messages_from_row(row: &Row, first: usize) -> HistoryCounts {
    let number = |offset: usize| row.get(first + offset);
    HistoryCounts {
        delivered: number(0),
        failed: std::array::from_fn(|reason| number(1 + reason)),
        bounced: std::array::from_fn(|reason| number(6 + reason)),
        ..HistoryCounts::default()
    }
}

/// Reads counts from consecutive columns.
pub(super) fn history_from_row(row: &Row, first: usize) -> HistoryCounts {
    HistoryCounts {
        contacted: row.get(first + 11),
        replied: ages(row.get(first + 12)),
        converted: ages(row.get(first + 13)),
        ..messages_from_row(row, first)
    }
}

/// Expands stored counts by age; `None` is none.
fn ages(stored: Option<Vec<i32>>) -> AgeCounts {
    let mut counts = AgeCounts::default();
    for (count, stored) in counts.iter_mut().zip(stored.unwrap_or_default()) {
        *count = stored.into();
    }
    counts
}
