//! Recounts a campaign independently of SQL: from its rows of `leads`, with the domain types in Rust.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use campaign_metrics::{
    lead::{Fact, Facts, LeadStatus, Reasons, STEPS_MAX, Step, StepOutcome},
    pb,
};

use tokio_postgres::Client;

use super::history::{self, Key};

/// Every count of a campaign, by name; views of it are compared by this.
pub type Counts = BTreeMap<&'static str, i64>;

/// Leads by status.
pub const LEADS: [&str; 5] = ["total", "sent", "failed", "pending", "partial"];

/// Messages by result, failures by reason (in the order of `FailureReason::ALL`), leads by fact, and the facts of leads
/// with a delivered message, from which the rates are computed.
pub const MESSAGES: [&str; 15] = [
    "delivered_messages",
    "failed_messages",
    "bounced_messages",
    "account_issue",
    "invalid_lead",
    "rate_limited",
    "content_rejected",
    "other",
    "contacted",
    "replied",
    "converted",
    "auto_replied",
    "opted_out",
    "contacted_replied",
    "contacted_converted",
];

fn zero() -> Counts {
    LEADS.into_iter().chain(MESSAGES).map(|name| (name, 0)).collect()
}

/// Recounts the leads of a campaign, given its resource name.
pub async fn recount(sql: &Client, campaign: &str) -> Result<Counts> {
    let Key { workspace_id, campaign_id, steps } = history::key(sql, campaign).await?;
    let rows = sql
        .query(
            "SELECT mask, failed_reasons, bounced_reasons FROM leads WHERE workspace_id = $1 AND campaign_id = $2",
            &[&workspace_id, &campaign_id],
        )
        .await?;
    let mut counts = zero();
    for row in rows {
        let (facts, reasons) = (Facts(row.get(0)), Reasons { failed: row.get(1), bounced: row.get(2) });
        count(&mut counts, facts, reasons, steps)?;
    }
    Ok(counts)
}

fn count(counts: &mut Counts, facts: Facts, reasons: Reasons, steps: Step) -> Result<()> {
    let mut add = |name| *counts.get_mut(name).expect("every name is there from the start") += 1;
    add("total");
    add(match facts.status(steps) {
        LeadStatus::Sent => "sent",
        LeadStatus::Failed => "failed",
        LeadStatus::Pending => "pending",
        LeadStatus::Partial => "partial",
    });
    for step in (1..=i32::from(STEPS_MAX)).filter_map(Step::new) {
        let Some(result) = facts.result(step) else { continue };
        ensure!(step <= steps, "a fact of step {} of {}", step.number(), steps.number());
        add(match result {
            StepOutcome::Delivered => "delivered_messages",
            StepOutcome::Failed => "failed_messages",
            StepOutcome::Bounced => "bounced_messages",
        });
        if result != StepOutcome::Delivered {
            let reason = reasons.of_result(step, result).context("a failed or bounced message has a reason")?;
            add(MESSAGES[2 + reason as usize]);
        }
    }
    for (fact, name) in [
        (Fact::Replied, "replied"),
        (Fact::Converted, "converted"),
        (Fact::AutoReplied, "auto_replied"),
        (Fact::OptedOut, "opted_out"),
    ] {
        if facts.has(fact) {
            add(name);
        }
    }
    if facts.is_contacted() {
        add("contacted");
        for (fact, name) in [(Fact::Replied, "contacted_replied"), (Fact::Converted, "contacted_converted")] {
            if facts.has(fact) {
                add(name);
            }
        }
    }
    Ok(())
}

/// The counts as the API gave them.
pub fn of_api(campaign: &pb::Campaign) -> Counts {
    let leads = campaign.lead_counts.unwrap_or_default();
    let messages = campaign.message_counts.clone().unwrap_or_default();
    let mut counts = zero();
    counts.extend([
        ("total", leads.total),
        ("sent", leads.sent),
        ("failed", leads.failed),
        ("pending", leads.pending),
        ("partial", leads.partial),
        ("delivered_messages", messages.delivered),
        ("failed_messages", messages.failed),
        ("bounced_messages", messages.bounced),
        ("contacted", messages.contacted_leads),
        ("replied", messages.replied_leads),
        ("converted", messages.converted_leads),
        ("auto_replied", messages.auto_replied_leads),
        ("opted_out", messages.opted_out_leads),
        ("contacted_replied", campaign.response_rate.unwrap_or_default().numerator),
        ("contacted_converted", campaign.conversion_rate.unwrap_or_default().numerator),
    ]);
    for by_reason in messages.failures {
        let name = match by_reason.reason() {
            pb::FailureReason::Unspecified => continue,
            pb::FailureReason::AccountIssue => "account_issue",
            pb::FailureReason::InvalidLead => "invalid_lead",
            pb::FailureReason::RateLimited => "rate_limited",
            pb::FailureReason::ContentRejected => "content_rejected",
            pb::FailureReason::Other => "other",
        };
        counts.insert(name, by_reason.count);
    }
    counts
}

/// Panics if the API's counts of a campaign differ from the recount, or its statuses do not add up to its total, or its
/// history or the leads of its accounts are not what its leads and their log say.
pub async fn assert_counts(sql: &Client, campaign: &pb::Campaign) {
    let recounted = recount(sql, &campaign.name).await.expect("the rows can be counted");
    let counts = of_api(campaign);
    assert_eq!(counts, recounted, "API (left) and recount (right) of {}", campaign.name);
    let by_status: i64 = LEADS[1..].iter().map(|name| counts[name]).sum();
    assert_eq!(by_status, counts["total"], "sent + failed + pending + partial of {}", campaign.name);
    history::check(sql, &campaign.name).await.expect("history and leads of accounts follow from leads and log");
}
