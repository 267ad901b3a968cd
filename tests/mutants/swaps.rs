//! Replacements of SQL mutants. Add to these lists.

/// Columns and names that are easily mixed up.
pub const SWAPS: &[(&str, &str)] = &[
    ("replied", "converted"),
    ("contacted_replied", "contacted_converted"),
    ("auto_replied", "opted_out"),
    ("sent", "failed"),
    ("pending", "partial"),
    ("delivered", "failed"),
    ("bounced", "failed"),
    ("delivered_messages", "failed_messages"),
    ("bounced_messages", "failed_messages"),
    ("account_issue", "invalid_lead"),
    ("rate_limited", "content_rejected"),
    ("failed_reasons", "bounced_reasons"),
    ("lo", "hi"),
    ("granted", "closed_claims"),
    ("held", "bits"),
    ("held", "last_closed"),
    ("expires_at", "due_at"),
    ("account_day", "campaign_day"),
    ("account_id", "campaign_id"),
    ("account_reservations", "campaign_reservations"),
    ("happened_at", "received_at"),
    ("finished_at", "finalized_at"),
    ("created_at", "updated_at"),
    ("settle_seconds", "attribution_days"),
    ("old_status", "status"),
    ("old_result", "result"),
    ("old_mask", "mask"),
    ("was_contacted", "is_contacted"),
    ("old_next_step", "next_step"),
    ("step_bit", "bit"),
    ("claim_account", "message_account"),
    ("lead_no", "block"),
    ("owner_generation", "owner_fencing_token"),
];

/// Words with a plausible alternative.
pub const WORDS: &[(&str, &str)] = &[
    ("min", "max"),
    ("least", "greatest"),
    ("LEAST", "GREATEST"),
    ("bit_or", "bit_and"),
    ("bool_or", "bool_and"),
    ("true", "false"),
    ("FIRST", "LAST"),
    ("'UTC'", "'JST'"),
];

/// Operators, and what is written by mistake.
pub const OPERATORS: &[(&str, &str)] = &[
    ("<", "<="),
    ("<=", "<"),
    (">", ">="),
    (">=", ">"),
    ("=", "<>"),
    ("<>", "="),
    ("+", "-"),
    ("-", "+"),
    ("*", "+"),
    ("/", "*"),
    ("&", "|"),
    ("|", "&"),
    ("<<", ">>"),
    (">>", "<<"),
    ("~", ""),
];
