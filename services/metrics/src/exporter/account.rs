//! Gauges of accounts.

use campaign_metrics::account::AccountState;

use super::{snapshot::Snapshot, text::Text};
use crate::store::{AccountRow, Messages};

/// Messages of an account.
type Performance = fn(&AccountRow) -> Messages;

/// All of them.
pub const METRICS: [fn(&mut Text, &Snapshot); 3] = [account_state, account_messages, account_limits];

fn account_state(text: &mut Text, snapshot: &Snapshot) {
    text.metric("account_state", "1 for the state the account is in, else 0.");
    for (labels, row) in snapshot.accounts() {
        for (label, state) in [("active", AccountState::Active), ("suspended", AccountState::Suspended)] {
            text.labelled_series(labels, "state", label, i64::from(state == row.state));
        }
    }
}

fn account_messages(text: &mut Text, snapshot: &Snapshot) {
    let metrics: [(&str, &str, Performance); 2] = [
        ("account_messages", "Messages ever, by result.", |row| row.lifetime),
        ("account_messages_30d", "Messages of the last 30 UTC days, today included, by result.", |row| {
            row.last_30_days
        }),
    ];
    for (name, help, performance) in metrics {
        text.metric(name, help);
        for (labels, row) in snapshot.accounts() {
            let counts = performance(row);
            text.labelled_series(labels, "outcome", "delivered", counts.delivered);
            text.labelled_series(labels, "outcome", "failed", counts.failed);
            text.labelled_series(labels, "outcome", "bounced", counts.bounced);
        }
    }
}

fn account_limits(text: &mut Text, snapshot: &Snapshot) {
    text.metric("account_daily_limit", "Claims per local day at most; absent without limit.");
    for (labels, row) in snapshot.accounts() {
        if let Some(limit) = row.daily_limit {
            text.series(labels, limit.into());
        }
    }
    text.metric("account_daily_reserved", "Reserved of the daily limit on the present local day.");
    for (labels, row) in snapshot.accounts() {
        text.series(labels, row.reserved);
    }
}
