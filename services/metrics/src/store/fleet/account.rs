//! What the metrics read of accounts.

use tokio_postgres::Row;

use super::row::Messages;

/// Counts accounts for [`is_chosen`].
macro_rules! total {
    () => {
        "WITH total AS (SELECT count(*) AS accounts FROM accounts) "
    };
}

/// Whether an account is among the first `$1`: active ones, then those that changed last. Sorts accounts only if some are left
/// out.
macro_rules! is_chosen {
    () => {
        "((SELECT accounts <= $1 FROM total) OR (workspace_id, account_id) IN (
            SELECT workspace_id, account_id FROM accounts
            ORDER BY state = account_active() DESC, updated_at DESC, workspace_id, account_id LIMIT $1
        ))"
    };
}

/// All accounts: also those without series of their own decide whether their campaigns can send.
pub const ACCOUNTS: &str = concat!(
    total!(),
    "SELECT workspace_id, account_id, w.name AS workspace, a.name AS account, a.state, a.daily_limit, a.time_zone, ",
    is_chosen!(),
    " AS is_chosen FROM accounts a JOIN workspaces w USING (workspace_id)"
);

/// Messages of the first `$1` accounts: of all time, and of the days from `$2` on.
pub const PERFORMANCE: &str = concat!(
    total!(),
    "SELECT workspace_id, account_id,
        sum(delivered)::int8, sum(failed)::int8, sum(bounced)::int8,
        (sum(delivered) FILTER (WHERE day >= $2))::int8,
        (sum(failed) FILTER (WHERE day >= $2))::int8,
        (sum(bounced) FILTER (WHERE day >= $2))::int8
    FROM (
        SELECT workspace_id, account_id, day, delivered,
            failed_account_issue + failed_invalid_lead + failed_rate_limited + failed_content_rejected + failed_other
                AS failed,
            bounced_account_issue + bounced_invalid_lead + bounced_rate_limited + bounced_content_rejected
                + bounced_other AS bounced
        FROM account_messages
    ) m WHERE ",
    is_chosen!(),
    " GROUP BY 1, 2"
);

/// Reads both sums of [`PERFORMANCE`].
pub fn performance(row: &Row) -> [Messages; 2] {
    let sum = |column: usize| row.get::<_, Option<i64>>(column).unwrap_or(0);
    [2, 5].map(|first| Messages { delivered: sum(first), failed: sum(first + 1), bounced: sum(first + 2) })
}
