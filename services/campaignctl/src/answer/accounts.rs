//! The accounts of a campaign for people.

use campaign_metrics::pb;

use crate::view::{Align, Grid, counted, failures, health_cell, id, or_dash, second, share, some_text, wrap};

/// What stands for leads and messages without an account.
const NOBODY: &str = "(no account)";

/// Renders the accounts of a campaign.
pub fn text(campaign: &str, whole: &pb::ListCampaignAccountsResponse) -> String {
    let as_of = second(whole.as_of_time.as_ref()).map(|time| format!(" (as of {time})")).unwrap_or_default();
    let rows: Vec<&pb::CampaignAccount> = whole.accounts.iter().chain(&whole.unassigned).collect();
    if whole.accounts.is_empty() {
        let mut text =
            wrap("", &format!("{campaign} has no account{as_of}, so it sends nothing. Give it one in its settings."));
        if !rows.is_empty() {
            text += &grid(&rows).text(0);
        }
        return text;
    }
    let count = i64::try_from(whole.accounts.len()).unwrap_or(i64::MAX);
    let mut text = wrap("", &format!("{campaign} has {}{as_of}.{}", counted(count, "account"), worst(&whole.accounts)));
    text.push('\n');
    text += &grid(&rows).text(0);
    text += &idle(&whole.accounts);
    text += &failed(&rows);
    if rows.iter().any(|row| row.delivery_health() != pb::DeliveryHealth::Unspecified && !row.delivery_health_certain) {
        text += "\n? not certain yet: there are too few messages.\n";
    }
    let why = format!("\nFind out why: campaignctl campaigns diagnose {campaign}\n");
    text + if whole.accounts.iter().any(is_low) { &why } else { "" }
}

fn is_low(account: &pb::CampaignAccount) -> bool {
    account.delivery_health() != pb::DeliveryHealth::High && account.delivery_health_certain
}

/// Names the account with the lowest delivery rate among those of which that is certain.
fn worst(accounts: &[pb::CampaignAccount]) -> String {
    let ratio = |account: &pb::CampaignAccount| account.delivery_rate.and_then(|rate| rate.ratio);
    let low = accounts.iter().filter(|account| is_low(account)).filter_map(|account| Some((account, ratio(account)?)));
    match low.min_by(|(_, one), (_, other)| one.total_cmp(other)) {
        Some((account, ratio)) => format!(" {} delivers least: {}.", id(&account.account), share(ratio)),
        None => String::new(),
    }
}

fn grid(rows: &[&pb::CampaignAccount]) -> Grid {
    let mut grid = Grid::new([
        ("ACCOUNT", Align::Name),
        ("LEADS", Align::Right),
        ("OPEN", Align::Right),
        ("MESSAGES", Align::Right),
        ("DELIVERY", Align::Right),
        ("HEALTH", Align::Left),
        ("RESPONSE", Align::Right),
        ("TODAY", Align::Right),
    ]);
    for row in rows {
        let leads = row.lead_counts.unwrap_or_default();
        let ratio = |rate: Option<pb::Rate>| or_dash(rate.and_then(|rate| rate.ratio).map(share));
        grid.row([
            some_text(id(&row.account)).unwrap_or(NOBODY).to_owned(),
            leads.total.to_string(),
            (leads.pending + leads.partial).to_string(),
            row.delivery_rate.map_or(0, |rate| rate.denominator).to_string(),
            ratio(row.delivery_rate),
            or_dash(health_cell(row.delivery_health(), row.delivery_health_certain)),
            ratio(row.response_rate),
            today(row),
        ]);
    }
    grid
}

fn today(row: &pb::CampaignAccount) -> String {
    match row.daily_limit {
        _ if row.account.is_empty() => "-".to_owned(),
        Some(limit) => format!("{}/{limit}", row.reserved_today),
        None => row.reserved_today.to_string(),
    }
}

/// Names the accounts that get no more claims.
fn idle(accounts: &[pb::CampaignAccount]) -> String {
    let ids = |holds: fn(&&pb::CampaignAccount) -> bool| {
        accounts.iter().filter(holds).map(|account| id(&account.account)).collect::<Vec<_>>().join(", ")
    };
    let parts = [
        ("Suspended: ", ids(|account| account.serving && account.suspended)),
        ("Removed from the campaign: ", ids(|account| !account.serving)),
    ];
    let lines: String = parts.iter().filter(|(_, ids)| !ids.is_empty()).map(|(head, ids)| wrap(head, ids)).collect();
    if lines.is_empty() { lines } else { format!("\n{lines}") }
}

/// The accounts whose messages failed or bounced, with the reasons.
fn failed(rows: &[&pb::CampaignAccount]) -> String {
    let mut text = String::new();
    for row in rows {
        let counts = row.message_counts.clone().unwrap_or_default();
        let of = |what: &str, reasons: &[pb::ReasonCount]| failures(reasons).map(|reasons| format!("{what} {reasons}"));
        let all: Vec<String> =
            [of("failed", &counts.failed), of("bounced", &counts.bounced)].into_iter().flatten().collect();
        if !all.is_empty() {
            let account = some_text(id(&row.account)).unwrap_or(NOBODY);
            text += &wrap("  ", &format!("{account}: {}", all.join("; ")));
        }
    }
    if text.is_empty() { text } else { format!("\nMessages that failed or bounced, by reason\n{text}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::testing::{assert_fits, rate};

    fn counts(reasons: &[(pb::FailureReason, i64)]) -> Vec<pb::ReasonCount> {
        reasons.iter().map(|&(reason, count)| pb::ReasonCount { reason: reason.into(), count }).collect()
    }

    fn ann() -> pb::CampaignAccount {
        pb::CampaignAccount {
            account: "workspaces/acme/accounts/ann".into(),
            serving: true,
            lead_counts: Some(pb::LeadCounts { sent: 61, failed: 311, pending: 118, partial: 20, total: 510 }),
            message_counts: Some(pb::HistoryCounts {
                delivered: 193,
                failed: counts(&[(pb::FailureReason::AccountIssue, 305), (pb::FailureReason::Other, 4)]),
                bounced: counts(&[(pb::FailureReason::InvalidLead, 2)]),
                ..pb::HistoryCounts::default()
            }),
            delivery_rate: rate(193, 504),
            delivery_health: pb::DeliveryHealth::Low.into(),
            delivery_health_certain: true,
            response_rate: rate(13, 180),
            daily_limit: Some(400),
            reserved_today: 57,
            ..pb::CampaignAccount::default()
        }
    }

    fn bob() -> pb::CampaignAccount {
        pb::CampaignAccount {
            account: "workspaces/acme/accounts/bob".into(),
            lead_counts: Some(pb::LeadCounts { pending: 3, total: 3, ..pb::LeadCounts::default() }),
            delivery_rate: rate(0, 2),
            delivery_health: pb::DeliveryHealth::Low.into(),
            response_rate: rate(0, 0),
            ..pb::CampaignAccount::default()
        }
    }

    fn list(
        accounts: Vec<pb::CampaignAccount>,
        unassigned: Option<pb::CampaignAccount>,
    ) -> pb::ListCampaignAccountsResponse {
        let as_of_time = Some(prost_types::Timestamp { seconds: 1_772_448_720, nanos: 0 });
        pb::ListCampaignAccountsResponse { as_of_time, accounts, unassigned, next_page_token: String::new() }
    }

    #[test]
    fn every_account_is_a_line_and_the_worst_is_named_first() {
        let nobody = pb::CampaignAccount {
            lead_counts: Some(pb::LeadCounts { pending: 9, total: 9, ..pb::LeadCounts::default() }),
            ..pb::CampaignAccount::default()
        };
        let text = text("spring", &list(vec![ann(), bob()], Some(nobody)));
        let expected = "\
spring has 2 accounts (as of 2026-03-02T10:52:00Z). ann delivers least: 38.3 %.

ACCOUNT       LEADS  OPEN  MESSAGES  DELIVERY  HEALTH  RESPONSE   TODAY
ann             510   138       504    38.3 %  LOW        7.2 %  57/400
bob               3     3         2       0 %  LOW?           -       0
(no account)      9     9         0         -  -              -       -

Removed from the campaign: bob

Messages that failed or bounced, by reason
  ann: failed 305 ACCOUNT_ISSUE, 4 OTHER; bounced 2 INVALID_LEAD

? not certain yet: there are too few messages.

Find out why: campaignctl campaigns diagnose spring
";
        assert_eq!(text, expected);
        assert_fits(&text);
    }

    #[test]
    fn what_is_healthy_needs_no_advice() {
        let healthy = pb::CampaignAccount {
            delivery_rate: rate(990, 1000),
            delivery_health: pb::DeliveryHealth::High.into(),
            message_counts: None,
            suspended: true,
            ..ann()
        };
        let text = text("spring", &list(vec![healthy], None));
        assert!(text.starts_with("spring has 1 account (as of 2026-03-02T10:52:00Z).\n\n"), "{text}");
        assert!(text.ends_with("57/400\n\nSuspended: ann\n"), "{text}");
    }

    #[test]
    fn a_campaign_without_accounts_says_so() {
        let text = text("spring", &list(Vec::new(), None));
        assert!(text.starts_with("spring has no account (as of"), "{text}");
        assert_eq!(text.lines().count(), 2, "{text}");
    }

    #[test]
    fn long_ids_and_large_numbers_fit_into_80_columns() {
        let large = pb::CampaignAccount {
            account: format!("workspaces/acme/accounts/{}@example.org", "a.very.long.name.".repeat(6)),
            lead_counts: Some(pb::LeadCounts { partial: 999_999, total: 1_000_000, ..pb::LeadCounts::default() }),
            delivery_rate: rate(999_999, 1_000_000),
            delivery_health: pb::DeliveryHealth::Moderate.into(),
            reserved_today: 499,
            daily_limit: Some(500),
            serving: true,
            ..bob()
        };
        let text = text("spring", &list(vec![large], None));
        assert!(text.contains("..") && text.contains("MODERATE?") && text.contains(">99.99 %"), "{text}");
        assert_fits(&text);
    }
}
