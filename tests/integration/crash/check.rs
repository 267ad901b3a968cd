//! Compares the ledgers of all processes with the database at the end.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};
use campaign_metrics::pb::{NotSendingReason, OutcomeKind, OutcomeVerdict};
use jiff::tz::TimeZone;

use super::{
    WORKSPACE,
    ledger::{Grant, Record, Reported},
};
use crate::harness::postgres::Connection;

pub async fn all(records: &[Record], sql: &Connection) -> Result<()> {
    let masks = masks(sql).await?;
    everything_happened(records)?;
    acknowledged_once(records, &masks)?;
    nothing_invented(records, &masks)?;
    closed_by_other_claims(records)?;
    handed_out_once(records)
}

/// Checks that no check is empty: limits were reached, streams and repeated requests were answered.
fn everything_happened(records: &[Record]) -> Result<()> {
    for reason in [NotSendingReason::AccountDailyLimit, NotSendingReason::CampaignDailyLimit] {
        let is_told = |record: &Record| matches!(record, Record::Granted { not_sending, .. } if not_sending.contains(&reason.into()));
        ensure!(records.iter().any(is_told), "no claim was answered with {reason:?}");
    }
    let streamed = |record: &Record| matches!(record, Record::Acknowledged { by_stream: true, .. });
    ensure!(records.iter().any(streamed), "no stream was answered");
    let repeated = |record: &Record| matches!(record, Record::Repeated { .. });
    ensure!(records.iter().any(repeated), "no request was repeated");
    Ok(())
}

/// Checks that no daily limit was exceeded by claims that were granted and not released. Call it before the limits are
/// removed. Limits are keyed by account or campaign.
pub fn limits(records: &[Record], limits: &[(&str, i32)]) -> Result<()> {
    let (mut granted, mut ended, mut days) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
    for record in records {
        match record {
            Record::Granted { grants, at, .. } => {
                granted.extend(grants);
                days.insert(at.to_zoned(TimeZone::UTC).date());
            }
            Record::Releasing { claim_ids } => ended.extend(claim_ids),
            Record::Denying { claim_id } => {
                ended.insert(claim_id);
            }
            _ => {}
        }
    }
    for (name, limit) in limits {
        let of_limit = granted.iter().filter(|grant| grant.account.ends_with(name) || grant.lead.contains(name));
        let sent: BTreeSet<&String> = of_limit.map(|grant| &grant.claim_id).filter(|id| !ended.contains(id)).collect();
        let allowed = usize::try_from(*limit)? * days.len();
        ensure!(!sent.is_empty() && sent.len() <= allowed, "{} of {allowed} claims of {name}", sent.len());
    }
    Ok(())
}

/// Facts of each lead, by its name.
async fn masks(sql: &Connection) -> Result<BTreeMap<String, i64>> {
    let select =
        "SELECT c.name, i.lead_id, l.mask & ~fact_mask(had_account_bit()) FROM leads l JOIN lead_ids i USING (workspace_id, campaign_id, lead_no)
        JOIN campaigns c USING (workspace_id, campaign_id)";
    let rows = sql.query(select, &[]).await?;
    let lead = |row: &tokio_postgres::Row| {
        let name = format!("{WORKSPACE}/campaigns/{}/leads/{}", row.get::<_, &str>(0), row.get::<_, &str>(1));
        (name, row.get(2))
    };
    Ok(rows.iter().map(lead).collect())
}

/// Place of a fact in the mask.
fn bit(fact: &Reported) -> Result<i32> {
    let step_bit = fact.step - 1;
    Ok(match OutcomeKind::try_from(fact.kind)? {
        OutcomeKind::Delivered => step_bit,
        OutcomeKind::Failed => 16 + step_bit,
        OutcomeKind::Bounced => 32 + step_bit,
        OutcomeKind::Replied => 48,
        OutcomeKind::Converted => 49,
        OutcomeKind::AutoReplied => 50,
        OutcomeKind::OptedOut => 51,
        OutcomeKind::Unspecified => anyhow::bail!("a fact of no kind"),
    })
}

/// Checks that every acknowledged fact is stored, and was applied only once.
fn acknowledged_once(records: &[Record], masks: &BTreeMap<String, i64>) -> Result<()> {
    let mut applied: BTreeMap<&Reported, usize> = BTreeMap::new();
    let mut known = 0;
    for record in records {
        let Record::Acknowledged { verdicts, .. } = record else { continue };
        for (fact, verdict) in verdicts {
            let mask = masks.get(&fact.lead).with_context(|| format!("{} is lost", fact.lead))?;
            ensure!(mask >> bit(fact)? & 1 == 1, "{fact:?} was acknowledged and is lost");
            known += 1;
            if *verdict == i32::from(OutcomeVerdict::Applied) {
                *applied.entry(fact).or_default() += 1;
            }
        }
    }
    let twice: Vec<_> = applied.iter().filter(|(_, times)| **times > 1).collect();
    ensure!(twice.is_empty(), "taken for new more than once: {twice:?}");
    ensure!(known > 0 && !applied.is_empty(), "nothing was acknowledged");
    Ok(())
}

/// Checks that every stored fact was reported.
fn nothing_invented(records: &[Record], masks: &BTreeMap<String, i64>) -> Result<()> {
    let mut reported: BTreeMap<&str, i64> = BTreeMap::new();
    for record in records {
        let Record::Reporting { facts } = record else { continue };
        for fact in facts {
            *reported.entry(&fact.lead).or_default() |= 1 << bit(fact)?;
        }
    }
    for (lead, mask) in masks {
        let invented = mask & !reported.get(lead.as_str()).copied().unwrap_or(0);
        ensure!(invented == 0, "{lead} has facts that were not reported: {invented:b}");
    }
    Ok(())
}

/// Checks claims that were closed before their holder reported: another claim of the lead and step must have an
/// outcome.
fn closed_by_other_claims(records: &[Record]) -> Result<()> {
    let closed = records.iter().filter_map(|record| match record {
        Record::Repeated { closed, .. } => Some(closed),
        _ => None,
    });
    for grant in closed.flatten() {
        let is_other = |other: &Grant| other.send_key == grant.send_key && other.claim_id != grant.claim_id;
        let is_granted =
            |record: &Record| matches!(record, Record::Granted { grants, .. } if grants.iter().any(is_other));
        ensure!(records.iter().any(is_granted), "{grant:?} was lost");
        let is_of_step = |fact: &Reported| fact.lead == grant.lead && fact.step == grant.step;
        let is_reported =
            |record: &Record| matches!(record, Record::Reporting { facts } if facts.iter().any(is_of_step));
        ensure!(records.iter().any(is_reported), "{grant:?} was closed without a report");
    }
    Ok(())
}

/// Checks that a step was granted again only after a release or a resolution as not sent, unless the campaign retries
/// expired claims.
fn handed_out_once(records: &[Record]) -> Result<()> {
    let mut claims: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut ended: BTreeSet<&str> = BTreeSet::new();
    let mut listed = 0;
    for record in records {
        match record {
            Record::Granted { grants, .. } | Record::Uncertain { grants } => {
                for grant in grants.iter().filter(|grant| !grant.is_retried()) {
                    claims.entry(&grant.send_key).or_default().insert(&grant.claim_id);
                    listed += 1;
                }
            }
            Record::Releasing { claim_ids } => ended.extend(claim_ids.iter().map(String::as_str)),
            Record::Denying { claim_id } => {
                ended.insert(claim_id);
            }
            _ => {}
        }
    }
    ensure!(listed > 0 && !ended.is_empty(), "nothing was claimed, or nothing released");
    for (send_key, claims) in claims {
        let open: Vec<_> = claims.iter().filter(|claim| !ended.contains(*claim)).collect();
        ensure!(open.len() <= 1, "{send_key} was granted more than once: {open:?}");
    }
    Ok(())
}
